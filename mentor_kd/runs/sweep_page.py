"""The page of a sweep: its results, the parameters of each cell, and links to its reports and files."""

from pathlib import Path

import pandas
from markupsafe import Markup

from ..files import read_text, write_text
from ..report import pages

TEMPLATE = """<h1>{{ title }}</h1>
<p>{{ cells|length }} finished cells; each is one trained model.</p>
{% for sentence in said %}<p class="lead">{{ sentence }}</p>
{% endfor %}<h2>Results, mean over seeds</h2>{{ summary }}
<h2>Reports</h2><ul>{% for link in reports %}<li>{{ link }}: accuracies, comparisons, and the answers behind them</li>
{% else %}<li>none: no student is finished</li>{% endfor %}</ul>
<h2>Cells</h2><p>Each cell with the parameters in which cells differ. All cells share the parameters below.</p>
{{ cells }}
<h2>Parameters that all cells share</h2>{{ shared }}
<h2>Files</h2><ul>{% for link in files %}<li>{{ link }}</li>
{% endfor %}</ul>
<details><summary>Executed notebooks</summary><ul>{% for link in notebooks %}<li>{{ link }}</li>
{% endfor %}</ul></details>
"""
NAMES = ("results.csv", "summary.csv", "costs.csv", "params.yaml", "*/chart.png", "*/*.csv", "*/findings.txt")


def write(
    folder: Path, title: str, summary: pandas.DataFrame, results: pandas.DataFrame, parameters: pandas.DataFrame
) -> Path:
    """Write a sweep's index.html and return its path.

    `summary` and `results` are those of `sweep_report`, `parameters` is `sweep_report.cell_parameters`.
    """
    varied = [name for name in parameters if parameters[name].map(repr).nunique() > 1 or name in ("task", "method")]
    shared = parameters.drop(columns=["cell", *varied], errors="ignore").head(1).T.reset_index()
    shared.columns = ["parameter", "value"][: len(shared.columns)]
    body = pages.render(
        TEMPLATE,
        title=title,
        said=[line for path in sorted(folder.glob("*/findings.txt")) for line in read_text(path).splitlines()],
        summary=pages.table(summary),
        reports=_links(folder, "charts/*/index.html"),
        cells=pages.table(_cells(folder, results, parameters[list(dict.fromkeys(["cell", *varied]))])),
        shared=pages.table(shared),
        files=[link for name in NAMES for link in _links(folder, name)],
        notebooks=_links(folder, "*/*/notebooks/*.html"),
    )
    write_text(folder / "index.html", pages.page(title, body))
    return folder / "index.html"


def _links(folder: Path, pattern: str) -> list[Markup]:
    found = sorted(folder.glob(pattern))
    return [pages.anchor(path, folder, path.relative_to(folder).as_posix()) for path in found]


def _cells(folder: Path, results: pandas.DataFrame, parameters: pandas.DataFrame) -> pandas.DataFrame:
    """The cells with their differing parameters and accuracy; the accuracy links to the cell's folder."""
    known = results.set_index("cell")
    links = [
        pages.anchor(folder / known.loc[cell, "folder"], folder, pages.number(known.loc[cell, "accuracy"]))
        for cell in parameters["cell"]
    ]
    return parameters.assign(accuracy=pandas.Series(links, index=parameters.index, dtype=object))
