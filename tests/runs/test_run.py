"""Runs: failures are reported, and finished notebooks are skipped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from run_books import BASE, MADE, job, notebook

from mentor_kd.files import InputError, RunFailed, read_json, reports_root, write_text
from mentor_kd.runs import jobs, notebooks, run


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
    monkeypatch.setattr(jobs, "MADE", dict.fromkeys(jobs.MADE, ("**/questions.jsonl",)))
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


@pytest.fixture
def finished(books, monkeypatch):
    """A finished run of three notebooks, and a function that runs it again: what it said, and which notebooks ran.

    The notebooks are not executed: they leave what a notebook leaves.
    """
    monkeypatch.setattr(run.run_report, "write", lambda folder: folder / "index.html")
    monkeypatch.setattr(notebooks, "PER_TASK", ("01_collect_rationales",))
    ran = []
    left = {
        "01": {"collected/questions.jsonl": "{}\n", "collected/teacher.jsonl": "{}\n{}\n"},
        "06": {"students/a-seed0/predictions.jsonl": "{}\n"},
        "07": {"accuracy.csv": "a\n"},
    }

    def execute(job, cell_minutes=0.0, look=None):
        ran.append(job.notebook[:2])
        for name, text in left[job.notebook[:2]].items():
            write_text(job.folder / name, text)
        write_text(job.folder / "notebooks" / f"{job.notebook}.ipynb", (books / f"{job.notebook}.ipynb").read_text())
        return 0, ""

    monkeypatch.setattr(run, "execute", execute)

    def again():
        said = []
        ran.clear()
        run.run({"run": "r"}, said.append)
        return said, list(ran)

    assert again()[1] == ["01", "06", "07"]
    assert again()[1] == []
    return reports_root() / "r", again


def test_a_changed_file_of_a_notebook_runs_it_again_and_only_it(finished):
    folder, again = finished
    path = folder / "sandbox-letters" / "collected" / "teacher.jsonl"
    path.write_text("{}\n")
    said, ran = again()
    assert ran == ["01"] and path.read_text() == "{}\n{}\n"  # what the later notebook read is as it was
    assert any(
        "collected/teacher.jsonl is changed since it was written: running the notebook again" in one for one in said
    )
    (folder / "sandbox-letters" / "students" / "a-seed0" / "predictions.jsonl").unlink()
    assert again()[1] == ["06"] and again()[1] == []
    (folder / "accuracy.csv").write_text("b\n")
    assert again()[1] == ["07"]
    (folder / "sandbox-letters" / "notebooks" / "06_distill_student.ipynb").write_text("{}")
    assert again()[1] == ["06"]


def test_a_page_is_written_again_without_running_its_notebook(finished):
    folder, again = finished
    page = folder / "sandbox-letters" / "notebooks" / "01_collect_rationales.html"
    for harm in (page.unlink, lambda: page.write_text("other")):
        harm()
        said, ran = again()
        assert ran == [] and "<html" in page.read_text()[:200]
        assert any(f"notebooks/{page.name} " in one and "written again" in one for one in said)
    assert not any("written again" in one for one in again()[0])


def test_a_changed_status_is_not_believed(finished):
    folder, again = finished
    path = folder / "status.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    said, ran = again()
    assert ran == ["01", "06", "07"] and "every notebook is run again" in said[0]
    path.write_text(path.read_text().replace('"seconds": ', '"seconds": 1', 1))
    assert again()[1] == ["01"]


def test_a_result_that_is_another_one_runs_the_later_notebooks_again(finished):
    folder, again = finished
    (folder / "sandbox-letters" / "collected" / "teacher.jsonl").unlink()
    (folder / "sandbox-letters" / "params.yaml").write_text("x: 1\n")  # it was not there the first time
    assert again()[1] == ["01", "06", "07"]


def test_a_full_disk_is_said_in_status(finished, monkeypatch):
    folder, again = finished
    (folder / "sandbox-letters" / "collected" / "teacher.jsonl").unlink()

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run.notebook_html, "to_html", full)
    with pytest.raises(RunFailed, match=r"No space left on device.*; free some space, and run the same command again"):
        again()
    state = read_json(folder / "status.json")["sandbox-letters/01_collect_rationales"]
    assert state["state"] == "failed" and "No space left" in state["why"]


def test_two_processes_cannot_run_the_same_run(books):
    import filelock

    folder = reports_root() / "r"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"), pytest.raises(InputError, match="another process"):
        run.run({"run": "r"}, lambda line: None)


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


def test_a_run_takes_its_own_interpreter_whatever_kernel_is_called_python3(books, tmp_path, monkeypatch):
    other = tmp_path / "share" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    assert job(tmp_path / "out", f"import sys; assert sys.executable == {sys.executable!r}") == (0, "")


def test_what_goes_on_is_shown_while_a_notebook_runs_and_then_no_more(books, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "of_run", lambda jobs: [10.0, 20.0, 30.0])
    monkeypatch.setattr(run.notebook_html, "to_html", lambda path: None)
    line = {"label": "training", "done": 3, "total": 9, "unit": "steps", "note": "loss 1.2", "left": 4.0}
    news = f"""
import json, os, time
with open(os.environ['MENTOR_KD_NEWS'], 'w') as file:
    json.dump({{'time': time.time(), 'lines': [{line}]}}, file)
time.sleep(1)
"""
    monkeypatch.setattr(jobs, "command", lambda job, minutes: [sys.executable, "-S", "-c", news])
    shown, said = [], []
    names = (*notebooks.PER_TASK[:2], notebooks.CHART)
    wanted = [jobs.Job(name, tmp_path / name, {}, f"sums/{name}") for name in names]
    run._run_jobs(wanted, tmp_path / "status.json", 0.0, said.append, shown.append)
    first = "[1/3] sums/01_collect_rationales: training 3/9 steps · loss 1.2 · about 4 s left · run: about 59 s left"
    assert first in shown or first.replace("59", "60") in shown
    assert shown[-1] == "" and shown.count("") == 3  # after each notebook
    assert said[0] == "[1/3] sums/01_collect_rationales ..." and len(said) == 6


def test_the_parameters_of_a_job_are_saved_with_its_notebook(books, tmp_path):
    job(tmp_path / "out", "print(run, task)")
    assert yaml.safe_load((tmp_path / "out" / "notebooks" / "09_one.yaml").read_text()) == {"run": "x", "task": "y"}
