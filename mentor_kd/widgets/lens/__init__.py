"""The soft-label lens of notebook 05."""

from ... import submodules

__getattr__ = submodules(__name__)
