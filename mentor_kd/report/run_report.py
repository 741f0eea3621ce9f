"""The report of a run: accuracies, paired comparisons, a chart, and an index.html that opens offline."""

import base64
import itertools
import os
from pathlib import Path

import jinja2
import pandas
import yaml
from markupsafe import Markup

from ..evaluation import flips
from ..evaluation import published as paper
from ..evaluation.metrics import accuracy_table, compare, correctness, holm_column, read_predictions, summarise
from ..files import InputError, read_json, read_text, write_text
from ..provenance import provenance
from ..training.methods import MENTOR, METHODS, SELF_MENTOR
from . import charts, latex


def task_folders(run: Path) -> list[Path]:
    """The task folders of a run that have predictions, sorted by name."""
    return sorted({path.parent.parent.parent for path in Path(run).glob("*/students/*/predictions.jsonl")})


def predictions(run: Path) -> list[dict]:
    """All prediction rows of a run's mentors and students, with task, method, seed and protocol.

    Raises InputError if no student has been evaluated.
    """
    folders = task_folders(run)
    if not folders:
        raise InputError(f"{run}: no student has been evaluated in this run; run notebook 06 first")
    return [row for folder in folders for row in read_predictions(folder)]


def accuracies(run: Path) -> pandas.DataFrame:
    """Test accuracy with a Wilson interval for each task, method and seed of a run, mentors included."""
    return accuracy_table(predictions(run))


def comparisons(rows: list[dict]) -> pandas.DataFrame:
    """Every pair of methods on every task: difference b - a in points, paired by seed and question, with its interval.

    Only seeds that both methods have are compared; `seeds` is their number. p_holm is p with Holm's correction over
    all rows of the table. Columns: task, a, b, seeds, n, difference, low, high, p, p_holm.
    """
    right: dict[tuple, dict] = {}
    grouped: dict[tuple, list] = {}
    for row in rows:
        if row["method"] != MENTOR:
            grouped.setdefault((row["task"], row["method"], row["seed"]), []).append(row)
    for (task, method, seed), group in grouped.items():
        right.setdefault((task, method), {})[seed] = correctness(group)
    lines = []
    for task in dict.fromkeys(task for task, _ in right):
        known = list(METHODS)
        methods = [method for one, method in right if one == task]
        methods.sort(key=lambda name: known.index(name) if name in known else len(known))
        for a, b in itertools.combinations(methods, 2):
            seeds = sorted(set(right[task, a]) & set(right[task, b]))
            if not seeds:
                continue
            found = compare({s: right[task, a][s] for s in seeds}, {s: right[task, b][s] for s in seeds})
            n = len(next(iter(right[task, a].values())))
            lines.append([task, a, b, len(seeds), n, found.value, found.low, found.high, found.p])
    table = pandas.DataFrame(lines, columns=["task", "a", "b", "seeds", "n", "difference", "low", "high", "p"])
    return table.assign(p_holm=holm_column(table["p"]))


def references(run: Path, table: pandas.DataFrame) -> pandas.DataFrame:
    """Reference lines of the accuracy chart: the mentors, and the paper's numbers if it has the same student."""
    rows = table[table["method"] == MENTOR]
    mentors = pandas.DataFrame({"task": rows["task"], "label": [MENTOR] * len(rows), "accuracy": rows["accuracy"]})
    return pandas.concat([mentors, published(run, table)], ignore_index=True)


def published(run: Path, table: pandas.DataFrame) -> pandas.DataFrame:
    """The paper's accuracies (task, label, accuracy) for the run's tasks, methods and student; often empty."""
    manifests = [path for folder in task_folders(run) for path in folder.glob("students/*/manifest.json")]
    bases = sorted({read_json(path)["base"] for path in manifests})
    found = [paper.reference(dict.fromkeys(table["task"]), base, dict.fromkeys(table["method"])) for base in bases]
    return pandas.concat([paper.reference([], ""), *found], ignore_index=True)


def costs(run: Path) -> pandas.DataFrame:
    """Training data and cost of each model: parameters, rationales, steps, the chosen step, seconds, padding."""
    lines = []
    for folder in task_folders(run):
        own = folder / SELF_MENTOR / MENTOR
        for place in [folder / MENTOR, own, *sorted((folder / "students").glob("*"))]:
            if not (place / "manifest.json").exists():
                continue
            facts = read_json(place / "manifest.json")
            training = facts["training"]
            lines.append(
                {
                    "task": folder.name,
                    "model": SELF_MENTOR if place == own else place.name,
                    "base": Path(facts["base"]).name,
                    "parameters": facts["parameters"],
                    "rationales": facts["trained_on"],
                    "left out as too long": len(facts["too_long"]),
                    "steps": training["steps"],
                    "chosen step": training["best_step"],
                    "dev accuracy": training["dev_accuracy"],
                    "seconds": training["seconds"],
                    "padding": training["padding"],
                }
            )
    return pandas.DataFrame(lines)


def filter_counts(run: Path) -> dict[str, pandas.DataFrame]:
    """Counts of kept and dropped rationales by task, as written by notebook 04."""
    return {
        folder.name: pandas.read_csv(folder / "filter_counts.csv", index_col=0)
        for folder in task_folders(run)
        if (folder / "filter_counts.csv").exists()
    }


def chart(table: pandas.DataFrame, run: Path) -> charts.Chart:
    """The accuracy chart of a run's students, with the mentors and the paper's numbers as reference lines."""
    return charts.accuracy_chart(table[table["method"] != MENTOR], references(run, table))


TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0; font-size: .9rem }
th, td { padding: .25rem .6rem; text-align: right } th { border-bottom: 2px solid #999 }
tr:nth-child(even) { background: #f5f5f5 } td:first-child { text-align: left }
img { max-width: 100% } pre { background: #f5f5f5; padding: 1rem; overflow: auto; font-size: .85rem }
</style></head><body>
<h1>{{ name }}</h1>
<p>Test accuracy of the students of each method, with 95% intervals. Protocol: <b>{{ protocol }}</b>.</p>
<img alt="Accuracy of each method on each task" src="data:image/png;base64,{{ picture }}">
<h2>Accuracy</h2>{{ summary }}
<h2>Paired comparisons</h2>
<p>Difference b - a in points, paired by seed and test question (bootstrap); p_holm has Holm's correction over all
rows. With fewer than about five seeds the intervals are too narrow; look at the spread over seeds above.</p>
{{ comparisons }}
<h2>Training data and cost of each model</h2>{{ costs }}
{% for task, table in counts.items() %}<h2>Rationales kept and dropped: {{ task }}</h2>{{ table }}{% endfor %}
<h2>Notebooks of this run</h2><ul>
{% for link in notebooks %}<li><a href="{{ link }}">{{ link }}</a></li>
{% else %}<li>no notebook was run headlessly</li>{% endfor %}
</ul>
<h2>Predictions</h2>
<p>Each accuracy above is computed from a file of predictions, one row per question:</p><ul>
{% for link in files %}<li><a href="{{ link }}">{{ link }}</a></li>{% endfor %}</ul>
<h2>Parameters</h2><pre>{{ parameters }}</pre>
<h2>Provenance</h2><pre>{{ provenance }}</pre>
</body></html>
"""


def write(run: Path) -> Path:
    """Write a run's accuracy.csv, .png and .tex, comparisons.csv, flips.csv, costs.csv and index.html.

    Returns the path of index.html.
    """
    run = Path(run)
    rows = predictions(run)
    table = accuracy_table(rows)
    compared = comparisons(rows)
    figure = chart(table, run)
    charts.save(figure, table, run / "accuracy")
    write_text(run / "comparisons.csv", compared.to_csv(index=False))
    pairs = compared[["task", "a", "b"]].itertuples(index=False, name=None)
    write_text(run / "flips.csv", flips.counts(rows, pairs).to_csv(index=False))
    write_text(run / "costs.csv", costs(run).to_csv(index=False))
    write_text(run / "accuracy.tex", latex.table(table, published(run, table), f"Run {run.name}."))

    def html(frame: pandas.DataFrame, index: bool = False) -> str:
        def shown(x: float) -> str:
            return f"{x:.2f}" if x == 0 or abs(x) >= 0.005 else f"{x:.4f}"  # so that a small p is not shown as 0.00

        return frame.to_html(index=index, float_format=shown, border=0, escape=True)

    parameters = run / "params.yaml"
    recorded = read_json(run / "provenance.json") if (run / "provenance.json").exists() else provenance()
    page = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
    text = page.render(
        name=f"Run {run.name}",
        protocol=", ".join(sorted(set(table["protocol"]))),
        picture=base64.b64encode(charts.png(figure)).decode(),
        summary=Markup(html(summarise(table))),
        comparisons=Markup(html(compared)),
        costs=Markup(html(costs(run))),
        counts={task: Markup(html(frame, True)) for task, frame in filter_counts(run).items()},
        notebooks=sorted(os.path.relpath(path, run) for path in run.glob("**/notebooks/*.html")),
        files=sorted(os.path.relpath(path, run) for path in run.glob("*/**/predictions.jsonl")),
        parameters=read_text(parameters) if parameters.exists() else "the notebooks' defaults",
        provenance=yaml.safe_dump(recorded, sort_keys=False, allow_unicode=True),
    )
    write_text(run / "index.html", text)
    return run / "index.html"
