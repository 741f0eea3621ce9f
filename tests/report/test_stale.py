"""A model whose rationales, questions or mentor were replaced since is named in the report."""

import dataclasses

from small_run import SAMPLING, TRAINING

from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.report import trust


def test_students_are_stale_once_mentor_or_rationales_are_replaced(folder, model):
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    run = folder.parent
    assert trust.stale(folder) == {} and not [note for note in trust.notes(run) if "stale" in note]
    mentor.train_mentor(folder, model, dataclasses.replace(TRAINING, seed=1))
    augment.augment(folder, SAMPLING)
    filter.filter_rationales(folder, FilterSettings())
    place = folder / "students" / "vanilla-kd-seed0"
    assert trust.stale(folder) == {place: "set of rationales"}
    assert any(
        note.startswith(f"{place.relative_to(run)} is stale: its set of rationales was replaced")
        for note in trust.notes(run)
    )
