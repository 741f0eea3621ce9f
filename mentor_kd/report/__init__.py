"""Charts, tables and the page of a run."""

from .. import submodules

__getattr__ = submodules(__name__)
