"""Malformed inputs of every kind of file that the project reads: each is a named error, or a right result.

Seeded mutations of valid files are read in process, as the commands and the notebooks read them. Allowed are
InputError, RunFailed, exit code 0, 1 or 2, and a result whose rows add up to those of the file. A traceback, 5 seconds
of work, 4 GB of memory, a control character on the terminal, and a lost row are failures. The long run of
docs/reliability.md:

    python tests/end_to_end/test_malformed.py --inputs 20000
"""

import argparse
import collections
import contextlib
import functools
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

if __name__ == "__main__":  # as a script, without pytest's settings
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import conftest  # noqa: F401

import mutations
import pytest
from malformed import KINDS, Kind
from mutations import PLACES, Harm
from valid_files import valid

from mentor_kd.files import InputError, RunFailed
from mentor_kd.runs import notebooks

SECONDS = 5  # of work for one input
BYTES = 4 << 30  # of memory


class Hang(BaseException):
    """An input took longer than its limit."""


@contextlib.contextmanager
def limited():
    """Raise Hang after SECONDS of work, or after a minute of waiting (other programs may share the machine).

    More than 4 GB of memory raise a MemoryError.
    """

    def stop(*_):
        raise Hang("took too long")

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    memory = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, memory[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, memory)
        for number, handler in before.items():
            signal.signal(number, handler)


def outcome(kind: Kind, folder: Path, content: bytes | None, refused: bool) -> str:
    """How a reader took a mutated file: "read", "refused: " with the message, or "FAILED: " with what went wrong."""
    try:
        with limited():
            rows = kind.read(folder)
    except (InputError, RunFailed) as error:
        named = str(error).strip()
        return f"refused: {named}" if named else f"FAILED: {type(error).__name__} without a message"
    except Hang:
        return "FAILED: took too long"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = [f"{Path(one.filename).name}:{one.lineno}" for one in place if "mentor_kd" in one.filename][-1:]
        return f"FAILED: {type(error).__name__} at {ours}: {str(error)[:150]!r}"
    if refused and kind.strict:
        return "FAILED: read what had to be refused"
    if kind.rows and content is not None and rows != (expected := kind.rows(content)):
        return f"FAILED: {rows} rows of {expected}"
    return "read"


def tried(inputs: int, seed: int, scratch: Path) -> dict[str, collections.Counter]:
    """Try a number of malformed inputs; the outcomes of each kind. A failing input is left in `scratch`."""
    source, random = valid(scratch / "valid"), Random(seed)
    found: dict[str, collections.Counter] = {kind.name: collections.Counter() for kind in KINDS}
    weights = [kind.share for kind in KINDS]
    for kind in {kind.read: kind for kind in KINDS}.values():
        result = outcome(kind, mutations.copy(source, scratch / "work"), None, False)
        assert result == "read", f"{kind.name}: {result}"
    folder = mutations.copy(source, scratch / "work")
    for number in range(inputs):
        kind = random.choices(KINDS, weights)[0]
        file = next(folder.glob(kind.file))
        if random.random() < 0.05 and not kind.file_only:
            place = random.choice(PLACES)
            mutations.put(file, place)
            result = outcome(kind, folder, None, False)
            made = Harm(place, b"")
        else:
            made = mutations.harm(file.read_bytes(), kind.grammar, random)
            file.write_bytes(made.content)
            result = outcome(kind, folder, made.content, made.refused)
        found[kind.name][result.partition(":")[0]] += 1
        if result.startswith("FAILED"):
            words = re.sub(r"\W+", "-", kind.name)
            kept = scratch / f"failed-{words}-{number}{file.suffix}"
            kept.write_bytes(made.content)
            print(f"{kept}: {made.name[:60]!r}: {result}", file=sys.stderr)
        mutations.restore(source, folder, kind.file.split("/")[0])
    return found


@pytest.fixture
def quick_notebooks(monkeypatch):
    monkeypatch.setattr(notebooks, "known_parameters", functools.cache(notebooks.known_parameters))


def test_every_malformed_input_is_a_named_error_or_a_right_result(tmp_path, quick_notebooks):
    found = tried(1500, 19, tmp_path)
    assert sum(counts["FAILED"] for counts in found.values()) == 0
    silent = [kind.name for kind in KINDS if kind.strict and not found[kind.name]["refused"]]
    assert not silent, f"harms that are never noticed test nothing: {silent}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Try malformed inputs of every kind of file.")
    parser.add_argument("--inputs", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", help="folder in which failing inputs are kept")
    args = parser.parse_args()
    notebooks.known_parameters = functools.cache(notebooks.known_parameters)
    started = time.monotonic()
    scratch = Path(args.scratch or tempfile.mkdtemp())
    os.environ["MENTOR_KD_REPORTS"] = str(scratch / "reports")
    found = tried(args.inputs, args.seed, scratch)
    for name, counts in found.items():
        print(f"{name:<22}{counts['refused']:>7} refused {counts['read']:>7} read {counts['FAILED']:>5} failed")
    total = sum(map(collections.Counter.total, found.values()))
    failed = sum(counts["FAILED"] for counts in found.values())
    print(f"{total} inputs, {failed} failed, {time.monotonic() - started:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
