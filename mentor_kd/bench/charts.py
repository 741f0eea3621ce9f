"""Figures of the measurements: speed of the loops, and growth of time and memory."""

import numpy
import pandas

from ..report.figures import BLUE, GREY, ORANGE, VERMILLION, Chart

NAMES = {"paper": "the paper's loop", "ours": "ours, cached soft labels", "floor": "cross-entropy alone"}
COLOURS = {"paper": VERMILLION, "ours": BLUE, "floor": GREY, "plain": VERMILLION, "chunked": BLUE}


def loops_chart(table: pandas.DataFrame, title: str) -> Chart:
    """Rationales per second of each loop: medians as bars, rounds as dots."""
    figure = Chart(figsize=(7, 2.6), layout="constrained")
    panel = figure.add_subplot()
    loops = list(dict.fromkeys(table["loop"]))
    for place, loop in enumerate(loops):
        values = table.loc[table["loop"] == loop, "rationales"]
        panel.barh(place, values.median(), color=COLOURS[loop], height=0.6)
        panel.plot(values, numpy.full(len(values), place), "o", color="white", markeredgecolor="black", markersize=5)
        panel.annotate(
            f"{values.median():.3g}", (values.max(), place), xytext=(8, 0), textcoords="offset points", va="center"
        )
    panel.set_yticks(range(len(loops)), [NAMES[loop] for loop in loops])
    panel.invert_yaxis()
    panel.set_xlim(0, 1.15 * table["rationales"].max())
    panel.set_xlabel("rationales per second (bars: medians, dots: rounds)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def loss_growth_chart(table: pandas.DataFrame, title: str) -> Chart:
    """Peak memory of one loss and its gradients by number of positions, one panel per vocabulary size."""
    vocabularies = sorted(set(table["vocabulary"]))
    figure = Chart(figsize=(3.6 * len(vocabularies), 3), layout="constrained")
    panels = figure.subplots(1, len(vocabularies), squeeze=False, sharey=True)[0]
    for panel, vocabulary in zip(panels, vocabularies, strict=True):
        for kind, mark in (("plain", "s--"), ("chunked", "o-")):
            rows = table[(table["vocabulary"] == vocabulary) & (table["loss"] == kind)]
            panel.plot(rows["positions"], rows["mb"], mark, color=COLOURS[kind], label=kind)
        panel.set_title(f"vocabulary {vocabulary:,}", fontsize=10)
        panel.set_xlabel("target positions per batch")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("memory per step (MB)")
    panels[0].legend(frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def cache_chart(table: pandas.DataFrame, title: str) -> Chart:
    """Time to create the soft-label cache, and its size, by number of target tokens."""
    figure = Chart(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(table["tokens"], table["make_seconds"], "o-", color=BLUE)
    left.set_ylabel("creation time (s)")
    right.plot(table["tokens"], table["tokens"] * table["bytes_per_token"] / 1e6, "s-", color=ORANGE)
    right.set_ylabel("size on disk (MB)")
    for panel in (left, right):
        panel.set_xlabel("target tokens")
        panel.set_xlim(left=0)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure
