"""Runs: notebooks executed headlessly by papermill, one subprocess each, with a reliable status.

Each notebook gets those parameters of the run's YAML that it knows; unknown keys and values of the wrong type are
rejected. A notebook is skipped if its parameters, source and inputs are the same as at its last success.
The status of each notebook is in `status.json`; papermill's metadata marks the cells of a killed kernel "completed".
"""

import contextlib
import functools
import time
from collections.abc import Callable
from pathlib import Path

import filelock

from ..checks import require_list, require_number
from ..data import sources
from ..data.download import hashes
from ..data.folder import task_folder
from ..disk import reserve, write_status, writing
from ..evaluation.metrics import summarise
from ..files import InputError, RunFailed, digest, read_records, reports_root, sha256, write_json, write_text
from ..manifests import changed, is_sealed, sealed
from ..models import loading
from ..parsing import yaml_text
from ..pipeline.collect import look_text
from ..pipeline.parameters import check_models, collect_settings
from ..progress import duration
from ..provenance import code_hash, provenance
from ..report import run_report, trust
from ..training.methods import get_method
from . import follow, notebook_html, notebooks
from .estimates import of_run
from .jobs import Job, execute, made, page, results, unfinished


def plan(parameters: dict) -> list[Job]:
    """The notebooks of a run in order: 01 to 06 for each task, then 07 for all tasks. Checks every parameter first.

    Notebook 05 also inspects the students, so it runs after 06, and only if a method uses soft labels.
    """
    names = (*notebooks.PER_TASK, notebooks.STUDENTS, notebooks.LENS, notebooks.CHART)
    known = {notebook: notebooks.known_parameters(notebook) for notebook in names}
    defaults = {name: facts["default"] for facts_of in known.values() for name, facts in facts_of.items()}
    parameters = notebooks.whole_paths(parameters)
    every = defaults | parameters
    run, tasks = every["run"], _tasks(parameters, defaults)
    require_number("cell_minutes", parameters.get("cell_minutes", 0), least=0, note="0 for no limit")
    subsets = notebooks.check_names({**parameters, "run": run, "task": tasks[0]}, names, known)
    notebooks.check_values(subsets, tasks, known)
    check_models(every)
    soft = [notebooks.LENS] if any(get_method(method).soft_labels for method in every.get("methods", [])) else []
    jobs = []
    for task in tasks:
        for notebook in (*notebooks.PER_TASK, notebooks.STUDENTS, *soft):
            jobs.append(
                Job(notebook, task_folder(run, task), {**subsets[notebook], "task": task}, f"{task}/{notebook}")
            )
    last = {**subsets[notebooks.CHART], "tasks": list(tasks)}
    last.pop("task", None)
    return [*jobs, Job(notebooks.CHART, reports_root() / run, last, notebooks.CHART)]


def _tasks(parameters: dict, defaults: dict) -> list[str]:
    """The tasks of a run, from `tasks` or `task`. Raises InputError for both."""
    if "tasks" not in parameters:
        return [parameters.get("task", defaults["task"])]
    require_list("tasks", parameters["tasks"], str, empty=False)
    if "task" in parameters:
        raise InputError(
            f"give either task or tasks, got task {parameters['task']!r} and tasks {parameters['tasks']!r}; remove one"
        )
    return parameters["tasks"]


def looks(jobs: list[Job]) -> list[str]:
    """The first look at your own data, for each task of a plan; empty for the sandbox and the official data."""
    collections = [job for job in jobs if job.notebook == notebooks.PER_TASK[0]]
    defaults = {name: facts["default"] for name, facts in notebooks.known_parameters(notebooks.PER_TASK[0]).items()}
    found = [look_text(job.parameters["task"], collect_settings(defaults | job.parameters)) for job in collections]
    return [text for text in found if text]


def _fingerprint(job: Job, before: str) -> str:
    """Hash of what a result depends on: notebook, parameters, code, previous steps, verdicts, files and models."""
    verdicts = job.folder / "verdicts.jsonl"
    data = str(job.parameters.get("data", ""))
    named = ("data_test", "teacher", "prompt", "augmenter", "augmenter_prompt")
    files = [data, *(str(job.parameters.get(name, "")) for name in named)]
    folders = [name for name in files[:2] if name and sources.is_folder(name)]
    own = {name: value for name, value in job.parameters.items() if name not in notebooks.WITHOUT_EFFECT}
    return digest(
        {
            "notebook": sha256(notebooks.NOTEBOOKS / f"{job.notebook}.ipynb"),
            "parameters": own,
            "code": code_hash(),
            "before": before,
            "verdicts": sha256(verdicts) if verdicts.exists() and job.notebook >= "04" else "",
            "files": [sha256(Path(name)) if Path(name).is_file() or name in folders else "" for name in files],
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


Say = Callable[[str], None]


def silent(text: str) -> None:
    """A `show` that does nothing."""


def run(parameters: dict, say: Say = print, show: Say = silent) -> Path:
    """Execute a run and write its report. Returns the path of index.html. Raises RunFailed if a notebook fails.

    Notebooks that succeeded with the same inputs are skipped; one that failed or was killed resumes where it stopped.
    `say` gets a line for each notebook that begins or ends; `show` gets the current work twice a second, and "" when
    nothing does (see follow.Line).
    """
    jobs = plan(parameters)
    folder = jobs[-1].folder
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder), writing(folder):
        reserve(folder)
        write_text(folder / "params.yaml", yaml_text(parameters))
        _run_jobs(jobs, folder / "status.json", float(parameters.get("cell_minutes", 0.0)), say, show)
        seeds = {name: value for name, value in parameters.items() if "seed" in name}
        places = {job.folder.name: job.folder / "collected" / "questions.jsonl" for job in jobs[:-1]}
        data = {task: sha256(path)[:16] for task, path in places.items()}
        write_json(folder / "provenance.json", provenance(code=code_hash(), seeds=seeds, questions=data))
        return run_report.write(folder)


def run_one(notebook: str, parameters: dict, say: Say = print, show: Say = silent) -> Path:
    """Execute a single notebook. Returns its task's folder. Raises RunFailed if it fails."""
    known, parameters = notebooks.known_parameters(notebook), notebooks.whole_paths(parameters)
    given = {name: parameters.get(name, known[name]["default"]) for name in ("run", "task")}
    job = Job(
        notebook, task_folder(**given), notebooks.check_names(parameters, (notebook,))[notebook] | given, notebook
    )
    say(f"{notebook} for {given['task']} ...")
    job.folder.mkdir(parents=True, exist_ok=True)
    with _alone(job.folder):
        code, why = execute(job, look=lambda: show(_now(job)))
    show("")
    if code:
        raise RunFailed(f"{notebook} failed: {why}")
    notebook_html.to_html(job.folder / "notebooks" / f"{notebook}.ipynb")
    return job.folder


def _now(job: Job, place: str = "", rest: float | None = None) -> str:
    """The line about a running notebook: `place` among all, its work, and the time left of that and of the run."""
    found = follow.news(job)
    whole = "" if rest is None else f"run: {follow.about(max(rest, found.left or 0.0))}"
    return follow.sentence(f"{place}{job.key}: {found.text}", follow.about(found.left), whole)


def _run_jobs(jobs: list[Job], state_file: Path, cell_minutes: float, say: Say, show: Say) -> None:
    """Execute the jobs that are not done, and save the state of each before and after it."""
    state = _state(state_file, say)
    before: dict[Path, str] = {}
    estimates, spent = of_run(jobs), []

    def note(job: Job, **facts: object) -> None:
        state[job.key] = sealed({**state.get(job.key, {}), **facts})
        write_status(state_file, state, state_file.parent)

    def rest(number: int, since: float) -> float | None:
        """Seconds left of the run while a notebook has been running since a time; None if not known."""
        this = follow.seconds_left(estimates[number - 1 : number], spent)
        later = follow.seconds_left(estimates[number:], spent)
        return None if this is None or later is None else max(0.0, this - (time.time() - since)) + later

    for number, job in enumerate(jobs, 1):
        place = f"[{number}/{len(jobs)}] "
        mark = _fingerprint(
            job, "".join(before.values()) if job.notebook == notebooks.CHART else before.get(job.folder, "")
        )
        executed = job.folder / "notebooks" / f"{job.notebook}.ipynb"
        known = state.get(job.key, {})
        same = is_sealed(known) and known.get("state") == "ok" and known.get("fingerprint") == mark
        if same and executed.exists() and known["made"] and not unfinished(job):
            wrong = changed(job.folder, known["made"])
            if set(wrong) == {page(job)}:
                notebook_html.to_html(executed)
                note(job, made=made(job))
                say(f"{place}{job.key}: {page(job)} {wrong[page(job)]}: written again")
            if set(wrong) <= {page(job)}:
                before[job.folder] = digest([mark, results(known["made"])])
                say(f"{place}{job.key}: already done")
                continue
            for name, what in wrong.items():
                say(f"{place}{job.key}: {name} is {what} since it was written: running the notebook again")
        say(f"{place}{job.key} ...")
        started = time.time()
        state.pop(job.key, None)
        note(job, state="running", started=round(started), fingerprint=mark)
        look = functools.partial(_look, show, job, place, functools.partial(rest, number, started))
        try:
            code, why = execute(job, cell_minutes, look)
            if code == 0:
                notebook_html.to_html(executed)
        except BaseException as error:
            failed = isinstance(error, Exception)
            ended = {"state": "failed" if failed else "stopped", "seconds": round(time.time() - started, 1)}
            note(job, why=f"{type(error).__name__}: {error}" if failed else type(error).__name__, **ended)
            raise
        finally:
            show("")
        seconds = round(time.time() - started, 1)
        if code:
            note(job, state="failed", seconds=seconds, why=why, exit=code)
            raise RunFailed(f"{job.key} failed: {why}. Fix it and run the same command to resume.")
        left = made(job)
        note(job, state="ok", seconds=seconds, made=left)
        before[job.folder] = digest([mark, results(left)])
        spent.append((estimates[number - 1], seconds))
        say(f"{place}{job.key}: ok after {duration(seconds)}")


def _state(path: Path, say: Say) -> dict:
    """The state of each notebook; a damaged status file is ignored."""
    try:
        return read_records(path) if path.exists() else {}
    except InputError as error:
        say(f"{error}: every notebook is run again; finished steps are not repeated")
        return {}


def _look(show: Say, job: Job, place: str, rest: Callable[[], float | None]) -> None:
    show(_now(job, place, rest()))


def table(run_folder: Path) -> str:
    """The accuracies of a run as a plain-text table."""
    frame = summarise(run_report.accuracies(run_folder))
    lines = [f"{'task':<22}{'method':<26}{'accuracy':>9}   {'95% interval':<16}{'seeds':>5}{'questions':>11}"]
    for row in frame.itertuples():
        interval = f"{max(0, row.low):.1f} to {min(100, row.high):.1f}"
        lines.append(f"{row.task:<22}{row.method:<26}{row.accuracy:>8.1f}%   {interval:<16}{row.seeds:>5}{row.n:>11}")
    lines += [f"caution: {note}" for note in trust.notes(run_folder)]
    return "\n".join(lines)
