"""on-policy: the student's own texts, scored by the live mentor, with and without a stop in between."""

import math
from dataclasses import replace

import pytest
import tiny
import torch
from trained import formula, one_step, rows_of, same, weights

from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.training.losses import LossSettings, soft_label_divergence
from mentor_kd.training.on_policy import OnPolicySettings, batch_seed, is_fresh, write
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import plan_batches, train

SETTINGS = TrainSettings(epochs=3, batch_size=4, learning_rate=3e-3, loss=LossSettings(0.3, 2.0))


def test_the_share_of_fresh_batches_is_as_set_and_reproducible():
    fresh = [is_fresh(0, number, 0.3) for number in range(4000)]
    assert sum(fresh) / 4000 == pytest.approx(0.3, abs=0.025)
    assert fresh == [is_fresh(0, number, 0.3) for number in range(4000)]
    assert fresh != [is_fresh(1, number, 0.3) for number in range(4000)]
    assert not any(is_fresh(0, n, 0.0) for n in range(100)) and all(is_fresh(0, n, 1.0) for n in range(100))


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5"])
def test_texts_of_the_student(folders, shape):
    loaded = loading.load(folders[shape])
    examples = tiny.examples(loaded, 6)
    loaded.model.train()
    state = torch.get_rng_state()
    written = write(loaded, examples, 1.0, 12, seed=3)
    assert torch.equal(torch.get_rng_state(), state) and loaded.model.training
    assert [e.prompt for e in written] == [e.prompt for e in examples] and written != examples
    end = loaded.tokenizer.eos_token_id
    for example in written:
        assert 1 <= len(example.target) <= 12
        assert end not in example.target[:-1]
        assert example.target[-1] == end or len(example.target) == 12
    assert write(loaded, examples, 1.0, 12, seed=3) == written
    assert write(loaded, examples, 1.0, 12, seed=4) != written


def test_sampling_is_from_the_whole_distribution_at_the_temperature(folders):
    """The shares of the ten most likely first tokens, of the next forty, and of all others, in many samples."""
    loaded = loading.load(folders["llama"])
    [example] = tiny.examples(loaded, 1)
    logits = loaded.model(torch.tensor([example.prompt])).logits[0, -1].detach()
    for temperature in (1.0, 2.0):
        wanted = (logits / temperature).softmax(-1)
        drawn = write(loaded, [example] * 4000, temperature, 1, seed=0)
        counts = torch.bincount(torch.tensor([e.target[0] for e in drawn]), minlength=len(wanted)) / 4000
        order = wanted.argsort(descending=True)
        for part in (order[:10], order[10:50], order[50:]):  # transformers' default would never draw the last group
            assert float(counts[part].sum()) == pytest.approx(float(wanted[part].sum()), abs=0.03)
        assert float(wanted[order[50:]].sum()) > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("shape", ["llama", "t5"])
def test_a_step_on_the_students_texts_has_the_divergence_only_and_no_gradient_through_sampling(
    folders, tmp_path, shape, beta
):
    loaded, mentor = loading.load(folders[shape]), loading.load(folders[f"{shape} mentor"])
    examples = tiny.examples(loaded, 4)
    rules = OnPolicySettings(share=1.0, temperature=0.8, beta=beta)
    settings = replace(SETTINGS, epochs=1, on_policy=rules)
    order = [examples[i] for i in next(iter(plan(loaded, examples, settings)))]
    longest = max(len(example.target) for example in examples)
    written = write(loaded, order, 0.8, longest, batch_seed(0, 0))
    expected = sum(one_divergence(loaded, mentor, example, beta) for example in written)
    tokens = sum(len(example.target) for example in written)
    (4 * expected / tokens).backward()  # tau squared
    wanted = {name: p.grad.clone() for name, p in loaded.model.named_parameters()}
    loaded.model.zero_grad()
    gradients, row = one_step(loaded, examples, settings, tmp_path, mentor, on_policy=True)
    assert row["loss"] == pytest.approx(4 * expected.item() / tokens, rel=1e-3)
    assert row["own_texts"] == pytest.approx(expected.item() / tokens, rel=1e-3) and "ce" not in row
    size = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=2e-5 * max(1.0, size)), name


def plan(loaded, examples, settings):
    return plan_batches(examples, loaded.encoder_decoder, settings)


def one_divergence(loaded, mentor, example, beta):
    def logits(one):
        if one.encoder_decoder:
            start = one.model.config.decoder_start_token_id
            fed = {"input_ids": [example.prompt], "decoder_input_ids": [[start, *example.target[:-1]]]}
            found = one.model(**{key: torch.tensor(value) for key, value in fed.items()}).logits[0]
        else:
            found = one.model(torch.tensor([example.prompt + example.target[:-1]])).logits[0]
            found = found[len(example.prompt) - 1 :]
        return found[:, : loaded.vocabulary]

    return soft_label_divergence(logits(loaded), logits(mentor), 2.0, beta)


def test_the_other_batches_are_rationales_with_cross_entropy_and_divergence(folders, tmp_path):
    loaded, mentor = loading.load(folders["llama"]), loading.load(folders["llama mentor"])
    examples = tiny.examples(loaded, 4)
    settings = replace(SETTINGS, epochs=1, on_policy=OnPolicySettings(share=0.0, beta=0.0))
    expected = float(formula(loaded, examples, settings.loss, mentor)[0].detach())
    _, row = one_step(loaded, examples, settings, tmp_path, mentor, on_policy=True)
    assert row["loss"] == pytest.approx(expected, rel=1e-3) and "own_texts" not in row


def test_both_kinds_of_batches_are_divided_by_the_tokens_of_the_whole_step(folders, tmp_path):
    loaded, mentor = loading.load(folders["llama"]), loading.load(folders["llama mentor"])
    examples = tiny.examples(loaded, 8)
    seed = next(s for s in range(50) if [is_fresh(s, n, 0.5) for n in range(2)] == [True, False])
    rules = OnPolicySettings(share=0.5, beta=0.0)
    settings = replace(SETTINGS, epochs=1, batch_size=8, accumulation=2, seed=seed, on_policy=rules)
    first, second = ([examples[i] for i in batch] for batch in plan(loaded, examples, settings))
    written = write(loaded, first, 1.0, max(len(e.target) for e in examples), batch_seed(seed, 0))
    tokens = [sum(len(e.target) for e in part) for part in (written, second)]
    own = sum(one_divergence(loaded, mentor, e, 0.0).item() for e in written)
    fixed = formula(loaded, second, settings.loss, mentor)[0].item() * tokens[1]
    _, row = one_step(loaded, examples, settings, tmp_path, mentor, on_policy=True)
    assert row["loss"] == pytest.approx((4 * own + fixed) / sum(tokens), rel=1e-3)


def test_a_stopped_training_resumes_with_the_same_texts(folders, tmp_path):
    settings = replace(SETTINGS, on_policy=OnPolicySettings(share=0.6))
    mentor = loading.load(folders["gpt2 mentor"])

    def go(work, stop=lambda: False):
        loaded = loading.load(folders["gpt2"])
        trained = train(loaded, tiny.examples(loaded, 8), None, settings, work, mentor, stop=stop, on_policy=True)
        return loaded, trained

    whole, _ = go(tmp_path / "whole")
    asked = iter([False, False, True])
    assert go(tmp_path / "stopped", lambda: next(asked))[1].stopped
    again, trained = go(tmp_path / "stopped")
    assert trained.steps == 6 and same(weights(again), weights(whole))
    rows = [[{**row, "time": 0} for row in rows_of(tmp_path / name)] for name in ("whole", "stopped")]
    assert any("own_texts" in row for row in rows[0]) and any("ce" in row for row in rows[0])
    assert [row["step"] for row in rows[0]][-1] == [row["step"] for row in rows[1]][-1]


def test_the_mentor_must_be_live(folders, tmp_path):
    loaded = loading.load(folders["llama"])
    with pytest.raises(ValueError, match="on_policy requires a live mentor"):
        train(loaded, tiny.examples(loaded, 4), None, SETTINGS, tmp_path, None, on_policy=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"share": 1.5}, r"share .*1\.5"),
        ({"beta": "0.5"}, "beta .*'0.5'"),
        ({"temperature": 0}, "temperature .*0"),
        ({"temperature": math.inf}, "temperature .*inf"),
    ],
)
def test_invalid_settings_are_rejected(changes, named):
    with pytest.raises(InputError, match=named):
        OnPolicySettings(**changes)
