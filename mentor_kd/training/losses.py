"""Losses as pure functions of logits: cross-entropy, soft-label divergences, multi-CoT consistency, and their sum.

All of them take logits of the positions that count, [N, V], with the others already taken out, and give sums over
positions, so that the caller can divide by the number of target tokens of a whole optimiser step, whatever its
batches, accumulation and processes. They compute in float32, or in float64 where they get it.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import require_bool, require_choice, require_number

MASKS = ("targets", "as published")  # the positions that the divergence is taken over


@dataclass(frozen=True)
class LossSettings:
    """Weight lambda of the soft labels in [0, 1] and their temperature tau > 0 (paper, section 3 and App. B).

    `beta` chooses the divergence: 0 is KL(mentor || student), 1 is KL(student || mentor), and between them lies the
    generalised Jensen-Shannon divergence. The paper's code leaves out the factor tau squared and averages the
    divergence over all positions of a batch, padding included: `tau_squared` False, `mask` "as published".
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
    """Half precision in float32; anything else as it is."""
    return logits if logits.dtype == torch.float64 else logits.float()


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over positions of -log p(target); logits [N, V], targets [N] (paper, eq. 1)."""
    return F.cross_entropy(_precise(logits), targets, reduction="sum")


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum over positions of KL(p || q) of log probabilities [N, V]."""
    return F.kl_div(log_q, log_p, reduction="sum", log_target=True)


def soft_label_divergence(student: Tensor, mentor: Tensor, temperature: float, beta: float = 0.0) -> Tensor:
    """Sum over positions of a divergence of mentor and student at a temperature, without the factor tau squared.

    Both logits are [N, V]. No gradient reaches the mentor. With beta 0 it is KL(mentor || student), the paper's eq. 2
    with its sign mended; with beta 1 KL(student || mentor); between them the generalised Jensen-Shannon divergence
    beta KL(m || x) + (1-beta) KL(s || x) with x = beta m + (1-beta) s (Agarwal and others, 2024, eq. 1). That one tends
    to 0 at both ends; divided by beta, or by 1-beta, it tends to the two KL, which is why these stand there.
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
    """Sum over answer tokens of 1/2 [KL(p || q) + KL(q || p)]: p and q are one student's after either rationale.

    Both logits are [A, V], row by row of the same answer token; gradients go through both (Chen and others, 2023).
    """
    log_p = F.log_softmax(_precise(first) / temperature, dim=-1)
    log_q = F.log_softmax(_precise(second) / temperature, dim=-1)
    return (_kl(log_p, log_q) + _kl(log_q, log_p)) / 2


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


@dataclass(frozen=True)
class States:
    """The mentor's distribution exactly, at any temperature: what its output layer reads [N, d], and that layer.

    The layer has the rows of the vocabulary that mentor and student share; a student's logits beyond these take no
    part. A slice of it costs only its own logits, so that they can be made a few positions at a time. `rounded` has
    them multiplied as `rounded_products` does.
    """

    states: Tensor
    head: torch.nn.Linear
    rounded: bool = False

    @property
    def vocabulary(self) -> int:
        return self.head.out_features

    def to(self, device: torch.device) -> "States":
        """The same on a device; the layer moves once, for all."""
        return States(self.states.to(device), self.head.to(device), self.rounded)

    def __getitem__(self, rows: slice) -> "States":
        return States(self.states[rows], self.head, self.rounded)

    @torch.no_grad()
    def logits(self, temperature: float = 1.0, out: Tensor | None = None) -> Tensor:
        """The mentor's logits [N, V] at a temperature, as precisely as the layer is held; see `layer_logits`."""
        weight, bias = self.head.weight, self.head.bias
        with torch.autocast(weight.device.type, enabled=False), rounded_products(self.rounded):
            return layer_logits(weight, bias, self.states.to(weight.dtype), out).div_(temperature)


@dataclass(frozen=True)
class Shaped:
    """The mentor's distribution at one temperature: its likeliest tokens, the mass of all others, and their spread.

    `numbers` [N, r] and the layer [V, r] make rough logits of all tokens; `misses` [N, k] are what these lack of the
    likeliest tokens' logits, whose `ids` [N, k] these are; `log_tail` [N] is the exact mass of all others.
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
        """The same on a device; the layer moves once, for all."""
        moved = [one.to(device) for one in (self.ids, self.misses, self.log_tail, self.numbers, self.layer)]
        return Shaped(*moved, self.temperature)

    def __getitem__(self, rows: slice) -> "Shaped":
        some = [one[rows] for one in (self.ids, self.misses, self.log_tail, self.numbers)]
        return Shaped(*some, self.layer, self.temperature)

    @torch.no_grad()
    def parts(self, temperature: float, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of the others up to a constant, -inf for the likeliest; log probabilities [N, k] of these.

        Raises ValueError for a temperature that is not its own.
        """
        if temperature != self.temperature:
            raise ValueError(f"these soft labels are of the temperature {self.temperature}, not {temperature}")
        weight, bias = self.layer.weight, self.layer.bias
        with torch.autocast(weight.device.type, enabled=False):
            rough = layer_logits(weight, bias, self.numbers.to(weight.dtype), out).div_(self.temperature)
        top = (rough.gather(-1, self.ids) + self.misses / self.temperature).log_softmax(-1)
        return rough.scatter_(-1, self.ids, -math.inf), top + log_top_mass(self.log_tail)[:, None]

    @torch.no_grad()
    def logits(self, temperature: float) -> Tensor:
        """The log probabilities [N, V]; as `parts`."""
        tail, top = self.parts(temperature)
        tail += self.log_mass() - tail.logsumexp(-1, keepdim=True)
        return tail.scatter_(-1, self.ids, top)

    def log_mass(self) -> Tensor:
        """The logarithm of the others' mass [N, 1], finite also where nothing is left."""
        return self.log_tail[:, None].clamp_min(-80.0)


def log_top_mass(log_tail: Tensor) -> Tensor:
    """The logarithm of the likeliest tokens' mass, from that of all others; finite also where nothing is left."""
    return torch.log1p(-log_tail.exp()).clamp_min(-60.0)


@contextlib.contextmanager
def rounded_products(on: bool = True) -> Iterator[None]:
    """Have a CPU round what it multiplies in float32 to bfloat16, and sum in float32 as before; for all its threads.

    With AMX a product is three times as fast so. The error follows the states' largest dimensions: that of a mentor
    with logits of standard deviation 3 and no dimension far above the others is some 0.007, which costs a divergence
    some 0.001%. Not for products that a gradient flows through.
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
    """An output layer's logits [N, V] in float32, written into `out` [N or more, V] where that is given.

    On a CPU new memory for each chunk of logits would cost as much as what is computed with it. No gradient flows.
    """
    if out is None:
        return F.linear(states, weight, bias).float()
    out = out[: len(states)]
    if weight.dtype != torch.float32:
        return out.copy_(F.linear(states, weight, bias))
    return torch.mm(states, weight.T, out=out) if bias is None else torch.addmm(bias, states, weight.T, out=out)


def top_k(logits: Tensor, k: int, temperature: float) -> TopK:
    """The k likeliest tokens and the exact tail mass of dense logits [N, V] at a temperature."""
    scaled = _precise(logits) / temperature
    total = scaled.logsumexp(-1)
    best, ids = scaled.topk(min(k, scaled.shape[-1]), dim=-1)
    tail = scaled.scatter(-1, ids, -math.inf).logsumexp(-1) - total
    return TopK(ids, best - total[:, None], tail, logits.shape[-1])


def top_k_divergence(student: Tensor, mentor: TopK, temperature: float) -> Tensor:
    """Sum over positions of KL(mentor || student) with all tokens outside the mentor's top k as one bucket.

    Merging tokens loses information, so this is a lower bound of the full divergence; with k = V it is the full one.
    `student` is [N, V or more]; without the factor temperature squared (method.md, Soft labels from the cache).
    """
    scaled = _precise(student)[:, : mentor.vocabulary] / temperature
    total = scaled.logsumexp(-1, keepdim=True)
    log_student = scaled.gather(-1, mentor.ids) - total
    kl = (mentor.log_probs.exp() * (mentor.log_probs - log_student)).sum()
    left = mentor.log_tail > -math.inf  # where k is the whole vocabulary there is no bucket
    if left.any():
        others = scaled.scatter(-1, mentor.ids, -math.inf)[left].logsumexp(-1) - total[left, 0]
        tail = mentor.log_tail[left]
        kl = kl + (tail.exp() * (tail - others)).sum()
    return kl


def cached_divergence(student: Tensor, mentor: TopK | Shaped | States, temperature: float, beta: float = 0.0) -> Tensor:
    """Sum over positions of the divergence from a mentor read from the cache, in any form; `student` [N, V or more].

    With one bucket for the tail there is no other divergence than KL(mentor || student).
    """
    if isinstance(mentor, TopK):
        return top_k_divergence(student, mentor, temperature)
    softened = _precise(student)[:, : mentor.vocabulary] / temperature
    return soft_label_divergence(softened, mentor.logits(temperature), 1.0, beta)


def soft_label_factor(settings: LossSettings) -> float:
    """lambda tau^2, or lambda alone where the factor tau squared is off.

    tau squared keeps the soft labels' gradient at the size of the hard labels' when tau grows; the paper's code has
    none, which at tau = 2 makes its soft labels four times weaker than lambda says.
    """
    return settings.soft_label_weight * (settings.soft_label_temperature**2 if settings.tau_squared else 1.0)


def distillation_loss(
    ce: Tensor, divergence: Tensor, tokens: Tensor | int, settings: LossSettings, positions: Tensor | int | None = None
) -> Tensor:
    """(1-lambda) CE / N + lambda tau^2 D / M from sums over the step, with N `tokens` and M `positions`.

    M is N unless said otherwise: with the mask as published the divergence is averaged over padding too.
    """
    hard = (1 - settings.soft_label_weight) * ce / tokens
    return hard + soft_label_factor(settings) * divergence / (tokens if positions is None else positions)


def consistency_loss(
    ce: Tensor, divergence: Tensor, tokens: Tensor | int, answers: Tensor | int, settings: LossSettings
) -> Tensor:
    """CE / N + alpha C / A: both rationales' cross-entropy over their tokens, `consistency` over the answer tokens.

    With alpha 0 this is vanilla-kd on the same batches. (1/2 of two sums over two rationales' tokens, each by its own
    number, would weigh a token by the length of its rationale; here all tokens weigh the same.)
    """
    return ce / tokens + settings.consistency_weight * divergence / answers
