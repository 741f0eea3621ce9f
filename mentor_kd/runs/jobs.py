"""Jobs: one notebook each, executed by papermill in a subprocess."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat

from ..files import PACKAGE, ROOT, official_root, read_record, read_text, reports_root, sha256, write_text
from ..manifests import ASIDE
from ..parsing import yaml_text
from ..progress import NEWS
from . import notebooks
from .notebooks import CHART, LENS, STUDENTS

MADE = {  # patterns of the files that each notebook leaves
    "01_collect_rationales": ("collected/*", "params.yaml", "annotation/*", "figures/teacher_*", "figures/policies.*"),
    "02_train_mentor": ("mentor/*", "figures/mentor_*"),
    "03_augment_rationales": (
        *("augmented/*", "augmented/*/*", "augmenter/*", "mentor/*/*"),
        *("figures/agreement.*", "figures/coverage.*"),
    ),
    "04_inspect_and_filter": (
        *("rationales.jsonl", "filters.yaml", "filter_counts.csv", "manifest.json"),
        *("figures/lengths.*", "figures/filters.*"),
    ),
    STUDENTS: ("students/*-seed*/*", "soft_labels/*/*", "self-mentor/**/*", "learning_curves.*"),
    LENS: ("figures/soft_labels.*",),
    CHART: ("accuracy.csv",),
}
FULL = 1 << 20  # bytes: with less free space, a disk is called full

# Has a kernel spec "python3" whose "python" jupyter_client replaces by the interpreter of this process. First in the
# search path, so that a run never takes the python3 kernel of another environment.
KERNEL = Path(__file__).with_name("jupyter")


@dataclass(frozen=True)
class Job:
    """One notebook to execute: its name, its folder (the task's or the run's), its parameters, its key in messages."""

    notebook: str
    folder: Path
    parameters: dict
    key: str


def unfinished(job: Job) -> bool:
    """Whether requested rationales are still missing, so that the collection should be run again."""
    manifest = job.folder / "collected" / "manifest.json"
    if not job.notebook.startswith("01") or not manifest.exists():
        return False
    annotation = read_record(manifest).get("annotation", {})
    return isinstance(annotation, dict) and bool(annotation.get("open", 0))


def made(job: Job, *before: str) -> dict[str, str]:
    """Hashes of all files that a notebook leaves, with its pages, and those before it, by path within the folder."""
    patterns = [pattern for name in (job.notebook, *before) for pattern in MADE[name]]
    patterns += [f"notebooks/{job.notebook}.ipynb", f"notebooks/{job.notebook}.yaml", page(job)]
    found = {path.relative_to(job.folder): path for pattern in patterns for path in job.folder.glob(pattern)}
    return {
        inner.as_posix(): sha256(path)
        for inner, path in sorted(found.items())
        if path.is_file() and path.suffix != ASIDE and not any(part.startswith(".") for part in inner.parts)
    }


def page(job: Job) -> str:
    """The executed notebook as a page, within the job's folder."""
    return f"notebooks/{job.notebook}.html"


def results(made: dict[str, str]) -> dict[str, str]:
    """What later notebooks may read of the files that one leaves."""
    return {name: value for name, value in made.items() if not name.startswith(("notebooks/", "figures/"))}


def _said(path: Path) -> str:
    """The failing cell of an executed notebook and its error, or the cell that was running when the kernel died."""
    try:
        book = nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        return ""
    ran = [cell for cell in book.cells if cell.cell_type == "code" and cell.get("execution_count")]
    for cell in ran:
        for output in cell.get("outputs", []):
            if output.get("output_type") == "error":
                return f"{_where(cell)}: {output.get('ename')}: {output.get('evalue')}"
    return f"the kernel died or was stopped after the start of {_where(ran[-1])}" if ran else ""


def _where(cell) -> str:
    """A cell by its number in the executed notebook and its first line."""
    return f"cell [{cell.execution_count}] `{cell.source.strip().splitlines()[0][:60]}`"


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent is killed, so that no orphan writes to the run's folder."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def command(job: Job, cell_minutes: float = 0.0) -> list[str]:
    """The papermill command that executes a notebook; its parameters are read from the folder of its result."""
    place = job.folder / "notebooks"
    source, result = notebooks.NOTEBOOKS / f"{job.notebook}.ipynb", place / f"{job.notebook}.ipynb"
    return [
        *(sys.executable, "-m", "papermill", str(source), str(result)),
        *("-f", str(place / f"{job.notebook}.yaml"), "--cwd", str(notebooks.NOTEBOOKS), "-k", "python3"),
        *("--autosave-cell-every", "5", "--no-progress-bar", "--log-output"),
        *(("--execution-timeout", str(round(60 * cell_minutes))) if cell_minutes else ()),
    ]


def news_file(job: Job) -> Path:
    """Where the kernel writes the progress of the work at hand, see progress.py; removed when the notebook ends."""
    return job.folder / "notebooks" / f".{job.notebook}.news.json"


def forget(job: Job) -> None:
    """Remove the news of a notebook that has ended."""
    news_file(job).unlink(missing_ok=True)


def start(job: Job, cell_minutes: float = 0.0, **environment: str) -> subprocess.Popen:
    """Start a notebook in a subprocess, with additional environment variables."""
    place = job.folder / "notebooks"
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / f"{job.notebook}.yaml", yaml_text(job.parameters))
    variables = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "MENTOR_KD_HOME": str(ROOT.resolve()),
        "MENTOR_KD_REPORTS": str(reports_root().resolve()),  # absolute: notebooks run in their own folder
        "MENTOR_KD_OFFICIAL_DATA": str(official_root().resolve()),
        "JUPYTER_PATH": os.pathsep.join([str(KERNEL), *filter(None, [os.environ.get("JUPYTER_PATH")])]),
        NEWS: str(news_file(job).resolve()),
        **environment,
    }
    forget(job)
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
    """Interrupt notebooks, and kill those still running after a minute; training saves a checkpoint first."""
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
    """Why a notebook failed, from its log and output, given its exit code; "" for 0."""
    if code == 0:
        return ""
    place = job.folder / "notebooks"
    log = place / f"{job.notebook}.log"
    tail = [line for line in re.split(r"[\r\n]+", read_text(log)) if line.strip()][-1:]
    why = _said(place / f"{job.notebook}.ipynb") or " ".join(tail)
    if "Timeout" in " ".join(tail) or "TimeoutError" in read_text(log)[-2000:]:
        why = f"timeout: a cell ran for more than {cell_minutes} minutes; {why}"
    if shutil.disk_usage(job.folder).free < FULL:
        why = f"the disk of {job.folder} is full; {why}"
    return f"{why} (exit {code}; log: {log})"


def execute(job: Job, cell_minutes: float = 0.0, look: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Execute one notebook in a subprocess. Returns the exit code and, if it failed, the reason.

    `look` is called twice a second while the notebook runs.
    """
    process = start(job, cell_minutes)
    try:
        while (code := process.poll()) is None:
            look()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
    except BaseException:
        stop([process])
        raise
    finally:
        forget(job)
    return code, why_failed(job, code, cell_minutes)
