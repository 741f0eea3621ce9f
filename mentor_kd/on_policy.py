"""On-policy distillation (GKD, Agarwal and others 2024): the student writes, and the mentor says what it would have.

A share of the batches are not rationales from the file but fresh texts of the student for the same questions, right or
wrong, unfiltered. The live mentor scores them token by token. No gradient passes through the sampling.
"""

import math
import random
from dataclasses import dataclass, replace

import torch

from .batches import Example, mask, pad
from .files import InputError
from .models import Loaded


@dataclass(frozen=True)
class OnPolicySettings:
    """Share rho of the batches that the student writes, its temperature T, and beta of the divergence (losses.py)."""

    share: float = 0.5
    temperature: float = 1.0
    beta: float = 0.5

    def __post_init__(self):
        for name in ("share", "beta"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"on_policy {name} is a number in [0, 1], not {value!r}")
        value = self.temperature
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise InputError(f"on_policy temperature is a number above 0, not {value!r}")


def is_fresh(seed: int, number: int, share: float) -> bool:
    """Whether the batch of this number is written by the student; the same after a kill as before."""
    return random.Random(f"{seed} on-policy {number}").random() < share


@torch.no_grad()
def write(loaded: Loaded, examples: list[Example], temperature: float, longest: int, seed: int) -> list[Example]:
    """The examples with a target of the student's own: sampled from its whole distribution, up to `longest` tokens.

    EOS is part of a target that the student ended itself. The caller's random state is left as it was.
    """
    left = not loaded.encoder_decoder
    device = loaded.model.device
    prompts = [example.prompt for example in examples]
    training = loaded.model.training
    loaded.model.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        ids = loaded.model.generate(
            input_ids=pad(prompts, loaded.tokenizer.pad_token_id, left).to(device),
            attention_mask=mask(prompts, left).to(device),
            do_sample=True,
            temperature=float(temperature),
            top_k=0,
            top_p=1.0,
            max_new_tokens=longest,
            use_cache=True,
        )
    loaded.model.train(training)
    written = ids[:, max(map(len, prompts)) if left else 1 :].tolist()  # behind the prompt, or the start token
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    found = []
    for example, row in zip(examples, written, strict=True):
        length = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        found.append(replace(example, target=row[:length]))
    return found


def batch_seed(seed: int, number: int) -> int:
    """A seed for the sampling of one batch."""
    return random.Random(f"{seed} on-policy text {number}").getrandbits(31)
