"""How a soft label's tail is spread: the mass beyond the likeliest tokens, from twenty numbers a token.

A mentor that writes about one kind of question moves its logits in few directions. The main ones are found on some of
its texts; of each token the cache keeps how far the logits went in each, in 8 bits. One small layer makes of these
numbers the logits of the whole vocabulary, nearly: too rough for the likely tokens, which are kept as they are, but
close for the many unlikely ones. Where mentor and student have learnt from the same texts, most of what still sets them
apart lies there, and one bucket for all of them would not see it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RANK = 20  # numbers a token, a byte each
STEPS = 127  # of an 8-bit number to either side


@dataclass(frozen=True)
class Directions:
    """Where the logits of a mentor go most: from its states [N, d] to numbers [N, r], and from these to logits [N, V].

    `center` [d] and `into` [d, r] make the numbers, `weight` [V, r] and `bias` [V] the logits, up to a constant for
    each position, which a softmax does not feel.
    """

    center: Tensor
    into: Tensor
    weight: Tensor
    bias: Tensor

    def numbers(self, states: Tensor) -> Tensor:
        """The 8-bit numbers of states [N, d]; what lies farther out than all that was seen is cut off."""
        found = (states.float() - self.center.to(states.device)) @ self.into.to(states.device)
        return found.round_().clamp_(-STEPS, STEPS).to(torch.int8)

    def layer(self) -> torch.nn.Linear:
        """The layer from numbers to logits, which never learns."""
        rows, rank = self.weight.shape
        with torch.device("meta"):
            layer = torch.nn.Linear(rank, rows)
        layer.load_state_dict({"weight": self.weight, "bias": self.bias}, assign=True)
        return layer.requires_grad_(False)


def main_directions(states: Tensor, weight: Tensor, bias: Tensor | None, rank: int = RANK) -> Directions:
    """The `rank` principal directions of the logits that an output layer [V, d] makes of states [N, d].

    The best approximation of the centred logits of that rank, found without them: with G = W'W of the centred layer and
    G = RR', the singular values of XR are those of XW'. Everything is computed in float64 on the CPU.
    """
    states, weight = states.double().cpu(), weight.detach().double().cpu()
    center = states.mean(0)
    apart, spread = states - center, weight - weight.mean(0)
    gram = spread.T @ spread
    root = torch.linalg.cholesky(gram + 1e-9 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype))
    vectors = torch.linalg.eigh(root.T @ (apart.T @ apart) @ root).eigenvectors.flip(1)[:, :rank]
    into, back = root @ vectors, torch.linalg.solve_triangular(root.T, vectors, upper=True)
    step = ((apart @ into).abs().amax(0) / STEPS).clamp_min(1e-12)
    offset = weight @ center if bias is None else weight @ center + bias.detach().double().cpu()
    found = center, into / step, spread @ back * step, offset
    return Directions(*(one.float().contiguous() for one in found))
