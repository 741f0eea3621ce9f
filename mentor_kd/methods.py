"""Methods: what a student learns from. A method is a row of settings, not a class of its own."""

from dataclasses import dataclass

from .files import InputError


@dataclass(frozen=True)
class Method:
    """What a student learns from: whose rationales, soft labels or not, and as many steps as which other method."""

    sources: tuple[str, ...]
    soft_labels: bool = False
    steps_of: str = ""  # the method whose number of optimiser steps it takes; "": its own epochs


METHODS = {
    "vanilla-kd": Method(("teacher",)),
    "vanilla-kd-step-matched": Method(("teacher",), steps_of="mentor-kd"),
    "mentor-kd": Method(("teacher", "mentor"), soft_labels=True),
}


def get_method(name: str) -> Method:
    """A method's row by name; InputError lists the known ones."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
