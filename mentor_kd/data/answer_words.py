"""Answers in words: short texts, and matches of a task's own pattern."""

import re
import unicodedata
from collections import deque
from collections.abc import Iterable

import regex

from .answer_text import Candidate, trimmed

LONGEST_TEXT = 400  # characters; a longer text is not a short answer, and the cost of normalising it is not linear
PATTERN_SECONDS = 2.0  # for one text; a pattern of the user's own may backtrack without end

_JOINED = (
    r"""[\s"'*_)]*(?:(?:,\s?)?(?:and|or)\b(?:\s(?:maybe|perhaps|possibly|even)\b)?|[/&|+和或与及やと와과]|또는)"""
    r"""[\s"'*_(]*"""
)
JOINED = re.compile(_JOINED, re.IGNORECASE)  # "A and B"
LISTED = re.compile(rf"{_JOINED}|,\s?", re.IGNORECASE)  # "A, B"
COPULA = r"(?:です|でした|である|입니다|이다|예요|이에요)"  # ends a statement: 答えは「はい」です

_QUOTED = re.compile(
    r"""["“”«]([^"“”«»\n]{1,400})["“”»]|(?<!\w)['‘`]([^'‘’`\n]{1,400})['’`](?!\w)|\*\*([^*\n]{1,400})\*\*"""
)
_LINK = re.compile(
    r"""[=:→>]|(?<![\w"'“])(?:is|are|was|be|gets?|have|has|us|obtain|makes?|forms?|becomes?|spells?|gives?|yields?|produces?|as)\b""",
    re.IGNORECASE,
)
# A remark on the answer: "Paris, the capital", "Paris because ...", "Paris - the capital", "keni (k from Ank)".
_REMARK = re.compile(
    r"""(?<=\w)["'”’]?(?:,\s*因为|因为|,\s+i\s(?:think|believe|guess)\b|,\s+(?:the|an?|which|who|where|because|since|as|so|not|rather)\s|\s(?:because|since|due\sto)\s
    |\s(?:and\snot|rather\sthan|instead\sof|as\s(?:it|this|that|he|she|they))\s
    |(?::|\s[-–]|\s?—)\s(?-i:the|it|which|because|since)\s|;\s|\s+\([^()\n]*\)?\W*\Z)""",
    re.IGNORECASE | re.VERBOSE,
)
_ENDING = re.compile(COPULA + r"\W*\Z")
_LONGEST_REMARKED = 100  # characters; a longer text is reasoning, in which commas and brackets do not start a remark
_SO = re.compile(r"\W*(?:so|thus|therefore|hence)\b[,\s]+(?=\w)", re.IGNORECASE)
_NOT_BUT = re.compile(r"\W*not\s[^\n.;]{1,60}?\sbut\s(?:rather\s)?", re.IGNORECASE)
_NOT = re.compile(r"\W*(?:\w+ly\s)?(?:not|never|neither)\s", re.IGNORECASE)
_SEVERAL = re.compile(r"\W*(?:either|neither)\s.*\s(?:or|nor)\s", re.IGNORECASE)
_BULLET = re.compile(r"\s*[-•*]\s+")


def phrases(text: str, start: int, end: int, lead: int, stated: bool) -> list[Candidate]:
    """Quoted texts; else everything stated; in a sentence that states nothing, its end of at most three words."""
    quoted = _texts(text, (match.span(match.lastindex or 0) for match in _QUOTED.finditer(text, start, end)))
    links = deque(_LINK.finditer(text, start, end), maxlen=1)
    after = links[0].end() if links else start
    quoted_after = [one for one in quoted if one.start >= after]
    if quoted_after or (quoted and stated):
        return quoted_after if len({one.value for one in quoted}) > 1 and quoted_after else quoted
    for opening in (_SO, _BULLET, _NOT_BUT):
        if match := opening.match(text, start, end):
            start = match.end()
    negated = _NOT.match(text, start, end)
    if end - start <= _LONGEST_REMARKED:
        if _SEVERAL.match(text, start, end):
            return [Candidate(None, *trimmed(text, start, end), "names several answers")]
        remark = _REMARK.search(text, start if stated else after, end) or _ENDING.search(text, start, end)
        end = remark.start() if remark else end
    whole = _texts(text, [(negated.end() if negated else start, end)])
    if stated or (whole and len((whole[0].value or "").split()) == 1):
        return whole
    tail = _texts(text, [(after, end)]) if links else []
    return tail if tail and len((tail[0].value or "").split()) <= 3 else quoted


def _texts(text: str, spans: Iterable[tuple[int, int]]) -> list[Candidate]:
    found = []
    for start, end in spans:
        start, end = trimmed(text, start, end)
        if end - start > 2 and text[start] == text[end - 1] == "$":
            start, end = start + 1, end - 1
        if end - start > LONGEST_TEXT:
            found.append(Candidate(None, start, start + 40, f"... is longer than {LONGEST_TEXT} characters"))
        elif end > start:
            found.append(Candidate(_joined(text[start:end]), start, end))
    return found


def _joined(text: str) -> str:
    """The text on one line, in NFC, with spelt-out letters joined."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    spelt = re.fullmatch(r"[^\W\d_](?:[\s,+·-]+[^\W\d_])+", text)
    return "".join(filter(str.isalpha, text)) if spelt else text


_CUTS_A_NUMBER = (re.compile(r"(?<=[0-9])[0-9]|(?<=[0-9][:/.])[0-9]"), re.compile(r"(?<=[0-9])(?:[0-9]|[:/.][0-9])"))


def matches(pattern: str, text: str, start: int, end: int) -> list[Candidate]:
    """Matches of the task's pattern, or of its first group if it has one; raises TimeoutError after two seconds.

    A match that cuts a longer number, such as 9:30 of 19:30:45, does not count.
    """
    found = []
    for match in regex.finditer(pattern, text, regex.IGNORECASE, pos=start, endpos=end, timeout=PATTERN_SECONDS):
        group = 1 if match.re.groups and match[1] else 0
        inside = any(edge.match(text, at) for edge, at in zip(_CUTS_A_NUMBER, match.span(), strict=True))
        if match[group] and not inside:
            found.append(Candidate(match[group], *match.span(group)))
    return found
