"""What servers send, read as replies: thoughts, parts, streams, tool calls, refusals and errors told apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.teacher.parse import BadReply, ServerError, error_in, parse_reply
from mentor_kd.teacher.store import Reply, estimated_tokens

THOUGHT = "She has 3, buys 2, so 3+2 = 5."


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


def read(message, finish="stop", **more):
    return parse_reply(
        json.dumps({"choices": [{"message": message, "finish_reason": finish}], **more}).encode(), "chat"
    )


@pytest.mark.parametrize(
    "message",
    [
        {"content": "--> 5", "reasoning_content": THOUGHT},  # DeepSeek, vLLM, llama.cpp, SGLang
        {"content": "--> 5", "reasoning": THOUGHT},  # Ollama, OpenRouter, newer vLLM
        {"content": "--> 5", "reasoning": THOUGHT, "reasoning_content": THOUGHT},
        {"content": "--> 5", "reasoning": {"content": THOUGHT}},
        {"content": "--> 5", "reasoning": {"summary": [{"type": "summary_text", "text": THOUGHT}]}},
        {"content": "--> 5", "thinking": THOUGHT},
        {"content": "--> 5", "thinking": {"text": THOUGHT}},
        {"content": "--> 5", "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT, "format": "x"}]},
        {
            "content": "--> 5",
            "reasoning": THOUGHT,
            "reasoning_details": [
                {"type": "reasoning.summary", "summary": THOUGHT},
                {"type": "reasoning.encrypted", "data": "abc"},
            ],
        },
        {"content": "--> 5", "thinking_blocks": [{"type": "thinking", "thinking": THOUGHT, "signature": "abc"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"text": "--> 5"}]},
        {"content": [{"type": "reasoning", "text": THOUGHT}, {"type": "text", "text": "--> "}, "5"]},
        {"content": f"<think>\n{THOUGHT}\n</think>\n\n--> 5"},
        {"content": f"{THOUGHT}</think>--> 5"},
        {"content": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|channel|>final<|message|>--> 5<|return|>"},
    ],
)
def test_every_form_of_a_thought_is_kept_apart(message):
    reply = read(message)
    assert (reply.parts.thought, reply.parts.solution, reply.state) == (THOUGHT, "--> 5", "complete")


def test_thoughts_that_differ_are_both_kept():
    assert (
        read({"content": "5", "reasoning": "First.", "thinking": "Second thing."}).thinking == "Second thing.\n\nFirst."
    )


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
        ({"message": {"content": None, "reasoning_content": "long"}}, "complete"),
        ({"message": {"content": "<think>long"}, "finish_reason": "length"}, "truncated"),
        ({"message": {"content": "2"}, "finish_reason": "MAX_TOKENS"}, "truncated"),
        ({"message": {"content": "2"}, "finish_reason": {"type": "length", "length": 5}}, "truncated"),
        ({"message": {"content": " 2.\n\nQ: 2 + 2?\nA: The answer is"}, "finish_reason": "length"}, "complete"),
        ({"message": {"content": None}}, "empty"),
        ({"message": {"role": "assistant"}}, "empty"),
        ({"message": {"content": "</s>"}}, "empty"),
        ({"message": {"content": [{"type": "image_url", "image_url": {}}]}}, "empty"),
        ({"message": {"content": [{"type": "refusal", "refusal": "No."}]}}, "refused"),
        ({"message": {"content": None, "tool_calls": [{"function": {"name": "calc"}}]}}, "tool call"),
        (
            {"message": {"content": "", "function_call": {"name": "calc"}}, "finish_reason": "function_call"},
            "tool call",
        ),
        ({"message": {"content": "2", "tool_calls": []}}, "complete"),
        ({"message": {"content": "2"}, "finish_reason": "SAFETY"}, "refused"),
    ],
)
def test_the_state_of_a_reply(choice, state):
    assert parse_reply(chat(**choice), "chat").state == state


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"message": {}, "finish_reason": None}, "the message has neither content nor a thought"),
        ({"message": {"content": 2}}, "content is a number"),
        ({"message": "2"}, "wrong type: message is a text, not an object"),
        ({"message": {"content": [2]}}, "a part of content is a number"),
        ({"finish_reason": 1}, "finish_reason is a number"),
        ({"message": {"content": "2", "refusal": {}}}, "refusal is an object"),
    ],
)
def test_an_invalid_choice_is_named(choice, words):
    with pytest.raises(BadReply, match=words):
        parse_reply(chat(**choice), "chat")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": {"message": "rate limited upstream", "code": 429}}, 429, "rate limited upstream"),
        ({"error": {"message": "busy", "code": "rate_limit_exceeded"}}, 429, "busy"),
        ({"error": {"message": "too long", "type": "invalid_request_error", "code": None}}, 400, "too long"),
        ({"error": {"message": "pay", "code": "insufficient_quota"}}, 402, "pay"),
        ({"error": "model 'x' not found"}, 404, "model 'x' not found"),
        ({"object": "error", "message": "maximum is 10", "type": "BadRequestError", "code": 400}, 400, "maximum is 10"),
        ({"error": {"message": "odd"}}, 500, "odd"),
        ({"error": {"message": "invalid state", "type": "server_error"}}, 500, "invalid state"),
        ({"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "died"}}}, 502, "died"),
        ({"detail": "Not Found"}, 404, "Not Found"),
        ({"choices": [], "error": {"message": "overloaded"}}, 503, "overloaded"),
        ({"choices": [{"message": {"content": "Half"}, "finish_reason": "error"}]}, 500, "finish_reason error"),
        (
            {"choices": [{"message": {"content": "Half"}, "finish_reason": "error", "error": {"code": 400}}]},
            400,
            "error",
        ),
        ({"choices": [{"message": {"content": "Half"}, "finish_reason": "abort"}]}, 500, "finish_reason abort"),
    ],
)
def test_an_error_in_place_of_an_answer_has_its_words_and_its_status(body, status, words):
    with pytest.raises(ServerError) as error:
        parse_reply(json.dumps(body).encode(), "chat")
    assert error.value.status == status and words in error.value.message


def test_an_error_that_is_null_is_none_and_an_answer_stays_one():
    assert read({"content": "2"}, error=None).text == "2"
    assert read({"content": "2", "refusal": None, "tool_calls": None, "reasoning": None, "audio": None}).text == "2"


def test_errors_with_an_http_status():
    assert error_in(b'{"detail": "too long"}', 400).message == "too long"
    assert error_in(b"<html>oops", 502).message == "<html>oops"
    assert error_in(b'{"object": "error", "message": "no", "code": 40001}', 400).status == 400


def stream(*events, end="data: [DONE]\n\n"):
    return ("".join(f"data: {json.dumps(event)}\n\n" for event in events) + end).encode()


def delta(finish=None, **fields):
    return {"choices": [{"delta": fields, "finish_reason": finish}]}


def test_an_event_stream_is_joined():
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    raw = b": PROCESSING\n\n" + stream(
        delta(role="assistant"), delta(reasoning="3+2 "), delta(reasoning="= 5."), delta(content="-->"),
        delta("stop", content=" 5"), usage,
    )  # fmt: skip
    assert parse_reply(raw, "chat") == Reply("--> 5", "stop", 7, 9, thinking="3+2 = 5.")
    assert parse_reply(stream(delta(content="2")), "chat", "12345").text == "2"  # as some send it: no finish reason
    assert parse_reply(stream({"choices": [{"text": "2"}]}), "completions").text == "2"
    packed = stream(delta(content="2"), delta("length", content="3")).replace(b"\n\n", b"\r\n").replace(b": {", b":{")
    assert parse_reply(stream(delta(content="2\u2028")), "chat").text == "2\u2028"
    assert parse_reply(packed, "chat", "1").text == "23" and parse_reply(packed, "chat").state == "truncated"
    assert parse_reply(stream(delta("tool_calls", tool_calls=[{"id": "c"}])), "chat").state == "tool call"


def test_a_stream_that_breaks_or_fails_is_no_answer():
    with pytest.raises(BadReply, match="ended early"):
        parse_reply(stream(delta(content="Half"), end=""), "chat")
    with pytest.raises(ServerError, match="died"):
        parse_reply(stream(delta("error", content="Half"), {"error": {"code": 502, "message": "died"}}), "chat")
    with pytest.raises(ServerError, match="busy") as error:
        parse_reply(b'event: error\ndata: {"message": "busy", "code": 503}\n\n', "chat")
    assert error.value.status == 503
    with pytest.raises(BadReply, match="malformed JSON"):
        parse_reply(b"data: {half\n\n", "chat")
    with pytest.raises(BadReply, match="no choices"):
        parse_reply(b"data: [DONE]\n\n", "chat")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just("stop"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "text",
                    "usage",
                    "refusal",
                    "finish_reason",
                    "reasoning",
                    "error",
                    "code",
                    "type",
                ]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON | st.builds(lambda inner: {"choices": [inner]}, JSON), st.sampled_from(["chat", "completions"]))
def test_any_json_gives_a_reply_or_bad_reply(value, route):
    try:
        reply = parse_reply(json.dumps(value).encode(), route)
    except (BadReply, ServerError) as error:
        assert str(error) or error.status
    else:
        assert isinstance(reply.text, str) and reply.tokens_in >= 0 and reply.state


@given(JSON | st.builds(lambda inner: {"choices": [{"delta": inner}]}, JSON), st.sampled_from(["chat", "completions"]))
def test_any_event_gives_a_reply_or_bad_reply(value, route):
    try:
        reply = parse_reply(stream(value), route)
    except (BadReply, ServerError) as error:
        assert str(error) or error.status
    else:
        assert isinstance(reply.text, str) and reply.state


@given(st.binary())
def test_random_bytes_give_bad_reply(raw):
    with pytest.raises(BadReply):
        parse_reply(raw, "chat")
