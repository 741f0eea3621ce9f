"""The key appears nowhere: not in files, logs, tracebacks, notebooks or reports, whatever the server says."""

import io
import logging
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
from asking import ASK, SETTINGS, TASK, number, questions, right
from fault_server import Server, reply

from mentor_kd.files import ROOT, InputError
from mentor_kd.runs import notebook_html
from mentor_kd.teacher import annotate, ask
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.endpoint import Endpoint
from mentor_kd.teacher.key import Key
from mentor_kd.teacher.prices import Budget
from mentor_kd.teacher.store import Replies

KEY = "sk-very-secret-0123456789"
PART = KEY[:9]  # a part is too much as well


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEACHER_TEST_KEY", KEY)


def gossip(body, nth):
    """A server that says the key wherever it can."""
    told = {
        0: f'400 {{"error": {{"message": "wrong key {KEY}"}}}}',
        1: reply(f"The key is {KEY}. --> 2") | {"model": KEY},
        2: reply("", refusal=f"I will not tell {KEY}"),
        3: reply(None, KEY),
        4: f"500 {'y' * 185} {KEY}",
        5: f'400 {{"detail": "{"x" * 180} {KEY}"}}',  # cut off within the key
        6: "malformed",
        7: reply("So. --> 8", reasoning_content=f"I was given {KEY}"),
    }
    return told.get(number(body), right(body))


def search(folder: Path) -> list[str]:
    """The files below a folder that hold the key, and those that hold it as JSON or HTML might write it."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and PART.encode() in path.read_bytes()]


def test_neither_files_nor_logs_nor_what_is_printed_hold_it(tmp_path, capfd):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with Server(gossip) as server:
            where = replace(SETTINGS, base_url=server.url, key_env="TEACHER_TEST_KEY")
            rows, facts = annotate.annotated(tmp_path, TASK, questions(12), [], "endpoint", ASK, where)
            assert server.keys == {f"bearer {KEY}"}  # it was sent
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    counts = {state: count for state, count in facts["states"].items() if count}
    assert counts == {"right": 6, "refused": 1, "empty": 1, "failed": 4}
    assert "[TEACHER_TEST_KEY]" in (tmp_path / "replies.jsonl").read_text()
    assert "[TEACHER_TEST_KEY]" in (tmp_path / "attempts.jsonl").read_text()
    said = capfd.readouterr()
    assert "HTTP Request: POST" in stream.getvalue()  # the logs were really on
    for text in (stream.getvalue(), said.out, said.err, repr(facts), repr(rows), repr(where)):
        assert PART not in text
    assert search(tmp_path) == []


def test_no_traceback_holds_it_even_with_its_local_variables(tmp_path, monkeypatch):
    """As IPython's verbose mode, rich or pytest -l print them: every frame with the repr of its variables."""

    def failing(*_):
        raise RuntimeError("anywhere")

    for place in (
        "mentor_kd.teacher.endpoint.parse_reply",
        "httpx.AsyncClient.stream",
        "mentor_kd.teacher.endpoint.Endpoint._cost",
    ):
        with monkeypatch.context() as patch, Server(right) as server, Replies(tmp_path / place) as store:
            patch.setattr(place, failing)
            where = replace(SETTINGS, base_url=server.url, key_env="TEACHER_TEST_KEY")
            with pytest.raises(Exception) as caught, Endpoint(where, store, Budget(), None) as client:
                client.ask([ask.write_script(TASK, ASK, where).first(questions(1)[0], 0)])
        shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert "anywhere" in shown and "where = " in shown
        assert PART not in shown
    assert search(tmp_path) == []


@pytest.mark.parametrize("value", ["two words", "schlüssel-1234", "new\nline-1234"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(value, monkeypatch):
    monkeypatch.setenv("TEACHER_TEST_KEY", value)
    with pytest.raises(InputError, match="must hold printable ASCII") as caught:
        Key("TEACHER_TEST_KEY")
    assert value not in str(caught.value)


def test_a_key_in_place_of_its_name_is_not_repeated(tmp_path, capsys):
    from mentor_kd.__main__ import main

    (tmp_path / "t.csv").write_text("question,answer\nWhat?,1\n")
    command = ["annotate", str(tmp_path / "t.csv"), "--answer-type", "number", "--model", "m"]
    assert main([*command, "--base-url", "http://127.0.0.1:1/v1", "--key-env", KEY]) == 2
    printed = capsys.readouterr()
    assert "must be the NAME of an environment variable" in printed.err and PART not in printed.err + printed.out


def test_it_is_sent_nowhere_else_and_not_without_being_asked_for(tmp_path):
    with Server(right) as other, Server(lambda body, nth: "307 ") as server:
        where = replace(SETTINGS, base_url=server.url, key_env="TEACHER_TEST_KEY")
        with Replies(tmp_path) as store, Endpoint(where, store, Budget(), None) as client:
            client.ask([ask.write_script(TASK, ASK, where).first(questions(1)[0], 0)])
            assert "redirects are not followed" in client.stopped
        where = EndpointSettings(other.url)
        with Replies(tmp_path) as store, Endpoint(where, store, Budget(), None) as client:
            client.ask([ask.write_script(TASK, ASK, where).first(questions(1)[0], 0)])
        assert other.keys == {""}


def test_neither_an_executed_notebook_nor_its_log_nor_the_run_folder_hold_it(tmp_path):
    """Notebook 01 by papermill, with everything that it leaves, while the server gossips; once to its end, once to an
    error."""
    lines = [f"What is {i} + 1?,{i + 1},{'test' if i > 13 else 'dev' if i > 11 else 'train'}" for i in range(16)]
    (tmp_path / "sums.csv").write_text("question,answer,split\n" + "\n".join(lines) + "\n")
    with Server(gossip) as server:
        for run, prompt in (("good", "one-call"), ("bad", "no-such-prompt")):
            given = {"run": run, "task": "sums", "data": str(tmp_path / "sums.csv"), "answer_type": "number"}
            given |= {"teacher": "endpoint", "teacher_model": "m", "base_url": server.url, "prompt": prompt}
            given |= {"key_env": "TEACHER_TEST_KEY", "rationales": 1, "train_questions": 0}
            pairs = [part for name, value in given.items() for part in ("-p", name, str(value))]
            book = ROOT / "notebooks" / "01_collect_rationales.ipynb"
            result = tmp_path / f"{run}.ipynb"
            command = [sys.executable, "-m", "papermill", str(book), str(result), "--cwd", str(ROOT / "notebooks")]
            done = subprocess.run([*command, *pairs, "--log-output"], capture_output=True, text=True)
            assert (done.returncode == 0) == (run == "good"), done.stderr[-3000:]
            assert PART not in done.stdout + done.stderr
            notebook_html.to_html(result)
    assert "6 right" in (tmp_path / "good.ipynb").read_text() and "6 right" in (tmp_path / "good.html").read_text()
    reports = Path(os.environ["MENTOR_KD_REPORTS"])
    assert (reports / "good" / "sums" / "annotation" / "replies.jsonl").exists()
    assert search(tmp_path) == search(reports) == []
