"""The dev split: questions that nobody learns from, drawn once, by seed, before any mentor is trained."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from .files import InputError, is_whole
from .rationales import Question, question_id


def split_dev(
    questions: Iterable[Question], *, share: float | None = None, count: int | None = None, seed: int = 0
) -> list[Question]:
    """The questions of one task, in the order given, with the split "train" or "dev".

    Exactly one of `share` (of the distinct questions, rounded) and `count` sets the size of dev. Whether a question is
    in dev follows from its hash with the seed, so the order of the questions plays no part and equal questions go
    together (method.md, dev split). Raises InputError if either side would be empty, or for a question that already
    has another split than train: a data set that ships a dev file needs no split, test questions must not enter one.
    """
    questions = list(questions)
    for question in questions:
        if question.split not in ("", "train"):
            raise InputError(f"question {question.id}: its split is {question.split!r}; split training questions only")
    keys = [question_id(question.task, question.question) for question in questions]
    distinct = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    if (share is None) == (count is None):
        raise InputError(f"dev split: share is {share}, count is {count}; give one of the two")
    if share is not None and not (isinstance(share, (int, float)) and 0 < share < 1):
        raise InputError(f"dev split: share is {share!r}; it must be a number between 0 and 1, such as 0.1")
    if count is not None and not is_whole(count, 1):
        raise InputError(f"dev split: count is {count!r}; it must be a whole number from 1")
    size = count if count is not None else round(share * len(distinct))
    if not 0 < size < len(distinct):
        raise InputError(
            f"dev split: {size} of {len(distinct)} distinct questions for dev leaves dev or train empty; "
            "give more questions or another share or count"
        )
    dev = set(distinct[:size])
    return [replace(q, split="dev" if key in dev else "train") for q, key in zip(questions, keys, strict=True)]
