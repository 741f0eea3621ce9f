"""The soft-label lens of notebook 05."""

from ...lazy import submodules

__getattr__ = submodules(__name__)
