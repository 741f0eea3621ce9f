"""The report of a run: accuracies, paired comparisons, a chart, and an index.html that opens offline."""

import base64
import io
import itertools
from pathlib import Path

import pandas
import yaml
from markupsafe import Markup

from ..data.folder import questions
from ..data.spreadsheet import csv_text
from ..evaluation import flips, memorisation, power
from ..evaluation import published as paper
from ..evaluation.metrics import (
    accuracy_table,
    compare,
    correctness,
    holm_column,
    paired_seeds,
    read_predictions,
    summarise,
)
from ..files import InputError, read_json, read_record, read_text, write_text
from ..provenance import provenance
from ..training.methods import MENTOR, METHODS, SELF_MENTOR
from . import charts, conclusions, latex, pages, rows_pages, trust

FILES = {
    "accuracy.csv": "the accuracy of each model",
    "comparisons.csv": "paired comparisons of the methods",
    "flips.csv": "questions that exactly one of two methods gets right",
    "costs.csv": "training data and cost of each model",
    "accuracy.tex": "the accuracies as a LaTeX table (needs booktabs)",
    "accuracy.png": "the chart above",
    "params.yaml": "the parameters below",
}


def task_folders(run: Path) -> list[Path]:
    """The task folders of a run that have a student with unchanged predictions, sorted by name."""
    found, without = Path(run).glob("*/students/*/predictions.jsonl"), trust.left_out(run)
    return sorted({path.parent.parent.parent for path in found if path.parent not in without})


def predictions(run: Path) -> list[dict]:
    """All prediction rows of a run's mentors and students, with task, method, seed, protocol and the question.

    Models whose files are missing or were changed are left out; `trust.notes` names them.
    Files without the question, as older versions wrote them, get it from the task's questions where they are known.
    Raises InputError if no student has been evaluated.
    """
    folders = task_folders(run)
    if not folders:
        raise InputError(f"{run}: no student has been evaluated in this run; run notebook 06 first")
    without = trust.left_out(run)
    return [row for folder in folders for row in _with_questions(read_predictions(folder, without), folder)]


def _with_questions(rows: list[dict], folder: Path) -> list[dict]:
    if all("question" in row for row in rows) or not (folder / "collected" / "questions.jsonl").exists():
        return rows
    known = {question.id: question.question for question in questions(folder, "test")}
    return [{"question": known[row["id"]], **row} if row["id"] in known else row for row in rows]


def accuracies(run: Path) -> pandas.DataFrame:
    """Test accuracy with a Wilson interval for each task, method and seed of a run, mentors included."""
    return accuracy_table(predictions(run))


def comparisons(rows: list[dict]) -> pandas.DataFrame:
    """Every pair of methods on every task: difference b - a in points, paired by seed and question, with its interval.

    Only seeds that both methods have are compared; `seeds` is their number. p_holm is p with Holm's correction over
    all rows of the table. A difference is `sure` if p_holm is below 0.05 and the paired t interval over at least three
    seeds leaves out zero. `detectable` is the true difference that such a comparison finds in four of five tries.
    Columns: task, a, b, seeds, n, difference, low, high, detectable, p, p_holm, sure. Empty for one method.
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
            one, other = ({s: right[task, method][s] for s in seeds} for method in (a, b))
            found = compare(one, other)
            means = ({seed: 100 * sum(r.values()) / len(r) for seed, r in side.items()} for side in (one, other))
            over = paired_seeds(*means)
            n = len(next(iter(one.values())))
            clear = over.low > 0 or over.high < 0
            least = power.detectable(power.clustered_error(one, other))
            lines.append([task, a, b, len(seeds), n, found.value, found.low, found.high, least, found.p, clear])
    names = ["task", "a", "b", "seeds", "n", "difference", "low", "high", "detectable", "p", "sure"]
    table = pandas.DataFrame(lines, columns=names)
    table.insert(len(names) - 1, "p_holm", holm_column(table["p"]))
    return table.assign(sure=table["sure"].astype(bool) & (table["p_holm"] < 0.05))


def references(run: Path, table: pandas.DataFrame) -> pandas.DataFrame:
    """Reference lines of the accuracy chart: the mentors, and the paper's numbers if it has the same student."""
    rows = table[table["method"] == MENTOR]
    mentors = pandas.DataFrame({"task": rows["task"], "label": [MENTOR] * len(rows), "accuracy": rows["accuracy"]})
    return pandas.concat([mentors, published(run, table)], ignore_index=True)


def published(run: Path, table: pandas.DataFrame) -> pandas.DataFrame:
    """The paper's accuracies (task, label, accuracy) for the run's tasks, methods and student; often empty."""
    without = trust.left_out(run)
    manifests = [path for folder in task_folders(run) for path in folder.glob("students/*/manifest.json")]
    manifests = [path for path in manifests if path.parent not in without]
    bases = sorted({read_record(path, base=str)["base"] for path in manifests})
    found = [paper.reference(dict.fromkeys(table["task"]), base, dict.fromkeys(table["method"])) for base in bases]
    return pandas.concat([paper.reference([], ""), *found], ignore_index=True)


def costs(run: Path) -> pandas.DataFrame:
    """Training data and cost of each model: parameters, rationales, steps, the chosen step, seconds, padding."""
    lines, without = [], trust.left_out(run)
    for folder in task_folders(run):
        own = folder / SELF_MENTOR / MENTOR
        for place in [folder / MENTOR, own, *sorted((folder / "students").glob("*"))]:
            if not (place / "manifest.json").exists() or place in without:
                continue
            facts = read_record(place / "manifest.json", base=str, too_long=list, training=dict)
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
        folder.name: _counts(folder / "filter_counts.csv")
        for folder in task_folders(run)
        if (folder / "filter_counts.csv").exists()
    }


def _counts(path: Path) -> pandas.DataFrame:
    text = read_text(path)
    try:
        return pandas.read_csv(io.StringIO(text), index_col=0)
    except ValueError as error:  # pandas' errors of parsing
        raise InputError(f"{path}: not a table of counts ({' '.join(str(error).split())}); filter again") from None


def chart(table: pandas.DataFrame, run: Path) -> charts.Chart:
    """The accuracy chart of a run's students, with the mentors and the paper's numbers as reference lines."""
    return charts.accuracy_chart(table[table["method"] != MENTOR], references(run, table))


TEMPLATE = """<h1>{{ title }}</h1>
{% for sentence in said %}<p class="lead">{{ sentence }}</p>
{% endfor %}{% for note in notes %}<p class="lead"><b>Caution:</b> {{ note }}</p>
{% endfor %}<p>Protocol: <b>{{ protocol }}</b>. Intervals are 95%: over seeds (t) from three seeds on, else over the
test questions (Wilson).</p>
<img alt="Accuracy of each method on each task" src="data:image/png;base64,{{ picture }}">
<h2>Accuracy</h2><p>Each accuracy links to the answers behind it, which can be searched and filtered.</p>{{ summary }}
<details><summary>Each seed</summary>{{ seeds }}</details>
<h2>Paired comparisons</h2>
{% if comparisons %}<p>Difference b - a in points, paired by seed and test question (bootstrap); p_holm has Holm's
correction over all rows. Sure: p_holm is below 0.05, and the paired t interval over at least three seeds leaves out
zero. Detectable: the true difference that such a comparison finds in four of five tries; if it is large, a small
difference says little. With fewer than about five seeds the intervals are too narrow; look at the spread over seeds
above.</p>
{{ comparisons }}{% else %}<p>There is nothing to compare: no two methods were trained on the same task and seed.</p>
{% endif %}
<h2>Training data and cost of each model</h2>{{ costs }}
{% for task, table in counts.items() %}<h2>Rationales kept and dropped: {{ task }}</h2>{{ table }}
{% if memorised[task] %}<p>{{ memorised[task] }}</p>
{% endif %}{% endfor %}
<h2>Files</h2><ul>
{% for link, what in files %}<li>{{ link }}: {{ what }}</li>
{% endfor %}</ul>
<details><summary>Predictions, one row per question: the numbers above are computed from these files</summary><ul>
{% for link in predictions %}<li>{{ link }}</li>{% endfor %}</ul></details>
<h2>Notebooks of this run</h2><ul>
{% for link in notebooks %}<li>{{ link }}</li>
{% else %}<li>no notebook was run headlessly</li>{% endfor %}
</ul>
<h2>Parameters</h2>{{ parameters }}
<h2>Provenance</h2><pre>{{ provenance }}</pre>
"""


def write(run: Path, title: str = "", settings: pandas.DataFrame | None = None) -> Path:
    """Write a run's accuracy.csv, .png and .tex, comparisons.csv, flips.csv, costs.csv, rows/ and index.html.

    `settings` is a table of parameters to show instead of params.yaml. Returns the path of index.html.
    """
    run = Path(run)
    rows = predictions(run)
    table = accuracy_table(rows)
    compared = comparisons(rows)
    figure = chart(table, run)
    charts.save(figure, table, run / "accuracy")
    pairs = list(compared[["task", "a", "b"]].itertuples(index=False, name=None))
    cost = costs(run)
    for name, frame in (("comparisons", compared), ("flips", flips.counts(rows, pairs)), ("costs", cost)):
        write_text(run / f"{name}.csv", csv_text(frame))
    write_text(run / "accuracy.tex", latex.table(table, published(run, table), f"Run {run.name}."))
    summary = summarise(table)
    rows_pages.write(run, rows, _said(summary))
    path, title = run / "params.yaml", title or f"Run {run.name}"
    parameters = Markup("<pre>{}</pre>").format(read_text(path) if path.exists() else "the notebooks' defaults")
    recorded = read_json(run / "provenance.json") if (run / "provenance.json").exists() else provenance()
    body = pages.render(
        TEMPLATE,
        title=title,
        said=conclusions.sentences(table, compared),
        notes=trust.notes(run),
        protocol=", ".join(sorted(set(table["protocol"]))),
        picture=base64.b64encode(charts.png(figure)).decode(),
        summary=pages.table(_linked(summary, run)),
        seeds=pages.table(_linked(table, run)),
        comparisons=pages.table(compared) if len(compared) else "",
        costs=pages.table(cost),
        counts={task: pages.table(frame, True) for task, frame in filter_counts(run).items()},
        memorised={folder.name: memorised(folder) for folder in task_folders(run)},
        files=[(pages.anchor(run / name, run, name), what) for name, what in FILES.items() if (run / name).exists()],
        predictions=[_anchor(found, run) for found in sorted(run.glob("*/**/predictions.jsonl"))],
        notebooks=[_anchor(found, run) for found in sorted(run.glob("**/notebooks/*.html"))],
        parameters=parameters if settings is None else pages.table(settings),
        provenance=yaml.safe_dump(recorded, sort_keys=False, allow_unicode=True),
    )
    write_text(run / "index.html", pages.page(title, body))
    return run / "index.html"


def memorised(folder: Path) -> str:
    """What the mentor of a task's folder has memorised, in a sentence; "" if it wrote no rationales."""
    places = [folder / "augmented" / "manifest.json", folder / "mentor" / "manifest.json"]
    if not all(place.exists() for place in places):
        return ""
    return memorisation.of_mentor(*map(read_record, places))


def _anchor(path: Path, run: Path) -> Markup:
    return pages.anchor(path, run, path.relative_to(run).as_posix())


def _linked(table: pandas.DataFrame, run: Path) -> pandas.DataFrame:
    """The table with each accuracy as a link to its rows, of one seed where the table has one row per seed."""
    links = []
    for row in table.to_dict("records"):
        here = f"#seed={row['seed']}" if "seed" in row else ""
        address = pages.link(rows_pages.place(run, row["task"], row["method"]), run) + here
        links.append(Markup('<a href="{}">{}</a>').format(address, pages.number(row["accuracy"])))
    return table.assign(accuracy=pandas.Series(links, index=table.index, dtype=object))


def _said(summary: pandas.DataFrame) -> dict[tuple[str, str], str]:
    """A sentence about each task and method, for the page of its rows."""
    return {
        (row.task, row.method): f"{row.accuracy:.1f}% of {row.n} test questions right (95% interval {row.low:.1f} to "
        f"{row.high:.1f}, {row.interval}; {row.seeds} seed{'s' if row.seeds > 1 else ''})."
        for row in summary.itertuples()
    }
