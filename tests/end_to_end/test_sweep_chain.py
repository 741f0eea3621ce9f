"""A sweep of the real notebooks, killed half-way and gone on: it ends as the steps give it, and as one process does."""

import os
import signal
import subprocess
import sys
import time

import pandas
import pytest
import tiny

from mentor_kd.__main__ import main
from mentor_kd.files import read_json
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.runs import grids, sweep_report, sweeps
from mentor_kd.training.settings import TrainSettings

GRID = """
sweep: real
task: sandbox-letters
train_questions: 24
dev_questions: 3
test_questions: 6
mentor: {model}
student: {model}
mentor_epochs: 1
mentor_learning_rate: 3.0e-3
epochs: 1
learning_rate: 3.0e-3
samples: 1
max_new_tokens: 12
grid: {{method: [mentor, vanilla-kd, mentor-kd]}}
"""


@pytest.mark.timeout(900)
def test_killed_and_gone_on_it_ends_as_the_steps_do(tmp_path, reports, capsys, monkeypatch):
    model = str(tiny.gpt2(tmp_path / "model"))
    path = tmp_path / "grid.yaml"
    path.write_text(GRID.format(model=model))
    command = [sys.executable, "-m", "mentor_kd", "sweep", "--params", str(path), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=dict(os.environ))

    def known() -> dict:
        return {file.parent.name: read_json(file) for file in reports.glob("real/*/status.json")}

    deadline = time.monotonic() + 500
    while sum(one["state"] == "ok" for one in known().values()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {key: one for key, one in known().items() if one["state"] == "ok"}
    assert main(["sweep", "--params", str(path), "--workers", "2"]) == 0
    after = known()
    assert len(after) == 6 and all(one["state"] == "ok" for one in after.values())
    assert {key: after[key] for key in before} == before  # what was done is as it was
    assert "mentor-kd" in capsys.readouterr().out

    folder = tmp_path / "undisturbed" / "sandbox-letters"  # the same, step by step and without a notebook
    collect(folder, "sandbox-letters", CollectSettings(train_questions=24, dev_questions=3, test_questions=6))
    settings = TrainSettings(epochs=1, batch_size=16, learning_rate=3e-3)
    mentor.train_mentor(folder, model, settings)
    augment.augment(folder, Sampling(n=1, temperature=0.7, top_k=50, max_new_tokens=12))
    filter.filter_rationales(folder, FilterSettings())
    frame = pandas.read_csv(reports / "real" / "results.csv").set_index("method")
    grid = grids.read(path)
    table = sweep_report.results(grid).to_csv()
    for cell in grid.cells:
        place = sweeps.job(grid, grid.stage(cell.parameters)).folder
        name = "mentor" if cell.method == "mentor" else f"students/{cell.method}-seed0"
        if cell.method != "mentor":
            distill.distill(folder, cell.method, model, settings)
        ours = (place / name / "predictions.jsonl").read_bytes()
        assert ours == (folder / name / "predictions.jsonl").read_bytes(), cell.name
        assert frame.loc[cell.method, "n"] == 6
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path / "here"))  # and in this process: the same, folder by folder
    state = sweeps.run_here(grid, list(grid.cells))
    assert not state.failed and state.done == set(after)
    for key in state.done:
        for path in (reports / "real" / key).glob("sandbox-letters/**/manifest.json"):
            ours = tmp_path / "here" / "real" / key / path.relative_to(reports / "real" / key)
            one, other = read_json(path), read_json(ours)
            for made in (one, other):
                for timed in ("metrics.jsonl", "model_card.json", "README.md"):  # they know when and how fast
                    made.get("outputs", {}).pop(timed, None)  # soft labels list none
            assert (one.get("inputs"), one.get("outputs")) == (other.get("inputs"), other.get("outputs")), path
    assert sweep_report.results(grid).to_csv() == table

    shared = list((reports / "real").glob("*/sandbox-letters/soft_labels/*/manifest.json"))
    assert len({file.resolve() for file in shared}) == 1  # beside the mentor, once
