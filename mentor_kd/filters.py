"""Filters: why a rationale is kept or dropped; every drop has a reason, and a person has the last word.

`apply` gives each rationale one of these reasons, the first that holds, in this order:

    verdict: keep / verdict: drop   a person said so; overrides every filter below
    no answer                       wrong, as no answer was found in the text (`miss` of the row says why)
    wrong answer                    the answer that was found is not the gold answer
    conclusion                      the rationale itself concludes something else than the gold answer
    too short / too long            in words
    arithmetic                      a step such as `2 + 3 = 6` does not compute
    duplicate                       the same text, up to white space, for the same question, from whatever source
    near duplicate                  n-gram Jaccard with a kept rationale of the same question reaches the threshold

A kept rationale has the reason "" or "verdict: keep". The verdict "keep" overrides `correct` too: the training text
then carries the gold answer after a rationale that argued for another, which is the person's decision to make.
"""

import datetime
import itertools
import json
import operator
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import pandas

from .files import InputError, append_jsonl
from .rationales import Rationale
from .tasks import Task, extract, same_answer

VERDICTS = ("keep", "drop", "unsure")
REASONS = ("no answer", "wrong answer", "conclusion", "too short", "too long", "arithmetic")
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

    def __post_init__(self) -> None:
        for name in ("correct", "duplicates", "conclusion", "arithmetic"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"filter {name}: {getattr(self, name)!r} is not a boolean; write true or false")
        if not self.correct:
            raise InputError(
                "filter correct: False, but the training text ends with the gold answer, which a wrong rationale "
                "contradicts; leave it on and keep single rationales by the verdict 'keep'"
            )
        limit = self.near_duplicates
        if limit is not None and not (type(limit) in (int, float) and 0 < limit <= 1):
            raise InputError(f"filter near_duplicates: {limit!r} is not a number above 0 and up to 1; 0.8 is usual")
        if type(self.ngram) is not int or self.ngram < 1:  # type: True is an int, but no number here
            raise InputError(f"filter ngram: {self.ngram!r} is not a whole number from 1; 3 is usual")
        for name in ("min_words", "max_words"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise InputError(
                    f"filter {name}: {value!r} is not a whole number from 0; leave it out to have no limit"
                )
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise InputError(f"filter min_words: {self.min_words} is above max_words, {self.max_words}; swap them")


def apply(
    rows: Iterable[Rationale],
    settings: FilterSettings,
    verdicts: Mapping[str, "Verdict"] | None = None,
    task: Task | None = None,
) -> list[Rationale]:
    """Every row, in the order given, with `kept` and `reason` set as the module's head says.

    Of several equal or similar rationales the one that stays is the one a person kept, else the teacher's, else the
    first. A text that a person dropped stays dropped: its later copies are duplicates of it. Earlier values of `kept`
    and `reason` play no part, so that applying the filters twice is the same as once. `conclusion` looks the row's
    task up by its name; pass `task` for one of your own.
    """
    rows = list(rows)
    said = {key: verdict.verdict for key, verdict in (verdicts or {}).items()}
    reasons = ["verdict: keep" if said.get(row.id) == "keep" else _own_reason(row, settings, task) for row in rows]
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


def _own_reason(row: Rationale, settings: FilterSettings, task: Task | None) -> str:
    """The first check that a rationale fails by itself, without regard to the others; "" for none."""
    if not row.correct:
        return "no answer" if row.prediction is None else "wrong answer"
    if settings.conclusion:
        found = extract(task or row.task, row.rationale, row.question).value
        if found is not None and not same_answer(task or row.task, found, row.answer):
            return "conclusion"
    words = len(row.rationale.split())
    if settings.min_words is not None and words < settings.min_words:
        return "too short"
    if settings.max_words is not None and words > settings.max_words:
        return "too long"
    if settings.arithmetic and wrong_steps(row.rationale):
        return "arithmetic"
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


# Verdicts


@dataclass(frozen=True)
class Verdict:
    """What a person thinks of one rationale; `time` is ISO 8601 in UTC."""

    id: str
    verdict: str
    note: str = ""
    time: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InputError(f"id: {self.id!r} is not the id of a rationale")
        if self.verdict not in VERDICTS:
            raise InputError(f"verdict: {self.verdict!r} is unknown; write one of {', '.join(VERDICTS)}")
        for name in ("note", "time"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name}: {getattr(self, name)!r} is not a text; put it in quotation marks")


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The last verdict on each rationale, by rationale id; none if there is no file yet.

    A writer that was killed may have left half a line, at the end or, once another writer went on, before its line:
    such a line is skipped with a warning. Anything else that is no verdict raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        return {}
    verdicts: dict[str, Verdict] = {}
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:  # not UTF-8, or not JSON
            torn = number == len(lines) or (line.startswith(b"{") and not line.rstrip().endswith(b"}"))
            if not torn:
                raise InputError(f"{path}, line {number}: not a row of JSON ({error}); mend or remove it") from None
            warnings.warn(f"{path}, line {number}: skipped, its writer was stopped halfway", stacklevel=2)
            continue
        if not isinstance(row, dict) or set(row) != {"id", "verdict", "note", "time"}:
            raise InputError(f"{path}, line {number}: {str(row)[:80]}; a row has id, verdict, note and time")
        try:
            verdicts[row["id"]] = Verdict(**row)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return verdicts


def add_verdict(path: Path, id: str, verdict: str, note: str = "") -> Verdict:
    """Append a verdict ("keep", "drop" or "unsure") to the file and wait until it is on disk."""
    row = Verdict(id, verdict, note, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    append_jsonl(path, asdict(row))
    return row


# Arithmetic. Only what surely is a claim about numbers is judged: in doubt a step passes.

_TOKEN = re.compile(
    r"""(?P<other>(?<=\s):|[-=]+>|[<>!]=|==+|\*\*                          # ratios, arrows, comparisons, powers
          |\d+/\d+/\d+|\d{4}-\d{1,2}-\d{1,2}|\d{1,2}:\d\d          # dates and times of day
          |\d+\s+\d+/\d+(?![\d/]))                                 # mixed numbers, 1 1/2
      |(?P<number>(?:[$€£]\x20?)?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?!\d|[.,]\d))
      |(?P<op>[-+*/×÷·−–]|\\times|\\cdot|\\div|[xX](?=\s*[$€£(]?\d))
      |(?P<paren>[()])|(?P<equals>=)
      |(?P<word>[^\W\d]\w*)|(?P<mark>[.,;:!?"'<>\[\]“”’])|(?P<symbol>\d+(?:[.,]\d+)*|\S)""",
    re.VERBOSE,
)
_SIGNS = {"x": "*", "X": "*", "×": "*", "·": "*", r"\times": "*", r"\cdot": "*", "÷": "/", r"\div": "/"}
_SIGNS |= {"−": "-", "–": "-"}
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_RANKS = {"+": 1, "-": 1, "*": 2, "/": 2}
# After or before these words a number is not what it seems: "half of 3 + 1 = ...", "2 + 3 = 5 hundred".
_BEFORE = frozenset("plus minus times by of over than x step".split())
_AFTER = frozenset("hundred thousand million billion dozen percent with remainder r".split())
_LONGEST = 60  # tokens of a side; more is a degenerate text, not a sum


def wrong_steps(text: str) -> list[str]:
    """The steps of a text, such as "2 + 3 = 6", that do not compute.

    Understands + - * / with their signs in print (x between numbers, ×, ÷, –), parentheses, thousands separators,
    decimals and currency signs before a number; computes exactly. A result with decimals may be rounded or cut to
    them. Run-on steps (2 + 3 = 5 + 1 = 6) count as the two steps that they mean. Not judged: steps with a letter, a
    unit between the numbers, a percentage, a power, a mixed number, a date or a time. Units are not converted, so
    "60 + 60 = 2 hours" is wrong.
    """
    tokens = [(match.lastgroup, match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    wrong, i = [], 0
    while i < len(tokens):
        end = i
        while end < len(tokens) and tokens[end][0] in ("number", "op", "paren", "equals"):
            end += 1
            if end < len(tokens) and tokens[end - 1][0] == tokens[end][0] == "number":
                break  # two numbers side by side: lines that were joined
        run = tokens[i:end]
        if any(token[0] == "equals" for token in run):
            pairs = _wrong_pairs(run, tokens[i - 1 : i], tokens[end : end + 1])
            wrong += [text[first[2] : last[3]] for first, last in pairs]
        i = max(end, i + 1)
    return wrong


def _wrong_pairs(run: list, before: list, after: list) -> list[tuple]:
    """(first token, last token) of each wrong step in a run of numbers, operators and equals signs."""
    cuts = [-1, *(k for k, token in enumerate(run) if token[0] == "equals"), len(run)]
    sides = [run[start + 1 : end] for start, end in itertools.pairwise(cuts)]
    unclosed, unopened = _depth(sides[0]), -_depth(sides[-1])  # "(2 + 3 = 5)" stands in parentheses as a whole
    while unclosed > 0 and sides[0][0][1] == "(":
        sides[0].pop(0)
        unclosed -= 1
    while unopened > 0 and sides[-1][-1][1] == ")":
        sides[-1].pop()
        unopened -= 1
    dash = bool(sides[0]) and sides[0][0][1] in "-–−"  # a sign, a list's dash, or "apples - 3 + 1 = ..."
    if dash or (before and _clings(before[0], run[0], _BEFORE)):
        sides[0] = []
    if after and _clings(after[0], run[-1], _AFTER):
        sides[-1] = []
    wrong = []
    for k, (left, right) in enumerate(itertools.pairwise(sides)):
        value, claim = _value(left), _value(right)
        if value is None or claim is None or all(token[0] != "op" for token in left + right):
            continue
        values, claims = [value], [(claim, right)]
        if k > 0 and len(left) > 2 and left[1][1] in "-–−":  # lines joined by their dashes: 2 + 3 = 5 - 5 + 1 = 6
            values.append(_value(left[2:]))
        if right[0][0] == "number":
            claims.append((_value(right[:1]), right[:1]))
        if not any(_agree(v, c, written) for v in values if v is not None for c, written in claims):
            wrong.append((left[0], right[-1]))
    return wrong


def _depth(side: list) -> int:
    return sum({"(": 1, ")": -1}.get(token[1], 0) for token in side)


def _clings(neighbour: tuple, edge: tuple, words: frozenset[str]) -> bool:
    """Whether what stands beside a run changes what its outermost number means."""
    kind, text, start, end = neighbour
    if kind in ("other", "symbol"):
        return True
    touches = start == edge[3] or end == edge[2]
    return kind == "word" and (touches or text.lower() in words)


def _agree(value: Fraction, claim: Fraction, written: list) -> bool:
    """Whether a value is the claim, or is rounded or cut to the decimals with which the claim is written."""
    if value == claim:
        return True
    decimals = [len(token[1].partition(".")[2]) for token in written if "." in token[1]]
    return bool(decimals) and abs(value - claim) < Fraction(len(decimals), 10 ** min(decimals))


def _value(side: list) -> Fraction | None:
    """The exact value of an expression's tokens, or None where they are none; no eval."""
    tokens = [_SIGNS.get(token[1], token[1]) for token in reversed(side)]

    def operand() -> Fraction:
        token = tokens.pop()
        if token == "(":
            value = expression(0)
            if tokens.pop() != ")":
                raise ValueError("not closed")
            return value
        return -operand() if token == "-" else Fraction(token.replace(",", "").lstrip("$€£ "))

    def expression(above: int) -> Fraction:
        value = operand()
        while tokens and (rank := _RANKS.get(tokens[-1], 0)) > above:
            value = _OPERATIONS[tokens.pop()](value, expression(rank))
        return value

    try:
        value = expression(0) if len(side) <= _LONGEST else None
    except (ValueError, IndexError, ZeroDivisionError):  # not an expression, or one that ends too soon
        return None
    return None if tokens else value
