"""The paper's published numbers (data/paper/*.csv), as tables and as reference lines for charts.

Lee, Kim and Lee, EMNLP 2024 (arXiv 2410.09037), Tables 1 to 5 and Figures 3 to 7. data/paper/README.md describes how
they were read and what to consider when comparing.
"""

from collections.abc import Iterable

import pandas

from ..files import DATA, InputError
from .metrics import accuracy

SOURCES = ("table1", "table2", "table3", "table4", "table5", "figure3", "figure4", "figure5", "figure6", "figure7")
MODELS = {  # name in the paper -> name on the hub, as loaded by the official code
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
    """One table or figure, such as "table3" or "figure7", with one number in percent per row.

    Columns: task, model, mentor, method, parameter, at, value, n (test questions; NaN if there are none), what, note,
    source. `parameter` and `at` are the parameter a figure varies and its value; they are empty for tables. Raises
    InputError for an unknown source.
    """
    if source not in SOURCES:
        raise InputError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
    path = DATA / "paper" / f"{source}.csv"
    return pandas.read_csv(path, dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, na_values={"n": [""]})


def with_intervals(found: pandas.DataFrame) -> pandas.DataFrame:
    """Test accuracies with the number of right answers and a 95% Wilson interval, neither of which the paper reports.

    Adds the columns correct, low, high. Numbers that match no count (means over seeds) get the nearest one.
    """
    found = found[found["what"] == ACCURACY].astype({"n": int}).reset_index(drop=True)
    correct = [round(value * n / 100) for value, n in zip(found["value"], found["n"], strict=True)]
    pairs = zip(correct, found["n"], strict=True)
    intervals = [accuracy([True] * k + [False] * (n - k)) for k, n in pairs]
    return found.assign(correct=correct, low=[one.low for one in intervals], high=[one.high for one in intervals])


def reference(
    tasks: Iterable[str], student: str, methods: Iterable[str] = ("vanilla-kd", "mcc-kd", "mentor-kd")
) -> pandas.DataFrame:
    """Published accuracies of a student ("FlanT5-small" or "google/flan-t5-small"), as reference lines for a chart.

    Columns: task, label, accuracy, as taken by charts.accuracy_chart. Tasks without published numbers have no rows.
    """
    every = pandas.concat([numbers(source) for source in ("table1", "table2", "table3")])
    hub = every["model"].map(MODELS)
    rows = every[((every["model"] == student) | (hub == student)) & every["task"].isin(list(tasks))]
    rows = rows[rows["method"].isin(list(methods))]
    frame = pandas.DataFrame({"task": rows["task"], "label": "paper: " + rows["method"], "accuracy": rows["value"]})
    return frame.reset_index(drop=True)
