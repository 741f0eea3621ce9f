import re
from pathlib import Path

from ..files import InputError, read_json, read_yaml, reports_root
from .rationales import Question, Rationale, read_questions, read_rationales
from .tasks import Task


def task_folder(run: str, task: str) -> Path:
    """Where a run keeps a task: reports/<run>/<task>."""
    for name, value in (("run", run), ("task", task)):
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", value):
            raise InputError(f"{name} must be letters, digits, '-', '_' and '.', as it names a folder, got {value!r}")
    return reports_root() / run / task


def task_of(folder: Path) -> Task:
    """The task whose folder this is, as the collection step wrote it down."""
    return Task(**read_json(Path(folder) / "collected" / "task.json"))


def protocol_of(folder: Path) -> str:
    """The protocol of a task's folder, `sound` or `paper`, as the collection wrote it down; `sound` if it did not."""
    path = Path(folder) / "params.yaml"
    return (read_yaml(path) or {}).get("protocol", "sound") if path.exists() else "sound"


def questions(folder: Path, split: str) -> list[Question]:
    """The questions of one split."""
    return [q for q in read_questions(Path(folder) / "collected" / "questions.jsonl") if q.split == split]


def teacher_rows(folder: Path) -> list[Rationale]:
    """The teacher's rationales as collected."""
    return read_rationales(Path(folder) / "collected" / "teacher.jsonl")


def missed(folder: Path) -> list[Question]:
    """The training questions of which the teacher has no right rationale: it got them wrong, or was not asked.

    InputError where there is none.
    """
    explained = {row.question_id for row in teacher_rows(folder) if row.correct}
    found = [q for q in questions(folder, "train") if q.id not in explained]
    if not found:
        raise InputError(
            f"{Path(folder).name}: the teacher has a right rationale of every training question, so none is missed; "
            f"lower teacher_share (or coverage, in the sandbox), or set only_missed to false"
        )
    return found
