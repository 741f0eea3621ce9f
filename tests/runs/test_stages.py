"""Stages: every parameter of a notebook is used, and used as in the notebook."""

import pytest

from mentor_kd.files import write_json
from mentor_kd.pipeline.augment import Augmenter
from mentor_kd.pipeline.collect import CollectSettings
from mentor_kd.runs import notebooks, stages
from mentor_kd.runs.grids import NOTEBOOKS
from mentor_kd.training.settings import TrainSettings

IDLE = {"run", "who"}  # the folder's name, and the name of the person who judges


class Watched(dict):
    """A notebook's parameters that record which of them are read."""

    def __init__(self, given):
        super().__init__(given)
        self.asked = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.fixture
def called(monkeypatch, tmp_path):
    """The arguments of the calls of the steps, which do nothing."""
    calls = []
    for name in ("collect", "train_mentor", "augment", "filter_rationales", "distill"):
        monkeypatch.setattr(stages, name, lambda *given: calls.append(given))
    write_json(tmp_path / "mentor" / "manifest.json", {"max_new_tokens": 33})
    return calls


def given(notebook: str, **more) -> Watched:
    return Watched({name: facts["default"] for name, facts in notebooks.known_parameters(notebook).items()} | more)


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_parameter_is_read(notebook, called, tmp_path):
    parameters = given(notebook)
    stages.perform(notebook, parameters, tmp_path)
    needless = IDLE | {"replace"} | ({"task"} if notebook != stages.COLLECT else set())
    assert set(parameters) - parameters.asked <= needless and called


def test_values_are_used_as_in_the_notebook(called, tmp_path):
    more = {"teacher_share": 0.4, "share_of": "rationales", "data_seed": 5, "prompt": "one-call", "in_flight": 3}
    stages.perform(stages.COLLECT, given(stages.COLLECT, **more), tmp_path)
    (folder, task, settings), *_ = called
    assert isinstance(settings, CollectSettings) and task == "sandbox-sums" and folder == tmp_path
    assert (settings.share.share, settings.share.unit, settings.seed) == (0.4, "rationales", 5)
    assert (settings.ask.prompt, settings.endpoint.in_flight) == ("one-call", 3)

    called.clear()
    more = {"max_new_tokens": 0, "samples": 7, "augmenter": "sandbox", "only_missed": True}
    stages.perform(stages.AUGMENT, given(stages.AUGMENT, **more), tmp_path)
    ((_, sampling, augmenter, backend),) = called
    assert augmenter == Augmenter("sandbox", True) and backend == "hf"
    assert (sampling.n, sampling.max_new_tokens) == (7, 33)  # 0: the length from the mentor's manifest

    called.clear()
    more = {"seeds": [3, 4], "methods": ["mentor-kd"], "soft_label_weight": 0.9, "soft_label_k": 8, "lora_rank": 2}
    stages.perform(notebooks.STUDENTS, given(notebooks.STUDENTS, **more), tmp_path)
    assert [(method, settings.seed) for _, method, _, settings, _ in called] == [("mentor-kd", 3), ("mentor-kd", 4)]
    settings = called[0][3]
    assert isinstance(settings, TrainSettings) and settings.lora.rank == 2
    assert (settings.loss.soft_label_weight, settings.soft_label_k) == (0.9, 8)
