"""Prompts, settings, cost estimates, and annotation against a server."""

from dataclasses import replace

import pytest
import yaml
from asking import SETTINGS, TASK, number, questions, run
from fault_server import Server, reply

from mentor_kd.data.rationales import judged, write_rationales
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError, read_jsonl
from mentor_kd.teacher.annotate import annotated, estimated
from mentor_kd.teacher.ask import AskSettings, write_script
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.prices import Budget, price_of, read_prices
from mentor_kd.teacher.prompts import Prompt, fill, get_prompt, read_prompts
from mentor_kd.teacher.store import Cost

WHERE = replace(SETTINGS, base_url="http://127.0.0.1:1/v1")
ASK = AskSettings(model="m", rationales=2, max_tokens=20)
SAMPLER = {"model": "me", "temperature": None, "top_k": None, "seed": None, "index": 0}


def test_zero_shot_cot_follows_the_paper():
    script = write_script(TASK, ASK, WHERE)
    [question] = questions(1)
    said = [{"role": "user", "content": "Q: What is 0 + 1?\nA: Let's think step by step."}]
    assert script.first(question, 1).body == {"model": "m", "messages": said, "temperature": 0.7, "max_tokens": 20}
    second = script.second(question, 1, " 0 + 1 = 1. ").body
    told = "Q: What is 0 + 1?\nA: Let's think step by step. 0 + 1 = 1.\nTherefore, the answer is"
    assert second["messages"][0]["content"] == told and second["temperature"] == 0.0
    raw = write_script(TASK, ASK, replace(WHERE, route="completions", limit_field="max_completion_tokens"))
    assert raw.second(question, 1, "0 + 1 = 1.").body["prompt"] == told
    assert raw.first(question, 1).body["max_completion_tokens"] == 20


def test_seed_extra_fields_stop_and_examples_are_in_the_request():
    ask = replace(ASK, seed=5, extra="{top_p: 0.9}", prompt="few-shot")
    given = [judged(q, f"So. --> {q.answer}", "teacher", SAMPLER, TASK) for q in questions(3)]
    made = write_script(TASK, ask, WHERE, given).first(questions(1)[0], 2).body
    assert made["seed"] == 7 and made["top_p"] == 0.9 and made["stop"] == ["\nQ:"]
    # a question is not its own example: that would give the answer away
    assert made["messages"][0]["content"] == (
        "Q: What is 1 + 1?\nA: So. --> 2\n\nQ: What is 2 + 1?\nA: So. --> 3\n\nQ: What is 0 + 1?\nA:"
    )
    with pytest.raises(InputError, match="needs worked examples"):
        write_script(TASK, ask, WHERE, [])


def test_braces_in_a_question_are_not_placeholders():
    assert fill("{question} {form}", question="{form} {x}", form="a number") == "{form} {x} a number"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mine: {reason: 'What?'}", "reason must contain {question}"),
        ("mine: {reason: '{question} {anser}'}", "unknown placeholder {anser}"),
        ("mine: {reason: '{question}', conclude: 'So?'}", "conclude must contain {rationale}"),
        ("mine: {reasn: '{question}'}", "unknown key 'reasn'"),
        ("mine: {system: 'Hello'}", "key 'reason' is missing"),
        ("mine: {reason: '{question}', stop: Q}", "stop must be a list of non-empty strings"),
        ("[1, 2]", "needs a name with its templates"),
        ("mine: {reason: '{question}'}\nyours: {reason: '{question}'}", "must contain one prompt, got 2"),
        ("a: [", "not valid YAML"),
    ],
)
def test_an_invalid_prompt_is_rejected(tmp_path, text, words):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        AskSettings(model="m", prompt=str(tmp_path / "p.yaml"))


def test_custom_and_built_in_prompts(tmp_path):
    (tmp_path / "p.yaml").write_text("mine: {reason: '{question} ({form})', system: Be brief.}")
    own = get_prompt(str(tmp_path / "p.yaml"))
    assert own == Prompt("mine", "{question} ({form})", system="Be brief.")
    made = write_script(TASK, replace(ASK, prompt=str(tmp_path / "p.yaml")), WHERE).first(questions(1)[0], 0)
    assert [m["role"] for m in made.body["messages"]] == ["system", "user"]
    assert made.body["messages"][1]["content"] == "What is 0 + 1? (a number)"
    assert {name: bool(prompt.conclude) for name, prompt in read_prompts().items()} == {
        "zero-shot-cot": True, "one-call": False, "few-shot": False, "question-only": False
    }  # fmt: skip
    with pytest.raises(InputError, match="prompt must be one of zero-shot-cot"):
        get_prompt("zero")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rationales": 0},
        {"temperature": -1},
        {"max_tokens": 0},
        {"seed": -2},
        {"until_correct": 11},
        {"extra": "[1]"},
        {"conclude_tokens": 0},
        {"rationale_from": "answer"},
        {"extra": "{n: 3}"},
        {"budget_calls": -1},
        {"budget_money": float("nan")},
    ],
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(InputError):
        AskSettings(model="m", **wrong)


def test_two_calls_give_one_rationale_with_the_answer_of_the_second_call(tmp_path):
    def behave(body, nth):
        text = body["messages"][0]["content"]
        if "Therefore" in text:
            assert "-->" not in text or number(body) == 1
            return reply(f" {number(body) + 1}.")
        return reply("We count --> on." if number(body) == 1 else "We count on." if number(body) else "", "stop")

    with Server(behave) as server:
        draws, facts = run(server, tmp_path, n=3, ask=ASK)
    rows = [draw.row for draw in draws]
    assert [row.rationale for row in rows] == ["", "", *["We count --> on."] * 2, *["We count on."] * 2]
    assert [row.prediction for row in rows] == [None, None, "2", "2", "3", "3"]
    assert rows[4].original == "We count on. --> 3." and rows[4].sampler["model"] == "m, zero-shot-cot"
    assert facts["states"]["empty"] == 2 and facts["answers"]["calls"] == 2 + 2 * 4 == server.asked.total()
    assert len({row.id for row in rows}) == 6


def test_requests_stop_once_enough_are_right_or_at_the_limit(tmp_path):
    """Question 0 is never right, 1 always, 2 at every other sample (by seed)."""

    def behave(body, nth):
        right = {0: False, 1: True, 2: body["seed"] % 2 == 1}[number(body)]
        return reply(f"So. --> {number(body) + (1 if right else 5)}")

    ask = replace(ASK, prompt="one-call", until_correct=2, most_asked=5, seed=0)
    with Server(behave) as server:
        draws, facts = run(server, tmp_path, n=3, ask=ask)
        assert [(draw.question.answer, draw.index) for draw in draws] == [
            *(("1", i) for i in range(5)), *(("2", i) for i in range(2)), *(("3", i) for i in range(4))
        ]  # fmt: skip
        assert facts["states"]["right"] == 4 and facts["states"]["wrong"] == 7 == facts["draws"] - 4
        before = estimated(tmp_path, TASK, questions(3), [], "endpoint", ask, replace(WHERE, base_url=server.url))
        assert before.draws == (6, 15) and before.stored == 11 and before.least.calls == 0 and before.most.calls == 4


def test_a_dry_run_matches_a_hand_calculation_and_sends_nothing(tmp_path):
    ask = replace(ASK, model="gpt-4o-mini", prompt="question-only", rationales=3, max_tokens=100)
    found = estimated(tmp_path, TASK, questions(2), [], "endpoint", ask, WHERE)
    # each prompt has 14 characters: 4 tokens, plus 8 for the chat message
    assert found.least == found.most == Cost(6, 6 * 12, 600, (72 * 0.15 + 600 * 0.60) / 1e6)
    assert "6 rationales" in str(found) and "USD" in str(found) and not list(tmp_path.iterdir())
    two = estimated(tmp_path, TASK, questions(1), [], "endpoint", _two(ask), WHERE)
    assert two.most.calls == 6 and two.most.tokens_out == 3 * (100 + 64)


def _two(ask):
    return replace(ask, prompt="zero-shot-cot", conclude_tokens=64)


def test_a_dry_run_uses_the_length_of_stored_replies(tmp_path):
    with Server(lambda body, nth: reply("five words are in here")) as server:
        where = replace(WHERE, base_url=server.url)
        ask = replace(ASK, prompt="question-only", rationales=1)
        annotated(tmp_path, TASK, questions(2), [], "endpoint", ask, where)
        found = estimated(tmp_path, TASK, questions(10), [], "endpoint", ask, where)
    assert found.stored == 2 and found.likely.tokens_out == 8 * 5 and found.most.tokens_out == 8 * 20


def test_prices(tmp_path):
    assert price_of("gpt-3.5-turbo").of(1_000_000, 2_000_000) == 3.5
    assert price_of("gpt-4o-2024-08-06") == price_of("gpt-4o") and price_of("unheard-of") is None
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"currency": "EUR", "models": {"m": {"input": 1, "output": 2}}}))
    assert read_prices(tmp_path / "p.yaml")["m"].currency == "EUR"
    for text in ("models: [1]", "models: {m: {input: -1, output: 2}}", "models: {m: 3}", "a: ["):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(InputError, match="p.yaml"):
            price_of("m", tmp_path / "p.yaml")
    assert Budget(calls=2).exceeded(Cost(2)) == "" and "2 calls" in Budget(calls=2).exceeded(Cost(3))


def test_a_file_of_rationales_can_be_the_teacher(tmp_path):
    rows = [judged(q, f"So. --> {q.answer}", "teacher", SAMPLER, TASK) for q in questions(4)]
    path = tmp_path / "teacher.jsonl"
    write_rationales(path, rows)
    found, facts = annotated(tmp_path, TASK, questions(3), [], str(path), AskSettings(), EndpointSettings())
    assert found == rows[:3] and facts["of_other_questions"] == 1
    with pytest.raises(InputError, match="are of task 'sums'"):
        other = [replace(q, id=q.id[::-1], task="other") for q in questions(3)]
        annotated(tmp_path, Task("other", "number"), other, [], str(path), AskSettings(), EndpointSettings())
    with pytest.raises(InputError, match="its gold answer is '1', but the question's is '7'"):
        changed = [replace(questions(1)[0], answer="7")]
        annotated(tmp_path, TASK, changed, [], str(path), AskSettings(), EndpointSettings())


def test_an_error_explains_why_no_reply_arrived(tmp_path):
    with (
        Server(lambda body, nth: "401 {}") as server,
        pytest.raises(InputError, match="(?s)no reply from.*check the key"),
    ):
        annotated(tmp_path, TASK, questions(3), [], "endpoint", ASK, replace(WHERE, base_url=server.url))
    assert [row["state"] for _, row in read_jsonl(tmp_path / "outcomes.jsonl")].count("failed") >= 1
