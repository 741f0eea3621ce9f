"""Sizes of a run: the quick size, which the notebooks and `make reproduce` have, and the smoke size of the tests.

Both are parameters as notebooks have them. The quick size takes minutes on two cores and gives results worth reading;
the smoke size takes seconds and gives none. The environment variable MENTOR_KD_SMOKE chooses the smoke size.
"""

import os
from pathlib import Path
from typing import Any

from ..files import read_settings

SMOKE_VARIABLE = "MENTOR_KD_SMOKE"
QUICK: dict[str, Any] = {
    "run": "quick",
    "task": "sandbox-sums",
    **{"train_questions": 300, "dev_questions": 60, "test_questions": 300, "coverage": 0.6, "rationales": 3},
    **{"mentor": "sandbox-base", "mentor_epochs": 8, "mentor_batch_size": 16, "mentor_learning_rate": 1.5e-3},
    **{"samples": 3, "temperature": 0.7, "top_k": 50, "max_new_tokens": 0, "generation_batch": 192},
    **{"student": "sandbox-small", "methods": ["vanilla-kd", "vanilla-kd-step-matched", "mentor-kd"], "seeds": [0]},
    **{"epochs": 8, "batch_size": 16, "learning_rate": 1e-3},
}
SMOKE: dict[str, Any] = QUICK | {
    "run": "smoke",
    "task": "sandbox-letters",
    **{"train_questions": 40, "dev_questions": 16, "test_questions": 24},
    **{"mentor": "sandbox-small", "mentor_epochs": 2, "mentor_learning_rate": 3e-3, "generation_batch": 64},
    **{"max_new_tokens": 80, "epochs": 2, "learning_rate": 3e-3},
}


def is_smoke() -> bool:
    """Whether the environment asks for the smoke size."""
    return os.environ.get(SMOKE_VARIABLE, "") not in ("", "0")


def size() -> dict[str, Any]:
    """The parameters of the size that the environment asks for."""
    return SMOKE if is_smoke() else QUICK


def grid(name: str) -> str:
    """The grid of a study: at the smoke size `smoke-...` in place of `sandbox-...`."""
    return name.replace("sandbox-", "smoke-", 1) if is_smoke() else name


def of_run(folder: Path) -> dict[str, Any]:
    """The parameters that a run was started with (reports/<run>/params.yaml); empty if it has none."""
    path = Path(folder) / "params.yaml"
    return dict(read_settings(path)) if path.is_file() else {}
