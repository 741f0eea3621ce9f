"""The panel for reading and judging: facets, list, buttons and the selected text. explorer.py connects them."""

from pathlib import Path

import anywidget
import ipywidgets
import numpy
import traitlets

from .judging import NAMES
from .markup import visible
from .table import Columns

HERE = Path(__file__).parent
MARKS = {"": "", "keep": "✔ keep", "drop": "✘ drop", "unsure": "? unsure"}
STYLES = {"keep": "success", "drop": "danger", "unsure": "warning"}
HELP = (
    "<span class='mkd-help'><b>k</b> keep · <b>d</b> drop · <b>u</b> unsure · <b>w</b> withdraw · <b>z</b> undo · "
    "<b>n</b> note · <b>/</b> search · <b>↑ ↓</b> row · <b>PgUp PgDn</b> page · <b>Esc</b> back to the list</span>"
)


class Facets(anywidget.AnyWidget):
    """Checkboxes with counts, in groups."""

    _esm = HERE / "facets.js"
    groups = traitlets.List().tag(sync=True)  # {"name": ..., "labels": [[label, count], ...]}
    chosen = traitlets.Dict().tag(sync=True)  # {name: [label, ...]}


class Rows(anywidget.AnyWidget):
    """A page of rows; it also handles the keys of the whole explorer."""

    _esm = HERE / "rows.js"
    _css = HERE / "explorer.css"
    heads = traitlets.List().tag(sync=True)  # [key, label, order to sort by]
    rows = traitlets.List().tag(sync=True)
    cursor = traitlets.Int(0).tag(sync=True)
    order = traitlets.Unicode("question").tag(sync=True)
    falling = traitlets.Bool(False).tag(sync=True)
    where = traitlets.Unicode("").tag(sync=True)


class ReadingPanel(ipywidgets.HBox):
    """Facets at the left; the list, the verdict buttons and the text at the right."""

    def __init__(self, columns: Columns):
        self.columns = columns
        self.search = _classed(ipywidgets.Text(placeholder="search questions and rationales"), "mkd-search")
        self.facets, self.rows = Facets(), Rows(heads=_heads(columns))
        self.ranges = {
            name: _range(name, getattr(columns, name))
            for name in ("words", "similarity", "confidence")
            if getattr(columns, name) is not None
        }
        self.clear = _button("Show all", "clear search, facets and ranges")
        self.score = _button("Mentor's confidence…", "score every rationale: minutes with a large mentor")
        self.scoring = ipywidgets.HTML()
        self.buttons = {name: _button(MARKS[name], f"key {name[0]}", STYLES[name]) for name in NAMES[1:]}
        self.withdraw = _button("Withdraw", "withdraw your verdict on this rationale (key w)")
        self.undo = _button("↶ Undo", "undo your last action (key z)")
        self.note = _classed(ipywidgets.Text(placeholder="note to store with the verdict"), "mkd-note")
        self.save = _button("Save note", "a note alone is not a verdict (key n)")
        self.all = {name: _button(f"{name} all…", f"give {name} to every rationale shown") for name in NAMES[1:]}
        self.question, self.confirm, self.cancel = ipywidgets.HTML(), _button("Yes", "", "danger"), _button("No", "")
        self.detail = ipywidgets.HTML()
        self.more = _button("Show more of the text", "")
        self.asking = _row("mkd-asking", self.question, self.confirm, self.cancel)
        self.sliders = _classed(ipywidgets.VBox([*self.ranges.values()]), "mkd-ranges")
        left = ipywidgets.VBox([self.search, self.facets, self.sliders, self.clear, self.score, self.scoring])
        right = [
            self.rows,
            _row("mkd-judge", *self.buttons.values(), self.withdraw, self.undo, self.note, self.save),
            _row("mkd-judge", *self.all.values(), ipywidgets.HTML(HELP)),
            self.asking,
            self.detail,
            self.more,
        ]
        for hidden in (self.asking, self.more):
            hidden.layout.display = "none"
        super().__init__([_classed(left, "mkd-left"), _classed(ipywidgets.VBox(right), "mkd-right")])
        self.add_class("mkd-reading")

    def show_confidence(self) -> ipywidgets.Widget:
        """Add the column and the range of the confidence, which the columns have now; returns the range's slider."""
        self.score.layout.display = "none"
        self.rows.heads = _heads(self.columns)
        self.ranges["confidence"] = _range("confidence", self.columns.confidence)
        self.sliders.children = [*self.ranges.values()]
        return self.ranges["confidence"]


def line(columns: Columns, row: int, reason: str) -> dict:
    """The cells of one row of the list; `reason` is why the row is kept or dropped."""
    one, confidence = columns.rows[row], columns.confidence
    kept = reason in ("kept", "verdict: keep")
    return {
        "id": one.id,
        "status": ("● " if kept else "○ ") + reason,
        "kept": kept,
        "source": one.source,
        "answer": ("✓ " if one.correct else "✗ ") + visible(one.prediction or "none", 24),
        "words": f"{columns.words[row]:,}",
        "similarity": f"{columns.similarity[row]:.2f}",
        "confidence": "" if confidence is None or numpy.isnan(confidence[row]) else f"{confidence[row]:.3f}",
        "verdict": MARKS[NAMES[columns.said[row]]],
        "code": NAMES[columns.said[row]],
        "text": visible(one.rationale, 200),
    }


def _heads(columns: Columns) -> list:
    heads = [["status", "status", "status"], ["source", "source", "source"], ["answer", "answer", "answer"]]
    heads += [["words", "words", "words"], ["similarity", "similar", "similarity"]]
    if columns.confidence is not None:
        heads.append(["confidence", "confident", "confidence"])
    return [*heads, ["verdict", "verdict", "verdict"], ["text", "rationale (by question)", "question"]]


def _range(name: str, values: numpy.ndarray) -> ipywidgets.Widget:
    known = values[~numpy.isnan(values)]
    low, high = float(known.min(initial=0)), float(known.max(initial=0 if name == "confidence" else 1))
    style = {"description_width": "70px"}
    if name == "words":
        return ipywidgets.IntRangeSlider(value=(low, high), min=low, max=high, description=name, style=style)
    step, name = (high - low) / 100 or 0.01, "confident" if name == "confidence" else name
    return ipywidgets.FloatRangeSlider(
        value=(low, high), min=low, max=high, step=step, readout_format=".2f", description=name, style=style
    )


def _button(text: str, tooltip: str, style: str = "") -> ipywidgets.Button:
    return ipywidgets.Button(description=text, tooltip=tooltip, button_style=style)


def _row(name: str, *parts: ipywidgets.Widget) -> ipywidgets.HBox:
    return _classed(ipywidgets.HBox(parts), name)


def _classed(widget: ipywidgets.Widget, name: str) -> ipywidgets.Widget:
    widget.add_class(name)
    return widget
