"""Which rationales are kept: filters, people's verdicts, and summaries of what is left."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
