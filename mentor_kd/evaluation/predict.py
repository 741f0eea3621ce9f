"""Predictions: greedy answers to known and new questions with the reference backend, and dev scores.

A dev evaluation is cheap: questions are sorted by length, answers are capped slightly above the lengths seen in
training, and the evaluation ends once the epoch can no longer be selected.
"""

import csv
import io
import math
from pathlib import Path

from ..data import table
from ..data.rationales import Question, normalise
from ..data.tasks import Task, extract, judge, split_target
from ..files import InputError, read_json, read_text, write_jsonl, write_text
from ..models import loading
from ..models.batches import Example
from ..models.generation import Sampling, Text, by_length, generate
from ..models.loading import CARD, Loaded, encode_prompt
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
    prompts = [encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question.question) for question in asked]
    batches = by_length(prompts, sampling.prompts_at_once)
    right = ([row[verdict] for row in predictions(loaded, [asked[i] for i in b], task, sampling)] for b in batches)
    return score_while_open(right, len(asked), to_beat)


COLUMNS = ("question", "prediction", "rationale", "miss")


def load_student(folder: Path) -> tuple[loading.Loaded, Task, dict]:
    """A saved model with its task and model card. Raises InputError if the folder is not a model of this project."""
    folder = Path(folder)
    if not (folder / CARD).exists():
        raise InputError(
            f"{folder}: {CARD} is missing; pass the folder of a student, reports/<run>/<task>/students/..."
        )
    card = read_json(folder / CARD)
    if "task" not in card:
        raise InputError(f"{folder}: the model card has no task; pass a model trained on a task")
    return loading.load(folder.resolve()), Task(**card["task"]), card


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
    texts = generate(loaded, asked, Sampling(max_new_tokens=card["max_new_tokens"], batch_size=batch_size))
    rows = []
    for question, (text,) in zip(asked, texts, strict=True):
        found = extract(task, text.text, question)
        miss = found.reason or ("" if text.finished else "the answer was cut at the model's usual length")
        rows.append(
            {"question": question, "prediction": found.value, "rationale": split_target(text.text)[0], "miss": miss}
        )
    return rows


def read_list(path: Path) -> list[str]:
    """Questions from a .txt file (one per line), or from the column `question` of a .csv or .jsonl file."""
    if path.suffix.lower() == ".txt":
        return [line for line in read_text(path).splitlines() if line.strip()]
    rows = table.read_rows(path)
    for line, row in rows:
        if "question" not in row:
            raise InputError(f"{path}, line {line}: column 'question' is missing, found {', '.join(row)}")
    return [str(row["question"]) for _, row in rows]


def check_out(path: str | None) -> None:
    """Raise InputError if answers cannot be written to `path`; call before predicting."""
    if path is not None and Path(path).suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{path}: the output file must end in .csv or .jsonl, got {Path(path).suffix!r}")
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise InputError(f"{path}: folder {Path(path).resolve().parent} does not exist; create it first")


def write_answers(rows: list[dict], path: Path | None) -> None:
    """Write answers to a .csv or .jsonl file, or print them if `path` is None."""
    if path is None:
        for row in rows:
            print(f"Q: {row['question']}\n   {row['rationale']}\nA: {row['prediction'] or '? ' + row['miss']}\n")
    elif path.suffix.lower() == ".csv":
        stream = io.StringIO()
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, stream.getvalue())
    else:
        write_jsonl(path, rows)
