"""The loss and gradient of an optimiser step follow the formula, however they are computed."""

from dataclasses import replace

import pytest
import tiny
import torch
from trained import SOFT, formula, one_step, rows_of, same, weights

from mentor_kd.models import loading
from mentor_kd.training import chunked_loss, trainer
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.soft_label_cache import SoftLabelSettings
from mentor_kd.training.soft_labels import cached
from mentor_kd.training.train import train


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("soft", ["hard", "live", "cached", "capped", "exact", "exact, capped"])
@pytest.mark.parametrize("shape", ["llama", "t5"])
def test_a_step_follows_the_formula(folders, tmp_path, monkeypatch, shape, soft, accumulation):
    """With hard labels, and with soft labels from the live mentor or from either cache form; in chunks or not."""
    loaded = loading.load(folders[shape])
    mentor = loading.load(folders[f"{shape} mentor"]) if soft != "hard" else None
    examples = tiny.examples(loaded, 4, "sandbox-sums")
    assert len({len(example.target) for example in examples}) > 1
    examples[0] = replace(examples[0], prompt=examples[0].prompt[-1:])  # its first position is scored
    loss, ce, kl = formula(loaded, examples, SOFT, mentor)
    loss.backward()
    loss = loss.item()
    expected = {name: p.grad.clone() for name, p in loaded.model.named_parameters()}
    loaded.model.zero_grad()

    settings = TrainSettings(epochs=1, batch_size=4, accumulation=accumulation, loss=SOFT)
    given = mentor
    cache = soft not in ("hard", "live")
    if cache:
        k = 0 if "exact" in soft else loaded.vocabulary
        kept = SoftLabelSettings(k, (SOFT.soft_label_temperature,))
        given = cached(tmp_path / "labels", "mentor", lambda: mentor, loaded.vocabulary, examples, kept)
    if "capped" in soft:
        monkeypatch.setattr(trainer, "has_plain_head", lambda loaded: False)
    monkeypatch.setitem(chunked_loss.CHUNK_BYTES, "cpu", 16 * 4 * loaded.vocabulary)
    gradients, row = one_step(loaded, examples, settings, tmp_path, given)
    assert gradients.keys() == expected.keys()
    size = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in gradients.items():
        # the cache holds logits in half precision
        close = (1e-3 if cache else 1e-5) * max(1.0, size)
        assert torch.allclose(gradient, expected[name], atol=close), name
    assert row["loss"] == pytest.approx(loss, rel=1e-3)
    assert row["ce"] == pytest.approx(ce, rel=1e-4)
    assert row.get("kl", 0.0) == pytest.approx(kl, rel=1e-3)
    assert soft == "hard" or kl > 0.1


def test_with_lambda_0_the_mentor_changes_nothing(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    examples = tiny.examples(loaded, 4)
    settings = TrainSettings(epochs=1, batch_size=4, loss=LossSettings(0.0, 2.0))
    mentor = loading.load(folders["llama mentor"])
    with_mentor, row = one_step(loading.load(folders["llama"]), examples, settings, tmp_path / "a", mentor)
    without, plain = one_step(loaded, examples, settings, tmp_path / "b")
    assert row["loss"] == pytest.approx(plain["loss"], abs=1e-6) and "kl" in row and "kl" not in plain
    assert all(torch.allclose(with_mentor[name], without[name], atol=1e-6) for name in without)


def test_the_mentor_runs_without_dropout_and_is_not_trained(folders, tmp_path):
    mentor = loading.load(folders["gpt2 mentor"])
    assert mentor.model.config.resid_pdrop > 0
    student = loading.load(tiny.gpt2(tmp_path / "model", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))
    before, examples = weights(mentor), tiny.examples(student, 4)
    _, _, kl = formula(student, examples, SOFT, mentor)
    _, row = one_step(student, examples, TrainSettings(epochs=1, batch_size=4, loss=SOFT), tmp_path / "work", mentor)
    assert row["kl"] == pytest.approx(kl, rel=1e-4)
    assert same(before, weights(mentor))
    assert all(p.grad is None for p in mentor.model.parameters())
    assert not mentor.model.training and not student.model.training


def test_dropout_is_on_while_training(folders, tmp_path):
    loaded = loading.load(folders["gpt2"])
    examples = tiny.examples(loaded, 4)
    still = float(formula(loaded, examples, SOFT)[0].detach())
    _, row = one_step(loaded, examples, TrainSettings(epochs=1, batch_size=4), tmp_path)
    assert abs(row["loss"] - still) > 1e-3


def test_training_lowers_the_loss(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    examples = tiny.examples(loaded, 8)
    settings = TrainSettings(epochs=15, batch_size=8, learning_rate=1e-2)
    trained = train(loaded, examples, None, settings, tmp_path)
    losses = [row["loss"] for row in rows_of(tmp_path)]
    assert losses[-1] < 0.6 * losses[0]
    assert (trained.steps, trained.best_step, trained.dev_accuracy, trained.stopped) == (15, 15, None, False)
    assert 1 <= trained.padding < 1.5 and trained.seconds >= 0
