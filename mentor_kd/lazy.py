"""Modules that are imported when they are first used (PEP 562)."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def submodules(package: str) -> Callable[[str], Any]:
    """A `__getattr__` for a subpackage: its modules are imported when they are first used (PEP 562)."""

    def get(name: str) -> Any:
        place = f"{package}.{name}"
        if not name.startswith("_"):
            try:
                return import_module(place)
            except ModuleNotFoundError as error:
                if error.name != place:
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
