"""A report says which student is missing or was changed, and its numbers do without it."""

import json
import shutil

import pytest
from finished_run import TASK, write_run

from mentor_kd import manifests
from mentor_kd.files import InputError, read_json, write_json
from mentor_kd.report import run_report, trust
from mentor_kd.runs import run

COUNTS = {"mentor": [15], "vanilla-kd": [8, 9], "mentor-kd": [12, 13]}


@pytest.fixture
def finished(tmp_path):
    """A run with intact manifests, and with the status that a run leaves."""
    folder = write_run(tmp_path / "r", COUNTS) / TASK
    made = {}
    for place in trust.models(folder):
        facts = read_json(place / "manifest.json")
        manifests.finish(place, {}, ["predictions.jsonl"], **facts)
        made |= {f"{place.relative_to(folder)}/{name}": "" for name in ("predictions.jsonl", "manifest.json")}
    write_json(tmp_path / "r" / "status.json", {f"{TASK}/06_distill_student": {"state": "ok", "made": made}})
    return tmp_path / "r"


def student(finished, name="mentor-kd-seed1"):
    return finished / TASK / "students" / name


def methods(finished):
    table = run_report.accuracies(finished)
    return sorted(f"{row.method}-{row.seed}" for row in table.itertuples())


EVERY = ["mentor-0", "mentor-kd-0", "mentor-kd-1", "vanilla-kd-0", "vanilla-kd-1"]


def all_right(place):
    path = place / "predictions.jsonl"
    rows = [json.loads(line) | {"correct": True} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def half(name):
    return lambda place: (place / name).write_bytes((place / name).read_bytes()[:100])


HARMS = {
    "predictions.jsonl changed": all_right,
    "predictions.jsonl missing": lambda place: (place / "predictions.jsonl").unlink(),
    "manifest.json changed": half("manifest.json"),
    "manifest.json missing": lambda place: (place / "manifest.json").unlink(),
    "predictions.jsonl, manifest.json missing": shutil.rmtree,
}


def test_an_intact_run_has_no_notes(finished):
    assert trust.notes(finished) == [] and methods(finished) == EVERY
    page = run_report.write(finished).read_text()
    assert "Caution" not in page and "caution" not in run.table(finished)


@pytest.mark.parametrize("why", HARMS)
def test_a_harmed_student_is_named_and_left_out(finished, why):
    HARMS[why](student(finished))
    note = f"{TASK}/students/mentor-kd-seed1 is left out: {why} since it was written."
    assert [one.startswith(note) for one in trust.notes(finished)] == [True]
    assert methods(finished) == [name for name in EVERY if name != "mentor-kd-1"]
    page = run_report.write(finished).read_text()
    assert f"<b>Caution:</b> {note}" in page and f"caution: {note}" in run.table(finished)
    assert "mentor-kd-seed1" not in (finished / "costs.csv").read_text()


def test_a_cut_file_of_predictions_is_not_read(finished):
    half("predictions.jsonl")(student(finished))
    assert methods(finished) == [name for name in EVERY if name != "mentor-kd-1"]


def test_a_task_without_any_whole_student_is_named(finished):
    shutil.rmtree(finished / TASK / "students")
    with pytest.raises(InputError, match="no student has been evaluated"):
        run_report.accuracies(finished)
    assert len(trust.notes(finished)) == 4


def test_another_changed_file_is_said(finished):
    place = finished / TASK / "mentor"
    (place / "model.safetensors").write_text("weights")
    facts = {
        key: value for key, value in read_json(place / "manifest.json").items() if key not in ("inputs", "outputs")
    }
    manifests.finish(place, {}, ["predictions.jsonl", "model.safetensors"], **facts)
    (place / "model.safetensors").write_text("Weights")
    [note] = trust.notes(finished)
    assert note.startswith(f"{TASK}/mentor/model.safetensors is changed since it was written.")
    assert methods(finished) == EVERY  # its answers are those of the model that was trained


def test_a_damaged_status_is_no_reason_not_to_report(finished):
    (finished / "status.json").write_text("{")
    assert methods(finished) == EVERY
