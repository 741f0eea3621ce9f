"""Stages: the work of notebooks 01 to 04 and 06 as functions of their parameters, run in this process.

`perform` writes the same files to the task's folder as the notebook, except for figures. As in the notebooks,
`pipeline.parameters` turns parameters into settings.
"""

from collections.abc import Mapping
from pathlib import Path

from ..pipeline import parameters
from ..pipeline.augment import augment
from ..pipeline.collect import collect
from ..pipeline.distill import distill
from ..pipeline.filter import filter_rationales
from ..pipeline.mentor import train_mentor
from . import notebooks

COLLECT, MENTOR, AUGMENT, FILTER = notebooks.PER_TASK


def perform(notebook: str, given: Mapping, folder: Path) -> None:
    """Do the work of a notebook with these parameters in a task's folder. Raises the errors of its step."""
    done = {COLLECT: _collect, MENTOR: _mentor, AUGMENT: _augment, FILTER: _filter, notebooks.STUDENTS: _students}
    done[notebook](given, Path(folder))


def _collect(given: Mapping, folder: Path) -> None:
    collect(folder, given["task"], parameters.collect_settings(given))


def _mentor(given: Mapping, folder: Path) -> None:
    train_mentor(folder, given["mentor"], parameters.mentor_settings(given), given["max_length"])


def _augment(given: Mapping, folder: Path) -> None:
    sampling = parameters.sampling(given, parameters.mentor_length(folder))
    augment(folder, sampling, parameters.augmenter(given), given["backend"])


def _filter(given: Mapping, folder: Path) -> None:
    filter_rationales(folder, parameters.filter_settings(given))


def _students(given: Mapping, folder: Path) -> None:
    for method, settings in parameters.students(given):
        distill(folder, method, given["student"], settings, given["max_length"])
