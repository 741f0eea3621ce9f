"""What came out of a run, as sentences that are computed from its tables alone."""

import math

import pandas

from ..evaluation.metrics import summarise
from ..training.methods import MENTOR

BASELINES = ("vanilla-kd-step-matched", "vanilla-kd")  # the fairer one first: it has as many optimiser steps
ENOUGH = 3  # seeds from which a method, rather than a single student, is judged


def baseline(method: str, methods: list[str]) -> str:
    """The method to compare a method with: a baseline that was run, else the first other method; "" if none was."""
    others = [name for name in methods if name not in (method, MENTOR)]
    return next((name for name in BASELINES if name in others), others[0] if others else "")


def sentences(table: pandas.DataFrame, compared: pandas.DataFrame) -> list[str]:
    """One sentence per task: the best method, its accuracy and interval, and how sure its lead is.

    `table` is a `metrics.accuracy_table`, `compared` are `run_report.comparisons` of the same predictions.
    """
    summary = summarise(table[table["method"] != MENTOR])
    return [_about(task, rows, compared) for task, rows in summary.groupby("task", sort=False)]


def _about(task: str, rows: pandas.DataFrame, compared: pandas.DataFrame) -> str:
    best = rows.loc[rows["accuracy"].idxmax()]
    equal = [name for name in rows.loc[rows["accuracy"] == best.accuracy, "method"] if name != best.method]
    kind = "95% t interval over seeds" if best.interval == "t over seeds" else "95% Wilson interval"
    seeds = f"{best.seeds} seed{'s' if best.seeds > 1 else ''}"
    got = f"{best.accuracy:.1f}% of {best.n} test questions ({kind} {best.low:.1f} to {best.high:.1f}; {seeds})"
    if best.protocol == "paper":
        got += ", with the epoch selected on these test questions (protocol of the paper)"
    if len(rows) == 1:
        return f"{task}: {best.method} gets {got}. It is the only method, so there is nothing to compare it with."
    if len(equal) == len(rows) - 1:
        return f"{task}: no method is ahead; each gets {got}."
    ranked = rows.sort_values("accuracy", ascending=False, kind="stable")["method"].drop_duplicates()
    others = [name for name in ranked if name not in (best.method, *equal)]
    other = equal[0] if equal else baseline(best.method, others)
    start = f"{task}: {best.method} is best with {got}"
    if equal:
        start = f"{task}: {' and '.join([best.method, *equal])} are best, each with {got}"
        other = baseline(best.method, others)
    return f"{start}; {_lead(task, best.method, other, compared)}."


def _lead(task: str, best: str, other: str, compared: pandas.DataFrame) -> str:
    """By how much `best` is ahead of `other`, and whether other questions or seeds could change that."""
    here = compared[compared["task"] == task]
    forward, back = (here[(here["a"] == a) & (here["b"] == b)] for a, b in ((other, best), (best, other)))
    if forward.empty and back.empty:
        return f"it has no seed in common with {other}, so they cannot be compared"
    if len(forward):
        row = forward.iloc[0]
        value, low, high = row.difference, row.low, row.high
    else:
        row = back.iloc[0]
        value, low, high = -row.difference, -row.high, -row.low
    lead = f"{value:+.1f} points against {other} (95% interval {low:+.1f} to {high:+.1f}), "
    if row.sure:
        return f"{lead}which is sure: neither other questions nor other seeds are likely to reverse it"
    if row.p_holm < 0.05 and row.seeds < ENOUGH:
        few = "a single seed" if row.seeds == 1 else f"{row.seeds} seeds"
        return f"{lead}which is sure for these students, but {few} cannot tell the methods apart from luck in training"
    why = "the p-value is not below 0.05" if math.isnan(row.p_holm) or row.p_holm >= 0.05 else "the seeds disagree"
    return f"{lead}which is not sure ({why}): other questions or seeds could reverse it"
