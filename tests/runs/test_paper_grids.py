"""The paper's grids: every cell of its tables and figures has a plan, and published settings are fixed."""

import pytest

from mentor_kd.evaluation import published as paper
from mentor_kd.files import ROOT
from mentor_kd.models.shapes import GPUS
from mentor_kd.runs import grids, studies, sweep_report

NAMES = sorted(path.stem for path in (ROOT / "notebooks" / "params").glob("paper-*.yaml"))
HUB = {hub: name for name, hub in paper.MODELS.items()}


def read(name: str) -> grids.Grid:
    return grids.read(ROOT / "notebooks" / "params" / f"{name}.yaml")


def cells(grid: grids.Grid) -> set[tuple]:
    """(task, model, method) of the grid's cells, with the paper's names."""
    models = [c.parameters["mentor" if c.method == "mentor" else "student"] for c in grid.cells]
    return {(c.parameters["task"], HUB[m], c.method) for c, m in zip(grid.cells, models, strict=True)}


def published(source: str) -> set[tuple]:
    """(task, model, method) of the models that the paper's authors trained, baselines included."""
    found = paper.numbers(source)
    ours = found[found["method"].isin(["mentor", "vanilla-kd", "mcc-kd", *(m for m in found["method"] if "-kd" in m)])]
    return set(ours[["task", "model", "method"]].itertuples(index=False, name=None))


def test_there_is_a_grid_for_each_table_and_figure():
    assert [f"paper-figure{i}" for i in range(3, 8)] + [f"paper-table{i}" for i in range(1, 5)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_grid_is_valid_and_has_four_seeds_per_student(name):
    grid = read(name)
    assert grid.name == name
    seeds: dict[str, set] = {}
    for cell in grid.cells:
        seeds.setdefault(cell.name.rpartition("/seed")[0] or cell.name, set()).add(cell.parameters["seed"])
    for model, found in seeds.items():
        assert found == ({0} if model.endswith("/mentor") else {0, 1, 2, 3}), model
    assert {cell.parameters["data"] for cell in grid.cells} == {"official"}
    assert {cell.parameters["batch_size"] for cell in grid.cells} == {8}


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_cells_of_a_table_match_the_paper_and_each_has_a_plan(number):
    grid = read(f"paper-table{number}")
    assert cells(grid) == published(f"table{number}")
    frame, totals = sweep_report.plan(grid, list(grid.cells), "h100")
    assert list(frame["cell"]) == [cell.name for cell in grid.cells]
    assert (frame["steps"] > 100).all() and (frame["rationales"] > 100).all() and (frame["hours"] > 0).all()
    assert (frame["memory_gb"] < GPUS["h100"].memory).all()
    assert totals["mentor", "stages"] >= len(set(frame["task"]))


def points(name: str, key: str, method: str, task: str = "last-letter-concatenation") -> list:
    found = [c for c in read(name).cells if c.method == method and c.parameters["task"] == task]
    return list(dict.fromkeys(cell.parameters[key] for cell in found))


def test_points_of_the_figures_match_the_paper():
    assert points("paper-figure3", "samples", "mentor-kd") == [*range(1, 10)]
    assert {c.parameters["task"] for c in read("paper-figure3").cells} == set(paper.numbers("figure3")["task"])
    weights = [float(at) for at in paper.numbers("figure7")["at"].unique()]
    assert points("paper-figure7", "soft_label_weight", "mentor-kd") == weights


@pytest.mark.parametrize("task", ["tracking-shuffled-objects", "last-letter-concatenation"])
def test_shares_of_figure_5_match_the_paper_for_both_units(task):
    shares = [int(at) for at in paper.numbers("figure5")["at"].unique()]
    wanted = {(share / 100, unit) for share in shares if share < 100 for unit in ("questions", "rationales")}
    for method in ("vanilla-kd", "mentor-kd"):
        cells = [
            c.parameters for c in read("paper-figure5").cells if (c.method, c.parameters["task"]) == (method, task)
        ]
        assert {(one["teacher_share"], one.get("share_of")) for one in cells} == wanted | {(1.0, None)}


def test_a_grid_names_its_study():
    for name in NAMES:
        study = name.removeprefix("paper-")
        assert read(name).study == (study if study in studies.STUDIES else "")


def test_mentors_of_figure_6_match_the_paper():
    mentors = [HUB[name] for name in points("paper-figure6", "mentor", "mentor-kd")]
    found = paper.numbers("figure6")
    assert mentors == list(found.loc[found["parameter"] == "mentor", "at"].unique())


def test_settings_of_the_official_scripts_are_fixed_and_all_others_searched():
    rates = {"asdiv": 1e-4, "svamp": 3e-4, "last-letter-concatenation": 1e-4, "date-understanding": 2e-4}
    rates |= {"commonsense-qa": 1e-4, "tracking-shuffled-objects": 2e-4, "strategy-qa": 1e-4}
    for name, known in (
        ("paper-table2", rates),
        ("paper-table3", dict.fromkeys(rates, 1e-4) | {"last-letter-concatenation": 2e-4}),
    ):
        grid = read(name)
        assert {c.parameters["task"]: c.parameters["mentor_learning_rate"] for c in grid.cells} == known
        assert {c.parameters["mentor_epochs"] for c in grid.cells} == {10} and {
            c.parameters["epochs"] for c in grid.cells
        } == {20}
    (one,) = grid.chosen(["tracking-shuffled-objects/flan-t5-small/mentor-kd/seed0"])
    assert [one.parameters[k] for k in ("learning_rate", "soft_label_weight", "soft_label_temperature")] == [
        2e-4,
        0.3,
        2,
    ]
    assert grid.searched(one) == {}
    (other,) = grid.chosen(["svamp/flan-t5-small/mentor-kd/seed0"])
    assert list(grid.searched(other)) == ["learning_rate", "soft_label_weight", "soft_label_temperature"]
    (mcc,) = grid.chosen(["svamp/flan-t5-small/mcc-kd/seed0"])
    assert grid.searched(mcc) == {} and mcc.parameters["soft_label_temperature"] == 1.3
