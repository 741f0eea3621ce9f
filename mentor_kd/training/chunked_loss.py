"""The loss in chunks: from the model's last hidden states to the loss without materialising all logits.

The logits of all target positions of a batch, [N, V] in float32, dominate the memory of a training step if the
vocabulary is large. Here a few positions at a time pass through the output layer; their loss and its gradient are
computed immediately and in place, and the logits are discarded. Memory for logits is limited to one chunk, and nothing
is computed twice. The results equal those of the plain functions in losses.py, as the tests check; the gradients are
derived by hand below.
"""

import math

import torch
from torch import Tensor

from .losses import LossSettings, Shaped, States, TopK, layer_logits, soft_label_factor

CHUNK_BYTES = {"cpu": 2**25, "cuda": 2**28}  # of one chunk's logits: about a CPU's cache, enough for a GPU


def chunk_size(vocabulary: int, device: torch.device) -> int:
    """Number of positions in a chunk."""
    return max(16, CHUNK_BYTES.get(device.type, 2**25) // (4 * vocabulary))


def gradient_in_place(
    logits: Tensor,
    targets: Tensor,
    mentor: TopK | Shaped | States | None,
    settings: LossSettings,
    scale: float,
    spare: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Replace logits [n, V] by `scale` times the gradient of their loss; returns the sums of CE and KL over positions.

    The loss is (1-lambda) CE + lambda tau^2 KL, or CE alone without a mentor. KL is the bucketed divergence for a
    `TopK` mentor, and the divergence selected by `settings.beta` (losses.soft_label_divergence) otherwise. `spare` is
    scratch memory of the size of the mentor's logits, two tensors for at least n positions.
    """
    if mentor is None:
        ce = _hard_in_place(logits, targets, scale)
        return ce, torch.zeros_like(ce)
    if isinstance(mentor, TopK):
        return _top_k_in_place(logits, targets, mentor, settings, scale)
    if settings.beta == 0:
        return _exact_in_place(logits, targets, mentor, settings, scale, spare)
    soft, kl = _exact_gradient(logits[:, : mentor.vocabulary], mentor, settings)
    ce = _hard_in_place(logits, targets, (1 - settings.soft_label_weight) * scale)
    logits[:, : mentor.vocabulary] += soft.mul_(soft_label_factor(settings) / settings.soft_label_temperature * scale)
    return ce, kl


def _hard_in_place(logits: Tensor, targets: Tensor, scale: float, shifted: bool = False) -> Tensor:
    """Replace logits by `scale` times the gradient of the cross-entropy; returns its sum over positions.

    `shifted`: the largest logit of each position is already 0.
    """
    rows = torch.arange(len(targets), device=logits.device)
    if not shifted:
        logits -= logits.amax(-1, keepdim=True)
    at_target = logits[rows, targets]
    total = logits.exp_().sum(-1)
    logits *= (scale / total)[:, None]
    logits[rows, targets] -= scale
    return (total.log() - at_target).sum()


class Workspace:
    """Memory reused by the chunks of all steps: on a CPU, new pages at each step would cost as much as the loss."""

    def __init__(self) -> None:
        self.kept: list[Tensor] = []

    def tensors(self, *shapes: tuple[int, int], device: torch.device) -> list[Tensor]:
        """One uninitialised float32 tensor per shape; the next call returns the same memory."""
        sizes = [rows * columns for rows, columns in shapes]
        self.kept += [torch.empty(0) for _ in sizes[len(self.kept) :]]
        for place, size in enumerate(sizes):
            if len(self.kept[place]) < size or self.kept[place].device != device:
                self.kept[place] = torch.empty(size, dtype=torch.float32, device=device)
        return [memory[:size].view(shape) for memory, size, shape in zip(self.kept, sizes, shapes, strict=False)]


def _exact_in_place(
    logits: Tensor,
    targets: Tensor,
    mentor: Shaped | States,
    settings: LossSettings,
    scale: float,
    spare: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """`gradient_in_place` for KL(m || s) over the whole vocabulary: the gradient of tau^2 KL is tau (s - m).

    m and s are the softened distributions of mentor and student over their shared vocabulary.
    """
    tau, share = settings.soft_label_temperature, soft_label_factor(settings) / settings.soft_label_temperature * scale
    student = logits[:, : mentor.vocabulary]
    logits -= student.amax(-1, keepdim=True)
    apart, m, mentor_total = _softened(mentor, tau, spare)
    apart.sub_(student, alpha=1 / tau)  # log m - log s, up to the logs of the two totals
    kl = apart.mul_(m).sum(-1) / mentor_total - mentor_total.log()  # per position: a sum of all would lose small values
    soft = torch.div(student, tau, out=apart).exp_()
    total = soft.sum(-1)
    kl = (kl + total.log()).sum()
    ce = _hard_in_place(logits, targets, (1 - settings.soft_label_weight) * scale, student.shape == logits.shape)
    student.addcmul_(soft, (share / total)[:, None]).addcmul_(m, (-share / mentor_total)[:, None])
    return ce, kl


def _softened(mentor: Shaped | States, tau: float, spare: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The mentor's logits at the temperature (none far above 0), their exponentials, and the sums of these."""
    if isinstance(mentor, Shaped):
        logits, top = mentor.parts(tau, out=spare[0])
    else:
        logits, top = mentor.logits(tau, out=spare[0]), None
    logits -= logits.amax(-1, keepdim=True)
    m = torch.exp(logits, out=spare[1][: len(logits)])
    total = m.sum(-1)
    if not isinstance(mentor, Shaped):
        return logits, m, total
    shift = mentor.log_mass() - total.log()[:, None]
    logits.add_(shift).scatter_(-1, mentor.ids, top)
    m.mul_(shift.exp()).scatter_(-1, mentor.ids, top.exp())
    return logits, m, torch.ones_like(total)


def _exact_gradient(student: Tensor, mentor: Shaped | States, settings: LossSettings) -> tuple[Tensor, Tensor]:
    """tau times the gradient of a divergence with beta > 0 with respect to the student's logits [n, V], and its sum.

    s and m are the softened distributions. The gradient of KL(s || m) is s (f - E_s f) with f = log(s / m). That of the
    Jensen-Shannon divergence is the same with f = (1-beta) log(s / x), x = beta m + (1-beta) s: the change of x with s
    contributes only a constant, to which a softmax is invariant.
    """
    tau, beta = settings.soft_label_temperature, settings.beta
    log_s, log_m = (student / tau).log_softmax(-1), mentor.logits(tau).log_softmax(-1)
    s = log_s.exp()
    other = log_m if beta == 1 else torch.logaddexp(log_m + math.log(beta), log_s + math.log1p(-beta))
    apart = log_s.sub_(other)
    own = (s * apart).sum(-1, keepdim=True)
    share = 1.0 if beta == 1 else 1 - beta
    kl = share * own.sum()
    if beta < 1:
        kl += beta * (log_m.exp() * (log_m - other)).sum()
    return s.mul_(apart.sub_(own)).mul_(share), kl


def _top_k_in_place(
    logits: Tensor, targets: Tensor, mentor: TopK, settings: LossSettings, scale: float
) -> tuple[Tensor, Tensor]:
    """`gradient_in_place` for a mentor's top k and one bucket for all other tokens.

    With s the student's softened distribution, m the mentor's, K the mentor's top k, and s_T, m_T the masses outside K,
    the gradient of tau^2 KL with respect to a logit is tau (s_j - m_j) in K, and tau s_j (1 - m_T / s_T) outside it.
    """
    rows = torch.arange(len(targets), device=logits.device)
    logits -= logits.amax(-1, keepdim=True)
    at_target = logits[rows, targets]
    tau, weight = settings.soft_label_temperature, settings.soft_label_weight
    own = logits.gather(-1, mentor.ids)
    hard = logits.exp()
    total = hard.sum(-1)
    ce = (total.log() - at_target).sum()
    soft = logits.div_(tau).exp_()
    if soft.shape[-1] > mentor.vocabulary:
        soft[:, mentor.vocabulary :] = 0
    soft.scatter_(-1, mentor.ids, 0.0)  # leaves the bucket's tokens, to be summed without cancellation
    soft_own = (own / tau).exp_()
    tail = soft.sum(-1)
    soft_total = (tail + soft_own.sum(-1)).clamp_min(1e-30)  # 0 if all mass is beyond the shared vocabulary
    probs, tail_mass = mentor.log_probs.exp(), mentor.log_tail.exp()
    log_total = soft_total.log()
    log_tail = tail.clamp_min(1e-30).log() - log_total
    kl = (probs * (mentor.log_probs - own / tau + log_total[:, None])).sum()
    kl += torch.where(tail_mass > 0, tail_mass * (mentor.log_tail - log_tail), 0.0).sum()

    share = soft_label_factor(settings) / tau * scale
    hard_share, soft_share = (1 - weight) * scale / total, share / soft_total
    ratio = tail_mass * (-log_tail).exp()
    gradient = hard.mul_(hard_share[:, None])
    gradient.addcmul_(soft, (soft_share * (1 - ratio))[:, None])
    gradient.scatter_add_(-1, mentor.ids, soft_own * soft_share[:, None] - share * probs)
    gradient[rows, targets] -= (1 - weight) * scale
    logits.copy_(gradient)
    return ce, kl


class _Chunked(torch.autograd.Function):
    """Loss of hidden states [N, d] under an output layer [V, d]; the forward pass also computes its gradients."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, mentor, settings, tokens, workspace):
        size = chunk_size(len(weight), hidden.device)
        scale = 1.0 / float(tokens)
        layer = weight.to(hidden.dtype)  # under autocast the weights are float32 but the input is not
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.empty_like(hidden) if needs_hidden else None
        to_weight = torch.zeros_like(weight) if needs_weight else None
        to_bias = torch.zeros_like(bias) if bias is not None and needs_bias else None
        ce = kl = torch.zeros((), device=hidden.device)
        count = min(size, len(hidden))  # all chunks use the same memory
        in_place = isinstance(mentor, Shaped | States) and settings.beta == 0
        shapes = [(count, len(weight)), *([(count, mentor.vocabulary)] * 2 if in_place else [])]
        room, *spare = workspace.tensors(*shapes, device=hidden.device)
        for start in range(0, len(hidden), size):
            part = slice(start, start + size)
            states = hidden[part]
            logits = layer_logits(layer, None if bias is None else bias.to(hidden.dtype), states, room)
            soft = None if mentor is None else mentor[part]
            part_ce, part_kl = gradient_in_place(logits, targets[part], soft, settings, scale, spare)
            ce, kl = ce + part_ce, kl + part_kl
            gradient = logits.to(hidden.dtype)
            if needs_hidden:
                torch.mm(gradient, layer, out=to_hidden[part])
            if needs_weight and gradient.dtype == to_weight.dtype:
                to_weight.addmm_(gradient.T, states)
            elif needs_weight:  # sum the chunks in float32
                to_weight += gradient.T @ states
            if to_bias is not None:
                to_bias += logits.sum(0)
        ctx.save_for_backward(to_hidden, to_weight, to_bias)
        ctx.mark_non_differentiable(ce, kl)
        weight_of = 0.0 if mentor is None else settings.soft_label_weight
        loss = ((1 - weight_of) * ce + soft_label_factor(settings) * kl) * scale  # kl is 0 without a mentor
        return loss, ce, kl

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient, *_):
        found = [None if one is None else one.mul_(gradient) for one in ctx.saved_tensors]
        return (*found, None, None, None, None, None)


def chunked_loss(
    hidden: Tensor,
    head: torch.nn.Linear,
    targets: Tensor,
    mentor: TopK | Shaped | States | None,
    settings: LossSettings,
    tokens: Tensor | int,
    workspace: Workspace | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss divided by `tokens`, and the sums of CE and KL, for hidden states [N, d] at real target positions.

    `targets` is [N]. With a mentor the loss is [(1-lambda) CE + lambda tau^2 KL] / tokens, without one CE / tokens; the
    sums carry no gradient. The mentor's logits are also computed one chunk at a time. Pass the same `workspace` at
    every step of a training run.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _Chunked.apply(
            hidden, head.weight, head.bias, targets, mentor, settings, tokens, workspace or Workspace()
        )
