"""The loss in chunks: same values and gradients as the plain functions, with the memory of one chunk."""

import math

import pytest
import tiny
import torch

from mentor_kd.training import chunked_loss as chunks
from mentor_kd.training.chunked_loss import Workspace, chunked_loss
from mentor_kd.training.losses import (
    LossSettings,
    States,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
    top_k,
    top_k_divergence,
)

N, WIDTH, V, BEYOND = 50, 16, 300, 20


def made(bias=False, dtype=torch.float32):
    torch.manual_seed(0)
    head = torch.nn.Linear(WIDTH, V + BEYOND, bias=bias, dtype=dtype)
    hidden = torch.randn(N, WIDTH, dtype=dtype, requires_grad=True)
    return head, hidden, torch.randint(0, V, (N,)), 3 * torch.randn(N, V)


def gradients(head, hidden, loss):
    found = torch.autograd.grad(loss, [hidden, *head.parameters()])
    return torch.cat([one.flatten() for one in found])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("positions", [16, 17, 1000])
@pytest.mark.parametrize(
    ("k", "weight", "tau"), [(8, 0.3, 2.0), (64, 0.5, 1.0), (V, 0.3, 2.0), (64, 1.0, 4.0), (64, 0.0, 2.0)]
)
def test_values_and_gradients_equal_those_of_the_plain_functions(monkeypatch, bias, positions, k, weight, tau):
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", positions * 4 * (V + BEYOND))
    head, hidden, targets, mentor = made(bias)
    settings, soft = LossSettings(weight, tau), top_k(mentor, k, tau)
    logits = head(hidden)
    ce, kl = cross_entropy(logits, targets), top_k_divergence(logits, soft, tau)
    plain = distillation_loss(ce, kl, 77, settings)
    loss, found_ce, found_kl = chunked_loss(hidden, head, targets, soft, settings, torch.tensor(77))
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    assert found_ce.item() == pytest.approx(ce.item(), rel=1e-5) and not found_ce.requires_grad
    assert found_kl.item() == pytest.approx(kl.item(), rel=1e-5)
    expected = gradients(head, hidden, plain)
    assert torch.allclose(gradients(head, hidden, loss), expected, atol=1e-5 * float(expected.abs().max()))


def test_reused_memory_does_not_change_the_results():
    head, hidden, targets, logits = made()
    mentor = States(torch.randn(N, 24), torch.nn.Linear(24, V).requires_grad_(False))
    workspace, settings = Workspace(), LossSettings(0.3, 2.0)
    for count, soft in ((20, mentor[:20]), (50, mentor), (30, None), (40, top_k(logits[:40], 8, 2.0)), (50, mentor)):
        places = [memory.data_ptr() for memory in workspace.kept]
        fresh = chunked_loss(hidden[:count], head, targets[:count], soft, settings, count)
        kept = chunked_loss(hidden[:count], head, targets[:count], soft, settings, count, workspace)
        assert [one.item() for one in kept] == [one.item() for one in fresh]
        assert torch.equal(gradients(head, hidden, kept[0]), gradients(head, hidden, fresh[0]))
    assert [memory.data_ptr() for memory in workspace.kept] == places and len(places) == 3


def test_without_a_mentor_it_is_cross_entropy_alone():
    head, hidden, targets, _ = made()
    plain = cross_entropy(head(hidden), targets) / 5
    loss, ce, kl = chunked_loss(hidden, head, targets, None, LossSettings(0.3, 2.0), 5)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6) and kl.item() == 0
    assert torch.allclose(gradients(head, hidden, loss), gradients(head, hidden, plain), atol=1e-6)


def test_the_top_k_divergence_by_hand():
    # mentor 1/2, 1/4, 1/8, 1/8 with k = 1: one token and a bucket of 1/2; a uniform student: 1/4 and 3/4
    soft = top_k(torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log(), 1, 1.0)
    assert soft.ids.tolist() == [[0]] and soft.log_tail.exp().item() == pytest.approx(0.5)
    found = top_k_divergence(torch.zeros(1, 4), soft, 1.0).item()
    assert found == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_with_all_tokens_it_is_the_full_divergence_and_with_fewer_a_lower_bound():
    _, _, _, mentor = made()
    student = torch.randn(N, V)
    full = soft_label_divergence(student, mentor, 2.0).item()
    found = [top_k_divergence(student, top_k(mentor, k, 2.0), 2.0).item() for k in (1, 8, 64, V)]
    assert found[-1] == pytest.approx(full, rel=1e-5)
    assert found == sorted(found) and found[0] < 0.9 * full


def test_a_student_certain_of_other_tokens_has_a_finite_loss_and_gradient():
    head, hidden, targets, _ = made()
    mentor = torch.full((N, V), -200.0)
    mentor[:, 0] = 0.0
    with torch.no_grad():
        head.weight.mul_(2000)  # logits of thousands: whole tails underflow
    soft = top_k(mentor, 4, 1.0)
    loss, *_ = chunked_loss(hidden, head, targets, soft, LossSettings(0.3, 1.0), N)
    assert math.isfinite(loss.item()) and gradients(head, hidden, loss).isfinite().all()


def test_half_precision_states_give_a_loss_near_that_of_float32():
    head, hidden, targets, mentor = made()
    soft, settings = top_k(mentor, 64, 2.0), LossSettings(0.3, 2.0)
    exact, *_ = chunked_loss(hidden, head, targets, soft, settings, N)
    half = hidden.detach().bfloat16().requires_grad_()
    loss, *_ = chunked_loss(half, head, targets, soft, settings, N)
    assert loss.item() == pytest.approx(exact.item(), rel=0.01)
    a, b = gradients(head, hidden, exact), gradients(head, half, loss)
    assert torch.nn.functional.cosine_similarity(a, b.float(), dim=0) > 0.999


def test_a_frozen_output_layer_gets_no_gradient():
    head, hidden, targets, _ = made()
    head.requires_grad_(False)
    loss, *_ = chunked_loss(hidden, head, targets, None, LossSettings(), N)
    loss.backward()
    assert hidden.grad is not None and head.weight.grad is None


@pytest.mark.parametrize("vocabulary", [32_128, 131_072])
def test_no_tensor_holds_the_logits_of_all_positions(vocabulary):
    positions = 600
    head = torch.nn.Linear(4, vocabulary, bias=False)
    hidden, targets = torch.randn(positions, 4, requires_grad=True), torch.randint(0, vocabulary, (positions,))
    soft = top_k(torch.randn(1, vocabulary), 8, 2.0)
    soft = type(soft)(
        soft.ids.expand(positions, -1),
        soft.log_probs.expand(positions, -1),
        soft.log_tail.expand(positions),
        vocabulary,
    )
    with tiny.Largest() as chunked:
        chunked_loss(hidden, head, targets, soft, LossSettings(), positions)[0].backward()
    chunk = chunks.CHUNK_BYTES["cpu"] // 4
    assert chunked.most <= max(chunk, head.weight.numel()) < positions * vocabulary
    with tiny.Largest() as plain:  # the plain loss does hold them, by the same measure
        cross_entropy(head(hidden), targets).backward()
    assert plain.most >= positions * vocabulary
