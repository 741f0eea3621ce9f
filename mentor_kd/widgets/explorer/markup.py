"""Model-written text as HTML that displays it and does nothing else.

Everything here escapes its input. Characters that are invisible or change the text direction are replaced by visible
signs (see report.texts). Long texts are cut, with a notice. The pages of both themes and of exports show this HTML, so
colours of texts are those of the page; where a background is set, the text colour is set with it.
"""

import difflib
import html
import re
from collections.abc import Iterable

from ...report.texts import visible

CUT = 4_000  # characters of a text shown at first
COMPARED = 400  # words compared with a sibling
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)|\n\s*|\s(?=-->)")
_POINT = re.compile(r"(?<!\S)(\d{1,3})[.)]\s+(?=\S)|\s(?=-->)")
MARK = "background:#FFE08A;color:#222;border-radius:3px;padding:0 2px"
ADDED = "background:#CFE8FC;color:#003A5D;border-radius:2px;text-decoration:underline"
LACKING = "text-decoration:line-through #D55E00 2px"
WRONG = "border-bottom:2px dotted #D55E00"
NOTICE = "font-style:italic"


def escaped(text: object, limit: int | None = None) -> str:
    """The visible text, escaped for HTML (element or quoted attribute) and isolated from the text around it."""
    return f'<bdi dir="auto">{html.escape(visible(str(text), limit))}</bdi>'


def cut_notice(text: str, limit: int) -> str:
    """A notice of how much of a text is shown; empty if all of it is."""
    if len(text) <= limit:
        return ""
    return f'<div style="{NOTICE}">Cut here: {limit:,} of {len(text):,} characters are shown.</div>'


def steps(text: str, limit: int = CUT, marks: Iterable[tuple[int, int, str]] = ()) -> str:
    """A text as a numbered list of its steps (sentences or lines), with spans (start, end, style) highlighted."""
    shown, marks, items = text[:limit], sorted(marks), []
    cuts = [0, *_cuts(shown), len(shown)]
    for start, end in zip(cuts, cuts[1:], strict=False):
        if shown[start:end].strip():
            items.append(f'<li><bdi dir="auto">{_marked(text, start, end, marks)}</bdi></li>')
    own = "list-style:none;padding-left:.4em" if _POINT.match(shown) else "padding-left:1.6em"
    return f'<ol style="margin:.2em 0;{own}">{"".join(items)}</ol>{cut_notice(text, limit)}'


def _cuts(text: str) -> list[int]:
    """Where steps begin: at the items of a list (1. ... 2. ...) if there is one, else at sentences and lines."""
    points, expected = [], 1
    for match in _POINT.finditer(text):
        if match[1] is None:
            points.append(match.end())
        elif int(match[1]) == expected:  # counting up, so that "= 5. Then" is not an item
            points.append(match.start())
            expected += 1
    return points if expected > 2 else [match.end() for match in _SENTENCE.finditer(text)]


def _marked(text: str, start: int, end: int, marks: list[tuple[int, int, str]]) -> str:
    parts, place = [], start
    for first, last, style in marks:
        first, last = max(first, place), min(last, end)
        if first < last:
            parts += [html.escape(visible(text[place:first]))]
            parts += [f'<mark style="{style}">{html.escape(visible(text[first:last]))}</mark>']
            place = last
    return "".join(parts) + html.escape(visible(text[place:end].rstrip()))


def around(text: str, start: int, end: int, width: int = 60) -> str:
    """A highlighted span of a text with a little context."""
    before, after = visible(text[max(0, start - width) : start]), visible(text[end : end + width])
    inner = html.escape(visible(text[start:end], 200))
    return f'<bdi dir="auto">…{html.escape(before)}<mark style="{MARK}">{inner}</mark>{html.escape(after)}</bdi>'


def differences(text: str, other: str) -> str:
    """The words of `other`: those not in `text` are underlined, those only in `text` are struck through."""
    a, b = text.split(maxsplit=COMPARED), other.split(maxsplit=COMPARED)
    a, b = a[:COMPARED], b[:COMPARED]
    parts = []
    for kind, a_start, a_end, b_start, b_end in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        lacking, added = (html.escape(visible(" ".join(w), CUT)) for w in (a[a_start:a_end], b[b_start:b_end]))
        if kind == "equal":
            parts.append(added)
            continue
        if lacking:
            parts.append(f'<del style="{LACKING}">{lacking}</del>')
        if added:
            parts.append(f'<ins style="{ADDED}">{added}</ins>')
    shown = len(" ".join(b))
    notice = ""
    if shown < len(other.strip()):
        notice = f'<div style="{NOTICE}">Only the first {COMPARED} words are compared.</div>'
    return f'<bdi dir="auto">{" ".join(parts)}</bdi>{notice}'
