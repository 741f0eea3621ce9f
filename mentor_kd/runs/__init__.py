"""Headless runs and sweeps of the notebooks, and the studies of the paper's tables and figures."""

from .. import submodules

__getattr__ = submodules(__name__)
