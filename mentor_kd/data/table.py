"""Your own data: a CSV or JSONL table of questions, answers and, optionally, rationales."""

import csv
import io
from pathlib import Path

from ..files import InputError, read_jsonl, read_text
from .rationales import Question, Rationale, new_question, new_rationale
from .tasks import Task, judge, same_answer, split_target

COLUMNS = ("question", "answer", "rationale", "split")


def read_rows(path: Path) -> list[tuple[int, dict]]:
    """Read the rows of a CSV or JSONL file with their line numbers; InputError names file and line."""
    if path.suffix.lower() == ".jsonl":
        return list(read_jsonl(path))
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path}: a table must end in .csv or .jsonl, got {path.suffix!r}")
    reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff")), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}, line {reader.line_num}: expected {len(reader.fieldnames or [])} columns; "
                    f"put texts that contain commas in quotes"
                )
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.reader.line_num}: not valid CSV ({error})") from None
    return rows


def read_table(path: Path, task: Task) -> tuple[list[Question], list[Rationale]]:
    """The questions and teacher rationales of a table with the columns question, answer, [rationale], [split].

    A question may have several lines, each with a rationale. `split` is train, dev or test (train if empty). A
    rationale's answer is extracted from its text; if the text has no marker and states no answer, the rationale counts
    as concluding with the line's answer. Raises InputError that names file and line.
    """
    path = Path(path)
    rows = read_rows(path)
    if not rows:
        raise InputError(f"{path}: the table has no rows")
    found: dict[str, Question] = {}
    rationales: list[Rationale] = []
    counts: dict[str, int] = {}
    for line, row in rows:
        unknown = sorted(set(row) - set(COLUMNS))
        if unknown:
            raise InputError(
                f"{path}, line {line}: unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}"
            )
        for name in ("question", "answer"):
            if name not in row:
                raise InputError(f"{path}, line {line}: the column {name!r} is missing; add it")
        for name, value in row.items():
            number = name == "answer" and isinstance(value, int | float) and not isinstance(value, bool)
            missing = value is None and name not in ("question", "answer")
            if not (isinstance(value, str) or number or missing):
                raise InputError(f"{path}, line {line}: {name} must be a string, got {value!r}")
        split = (row.get("split") or "").strip() or "train"
        try:
            question = new_question(task.name, row["question"], str(row["answer"]), split)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if not same_answer(task, question.answer, question.answer):
            raise InputError(
                f"{path}, line {line}: the answer {question.answer!r} is not of type {task.answer_type!r}"
                + (f" (one of the letters {task.choices})" if task.answer_type == "choice" else "")
            )
        before = found.setdefault(question.id, question)
        if before != question:
            raise InputError(
                f"{path}, line {line}: the same question has answer {before.answer!r} and split "
                f"{before.split!r} above, but {question.answer!r} and {question.split!r} here; make them equal"
            )
        if not (row.get("rationale") or "").strip():
            continue
        index = counts.get(question.id, 0)
        counts[question.id] = index + 1
        sampler = {"model": path.name, "temperature": None, "top_k": None, "seed": None, "index": index}
        rationales.append(_judged(question, row["rationale"], sampler, task))
    return list(found.values()), rationales


def _judged(question: Question, text: str, sampler: dict, task: Task) -> Rationale:
    rationale, conclusion = split_target(text)
    found = judge(task, text, question.answer, question.question)
    # A negated answer, or several answers, count as a miss. Only a text that states none takes the table's answer.
    taken = conclusion is None and found.reason.startswith("no ") and found.reason.endswith(" is stated")
    return new_rationale(
        question,
        rationale,
        "teacher",
        sampler,
        prediction=found.prediction,
        correct=found.correct or taken,
        miss="no conclusion stated; the table's answer was taken" if taken else found.reason,
        original=text,
    )
