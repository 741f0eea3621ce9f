"""Following a run: what its notebook is doing now, how long the rest will take, and one line that says so.

The kernel writes its open progress lines to a file (progress.py), and papermill logs each cell that it starts. A kernel
that has written nothing for SILENT seconds is reported as silent, without an estimate; a notebook that has ended has no
line.
"""

import contextlib
import functools
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from ..progress import duration, visible
from . import notebooks
from .jobs import Job, news_file

SILENT = 60.0  # seconds
EVERY = 30.0  # seconds between two lines of a log
TAIL = 20_000  # bytes of papermill's log in which its last cell is looked for
CELL = re.compile(rb"Executing Cell (\d+)-")


@dataclass(frozen=True)
class News:
    """What a notebook is doing, in words, and the seconds that this will still take; None if that is not known."""

    text: str
    left: float | None = None


def news(job: Job) -> News:
    """What a running notebook is doing now: its cell, or the work in it with steps, loss and dev accuracy."""
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):  # what cannot be read never stops a run
        return _work(json.loads(news_file(job).read_text(encoding="utf-8")))
    return News(_cell(job))


def _work(told: dict) -> News:
    """The open progress lines of a kernel in words. Raises IndexError if there are none."""
    lines = told["lines"][:2]  # a third level, such as the texts of one batch, would say too much
    note, left = lines[0]["note"], lines[0]["left"]
    work = " > ".join(f"{one['label']} {one['done']}/{one['total']} {one['unit']}" for one in lines)
    if (quiet := time.time() - told["time"]) > SILENT:
        return News(sentence(work, note, f"nothing new for {duration(quiet)}"))
    return News(sentence(work, note), left)


def _cell(job: Job) -> str:
    """The cell that papermill started last, by its log; "starting" before the first."""
    found: list[bytes] = []
    with contextlib.suppress(OSError), (job.folder / "notebooks" / f"{job.notebook}.log").open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - TAIL))
        found = CELL.findall(log.read())
    return f"cell {int(found[-1])} of {_cells(job.notebook)}" if found else "starting"


@functools.cache
def _cells(notebook: str) -> int:
    """The number of a notebook's cells as it is executed: papermill adds one with the parameters."""
    book = json.loads((notebooks.NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))
    return len(book["cells"]) + 1


def seconds_left(estimated: Iterable[float], spent: list[tuple[float, float]]) -> float | None:
    """The seconds that work with these estimates will take; None if one is unknown (0).

    `spent` has the (estimated, actual) seconds of finished work: their ratio scales the estimates.
    """
    rest = list(estimated)
    before, taken = (sum(values) for values in zip(*spent, strict=True)) if spent else (0, 0)
    return None if 0 in rest else sum(rest) * (taken / before if before and taken else 1.0)


def about(seconds: float | None) -> str:
    """An estimate in words; "" if there is none."""
    return "" if seconds is None else f"about {duration(seconds)} left"


def sentence(*parts: str) -> str:
    """The parts that are not empty, as one line."""
    return " · ".join(part for part in parts if part)


class Line:
    """One line about the work at hand: kept up to date in a terminal; in a log a new line every half minute.

    `with Line() as line: run.run(parameters, line.say, line.show)`
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console()
        self.spinner = Spinner("dots")
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.written = time.monotonic()

    def __enter__(self) -> "Line":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.written = time.monotonic()
        print(visible(text), flush=True)  # above the live line, which redirects it

    def show(self, text: str) -> None:
        """Show the current work; "" for none."""
        if self.console.is_terminal:
            self.spinner.update(text=Text(visible(text, keep="")))
            self.live.update(self.spinner if text else "")
        elif text and time.monotonic() - self.written >= EVERY:
            self.say(text)
