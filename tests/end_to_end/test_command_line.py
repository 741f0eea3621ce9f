"""The command line: help texts, error messages, exit codes."""

import csv
import errno
import io
import json
import os
import subprocess
import sys

import official_files
import pytest
from tiny import llama

from mentor_kd import __version__
from mentor_kd.__main__ import main
from mentor_kd.evaluation import predict
from mentor_kd.models import loading

COMMANDS = [[], ["run"], ["sweep"], ["reproduce"], ["annotate"], ["augment"], ["data"], ["data", "fetch"], ["report"]]
COMMANDS += [["predict"], ["start"], ["bench"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: python -m mentor_kd" in text and len(text) > 150


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "mentor_kd", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == __version__


def test_an_input_error_is_one_line_without_a_traceback(capsys, tmp_path):
    assert main(["run", "--params", str(tmp_path / "none.yaml")]) == 2
    printed = capsys.readouterr().err
    assert printed == f"error: {tmp_path / 'none.yaml'}: no such file\n"


def test_a_dry_run_checks_and_runs_nothing(capsys, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("run: dry\ntasks: [sandbox-letters]\nseeds: [0, 1]\n")
    assert main(["run", "--params", str(path), "--dry-run"]) == 0
    assert "sandbox-letters/06_distill_student: " in capsys.readouterr().out
    assert not os.listdir(os.environ["MENTOR_KD_REPORTS"])


def test_a_dry_run_of_a_sweep_prints_its_plan_and_runs_nothing(capsys, tmp_path):
    path = tmp_path / "g.yaml"
    path.write_text("sweep: dry\ngrid: {task: [sandbox-letters, sandbox-sums], method: [vanilla-kd, mentor-kd]}\n")
    assert main(["sweep", "--params", str(path), "--dry-run", "--gpu", "h100", "--cell", "sandbox-sums"]) == 0
    printed = capsys.readouterr().out
    assert (
        "dry: 2 cells on h100" in printed and "sandbox-sums/mentor-kd" in printed and "sandbox-letters" not in printed
    )
    assert main(["sweep", "--params", str(path), "--dry-run", "--gpu", "abacus"]) == 2
    assert main(["sweep", "--params", str(path), "--cell", "none"]) == 2
    assert "no cell is called 'none'" in capsys.readouterr().err
    assert main(["sweep", "--params", str(path), "--table"]) == 2
    assert "no cell is done yet" in capsys.readouterr().err
    assert not os.listdir(os.environ["MENTOR_KD_REPORTS"])


def test_data_fetch_takes_a_local_copy_and_lists_what_is_missing(tmp_path, monkeypatch, capsys):
    official_files.pin(monkeypatch)
    source = tmp_path / "copy"
    official_files.write_tree(source)
    gone = next(source.rglob("svamp_test.json"))
    name = gone.relative_to(source).as_posix()
    gone.unlink()
    assert main(["data", "fetch", "--from", str(source), "--to", str(tmp_path / "to")]) == 0
    assert name in capsys.readouterr().out
    assert not (tmp_path / "to" / name).exists()
    assert len(list((tmp_path / "to").rglob("*.json"))) == len(list(source.rglob("*.json"))) > 0


def test_data_fetch_names_a_wrong_file_and_installs_nothing(tmp_path, monkeypatch, capsys):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path / "copy")
    wrong = next((tmp_path / "copy").rglob("svamp_test.json"))
    wrong.write_text(wrong.read_text() + " ")
    assert main(["data", "fetch", "--from", str(tmp_path / "copy"), "--to", str(tmp_path / "to")]) == 2
    assert "svamp_test.json" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


@pytest.fixture
def student(tmp_path):
    """A tiny untrained model, saved like a student."""
    loaded = loading.load(llama(tmp_path / "model"))
    task = {"name": "sandbox-sums", "answer_type": "number", "title": "", "choices": "ABCDE", "official": ""}
    loading.save(tmp_path / "student", loaded, {"task": task, "max_new_tokens": 5})
    return tmp_path / "student"


def test_predict_answers_from_the_command_line_and_from_files(student, tmp_path, capsys):
    assert main(["predict", str(student), "What is 1 + 1?"]) == 0
    assert "Q: What is 1 + 1?" in capsys.readouterr().out
    table = tmp_path / "q.csv"
    table.write_text('question\n"One, or two?"\nThree?\n')
    assert main(["predict", str(student), "--file", str(table), "--out", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert [row["question"] for row in rows] == ["One, or two?", "Three?"]
    assert main(["predict", str(student), "--file", str(table), "--out", str(tmp_path / "a.jsonl")]) == 0
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert set(found[0]) == set(predict.COLUMNS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no question was given"),
        ([" "], "question 1 is empty"),
        (["--file", "q.txt", "--out", "a.xls"], "no such file"),
    ],
)
def test_predict_explains_invalid_input(student, arguments, words, capsys):
    assert main(["predict", str(student), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_output_that_nobody_reads_ends_the_command_quietly(student, capsys, monkeypatch):
    def unread(rows, path):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(predict, "write_answers", unread)  # as after `predict ... | head -1`
    assert main(["predict", str(student), "What?"]) == 1
    assert capsys.readouterr().err == ""


def test_predict_needs_a_folder_of_this_project(tmp_path, capsys):
    assert main(["predict", str(tmp_path), "What?"]) == 2
    assert "model_card.json" in capsys.readouterr().err
