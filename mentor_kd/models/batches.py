"""Batches: rationales as token ids, grouped by length and padded only to the longest row of each batch."""

import contextlib
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..files import InputError
from .loading import IGNORED, Loaded


@dataclass(frozen=True)
class Example:
    """One rationale as token ids: what the model reads and what it learns to generate, including EOS.

    For training on pairs, `group` is the question's id and `answer` the number of answer tokens before EOS.
    """

    id: str
    prompt: list[int]
    target: list[int]
    group: str = ""
    answer: int = 0


def fits(example: Example, loaded: Loaded, max_length: int) -> bool:
    """Whether prompt and target have at most `max_length` tokens: each of them, or both together for a decoder.

    A truncated target would teach reasoning without an answer, so rows that do not fit are dropped, never truncated.
    """
    lengths = len(example.prompt), len(example.target)
    return (max(lengths) if loaded.encoder_decoder else sum(lengths)) <= max_length


def encode(loaded: Loaded, rows: list[tuple[str, str, str]], max_length: int) -> tuple[list[Example], list[str]]:
    """Encode (id, question, target text) rows; returns the examples, and the ids of rows too long (see `fits`)."""
    kept, too_long = [], []
    for identity, question, target in rows:
        example = Example(
            identity,
            loaded.prompt(question),
            loaded.target(target),
        )
        if fits(example, loaded, max_length):
            kept.append(example)
        else:
            too_long.append(identity)
    return kept, too_long


def pad(rows: list[list[int]], value: int, left: bool = False) -> Tensor:
    """Rows of ids as one tensor, [rows, longest], padded with `value` on the right (or left)."""
    longest = max(map(len, rows))
    filled = [[value] * (longest - len(row)) + row if left else row + [value] * (longest - len(row)) for row in rows]
    return torch.tensor(filled, dtype=torch.long)


def mask(rows: list[list[int]], left: bool = False) -> Tensor:
    """1 for each token of the padded rows and 0 for padding; computed from lengths, as PAD and EOS may be one id."""
    return pad([[1] * len(row) for row in rows], 0, left)


def model_inputs(examples: list[Example], loaded: Loaded) -> dict[str, Tensor]:
    """The inputs of the model's forward, and `labels` aligned with its logits: position t predicts labels[t].

    A decoder reads the prompt and the target without its last token; prompt tokens are not scored, and the last prompt
    position predicts the first target token. An encoder-decoder reads the prompt, and the target shifted right by the
    start token.
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


def positions(example: Example, loaded: Loaded) -> list[tuple[str, str]]:
    """The token read and the token to be predicted at each position of an example; "" where nothing is scored."""
    inputs = model_inputs([example], loaded)
    reads = inputs.get("decoder_input_ids", inputs["input_ids"])[0].tolist()
    tokens = loaded.tokenizer.convert_ids_to_tokens
    labels = ["" if label == IGNORED else tokens(label) for label in inputs["labels"][0].tolist()]
    return list(zip(tokens(reads), labels, strict=True))


def inputs_on_device(examples: list[Example], loaded: Loaded) -> dict[str, Tensor]:
    """`model_inputs` on the model's device."""
    return {name: value.to(loaded.model.device) for name, value in model_inputs(examples, loaded).items()}


def target_logits(loaded: Loaded, inputs: dict[str, Tensor], model: torch.nn.Module | None = None) -> Tensor:
    """The model's logits at real target positions, [N, V], row by row in target order."""
    fed = {key: value for key, value in inputs.items() if key != "labels"}
    logits = (loaded.model if model is None else model)(**fed, use_cache=False).logits
    return logits[inputs["labels"] != IGNORED]


@contextlib.contextmanager
def _headless(loaded: Loaded):
    """Make the output layer the identity inside the block: the model's "logits" are then that layer's inputs."""
    head = loaded.model.get_output_embeddings()
    head.forward = lambda hidden: hidden  # on the instance, hiding the class's method
    try:
        yield
    finally:
        del head.forward


def target_states(loaded: Loaded, inputs: dict[str, Tensor], model: torch.nn.Module | None = None) -> Tensor:
    """The inputs of the model's output layer at real target positions, [N, width]; logits are not computed."""
    with _headless(loaded):
        return target_logits(loaded, inputs, model)


@torch.no_grad()
def has_plain_head(loaded: Loaded) -> bool:
    """Whether the logits are exactly a linear output layer applied to `target_states`.

    Tested on two tokens. False if the model caps or scales its logits afterwards, or if its output layer is wrapped.
    """
    head = loaded.model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return False
    end = loaded.tokenizer.eos_token_id
    inputs = model_inputs([Example("", [end, end], [end, end])], loaded)
    inputs = {key: value.to(loaded.model.device) for key, value in inputs.items()}
    training = loaded.model.training
    loaded.model.eval()
    expected, states = target_logits(loaded, inputs), target_states(loaded, inputs)
    loaded.model.train(training)
    return torch.allclose(head(states).float(), expected.float(), atol=1e-3, rtol=1e-3)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """The number of optimiser steps in one epoch."""
    return -(-rows // batch_size)


def cut(rows: list, parts: int) -> list[list]:
    """Cut a list into `parts` contiguous pieces whose lengths differ by at most one."""
    bounds = [round(i * len(rows) / parts) for i in range(parts + 1)]
    return [rows[start:end] for start, end in itertools.pairwise(bounds)]


class BucketBatches:
    """The batches of a whole training run, as lists of row numbers; the same for the same seed.

    `lengths` holds the token counts of each row: one number for a decoder, target and prompt for an encoder-decoder.
    Each epoch shuffles the rows, cuts them into mega-batches, splits those into optimiser steps of (nearly) equal size
    with rows of similar length, and shuffles the steps; a step is split into `accumulation` batches. With a
    `token_budget` a batch instead holds as many rows as fit into that number of padded tokens (a longer row gets its
    own batch), and a step is `accumulation` such batches. All epochs form one sequence of exactly
    `steps * accumulation` batches, so resuming means skipping batches; with `steps` 0 it covers `epochs` epochs.
    """

    MEGA = 64  # optimiser steps split together: enough for little padding, few enough to stay random

    def __init__(
        self,
        lengths: list[tuple[int, ...]],
        batch_size: int,
        accumulation: int,
        steps: int,
        seed: int,
        token_budget: int = 0,
        epochs: int = 1,
    ):
        self.lengths, self.accumulation, self.seed, self.token_budget = lengths, accumulation, seed, token_budget
        self.steps_per_epoch = steps_per_epoch(len(lengths), batch_size)
        smallest = len(lengths) // self.steps_per_epoch  # rows of the smallest step; sizes differ by at most one
        if smallest < accumulation and not token_budget:
            raise InputError(
                f"accumulation {accumulation}: {len(lengths)} rationale(s) at batch_size {batch_size} give steps of "
                f"{smallest}, which cannot be split into {accumulation} micro-batches; set accumulation to {smallest} "
                f"or less"
            )
        if not steps and token_budget:
            steps = -(-sum(len(self.epoch(number)) for number in range(epochs)) // accumulation)
        self.steps = steps or epochs * self.steps_per_epoch

    def __len__(self) -> int:
        return self.steps * self.accumulation

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch; every row is in exactly one."""
        rng = random.Random(f"{self.seed} epoch {number}")
        order = list(range(len(self.lengths)))
        rng.shuffle(order)
        if self.token_budget:
            batches = self._within_budget(order)
            rng.shuffle(batches)
            return batches
        steps = []
        for mega in cut(cut(order, self.steps_per_epoch), -(-self.steps_per_epoch // self.MEGA)):
            steps += self._split(list(itertools.chain(*mega)), len(mega))
        rng.shuffle(steps)
        return [batch for step in steps for batch in self._split(step, self.accumulation)]

    def __iter__(self) -> Iterator[list[int]]:
        produced, number = 0, 0
        while produced < len(self):
            for batch in self.epoch(number):
                if produced == len(self):
                    return
                yield batch
                produced += 1
            number += 1

    def _slots(self, rows: list[int]) -> int:
        """Token slots of a batch, including padding."""
        return len(rows) * sum(map(max, zip(*(self.lengths[row] for row in rows), strict=True)))

    def _tokens(self, rows: list[int]) -> int:
        return sum(sum(self.lengths[row]) for row in rows)

    def _split(self, rows: list[int], parts: int) -> list[list[int]]:
        """Split rows into `parts` with little padding: equal in rows up to one, or equal in tokens with a budget.

        Rows are halved recursively, sorted by whichever length leaves fewer slots: sorted by the target alone, the
        prompts of an encoder-decoder would stay in random order.
        """
        if parts == 1:
            return [rows]
        first = parts // 2
        halves = []
        for side in range(len(self.lengths[rows[0]])):
            ordered = sorted(rows, key=lambda row: (self.lengths[row][side], self.lengths[row]))
            middle = self._middle(ordered, first, parts)
            halves.append((ordered[:middle], ordered[middle:]))
        low, high = min(halves, key=lambda both: self._slots(both[0]) + self._slots(both[1]))
        return self._split(low, first) + self._split(high, parts - first)

    def _middle(self, ordered: list[int], first: int, parts: int) -> int:
        """Where to cut sorted rows so that the lower side gets `first` of `parts`."""
        if not self.token_budget:
            size, larger = divmod(len(ordered), parts)
            return first * size + min(first, larger)
        wanted = self._tokens(ordered) * first / parts
        so_far = itertools.accumulate(sum(self.lengths[row]) for row in ordered)
        middle = next(i for i, tokens in enumerate(so_far, 1) if tokens >= wanted)
        return min(max(middle, first), len(ordered) - (parts - first))  # at least one row per part

    def _within_budget(self, order: list[int]) -> list[list[int]]:
        """Batches that fit into the token budget."""
        megas = -(-self._tokens(order) // (self.MEGA * self.token_budget))
        todo = cut(order, min(len(order), megas))  # each piece has at least one row
        batches = []
        while todo:
            rows = todo.pop()
            if len(rows) == 1 or self._slots(rows) <= self.token_budget:
                batches.append(rows)
            else:  # 8% headroom for padding, or most parts would need another split
                parts = math.ceil(1.08 * self._tokens(rows) / self.token_budget)
                todo += self._split(rows, min(len(rows), max(2, parts)))
        return batches


def row_lengths(examples: list[Example], encoder_decoder: bool) -> list[tuple[int, ...]]:
    """Token counts of each example: target and prompt for an encoder-decoder, both in one sequence for a decoder."""
    if encoder_decoder:
        return [(len(e.target), len(e.prompt)) for e in examples]
    return [(len(e.prompt) + len(e.target) - 1,) for e in examples]


def longest_rows(examples: list[Example], encoder_decoder: bool, limit: int = 0) -> tuple[int, ...]:
    """The greatest length of each side over all rows, up to a limit: the paper's code pads every row to it."""
    longest = tuple(map(max, zip(*row_lengths(examples, encoder_decoder), strict=True)))
    return tuple(min(limit, length) for length in longest) if limit else longest


def padded_to(inputs: dict[str, Tensor], loaded: Loaded, longest: tuple[int, ...]) -> dict[str, Tensor]:
    """A batch's inputs padded (or truncated) to the `longest_rows` of the whole set, as in the paper's code."""
    fill = {"labels": IGNORED, "attention_mask": 0}
    found = {}
    for name, value in inputs.items():
        source = loaded.encoder_decoder and name in ("input_ids", "attention_mask")
        length = longest[1] if source else longest[0]
        value = value[:, :length]
        padding = (0, length - value.shape[1])
        found[name] = torch.nn.functional.pad(value, padding, value=fill.get(name, loaded.tokenizer.pad_token_id))
    return found


def padding_waste(examples: list[Example], batches: list[list[int]], encoder_decoder: bool) -> float:
    """Token slots per real token over these batches; 1.0 means no padding."""
    lengths = row_lengths(examples, encoder_decoder)
    slots = sum(len(batch) * sum(map(max, zip(*(lengths[i] for i in batch), strict=True))) for batch in batches)
    return slots / sum(sum(lengths[i]) for batch in batches for i in batch)
