"""Studies: from the models of a grid to points, differences and sentences, with invented models.

A stand-in writes the results of a stage, so that a study takes a second; test_sweep_chain runs real stages.
"""

import hashlib
import json
import math

import pandas
import pytest

from mentor_kd.evaluation.metrics import accuracy, mean_over_seeds
from mentor_kd.files import ROOT, InputError, read_json, write_json, write_jsonl
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.report import charts
from mentor_kd.runs import findings, grids, stages, studies, study_charts, sweeps

SMOKE = {name: studies.read(f"smoke-{name}", name) for name in studies.STUDIES}
ASKED = 20


def model(place, right: int) -> None:
    rows = [{"id": str(i), "split": "test", "answer": "1", "correct": i < right} for i in range(ASKED)]
    write_jsonl(place / "predictions.jsonl", rows)
    training = {"dev_accuracy": 5.0, "steps": 7, "best_step": 5, "seconds": 1.0, "padding": 1.0}
    facts = {"base": "tiny", "parameters": 9, "too_long": [], "training": training, "trained_on": 3}
    write_json(place / "manifest.json", facts)


def stand_in(notebook, given, folder) -> None:
    """Write the results of a notebook; a student's score is derived from its parameters."""
    if notebook.startswith("01"):
        sizes = {"train_questions": 12, "dev_questions": 1, "test_questions": 1, "rationales": 1, "coverage": 1.0}
        collect(folder, given["task"], CollectSettings(**sizes, error_rate=0.5))
    elif notebook.startswith("02"):
        model(folder / "mentor", 15)
    elif notebook.startswith("03"):
        rows = (folder / "collected" / "teacher.jsonl").read_text()
        write_json(folder / "augmented" / "manifest.json", given["samples"])
        (folder / "augmented" / "mentor.jsonl").write_text(rows.replace('"source": "teacher"', '"source": "mentor"'))
    elif notebook.startswith("04"):
        write_json(folder / "rationales.jsonl", {})
    else:
        said = json.dumps({key: value for key, value in given.items() if key != "run"}, sort_keys=True)
        score = int(hashlib.sha256(said.encode()).hexdigest(), 16) % ASKED
        model(folder / "students" / f"{given['methods'][0]}-seed{given['seeds'][0]}", score)


@pytest.fixture
def performed(monkeypatch):
    """The stages that were run by the stand-in, in order."""
    seen = []

    def perform(notebook, given, folder):
        stand_in(notebook, given, folder)
        seen.append((notebook, given["run"]))

    monkeypatch.setattr(stages, "perform", perform)
    return seen


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_study_has_a_chart_beside_the_papers_numbers_and_sentences_for_all_its_differences(name, performed):
    grid = SMOKE[name]
    sweeps.run_here(grid, list(grid.cells))
    found = findings.write(grid)
    students = [cell for cell in grid.cells if cell.method != "mentor"]
    tests = found.rows[(found.rows["what"] == studies.TEST) & (found.rows["series"] != "the mentor itself")]
    assert len(tests.drop_duplicates(["series", "at", "seed"])) >= len(students)
    assert len(found.differences) >= 1 and not found.differences["difference"].isna().any()
    said = (found.folder / "findings.txt").read_text().splitlines()
    assert len(said) == len(found.differences) + 1
    table = pandas.read_csv(found.folder / "chart.csv")
    theirs = table[table["whose"] == "paper"]
    assert len(theirs) == len(studies.published(name)) > 0 and (table["whose"] == "this run").any()
    assert (found.folder / "chart.png").read_bytes().startswith(b"\x89PNG")
    titles = "".join(panel.get_title(loc="left") for panel in found.chart.axes)
    assert "this run" in titles and "paper" in titles and f"n = {ASKED}" in titles
    note = found.chart._supxlabel.get_text()
    assert "protocol sound" in note and "seed" in note and "compare" in note


def test_an_interrupted_study_resumes_and_repeats_nothing(performed, monkeypatch):
    grid, whole = SMOKE["table4"], stages.perform

    def stopped(notebook, given, folder):
        if len(performed) == 6:
            raise KeyboardInterrupt
        whole(notebook, given, folder)

    monkeypatch.setattr(stages, "perform", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweeps.run_here(grid, list(grid.cells))
    states = [read_json(path)["state"] for path in sweeps.folder_of(grid).glob("*/status.json")]
    assert sorted(states) == ["ok"] * 6 + ["stopped"]
    monkeypatch.setattr(stages, "perform", whole)
    state = sweeps.run_here(grid, list(grid.cells))
    assert len(performed) == len(set(performed)) == len(state.done) == len(state.wanted)
    again = sweeps.run(grid, list(grid.cells), 2, say=lambda line: None)  # nothing left for subprocesses
    assert again.done == state.done and not again.spent and len(performed) == len(state.done)


def test_a_failed_stage_is_recorded_and_retried(performed, monkeypatch):
    grid, whole = SMOKE["figure4"], stages.perform

    def failing(notebook, given, folder):
        raise InputError("the milk is sour")

    monkeypatch.setattr(stages, "perform", failing)
    with pytest.raises(InputError, match="the milk is sour"):
        sweeps.run_here(grid, list(grid.cells))
    (path,) = sweeps.folder_of(grid).glob("*/status.json")
    assert read_json(path)["state"] == "failed" and "the milk is sour" in read_json(path)["why"]
    with pytest.raises(InputError, match="no cell is done yet"):
        studies.collect(grid)
    monkeypatch.setattr(stages, "perform", whole)
    assert len(sweeps.run_here(grid, list(grid.cells)).done) == len(performed)


def places(name: str, cells: list[tuple]) -> list:
    return [studies.STUDIES[name].places(method, given) for method, given in cells]


def test_places_of_models():
    assert places("figure3", [("vanilla-kd", {"samples": 3}), ("mentor-kd", {"samples": 9})]) == [
        [("vanilla-kd", 0.0)],
        [("mentor-kd", 9.0)],
    ]
    part = {"teacher_share": 0.4, "share_of": "rationales"}
    assert places("figure5", [("mentor-kd", part), ("vanilla-kd", {**part, "teacher_share": 1.0})]) == [
        [("mentor-kd, by rationales", 40.0)],
        [("vanilla-kd, by questions", 100.0), ("vanilla-kd, by rationales", 100.0)],  # at 100% nothing is drawn
    ]
    weights = [(method, {"soft_label_weight": 0.3}) for method in ("mentor-kd", "mentor-kd-no-rd", "vanilla-kd")]
    assert places("figure7", weights) == [[(studies.WITH, 0.3)], [(studies.WITHOUT, 0.3)], [(studies.WITHOUT, 0.0)]]
    large = {"mentor": "google/flan-t5-large"}
    assert places("figure6", [("mentor-kd", large), ("mentor", large), ("vanilla-kd", large)]) == [
        [("mentor-kd", "FlanT5-large")],
        [("the mentor itself", "FlanT5-large")],
        [("vanilla-kd", "")],
    ]
    local = {"augmenter": "local", "augmenter_model": "some/model-8B", **large}
    both = [("augmented-only", local), ("augmented-only", {**local, "augmenter": "mentor"})]
    assert places("figure4", both) == [[("model-8B", "")], [("FlanT5-large", "")]]


def test_the_papers_points_at_lambda_0_have_the_right_series():
    found = studies.published("figure7")
    here = found[(found["task"] == "tracking-shuffled-objects") & (found["at"] == 0)].set_index("series")["accuracy"]
    assert dict(here) == {studies.WITHOUT: 63.11, studies.WITH: 82.22}
    assert set(found["model"]) == {"FlanT5-small"}


def test_the_papers_table_4_includes_the_students_of_its_other_tables():
    found = studies.published("table4")
    one = found[(found["task"] == "tracking-shuffled-objects") & (found["model"] == "FlanT5-small")]
    assert dict(zip(one["series"], one["accuracy"], strict=True)) == {
        **{"mentor-kd": 82.67, "mentor-kd-no-rd": 64.89, "mentor-kd-no-sld": 82.22},
        **{"vanilla-kd": 63.11, "mcc-kd": 43.11},
    }


def answered(*scores: int) -> dict:
    """Answers by seed, with the given numbers of correct answers to 100 questions."""
    return {seed: {str(i): i < right for i in range(100)} for seed, right in enumerate(scores)}


def differences(a: tuple, b: tuple) -> pandas.DataFrame:
    answers = studies.Answers({"sandbox-shuffled": {("vanilla-kd", ""): a, ("mentor-kd", ""): b}})
    return findings.differences(studies.STUDIES["table4"], answers, studies.published("table4"))


def test_a_difference_by_hand_with_the_papers_difference():
    (row,) = differences(answered(20, 22, 24), answered(60, 64, 68)).itertuples()
    # 40, 42 and 44 points: mean 42, standard deviation 2, t with two degrees of freedom 4.303
    half = 4.302653 * 2 / math.sqrt(3)
    assert (row.difference, row.seeds, row.n) == (42, 3, 100) and row.paper == pytest.approx(82.67 - 63.11)
    assert (row.seeds_low, row.seeds_high) == pytest.approx((42 - half, 42 + half))
    assert row.low > 0 and row.clear
    assert "+42.0 points" in findings.sentences(differences(answered(20, 22, 24), answered(60, 64, 68)))[0]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (answered(20), answered(60)),  # one seed
        (answered(20, 20, 20), answered(90, 90, 22)),  # seeds disagree
        (answered(50, 51, 52), answered(50, 51, 52)),  # no difference
    ],
)
def test_a_difference_that_seeds_or_questions_may_reverse_is_not_clear(a, b):
    table = differences(a, b)
    assert not table["clear"].any()
    said = findings.sentences(table)
    assert "not clear" in said[0] and said[-1].startswith("0 of 1 differences are clear")


def test_only_common_seeds_are_paired_and_missing_places_are_left_out():
    table = differences(answered(20, 21, 22), answered(60, 61))
    assert list(table["seeds"]) == [2] and list(table["what"]) == ["both"]


def test_means_are_over_seeds_and_intervals_cut_at_0_and_100():
    row = ["this run", studies.TEST, "t", "m", "s", ""]
    lines = [[*row, seed, 20, value, 1.0, 99.0, "sound", 3, 7] for seed, value in enumerate((10.0, 30.0, 80.0))]
    (point,) = studies.means(pandas.DataFrame(lines, columns=studies.COLUMNS)).itertuples()
    assert (point.accuracy, point.seeds, point.interval) == (40, 3, "t over seeds")
    assert point.low == 0 > mean_over_seeds([10, 30, 80]).low and point.high == 100
    (point,) = studies.means(pandas.DataFrame(lines[:2], columns=studies.COLUMNS)).itertuples()
    assert (point.accuracy, point.seeds, point.interval) == (20, 2, "Wilson")
    four_of_20 = accuracy([True] * 4 + [False] * 16)
    assert (point.low, point.high) == (four_of_20.low, four_of_20.high)
    (point,) = studies.means(pandas.DataFrame(lines[:1], columns=studies.COLUMNS)).itertuples()
    assert (point.low, point.high, point.interval) == (1, 99, "Wilson")


def test_a_run_under_the_papers_protocol_is_marked():
    ours = ["this run", studies.TEST, "svamp", "m", "vanilla-kd", "", 0, 20, 50.0, 30.0, 70.0, "paper", 3, 7]
    frame = pandas.concat([pandas.DataFrame([ours], columns=studies.COLUMNS), studies.published("table4")])
    figure = study_charts.study_chart(frame, "title")
    assert charts.PAPER_MARK in {text.get_text() for text in figure.texts}


def test_grids_of_three_sizes_for_each_study():
    for size, seeds in (("smoke", 1), ("quick", 2), ("sandbox", 3)):
        for name in studies.STUDIES:
            grid = studies.read(f"{size}-{name}", name)
            assert grid.name == f"{size}-{name}"
            assert len({cell.parameters["seed"] for cell in grid.cells}) >= seeds


@pytest.mark.parametrize(
    ("study", "varied", "published_as"),
    [
        ("figure3", "samples", 1),
        ("figure5", "teacher_share", 100),
        ("figure7", "soft_label_weight", 1),
    ],
)
def test_the_papers_grid_has_all_its_points_and_the_sandboxs_the_same_range(study, varied, published_as):
    told = {float(at) / published_as for at in studies.published(study)["at"].unique()}
    ours = {
        size: {cell.parameters[varied] for cell in studies.read(f"{size}-{study}", study).cells if varied in cell.keys}
        for size in ("paper", "sandbox")
    }
    assert told <= ours["paper"]
    assert (min(ours["sandbox"]), max(ours["sandbox"])) == (min(told), max(told))
    assert len(ours["sandbox"]) >= 4


def test_a_grid_of_another_study_or_of_none_is_rejected(tmp_path):
    with pytest.raises(InputError, match="smoke-figure3: `study` must be 'figure5' here, got 'figure3'"):
        studies.read("smoke-figure3", "figure5")
    with pytest.raises(InputError, match="nowhere.yaml"):
        studies.read("nowhere.yaml", "figure5")
    grid = grids.read(ROOT / "notebooks" / "params" / "paper-table3.yaml")
    with pytest.raises(InputError, match="`study` must be one of table4, figure3"):
        studies.get_study(grid)
    changed = studies.read("smoke-figure3", "figure3", ["epochs=7"])
    assert {cell.parameters["epochs"] for cell in changed.cells} == {7}


# Results that the project carries


@pytest.mark.parametrize("name", studies.STUDIES)
def test_carried_results_are_shown_without_training(name, performed):
    grid, said = studies.read(f"sandbox-{name}", name), []
    found = findings.show(grid, said.append)
    assert found.folder == ROOT / "reports" / "sandbox" / name and not performed
    assert said == [
        f"sandbox-{name}: results from reports/sandbox/{name}/ (0 of {len(grid.cells)} models trained here)"
    ]
    assert findings.sentences(found.differences) == (found.folder / "findings.txt").read_text().splitlines()
    told = pandas.read_csv(found.folder / "means.csv")
    assert found.means["accuracy"].round(9).tolist() == told["accuracy"].round(9).tolist()
    assert {"this run", "paper"} <= {
        panel.get_title(loc="left").split("\n")[0].split(",")[0] for panel in found.chart.axes
    }


def test_a_changed_grid_has_no_carried_results():
    assert findings.carried(studies.read("sandbox-figure3", "figure3"))
    assert findings.carried(studies.read("sandbox-figure3", "figure3", ["epochs=7"])) is None
    assert findings.carried(SMOKE["figure3"]) is None


def test_ones_own_models_are_shown_once_all_are_trained(performed, monkeypatch):
    grid, carried = SMOKE["figure3"], ROOT / "reports" / "sandbox" / "figure3"
    monkeypatch.setattr(findings, "carried", lambda one: carried)
    sweeps.run_here(grid, list(grid.cells)[:1])
    assert findings.show(grid, lambda line: None).folder == carried
    sweeps.run_here(grid, list(grid.cells))
    assert findings.show(grid, lambda line: None).folder == sweeps.folder_of(grid) / "figure3"


@pytest.mark.parametrize("name", studies.STUDIES)
def test_findings_are_read_as_they_were_written(name, performed):
    grid, said = SMOKE[name], []
    written = findings.show(grid, said.append)  # trains what is missing
    assert performed and said == [f"{grid.name}: {len(grid.cells)} models, trained in reports/{grid.name}/"]
    found = findings.read(grid, written.folder)
    pandas.testing.assert_frame_equal(found.means, written.means, check_dtype=False)
    pandas.testing.assert_frame_equal(found.differences, written.differences, check_dtype=False)


def test_the_cost_of_a_grid_is_at_the_pace_of_the_carried_results():
    # 6.4 minutes for 15 models; the 8 of the quick grid take 3.4
    assert (
        findings.cost(studies.read("sandbox-figure3", "figure3"))
        == "sandbox-figure3: 15 models, about 6 minutes of one core"
    )
    assert (
        findings.cost(studies.read("quick-figure3", "figure3"))
        == "quick-figure3: 8 models, about 3 minutes of one core"
    )
