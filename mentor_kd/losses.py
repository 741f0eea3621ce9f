"""Losses as pure functions of logits: cross-entropy, soft-label divergence, and their sum.

All of them take the logits of real target positions only, [N, V], with padding and prompt already taken out, and give
sums over positions, so that the caller can divide by the number of target tokens of a whole optimiser step, whatever
its batches, accumulation and processes (method.md, Loss, protocol `sound`).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .files import InputError


@dataclass(frozen=True)
class LossSettings:
    """Weight lambda of the soft labels in [0, 1] and their temperature tau > 0 (paper, section 3 and App. B)."""

    soft_label_weight: float = 0.3
    soft_label_temperature: float = 2.0

    def __post_init__(self):
        weight, temperature = self.soft_label_weight, self.soft_label_temperature
        if not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise InputError(f"soft_label_weight (lambda) is a number in [0, 1], not {weight!r}")
        if not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise InputError(f"soft_label_temperature (tau) is a number above 0, not {temperature!r}")


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over positions of -log p(target); logits [N, V], targets [N] (paper, eq. 1). In float32."""
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def soft_label_divergence(student: Tensor, mentor: Tensor, temperature: float) -> Tensor:
    """Sum over positions of KL(mentor || student) at a temperature, without the factor temperature squared.

    Both logits are [N, V], in float32 inside. No gradient reaches the mentor. The paper's eq. 2, with its sign mended.
    """
    log_student = F.log_softmax(student.float() / temperature, dim=-1)
    log_mentor = F.log_softmax(mentor.detach().float() / temperature, dim=-1)
    return F.kl_div(log_student, log_mentor, reduction="sum", log_target=True)


@dataclass(frozen=True)
class TopK:
    """The mentor's distribution at one temperature: its k likeliest tokens and the mass of all others in one bucket.

    `ids` [N, k], `log_probs` [N, k] and `log_tail` [N] (-inf where nothing is left), of a vocabulary of `vocabulary`
    tokens; a student's logits beyond these take no part.
    """

    ids: Tensor
    log_probs: Tensor
    log_tail: Tensor
    vocabulary: int

    def to(self, device: torch.device) -> "TopK":
        """The same on a device."""
        return TopK(self.ids.to(device), self.log_probs.to(device), self.log_tail.to(device), self.vocabulary)

    def __getitem__(self, rows: slice) -> "TopK":
        return TopK(self.ids[rows], self.log_probs[rows], self.log_tail[rows], self.vocabulary)


def top_k(logits: Tensor, k: int, temperature: float) -> TopK:
    """The k likeliest tokens and the exact tail mass of dense logits [N, V] at a temperature."""
    scaled = logits.float() / temperature
    total = scaled.logsumexp(-1)
    best, ids = scaled.topk(min(k, scaled.shape[-1]), dim=-1)
    tail = scaled.scatter(-1, ids, -math.inf).logsumexp(-1) - total
    return TopK(ids, best - total[:, None], tail, logits.shape[-1])


def top_k_divergence(student: Tensor, mentor: TopK, temperature: float) -> Tensor:
    """Sum over positions of KL(mentor || student) with all tokens outside the mentor's top k as one bucket.

    Merging tokens loses information, so this is a lower bound of the full divergence; with k = V it is the full one.
    `student` is [N, V or more]; without the factor temperature squared (method.md, Soft labels from the cache).
    """
    scaled = student.float()[:, : mentor.vocabulary] / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    log_student = scaled.gather(-1, mentor.ids) - total
    kl = (mentor.log_probs.exp() * (mentor.log_probs - log_student)).sum()
    left = mentor.log_tail > -math.inf  # where k is the whole vocabulary there is no bucket
    if left.any():
        others = scaled.scatter(-1, mentor.ids, -math.inf)[left].logsumexp(-1) - total[left, 0]
        tail = mentor.log_tail[left]
        kl = kl + (tail.exp() * (tail - others)).sum()
    return kl


def distillation_loss(ce: Tensor, divergence: Tensor, tokens: Tensor | int, settings: LossSettings) -> Tensor:
    """[(1-lambda) CE + lambda tau^2 KL] / N from sums over the same positions and the step's number of tokens N.

    tau squared keeps the soft labels' gradient at the size of the hard labels' when tau grows; the paper's code has
    none, which at tau = 2 makes its soft labels four times weaker than lambda says.
    """
    weight, temperature = settings.soft_label_weight, settings.soft_label_temperature
    return ((1 - weight) * ce + weight * temperature**2 * divergence) / tokens
