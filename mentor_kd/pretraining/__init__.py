"""How the sandbox's models were pre-trained (notebook 30)."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
