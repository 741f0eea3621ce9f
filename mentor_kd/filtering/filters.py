"""Filters: keep or drop each rationale, with a reason for every drop; a human verdict overrides them.

`apply` gives each rationale the first of these reasons that holds, in this order:

    verdict: keep / verdict: drop   a human verdict; overrides every filter below
    no answer                       not correct, as no answer was found in the text (see the row's `miss`)
    wrong answer                    the extracted answer is not the gold answer
    conclusion                      the rationale itself concludes with another answer than the gold answer
    too short / too long            length in words
    arithmetic                      a step such as `2 + 3 = 6` is wrong
    low confidence                  the mentor's mean log-probability per token of the training text is below the limit
    duplicate                       same text, up to white space, and same question as another row of any source
    near duplicate                  n-gram Jaccard with a kept rationale of the same question reaches the threshold

A kept rationale has the reason "" or "verdict: keep". The verdict "keep" also overrides `correct`: the training text
then has the gold answer after a rationale for another answer, which is for the annotator to decide.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pandas

from ..checks import require_bool, require_integer, require_number
from ..data.rationales import Rationale
from ..data.tasks import Task, extract, same_answer
from ..files import InputError
from .arithmetic import wrong_steps
from .verdicts import Verdict

REASONS: tuple[str, ...] = ("no answer", "wrong answer", "conclusion", "too short", "too long", "arithmetic")
REASONS += ("low confidence", "duplicate", "near duplicate", "verdict: drop")


@dataclass(frozen=True)
class FilterSettings:
    """Which filters are active. None turns a filter off.

    Raises InputError for an invalid value, such as the string "false" that papermill's -p can pass.
    """

    correct: bool = True  # always true (docs/method.md, Filtering); a parameter file may state it
    duplicates: bool = True
    near_duplicates: float | None = None  # drop at this n-gram Jaccard similarity or above, in (0, 1]
    ngram: int = 3  # n-gram size in words, for near_duplicates
    min_words: int | None = None
    max_words: int | None = None
    conclusion: bool = False
    arithmetic: bool = False
    min_confidence: float | None = None  # mean log-probability per token under the mentor, <= 0; -0.5 is strict

    def __post_init__(self) -> None:
        for name in ("correct", "duplicates", "conclusion", "arithmetic"):
            require_bool(name, getattr(self, name))
        if not self.correct:
            raise InputError(
                "correct must be true: the training text ends with the gold answer, which a wrong rationale "
                "contradicts. To keep a single wrong rationale, give it the verdict 'keep'"
            )
        if self.near_duplicates is not None:
            require_number("near_duplicates", self.near_duplicates, above=0, most=1, note="0.8 is typical")
        require_integer("ngram", self.ngram, 1)
        for name in ("min_words", "max_words"):
            if getattr(self, name) is not None:
                require_integer(name, getattr(self, name))
        if self.min_confidence is not None:
            note = "a mean log-probability per token, such as -0.5"
            require_number("min_confidence", self.min_confidence, most=0, note=note)
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise InputError(f"min_words must be <= max_words ({self.max_words}), got {self.min_words}")


def parameters(settings: FilterSettings) -> dict:
    """The settings as parameters of notebook 04, where 0 means off."""
    return {
        "duplicates": settings.duplicates,
        "near_duplicates": float(settings.near_duplicates or 0),
        "min_words": settings.min_words or 0,
        "max_words": settings.max_words or 0,
        "conclusion": settings.conclusion,
        "arithmetic": settings.arithmetic,
        "min_confidence": float(settings.min_confidence or 0),
    }


def from_parameters(
    duplicates: bool,
    near_duplicates: float,
    min_words: int,
    max_words: int,
    conclusion: bool,
    arithmetic: bool,
    min_confidence: float,
) -> FilterSettings:
    """Settings from the parameters of notebook 04; the inverse of `parameters`."""
    return FilterSettings(
        duplicates=duplicates,
        near_duplicates=near_duplicates or None,
        min_words=min_words or None,
        max_words=max_words or None,
        conclusion=conclusion,
        arithmetic=arithmetic,
        min_confidence=min_confidence or None,
    )


def apply(
    rows: Iterable[Rationale],
    settings: FilterSettings,
    verdicts: Mapping[str, Verdict] | None = None,
    task: Task | None = None,
    confidence: Mapping[str, float] | None = None,
) -> list[Rationale]:
    """All rows, in the given order, with `kept` and `reason` set as described in the module docstring.

    Of several equal or similar rationales, the one with the verdict "keep" is kept, else the teacher's, else the first.
    Copies of a text with the verdict "drop" are duplicates of it. Existing values of `kept` and `reason` are ignored,
    so applying the filters twice is the same as once. `conclusion` looks up the task by name; pass `task` for a custom
    one. `min_confidence` compares `confidence`, by rationale id (see filtering/confidence); rationales too long for the
    mentor have no confidence and pass. Raises InputError if `min_confidence` is set without `confidence`.
    """
    rows = list(rows)
    if settings.min_confidence is not None and confidence is None:
        raise InputError(
            "min_confidence needs the mentor's confidence; pass `confidence`, from filtering.confidence.confidences"
        )
    confidence = confidence or {}
    said = {key: verdict.verdict for key, verdict in (verdicts or {}).items()}
    reasons = [
        "verdict: keep" if said.get(row.id) == "keep" else _own_reason(row, settings, task, confidence) for row in rows
    ]
    seen: dict[str, set[str]] = {}
    kept: dict[str, list[str]] = {}
    priority = sorted(range(len(rows)), key=lambda i: (said.get(rows[i].id) != "keep", rows[i].source != "teacher", i))
    for i in priority:
        row, texts = rows[i], seen.setdefault(rows[i].question_id, set())
        if not reasons[i]:
            if settings.duplicates and row.rationale in texts:
                reasons[i] = "duplicate"
            elif settings.near_duplicates is not None and any(
                jaccard(row.rationale, other, settings.ngram) >= settings.near_duplicates
                for other in kept.get(row.question_id, [])
            ):
                reasons[i] = "near duplicate"
        if reasons[i] in ("", "verdict: keep"):
            texts.add(row.rationale)
            if said.get(row.id) != "drop":
                kept.setdefault(row.question_id, []).append(row.rationale)
        if said.get(row.id) == "drop":
            reasons[i] = "verdict: drop"
    return [
        replace(row, kept=reason in ("", "verdict: keep"), reason=reason)
        for row, reason in zip(rows, reasons, strict=True)
    ]


def contradicts(row: Rationale, task: Task | None = None) -> bool:
    """Whether the rationale itself, without the final answer after it, states another answer than the gold answer."""
    found = extract(task or row.task, row.rationale, row.question).value
    return found is not None and not same_answer(task or row.task, found, row.answer)


def _own_reason(row: Rationale, settings: FilterSettings, task: Task | None, confidence: Mapping[str, float]) -> str:
    """The first reason to drop a rationale that does not depend on other rationales; "" for none."""
    if not row.correct:
        return "no answer" if row.prediction is None else "wrong answer"
    if settings.conclusion and contradicts(row, task):
        return "conclusion"
    words = len(row.rationale.split())
    if settings.min_words is not None and words < settings.min_words:
        return "too short"
    if settings.max_words is not None and words > settings.max_words:
        return "too long"
    if settings.arithmetic and wrong_steps(row.rationale):
        return "arithmetic"
    if settings.min_confidence is not None and confidence.get(row.id, 0.0) < settings.min_confidence:
        return "low confidence"
    return ""


def counts(rows: Iterable[Rationale]) -> pandas.DataFrame:
    """Rationales per source: columns `total`, `kept`, and one for each reason that occurs; the index is the source.

    In each row, `kept` and the reasons add up to `total`. Raises InputError for a rationale that was not filtered.
    """
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        reason = row.reason or ""
        if row.kept is None or (not row.kept and reason not in REASONS):
            raise InputError(f"rationale {row.id}: kept={row.kept}, reason={row.reason!r}; call filters.apply first")
        line = table.setdefault(row.source, {"total": 0, "kept": 0} | dict.fromkeys(REASONS, 0))
        line["total"] += 1
        line["kept" if row.kept else reason] += 1
    frame = pandas.DataFrame.from_dict(table, orient="index", columns=["total", "kept", *REASONS]).rename_axis("source")
    frame = frame.loc[sorted(frame.index, key=lambda source: (source != "teacher", source))]
    return frame[["total", "kept", *(reason for reason in REASONS if frame[reason].any())]]


def jaccard(a: str, b: str, n: int) -> float:
    """Jaccard similarity of the sets of word n-grams of two texts, from 0 to 1.

    Words are separated by white space and compared without case. A text of fewer than n words is a single n-gram.
    """
    first, second = _ngrams(a, n), _ngrams(b, n)
    return len(first & second) / len(first | second)


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
