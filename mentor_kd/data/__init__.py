"""Questions, answers and rationales: tasks, answer extraction, row formats, splits, and data sources."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
