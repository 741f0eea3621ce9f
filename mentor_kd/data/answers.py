"""Answer extraction: find the answer of a given type in a text. docs/answers.md has the rules and many examples.

The text is searched in this order:
1. what follows the last marker `-->`, if there is one; the text before it is ignored;
2. within that, or in a text without a marker, what the last cue states ("the answer is", "####", "\\boxed{",
   "<answer>", "Antwort:"); the text before the cue is ignored;
3. in a text with neither, the sentences from last to first, until one states an answer.

An answer counts if it is the only candidate or (except for a choice) the first one; what follows "because" is ignored.
Several different candidates, a negated one ("not B"), a retracted one ("wait, that is wrong"), or none is a miss with a
reason. Model output never raises here.

number    Any usual notation of one number: signs, grouped thousands, decimals, fractions, powers of ten, magnitudes
          (2.5 million), LaTeX; currency, units and per cent signs are dropped (50% is 50, as in the gold answers of the
          data sets). Equality is exact: 12.0 is 12, 3/4 is 0.75. An equation gives its result. Ordinals, number words
          ("twelve"), ranges (3-4), bounds (more than 3), times and dates, two quantities (3 hours 30 minutes) and
          expressions (2√3) are not answers.
math      An expression in LaTeX or plain notation, compared by math-verify: \\frac{1}{2} is 0.5.
choice    A letter: (B), B, "option b"; or the words of an option if the question is given. Letters take precedence.
yes/no    Yes or No, by the same rules for both; "true" and "false" count as Yes and No. "Yes and no" is a miss.
text      The quoted text, or else everything stated. Compared without case, outer quotes and full stops, and with inner
          white space collapsed. Spelt-out letters (y-a-j-o, "y a j o") are joined into one word. Dates are texts:
          3/4/2020 is not 03/04/2020.
pattern   The match of the task's regular expression (clock times, chess moves, formulas), or its first group if it has
          one, so that `0?(\\d{1,2}:\\d\\d)` reads 09:05 as 9:05. Compared without case.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from . import answer_quantities
from .answer_choices import in_list, letters_or_words, options
from .answer_cues import FILLER, RETRACTED, WEAK
from .answer_notation import plain
from .answer_numbers import numbers
from .answer_places import Place, first_sentence, places, sentences
from .answer_text import MARKER, Candidate, judged, past, shortened
from .answer_verdicts import verdicts
from .answer_words import LISTED, matches, phrases
from .math_answers import expressions

ANSWER_TYPES = ("number", "math", "choice", "yes/no", "text", "pattern")
Finder = Callable[[str, int, int, int, bool], list[Candidate]]

LONGEST_STATEMENT = 120  # characters; a longer text is reasoning, in which an unknown may change its value
_KINDS = {
    **{"number": "number", "math": "expression", "yes/no": "yes or no", "text": "answer"},
    **{"choice": "choice among {choices}", "pattern": "answer of the task's pattern"},
}


@dataclass(frozen=True)
class Extraction:
    """An answer found in a text: its canonical value and span, or None and the reason."""

    value: str | None
    reason: str = ""
    start: int = -1
    end: int = -1


def find_answer(text: str, answer_type: str, choices: str, question: str, pattern: str = "") -> Extraction:
    """The answer of a given type that a text states; for a choice, one of the letters or an option's words."""
    finders: dict[str, Finder] = {
        "number": lambda text, start, end, lead, stated: numbers(text, start, end),
        "math": expressions,
        "choice": partial(letters_or_words, choices, options(choices, question) if answer_type == "choice" else None),
        "yes/no": verdicts,
        "text": phrases,
        "pattern": lambda text, start, end, lead, stated: matches(pattern, text, start, end),
    }
    start, end, marked, reason = judged(text)
    readable = plain(text, start, end, answer_type != "text", answer_type not in ("math", "pattern"))
    try:
        found = _find(readable.text, answer_type, finders[answer_type], marked)
    except TimeoutError:
        return Extraction(None, "the task's pattern took too long on this text")
    if found is None:
        reason = reason or f"no {_KINDS[answer_type].format(choices=choices)} is stated"
        if marked and not text[start:end].strip():
            reason = f"nothing follows {MARKER}"
        return Extraction(None, reason if text.strip() else "the text is empty")
    if found.value is None:
        return found
    first, last = readable.original(found.start, found.end)
    return replace(found, start=first, end=last)


# What follows these words names other answers. A remark may also be a part of the statement: "playing as (A)".
_ARGUMENT = re.compile(r"\b(?:because|since|rather than|instead of|as opposed to)\b|因为", re.IGNORECASE)
_REMARK = re.compile(r"\b(?:whereas|while|although|though|unlike|given that|as|over)\b", re.IGNORECASE)
_NEGATION = re.compile(
    r"""(?:(?:\b(?:not|no\slonger|no\sreason\sto|never|neither|nor|cannot|anything\sbut|other\sthan|different\sfrom|nicht|kein|pas|não\sé|non\sè|no\ses
    |не|bukan|không\sphải|nie\sjest|niet)|n['’]t)\s+(?:\w+\s+)?(?:(?:up|down|at|on|by|in|until|before|after|from|to|of)\s+){0,2}|!=\s?|不是|不等于|并非)[\s"'“(*$]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_NEGATED = re.compile(
    r"""["'”)]{0,2}\s?(?:では(?:ない|なく|ありません)|じゃない|[이가]\s?아니)"""
)  # the negation follows
_REJECTED = re.compile(  # "(A) is wrong", "A can be ruled out"
    r"""["'”’)\]}*.]*\s*(?:[❌✗✘]|(?:(?:is|are|was|were|seems|can|could|would)\s)?(?:be\s)?(?:(?:\w+ly|also|just|only|an?)\s)*
    (?:not\b|n['’]t\b|isn['’]t|wrong|incorrect|false|ruled\sout|eliminated|excluded|distractors?|unlikely|impossible|invalid|cannot|too\b|less\b|worse\b|out\b))""",
    re.IGNORECASE | re.VERBOSE,
)
_JOINT = re.compile(r"(?>(?:[^\w(:]|_|:(?!\s)|\b(?:or|and|to|x)\b)*)", re.IGNORECASE)


def _find(text: str, answer_type: str, finder: Finder, marked: bool) -> Extraction | None:
    """The answer in the best place that has a candidate; None if no place has one."""
    missed: Extraction | None = None
    rejected: set[str | None] = set()
    for place in places(text, answer_type, marked):
        found, refused = _read(text, place, answer_type, finder)
        if found is None:
            continue
        if found.value is None and refused:  # "Option A is wrong", "not 5": another sentence may say more
            rejected |= refused
            missed = missed or found
        elif found.value in rejected and found.value is not None:
            missed = missed or _negated(text, found)
        else:
            return _rival(text, place, answer_type, finder, found) or _kept(text, answer_type, finder, found)
    return missed


def _rival(text: str, place: Place, answer_type: str, finder: Finder, found: Extraction) -> Extraction | None:
    """A miss if another part of the text states something else equally strongly."""
    other = None
    if place.colon and found.value is not None and found.start > past(FILLER, text, place.start, place.end):
        for one in sentences(text, place.end, answer_type):  # "Answer: She has 3. ... In the end 7."
            other, _ = _read(text, one, answer_type, finder)
            if other:
                break
    elif answer_type == "choice" and not place.stated and in_list(text, found.start):
        return Extraction(None, f"{shortened(text[found.start : found.end])} is an item of a list of options")
    elif answer_type in ("choice", "yes/no") and not place.stated:
        first = first_sentence(text, answer_type)
        if first.end <= place.start and " " not in text[first.start : first.end].strip():
            other, _ = _read(text, first, answer_type, finder)  # "C. A is for money.", "Yes. No."
    return _several(text, found, other)


def _several(text: str, found: Extraction, other: Extraction | None) -> Extraction | None:
    if not other or other.value is None or found.value is None or other.value == found.value:
        return None
    shown = (shortened(text[one.start : one.end]) for one in sorted((found, other), key=lambda one: one.start))
    return Extraction(None, f"several different answers: {' and '.join(shown)}")


def _kept(text: str, answer_type: str, finder: Finder, found: Extraction) -> Extraction:
    """The answer; if the text retracts it, the one that replaces it, or a miss."""
    back = RETRACTED.search(text, found.end) if found.value is not None and answer_type != "yes/no" else None
    if not back:
        return found
    for sentence in sentences(text, back.end(), answer_type):
        announced = WEAK.search(text, sentence.start, sentence.end)
        start = announced.end() if announced else sentence.start
        other, _ = _read(text, Place(start, sentence.end, announced is not None), answer_type, finder)
        if other and other.value is not None:
            at_once = start <= back.end() and other.start <= past(FILLER, text, start, sentence.end)
            return other if announced or at_once else _several(text, found, other) or found
    return Extraction(None, f"{shortened(text[found.start : found.end])} is retracted") if back["strong"] else found


def _read(text: str, place: Place, answer_type: str, finder: Finder) -> tuple[Extraction | None, set[str | None]]:
    """The answer in a place, None if it has no candidate, and the candidates that are negated or called wrong there."""
    number = answer_type == "number"
    short = number and place.stated and place.end - place.start <= LONGEST_STATEMENT
    if short and (shown := answer_quantities.unknowns(text, place.start, place.end)):
        return Extraction(None, f"several different answers: {shown}"), set()
    for start, end, sure in _claims(text, place, answer_type):
        start, end = answer_quantities.result(text, start, end, answer_type, FILLER)
        lead = past(FILLER, text, start, end)
        candidates = finder(text, start, end, lead, place.stated)
        if not candidates or (place.leads and candidates[0].start > lead):
            continue
        if number and place.stated:
            candidates = answer_quantities.signed(text, start, candidates, place.colon)
        refusals = _refusals(text, start, end, candidates, answer_type)
        kept = [one for one, no in zip(candidates, refusals, strict=True) if not no]
        refused = {one.value for one, no in zip(candidates, refusals, strict=True) if no}
        if not kept:
            return _negated(text, candidates[0]), refused
        if number:
            kept = answer_quantities.own(text, start, kept)
        found = _choose(text, place, -1 if place.alone else lead, end, kept, answer_type)
        if found.value is not None or sure:
            return found, refused if found.value is not None else set()
    return None, set()


def _claims(text: str, place: Place, answer_type: str) -> Iterator[tuple[int, int, bool]]:
    """The spans to search, and whether a miss there is final.

    The first span omits the argument, because an argument names other answers ("B because A ...").
    """
    if place.stated and answer_type not in ("text", "math"):
        short = place.end - place.start <= LONGEST_STATEMENT
        argument = _ARGUMENT.search(text, place.start, place.end)
        remark = _REMARK.search(text, place.start, place.end) if short else None
        if remark and not (argument and argument.start() < remark.start()):
            yield place.start, remark.start(), False
        if argument:
            yield place.start, argument.start(), True
    yield place.start, place.end, True


def _choose(text: str, place: Place, lead: int, end: int, candidates: list[Candidate], answer_type: str) -> Extraction:
    """The only answer, or (not for a choice) the one that comes first; else a miss with its reason."""
    first = candidates[0]
    leading = first.start <= lead and answer_type != "choice"
    other = next((one for one in candidates if one.value != first.value), None)
    if answer_type == "number" and len(candidates) > 1:
        second = other or candidates[1]
        if not answer_quantities.leads(text, end, first, second, place.stated):
            other, leading = second, False
    if other and (not leading or past(_JOINT, text, first.end, other.start) == other.start):
        shown = (shortened(text[one.start : one.end]) for one in (first, other))
        return Extraction(None, f"several different answers: {' and '.join(shown)}")
    if first.value is None:
        return Extraction(None, f"{shortened(text[first.start : first.end])} {first.note}")
    return Extraction(first.value, "", first.start, first.end)


def _refusals(text: str, start: int, end: int, candidates: list[Candidate], answer_type: str) -> list[bool]:
    """Which candidates are negated or, in a choice, called wrong, alone or together ("A and C are wrong")."""
    refused: list[bool] = []
    wrong, after = False, -1
    for one in reversed(candidates):
        if answer_type == "choice":
            joined = LISTED.fullmatch(text, one.end, after) if after >= 0 else None
            wrong = _REJECTED.match(text, one.end, end) is not None or (wrong and joined is not None)
        refused.append(wrong or _is_negated(text, start, end, one))
        after = one.start
    return refused[::-1]


def _is_negated(text: str, start: int, end: int, one: Candidate) -> bool:
    before = text[max(start, one.start - 30) : one.start]
    return _NEGATION.search(before) is not None or _NEGATED.match(text, one.end, end) is not None


def _negated(text: str, one: Candidate | Extraction) -> Extraction:
    return Extraction(None, f"{shortened(text[one.start : one.end])} is negated")
