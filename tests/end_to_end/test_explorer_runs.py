"""From a click to the student: verdicts and settings chosen by hand are what the next steps run with."""

import subprocess
import sys

import pandas
import pytest
import yaml

from mentor_kd.data.folder import task_folder, teacher_rows
from mentor_kd.data.rationales import read_rationales
from mentor_kd.files import ROOT
from mentor_kd.filtering.confidence import confidences
from mentor_kd.filtering.filters import FilterSettings, from_parameters
from mentor_kd.pipeline import distill, ensure, filter
from mentor_kd.training.settings import TrainSettings
from mentor_kd.widgets.explorer.explorer import explore
from mentor_kd.widgets.explorer.table import CODE


@pytest.fixture
def folder():
    place = task_folder("by-hand", "sandbox-letters")
    ensure.ensure(place, "augmented")
    return place


def kept(explorer) -> set[str]:
    codes = (CODE["kept"], CODE["verdict: keep"])
    return {row.id for row, code in zip(explorer.columns.rows, explorer.view.reasons, strict=True) if code in codes}


def test_a_verdict_changes_what_the_student_learns_from_and_the_counts_say_so(folder):
    once = TrainSettings(epochs=1, batch_size=16, learning_rate=3e-3)
    filter.filter_rationales(folder, FilterSettings())
    explorer = explore(folder)
    before = distill.distill(folder, "vanilla-kd", "sandbox-small", once)
    assert set(before["inputs"]["data"]["rows"]) == kept(explorer)

    explorer.reading.facets.chosen = {"status": ["kept"], "source": ["teacher"]}
    dropped = explorer.columns.rows[explorer.row].id
    explorer.reading.buttons["drop"].click()
    explorer.reading.facets.chosen = {"status": ["wrong answer"], "source": ["teacher"]}
    saved = [explorer.columns.rows[row].id for row in explorer.view.rows[:2]]
    for _ in saved:
        explorer.reading.buttons["keep"].click()

    after = distill.distill(folder, "vanilla-kd", "sandbox-small", once)
    assert set(after["inputs"]["data"]["rows"]) == set(before["inputs"]["data"]["rows"]) - {dropped} | set(saved)
    assert after["inputs"]["data"]["rows"] and set(after["inputs"]["data"]["rows"]) == kept(explorer)
    assert after["rationales"] == before["rationales"] + 1
    counts = pandas.read_csv(folder / "filter_counts.csv", index_col="source").loc["teacher"]
    assert counts["verdict: drop"] == 1 and counts["kept"] == after["rationales"]
    assert counts.drop("total").sum() == counts["total"]

    explorer.reading.facets.chosen = {}
    for _ in range(3):
        explorer.reading.undo.click()
    again = distill.distill(folder, "vanilla-kd", "sandbox-small", once)
    assert again["inputs"] == before["inputs"]


def test_settings_chosen_by_hand_keep_the_same_rows_headlessly(folder):
    rows = teacher_rows(folder) + read_rationales(folder / "augmented" / "mentor.jsonl")
    confidence = confidences(folder, rows)
    explorer = explore(folder, FilterSettings(), confidence)
    all_kept = kept(explorer)
    controls = explorer.panel.controls
    controls["near duplicates"].value = 0.35
    controls["words"].value = (12, controls["words"].max)
    controls["arithmetic"].value = True
    controls["confidence"].value = sorted(confidence.values())[len(confidence) // 8]
    explorer.reading.buttons["keep"].click()
    explorer.write.click()
    expected = kept(explorer)
    assert 0 < len(expected) < len(all_kept)

    chosen = folder / "chosen_filters.yaml"
    command = [sys.executable, "-m", "papermill", "notebooks/04_inspect_and_filter.ipynb", str(folder / "out.ipynb")]
    done = subprocess.run([*command, "-f", str(chosen)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {row.id for row in read_rationales(folder / "rationales.jsonl") if row.kept} == expected
    parameters = yaml.safe_load(chosen.read_text())
    del parameters["run"], parameters["task"]
    assert from_parameters(**parameters) == explorer.settings
    assert yaml.safe_load((folder / "filters.yaml").read_text())["near_duplicates"] == 0.35
