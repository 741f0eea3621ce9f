"""Select rationales: filters, human verdicts, and summaries of a teacher's rationales."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
