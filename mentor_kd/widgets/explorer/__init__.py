"""The rationale explorer of notebook 04."""

from ...lazy import submodules

__getattr__ = submodules(__name__)
