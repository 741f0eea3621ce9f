"""Pairs of rationales for multi-CoT consistency (MCC-KD, Chen et al., 2023): selection, batches, answer positions.

The three most diverse rationales of each question are kept, and each epoch draws two of them. Both end in the same
answer, encoded separately from the rationale so that its tokens are identical; the student is trained to give these
tokens the same probabilities after either rationale.
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
from ..models.loading import Loaded

KEPT = 3  # rationales per question; each epoch draws two of them
NGRAM = 3  # words per n-gram


def most_diverse(rows: list[Rationale], kept: int = KEPT, ngram: int = NGRAM) -> list[Rationale]:
    """The `kept` most diverse rationales of each question, in the order of `rows`.

    Most diverse means the smallest sum of n-gram Jaccard similarities over all pairs; of equal sets, the first. A
    question with at most `kept` rationales keeps all of them.
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
    """Examples with marker and answer encoded separately from the rationale, and the ids of those that are too long.

    The answer's span is what follows the marker, without EOS. It is at the end of the target, and identical for all
    rationales of a question. The length limit is that of `batches.fits`.
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
            loaded.prompt(row.question),
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
    """Batches of whole pairs: each epoch has every question once, with two of its rationales drawn at random.

    A question with two rationales always has the same pair; one with a single rationale adds only its cross-entropy.
    A step has `batch_size` rationales, so half that number of questions.
    """

    def __init__(self, examples: list[Example], lengths: list[tuple[int, ...]], batch_size: int, **named):
        of: dict[str, list[int]] = {}
        for place, example in enumerate(examples):
            of.setdefault(example.group, []).append(place)
        self.groups = list(of.values())
        parts, pairs = named["accumulation"], max(1, batch_size // 2)
        if parts > pairs and not named.get("token_budget"):
            raise InputError(
                f"accumulation must be <= {pairs} with batch_size {batch_size}, got {parts}: a step has {pairs} "
                f"pair(s), and a pair cannot be split"
            )
        longest = [tuple(map(max, zip(*(lengths[place] for place in group), strict=True))) for group in self.groups]
        named["token_budget"] = -(-named.get("token_budget", 0) // 2)
        super().__init__(longest, pairs, **named)

    def epoch(self, number: int) -> list[list[int]]:
        """The batches of one epoch: row numbers, with the two of a pair next to each other."""
        rng = random.Random(f"{self.seed} pairs {number}")
        drawn = [sorted(rng.sample(group, 2)) if len(group) > 2 else group for group in self.groups]
        return [[row for question in batch for row in drawn[question]] for batch in super().epoch(number)]


def answer_places(examples: list[Example]) -> Tensor:
    """Positions of the answer tokens of a batch's pairs among its target positions, [2, A]: one row per rationale.

    Target positions are counted row by row, as in `batches.target_logits`. A rationale without a partner has none.
    Raises ValueError if the two answers of a pair differ, which never happens for pairs of one question.
    """
    ends = list(itertools.accumulate(len(example.target) for example in examples))
    first: list[int] = []
    second: list[int] = []
    for (a, b), (end_a, end_b) in zip(itertools.pairwise(examples), itertools.pairwise(ends), strict=True):
        if a.group == b.group and a.group:
            if a.target[-1 - a.answer :] != b.target[-1 - b.answer :]:
                raise ValueError(f"rationales {a.id} and {b.id} of one question end in different answers")
            first += range(end_a - 1 - a.answer, end_a - 1)
            second += range(end_b - 1 - b.answer, end_b - 1)
    return torch.tensor([first, second], dtype=torch.long).reshape(2, -1)
