"""Pre-training of the sandbox models (notebook 30)."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
