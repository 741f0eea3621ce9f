"""Verdicts: what people think of single rationales; one row a click, appended and never rewritten.

A row has `id`, `verdict`, `note`, `time` and, where a name was given, `who`. For each person the last row on a
rationale counts. The verdict "withdrawn" takes a person's own verdict back, so that an undo is a row as well and the
file tells all that happened. Where several people judged the same rationale, the latest verdict by `time` counts and
`disagreements` lists all of them, until somebody settles it by a new row.
"""

import datetime
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas

from ..files import InputError, append_text

VERDICTS = ("keep", "drop", "unsure")
WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Verdict:
    """What a person thinks of one rationale; `time` is ISO 8601 in UTC."""

    id: str
    verdict: str
    note: str = ""
    time: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InputError(f"id: {self.id!r} is not the id of a rationale")
        if self.verdict not in (*VERDICTS, WITHDRAWN):
            raise InputError(f"verdict: {self.verdict!r} is unknown; write one of {', '.join(VERDICTS)}, {WITHDRAWN}")
        for name in ("note", "time", "who"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name}: {getattr(self, name)!r} is not a text; put it in quotation marks")


def read_rows(path: Path) -> list[Verdict]:
    """Every row of a verdict file, in order; none if there is no file yet.

    A writer that was killed may have left half a line, at the end or, once another writer went on, before its line:
    such a line is skipped with a warning. Anything else that is no verdict raises InputError with file and line.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:  # not UTF-8, or not JSON
            torn = number == len(lines) or (line.startswith(b"{") and not line.rstrip().endswith(b"}"))
            if not torn:
                raise InputError(f"{path}, line {number}: not a row of JSON ({error}); mend or remove it") from None
            warnings.warn(f"{path}, line {number}: skipped, its writer was stopped halfway", stacklevel=2)
            continue
        if not isinstance(row, dict) or set(row) | {"who"} != {"id", "verdict", "note", "time", "who"}:
            raise InputError(f"{path}, line {number}: {str(row)[:80]}; a row has id, verdict, note, time, perhaps who")
        try:
            rows.append(Verdict(**row))
        except (InputError, TypeError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return rows


def by_person(rows: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """The standing verdicts of each rationale by person: the last row of each, withdrawn ones left out."""
    standing: dict[str, dict[str, Verdict]] = {}
    for row in rows:
        people = standing.setdefault(row.id, {})
        people.pop(row.who, None)  # so that the order of a person's entry is that of the last row
        if row.verdict != WITHDRAWN:
            people[row.who] = row
    return {identity: people for identity, people in standing.items() if people}


def settled(people: Mapping[str, Verdict]) -> Verdict:
    """The verdict that counts among those of several people: the latest by time, of equal times the last row."""
    return max(reversed(people.values()), key=lambda row: row.time)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The verdict that counts on each rationale, by rationale id; raises InputError as `read_rows` does."""
    return {identity: settled(people) for identity, people in by_person(read_rows(path)).items()}


def now() -> str:
    """The time as a verdict has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def add_verdict(path: Path, id: str, verdict: str, note: str = "", who: str = "") -> Verdict:
    """Append a verdict ("keep", "drop", "unsure", "withdrawn") to the file and wait until it is on disk."""
    row = Verdict(id, verdict, note, now(), who)
    append_text(path, _line(row))
    return row


def add_verdicts(path: Path, given: Mapping[tuple[str, str], Sequence[str]], who: str = "") -> None:
    """Append what `given` maps (verdict, note) to, the ids, in one write, and wait until it is on disk.

    100,000 rows are one click in the explorer, so what rows have in common is checked and written out once.
    Raises InputError before anything is written.
    """
    time, parts = now(), []
    for (verdict, note), ids in given.items():
        first, *_ = ids
        head = '{"id": '
        tail = _line(Verdict(first, verdict, note, time, who)).removeprefix(head + _quoted(first))
        if not all(ids):
            raise InputError("id: an empty text is not the id of a rationale")
        parts.append(head + (tail + head).join(map(_quoted, ids)) + tail)
    if parts:
        append_text(path, "".join(parts))


_quoted = json.encoder.encode_basestring


def _line(row: Verdict) -> str:
    values = {name: value for name, value in asdict(row).items() if value or name != "who"}
    return json.dumps(values, ensure_ascii=False) + "\n"


def merge(path: Path, others: Mapping[str, Path]) -> int:
    """Append to a verdict file what other people's files say; the number of rows appended.

    `others` maps a person's name to their file; the name is given to the rows that have none. Only the last row of each
    person on each rationale is taken, where it is not older than what the file has of that person, so merging the same
    file again appends nothing. The other files are not changed. Raises InputError for a file that is missing.
    """
    known = {(row.id, row.who): row for row in read_rows(path)}
    new = {}
    for name, other in others.items():
        if not name or not Path(other).exists():
            raise InputError(f"verdicts of {name!r}: no file {other}; give a name and a file for each person")
        for row in read_rows(other):
            row = row if row.who else replace(row, who=name)
            mine = known.get((row.id, row.who))
            if row != mine and (mine is None or row.time >= mine.time):
                new[row.id, row.who] = row
            else:
                new.pop((row.id, row.who), None)
    if new:
        append_text(path, "".join(map(_line, new.values())))
    return len(new)


def disagreements(rows: Iterable[Verdict]) -> pandas.DataFrame:
    """The standing verdicts on each rationale that people judge differently.

    Columns: id, who, verdict, note, time, counts (whether this is the one that the filters honour).
    """
    lines = [
        {**asdict(row), "counts": row is settled(people)}
        for people in by_person(rows).values()
        if len({row.verdict for row in people.values()}) > 1
        for row in sorted(people.values(), key=lambda row: row.time)
    ]
    return pandas.DataFrame(lines, columns=["id", "who", "verdict", "note", "time", "counts"])
