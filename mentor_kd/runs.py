"""Runs: notebooks executed headlessly by papermill, one subprocess each, with a status that can be trusted.

A run's YAML gives each notebook the parameters that it knows; a key that none knows is refused, and so is a value of
the wrong type. A notebook whose parameters, source and inputs are those of its last success is not run again.
papermill's own metadata calls the cells of a killed kernel "completed", so the truth is in `status.json` here.
"""

import ast
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import nbformat
import yaml

from . import models, pages, report
from .checks import check_values
from .collecting import task_folder
from .evaluation import summarise
from .fetching import hashes
from .files import (
    ROOT,
    InputError,
    RunFailed,
    digest,
    official_root,
    read_json,
    read_text,
    reports_root,
    sha256,
    write_json,
    write_text,
)
from .methods import get_method
from .progress import duration
from .provenance import code_hash, provenance

NOTEBOOKS = ROOT / "notebooks"
PER_TASK = ("01_collect_rationales", "02_train_mentor", "03_augment_rationales", "04_inspect_and_filter")
STUDENTS = "06_distill_student"
LENS = "05_look_inside_soft_labels"
CHART = "07_chart_accuracy"
MADE = {
    "01_collect_rationales": "collected/manifest.json",
    "02_train_mentor": "mentor/manifest.json",
    "03_augment_rationales": "augmented/manifest.json",
    "04_inspect_and_filter": "rationales.jsonl",
    STUDENTS: "students/*/manifest.json",
    LENS: "figures/soft_labels.csv",
    CHART: "accuracy.csv",
}
OWN_KEYS = {"tasks": "list", "cell_minutes": "float"}  # what a run's YAML may hold beside the notebooks' parameters
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list}


@dataclass(frozen=True)
class Job:
    """One notebook of a run: its name, the folder of its task (or of the run), and its parameters."""

    notebook: str
    folder: Path
    parameters: dict
    key: str


def known_parameters(notebook: str) -> dict[str, dict]:
    """A notebook's parameters as papermill sees them: name -> type, default, help. InputError if there is no such."""
    import papermill

    path = NOTEBOOKS / f"{notebook}.ipynb"
    if not path.exists():
        raise InputError(f"{path}: no such notebook; is MENTOR_KD_HOME the project's folder?")
    try:
        found = papermill.inspect_notebook(str(path))
    except ValueError as error:
        raise InputError(f"{path}: papermill cannot read it ({error}); save it again in JupyterLab") from None
    return {
        name: {
            "type": facts["inferred_type_name"],
            "default": ast.literal_eval(facts["default"]),
            "help": facts["help"],
        }
        for name, facts in found.items()
    }


def check(parameters: dict, notebooks: tuple[str, ...], known: dict[str, dict] | None = None) -> dict[str, dict]:
    """Each notebook's own subset of the parameters; InputError for an unknown name or a value of the wrong type."""
    known = known or {notebook: known_parameters(notebook) for notebook in notebooks}
    types = {name: facts["type"] for facts_of in known.values() for name, facts in facts_of.items()} | OWN_KEYS
    for name, value in parameters.items():
        if name not in types:
            raise InputError(
                f"parameter {name!r} is known to no notebook of this run; known are {', '.join(sorted(types))}"
            )
        kind = TYPES.get(types[name])
        wrong = isinstance(value, bool) and kind is not bool
        if kind is not None and (wrong or not isinstance(value, kind)):
            hint = ""
            if isinstance(value, str) and kind is list:
                hint = f" (in YAML write a list as [{value}])"
            elif isinstance(value, str):
                hint = " (in YAML write numbers like 1.0e-3, not 1e-3, and true or false without quotes)"
            raise InputError(
                f"parameter {name!r} is of type {types[name]}, but {value!r} is of type {type(value).__name__}{hint}"
            )
    return {one: {name: value for name, value in parameters.items() if name in known[one]} for one in notebooks}


def read_parameters(path: Path, overrides: list[str] = ()) -> dict:
    """A run's parameters from YAML, with `name=value` overrides; InputError names the file or the override."""
    path = Path(path)
    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: names and values were expected, such as `run: quick`")
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            raise InputError(f"-p {override}: write it as name=value")
        try:
            found[name] = yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            raise InputError(f"-p {override}: {value!r} is not valid YAML") from None
    return found


def _whole_paths(parameters: dict) -> dict:
    """The parameters with paths that do not depend on the folder: notebooks run in their own."""
    paths = ("data", "dev_file", "mentor", "student", "tokenizer")
    found = {name: parameters[name] for name in paths if parameters.get(name) and Path(str(parameters[name])).exists()}
    words = ("teacher", "prompt", "prices", "augmenter", "augmenter_prompt")  # each may be a word or a file
    found |= {name: parameters[name] for name in words if Path(str(parameters.get(name, ""))).is_file()}
    return {**parameters, **{name: str(Path(path).resolve()) for name, path in found.items()}}


def plan(parameters: dict) -> list[Job]:
    """The notebooks of a run in order: 01 to 06 for each task, then 07 for all. Checks every parameter first.

    05 looks into the students as well, so it comes after 06, and only where a method has soft labels.
    """
    notebooks = (*PER_TASK, STUDENTS, LENS, CHART)
    tasks = parameters.get("tasks") or [parameters.get("task", known_parameters(PER_TASK[0])["task"]["default"])]
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        raise InputError(f"parameter 'tasks' is a list of names of tasks, not {tasks!r}")
    run = str(parameters.get("run", known_parameters(PER_TASK[0])["run"]["default"]))
    parameters = _whole_paths(parameters)
    subsets = check({**parameters, "run": run, "task": tasks[0]}, notebooks)
    check_values(subsets, tasks)
    methods = parameters.get("methods", known_parameters(STUDENTS).get("methods", {}).get("default", []))
    soft = [LENS] if any(get_method(method).soft_labels for method in methods) else []
    jobs = []
    for task in tasks:
        for notebook in (*PER_TASK, STUDENTS, *soft):
            jobs.append(
                Job(notebook, task_folder(run, task), {**subsets[notebook], "task": task}, f"{task}/{notebook}")
            )
    last = {**subsets[CHART], "tasks": list(tasks)}
    last.pop("task", None)
    return [*jobs, Job(CHART, reports_root() / run, last, CHART)]


def _fingerprint(job: Job, before: str) -> str:
    """What a notebook's result depends on: itself, its parameters, the package, the steps before, and verdicts."""
    verdicts = job.folder / "verdicts.jsonl"
    data = str(job.parameters.get("data", ""))
    named = ("teacher", "prompt", "augmenter", "augmenter_prompt")
    files = [data, *(str(job.parameters.get(name, "")) for name in named)]
    return digest(
        {
            "notebook": sha256(NOTEBOOKS / f"{job.notebook}.ipynb"),
            "parameters": job.parameters,
            "code": code_hash(),
            "before": before,
            "verdicts": sha256(verdicts) if verdicts.exists() and job.notebook >= "04" else "",
            "files": [sha256(Path(name)) if Path(name).is_file() else "" for name in files],
            "official": hashes() if data == "official" else "",
            "models": [models.identity(job.parameters[k]) for k in ("mentor", "student") if k in job.parameters],
        }
    )


def unfinished(job: Job) -> bool:
    """Whether rationales that were asked for did not come: then the collection is worth running again."""
    manifest = job.folder / "collected" / "manifest.json"
    if not job.notebook.startswith("01") or not manifest.exists():
        return False
    return bool(read_json(manifest).get("annotation", {}).get("open", 0))


def made(job: Job) -> dict[str, str]:
    """The hashes of what a notebook leaves for the next ones: its manifests, or its table."""
    found = sorted(job.folder.glob(MADE[job.notebook]))
    return {path.relative_to(job.folder).as_posix(): sha256(path) for path in found}


def _said(path: Path) -> str:
    """The failing cell and its error in an executed notebook, or the last thing that it printed."""
    try:
        book = nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        return ""
    ran = [cell for cell in book.cells if cell.cell_type == "code" and cell.get("execution_count")]
    for cell in ran:
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"{_where(cell)}: {output.get('ename')}: {output.get('evalue')}"
    return f"the kernel died or was stopped after {_where(ran[-1])} had begun" if ran else ""


def _where(cell) -> str:
    """A cell as people find it: its number in the executed notebook and its first line."""
    return f"cell [{cell.execution_count}] `{cell.source.strip().splitlines()[0][:60]}`"


def _die_with_parent() -> None:
    """Ask Linux to end this process when the run's own is killed, so that no orphan writes to the run's folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def _alone(folder: Path):
    """Hold the run's lock; InputError where another process holds it. The lock goes with the process."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            yield
    except filelock.Timeout:
        raise InputError(f"{folder}: another process is running this run; wait for it, or stop it") from None


def command(job: Job, cell_minutes: float = 0.0) -> list[str]:
    """The command that executes a notebook with the parameters that lie beside its result."""
    place = job.folder / "notebooks"
    source, result = NOTEBOOKS / f"{job.notebook}.ipynb", place / f"{job.notebook}.ipynb"
    return [
        *(sys.executable, "-m", "papermill", str(source), str(result)),
        *("-f", str(place / f"{job.notebook}.yaml"), "--cwd", str(NOTEBOOKS), "-k", "python3"),
        *("--autosave-cell-every", "5", "--no-progress-bar", "--log-output"),
        *(("--execution-timeout", str(round(60 * cell_minutes))) if cell_minutes else ()),
    ]


def start(job: Job, cell_minutes: float = 0.0, **environment: str) -> subprocess.Popen:
    """Start a notebook in a subprocess of its own, with these environment variables beside the usual ones."""
    place = job.folder / "notebooks"
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / f"{job.notebook}.yaml", yaml.safe_dump(job.parameters, sort_keys=False))
    variables = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MENTOR_KD_REPORTS": str(reports_root().resolve()),  # the notebooks run in their own folder
        "MENTOR_KD_OFFICIAL_DATA": str(official_root().resolve()),
        **environment,
    }
    with (place / f"{job.notebook}.log").open("w") as stream:
        return subprocess.Popen(
            command(job, cell_minutes),
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def stop(processes: list[subprocess.Popen]) -> None:
    """Ask notebooks to stop, and end those that have not after a minute; a training saves a checkpoint first."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    end = time.monotonic() + 60
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def why_failed(job: Job, code: int, cell_minutes: float = 0.0) -> str:
    """Why a notebook that ended with this exit code failed, from what it left; "" for 0."""
    if code == 0:
        return ""
    place = job.folder / "notebooks"
    log = place / f"{job.notebook}.log"
    tail = [line for line in re.split(r"[\r\n]+", read_text(log)) if line.strip()][-1:]
    why = _said(place / f"{job.notebook}.ipynb") or " ".join(tail)
    if "Timeout" in " ".join(tail) or "TimeoutError" in read_text(log)[-2000:]:
        why = f"timeout: a cell ran for more than {cell_minutes} minutes; {why}"
    return f"{why} (exit {code}; log: {log})"


def execute(job: Job, cell_minutes: float = 0.0) -> tuple[int, str]:
    """Execute one notebook in a subprocess of its own; its exit code and, where it failed, why."""
    process = start(job, cell_minutes)
    try:
        code = process.wait()
    except BaseException:
        stop([process])
        raise
    return code, why_failed(job, code, cell_minutes)


def run(parameters: dict, say: Callable[[str], None] = print) -> Path:
    """Execute a run and write its report; the path of index.html. Raises RunFailed where a notebook fails.

    What succeeded before with the same inputs is not run again; what failed or was killed goes on where it was.
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
        return report.write(folder)


def run_one(notebook: str, parameters: dict, say: Callable[[str], None] = print) -> Path:
    """Execute one notebook outside the story's order; its task's folder. Raises RunFailed where it fails."""
    known, parameters = known_parameters(notebook), _whole_paths(parameters)
    given = {name: parameters.get(name, known[name]["default"]) for name in ("run", "task")}
    job = Job(notebook, task_folder(**given), check(parameters, (notebook,))[notebook] | given, notebook)
    say(f"{notebook} for {given['task']} ...")
    job.folder.mkdir(parents=True, exist_ok=True)
    with _alone(job.folder):
        code, why = execute(job)
    if code:
        raise RunFailed(f"{notebook} failed: {why}")
    pages.to_html(job.folder / "notebooks" / f"{notebook}.ipynb")
    return job.folder


def _run_jobs(jobs: list[Job], state_file: Path, cell_minutes: float, say: Callable[[str], None]) -> None:
    """Execute the jobs that are not done, keeping their state on disk before and after each."""
    state = read_json(state_file) if state_file.exists() else {}
    before: dict[Path, str] = {}

    def note(job: Job, **facts: object) -> None:
        state[job.key] = {**state.get(job.key, {}), **facts}
        write_json(state_file, state)

    for number, job in enumerate(jobs, 1):
        mark = _fingerprint(job, "".join(before.values()) if job.notebook == CHART else before.get(job.folder, ""))
        before[job.folder] = mark
        executed = job.folder / "notebooks" / f"{job.notebook}.ipynb"
        known = state.get(job.key, {})
        same = known.get("state") == "ok" and known.get("fingerprint") == mark
        if same and executed.exists() and made(job) == known.get("made") != {} and not unfinished(job):
            say(f"[{number}/{len(jobs)}] {job.key}: done before")
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
            raise RunFailed(f"{job.key} failed: {why}. Mend it and run the same command: it goes on from there.")
        pages.to_html(executed)
        note(job, state="ok", seconds=seconds, made=made(job))
        say(f"[{number}/{len(jobs)}] {job.key}: ok after {duration(seconds)}")


def table(run_folder: Path) -> str:
    """The accuracies of a run as a text table for the terminal."""
    frame = summarise(report.accuracies(run_folder))
    lines = [f"{'task':<22}{'method':<26}{'accuracy':>9}   {'95% interval':<16}{'seeds':>5}{'questions':>11}"]
    for row in frame.itertuples():
        interval = f"{max(0, row.low):.1f} to {min(100, row.high):.1f}"
        lines.append(f"{row.task:<22}{row.method:<26}{row.accuracy:>8.1f}%   {interval:<16}{row.seeds:>5}{row.n:>11}")
    return "\n".join(lines)
