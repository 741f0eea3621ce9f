"""Task folders: the folder of a task in a run, and what the collection step recorded there."""

import re
from pathlib import Path
from typing import Any

from ..checks import require_choice
from ..files import InputError, build, read_record, read_settings, reports_root
from ..parsing import shown
from .rationales import Question, Rationale, read_questions, read_rationales
from .tasks import PROTOCOLS, Task


def require_folder_name(name: str, value: Any) -> None:
    """Require a name that can be a folder's: it stays inside the folder that it is created in."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", value):
        raise InputError(
            f"{name} must be a folder name of at most 100 letters, digits, '-', '_' and '.', got {shown(value)}"
        )


def task_folder(run: str, task: str) -> Path:
    """The folder of a task in a run: reports/<run>/<task>."""
    for name, value in (("run", run), ("task", task)):
        require_folder_name(name, value)
    return reports_root() / run / task


def task_of(folder: Path) -> Task:
    """The task of a folder, as recorded by the collection step; InputError if its file was changed."""
    path = Path(folder) / "collected" / "task.json"
    return build(Task, read_record(path), path)


def protocol_of(folder: Path) -> str:
    """The protocol recorded in a task's folder, "sound" or "paper"; "sound" if none is recorded."""
    path = Path(folder) / "params.yaml"
    if not path.exists():
        return "sound"
    protocol = read_settings(path).get("protocol", "sound")
    require_choice(f"{path}: protocol", protocol, PROTOCOLS)
    return protocol


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
