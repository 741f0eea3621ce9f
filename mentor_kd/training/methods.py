"""Methods: what a student learns from. A method is one row of settings, not a class."""

from dataclasses import dataclass

from ..checks import require_choice

MENTOR, SELF_MENTOR = "mentor", "self-mentor"


@dataclass(frozen=True)
class Method:
    """What a student learns from: rationales, in pairs or not, soft labels, starting point and number of steps.

    Without sources it learns the bare answers of all training questions. `mentor` names the model that augments and
    gives the soft labels: the run's mentor, or one of the student's size.
    """

    sources: tuple[str, ...]
    soft_labels: bool = False
    steps_of: str = ""  # the method whose number of optimiser steps it uses; "": as epochs give
    pairs: bool = False  # two diverse rationales per question, and the consistency of their answers
    mentor: str = MENTOR
    starts_from: str = ""  # the method whose trained student it starts from; "": the untrained student
    on_policy: bool = False  # a share of the batches is written by the student and scored by the live mentor
    tuned: bool = True  # False: no training; its rationales only set the length limit of answers


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
USUAL = ("vanilla-kd", "vanilla-kd-step-matched", "mentor-kd")  # what a run compares by default


def get_method(name: str) -> Method:
    """The method of this name; InputError lists the known ones."""
    require_choice("method", name, METHODS)
    return METHODS[name]
