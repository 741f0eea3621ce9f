"""Charts of the studies: panels of this run first, then panels of the paper's numbers, from one table.

The paper's panels are tinted and titled: their models, tasks and protocol differ, so compare directions, not heights.
The style is that of `report.charts`.
"""

import math
import textwrap

import numpy
import pandas
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator

from ..report.figures import (
    DASHES,
    GREY,
    INK,
    MARK,
    MARKERS,
    PAPER_MARK,
    Chart,
    method_colour,
    name_rows,
    new_figure,
    require_columns,
    span,
)
from .grids import MENTOR
from .studies import COLUMNS, OURS, PAPER, TEST, WRITTEN, means, mirror

TINT = "#F4F1EA"  # background of the paper's panels
LABELS = {TEST: "Test accuracy (%)", WRITTEN: "Correct rationales (%)"}
WIDE = 6  # from this number of panels on, three columns
LETTERS, LINE = 105, 150  # characters per line of the legend, of the note


def study_chart(frame: pandas.DataFrame, title: str, axis: str = "", note: str = "") -> Chart:
    """Draw a study's means, seeds and 95% intervals along `axis`, or by name if `axis` is empty.

    `frame` has studies.COLUMNS, with rows of this run and of the paper. There is one panel per task and measure. `note`
    is one line about what was run, printed below.
    """
    require_columns(frame, *COLUMNS)
    ours, theirs = frame[frame["whose"] == OURS], frame[frame["whose"] == PAPER]
    tasks = list(dict.fromkeys(ours["task"]))
    order = [one for one in (mirror(task, theirs["task"]) for task in tasks) if one]
    order += [task for task in dict.fromkeys(theirs["task"]) if task not in order]
    panels = [part for task in tasks for part in _parts(ours, task)] + [p for t in order for p in _parts(theirs, t)]
    columns = 1 if len(panels) == 1 else 2 if len(panels) < WIDE or not axis else 3
    names = {series: k for k, series in enumerate(dict.fromkeys(frame["series"]))}
    longest = max(frame.groupby(["whose", "what", "task", "model"])["series"].nunique())
    height = 2.4 if axis else max(1.8, 0.9 + 0.3 * longest)
    lines = math.ceil(sum(len(name) + 8 for name in names) / LETTERS) if axis else 0  # lines of the legend
    title += lines * "\n "
    figure, axes = new_figure(title, len(panels), columns, height, grid="both" if axis else "x")
    several = theirs["model"].replace("", None).nunique() > 1
    for part, panel in zip(panels, axes, strict=True):
        _title(panel, part.iloc[0], several)
        (_curves if axis else _rows)(panel, part, names)
        if axis:
            panel.set_xlabel(axis if part.iloc[0]["whose"] == OURS or not isinstance(part.iloc[0]["at"], str) else "")
    if axis:
        shown = {series: axes[0].plot([], [], **_style(series, k), label=series)[0] for series, k in names.items()}
        under = (0.005, 1 - 0.27 / figure.get_figheight())
        style = {"frameon": False, "fontsize": 8.5, "columnspacing": 1.2, "borderaxespad": 0}
        ncols = math.ceil(len(names) / lines)
        figure.legend(handles=shown.values(), loc="upper left", bbox_to_anchor=under, ncols=ncols, **style)
    figure.supxlabel(_note(ours, theirs, note), x=0.01, ha="left", fontsize=8, color=GREY)
    if "paper" in set(ours["protocol"]):
        figure.text(0.99, 0.985, PAPER_MARK, ha="right", va="top", **MARK)
    return figure


def _parts(frame: pandas.DataFrame, task: str) -> list[pandas.DataFrame]:
    """A task's rows, one table per panel: augmented rationales, then test accuracy (for the paper one per model)."""
    here = frame[frame["task"] == task]
    models = {what: list(dict.fromkeys(here.loc[here["what"] == what, "model"])) for what in (WRITTEN, TEST)}
    students = [name for name in models[TEST] if name in set(here.loc[here["series"] != "the mentor itself", "model"])]
    parts = [here[here["what"] == WRITTEN]] if models[WRITTEN] else []
    tests = here[here["what"] == TEST]
    if here["whose"].iloc[0] == OURS or len(students) < 2:  # students and mentors share a panel
        return [*parts, tests]
    return [*parts, *(tests[tests["model"] == name] for name in students)]


def _title(panel: Axes, first: pandas.Series, several: bool) -> None:
    """Title of a panel: whose numbers, which task, and the model if the paper has several."""
    model = f", {first['model']}" if first["whose"] == PAPER and first["model"] and several else ""
    n = "" if math.isnan(first["n"]) else f", n = {first['n']:.0f}"
    what = "" if first["what"] == TEST else f", {WRITTEN}"
    panel.set_title(f"{first['whose']}{model}{what}\n{first['task']}{n}", fontsize=8.5, loc="left")
    if first["whose"] == PAPER:
        panel.set_facecolor(TINT)


def _style(series: str, k: int) -> dict:
    colour = method_colour(MENTOR if series == "the mentor itself" else series, k)
    look = {"color": colour, "marker": MARKERS[k % len(MARKERS)], "markersize": 5}
    return look | {"linestyle": DASHES[k % len(DASHES)], "linewidth": 1.5}


def _curves(panel: Axes, part: pandas.DataFrame, names: dict[str, int]) -> None:
    """One line per series; a series without a position on the axis is a horizontal line."""
    points = means(part)
    places = list(dict.fromkeys(at for at in points["at"] if at != ""))
    words = any(isinstance(at, str) for at in places)
    where = {at: float(k) for k, at in enumerate(places)} if words else {at: float(at) for at in places}
    span = max(where.values()) - min(where.values()) if len(where) > 1 else 1.0
    middle = (max(where.values()) + min(where.values())) / 2 if where else 0.0
    here = [series for series in names if series in set(points["series"])]
    for series, rows in points.groupby("series", sort=False):
        style, shift = _style(series, names[series]), 0.012 * span * (here.index(series) - (len(here) - 1) / 2)
        if (rows["at"] == "").all():
            _level(panel, rows.iloc[0], style)
            continue
        rows = rows.sort_values("at", key=lambda column: column.map(where))
        x = numpy.array([where[at] for at in rows["at"]]) + shift  # offset, so that series do not overlap
        panel.plot(x, rows["accuracy"], **style, zorder=3, gid="mean")
        for place, row in zip(x, rows.itertuples(), strict=True):
            if not math.isnan(row.low):
                panel.plot([place] * 2, [row.low, row.high], color=style["color"], linewidth=2.5, alpha=0.35, zorder=2)
            dots = part[(part["series"] == series) & (part["at"] == row.at)]["accuracy"]
            if len(dots) > 1:
                panel.scatter(
                    [place] * len(dots), dots, s=9, color=style["color"], alpha=0.8, linewidths=0, gid="seeds"
                )
    margin = 0.08 * span if not words else 0.4
    panel.set_xlim(min(where.values(), default=0) - margin, max(where.values(), default=1) + margin)
    if words:
        panel.set_xticks(list(where.values()), [at.removeprefix("sandbox-") for at in where])
    elif len(where) <= 10 and middle:
        panel.xaxis.set_major_locator(FixedLocator(_apart(sorted(where.values()), 0.09 * span)))
        panel.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    _at_least_ten(panel, "y")
    panel.set_ylabel(LABELS[TEST], fontsize=8)
    panel.yaxis.set_major_locator(MaxNLocator(6))


def _at_least_ten(panel: Axes, axis: str) -> None:
    """Let an accuracy axis span at least ten points, so that a difference of one question does not fill the panel."""
    low, high = panel.get_xlim() if axis == "x" else panel.get_ylim()
    if high - low < 10:
        start = max(-1.0, (low + high) / 2 - 5)
        panel.set(**{f"{axis}lim": (start, start + 10)})


def _apart(values: list[float], least: float) -> list[float]:
    """The values that are at least `least` apart, so that their labels do not overlap."""
    kept: list[float] = []
    for value in values:
        if not kept or value - kept[-1] >= least:
            kept.append(value)
    return kept


def _level(panel: Axes, row: pandas.Series, style: dict) -> None:
    """A horizontal line with its interval, for a series without a position on the axis."""
    panel.axhline(row["accuracy"], color=style["color"], linestyle=style["linestyle"], linewidth=1.5, gid="level")
    if not math.isnan(row["low"]):
        panel.axhspan(row["low"], row["high"], color=style["color"], alpha=0.10, zorder=0)


def _rows(panel: Axes, part: pandas.DataFrame, names: dict[str, int]) -> None:
    """One row per series: interval, labelled mean, and seeds below."""
    points = means(part.sort_values("series", key=lambda column: column.map(names), kind="stable"))
    name_rows(panel, list(points["series"]))
    for place, row in enumerate(points.itertuples()):
        style = _style(row.series, names[row.series])
        if not math.isnan(row.low):
            panel.plot(
                [row.low, row.high], [place] * 2, color=style["color"], linewidth=2.2, alpha=0.5, solid_capstyle="butt"
            )
        dots = part.loc[part["series"] == row.series, "accuracy"]
        if len(dots) > 1:
            panel.scatter(dots, [place + 0.26] * len(dots), s=11, color=style["color"], linewidths=0, gid="seeds")
        panel.scatter([row.accuracy], [place], s=40, color=style["color"], marker=style["marker"], zorder=4, gid="mean")
        where = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "color": INK}
        panel.annotate(f"{row.accuracy:.1f}", (row.accuracy, place), (0, 5), **where)
    panel.margins(x=0.08)
    _at_least_ten(panel, "x")
    panel.set_xlabel(LABELS[part.iloc[0]["what"]], fontsize=8)


def _note(ours: pandas.DataFrame, theirs: pandas.DataFrame, note: str) -> str:
    """The note below a chart: what the marks mean, and how far runs are comparable."""
    models = [name for name in dict.fromkeys(theirs["model"]) if name]
    points = means(ours)
    bars = " or ".join(dict.fromkeys(points["interval"]))
    lines = [
        *([note] if note else []),
        f"This run: protocol {', '.join(dict.fromkeys(ours['protocol']))}; {span(points['seeds'])} seed(s), small "
        f"dots; marker: mean; bar: 95% interval ({bars}), cut at 0 and 100. n: test questions "
        f"{span(points.loc[points['what'] == TEST, 'n'])}.",
    ]
    if models:
        same = set(ours["task"]) & set(theirs["task"])
        apart = "Different protocol" if same else "Different models and tasks"
        lines.append(
            f"Paper (tinted): {', '.join(models)}; one run each, best epoch on the test set; bar: 95% Wilson "
            f"interval of k of n. {apart}: compare directions, not heights."
        )
    return "\n".join(textwrap.fill(line, LINE) for line in lines)
