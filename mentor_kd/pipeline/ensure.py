"""Missing inputs of a notebook, created at smoke size so that every notebook runs alone.

Checks which of collected/, mentor/, augmented/, rationales.jsonl and students/ exist in a task's folder, and runs the
steps that write the missing ones.
"""

import dataclasses
import time
from pathlib import Path

from ..data.tasks import TASKS
from ..files import InputError
from ..filtering.filters import FilterSettings
from ..models.generation import Sampling
from ..training.methods import USUAL
from ..training.settings import TrainSettings
from .augment import augment
from .collect import CollectSettings, collect
from .distill import distill
from .filter import filter_rationales
from .mentor import train_mentor

# Small enough for a few seconds on a laptop.
SMOKE_COLLECT = CollectSettings(train_questions=40, dev_questions=16, test_questions=24)
SMOKE_TRAINING = TrainSettings(epochs=2, batch_size=16, learning_rate=3e-3)
SMOKE_SAMPLING = Sampling(n=3, temperature=0.7, top_k=50, max_new_tokens=80)
SMOKE_MODEL = "sandbox-small"


def ensure(folder: Path, needed: str) -> None:
    """Create what is missing up to "collected", "mentor", "augmented", "rationales" or "students", at smoke size.

    Questions come from the sandbox or, for one of the paper's tasks, from its data. Raises InputError for other tasks.
    """
    folder = Path(folder)
    if not (folder / "collected" / "manifest.json").exists() and folder.name not in TASKS:
        raise InputError(f"task {folder.name!r} is your own: run notebook 01 first, with data and answer_type")
    source = "official" if folder.name in TASKS and TASKS[folder.name].official else "sandbox"
    smoke = dataclasses.replace(SMOKE_COLLECT, data=source)

    def students() -> None:
        for method in USUAL:
            distill(folder, method, SMOKE_MODEL, SMOKE_TRAINING)

    steps = {
        "collected": ("collected/manifest.json", lambda: collect(folder, folder.name, smoke)),
        "mentor": ("mentor/manifest.json", lambda: train_mentor(folder, SMOKE_MODEL, SMOKE_TRAINING)),
        "augmented": ("augmented/manifest.json", lambda: augment(folder, SMOKE_SAMPLING)),
        "rationales": ("rationales.jsonl", lambda: filter_rationales(folder, FilterSettings())),
        "students": ("students/*/manifest.json", students),
    }
    for name, (result, make) in steps.items():
        if not list(folder.glob(result)):
            started = time.monotonic()
            make()
            seconds = time.monotonic() - started
            print(f"{name} was missing in {folder.parent.name}/{folder.name}: created at smoke size in {seconds:.0f} s")
        if name == needed:
            return
    raise InputError(f"needed must be one of {', '.join(steps)}, got {needed!r}")
