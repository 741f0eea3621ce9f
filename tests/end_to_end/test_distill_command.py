"""`mentor-kd distill FILE`: public files, in their original form, become a student, a report and a data set."""

import json

import datasets
import pytest
import tiny

from mentor_kd import __main__
from mentor_kd.report import run_report
from mentor_kd.runs import notebooks, stages
from mentor_kd.runs import run as runs

SUMS = [(f"Ann has {a} pens and buys {b} more. How many has she?", a, b) for a in range(2, 8) for b in range(2, 8)]
LETTERS = "ABCDE"


def gsm8k(question, a, b):
    return {"question": question, "answer": f"She has {a}+{b}=<<{a}+{b}={a + b}>>{a + b} pens.\n#### {a + b}"}


def multiarith(question, a, b):
    return {"question": question, "final_ans": str(a + b), "rationale": f"{a} + {b} = {a + b}."}


def aqua(question, a, b):
    options = [f"{letter}){a + b + k}" for k, letter in enumerate(LETTERS)]
    return {"question": question, "options": options, "rationale": f"{a} + {b} = {a + b}", "correct": "A"}


def chat(question, a, b):
    reply = f"{a} + {b} = {a + b}. The answer is {a + b}."
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


def in_process(parameters, say=print, show=None):
    """The run's steps in this process; its notebooks have tests of their own."""
    jobs = runs.plan(parameters)
    for job in jobs:
        if job.notebook in (*notebooks.PER_TASK, notebooks.STUDENTS):
            known = notebooks.known_parameters(job.notebook)
            defaults = {name: facts["default"] for name, facts in known.items()}
            stages.perform(job.notebook, defaults | job.parameters, job.folder)
    return run_report.write(jobs[-1].folder)


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setattr(runs, "run", in_process)
    model = str(tiny.llama(tmp_path / "model"))
    sizes = {
        "mentor_epochs": 1,
        "epochs": 1,
        "samples": 1,
        "max_new_tokens": 12,
        "test_questions": 4,
        "dev_questions": 3,
    }
    options = [part for name, value in sizes.items() for part in ("-p", f"{name}={value}")]
    return ["--mentor", model, "--student", model, *options]


@pytest.mark.parametrize("form", [gsm8k, multiarith, aqua, chat])
def test_a_public_file_becomes_a_student(form, small, tmp_path, capsys):
    path = tmp_path / "My data.jsonl"
    path.write_text("".join(json.dumps(form(*one)) + "\n" for one in SUMS), encoding="utf-8")
    assert __main__.main(["distill", str(path), *small]) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "reports" / "my-data" / "my-data"
    assert "recognised: " in said and "example 3" in said and "mentor-kd" in said
    assert f"student: {folder}/students/mentor-kd-seed0" in said
    assert (folder / "students" / "mentor-kd-seed0" / "README.md").read_text().startswith("---\n")
    assert (tmp_path / "reports" / "my-data" / "index.html").exists()
    exported = datasets.load_dataset(str(folder / "export"), cache_dir=str(tmp_path / "cache"))
    assert exported["train"].num_rows >= 20 and "rationale" in exported["train"].column_names


def test_a_dry_run_writes_nothing(small, tmp_path, capsys):
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(gsm8k(*one)) + "\n" for one in SUMS), encoding="utf-8")
    assert __main__.main(["distill", str(path), "--dry-run", *small]) == 0
    said = capsys.readouterr().out
    assert "then a student" in said and "7 notebooks" in said
    assert not (tmp_path / "reports").exists()


def test_questions_without_rationales_are_sent_to_a_teacher(small, tmp_path, capsys):
    path = tmp_path / "bare.csv"
    path.write_text("question,answer\n" + "".join(f"{q},{a + b}\n" for q, a, b in SUMS), encoding="utf-8")
    assert __main__.main(["distill", str(path), *small]) == 2
    assert "mentor-kd annotate" in capsys.readouterr().err
