"""The kinds of files that the project reads, and the readers that the commands and the notebooks use."""

import contextlib
import csv
import functools
import io
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from valid_files import TASK, rows_of, sampled

from mentor_kd import __main__ as command_line
from mentor_kd.data import official, rationales, sources
from mentor_kd.data.folder import protocol_of, task_of
from mentor_kd.evaluation import predict
from mentor_kd.evaluation.metrics import accuracy_table
from mentor_kd.files import RunFailed, read_records
from mentor_kd.filtering import confidence, verdicts
from mentor_kd.manifests import is_done
from mentor_kd.models import loading
from mentor_kd.pipeline import filter
from mentor_kd.teacher import store
from mentor_kd.training.soft_label_cache import SoftLabels, SoftLabelSettings
from mentor_kd.training.train import state_seconds, whole_rows


@dataclass(frozen=True)
class Kind:
    """A kind of file: its name in a valid folder, how it is read, its grammar, and how many rows its content has.

    `read` returns the number of rows it read or reported as skipped, or None if it reads no rows. `strict` readers
    refuse every ambiguous or unusable value; others skip a damaged line and count it.
    """

    name: str
    file: str
    grammar: str
    read: Callable[[Path], int | None]
    rows: Callable[[bytes], int] | None = None
    strict: bool = True
    share: float = 1.0  # of the inputs, relative to other kinds
    file_only: bool = False  # the test itself reads the file


# readers, as the commands and the notebooks call them


def command(*words: str) -> Callable[[Path], int | None]:
    """A reader that runs a command; `{}` is the folder. Any exit code but those of the manual is a failure.

    It returns the number of rows that the command says it read.
    """

    def run(folder: Path) -> int | None:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                code = command_line.main([word.replace("{}", str(folder)) for word in words])
            except SystemExit as stop:  # argparse: the words do not form a command
                raise RunFailed(f"exit {stop.code}: {said.getvalue()}") from None
        assert code in (0, 1, 2), code
        assert code == 0 or said.getvalue().startswith("error: "), said.getvalue()
        raw = set(re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out.getvalue() + said.getvalue()))
        assert not raw, f"control characters on the terminal: {raw}"
        if code:
            raise RunFailed(said.getvalue())
        if not (told := re.search(r"rows: (\d+) read, (\d+) used, (\d+) left out", out.getvalue())):
            return None
        read, used, left = map(int, told.groups())
        assert read == used + left, told[0]
        return read

    return run


ANNOTATE = ("--answer-type", "number", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--dry-run")


def read_model(folder: Path) -> None:
    rows = predict.predict(folder / "model", ["What is 1 plus 1?"])
    assert set(rows[0]) == {"question", "prediction", "rationale", "miss"}


def read_override(folder: Path) -> None:
    """The file's content as an option of the command line."""
    given = (folder / "override.txt").read_bytes().decode("utf-8", "surrogateescape")
    command("run", "--params", "{}/params.yaml", "--dry-run", "-p", given.replace("{}", ""))(folder)


@functools.cache
def sampler(folder: Path) -> loading.Loaded:
    return loading.load(folder, "cpu")


def read_shards(folder: Path) -> None:
    assert sampled(folder, sampler(folder.parent / "valid" / "model")) == 6


def read_confidences(folder: Path) -> None:
    found = confidence.stored(folder / "run" / TASK, rows_of("teacher"))
    assert all(value is None or value <= 0 for value in found.values()), found


def read_labels(folder: Path) -> None:
    """Rows that are still whole are read; a damaged shard is removed, and its rows count as missing."""
    place = next(path for path in (folder / "labels").iterdir() if path.is_dir())
    found = SoftLabels(place, SoftLabelSettings(), 1024)
    assert len(found.places) in (0, 6)


def read_replies(folder: Path) -> int:
    found = store.Replies(folder / "replies").load()
    return len(found.found) + found.unreadable


def read_verdicts(folder: Path) -> int:
    with warnings.catch_warnings(record=True) as skipped:
        warnings.simplefilter("always")
        rows = verdicts.read_rows(folder / "run" / TASK / "verdicts.jsonl")
    return len(rows) + len(skipped)


def read_status(folder: Path) -> None:
    assert all(isinstance(facts.get("state"), object) for facts in read_records(folder / "status.json").values())


def read_step(folder: Path) -> None:
    assert is_done(folder / "run" / TASK / "collected", {"a": 1}) in (True, False)


def read_predictions(folder: Path) -> int:
    table = accuracy_table(folder / "run" / TASK)
    return int(table["n"].sum()) if len(table) == 1 else 0


def lines(content: bytes) -> int:
    text = content.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return sum(bool(line.strip()) for line in text.split("\n"))


def records(content: bytes) -> int:
    text = content.decode("utf-8").removeprefix("\ufeff")
    return sum(bool(row) for row in csv.reader(io.StringIO(text, newline=""))) - 1


def either(content: bytes) -> int:
    """A table in JSONL may also be a JSON array."""
    return array(content) if content.decode("utf-8-sig").strip().startswith("[") else lines(content)


def replies(content: bytes) -> int:
    """A reply that is stored twice counts once."""
    return len({line for line in content.replace(b"\r", b"\n").split(b"\n") if line.strip()})


def array(content: bytes) -> int:
    return len(json.loads(content.decode("utf-8-sig")))


def of(function: Callable, path: str, *more: object) -> Callable[[Path], int]:
    return lambda folder: len(function(folder / path, *more))


IN = f"run/{TASK}"
read_report = command("report", "{}/done")
DONE = (
    ("provenance.json", "json"),
    ("params.yaml", "yaml"),
    (f"{TASK}/params.yaml", "yaml"),
    (f"{TASK}/mentor/manifest.json", "json"),
    (f"{TASK}/students/vanilla-kd-seed1/manifest.json", "json"),
    (f"{TASK}/students/vanilla-kd-seed1/predictions.jsonl", "jsonl"),
    (f"{TASK}/filter_counts.csv", "csv"),
)
KINDS = (
    Kind(
        "questions",
        f"{IN}/collected/questions.jsonl",
        "jsonl",
        of(rationales.read_questions, f"{IN}/collected/questions.jsonl"),
        lines,
    ),
    Kind(
        "rationales",
        f"{IN}/collected/teacher.jsonl",
        "jsonl",
        of(rationales.read_rationales, f"{IN}/collected/teacher.jsonl"),
        lines,
        share=2,
    ),
    Kind("task", f"{IN}/collected/task.json", "json", lambda folder: task_of(folder / IN) and None),
    Kind("protocol", f"{IN}/params.yaml", "yaml", lambda folder: protocol_of(folder / IN) and None),
    Kind("status", "status.json", "json", read_status),
    Kind("manifest", f"{IN}/collected/manifest.json", "json", read_step, strict=False),
    Kind("verdicts", f"{IN}/verdicts.jsonl", "jsonl", read_verdicts, lines, strict=False, share=2),
    Kind("kept rationales", f"{IN}/rationales.jsonl", "jsonl", of(filter.rationales, IN), lines),
    Kind("filters", f"{IN}/filters.yaml", "yaml", lambda folder: filter.rationales(folder / IN) and None),
    Kind("predictions", f"{IN}/students/vanilla-kd-seed0/predictions.jsonl", "jsonl", read_predictions),
    Kind(
        "metrics",
        f"{IN}/metrics.jsonl",
        "jsonl",
        lambda folder: (whole_rows(folder / IN / "metrics.jsonl"), None)[1],
        strict=False,
    ),
    Kind(
        "times",
        f"{IN}/metrics.jsonl",
        "jsonl",
        lambda folder: state_seconds(folder / IN / "metrics.jsonl") and None,
        strict=False,
    ),
    Kind("parameters", "params.yaml", "yaml", command("run", "--params", "{}/params.yaml", "--dry-run"), share=3),
    Kind("override", "override.txt", "text", read_override, file_only=True),
    Kind("grid", "grid.yaml", "yaml", command("sweep", "--params", "{}/grid.yaml", "--dry-run"), share=2),
    Kind("prompt", "prompt.yaml", "yaml", command("annotate", "{}/own.csv", "--prompt", "{}/prompt.yaml", *ANNOTATE)),
    Kind("prices", "prices.yaml", "yaml", command("annotate", "{}/own.csv", "--prices", "{}/prices.yaml", *ANNOTATE)),
    Kind("own csv", "own.csv", "csv", command("annotate", "{}/own.csv", *ANNOTATE), records, share=2),
    Kind("own tsv", "own.tsv", "text", command("annotate", "{}/own.tsv", *ANNOTATE)),
    Kind("own json", "own.json", "json", command("annotate", "{}/own.json", *ANNOTATE), array),
    Kind("own parquet", "own.parquet", "binary", command("annotate", "{}/own.parquet", *ANNOTATE)),
    Kind("source csv", "own.csv", "csv", of(sources.read, "own.csv"), records),
    Kind("source json", "own.json", "json", of(sources.read, "own.json"), array),
    Kind(
        "source parquet",
        "own.parquet",
        "binary",
        lambda folder: len(sources.read(folder / "own.parquet")) in (0, 11) and None,
    ),
    Kind("own jsonl", "own.jsonl", "jsonl", command("annotate", "{}/own.jsonl", *ANNOTATE), either, share=2),
    Kind("list csv", "own.csv", "csv", of(predict.read_list, "own.csv"), records),
    Kind("list jsonl", "own.jsonl", "jsonl", of(predict.read_list, "own.jsonl"), either),
    Kind("list txt", "questions.txt", "text", of(predict.read_list, "questions.txt"), lines),
    Kind(
        "official questions",
        "svamp_test.json",
        "json",
        of(official.read_official_questions, "svamp_test.json", "svamp"),
        array,
    ),
    Kind(
        "official rationales",
        "svamp_3_train.json",
        "json",
        of(
            official.read_official_rationales,
            "svamp_3_train.json",
            "svamp",
            "teacher",
            {"model": "m", "temperature": None, "top_k": None, "seed": None},
        ),
        array,
    ),
    Kind("sampled texts", "shards/shard-00000.jsonl", "jsonl", read_shards, share=0.5),
    Kind("plan of samples", "shards/plan.json", "json", read_shards, strict=False, share=0.2),
    Kind("confidences", f"{IN}/confidence/*.jsonl", "jsonl", read_confidences, strict=False, share=0.5),
    Kind("replies", "replies/replies.jsonl", "jsonl", read_replies, replies, strict=False),
    Kind(
        "attempts",
        "replies/attempts.jsonl",
        "jsonl",
        lambda folder: store.Replies(folder / "replies").load() and None,
        strict=False,
    ),
    Kind("model config", "model/config.json", "json", read_model, strict=False, share=2),
    Kind("tokenizer config", "model/tokenizer_config.json", "json", read_model, strict=False),
    Kind("tokenizer", "model/tokenizer.json", "json", read_model, strict=False, share=2),
    Kind("generation config", "model/generation_config.json", "json", read_model, strict=False),
    Kind("weights", "model/model.safetensors", "binary", read_model, strict=False, share=2),
    Kind("model card", "model/model_card.json", "json", read_model),
    Kind(
        "adapter config",
        "adapters/adapter_config.json",
        "json",
        lambda folder: loading.load(folder / "adapters", "cpu") and None,
        strict=False,
    ),
    Kind(
        "adapters",
        "adapters/adapter_model.safetensors",
        "binary",
        lambda folder: loading.load(folder / "adapters", "cpu") and None,
    ),
    Kind("soft-label manifest", "labels/*/manifest.json", "json", read_labels),
    Kind("soft-label shard", "labels/*/shard-00000.safetensors", "binary", read_labels, strict=False),
    Kind("soft-label head", "labels/*/head.safetensors", "binary", read_labels, strict=False),
    *(Kind(f"report: {name}", f"done/{name}", grammar, read_report, strict=False, share=0.1) for name, grammar in DONE),
)
