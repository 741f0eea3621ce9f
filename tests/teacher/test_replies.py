"""Thinking teachers, end to end: nothing lost, nothing asked twice, and every kind of reply told apart."""

import json
from dataclasses import asdict, replace

import pytest
from asking import ASK, SETTINGS, TASK, questions, run
from fault_server import Server, reply

from mentor_kd.data.rationales import read_rationales, write_rationales
from mentor_kd.files import read_jsonl
from mentor_kd.teacher.annotate import annotated, said
from mentor_kd.teacher.ask import AskSettings, write_script
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.parse import parse_reply
from mentor_kd.teacher.store import Cost, Replies

THOUGHT = "She counts 0, adds 1, so 0 + 1 = 1."
TWO = replace(ASK, prompt="zero-shot-cot", max_tokens=512, conclude_tokens=64)


def one(server, folder, ask=ASK, **settings):
    """Annotate one question, "What is 0 + 1?"; its draw and the counts."""
    [draw], facts = run(server, folder, n=1, ask=ask, **settings)
    return draw, facts


def stored(folder):
    return [row["reply"] for _, row in read_jsonl(folder / "replies.jsonl")]


def stream(*deltas):
    chunks = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    return "".join(f"data: {chunk}\n\n" for chunk in [*chunks, "[DONE]"]).encode()


FORMS = {
    "reasoning_content": reply("--> 1", reasoning_content=THOUGHT),
    "reasoning": reply("--> 1", reasoning=THOUGHT),
    "object": reply("--> 1", reasoning={"text": THOUGHT}),
    "thinking": reply("--> 1", thinking=THOUGHT),
    "details": reply("--> 1", reasoning_details=[{"type": "reasoning.text", "text": THOUGHT}]),
    "parts": reply([{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": "--> 1"}]),
    "tags": reply(f"<think>{THOUGHT}</think>--> 1"),
    "closing tag": reply(f"{THOUGHT}\n</think>\n--> 1"),
    "content null": reply(None, reasoning=f"{THOUGHT} --> 1", usage=False),
    "content empty": reply("", reasoning_content=f"{THOUGHT} --> 1"),
    "never closed": reply(f"<think>{THOUGHT} --> 1"),
    "stream": stream({"reasoning": THOUGHT}, {"content": "--> 1"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_thought_becomes_the_rationale_of_an_answer_that_says_nothing_else(form, tmp_path):
    with Server(lambda body, nth: FORMS[form]) as server:
        draw, facts = one(server, tmp_path)
        assert (draw.state, draw.row.rationale, draw.part) == ("right", THOUGHT, "thought")
        assert draw.row.sampler["model"] == "m, one-call, thought" and THOUGHT in draw.row.original
        assert facts["rationales_from"] == {"thought": 1} and "1 from the thought" in said(facts)
        assert one(server, tmp_path)[1] == facts and server.asked.total() == 1
    [kept] = stored(tmp_path)
    assert THOUGHT in kept["text"] + kept["thinking"]


def test_a_solution_is_the_rationale_and_another_part_costs_no_request(tmp_path):
    solution = "First 0, then 0 + 1 = 1."
    with Server(lambda body, nth: reply(f"{solution} --> 1", reasoning=THOUGHT)) as server:
        rows = [
            one(server, tmp_path, replace(ASK, rationale_from=part))[0].row for part in ("solution", "thought", "both")
        ]
        assert [row.rationale for row in rows] == [solution, THOUGHT, f"{THOUGHT} {solution}"]
        assert {row.prediction for row in rows} == {"1"} and len({row.id for row in rows}) == 3
        assert server.asked.total() == 1
    write_rationales(tmp_path / "rows.jsonl", rows)
    assert read_rationales(tmp_path / "rows.jsonl") == rows


def test_the_answer_is_that_of_the_visible_text(tmp_path):
    told = reply("<think>Hm. The answer is 12.</think> So she has 1 apple.")
    with Server(lambda body, nth: told) as server:
        draw, _ = one(server, tmp_path)
    assert draw.row.prediction == "1" and draw.row.correct


def closing(body):
    return "Therefore" in body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("second", "state", "words"),
    [
        (reply(" 1.\n\nQ: Tom has 3, gets 4. How many?\nA: 3+4 = 7. The answer is 7.", "length"), "right", ""),
        (reply("<think>So 12.</think>1", "stop"), "right", ""),
        (reply("", "stop", reasoning="So --> 1"), "right", ""),
        (reply(" 1. That is what she", "length"), "right", ""),
        (reply(" 1", "length"), "truncated", "the second call's answer was cut at 64 tokens"),
        (
            reply("", "length", reasoning_content="hmm hmm"),
            "truncated",
            "the second call's answer was cut at 64 tokens, in the middle of the thought",
        ),
        (reply("<think>hmm hmm", "length"), "truncated", "cut at 64 tokens, in the middle of the thought"),
        (reply("Who knows. That is", "length"), "truncated", "the second call's answer was cut at 64 tokens"),
        (reply("I do not know."), "no answer", "no number"),
        (reply(None), "empty", "the second call: the answer is empty"),
        (reply(None, refusal="No."), "refused", "the second call: the teacher refused (No.)"),
    ],
)
def test_the_ends_of_a_second_call(second, state, words, tmp_path):
    first = reply("We count: 0 + 1 = 1.", reasoning=THOUGHT)
    with Server(lambda body, nth: second if closing(body) else first) as server:
        draw, facts = one(server, tmp_path, TWO)
        assert draw.state == state and words in draw.row.miss, draw.row.miss
        assert draw.row.rationale == "We count: 0 + 1 = 1." and draw.row.prediction == (
            "1" if state == "right" else None
        )
        assert one(server, tmp_path, TWO)[1] == facts and server.asked.total() == 2
        assert "raise max_tokens or conclude_tokens" in said(facts) or state != "truncated"


def test_a_raised_limit_requests_only_what_was_cut(tmp_path):
    def behave(body, nth):
        if body["max_tokens"] >= 100:
            return reply(" 1." if closing(body) else "0 + 1 = 1.")
        return reply("", "length", reasoning="hmm") if closing(body) else reply("0 + 1 = 1.")

    with Server(behave) as server:
        assert one(server, tmp_path, TWO)[0].state == "truncated" and server.asked.total() == 2
        draw, facts = one(server, tmp_path, replace(TWO, max_tokens=4096, conclude_tokens=2048))
        assert draw.state == "right" and server.asked.total() == 3
        assert one(server, tmp_path, replace(TWO, max_tokens=20))[0].state == "right" and server.asked.total() == 3
    rows = [row for _, row in read_jsonl(tmp_path / "outcomes.jsonl")] if (tmp_path / "outcomes.jsonl").exists() else []
    assert rows == [] and facts["answers"]["calls"] == 2 and facts["spent_in_all"]["calls"] == 3


def test_a_second_call_reads_the_solution_only(tmp_path):
    asked = []

    def behave(body, nth):
        asked.append(body["messages"][0]["content"])
        return reply(" 1") if closing(body) else reply("<think>12?</think>0 + 1 = 1.</s>")

    with Server(behave) as server:
        draw, facts = one(server, tmp_path, TWO)
    assert "0 + 1 = 1.\nTherefore" in asked[1] and "think>" not in asked[1] and "</s>" not in asked[1]
    assert draw.row.rationale == "0 + 1 = 1." and draw.stripped == facts["end_tokens_removed"] == 1


def test_a_second_call_reads_the_thought_if_there_is_nothing_else(tmp_path):
    asked = []

    def behave(body, nth):
        asked.append(body["messages"][0]["content"])
        return reply(" 1") if closing(body) else reply(None, reasoning=THOUGHT)

    with Server(behave) as server:
        draw, _ = one(server, tmp_path, TWO)
    assert f"{THOUGHT}\nTherefore" in asked[1]
    assert (draw.state, draw.row.rationale, draw.part) == ("right", THOUGHT, "thought")


def test_replies_of_an_older_version_are_used(tmp_path):
    """Then the limits were 512 and 64, and the second call had the whole first reply in it."""
    where = replace(SETTINGS, provider="p")
    script = write_script(TASK, TWO, where)
    [question] = questions(1)
    text = "<think>12?</think>0 + 1 = 1."
    first, second = script.first(question, 0), script.second(question, 0, text)
    old = {
        "finish": "stop",
        "tokens_in": 1,
        "tokens_out": 1,
        "counted": True,
        "refusal": "",
        "thinking": "",
        "model": "",
    }
    with (tmp_path / "replies.jsonl").open("w") as file:
        for request, said_then in ((first, text), (second, " 1.")):
            row = {
                "key": request.key,
                **request.parts,
                "reply": {"text": said_then, **old},
                "cost": asdict(Cost(1, 1, 1)),
            }
            file.write(json.dumps(row) + "\n")
    with Server(lambda body, nth: "500") as server:
        draw, facts = one(server, tmp_path, AskSettings("m", rationales=1), provider="p")
        assert server.asked.total() == 0
    assert draw.state == "right" and draw.row.rationale == "0 + 1 = 1." and facts["answers"]["calls"] == 2


@pytest.mark.parametrize(
    ("told", "state", "words"),
    [
        (reply(None, "tool_calls", tool_calls=[{"function": {"name": "calc"}}]), "tool call", "called a tool (calc)"),
        (reply(None, "content_filter"), "refused", "the teacher refused (content_filter)"),
        (reply("\x1b[31mNo", refusal="I will not."), "refused", "I will not."),
        (reply(None), "empty", "the answer is empty"),
        (reply("<|im_end|>"), "empty", "the answer is empty"),
        (reply("", "length", reasoning="hmm"), "truncated", "cut at 20 tokens, in the middle of the thought"),
        (reply("0 + 1 is", "length"), "truncated", "the answer was cut at 20 tokens"),
        (reply("0 + 1</s> = 1. --> 1"), "special token", "a special token is inside the rationale (</s>)"),
    ],
)
def test_a_reply_without_an_answer_is_named_kept_and_not_asked_again(told, state, words, tmp_path):
    with Server(lambda body, nth: told) as server:
        draw, facts = one(server, tmp_path)
        assert draw.state == state and words in draw.row.miss and not draw.row.correct and draw.row.prediction is None
        assert facts["states"][state] == 1 and facts["unusable"] == {draw.cause: 1} and draw.cause in said(facts)
        one(server, tmp_path)
        assert server.asked.total() == 1


def test_end_tokens_are_removed_from_a_rationale(tmp_path):
    with Server(lambda body, nth: reply("0 + 1 = 1. --> 1</s><|im_end|>")) as server:
        draw, facts = one(server, tmp_path)
    assert draw.state == "right" and draw.row.rationale == "0 + 1 = 1." and facts["end_tokens_removed"] == 2
    assert "2 end tokens" in said(facts)


ERRORED = [
    (reply("", "error") | {"error": {"code": 502, "message": "upstream died"}}, "upstream died"),
    (reply("Half of an", "error", usage=False), "finish_reason error"),
    ({"error": {"message": "Provider returned error: rate limited upstream", "code": 429}}, "rate limited upstream"),
    ({"error": {"message": "busy", "code": 503}}, "HTTP 200 with error 503: busy"),
]


@pytest.mark.parametrize(("told", "words"), ERRORED, ids=range(len(ERRORED)))
def test_an_error_is_asked_again_and_never_kept(told, words, tmp_path):
    with Server(lambda body, nth: reply("0 + 1 = 1. --> 1") if nth else told) as server:
        draw, facts = one(server, tmp_path)
        assert draw.state == "right" and server.asked.total() == 2
    [failure] = [row for _, row in read_jsonl(tmp_path / "attempts.jsonl") if row["event"] == "failed"]
    assert words in failure["cause"]
    assert facts["spent_in_all"]["calls"] == 1 and len(stored(tmp_path)) == 1


@pytest.mark.parametrize(
    ("told", "words", "stops"),
    [
        ({"error": {"message": "maximum is 10 tokens", "code": 400}}, "400: maximum is 10 tokens", ""),
        ({"error": {"message": "bad", "type": "invalid_request_error"}}, "400: bad", ""),
        (reply("", "error") | {"error": {"code": 400, "message": "bad"}}, "finish_reason error: bad", ""),
        ({"error": {"message": "flagged by moderation", "code": 403}}, "the server's content filter", ""),
        ({"error": {"message": "wrong key", "code": 401}}, "wrong key", "check the key"),
        ("402 {}", "HTTP 402", "quota is used up"),
        ('400 {"error": {"message": "only stream=true"}}', "set extra to {stream: true}", ""),
        ([{"error": {"message": "API key not valid"}}], "401: API key not valid", "check the key"),
        ({"errors": [{"message": "invalid model"}]}, "400: invalid model", ""),
        ({"choices": None, "base_resp": {"status_msg": "invalid params"}}, "400: invalid params", ""),
    ],
)
def test_what_cannot_get_better_is_asked_once(told, words, stops, tmp_path):
    with Server(lambda body, nth: told) as server:
        draw, facts = one(server, tmp_path)
        assert server.asked.total() == 1
    assert draw.state == "failed" and words in draw.cause and draw.row is None
    assert stops in facts["stopped"] and bool(stops) == bool(facts["stopped"])
    assert facts["spent_in_all"]["calls"] == 0


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"type": "message", "content": [{"type": "text", "text": "5"}]}, "it has no 'choices'"),
        (
            {"message": {"role": "assistant", "content": "5"}, "done": True},
            "another protocol; check base_url and route",
        ),
        ("200 <!DOCTYPE html><title>Sign in</title>", "a web page instead of JSON; check base_url"),
    ],
)
def test_a_reply_of_another_protocol_is_asked_once_and_counts_as_paid(told, words, tmp_path):
    with Server(lambda body, nth: told) as server:
        draw, facts = one(server, tmp_path)
        assert server.asked.total() == 1
    assert draw.state == "failed" and words in draw.cause
    assert facts["spent_in_all"]["calls"] == 1  # it may be billed


def test_a_byte_order_mark_before_a_reply_does_no_harm():
    assert parse_reply(b"\xef\xbb\xbf" + json.dumps(reply("--> 1")).encode(), "chat").text == "--> 1"


def test_refused_requests_are_not_counted_by_a_budget(tmp_path):
    ask = replace(ASK, budget_calls=2)
    with Server(lambda body, nth: '400 {"detail": "no"}' if nth < 3 else reply("0 + 1 = 1. --> 1")) as server:
        for _ in range(3):
            assert one(server, tmp_path, ask)[0].state == "failed"
        draw, facts = one(server, tmp_path, ask)
    assert draw.state == "right" and facts["spent_in_all"]["calls"] == 1
    assert Replies(tmp_path).load().spent.calls == 1


def test_a_servers_words_cannot_rule_the_terminal(tmp_path):
    with Server(lambda body, nth: {"error": {"message": "\x1b]0;owned\x07 no", "code": 400}}) as server:
        draw, facts = one(server, tmp_path)
    assert "\x1b" not in draw.cause and "\\x1b]0;owned" in said(facts)


def test_progress_names_the_phases_and_the_failures(tmp_path, capfd):
    def behave(body, nth):
        return reply(" 1") if closing(body) else "400 {}" if "2 + 1" in body["messages"][0]["content"] else reply("So.")

    with Server(behave) as server:
        run(server, tmp_path, n=3, ask=TWO)
    lines = capfd.readouterr().err
    assert (
        "first call: 3/3 requests done" in lines and "1 failed" in lines and "second call: 2/2 requests done" in lines
    )


def test_a_streaming_model_can_be_asked_for_a_stream(tmp_path):
    def behave(body, nth):
        assert body["stream"] is True
        return stream({"content": "3+2 = 5. --> 5"})

    with Server(behave) as server:
        where = EndpointSettings(server.url)
        ask = replace(ASK, extra="{stream: true}")
        rows, _ = annotated(tmp_path, TASK, questions(1), [], "endpoint", ask, where)
    assert rows[0].prediction == "5" and rows[0].rationale == "3+2 = 5."
