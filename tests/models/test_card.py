"""Model cards: the Hub's metadata, a snippet that works, and texts that stay quoted."""

import json

import pytest
import tiny
import yaml
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from markdown_it import MarkdownIt

from mentor_kd.cards import code, front_matter, plain
from mentor_kd.evaluation.predict import predict
from mentor_kd.files import read_json, write_json
from mentor_kd.models import card, loading
from mentor_kd.models.prompts import encode_prompt

HOSTILE = '`</s>` ```\n---\n# <script>alert(1)</script> "a: b" \'# {x} | [y](javascript:z)\x1b[31m'
TASK = {"name": "sandbox-sums", "answer_type": "number", "title": "Sandbox: sums"}
QUESTION = "Ann has 3 pens and gets 4 more. How many has she?"
FACTS = {
    "name": "a student",
    "summary": "A student.",
    "task": TASK,
    "dataset": "sandbox-sums",
    "marker": "-->",
    "example": QUESTION,
    "max_new_tokens": 12,
    "base": "org/base-model",
    "licence": "Apache-2.0",
    "language": "en",
    "test": {"value": 62.5, "low": 50.0, "high": 70.0, "n": 40},
}


@pytest.fixture(scope="module", params=tiny.SHAPES)
def saved(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    loaded = loading.load(tiny.SHAPES[request.param](root / "model"))
    loading.save(root / "saved", loaded, FACTS)
    return root / "saved"


def snippet_of(folder) -> str:
    return ModelCard.load(folder / "README.md").text.split("```python\n")[1].split("```")[0]


def test_the_snippet_gives_the_answer_that_we_give(saved, monkeypatch, capsys):
    monkeypatch.chdir(saved)
    exec(compile(snippet_of(saved), "card", "exec"), found := {})
    [ours] = predict(saved, [QUESTION])
    assert found["text"] and (found["rationale"].strip() or found["answer"].strip()) == ours["rationale"]
    assert capsys.readouterr().out.count("\n") == 2


def test_the_snippet_removes_an_end_token_that_a_decoders_tokenizer_appends(tmp_path, monkeypatch):
    folder = tiny.llama(tmp_path / "model")
    rules = read_json(folder / "tokenizer.json")
    special = {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    rules["post_processor"] = {
        "type": "TemplateProcessing", "single": [text, end], "pair": [text, end], "special_tokens": special
    }  # fmt: skip
    write_json(folder / "tokenizer.json", rules)
    loaded = loading.load(folder)
    assert loaded.tokenizer("a")["input_ids"][-1] == loaded.tokenizer.eos_token_id
    loading.save(tmp_path / "saved", loaded, FACTS)
    monkeypatch.chdir(tmp_path / "saved")
    exec(compile(snippet_of(tmp_path / "saved"), "card", "exec"), found := {})
    assert found["inputs"]["input_ids"][0].tolist() == encode_prompt(loaded.tokenizer, False, QUESTION)


def test_the_metadata_is_the_hubs(saved):
    top = metadata_load(saved / "README.md")
    kind = "text2text-generation" if read_json(saved / "config.json").get("is_encoder_decoder") else "text-generation"
    assert top["base_model"] == "org/base-model" and top["base_model_relation"] == "finetune"
    assert (top["pipeline_tag"], top["library_name"], top["license"]) == (kind, "transformers", "apache-2.0")
    assert top["datasets"] == ["sandbox-sums"] and top["language"] == "en" and "mentor-kd" in top["tags"]
    [result] = ModelCardData(**top).eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 62.5, "test")
    assert result.dataset_name == "Sandbox: sums"


def test_other_programs_stop_at_the_same_length(saved):
    assert read_json(saved / "generation_config.json")["max_new_tokens"] == 12


def test_no_text_breaks_out_of_a_card(tmp_path):
    loaded = loading.load(tiny.llama(tmp_path / "model"))
    question = HOSTILE.replace("\n", " ")
    facts = {**FACTS, "name": HOSTILE, "summary": HOSTILE, "example": question, "base": f"/home/{HOSTILE}"}
    facts |= {"task": {**TASK, "title": HOSTILE}, "method": HOSTILE, "licence": HOSTILE}
    loading.save(tmp_path / "saved", loaded, facts)
    text = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    top, body = metadata_load(tmp_path / "saved" / "README.md"), ModelCard(text).text
    assert top["datasets"] == ["sandbox-sums"] and "base_model" not in top and "<script>" in top["license"]
    html = MarkdownIt("commonmark").render(body)
    assert "<script>" not in html and html.count("<h1>") == 1 and "href" not in html and "/home" not in text
    [fence] = [one.content for one in MarkdownIt("commonmark").parse(body) if one.type == "fence"]
    assert f"question = {question!r}" in fence


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("/home/ann/models/gpt2", "gpt2"),
        ("~/models/my model", "my model"),
        ("../models/gpt2", "gpt2"),
        ("mentor /home/ann/gpt2", "mentor gpt2"),
        ("/home/ann/gpt2, two-calls", "gpt2, two-calls"),
        ("google/flan-t5-small", "google/flan-t5-small"),
        ("mentor google/flan-t5-small", "mentor google/flan-t5-small"),
        ("gpt-4o-mini, one-call, part 1/2", "gpt-4o-mini, one-call, part 1/2"),
    ],
)
def test_a_name_has_no_folders_of_this_machine(given, name):
    assert card.public_name(given) == name


def test_the_licence_is_the_base_models(tmp_path):
    assert card.licence_of(loading.model_path("sandbox-base")) == "Apache-2.0"
    assert card.licence_of(tmp_path) == card.licence_of("org/name") == "unknown"
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# a model\n")
    assert card.licence_of(tmp_path) == "mit"
    (tmp_path / "README.md").write_text("---\nlicense: [: broken\n---\n")
    assert card.licence_of(tmp_path) == "unknown"


@pytest.mark.parametrize("text", ["a", "", "`", "a``b", "```", " x ", HOSTILE, "---", "a: b", "- x\n- y", "\ud83d"])
def test_quoted_texts_stay_what_they_are(text):
    data = front_matter({"a": text, "b": [{"c": text}], "d": None, "e": 1})
    assert data.startswith("---\n") and data.endswith("\n---\n") and data.count("\n---") == 1
    found = yaml.safe_load(data.strip("-\n"))
    assert set(found) == {"a", "b", "e"} and found["a"] == found["b"][0]["c"] == " ".join(found["a"].split())
    html = MarkdownIt("commonmark").render(f"x {code(text)} y")
    assert html.startswith("<p>x <code>") and html.endswith("</code> y</p>\n") and html.count("<") == 4
    assert MarkdownIt("commonmark").render(f"# {plain(text)}").count("<") == 2


def test_the_card_of_a_model_without_a_task_has_no_snippet(tmp_path):
    loading.save(tmp_path, loading.load(tiny.llama(tmp_path / "model")), {"name": "toy", "data_hashes": {"a": 1}})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "```" not in text and f"- **data hashes**: `{json.dumps({'a': 1})}`" in text
    assert "model-index" not in metadata_load(tmp_path / "README.md")
