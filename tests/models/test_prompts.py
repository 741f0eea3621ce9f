"""Prompts: plain and chat, the same ids wherever a question is read."""

from dataclasses import replace

import pytest
import tiny
from tokenizers.processors import TemplateProcessing

from mentor_kd.data.folder import questions
from mentor_kd.evaluation import predict as predicting
from mentor_kd.export import lm_eval
from mentor_kd.files import InputError, read_json, read_jsonl, write_json
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models import batches, generation, loading, prompts
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings, recorded

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
QUESTION = "Ann has 3 apples. How many?"


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """A small decoder whose tokenizer has a chat template."""
    folder = tiny.llama(tmp_path_factory.mktemp("chat"))
    loaded = loading.load(folder, "cpu")
    loaded.tokenizer.chat_template = TEMPLATE
    loaded.tokenizer.save_pretrained(folder)
    return str(folder)


def test_auto_is_the_template_where_there_is_one(chatty, tmp_path):
    loaded = loading.outline(chatty)
    assert loading.in_format(loaded, "auto").prompt_format == "chat"
    assert loading.in_format(loaded, "plain").prompt_format == "plain"
    assert loading.in_format(loading.outline("sandbox-small"), "auto").prompt_format == "plain"
    assert loading.in_format(loading.outline(tiny.t5(tmp_path / "t5")), "auto").prompt_format == "plain"


def test_a_chat_prompt_is_the_templates_text_up_to_the_reply(chatty):
    loaded = loading.in_format(loading.outline(chatty), "chat")
    end = loaded.tokenizer.eos_token
    text = f"<|user|>\n{QUESTION}{end}\n<|assistant|>\n"
    assert prompts.prompt_text(loaded.tokenizer, False, QUESTION, "chat") == text
    assert loaded.prompt(QUESTION) == loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert prompts.served_prompt(loaded.tokenizer, QUESTION, "chat") == text  # no BOS that a server would double
    plain = loading.in_format(loaded, "plain")
    assert plain.prompt(QUESTION) == prompts.encode_prompt(loaded.tokenizer, False, QUESTION)


def test_chat_without_a_template_is_refused(tmp_path):
    with pytest.raises(InputError, match="prompt_format is chat, but model 'sandbox-small' has no chat template"):
        loading.in_format(loading.outline("sandbox-small"), "chat")
    with pytest.raises(InputError, match="is an encoder-decoder"):
        loading.in_format(loading.outline(tiny.t5(tmp_path / "t5")), "chat")


def test_a_bos_that_a_server_adds_is_not_written_twice(chatty):
    tokenizer = loading.outline(chatty).tokenizer
    tokenizer.bos_token = bos = tokenizer.eos_token
    adds_bos = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = adds_bos
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    served = tokenizer(prompts.served_prompt(tokenizer, QUESTION, "chat"))["input_ids"]  # as a server encodes it
    assert served == prompts.encode_prompt(tokenizer, False, QUESTION, "chat")
    assert served[0] == tokenizer.bos_token_id and served[1] != served[0]


def test_the_format_auto_changes_no_manifest():
    assert recorded(TrainSettings()).keys() == recorded(TrainSettings(prompt_format="chat")).keys() - {"prompt_format"}


@pytest.fixture(scope="module")
def run(chatty, tmp_path_factory):
    """A whole small run with chat models."""
    folder = tmp_path_factory.mktemp("run") / "sandbox-letters"
    training = TrainSettings(epochs=1, batch_size=8, learning_rate=3e-3)
    collect(folder, "sandbox-letters", CollectSettings(train_questions=16, dev_questions=3, test_questions=5))
    mentor.train_mentor(folder, chatty, training)
    augment.augment(folder, Sampling(n=1, temperature=0.7, max_new_tokens=8))
    filter.filter_rationales(folder, FilterSettings())
    distill.distill(folder, "mentor-kd", chatty, training)
    return folder


def test_a_run_reads_the_same_ids_in_training_generation_and_prediction(run, chatty, monkeypatch):
    student = loading.load(run / "students" / "mentor-kd-seed0", "cpu")
    expected = loading.in_format(loading.outline(chatty), "chat").prompt(QUESTION)
    assert student.prompt_format == "chat"
    [example], _ = batches.encode(student, [("1", QUESTION, "x --> 1")], 512)
    assert example.prompt == expected
    seen = []
    monkeypatch.setattr(generation, "draw", lambda loaded, rows, *more: seen.extend(rows) or [[] for _ in rows])
    generation.generate(student, [QUESTION], Sampling(max_new_tokens=2))
    assert seen == [expected]
    assert read_json(run / "mentor" / "model_card.json")["prompt_format"] == "chat"
    assert read_json(run / "students" / "mentor-kd-seed0" / "manifest.json")["prompt_format"] == "chat"


def test_the_greedy_texts_of_the_table_are_those_of_predict(run):
    place = run / "students" / "mentor-kd-seed0"
    asked = questions(run, "test")
    answers = predicting.predict(place, [question.question for question in asked])
    table = {row["id"]: row["prediction"] for _, row in read_jsonl(place / "predictions.jsonl")}
    assert [row["prediction"] for row in answers] == [table[question.id] for question in asked]


def test_soft_labels_need_one_format(run, chatty):
    with pytest.raises(InputError, match="same prompts for both models, .*reads them as chat .* as plain"):
        distill.distill(run, "mentor-kd-no-rd", chatty, TrainSettings(epochs=1, prompt_format="plain"))
    own = replace(loading.outline(chatty), prompt_format="chat")
    loading.require_same_tokenizer(own, own, [])


def test_the_harness_is_told_to_write_the_chat_itself(run, tmp_path):
    facts = lm_eval.export(run, tmp_path / "task")
    assert facts["chat"] == facts["tasks"] == ["mentor-kd-sandbox-letters"]
    assert 'doc_to_text: "{{question}}"' in (tmp_path / "task" / f"{facts['tasks'][0]}.yaml").read_text().replace(
        "'", '"'
    )


def test_an_unknown_format_in_a_card_is_named(run, tmp_path):
    card = run / "mentor" / "model_card.json"
    found = read_json(card)
    try:
        write_json(card, {**found, "prompt_format": "html"})
        with pytest.raises(InputError, match="prompt_format must be plain or chat, got 'html'"):
            loading.outline(run / "mentor")
    finally:
        write_json(card, found)
