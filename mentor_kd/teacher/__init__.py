"""The teacher: asking a language model for rationales, and storing every reply that was paid for."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
