"""The rationale explorer of notebook 04."""

from ... import submodules

__getattr__ = submodules(__name__)
