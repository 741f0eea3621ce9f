"""The folder of a task in a run, and what the steps have written to it so far."""

import os
from pathlib import Path

from ..data import folder
from ..data.rationales import Question, Rationale
from ..data.tasks import Task
from .filter import rationales


class TaskFolder(os.PathLike):
    """reports/<run>/<task>: pass it to any step as a path, and read what the steps wrote.

    Raises InputError if run or task is not a valid folder name. A property or method raises it if the step that writes
    its data has not been run.
    """

    def __init__(self, run: str, task: str):
        self.path: Path = folder.task_folder(run, task)

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __repr__(self) -> str:
        return f"TaskFolder({self.path.parent.name!r}, {self.path.name!r})"

    @property
    def task(self) -> Task:
        """The task, as recorded by the collection."""
        return folder.task_of(self.path)

    @property
    def protocol(self) -> str:
        """`sound` or `paper`."""
        return folder.protocol_of(self.path)

    @property
    def teacher(self) -> list[Rationale]:
        """The teacher's rationales as collected, correct or not."""
        return folder.teacher_rows(self.path)

    def questions(self, split: str) -> list[Question]:
        """The questions of a split: train, dev or test."""
        return folder.questions(self.path, split)

    def rationales(self) -> list[Rationale]:
        """All rationales, the teacher's and the mentor's, with all decisions of filters and verdicts so far."""
        return rationales(self.path)
