"""Verdicts of several people: merge their files, list disagreements, and read those rationales again."""

import html
from collections.abc import Callable, Sequence

import ipywidgets

from ...files import InputError
from ...filtering.verdicts import merge
from .judging import Judging
from .markup import escaped

LISTED = 50


class PeoplePanel(ipywidgets.VBox):
    """`changed` is called with the rows to read, or with None after a merge."""

    def __init__(self, judging: Judging, changed: Callable[[Sequence[int] | None], None]):
        self.judging, self.changed = judging, changed
        wide = ipywidgets.Layout(width="420px")
        self.name = ipywidgets.Text(placeholder="name")
        self.file = ipywidgets.Text(placeholder="path to their verdicts.jsonl", layout=wide)
        self.task = ipywidgets.Dropdown(options=list(judging.files))
        self.merge = ipywidgets.Button(description="Merge", tooltip="append their verdicts to this run's file")
        self.read = ipywidgets.Button(
            description="Read disagreements", tooltip="show only these rationales in the list"
        )
        self.again = ipywidgets.Button(description="Reload files", tooltip="to see verdicts that others have added")
        self.said, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        one_task = len(judging.files) == 1
        fields = [self.name, self.file, *([] if one_task else [self.task]), self.merge]
        super().__init__([ipywidgets.HBox(fields), self.said, self.table, ipywidgets.HBox([self.read, self.again])])
        self.add_class("mkd-people")
        self.merge.on_click(self.on_merge)
        self.read.on_click(lambda button: self.changed(self.judging.disputed()))
        self.again.on_click(self.on_again)
        self.show()

    def on_merge(self, button: object = None) -> None:
        """Merge a file; problems with it are shown in the panel."""
        try:
            added = merge(self.judging.files[self.task.value], {self.name.value.strip(): self.file.value.strip()})
        except (InputError, OSError) as error:
            self.said.value = f"<div class='mkd-problem' role='alert'>{html.escape(str(error))}</div>"
            return
        self.said.value = f"{added:,} verdict(s) by {escaped(self.name.value.strip())} added."
        self.on_again()

    def on_again(self, button: object = None) -> None:
        """Reload the files."""
        self.judging.read()
        self.show()
        self.changed(None)

    def show(self) -> None:
        """List the disagreements."""
        rows = self.judging.disputed()
        self.read.disabled = not rows
        if not rows:
            self.table.value = (
                "<p>No disagreements: each rationale was judged by one person at most, or by people who agree.</p>"
            )
            return
        lines = "".join(
            f"<tr><td>{escaped(self.judging.columns.rows[row].rationale, 120)}</td><td>{self._voices(row)}</td></tr>"
            for row in rows[:LISTED]
        )
        more = f"<p>and {len(rows) - LISTED:,} more</p>" if len(rows) > LISTED else ""
        self.table.value = (
            f"<p><b>{len(rows):,}</b> rationale(s) with different verdicts; the latest counts until you settle it.</p>"
            f"<table class='mkd-voices'>{lines}</table>{more}"
        )

    def _voices(self, row: int) -> str:
        people = self.judging.people(row).items()
        return "<br>".join(
            f"<b>{escaped(name or 'you')}</b>: {verdict} {escaped(note, 80)}" for name, (verdict, note) in people
        )
