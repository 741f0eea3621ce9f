"""Studies: Table 4 and Figures 3 to 7 of the paper, reproduced from your own grids next to the paper's numbers.

A study is a sweep whose YAML names it (`study: figure3`). The same file works with `python -m mentor_kd sweep` and with
the study's notebook, and each resumes from the results of the other. This module turns trained models into points: each
has a place, a series and its position on the axis. `findings` turns points into differences and sentences.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas

from ..checks import require_list, require_text
from ..data.folder import missed
from ..data.rationales import read_rationales
from ..evaluation import published as paper
from ..evaluation.metrics import accuracy, correctness, over_seeds, read_predictions
from ..files import ROOT, InputError
from ..filtering import summaries
from . import grids, sweeps
from .grids import MENTOR, Grid

OURS, PAPER = "this run", "paper"
TEST, WRITTEN = paper.ACCURACY, "right augmentations"
COLUMNS = ["whose", "what", "task", "model", "series", "at", "seed", "n", "accuracy", "low", "high", "protocol"]
COLUMNS += ["rationales", "steps"]
POINT = ["whose", "what", "task", "model", "series", "at"]  # these columns identify a point of a chart
MIRRORS = {  # the paper's tasks that a sandbox task imitates
    "sandbox-shuffled": ("tracking-shuffled-objects",),
    "sandbox-letters": ("last-letter-concatenation",),
    "sandbox-dates": ("date-understanding",),
    "sandbox-sums": ("svamp", "asdiv"),
}
NAMED = ("student", "mentor", "train_questions")
STUDENTS = ("T5-small", "FlanT5-small")  # in the paper's studies

Place = tuple[str, object]  # a series, and the position on the axis ("" for none)
Pair = tuple[str, Place, Place]  # label of a difference, from, to


@dataclass(frozen=True)
class Study:
    """A table or figure of the paper: its title, its axis label ("" for a categorical chart), and two functions.

    `places` maps a model's method and parameters to its places; `pairs` selects the places to compare.
    """

    title: str
    axis: str
    places: Callable[[str, dict], list[Place]]
    pairs: Callable[[list[Place]], list[Pair]]


# Places and comparisons of each study


def _method(method: str, given: dict) -> list[Place]:
    return [(method, "")]


def _table4_pairs(places: list[Place]) -> list[Pair]:
    words = {
        "the mentor's rationales, without soft labels": ("vanilla-kd", "mentor-kd-no-sld"),
        "the mentor's rationales, with soft labels": ("mentor-kd-no-rd", "mentor-kd"),
        "soft labels, without the mentor's rationales": ("vanilla-kd", "mentor-kd-no-rd"),
        "soft labels, with the mentor's rationales": ("mentor-kd-no-sld", "mentor-kd"),
        "both": ("vanilla-kd", "mentor-kd"),
        "both, at equal optimiser steps": ("vanilla-kd-step-matched", "mentor-kd"),
        "both, against consistent rationale pairs": ("mcc-kd", "mentor-kd"),
    }
    return [(label, (a, ""), (b, "")) for label, (a, b) in words.items()]


def _degree(method: str, given: dict) -> list[Place]:
    return [(method, float(given["samples"]) if method != "vanilla-kd" else 0.0)]


def _degree_pairs(places: list[Place]) -> list[Pair]:
    at = sorted(x for series, x in places if series == "mentor-kd")
    found = [(f"from none to {at[0]:g} a question", ("vanilla-kd", 0.0), ("mentor-kd", at[0]))] if at else []
    steps = sorted({at[0], *(x for x in at if x in (3.0, 6.0)), at[-1]}) if at else []
    for a, b in zip(steps, steps[1:], strict=False):
        found.append((f"from {a:g} to {b:g} a question", ("mentor-kd", a), ("mentor-kd", b)))
    return found


def _share(method: str, given: dict) -> list[Place]:
    share = round(100 * given["teacher_share"], 6)
    units = [given["share_of"]] if share < 100 else ["questions", "rationales"]  # 100%: no draw, both share it
    return [(f"{method}, by {unit}", share) for unit in units]


def _share_pairs(places: list[Place]) -> list[Pair]:
    found = []
    for unit in ("questions", "rationales"):
        one, other = f"vanilla-kd, by {unit}", f"mentor-kd, by {unit}"
        at = sorted(x for series, x in places if series == other)
        found += [(f"the mentor, at {x:g}% of the {unit}", (one, x), (other, x)) for x in at if x < 100]
        if 40.0 in at:
            label = f"the paper's claim: 40% of the {unit} with the mentor against 100% without"
            found.append((label, (one, 100.0), (other, 40.0)))
    at = sorted({x for _, x in places if x < 100})
    label = "rationales drawn singly instead of by question, mentor-kd at {:g}%"
    found += [(label.format(x), ("mentor-kd, by questions", x), ("mentor-kd, by rationales", x)) for x in at]
    if ("mentor-kd, by questions", 100.0) in places:
        everything = ("vanilla-kd, by questions", 100.0), ("mentor-kd, by questions", 100.0)
        found.append(("the mentor, at 100%", *everything))
    return found


def _named(model: str) -> str:
    """A model's name in the paper, or else the last part of its name or path."""
    return {hub: said for said, hub in paper.MODELS.items()}.get(str(model), Path(str(model)).name)


def _size(method: str, given: dict) -> list[Place]:
    name = _named(given["mentor"])
    if method == MENTOR:
        return [("the mentor itself", name)]
    return [(method, name if method in ("mentor-kd", "self-mentor") else "")]


def _size_pairs(places: list[Place]) -> list[Pair]:
    at = [x for series, x in places if series == "mentor-kd"]
    if not at:
        return []
    found = [(f"no mentor to one of the first size ({at[0]})", ("vanilla-kd", ""), ("mentor-kd", at[0]))]
    found += [(f"from {a} to {b}", ("mentor-kd", a), ("mentor-kd", b)) for a, b in zip(at, at[1:], strict=False)]
    return [
        *found,
        ("equal optimiser steps to the last mentor", ("vanilla-kd-step-matched", ""), ("mentor-kd", at[-1])),
    ]


WITH, WITHOUT = "with the mentor's rationales", "without them"


def _weight(method: str, given: dict) -> list[Place]:
    weight = float(given["soft_label_weight"])
    named = {"mentor-kd": (WITH, weight), "mentor-kd-no-rd": (WITHOUT, weight)}
    return [named.get(method, (WITHOUT if method == "vanilla-kd" else WITH, 0.0))]


def _weight_pairs(places: list[Place]) -> list[Pair]:
    found = [("the mentor's rationales, no soft labels", (WITHOUT, 0.0), (WITH, 0.0))]
    for series in (WITH, WITHOUT):
        at = sorted(x for name, x in places if name == series)
        for x in [x for x in at if x in (0.3, at[-1]) and x > 0]:
            found.append((f"soft labels, weight 0 to {x:g}, {series}", (series, 0.0), (series, x)))
    return found


def _augmenter(method: str, given: dict) -> list[Place]:
    said = {"mentor": _named(given["mentor"]), "sandbox": "teacher asked again"}
    who = given["augmenter"]
    return [(said.get(who) or given["augmenter_model"].rpartition("/")[2] or Path(who).stem, "")]


def _augmenter_pairs(places: list[Place]) -> list[Pair]:
    names = [series for series, _ in places]
    return [(f"{one} against {names[-1]}", (one, ""), (names[-1], "")) for one in names[:-1]]


STUDIES = {
    "table4": Study("Effect of the mentor's rationales and soft labels", "", _method, _table4_pairs),
    "figure3": Study("Mentor rationales per question", "mentor rationales per question", _degree, _degree_pairs),
    "figure4": Study("Augmenters for the questions that the teacher missed", "", _augmenter, _augmenter_pairs),
    "figure5": Study("Fewer teacher rationales", "% of the teacher's rationales", _share, _share_pairs),
    "figure6": Study("Size of the mentor", "mentor", _size, _size_pairs),
    "figure7": Study("Weight of the soft labels", "weight of the soft labels", _weight, _weight_pairs),
}


def get_study(grid: Grid) -> Study:
    """The study that a grid names. Raises InputError if it names none or an unknown one."""
    if grid.study not in STUDIES:
        raise InputError(f"sweep {grid.name}: `study` must be one of {', '.join(STUDIES)}, got {grid.study!r}")
    return STUDIES[grid.study]


def read(name: str, study: str, changes: list[str] | None = None) -> Grid:
    """Read the grid of a study by path or by name in notebooks/params/; `changes` are overrides like "epochs=7"."""
    require_text("grid", name, empty=False)
    changes = [] if changes is None else changes
    require_list("changes", changes, str)
    own, path = ROOT / "notebooks" / "params" / f"{name}.yaml", Path(name)
    grid = grids.read(own if own.is_file() and not path.is_file() else path, changes)
    if grid.study != study:
        raise InputError(f"{name}: `study` must be {study!r} here, got {grid.study!r}")
    return grid


# Points


@dataclass
class Answers:
    """Correctness of a study's students: task -> place -> seed -> test question -> correct or not."""

    right: dict[str, dict[Place, dict[int, dict[str, bool]]]]

    def pair(self, task: str, a: Place, b: Place) -> tuple[Mapping, Mapping]:
        """Both sides of a comparison, restricted to their common seeds."""
        one, other = self.right[task].get(a, {}), self.right[task].get(b, {})
        seeds = [seed for seed in one if seed in other]
        return {seed: one[seed] for seed in seeds}, {seed: other[seed] for seed in seeds}


def collect(grid: Grid) -> tuple[pandas.DataFrame, Answers]:
    """Every finished model as rows with COLUMNS, and its correct answers. Raises InputError if none is finished.

    The mentor's own accuracy is included for Table 4 and Figure 6 only.
    """
    study, lines, right = get_study(grid), [], {}
    for cell, stage, parameters in sweeps.finished(grid):
        if cell.method == MENTOR and grid.study not in ("table4", "figure6"):
            continue
        every = stage.every | parameters
        place, facts = sweeps.job(grid, stage).folder, sweeps.trained(grid, stage)
        rows = [row for row in read_predictions(place) if row["method"] == cell.method]
        verdicts, task = correctness(rows), every["task"]
        found = accuracy(verdicts.values())
        model = _named(every["mentor" if cell.method == MENTOR else "student"])
        for series, at in study.places(cell.method, every):
            row = [OURS, TEST, task, model, series, at, every["seed"], found.n, found.value, found.low, found.high]
            lines.append([*row, rows[0]["protocol"], facts["trained_on"], facts["training"]["steps"]])
            right.setdefault(task, {}).setdefault((series, at), {})[every["seed"]] = verdicts
            if grid.study == "figure4":
                lines.append(_written(place, task, series, every["seed"], rows[0]["protocol"]))
    if not lines:
        raise InputError(f"sweep {grid.name}: no cell is done yet")
    frame = pandas.DataFrame(lines, columns=COLUMNS)
    shown = frame["what"] == WRITTEN  # students of all seeds train on the same texts
    return frame[~(shown & frame.duplicated(POINT))].reset_index(drop=True), Answers(right)


def folders(grid: Grid) -> pandas.DataFrame:
    """The folder of each finished student. Columns: task, series, at, seed, folder."""
    study, lines = get_study(grid), []
    for cell, stage, parameters in sweeps.finished(grid):
        if cell.method != MENTOR:
            every = stage.every | parameters
            for series, at in study.places(cell.method, every):
                lines.append([every["task"], series, at, every["seed"], sweeps.job(grid, stage).folder])
    return pandas.DataFrame(lines, columns=["task", "series", "at", "seed", "folder"])


def _written(place: Path, task: str, series: str, seed: int, protocol: str) -> list:
    """Share of an augmenter's rationales that are correct, on the questions the teacher missed (t interval)."""
    asked = {question.id for question in missed(place)}
    rows = [row for row in read_rationales(place / "augmented" / "mentor.jsonl") if row.question_id in asked]
    found = summaries.by_task({task: rows}).iloc[0]
    numbers = [int(found["questions"]), *(float(found[name]) for name in ("accuracy", "low", "high"))]
    return [OURS, WRITTEN, task, "", series, "", seed, *numbers, protocol, len(rows), math.nan]


def published(study: str) -> pandas.DataFrame:
    """The paper's numbers for a study as rows with COLUMNS, with Wilson intervals added from k of n."""
    found = paper.with_intervals(paper.numbers(study))
    more = [paper.with_intervals(paper.numbers(source)) for source in ("table2", "table3") if study == "table4"]
    more = [rows[rows["method"].isin(["vanilla-kd", "mcc-kd"])] for rows in more]
    if study == "figure7":  # Table 4 has the point at weight 0 with the mentor's rationales
        rows = paper.with_intervals(paper.numbers("table4"))
        more = [rows[rows["method"] == "mentor-kd-no-sld"]]
    found = pandas.concat([found, *more], ignore_index=True)
    found = found[found["model"].isin(STUDENTS) & found["task"].isin(paper.numbers(study)["task"])]
    lines = []
    for row in found.itertuples():
        series, at = _published_place(study, row)
        numbers = [row.n, row.value, row.low, row.high]
        lines.append([PAPER, TEST, row.task, row.model, series, at, 0, *numbers, "paper", math.nan, math.nan])
    if study == "figure4":
        for row in paper.numbers(study).itertuples():
            if row.what != TEST:
                numbers = [math.nan, row.value, math.nan, math.nan]
                lines.append([PAPER, WRITTEN, row.task, "", row.model, "", 0, *numbers, "paper", math.nan, math.nan])
    frame = pandas.DataFrame(lines, columns=COLUMNS)
    if study == "figure7":
        frame = frame[(frame["model"] == "FlanT5-small")]
    return frame.reset_index(drop=True)


def _published_place(study: str, row) -> Place:
    """Place of one of the paper's numbers, in our series of the same meaning where there is one."""
    if study == "figure4":
        return row.mentor, ""
    if study == "figure6":
        return ("mentor-kd" if row.at else "vanilla-kd"), row.at
    if study == "figure7":
        zero = row.method == "mentor-kd-no-sld" or float(row.at) > 0
        return (WITH if zero else WITHOUT), float(row.at or 0)
    return row.method, float(row.at) if row.at else ""


def mirror(task: str, tasks: Iterable[str]) -> str:
    """The one of the paper's `tasks` that a task is or imitates; "" if there is none."""
    return next((one for one in (task, *MIRRORS.get(task, ())) if one in set(tasks)), "")


def means(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Mean of each point over seeds with a 95% interval, cut at 0 and 100, as `metrics.over_seeds` gives it.

    Columns: POINT, seeds, n, accuracy, low, high, interval, protocol, rationales, steps.
    """
    lines = []
    for key, group in frame.groupby(POINT, sort=False, dropna=False):
        (mean, kind), first = over_seeds(group), group.iloc[0]
        low, high = (end if math.isnan(end) else min(100.0, max(0.0, end)) for end in (mean.low, mean.high))
        kind = "t over questions" if first["what"] == WRITTEN else kind
        costs = [group["rationales"].mean(), group["steps"].mean()]
        lines.append([*key, mean.n, first["n"], mean.value, low, high, kind, first["protocol"], *costs])
    names = [*POINT, "seeds", "n", "accuracy", "low", "high", "interval", "protocol", "rationales", "steps"]
    return pandas.DataFrame(lines, columns=names)


def about(grid: Grid) -> str:
    """One line for a chart's note: a grid's students, mentors and training questions."""
    students, mentors, sizes = ({cell.parameters.get(name) for cell in grid.cells} for name in NAMED)
    names = [" or ".join(sorted({Path(str(one)).name for one in found if one})) for found in (students, mentors)]
    counts = " or ".join("all" if not one else str(one) for one in sorted(sizes, key=lambda one: one or 0))
    return f"Students: {names[0]}; mentors: {names[1]}; training questions: {counts}."
