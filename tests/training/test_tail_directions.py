"""The spread of a soft label's tail from a few numbers: principal directions of the logits, and their use."""

import math
from dataclasses import replace
from functools import partial

import pytest
import tiny
import torch

from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.training import chunked_loss as chunks
from mentor_kd.training import soft_labels
from mentor_kd.training.chunked_loss import chunked_loss
from mentor_kd.training.losses import (
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
from mentor_kd.training.soft_label_cache import TAIL, SoftLabelSettings
from mentor_kd.training.soft_labels import cached
from mentor_kd.training.tail_directions import frozen_layer, main_directions

TOP = SoftLabelSettings(8, (1.0, 2.0))


@pytest.fixture(scope="module")
def mentor(tmp_path_factory):
    return loading.load(tiny.llama(tmp_path_factory.mktemp("mentor") / "llama", initializer_range=0.3))


def make(folder, mentor, examples, settings=TOP, load=None, **more):
    return cached(folder, "mentor", load or (lambda: mentor), mentor.vocabulary, examples, settings, **more)


def unexpected():
    raise AssertionError("the mentor was called again")


def layer(found):
    return frozen_layer(found.weight, found.bias)


def test_states_on_a_line_need_only_one_number():
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]])
    far = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None]
    states = torch.tensor([[5.0, 7.0]]) + far * torch.tensor([[1.0, -1.0]])
    found = main_directions(states, weight, torch.tensor([0.5, 0.0, 0.0]), rank=1)
    numbers = found.numbers(states)
    assert numbers.dtype == torch.int8 and numbers[:, 0].abs().tolist() == [127, 64, 0, 64, 127]
    logits = layer(found)(numbers[[0, 2, 4]].float())
    expected = states[[0, 2, 4]] @ weight.T + torch.tensor([0.5, 0.0, 0.0])
    assert torch.allclose(logits - logits[:, :1], expected - expected[:, :1], atol=1e-4)
    assert found.numbers(states * 100)[0].abs().item() == 127  # values out of range are clipped


def test_the_directions_are_the_best_for_their_rank():
    """As good as the singular value decomposition of the centred logits, which they are computed without."""
    torch.manual_seed(0)
    states, weight = torch.randn(300, 12) @ torch.randn(12, 12) + 3, torch.randn(50, 12) * torch.arange(1, 13) + 9
    found = main_directions(states, weight, None, rank=4)
    logits = (states - states.mean(0)) @ (weight - weight.mean(0)).T
    left, values, right = torch.linalg.svd(logits, full_matrices=False)
    best = (left[:, :4] * values[:4]) @ right[:4] - logits
    ours = layer(found)(found.numbers(states).float())
    ours = ours - (weight @ states.mean(0))  # the constant part
    ours = ours - ours.mean(-1, keepdim=True)
    assert float((ours - logits).norm()) == pytest.approx(float(best.norm()), rel=0.02)


def shaped(positions=40, vocabulary=60, k=6, tau=2.0):
    torch.manual_seed(1)
    states, weight = torch.randn(positions, 8), torch.randn(vocabulary, 8)
    found, dense = main_directions(states, weight, None, rank=5), states @ weight.T
    top, numbers = top_k(dense, k, tau), found.numbers(states)
    misses, step = found.misses(numbers, top.ids, dense.gather(-1, top.ids))
    return Shaped(top.ids, misses * step.float()[:, None], top.log_tail, numbers, layer(found), tau), dense


def test_the_most_likely_tokens_and_the_mass_of_the_rest_are_exact():
    soft, dense = shaped()
    logs, expected = soft.logits(2.0), (dense / 2).log_softmax(-1)
    assert torch.allclose(logs.exp().sum(-1), torch.ones(40), atol=1e-5)
    assert torch.allclose(logs.gather(-1, soft.ids), expected.gather(-1, soft.ids), atol=0.01)  # 8 bits
    others = logs.scatter(-1, soft.ids, -math.inf).logsumexp(-1)
    assert torch.allclose(others, expected.scatter(-1, soft.ids, -math.inf).logsumexp(-1), atol=1e-5)
    hidden, own = torch.zeros(40, 7), torch.nn.Linear(7, 60)
    with pytest.raises(ValueError, match="temperature 2.0, not 1.0"):
        chunked_loss(hidden, own, torch.arange(40), soft, LossSettings(0.3, 1.0), 40)
    uniform = torch.zeros(40, 60)
    near, exact = (soft_label_divergence(uniform, each, 1.0).item() for each in (logs, expected))
    assert near == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("beyond", [0, 4])
@pytest.mark.parametrize("settings", [LossSettings(), LossSettings(1.0, 2.0), LossSettings(0.4, 2.0, 0.5)], ids=str)
def test_values_and_gradients_in_chunks_equal_those_of_the_plain_functions(monkeypatch, settings, beyond):
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 17 * 4 * (60 + beyond))
    soft, _ = shaped()
    head, hidden, targets = torch.nn.Linear(7, 60 + beyond), torch.randn(40, 7, requires_grad=True), torch.arange(40)
    logits = head(hidden)
    kl = cached_divergence(logits, soft, 2.0, settings.beta)
    plain = distillation_loss(cross_entropy(logits, targets), kl, 9, settings)
    loss, _, found_kl = chunked_loss(hidden, head, targets, soft, settings, 9)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert found_kl.item() == pytest.approx(kl.item(), rel=1e-4)
    for found, expected in zip(
        torch.autograd.grad(loss, [hidden, *head.parameters()]),
        torch.autograd.grad(plain, [hidden, *head.parameters()]),
        strict=True,
    ):
        assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0, 1e9])
def test_corrections_of_any_size_have_eight_bit_accuracy(spread):
    states, weight = torch.randn(30, 8), torch.randn(60, 8)
    found, ids = main_directions(states, weight, None, rank=8), torch.arange(5).expand(30, 5)
    numbers = found.numbers(states)
    logits = layer(found)(numbers.float())[:, :5] + spread * torch.linspace(0, 1, 5)
    misses, step = found.misses(numbers, ids, logits)
    kept = misses * step.float()[:, None]
    assert kept.isfinite().all()
    if spread < 1e8:  # beyond half precision the differences are clipped
        expected = spread * torch.linspace(-0.5, 0.5, 5).expand(30, 5)
        assert torch.allclose(kept, expected, atol=max(spread / 100, 1e-5))
    one, size = found.misses(numbers, ids[:, :1], logits[:, :1])
    assert (one == 0).all() and size.isfinite().all()


def test_a_student_with_fewer_tokens_gets_the_shared_ones(tmp_path, mentor):
    examples, shared = tiny.examples(mentor, 6), mentor.vocabulary - 300
    found = cached(tmp_path / "k", "mentor", lambda: mentor, shared, examples, TOP).rows(examples, 2.0)
    whole = cached(tmp_path / "exact", "mentor", lambda: mentor, shared, examples, SoftLabelSettings())
    expected = whole.rows(examples, 2.0).logits(2.0).log_softmax(-1)
    assert found.vocabulary == shared == expected.shape[-1] and int(found.ids.max()) < shared
    assert torch.allclose(found.logits(2.0), expected, atol=0.2)


def test_an_empty_tail_gives_a_finite_loss_and_gradient():
    soft, _ = shaped()
    soft = replace(soft, log_tail=torch.full((40,), -math.inf))
    hidden = torch.randn(40, 7, requires_grad=True)
    loss, *_ = chunked_loss(hidden, torch.nn.Linear(7, 60), torch.arange(40), soft, LossSettings(), 40)
    loss.backward()
    assert loss.isfinite() and hidden.grad.isfinite().all()


@pytest.mark.parametrize(("rank", "distance"), [(24, 1.0), (32, 1.0), (32, 0.3)])  # of 32 dimensions
def test_few_numbers_are_closer_to_the_full_divergence_than_one_bucket(tmp_path, mentor, monkeypatch, rank, distance):
    """On rationales not used to compute the directions, and for a student close to its mentor."""
    examples = tiny.examples(mentor, 40)
    monkeypatch.setattr(soft_labels, "main_directions", partial(main_directions, rank=rank))
    near = make(tmp_path / "k", mentor, examples, basis=lambda: examples[:30]).rows(examples[30:], 2.0)
    whole = make(tmp_path / "exact", mentor, examples, SoftLabelSettings()).rows(examples[30:], 2.0)
    torch.manual_seed(0)
    student = whole.logits() + distance * torch.randn(len(whole.states), mentor.vocabulary)
    full, found = (cached_divergence(student, labels, 2.0).item() for labels in (whole, near))
    bucket = top_k_divergence(student, top_k(whole.logits(), 8, 2.0), 2.0).item()
    assert abs(found - full) < 0.1 * (full - bucket)


def test_the_directions_depend_on_the_basis_and_not_on_the_first_caller(tmp_path, mentor, monkeypatch):
    monkeypatch.setattr(soft_labels, "TAIL_ROWS", 3)
    examples = tiny.examples(mentor, 8)
    first = make(tmp_path / "a", mentor, examples[:4], basis=lambda: examples)
    make(tmp_path / "b", mentor, examples[4:], basis=lambda: examples[::-1])
    other = make(tmp_path / "b", mentor, examples, basis=unexpected)
    assert torch.equal(first.directions.into, other.directions.into)
    found = [labels.rows(examples[:4], 2.0).numbers for labels in (first, other)]
    assert found[0].float() == pytest.approx(found[1].float(), abs=1)  # padding may change the last digit
    again = make(tmp_path / "a", mentor, examples[:4], load=unexpected)
    assert torch.equal(again.rows(examples[:4], 2.0).logits(2.0), first.rows(examples[:4], 2.0).logits(2.0))


def test_without_the_directions_every_row_is_computed_again(tmp_path, mentor):
    examples = tiny.examples(mentor, 4)
    expected = make(tmp_path, mentor, examples).rows(examples, 2.0)
    [path], [shard] = tmp_path.glob(f"*/{TAIL}"), tmp_path.glob("*/shard-*")
    path.write_bytes(path.read_bytes()[:-9])
    old = shard.read_bytes()
    with pytest.raises(AssertionError, match="called again"):
        make(tmp_path, mentor, examples, load=unexpected)
    found = make(tmp_path, mentor, examples[:2])
    assert len(found.places) == 2 and path.exists()
    shard.write_bytes(old)  # from other directions: ignored
    again = make(tmp_path, mentor, examples).rows(examples, 2.0)
    assert soft_label_divergence(again.logits(2.0), expected.logits(2.0), 1.0).item() / len(again.ids) < 5e-3
    make(tmp_path, mentor, examples, load=unexpected)


def test_only_mentors_without_a_plain_output_layer_get_a_bucket_and_none_if_k_is_all(tmp_path, mentor, monkeypatch):
    examples = tiny.examples(mentor, 2)
    whole = make(tmp_path / "all", mentor, examples, SoftLabelSettings(10**6))
    assert whole.tail is None and not list(tmp_path.rglob(TAIL))
    monkeypatch.setattr(soft_labels, "has_plain_head", lambda loaded: False)
    labels = make(tmp_path / "other", mentor, examples)
    assert labels.tail is None and isinstance(labels.rows(examples, 2.0), TopK)
    monkeypatch.undo()  # from now on the same mentor has a plain output layer
    more = tiny.examples(mentor, 3)
    assert isinstance(make(tmp_path / "other", mentor, more).rows(more, 2.0), Shaped)


def test_non_finite_states_are_an_error_and_a_constant_layer_is_not():
    with pytest.raises(InputError, match="not all finite"):
        main_directions(torch.full((3, 2), math.nan), torch.eye(2), None)
    found = main_directions(torch.randn(5, 2), torch.ones(4, 2), None)
    assert all(one.isfinite().all() for one in vars(found).values())
