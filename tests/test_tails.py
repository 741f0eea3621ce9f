"""The spread of a soft label's tail from few numbers: principal directions of the logits, cached and learnt from."""

import math
from dataclasses import replace

import pytest
import tiny
import torch

from mentor_kd import chunks, models, soft_labels
from mentor_kd.chunks import chunked_loss
from mentor_kd.losses import (
    LossSettings,
    Shaped,
    TopK,
    cached_divergence,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
    top_k,
    top_k_divergence,
)
from mentor_kd.soft_labels import TAIL, SoftLabelSettings, cached
from mentor_kd.tails import main_directions

TOP = SoftLabelSettings(8, (1.0, 2.0))


@pytest.fixture(scope="module")
def mentor(tmp_path_factory):
    return models.load(tiny.llama(tmp_path_factory.mktemp("mentor") / "llama", initializer_range=0.3))


def make(folder, mentor, examples, settings=TOP, load=None):
    return cached(folder, "mentor", load or (lambda: mentor), mentor.vocabulary, examples, settings)


def unexpected():
    raise AssertionError("the mentor was asked again")


def test_states_on_a_line_need_one_number_and_no_more():
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    far = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    states = torch.tensor([[5.0, 7.0]]) + far * torch.tensor([[1.0, -1.0]])
    found = main_directions(states, weight, torch.tensor([0.5, 0.0, 0.0]), rank=1)
    numbers = found.numbers(states)
    assert numbers.dtype == torch.int8 and numbers[:, 0].abs().tolist() == [127, 64, 0, 64, 127]
    logits = found.layer()(numbers[[0, 2, 4]].float())
    expected = states[[0, 2, 4]] @ weight.T + torch.tensor([0.5, 0.0, 0.0])
    assert torch.allclose(logits - logits[:, :1], expected - expected[:, :1], atol=1e-4)
    assert found.numbers(states * 100)[0].abs().item() == 127  # what lies beyond is cut off


def test_the_directions_are_the_best_of_their_rank():
    """No worse than the singular value decomposition of the centred logits, which they are found without."""
    torch.manual_seed(0)
    states, weight = torch.randn(300, 12) @ torch.randn(12, 12) + 3, torch.randn(50, 12) * torch.arange(1, 13)
    found = main_directions(states, weight, None, rank=4)
    logits = (states - states.mean(0)) @ (weight - weight.mean(0)).T
    left, values, right = torch.linalg.svd(logits, full_matrices=False)
    best = (left[:, :4] * values[:4]) @ right[:4] - logits
    ours = found.layer()(found.numbers(states).float())
    ours = ours - (weight @ states.mean(0))  # what is the same everywhere
    ours = ours - ours.mean(-1, keepdim=True)
    assert float((ours - logits).norm()) == pytest.approx(float(best.norm()), rel=0.02)


def shaped(positions=40, vocabulary=60, k=6, tau=2.0):
    torch.manual_seed(1)
    states, weight = torch.randn(positions, 8), torch.randn(vocabulary, 8)
    found, dense = main_directions(states, weight, None, rank=5), states @ weight.T
    return Shaped(top_k(dense, k, tau), found.numbers(states), found.layer()), dense


def test_the_likeliest_tokens_and_the_mass_of_the_others_stay_exact():
    soft, dense = shaped()
    logs, expected = soft.logits(2.0), (dense / 2).log_softmax(-1)
    assert torch.allclose(logs.exp().sum(-1), torch.ones(40), atol=1e-5)
    assert torch.allclose(logs.gather(-1, soft.top.ids), expected.gather(-1, soft.top.ids), atol=1e-5)
    uniform = torch.zeros(40, 60)
    near, exact = (soft_label_divergence(uniform, each, 1.0).item() for each in (logs, expected))
    assert near == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("beyond", [0, 4])
@pytest.mark.parametrize("settings", [LossSettings(), LossSettings(1.0, 2.0), LossSettings(0.4, 2.0, 0.5)], ids=str)
def test_numbers_and_gradients_in_chunks_are_those_of_the_plain_functions(monkeypatch, settings, beyond):
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 17 * 4 * (60 + beyond))
    soft, _ = shaped()
    head, hidden, targets = torch.nn.Linear(7, 60 + beyond), torch.randn(40, 7, requires_grad=True), torch.arange(40)
    logits = head(hidden)
    kl = cached_divergence(logits, soft, 2.0, settings.beta)
    plain = distillation_loss(cross_entropy(logits, targets), kl, 9, settings)
    loss, _, found_kl = chunked_loss(hidden, head, targets, soft, settings, 9)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5) and found_kl.item() == pytest.approx(
        kl.item(), rel=1e-4
    )
    for found, expected in zip(
        torch.autograd.grad(loss, [hidden, *head.parameters()]),
        torch.autograd.grad(plain, [hidden, *head.parameters()]),
        strict=True,
    ):
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


def test_a_mentor_that_leaves_nothing_to_the_tail_gives_finite_numbers():
    soft, _ = shaped()
    soft = replace(soft, top=replace(soft.top, log_tail=torch.full((40,), -math.inf)))
    hidden = torch.randn(40, 7, requires_grad=True)
    loss, *_ = chunked_loss(hidden, torch.nn.Linear(7, 60), torch.arange(40), soft, LossSettings(), 40)
    loss.backward()
    assert loss.isfinite() and hidden.grad.isfinite().all()


def test_a_tail_of_few_numbers_is_nearer_to_the_whole_distribution_than_one_bucket(tmp_path, mentor, monkeypatch):
    """On rationales that the directions were not found on."""
    examples = tiny.examples(mentor, 40)
    make(tmp_path / "k", mentor, examples[:30])
    near = make(tmp_path / "k", mentor, examples).rows(examples[30:], 2.0)
    whole = make(tmp_path / "exact", mentor, examples, SoftLabelSettings()).rows(examples[30:], 2.0)
    torch.manual_seed(0)
    student = torch.randn(len(whole.states), mentor.vocabulary)
    full = cached_divergence(student, whole, 2.0).item()
    bucket, spread = top_k_divergence(student, near.top, 2.0).item(), cached_divergence(student, near, 2.0).item()
    assert bucket < 0.9 * full
    assert abs(spread - full) < 0.1 * (full - bucket)


def test_the_directions_are_kept_and_do_not_depend_on_the_order(tmp_path, mentor):
    examples = tiny.examples(mentor, 6)
    first = make(tmp_path / "a", mentor, examples)
    other = make(tmp_path / "b", mentor, examples[::-1])
    assert torch.equal(first.rows(examples, 2.0).numbers, other.rows(examples, 2.0).numbers)
    again = make(tmp_path / "a", mentor, examples, load=unexpected)
    assert torch.equal(again.rows(examples, 2.0).logits(2.0), first.rows(examples, 2.0).logits(2.0))
    assert not again.bucket


def test_without_what_its_numbers_mean_every_row_is_made_again(tmp_path, mentor):
    examples = tiny.examples(mentor, 4)
    expected = make(tmp_path, mentor, examples).rows(examples, 2.0)
    [path] = tmp_path.glob(f"*/{TAIL}")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(AssertionError, match="asked again"):
        make(tmp_path, mentor, examples, load=unexpected)
    found = make(tmp_path, mentor, examples).rows(examples, 2.0)
    assert torch.equal(found.numbers, expected.numbers) and path.exists()
    make(tmp_path, mentor, examples, load=unexpected)


def test_a_bucket_is_left_to_mentors_without_one_output_layer_and_none_needs_it_at_k_of_all(
    tmp_path, mentor, monkeypatch
):
    examples = tiny.examples(mentor, 2)
    whole = make(tmp_path / "all", mentor, examples, SoftLabelSettings(10**6))
    assert whole.tail is None and not list(tmp_path.rglob(TAIL))
    monkeypatch.setattr(soft_labels, "has_plain_head", lambda loaded: False)
    labels = make(tmp_path / "other", mentor, examples)
    assert labels.bucket and isinstance(labels.rows(examples, 2.0), TopK)
