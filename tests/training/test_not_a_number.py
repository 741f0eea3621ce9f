"""A loss that is not a number ends training at once: step and part are named, and nothing is saved as a result."""

import math

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from small_run import TRAINING, keep_some_of_the_mentors
from trained import SETTINGS

from mentor_kd.evaluation.metrics import DevScore
from mentor_kd.files import RunFailed
from mentor_kd.models import loading
from mentor_kd.pipeline import distill
from mentor_kd.training import checkpoints, trainer
from mentor_kd.training.train import train


def poison(model, value=math.nan):
    with torch.no_grad():
        next(model.parameters())[0, 0] = value


def poison_file(folder, value=math.nan):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[sorted(tensors)[0]].view(-1)[0] = value
    save_file(tensors, path, metadata={"format": "pt"})


def stopping_at(steps, act):
    """A `stop` that acts after this number of steps and never stops."""
    done = []

    def stop():
        done.append(1)
        if len(done) == steps:
            act()
        return False

    return stop


def run(loaded, work, mentor=None, stop=lambda: False, **more):
    examples = tiny.examples(loaded, 12)  # 9 steps, an evaluation after each third
    train(loaded, examples, lambda best: DevScore(50.0), SETTINGS, work, mentor, "a student", stop=stop, **more)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_bad_model_is_found_at_the_first_step(folders, tmp_path, name, value):
    loaded = loading.load(folders[name])
    poison(loaded.model, value)
    words = (
        r"a student: the loss is not a number at optimiser step 1: the cross-entropy is (nan|inf).*lower learning_rate"
    )
    with pytest.raises(RunFailed, match=words):
        run(loaded, tmp_path)
    assert checkpoints.in_order(tmp_path) == []


@pytest.mark.parametrize("on_policy", [False, True])
def test_a_bad_mentor_is_named_as_the_divergence(folders, tmp_path, on_policy):
    loaded, mentor = loading.load(folders["llama"]), loading.load(folders["llama mentor"])
    poison(mentor.model)
    with pytest.raises(
        RunFailed, match=r"step 1: .*divergence from the mentor.* is nan.*nothing|step 1.*divergence.*nan"
    ):
        run(loaded, tmp_path, mentor, on_policy=on_policy)
    assert checkpoints.in_order(tmp_path) == []


def finite(checkpoint):
    return all(bool(one.isfinite().all()) for one in load_file(checkpoint / "model.safetensors").values())


@pytest.mark.parametrize("at_once", [("cpu",), ()])
def test_the_last_good_checkpoint_stays(folders, tmp_path, monkeypatch, at_once):
    """Also where values are only read now and then, as on a GPU: the step is right, and nothing bad is saved."""
    monkeypatch.setattr(trainer, "AT_ONCE", at_once)
    loaded = loading.load(folders["llama"])
    with pytest.raises(
        RunFailed, match=r"optimiser step 5: .*cross-entropy is nan.*last good checkpoint is checkpoint-3"
    ):
        run(loaded, tmp_path, stop=stopping_at(4, lambda: poison(loaded.model)))
    [left] = checkpoints.in_order(tmp_path)
    assert left.name == "checkpoint-3" and finite(left)


def test_values_are_read_no_more_often_than_they_are_logged(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "AT_ONCE", ())
    reads, read = [], trainer.DistillationTrainer._read_notes

    def counted(self):
        reads.append(len({step for step, *_ in self.noted}))
        read(self)

    monkeypatch.setattr(trainer.DistillationTrainer, "_read_notes", counted)
    run(loading.load(folders["llama"]), tmp_path)
    assert [steps for steps in reads if steps] == [3, 3, 3]  # logged and evaluated every three steps


@pytest.mark.parametrize("at_once", [("cpu",), ()])
def test_a_bad_gradient_of_the_last_step_is_never_saved(folders, tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(trainer, "AT_ONCE", at_once)
    loaded = loading.load(folders["llama"])
    bad = []
    for parameter in loaded.model.parameters():
        parameter.register_hook(lambda grad: grad * math.nan if bad else grad)
    with pytest.raises(
        RunFailed, match=r"optimiser step 9: .*the gradient is nan.*last good checkpoint is checkpoint-6"
    ):
        run(loaded, tmp_path, stop=stopping_at(8, lambda: bad.append(1)))
    assert all(finite(checkpoint) for checkpoint in checkpoints.in_order(tmp_path))


def test_weights_that_no_loss_has_seen_are_not_saved(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    with pytest.raises(
        RunFailed, match=r"a student: the weights are not numbers \(first model\.embed_tokens\.weight\)"
    ):
        run(loaded, tmp_path, stop=stopping_at(9, lambda: poison(loaded.model)))
    assert [path.name for path in checkpoints.in_order(tmp_path)] == ["checkpoint-3", "checkpoint-6"]


def test_a_student_of_a_bad_mentor_is_not_saved_and_a_later_run_is_right(folder, model):
    keep_some_of_the_mentors(folder)
    weights = (folder / "mentor" / "model.safetensors").read_bytes()
    poison_file(folder / "mentor")
    place = folder / "students" / "mentor-kd-seed0"
    with pytest.raises(
        RunFailed, match=r"mentor-kd, seed 0: the loss is not a number at optimiser step 1: .*divergence"
    ):
        distill.distill(folder, "mentor-kd", model, TRAINING)
    assert [path.name for path in place.iterdir()] == ["work"]
    (folder / "mentor" / "model.safetensors").write_bytes(weights)
    assert distill.distill(folder, "mentor-kd", model, TRAINING)["test"]["n"] == 5


def test_an_untuned_student_with_bad_weights_is_not_saved(folder, tmp_path):
    bad = tiny.llama(tmp_path / "bad")
    poison_file(bad)
    with pytest.raises(RunFailed, match="untuned, seed 0: the weights are not numbers"):
        distill.distill(folder, "untuned", str(bad), TRAINING)
    assert not list((folder / "students" / "untuned-seed0").glob("*.safetensors"))
