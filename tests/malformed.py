"""One valid file of every kind that the project reads, and the readers that the commands and the notebooks use."""

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

import official_files
import pandas
import tiny
from finished_run import write_run

from mentor_kd import __main__ as command_line
from mentor_kd.data import official, rationales, sources
from mentor_kd.data.folder import protocol_of, task_of
from mentor_kd.data.sandbox import explain, make_questions, read_question
from mentor_kd.data.tasks import get_task
from mentor_kd.evaluation import predict
from mentor_kd.evaluation.metrics import accuracy_table
from mentor_kd.files import RunFailed, digest, read_records, write_json, write_jsonl, write_text
from mentor_kd.filtering import confidence, verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.manifests import finish, is_done
from mentor_kd.models import loading
from mentor_kd.models.batches import encode
from mentor_kd.models.generation import Sampling, generate_to
from mentor_kd.pipeline import filter
from mentor_kd.teacher import store
from mentor_kd.training import soft_labels
from mentor_kd.training.train import state_seconds, whole_rows

TASK = "sandbox-sums"


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


# valid files


@functools.cache
def rows_of(source: str) -> list[rationales.Rationale]:
    rows = []
    for question in make_questions(TASK, 6, seed=1):
        asked = rationales.new_question(TASK, question.question, question.answer, "train")
        sampler = {"model": "rules", "temperature": 0.7, "top_k": 50, "seed": 0, "index": 0}
        text = explain(read_question(TASK, question.question))
        rows.append(rationales.judged(asked, text, source, sampler, get_task(TASK)))
    return rows


PARAMETERS = """\
run: tiny
tasks: [sandbox-sums]
train_questions: 40
dev_questions: 8
test_questions: 24
coverage: 0.6
mentor: sandbox-small
mentor_epochs: 2
mentor_learning_rate: 3.0e-3
samples: 2
temperature: 0.7
max_new_tokens: 60
backend: hf
student: sandbox-small
methods: [vanilla-kd, mentor-kd]
seeds: [0]
epochs: 2
batch_size: 8
soft_label_weight: 0.3
precision: auto
teacher: ''
protocol: sound
only_missed: false
cell_minutes: 5.0
"""
GRID = """\
sweep: small
threads: 1
cell_minutes: 5.0
train_questions: 32
mentor: sandbox-small
student: sandbox-small
epochs: 2
learning_rate: 3.0e-3
grid:
  task: [sandbox-sums]
  method: [vanilla-kd, mentor-kd]
  seed: [0, 1]
where:
  - if: {method: mentor-kd}
    then: {epochs: 3}
search:
  learning_rate: [1.0e-3, 2.0e-3]
"""
PROMPT = """\
mine:
  reason: "Q: {question} A:"
  conclude: "{question} {rationale} So?"
  stop: ["Q:", "End"]
  system: Think.
"""
PRICES = "currency: EUR\nmodels:\n  m: {input: 1.0, output: 2.5}\n  n: {input: 0, output: 0}\n"


def valid(folder: Path) -> Path:
    """A folder with one valid file of every kind."""
    rows = rows_of("teacher")
    asked = [rationales.new_question(TASK, row.question, row.answer, "train") for row in rows]
    asked += [
        rationales.new_question(TASK, f"What is {i} plus 1?", str(i + 1), s) for i, s in enumerate(("dev", "test"))
    ]
    task = folder / "run" / TASK
    write_text(task / "params.yaml", f"task: {TASK}\nprotocol: sound\n")
    write_json(
        task / "collected" / "task.json", {"name": TASK, "answer_type": "number", "title": "T", "choices": "ABC"}
    )
    rationales.write_questions(task / "collected" / "questions.jsonl", asked)
    rationales.write_rationales(task / "collected" / "teacher.jsonl", rows)
    rationales.write_rationales(task / "augmented" / "mentor.jsonl", rows_of("mentor"))
    finish(task / "collected", {"a": 1}, ["questions.jsonl", "teacher.jsonl"], questions={"train": 6})
    filter.filter_rationales(task, FilterSettings(min_words=2))
    for number, row in enumerate(rows):
        verdicts.add_verdict(task / "verdicts.jsonl", row.id, ("keep", "drop")[number % 2], "é \u2028 {}", "ann")
    predictions = [
        {"id": f"q{i}", "prediction": "1", "answer": "1", "correct": True, "miss": "", "text": "1"} for i in range(6)
    ]
    predictions = [{**row, "finished": True, "split": "test", "paper_correct": True} for row in predictions]
    write_jsonl(task / "students" / "vanilla-kd-seed0" / "predictions.jsonl", predictions)
    write_jsonl(task / "metrics.jsonl", [{"step": i, "loss": 1.5 / (i + 1), "time": 1000.0 + i} for i in range(6)])
    write_json(
        folder / "status.json",
        {"a/01": {"state": "ok", "seconds": 1.0, "made": {"x": "y"}}, "a/02": {"state": "failed"}},
    )
    write_text(folder / "params.yaml", PARAMETERS)
    write_text(folder / "override.txt", "learning_rate=3.0e-3")
    write_text(folder / "grid.yaml", GRID)
    write_text(folder / "prompt.yaml", PROMPT)
    write_text(folder / "prices.yaml", PRICES)
    table = [("question", "answer", "rationale", "split")]
    table += [(f"Ann has {i} pens and gets {i}. How many?", str(2 * i), f"It is {2 * i}.", "train") for i in range(9)]
    table += [("What is 1 plus 1?", "2", "", "dev"), ("What is 2 plus 1?", "3", "", "test")]
    write_text(folder / "own.csv", "".join(",".join(line) + "\n" for line in table))
    objects = [dict(zip(table[0], line, strict=True)) for line in table[1:]]
    write_jsonl(folder / "own.jsonl", objects)
    write_text(folder / "own.tsv", "".join("\t".join(line) + "\n" for line in table))
    write_json(folder / "own.json", objects)
    pandas.DataFrame(objects).to_parquet(folder / "own.parquet")
    write_text(folder / "questions.txt", "".join(f"{line[0]}\n" for line in table[1:]))
    for path, content in official_files.contents().items():
        if path.endswith(("main/svamp_3_train.json", "main/svamp_test.json")):
            (folder / Path(path).name).write_bytes(content)
    write_run(folder / "done", {"mentor": [3], "vanilla-kd": [2, 3]}, n=6)
    write_json(folder / "done" / "provenance.json", {"versions": {"torch": "2"}, "commit": "x", "seeds": {"a": 1}})
    write_json(folder / "done" / "status.json", {"a/01": {"state": "ok", "seconds": 1.0}})
    write_text(folder / "done" / "params.yaml", "run: done\nmethods: [vanilla-kd]\n")
    write_text(folder / "done" / TASK / "filter_counts.csv", ",teacher,mentor\nkept,5,4\nwrong,1,2\n")
    _replies(folder / "replies")
    tiny.llama(folder / "model")
    one = loading.load(folder / "model", "cpu")
    write_json(
        folder / "model" / loading.CARD,
        {"name": "m", "task": {"name": TASK, "answer_type": "number"}, "max_new_tokens": 3},
    )
    sampled(folder, one)
    write_json(task / "mentor" / "config.json", {"model_type": "llama"})
    scores = task / "confidence" / f"{loading.identity(task / 'mentor')}.jsonl"
    write_jsonl(
        scores,
        [
            {"id": row.id, "text": digest([row.question, rationales.target(row)])[:16], "confidence": -1.5}
            for row in rows
        ],
    )
    (folder / "adapters").mkdir()
    _adapters(folder / "adapters", one, folder / "model")
    examples, _ = encode(one, [(row.id, row.question, rationales.target(row)) for row in rows], 400)
    _labels(folder / "labels", one, examples)
    return folder


def _replies(folder: Path) -> None:
    with store.Replies(folder) as replies:
        for index in range(6):
            body = {"model": "m", "messages": [{"role": "user", "content": "Q?"}], "max_tokens": 9}
            request = store.Request("http://x", "chat", body, index)
            replies.sent(request, store.Cost(1, 9, 9))
            replies.add(request, store.Reply("It is 1.", "stop", 4, 5), store.Cost(1, 4, 5))


def _adapters(folder: Path, one: loading.Loaded, base: Path) -> None:
    from mentor_kd.models import lora

    adapted = lora.adapt(loading.load(base, "cpu").model, lora.LoraSettings(rank=2), seed=0)
    loading.save(folder, loading.Loaded("a", adapted, one.tokenizer), {"name": "a"}, adapters_of=str(base))


def _labels(folder: Path, one: loading.Loaded, examples: list) -> None:
    settings = soft_labels.SoftLabelSettings()
    soft_labels.cached(folder, "x" * 16, lambda: one, one.vocabulary, examples, settings)


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


def sampled(folder: Path, one: loading.Loaded) -> int:
    asked = [(row.id, row.question) for row in rows_of("teacher")]
    with contextlib.redirect_stderr(io.StringIO()):
        return len(list(generate_to(folder / "shards", one, asked, Sampling(max_new_tokens=2), {"model": "x"})))


def read_shards(folder: Path) -> None:
    assert sampled(folder, sampler(folder.parent / "valid" / "model")) == 6


def read_confidences(folder: Path) -> None:
    found = confidence.stored(folder / "run" / TASK, rows_of("teacher"))
    assert all(value is None or value <= 0 for value in found.values()), found


def read_labels(folder: Path) -> None:
    """Rows that are still whole are read; a damaged shard is removed, and its rows count as missing."""
    place = next(path for path in (folder / "labels").iterdir() if path.is_dir())
    found = soft_labels.SoftLabels(place, soft_labels.SoftLabelSettings(), 1024)
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
