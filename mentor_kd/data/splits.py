"""Splits: dev questions, drawn before any mentor is trained, and shares of the teacher's rationales.

The share is the low-resource setting (paper, section 5.4, figure 5). The paper says "percentage of rationales being
used" in the figure, and data "collected for only a proportion of the original datasets" in the text, so both are here.
A smaller share is part of every larger one of the same seed; what is drawn follows from each id alone.
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
    """The questions of one task, in the order given, with the split "train" or "dev".

    Exactly one of `share` (of the distinct questions, rounded) and `count` sets the size of dev. Whether a question is
    in dev follows from its hash with the seed, so the order of the questions plays no part and equal questions go
    together (docs/method.md, Splits). Raises InputError if either side would be empty, or for a question that already
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
        raise InputError(f"dev split: share must be a number > 0 and < 1, got {share!r}")
    if count is not None and not is_whole(count, 1):
        raise InputError(f"dev split: count must be an integer >= 1, got {count!r}")
    size = count if count is not None else round((share or 0) * len(distinct))
    if not 0 < size < len(distinct):
        raise InputError(
            f"dev split: {size} of {len(distinct)} distinct questions for dev leaves dev or train empty; "
            "give more questions or another share or count"
        )
    dev = set(distinct[:size])
    return [replace(q, split="dev" if key in dev else "train") for q, key in zip(questions, keys, strict=True)]


UNITS = ("questions", "rationales")


@dataclass(frozen=True)
class ShareSettings:
    """How much of what the teacher wrote is used, right or wrong: a share in (0, 1], of questions or of rationales."""

    share: float = 1.0
    unit: str = "questions"  # questions: with all their rationales; rationales: each by itself
    seed: int = 0

    def __post_init__(self) -> None:
        require_number("share", self.share, above=0, most=1)
        require_choice("unit", self.unit, UNITS)
        require_integer("seed", self.seed)


def draw(rows: Sequence[Rationale], settings: ShareSettings) -> tuple[list[Rationale], dict]:
    """The rationales that are used, in the order given, and the counts: rationales used + set aside = collected.

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
