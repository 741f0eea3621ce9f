"""A run's accuracies as a LaTeX booktabs table, for \\input in a paper."""

import re

import pandas

from ..evaluation.metrics import summarise
from .figures import span

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def escape(text: str) -> str:
    """The text with LaTeX's special characters escaped."""
    return re.sub(r"[\\&%$#_{}~^]", lambda match: SPECIAL[match[0]], text)


def table(accuracies: pandas.DataFrame, reference: pandas.DataFrame | None = None, caption: str = "") -> str:
    """Methods as rows, tasks as columns: mean accuracy with its 95% interval, the best of each task in bold.

    `accuracies` is a `metrics.accuracy_table`. `reference` has published numbers (task, label, accuracy), shown below a
    rule, in italics and without an interval. Models of protocol "paper" are marked with a dagger, explained in a note.
    Needs \\usepackage{booktabs}.
    """
    summary = summarise(accuracies)
    tasks = list(dict.fromkeys(summary["task"]))
    kinds = list(dict.fromkeys(zip(summary["method"], summary["protocol"], strict=True)))
    found = summary.set_index(["task", "method", "protocol"])
    best = summary.groupby("task")["accuracy"].max()
    lines = []
    for method, protocol in kinds:
        row = [escape(method) + (r"$^\dagger$" if protocol == "paper" else "")]
        for task in tasks:
            if (task, method, protocol) not in found.index:
                row.append("--")
                continue
            one = found.loc[(task, method, protocol)]
            value = f"{one.accuracy:.1f}"
            value = rf"\textbf{{{value}}}" if one.accuracy == best[task] else value
            row.append(rf"{value} {{\scriptsize [{max(0.0, one.low):.1f}, {min(100.0, one.high):.1f}]}}")
        lines.append(row)
    published = []
    if reference is not None and len(reference):
        known = reference.drop_duplicates(["task", "label"]).set_index(["label", "task"])["accuracy"]
        for label in dict.fromkeys(reference["label"]):
            values = [f"{known[label, task]:.1f}" if (label, task) in known.index else "--" for task in tasks]
            published.append([rf"\textit{{{escape(label)}}}", *(rf"\textit{{{value}}}" for value in values)])
    seeds, n = summary["seeds"], summary["n"]
    note = f"Accuracy (\\%) with 95\\% intervals; {span(seeds)} seed(s), {span(n)} test questions."
    if "paper" in set(summary["protocol"]):
        note += r" $^\dagger$ Protocol of the paper: the epoch is selected on the test set."
    rules = [r"\midrule", *map(_row, published)] if published else []
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(tasks)}}}",
            r"\toprule",
            _row(["method", *map(escape, tasks)]),
            r"\midrule",
            *map(_row, lines),
            *rules,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{' '.join(filter(None, [escape(caption), note]))}}}",
            r"\end{table}",
            "",
        ]
    )


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
