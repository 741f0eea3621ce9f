"""Expressions as answers (answer type `math`): where they are in a text, and whether two are equal, by math-verify."""

import functools
import re
import threading

from .answer_text import Candidate
from .answer_words import JOINED

LONGEST_EXPRESSION = 300  # characters; longer ones are not answers, and sympy takes too long on them
SECONDS = 3  # to parse or compare two expressions

_INLINE = re.compile(r"\$\$?([^$]{1,300})\$\$?|\\\(([^\n]{1,300}?)\\\)|\\\[(.{1,300}?)\\\]", re.DOTALL)
_NUMERIC = re.compile(r"[-+]?[\d.,]+(?:/\d+)?%?")
_AROUND = " \t\r\n\"'`*.,;:!?$"
_AROUND_FORMULA = _AROUND.replace("!", "")  # 5! is a factorial there
_TOWER = re.compile(r"\^\s*\{?[^{}]*\^|\^\s*\{?\s*\d{4}|!\s*!|\d{4,}\s*!|\*\*.*\*\*")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!:]\s?)(?=\d{3})")
_ASSIGNED = re.compile(r"\s*[A-Za-z]\s*=(?!=)([^=]+)")


def expressions(text: str, start: int, end: int, lead: int, stated: bool) -> list[Candidate]:
    """What is stated, as written; in a sentence that states nothing, its last formula or number."""
    formulas = [
        next(match.span(group) for group in (1, 2, 3) if match[group]) for match in _INLINE.finditer(text, start, end)
    ]
    if stated and len(formulas) > 1:
        (first, after), (before, last) = formulas[-2:]
        if JOINED.fullmatch(text[after:before].replace("$", " ")) and text[first:after] != text[before:last]:
            return [Candidate(None, first, after, "is one of several expressions")]
    if formulas:
        spans = formulas[-1:]
    elif stated:
        spans = [(start, end)]
    else:
        spans = [match.span() for match in _NUMERIC.finditer(text, start, end)][-1:]
    found = []
    for first, last in spans:
        inner = text[first:last].lstrip(_AROUND)
        first = last - len(inner)
        last = first + len(inner.rstrip(_AROUND_FORMULA if text[last : last + 1] in ("}", "$", "\\") else _AROUND))
        if last - first > LONGEST_EXPRESSION:
            found.append(Candidate(None, first, first + 40, f"... is longer than {LONGEST_EXPRESSION} characters"))
        elif last > first:
            found.append(Candidate(text[first:last], first, last))
    return found


@functools.lru_cache(maxsize=4096)
def equal(a: str, b: str) -> bool:
    """Whether two expressions are equal; False where one of them cannot be read, or takes longer than a few seconds.

    An interval (1, 2) is not [1, 2], and x = 5 is 5, as in math-verify.
    """
    if any(_TOWER.search(one) for one in (a, b)):
        return " ".join(a.split()) == " ".join(b.split())
    from math_verify import parse, verify  # sympy takes half a second to import

    # math-verify stops by a signal, which only the main thread can receive; elsewhere only the limits above apply
    seconds = SECONDS if threading.current_thread() is threading.main_thread() else None
    try:
        first, second = (parse(f"${one}$", parsing_timeout=seconds) for one in _comparable(a, b))
        return bool(first and second) and bool(verify(first, second, timeout_seconds=seconds))
    except Exception:  # sympy raises whatever its arithmetic runs into; such an expression equals nothing
        return False


def _comparable(a: str, b: str) -> tuple[str, str]:
    """Both without marks between thousands, and without the unknown's name if only one of them has it."""
    a, b = (_THOUSANDS.sub("", one) for one in (a, b))
    if ("=" in a) != ("=" in b):
        a, b = (match[1] if (match := _ASSIGNED.fullmatch(one)) else one for one in (a, b))
    return a, b
