"""Measurements of speed and memory for notebook 90."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
