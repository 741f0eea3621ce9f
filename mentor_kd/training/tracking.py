"""Experiment trackers that follow a training run: TensorBoard, Trackio, Weights & Biases, MLflow.

transformers' Trainer has a callback for each of them. Here they get the name of the training and a folder for their
files, reports/<run>/tracking/ (the cells of a sweep share one). What a person has set for Weights & Biases or MLflow in
the environment, such as WANDB_PROJECT or MLFLOW_TRACKING_URI, takes precedence. Trackio keeps the folder that it had
when it was imported, so one process should train for one run or sweep.
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..checks import require_choice, require_list
from ..files import InputError
from .methods import SELF_MENTOR

TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow")
FOLDER = "tracking"


def check_trackers(names: Any) -> None:
    """Raise InputError unless `names` is a list of distinct names of trackers; it may be empty."""
    require_list("report_to", list(names) if isinstance(names, tuple) else names, str)
    for name in names:
        require_choice("report_to", name, TRACKERS)


def require_packages(names: Iterable[str]) -> None:
    """Raise InputError if the package of a tracker is not installed."""
    missing = [name for name in names if name in TRACKERS and importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"report_to: {' and '.join(missing)} must be installed first: {sys.executable} -m pip install "
            f"{' '.join(missing)}"
        )


def place(model: Path) -> tuple[Path, str]:
    """The tracking folder of a model's folder, and the name of its training: <run>/<task>/<mentor or method-seed>.

    A model is in reports/<run>/<task>/mentor, in students/<method>-seed<k> there, or in self-mentor/mentor.
    """
    model = model.resolve()
    name, task = model.name, model.parents[1] if model.parent.name == "students" else model.parent
    if task.name == SELF_MENTOR:
        name, task = SELF_MENTOR, task.parent
    return task.parent / FOLDER, f"{task.parent.name}/{task.name}/{name}"


def arguments(names: Iterable[str], model: Path) -> dict[str, Any]:
    """The arguments of transformers' TrainingArguments for these trackers."""
    folder, name = place(model)
    project = folder.resolve().parent.name  # the run or, because its cells have a link, the sweep
    return {"report_to": list(names), "run_name": name, "project": project, "trackio_static_space_id": False}


@contextlib.contextmanager
def tracked(names: Iterable[str], model: Path) -> Iterator[None]:
    """Create the Trainer and train inside this block: the trackers write to the run's folder, and end with the block.

    They read their folders from environment variables, which are restored afterwards.
    """
    folder, name = place(model)
    project = folder.resolve().parent.name
    own = {
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard" / name)},
        "trackio": {"TRACKIO_DIR": str(folder.resolve() / "trackio")},
        "wandb": {"WANDB_DIR": str(folder), "WANDB_PROJECT": project},
        "mlflow": {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "MLFLOW_EXPERIMENT_NAME": project},
    }
    before = dict(os.environ)
    for one in names:
        folder.mkdir(parents=True, exist_ok=True)
        for variable, value in own[one].items():
            os.environ[variable] = before.get(variable, value) if one in ("wandb", "mlflow") else value
    try:
        yield
    finally:
        _end(names)
        for variable in {variable for one in names for variable in own[one]}:
            os.environ.pop(variable)
            if variable in before:
                os.environ[variable] = before[variable]


def _end(names: Iterable[str]) -> None:
    """End the runs that a callback leaves open, so that the next training of this process starts its own run."""
    if "wandb" in names and "wandb" in sys.modules:
        sys.modules["wandb"].finish()
    if "mlflow" in names and "mlflow" in sys.modules:
        sys.modules["mlflow"].end_run()
