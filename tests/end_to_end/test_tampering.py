"""A finished run with a file that is changed, cut, emptied or removed: the same command notices and restores it."""

import json
import os
import shutil

import kills
import pytest

from mentor_kd.runs import grids, stage_files, sweep_report, sweeps

NO_RESULTS = (".log", ".lock")  # what was said, and who is at work


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The grid of a finished small run, its folder of reports, and what it ends with. Tests leave it as it was."""
    place = tmp_path_factory.mktemp("finished")
    grid = grids.read(kills.write_grid(place))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MENTOR_KD_REPORTS", str(place / "reports"))
        sweeps.run_here(grid, list(grid.cells))
    return grid, place / "reports", kills.contents(place / "reports")


@pytest.fixture
def copy(finished, tmp_path, monkeypatch):
    """A copy of the finished run, to be harmed."""
    grid, reports, expected = finished
    shutil.copytree(reports, tmp_path / "reports", symlinks=True)
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path / "reports"))
    return grid, tmp_path / "reports", expected


def files_of(reports):
    found = sorted(path for path in reports.rglob("*") if path.is_file() and path.suffix not in NO_RESULTS)
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(reports).parts)]


def stages_of(grid):
    return {stage.key: stage for cell in grid.cells for stage in grid.stage(cell.parameters).chain()}


def unnoticed(grid, reports, path, capsys):
    """Whether the command would take a harmed file for what it wrote."""
    key = path.relative_to(reports).parts[1]
    if path.parent.parent.name == "soft_labels":
        capsys.readouterr()
        stage_files.discard_damaged_soft_labels(reports / "small")
        return str(path.parent) not in capsys.readouterr().out
    return sweeps.is_done(grid, stages_of(grid)[key])


def other(content: bytes) -> bytes:
    """Another content of the same length."""
    return bytes([*content[:-2], content[-2] ^ 1, *content[-1:]]) if len(content) > 1 else b"?"


HARMS = {"changed": other, "cut": lambda content: content[: len(content) // 2], "emptied": lambda content: b""}


def test_every_single_file_is_noticed(finished, monkeypatch, capsys):
    grid, reports, _ = finished
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(reports))
    stages, files = stages_of(grid), files_of(reports)
    assert len(stages) == 6 and len(files) > 130
    assert all(sweeps.is_done(grid, stage) for stage in stages.values())
    for path in files:
        content, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        beside = {one: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
        for name, harm in HARMS.items():
            path.write_bytes(harm(content))
            os.utime(path, ns=times)  # as if a disk had done it
            assert content == harm(content) or not unnoticed(grid, reports, path, capsys), f"{path} {name}"
            restore(beside)
        path.unlink()
        assert not unnoticed(grid, reports, path, capsys), f"{path} removed"
        restore(beside)
    assert all(sweeps.is_done(grid, stage) for stage in stages.values())


def restore(files):
    """Write what is missing or different; damaged soft labels are removed, with what depends on them."""
    for path, content in files.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def test_the_copy_of_a_run_is_finished(copy):
    grid, reports, expected = copy
    for path in reports.rglob("*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))
    before = {path: path.stat().st_mtime_ns for path in files_of(reports)}
    sweeps.run_here(grid, list(grid.cells))
    assert {path: path.stat().st_mtime_ns for path in files_of(reports)} == before


def find(grid, notebook, pattern):
    """A file in the folder of the stage of a notebook, the first that has it."""
    stages = [stage for stage in stages_of(grid).values() if stage.notebook.startswith(notebook)]
    return next(path for stage in stages for path in sorted(sweeps.job(grid, stage).folder.glob(pattern)))


def all_right(path):
    rows = [json.loads(line) | {"correct": True, "paper_correct": True} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def first_rows(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))


def flipped(path):
    path.write_bytes(other(path.read_bytes()))


CASES = {
    "predictions that are all right": ("06", "students/mentor-kd-seed0/predictions.jsonl", all_right),
    "a student without predictions": ("06", "students/vanilla-kd-seed0/predictions.jsonl", os.unlink),
    "a student that is gone": ("06", "students/vanilla-kd-seed0", shutil.rmtree),
    "part of the teacher's rationales": ("01", "collected/teacher.jsonl", first_rows),
    "those of a later stage only": ("06", "collected/teacher.jsonl", first_rows),
    "one bit of the mentor": ("02", "mentor/model.safetensors", flipped),
    "a card that was removed": ("02", "mentor/README.md", os.unlink),
    "a shard of samples": ("03", "augmented/shards/shard-00000.jsonl", flipped),
    "the filtered rationales": ("04", "rationales.jsonl", first_rows),
    "a manifest": ("03", "augmented/manifest.json", flipped),
    "the status of a stage": ("04", "../status.json", first_rows),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_command_makes_it_again(copy, case):
    grid, reports, expected = copy
    notebook, pattern, harm = CASES[case]
    harm(find(grid, notebook, pattern))
    sweeps.run_here(grid, list(grid.cells))
    assert kills.different(kills.contents(reports), expected) == []
    assert all(sweeps.is_done(grid, stage) for stage in stages_of(grid).values())


def test_the_table_says_which_cell_is_left_out(copy):
    grid, reports, _ = copy
    assert sweep_report.left_out(grid) == [] and len(sweep_report.results(grid)) == 3
    all_right(find(grid, "06", "students/mentor-kd-seed0/predictions.jsonl"))
    [note] = sweep_report.left_out(grid)
    assert note.startswith("mentor-kd is left out: ") and "predictions.jsonl is changed since it was written" in note
    assert len(sweep_report.results(grid)) == 2


def test_damaged_soft_labels_are_removed_and_computed_again_for_the_next_student(copy, capsys):
    grid, reports, expected = copy
    shard = find(grid, "02", "soft_labels/*/shard-*.safetensors")
    shutil.rmtree(find(grid, "06", "students/mentor-kd-seed0"))
    flipped(shard)
    sweeps.run_here(grid, list(grid.cells))
    assert f"{shard}: missing or changed; computed again where it is needed" in capsys.readouterr().out
    assert kills.different(kills.contents(reports), expected) == []


def test_a_replaced_stage_makes_the_ones_after_it_stale(copy):
    """As if the mentor had been trained by another version of the code: all later steps are repeated."""
    grid, reports, expected = copy
    stages = list(stages_of(grid).values())
    mentor = next(stage for stage in stages if stage.notebook == sweeps.MENTORS)
    folder = sweeps.job(grid, mentor).folder
    all_right(folder / "mentor" / "predictions.jsonl")
    stage_files.note(folder, state="ok", made=stage_files.made(sweeps.job(grid, mentor), mentor))
    later = [stage for stage in stages if mentor in stage.chain() and stage is not mentor]
    assert len(later) == 4 and not any(sweeps.is_done(grid, stage) for stage in later)
