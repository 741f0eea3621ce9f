"""The client against a faulty server: it terminates, names each failure, and loses or repeats no reply."""

import json
import os
import time
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest
from asking import ASK, SETTINGS, TASK, number, questions, right, run
from fault_server import FAULTS, Server, reply

from mentor_kd.files import InputError, read_jsonl
from mentor_kd.teacher.ask import write_script
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.endpoint import Endpoint
from mentor_kd.teacher.prices import Budget, Price
from mentor_kd.teacher.store import Replies, estimated_tokens


def failures(folder):
    return [row["cause"] for _, row in read_jsonl(folder / "attempts.jsonl") if row["event"] == "failed"]


def stored(folder):
    return [row for _, row in read_jsonl(folder / "replies.jsonl")]


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_and_tried_again(fault, tmp_path):
    """Half of the requests fail once. No request with a reply is sent again."""
    with Server(lambda body, nth: right(body) if nth or number(body) > 1 else fault) as server:
        started = time.monotonic()
        draws, facts = run(server, tmp_path, n=4)
        assert time.monotonic() - started < 6
        assert facts["states"]["right"] == 4 and facts["open"] == 0
        assert [cause for cause in failures(tmp_path) if FAULTS[fault] in cause] == failures(tmp_path)
        assert len(failures(tmp_path)) == 2
        assert set(server.answered.values()) == {1} and len(stored(tmp_path)) == 4
        before = server.asked.total()
        assert run(server, tmp_path, n=4)[1]["states"]["right"] == 4
        assert server.asked.total() == before  # the second run sends nothing


def test_time_memory_and_connections_stay_bounded_under_all_faults(tmp_path):
    """16 concurrent requests, three questions per fault, each of which fails twice before it is answered."""
    names = list(FAULTS)
    n = 3 * len(names)

    def behave(body, nth):
        return right(body) if nth >= 2 else names[number(body) % len(names)]

    with Server(behave) as server:
        tracemalloc.start()
        started = time.monotonic()
        draws, facts = run(server, tmp_path, n=n, in_flight=16, read_timeout=1.5, total_timeout=3.0)
        seconds, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert facts["states"]["right"] == n, facts
        assert (
            seconds < 25 and server.most_open <= 32
        )  # the server sees a connection close slightly later than the client
        assert peak < 60e6, f"{peak / 1e6:.0f} MB"
        causes = failures(tmp_path)
        assert len(causes) == 2 * n
        for name, said in FAULTS.items():
            assert sum(said in cause for cause in causes) >= 6, name
        assert set(server.answered.values()) == {1}
        keys = [row["key"] for row in stored(tmp_path)]
        assert len(keys) == len(set(keys)) == n
    assert server.open == 0


def test_a_persistent_fault_is_recorded_with_its_cause_and_retried_by_the_next_run(tmp_path):
    broken = {"now": True}

    def behave(body, nth):
        return "malformed" if broken["now"] and number(body) == 3 else right(body)

    with Server(behave) as server:
        draws, facts = run(server, tmp_path)
        assert facts["states"] == dict.fromkeys(facts["states"], 0) | {"right": 9, "failed": 1}
        assert [draw.cause for draw in draws if draw.state == "failed"] == [next(iter(facts["causes"]))]
        assert "malformed JSON" in draws[3].cause and draws[3].row is None
        assert server.asked.total() == 9 + SETTINGS.tries
        broken["now"] = False
        draws, facts = run(server, tmp_path)
        assert facts["states"]["right"] == 10 and server.asked.total() == 9 + SETTINGS.tries + 1


def test_retry_after_pauses_all_requests(tmp_path):
    with Server(lambda body, nth: "429" if number(body) == 0 and nth == 0 else right(body)) as server:
        run(server, tmp_path, n=12, in_flight=1)
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert gaps[0] >= 1.0 and max(gaps[1:]) < 0.5


def test_a_limit_that_is_too_low_or_a_wait_that_is_too_long_is_reported(tmp_path):
    with Server(lambda body, nth: "429") as server:
        with pytest.raises(InputError, match="tokens, but the limit is 5 per minute"):
            run(server, tmp_path, tokens_per_minute=5)
        draws, facts = run(server, tmp_path, longest_wait=0.5)
    assert "asks to wait 1 s; run again then" in facts["stopped"]
    assert facts["states"]["failed"] + facts["states"]["not asked"] == 10 == len(draws)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ('401 {"error": {"message": "no such key"}}', "HTTP 401: no such key; check the key, then run again"),
        ("404 {}", "check base_url or the model's name"),
        ("307 ", "redirects are not followed"),
        ('429 {"error": {"message": "pay", "code": "insufficient_quota"}}', "quota is used up"),
    ],
)
def test_a_failure_of_every_request_stops_the_run_at_once(fault, words, tmp_path):
    with Server(lambda body, nth: fault) as server:
        draws, facts = run(server, tmp_path, n=50)
    assert words in facts["stopped"] and server.asked.total() <= SETTINGS.in_flight
    assert facts["states"]["failed"] + facts["states"]["not asked"] == 50


def test_a_bad_request_is_not_retried_and_the_others_continue(tmp_path):
    with Server(lambda body, nth: '400 {"detail": "too long"}' if number(body) == 2 else right(body)) as server:
        draws, facts = run(server, tmp_path)
    assert draws[2].cause == "HTTP 400: too long" and facts["states"]["right"] == 9 and server.asked.total() == 10


def test_the_circuit_breaker_opens_probes_and_gives_up(tmp_path):
    settings = {"breaker_failures": 5, "breaker_pause": 0.05, "breaker_openings": 3, "tries": 50}
    with Server(lambda body, nth: "500") as server:
        draws, facts = run(server, tmp_path, n=100, **settings)
        assert server.asked.total() <= 5 + 3 + SETTINGS.in_flight
    assert "the server failed" in facts["stopped"] and "run again when it is well" in facts["stopped"]
    assert facts["open"] == 100 and facts["states"]["not asked"] > 90
    started = time.monotonic()
    with Server(lambda body, nth: right(body) if time.monotonic() > started + 0.5 else "500") as server:
        assert run(server, tmp_path, n=30, **settings | {"breaker_pause": 0.3})[1]["states"]["right"] == 30


def test_an_address_that_never_answered_is_given_up_early(tmp_path):
    settings = {"breaker_failures": 4, "breaker_pause": 0.05, "breaker_openings": 50, "tries": 100}
    with Server(lambda body, nth: "500") as server:
        assert run(server, tmp_path, n=20, **settings)[1]["open"] == 20
        assert server.asked.total() <= 4 + 2 + SETTINGS.in_flight


def test_a_server_that_is_down(tmp_path):
    with Server(right) as server:
        pass
    draws, facts = run(server, tmp_path, n=3, breaker_pause=0.01, breaker_failures=2)
    assert facts["open"] == 3 and "no connection" in facts["stopped"] + " ".join(facts["causes"])
    assert facts["spent_in_all"]["tokens_in"] == 0  # unsent requests cost nothing


@pytest.mark.parametrize("kind", ["requests_per_minute", "tokens_per_minute"])
def test_rate_limits_per_minute_are_respected(kind, tmp_path, monkeypatch):
    """With a window of half a second instead of a minute: at most five requests in any window."""
    monkeypatch.setattr("mentor_kd.teacher.rate_limits.Window.__init__.__defaults__", (0.5,))
    prompt = write_script(TASK, ASK, SETTINGS).first(questions(14)[13], 0).body["messages"][0]["content"]
    each = {"requests_per_minute": 1, "tokens_per_minute": estimated_tokens(prompt) + ASK.max_tokens}[kind]
    with Server(right) as server:
        run(server, tmp_path, n=14, **{kind: 5 * each + each // 2})
    times = server.times
    assert len(times) == 14 and times[-1] - times[0] > 0.9
    # the server records arrival times, slightly later than the sending times
    assert all(times[i + 5] - times[i] > 0.4 for i in range(9))


def test_the_limit_of_concurrent_requests_is_respected(tmp_path):
    with Server(right, delay=0.05) as server:
        run(server, tmp_path, n=30, in_flight=5)
    assert server.most_in_flight == 5 and server.most_open <= 5


@pytest.mark.parametrize("budget", [{"budget_calls": 7}, {"budget_tokens": 800}, {"budget_money": 0.002}])
def test_a_budget_is_never_exceeded_and_stops_cleanly(budget, tmp_path):
    price = Price("m", 1.0, 10.0)
    ask = replace(ASK, **budget)
    with Server(right, delay=0.01) as server:
        draws, facts = run(server, tmp_path, n=60, ask=ask, price=price)
        spent = facts["spent_in_all"]
        assert not ask.budget.exceeded(Replies(tmp_path).load().spent)
        assert 0 < facts["states"]["right"] < 60 and "is used up; raise it to go on" in facts["stopped"]
        assert facts["states"]["right"] + facts["states"]["not asked"] == 60 == len(draws)
        assert spent["calls"] == server.asked.total() == len(stored(tmp_path))
        again = run(server, tmp_path, n=60, ask=ask, price=price)[1]
        assert again["states"]["right"] == facts["states"]["right"] and again["spent_in_all"]["calls"] == spent["calls"]
        more = run(server, tmp_path, n=60, ask=replace(ask, budget_calls=0, budget_tokens=0, budget_money=0.0))[1]
        assert more["states"]["right"] == 60 and set(server.answered.values()) == {1}


def test_failed_calls_that_may_be_billed_count_against_the_budget(tmp_path):
    ask = replace(ASK, budget_tokens=2000)
    with Server(lambda body, nth: "half a body") as server:
        facts = run(server, tmp_path, n=60, ask=ask, tries=1)[1]
    spent = facts["spent_in_all"]
    assert 0 < spent["tokens_in"] + spent["tokens_out"] <= 2000 and "budget" in facts["stopped"]
    assert facts["answers"]["calls"] == 0 and server.asked.total() == spent["calls"]


def test_a_money_budget_needs_a_price(tmp_path):
    with Replies(tmp_path) as store, pytest.raises(InputError, match="needs a price"):
        Endpoint(replace(SETTINGS, base_url="http://127.0.0.1:1/v1"), store, Budget(money=1.0), None)


def test_a_second_process_is_rejected(tmp_path):
    with Replies(tmp_path), pytest.raises(InputError, match="in use by another process"), Replies(tmp_path):
        pass


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_url": "ftp://host"}, "must be an http\\(s\\) address"),
        ({"base_url": "https://user:secret@host/v1"}, "must be an address only"),
        ({"base_url": "https://host/v1?key=secret"}, "must be an address only"),
        ({"key_env": "sk-secret-1234"}, "must be the NAME of an environment variable"),
        ({"route": "images"}, "route must be one of chat, completions, got 'images'"),
        ({"in_flight": 0}, "in_flight must be an integer >= 1"),
        ({"total_timeout": "60"}, "total_timeout must be a number"),
    ],
)
def test_invalid_settings_are_rejected_without_showing_a_secret(settings, words):
    with pytest.raises(InputError, match=words) as error:
        EndpointSettings(**settings)
    assert "secret" not in str(error.value)


def test_a_missing_key(tmp_path, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    where = replace(SETTINGS, base_url="http://127.0.0.1:1/v1", key_env="MY_KEY")
    with Replies(tmp_path) as store, pytest.raises(InputError, match="variable MY_KEY is not set"):
        Endpoint(where, store, Budget(), None)


def test_all_file_descriptors_are_closed(tmp_path):
    def count():
        return len(os.listdir("/proc/self/fd"))

    with Server(right) as server:
        run(server, tmp_path, n=2)
        before = count()
        for round_ in range(3):
            run(server, tmp_path / str(round_), n=20)
        time.sleep(0.1)
        assert count() <= before + 1


def test_states_add_up_with_refused_truncated_and_empty_replies(tmp_path):
    told = [
        reply("I would rather not.", refusal="I cannot help with that."),
        reply(None, "content_filter"),
        reply("1 + 1 is and so on and", "length"),
        reply("   "),
        reply("I do not know."),
        reply("--> 99"),
        reply("5 + 1 = 6 --> 7", usage=False),
        reply(None, "length"),
    ]
    with Server(lambda body, nth: told[number(body)]) as server:
        draws, facts = run(server, tmp_path, n=8)
        assert Counter(draw.state for draw in draws) == {
            "refused": 2, "truncated": 2, "empty": 1, "no answer": 1, "wrong": 1, "right": 1
        }  # fmt: skip
        assert sum(facts["states"].values()) == facts["draws"] == 8 == len([draw for draw in draws if draw.row])
        assert draws[0].row.miss == "the teacher refused (I cannot help with that.)"
        assert draws[1].row.miss == "the teacher refused (content_filter)"
        assert draws[2].row.miss == "the answer was cut at 20 tokens" and draws[2].row.prediction is None
        assert server.asked.total() == 8 and run(server, tmp_path, n=8)[1] == facts and server.asked.total() == 8
    kept = stored(tmp_path)
    assert sum(row["cost"]["tokens_out"] for row in kept) == facts["answers"]["tokens_out"]
    assert [row["reply"]["counted"] for row in kept].count(False) == 1
    assert json.loads(json.dumps(facts)) == facts
