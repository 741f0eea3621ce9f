"""Missing inputs of a notebook, created so that every notebook runs alone.

Checks which of collected/, mentor/, augmented/, rationales.jsonl and students/ exist in a task's folder, and runs the
steps that write the missing ones: with the parameters of the run if it has some, else at the quick size.
"""

import time
from pathlib import Path

from ..checks import require_choice
from ..data.tasks import TASKS
from ..files import InputError
from ..models import ct2
from . import parameters, sizes
from .augment import augment
from .collect import collect
from .distill import distill
from .filter import filter_rationales
from .mentor import train_mentor

STEPS = ("collected", "mentor", "augmented", "rationales", "students")


def ensure(folder: Path, needed: str) -> None:
    """Create what is missing up to "collected", "mentor", "augmented", "rationales" or "students".

    The parameters are those that the run was started with; otherwise those of `sizes.size`. Questions come from the
    sandbox or, for one of the paper's tasks, from its data. Raises InputError for other tasks.
    """
    folder = Path(folder)
    require_choice("needed", needed, STEPS)
    if not (folder / "collected" / "manifest.json").exists() and folder.name not in TASKS:
        raise InputError(f"task {folder.name!r} is your own: run notebook 01 first, with data and answer_type")
    data = "official" if folder.name in TASKS and TASKS[folder.name].official else "sandbox"
    run, task = folder.parent.name, folder.name
    given = {"data": data, **sizes.size(), **sizes.of_run(folder.parent), "run": run, "task": task}
    length = given.get("max_length", 512)

    def collected() -> None:
        collect(folder, task, parameters.collect_settings(given))

    def augmented() -> None:
        sampling = parameters.sampling(given, parameters.mentor_length(folder))
        augment(folder, sampling, parameters.augmenter(given), given.get("backend", ct2.REFERENCE))

    def students() -> None:
        for method, settings in parameters.students(given):
            distill(folder, method, given["student"], settings, length)

    steps = {
        "collected": ("collected/manifest.json", collected),
        "mentor": (
            "mentor/manifest.json",
            lambda: train_mentor(folder, given["mentor"], parameters.mentor_settings(given), length),
        ),
        "augmented": ("augmented/manifest.json", augmented),
        "rationales": ("rationales.jsonl", lambda: filter_rationales(folder, parameters.filter_settings(given))),
        "students": ("students/*/manifest.json", students),
    }
    for name, (result, make) in steps.items():
        if not list(folder.glob(result)):
            print(f"{name}: missing in {run}/{task}, created now ({_told(given)})")
            started = time.monotonic()
            make()
            print(f"{name}: created in {time.monotonic() - started:.0f} s")
        if name == needed:
            return


def _told(given: dict) -> str:
    size = given["train_questions"] or "all"
    return f"{size} training questions, mentor {given['mentor']}, student {given['student']}"
