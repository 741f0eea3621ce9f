"""One valid file of every kind that the project reads, in one folder."""

import contextlib
import functools
import io
from pathlib import Path

import official_files
import pandas
import tiny
from finished_run import write_run

from mentor_kd.data import rationales
from mentor_kd.data.sandbox import explain, make_questions, read_question
from mentor_kd.data.tasks import get_task
from mentor_kd.files import digest, write_json, write_jsonl, write_text
from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.manifests import finish
from mentor_kd.models import loading
from mentor_kd.models.batches import encode
from mentor_kd.models.generation import Sampling, generate_to
from mentor_kd.pipeline import filter
from mentor_kd.teacher import store
from mentor_kd.training import soft_labels
from mentor_kd.training.soft_label_cache import SoftLabelSettings

TASK = "sandbox-sums"


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
    settings = SoftLabelSettings()
    soft_labels.cached(folder, "x" * 16, lambda: one, one.vocabulary, examples, settings)


def sampled(folder: Path, one: loading.Loaded) -> int:
    asked = [(row.id, row.question) for row in rows_of("teacher")]
    with contextlib.redirect_stderr(io.StringIO()):
        return len(list(generate_to(folder / "shards", one, asked, Sampling(max_new_tokens=2), {"model": "x"})))
