"""A collection from an endpoint: splits, repeated requests, and the checks before a run starts."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from asking import SETTINGS, number, right
from fault_server import Server

from mentor_kd.__main__ import main
from mentor_kd.data.folder import questions, teacher_rows
from mentor_kd.data.rationales import read_rationales
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.runs import jobs, run
from mentor_kd.teacher.ask import AskSettings


@pytest.fixture
def table(tmp_path):
    lines = [f"What is {i} + 1?,{i + 1}" for i in range(50)]
    (tmp_path / "sums.csv").write_text("question,answer\n" + "\n".join(lines) + "\n")
    return tmp_path / "sums.csv"


def settings(table, server, **ask):
    ask = AskSettings("m", "one-call", **{"rationales": 1, "max_tokens": 20} | ask)
    endpoint = replace(SETTINGS, base_url=server.url, tries=1)
    return CollectSettings(str(table), "number", teacher="endpoint", ask=ask, endpoint=endpoint)


def test_only_training_questions_are_requested_and_again_only_the_missing_ones(table, tmp_path):
    broken = {3, 4, 5, 6, 7, 8}
    with Server(lambda body, nth: "500" if number(body) in broken else right(body)) as server:
        folder, given = tmp_path / "sums", settings(table, server)
        collect(folder, "sums", given)
        made = read_json(folder / "collected" / "manifest.json")
        # a fifth of fifty for test, and a fifth of the other forty for dev
        assert made["questions"] == {"train": 32, "dev": 8, "test": 10} and made["test_questions_drawn"] == 10
        train = {q.question for q in questions(folder, "train")}
        assert {
            f"What is {number(row['body'])} + 1?" for _, row in read_jsonl(folder / "annotation/replies.jsonl")
        } < train
        missing = sum(f"What is {i} + 1?" in train for i in broken)
        assert made["annotation"]["open"] == missing > 0 and len(teacher_rows(folder)) == 32 - missing
        job = jobs.Job("01_collect_rationales", folder, {}, "sums/01_collect_rationales")
        assert jobs.unfinished(job)  # so the same run, started again, executes notebook 01 again
        asked = server.asked.total()
        broken.clear()
        collect(folder, "sums", given)
        assert not jobs.unfinished(job)
        assert len(teacher_rows(folder)) == 32 and server.asked.total() == asked + missing
        collect(folder, "sums", replace(given, endpoint=replace(given.endpoint, in_flight=1)))
        collect(folder, "sums", given)
        assert server.asked.total() == asked + missing


def test_the_limits_of_a_smoke_run_move_no_question_to_another_split(table, tmp_path):
    with Server(right) as server:
        collect(tmp_path / "all", "sums", settings(table, server))
        collect(tmp_path / "few", "sums", replace(settings(table, server), train_questions=5, test_questions=3))
    for split in ("train", "dev", "test"):
        few, every = ({q.id for q in questions(tmp_path / name, split)} for name in ("few", "all"))
        assert few <= every and (split == "dev" or len(few) in (3, 5))


def test_rationales_in_a_users_table_are_kept_along_with_the_requested_ones(tmp_path):
    told = ["So. --> 1", "So. --> 2", *[""] * 8]
    lines = [f"What is {i} + 1?,{i + 1},{told[i]},{'test' if i > 8 else 'train'}" for i in range(10)]
    (tmp_path / "sums.csv").write_text("question,answer,rationale,split\n" + "\n".join(lines) + "\n")
    with Server(right) as server:
        collect(tmp_path / "sums", "sums", replace(settings(tmp_path / "sums.csv", server), dev_questions=1))
    models = [row.sampler["model"] for row in teacher_rows(tmp_path / "sums")]
    assert models.count("m, one-call") == 8 and 1 <= models.count("sums.csv") <= 2


def test_annotate_writes_a_file_that_works_as_a_teacher(table, tmp_path, capsys):
    with Server(right) as server:
        command = ["annotate", str(table), "--answer-type", "number", "--model", "m", "--base-url", server.url]
        command += ["--prompt", "one-call", "--rationales", "2", "--max-tokens", "20"]
        assert main([*command, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "at most: 64 calls" in said and "32 train, 8 dev, 10 test" in said and server.asked.total() == 0
        assert main(command) == 0
        said = capsys.readouterr().out
    result = Path(os.environ["MENTOR_KD_REPORTS"]) / "annotations" / "sums" / "teacher.jsonl"
    assert len(read_rationales(result)) == 64 and "64 right" in said and f"-p teacher={result}" in said
    folder = tmp_path / "run" / "sums"
    collect(folder, "sums", CollectSettings(str(table), "number", teacher=str(result)))
    assert len(teacher_rows(folder)) == 64
    with Server(lambda body, nth: '400 {"detail": "no"}' if number(body) % 2 else right(body)) as server:
        assert main([*command[:7], server.url, *command[8:], "--out", str(tmp_path / "x")]) == 1
    assert "run the same command again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"teacher": "endpoint"}, "model is empty"),
        ({"teacher": "endpoint", "teacher_model": "m"}, "base_url is empty"),
        (
            {"teacher": "endpoint", "teacher_model": "m", "base_url": "http://h/v1", "budget_money": 1.0},
            "needs a price",
        ),
        ({"teacher": "gone.jsonl"}, "teacher must be '', 'endpoint', 'local', or the path"),
        ({"prompt": "zero"}, "prompt must be one of"),
        ({"until_correct": 11}, "most_asked must be >= until_correct"),
        ({"answer_type": "pattern"}, "is required with answer_type"),
        ({"key_env": "sk-1"}, "must be the NAME of an environment variable"),
    ],
)
def test_an_invalid_teacher_is_rejected_before_a_run_starts(parameters, words):
    with pytest.raises(InputError, match=words):
        run.plan({"run": "x", "task": "sandbox-letters", **parameters})


def test_replies_that_were_paid_for_are_never_asked_again(table, tmp_path):
    with Server(right) as server:
        folder, given = tmp_path / "sums", settings(table, server)
        collect(folder, "sums", given)
        asked, rows = server.asked.total(), teacher_rows(folder)
        shutil.rmtree(folder / "collected")
        collect(folder, "sums", given)  # from the replies
        assert server.asked.total() == asked and teacher_rows(folder) == rows
        whole = (folder / "annotation" / "replies.jsonl").read_bytes()
        (folder / "annotation" / "replies.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:7]))
        for place in ("teacher.jsonl", "manifest.json"):
            with pytest.raises(InputError, match=r"replies\.jsonl: paid replies are missing .*restore"):
                collect(folder, "sums", given)
            (folder / "collected" / place).unlink()
        (folder / "annotation" / "replies.jsonl").write_bytes(whole)
        collect(folder, "sums", given)
        assert server.asked.total() == asked and teacher_rows(folder) == rows
