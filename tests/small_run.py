"""Pytest plugin: the task folder of a tiny run up to filtering, and a copy of it for each test.

A test module that needs other settings overrides the fixture `filtered`, with `run_up_to_filtering`.
"""

import shutil

import pytest
import tiny

from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, filter, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings

TASK = "sandbox-letters"
COLLECT = CollectSettings(train_questions=12, dev_questions=3, test_questions=5)
TRAINING = TrainSettings(epochs=2, batch_size=4, learning_rate=3e-3)
SAMPLING = Sampling(n=2, temperature=0.9, top_k=50, max_new_tokens=20)
FILTERS = FilterSettings()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return str(tiny.llama(tmp_path_factory.mktemp("model")))


def run_up_to_filtering(folder, model, settings, training, sampling, filters=FILTERS):
    """Collect, train the mentor, augment and filter in a task folder; returns the folder."""
    collect(folder, TASK, settings)
    mentor.train_mentor(folder, model, training)
    augment.augment(folder, sampling)
    filter.filter_rationales(folder, filters)
    return folder


@pytest.fixture(scope="session")
def filtered(tmp_path_factory, model):
    """A task folder with all steps up to filtering; tests work on copies of it."""
    return run_up_to_filtering(tmp_path_factory.mktemp("chain") / TASK, model, COLLECT, TRAINING, SAMPLING)


@pytest.fixture
def folder(filtered, tmp_path):
    return shutil.copytree(filtered, tmp_path / "run" / TASK)


def keep_some_of_the_mentors(folder, n=9):
    """Keep `n` mentor rationales by verdict: a random mentor is always wrong, and mentor-kd needs some of its texts."""
    rows = [row for row in filter.rationales(folder) if row.source == "mentor"][:n]
    for row in rows:
        verdicts.add_verdict(folder / "verdicts.jsonl", row.id, "keep")
    return [row.id for row in rows]
