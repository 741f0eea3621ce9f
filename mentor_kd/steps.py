"""The steps of the story, each from files to files in a task's folder: collect, mentor, augment, filter, distil.

A step writes its manifest last; called again with the same inputs it does nothing, after a kill it goes on. What a
step needs and does not find, `ensure` makes at smoke size, so that every notebook runs alone.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas
import yaml

from . import fast, filters, models
from .batches import Example, encode
from .collecting import CollectSettings, collect, judged, questions, task_of, teacher_rows
from .confidence import confidences
from .evaluation import DevScore, accuracy
from .files import (
    InputError,
    digest,
    finish,
    is_done,
    read_json,
    read_jsonl,
    read_text,
    sha256,
    write_json,
    write_jsonl,
    write_text,
)
from .filters import FilterSettings
from .generation import Sampling, generate_to
from .methods import METHODS, get_method
from .models import Loaded
from .predicting import answer_cap, dev_score, predict
from .provenance import provenance
from .rationales import Rationale, read_rationales, target, write_rationales
from .soft_labels import SoftLabels, SoftLabelSettings, cached, with_temperature
from .tasks import MARKER, TASKS
from .training import TrainSettings, clean_up, plan_batches, train
from .verdicts import read_verdicts

Stop = Callable[[], bool]


def never() -> bool:
    """The stop that never comes."""
    return False


def _encode(loaded: Loaded, rows: list[Rationale], max_length: int) -> tuple[list[Example], list[str]]:
    return encode(loaded, [(row.id, row.question, target(row)) for row in rows], max_length)


def _fit(
    place: Path,
    folder: Path,
    name: str,
    rows: list[Rationale],
    settings: TrainSettings,
    max_length: int,
    soft: bool,
    card: dict,
    inputs: dict,
    label: str,
    stop: Stop,
    watch: Callable[[dict], None] | None,
) -> dict:
    """Train a model on rationale rows, evaluate it on the test split, and save all that with a card and a manifest."""
    task = task_of(folder)
    outputs = ["model.safetensors", "predictions.jsonl", "metrics.jsonl"]
    if is_done(place, inputs):
        return read_json(place / "manifest.json")
    _begin(place, inputs)
    loaded = models.load(name)
    examples, too_long = _encode(loaded, rows, max_length)
    if not examples:
        raise InputError(f"{label}: none of {len(rows)} rationale(s) is left to train on (too long: {len(too_long)})")
    greedy = Sampling(max_new_tokens=answer_cap(examples, max_length), batch_size=64)
    dev = questions(folder, "dev")

    def score(to_beat: float | None) -> DevScore:
        return dev_score(loaded, dev, task, greedy, to_beat)

    mentor = _soft_labels(folder, loaded, examples, settings, stop) if soft else None
    trained = train(loaded, examples, score, settings, place / "work", mentor, label, stop, watch)
    if trained.stopped:
        raise KeyboardInterrupt(f"{label} was stopped at step {trained.steps}; run the same again to go on from there")
    predictions = predict(loaded, questions(folder, "test"), task, greedy)
    write_jsonl(place / "predictions.jsonl", predictions)
    write_jsonl(place / "metrics.jsonl", [row for _, row in read_jsonl(place / "work" / "metrics.jsonl")])
    test = accuracy(row["correct"] for row in predictions)
    facts = {
        "base": name,
        "parameters": loaded.parameters,
        "rationales": len(rows),
        "trained_on": len(examples),
        "too_long": too_long,
        "max_length": max_length,
        "max_new_tokens": greedy.max_new_tokens,
        "training": asdict(trained),
        "test": asdict(test),
        **card,
    }
    hashes = {"questions": sha256(folder / "collected" / "questions.jsonl")[:16], **inputs["data"]}
    hashes["rows"] = digest(inputs["data"]["rows"])[:16]  # the manifest lists them
    models.save(
        place,
        loaded,
        {
            "summary": f"Trained by {card['method']} on {task.name}; answers as `rationale {MARKER} answer`.",
            "task": asdict(task),
            "protocol": "sound: epoch chosen on dev, never on the test questions",
            "accuracy": f"{test.value:.1f}% of {test.n} test questions (Wilson 95%: {test.low:.1f} to {test.high:.1f})",
            **facts,
            "settings": asdict(settings),
            "data_hashes": hashes,
            "provenance": provenance(),
        },
    )
    finish(place, inputs, outputs, **facts)
    clean_up(place / "work")
    return read_json(place / "manifest.json")


def _soft_labels(
    folder: Path, student: Loaded, examples: list[Example], settings: TrainSettings, stop: Stop
) -> Loaded | SoftLabels:
    """The mentor's soft labels for these examples, from the cache under soft_labels/; or the live mentor for k = 0."""
    place = folder / "mentor"
    if not settings.soft_label_k:
        return models.load(place)
    vocabulary = min(student.vocabulary, models.outline(place).vocabulary)
    kept = with_temperature(SoftLabelSettings(settings.soft_label_k), settings.loss.soft_label_temperature)
    where, identity = folder / "soft_labels", models.identity(place)
    return cached(where, identity, lambda: models.load(place), vocabulary, examples, kept, stop=stop)


def _begin(place: Path, inputs: dict) -> None:
    """Make ready for a step: unfinished work of the same inputs stays, anything else is removed."""
    begun = place / "work" / "inputs.json"
    if place.exists() and not (begun.exists() and read_json(begun) == inputs):
        shutil.rmtree(place)
    write_json(begun, inputs)


def train_mentor(
    folder: Path,
    mentor: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
) -> dict:
    """Train the mentor on the teacher's correct rationales, by cross-entropy, into mentor/."""
    folder = Path(folder)
    rows = [row for row in filters.apply(teacher_rows(folder), FilterSettings(), {}, task_of(folder)) if row.kept]
    data = {
        "teacher": sha256(folder / "collected" / "teacher.jsonl")[:16],
        "rows": [row.id for row in rows],
    }
    inputs = {
        "base": models.identity(mentor),
        "settings": asdict(settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
    }
    return _fit(
        folder / "mentor",
        folder,
        mentor,
        rows,
        settings,
        max_length,
        False,
        {"name": f"mentor for {task_of(folder).name}", "method": "mentor", "seed": settings.seed},
        inputs,
        f"mentor {mentor}",
        stop,
        watch,
    )


def augment(folder: Path, sampling: Sampling, stop: Stop = never, backend: str = fast.REFERENCE) -> None:
    """Have the mentor answer every training question several times, into augmented/mentor.jsonl.

    `backend` is one of fast.BACKENDS; which it was stands in the manifest and in each row's sampler.
    """
    folder, place = Path(folder), Path(folder) / "augmented"
    inputs = {
        "mentor": models.identity(folder / "mentor"),
        "sampling": asdict(sampling),
        "backend": backend,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
    }
    if is_done(place, inputs):
        return
    fast.check_backend(backend)
    task = task_of(folder)
    # any other backend than the reference brings the weights itself
    loaded = (models.load if backend == fast.REFERENCE else models.outline)(folder / "mentor")
    asked = questions(folder, "train")
    base = read_json(folder / "mentor" / "manifest.json")["base"]
    texts = generate_to(
        place / "shards",
        loaded,
        [(q.id, q.question) for q in asked],
        sampling,
        {"mentor": inputs["mentor"], "backend": backend},
        stop=stop,
        backend=fast.get_backend(backend, loaded, folder / "mentor" / backend),
    )
    by_id = {q.id: q for q in asked}
    rows = []
    for text in texts:
        sampler = {
            "model": f"mentor {base}" + (f" by {backend}" if backend != fast.REFERENCE else ""),
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "index": text["index"],
        }
        rows.append(judged(by_id[text["id"]], text["text"], "mentor", sampler, task))
    write_rationales(place / "mentor.jsonl", rows)
    finish(place, inputs, ["mentor.jsonl"], rows=len(rows))


def filter_rationales(folder: Path, settings: FilterSettings) -> pandas.DataFrame:
    """Apply filters and verdicts to the teacher's and the mentor's rationales, into rationales.jsonl; the counts."""
    folder = Path(folder)
    rows = teacher_rows(folder) + read_rationales(folder / "augmented" / "mentor.jsonl")
    kept = _filtered(folder, rows, settings)
    write_rationales(folder / "rationales.jsonl", kept)
    write_text(folder / "filters.yaml", yaml.safe_dump(asdict(settings)))
    return _write_counts(folder, kept)


def _write_counts(folder: Path, rows: list[Rationale]) -> pandas.DataFrame:
    """Count what is kept and why the rest is dropped; the file is touched only if the counts have changed."""
    table = filters.counts(rows)
    path, text = folder / "filter_counts.csv", table.to_csv()
    if not path.exists() or read_text(path) != text:
        write_text(path, text)
    return table


def rationales(folder: Path) -> list[Rationale]:
    """All rationales with what the filters and verdicts said; verdicts given since are honoured."""
    folder = Path(folder)
    rows = read_rationales(folder / "rationales.jsonl")
    settings = FilterSettings(**yaml.safe_load((folder / "filters.yaml").read_text(encoding="utf-8")))
    return _filtered(folder, rows, settings)


def _filtered(folder: Path, rows: list[Rationale], settings: FilterSettings) -> list[Rationale]:
    """The rows under the settings, the folder's verdicts and, where it is asked for, its mentor's confidence."""
    confidence = confidences(folder, rows) if settings.min_confidence is not None else None
    return filters.apply(rows, settings, read_verdicts(folder / "verdicts.jsonl"), task_of(folder), confidence)


def rows_for(rows: list[Rationale], method: str) -> list[Rationale]:
    """The rationales that a method learns from: the kept ones of its sources."""
    sources = get_method(method).sources
    return [row for row in rows if row.kept and row.source in sources]


def planned(rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int) -> int:
    """Optimiser steps of a method's student, rationales that are too long for it left out as in training."""
    outline = models.outline(student)
    examples, _ = _encode(outline, rows_for(rows, get_method(method).steps_of or method), max_length)
    return plan_batches(examples, outline.encoder_decoder, settings).steps


def matched(
    rows: list[Rationale], method: str, settings: TrainSettings, student: str, max_length: int
) -> TrainSettings:
    """The settings with as many optimiser steps as the method that this one controls, where it controls one."""
    if not get_method(method).steps_of:
        return settings
    return dataclasses.replace(settings, steps=planned(rows, method, settings, student, max_length))


def _set_aside(folder: Path, inputs: dict) -> None:
    """Move students of other settings or data to students/earlier/, so that no table mixes them with this one."""

    def what(manifest: dict) -> dict:
        settings = {k: v for k, v in manifest["settings"].items() if k not in ("seed", "steps")}
        return {"settings": settings, "texts": manifest["data"]["texts"]} | {
            k: manifest[k] for k in ("base", "max_length", "questions")
        }

    for place in sorted((folder / "students").glob("*-seed*")):
        manifest = place / "manifest.json"
        if manifest.exists() and what(read_json(manifest)["inputs"]) != what(inputs):
            earlier = folder / "students" / "earlier" / f"{place.name}-{sha256(manifest)[:8]}"
            earlier.parent.mkdir(exist_ok=True)
            if earlier.exists():
                shutil.rmtree(earlier)
            place.rename(earlier)
            print(f"{place.name} was trained with other settings or data: moved to {earlier.relative_to(folder)}")


def distil(
    folder: Path,
    method: str,
    student: str,
    settings: TrainSettings,
    max_length: int = 512,
    stop: Stop = never,
    watch: Callable[[dict], None] | None = None,
) -> dict:
    """Train one student by one method with one seed, into students/<method>-seed<k>/; returns its manifest."""
    folder = Path(folder)
    every = rationales(folder)
    _write_counts(folder, every)  # verdicts were perhaps given since
    rows, row_settings = rows_for(every, method), matched(every, method, settings, student, max_length)
    soft = get_method(method).soft_labels
    data = {"rows": [row.id for row in rows], "texts": sha256(folder / "rationales.jsonl")[:16]}
    inputs = {
        "method": method,
        "base": models.identity(student),
        "settings": asdict(row_settings),
        "max_length": max_length,
        "data": data,
        "questions": sha256(folder / "collected" / "questions.jsonl"),
        "mentor": models.identity(folder / "mentor") if soft else None,
    }
    place = folder / "students" / f"{method}-seed{settings.seed}"
    _set_aside(folder, inputs)
    if soft and not is_done(place, inputs):
        without = [name for name, row in METHODS.items() if not row.soft_labels]
        models.require_same_tokenizer(models.outline(folder / "mentor"), models.outline(student), without)
    return _fit(
        place,
        folder,
        student,
        rows,
        row_settings,
        max_length,
        soft,
        {"name": f"{method} student for {task_of(folder).name}", "method": method, "seed": settings.seed},
        inputs,
        f"{method}, seed {settings.seed}",
        stop,
        watch,
    )


# What `ensure` makes where a notebook's input is missing: small enough for a few seconds on a laptop.
SMOKE_COLLECT = CollectSettings(train_questions=40, dev_questions=16, test_questions=24)
SMOKE_TRAINING = TrainSettings(epochs=2, batch_size=16, learning_rate=3e-3)
SMOKE_SAMPLING = Sampling(n=3, temperature=0.7, top_k=50, max_new_tokens=80)
SMOKE_MODEL = "sandbox-small"


def ensure(folder: Path, needed: str) -> None:
    """Make what is missing up to "collected", "mentor", "augmented", "rationales" or "students", at smoke size.

    Questions come from the sandbox or, for one of the paper's tasks, from its data. InputError for any other task.
    """
    folder = Path(folder)
    if not (folder / "collected" / "manifest.json").exists() and folder.name not in TASKS:
        raise InputError(f"task {folder.name!r} is your own: run notebook 01 first, with data and answer_type")
    source = "official" if folder.name in TASKS and TASKS[folder.name].official else "sandbox"
    smoke = dataclasses.replace(SMOKE_COLLECT, data=source)

    def students() -> None:
        for method in METHODS:
            distil(folder, method, SMOKE_MODEL, SMOKE_TRAINING)

    steps = {
        "collected": ("collected/manifest.json", lambda: collect(folder, folder.name, smoke)),
        "mentor": ("mentor/manifest.json", lambda: train_mentor(folder, SMOKE_MODEL, SMOKE_TRAINING)),
        "augmented": ("augmented/manifest.json", lambda: augment(folder, SMOKE_SAMPLING)),
        "rationales": ("rationales.jsonl", lambda: filter_rationales(folder, FilterSettings())),
        "students": ("students/*/manifest.json", students),
    }
    for name, (result, make) in steps.items():
        if not list(folder.glob(result)):
            started = time.monotonic()
            make()
            seconds = time.monotonic() - started
            print(f"{name} was missing in {folder.parent.name}/{folder.name}: made at smoke size in {seconds:.0f} s")
        if name == needed:
            return
    raise InputError(f"nothing is called {needed!r}; there are {', '.join(steps)}")
