"""Charts of accuracy, training and filtering: each function draws one table and returns a Figure; `save` writes both.

Charts need no display and use no global state. A notebook shows a chart that is the last expression of a cell.
"""

import numpy
import pandas
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..evaluation.metrics import summarise
from ..files import InputError
from ..filtering.filters import REASONS
from .figures import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    INK,
    MARK,
    ORANGE,
    PAPER_MARK,
    PINK,
    SKY,
    VERMILLION,
    YELLOW,
    Chart,
    ink_on,
    method_colour,
    method_marker,
    name_rows,
    new_figure,
    require_columns,
    span,
)
from .figures import marked as marked  # notebooks call these as charts.save and charts.marked
from .figures import png as png
from .figures import save as save

SHADES = (BLUE, "#4D4D4D", VERMILLION, PINK, YELLOW, "#8C6D00", GREEN, "#882255", SKY, "#B8DDF2", ORANGE)
PART_COLOURS = dict(zip(("kept", *REASONS), SHADES, strict=True))
CHOSEN_ON_TEST = "Test accuracy (%), used to select the epoch"
METRICS = {
    "loss": "Loss",
    "dev_accuracy": "Dev accuracy (%)",
    "ce": "Cross-entropy",
    "kl": "Divergence from the mentor",
    "consistency": "Divergence between answers given two rationales",
    "own_texts": "Divergence from the mentor, on-policy",
}


def accuracy_chart(
    frame: pandas.DataFrame, reference: pandas.DataFrame | None = None, title: str = "Test accuracy"
) -> Chart:
    """Accuracy of each method, one panel per task: seeds as dots, their mean with a 95% interval.

    `frame` is a `metrics.accuracy_table`. `reference` adds lines at published or other single numbers: columns task,
    label, accuracy (percent). Results of protocol "paper" are marked as such.
    """
    require_columns(frame, "task", "method", "seed", "n", "accuracy", "low", "high", "protocol")
    summary = summarise(frame)
    kinds = list(dict.fromkeys(zip(summary["method"], summary["protocol"], strict=True)))
    tasks = list(dict.fromkeys(summary["task"]))
    mixed = summary["protocol"].nunique() > 1
    names = [f"{method} (paper protocol)" if mixed and kind == "paper" else method for method, kind in kinds]
    lines = {task: _lines(reference, task) for task in tasks}
    levels = max(map(len, lines.values()))
    columns = min(len(tasks), 3 if max(map(len, names)) < 28 else 2)
    height = max(2.0, 0.9 + 0.34 * len(kinds) + 0.17 * levels)
    figure, panels = new_figure(title, len(tasks), columns, height, grid="x", sharey=True)
    for task, panel in zip(tasks, panels, strict=True):
        name_rows(panel, names)
        for level, (label, value) in enumerate(lines[task]):  # one level per label, so that none overlap
            panel.axvline(value, color=INK, linewidth=1, linestyle=DASHES[1:][level % 3], zorder=0, gid="reference")
            style = {"xycoords": panel.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 8}
            panel.annotate(f"{label} {value:.1f}", (value, 1), (0, 3 + 12 * level), ha="center", **style)
        seeds, means = frame[frame["task"] == task], summary[summary["task"] == task]
        _draw_methods(panel, kinds, seeds, means)
        ends = [*means["low"], *means["high"], *seeds["accuracy"], *(value for _, value in lines[task])]
        room = max(2.5, 0.06 * (max(ends) - min(ends)))
        panel.set_xlim(max(-0.5, min(ends) - room), min(100.5, max(ends) + room))
        panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        panel.set_title(task, pad=8 + 12 * levels, fontsize=10)
        panel.set_xlabel(f"Accuracy (%), n = {span(seeds['n'])}")
    figure.supxlabel(_accuracy_note(summary), x=0.01, ha="left", fontsize=8, color=GREY)
    if "paper" in set(summary["protocol"]):
        figure.text(0.99, 0.985, PAPER_MARK, ha="right", va="top", **MARK)
    return figure


def _draw_methods(panel: Axes, kinds: list[tuple[str, str]], seeds: pandas.DataFrame, means: pandas.DataFrame) -> None:
    """One row per (method, protocol): interval, mean with its value, and the seeds below them."""
    methods = list(dict.fromkeys(method for method, _ in kinds))
    for place, (method, protocol) in enumerate(kinds):
        colour = method_colour(method, methods.index(method))
        mean = means[(means["method"] == method) & (means["protocol"] == protocol)]
        if mean.empty:
            panel.text(0.02, place, "not run", transform=panel.get_yaxis_transform(), color=GREY, va="center")
            continue
        value, low, high = (float(mean.iloc[0][name]) for name in ("accuracy", "low", "high"))
        panel.plot([low, high], [place, place], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
        dots = seeds.loc[(seeds["method"] == method) & (seeds["protocol"] == protocol), "accuracy"]
        panel.scatter(dots, [place + 0.24] * len(dots), s=13, color=colour, alpha=0.8, linewidths=0, gid="seeds")
        style = {"marker": method_marker(method, methods.index(method)), "edgecolor": colour, "linewidths": 1.6}
        face = "white" if protocol == "paper" else colour
        panel.scatter([value], [place], s=52, facecolor=face, zorder=4, gid="mean", **style)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}
        panel.annotate(
            f"{value:.1f}", (value, place), (0, 6), textcoords="offset points", ha="center", fontsize=8, bbox=box
        )


def _accuracy_note(summary: pandas.DataFrame) -> str:
    bars = {"t over seeds": "95% t interval of the mean over seeds", "Wilson": "95% Wilson interval over the questions"}
    bar = " or ".join(bars[kind] for kind in dict.fromkeys(summary["interval"]))
    return (
        f"Seeds: {span(summary['seeds'])} (small dots); marker: their mean; bar: {bar}.\n"
        f"n: test questions. Protocol: {' and '.join(dict.fromkeys(summary['protocol']))}."
    )


def _lines(reference: pandas.DataFrame | None, task: str) -> list[tuple[str, float]]:
    if reference is None or reference.empty:
        return []
    require_columns(reference, "task", "label", "accuracy")
    rows = reference[reference["task"] == task].sort_values("accuracy")
    return list(zip(rows["label"], map(float, rows["accuracy"]), strict=True))


def learning_curve(frame: pandas.DataFrame, title: str = "Learning curves", log: bool = False) -> Chart:
    """Loss, its parts and dev accuracy against optimiser steps, one panel for each that the table has.

    Columns: step, optionally run (one line each), and any of loss, dev_accuracy (percent), ce, kl, consistency,
    own_texts; NaN where a step has no value. `log` makes all axes but that of dev accuracy logarithmic. Where a column
    `protocol` is "paper", the accuracy is that on the test questions, and the chart is marked.
    """
    require_columns(frame, "step")
    metrics = [name for name in METRICS if name in frame and frame[name].notna().any()]
    if not metrics:
        needed = f"values in at least one of {', '.join(METRICS)}"
        raise InputError(f"learning curve: the table needs {needed}; its columns: {', '.join(frame)}")
    runs = list(dict.fromkeys(frame["run"])) if "run" in frame else [""]
    paper = "protocol" in frame and "paper" in set(frame["protocol"])
    columns = min(2, len(metrics))
    figure, panels = new_figure(title, len(metrics), columns, height=2.9)
    for place, (name, panel) in enumerate(zip(metrics, panels, strict=True)):
        ends = {}
        for k, run in enumerate(runs):
            values = (frame if "run" not in frame else frame[frame["run"] == run])[["step", name]].dropna()
            if values.empty:
                continue
            colour = method_colour(run, k)
            marker = method_marker(run, k) if len(values) <= 30 else ""
            style = {"linestyle": DASHES[k % len(DASHES)], "marker": marker, "markersize": 4}
            panel.plot(values["step"], values[name], color=colour, linewidth=1.6, label=run, **style)
            ends[run] = (values["step"].iloc[-1], values[name].iloc[-1], colour)
        if log and name != "dev_accuracy":
            panel.set_yscale("log")
        chosen_on_test = paper and name == "dev_accuracy"
        panel.set_title(CHOSEN_ON_TEST if chosen_on_test else METRICS[name], fontsize=10)
        panel.set_xlabel("Optimiser step")
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if name == "dev_accuracy" and frame[name].nunique() == 1:  # else a flat line gets an axis 0.01% high
            panel.set_ylim(max(-0.5, frame[name].max() - 5), frame[name].max() + 5)
        if runs != [""] and (place % columns == columns - 1 or place == len(metrics) - 1):
            _label_ends(panel, ends)
    if paper:
        figure.supxlabel(PAPER_MARK, x=0.99, ha="right", **MARK)
    return figure


def yield_chart(frame: pandas.DataFrame, title: str = "What the filters keep") -> Chart:
    """Kept rationales and the reasons for dropping others, one stacked bar per source; `frame` is `filters.counts`."""
    require_columns(frame, "total", "kept")
    parts = [name for name in frame.columns if name != "total"]
    figure, (panel,) = new_figure(title, 1, 1, height=0.8 + 0.75 * len(frame), grid="x")
    name_rows(panel, list(frame.index))
    start = numpy.zeros(len(frame))
    widest = max(1, frame["total"].max())
    for part in parts:
        colour = PART_COLOURS[part]
        counts = frame[part].to_numpy()
        style = {"color": colour, "edgecolor": "white", "height": 0.6, "label": f"{part} ({counts.sum()})"}
        bars = panel.barh(range(len(frame)), counts, left=start, **style)
        fitting = [f"{n}" if n / widest > 0.012 + 0.0095 * len(f"{n}") else "" for n in counts]
        panel.bar_label(bars, fitting, label_type="center", fontsize=9, color=ink_on(colour))
        start = start + counts
    for place, (total, kept) in enumerate(zip(frame["total"], frame["kept"], strict=True)):
        share = f"{100 * kept / total:.1f}% of {total} kept" if total else "none"
        panel.annotate(share, (total, place), (6, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    panel.set_xlim(0, widest * 1.24)
    panel.set_xlabel("Rationales")
    figure.legend(loc="outside lower center", ncols=min(5, len(parts)), frameon=False, fontsize=9, handlelength=1)
    return figure


def length_histogram(frame: pandas.DataFrame, title: str = "Length of rationales") -> Chart:
    """Words in correct and wrong rationales, one panel per source, medians marked; `frame` is `summaries.lengths`."""
    require_columns(frame, "source", "correct", "words")
    sources = list(dict.fromkeys(frame["source"]))
    figure, panels = new_figure(title, len(sources), 1, height=1.9, sharex=True)
    low, high = frame["words"].min(), frame["words"].max()
    width = 1 + (high - low) // 40  # an integer, so that all bins cover equally many lengths
    edges = numpy.arange(low, high + 2 * width, width) - 0.5
    for source, panel in zip(sources, panels, strict=True):
        values = frame[frame["source"] == source]
        for level, (correct, name, colour) in enumerate([(True, "correct", BLUE), (False, "wrong", VERMILLION)]):
            words = values.loc[values["correct"] == correct, "words"]
            if words.empty:
                continue
            panel.hist(words, bins=edges, histtype="stepfilled", color=colour, alpha=0.25)
            panel.hist(words, bins=edges, histtype="step", color=colour, linewidth=1.6, linestyle=DASHES[level])
            panel.axvline(words.median(), color=colour, linewidth=1.2, linestyle=DASHES[level])
            text = f"{name}: {len(words)}, median {words.median():g} words"
            style = {"color": colour, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}}
            panel.text(0.99, 0.96 - 0.14 * level, text, transform=panel.transAxes, ha="right", va="top", **style)
        panel.set_ylim(top=1.4 * panel.get_ylim()[1])  # room for the texts above the bars
        panel.set_title(source, fontsize=10)
        panel.set_ylabel("Rationales")
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[-1].set_xlabel("Words")
    return figure


def agreement_chart(frame: pandas.DataFrame, title: str = "Correct rationales per question") -> Chart:
    """Questions by their number of correct rationales, one panel per source; `frame` is `summaries.agreement`."""
    require_columns(frame, "source", "samples", "correct", "questions")
    sources = sorted(dict.fromkeys(frame["source"]), key=lambda source: (source != "teacher", source))
    figure, panels = new_figure(title, len(sources), len(sources), height=2.7, grid="y", sharey=True)
    for source, panel in zip(sources, panels, strict=True):
        values = frame[frame["source"] == source]
        counts = values.groupby("correct")["questions"].sum().reindex(range(values["samples"].max() + 1), fill_value=0)
        bars = panel.bar(counts.index, counts, color=[VERMILLION, *[BLUE] * (len(counts) - 1)], width=0.75)
        panel.bar_label(bars, fontsize=9, padding=2, color=INK)
        each = f"{span(values['samples'])} rationale{'s' if values['samples'].max() > 1 else ''} each"
        panel.set_title(f"{source}: {counts.sum()} questions, {each}", fontsize=10)
        panel.set_xlabel("Correct rationales")
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.margins(y=0.12)
    panels[0].set_ylabel("Questions")
    return figure


def coverage_chart(frame: pandas.DataFrame, title: str = "Training questions with a kept rationale") -> Chart:
    """Number of questions by the source of their kept rationales; `frame` is `summaries.coverage`."""
    require_columns(frame, "covered_by", "questions", "share")
    figure, (panel,) = new_figure(title, 1, 1, height=2.0, grid="x")
    name_rows(panel, list(frame["covered_by"]))
    colours = {"teacher only": ORANGE, "both": GREEN, "mentor only": BLUE}
    bars = panel.barh(
        range(len(frame)), frame["questions"], height=0.65, color=[colours.get(k, GREY) for k in frame["covered_by"]]
    )
    labels = [f"{n} ({share:.1f}%)" for n, share in zip(frame["questions"], frame["share"], strict=True)]
    panel.bar_label(bars, labels, padding=4, fontsize=9, color=INK)
    panel.margins(x=0.16)
    panel.set_xlabel("Questions")
    return figure


def _label_ends(panel: Axes, ends: dict[str, tuple[float, float, str]]) -> None:
    """Write each line's name to the right of its end, outside the panel; names that would overlap are moved apart."""
    panel.autoscale_view()  # matplotlib sets the limits only when it draws
    to_axes = panel.transData - panel.transAxes  # for linear and logarithmic axes
    runs = sorted(ends, key=lambda run: ends[run][1])
    heights: list[float] = []
    for run in runs:
        heights.append(max(to_axes.transform(ends[run][:2])[1], heights[-1] + 0.065 if heights else 0))
    for run, height in zip(runs, heights, strict=True):
        x, y, colour = ends[run]
        arrow = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6, "relpos": (0, 0.5)}
        where = (1.04, height - max(0, heights[-1] - 1))
        style = {"color": colour, "fontsize": 8, "ha": "left", "va": "center", "arrowprops": arrow}
        panel.annotate(run, (x, y), where, xycoords="data", textcoords="axes fraction", **style)
