"""A transformers model on this machine as teacher, and the stand-in server."""

from dataclasses import replace

import httpx
import pytest
import tiny

from mentor_kd.data.rationales import new_question
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError, read_jsonl
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling, generate_batch
from mentor_kd.models.prompts import SEPARATOR, decode
from mentor_kd.progress import Progress
from mentor_kd.teacher.annotate import annotated, estimated
from mentor_kd.teacher.ask import AskSettings, write_script
from mentor_kd.teacher.connection import EndpointSettings
from mentor_kd.teacher.local import LocalTeacher
from mentor_kd.teacher.prices import Budget
from mentor_kd.teacher.stand_in import StandIn
from mentor_kd.teacher.store import Replies

TASK = Task("sums", "number")
QUESTIONS = [new_question("sums", f"What is {i} + 1?", str(i + 1), "train") for i in range(5)]
NOWHERE = EndpointSettings()


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_local_model_annotates_and_samples_nothing_twice(shape, tmp_path, monkeypatch):
    model = str(tiny.SHAPES[shape](tmp_path / "model"))
    ask = AskSettings(model=model, prompt="one-call", rationales=2, max_tokens=6, extra="{top_k: 20}")
    rows, facts = annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE)
    assert len(rows) == 10 == facts["draws"] == facts["answers"]["calls"] and facts["open"] == 0
    assert len({row.id for row in rows}) == 10
    monkeypatch.setattr(loading, "load", None)  # the second run does not load the model
    assert annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE)[0] == rows
    assert estimated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE).most.calls == 0


def test_prompts_use_the_chat_template_or_the_training_format(tmp_path):
    asked = {}

    def heard(name, prepare):
        folder = tiny.llama(tmp_path / name)
        prepare(folder)
        with Replies(tmp_path / f"{name}-out") as store:
            teacher = LocalTeacher(str(folder), store, Budget())
            teacher.loaded = loading.load(folder)
            ask = AskSettings(model=str(folder), prompt="question-only", max_tokens=4)
            request = write_script(TASK, ask, teacher.where).first(QUESTIONS[0], 0)
            asked[name] = decode(teacher.loaded.tokenizer, teacher._encode(request))

    def with_template(folder):
        loaded = loading.load(folder)
        loaded.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }} {% endfor %}end"
        loaded.tokenizer.save_pretrained(folder)

    heard("plain", lambda folder: None)
    heard("chat", with_template)
    heard("ours", lambda folder: (folder / loading.CARD).write_text("{}"))
    question = QUESTIONS[0].question
    assert asked["plain"].strip() == question
    assert "user" in asked["chat"] and question in asked["chat"] and asked["chat"].strip().endswith("end")
    assert asked["ours"].split() == (question + SEPARATOR).split()


def test_greedy_replies_equal_direct_generation(tmp_path):
    folder = tiny.gpt2(tmp_path / "model")
    ask = AskSettings(str(folder), "question-only", 1, temperature=0.0, max_tokens=8)
    annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE)
    kept = [row for _, row in read_jsonl(tmp_path / "out" / "replies.jsonl")]
    loaded = loading.load(folder)
    for row in kept:
        prompt = loaded.tokenizer(row["body"]["messages"][0]["content"])["input_ids"]
        [[text]] = generate_batch(loaded, [prompt], Sampling(max_new_tokens=8), seed=0)
        assert row["reply"]["text"] == text.text and row["reply"]["tokens_out"] == text.tokens


def test_a_local_model_respects_its_budget_and_rejects_unknown_fields(tmp_path):
    model = str(tiny.llama(tmp_path / "model"))
    ask = AskSettings(model, "question-only", 20, max_tokens=4, budget_calls=40)
    rows, facts = annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE)
    assert len(rows) == 32 and facts["states"]["not asked"] == 68 and "40 calls" in facts["stopped"]
    with pytest.raises(InputError, match="top_k and top_p only, got 'min_p'"):
        annotated(tmp_path / "other", TASK, QUESTIONS, [], "local", replace(ask, extra="{min_p: 0.1}"), NOWHERE)
    with pytest.raises(InputError, match="has no price"):
        annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", replace(ask, budget_money=1.0), NOWHERE)


def test_progress_is_shown_while_the_model_is_loaded_and_writes(tmp_path, monkeypatch):
    shown = []

    class Seen(Progress):
        def advance(self, amount=1, note=""):
            super().advance(amount, note)
            shown.append((self.label, self.done, self.note))

    monkeypatch.setattr("mentor_kd.teacher.local.Progress", Seen)
    model = str(tiny.llama(tmp_path / "model"))
    ask = AskSettings(model, rationales=1, max_tokens=4, conclude_tokens=3, budget_calls=8)
    annotated(tmp_path / "out", TASK, QUESTIONS, [], "local", ask, NOWHERE)
    assert ("first call", 0, f"loading {model}") == shown[1] and shown[0][1] == 0
    assert ("first call", 0, "5 texts, token 2 of at most 4") in shown


def test_a_limit_beyond_the_models_positions_is_lowered(tmp_path):
    model = str(tiny.gpt2(tmp_path / "model", n_positions=40))
    ask = AskSettings(model, "question-only", 1, max_tokens=4096)
    rows, facts = annotated(tmp_path / "out", TASK, QUESTIONS[:1], [], "local", ask, NOWHERE)
    [reply] = [row["reply"] for _, row in read_jsonl(tmp_path / "out" / "replies.jsonl")]
    assert reply["tokens_in"] + reply["tokens_out"] <= 40
    tiny_model = str(tiny.gpt2(tmp_path / "tiny", n_positions=3))
    with pytest.raises(InputError, match="reads 3 tokens, and a prompt has"):
        annotated(tmp_path / "other", TASK, QUESTIONS[:1], [], "local", replace(ask, model=tiny_model), NOWHERE)


def test_the_stand_in_serves_both_routes_truncates_and_refuses():
    def answer(text, seed):
        return {"long": "x" * 100, "no": ("Never.", "content_filter")}.get(text, f"{text}, {seed}")

    with StandIn(answer) as server, httpx.Client(trust_env=False) as client:

        def post(route, **body):
            return client.post(f"{server.url}/{route}", json={"max_tokens": 5, **body}).json()["choices"][0]

        said = [{"role": "system", "content": "s"}, {"role": "user", "content": "hello"}]
        assert post("chat/completions", messages=said, seed=3)["message"]["content"] == "hello, 3"
        assert post("completions", prompt="hello")["text"] == "hello, None"
        cut = post("completions", prompt="long")
        assert cut["text"] == "x" * 20 and cut["finish_reason"] == "length"
        assert post("completions", prompt="no")["finish_reason"] == "content_filter"
        assert server.asked == 4
