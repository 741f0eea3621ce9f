"""Validation of replies, and the store of replies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.teacher.store import BadReply, Cost, Replies, Reply, Request, estimated_tokens, parse_reply

BODY = {"model": "m", "messages": [{"role": "user", "content": "1 + 1?"}], "temperature": 0.7, "max_tokens": 5}
REQUEST = Request("https://host/v1", "chat", BODY, 0)


def chat(**choice):
    return json.dumps({"choices": [{"message": {"content": "2"}, "finish_reason": "stop"} | choice]}).encode()


def test_a_reply_of_each_route():
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    raw = json.dumps(
        {"choices": [{"message": {"content": "2"}, "finish_reason": "stop"}], "usage": usage, "model": "m-1"}
    )
    assert parse_reply(raw.encode(), "chat") == Reply("2", "stop", 7, 1, model="m-1")
    raw = json.dumps({"choices": [{"text": "2", "finish_reason": "length"}], "usage": usage})
    assert parse_reply(raw.encode(), "completions") == Reply("2", "length", 7, 1)


def test_missing_token_counts_are_estimated_and_marked():
    for usage in (
        None,
        [],
        {"prompt_tokens": "7"},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 7},
    ):
        raw = json.dumps({"choices": [{"message": {"content": "four more"}}], "usage": usage}).encode()
        reply = parse_reply(raw, "chat", prompt="x" * 17)
        assert (reply.tokens_in, reply.tokens_out, reply.counted, reply.finish) == (5, 3, False, "")
    assert [estimated_tokens("x" * n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("choice", "state"),
    [
        ({}, "complete"),
        ({"message": {"content": " \n"}}, "empty"),
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "content_filter", "message": {"content": None}}, "refused"),
        ({"message": {"content": None, "refusal": "No."}}, "refused"),
        ({"message": {"content": "Hm.", "refusal": "No."}, "finish_reason": "length"}, "refused"),
        ({"message": {"content": None, "reasoning_content": "long"}, "finish_reason": "length"}, "truncated"),
    ],
)
def test_the_state_of_a_reply(choice, state):
    assert parse_reply(chat(**choice), "chat").state == state


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"message": {"content": None}}, "content is null, not a text"),
        ({"message": {}}, "content is null"),
        ({"message": "2"}, "wrong type: message is a text, not an object"),
        ({"message": {"content": ["2"]}}, "content is an array"),
        ({"finish_reason": 1}, "finish_reason is a number"),
        ({"message": {"content": "2", "refusal": {}}}, "refusal is an object"),
    ],
)
def test_an_invalid_choice_is_named(choice, words):
    with pytest.raises(BadReply, match=words):
        parse_reply(chat(**choice), "chat")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just("stop"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "text", "usage", "refusal", "finish_reason"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON | st.builds(lambda inner: {"choices": [inner]}, JSON), st.sampled_from(["chat", "completions"]))
def test_any_json_gives_a_reply_or_bad_reply(value, route):
    try:
        reply = parse_reply(json.dumps(value).encode(), route)
    except BadReply as error:
        assert str(error)
    else:
        assert isinstance(reply.text, str) and reply.tokens_in >= 0 and reply.state


@given(st.binary())
def test_random_bytes_give_bad_reply(raw):
    with pytest.raises(BadReply):
        parse_reply(raw, "chat")


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
        store.failed(REQUEST, "HTTP 500", Cost(1))
        store.sent(REQUEST, Cost(1, 100, 5, 0.5))
        store.add(REQUEST, Reply("2", "stop", 7, 1), Cost(1, 7, 1, 0.25))
        store.sent(other, Cost(1, 100, 5, 0.5))  # then the process is killed
        assert store.get(REQUEST).text == "2" and store.get(other) is None
    again = Replies(tmp_path).load()
    assert len(again) == 1 and again.get(REQUEST).text == "2" and again.unreadable == 0
    assert again.spent == Cost(3, 107, 6, 0.75)  # requests in flight count at their maximum cost
    with Replies(tmp_path) as store:
        store.sent(other, Cost(1, 100, 5, 0.5))
        store.add(other, Reply("2", "stop", 8, 1), Cost(1, 8, 1, 0.25))
        assert store.spent == Cost(4, 115, 7, 1.0)
    assert Replies(tmp_path).load().spent == Cost(4, 115, 7, 1.0)


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
