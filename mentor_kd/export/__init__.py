"""Results for other programs: the distillation set, models with Hub cards, and the task for lm-evaluation-harness."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
