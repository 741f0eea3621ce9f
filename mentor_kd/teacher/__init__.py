"""The teacher: asking a language model for rationales, and storing every reply that was paid for."""

from .. import submodules

__getattr__ = submodules(__name__)
