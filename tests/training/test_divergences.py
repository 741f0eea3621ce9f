"""The other divergences and the sums of losses, by hand and against finite differences."""

import math
from functools import partial

import pytest
import torch
from torch import tensor
from torch.autograd import gradcheck

from mentor_kd.files import InputError
from mentor_kd.training.losses import (
    LossSettings,
    consistency,
    consistency_loss,
    cross_entropy,
    distillation_loss,
    soft_label_divergence,
    top_k,
    top_k_divergence,
)

LOG = math.log


def logs(*rows):
    """Logits whose softmax is the given probabilities, in float64."""
    return tensor(rows, dtype=torch.float64).log()


def random_logits(seed, n=3, v=5):
    return torch.randn(n, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MENTOR, STUDENT = logs([0.5, 0.5]), logs([0.9, 0.1])


def test_the_reverse_divergence_by_hand():
    found = soft_label_divergence(STUDENT, MENTOR, 1.0, beta=1.0)
    assert found.item() == pytest.approx(0.9 * LOG(0.9 / 0.5) + 0.1 * LOG(0.1 / 0.5), abs=1e-12)  # 0.368064


def test_jensen_shannon_by_hand():
    # the equal mixture is 0.7, 0.3
    mentor = 0.5 * LOG(0.5 / 0.7) + 0.5 * LOG(0.5 / 0.3)  # 0.087177
    student = 0.9 * LOG(0.9 / 0.7) + 0.1 * LOG(0.1 / 0.3)  # 0.116322
    found = soft_label_divergence(STUDENT, MENTOR, 1.0, beta=0.5)
    assert found.item() == pytest.approx((mentor + student) / 2, abs=1e-12)
    assert found.item() == pytest.approx(0.1017492, abs=1e-6)


def test_generalised_jensen_shannon_weights_mixture_and_sum_by_beta():
    # beta 0.25: the mixture is 0.25 m + 0.75 s = 0.8, 0.2
    mentor = 0.5 * LOG(0.5 / 0.8) + 0.5 * LOG(0.5 / 0.2)
    student = 0.9 * LOG(0.9 / 0.8) + 0.1 * LOG(0.1 / 0.2)
    found = soft_label_divergence(STUDENT, MENTOR, 1.0, beta=0.25)
    assert found.item() == pytest.approx(0.25 * mentor + 0.75 * student, abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_its_limits_divided_by_beta_are_the_two_kl_divergences(temperature):
    student, mentor = random_logits(1), random_logits(2)
    of = partial(soft_label_divergence, student, mentor, temperature)
    forward, reverse = of(beta=0.0), of(beta=1.0)
    assert forward.item() == pytest.approx(soft_label_divergence(student, mentor, temperature).item())
    errors = {b: abs(of(beta=b) / b - forward).item() for b in (1e-2, 1e-4, 1e-6)}
    assert errors[1e-6] < 1e-5 * forward and errors[1e-2] > errors[1e-4] > errors[1e-6]
    errors = {b: abs(of(beta=1 - b) / b - reverse).item() for b in (1e-2, 1e-4, 1e-6)}
    assert errors[1e-6] < 1e-5 * reverse and errors[1e-2] > errors[1e-4] > errors[1e-6]


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 1.0])
def test_every_divergence_is_zero_for_equal_distributions_and_positive_otherwise(beta):
    student, mentor = random_logits(3), random_logits(4)
    assert soft_label_divergence(student, student.clone(), 2.0, beta).item() == pytest.approx(0, abs=1e-12)
    assert soft_label_divergence(student, mentor, 2.0, beta).item() > 0.01


def test_jensen_shannon_at_a_half_is_symmetric_and_below_log_two():
    a, b = random_logits(5, n=1), 30 * random_logits(6, n=1)
    there, back = soft_label_divergence(a, b, 1.0, 0.5), soft_label_divergence(b, a, 1.0, 0.5)
    assert there.item() == pytest.approx(back.item())
    assert there.item() < LOG(2)


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_gradients_of_the_divergences_by_finite_differences(beta, temperature):
    student, mentor = random_logits(7).requires_grad_(), random_logits(8)
    assert gradcheck(lambda logits: soft_label_divergence(logits, mentor, temperature, beta), student)


def test_gradients_of_cross_entropy_top_k_and_consistency_by_finite_differences():
    student, other = random_logits(9).requires_grad_(), random_logits(10).requires_grad_()
    targets = tensor([0, 4, 2])
    assert gradcheck(lambda logits: cross_entropy(logits, targets), student)
    # the mentor's side must also be in float64, or its rounding would be measured
    kept = top_k(random_logits(11), 2, 2.0)
    assert gradcheck(lambda logits: top_k_divergence(logits, kept, 2.0), student)
    assert gradcheck(lambda a, b: consistency(a, b, 1.3), (student, other))


def test_no_gradient_reaches_the_mentor_whatever_the_divergence():
    for beta in (0.0, 0.5, 1.0):
        student, mentor = random_logits(1).requires_grad_(), random_logits(2).requires_grad_()
        soft_label_divergence(student, mentor, 2.0, beta).backward()
        assert mentor.grad is None and student.grad.abs().sum() > 0


def test_consistency_by_hand_and_its_gradient_goes_through_both():
    # KL(m || s) = 0.510826 and KL(s || m) = 0.368064: half their sum
    first, second = STUDENT.clone().requires_grad_(), MENTOR.clone().requires_grad_()
    found = consistency(first, second, 1.0)
    assert found.item() == pytest.approx((0.5108256 + 0.3680642) / 2, abs=1e-6)
    assert consistency(second, first, 1.0).item() == pytest.approx(found.item())
    found.backward()
    assert first.grad.abs().sum() > 0.1 and second.grad.abs().sum() > 0.1


def test_consistency_softens_by_the_temperature_and_sums_over_tokens():
    # at temperature 2 the probabilities 0.9, 0.1 become 0.75, 0.25
    one = (0.5 * LOG(0.5 / 0.75) + 0.5 * LOG(0.5 / 0.25) + 0.75 * LOG(0.75 / 0.5) + 0.25 * LOG(0.25 / 0.5)) / 2
    assert consistency(STUDENT, MENTOR, 2.0).item() == pytest.approx(one, abs=1e-12)
    assert consistency(STUDENT.repeat(3, 1), MENTOR.repeat(3, 1), 2.0).item() == pytest.approx(3 * one)


def test_the_loss_of_pairs_by_hand():
    # CE 12 over 8 tokens, consistency 3 over 2 answer tokens, alpha 0.4: 1.5 + 0.4 * 1.5
    loss = partial(consistency_loss, tensor(12.0), tensor(3.0), 8, 2)
    assert loss(LossSettings(consistency_weight=0.4)).item() == pytest.approx(2.1)
    assert loss(LossSettings(consistency_weight=0.0)).item() == 1.5


def test_the_loss_as_published_by_hand():
    # lambda 0.3, tau 2, CE 10 over 4 tokens, D 30 over 20 positions: 0.7 * 2.5 + 0.3 * 1.5, without a factor 4
    published = LossSettings(tau_squared=False, mask="as published")
    assert distillation_loss(tensor(10.0), tensor(30.0), 4, published, 20).item() == pytest.approx(2.2)
    assert distillation_loss(tensor(10.0), tensor(30.0), 4, LossSettings(), 20).item() == pytest.approx(3.55)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"beta": 1.5}, r"beta .*1\.5"),
        ({"beta": True}, "beta .*True"),
        ({"tau_squared": "false"}, "tau_squared .*'false'"),
        ({"mask": "padding"}, "mask must be one of targets, as published, got 'padding'"),
        ({"consistency_weight": -1}, "consistency_weight .alpha. .*-1"),
    ],
)
def test_invalid_settings_are_rejected(changes, named):
    with pytest.raises(InputError, match=named):
        LossSettings(**changes)
