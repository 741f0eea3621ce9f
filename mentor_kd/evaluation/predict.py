"""Predictions: greedy answers to known and new questions with the reference backend, and dev scores.

A dev evaluation is cheap: questions are sorted by length, answers are capped slightly above the lengths seen in
training, and the evaluation ends once the epoch can no longer be selected.
"""

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..data import sources
from ..data.rationales import Question, normalise
from ..data.spreadsheet import neutral
from ..data.tasks import Task, extract, judge, split_target
from ..files import InputError, RunFailed, build, read_lines, read_record, write_jsonl, write_text
from ..models import loading
from ..models.batches import Example
from ..models.generation import Sampling, Text, by_length, generate
from ..models.loading import CARD, Loaded
from ..parsing import has_half_surrogate, shown
from ..progress import Progress, visible
from .metrics import DevScore, score_while_open


def answer_cap(examples: list[Example], longest: int) -> int:
    """Token limit of an answer: 1.2 times the 99.5th percentile of the training targets plus 4, at most `longest`."""
    lengths = sorted(len(e.target) for e in examples)
    usual = lengths[min(len(lengths) - 1, math.floor(0.995 * len(lengths)))]
    return min(longest, math.ceil(1.2 * usual) + 4)


def _prediction(question: Question, text: Text, task: Task) -> dict:
    found = judge(task, text.text, question.answer, question.question)
    as_paper = judge(task, text.text, question.answer, question.question, mode="paper")
    return {
        "id": question.id,
        "question": question.question,
        "prediction": found.prediction,
        "answer": question.answer,
        "correct": found.correct,
        "miss": found.reason,
        "text": text.text,
        "finished": text.finished,
        "split": question.split,
        "paper_correct": as_paper.correct,
    }


def predictions(loaded: Loaded, asked: list[Question], task: Task, sampling: Sampling) -> list[dict]:
    """Prediction rows for questions with known answers; greedy decoding unless `sampling` sets a temperature."""
    texts = generate(loaded, [q.question for q in asked], sampling)
    return [_prediction(q, text[0], task) for q, text in zip(asked, texts, strict=True)]


def dev_score(
    loaded: Loaded,
    asked: list[Question],
    task: Task,
    sampling: Sampling,
    to_beat: float | None = None,
    verdict: str = "correct",
) -> DevScore:
    """Accuracy on dev questions, evaluated batch by batch while an accuracy above `to_beat` is still possible.

    `verdict` is the field that counts as right: "correct", or the official evaluator's "paper_correct".
    """
    prompts = [loaded.prompt(question.question) for question in asked]
    batches = by_length(prompts, sampling.prompts_at_once)
    with Progress("dev evaluation", len(asked), "questions", inner=True) as progress:

        def right() -> Iterator[list[bool]]:
            for batch in batches:
                rows = predictions(loaded, [asked[i] for i in batch], task, sampling)
                progress.advance(len(batch))
                yield [row[verdict] for row in rows]

        return score_while_open(right(), len(asked), to_beat)


COLUMNS = ("question", "prediction", "rationale", "miss")
LONGEST_ANSWER = 32_768  # tokens; no model card of this project asks for more


def load_student(folder: Path) -> tuple[loading.Loaded, Task, dict]:
    """A saved model with its task and model card. Raises InputError if the folder is not a model of this project."""
    folder = Path(folder)
    if not (folder / CARD).exists():
        raise InputError(
            f"{folder}: {CARD} is missing; pass the folder of a student, reports/<run>/<task>/students/..."
        )
    card = read_record(folder / CARD)
    if "task" not in card:
        raise InputError(f"{folder}: the model card has no task; pass a model trained on a task")
    card = read_record(folder / CARD, task=dict, max_new_tokens=int)
    if card["max_new_tokens"] > LONGEST_ANSWER:
        raise InputError(f"{folder / CARD}: max_new_tokens must be <= {LONGEST_ANSWER}, got {card['max_new_tokens']}")
    task = build(Task, card["task"], folder / CARD)
    return loading.load(folder.resolve()), task, card


def predict(folder: Path, questions: list[str], batch_size: int = 64) -> list[dict]:
    """Greedy answers to new questions.

    Rows have question, prediction (None if no answer was found), rationale, and miss (why there is no answer). Raises
    InputError for an empty question and for a folder that is not a saved model.
    """
    loaded, task, card = load_student(folder)
    asked = [normalise(question) for question in questions]
    for number, question in enumerate(asked, 1):
        if not question:
            raise InputError(f"question {number} is empty; remove it or fill it in")
        if has_half_surrogate(question):
            raise InputError(f"question {number} is not UTF-8 text, got {shown(question)}")
    longest = min(card["max_new_tokens"], _room(loaded, asked))
    texts = generate(loaded, asked, Sampling(max_new_tokens=longest, batch_size=batch_size))
    rows = []
    for question, (text,) in zip(asked, texts, strict=True):
        found = extract(task, text.text, question)
        miss = found.reason or ("" if text.finished else "the answer was cut at the model's usual length")
        rows.append(
            {"question": question, "prediction": found.value, "rationale": split_target(text.text)[0], "miss": miss}
        )
    return rows


def _room(loaded: Loaded, asked: list[str]) -> int:
    """How many tokens the model's positions leave for answers; InputError names a question that fills them."""
    positions = getattr(loaded.model.config, "max_position_embeddings", None)
    if loaded.encoder_decoder or not isinstance(positions, int):
        return LONGEST_ANSWER
    lengths = [len(loaded.prompt(question)) for question in asked]
    for number, length in enumerate(lengths, 1):
        if length >= positions:
            raise InputError(f"question {number} has {length} tokens, but the model reads at most {positions}")
    return positions - max(lengths)


def read_list(path: Path) -> list[str]:
    """Questions from a .txt file (one per line), or from the column `question` of any table that `sources` reads."""
    if path.suffix.lower() == ".txt":
        return [line for line in read_lines(path) if line.strip()]
    rows = sources.read(path)
    for row in rows:
        if "question" not in row.values:
            raise InputError(f"{path}, {row.place}: column 'question' is missing, found {', '.join(row.values)}")
        if not isinstance(row.values["question"], str):
            raise InputError(f"{path}, {row.place}: question must be a string, got {shown(row.values['question'])}")
    return [row.values["question"] for row in rows]


def check_out(path: str | None) -> None:
    """Raise InputError if answers cannot be written to `path`; call before predicting."""
    if path is None:
        return
    if Path(path).suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{path}: the output file must end in .csv or .jsonl, got {Path(path).suffix!r}")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise InputError(f"{path}: folder {folder} does not exist; create it first")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise InputError(f"{path}: exists and is not a regular file; choose another name")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{path}: folder {folder} cannot be written to ({error.strerror}); choose another") from None


def write_answers(rows: list[dict], path: Path | None) -> None:
    """Write answers to a .csv or .jsonl file, or print them if `path` is None.

    If the file cannot be written, such as on a full disk, the answers are printed as JSONL and RunFailed is raised.
    """
    if path is None:
        for row in rows:
            answer = row["prediction"] or "? " + row["miss"]
            print(visible(f"Q: {row['question']}\n   {row['rationale']}\nA: {answer}\n"))
        return
    try:
        _write_answers(rows, path)
    except OSError as error:
        print(*(json.dumps(row) for row in rows), sep="\n", flush=True)
        raise RunFailed(f"{path}: cannot be written ({error.strerror}); the answers were printed instead") from None


def _write_answers(rows: list[dict], path: Path) -> None:
    if path.suffix.lower() == ".csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({name: neutral(value) for name, value in row.items()} for row in rows)
        write_text(path, stream.getvalue())
    else:
        write_jsonl(path, rows)
