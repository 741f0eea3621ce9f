"""One person's verdicts on the rows: on disk before they are shown, and undone by appending further rows.

A note without a verdict is stored as a row with the verdict "withdrawn" (none) and the note. It is shown with its
rationale and never counts as a verdict.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import pandas

from ...files import InputError
from ...filtering.verdicts import VERDICTS, WITHDRAWN, Verdict, add_verdicts, by_person, read_rows, settled
from .table import SAID, Columns

NAMES = ("", *VERDICTS)  # by SAID's codes


class Judging:
    """Everyone's verdicts on the rows, from each task's verdict file, and the new ones of `who`.

    Sets `said` of the columns to the verdict that counts for each row. Each call of `give` and `undo` is one append per
    task and returns once it is on disk. Verdicts on rationales that the columns do not have are left untouched.
    """

    def __init__(self, columns: Columns, files: Mapping[str, Path], who: str = ""):
        self.columns, self.files, self.who = columns, {name: Path(path) for name, path in files.items()}, who
        self.past: list[tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]] = []  # rows, earlier verdicts and notes
        if missing := set(columns.task.categories) - set(self.files):
            raise InputError(f"no verdict file for {', '.join(sorted(missing))}; pass one file for each task")
        self.read()

    def read(self) -> None:
        """Read the files again, since others may have written to them; this clears the undo history."""
        n = len(self.columns)
        self.mine, self.note = numpy.zeros(n, "int8"), numpy.full(n, "", dtype=object)
        self.others: dict[int, dict[str, Verdict]] = {}
        self.notes: dict[int, dict[str, str]] = {}  # other people's notes without a verdict
        self.columns.said[:] = 0
        self.past.clear()
        for path in self.files.values():
            given = read_rows(path)
            last = {(one.id, one.who): one for one in given}
            for (identity, who), one in last.items():
                row = self.columns.number.get(identity)
                if row is None or one.verdict != WITHDRAWN or not one.note:
                    continue
                if who == self.who:
                    self.note[row] = one.note
                else:
                    self.notes.setdefault(row, {})[who] = one.note
            for identity, people in by_person(given).items():
                row = self.columns.number.get(identity)
                if row is None:
                    continue
                self.columns.said[row] = SAID[settled(people).verdict]
                if mine := people.pop(self.who, None):
                    self.mine[row], self.note[row] = SAID[mine.verdict], mine.note
                if people:
                    self.others[row] = people

    def give(self, rows: Sequence[int], verdict: str, note: str = "") -> None:
        """Give one verdict ("keep", "drop", "unsure", "withdrawn": none) to all these rows, with a note.

        Raises InputError before anything is written.
        """
        rows = numpy.asarray(rows, dtype="int64")
        before = (rows, self.mine[rows], self.note[rows])
        code = 0 if verdict == WITHDRAWN else SAID.get(verdict, 0)
        self._write(rows, {(verdict, note): numpy.arange(len(rows))})
        self._set(rows, numpy.full(len(rows), code, "int8"), numpy.full(len(rows), note, dtype=object))
        self.past.append(before)

    def undo(self) -> numpy.ndarray | None:
        """Undo the last `give` by appending the previous verdicts of `who`; returns its rows, or None."""
        if not self.past:
            return None
        rows, codes, notes = self.past[-1]
        kinds, kind = pandas.factorize(notes)[0] * len(NAMES) + codes, {}
        for value in numpy.unique(kinds):
            same = numpy.flatnonzero(kinds == value)
            kind[NAMES[codes[same[0]]] or WITHDRAWN, notes[same[0]]] = same
        self._write(rows, kind)
        self._set(rows, codes, notes)
        self.past.pop()
        return rows

    def people(self, row: int) -> dict[str, tuple[str, str]]:
        """Verdict and note of everyone who judged this row, `who` first."""
        said = {self.who: (NAMES[self.mine[row]], self.note[row])} if self.mine[row] else {}
        return said | {name: (one.verdict, one.note) for name, one in self.others.get(row, {}).items()}

    def remarks(self, row: int) -> dict[str, str]:
        """The notes on this row by people who gave no verdict, `who` first."""
        mine = {self.who: self.note[row]} if self.note[row] and not self.mine[row] else {}
        return mine | self.notes.get(row, {})

    def disputed(self) -> list[int]:
        """The rows on which verdicts differ."""
        return [row for row in self.others if len({verdict for verdict, _ in self.people(row).values()}) > 1]

    def _write(self, rows: numpy.ndarray, given: Mapping[tuple[str, str], numpy.ndarray]) -> None:
        """Append each task's part; `given` maps (verdict, note) to positions in `rows`."""
        tasks = self.columns.task.codes[rows]
        for code in numpy.unique(tasks):
            mine = {said: self.columns.ids[rows[places[tasks[places] == code]]] for said, places in given.items()}
            path = self.files[self.columns.task.categories[code]]
            add_verdicts(path, {said: ids for said, ids in mine.items() if len(ids)}, self.who)

    def _set(self, rows: numpy.ndarray, codes: numpy.ndarray, notes: numpy.ndarray) -> None:
        self.mine[rows], self.note[rows] = codes, notes
        self.columns.said[rows] = codes  # the new verdict is the latest; without one, the others' counts
        for row in rows[codes == 0].tolist() if self.others else ():
            if row in self.others:
                self.columns.said[row] = SAID[settled(self.others[row]).verdict]
