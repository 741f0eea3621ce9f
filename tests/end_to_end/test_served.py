"""Against a real server on loopback, `transformers serve` with a sandbox model: annotation and a served mentor."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from mentor_kd.__main__ import main
from mentor_kd.data.rationales import read_rationales
from mentor_kd.data.sandbox import make_questions
from mentor_kd.data.tasks import TASKS
from mentor_kd.files import DATA, read_json, read_jsonl
from mentor_kd.manifests import finish
from mentor_kd.models.generation import Sampling
from mentor_kd.models.prompts import SEPARATOR
from mentor_kd.pipeline.augment import augment
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.teacher.annotate import annotated, estimated
from mentor_kd.teacher.ask import AskSettings
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.store import Replies

TASK = TASKS["sandbox-letters"]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}\n###\n"


class Served:
    """`transformers serve` for one model, that can be killed and started again at the same address."""

    def __init__(self, model: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.model, self.url = str(model), f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        command = ["serve", self.model, "--host", "127.0.0.1", "--port", str(self.port), "--device", "cpu"]
        program = Path(sys.executable).with_name("transformers")
        self.process = subprocess.Popen(
            [program, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
        )
        give_up = time.monotonic() + 120
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < give_up:
                assert self.process.poll() is None
                with contextlib.suppress(httpx.HTTPError):
                    if client.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                        return
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    model = tmp_path_factory.mktemp("served") / "model"
    shutil.copytree(DATA / "models" / "sandbox-small", model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    server = Served(model)
    server.start()
    yield server
    server.kill()


def test_500_questions_with_16_in_flight_and_a_server_that_dies_in_the_middle(served, tmp_path):
    """In the end every question has exactly one answer, the store holds no duplicate, and the totals add up."""
    questions = make_questions(TASK.name, 500, seed=5, split="train")
    ask = AskSettings(model=served.model, prompt="question-only", rationales=1, max_tokens=12)
    where = EndpointSettings(served.url, in_flight=16, tries=8, breaker_pause=0.5, breaker_openings=8)
    before = estimated(tmp_path, TASK, questions, [], "endpoint", ask, where)
    assert (before.most.calls, before.stored) == (500, 0)

    def die_in_the_middle() -> None:
        store = Replies(tmp_path)
        while len(store.load()) < 200:
            time.sleep(0.02)
        served.kill()
        died.append(len(store.load()))
        time.sleep(1)
        served.start()

    died: list[int] = []
    reaper = threading.Thread(target=die_in_the_middle)
    reaper.start()
    rows, facts = annotated(tmp_path, TASK, questions, [], "endpoint", ask, where)
    reaper.join()
    assert 200 <= died[0] < 500
    assert Counter(row.question_id for row in rows) == Counter(question.id for question in questions)
    kept = [row for _, row in read_jsonl(tmp_path / "replies.jsonl")]
    assert len(kept) == len({row["key"] for row in kept}) == 500
    assert facts["open"] == 0 and sum(facts["states"].values()) == facts["draws"] == facts["answers"]["calls"] == 500
    for name in ("tokens_in", "tokens_out"):
        assert facts["answers"][name] == sum(row["reply"][name] for row in kept) > 0
        assert facts["answers"][name] == sum(row[name] for _, row in read_jsonl(tmp_path / "outcomes.jsonl"))
    assert all(row["reply"]["counted"] for row in kept)
    failures = [row for _, row in read_jsonl(tmp_path / "attempts.jsonl") if row["event"] == "failed"]
    assert failures and all("connection" in row["cause"] for row in failures)
    assert facts["spent_in_all"]["calls"] == 500 + sum(row["cost"]["calls"] for row in failures)
    served.kill()  # nothing is asked again: the server is not even needed
    again, more = annotated(tmp_path, TASK, questions, [], "endpoint", ask, where)
    assert again == rows and more["answers"] == facts["answers"]
    served.start()


def test_zero_shot_cot_in_two_calls_by_both_routes(served, tmp_path):
    questions = make_questions(TASK.name, 12, seed=6, split="train")
    ask = AskSettings(model=served.model, rationales=2, max_tokens=8, conclude_tokens=8)
    for route in ("chat", "completions"):
        rows, facts = annotated(
            tmp_path / route, TASK, questions, [], "endpoint", ask, EndpointSettings(served.url, route)
        )
        assert len(rows) == 24 == sum(facts["states"].values())
        kept = [row for _, row in read_jsonl(tmp_path / route / "replies.jsonl")]
        complete = [row for row in rows if not row.miss.startswith(("the answer was cut", "the answer is empty"))]
        assert facts["answers"]["calls"] == len(kept) >= 24 + len(complete)
        assert all(("messages" in row["body"]) == (route == "chat") for row in kept)


def test_a_served_mentor_is_sampled_by_the_command_and_notebook_03_finds_its_work_done(served, tmp_path, capsys):
    folder = tmp_path / "run" / TASK.name
    collect(folder, TASK.name, CollectSettings(train_questions=10, dev_questions=2, test_questions=2))
    shutil.copytree(served.model, folder / "mentor")
    finish(folder / "mentor", {}, ["model.safetensors"], base="sandbox-small", max_new_tokens=10)
    command = ["augment", str(folder), "--base-url", served.url, "--model", served.model, "--top-k", "0"]
    assert main([*command, "--samples", "2"]) == 0
    assert "20 samples" in capsys.readouterr().out
    rows = read_rationales(folder / "augmented" / "mentor.jsonl")
    assert [row.sampler["index"] for row in rows] == [0, 1] * 10 and {row.source for row in rows} == {"mentor"}
    asked = [row["body"]["prompt"] for _, row in read_jsonl(folder / "augmented" / "replies" / "replies.jsonl")]
    assert sorted(asked) == sorted(row.question + SEPARATOR for row in rows)
    made = (folder / "augmented" / "manifest.json").stat().st_mtime_ns
    augment(folder, Sampling(n=2, temperature=0.7, top_k=0, max_new_tokens=10))
    assert (folder / "augmented" / "manifest.json").stat().st_mtime_ns == made
    assert read_json(folder / "augmented" / "manifest.json")["served"] == served.url
