"""Progress of long work, with a time estimate: one line, updated in place, that a saved notebook keeps.

A process that runs a notebook cannot see its lines while a cell works. It names a file in the environment variable
MENTOR_KD_NEWS, and the lines that are open in the kernel are written there at most once a second.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator

NEWS = "MENTOR_KD_NEWS"

_quiet = False
_open: list["Progress"] = []  # the progress lines of current work, outermost first
# control characters of ASCII and Latin-1, marks that turn the direction of text, separators and invisible tags
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str, keep: str = "\n\t") -> str:
    """A text of a model, a server or a file for a terminal: control characters become visible escapes.

    Those in `keep` are left as they are. An escape sequence could otherwise rewrite what the terminal shows.
    """
    return _CONTROLS.sub(lambda one: one[0] if one[0] in keep else ascii(one[0])[1:-1], text)


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
    rewritten; in a log file a new line is written every 10 seconds, or every `every` seconds if that is longer. With
    `inner`, the line is part of the work of another one: it is only told to the process that runs the notebook.
    """

    def __init__(self, label: str, total: int, unit: str = "steps", every: float = 0.5, inner: bool = False):
        self.label, self.total, self.unit, self.every, self.inner = label, total, unit, every, inner
        self.done = self.skipped = 0
        self.note = ""
        self.started = self.shown = self.told = time.monotonic()
        self.handle = None
        self.terminal = sys.stderr.isatty()
        if not self.terminal and not in_notebook():
            self.every = max(every, 10.0)

    def __enter__(self) -> "Progress":
        self._show()
        _open.append(self)
        _tell()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._show(final=True, failed=kind is not None)
        _open.remove(self)
        _tell()

    def skip(self, amount: int = 1) -> None:
        """Count work that was already done; it is left out of the speed."""
        self.skipped += amount
        self.advance(amount)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count finished work; the line is updated if it is older than `every` seconds."""
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.shown >= self.every:
            self._show()
        if now - self.told >= 1:
            self.told = now
            _tell()

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
        if _quiet or self.inner:
            return
        text = visible(self.line(final, failed), keep="")
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


def _tell() -> None:
    """Write the open lines to the file of MENTOR_KD_NEWS, if it is set. Work never fails because of it."""
    path = os.environ.get(NEWS)
    if not path or _quiet:
        return
    facts = ("label", "done", "total", "unit", "note")
    lines = [{**{name: getattr(one, name) for name in facts}, "left": one.remaining()} for one in _open]
    with contextlib.suppress(OSError):
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump({"time": time.time(), "lines": lines}, file)
        os.replace(f"{path}.part", path)
