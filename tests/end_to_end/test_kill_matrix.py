"""A whole small run that is killed, stopped, starved of disk, doubled or given a wrong clock ends as if undisturbed.

`python tests/kills.py 100` kills a hundred runs; its figures are in docs/reliability.md.
"""

import os
import random
import shutil
import signal
import subprocess
import time

import kills
import pytest

from mentor_kd.files import read_json


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return kills.undisturbed(tmp_path_factory.mktemp("undisturbed"))


def states(reports):
    """How each stage of a run ended, and why it failed."""
    found = [read_json(path) for path in reports.glob("small/*/status.json")]
    return {one["state"]: one.get("why", "") for one in found}


def log_of(reports):
    return kills.log_of(reports).read_text()


def check(reports, expected):
    assert kills.different(kills.contents(reports), expected) == []
    assert set(states(reports)) == {"ok"}


def wait_for(reports, pattern, process):
    """Wait until a run has written a file."""
    give_up = time.monotonic() + 60
    while not list(reports.glob(pattern)):
        assert process.is_alive() and time.monotonic() < give_up, log_of(reports)
        time.sleep(0.005)


def test_killed_outright_at_random_moments(undisturbed, tmp_path):
    grid, expected, seconds = undisturbed
    rng, killed = random.Random(7), 0
    for number in range(9):
        reports = tmp_path / f"run{number}"
        killed += kills.kill_at_random(grid, reports, seconds, rng)
        check(reports, expected)
        if killed >= 5:
            break
    assert killed >= 5


def test_stopped_politely_by_both_signals(undisturbed, tmp_path):
    grid, expected, _ = undisturbed
    reports = tmp_path / "run"
    for number, place in ((signal.SIGTERM, "mentor"), (signal.SIGINT, "students/*")):
        process = kills.start(grid, reports)
        wait_for(reports, f"small/*/*/{place}/work", process)
        assert kills.send(process, number) == 130
        assert set(states(reports)) == {"ok", "stopped"}
    kills.finish(grid, reports)
    check(reports, expected)


def test_files_that_may_not_grow(undisturbed, tmp_path):
    """Files of at most so many bytes: no collection, then a mentor without a checkpoint."""
    grid, expected, _ = undisturbed
    reports = tmp_path / "run"
    for most_bytes in (4_000, 120_000):
        kills.log_of(reports).unlink(missing_ok=True)
        process = kills.start(grid, reports, most_bytes=most_bytes)
        process.join()
        assert process.exitcode == 1, log_of(reports)
        [line] = [line for line in log_of(reports).splitlines() if line.startswith("error: ")]
        assert "Traceback" not in log_of(reports) and str(reports) in line
        assert states(reports)["failed"].endswith(line.removeprefix("error: "))
    kills.finish(grid, reports)
    check(reports, expected)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, if this process may mount one: a function that mounts it with options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options, again="remount,"):
        command = ["mount", "-t", "tmpfs", "-o", f"{again}{options}", "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True).returncode == 0

    if shutil.which("mount") is None or os.geteuid() != 0 or not mount("size=64k", again=""):
        pytest.skip("only root can mount a small disk")
    yield place, mount
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(undisturbed, disk):
    grid, expected, _ = undisturbed
    place, mount = disk
    for size in ("400k", "700k", "1m"):
        assert mount(f"size={size}")
        process = kills.start(grid, place / "run")
        process.join()
        assert process.exitcode == 1, log_of(place / "run")
        assert "running" not in states(place / "run")
        assert "No space left" in states(place / "run")["failed"] and "Traceback" not in log_of(place / "run")
    assert mount("size=64m")
    kills.finish(grid, place / "run")
    check(place / "run", expected)


def test_a_disk_that_becomes_read_only(undisturbed, disk):
    grid, expected, _ = undisturbed
    place, mount = disk
    assert mount("size=64m")
    process = kills.start(grid, place / "run")
    wait_for(place / "run", "small/*/*/mentor/work/checkpoint-*/manifest.json", process)
    assert kills.send(process, signal.SIGKILL) == -signal.SIGKILL
    assert mount("ro")
    process = kills.start(grid, place / "run")
    process.join()
    assert process.exitcode == 1
    [line] = [line for line in log_of(place / "run").splitlines() if line.startswith("error: ")]
    assert str(place) in line and "Read-only" in line and "Traceback" not in log_of(place / "run")
    assert mount("rw")
    kills.finish(grid, place / "run")
    check(place / "run", expected)


def test_two_at_once(undisturbed, tmp_path):
    grid, expected, _ = undisturbed
    both = [kills.start(grid, tmp_path / "run") for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0], log_of(tmp_path / "run")
    check(tmp_path / "run", expected)


def test_a_clock_that_goes_back(undisturbed, tmp_path):
    """A later process is a day behind, and the times of all files are in the opposite order."""
    grid, expected, _ = undisturbed
    reports = tmp_path / "run"
    process = kills.start(grid, reports)
    wait_for(reports, "small/*/*/students/*/work/checkpoint-*/manifest.json", process)
    assert kills.send(process, signal.SIGKILL) == -signal.SIGKILL
    files = sorted((path for path in reports.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime)
    for number, path in enumerate(files):
        os.utime(path, (2e9 - number, 2e9 - number))
    kills.finish(grid, reports, hours_back=24)
    check(reports, expected)
