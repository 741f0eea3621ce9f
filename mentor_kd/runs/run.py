"""Runs: notebooks executed headlessly by papermill, one subprocess each, with a reliable status.

Each notebook gets those parameters of the run's YAML that it knows; unknown keys and values of the wrong type are
rejected. A notebook is skipped if its parameters, source and inputs are the same as at its last success.
The status of each notebook is in `status.json`; papermill's metadata marks the cells of a killed kernel "completed".
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import yaml

from ..data.download import hashes
from ..data.folder import task_folder
from ..evaluation.metrics import summarise
from ..files import InputError, RunFailed, digest, read_json, reports_root, sha256, write_json, write_text
from ..models import loading
from ..pipeline.parameters import check_models
from ..progress import duration
from ..provenance import code_hash, provenance
from ..report import run_report
from ..training.methods import get_method
from . import notebook_html, notebooks
from .jobs import Job, execute, made, unfinished


def plan(parameters: dict) -> list[Job]:
    """The notebooks of a run in order: 01 to 06 for each task, then 07 for all tasks. Checks every parameter first.

    Notebook 05 also inspects the students, so it runs after 06, and only if a method uses soft labels.
    """
    names = (*notebooks.PER_TASK, notebooks.STUDENTS, notebooks.LENS, notebooks.CHART)
    first = notebooks.known_parameters(names[0])
    tasks = parameters.get("tasks") or [parameters.get("task", first["task"]["default"])]
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise InputError(f"parameter 'tasks' must be a list of task names, got {tasks!r}")
    run = str(parameters.get("run", first["run"]["default"]))
    parameters = notebooks.whole_paths(parameters)
    known = {notebook: notebooks.known_parameters(notebook) for notebook in names}
    subsets = notebooks.check_names({**parameters, "run": run, "task": tasks[0]}, names, known)
    notebooks.check_values(subsets, tasks, known)
    check_models(parameters)
    methods = parameters.get(
        "methods", notebooks.known_parameters(notebooks.STUDENTS).get("methods", {}).get("default", [])
    )
    soft = [notebooks.LENS] if any(get_method(method).soft_labels for method in methods) else []
    jobs = []
    for task in tasks:
        for notebook in (*notebooks.PER_TASK, notebooks.STUDENTS, *soft):
            jobs.append(
                Job(notebook, task_folder(run, task), {**subsets[notebook], "task": task}, f"{task}/{notebook}")
            )
    last = {**subsets[notebooks.CHART], "tasks": list(tasks)}
    last.pop("task", None)
    return [*jobs, Job(notebooks.CHART, reports_root() / run, last, notebooks.CHART)]


def _fingerprint(job: Job, before: str) -> str:
    """Hash of what a result depends on: notebook, parameters, code, previous steps, verdicts, files and models."""
    verdicts = job.folder / "verdicts.jsonl"
    data = str(job.parameters.get("data", ""))
    named = ("teacher", "prompt", "augmenter", "augmenter_prompt")
    files = [data, *(str(job.parameters.get(name, "")) for name in named)]
    return digest(
        {
            "notebook": sha256(notebooks.NOTEBOOKS / f"{job.notebook}.ipynb"),
            "parameters": job.parameters,
            "code": code_hash(),
            "before": before,
            "verdicts": sha256(verdicts) if verdicts.exists() and job.notebook >= "04" else "",
            "files": [sha256(Path(name)) if Path(name).is_file() else "" for name in files],
            "official": hashes() if data == "official" else "",
            "models": [loading.identity(job.parameters[k]) for k in ("mentor", "student") if k in job.parameters],
        }
    )


@contextlib.contextmanager
def _alone(folder: Path):
    """Hold the run's lock, released when the process ends. Raises InputError if another process holds it."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(f"{folder}: another process is running this run; wait for it, or stop it") from None


def run(parameters: dict, say: Callable[[str], None] = print) -> Path:
    """Execute a run and write its report. Returns the path of index.html. Raises RunFailed if a notebook fails.

    Notebooks that succeeded with the same inputs are skipped; one that failed or was killed resumes where it stopped.
    """
    jobs = plan(parameters)
    folder = jobs[-1].folder
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        write_text(folder / "params.yaml", yaml.safe_dump(parameters, sort_keys=False))
        _run_jobs(jobs, folder / "status.json", float(parameters.get("cell_minutes", 0.0)), say)
        seeds = {name: value for name, value in parameters.items() if "seed" in name}
        places = {job.folder.name: job.folder / "collected" / "questions.jsonl" for job in jobs[:-1]}
        data = {task: sha256(path)[:16] for task, path in places.items()}
        write_json(folder / "provenance.json", provenance(code=code_hash(), seeds=seeds, questions=data))
        return run_report.write(folder)


def run_one(notebook: str, parameters: dict, say: Callable[[str], None] = print) -> Path:
    """Execute a single notebook. Returns its task's folder. Raises RunFailed if it fails."""
    known, parameters = notebooks.known_parameters(notebook), notebooks.whole_paths(parameters)
    given = {name: parameters.get(name, known[name]["default"]) for name in ("run", "task")}
    job = Job(
        notebook, task_folder(**given), notebooks.check_names(parameters, (notebook,))[notebook] | given, notebook
    )
    say(f"{notebook} for {given['task']} ...")
    job.folder.mkdir(parents=True, exist_ok=True)
    with _alone(job.folder):
        code, why = execute(job)
    if code:
        raise RunFailed(f"{notebook} failed: {why}")
    notebook_html.to_html(job.folder / "notebooks" / f"{notebook}.ipynb")
    return job.folder


def _run_jobs(jobs: list[Job], state_file: Path, cell_minutes: float, say: Callable[[str], None]) -> None:
    """Execute the jobs that are not done, and save the state of each before and after it."""
    state = read_json(state_file) if state_file.exists() else {}
    before: dict[Path, str] = {}

    def note(job: Job, **facts: object) -> None:
        state[job.key] = {**state.get(job.key, {}), **facts}
        write_json(state_file, state)

    for number, job in enumerate(jobs, 1):
        mark = _fingerprint(
            job, "".join(before.values()) if job.notebook == notebooks.CHART else before.get(job.folder, "")
        )
        before[job.folder] = mark
        executed = job.folder / "notebooks" / f"{job.notebook}.ipynb"
        known = state.get(job.key, {})
        same = known.get("state") == "ok" and known.get("fingerprint") == mark
        if same and executed.exists() and made(job) == known.get("made") != {} and not unfinished(job):
            say(f"[{number}/{len(jobs)}] {job.key}: already done")
            continue
        say(f"[{number}/{len(jobs)}] {job.key} ...")
        started = time.time()
        state.pop(job.key, None)
        note(job, state="running", started=round(started), fingerprint=mark)
        try:
            code, why = execute(job, cell_minutes)
        except BaseException as error:
            note(job, state="stopped", why=type(error).__name__, seconds=round(time.time() - started, 1))
            raise
        seconds = round(time.time() - started, 1)
        if code:
            note(job, state="failed", seconds=seconds, why=why, exit=code)
            raise RunFailed(f"{job.key} failed: {why}. Fix it and run the same command to resume.")
        notebook_html.to_html(executed)
        note(job, state="ok", seconds=seconds, made=made(job))
        say(f"[{number}/{len(jobs)}] {job.key}: ok after {duration(seconds)}")


def table(run_folder: Path) -> str:
    """The accuracies of a run as a plain-text table."""
    frame = summarise(run_report.accuracies(run_folder))
    lines = [f"{'task':<22}{'method':<26}{'accuracy':>9}   {'95% interval':<16}{'seeds':>5}{'questions':>11}"]
    for row in frame.itertuples():
        interval = f"{max(0, row.low):.1f} to {min(100, row.high):.1f}"
        lines.append(f"{row.task:<22}{row.method:<26}{row.accuracy:>8.1f}%   {interval:<16}{row.seeds:>5}{row.n:>11}")
    return "\n".join(lines)
