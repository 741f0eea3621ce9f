"""Statements with several numbers: equations, two quantities, alternatives, remarks, and a sign before a space."""

import re
from collections import deque
from dataclasses import replace
from itertools import pairwise

from .answer_numbers import numbers
from .answer_text import Candidate, past, shortened

# A unit: one word, and not one that relates two numbers ("5 of the 10", "12, which is 3 more").
_UNIT_WORD = (
    r"(?!(?:of|out|in|for|to|than|per|more|less|fewer|times|at|on|is|are|was|with|by|after|before|each|if|so|as|or|but|and|"
    r"therefore|thus|hence|because|since|there|then|when|where|which|who|that|this|he|she|they|it|we|you|plus|minus)\b)"
    r"(?:[^\W\d_A-Z][^\W\d_]*+\.?|%|°)"
)
_BETWEEN = re.compile(rf"\s*+{_UNIT_WORD}\s*+(?:,\s*and\b|,|and\b|&|\+)?\s*+")
_MEASURE = re.compile(
    r"\s?(?:hours?|minutes?|seconds?|days?|weeks?|months?|inch(?:es)?|in|feet|foot|cents?|k?g|[ckm]?m|lbs?|oz)\b"
)
_UNIT_AFTER = re.compile(rf"\s{{0,2}}{_UNIT_WORD}|\sin\b(?!\s\w)")
_OR = re.compile(rf"\s?{_UNIT_WORD},?\s+or\s+")
_AND_OTHER = re.compile(
    r"[^,.;:()=]{0,30}(?:\([^()]{0,20}\))?\s(?:and|&)\s", re.IGNORECASE
)  # "2 for Tom and 3 for Bob"
_OTHERWISE = re.compile(r"\b(?:otherwise|depending)\b", re.IGNORECASE)
_ROUNDED = re.compile(r"\bround(?:s|ed|ing)?\s(?:up|down|off)?\s?(?:to|is|gives|makes)\s\Z", re.IGNORECASE)
_DECIMALS = re.compile(r"\s(?:decimal|significant|place)", re.IGNORECASE)
_CONVERTED = re.compile(rf"\s?{_UNIT_WORD}\s?=\s?")
_OF_THEM = re.compile(r"\sof\s(?:which|whom|them|these|those)\b", re.IGNORECASE)
# "3 shirts cost $36": the first number is not a result, unlike in "12 apples are left for 2 friends".
_RELATES = re.compile(
    r"\s(?!more\b|fewer\b|less\b|left\b)(?:(?!(?:must|should|may|might)\b)(?-i:[a-z'-]+)\s){0,3}?(?:(?:can|will|would)\s)?(?:is|was|equals?|costs?|contains?|contain|holds?|hold|weighs?|takes?|took|needs?|makes?|made|gives?|gave|earns?|"
    r"sells?|sold|has|have|had|produces?|pays?|paid|uses?|requires?|becomes?|travels?|lasts?|feeds?)\s",
    re.IGNORECASE,
)


def leads(text: str, end: int, first: Candidate, other: Candidate, stated: bool) -> bool:
    """Whether the first of two different numbers of a statement is the answer, and the other a remark on it."""
    if _two_quantities(text, first, other) or _OR.fullmatch(text, first.end, other.start):
        return False
    between = text[first.end : other.start]
    if _OTHERWISE.search(text, first.end, min(end, other.end + 40)) or _CONVERTED.fullmatch(between):
        return False
    if _ROUNDED.search(between) and not _DECIMALS.match(text, other.end):
        return False
    if stated and _AND_OTHER.fullmatch(between):
        return False
    return stated or first.value == other.value or not _RELATES.match(between)


def _two_quantities(text: str, first: Candidate, second: Candidate) -> bool:
    """Whether two numbers are separate quantities, as in `3 hours and 30 minutes` or `2 boys, 3 girls`."""
    between, unit = _BETWEEN.fullmatch(text, first.end, second.start), _UNIT_AFTER.match(text, second.end)
    if between is None or unit is None:
        return False
    return first.value != second.value or _MEASURE.match(unit[0]) is not None


def own(text: str, start: int, candidates: list[Candidate]) -> list[Candidate]:
    """The candidates without those of a remark: 12 of `12 apples (5 red, 7 green)` and of `12, 5 of which are red`."""
    first, *others = candidates
    candidates = [
        first,
        *(one for one in others if text[one.start - 2 : one.start] != ", " or not _OF_THEM.match(text, one.end)),
    ]
    bracket = text.find("(", candidates[0].end, candidates[-1].start) if len(candidates) > 1 else -1
    if bracket < 0 or ")" not in text[candidates[-1].end :]:
        return candidates
    inside = text[bracket : candidates[-1].end]
    return [one for one in candidates if one.start < bracket] if ")" not in inside else candidates


_EQUALS = {
    "number": re.compile(r"(?<![!<>])=\s*+(?=[-−$€£.(]*+\s?[0-9])"),
    "text": re.compile(r"=\s*+(?=[\w\"'“])"),
}
_OPERATOR = re.compile(r"\)?\s?(?:[-+*/×·÷−–^]\s?(?=[$€£]?[0-9.(√]|[A-Za-z](?![\w-]))|x\s?(?=[0-9]))")
_MEASURED = re.compile(rf"\s?{_UNIT_WORD}\s?")


def result(text: str, start: int, end: int, answer_type: str, filler: re.Pattern[str]) -> tuple[int, int]:
    """The span of the result of the last equation in a span: 12 of `5 + 7 = 12` and of `12 = 3 × 4`; else the span."""
    pattern = _EQUALS.get(answer_type)
    signs = deque(pattern.finditer(text, start, end), maxlen=2) if pattern else deque()
    if not signs:
        return start, end
    last = signs[-1]
    left = signs[0].end() if len(signs) == 2 else start
    if answer_type == "text":
        return last.end(), end
    right, lone = numbers(text, last.end(), end)[:1], numbers(text, left, last.start())
    announced = len(lone) == 1 and lone[0].start <= past(filler, text, left, last.start())
    if not right or not _OPERATOR.match(text, right[0].end, end):
        converted = announced and len(signs) == 1 and _MEASURED.fullmatch(text, lone[0].end, last.start())
        return (start, end) if converted else (last.end(), end)  # "90 minutes = 1.5 hours" states two numbers
    return (left, last.start()) if announced and last.start() - lone[0].end < 20 else (start, end)


_UNKNOWN = re.compile(r"(?<![\w+*/^-])(?<![+*/^-]\s)[A-Za-z]\s?=\s?(?=[-−]?[0-9])")


def unknowns(text: str, start: int, end: int) -> str:
    """The text of two equations with different values, such as `x = 5, y = 7`; empty if the span has none."""
    matches = _UNKNOWN.finditer(text, start, end)
    found = [(match.start(), numbers(text, match.end(), end)[:1]) for match in matches]
    for (at, (first,)), (next_at, (second,)) in pairwise((at, one) for at, one in found if one):
        if first.value != second.value:
            return f"{shortened(text[at : first.end])} and {shortened(text[next_at : second.end])}"
    return ""


_MINUS = re.compile(r"\s*[-−–]\s+\Z")


def signed(text: str, start: int, candidates: list[Candidate], colon: bool) -> list[Candidate]:
    """The candidates, the first one negative after a dash and a space, but a miss if the dash may begin a list item."""
    first = candidates[0]
    dash = _MINUS.fullmatch(text, start, first.start)
    if not dash or first.value is None:
        return candidates
    if colon:
        one = replace(first, value=None, note="follows a dash, which may be a minus sign")
    else:
        value = first.value if first.value == "0" else f"-{first.value}".replace("--", "")
        one = replace(first, value=value, start=start + len(dash[0]) - len(dash[0].lstrip()))
    return [one, *candidates[1:]]
