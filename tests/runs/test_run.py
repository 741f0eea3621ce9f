"""Runs: parameters are checked, failures are reported, and finished notebooks are skipped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from mentor_kd.files import ROOT, InputError, RunFailed, read_json, reports_root
from mentor_kd.runs import jobs, notebooks, run


def notebook(folder: Path, name: str, parameters: str, *cells: str) -> None:
    """Write a small notebook with a parameters cell."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / f"{name}.ipynb")


BASE = 'run: str = "smoke"  # the run\ntask: str = "sandbox-letters"  # the task\n'
MADE = "import pathlib, os\nplace = pathlib.Path(os.environ['MENTOR_KD_REPORTS']) / run / task\n"


@pytest.fixture
def books(tmp_path, monkeypatch):
    """A folder of small, fast notebooks that replace the real ones."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    for name in notebooks.PER_TASK:
        notebook(folder, name, BASE + f"epochs_{name[:2]}: int = 2  # passes\n", "1 + 1")
    notebook(
        folder,
        notebooks.STUDENTS,
        BASE + "learning_rate: float = 3.0e-4  # rate\nseeds: list = [0]  # seeds\nfast: bool = True  # quick\n"
        'methods: list = ["vanilla-kd"]  # methods\n',
        MADE + "print(place)",
    )
    notebook(folder, notebooks.LENS, BASE + 'lens_student: str = ""  # a student\n', "1 + 1")
    notebook(folder, notebooks.CHART, 'run: str = "smoke"  # the run\ntasks: list = []  # the tasks\n', "len(tasks)")
    return folder


def job(folder: Path, *cells: str, minutes: float = 0.0) -> tuple[int, str]:
    notebook(notebooks.NOTEBOOKS, "09_one", BASE, *cells)
    return jobs.execute(jobs.Job("09_one", folder, {"run": "x", "task": "y"}, "y/09_one"), minutes)


def test_an_unknown_parameter_is_rejected_with_a_list_of_known_ones(books):
    with pytest.raises(InputError, match=r"'epochz' is not known to any notebook.*epochs_01.*learning_rate.*seeds"):
        run.plan({"run": "a", "epochz": 3})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("learning_rate", "1e-3", "must be of type float, got '1e-3' of type str .in YAML write numbers like 1.0e-3"),
        ("epochs_01", 2.5, "must be of type int, got 2.5 of type float"),
        ("epochs_01", True, "must be of type int, got True of type bool"),
        ("fast", "false", "must be of type bool, got 'false' of type str"),
        ("seeds", 3, "must be of type list, got 3 of type int"),
        ("tasks", "one", "tasks"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected(books, name, value, words):
    with pytest.raises(InputError, match=words):
        run.plan({"run": "a", name: value})


def test_each_notebook_gets_the_parameters_it_knows_for_each_task(books):
    jobs = run.plan({"run": "a", "tasks": ["svamp", "gsm8k"], "seeds": [0, 1], "learning_rate": 0.5, "epochs_02": 7})
    assert [job.key for job in jobs][:6] == [
        *(
            "svamp/01_collect_rationales",
            "svamp/02_train_mentor",
            "svamp/03_augment_rationales",
            "svamp/04_inspect_and_filter",
        ),
        *("svamp/06_distill_student", "gsm8k/01_collect_rationales"),
    ]
    assert len(jobs) == 11
    assert jobs[1].parameters == {"run": "a", "task": "svamp", "epochs_02": 7}
    assert jobs[4].parameters == {"run": "a", "task": "svamp", "seeds": [0, 1], "learning_rate": 0.5}
    assert jobs[-1].parameters == {"run": "a", "tasks": ["svamp", "gsm8k"]}


def test_the_lens_runs_after_the_students_and_only_with_soft_labels(books):
    soft = run.plan({"run": "a", "methods": ["vanilla-kd", "mentor-kd"], "lens_student": "mentor-kd-seed1"})
    assert [job.notebook for job in soft][-3:] == [notebooks.STUDENTS, notebooks.LENS, notebooks.CHART]
    assert soft[-2].parameters == {"run": "a", "task": "sandbox-letters", "lens_student": "mentor-kd-seed1"}
    hard = run.plan({"run": "a", "methods": ["vanilla-kd"], "lens_student": "mentor-kd-seed1"})
    assert notebooks.LENS not in [job.notebook for job in hard]


def test_parameters_from_yaml_with_overrides(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("run: a\nseeds: [0]\n")
    assert notebooks.read_parameters(path, ["seeds=[1, 2]", "rate=1.0e-3"]) == {
        "run": "a",
        "seeds": [1, 2],
        "rate": 0.001,
    }
    with pytest.raises(InputError, match="name=value"):
        notebooks.read_parameters(path, ["seeds"])
    path.write_text("- a\n- b\n")
    with pytest.raises(InputError, match=r"p\.yaml must contain parameters and values"):
        notebooks.read_parameters(path)
    path.write_text("run: [a\n")
    with pytest.raises(InputError, match=r"p\.yaml: not valid YAML"):
        notebooks.read_parameters(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": "nope"}, "task must be one of .* got 'nope'"),
        ({"seeds": []}, "seeds must be a non-empty list"),
        ({"seeds": ["a"]}, "seeds must be a non-empty list of int"),
        ({"learning_rate": 5.0}, "learning_rate must be a number > 0 and < 1"),
        ({"tasks": ["sandbox-letters", "other"]}, "task must be one of .* got 'other'"),
    ],
)
def test_an_invalid_value_is_rejected_immediately(books, values, words):
    with pytest.raises(InputError, match=words):
        run.plan({"run": "a", **values})


def test_a_run_name_cannot_leave_the_reports_folder(books):
    with pytest.raises(InputError, match=r"run must be a folder name .*got '../x'"):
        run.plan({"run": "../x"})


def test_a_failing_cell_is_named_with_its_error(books, tmp_path):
    code, why = job(tmp_path / "out", "1 + 1", "raise ValueError('the milk is sour')")
    assert code != 0 and "ValueError: the milk is sour" in why and "cell" in why


def test_a_dead_kernel_is_a_failure(books, tmp_path):
    code, why = job(tmp_path / "out", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1")
    assert code != 0 and ("died" in why or "Dead" in why)


def test_a_timeout_is_a_failure(books, tmp_path):
    code, why = job(tmp_path / "out", "import time; time.sleep(600)", minutes=0.05)
    assert code != 0 and why.startswith("timeout")


def counted(books: Path, name: str, body: str) -> None:
    """Write a notebook that adds a line to a file each time it runs, then executes `body`."""
    path = books.parent / "count.txt"
    notebook(books, name, BASE, f"open({str(path)!r}, 'a').write('{name}\\n')", body)


def test_a_failed_run_says_so_in_status_and_goes_on_where_it_was(books, tmp_path, monkeypatch):
    monkeypatch.setattr(run.run_report, "write", lambda folder: folder / "index.html")
    monkeypatch.setattr(notebooks, "PER_TASK", ("01_collect_rationales", "02_train_mentor"))
    monkeypatch.setattr(jobs, "MADE", dict.fromkeys(jobs.MADE, "**/questions.jsonl"))
    counted(books, "02_train_mentor", "raise RuntimeError('no')")
    counted(books, notebooks.STUDENTS, "1")
    made = "folder = place / 'collected'\nfolder.mkdir(parents=True, exist_ok=True)\n"
    made += "(folder / 'questions.jsonl').write_text('{}')"
    counted(books, "01_collect_rationales", MADE + made)  # the run hashes the questions at its end
    said = []
    with pytest.raises(
        RunFailed,
        match="sandbox-letters/02_train_mentor failed: cell .4. `raise RuntimeError.'no'.`: RuntimeError: no",
    ):
        run.run({"run": "r"}, said.append)
    folder = reports_root() / "r"
    state = read_json(folder / "status.json")
    assert state["sandbox-letters/01_collect_rationales"]["state"] == "ok"
    failed = state["sandbox-letters/02_train_mentor"]
    assert failed["state"] == "failed" and "RuntimeError: no" in failed["why"] and failed["exit"] != 0
    counted(books, "02_train_mentor", "2")
    run.run({"run": "r"}, said.append)
    run.run({"run": "r"}, said.append)
    ran = (tmp_path / "count.txt").read_text().split()
    assert ran == ["01_collect_rationales", "02_train_mentor", "02_train_mentor", notebooks.STUDENTS]
    assert said[-1].endswith("07_chart_accuracy: already done")
    assert (folder / "sandbox-letters" / "notebooks" / "02_train_mentor.html").exists()
    assert read_json(folder / "provenance.json")["versions"]["torch"]
    run.run({"run": "r"}, said.append)
    (folder / "sandbox-letters" / "verdicts.jsonl").write_text("{}\n")  # a verdict changes the inputs of 06
    run.run({"run": "r"}, said.append)
    assert (tmp_path / "count.txt").read_text().split()[4:] == [notebooks.STUDENTS]
    (folder / "sandbox-letters" / "collected" / "questions.jsonl").unlink()  # a missing result is recreated
    run.run({"run": "r"}, said.append)
    assert (tmp_path / "count.txt").read_text().split()[5:] == ["01_collect_rationales"]


def test_two_processes_cannot_run_the_same_run(books):
    import filelock

    folder = reports_root() / "r"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"), pytest.raises(InputError, match="another process"):
        run.run({"run": "r"}, lambda line: None)


def test_every_parameter_file_is_accepted_by_the_notebooks():
    files = sorted((ROOT / "notebooks" / "params").glob("*.yaml"))
    assert files
    for path in files:
        parameters = notebooks.read_parameters(path)
        if "grid" in parameters:  # a sweep: test_paper_grids
            continue
        if path.name.startswith("bench-"):
            assert notebooks.check_names(parameters, ("90_measure_speed",)), path.name
        else:
            assert run.plan(parameters), path.name


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_killed_run_leaves_no_orphan_that_writes(books, tmp_path):
    notebook(
        books,
        "01_collect_rationales",
        BASE,
        "import os\nopen('pid.txt', 'w').write(str(os.getpid()))",
        "import time; time.sleep(60)",
    )
    script = (
        "import sys\nfrom pathlib import Path\nfrom mentor_kd.runs import notebooks, run\n"
        f"notebooks.NOTEBOOKS = Path({str(books)!r})\nrun.run({{'run': 'r'}})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not (books / "pid.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    kernel = int((books / "pid.txt").read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    while time.monotonic() < deadline and Path(f"/proc/{kernel}").exists() and _alive(kernel):
        time.sleep(0.2)
    assert not _alive(kernel)
    state = read_json(reports_root() / "r" / "status.json")
    assert state["sandbox-letters/01_collect_rationales"]["state"] == "running"  # so it is run again


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_parameters_of_a_job_are_saved_with_its_notebook(books, tmp_path):
    job(tmp_path / "out", "print(run, task)")
    assert yaml.safe_load((tmp_path / "out" / "notebooks" / "09_one.yaml").read_text()) == {"run": "x", "task": "y"}
