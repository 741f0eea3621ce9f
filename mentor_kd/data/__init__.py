"""Questions, answers and rationales: tasks, answer extraction, row formats, splits, and where data come from."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
