"""A workbench for reasoning distillation: Mentor-KD (Lee et al., EMNLP 2024) and its relatives.

The names in `__all__` are the Python API; each is imported when it is first used, so `import mentor_kd` is quick and
needs no torch. Everything else is reached by its place, such as `mentor_kd.training.losses`.
"""

import os
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from .lazy import submodules

os.environ["USE_HUB_KERNELS"] = "0"  # transformers reads it when it is imported: no kernel is ever fetched

__version__ = "0.2.0"

if TYPE_CHECKING:  # for editors and type checkers; the table below is what counts at run time
    from .evaluation.metrics import accuracy_table, compare, summarise
    from .evaluation.predict import predict
    from .files import InputError
    from .filtering.filters import FilterSettings
    from .models.generation import Sampling
    from .pipeline import parameters
    from .pipeline.augment import Augmenter, augment
    from .pipeline.collect import CollectSettings, collect
    from .pipeline.distill import distill
    from .pipeline.ensure import ensure
    from .pipeline.filter import filter_rationales
    from .pipeline.mentor import train_mentor
    from .pipeline.task_folder import TaskFolder
    from .report import charts
    from .training.losses import LossSettings
    from .training.methods import METHODS
    from .training.settings import TrainSettings
    from .widgets.explorer.explorer import explore
    from .widgets.lens.widget import Lens
    from .widgets.live import Live

__all__ = [
    "TaskFolder",
    "collect",
    "train_mentor",
    "augment",
    "filter_rationales",
    "distill",
    "ensure",
    "CollectSettings",
    "TrainSettings",
    "LossSettings",
    "Augmenter",
    "Sampling",
    "FilterSettings",
    "METHODS",
    "parameters",
    "predict",
    "accuracy_table",
    "summarise",
    "compare",
    "charts",
    "explore",
    "Lens",
    "Live",
    "InputError",
]
_PLACES = {
    "TaskFolder": "pipeline.task_folder",
    "collect": "pipeline.collect",
    "train_mentor": "pipeline.mentor",
    "augment": "pipeline.augment",
    "filter_rationales": "pipeline.filter",
    "distill": "pipeline.distill",
    "ensure": "pipeline.ensure",
    "CollectSettings": "pipeline.collect",
    "TrainSettings": "training.settings",
    "LossSettings": "training.losses",
    "Augmenter": "pipeline.augment",
    "Sampling": "models.generation",
    "FilterSettings": "filtering.filters",
    "METHODS": "training.methods",
    "parameters": "pipeline",
    "predict": "evaluation.predict",
    "accuracy_table": "evaluation.metrics",
    "summarise": "evaluation.metrics",
    "compare": "evaluation.metrics",
    "charts": "report",
    "explore": "widgets.explorer.explorer",
    "Lens": "widgets.lens.widget",
    "Live": "widgets.live",
    "InputError": "files",
}


_modules = submodules(__name__)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        return _modules(name)
    value = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *(module.name for module in iter_modules(__path__))})
