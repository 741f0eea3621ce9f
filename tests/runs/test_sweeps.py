"""Sweeps: stages run in parallel, each once; a killed sweep resumes and ends with the same table.

Small scripts replace the notebooks, so that a stage takes a moment; test_sweep_chain runs the real notebooks.
"""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import filelock
import pandas
import pytest
from rich.console import Console

from mentor_kd.files import InputError, read_json, reports_root
from mentor_kd.runs import grids, jobs, notebook_html, sweep_report, sweeps

GRID = """
sweep: s
grid:
  - {task: [sandbox-letters, sandbox-sums], method: mentor}
  - {task: [sandbox-letters, sandbox-sums], method: [vanilla-kd, mentor-kd], seed: [0, 1]}
search: {learning_rate: [1.0e-3, 2.0e-3]}
"""

# Replaces a notebook: it logs its start and end, waits, and writes what later stages and the table need.
STAGE = """
import hashlib, json, os, sys, time
from pathlib import Path
job, log = json.loads(sys.argv[1]), Path(sys.argv[2])
folder, own, name = Path(job["folder"]), job["parameters"], job["notebook"]
def note(what):
    with open(log, "a") as file:
        file.write(f"{what} {own['run']} {name} {time.time()} {os.environ.get('OMP_NUM_THREADS')}\\n")
def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\\n")
note("begin")
if os.environ.get("UNLUCKY") and not (folder / "tried").exists():
    write(folder / "tried", 1)
    sys.exit("zmq.error.ZMQError: Address already in use")
if os.environ.get("FAIL") == name:
    sys.exit("the milk is sour")
time.sleep(float(os.environ.get("TAKES", "0.05")))
def model(place, score):
    rows = [{"id": str(i), "split": "test", "answer": "1", "correct": i < score} for i in range(20)]
    place.mkdir(parents=True, exist_ok=True)
    (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
    training = {"dev_accuracy": float(score), "steps": 7, "best_step": 5, "seconds": 1.0, "padding": 1.0}
    facts = {"base": "tiny", "parameters": 9, "too_long": [], "training": training, "trained_on": 3}
    write(place / "manifest.json", facts)
if name.startswith("01"):
    write(folder / "params.yaml", {"task": own["task"]})
    left = {"open": int(os.environ.get("OPEN", 0))}
    write(folder / "collected" / "manifest.json", {"task": own["task"], "annotation": left})
elif name.startswith("02"):
    assert (folder / "collected" / "manifest.json").exists()
    (folder / "mentor").mkdir(exist_ok=True)
    (folder / "mentor" / "model.safetensors").write_text(own["task"])
    model(folder / "mentor", 15)
elif name.startswith("03"):
    write(folder / "augmented" / "manifest.json", own["run"])
elif name.startswith("04"):
    write(folder / "rationales.jsonl", {"run": own["run"]})
else:
    assert (folder / "rationales.jsonl").exists() and (folder / "soft_labels").is_dir()
    said = json.dumps({key: value for key, value in own.items() if key != "run"}, sort_keys=True)
    score = int(hashlib.sha256(said.encode()).hexdigest(), 16) % 20
    model(folder / "students" / f"{own['methods'][0]}-seed{own['seeds'][0]}", score)
note("end")
"""


def replaced(log: Path) -> None:
    """Replace notebooks by scripts in this process."""
    script = log.with_name("stage.py")
    script.write_text(STAGE)

    def command(job, minutes=0.0):
        said = {"folder": str(job.folder), "parameters": job.parameters, "notebook": job.notebook}
        return [sys.executable, "-S", str(script), json.dumps(said), str(log)]

    jobs.command, notebook_html.to_html = command, lambda path: None


@pytest.fixture
def log(tmp_path, monkeypatch):
    """The log of the scripts: a line at the start and at the end of each stage."""
    monkeypatch.setattr(jobs, "command", jobs.command)
    monkeypatch.setattr(notebook_html, "to_html", notebook_html.to_html)
    replaced(tmp_path / "log.txt")
    return tmp_path / "log.txt"


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    return grids.read(tmp_path / "grid.yaml")


def lines(log: Path, what: str) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines() if line.startswith(what)]


def sweep(grid, workers=4, **more) -> sweeps.State:
    return sweeps.run(grid, list(grid.cells), workers, say=lambda line: None, **more)


def table(grid) -> str:
    sweep_report.write(grid)
    return (sweeps.folder_of(grid) / "results.csv").read_text()


def test_shared_stages_run_once_and_others_in_parallel(grid, log):
    seen = io.StringIO()

    def show(state):
        Console(file=seen, width=120).print(sweep_report.view(grid, state))

    state = sweep(grid, show=show)
    ran = Counter(lines(log, "end"))
    # for each task: 01 to 04 once; for each method two learning rates with seed 0, then one more seed
    assert set(ran.values()) == {1} and len(ran) == 2 * (4 + 2 * 2 + 2 * 1)
    assert state.done == set(ran) and not state.failed
    assert "mentor's samples" in seen.getvalue() and "running now" in seen.getvalue() and "left" in seen.getvalue()
    events = [line.split() for line in log.read_text().splitlines()]
    depth = Counter()
    for what, *_ in events:
        depth[what] += 1
        assert depth["begin"] - depth["end"] <= 4
    assert {event[4] for event in events} == {"1"}  # threads per run do not depend on the number of workers


def test_the_table_does_not_depend_on_the_number_of_workers(grid, log, monkeypatch):
    found = []
    for workers in (1, 5):
        monkeypatch.setenv("MENTOR_KD_REPORTS", str(reports_root().parent / f"reports{workers}"))
        sweep(grid, workers)
        found.append(table(grid))
    assert found[0] == found[1]
    frame = pandas.read_csv(sweeps.folder_of(grid) / "results.csv")
    assert list(frame["cell"]) == [cell.name for cell in grid.cells]
    students = frame[frame["method"] != "mentor"]
    chosen = students.groupby(["task", "method"])["learning_rate"].nunique()
    assert (chosen == 1).all()  # searched once for all seeds
    page = sweeps.folder_of(grid) / "charts" / "all" / "index.html"
    assert "sandbox-sums" in page.read_text() and "mentor-kd" in page.read_text()
    assert "<h1>Sweep s, all</h1>" in page.read_text() and "learning_rate" in page.read_text()
    index = (sweeps.folder_of(grid) / "index.html").read_text()
    assert "<h1>Sweep s</h1>" in index and "learning_rate" in index and "mentor_epochs" in index
    assert all(cell.name in index for cell in grid.cells)
    for name in ("results.csv", "summary.csv", "costs.csv", "charts/all/index.html"):
        assert f'<a href="./{name}">' in index


def test_the_value_with_the_best_dev_accuracy_is_chosen(grid, log):
    sweep(grid)
    cell = next(cell for cell in grid.cells if cell.method == "mentor-kd")
    tried, final = grid.resolve(cell, lambda stage: sweeps.dev_accuracy(grid, stage))
    scores = {s.parameters["learning_rate"]: sweeps.dev_accuracy(grid, s) for s in tried}
    assert scores[final["learning_rate"]] == max(scores.values()) and len(scores) == 2


def test_a_killed_sweep_resumes_and_repeats_nothing(grid, log, tmp_path):
    process = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)], env={**os.environ, "TAKES": "0.4"}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (log.exists() and len(lines(log, "end")) >= 7):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # a surviving process would have finished by now
    known = {path.parent.name: read_json(path)["state"] for path in sweeps.folder_of(grid).glob("*/status.json")}
    done = {key for key, state in known.items() if state == "ok"}
    assert len(done) >= 4 and len(known) < 20 and len(set(known) - done) <= 3
    begun = lines(log, "begin")
    state = sweep(grid)
    assert len(state.done) == 20 and state.done == set(lines(log, "end"))
    again = Counter(lines(log, "begin"))
    assert not done & set(lines(log, "begin")[len(begun) :])  # no finished stage is started again
    assert {key for key, times in again.items() if times > 1} <= set(known) - done  # only interrupted stages
    first = table(grid)
    assert Counter(lines(log, "begin")) == again and sweep(grid).done == state.done
    assert Counter(lines(log, "begin")) == again and table(grid) == first  # a third time, nothing is run


def test_a_failure_stops_only_the_stages_that_depend_on_it(grid, log, monkeypatch):
    monkeypatch.setenv("FAIL", "03_augment_rationales")
    state = sweep(grid)
    assert len(state.failed) == 2 and len(state.done) == 4
    key, why = next(iter(state.failed.items()))
    assert "the milk is sour (exit 1; log: " in why
    assert read_json(sweeps.folder_of(grid) / key / "status.json")["state"] == "failed"
    frame = sweep_report.results(grid)
    assert list(frame["method"]) == ["mentor", "mentor"]  # finished cells are reported
    monkeypatch.delenv("FAIL")
    assert not sweep(grid).failed and Counter(lines(log, "end")).most_common(1)[0][1] == 1


def test_an_incomplete_collection_stops_its_cells(grid, log, monkeypatch):
    monkeypatch.setenv("OPEN", "2")
    cells = grid.chosen(["sandbox-sums/mentor"])
    state = sweeps.run(grid, cells, say=lambda line: None)
    assert [why for why in state.failed.values() if "rationales are missing; run again" in why] and not state.done
    monkeypatch.setenv("OPEN", "0")
    assert len(sweeps.run(grid, cells, say=lambda line: None).done) == 2


def test_a_port_collision_is_retried(grid, log, monkeypatch):
    monkeypatch.setenv("UNLUCKY", "1")
    cells = grid.chosen(["sandbox-sums/mentor"])
    state = sweeps.run(grid, cells, 1, say=lambda line: None)
    assert not state.failed and len(state.done) == 2 and len(lines(log, "begin")) == 3  # the first one twice


def test_lines_name_task_method_and_seed_and_how_much_is_done_and_left(grid, log):
    said, lines_of_a_log = [], set()
    cells = grid.chosen(["sandbox-sums/mentor", "sandbox-sums/vanilla-kd/seed1"])
    sweeps.run(
        grid, cells, 1, show=lambda state: lines_of_a_log.add(sweep_report.log_line(grid, state)), say=said.append
    )
    assert re.fullmatch(r"sandbox-sums, questions \(\w+/01_collect_rationales\) \.\.\.", said[0])
    assert re.fullmatch(r"sandbox-sums, questions: ok after 0 s · 1 of 6 stages done · about .* left", said[1])
    assert re.match(r"sandbox-sums, vanilla-kd, seed 1: ok after 0 s · 7 of 7 stages done", said[-1])
    working = r"sweep s: \d of [67] stages done · about .* left; sandbox-sums, vanilla-kd, seed \d: starting"
    assert any(re.fullmatch(working, line) for line in lines_of_a_log)
    assert "sweep s: 7 of 7 stages done · about 0 s left" in lines_of_a_log  # nothing runs, nothing stale


def test_memory_limits_parallel_stages_but_one_always_runs(grid, log, monkeypatch):
    most = []
    monkeypatch.setenv("TAKES", "0.3")

    def show(state):
        most.append(len(state.running))

    sweeps.run(grid, grid.chosen(["*/mentor"]), 4, memory=0.001, show=show, say=lambda line: None)
    assert max(most) == 1


def test_a_stage_run_by_another_process_is_awaited(grid, log):
    cells = grid.chosen(["sandbox-sums/mentor"])
    first = grid.stage(cells[0].parameters).chain()[0]
    place = sweeps.folder_of(grid) / first.key
    place.mkdir(parents=True)
    lock = filelock.FileLock(place / ".lock")
    lock.acquire()
    seen = []

    def show(state):
        seen.append((set(state.elsewhere), dict(state.running)))
        if len(seen) == 5:
            lock.release()  # it ended without a result: this process takes over

    state = sweeps.run(grid, cells, 2, show=show, say=lambda line: None)
    assert seen[0] == ({first.key}, {}) and len(state.done) == 2


def test_model_weights_are_linked_and_other_files_copied(grid, log):
    sweep(grid)
    stages = grid.stage({**grid.cells[-1].parameters, "learning_rate": 1e-3, "seed": 0}).chain()
    places = [sweeps.job(grid, stage).folder for stage in stages]
    weights = [(place / "mentor" / "model.safetensors").stat().st_ino for place in places[1:]]
    assert len(set(weights)) == 1
    rows = [(place / "mentor" / "predictions.jsonl").stat().st_ino for place in places[1:]]
    assert len(set(rows)) == 4
    assert (places[4] / "soft_labels").resolve() == (places[1] / "soft_labels").resolve()
    assert not (places[1] / "augmented").exists() and not (places[3] / "students").exists()


def test_a_missing_result_is_recreated(grid, log):
    cells = grid.chosen(["sandbox-sums/mentor"])
    sweeps.run(grid, cells, say=lambda line: None)
    stage = grid.stage(cells[0].parameters)
    (sweeps.job(grid, stage).folder / "mentor" / "manifest.json").unlink()
    assert not sweeps.is_done(grid, stage)
    sweeps.run(grid, cells, say=lambda line: None)
    assert Counter(lines(log, "end"))[stage.key] == 2


def test_a_sweep_without_results_is_an_error(grid, log):
    with pytest.raises(InputError, match="no cell is done yet"):
        sweep_report.write(grid)


if __name__ == "__main__":  # the process that the test kills
    replaced(Path(sys.argv[1]) / "log.txt")
    sweep(grids.read(Path(sys.argv[1]) / "grid.yaml"), 3)
