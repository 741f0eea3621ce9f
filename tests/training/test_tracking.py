"""Trackers follow a training through transformers' callbacks: their names, their folder, and what is refused."""

import os
from dataclasses import replace

import pytest
import tiny

from mentor_kd.evaluation.metrics import DevScore
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import encode
from mentor_kd.training import tracking
from mentor_kd.training.settings import TrainSettings, recorded, settings_from
from mentor_kd.training.train import train

SETTINGS = TrainSettings(epochs=2, batch_size=2, learning_rate=1e-3)


def trained(model, folder, *trackers):
    """Train a tiny model in a folder with these trackers."""
    loaded = loading.load(str(model))
    examples, _ = encode(loaded, [(str(i), f"one and {i}?", f"{i + 1} --> {i + 1}") for i in range(4)], 64)
    settings = replace(SETTINGS, report_to=trackers)
    return train(loaded, examples, lambda to_beat: DevScore(25.0, exact=True), settings, folder / "work")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.gpt2(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("r/sums/mentor", "r/sums/mentor"),
        ("r/sums/students/mentor-kd-seed1", "r/sums/mentor-kd-seed1"),
        ("r/sums/self-mentor/mentor", "r/sums/self-mentor"),
    ],
)
def test_the_name_has_run_task_and_model(tmp_path, model, name):
    assert tracking.place(tmp_path / model) == (tmp_path.resolve() / "r" / "tracking", name)


def test_the_cells_of_a_sweep_share_one_project(tmp_path):
    (tmp_path / "sweep" / "tracking").mkdir(parents=True)
    (tmp_path / "sweep" / "key").mkdir()
    (tmp_path / "sweep" / "key" / "tracking").symlink_to("../tracking")
    found = tracking.arguments(["trackio"], tmp_path / "sweep" / "key" / "sums" / "mentor")
    assert (found["project"], found["run_name"]) == ("sweep", "key/sums/mentor")


def test_tensorboard_gets_loss_and_dev_accuracy(model, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    trained(model, tmp_path / "r" / "sums" / "students" / "vanilla-kd-seed0", "tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "r/tracking/tensorboard/r/sums/vanilla-kd-seed0")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("eval/dev_accuracy")] == [(2, 25.0), (4, 25.0)]
    assert events.Scalars("train/loss") and "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_without_a_tracker_nothing_is_written(model, tmp_path):
    trained(model, tmp_path / "r" / "sums" / "mentor")
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["sums"]


def test_a_persons_own_settings_come_first(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    with tracking.tracked(["wandb"], tmp_path / "r" / "sums" / "mentor"):
        assert os.environ["WANDB_PROJECT"] == "mine"
        assert os.environ["WANDB_DIR"] == str(tmp_path.resolve() / "r" / "tracking")
    assert os.environ["WANDB_PROJECT"] == "mine" and "WANDB_DIR" not in os.environ


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (["sorcery"], "report_to must be one of tensorboard, trackio, wandb, mlflow, got 'sorcery'"),
        (["mlflow", "mlflow"], r"report_to\[1\] repeats 'mlflow'"),
        ("tensorboard", "report_to must be a list of strings, got the text 'tensorboard'"),
        (None, "report_to must be a list of strings"),
    ],
)
def test_an_unknown_tracker_is_refused(value, words):
    with pytest.raises(InputError, match=words):
        replace(SETTINGS, report_to=value)


def test_a_missing_package_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None if name == "mlflow" else object())
    tracking.require_packages(["wandb"])
    with pytest.raises(InputError, match=r"mlflow must be installed first: \S+ -m pip install mlflow$"):
        tracking.require_packages(["wandb", "mlflow"])


def test_trackers_do_not_change_what_a_result_depends_on():
    watched = replace(SETTINGS, report_to=["tensorboard"])
    assert recorded(watched) == recorded(SETTINGS) and settings_from(recorded(watched)) == SETTINGS
