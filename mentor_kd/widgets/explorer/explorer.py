"""The rationale explorer: read, judge and filter rationales in JupyterLab, by mouse or by keyboard alone.

`explore(folder)` returns the widget of notebook 04; `twin` gives the same content as tables. Verdicts are on disk
before the page shows them. Model-written text reaches the page only through `markup` or as plain text.
"""

import functools
import html
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ipywidgets
import numpy
from IPython.display import HTML

from ...data.folder import task_of, teacher_rows
from ...data.rationales import Rationale, read_rationales
from ...filtering.confidence import scores
from ...filtering.filters import FilterSettings
from ...filtering.verdicts import WITHDRAWN
from . import detail
from .filter_panel import FilterPanel, write_parameters
from .judging import NAMES, Judging
from .markup import CUT
from .people_panel import PeoplePanel
from .reading_panel import ReadingPanel, line
from .table import CODE, REASONS, Columns
from .view import View

PAGE = 12
MORE = 50_000  # characters of a text shown after "Show more of the text"


def explore(
    folder: Path | Sequence[Path],
    settings: FilterSettings | None = None,
    confidence: Mapping[str, float] | None = None,
    who: str = "",
) -> "Explorer":
    """The explorer of one or several task folders with these filter settings; verdicts are recorded under `who`.

    Reads collected/teacher.jsonl and augmented/mentor.jsonl if they exist, and verdicts.jsonl, to which it appends.
    The mentor's confidence is taken from `confidence`, or else from what is stored in the folders. It is computed,
    which can take minutes, only if the settings filter by it or on the explorer's button.
    """
    folders = [Path(folder)] if isinstance(folder, str | os.PathLike) else [Path(one) for one in folder]
    rows: list[Rationale] = []
    for one in folders:
        written = one / "augmented" / "mentor.jsonl"
        rows += teacher_rows(one) + (read_rationales(written) if written.exists() else [])
    tasks, settings = {task_of(one).name: task_of(one) for one in folders}, settings or FilterSettings()
    if confidence is None:
        confidence = scores(folders, rows, compute=settings.min_confidence is not None)
    columns = Columns(rows, tasks, confidence)
    judging = Judging(columns, {task_of(one).name: one / "verdicts.jsonl" for one in folders}, who)
    return Explorer(columns, judging, settings, folders)


def guarded(method: Callable) -> Callable:
    """A callback whose errors show in the widget: the page shows neither its prints nor its traceback."""

    @functools.wraps(method)
    def call(self: "Explorer", *given: object) -> None:
        if self.guarding:  # called by another callback, which shows the error
            return method(self, *given)
        self.guarding = True
        try:
            method(self, *given)
            self.problem.value = ""
        except Exception as error:  # the user must see every error
            text = html.escape("".join(traceback.format_exception(error)))
            what = html.escape(f"{type(error).__name__}: {error}")
            self.problem.value = (
                f"<div class='mkd-problem' role='alert'><b>{what}</b><details><pre>{text}</pre></details></div>"
            )
        finally:
            self.guarding = False

    return call


class Explorer(ipywidgets.VBox):
    """The widget. `view` is what is shown, `judging` keeps the verdicts, `settings` are the current filters."""

    def __init__(self, columns: Columns, judging: Judging, settings: FilterSettings, folders: Sequence[Path]):
        self.columns, self.judging, self.folders = columns, judging, list(folders)
        self.cursor, self.limit, self.wanted, self.guarding = 0, CUT, "", False
        self.problem, self.headline = ipywidgets.HTML(), ipywidgets.HTML()
        self.panel = FilterPanel(columns, settings, self.on_filter)
        self.view = View(columns, self.panel.reasons)
        self.people = PeoplePanel(judging, self.on_people)
        self.reading = ReadingPanel(columns)
        self.reading.score.layout.display = "" if columns.confidence is None and self._has_mentors() else "none"
        tabs = ipywidgets.Tab([self.reading, self._filtering(), self.people])
        for place, title in enumerate(("Read and judge", "Filters", "People")):
            tabs.set_title(place, title)
        super().__init__([self.headline, self.problem, tabs])
        self.add_class("mkd-explorer")
        self._listen()
        self.refresh()

    def __repr__(self) -> str:
        return f"The rationale explorer over {len(self.columns):,} rationales: run this cell in JupyterLab to use it."

    def twin(self) -> HTML:
        """What the widget shows now, as tables, for GitHub, HTML exports and headless runs, which show no widget."""
        read, row = self.reading, self.row
        looked_at = "" if row is None else detail.detail(self.columns, row, REASONS[self.view.reasons[row]])
        return HTML(detail.twin(read.rows.heads, read.rows.rows, self.view.counts, looked_at))

    @property
    def settings(self) -> FilterSettings:
        """The current filter settings."""
        return self.panel.settings

    @property
    def row(self) -> int | None:
        """The number of the selected row; None if no row is shown."""
        shown = self.view.rows
        return int(shown[self.cursor]) if len(shown) else None

    def _filtering(self) -> ipywidgets.Widget:
        self.write = ipywidgets.Button(
            description="Write settings", icon="save", tooltip="as YAML, to run notebook 04 on with papermill"
        )
        self.written = ipywidgets.HTML()
        return ipywidgets.VBox([self.panel, ipywidgets.HBox([self.write, self.written])])

    def _listen(self) -> None:
        read = self.reading
        for control in (*read.ranges.values(), read.search):
            control.observe(self.on_choice, "value")
        read.facets.observe(self.on_choice, "chosen")
        read.rows.on_msg(self.on_message)
        for name, button in read.buttons.items():
            button.on_click(functools.partial(self.on_judge, name))
        for name, button in read.all.items():
            button.on_click(functools.partial(self.on_ask, name))
        read.withdraw.on_click(functools.partial(self.on_judge, WITHDRAWN))
        read.save.on_click(lambda button: self.on_note(read.note.value))
        for button, called in {
            read.clear: self.on_clear,
            read.score: self.on_score,
            read.undo: self.on_undo,
            read.confirm: self.on_confirm,
            read.cancel: self.on_cancel,
            read.more: self.on_more,
            self.write: self.on_write,
        }.items():
            button.on_click(called)
        for control in self.panel.controls.values():
            control.observe(self.on_filter, "value")

    # Showing

    def refresh(self) -> None:
        """Redraw everything after a change of the view, the filters or the verdicts."""
        self.view.reasons = self.panel.reasons
        self.view.update()
        self.cursor = max(0, min(self.cursor, len(self.view.rows) - 1))
        groups = [
            {"name": name, "labels": [[label, n] for label, n in counts.items() if self._offered(name, label, n)]}
            for name, counts in self.view.counts.items()
        ]
        self.reading.facets.groups = [
            group for group in groups if len(group["labels"]) > 1 or self.view.chosen.get(group["name"])
        ]
        c, kept = self.columns, numpy.isin(self.view.reasons, (0, CODE["verdict: keep"]))
        self.headline.value = (
            f"<div class='mkd-headline'><span><b>{len(self.view.rows):,}</b> of {len(c):,} rationales shown</span>"
            f"<span><b>{kept.sum():,}</b> kept</span><span><b>{len(c) - kept.sum():,}</b> dropped</span>"
            f"<span><b>{(c.said != 0).sum():,}</b> judged</span></div>"
        )
        self.show_page()

    def _offered(self, facet: str, label: str, count: int) -> bool:
        """Whether a label is listed: a status that no row has is left out."""
        return facet != "status" or count > 0 or label in self.view.chosen.get(facet, ())

    def show_page(self) -> None:
        """Show the page that contains the selected row, and that row."""
        shown, page = self.view.rows, self.cursor // PAGE
        lines = [line(self.columns, int(row), REASONS[self.view.reasons[row]]) for row in shown[page * PAGE :][:PAGE]]
        pages = max(1, -(-len(shown) // PAGE))
        place = f"rationale {self.cursor + 1:,} of {len(shown):,}, page {page + 1:,} of {pages:,}"
        with self.reading.rows.hold_sync():
            self.reading.rows.rows, self.reading.rows.cursor = lines, self.cursor % PAGE
            self.reading.rows.order, self.reading.rows.falling = self.view.order, self.view.falling
            self.reading.rows.where = place if len(shown) else "no rationale matches: untick a box or press Show all"
        self.show_detail()

    def show_detail(self) -> None:
        """Show the selected row in full, next to its siblings."""
        row = self.row
        self.reading.more.layout.display = "none"
        if row is None:
            self.reading.detail.value = ""
            return
        if len(self.columns.rows[row].original) > self.limit:
            self.reading.more.layout.display = ""
        self.reading.note.value = self.judging.note[row]
        reason = REASONS[self.view.reasons[row]]
        people = self.judging.people(row) | {name: ("", note) for name, note in self.judging.remarks(row).items()}
        self.reading.detail.value = detail.detail(self.columns, row, reason, people, self.limit)

    def go(self, cursor: int) -> None:
        """Select another of the shown rows."""
        self.cursor, self.limit = max(0, min(cursor, len(self.view.rows) - 1)), CUT
        self.show_page()

    # Callbacks

    @guarded
    def on_message(self, widget: ipywidgets.Widget, message: dict, buffers: list) -> None:
        """A key or click in the list."""
        action, size = message.get("action"), len(self.view.rows)
        moves = {"next": 1, "previous": -1, "page down": PAGE, "page up": -PAGE, "first": -size, "last": size}
        if action in moves:
            self.go(self.cursor + moves[action])
        elif action == "go":
            self.go(self.cursor // PAGE * PAGE + int(message["row"]))
        elif action == "sort":
            self.view.falling = self.view.order == message["order"] and not self.view.falling
            self.view.order, self.cursor = message["order"], 0
            self.refresh()
        elif action == "undo":
            self.on_undo()
        elif action == "note":
            self.on_note(message["text"])
        else:
            self.on_judge(action)

    @guarded
    def on_judge(self, verdict: str, button: object = None) -> None:
        """Record the verdict and the note for the selected row, then select the next row."""
        if (row := self.row) is not None:
            self.judging.give([row], verdict, "" if verdict == WITHDRAWN else self.reading.note.value)
            self._judged(row)

    @guarded
    def on_note(self, text: str) -> None:
        """Record a note for the selected row, with its current verdict; a note alone is not a verdict."""
        if (row := self.row) is not None:
            self.judging.give([row], NAMES[self.judging.mine[row]] or WITHDRAWN, text)
            self._judged(row)

    def _judged(self, row: int) -> None:
        """Show the effect of a verdict and select the row that followed the judged one, wherever it is now."""
        before = self.view.rows
        following = before[self.cursor + 1] if self.cursor + 1 < len(before) else row
        self.panel.update()
        self.refresh()
        place = numpy.flatnonzero(self.view.rows == following)
        self.go(int(place[0]) if len(place) else self.cursor)
        self.people.show()

    @guarded
    def on_undo(self, button: object = None) -> None:
        """Undo the last action and select its row."""
        rows = self.judging.undo()
        if rows is None:
            return
        self.panel.update()
        self.refresh()
        place = numpy.flatnonzero(numpy.isin(self.view.rows, rows))
        self.go(int(place[0]) if len(place) else self.cursor)
        self.people.show()

    @guarded
    def on_ask(self, verdict: str, button: object = None) -> None:
        """Ask for confirmation before giving one verdict to all shown rows."""
        self.wanted, n = verdict, len(self.view.rows)
        self.reading.question.value = f"Set <b>{verdict}</b> for all {n:,} rationales shown? Undo reverts it."
        self.reading.confirm.description = f"Yes, {verdict} {n:,}"
        self.reading.asking.layout.display = ""

    @guarded
    def on_confirm(self, button: object = None) -> None:
        """Give the confirmed verdict to all shown rows."""
        if self.wanted and len(self.view.rows):
            self.judging.give(self.view.rows, self.wanted, self.reading.note.value)
            self.panel.update()
            self.refresh()
            self.people.show()
        self.on_cancel()

    @guarded
    def on_cancel(self, button: object = None) -> None:
        """Close the question without giving a verdict."""
        self.wanted, self.reading.asking.layout.display = "", "none"

    @guarded
    def on_choice(self, change: object = None) -> None:
        """Apply facets, search and ranges."""
        self.view.chosen = {name: set(labels) for name, labels in self.reading.facets.chosen.items() if labels}
        self.view.ranges = {n: s.value for n, s in self.reading.ranges.items() if tuple(s.value) != (s.min, s.max)}
        self.view.text, self.cursor = self.reading.search.value, 0
        self.on_cancel()  # the question was about other rows
        self.refresh()

    @guarded
    def on_clear(self, button: object = None) -> None:
        """Show all rows."""
        self.view.only = None
        self.reading.facets.chosen, self.reading.search.value = {}, ""
        for slider in self.reading.ranges.values():
            slider.value = (slider.min, slider.max)
        self.on_choice()

    @guarded
    def on_filter(self, change: object = None) -> None:
        """Apply the filters after a change of a control."""
        self.panel.update()
        self.refresh()

    @guarded
    def on_people(self, rows: Sequence[int] | None) -> None:
        """Show only these rows, on which people disagree, or all rows (None) after files were merged or reloaded."""
        self.view.only, self.cursor = None if rows is None else numpy.asarray(rows), 0
        self.panel.update()
        self.refresh()

    def _has_mentors(self) -> bool:
        return bool(self.folders) and all((folder / "mentor" / "manifest.json").exists() for folder in self.folders)

    @guarded
    def on_score(self, button: object = None) -> None:
        """Let the mentor score every rationale, and show its confidence as a column, a range and a filter."""
        n = len(self.columns)
        self.reading.scoring.value = f"<span role='status'>The mentor scores {n:,} rationales …</span>"
        try:
            self.columns.set_confidence(scores(self.folders, self.columns.rows, compute=True))
        finally:
            self.reading.scoring.value = ""
        self.reading.show_confidence().observe(self.on_choice, "value")
        self.panel.show_confidence()
        self.refresh()

    @guarded
    def on_more(self, button: object = None) -> None:
        """Show more of a long text."""
        self.limit = MORE
        self.show_detail()

    @guarded
    def on_write(self, button: object = None) -> None:
        """Write the settings as YAML into each task folder."""
        paths = [write_parameters(folder, self.settings) for folder in self.folders]
        shown = "<br>".join(
            html.escape(f"papermill notebooks/04_inspect_and_filter.ipynb … -f {path}") for path in paths
        )
        self.written.value = f"<code>{shown}</code>"
