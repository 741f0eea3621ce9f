"""Headless runs and sweeps of the notebooks, and studies that reproduce the paper's tables and figures."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
