"""Grids: cells from YAML, stages that are shared exactly where they may be, the search on dev."""

import pytest

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


def test_cells_are_the_products_in_order_with_names_to_call_them_by(read):
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
    with pytest.raises(InputError, match="no cell is called 'nope'; there are sandbox-letters/mentor, "):
        grid.chosen(["nope"])


def test_where_sets_what_depends_on_another_parameter_and_later_entries_win(read):
    epochs = {cell.name: cell.parameters["epochs"] for cell in read().cells}
    assert epochs["sandbox-letters/sandbox-small/mentor-kd/seed0"] == 3
    assert epochs["sandbox-letters/sandbox-base/mentor-kd/seed0"] == 7
    assert epochs["sandbox-sums/sandbox-base/mentor-kd/seed1"] == 9


def keys(grid, **parameters):
    base = {"task": "sandbox-sums", "method": "mentor-kd", "seed": 0}
    return [stage.key for stage in grid.stage(base | parameters).chain()]


def test_a_stage_is_shared_by_what_agrees_up_to_it(read):
    grid = read()
    one = keys(grid)
    assert len(one) == 5

    def shared(**parameters):
        return sum(a == b for a, b in zip(one, keys(grid, **parameters), strict=True))

    assert shared() == 5
    assert shared(seed=1) == shared(method="vanilla-kd") == shared(student="sandbox-base") == shared(epochs=9) == 4
    assert shared(min_words=3) == 3
    assert shared(samples=7) == 2
    assert shared(mentor_epochs=9) == shared(mentor="sandbox-base") == 1
    assert shared(task="sandbox-letters") == shared(data_seed=1) == 0
    assert shared(epochs=2) == 5  # the notebook's own default, said or not


def test_a_model_is_meant_by_what_it_is_and_not_by_its_path(read, tmp_path):
    import shutil

    from mentor_kd.files import DATA

    copy = tmp_path / "copy"
    shutil.copytree(DATA / "models" / "sandbox-base", copy)
    grid = read()
    assert keys(grid, mentor=str(copy)) == keys(grid, mentor="sandbox-base") != keys(grid)


def test_a_mentors_cell_ends_with_its_training_and_its_seed_is_the_mentors(read):
    grid = read()
    base = {"task": "sandbox-sums", "method": "mentor"}
    stages = [stage.notebook for stage in grid.stage({**base, "seed": 0}).chain()]
    assert stages == list(PER_TASK[:2])
    assert grid.stage({**base, "seed": 0}).key == keys(grid)[1] != grid.stage({**base, "seed": 1}).key
    assert grid.stage({**base, "method": "mentor-kd", "seed": 0}).notebook == STUDENTS


SEARCH = (
    "search: {mentor_learning_rate: [1.0e-3, 2.0e-3], learning_rate: [3.0e-3, 4.0e-3], soft_label_weight: [0.1, 0.9]}"
)


def test_the_search_goes_one_after_the_other_by_dev_and_the_seeds_share_it(read):
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
    assert all(s.parameters["seeds"] == [0] for s in tried[2:])  # seed 1 is chosen for as seed 0 is
    assert all(s.chain()[1].parameters["mentor_learning_rate"] == 0.002 for s in tried[2:])
    scores |= {stage.key: 40.0 for stage in tried[2:]}  # a tie: the first
    tried, final = grid.resolve(cell, dev)
    assert [s.parameters["soft_label_weight"] for s in tried[4:]] == [0.1, 0.9]
    scores |= {tried[4].key: 1.0, tried[5].key: 2.0}
    tried, final = grid.resolve(cell, dev)
    assert (final["mentor_learning_rate"], final["learning_rate"], final["soft_label_weight"]) == (0.002, 0.003, 0.9)
    assert final["seed"] == 1


def test_only_what_matters_to_a_method_is_searched(read):
    grid = read(GRID + SEARCH)
    by_method = {cell.method: list(grid.searched(cell)) for cell in grid.cells}
    assert by_method["mentor"] == ["mentor_learning_rate"]
    assert by_method["vanilla-kd"] == ["mentor_learning_rate", "learning_rate"]
    assert by_method["mentor-kd"] == ["mentor_learning_rate", "learning_rate", "soft_label_weight"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochz: 3\ngrid: {method: mentor-kd}", "cell mentor-kd: parameter 'epochz' is known to no notebook"),
        ("grid: {method: [mentor-kd, nope]}", "cell nope: methods must be one of .*, got 'nope'"),
        ("grid: {task: [sandbox-sums, nope]}", "cell nope: task 'nope' is none of"),
        ("grid: {methods: [mentor-kd]}", "in a grid write method: "),
        ("grid: {method: []}", "`grid` has an empty list"),
        ("epochs: 3", "`grid` names parameters"),
        ("grid: {method: [mentor-kd, mentor-kd]}", "the cell 'mentor-kd' stands in `grid` twice"),
        ("grid: {epochs: [1, x]}", "parameter 'epochs' is of type int, but 'x'"),
        ("grid: {seed: [0]}\nsearch: {learning_rate: []}", "learning_rate needs a list of values"),
        ("grid: {seed: [0]}\nsearch: {samples: [1, 2]}", "'samples' is no parameter of the mentor's or the student's"),
        (
            "grid: {seed: [0]}\nsearch: {learning_rate: [0.1, 7.0]}",
            "search learning_rate=7.0: learning_rate must be a number",
        ),
        ("grid: {seed: [0]}\nwhere: [{if: {seed: 0}}]", "an entry of `where` has `if` and `then`"),
        ("grid: {seed: [0]}\nthreads: 0", "threads must be an integer >= 1"),
        ("grid: {seed: [0]}\nsweep: ../x", "run must be letters.*got '../x'"),
        ("grid: {student: ./nowhere}", "student: no folder"),
    ],
)
def test_what_is_wrong_in_a_grid_is_said_before_anything_runs(read, text, words):
    with pytest.raises(InputError, match=words):
        read(text)
