"""The steps of the story, each from files to files in a task's folder."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
