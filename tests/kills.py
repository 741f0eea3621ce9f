"""A whole small run in a separate process, to be killed: collection, mentor, samples, filters, two students, table.

`python tests/kills.py 100` kills a hundred such runs at random moments, resumes each, and compares the results. The
processes are forked from a server that has imported everything, so that a run starts quickly.
"""

import contextlib
import gc
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import tiny
import torch

from mentor_kd.files import InputError, RunFailed, write_text
from mentor_kd.runs import grids, sweep_report, sweeps

GRID = """
sweep: small
train_questions: 16
dev_questions: 3
test_questions: 5
mentor: {model}
student: {model}
mentor_epochs: 2
mentor_batch_size: 8
epochs: 2
batch_size: 8
samples: 1
max_new_tokens: 12
generation_batch: 2
grid: {{method: [mentor, vanilla-kd, mentor-kd]}}
"""
# what says when, how fast or by which version something was made, and hashes of it
VOLATILE = ("time", "seconds", "eval_seconds", "provenance", "outputs", "seal")
PASSED_OVER = (".log", ".html", ".md", ".lock", ".changed")
UNCOMPARED = ("status.json", "costs.csv", "provenance.json")

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["kills"])


def write_grid(folder: Path) -> Path:
    """The parameter file of the small run, with its model beside it; dropout, so that random states matter."""
    model = tiny.gpt2(folder / "model", seed=3)
    path = folder / "small.yaml"
    path.write_text(GRID.format(model=model))
    return path


def small_run(grid: Path, reports: Path, log: Path, most_bytes: int = 0, hours_back: float = 0.0) -> None:
    """Run or resume; exits with 0, 1 and a line for an error, or 130 after a signal, as the command line does.

    With `most_bytes`, no file can be larger. With `hours_back`, the clock of this process is behind.
    """
    os.setsid()
    cpu = time.process_time()
    gc.freeze()  # what was imported is never garbage: the trainer would look through all of it several times
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["MENTOR_KD_REPORTS"] = str(reports)
    now, now_ns = time.time, time.time_ns
    time.time, time.time_ns = lambda: now() - 3600 * hours_back, lambda: now_ns() - round(3600e9 * hours_back)
    with log.open("a") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        try:
            one = grids.read(grid)
            sweeps.run_here(one, list(one.cells))
            write_text(sweeps.folder_of(one) / "results.csv", sweep_report.results(one).to_csv())
            code = 0
        except (InputError, RunFailed, OSError) as error:
            stream.write(f"error: {error}\n")
            code = 1
        except KeyboardInterrupt:
            code = 130
        stream.write(f"{time.process_time() - cpu:.1f} s on one core\n")
    sys.stdout = sys.stderr = None
    os._exit(code)


def log_of(reports: Path) -> Path:
    """The log of a run, outside of its folder and of the disk that this may be."""
    return reports.parent.parent / f"{reports.parent.name}-{reports.name}.log"


def serve() -> None:
    """Start the server, once; it finds this module by the environment only."""
    known = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *([known] if known else [])])
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if known is None else os.environ.update(PYTHONPATH=known)


def start(grid: Path, reports: Path, **more) -> multiprocessing.Process:
    serve()
    process = server.Process(target=small_run, args=(grid, reports, log_of(reports)), kwargs=more)
    process.start()
    return process


def finish(grid: Path, reports: Path, **more) -> None:
    """Run or resume to the end."""
    process = start(grid, reports, **more)
    process.join()
    assert process.exitcode == 0, log_of(reports).read_text()


def send(process: multiprocessing.Process, number: int) -> int:
    """Send a signal to the process group, as soon as there is one; returns the exit code."""
    while process.is_alive():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            break
        time.sleep(0.002)
    process.join()
    return process.exitcode


def contents(reports: Path) -> dict[str, object]:
    """All that a run ends with, by path: bytes, or JSON without what says when and how fast it was made."""
    found: dict[str, object] = {}
    for path in sorted(reports.rglob("*")):
        inner = path.relative_to(reports)
        if path.is_dir() or path.name in UNCOMPARED or path.suffix in PASSED_OVER:
            continue
        if not any(part.startswith(".") for part in inner.parts):
            found[inner.as_posix()] = _timeless(path)
    return found


def _timeless(path: Path) -> object:
    if path.suffix not in (".json", ".jsonl"):
        return path.read_bytes()
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    return [_without(json.loads(line)) for line in lines]


def _without(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key not in VOLATILE}
    return [_without(one) for one in value] if isinstance(value, list) else value


def different(one: dict, other: dict) -> list[str]:
    """The paths that only one side has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def undisturbed(folder: Path) -> tuple[Path, dict, float]:
    """The parameter file, what a run that nobody disturbs ends with, and how many seconds it takes."""
    grid = write_grid(folder)
    finish(grid, folder / "first")  # starts the server, and fills caches
    started = time.monotonic()
    finish(grid, folder / "undisturbed")
    seconds = time.monotonic() - started
    expected = contents(folder / "undisturbed")
    assert not different(contents(folder / "first"), expected)
    return grid, expected, seconds


def kill_at_random(grid: Path, reports: Path, seconds: float, rng: random.Random) -> int:
    """Run, killed outright at random moments until it gets through; returns the number of kills, at least one."""
    kills = 0
    while True:
        process = start(grid, reports)
        process.join(rng.uniform(0, seconds))
        if send(process, signal.SIGKILL) == 0:
            if kills:
                return kills
            shutil.rmtree(reports)
            continue
        assert process.exitcode == -signal.SIGKILL, log_of(reports).read_text()
        kills += 1
        if kills == 3:
            finish(grid, reports)
            return kills


def main(runs: int) -> int:
    rng, same, kills, started = random.Random(19), 0, 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid, expected, seconds = undisturbed(folder)
        print(f"undisturbed: {seconds:.1f} s, {len(expected)} files compared", flush=True)
        for number in range(runs):
            reports = folder / f"run{number}"
            kills += kill_at_random(grid, reports, seconds, rng)
            wrong = different(contents(reports), expected)
            same += not wrong
            for one in wrong:
                print(f"run {number}: {one} differs", flush=True)
            if not wrong:
                shutil.rmtree(reports)
    took = time.monotonic() - started
    print(f"{same} of {runs} runs, killed {kills} times in all, ended byte for byte the same ({took:.0f} s)")
    return 0 if same == runs else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
