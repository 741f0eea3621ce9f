"""Manifests: any change of a file is noticed, and a file that was found right is not read again."""

import math
import os
import shutil
import time

import pytest

from mentor_kd import manifests
from mentor_kd.files import InputError, append_text, read_json, write_json, write_text

INPUTS = {"settings": {"epochs": 2, "rates": (0.1, 0.2)}, "mentor": None}
OLD = time.time() - 1000


@pytest.fixture
def step(tmp_path):
    """A finished step with two files that were written a while ago."""
    for name in ("a.txt", "b.txt"):
        write_text(tmp_path / "step" / name, f"result {name}")
    manifests.finish(tmp_path / "step", INPUTS, ["a.txt", "b.txt"], score=math.nan, rows=3)
    return tmp_path / "step"


def done(folder):
    return manifests.is_done(folder, INPUTS)


def hashed(monkeypatch):
    """The names of the files that are hashed from now on."""
    seen, real = [], manifests.sha256
    monkeypatch.setattr(manifests, "sha256", lambda path: (seen.append(path.name), real(path))[1])
    return seen


def settle(monkeypatch):
    """As if all files had been written long ago: their times are no longer within a tick of the clock."""
    monkeypatch.setattr(manifests, "SETTLED", -1)


def test_a_float_that_is_not_finite_does_not_break_the_seal(step):
    assert done(step) and read_json(step / "manifest.json")["score"] is None
    assert manifests.problems(step) == {}


def test_files_found_right_are_not_hashed_again(step, monkeypatch):
    settle(monkeypatch)
    seen = hashed(monkeypatch)
    assert done(step) and seen == ["a.txt", "b.txt"]
    assert done(step) and len(seen) == 2
    os.utime(step / "b.txt", (OLD, OLD))
    assert done(step) and seen[2:] == ["b.txt"]
    assert done(step) and len(seen) == 3


def test_a_young_file_is_hashed_each_time(step, monkeypatch):
    """It may be changed within the same tick of the clock, with the same size and the same times."""
    seen = hashed(monkeypatch)
    assert done(step) and done(step) and len(seen) == 4


def test_a_change_of_the_same_size_with_the_same_time_is_noticed(step, monkeypatch):
    settle(monkeypatch)
    assert done(step)
    facts = (step / "a.txt").stat()
    (step / "a.txt").write_text("resuLt a.txt")
    os.utime(step / "a.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert not done(step) and manifests.problems(step) == {"a.txt": "changed"}


def test_a_copy_is_done_whatever_its_times(step, monkeypatch):
    settle(monkeypatch)
    assert done(step)
    copy = shutil.copytree(step, step.parent / "copy")
    for path in copy.iterdir():
        os.utime(path, (2e9, 2e9))  # in the future: the clock was wrong
    assert done(copy) and manifests.problems(copy) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a.txt": 1}', "[" * 100_000])
def test_damaged_stamps_do_no_harm(step, monkeypatch, content):
    settle(monkeypatch)
    assert done(step)
    (step / ".stamps").write_text(content)
    assert done(step)


def test_a_wrong_hash_in_the_stamps_is_not_believed(step, monkeypatch):
    settle(monkeypatch)
    assert done(step)
    stamps = read_json(step / ".stamps")
    stamps["a.txt"][0] = "0" * 64
    write_json(step / ".stamps", stamps)
    assert done(step)


def test_a_folder_in_the_place_of_a_file_is_a_change(step):
    (step / "a.txt").unlink()
    (step / "a.txt").mkdir()
    assert manifests.problems(step) == {"a.txt": "changed"}


@pytest.mark.parametrize("harm", ["changed", "cut", "emptied", "no seal"])
def test_a_changed_manifest_is_noticed(step, harm):
    path = step / "manifest.json"
    facts = read_json(path)
    if harm in ("changed", "no seal"):
        write_json(path, {**facts, "rows": 4} if harm == "changed" else {k: v for k, v in facts.items() if k != "seal"})
    else:
        path.write_bytes(path.read_bytes()[:40] if harm == "cut" else b"")
    assert not done(step) and manifests.read(step) is None
    assert manifests.problems(step) == {"manifest.json": "changed"}
    with pytest.raises(InputError, match=r"manifest\.json: changed since the step that wrote it; do it again"):
        manifests.require_unchanged(step, "do it again")


def test_an_unfinished_folder_has_no_problems(tmp_path):
    assert manifests.problems(tmp_path) == {} and not done(tmp_path)
    manifests.require_unchanged(tmp_path, "")


def test_changed_files_are_kept_aside(step, capsys):
    (step / "a.txt").write_text("mine")
    (step / "b.txt").unlink()
    manifests.discard_changed(step)
    assert sorted(path.name for path in step.iterdir()) == ["a.txt.changed", "manifest.json"]
    said = capsys.readouterr().out
    assert "a.txt: changed since it was written and kept as a.txt.changed" in said and "b.txt: missing" in said


def test_a_file_that_is_only_appended_to(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    manifests.require_whole(path, "verdicts")  # none yet
    append_text(path, "one\n")
    manifests.require_whole(path, "verdicts")
    append_text(path, "two\n")
    manifests.require_whole(path, "verdicts")
    for content, what in (("one\n", "are missing"), ("", "are missing"), ("onE\ntwo\nthree\n", "were changed")):
        path.write_text(content)
        for _ in range(2):
            with pytest.raises(InputError, match=rf"verdicts\.jsonl: verdicts {what} \(the file had 8 bytes"):
                manifests.require_whole(path, "verdicts")
    path.write_text("one\ntwo\n")
    manifests.require_whole(path, "verdicts")
