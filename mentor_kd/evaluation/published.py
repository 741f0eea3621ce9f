"""The paper's own numbers, to stand beside ours: data/paper/*.csv as tables and as reference lines of charts.

Lee, Kim and Lee, EMNLP 2024 (arXiv 2410.09037), tables 1 to 5 and figures 3 to 7; data/paper/README.md says how they
were read and what to know before one compares.
"""

from collections.abc import Iterable

import pandas

from ..files import DATA, InputError
from .metrics import accuracy

SOURCES = ("table1", "table2", "table3", "table4", "table5", "figure3", "figure4", "figure5", "figure6", "figure7")
MODELS = {  # the paper's name of a model -> its name on the hub, as the official code loads it
    "T5-small": "google-t5/t5-small",
    "T5-base": "google-t5/t5-base",
    "T5-large": "google-t5/t5-large",
    "FlanT5-small": "google/flan-t5-small",
    "FlanT5-base": "google/flan-t5-base",
    "FlanT5-large": "google/flan-t5-large",
    "FlanT5-XL": "google/flan-t5-xl",
    "FlanT5-XXL": "google/flan-t5-xxl",
}
ACCURACY = "test accuracy"
TEXTS = ("task", "model", "mentor", "method", "parameter", "at", "what", "note", "source")


def numbers(source: str) -> pandas.DataFrame:
    """One table or figure ("table3", "figure7"), a row a number in percent; InputError lists the known ones.

    Columns: task, model, mentor, method, parameter, at, value, n (test questions; NaN where none are), what, note,
    source. `parameter` and `at` say what a figure varies, and where; they are empty in tables.
    """
    if source not in SOURCES:
        raise InputError(f"the paper has no {source!r} here; there are {', '.join(SOURCES)}")
    path = DATA / "paper" / f"{source}.csv"
    return pandas.read_csv(path, dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, na_values={"n": [""]})


def with_intervals(found: pandas.DataFrame) -> pandas.DataFrame:
    """The table's test accuracies with their count of right answers and 95% Wilson interval, which the paper lacks.

    Columns added: correct, low, high. Numbers that stand for no count (means over seeds) get the nearest one.
    """
    found = found[found["what"] == ACCURACY].astype({"n": int}).reset_index(drop=True)
    correct = [round(value * n / 100) for value, n in zip(found["value"], found["n"], strict=True)]
    pairs = zip(correct, found["n"], strict=True)
    intervals = [accuracy([True] * k + [False] * (n - k)) for k, n in pairs]
    return found.assign(correct=correct, low=[one.low for one in intervals], high=[one.high for one in intervals])


def reference(
    tasks: Iterable[str], student: str, methods: Iterable[str] = ("vanilla-kd", "mcc-kd", "mentor-kd")
) -> pandas.DataFrame:
    """The tables' accuracies of a student ("FlanT5-small" or "google/flan-t5-small"), as lines of a chart.

    Columns task, label, accuracy, as charts.accuracy_chart takes them; without rows where the paper has nothing.
    """
    every = pandas.concat([numbers(source) for source in ("table1", "table2", "table3")])
    hub = every["model"].map(MODELS)
    rows = every[((every["model"] == student) | (hub == student)) & every["task"].isin(list(tasks))]
    rows = rows[rows["method"].isin(list(methods))]
    frame = pandas.DataFrame({"task": rows["task"], "label": "paper: " + rows["method"], "accuracy": rows["value"]})
    return frame.reset_index(drop=True)
