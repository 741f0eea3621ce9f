"""The teacher: request rationales from a language model, and store every paid reply."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
