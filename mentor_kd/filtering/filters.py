"""Filters: why a rationale is kept or dropped; every drop has a reason, and a person has the last word.

`apply` gives each rationale one of these reasons, the first that holds, in this order:

    verdict: keep / verdict: drop   a person said so; overrides every filter below
    no answer                       wrong, as no answer was found in the text (`miss` of the row says why)
    wrong answer                    the answer that was found is not the gold answer
    conclusion                      the rationale itself concludes something else than the gold answer
    too short / too long            in words
    arithmetic                      a step such as `2 + 3 = 6` does not compute
    low confidence                  the mentor's mean log-probability of a token of the training text is below the limit
    duplicate                       the same text, up to white space, for the same question, from whatever source
    near duplicate                  n-gram Jaccard with a kept rationale of the same question reaches the threshold

A kept rationale has the reason "" or "verdict: keep". The verdict "keep" overrides `correct` too: the training text
then carries the gold answer after a rationale that argued for another, which is the person's decision to make.
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

REASONS = ("no answer", "wrong answer", "conclusion", "too short", "too long", "arithmetic", "low confidence")
REASONS += ("duplicate", "near duplicate", "verdict: drop")


@dataclass(frozen=True)
class FilterSettings:
    """Which filters are on.

    Raises InputError for a value of the wrong kind, such as the string "false" that papermill's -p makes.
    """

    correct: bool = True  # not optional (method.md): here so that a parameter file can say it
    duplicates: bool = True
    near_duplicates: float | None = None  # drop at this n-gram Jaccard or above; 0 < threshold <= 1
    ngram: int = 3  # words in an n-gram of near_duplicates
    min_words: int | None = None
    max_words: int | None = None
    conclusion: bool = False
    arithmetic: bool = False
    min_confidence: float | None = None  # mean log-probability per token under the mentor, at most 0; -0.5 is strict

    def __post_init__(self) -> None:
        for name in ("correct", "duplicates", "conclusion", "arithmetic"):
            require_bool(name, getattr(self, name))
        if not self.correct:
            raise InputError(
                "the filter `correct` must be true: the training text ends with the gold answer, which a wrong "
                "rationale contradicts. To keep a single one, give it the verdict 'keep'"
            )
        if self.near_duplicates is not None:
            require_number("near_duplicates", self.near_duplicates, above=0, most=1, note="0.8 is usual")
        require_integer("ngram", self.ngram, 1)
        for name in ("min_words", "max_words"):
            if getattr(self, name) is not None:
                require_integer(name, getattr(self, name))
        if self.min_confidence is not None:
            note = "a mean log-probability per token, such as -0.5"
            require_number("min_confidence", self.min_confidence, most=0, note=note)
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise InputError(f"min_words {self.min_words} must be <= max_words, {self.max_words}")


def parameters(settings: FilterSettings) -> dict:
    """The settings as notebook 04 has them as parameters, where 0 stands for off."""
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
    """The settings of notebook 04's parameters; the inverse of `parameters`."""
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
    """Every row, in the order given, with `kept` and `reason` set as the module's head says.

    Of several equal or similar rationales the one that stays is the one a person kept, else the teacher's, else the
    first. A text that a person dropped stays dropped: its later copies are duplicates of it. Earlier values of `kept`
    and `reason` play no part, so that applying the filters twice is the same as once. `conclusion` looks the row's
    task up by its name; pass `task` for one of your own. `confidence` is what `min_confidence` looks at, by rationale
    id (mentor_kd.confidence); a rationale that the mentor could not read as a whole has none, and passes.
    Raises InputError where `min_confidence` is set and no confidence is given.
    """
    rows = list(rows)
    if settings.min_confidence is not None and confidence is None:
        raise InputError("filter min_confidence: the mentor's confidence was not computed; see mentor_kd.confidence")
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
    """Whether the rationale itself, without the conclusion after it, states another answer than the gold answer."""
    found = extract(task or row.task, row.rationale, row.question).value
    return found is not None and not same_answer(task or row.task, found, row.answer)


def _own_reason(row: Rationale, settings: FilterSettings, task: Task | None, confidence: Mapping[str, float]) -> str:
    """The first check that a rationale fails by itself, without regard to the others; "" for none."""
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
    """How many rationales each source has: columns `total`, `kept`, and one for each reason that occurs.

    The index is the source. In each row kept and the reasons add up to the total. Raises InputError for a rationale
    that has not been filtered.
    """
    table: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.kept is None or (not row.kept and row.reason not in REASONS):
            raise InputError(f"rationale {row.id}: kept is {row.kept}, reason is {row.reason!r}; call filters.apply")
        line = table.setdefault(row.source, {"total": 0, "kept": 0} | dict.fromkeys(REASONS, 0))
        line["total"] += 1
        line["kept" if row.kept else row.reason] += 1
    frame = pandas.DataFrame.from_dict(table, orient="index", columns=["total", "kept", *REASONS]).rename_axis("source")
    frame = frame.loc[sorted(frame.index, key=lambda source: (source != "teacher", source))]
    return frame[["total", "kept", *(reason for reason in REASONS if frame[reason].any())]]


def jaccard(a: str, b: str, n: int) -> float:
    """Jaccard similarity of the sets of word n-grams of two texts, 0 to 1.

    Words are what white space separates, without regard to case. A text of fewer than n words counts as one n-gram.
    """
    first, second = _ngrams(a, n), _ngrams(b, n)
    return len(first & second) / len(first | second)


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}
