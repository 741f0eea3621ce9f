"""Human verdicts on single rationales: one row per click, appended and never rewritten.

A row has `id`, `verdict`, `note`, `time` and, if a name was given, `who`. The last row of each person on a rationale
counts. The verdict "withdrawn" takes back a person's own verdict, so an undo is also a row and the file is a complete
history. If several people judged the same rationale, the latest verdict by `time` counts, and `disagreements` lists all
of them until a new row settles it.
"""

import codecs
import datetime
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas

from ..files import InputError, append_text, read_bytes
from ..parsing import has_half_surrogate, parse_json, shown

VERDICTS = ("keep", "drop", "unsure")
WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Verdict:
    """A person's verdict on one rationale; `time` is ISO 8601 in UTC. Raises InputError for an invalid value.

    An unpaired surrogate in a note, which no UTF-8 file can contain, is kept as text: "\\ud83d".
    """

    id: str
    verdict: str
    note: str = ""
    time: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise InputError(f"id must be the id of a rationale, got {self.id!r}")
        if self.verdict not in (*VERDICTS, WITHDRAWN):
            raise InputError(f"verdict must be one of {', '.join(VERDICTS)}, {WITHDRAWN}, got {self.verdict!r}")
        for name in ("note", "time", "who"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be a string, got {getattr(self, name)!r}; put it in quotation marks")
        object.__setattr__(self, "note", self.note.encode("utf-8", "backslashreplace").decode())
        for name in ("id", "time", "who"):
            if has_half_surrogate(getattr(self, name)):
                raise InputError(f"{name} must not contain an unpaired surrogate, got {shown(getattr(self, name))}")


def read_rows(path: Path) -> list[Verdict]:
    """All rows of a verdict file, in order; empty if the file does not exist yet.

    An incomplete line left by a killed writer, at the end or before the next writer's line, is skipped with a warning.
    Any other invalid line raises InputError with file and line number, and so does a file that cannot be read.
    """
    path = Path(path)
    try:
        path.lstat()  # not exists(): a broken link is an error
    except FileNotFoundError:
        return []
    except OSError:
        pass  # read_bytes names the error
    rows = []
    content = read_bytes(path).removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.decode("utf-8"), path, number)
        except ValueError as error:  # not UTF-8, or an InputError
            if _complete(line.decode("utf-8", "replace")):
                where = "" if isinstance(error, InputError) else f"{path}, line {number}: "
                raise InputError(f"{where}{error}; fix or remove the line") from None
            warnings.warn(f"{path}, line {number}: skipped, as it is incomplete (its writer was killed)", stacklevel=2)
            continue
        if not isinstance(row, dict) or set(row) | {"who"} != {"id", "verdict", "note", "time", "who"}:
            raise InputError(
                f"{path}, line {number}: a row must have id, verdict, note, time, optionally who, got {str(row)[:80]}"
            )
        try:
            rows.append(Verdict(**row))
        except (InputError, TypeError) as error:
            raise InputError(f"{path}, line {number}: {error}") from None
    return rows


def _complete(line: str) -> bool:
    """Whether an invalid line is not just the beginning of a row, as a killed writer leaves it."""
    inside_a_string = re.sub(r"\\.", "", line).count('"') % 2
    return not line.startswith("{") or (line.rstrip().endswith("}") and not inside_a_string)


def by_person(rows: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """The current verdicts on each rationale, by person: the last row of each person, without withdrawn ones."""
    standing: dict[str, dict[str, Verdict]] = {}
    for row in rows:
        people = standing.setdefault(row.id, {})
        people.pop(row.who, None)  # re-insert, so that people are ordered by their last row
        if row.verdict != WITHDRAWN:
            people[row.who] = row
    return {identity: people for identity, people in standing.items() if people}


def settled(people: Mapping[str, Verdict]) -> Verdict:
    """The verdict that counts among several people's: the latest by time, and of equal times the last row."""
    return max(reversed(list(people.values())), key=lambda row: row.time)


def read_verdicts(path: Path) -> dict[str, Verdict]:
    """The verdict that counts on each rationale, by rationale id. Raises InputError like `read_rows`."""
    return {identity: settled(people) for identity, people in by_person(read_rows(path)).items()}


def now() -> str:
    """The current time in the format of verdicts."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def add_verdict(path: Path, id: str, verdict: str, note: str = "", who: str = "") -> Verdict:
    """Append a verdict ("keep", "drop", "unsure", "withdrawn") to the file and wait until it is on disk."""
    row = Verdict(id, verdict, note, now(), who)
    append_text(path, _line(row))
    return row


def add_verdicts(path: Path, given: Mapping[tuple[str, str], Sequence[str]], who: str = "") -> None:
    """Append many verdicts in one write and wait until they are on disk; `given` maps (verdict, note) to ids.

    One click in the explorer can judge 100,000 rows, so the common part of the rows is checked and encoded once.
    Raises InputError for an invalid value before anything is written.
    """
    time, parts = now(), []
    for (verdict, note), ids in given.items():
        first, *_ = ids
        head = '{"id": '
        tail = _line(Verdict(first, verdict, note, time, who)).removeprefix(head + _quoted(first))
        if not all(ids):
            raise InputError("id must be the id of a rationale, got an empty string")
        parts.append(head + (tail + head).join(map(_quoted, ids)) + tail)
    if parts:
        append_text(path, "".join(parts))


_quoted = json.encoder.encode_basestring


def _line(row: Verdict) -> str:
    values = {name: value for name, value in asdict(row).items() if value or name != "who"}
    return json.dumps(values, ensure_ascii=False) + "\n"


def merge(path: Path, others: Mapping[str, Path]) -> int:
    """Append other people's verdicts to a verdict file; returns the number of rows appended.

    `others` maps a person's name to their file; rows without a name get this one. Only the last row of each person on
    each rationale is taken, and only if it is not older than that person's row in `path`, so merging the same file
    again appends nothing. The other files are not changed. Raises InputError for a missing file or name.
    """
    known = {(row.id, row.who): row for row in read_rows(path)}
    new = {}
    for name, other in others.items():
        if not name or not Path(other).exists():
            raise InputError(f"verdicts of {name!r}: no file {other}; pass a name and an existing file for each person")
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
    """The current verdicts on each rationale that people judge differently.

    Columns: id, who, verdict, note, time, counts (whether this is the one the filters use).
    """
    lines = [
        {**asdict(row), "counts": row is settled(people)}
        for people in by_person(rows).values()
        if len({row.verdict for row in people.values()}) > 1
        for row in sorted(people.values(), key=lambda row: row.time)
    ]
    return pandas.DataFrame(lines, columns=["id", "who", "verdict", "note", "time", "counts"])
