"""On-policy distillation (GKD, Agarwal et al., 2024): the student writes texts, and the live mentor scores them.

A share of the batches are not rationales from the file but fresh samples of the student for the same questions, right
or wrong, unfiltered. The mentor scores them token by token. No gradient passes through the sampling.
"""

import random
from dataclasses import dataclass, replace

from ..checks import require_number
from ..models.batches import Example
from ..models.generation import Sampling, end_tokens, generate_ids
from ..models.loading import Loaded


@dataclass(frozen=True)
class OnPolicySettings:
    """Share rho of batches written by the student, its sampling temperature T, and beta of the divergence."""

    share: float = 0.5
    temperature: float = 1.0
    beta: float = 0.5

    def __post_init__(self) -> None:
        require_number("share", self.share, least=0, most=1)
        require_number("temperature", self.temperature, above=0)
        require_number("beta", self.beta, least=0, most=1)


def is_fresh(seed: int, number: int, share: float) -> bool:
    """Whether the batch of this number is written by the student; the same before and after a kill."""
    return random.Random(f"{seed} on-policy {number}").random() < share


def write(loaded: Loaded, examples: list[Example], temperature: float, longest: int, seed: int) -> list[Example]:
    """The examples with targets sampled from the student's whole distribution, of at most `longest` tokens.

    A target that the student ended includes EOS. The caller's random state does not change.
    """
    sampling = Sampling(temperature=float(temperature), top_k=0, max_new_tokens=longest)
    ends = end_tokens(loaded)
    found = []
    for example, row in zip(
        examples, generate_ids(loaded, [one.prompt for one in examples], sampling, seed), strict=True
    ):
        length = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        found.append(replace(example, target=row[:length]))
    return found


def batch_seed(seed: int, number: int) -> int:
    """The seed for sampling one batch."""
    return random.Random(f"{seed} on-policy text {number}").getrandbits(31)
