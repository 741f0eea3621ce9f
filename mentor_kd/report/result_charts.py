"""More charts of a run's results: questions on which two methods differ, and accuracy against training cost."""

import pandas
from matplotlib.ticker import MaxNLocator

from ..evaluation.metrics import summarise
from .figures import GREY, INK, Chart, method_colour, method_marker, name_rows, new_figure, require_columns


def flip_chart(frame: pandas.DataFrame, title: str = "Questions that exactly one of two methods gets right") -> Chart:
    """For each pair of methods, questions only a (left) or only b (right) gets right, summed over seeds.

    `frame` is `flips.counts`; one panel per task. Questions that both or neither get right are left out: they do not
    affect the comparison. Without a pair to compare, as with a single method, the figure says so.
    """
    if frame.empty:
        figure, (panel,) = new_figure(title, 1, 1, height=0.5)
        panel.set_axis_off()
        style = {"transform": panel.transAxes, "ha": "center", "va": "center", "color": GREY}
        panel.text(0.5, 0.5, "nothing to compare: no two methods were trained on the same task and seed", **style)
        return figure
    require_columns(frame, "task", "a", "b", "only a", "only b", "both", "neither")
    tasks = list(dict.fromkeys(frame["task"]))
    pairs = list(dict.fromkeys(zip(frame["a"], frame["b"], strict=True)))
    figure, panels = new_figure(title, len(tasks), 1, height=0.7 + 0.42 * len(pairs), grid="x", sharex=True)
    sums = frame.groupby(["task", "a", "b"], sort=False)[["only a", "only b", "both", "neither"]].sum()
    widest = max(1, sums[["only a", "only b"]].to_numpy().max())
    for task, panel in zip(tasks, panels, strict=True):
        here = [pair for pair in pairs if (task, *pair) in sums.index]
        name_rows(panel, [f"{a}  |  {b}" for a, b in here])
        for place, pair in enumerate(here):
            row = sums.loc[(task, *pair)]
            for side, column, method in [(-1, "only a", pair[0]), (1, "only b", pair[1])]:
                panel.barh(place, side * row[column], height=0.6, color=method_colour(method, side), gid=column)
                style = {"textcoords": "offset points", "va": "center", "fontsize": 9, "color": INK}
                where = (side * row[column], place)
                panel.annotate(f"{row[column]}", where, (4 * side, 0), ha="right" if side < 0 else "left", **style)
        panel.axvline(0, color=INK, linewidth=0.8)
        panel.set_xlim(-1.15 * widest, 1.15 * widest)
        panel.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        panel.xaxis.set_major_formatter(lambda value, place: f"{abs(value):g}")
        total = int(sums.loc[task].iloc[0].sum())
        panel.set_title(f"{task}: {total} answers per method (questions x seeds)", fontsize=10)
    panels[-1].set_xlabel("only the left method is right   |   only the right method is right")
    return figure


def cost_table(accuracies: pandas.DataFrame, costs: pandas.DataFrame) -> pandas.DataFrame:
    """Mean accuracy with its interval and mean training cost over seeds, for each task and method.

    `accuracies` is a `metrics.accuracy_table`, `costs` the `run_report.costs` of the same run. Columns: task, method,
    base, parameters, rationales, steps, seconds, seeds, accuracy, low, high. Costs are those of training the student
    alone: the mentor and its samples are shared by the whole run.
    """
    require_columns(costs, "task", "model", "base", "parameters", "rationales", "steps", "seconds")
    method = costs["model"].str.replace(r"-seed\d+$", "", regex=True)
    means = costs.assign(method=method).groupby(["task", "method", "base"], sort=False)
    means = means[["parameters", "rationales", "steps", "seconds"]].mean().reset_index()
    found = means.merge(summarise(accuracies), on=["task", "method"], how="inner")
    whole = ["parameters", "rationales", "steps"]
    return found.astype(dict.fromkeys(whole, int)).drop(columns=["protocol", "n", "interval"])


def cost_chart(frame: pandas.DataFrame, title: str = "Accuracy against training cost") -> Chart:
    """Accuracy with its interval against the optimiser steps of one training, one panel per task; see `cost_table`.

    Steps rather than seconds, because seconds depend on the machine as much as on the method.
    """
    require_columns(frame, "task", "method", "steps", "accuracy", "low", "high")
    tasks, methods = list(dict.fromkeys(frame["task"])), list(dict.fromkeys(frame["method"]))
    columns = min(2, len(tasks))
    figure, panels = new_figure(title, len(tasks), columns, height=2.9)
    styles = {m: {"color": method_colour(m, k), "marker": method_marker(m, k)} for k, m in enumerate(methods)}
    for task, panel in zip(tasks, panels, strict=True):
        here = frame[frame["task"] == task]
        widest = max(1, here["steps"].max())
        for place, row in enumerate(here.itertuples()):
            equal = [one.Index for one in here.itertuples() if one.steps == row.steps]
            where = row.steps + 0.02 * widest * (equal.index(row.Index) - (len(equal) - 1) / 2)  # side by side
            style, ends = styles[row.method], [max(0, row.low), min(100, row.high)]
            panel.plot([where] * 2, ends, color=style["color"], alpha=0.55, linewidth=2)
            panel.scatter([where], [row.accuracy], s=46, zorder=3 + place, **style)
        panel.set_xlim(0, 1.1 * widest)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        panel.set_title(task, fontsize=10)
        panel.set_xlabel("Optimiser steps of one model (bar: 95% interval)")
    panels[0].set_ylabel("Accuracy (%)")
    handles = [panels[0].scatter([], [], label=method, **style) for method, style in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(methods)), frameon=False, fontsize=9)
    return figure
