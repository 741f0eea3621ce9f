"""Pairs of rationales for multi-CoT consistency (MCC-KD, Chen and others 2023): which, in which batches, and where.

For each question the three most diverse of its rationales are kept, and each epoch draws two of them. Their answer is
the same text, encoded apart from the rationale, so that its tokens are the same after either; the student is asked to
be equally sure of each of them, whatever led to it.
"""

import itertools
import random

import torch
from torch import Tensor

from ..data.answers import MARKER
from ..data.rationales import Rationale
from ..files import InputError
from ..filtering.filters import jaccard
from ..models.batches import BucketBatches, Example, fits
from ..models.loading import Loaded, encode_prompt

KEPT = 3  # rationales of a question; two of them are drawn in each epoch
NGRAM = 3  # words in an n-gram


def most_diverse(rows: list[Rationale], kept: int = KEPT, ngram: int = NGRAM) -> list[Rationale]:
    """Of each question's rationales those `kept` that resemble one another least, in the rows' own order.

    Least is the sum of the n-gram Jaccard similarities of all their pairs; of equals, the first. A question with no
    more than `kept` rationales keeps all.
    """
    of: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        of.setdefault(row.question_id, []).append(place)
    chosen: list[int] = []
    for places in of.values():
        if len(places) <= kept:
            chosen += places
            continue
        alike = {
            (a, b): jaccard(rows[a].rationale, rows[b].rationale, ngram) for a, b in itertools.combinations(places, 2)
        }
        groups = itertools.combinations(places, kept)
        chosen += min(groups, key=lambda group: round(sum(alike[pair] for pair in itertools.combinations(group, 2)), 9))
    return [rows[place] for place in sorted(chosen)]


def encode_apart(loaded: Loaded, rows: list[Rationale], max_length: int) -> tuple[list[Example], list[str]]:
    """Examples whose marker and answer are encoded apart from the rationale, and the ids of those that are too long.

    The answer's span is what follows the marker, without EOS. It ends the target, and is the same for all rationales of
    a question. Too long is what `batches.encode` calls so.
    """

    def ids(text: str) -> list[int]:
        return loaded.tokenizer(text, add_special_tokens=False)["input_ids"]

    kept, too_long = [], []
    for row in rows:
        gap = " " if row.rationale else ""
        conclusion, marker = ids(f"{gap}{MARKER} {row.answer}"), ids(f"{gap}{MARKER}")
        span = len(conclusion) - (len(marker) if conclusion[: len(marker)] == marker else 0)
        example = Example(
            row.id,
            encode_prompt(loaded.tokenizer, loaded.encoder_decoder, row.question),
            [*ids(row.rationale), *conclusion, loaded.tokenizer.eos_token_id],
            group=row.question_id,
            answer=span,
        )
        if fits(example, loaded, max_length):
            kept.append(example)
        else:
            too_long.append(row.id)
    return kept, too_long


class PairBatches(BucketBatches):
    """Batches of whole pairs: in each epoch every question comes once, with two of its rationales drawn anew.

    A question with two rationales has always the same two, one with a single one stands alone and adds its
    cross-entropy. A step has `batch_size` rationales, so half as many questions.
    """

    def __init__(self, examples: list[Example], lengths: list[tuple[int, ...]], batch_size: int, **named):
        of: dict[str, list[int]] = {}
        for place, example in enumerate(examples):
            of.setdefault(example.group, []).append(place)
        self.groups = list(of.values())
        parts, pairs = named["accumulation"], max(1, batch_size // 2)
        if parts > pairs and not named.get("token_budget"):
            raise InputError(
                f"accumulation {parts}: a pair cannot be cut, and at batch_size {batch_size} a step has {pairs}; "
                f"set accumulation to {pairs} or less"
            )
        longest = [tuple(map(max, zip(*(lengths[place] for place in group), strict=True))) for group in self.groups]
        named["token_budget"] = -(-named.get("token_budget", 0) // 2)
        super().__init__(longest, pairs, **named)

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch: row numbers, the two of a pair side by side."""
        rng = random.Random(f"{self.seed} pairs {number}")
        drawn = [sorted(rng.sample(group, 2)) if len(group) > 2 else group for group in self.groups]
        return [[row for question in batch for row in drawn[question]] for batch in super().epoch(number)]


def answer_places(examples: list[Example]) -> Tensor:
    """Where the answers of a batch's pairs stand among its target positions, [2, A]: a row for each rationale.

    Target positions are counted row by row, as `batches.target_logits` gives them. A rationale without a partner has
    no place. Answers of unequal length, which pairs of one question never have, are a ValueError.
    """
    ends = list(itertools.accumulate(len(example.target) for example in examples))
    first, second = [], []
    for (a, b), (end_a, end_b) in zip(itertools.pairwise(examples), itertools.pairwise(ends), strict=True):
        if a.group == b.group and a.group:
            if a.target[-1 - a.answer :] != b.target[-1 - b.answer :]:
                raise ValueError(f"rationales {a.id} and {b.id} of one question end in different answers")
            first += range(end_a - 1 - a.answer, end_a - 1)
            second += range(end_b - 1 - b.answer, end_b - 1)
    return torch.tensor([first, second], dtype=torch.long).reshape(2, -1)
