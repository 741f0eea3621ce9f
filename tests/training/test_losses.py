"""Cross-entropy, the forward divergence and their sum, by hand and against finite differences."""

import math

import pytest
import torch
from torch import tensor

from mentor_kd.files import InputError
from mentor_kd.training.losses import LossSettings, cross_entropy, distillation_loss, soft_label_divergence

LOG = math.log


def logs(*rows):
    """Logits whose softmax is the given probabilities."""
    return tensor(rows).log()


def random_logits(seed, n=5, v=7):
    return torch.randn(n, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_cross_entropy_by_hand():
    # -ln 0.7 - ln 0.25: a sum, not a mean
    loss = cross_entropy(logs([0.7, 0.2, 0.1], [0.5, 0.25, 0.25]), tensor([0, 2]))
    assert loss.item() == pytest.approx(-LOG(0.7) - LOG(0.25), abs=1e-6)
    assert loss.item() == pytest.approx(1.742969, abs=1e-5)


def test_the_divergence_by_hand_is_kl_of_mentor_and_student():
    mentor, student = logs([0.5, 0.5]), logs([0.9, 0.1])
    forward = 0.5 * LOG(0.5 / 0.9) + 0.5 * LOG(0.5 / 0.1)  # 0.510826
    reverse = 0.9 * LOG(0.9 / 0.5) + 0.1 * LOG(0.1 / 0.5)  # 0.368064
    assert soft_label_divergence(student, mentor, 1.0).item() == pytest.approx(forward, abs=1e-6)
    assert soft_label_divergence(mentor, student, 1.0).item() == pytest.approx(reverse, abs=1e-6)


def test_temperature_divides_the_logits_of_both():
    # temperature 2 takes square roots of the probabilities: 0.9, 0.1 become 0.75, 0.25; 0.8, 0.2 become 2/3, 1/3
    student, mentor = logs([0.9, 0.1]), logs([0.8, 0.2])
    expected = 2 / 3 * LOG((2 / 3) / 0.75) + 1 / 3 * LOG((1 / 3) / 0.25)
    assert soft_label_divergence(student, mentor, 2.0).item() == pytest.approx(expected, abs=1e-6)


def test_divergence_sums_over_positions():
    student, mentor = random_logits(1).float(), random_logits(2).float()
    total = soft_label_divergence(student, mentor, 2.0)
    single = sum(soft_label_divergence(student[i : i + 1], mentor[i : i + 1], 2.0) for i in range(5))
    assert total.item() == pytest.approx(single.item(), rel=1e-5)
    assert total.item() > 0


def test_the_divergence_of_equal_distributions_is_zero_even_with_impossible_tokens():
    logits = logs([0.5, 0.5, 0.0], [1.0, 0.0, 0.0]).clamp(min=-1e4)
    assert soft_label_divergence(logits, logits.clone(), 2.0).item() == pytest.approx(0, abs=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.zeros(4000, 2, dtype=torch.bfloat16)
    assert cross_entropy(logits, torch.zeros(4000, dtype=torch.long)).item() == pytest.approx(4000 * LOG(2), rel=1e-5)
    mentor = logs([0.5, 0.25]).repeat(4000, 1)
    exact = soft_label_divergence(torch.zeros(4000, 2), mentor, 1.0).item()
    assert soft_label_divergence(logits, mentor, 1.0).item() == pytest.approx(exact, rel=1e-5)


def test_the_whole_formula_by_hand():
    # lambda 0.3, tau 2, CE 10, KL 3, 4 tokens: (0.7 * 10 + 0.3 * 4 * 3) / 4 = 2.65
    loss = distillation_loss(tensor(10.0), tensor(3.0), 4, LossSettings())
    assert loss.item() == pytest.approx(2.65, abs=1e-6)


def test_the_whole_formula_from_probabilities():
    student, mentor, targets = logs([0.9, 0.1]), logs([0.8, 0.2]), tensor([1])
    settings = LossSettings(soft_label_weight=0.25, soft_label_temperature=2.0)
    kl = 2 / 3 * LOG((2 / 3) / 0.75) + 1 / 3 * LOG((1 / 3) / 0.25)
    ce = cross_entropy(student, targets)
    found = distillation_loss(ce, soft_label_divergence(student, mentor, 2.0), 1, settings)
    assert found.item() == pytest.approx(0.75 * -LOG(0.1) + 0.25 * 4 * kl, abs=1e-6)


def test_weight_0_gives_cross_entropy_alone_and_weight_1_soft_labels_alone():
    ce, kl = tensor(10.0), tensor(3.0)
    assert distillation_loss(ce, kl, 5, LossSettings(0.0, 2.0)).item() == 2.0
    assert distillation_loss(ce, kl, 5, LossSettings(1.0, 2.0)).item() == pytest.approx(12 / 5)


def test_gradient_of_cross_entropy_is_probability_minus_target():
    logits = random_logits(3).float().requires_grad_()
    targets = tensor([0, 6, 2, 2, 5])
    cross_entropy(logits, targets).backward()
    expected = logits.detach().softmax(-1) - torch.nn.functional.one_hot(targets, 7)
    assert torch.allclose(logits.grad, expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_gradient_of_the_divergence_is_the_difference_of_probabilities(temperature):
    student, mentor = random_logits(4).float().requires_grad_(), random_logits(5).float()
    soft_label_divergence(student, mentor, temperature).backward()
    expected = ((student.detach() / temperature).softmax(-1) - (mentor / temperature).softmax(-1)) / temperature
    assert torch.allclose(student.grad, expected, atol=1e-6)


def test_gradient_by_finite_differences():
    student, mentor, targets = random_logits(6, 3, 4), random_logits(7, 3, 4), tensor([0, 3, 1])
    settings = LossSettings(0.4, 3.0)

    def loss(logits):
        kl = soft_label_divergence(logits, mentor, settings.soft_label_temperature)
        return distillation_loss(cross_entropy(logits, targets), kl, 3, settings)

    watched = student.float().requires_grad_()
    loss(watched).backward()
    step = 1e-2  # with a smaller step, float32 rounding would dominate
    for i in range(3):
        for j in range(4):
            up, down = student.clone(), student.clone()
            up[i, j] += step
            down[i, j] -= step
            slope = (loss(up) - loss(down)).item() / (2 * step)
            assert watched.grad[i, j].item() == pytest.approx(slope, abs=2e-4)


def test_tau_squared_keeps_the_size_of_the_gradient():
    def size(temperature):
        student, mentor = random_logits(8).float().requires_grad_(), random_logits(9).float()
        kl = soft_label_divergence(student, mentor, temperature)
        distillation_loss(tensor(0.0), kl, 5, LossSettings(1.0, temperature)).backward()
        return student.grad.norm().item()

    assert size(50.0) == pytest.approx(size(100.0), rel=0.02)


def test_no_gradient_reaches_the_mentor():
    student, mentor = random_logits(1).requires_grad_(), random_logits(2).requires_grad_()
    soft_label_divergence(student, mentor, 2.0).backward()
    assert mentor.grad is None
    assert student.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"soft_label_weight": 1.1}, r"soft_label_weight .*1\.1"),
        ({"soft_label_weight": -0.1}, r"soft_label_weight .*-0\.1"),
        ({"soft_label_weight": float("nan")}, "soft_label_weight .*nan"),
        ({"soft_label_weight": "0.3"}, "soft_label_weight .*'0.3'"),
        ({"soft_label_temperature": 0}, "soft_label_temperature .*0"),
        ({"soft_label_temperature": "2"}, "soft_label_temperature .*'2'"),
    ],
)
def test_invalid_settings_are_rejected(changes, named):
    with pytest.raises(InputError, match=named):
        LossSettings(**changes)
