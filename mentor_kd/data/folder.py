"""Task folders: the folder of a task in a run, and what the collection step recorded there."""

import re
from pathlib import Path

from ..files import InputError, read_json, read_yaml, reports_root
from .rationales import Question, Rationale, read_questions, read_rationales
from .tasks import Task


def task_folder(run: str, task: str) -> Path:
    """The folder of a task in a run: reports/<run>/<task>."""
    for name, value in (("run", run), ("task", task)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", value):
            raise InputError(f"{name} must be a folder name of letters, digits, '-', '_' and '.', got {value!r}")
    return reports_root() / run / task


def task_of(folder: Path) -> Task:
    """The task of a folder, as recorded by the collection step."""
    return Task(**read_json(Path(folder) / "collected" / "task.json"))


def protocol_of(folder: Path) -> str:
    """The protocol recorded in a task's folder, "sound" or "paper"; "sound" if none is recorded."""
    path = Path(folder) / "params.yaml"
    return (read_yaml(path) or {}).get("protocol", "sound") if path.exists() else "sound"


def questions(folder: Path, split: str) -> list[Question]:
    """The questions of one split."""
    return [q for q in read_questions(Path(folder) / "collected" / "questions.jsonl") if q.split == split]


def teacher_rows(folder: Path) -> list[Rationale]:
    """The teacher's rationales as collected."""
    return read_rationales(Path(folder) / "collected" / "teacher.jsonl")


def missed(folder: Path) -> list[Question]:
    """The training questions without a correct teacher rationale: answered wrongly, or never asked.

    Raises InputError if there are none.
    """
    explained = {row.question_id for row in teacher_rows(folder) if row.correct}
    found = [q for q in questions(folder, "train") if q.id not in explained]
    if not found:
        raise InputError(
            f"{Path(folder).name}: the teacher has a correct rationale for every training question, so none is missed; "
            f"lower teacher_share (or coverage, in the sandbox), or set only_missed to false"
        )
    return found
