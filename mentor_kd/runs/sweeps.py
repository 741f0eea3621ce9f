"""Sweeps: run the cells of a grid, several stages at a time, each stage once.

`run` executes each stage as a notebook in a subprocess. `run_here` calls the functions behind the notebooks one after
another in this process, which is faster for small sizes. Both write the same results to the same folders,
reports/<sweep>/<key>/ (the key is a hash of what a stage depends on, see grids.py), so each resumes the other's work.
A stage gets its inputs as links to, or copies of, the previous stage's files; soft labels are stored with their mentor.
Finished stages are skipped, so the same command resumes a killed sweep. Each stage is locked by the process that runs
it, so several machines with a shared folder can work on one sweep.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import Popen

import filelock
import torch

from .. import disk, progress
from ..data.folder import task_folder
from ..files import InputError, read_record, read_text, reports_root, write_text
from ..models.shapes import GPUS
from ..parsing import yaml_text
from ..provenance import code_hash
from ..training import tracking
from . import jobs, notebook_html, notebooks, stage_files, stages
from .devices import devices, with_room
from .estimates import NOTEBOOK_SECONDS, Estimate, estimate, title
from .follow import about, seconds_left, sentence
from .grids import MENTOR, MENTORS, Cell, Grid, Stage, compare_tokenizers
from .stage_files import pass_on, share

TRIES = 3
NOT_WHOLE = "some requested rationales are missing; run again to request them"
# Errors of a start that a retry can fix: two kernels took the same port, or the machine was too busy for one to answer
UNLUCKY = ("Address already in use", "Kernel died before replying", "Kernel didn't respond in")


@dataclass
class Running:
    """A running stage."""

    stage: Stage
    process: Popen
    device: int
    environment: dict
    memory: float
    lock: filelock.FileLock
    tries: int = 1
    started: float = field(default_factory=time.time)


@dataclass
class State:
    """Progress of a sweep. Stages are identified by their keys; `elsewhere` are run by other processes."""

    wanted: dict[str, Stage] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    dev: dict[str, float] = field(default_factory=dict)
    spent: list[tuple[float, float]] = field(default_factory=list)  # (estimated, actual) seconds of stages run here
    workers: int = 1

    def seconds_left(self) -> float | None:
        """Estimated time left, scaled by actual over estimated time so far; None if a stage cannot be estimated."""
        left = [key for key in self.wanted if key not in self.done and key not in self.failed]
        rest = seconds_left([self.estimates[key].seconds for key in left], self.spent)
        gone = sum(time.time() - one.started for one in self.running.values())
        return None if rest is None else max(0.0, rest - gone) / self.workers


def folder_of(grid: Grid) -> Path:
    """The sweep's folder."""
    return reports_root() / grid.name


def job(grid: Grid, stage: Stage) -> jobs.Job:
    """The stage as a notebook job in the stage's folder."""
    task = stage.parameters["task"]
    place = task_folder(grid.name, stage.key) / task
    return jobs.Job(stage.notebook, place, {**stage.parameters, "run": stage.key}, f"{stage.key}/{stage.notebook}")


def is_done(grid: Grid, stage: Stage) -> bool:
    """Whether the stage succeeded, its files are unchanged, and what it was given is what the stage before it has."""
    return stage_files.succeeded(job(grid, stage).folder) and not changed(grid, stage)


def changed(grid: Grid, stage: Stage) -> dict[str, str]:
    """The files of a finished stage that are missing, changed, or replaced where it got them: name -> what."""
    before = [job(grid, one).folder for one in stage.chain() if one is not stage]
    return stage_files.changed(job(grid, stage).folder, before)


def trained(grid: Grid, stage: Stage) -> dict:
    """The manifest of the model that a stage trained."""
    place = job(grid, stage).folder
    name = MENTOR if stage.notebook == MENTORS else f"students/{stage.parameters['methods'][0]}-seed*"
    return read_record(next(place.glob(f"{name}/manifest.json")))


def dev_accuracy(grid: Grid, stage: Stage) -> float | None:
    """Dev accuracy of the model that a stage trained, None if not done. Raises InputError if there is no dev split."""
    if not is_done(grid, stage):
        return None
    found = trained(grid, stage)["training"]["dev_accuracy"]
    if found is None:
        raise InputError(f"{stage.key}: no dev accuracy to search by; add a dev split or set the searched values")
    return found


def leaves(grid: Grid, cell: Cell, dev: Callable[[Stage], float | None]) -> tuple[list[Stage], Stage | None]:
    """The models a cell needs as far as they are known, and its final one, None until the search is complete."""
    tried, parameters = grid.resolve(cell, dev)
    final = grid.stage(parameters) if parameters else None
    return [*tried, *([final] if final else [])], final


def prepare(grid: Grid, stage: Stage) -> None:
    """Create a stage's folder with the results of previous stages; files left by a killed attempt are kept."""
    one = job(grid, stage)
    one.folder.mkdir(parents=True, exist_ok=True)
    write_text(one.folder.parent / "params.yaml", yaml_text(stage.every))
    if stage.before is None:
        return
    pass_on(job(grid, stage.before).folder, one.folder)
    if stage.notebook == notebooks.STUDENTS:
        mentor = next(part for part in stage.chain() if part.notebook == MENTORS)
        shared = job(grid, mentor).folder / "soft_labels"
        share(one.folder / "soft_labels", shared)
    if stage.parameters.get("report_to"):
        share(one.folder.parent / tracking.FOLDER, folder_of(grid) / tracking.FOLDER)


def run(
    grid: Grid,
    cells: list[Cell],
    workers: int = 1,
    memory: float = 0.0,
    gpu: str = "cpu",
    show: Callable[[State], None] = lambda state: None,
    say: Callable[[str], None] = print,
) -> State:
    """Run all unfinished stages that the cells need, up to `workers` at once as far as memory (in GB, 0: all) allows.

    A failed stage stops only the stages that depend on it. `show` is called with the state several times a second. On
    KeyboardInterrupt, running stages save their checkpoints before it is raised again.
    """
    compare_tokenizers(cells, grid.known, hub=True)
    places = devices(memory)
    stage_files.discard_damaged_soft_labels(folder_of(grid))
    state = State(workers=max(1, workers))
    look = 0.0
    try:
        while True:
            ended = [one for one in state.running.values() if one.process.poll() is not None]
            for one in ended:
                _end(grid, one, state, say)
            if ended or time.monotonic() > look:  # other processes may also have finished a stage
                ready = _ready(grid, cells, state, gpu)
                look = time.monotonic() + 5
            for stage in list(ready):
                if len(state.running) >= state.workers:
                    break
                used = [(one.device, one.memory) for one in state.running.values()]
                if (device := with_room(state.estimates[stage.key].memory, used, places)) is not None:
                    ready.remove(stage)
                    _begin(grid, stage, device, places, state, say)
            show(state)
            if not state.running and not state.elsewhere and not _ready(grid, cells, state, gpu):
                return state
            time.sleep(0.2)
    except BaseException:
        jobs.stop([one.process for one in state.running.values()])
        for one in state.running.values():
            jobs.forget(job(grid, one.stage))
            _note(grid, one.stage, state="stopped", seconds=round(time.time() - one.started, 1))
        raise
    finally:
        for one in state.running.values():
            one.lock.release()


def run_here(grid: Grid, cells: list[Cell]) -> State:
    """Run all unfinished stages that the cells need, one after another in this process.

    An error or interrupt ends the run after the stage is marked as failed or stopped; call again to resume.
    """
    state, threads = State(), torch.get_num_threads()
    torch.set_num_threads(grid.threads)  # as in the subprocesses of `run`: rounding depends on it
    try:
        with progress.Progress(f"study {grid.name}", 0, "stages") as shown:
            stage_files.discard_damaged_soft_labels(folder_of(grid))
            while ready := _ready(grid, cells, state, "cpu"):
                shown.total = len(state.wanted)
                shown.skip(len(state.done) - shown.done)
                for stage in ready:
                    if (lock := _claim(grid, stage, state)) is None:
                        time.sleep(0.2)  # another process runs it
                        continue
                    try:
                        _perform(grid, stage)
                    finally:
                        lock.release()
                    shown.advance(1, title(stage))
                    state.done.add(stage.key)
            shown.total = len(state.wanted)
            shown.skip(len(state.done) - shown.done)
    finally:
        torch.set_num_threads(threads)
    return state


def _perform(grid: Grid, stage: Stage) -> None:
    """Run a stage in this process and record how it ended; its output goes to its log."""
    one, started = job(grid, stage), time.monotonic()
    log = one.folder / "notebooks" / f"{stage.notebook}.log"
    try:
        log.parent.mkdir(exist_ok=True)
        with log.open("w") as stream, contextlib.redirect_stdout(stream), progress.quiet():
            stages.perform(stage.notebook, one.parameters, one.folder)
        if jobs.unfinished(one):
            raise InputError(f"{one.key}: {NOT_WHOLE}")
    except BaseException as error:
        state = "failed" if isinstance(error, Exception) else "stopped"
        why = f"{type(error).__name__}: {error}"
        _note(grid, stage, state=state, seconds=round(time.monotonic() - started, 1), why=why)
        raise
    _note(grid, stage, state="ok", seconds=round(time.monotonic() - started, 1), made=stage_files.made(one, stage))


def _ready(grid: Grid, cells: list[Cell], state: State, gpu: str) -> list[Stage]:
    """The stages that can start now, in the order of the cells. Updates the state's wanted and done stages."""
    found: dict[str, Stage] = {}

    def done(stage: Stage) -> bool:
        if stage.key not in state.done and stage.key not in state.running and is_done(grid, stage):
            state.done.add(stage.key)
            state.elsewhere.discard(stage.key)
        return stage.key in state.done

    def dev(stage: Stage) -> float | None:
        if stage.key not in state.dev and done(stage):
            state.dev[stage.key] = dev_accuracy(grid, stage)
        return state.dev.get(stage.key)

    for cell in cells:
        for leaf in leaves(grid, cell, dev)[0]:
            for stage in leaf.chain():
                if stage.key not in state.wanted:
                    state.wanted[stage.key] = stage
                    state.estimates[stage.key] = _estimate(stage, gpu)
            for stage in leaf.chain():
                if done(stage):
                    continue
                if stage.key not in state.running and stage.key not in state.failed:
                    found[stage.key] = stage
                break  # later stages wait for this one
    return list(found.values())


def _estimate(stage: Stage, gpu: str) -> Estimate:
    try:
        return estimate(stage, GPUS[gpu])
    except InputError:  # not available yet: the notebook loads or rejects it
        return Estimate(str(stage.parameters.get("student", "")), 0, 0, 0, 4.0, NOTEBOOK_SECONDS)


def _claim(grid: Grid, stage: Stage, state: State) -> filelock.FileLock | None:
    """Lock a stage and prepare its folder; None if another process runs it or has just finished it."""
    folder = job(grid, stage).folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        state.elsewhere.add(stage.key)
        return None
    state.elsewhere.discard(stage.key)
    if is_done(grid, stage):
        lock.release()
        return None
    disk.reserve(folder)
    for name, what in changed(grid, stage).items():
        print(f"{stage.key}: {name}: {what} since it was written; the stage is run again")
    prepare(grid, stage)
    _note(grid, stage, state="running", notebook=stage.notebook, started=round(time.time()), code=code_hash())
    return lock


def _begin(grid: Grid, stage: Stage, device: int, places: list, state: State, say: Callable) -> None:
    """Start a stage in a subprocess, unless another process runs it or has just finished it."""
    if (lock := _claim(grid, stage, state)) is None:
        return
    one = job(grid, stage)
    environment = {
        "MENTOR_KD_REPORTS": str(folder_of(grid).resolve()),
        "OMP_NUM_THREADS": str(grid.threads),  # independent of workers: rounding depends on it
        **places[device][0],
    }
    process = jobs.start(one, grid.cell_minutes, **environment)
    gb = state.estimates[stage.key].memory
    state.running[stage.key] = Running(stage, process, device, environment, gb, lock)
    say(f"{title(stage)} ({one.key}) ...")


def _end(grid: Grid, one: Running, state: State, say: Callable) -> None:
    """Record how a stage ended; one whose kernel did not start is retried."""
    del state.running[one.stage.key]
    this, seconds = job(grid, one.stage), round(time.time() - one.started, 1)
    jobs.forget(this)
    why = jobs.why_failed(this, one.process.returncode, grid.cell_minutes)
    log = read_text(this.folder / "notebooks" / f"{this.notebook}.log")
    if why and one.tries < TRIES and any(words in log for words in UNLUCKY):
        say(f"{title(one.stage)} ({this.key}): the kernel did not start; retrying")
        process = jobs.start(this, grid.cell_minutes, **one.environment)
        state.running[one.stage.key] = replace(one, process=process, tries=one.tries + 1)
        return
    if not why and jobs.unfinished(this):  # a budget or dead endpoint: later stages would train on part of the data
        why = NOT_WHOLE
    if why:
        _note(grid, one.stage, state="failed", seconds=seconds, why=why)
        state.failed[one.stage.key] = why
        say(f"{title(one.stage)} ({this.key}): failed: {why}")
    else:
        notebook_html.to_html(this.folder / "notebooks" / f"{this.notebook}.ipynb")
        _note(grid, one.stage, state="ok", seconds=seconds, made=stage_files.made(this, one.stage))
        state.spent.append((state.estimates[one.stage.key].seconds, seconds))
        if stage_files.succeeded(this.folder):
            state.done.add(one.stage.key)
        said = f"{title(one.stage)}: ok after {progress.duration(seconds)}"
        say(sentence(said, f"{len(state.done)} of {len(state.wanted)} stages done", about(state.seconds_left())))
    one.lock.release()


def _note(grid: Grid, stage: Stage, **facts: object) -> None:
    stage_files.note(job(grid, stage).folder, **facts)


def finished(grid: Grid) -> Iterator[tuple[Cell, Stage, dict]]:
    """Every finished cell with its stage and final parameters, in the grid's order."""
    for cell in grid.cells:
        _, parameters = grid.resolve(cell, lambda stage: dev_accuracy(grid, stage))
        if parameters is not None and is_done(grid, stage := grid.stage(parameters)):
            yield cell, stage, parameters
