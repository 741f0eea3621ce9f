"""The spread of a soft label's tail, the mass beyond the most likely tokens, from some eighty numbers per token.

A mentor that writes about one kind of question moves its logits in few directions. The main directions are computed
from some of its texts; for each token the cache stores how far the logits moved along each, in 8 bits. One small layer
turns these numbers into approximate logits of the whole vocabulary, accurate enough for the many unlikely tokens. The
errors on the likely tokens are stored as corrections. With one bucket for the tail a student would learn nothing about
its spread, and if mentor and student were trained on the same texts, much of their remaining difference is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..files import InputError

RANK = 82  # numbers per token, one byte each: 292 bytes with 64 tokens, their corrections and four masses
STEPS = 127  # largest absolute value of an 8-bit number


def frozen_layer(weight: Tensor, bias: Tensor | None = None) -> torch.nn.Linear:
    """An output layer with these weights [V, d], without gradients."""
    rows, width = weight.shape
    with torch.device("meta"):
        layer = torch.nn.Linear(width, rows, bias=bias is not None)
    tensors = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer.load_state_dict(tensors, assign=True)
    return layer.requires_grad_(False)


@dataclass(frozen=True)
class Directions:
    """Main directions of a mentor's logits: from its states [N, d] to numbers [N, r], and from these to logits [N, V].

    `center` [d] and `into` [d, r] give the numbers, `weight` [V, r] and `bias` [V] the logits, up to a constant per
    position, to which a softmax is invariant.
    """

    center: Tensor
    into: Tensor
    weight: Tensor
    bias: Tensor

    def to(self, device: torch.device) -> "Directions":
        """The same directions on a device."""
        return Directions(*(one.to(device) for one in vars(self).values()))

    def numbers(self, states: Tensor) -> Tensor:
        """The 8-bit numbers of states [N, d]; values beyond the range seen by `main_directions` are clipped."""
        found = (states.float() - self.center) @ self.into
        return found.round_().clamp_(-STEPS, STEPS).to(torch.int8)

    def misses(self, numbers: Tensor, ids: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Corrections from the numbers to the logits [N, k] of these tokens: 8-bit numbers, and their step size [N]."""
        rough = torch.nn.functional.linear(numbers.float(), self.weight, self.bias)
        apart = logits - rough.gather(-1, ids)
        apart -= (apart.amax(-1, keepdim=True) + apart.amin(-1, keepdim=True)) / 2
        step = (apart.amax(-1) / STEPS).clamp(1e-5, 65_504.0).half()
        return (apart / step.float()[:, None]).round_().clamp_(-STEPS, STEPS).to(torch.int8), step


def main_directions(states: Tensor, weight: Tensor, bias: Tensor | None, rank: int = RANK) -> Directions:
    """The `rank` principal directions of the logits of an output layer [V, d] on states [N, d].

    They give the best approximation of the centred logits of that rank, but are computed without the logits: with
    G = W'W of the centred layer and G = RR', the singular values of XR are those of XW'. All computations are in
    float64 on the CPU. Raises InputError for states that are not finite.
    """
    states, weight = states.cpu().double(), weight.detach().cpu()
    if not states.isfinite().all():
        raise InputError("the mentor's last states are not all finite; train it again, with a lower learning rate")
    center, mean = states.mean(0), weight.mean(0, dtype=torch.float64)
    apart = states - center

    def parts() -> Iterator[Tensor]:  # of the centred layer, which is too large to hold twice
        return (part.double() - mean for part in weight.split(16_384))

    gram = sum(part.T @ part for part in parts())
    jitter = (1e-9 * gram.diagonal().mean()).clamp_min(1e-30)
    root = torch.linalg.cholesky(gram + jitter * torch.eye(len(gram), dtype=gram.dtype))
    vectors = torch.linalg.eigh(root.T @ (apart.T @ apart) @ root).eigenvectors.flip(1)[:, :rank]
    into, back = root @ vectors, torch.linalg.solve_triangular(root.T, vectors, upper=True)
    step = ((apart @ into).abs().amax(0) / STEPS).clamp_min(1e-12)
    out, offset = (torch.cat(one) for one in zip(*((part @ back, part @ center) for part in parts()), strict=True))
    if bias is not None:
        offset += bias.detach().cpu().double()
    return Directions(*(one.float().contiguous() for one in (center, into / step, out * step, offset)))
