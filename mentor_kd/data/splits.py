"""Splits: dev questions, drawn before any mentor is trained, and shares of the teacher's rationales.

The share is the low-resource setting (paper, section 5.4, figure 5). The paper says "percentage of rationales being
used" in the figure, and data "collected for only a proportion of the original datasets" in the text; both are offered.
A smaller share is a subset of every larger one with the same seed; the draw depends only on each id.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..checks import is_whole, require_choice, require_integer, require_number
from ..files import InputError
from .rationales import Question, Rationale, question_id


def split_dev(
    questions: Iterable[Question], *, share: float | None = None, count: int | None = None, seed: int = 0
) -> list[Question]:
    """The questions of one task, in the given order, with the split "train" or "dev".

    Exactly one of `share` (of the distinct questions, rounded) and `count` sets the size of dev. Whether a question is
    in dev depends on its hash with the seed, so the order of the questions does not matter and equal questions stay
    together (docs/method.md, Splits). Raises InputError if either side would be empty, or if a question already has a
    split other than train: a data set with a dev file needs no split, and test questions must not enter one.
    """
    questions = list(questions)
    for question in questions:
        if question.split not in ("", "train"):
            raise InputError(f"question {question.id}: split must be 'train' or '' here, got {question.split!r}")
    keys = [question_id(question.task, question.question) for question in questions]
    distinct = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
    if (share is None) == (count is None):
        raise InputError(f"dev split: give either share or count, got share {share} and count {count}")
    if share is not None and not (isinstance(share, (int, float)) and 0 < share < 1):
        raise InputError(f"dev split: share must be a number > 0 and < 1, got {share!r}")
    if count is not None and not is_whole(count, 1):
        raise InputError(f"dev split: count must be an integer >= 1, got {count!r}")
    size = count if count is not None else round((share or 0) * len(distinct))
    if not 0 < size < len(distinct):
        raise InputError(
            f"dev split: {size} of {len(distinct)} distinct questions for dev leave dev or train empty; "
            "add questions, or change share or count"
        )
    dev = set(distinct[:size])
    return [replace(q, split="dev" if key in dev else "train") for q, key in zip(questions, keys, strict=True)]


UNITS = ("questions", "rationales")


@dataclass(frozen=True)
class ShareSettings:
    """The share of the teacher's rationales used, right or wrong: in (0, 1], by question or by rationale."""

    share: float = 1.0
    unit: str = "questions"  # questions: with all their rationales; rationales: individually
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("share", self.share, above=0, most=1)
        require_choice("unit", self.unit, UNITS)
        require_integer("seed", self.seed)


def draw(rows: Sequence[Rationale], settings: ShareSettings) -> tuple[list[Rationale], dict]:
    """The rationales used, in the given order, and the counts: used + set aside = collected.

    The share is rounded to whole units, with a minimum of one.
    """
    names = [row.question_id if settings.unit == "questions" else row.id for row in rows]
    units = sorted(set(names), key=lambda name: hashlib.sha256(f"{settings.seed} {name}".encode()).digest())
    chosen = set(units[: max(1, round(settings.share * len(units)))])
    used = [row for name, row in zip(names, rows, strict=True) if name in chosen]
    facts = {
        "share": settings.share,
        "of": settings.unit,
        "collected": len(rows),
        "used": len(used),
        "set_aside": len(rows) - len(used),
        "questions_collected": len({row.question_id for row in rows}),
        "questions_used": len({row.question_id for row in used}),
    }
    return used, facts
