"""Batches: rationales as token ids, in batches of similar length, padded only to the longest of their batch."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .files import InputError
from .models import IGNORED, Loaded, encode_prompt, encode_target


@dataclass(frozen=True)
class Example:
    """One rationale as token ids: what the model reads and what it learns to write, EOS included."""

    id: str
    prompt: list[int]
    target: list[int]


def encode(loaded: Loaded, rows: list[tuple[str, str, str]], max_length: int) -> tuple[list[Example], list[str]]:
    """Examples of (id, question, target text), and the ids of those that are too long.

    Too long: the prompt or the target above `max_length` tokens, or both together above it for a decoder. A cut target
    would teach reasoning without its answer, so such a row is left out and named, never cut.
    """
    kept, too_long = [], []
    for identity, question, target in rows:
        example = Example(
            identity,
            encode_prompt(loaded.tokenizer, loaded.encoder_decoder, question),
            encode_target(loaded.tokenizer, target),
        )
        length = (
            max(len(example.prompt), len(example.target))
            if loaded.encoder_decoder
            else len(example.prompt) + len(example.target)
        )
        (kept if length <= max_length else too_long).append(example if length <= max_length else identity)
    return kept, too_long


def pad(rows: list[list[int]], value: int, left: bool = False) -> Tensor:
    """Rows of ids as one tensor [rows, longest], filled with `value` at the right (or left) end."""
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.long)


def mask(rows: list[list[int]], left: bool = False) -> Tensor:
    """1 for every token of the padded rows and 0 for padding; made from lengths, so pad may share an id with EOS."""
    return pad([[1] * len(row) for row in rows], 0, left)


def model_inputs(examples: list[Example], loaded: Loaded) -> dict[str, Tensor]:
    """What the model's forward takes, and `labels` aligned with its logits: labels[t] is what position t predicts.

    A decoder reads prompt and target without the last token, its prompt is not scored, and the prompt's last position
    predicts the first target token. An encoder-decoder reads the prompt, and the target shifted by its start token.
    """
    pad_id = loaded.tokenizer.pad_token_id
    prompts, targets = [e.prompt for e in examples], [e.target for e in examples]
    if loaded.encoder_decoder:
        start = loaded.model.config.decoder_start_token_id
        return {
            "input_ids": pad(prompts, pad_id),
            "attention_mask": mask(prompts),
            "decoder_input_ids": pad([[start, *target[:-1]] for target in targets], pad_id),
            "labels": pad(targets, IGNORED),
        }
    texts = [prompt + target[:-1] for prompt, target in zip(prompts, targets, strict=True)]
    labels = [[IGNORED] * (len(prompt) - 1) + target for prompt, target in zip(prompts, targets, strict=True)]
    return {"input_ids": pad(texts, pad_id), "attention_mask": mask(texts), "labels": pad(labels, IGNORED)}


def target_logits(loaded: Loaded, inputs: dict[str, Tensor], model: torch.nn.Module | None = None) -> Tensor:
    """The model's logits at real target positions, [N, V], row by row and in target order."""
    fed = {key: value for key, value in inputs.items() if key != "labels"}
    logits = (loaded.model if model is None else model)(**fed, use_cache=False).logits
    return logits[inputs["labels"] != IGNORED]


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Optimiser steps in which every row is seen once."""
    return -(-rows // batch_size)


def cut(rows: list, parts: int) -> list[list]:
    """Cut a list into `parts` runs whose lengths differ by at most one."""
    bounds = [round(i * len(rows) / parts) for i in range(parts + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(bounds)]


class BucketBatches:
    """The batches of a whole training run, as lists of row numbers; the same for the same seed.

    Each epoch shuffles the rows, cuts them into mega-batches, sorts those by length, cuts them into optimiser steps of
    (nearly) equal size, and shuffles these; a step is cut into `accumulation` batches. All epochs stand in one row of
    exactly `steps * accumulation` batches, so that resuming is skipping.
    """

    MEGA = 32  # optimiser steps that are sorted together: enough for little padding, few enough to stay random

    def __init__(self, lengths: list[int], batch_size: int, accumulation: int, steps: int, seed: int):
        self.lengths, self.accumulation, self.steps, self.seed = lengths, accumulation, steps, seed
        self.steps_per_epoch = steps_per_epoch(len(lengths), batch_size)
        smallest = len(lengths) // self.steps_per_epoch  # rows of a step, for steps are equal up to one row
        if smallest < accumulation:
            raise InputError(
                f"accumulation {accumulation}: {len(lengths)} rationale(s) at batch_size {batch_size} make steps of "
                f"{smallest}, which cannot be cut into {accumulation} micro-batches; set accumulation to {smallest} "
                f"or less"
            )

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch, every row in exactly one of them."""
        rng = random.Random(f"{self.seed} epoch {number}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        steps = []
        for mega in cut(cut(order, self.steps_per_epoch), -(-self.steps_per_epoch // self.MEGA)):
            rows = sorted(itertools.chain(*mega), key=lambda row: self.lengths[row])
            steps += cut(rows, len(mega))
        rng.shuffle(steps)
        return [batch for step in steps for batch in cut(step, self.accumulation)]

    def __iter__(self) -> Iterator[list[int]]:
        produced, number = 0, 0
        while produced < len(self):
            for batch in self.epoch(number):
                if produced == len(self):
                    return
                yield batch
                produced += 1
            number += 1


def padding_waste(examples: list[Example], batches: list[list[int]], encoder_decoder: bool) -> float:
    """Token slots for each real token over these batches; 1.0 is no padding at all."""
    slots = real = 0
    for batch in batches:
        rows = [examples[i] for i in batch]
        sides = (
            [[len(r.prompt) for r in rows], [len(r.target) for r in rows]]
            if encoder_decoder
            else [[len(r.prompt) + len(r.target) - 1 for r in rows]]
        )
        for lengths in sides:
            slots += max(lengths) * len(lengths)
            real += sum(lengths)
    return slots / real
