"""Answering new questions with a saved student: from its folder alone, to text, CSV or JSONL."""

import csv
import io
from pathlib import Path

from . import models, own_data
from .files import InputError, read_json, read_text, write_jsonl, write_text
from .generation import Sampling, generate
from .models import CARD
from .rationales import normalise
from .tasks import Task, extract, split_target

COLUMNS = ("question", "prediction", "rationale", "miss")


def load_student(folder: Path) -> tuple[models.Loaded, Task, dict]:
    """A saved model with its task and card; InputError where the folder is none of ours."""
    folder = Path(folder)
    if not (folder / CARD).exists():
        raise InputError(f"{folder}: no {CARD} there; give the folder of a student, reports/<run>/<task>/students/...")
    card = read_json(folder / CARD)
    if "task" not in card:
        raise InputError(f"{folder}: its card names no task; it was not trained for one")
    return models.load(folder.resolve()), Task(**card["task"]), card


def answer(folder: Path, questions: list[str], batch_size: int = 64) -> list[dict]:
    """Greedy answers as rows of question, prediction (None if none was found), rationale and miss (why none)."""
    loaded, task, card = load_student(folder)
    asked = [normalise(question) for question in questions]
    for number, question in enumerate(asked, 1):
        if not question:
            raise InputError(f"question {number} is empty")
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
    """Questions from .txt (one a line), or the column `question` of a .csv or .jsonl file."""
    if path.suffix.lower() == ".txt":
        return [line for line in read_text(path).splitlines() if line.strip()]
    rows = own_data.read_rows(path)
    for line, row in rows:
        if "question" not in row:
            raise InputError(f"{path}, line {line}: the column 'question' is missing; there are {', '.join(row)}")
    return [str(row["question"]) for _, row in rows]


def check_out(path: str | None) -> None:
    """InputError where answers could not be written there: said before the work, not after."""
    if path is not None and Path(path).suffix.lower() not in (".csv", ".jsonl"):
        raise InputError(f"{path}: answers go to .csv or .jsonl, not {Path(path).suffix!r}")
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise InputError(f"{path}: there is no folder {Path(path).resolve().parent}")


def write_answers(rows: list[dict], path: Path | None) -> None:
    """Print answers, or write them to a .csv or .jsonl file."""
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
