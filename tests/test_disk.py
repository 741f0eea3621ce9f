"""Disks that cannot be written to: one clear error, whatever library writes, and a status that can still be written."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mentor_kd import disk
from mentor_kd.files import InputError, RunFailed, append_text, read_json, write_text

FULL_DEVICE = Path("/dev/full")  # every write to it fails as on a full disk


def failing(code):
    raise OSError(code, os.strerror(code), "/somewhere/file")


@pytest.mark.parametrize("code", sorted(disk.REMEDIES))
def test_errors_of_the_system_have_file_cause_and_remedy(code):
    with pytest.raises(RunFailed) as found, disk.writing(Path("step")):
        failing(code)
    said = str(found.value)
    assert said.startswith(f"/somewhere/file: cannot be written ({os.strerror(code)}); {disk.REMEDIES[code]}")
    assert said.endswith("run the same command again to resume") and "\n" not in said


def test_other_errors_are_not_touched():
    for error in (OSError(errno.ECONNREFUSED, "refused"), InputError("no"), RuntimeError("a bug"), RunFailed("why")):
        with pytest.raises(type(error)) as found, disk.writing(Path("step")):
            raise error
        assert found.value is error


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="no device that is always full")
def test_writers_of_weights_and_texts(tmp_path, monkeypatch):
    def weights():
        (tmp_path / "w").symlink_to(FULL_DEVICE)
        torch.save({"a": torch.ones(100_000)}, tmp_path / "w")

    def tensors():
        save_file({"a": torch.ones(10)}, tmp_path / "missing" / "w.safetensors")

    def text():
        (tmp_path / "t").symlink_to(FULL_DEVICE)
        append_text(tmp_path / "t", "x")

    for write, words in ((weights, "step: "), (tensors, "step: "), (text, str(tmp_path / "t"))):
        named = pytest.raises(RunFailed, match=f"^{words}.*cannot be written .*run the same command again")
        with named, disk.writing(Path("step")):
            write()


def test_a_step_names_its_folder(tmp_path):
    @disk.writes_files
    def step(folder, text="x"):
        """A step."""
        write_text(Path(folder) / "file" / "inner.txt", text)
        return text

    assert step(tmp_path, text="y") == step(folder=tmp_path, text="y") == "y" and step.__doc__ == "A step."
    (tmp_path / "other").write_text("in the way")
    with pytest.raises(RunFailed, match="other.*cannot be written .*remove"):
        step(tmp_path / "other")


def test_a_status_is_written_in_the_reserve_of_a_full_disk(tmp_path, monkeypatch):
    disk.reserve(tmp_path)
    assert (tmp_path / ".reserve").stat().st_size == disk.RESERVE
    real = disk.write_json

    def full_while_reserved(path, value):
        if (tmp_path / ".reserve").exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, value)

    monkeypatch.setattr(disk, "write_json", full_while_reserved)
    disk.write_status(tmp_path / "status.json", {"state": "failed"}, tmp_path)
    assert read_json(tmp_path / "status.json") == {"state": "failed"}
    disk.reserve(tmp_path / "nowhere" / "at all")  # no reserve is no error
