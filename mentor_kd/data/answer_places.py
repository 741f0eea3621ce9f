"""Where a text may state an answer: after the marker, after a cue such as "the answer is", or in its last sentences."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from .answer_cues import ASIDE, CUE, EXPLAINED, GOES_ON, NOT_OWN, TOTAL, WEAK
from .answer_text import AROUND, past

LAST_SENTENCES = 20  # searched in a text without marker and cue; earlier ones are not conclusions
LAST_CUES = 8
_REACH = 200  # characters before a cue in which its sentence begins


@dataclass(frozen=True)
class Place:
    """A span to search. `stated`: an answer is announced here; `colon`: by a colon, so that reasoning may follow."""

    start: int
    end: int
    stated: bool = True
    colon: bool = False
    leads: bool = False  # counts only if it begins with the answer
    alone: bool = False  # holds several statements, which must agree


_BLANKS = re.compile(r"[\s:*_]*+")
_SENTENCE_END = re.compile(r"""[.!?]["'”’)*_]*+(?=\s|\Z)|\n""")
_CLAUSE = re.compile(r"\b(?:but|so|therefore|thus|hence|while|whereas)\b|;", re.IGNORECASE)
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mrs?|Ms|Prof|St|Mt|Ft|Gen|Col|Lt|Capt|Sgt|Rev|Hon|Gov|Sen|Rep|Pres|approx|ca|vs|Rs|sq|e\.g|i\.e"
    r"|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)|(?P<company>Inc|Ltd|Corp|Co)|(?P<initial>(?<![^\W_])[A-Z]))\Z"
)
_QUOTED = re.compile(r'\s*"((?>(?:[^"\\\n]|\\.)*))')
_VALUE_ENDS = re.compile(r"[,}\n]")


def places(text: str, answer_type: str, marked: bool) -> Iterator[Place]:
    """Places to search, the best first."""
    begin = 0
    for cue in reversed(deque(CUE.finditer(text), maxlen=LAST_CUES)):
        if NOT_OWN.search(text[max(0, cue.start() - 12) : cue.start()]):
            continue  # "a common wrong answer is 5"
        place = _announced(text, cue, answer_type)
        if cue["reverse"] and place and "</" in text[place.start : place.end]:
            continue  # "<answer>Rome</answer> is my answer"
        if place and text[place.start : place.end].strip(AROUND):
            yield place
            if not (cue["reverse"] or place.leads):
                begin = cue.end()
                break
    if marked:
        yield Place(0, len(text))
        return
    explained = EXPLAINED.match(text)
    if explained and begin == 0:
        yield Place(*explained.span(1), leads=True)
    for total in deque(TOTAL.finditer(text, begin), maxlen=1):
        start = past(_BLANKS, text, total.end(), len(text))
        end = _sentence_end(text, start, answer_type)
        if answer_type == "number" and not GOES_ON.search(text, end):
            yield Place(start, end, leads=True)
    for place in sentences(text, begin, answer_type):
        weak = WEAK.search(text, place.start, place.end) if answer_type in ("choice", "number") else None
        if weak:
            yield Place(weak.end(), place.end)
        yield place


def _announced(text: str, cue: re.Match[str], answer_type: str) -> Place | None:
    """The place that a cue points to."""
    if cue["reverse"]:
        start = _line_start(text, cue.start())
        clauses = deque(_CLAUSE.finditer(text, start, cue.start()), maxlen=1)
        return Place(clauses[0].end() if clauses else start, cue.start(), leads=False)
    if cue["boxed"]:
        return _boxed(text, cue, answer_type)
    if cue[0].startswith("<"):
        close = text.find("</", cue.end())
        return Place(cue.end(), close if close >= 0 else len(text))
    if cue["colon"] and '"' in cue[0]:
        return _json_value(text, cue.end())
    start = past(_BLANKS, text, cue.end(), len(text))
    end = _sentence_end(text, start, answer_type)
    if cue["hashes"] and answer_type == "text" and text[end:].strip(AROUND):
        return None  # a heading
    return Place(start, end, colon=cue["colon"] is not None, leads=cue["hashes"] is not None)


def _boxed(text: str, cue: re.Match[str], answer_type: str) -> Place:
    """What is in a box; with an earlier box in the same sentence, all from that one on."""
    end = closing(text, cue.end(), "{}")
    line = _line_start(text, cue.start())
    earlier = text.find("boxed{", line, cue.start())
    if earlier >= 0 and answer_type != "math":
        return Place(earlier + len("boxed{"), end, alone=True)
    return Place(cue.end(), end, leads=answer_type == "choice")


def _json_value(text: str, start: int) -> Place:
    """The value after `"answer":`: a string, a list, an object, or the rest of the entry."""
    if quoted := _QUOTED.match(text, start):
        return Place(*quoted.span(1))
    opening = text[start : start + 2].strip()[:1]
    if opening in ("[", "{"):
        at = text.index(opening, start)
        return Place(at, closing(text, at + 1, "[]" if opening == "[" else "{}"), alone=True)
    ends = _VALUE_ENDS.search(text, start)
    return Place(start, ends.start() if ends else len(text))


def closing(text: str, start: int, pair: str) -> int:
    """Where the group that was opened before `start` ends; without a closing bracket, the end of the line."""
    depth = 1
    for at in range(start, min(len(text), start + 1000)):
        depth += {pair[0]: 1, pair[1]: -1}.get(text[at], 0)
        if depth == 0:
            return at
        if text[at] == "\n" and at > start and pair == "{}":
            break
    end = text.find("\n", start)
    return end if end >= 0 else len(text)


def _line_start(text: str, at: int) -> int:
    """The start of the sentence around position `at`, at most 200 characters before it."""
    first = max(0, at - _REACH)
    return max((match.end() for match in _SENTENCE_END.finditer(text, first, at)), default=first)


def _ends(text: str, start: int, answer_type: str) -> Iterator[re.Match[str]]:
    """The ends of sentences from `start` on; "Dr." and initials end none, but a letter of a choice may ("C.")."""
    for match in _SENTENCE_END.finditer(text, start):
        before, after = text[max(0, match.start() - 7) : match.start()], text[match.end() : match.end() + 12]
        if match[0] != "." or not _goes_on(before, after, answer_type):
            yield match


def _goes_on(before: str, after: str, answer_type: str) -> bool:
    """Whether the full stop between two texts ends an abbreviation rather than the sentence."""
    number = r"\s[0-9]{1,6}[.!?]?\s*\Z" if answer_type == "yes/no" else r"\s[0-9]"
    if before.endswith("No") and re.match(number, after):
        return True
    abbreviated = _ABBREVIATION.search(before) if answer_type != "choice" else None
    if not abbreviated:
        return False
    next_word = r"\s[A-Z0-9]" if abbreviated["initial"] else r"\s[a-z]" if abbreviated["company"] else r"\s\w"
    return re.match(next_word, after) is not None


def _sentence_end(text: str, start: int, answer_type: str) -> int:
    """Where the sentence that begins at `start` ends, without its full stop."""
    return next((match.start() for match in _ends(text, start, answer_type)), len(text))


def sentences(text: str, begin: int, answer_type: str) -> Iterator[Place]:
    """The last sentences from `begin` on, the last one first; without questions and closing phrases."""
    ends = [match.end() for match in _ends(text, begin, answer_type)]
    spans = ((a, b) for a, b in zip([begin, *ends], [*ends, len(text)], strict=True) if text[a:b].strip())
    for start, end in reversed(deque(spans, maxlen=LAST_SENTENCES)):
        if not ASIDE.match(text, start, end):
            yield Place(start, end, stated=False)


def first_sentence(text: str, answer_type: str) -> Place:
    """The first sentence of a text."""
    start = past(_BLANKS, text, 0, len(text))
    return Place(start, _sentence_end(text, start, answer_type), stated=False)
