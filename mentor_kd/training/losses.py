"""Losses as pure functions of logits: cross-entropy, soft-label divergences, multi-CoT consistency, and their sum.

All take the logits of the relevant positions only, [N, V], and return sums over positions, so that the caller can
divide by the number of target tokens of a whole optimiser step, regardless of batches, accumulation and processes. They
compute in float32, or in float64 for float64 inputs.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import require_bool, require_choice, require_number

MASKS = ("targets", "as published")  # the positions over which the divergence is taken


@dataclass(frozen=True)
class LossSettings:
    """Weight lambda of the soft labels in [0, 1] and their temperature tau > 0 (paper, section 3 and appendix B).

    `beta` selects the divergence: 0 is KL(mentor || student), 1 is KL(student || mentor), and values between them give
    the generalised Jensen-Shannon divergence. The paper's code omits the factor tau squared and averages the divergence
    over all positions of a batch, padding included: `tau_squared` False, `mask` "as published".
    """

    soft_label_weight: float = 0.3
    soft_label_temperature: float = 2.0
    beta: float = 0.0
    tau_squared: bool = True
    mask: str = "targets"
    consistency_weight: float = 0.1  # alpha of mcc-kd

    def __post_init__(self) -> None:
        require_number("soft_label_weight (lambda)", self.soft_label_weight, least=0, most=1)
        require_number("soft_label_temperature (tau)", self.soft_label_temperature, above=0)
        note = "0 is KL(mentor || student), 1 is KL(student || mentor)"
        require_number("beta", self.beta, least=0, most=1, note=note)
        require_bool("tau_squared", self.tau_squared)
        require_choice("mask", self.mask, MASKS)
        require_number("consistency_weight (alpha)", self.consistency_weight, least=0)


def _precise(logits: Tensor) -> Tensor:
    """Logits in float32; float64 stays float64."""
    return logits if logits.dtype == torch.float64 else logits.float()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over positions of -log p(target); logits [N, V], targets [N] (paper, eq. 1)."""
    return F.cross_entropy(_precise(logits), targets, reduction="sum")


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum over positions of KL(p || q), from log probabilities [N, V]."""
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def soft_label_divergence(student: Tensor, mentor: Tensor, temperature: float, beta: float = 0.0) -> Tensor:
    """Sum over positions of a divergence of mentor and student at a temperature, without the factor tau squared.

    Both logits are [N, V]. No gradient reaches the mentor. With beta 0 it is KL(mentor || student), eq. 2 of the paper
    with its sign corrected; with beta 1 KL(student || mentor); between them the generalised Jensen-Shannon divergence
    beta KL(m || x) + (1-beta) KL(s || x) with x = beta m + (1-beta) s (Agarwal et al., 2024, eq. 1). The latter tends
    to 0 at both ends; divided by beta or by 1-beta it tends to the two KL divergences, which are therefore used there.
    """
    log_student = F.log_softmax(_precise(student) / temperature, dim=-1)
    log_mentor = F.log_softmax(_precise(mentor.detach()) / temperature, dim=-1)
    if beta == 0:
        return _kl(log_mentor, log_student)
    if beta == 1:
        return _kl(log_student, log_mentor)
    between = torch.logaddexp(log_mentor + math.log(beta), log_student + math.log1p(-beta))
    return beta * _kl(log_mentor, between) + (1 - beta) * _kl(log_student, between)


def consistency(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Sum over answer tokens of 1/2 [KL(p || q) + KL(q || p)] (Chen et al., 2023).

    p and q are one student's distributions of the same answer token after either rationale of a pair. Both logits are
    [A, V]; gradients flow through both.
    """
    log_p = F.log_softmax(_precise(first) / temperature, dim=-1)
    log_q = F.log_softmax(_precise(second) / temperature, dim=-1)
    return (_kl(log_p, log_q) + _kl(log_q, log_p)) / 2


@dataclass(frozen=True)
class TopK:
    """The mentor's distribution at one temperature: its k most likely tokens, and one bucket with the mass of the rest.

    `ids` [N, k], `log_probs` [N, k] and `log_tail` [N] (-inf where nothing is left), over a vocabulary of `vocabulary`
    tokens; a student's logits beyond these are ignored.
    """

    ids: Tensor
    log_probs: Tensor
    log_tail: Tensor
    vocabulary: int

    def to(self, device: torch.device) -> "TopK":
        """The same distribution on a device."""
        return TopK(self.ids.to(device), self.log_probs.to(device), self.log_tail.to(device), self.vocabulary)

    def __getitem__(self, rows: slice) -> "TopK":
        return TopK(self.ids[rows], self.log_probs[rows], self.log_tail[rows], self.vocabulary)


@dataclass(frozen=True)
class States:
    """The mentor's exact distribution, at any temperature: the inputs of its output layer [N, d], and that layer.

    The layer has the rows of the vocabulary shared by mentor and student; a student's logits beyond these are ignored.
    A slice computes only its own logits, so they can be computed a few positions at a time. With `rounded`, the
    products are computed as in `rounded_products`.
    """

    states: Tensor
    head: torch.nn.Linear
    rounded: bool = False

    @property
    def vocabulary(self) -> int:
        return self.head.out_features

    def to(self, device: torch.device) -> "States":
        """The same distribution on a device; the shared layer is moved in place."""
        return States(self.states.to(device), self.head.to(device), self.rounded)

    def __getitem__(self, rows: slice) -> "States":
        return States(self.states[rows], self.head, self.rounded)

    @torch.no_grad()
    def logits(self, temperature: float = 1.0, out: Tensor | None = None) -> Tensor:
        """The mentor's logits [N, V] at a temperature, in the layer's precision; see `layer_logits`."""
        weight, bias = self.head.weight, self.head.bias
        with torch.autocast(weight.device.type, enabled=False), rounded_products(self.rounded):
            return layer_logits(weight, bias, self.states.to(weight.dtype), out).div_(temperature)


@dataclass(frozen=True)
class Shaped:
    """The mentor's distribution at one temperature: its most likely tokens, the mass of the rest, and its rough spread.

    `numbers` [N, r] and the layer [V, r] give approximate logits of all tokens; `misses` [N, k] are the corrections to
    the logits of the most likely tokens, `ids` [N, k]; `log_tail` [N] is the exact log mass of all others.
    """

    ids: Tensor
    misses: Tensor
    log_tail: Tensor
    numbers: Tensor
    layer: torch.nn.Linear
    temperature: float

    @property
    def vocabulary(self) -> int:
        return self.layer.out_features

    def to(self, device: torch.device) -> "Shaped":
        """The same distribution on a device; the shared layer is moved in place."""
        return Shaped(
            self.ids.to(device),
            self.misses.to(device),
            self.log_tail.to(device),
            self.numbers.to(device),
            self.layer.to(device),
            self.temperature,
        )

    def __getitem__(self, rows: slice) -> "Shaped":
        return Shaped(
            self.ids[rows],
            self.misses[rows],
            self.log_tail[rows],
            self.numbers[rows],
            self.layer,
            self.temperature,
        )

    @torch.no_grad()
    def parts(self, temperature: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of the rest up to a constant, -inf for the most likely; log probabilities [N, k] of the latter.

        Raises ValueError for any other temperature than `self.temperature`.
        """
        if temperature != self.temperature:
            raise ValueError(f"these soft labels are for temperature {self.temperature}, not {temperature}")
        weight, bias = self.layer.weight, self.layer.bias
        with torch.autocast(weight.device.type, enabled=False):
            rough = layer_logits(weight, bias, self.numbers.to(weight.dtype), out).div_(self.temperature)
        top = (rough.gather(-1, self.ids) + self.misses / self.temperature).log_softmax(-1)
        return rough.scatter_(-1, self.ids, -math.inf), top + log_top_mass(self.log_tail)[:, None]

    @torch.no_grad()
    def logits(self, temperature: float) -> Tensor:
        """The log probabilities [N, V]; raises ValueError as `parts` does."""
        tail, top = self.parts(temperature)
        tail += self.log_mass() - tail.logsumexp(-1, keepdim=True)
        return tail.scatter_(-1, self.ids, top)

    def log_mass(self) -> Tensor:
        """The log mass of the rest [N, 1], finite even where nothing is left."""
        return self.log_tail[:, None].clamp_min(-80.0)


def log_top_mass(log_tail: Tensor) -> Tensor:
    """The log mass of the most likely tokens, from the log mass of the rest; finite even where nothing is left."""
    return torch.log1p(-log_tail.exp()).clamp_min(-60.0)


@contextlib.contextmanager
def rounded_products(on: bool = True) -> Iterator[None]:
    """Let a CPU round the factors of float32 products to bfloat16 and sum in float32; affects all threads.

    With AMX this makes a product three times as fast. The error depends on the largest dimensions of the states: for a
    mentor with logits of standard deviation 3 and no dimension far above the others it is about 0.007, which changes a
    divergence by about 0.001%. Not for products through which a gradient flows.
    """
    if not on:
        yield
        return
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def layer_logits(weight: Tensor, bias: Tensor | None, states: Tensor, out: Tensor | None = None) -> Tensor:
    """An output layer's logits [N, V] in float32, written into `out` [>= N, V] if given.

    On a CPU, new memory for each chunk of logits would cost as much as the computation. No gradient flows.
    """
    if out is None:
        return F.linear(states, weight, bias).float()
    out = out[: len(states)]
    if weight.dtype != torch.float32:
        return out.copy_(F.linear(states, weight, bias))
    return torch.mm(states, weight.T, out=out) if bias is None else torch.addmm(bias, states, weight.T, out=out)


def top_k(logits: Tensor, k: int, temperature: float) -> TopK:
    """The k most likely tokens and the exact tail mass of dense logits [N, V] at a temperature."""
    scaled = _precise(logits) / temperature
    total = scaled.logsumexp(-1)
    best, ids = scaled.topk(min(k, scaled.shape[-1]), dim=-1)
    tail = scaled.scatter(-1, ids, -math.inf).logsumexp(-1) - total
    return TopK(ids, best - total[:, None], tail, logits.shape[-1])


def top_k_divergence(student: Tensor, mentor: TopK, temperature: float) -> Tensor:
    """Sum over positions of KL(mentor || student) with all tokens outside the mentor's top k merged into one bucket.

    Merging loses information, so this is a lower bound of the full divergence; with k = V the two are equal.
    `student` is [N, >= V]. Without the factor temperature squared (docs/method.md, Soft labels).
    """
    scaled = _precise(student)[:, : mentor.vocabulary] / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    log_student = scaled.gather(-1, mentor.ids) - total
    kl = (mentor.log_probs.exp() * (mentor.log_probs - log_student)).sum()
    left = mentor.log_tail > -math.inf  # no bucket where k is the whole vocabulary
    if left.any():
        others = scaled.scatter(-1, mentor.ids, -math.inf)[left].logsumexp(-1) - total[left, 0]
        tail = mentor.log_tail[left]
        kl = kl + (tail.exp() * (tail - others)).sum()
    return kl


def cached_divergence(student: Tensor, mentor: TopK | Shaped | States, temperature: float, beta: float = 0.0) -> Tensor:
    """Sum over positions of the divergence from a cached mentor in any form; `student` is [N, >= V].

    With one bucket for the tail (`TopK`) the only divergence is KL(mentor || student).
    """
    if isinstance(mentor, TopK):
        return top_k_divergence(student, mentor, temperature)
    softened = _precise(student)[:, : mentor.vocabulary] / temperature
    return soft_label_divergence(softened, mentor.logits(temperature), 1.0, beta)


def soft_label_factor(settings: LossSettings) -> float:
    """lambda tau^2, or lambda alone if `tau_squared` is off.

    tau squared keeps the size of the soft labels' gradient comparable to the hard labels' as tau grows. The paper's
    code omits it, which at tau = 2 makes its soft labels four times weaker than lambda suggests.
    """
    return settings.soft_label_weight * (settings.soft_label_temperature**2 if settings.tau_squared else 1.0)


def distillation_loss(
    ce: Tensor, divergence: Tensor, tokens: Tensor | int, settings: LossSettings, positions: Tensor | int | None = None
) -> Tensor:
    """(1-lambda) CE / N + lambda tau^2 D / M from sums over the step, with N = `tokens` and M = `positions`.

    M defaults to N. With the mask "as published" the divergence is averaged over padding too.
    """
    hard = (1 - settings.soft_label_weight) * ce / tokens
    return hard + soft_label_factor(settings) * divergence / (tokens if positions is None else positions)


def consistency_loss(
    ce: Tensor, divergence: Tensor, tokens: Tensor | int, answers: Tensor | int, settings: LossSettings
) -> Tensor:
    """CE / N + alpha C / A: both rationales' cross-entropy per target token, and `consistency` per answer token.

    With alpha 0 this is vanilla-kd on the same batches. (Averaging each rationale over its own tokens first would
    weight a token by the length of its rationale; here all tokens have the same weight.)
    """
    return ce / tokens + settings.consistency_weight * divergence / answers
