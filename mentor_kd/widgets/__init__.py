"""Notebook widgets: the rationale explorer, the soft-label lens, and the live training view."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
