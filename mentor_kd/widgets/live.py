"""Watch training live: loss parts and dev accuracy in one picture that is updated in place, and a stop button.

    show = Live("The mentor")
    manifest = await show.train(train_mentor, folder, mentor, settings, max_length)

Training runs in a thread and the cell awaits it, because a blocked cell receives no clicks. When stopped by the button,
the kernel's interrupt or SIGTERM, it leaves a checkpoint, and the same cell resumes from it. Without a front end
(papermill, nbconvert) the same lines train to the end and leave the last picture.
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
from ..report.figures import BLUE, COLOURS, GREY, INK, ORANGE, PALE, VERMILLION, Chart, method_colour
from ..signals import asked_to_stop

EVERY = 0.5  # minimum seconds between two pictures
SHARE = 0.02  # maximum share of the time spent on drawing
PARTS = {"loss": (INK, "-"), "ce": (BLUE, "--"), "kl": (VERMILLION, "-.")}  # distinguished by more than colour


class Stopped(KeyboardInterrupt):
    """Training was stopped and left a checkpoint; notebooks show the message instead of a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class StopButton(anywidget.AnyWidget):
    """A button that can be clicked once; `asked` is true after the click."""

    _esm = Path(__file__).with_name("stop.js")
    label = traitlets.Unicode("Stop").tag(sync=True)
    asked = traitlets.Bool(False).tag(sync=True)

    @traitlets.observe("asked")
    def _say(self, change) -> None:
        self.label = "Stopping at the end of this step ..." if change.new else "Stop"


class Live:
    """Shows several trainings that run one after another; `rows` holds the metrics of each so far."""

    def __init__(self, title: str):
        self.title = title
        self.rows: dict[str, list[dict]] = {}
        self.drawn = 0  # number of rows in the last picture
        self.next = 0.0  # earliest time of the next picture
        self.seconds = 0.0  # total time spent on drawing
        self.handles: dict[str, object] = {}

    async def train(self, step: Callable, *arguments, run: str = "", **named):
        """Return `step(*arguments, stop=..., watch=..., **named)`, drawing its metrics under the name `run` meanwhile.

        Raises whatever the step raises, and Stopped if it was stopped.
        """
        rows = self.rows[run] = []
        ended = ""  # of a step that fails, its error says enough
        button = StopButton()
        asked = threading.Event()
        button.observe(lambda change: asked.set(), "asked")
        work = functools.partial(step, *arguments, stop=asked.is_set, watch=rows.append, **named)
        self._show("control", button)
        try:
            with asked_to_stop(asked.set):
                # The copied context sends what the thread prints to this cell. It is not a task, because a
                # KeyboardInterrupt in a task would also end the kernel's event loop.
                loop, context = asyncio.get_running_loop(), contextvars.copy_context()
                future = loop.run_in_executor(None, context.run, work)
                while not future.done():
                    try:
                        await asyncio.wait([future], timeout=EVERY / 2)
                    except asyncio.CancelledError:  # a kernel interrupt where we cannot handle signals
                        asked.set()
                    self._draw()
            result = future.result()
            ended = "" if rows else f"{run or self.title}: already trained"
            return result
        except KeyboardInterrupt as error:
            raise Stopped(str(error)) from None
        finally:
            self._draw(last=True)
            self._show("control", _html(ended))
            button.close()

    def _draw(self, last: bool = False) -> None:
        """Draw what is new, but no more often than SHARE of the time allows."""
        known = sum(map(len, self.rows.values()))
        if known == self.drawn or (not last and time.monotonic() < self.next):
            return
        started = time.thread_time()
        self._show("picture", picture(self.rows, self.title))
        cost = time.thread_time() - started
        self.drawn, self.next = known, time.monotonic() + max(EVERY, cost / SHARE)
        self.seconds += cost

    def _show(self, name: str, content: object) -> None:
        """Show something in this notebook, replacing what was shown under that name before."""
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
    """Loss parts of the last run that has rows, and the dev accuracy of all; `rows` has those of metrics.jsonl by run.

    Plain and small because it is redrawn often: unlike `charts.learning_curve`, it computes no layout.
    """
    figure = Chart(figsize=(8, 2.75), dpi=100, facecolor="white")
    figure.subplots_adjust(left=0.065, right=0.985, bottom=0.17, top=0.8, wspace=0.16)
    figure.text(0.01, 0.97, title, va="top", fontsize=11, fontweight="bold", color=INK)
    left, right = figure.subplots(1, 2)
    begun = [run for run, found in rows.items() if found]
    _parts(left, begun[-1] if begun else "", rows)
    _accuracies(right, begun, rows)
    furthest = max([1, *(row["step"] for found in rows.values() for row in found)])
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
    """The loss and its parts against the steps; a single line if the loss is cross-entropy alone."""
    frame = pandas.DataFrame(rows.get(run, []), columns=["step", *PARTS]).set_index("step")
    frame = frame.dropna(axis="columns", how="all").dropna(how="all")
    for name in [name for name in PARTS if name in frame and (name != "loss" or "kl" in frame)]:
        colour, dashes = PARTS[name]
        panel.plot(frame.index, frame[name], color=colour, linestyle=dashes, linewidth=1.6, label=METRICS[name])
    if len(frame):
        panel.legend(frameon=False, fontsize=8, handlelength=2.6, borderpad=0, labelspacing=0.2)
    panel.set_title(f"Loss{f' of {run}' if run else ''} (nats per token)", fontsize=9, loc="left")


def _accuracies(panel: Axes, begun: list[str], rows: dict[str, list[dict]]) -> None:
    """Dev accuracy against the steps: earlier runs in grey, the last one in colour."""
    highest = 0.0
    for run in begun:
        found = [(row["step"], row["dev_accuracy"]) for row in rows[run] if "dev_accuracy" in row]
        steps, values = zip(*found, strict=True) if found else ((), ())
        now = run == begun[-1]
        colour = method_colour(run, COLOURS.index(ORANGE)) if now else "#A9A9A9"
        style = {"color": colour, "linewidth": 2 if now else 1.2, "zorder": 3 if now else 2}
        panel.plot(steps, values, marker="o", markersize=4 if now else 3, **style)
        highest = max(highest, *values, 0.0)
    earlier = f"; grey: {len(begun) - 1} earlier" if len(begun) > 1 else ""
    panel.set_title(f"Dev accuracy (%){earlier}", fontsize=9, loc="left")
    panel.set_ylim(-0.03 * max(10, highest), 1.1 * max(10, highest))
