"""The command is killed outright at ten random moments: the store is readable, and at most what was in flight is asked
again."""

import json
import os
import random
import subprocess
import sys
import time

import pytest
from fault_server import Server, reply

from mentor_kd.files import read_jsonl
from mentor_kd.teacher.store import Replies

IN_FLIGHT, QUESTIONS, KILLS = 8, 400, 10


def right(body, nth=0):
    number = int(body["messages"][-1]["content"].split("What is ")[1].split(" ")[0])
    return reply(f"{number} + 1 = {number + 1}. --> {number + 1}")


@pytest.fixture
def command(tmp_path):
    """The command line, and the folder that it fills."""
    lines = [
        f"What is {i} + 1?,{i + 1},{'test' if i == 0 else 'dev' if i == 1 else 'train'}" for i in range(QUESTIONS + 2)
    ]
    (tmp_path / "sums.csv").write_text("\n".join(["question,answer,split", *lines]) + "\n")
    given = ["--answer-type", "number", "--model", "m", "--prompt", "one-call", "--rationales", "1"]
    out = tmp_path / "out"
    start = [sys.executable, "-m", "mentor_kd", "annotate", str(tmp_path / "sums.csv"), *given, "--out", str(out)]
    return [*start, "--in-flight", str(IN_FLIGHT)], out


def test_killed_at_ten_random_moments(command, tmp_path):
    start, out = command
    rng = random.Random(20)
    with Server(right, delay=0.15) as server:
        start = [*start, "--base-url", server.url]
        killed, lost = 0, 0
        while killed < KILLS:
            log = (tmp_path / "log.txt").open("w")
            process = subprocess.Popen(start, stdout=log, stderr=log)
            before = server.asked.total()
            give_up = time.monotonic() + 30
            while server.asked.total() == before:  # it has begun
                assert process.poll() is None and time.monotonic() < give_up, (tmp_path / "log.txt").read_text()
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.7))
            process.kill()
            assert process.wait() == -9, "it was done before it was killed: ask more questions"
            killed += 1
            time.sleep(0.3)  # what was in flight ends at the server
            kept = Replies(out).load()
            repeated = server.asked.total() - len(kept)
            assert repeated - lost <= IN_FLIGHT, "more was lost than was in flight"
            lost = repeated
        done = subprocess.run(start, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"{QUESTIONS} right" in done.stdout
    kept = Replies(out).load()
    keys = [json.loads(line)["key"] for line in (out / "replies.jsonl").read_bytes().splitlines() if _is_json(line)]
    assert len(keys) == len(set(keys)) == len(kept) == QUESTIONS == len(server.asked)
    assert server.asked.total() - QUESTIONS == lost <= KILLS * IN_FLIGHT
    # the bill knows what the kills had in flight; a kill may come between the note and the sending
    assert server.asked.total() <= kept.spent.calls <= QUESTIONS + KILLS * IN_FLIGHT
    rows = [row for _, row in read_jsonl(out / "outcomes.jsonl")]
    assert len(rows) == QUESTIONS and {row["state"] for row in rows} == {"right"}


def _is_json(line):
    try:
        return bool(json.loads(line))
    except ValueError:
        return False


def test_a_polite_stop_waits_for_what_is_in_flight(command):
    """SIGTERM, as Ctrl-C: nothing more is sent, and what was sent is received and kept."""
    start, out = command
    with Server(right, delay=0.4) as server:
        process = subprocess.Popen([*start, "--base-url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while server.asked.total() < 2 * IN_FLIGHT:
            time.sleep(0.01)
        process.terminate()
        _, printed = process.communicate(timeout=20)
        assert process.returncode == 130 and b"Run the same command again" in printed
        assert len(Replies(out).load()) == server.answered.total() == server.asked.total() < QUESTIONS


def test_a_line_that_a_kill_cut_off_is_passed_over_and_counted(command):
    start, out = command
    with Server(right) as server:
        start = [*start, "--base-url", server.url, "--questions", "5"]
        assert subprocess.run(start, capture_output=True).returncode == 0
        whole = (out / "replies.jsonl").read_bytes()
        for cut in (1, 40, len(whole.splitlines()[-1]) - 3):
            (out / "replies.jsonl").write_bytes(whole[:-cut] if cut > 1 else whole[:-2])
            asked = server.asked.total()
            done = subprocess.run(start, capture_output=True, text=True)
            assert done.returncode == 0 and "1 incomplete line(s) of the store" in done.stdout
            assert server.asked.total() == asked + 1
            assert len(Replies(out).load()) == 5
    assert os.path.getsize(out / "replies.jsonl") > len(whole)
