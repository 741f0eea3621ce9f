"""Methods: what a student learns from. A method is a row of settings, not a class of its own."""

from dataclasses import dataclass

from ..files import InputError

MENTOR, SELF_MENTOR = "mentor", "self-mentor"


@dataclass(frozen=True)
class Method:
    """What a student learns from: whose rationales, in pairs or not, whose soft labels, where it starts, how long.

    Without sources it learns the bare answers of all training questions. `mentor` names who augments and gives the soft
    labels: the run's mentor, or one of the student's own size.
    """

    sources: tuple[str, ...]
    soft_labels: bool = False
    steps_of: str = ""  # the method whose number of optimiser steps it takes; "": its own epochs
    pairs: bool = False  # two diverse rationales of a question side by side, and their consistency
    mentor: str = MENTOR
    starts_from: str = ""  # the method whose finished student it goes on from; "": the student as it is
    on_policy: bool = False  # a share of the batches is written by the student and scored by the live mentor
    tuned: bool = True  # False: the student stays as it is; its rationales only say how long an answer may get


METHODS = {
    "untuned": Method(("teacher",), tuned=False),
    "answer-only": Method(()),
    "vanilla-kd": Method(("teacher",)),
    "vanilla-kd-step-matched": Method(("teacher",), steps_of="mentor-kd"),
    "mcc-kd": Method(("teacher",), pairs=True),
    "mentor-kd": Method(("teacher", "mentor"), soft_labels=True),
    "mentor-kd-no-rd": Method(("teacher",), soft_labels=True),
    "mentor-kd-no-sld": Method(("teacher", "mentor")),
    "augmented-only": Method(("mentor",)),
    "self-mentor": Method(("teacher", "mentor"), soft_labels=True, mentor=SELF_MENTOR),
    "on-policy": Method(("teacher",), soft_labels=True, starts_from="vanilla-kd", on_policy=True),
}
USUAL = ("vanilla-kd", "vanilla-kd-step-matched", "mentor-kd")  # what a run compares unless it says otherwise


def get_method(name: str) -> Method:
    """A method's row by name; InputError lists the known ones."""
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; there are {', '.join(METHODS)}")
    return METHODS[name]
