"""What the command line says when the system, not the input, is at fault: one line, and no traceback."""

import errno
import os
import subprocess
import sys

import pytest

from mentor_kd import __main__ as command_line
from mentor_kd import start
from mentor_kd.__main__ import main


@pytest.fixture
def failing(monkeypatch):
    """A command that raises what it is given."""

    def fail_with(error: BaseException):
        def run(args):
            raise error

        texts, add_arguments, _ = start.COMMANDS["start"]
        monkeypatch.setitem(start.COMMANDS, "start", (texts, add_arguments, run))

    return fail_with


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "a/b.json: No space left on device; free some space and run the same command again to resume"),
        (errno.EROFS, "a/b.json: Read-only file system; choose a folder that you can write to"),
        (errno.EACCES, "a/b.json: Permission denied; choose a folder or file that you have access to"),
        (errno.ENOTDIR, "a/b.json: Not a directory"),
    ],
)
def test_an_error_of_the_system_is_one_line(failing, capsys, number, said):
    failing(OSError(number, os.strerror(number), "a/b.json"))
    assert main(["start", "x"]) == 1
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_mistake_in_the_program_keeps_its_traceback(failing):
    failing(KeyError("a"))
    with pytest.raises(KeyError):
        main(["start", "x"])


def test_control_characters_in_a_message_are_visible(failing, capsys):
    failing(command_line.InputError("model 'a\x1b]0;title\x07' \u202e\udc80 is\tnot\nhere"))
    assert main(["start", "x"]) == 2
    assert capsys.readouterr().err == "error: model 'a\\x1b]0;title\\x07' \\u202e\\udc80 is\tnot\nhere\n"


def shell(words: str, tmp_path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHON": sys.executable, "LC_ALL": "C", "PYTHONUTF8": "0"}
    return subprocess.run(["sh", "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_a_closed_input_or_output_does_no_harm(tmp_path):
    done = shell("$PYTHON -m mentor_kd start new <&- >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "new" / "notebooks").is_dir()
    done = shell("$PYTHON -m mentor_kd start new 2>&-", tmp_path)
    assert done.returncode == 2


def test_an_output_that_is_full_is_one_line(tmp_path):
    done = shell("$PYTHON -m mentor_kd start new > /dev/full", tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space left on device" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    done = shell("$PYTHON -m mentor_kd start new | true", tmp_path)
    assert done.stderr == ""
