"""Low resource: a share of the teacher's rationales, drawn by question or by rationale (paper, section 5.4, figure 5).

The paper says "percentage of rationales being used" in the figure, and that the data are "collected for only a
proportion of the original datasets" in the text; so both are here. A smaller share is a part of every larger one of
the same seed, and what is drawn follows from each id alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from .files import InputError, is_whole
from .rationales import Rationale

UNITS = ("questions", "rationales")


@dataclass(frozen=True)
class ShareSettings:
    """How much of what the teacher wrote is used, right or wrong: a share in (0, 1], of questions or of rationales."""

    share: float = 1.0
    unit: str = "questions"  # questions: with all their rationales; rationales: each by itself
    seed: int = 0

    def __post_init__(self):
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise InputError(f"teacher_share is a number above 0 and up to 1 (all), not {self.share!r}")
        if self.unit not in UNITS:
            raise InputError(f"share_of is one of {', '.join(UNITS)}, not {self.unit!r}")
        if not is_whole(self.seed):
            raise InputError(f"share_seed is a whole number from 0, not {self.seed!r}")


def draw(rows: Sequence[Rationale], settings: ShareSettings) -> tuple[list[Rationale], dict]:
    """The rationales that are used, in the order given, and the counts: rationales used + set aside = collected.

    The share is rounded to whole units, and is one unit at the least.
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
