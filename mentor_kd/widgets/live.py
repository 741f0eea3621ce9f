"""Training watched live: loss parts and dev accuracy in one picture that is updated in place, and a stop that works.

    show = live.Live("The mentor")
    manifest = await show.train(steps.train_mentor, folder, mentor, settings, max_length)

The training runs in a thread and the cell awaits it, for no click is delivered to a cell that blocks. Stopped by the
button, by the kernel's interrupt or by SIGTERM, it leaves a checkpoint; the same cell goes on from there. Without a
front-end (papermill, nbconvert) the same lines train to the end and leave the last picture.
"""

import asyncio
import contextvars
import functools
import html
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anywidget
import pandas
import traitlets
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..progress import in_notebook
from ..report.charts import METRICS
from ..report.figures import BLUE, GREY, INK, ORANGE, PALE, VERMILLION, Chart
from ..signals import asked_to_stop

EVERY = 0.5  # seconds between two pictures at the least
SHARE = 0.02  # of the time, for drawing, at the most
PARTS = {"loss": (INK, "-"), "ce": (BLUE, "--"), "kl": (VERMILLION, "-.")}  # no part by colour alone


class Stopped(KeyboardInterrupt):
    """A training was stopped and left a checkpoint; a notebook shows its message instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class StopButton(anywidget.AnyWidget):
    """A button that asks once; `asked` is true from the click on."""

    _esm = Path(__file__).with_name("stop.js")
    label = traitlets.Unicode("Stop").tag(sync=True)
    asked = traitlets.Bool(False).tag(sync=True)

    @traitlets.observe("asked")
    def _say(self, change) -> None:
        self.label = "Stopping at the end of this step ..." if change.new else "Stop"


class Live:
    """What several trainings show while they run, one after another; `rows` holds each one's metrics so far."""

    def __init__(self, title: str):
        self.title = title
        self.rows: dict[str, list[dict]] = {}
        self.drawn = 0  # rows in the last picture
        self.next = 0.0  # time of the next picture at the earliest
        self.seconds = 0.0  # spent on drawing
        self.handles: dict[str, object] = {}

    async def train(self, step: Callable, *arguments, run: str = "", **named):
        """What `step(*arguments, stop=..., watch=..., **named)` returns, with its metrics drawn under the name `run`.

        Raises what the step raises, and Stopped where it was asked to stop.
        """
        rows = self.rows[run] = []
        button = StopButton()
        asked = threading.Event()
        button.observe(lambda change: asked.set(), "asked")
        work = functools.partial(step, *arguments, stop=asked.is_set, watch=rows.append, **named)
        self._show("control", button)
        try:
            with asked_to_stop(asked.set):
                # A copied context takes what the thread prints to this cell. Not a task: one that a KeyboardInterrupt
                # ends would end the kernel's loop as well.
                loop, context = asyncio.get_running_loop(), contextvars.copy_context()
                future = loop.run_in_executor(None, context.run, work)
                while not future.done():
                    try:
                        await asyncio.wait([future], timeout=EVERY / 2)
                    except asyncio.CancelledError:  # the kernel's interrupt, where signals are not ours to handle
                        asked.set()
                    self._draw()
            return future.result()
        except KeyboardInterrupt as error:
            raise Stopped(str(error)) from None
        finally:
            self._draw(last=True)
            self._show("control", _html("" if rows else f"{run or self.title}: was trained before"))
            button.close()

    def _draw(self, last: bool = False) -> None:
        """Draw what is new, so seldom that it takes no more than its share of the time."""
        known = sum(map(len, self.rows.values()))
        if known == self.drawn or (not last and time.monotonic() < self.next):
            return
        started = time.thread_time()
        self._show("picture", picture(self.rows, self.title))
        cost = time.thread_time() - started
        self.drawn, self.next = known, time.monotonic() + max(EVERY, cost / SHARE)
        self.seconds += cost

    def _show(self, name: str, content: object) -> None:
        """Show something in this notebook, in the place of what it showed under that name before."""
        if not in_notebook():
            return
        from IPython.display import display

        if name in self.handles:
            self.handles[name].update(content)
        else:
            self.handles[name] = display(content, display_id=True)


def _html(text: str):
    from IPython.display import HTML

    return HTML(f"<pre style='margin:0'>{html.escape(text)}</pre>")


def picture(rows: dict[str, list[dict]], title: str = "Training") -> Chart:
    """Loss parts of the last run that has rows, and the dev accuracy of all; rows are those of metrics.jsonl, by run.

    Plain and small, for it is drawn again and again: no layout is computed, as `charts.learning_curve` does.
    """
    figure = Chart(figsize=(8, 2.75), dpi=100, facecolor="white")
    figure.subplots_adjust(left=0.065, right=0.985, bottom=0.17, top=0.8, wspace=0.16)
    figure.text(0.01, 0.97, title, va="top", fontsize=11, fontweight="bold", color=INK)
    left, right = figure.subplots(1, 2)
    begun = [run for run, found in rows.items() if found]
    _parts(left, begun[-1] if begun else "", rows)
    _accuracies(right, begun, rows)
    furthest = max((row["step"] for found in rows.values() for row in found), default=1)
    for panel in (left, right):
        panel.set_xlim(0, 1.03 * furthest)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(GREY)
        panel.tick_params(colors=INK, labelsize=8)
        panel.grid(color=PALE, linewidth=0.7)
        panel.set_axisbelow(True)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=panel is right))
        panel.text(1, -0.2, "optimiser step", transform=panel.transAxes, ha="right", va="top", fontsize=8, color=GREY)
    return figure


def _parts(panel: Axes, run: str, rows: dict[str, list[dict]]) -> None:
    """The loss and its parts over the steps; where the loss is the cross-entropy alone, that one line."""
    frame = pandas.DataFrame(rows.get(run, []), columns=["step", *PARTS]).set_index("step")
    frame = frame.dropna(axis="columns", how="all").dropna(how="all")
    for name in [name for name in PARTS if name in frame and (name != "loss" or "kl" in frame)]:
        colour, dashes = PARTS[name]
        panel.plot(frame.index, frame[name], color=colour, linestyle=dashes, linewidth=1.6, label=METRICS[name])
    if len(frame):
        panel.legend(frameon=False, fontsize=8, handlelength=2.6, borderpad=0, labelspacing=0.2)
    panel.set_title(f"Loss{f' of {run}' if run else ''} (nats a token)", fontsize=9, loc="left")


def _accuracies(panel: Axes, begun: list[str], rows: dict[str, list[dict]]) -> None:
    """Dev accuracy over the steps: the runs before in grey, the last one in colour."""
    highest = 0.0
    for run in begun:
        found = [(row["step"], row["dev_accuracy"]) for row in rows[run] if "dev_accuracy" in row]
        steps, values = zip(*found, strict=True) if found else ((), ())
        now = run == begun[-1]
        style = {"color": ORANGE if now else "#A9A9A9", "linewidth": 2 if now else 1.2, "zorder": 3 if now else 2}
        panel.plot(steps, values, marker="o", markersize=4 if now else 3, **style)
        highest = max(highest, *values, 0.0)
    before = f"; grey: {len(begun) - 1} before" if len(begun) > 1 else ""
    panel.set_title(f"Dev accuracy (%){before}", fontsize=9, loc="left")
    panel.set_ylim(-0.03 * max(10, highest), 1.1 * max(10, highest))
