"""The store of replies: nothing that was paid for is lost or asked again."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.teacher.store import Cost, Replies, Reply, Request

BODY = {"model": "m", "messages": [{"role": "user", "content": "1 + 1?"}], "temperature": 0.7, "max_tokens": 5}
REQUEST = Request("https://host/v1", "chat", BODY, 0)


def test_the_key_depends_on_everything_that_shapes_the_reply():
    keys = {REQUEST.key}
    for changed in (
        Request("https://other/v1", "chat", BODY, 0),
        Request("https://host/v1", "completions", BODY, 0),
        Request("https://host/v1", "chat", BODY, 1),
        *(Request("https://host/v1", "chat", BODY | {name: value}, 0) for name, value in (
            ("model", "n"), ("messages", []), ("temperature", 0.8), ("max_tokens", 6), ("top_p", 0.9))),
    ):  # fmt: skip
        keys.add(changed.key)
    assert len(keys) == 9
    assert Request("https://host/v1", "chat", dict(reversed(BODY.items())), 0).key == REQUEST.key


def test_the_store_keeps_a_reply_once_and_adds_up_the_bill(tmp_path):
    other = Request("https://host/v1", "chat", BODY, 1)
    with Replies(tmp_path) as store:
        store.sent(REQUEST, Cost(1, 100, 5, 0.5))
        store.failed(REQUEST, "silence for 5 s", Cost(1, 100, 5, 0.5))
        store.sent(REQUEST, Cost(1, 100, 5, 0.5))
        store.add(REQUEST, Reply("2", "stop", 7, 1), Cost(1, 7, 1, 0.25))
        store.sent(other, Cost(1, 100, 5, 0.5))  # then the process is killed
        assert store.get(REQUEST).text == "2" and store.get(other) is None
    again = Replies(tmp_path).load()
    assert len(again) == 1 and again.get(REQUEST).text == "2" and again.unreadable == 0
    assert again.spent == Cost(3, 207, 11, 1.25)  # requests in flight count at their maximum cost
    with Replies(tmp_path) as store:
        store.sent(other, Cost(1, 100, 5, 0.5))
        store.add(other, Reply("2", "stop", 8, 1), Cost(1, 8, 1, 0.25))
        assert store.spent == Cost(4, 215, 12, 1.5)
    assert Replies(tmp_path).load().spent == Cost(4, 215, 12, 1.5)


def ask(limit, **more):
    return Request("https://host/v1", "chat", BODY | {"max_tokens": limit}, 0, **more)


def test_a_token_limit_shapes_only_replies_that_reach_it(tmp_path):
    with Replies(tmp_path) as store:
        store.add(ask(5), Reply("1 + 1 is", "length", 7, 5), Cost(1, 7, 5))
        assert store.get(ask(5)).text == store.get(ask(3)).text == "1 + 1 is"
        assert store.get(ask(9)) is None  # a higher limit can bring more
        store.add(ask(9), Reply("1 + 1 is 2", "stop", 7, 6), Cost(1, 7, 6))
    again = Replies(tmp_path).load()
    for limit in (3, 5, 9, 4096):
        assert again.get(ask(limit)).text == "1 + 1 is 2" and again.cost(ask(limit)) == Cost(1, 7, 6)
    assert again.spent == Cost(2, 14, 11) and len(again) == 2
    other = Request("https://host/v1", "chat", {**BODY, "temperature": 0.1}, 0)
    assert again.get(other) is None
    streamed = Request("https://host/v1", "chat", {**BODY, "stream": True}, 0)
    assert again.get(streamed).text == "1 + 1 is 2"


def test_a_closing_call_is_answered_by_a_whole_sentence(tmp_path):
    with Replies(tmp_path) as store:
        store.add(ask(64), Reply(" 5. Ann had", "length", 7, 64), Cost(1))
        assert store.get(ask(2048, closing=True)) is not None and store.get(ask(2048)) is None
    with Replies(tmp_path / "other") as store:
        store.add(ask(64), Reply("", "length", 7, 64, thinking="hmm"), Cost(1))
        assert store.get(ask(2048, closing=True)) is None and store.get(ask(64, closing=True)) is not None


def test_a_store_of_an_older_version(tmp_path):
    """Rows without the fields added since, an error that was kept as a reply, and refusals that counted as calls."""
    keys = {index: Request("h", "chat", BODY, index).key for index in range(2)}
    row = {"provider": "h", "route": "chat", "body": BODY, "cost": asdict(Cost(1, 7, 1)), "time": 0}
    old = {"text": "2", "finish": "stop", "tokens_in": 7, "tokens_out": 1, "counted": True, "refusal": "", "model": ""}
    rows = [
        {**row, "key": keys[0], "index": 0, "reply": {**old, "thinking": ""}},
        {**row, "key": keys[1], "index": 1, "reply": {**old, "text": "", "finish": "error"}},
    ]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    refusal = {"key": keys[1], "event": "failed", "cause": "HTTP 400", "cost": asdict(Cost(1)), "time": 0}
    (tmp_path / "attempts.jsonl").write_text((json.dumps(refusal) + "\n") * 3)
    store = Replies(tmp_path).load()
    assert store.get(Request("h", "chat", BODY, 0)).text == "2" and store.unreadable == 0
    assert store.get(Request("h", "chat", BODY, 1)) is None
    assert store.spent == Cost(2, 14, 2)


@given(st.integers(0, 400), st.binary(max_size=30))
def test_a_store_truncated_anywhere_stays_readable_and_writable(tmp_path_factory, cut, noise):
    folder = tmp_path_factory.mktemp("store")
    with Replies(folder) as store:
        for index in range(2):
            store.add(Request("h", "chat", BODY, index), Reply("2\u2028", "stop", 7, 1), Cost(1))
    path = folder / "replies.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut] + noise)
    with Replies(folder) as store:
        found = len(store)
        assert found == 2 if not cut else found <= 2
        last = Request("h", "chat", BODY, 9)
        store.add(last, Reply("3", "stop", 7, 1), Cost(1))
    assert len(Replies(folder).load()) == found + 1


def test_the_token_bound_is_at_least_the_number_of_bytes():
    prompt, answer = REQUEST.most_tokens
    assert answer == 5 and prompt > len("1 + 1?")
