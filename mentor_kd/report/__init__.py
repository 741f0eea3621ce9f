"""Charts, tables and the HTML report of a run."""

from ..lazy import submodules

__getattr__ = submodules(__name__)
