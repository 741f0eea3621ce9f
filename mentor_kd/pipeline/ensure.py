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

# What `ensure` makes where a notebook's input is missing: small enough for a few seconds on a laptop.
SMOKE_COLLECT = CollectSettings(train_questions=40, dev_questions=16, test_questions=24)
SMOKE_TRAINING = TrainSettings(epochs=2, batch_size=16, learning_rate=3e-3)
SMOKE_SAMPLING = Sampling(n=3, temperature=0.7, top_k=50, max_new_tokens=80)
SMOKE_MODEL = "sandbox-small"


def ensure(folder: Path, needed: str) -> None:
    """Make what is missing up to "collected", "mentor", "augmented", "rationales" or "students", at smoke size.

    Questions come from the sandbox or, for one of the paper's tasks, from its data. InputError for any other task.
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
            print(f"{name} was missing in {folder.parent.name}/{folder.name}: made at smoke size in {seconds:.0f} s")
        if name == needed:
            return
    raise InputError(f"nothing is called {needed!r}; there are {', '.join(steps)}")
