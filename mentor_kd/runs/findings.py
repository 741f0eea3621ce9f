"""Findings: the differences of a study with their intervals, and sentences that report them.

A difference is called clear if neither other questions nor other seeds are likely to reverse it: the paired bootstrap
over seeds and questions is significant after Holm's correction over the whole table, and the paired t interval over
seeds excludes zero. The sentences are derived from these numbers alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas

from ..evaluation.metrics import compare, holm_column, paired_seeds
from ..files import ROOT, write_text
from ..report import charts
from ..report.figures import Chart
from . import studies, study_charts, sweeps
from .grids import Grid
from .studies import OURS, Answers, Place, Study, about, collect, get_study, means, mirror, published

COLUMNS = ["task", "what", "from", "to", "difference", "low", "high", "seeds_low", "seeds_high", "p", "seeds", "n"]


def name_of(place: Place) -> str:
    """Readable name of a place."""
    series, at = place
    return series if at == "" else f"{series} at {at if isinstance(at, str) else format(at, 'g')}"


def differences(study: Study, answers: Answers, told: pandas.DataFrame) -> pandas.DataFrame:
    """The comparisons of a study in percentage points, paired by seed and test question: one row per task and pair.

    Columns: COLUMNS (low, high and p by the bootstrap over seeds and questions; seeds_low and seeds_high by the t
    interval over seeds), p_holm, clear, and paper: the same difference in the paper's single runs, else NaN.
    """
    lines = []
    for task, places in answers.right.items():
        for label, a, b in study.pairs(list(places)):
            one, other = answers.pair(task, a, b)
            if not one:
                continue
            found = compare(one, other)
            seeds = paired_seeds(*({seed: 100 * _mean(right) for seed, right in side.items()} for side in (one, other)))
            n = len(next(iter(one.values())))
            numbers = [found.value, found.low, found.high, seeds.low, seeds.high, found.p, found.n, n]
            lines.append([task, label, name_of(a), name_of(b), *numbers, _published(task, a, b, told)])
    table = pandas.DataFrame(lines, columns=[*COLUMNS, "paper"])
    table.insert(len(COLUMNS), "p_holm", holm_column(table["p"]))
    outside = (table["seeds_low"] > 0) | (table["seeds_high"] < 0)
    table.insert(len(COLUMNS) + 1, "clear", (table["p_holm"] < 0.05) & outside)
    return table


def _mean(right: dict[str, bool]) -> float:
    return sum(right.values()) / len(right)


def _published(task: str, a: Place, b: Place, told: pandas.DataFrame) -> float:
    """b - a in the paper for FlanT5-small; NaN if the paper lacks either, or has one number for both places."""
    rows = told[(told["task"] == mirror(task, told["task"])) & (told["model"] == "FlanT5-small")]

    def value(place: Place) -> float:
        series, at = place[0].partition(", by ")[0], place[1]
        found = rows[(rows["series"] == series) & (rows["at"] == at)]
        return float(found.iloc[0]["accuracy"]) if len(found) else math.nan

    one, other = (a[0].partition(", by ")[0], a[1]), (b[0].partition(", by ")[0], b[1])
    return value(b) - value(a) if one != other else math.nan


def sentences(table: pandas.DataFrame) -> list[str]:
    """One sentence per difference, and a last one about all of them."""
    said = []
    for row in table.itertuples():
        verdict = f"not clear with {row.seeds} seed{'s' * (row.seeds > 1)} and {row.n} questions"
        if row.clear:
            verdict = "clear: larger than other seeds or questions would explain"
        beside = "" if math.isnan(row.paper) else f"; the paper's single runs: {row.paper:+.1f}"
        numbers = f"{row.difference:+.1f} points ({row.low:.1f} to {row.high:.1f})"
        said.append(f"{row.task}: {row.what}: {numbers}, {verdict}{beside}.")
    said.append(
        f"{int(table['clear'].sum())} of {len(table)} differences are clear. A difference that is not clear may still "
        f"be real: more seeds or questions would show it, or show that it is small."
    )
    return said


@dataclass(frozen=True)
class Findings:
    """Results of a study as written to files by `write`: every model, the points, the differences and the chart."""

    rows: pandas.DataFrame
    means: pandas.DataFrame
    differences: pandas.DataFrame
    chart: Chart
    folder: Path


def write(grid: Grid) -> Findings:
    """Draw and compare the finished cells of a study next to the paper's numbers, in reports/<sweep>/<study>/.

    Files: chart.png, chart.csv (rows of this run and of the paper), means.csv, differences.csv and findings.txt.
    Raises InputError if no cell is finished.
    """
    study, (rows, answers), told = get_study(grid), collect(grid), published(grid.study)
    both = pandas.concat([rows, told], ignore_index=True)
    figure = study_charts.study_chart(both, study.title, study.axis, about(grid))
    found = Findings(rows, means(rows), differences(study, answers, told), figure, sweeps.folder_of(grid) / grid.study)
    charts.save(figure, both, found.folder / "chart")
    write_text(found.folder / "means.csv", found.means.to_csv(index=False))
    write_text(found.folder / "differences.csv", found.differences.to_csv(index=False))
    write_text(found.folder / "findings.txt", "\n".join(sentences(found.differences)) + "\n")
    return found


# Results that are part of the project


def carried(grid: Grid) -> Path | None:
    """The folder of the project's results for a grid; None for a new or a changed grid."""
    name, folder = f"sandbox-{grid.study}", ROOT / "reports" / "sandbox" / grid.study
    if grid.name != name or not folder.is_dir():
        return None
    return folder if grid.cells == studies.read(name, grid.study).cells else None


def read(grid: Grid, folder: Path) -> Findings:
    """The findings that `write` left in a folder, with the chart drawn again."""
    study = get_study(grid)
    texts = ["model", "series", "at"]
    both = pandas.read_csv(folder / "chart.csv", dtype=dict.fromkeys(texts, str)).fillna(dict.fromkeys(texts, ""))
    both["at"] = [_position(text) for text in both["at"]]
    figure = study_charts.study_chart(both, study.title, study.axis, about(grid))
    rows = both[both["whose"] == OURS].reset_index(drop=True)
    return Findings(rows, means(rows), pandas.read_csv(folder / "differences.csv"), figure, folder)


def _position(text: str) -> object:
    """A position on the axis as CSV has it: a number, a name, or empty."""
    try:
        return float(text)
    except ValueError:
        return text


def show(grid: Grid, say: Callable[[str], None] = print) -> Findings:
    """The findings of a grid: those of its run or, until all models are trained, the project's results.

    For a grid without such results, the missing models are trained first, in this process.
    """
    folder, done, cells = carried(grid), len(list(sweeps.finished(grid))), len(grid.cells)
    if folder and done < cells:
        say(f"{grid.name}: results from reports/sandbox/{folder.name}/ ({done} of {cells} models trained here)")
        return read(grid, folder)
    if done < cells:
        sweeps.run_here(grid, list(grid.cells))
    say(f"{grid.name}: {cells} models, trained in reports/{grid.name}/")
    return write(grid)


def cost(grid: Grid) -> str:
    """A grid's models, and about how long they take on one core, at the speed of the project's results."""
    said, folder = f"{grid.name}: {len(grid.cells)} models", ROOT / "reports" / "sandbox" / grid.study
    if not folder.is_dir():
        return said
    models = len(pandas.read_csv(folder / "results.csv"))
    pace = pandas.read_csv(folder / "costs.csv")["seconds"].sum() / models
    return f"{said}, about {max(1, round(pace * len(grid.cells) / 60))} minutes of one core"
