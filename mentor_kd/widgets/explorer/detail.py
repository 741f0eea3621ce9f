"""The details of one rationale: question, answers, the text by steps, verdicts, and its siblings."""

import html
from collections.abc import Mapping

import numpy

from ...data.tasks import extract
from ...filtering.arithmetic import wrong_steps
from .markup import CUT, MARK, WRONG, around, cut_notice, differences, escaped, steps
from .table import Columns

SIBLINGS = 8
LEFT = "text-align:left;vertical-align:top"
LONG = 100_000  # characters; longer texts are not checked for wrong sums, which would take too long


def detail(
    columns: Columns, row: int, reason: str, people: Mapping[str, tuple[str, str]] | None = None, limit: int = CUT
) -> str:
    """The row as HTML: at the left the rationale, with its prediction highlighted; at the right its siblings.

    `people` maps names to verdict and note; the verdict is "" for a note alone.
    """
    one = columns.rows[row]
    facts = [
        ("gold answer", f"<b>{escaped(one.answer, 200)}</b>"),
        ("prediction", _prediction(one)),
        ("status", f"<b>{html.escape(reason)}</b>"),
        ("by", escaped(f"{one.source}, {one.sampler['model']}, sample {one.sampler['index']}", 200)),
    ]
    for name, (verdict, note) in (people or {}).items():
        facts.append((f"{name or 'you'}", f"<b>{verdict or 'note'}</b> {escaped(note, 500)}"))
    table = "".join(
        f"<tr><th style='{LEFT}'>{escaped(name, 60)}</th><td style='{LEFT}'>{value}</td></tr>" for name, value in facts
    )
    return (
        f'<div class="mkd-one"><div class="mkd-read"><h4>Question</h4><p>{escaped(one.question, CUT)}</p>'
        f"{cut_notice(one.question, CUT)}<table>{table}</table><h4>Rationale</h4>{text(columns, row, limit)}</div>"
        f'<div class="mkd-siblings">{siblings(columns, row)}</div></div>'
    )


def _prediction(one) -> str:
    if one.prediction is None:
        return f"none: {escaped(one.miss or 'no answer was found', 200)}"
    return f"<b>{escaped(one.prediction, 200)}</b> {'✓ correct' if one.correct else '✗ wrong'}"


def text(columns: Columns, row: int, limit: int = CUT) -> str:
    """The rationale with its conclusion, by steps; the prediction and wrong sums are highlighted."""
    one = columns.rows[row]
    whole = one.original
    found = extract(columns.tasks.get(one.task, one.task), whole, one.question)
    marks, beyond = [], ""
    if found.value is not None and found.value == one.prediction:
        marks.append((found.start, found.end, MARK))
        if found.start >= limit:
            beyond = f"<p>The prediction is further down: {around(whole, found.start, found.end)}</p>"
    if len(whole) <= LONG:
        place = 0
        for step in wrong_steps(whole):
            place = whole.find(step, place)
            marks.append((place, place + len(step), WRONG))
    return steps(whole, limit, marks) + beyond


def siblings(columns: Columns, row: int) -> str:
    """The other rationales of the question, most similar first, with their differences from this one marked."""
    others = columns.siblings(row)
    first, second, alike, _ = columns.pairs(columns.ngram)
    similarity = numpy.zeros(len(columns))
    for mine, other in ((first, second), (second, first)):
        here = mine == row
        similarity[other[here]] = alike[here]
    others = others[numpy.argsort(-similarity[others], kind="stable")]
    one = columns.rows[row]
    cards = []
    for other in others[:SIBLINGS]:
        sibling = columns.rows[other]
        answer = f"{'✓' if sibling.correct else '✗'} {escaped(sibling.prediction or 'none', 60)}"
        title = f"<b>{sibling.source}</b> {answer} <i>similarity {similarity[other]:.2f}</i>"
        cards.append(f'<div class="mkd-card">{title}<br>{differences(one.rationale, sibling.rationale)}</div>')
    more = f"<p>and {len(others) - SIBLINGS:,} more</p>" if len(others) > SIBLINGS else ""
    legend = "<i>underlined: only in the sibling · struck through: only in the selected rationale</i>"
    return f"<h4>{len(others):,} sibling(s)</h4>{legend if cards else ''}{''.join(cards)}{more}"


def twin(heads: list, rows: list[dict], counts: Mapping[str, Mapping[str, int]], looked_at: str) -> str:
    """The explorer's content as plain tables, for pages without widgets: facets, a page of rows, the selected row."""
    facets = "".join(
        f"<tr><th style='{LEFT}'>{html.escape(name)}</th><td style='{LEFT}'>"
        + ", ".join(f"{escaped(label)} {n:,}" for label, n in labels.items() if n)
        + "</td></tr>"
        for name, labels in counts.items()
    )
    top = "".join(f"<th style='{LEFT}'>{html.escape(label)}</th>" for _, label, _ in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td style='{LEFT}'>{escaped(row[key], 100)}</td>" for key, _, _ in heads) + "</tr>"
        for row in rows
    )
    return f"<table>{facets}</table><table><tr>{top}</tr>{lines}</table>{looked_at}"
