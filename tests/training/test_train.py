"""Training: the chosen evaluation, stopping and resuming, seeds and settings."""

import contextlib
import json
import math
import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest
import tiny
import torch
from trained import SETTINGS, rows_of, same, weights

from mentor_kd.evaluation.metrics import DevScore
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import Example
from mentor_kd.training.methods import METHODS, get_method
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import plan_batches, stop_on_signal, train

# the chosen evaluation


@pytest.mark.parametrize(
    ("scores", "chosen"), [((10, 50, 30), 1), ((50, 50, 30), 1), ((0, 0, 0), 2), ((10, 20, 30), 2)]
)
def test_the_model_ends_at_its_best_evaluation_the_last_of_equals(folders, tmp_path, scores, chosen):
    loaded = loading.load(folders["gpt2"])
    examples = tiny.examples(loaded, 8)
    seen, shown = [], []

    def dev(to_beat):
        seen.append(weights(loaded))
        return DevScore(float(scores[len(seen) - 1]))

    trained = train(loaded, examples, dev, SETTINGS, tmp_path, watch=shown.append)
    assert len(seen) == 3
    assert not same(seen[0], seen[1]) and not same(seen[1], seen[2])
    assert same(weights(loaded), seen[chosen])
    assert trained.best_step == 2 * (chosen + 1) and trained.steps == 6
    assert trained.dev_accuracy == scores[chosen]
    rows = rows_of(tmp_path)
    assert shown == rows
    assert [(r["step"], r["dev_accuracy"]) for r in rows if "dev_accuracy" in r] == list(
        zip((2, 4, 6), scores, strict=True)
    )


def test_dev_gets_the_best_accuracy_so_far_and_upper_bounds_are_logged_as_such(folders, tmp_path):
    loaded, told = loading.load(folders["gpt2"]), []
    scores = iter((DevScore(50.0), DevScore(50.0, exact=False), DevScore(60.0)))

    def dev(to_beat):
        told.append(to_beat)
        return next(scores)

    trained = train(loaded, tiny.examples(loaded, 8), dev, SETTINGS, tmp_path)
    assert told[1:] == [50.0, 50.0] and (told[0] is None or told[0] == -math.inf)
    assert (trained.best_step, trained.dev_accuracy) == (6, 60.0)
    scored = [{k: v for k, v in row.items() if "dev" in k} for row in rows_of(tmp_path) if "eval_seconds" in row]
    assert scored == [{"dev_accuracy": 50.0}, {"dev_accuracy_at_most": 50.0}, {"dev_accuracy": 60.0}]


def test_a_finished_training_called_again_keeps_its_choice_and_does_not_train(folders, tmp_path):
    loaded = loading.load(folders["gpt2"])
    examples, scores = tiny.examples(loaded, 8), iter((10.0, 50.0, 30.0))
    first = train(loaded, examples, lambda best: DevScore(next(scores)), SETTINGS, tmp_path)
    rows = rows_of(tmp_path)
    again = loading.load(folders["gpt2"])
    second = train(again, examples, lambda best: pytest.fail("evaluated again"), SETTINGS, tmp_path)
    assert same(weights(again), weights(loaded))
    assert (second.best_step, second.dev_accuracy) == (first.best_step, first.dev_accuracy) == (4, 50.0)
    assert rows_of(tmp_path) == rows


def test_with_a_number_of_steps_epochs_is_the_number_of_evaluations(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    examples, calls = tiny.examples(loaded, 4), []
    settings = replace(SETTINGS, steps=9)
    assert plan_batches(examples, False, settings).steps == 9
    trained = train(loaded, examples, lambda best: DevScore(float(calls.append(1) or 0)), settings, tmp_path)
    assert (trained.steps, len(calls)) == (9, 3)


# stopping and resuming


def after(steps):
    """A `stop`, called after each step, that is true after this number of steps."""
    left = iter(range(steps - 1))
    return lambda: next(left, None) is None


@pytest.fixture(scope="module")
def undisturbed(folders, tmp_path_factory):
    work = tmp_path_factory.mktemp("undisturbed")
    loaded = loading.load(folders["gpt2"])
    mentor = loading.load(folders["gpt2 mentor"])
    scores = iter((10.0, 30.0, 20.0))
    trained = train(loaded, tiny.examples(loaded, 12), lambda best: DevScore(next(scores)), SETTINGS, work, mentor)
    return trained, weights(loaded), rows_of(work)


def kinds(rows):
    return [(row["step"], "dev" if "dev_accuracy" in row else "loss") for row in rows]


@pytest.mark.parametrize("stops", [[3], [8], [1, 1, 4]])
def test_a_stopped_training_resumes_and_ends_with_the_same_weights(folders, tmp_path, undisturbed, stops):
    expected, final, rows = undisturbed
    mentor = loading.load(folders["gpt2 mentor"])
    scores = iter((10.0, 30.0, 20.0))  # dev is called three times in total
    done = 0
    for steps in stops:
        loaded = loading.load(folders["gpt2"])
        torch.manual_seed(99)  # the process's random state must not matter
        examples = tiny.examples(loaded, 12)
        stopped = train(
            loaded, examples, lambda best: DevScore(next(scores)), SETTINGS, tmp_path, mentor, stop=after(steps)
        )
        done += steps
        assert stopped.stopped and stopped.steps == done < expected.steps
        assert (tmp_path / f"checkpoint-{done}").exists()  # even if the best evaluation is an earlier one
    loaded = loading.load(folders["gpt2"])
    trained = train(loaded, examples, lambda best: DevScore(next(scores)), SETTINGS, tmp_path, mentor)
    assert not trained.stopped
    assert (trained.steps, trained.best_step, trained.dev_accuracy) == (9, 6, 30.0)
    assert same(weights(loaded), final)
    assert kinds(rows_of(tmp_path)) == kinds(rows)
    assert next(scores, None) is None


def test_after_a_kill_no_row_is_logged_twice_and_the_incomplete_checkpoint_is_not_used(folders, tmp_path, undisturbed):
    _, final, rows = undisturbed
    mentor = loading.load(folders["gpt2 mentor"])
    scores = iter((10.0, 30.0, 20.0))
    loaded = loading.load(folders["gpt2"])
    examples = tiny.examples(loaded, 12)
    train(loaded, examples, lambda best: DevScore(next(scores)), SETTINGS, tmp_path, mentor, stop=after(4))
    # as if killed after logging step 6, in the middle of that checkpoint and of a later line
    shutil.copytree(tmp_path / "checkpoint-4", tmp_path / "checkpoint-6")
    (tmp_path / "checkpoint-6" / "trainer_state.json").write_text('{"global_step": ')
    (tmp_path / "checkpoint-6" / "optimizer.pt").unlink()
    with (tmp_path / "metrics.jsonl").open("a") as log:
        for row in rows:
            if row["step"] == 6:
                log.write(json.dumps(row) + "\n")
        log.write('{"step": 7, "lo')
    loaded = loading.load(folders["gpt2"])
    train(loaded, examples, lambda best: DevScore(next(scores)), SETTINGS, tmp_path, mentor)
    assert same(weights(loaded), final)
    assert kinds(rows_of(tmp_path)) == kinds(rows)


def test_a_stop_after_the_last_step_is_ignored(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    trained = train(loaded, tiny.examples(loaded, 4), None, SETTINGS, tmp_path, stop=after(3))
    assert (trained.steps, trained.stopped) == (3, False)


def test_checkpoints_at_time_intervals(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    seen = []

    def stop():
        seen.append(sorted(path.name for path in tmp_path.glob("checkpoint-*")))
        return False

    settings = TrainSettings(epochs=1, steps=4, batch_size=4, save_minutes=0)
    train(loaded, tiny.examples(loaded, 4), None, settings, tmp_path, stop=stop)
    one, two, three = "checkpoint-1", "checkpoint-2", "checkpoint-3"
    assert seen == [[], [one], [one, two], [two, three]]  # at most two


def test_a_signal_stops_training_at_a_checkpoint(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    before = signal.getsignal(signal.SIGTERM)

    def watch(row):
        if row["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    trained = train(loaded, tiny.examples(loaded, 8), None, SETTINGS, tmp_path, watch=watch)
    assert trained.stopped and trained.steps in (2, 3)
    assert (tmp_path / f"checkpoint-{trained.steps}" / "trainer_state.json").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_first_signal_requests_a_stop_and_a_second_interrupts():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background processes may ignore it
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal(lambda: False))
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_only_the_stop_function_is_used():
    found = []

    def work():
        with stop_on_signal(lambda: "asked") as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["asked"]


# seeds, settings, methods


def test_the_seed_changes_order_and_dropout(folders, tmp_path):
    def trained(seed, name):
        loaded = loading.load(folders["gpt2"])
        train(loaded, tiny.examples(loaded, 8), None, replace(SETTINGS, epochs=1, seed=seed), tmp_path / name)
        return weights(loaded)

    first = trained(0, "a")
    assert same(first, trained(0, "b"))
    assert not same(first, trained(1, "c"))


def test_no_examples_is_an_error(folders, tmp_path):
    with pytest.raises(InputError, match="no rationale to train on"):
        train(loading.load(folders["llama"]), [], None, SETTINGS, tmp_path)


PLANS = [(10, {}, 9), (12, {}, 9), (13, {}, 12), (10, {"steps": 5}, 5)]
PLANS += [(12, {"token_budget": 9}, 9), (12, {"token_budget": 9, "accumulation": 2}, 5)]  # four rows per batch


@pytest.mark.parametrize(("rows", "settings", "steps"), PLANS)
def test_plan_batches_by_hand(rows, settings, steps):
    examples = [Example(str(i), [1, 2], [3]) for i in range(rows)]
    assert plan_batches(examples, False, replace(SETTINGS, **settings)).steps == steps


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"epochs": 0}, "epochs .*0"),
        ({"epochs": True}, "epochs .*True"),
        ({"batch_size": "8"}, "batch_size .*'8'"),
        ({"batch_size": 8, "accumulation": 3}, "batch_size 8 must be a multiple of accumulation, got 3"),
        ({"learning_rate": "3e-4"}, "learning_rate .*'3e-4'"),
        ({"learning_rate": 0}, "learning_rate .*0"),
        ({"learning_rate": math.nan}, "learning_rate .*nan"),
        ({"schedule": "step"}, "schedule .*linear.*'step'"),
        ({"warmup": 1.0}, "warmup .*1.0"),
        ({"warmup": "0.1"}, "warmup .*'0.1'"),
        ({"steps": -1}, "steps .*-1"),
        ({"token_budget": 1.5}, "token_budget .*1.5"),
        ({"soft_label_k": "64"}, "soft_label_k .*'64'"),
        ({"seed": "0"}, "seed .*'0'"),
    ],
)
def test_invalid_settings_are_rejected(changes, named):
    with pytest.raises(InputError, match=named):
        TrainSettings(**changes)


def test_the_control_uses_the_teachers_rationales_and_the_steps_of_the_method():
    assert METHODS["mentor-kd"].soft_labels and METHODS["mentor-kd"].sources == ("teacher", "mentor")
    control = METHODS["vanilla-kd-step-matched"]
    assert (control.sources, control.soft_labels, control.steps_of) == (("teacher",), False, "mentor-kd")
    with pytest.raises(InputError, match="method must be one of untuned, answer-only, vanilla-kd.* got 'mentor'"):
        get_method("mentor")


def test_training_does_not_change_the_examples(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    examples = tiny.examples(loaded, 4)
    copies = [Example(e.id, list(e.prompt), list(e.target)) for e in examples]
    train(loaded, examples, None, replace(SETTINGS, epochs=1), tmp_path)
    assert examples == copies


def test_precision_is_that_of_the_device_or_as_set(folders, tmp_path):
    found, cpu = {}, torch.device("cpu")
    for precision in ("auto", "float32", "bfloat16"):
        loaded = loading.load(folders["llama"], cpu)
        train(
            loaded,
            tiny.examples(loaded, 4),
            None,
            replace(SETTINGS, epochs=1, precision=precision),
            tmp_path / precision,
        )
        found[precision] = weights(loaded)
    assert all(torch.equal(found["auto"][name], found["float32"][name]) for name in found["auto"])
    assert all(weight.dtype == torch.float32 for weight in found["bfloat16"].values())
    apart = max((found["bfloat16"][name] - found["float32"][name]).abs().max() for name in found["auto"])
    assert 0 < apart < 0.05
    with pytest.raises(InputError, match="precision must be one of auto, float32, bfloat16, got 'half'"):
        replace(SETTINGS, precision="half")


def test_gradient_checkpointing_does_not_change_the_weights(folders, tmp_path):
    found = []
    for checkpointing in (False, True):
        loaded = loading.load(folders["t5"])
        settings = replace(SETTINGS, epochs=1, gradient_checkpointing=checkpointing)
        train(loaded, tiny.examples(loaded, 4), None, settings, tmp_path / str(checkpointing))
        assert not loaded.model.is_activation_checkpointing
        found.append(weights(loaded))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])
