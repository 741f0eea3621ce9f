"""Progress of long work, with a time estimate: one line, updated in place, that a saved notebook keeps."""

import contextlib
import sys
import time
from collections.abc import Iterator

_quiet = False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress progress lines inside the block, for parts of a job that shows one line for all of them."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


def in_notebook() -> bool:
    """Whether output goes to an IPython kernel, where one display can be updated in place."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def duration(seconds: float) -> str:
    """Seconds in readable units: 48 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Progress:
    """A progress line: `with Progress("sampling", 300) as p: p.advance(10)`.

    In a notebook one display is updated in place (a widget would freeze in the saved copy); in a terminal the line is
    rewritten; in a log file a new line is written every 10 seconds, or every `every` seconds if that is longer.
    """

    def __init__(self, label: str, total: int, unit: str = "steps", every: float = 0.5):
        self.label, self.total, self.unit, self.every = label, total, unit, every
        self.done = self.skipped = 0
        self.note = ""
        self.started = self.shown = time.monotonic()
        self.handle = None
        self.terminal = sys.stderr.isatty()
        if not self.terminal and not in_notebook():
            self.every = max(every, 10.0)

    def __enter__(self) -> "Progress":
        self._show()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._show(final=True, failed=kind is not None)

    def skip(self, amount: int = 1) -> None:
        """Count work that was already done; it is left out of the speed."""
        self.skipped += amount
        self.advance(amount)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count finished work; the line is updated if it is older than `every` seconds."""
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self.shown >= self.every:
            self._show()

    def remaining(self) -> float | None:
        """Estimated seconds left at the speed so far; None before any work is done."""
        worked = self.done - self.skipped
        if worked <= 0:
            return None
        return (time.monotonic() - self.started) / worked * (self.total - self.done)

    def line(self, final: bool = False, failed: bool = False) -> str:
        """The line as text."""
        text = f"{self.label}: {self.done}/{self.total} {self.unit}"
        if final:
            text += f" {'stopped' if failed else 'done'} after {duration(time.monotonic() - self.started)}"
            if self.skipped:
                text += f" ({self.skipped} already done)"
        elif (left := self.remaining()) is not None:
            text += f", about {duration(left)} left"
        return text + (f" · {self.note}" if self.note else "")

    def _show(self, final: bool = False, failed: bool = False) -> None:
        self.shown = time.monotonic()
        if _quiet:
            return
        text = self.line(final, failed)
        if in_notebook():
            from IPython.display import HTML, display

            content = HTML(f"<pre style='margin:0'>{text.replace('&', '&amp;').replace('<', '&lt;')}</pre>")
            if self.handle is None:
                self.handle = display(content, display_id=True)
            else:
                self.handle.update(content)
        elif self.terminal:
            print(f"\r\033[K{text}", end="\n" if final else "", file=sys.stderr, flush=True)
        elif final or self.done:
            print(text, file=sys.stderr, flush=True)
