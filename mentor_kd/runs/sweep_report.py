"""Output of a sweep: the plan before, the progress during, and the tables and charts after it."""

import functools
import os
import time
from collections import Counter
from pathlib import Path

import pandas
from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..data.spreadsheet import csv_text
from ..evaluation import published as paper
from ..evaluation.metrics import accuracy_table, over_seeds, read_predictions
from ..files import InputError, read_record, write_text
from ..models.shapes import GPUS
from ..progress import duration, visible
from ..report import run_report
from . import estimates, follow, notebooks, sweep_page, sweeps
from .grids import MENTOR, Cell, Grid, Stage
from .studies import get_study
from .sweeps import folder_of

ALIKE = ("cell", "seed", "n", "correct", "accuracy", "low", "high", "dev accuracy", "chosen step", "folder", "steps")


def plan(grid: Grid, cells: list[Cell], gpu: str) -> tuple[pandas.DataFrame, dict]:
    """What would run: one row per cell, and totals over all stages, the search included, each counted once.

    Columns: cell, model_of (the cell without its seed), task, method, model, mentor, parameters (number of weights of
    the model), rationales, steps, memory_gb, hours (of its own training only), note. Rows assume that the search
    chooses the first value of each list.
    """
    card = GPUS[gpu]
    stages: dict[str, Stage] = {}
    lines = []
    for cell in cells:
        wanted, final = sweeps.leaves(grid, cell, lambda stage: 0.0)
        for leaf in wanted:
            stages |= {stage.key: stage for stage in leaf.chain()}
        every = final.every
        found = estimates.estimate(final, card)
        lines.append(
            {
                "cell": cell.name,
                "model_of": cell.name.rpartition("/seed")[0] or cell.name,
                "task": every["task"],
                "method": cell.method,
                "model": found.model,
                "mentor": every["mentor"],
                "parameters": found.parameters,
                "rationales": found.rationales,
                "steps": found.steps,
                "memory_gb": round(found.memory, 1),
                "hours": round(found.seconds / 3600, 3),
                "note": found.note,
            }
        )
    totals, soft = Counter(), {}
    for stage in stages.values():
        found, kind = estimates.estimate(stage, card), estimates.kind(stage)
        totals[kind, "stages"] += 1
        totals[kind, "hours"] += found.seconds / 3600
        if found.soft_label_seconds:
            soft[stage.before.key] = found.soft_label_seconds / 3600
    for hours in soft.values():
        totals["soft labels", "stages"] += 1
        totals["soft labels", "hours"] += hours
    return pandas.DataFrame(lines), totals


def show_plan(grid: Grid, cells: list[Cell], gpu: str, console: Console) -> None:
    """Print the plan as tables, with the assumed GPU, the search, and notes."""
    frame, totals = plan(grid, cells, gpu)
    table = Table(title=f"{grid.name}: {len(frame)} cells on {gpu}", title_justify="left")
    for name in ("cell", "seeds", "model", "parameters", "mentor", "rationales", "steps", "GB", "hours each"):
        left = name in ("cell", "model", "mentor")
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for name, group in frame.groupby("model_of", sort=False):
        row = group.iloc[0]
        numbers = (f"{row.rationales:,}", f"{row.steps:,}", f"{row.memory_gb:.1f}", f"{row.hours:.2f}")
        mentor = "" if row.method == MENTOR else Path(row.mentor).name
        size = f"{row.parameters / 1e6:,.1f}M"
        table.add_row(name, str(len(group)), Path(row.model).name, size, mentor, *numbers)
    console.print(table)
    summary = Table(title="Totals, each stage counted once", title_justify="left")
    for name in ("what", "stages", "GPU hours"):
        summary.add_column(name, justify="left" if name == "what" else "right")
    kinds = list(dict.fromkeys(kind for kind, _ in totals))
    for kind in kinds:
        summary.add_row(kind, str(totals[kind, "stages"]), f"{totals[kind, 'hours']:.1f}")
    hours = sum(totals[kind, "hours"] for kind in kinds)
    summary.add_row("together", str(sum(totals[kind, "stages"] for kind in kinds)), f"{hours:.1f}", style="bold")
    console.print(summary)
    card = GPUS[gpu]
    console.print(
        f"Assumed: {card.tflops:g} TFLOP/s at {estimates.MFU:.0%}, {card.memory:g} GB, {card.bandwidth:g} GB/s; the "
        f"formulas are in mentor_kd/runs/estimates.py; they can be wrong by a factor of two or three."
    )
    if grid.search:
        said = "; ".join(f"{name} in {values}" for name, values in grid.search.items())
        console.print(f"Searched by dev accuracy with seed 0, one parameter after another: {said}.")
    for note in sorted(set(frame["note"]) - {""}):
        console.print(f"Note: {note} ({', '.join(sorted(set(frame.loc[frame['note'] == note, 'task'])))}).")
    if (too_large := frame[frame["memory_gb"] > card.memory]).shape[0]:
        console.print(
            f"[bold]{len(too_large)} cells need more memory than one {gpu} has[/]: increase accumulation or use LoRA."
        )


# Progress


def view(grid: Grid, state: sweeps.State) -> Group:
    """The progress of a sweep as tables: stage counts by kind, and the running stages."""
    table = Table(title=_done(grid, state), title_justify="left")
    for name in ("stage", "done", "running", "failed", "waiting"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    counts: dict[str, Counter] = {}
    for key, stage in state.wanted.items():
        where = "done" if key in state.done else "running" if key in state.running else "waiting"
        counts.setdefault(estimates.kind(stage), Counter())["failed" if key in state.failed else where] += 1
    for kind, count in counts.items():
        table.add_row(kind, *(str(count[name] or "") for name in ("done", "running", "failed", "waiting")))
    work = Table(title="running now", title_justify="left")
    for name in ("task", "stage", "seed", "model", "work", "time"):
        work.add_column(name)
    for one in state.running.values():
        own, student = one.stage.parameters, one.stage.notebook == notebooks.STUDENTS
        model = Path(str(own.get("student" if student else "mentor", ""))).name
        found, spent = follow.news(sweeps.job(grid, one.stage)), duration(time.time() - one.started)
        doing = follow.sentence(found.text, follow.about(found.left))
        seed = str(own["seeds"][0]) if student else ""
        work.add_row(own["task"], estimates.kind(one.stage), seed, model, Text(visible(doing, keep="")), spent)
    return Group(table, work) if state.running else Group(table)


def _done(grid: Grid, state: sweeps.State) -> str:
    """How much of a sweep is done, and the time left if it is known."""
    done = f"sweep {grid.name}: {len(state.done)} of {len(state.wanted)} stages done"
    return follow.sentence(done, follow.about(state.seconds_left()))


def log_line(grid: Grid, state: sweeps.State) -> str:
    """The progress of a sweep as one line: stages done, time left, and the work of each running stage."""
    running = []
    for one in state.running.values():
        found = follow.news(sweeps.job(grid, one.stage))
        running.append(f"{estimates.title(one.stage)}: {follow.sentence(found.text, follow.about(found.left))}")
    return "; ".join([_done(grid, state), *running])


def run(grid: Grid, cells: list[Cell], workers: int, memory: float, gpu: str, console: Console) -> sweeps.State:
    """Run a sweep and show its progress: a live table in a terminal, otherwise a line every half minute."""
    if not console.is_terminal:
        with follow.Line(console) as line:

            def tell(state: sweeps.State) -> None:
                line.show(log_line(grid, state) if state.running else "")

            return sweeps.run(grid, cells, workers, memory, gpu, tell, line.say)
    spinner = Spinner("dots")
    with Live(console=console, refresh_per_second=4, transient=True) as live:

        def update(state: sweeps.State) -> None:
            live.update(Group(view(grid, state), spinner))

        return sweeps.run(grid, cells, workers, memory, gpu, update, lambda line: print(visible(line)))


# Results


def results(grid: Grid) -> pandas.DataFrame:
    """The test accuracy of every finished cell, in the grid's order, whichever process ran it.

    Columns: cell, the grid's parameters, searched parameters, protocol, n, correct, accuracy, low, high (in percent,
    95% Wilson interval), dev accuracy, rationales, steps, chosen step, paper (the paper's number for this task, model
    and method), folder.
    """
    lines = []
    for cell, stage, parameters in sweeps.finished(grid):
        place, facts = sweeps.job(grid, stage).folder, sweeps.trained(grid, stage)
        rows = [row for row in read_predictions(place) if row["method"] == cell.method]
        found = accuracy_table(rows).iloc[0]
        name = parameters.get("mentor" if cell.method == MENTOR else "student", "")
        lines.append(
            {
                "cell": cell.name,
                "task": found["task"],
                "method": cell.method,
                **cell.keys,
                "seed": parameters["seed"],
                **{key: parameters.get(key) for key in grid.searched(cell)},
                **found[["protocol", "n", "correct", "accuracy", "low", "high"]].to_dict(),
                "dev accuracy": facts["training"]["dev_accuracy"],
                "rationales": facts["trained_on"],
                "steps": facts["training"]["steps"],
                "chosen step": facts["training"]["best_step"],
                "paper": published(found["task"], str(name), cell.method),
                "folder": os.path.relpath(place, sweeps.folder_of(grid)),
            }
        )
    return pandas.DataFrame(lines)


@functools.cache
def published(task: str, model: str, method: str) -> float | None:
    """The paper's number for a task, model and method from its Tables 1 to 4; None if there is none."""
    for source in ("table3", "table2", "table1", "table4"):
        found = paper.numbers(source)
        rows = found[(found["task"] == task) & (found["model"].map(paper.MODELS) == model)]
        rows = rows[rows["method"] == method]
        if len(rows):
            return float(rows.iloc[0]["value"])
    return None


def summary(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Results averaged over seeds: seeds, n, mean accuracy, its 95% interval and the kind (`metrics.over_seeds`)."""
    same = [name for name in frame.columns if name not in ALIKE and name != "rationales"]
    lines = []
    for key, group in frame.groupby(same, sort=False, dropna=False):
        mean, kind = over_seeds(group)
        lines.append([*key, mean.n, group.iloc[0]["n"], mean.value, mean.low, mean.high, kind])
    return pandas.DataFrame(lines, columns=[*same, "seeds", "n", "accuracy", "low", "high", "interval"])


def costs(grid: Grid) -> pandas.DataFrame:
    """Cost of every stage that was run. Columns: folder, notebook, state, seconds, code (hash of the package)."""
    lines = []
    for path in sorted(sweeps.folder_of(grid).glob("*/status.json")):
        found = read_record(path)
        lines.append([path.parent.name, *(found.get(name) for name in ("notebook", "state", "seconds", "code"))])
    return pandas.DataFrame(lines, columns=["folder", "notebook", "state", "seconds", "code"])


def left_out(grid: Grid) -> list[str]:
    """A sentence about each file of a finished stage that is missing or was changed, and whose cell is left out."""
    found = []
    for cell in grid.cells:
        final = sweeps.leaves(grid, cell, lambda stage: sweeps.dev_accuracy(grid, stage))[1]
        for stage in final.chain() if final else ():
            folder = f"{stage.key}/{stage.parameters['task']}"
            for name, what in sweeps.changed(grid, stage).items():
                found.append(f"{cell.name} is left out: {folder}/{name} is {what} since it was written; run it again")
    return found


def write(grid: Grid) -> Path:
    """Write results.csv, summary.csv, costs.csv, a report per model size and index.html. Returns the sweep's folder."""
    folder, frame = sweeps.folder_of(grid), results(grid)
    if frame.empty:
        raise InputError(f"{folder}: no cell is done yet")
    for name, table in (("results", frame), ("summary", summary(frame)), ("costs", costs(grid))):
        write_text(folder / f"{name}.csv", csv_text(table))
    given = cell_parameters(grid)
    for run_folder, names in gather(grid).items():
        title = f"Sweep {grid.name}, {run_folder.name}"
        run_report.write(run_folder, title, given[given["cell"].isin(names)])
    write_page(grid)
    return folder


def write_page(grid: Grid) -> Path:
    """Write the sweep's index.html, with the findings of its study if they are there. Returns its path."""
    frame = results(grid)
    title = f"Sweep {grid.name}" + (f": {get_study(grid).title}" if grid.study else "")
    return sweep_page.write(folder_of(grid), title, summary(frame), frame, cell_parameters(grid))


def cell_parameters(grid: Grid) -> pandas.DataFrame:
    """The parameters of every finished cell, those that the search chose included: one row per cell."""
    lines = [{"cell": cell.name, **stage.every, **parameters} for cell, stage, parameters in sweeps.finished(grid)]
    return pandas.DataFrame(lines).drop(columns=["methods", "seeds", "run"], errors="ignore")


def gather(grid: Grid) -> dict[Path, list[str]]:
    """Link the cells into one run per model size, charts/<size>/<task>/, for notebook 07 and `report`.

    Returns the folder of each such run, with the names of its cells.
    """
    made: dict[Path, list[str]] = {}
    for cell, stage, parameters in sweeps.finished(grid):
        if cell.method == MENTOR:
            continue
        place = sweeps.job(grid, stage).folder
        rest = {key: value for key, value in cell.keys.items() if key not in ("task", "method", "seed")}
        size = "_".join(Path(str(value)).name if "/" in str(value) else f"{value}" for value in rest.values()) or "all"
        folder = sweeps.folder_of(grid) / "charts" / size
        here = folder / place.name
        (here / "students").mkdir(parents=True, exist_ok=True)
        links = [f"students/{cell.method}-seed{parameters['seed']}", "mentor", "collected", "params.yaml"]
        for name in [*links, "rationales.jsonl", "filters.yaml", "filter_counts.csv"]:
            if (place / name).exists():
                _link(here / name, place / name)
        made.setdefault(folder, []).append(cell.name)
        if not (folder / "params.yaml").is_symlink():
            _link(folder / "params.yaml", place.parent / "params.yaml")
    return made


def _link(path: Path, to: Path) -> None:
    """Create a relative link, or replace the existing one."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(os.path.relpath(to, path.parent))
    part.replace(path)


def show_results(grid: Grid, console: Console) -> None:
    """Print the summary as a table next to the paper's numbers."""
    found = summary(results(grid))
    hidden = ("protocol", "seeds", "n", "accuracy", "low", "high", "interval", "paper")
    names = [name for name in found.columns if name not in hidden and found[name].nunique(dropna=False) > 1]
    table = Table(title=f"{grid.name}: test accuracy (95% interval)", title_justify="left")
    for name in [*names, "accuracy", "interval", "seeds", "questions", "paper"]:
        table.add_column(name, justify="left" if name in ("task", "method", "student", "mentor") else "right")
    for row in found.to_dict("records"):
        values = ["" if pandas.isna(row[name]) else Path(str(row[name])).name for name in names]
        interval = f"{row['low']:.1f} to {row['high']:.1f}"
        beside = "" if pandas.isna(row["paper"]) else f"{row['paper']:.2f}"
        table.add_row(*values, f"{row['accuracy']:.1f}", interval, str(row["seeds"]), str(row["n"]), beside)
    console.print(table)
    for note in left_out(grid):
        console.print(f"Caution: {note}")
    codes = costs(grid)["code"].dropna().nunique()
    if codes > 1:
        console.print(f"Note: the stages were run with {codes} versions of the code; see costs.csv.")
