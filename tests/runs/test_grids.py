"""Grids: cells from YAML, sharing of stages, the search by dev accuracy, and error messages."""

import pytest
import tiny

from mentor_kd.files import InputError
from mentor_kd.runs import grids
from mentor_kd.runs.notebooks import PER_TASK, STUDENTS

GRID = """
sweep: letters
mentor: sandbox-base
epochs: 3
grid:
  - {task: [sandbox-letters, sandbox-sums], method: mentor}
  - {task: [sandbox-letters, sandbox-sums], student: [sandbox-small, sandbox-base], method: [vanilla-kd, mentor-kd],
     seed: [0, 1]}
where:
  - {if: {student: sandbox-base}, then: {epochs: 7}}
  - {if: {task: sandbox-sums, student: sandbox-base}, then: {epochs: 9}}
"""


@pytest.fixture
def read(tmp_path):
    def made(text=GRID, *overrides):
        path = tmp_path / "grid.yaml"
        path.write_text(text)
        return grids.read(path, list(overrides))

    return made


def test_cells_are_the_combinations_in_order_and_chosen_by_name(read):
    grid = read()
    names = [cell.name for cell in grid.cells]
    assert names[:3] == [
        "sandbox-letters/mentor",
        "sandbox-sums/mentor",
        "sandbox-letters/sandbox-small/vanilla-kd/seed0",
    ]
    assert len(names) == len(set(names)) == 2 + 2 * 2 * 2 * 2
    wanted = grid.chosen(["sandbox-sums/sandbox-base/mentor-kd", "*/mentor"])
    assert [cell.name for cell in wanted] == [
        "sandbox-letters/mentor",
        "sandbox-sums/mentor",
        "sandbox-sums/sandbox-base/mentor-kd/seed0",
        "sandbox-sums/sandbox-base/mentor-kd/seed1",
    ]
    with pytest.raises(InputError, match="no cell is called 'nope'; known cells: sandbox-letters/mentor, "):
        grid.chosen(["nope"])


def test_where_depends_on_other_parameters_and_later_entries_win(read):
    epochs = {cell.name: cell.parameters["epochs"] for cell in read().cells}
    assert epochs["sandbox-letters/sandbox-small/mentor-kd/seed0"] == 3
    assert epochs["sandbox-letters/sandbox-base/mentor-kd/seed0"] == 7
    assert epochs["sandbox-sums/sandbox-base/mentor-kd/seed1"] == 9


def keys(grid, **parameters):
    base = {"task": "sandbox-sums", "method": "mentor-kd", "seed": 0}
    return [stage.key for stage in grid.stage(base | parameters).chain()]


def test_cells_share_all_stages_before_the_first_difference(read):
    grid = read()
    one = keys(grid)
    assert len(one) == 5

    def shared(**parameters):
        return sum(a == b for a, b in zip(one, keys(grid, **parameters), strict=True))

    assert shared() == 5
    assert shared(seed=1) == shared(method="vanilla-kd") == shared(student="sandbox-base") == shared(epochs=9) == 4
    assert shared(min_words=3) == 3
    assert shared(samples=7) == 2
    assert shared(mentor_epochs=9) == shared(mentor="sandbox-large") == 1
    assert shared(task="sandbox-letters") == shared(data_seed=1) == 0
    assert shared(epochs=grid.known["06_distill_student"]["epochs"]["default"]) == 5  # a default, given or not


def test_a_model_is_identified_by_content_not_by_path(read, tmp_path):
    import shutil

    from mentor_kd.files import DATA

    copy = tmp_path / "copy"
    shutil.copytree(DATA / "models" / "sandbox-large", copy)
    grid = read()
    assert keys(grid, mentor=str(copy)) == keys(grid, mentor="sandbox-large") != keys(grid)


def test_a_mentor_cell_ends_with_training_the_mentor_and_has_its_seed(read):
    grid = read()
    base = {"task": "sandbox-sums", "method": "mentor"}
    stages = [stage.notebook for stage in grid.stage({**base, "seed": 0}).chain()]
    assert stages == list(PER_TASK[:2])
    assert grid.stage({**base, "seed": 0}).key == keys(grid)[1] != grid.stage({**base, "seed": 1}).key
    assert grid.stage({**base, "method": "mentor-kd", "seed": 0}).notebook == STUDENTS


SEARCH = (
    "search: {mentor_learning_rate: [1.0e-3, 2.0e-3], learning_rate: [3.0e-3, 4.0e-3], soft_label_weight: [0.1, 0.9]}"
)


def test_parameters_are_searched_in_order_by_dev_accuracy_and_shared_by_seeds(read):
    grid = read(GRID + SEARCH)
    cell = next(c for c in grid.cells if c.method == "mentor-kd" and c.parameters["seed"] == 1)
    asked, scores = [], {}

    def dev(stage):
        asked.append(stage)
        return scores.get(stage.key)

    tried, final = grid.resolve(cell, dev)
    assert final is None and [stage.notebook for stage in tried] == ["02_train_mentor"] * 2
    assert [stage.parameters["mentor_learning_rate"] for stage in tried] == [0.001, 0.002]
    scores |= {tried[0].key: 50.0, tried[1].key: 60.0}
    tried, final = grid.resolve(cell, dev)
    assert final is None and len(tried) == 4
    assert [s.parameters["learning_rate"] for s in tried[2:]] == [0.003, 0.004]
    assert all(s.parameters["seeds"] == [0] for s in tried[2:])  # the values chosen with seed 0 apply to seed 1
    assert all(s.chain()[1].parameters["mentor_learning_rate"] == 0.002 for s in tried[2:])
    scores |= {stage.key: 40.0 for stage in tried[2:]}  # a tie: the first value wins
    tried, final = grid.resolve(cell, dev)
    assert [s.parameters["soft_label_weight"] for s in tried[4:]] == [0.1, 0.9]
    scores |= {tried[4].key: 1.0, tried[5].key: 2.0}
    tried, final = grid.resolve(cell, dev)
    assert (final["mentor_learning_rate"], final["learning_rate"], final["soft_label_weight"]) == (0.002, 0.003, 0.9)
    assert final["seed"] == 1


def test_only_parameters_that_affect_a_method_are_searched(read):
    grid = read(GRID + SEARCH)
    by_method = {cell.method: list(grid.searched(cell)) for cell in grid.cells}
    assert by_method["mentor"] == ["mentor_learning_rate"]
    assert by_method["vanilla-kd"] == ["mentor_learning_rate", "learning_rate"]
    assert by_method["mentor-kd"] == ["mentor_learning_rate", "learning_rate", "soft_label_weight"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochz: 3\ngrid: {method: mentor-kd}", "cell mentor-kd: parameter 'epochz' is not known to any notebook"),
        ("grid: {method: [mentor-kd, nope]}", "cell nope: methods must be one of .*, got 'nope'"),
        ("grid: {task: [sandbox-sums, nope]}", "cell nope: task must be one of .* got 'nope'"),
        ("grid: {methods: [mentor-kd]}", "in a grid write method: "),
        ("grid: {method: []}", "`grid` has an empty list"),
        ("epochs: 3", "`grid` must map parameters to values"),
        ("grid: {method: [mentor-kd, mentor-kd]}", "`grid` has the cell 'mentor-kd' twice"),
        ("grid: {epochs: [1, x]}", "parameter 'epochs' must be of type int, got 'x'"),
        ("grid: {seed: [0]}\nsearch: {learning_rate: []}", "learning_rate must be a non-empty list of values"),
        ("grid: {seed: [0]}\nsearch: {samples: [1, 2]}", "'samples' is not a parameter of notebook 02"),
        (
            "grid: {seed: [0]}\nsearch: {learning_rate: [0.1, 7.0]}",
            "search learning_rate=7.0: learning_rate must be a number",
        ),
        ("grid: {seed: [0]}\nwhere: [{if: {seed: 0}}]", "`where` entries must have the form {if: {..}, then: {..}}"),
        ("grid: {seed: [0]}\nthreads: 0", "threads must be an integer >= 1"),
        ("grid: {seed: [0]}\nsweep: ../x", "run must be a folder name .*got '../x'"),
        ("grid: {student: ./nowhere}", "student: no folder"),
    ],
)
def test_errors_in_a_grid_are_reported_before_anything_runs(read, text, words):
    with pytest.raises(InputError, match=words):
        read(text)


PAIR = """
train_questions: 20
student: sandbox-small
grid: {task: sandbox-sums, method: [vanilla-kd, METHOD]}
"""


def test_tokenizers_of_mentor_and_student_are_compared_when_the_grid_is_read(read, tmp_path):
    mentor = f"mentor={tiny.gpt2(tmp_path / 'gpt2')}"
    with pytest.raises(InputError, match="cell mentor-kd: soft labels require the same tokenizer for both models"):
        read(PAIR.replace("METHOD", "mentor-kd"), mentor)
    assert len(read(PAIR.replace("METHOD", "self-mentor"), mentor).cells) == 2


def test_a_hub_model_that_is_not_here_is_compared_when_the_sweep_starts(read, monkeypatch):
    compared = []
    monkeypatch.setattr(grids, "check_tokenizers", lambda *models: compared.append(models))
    grid = read(PAIR.replace("METHOD", "mentor-kd"), "mentor=someone/on-the-hub")
    assert compared == []
    grids.compare_tokenizers(grid.cells, grid.known, hub=True)
    assert compared == [("someone/on-the-hub", "sandbox-small")]


def test_trackers_do_not_change_the_key_of_a_stage(read):
    keys = []
    for trackers in ("[]", "[tensorboard]"):
        grid = read(PAIR.replace("METHOD", "mentor-kd"), f"report_to={trackers}")
        keys.append([stage.key for cell in grid.cells for stage in grid.stage(cell.parameters).chain()])
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("cell_minutes=-1", "cell_minutes must be a number >= 0"),
        ("sweep=on", "sweep must be a non-empty string, got True .YAML reads on, off, yes and no without quotes"),
        ("coverage=90", "coverage must be a number > 0 and <= 1"),
        ("mentor=' '", "mentor must be a non-empty string"),
        ("report_to=tensorboard", "report_to"),
        ("task=on", "task"),
    ],
)
def test_values_out_of_range_are_refused_when_the_grid_is_read(read, override, words):
    with pytest.raises(InputError, match=words):
        read(PAIR.replace("METHOD", "mentor-kd").replace("task: sandbox-sums, ", ""), override)
