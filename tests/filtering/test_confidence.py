"""The mentor's confidence: independent of the batch, computed once, and stored per mentor."""

import shutil

import pytest
import tiny
import torch

from mentor_kd.data.rationales import new_rationale, target
from mentor_kd.data.sandbox import make_questions
from mentor_kd.files import write_json
from mentor_kd.filtering import confidence
from mentor_kd.filtering.confidence import confidences, mean_log_probabilities
from mentor_kd.filtering.filters import FilterSettings, apply
from mentor_kd.models import loading
from mentor_kd.models.prompts import encode_prompt, encode_target


def rows(n: int = 3, long: bool = False):
    made = []
    for k, question in enumerate(make_questions("sandbox-letters", n, seed=5)):
        sampler = {"model": "m", "temperature": 0.7, "top_k": 50, "seed": 0, "index": k}
        text = "so it is " * (400 if long and k == 0 else k + 1)
        made.append(new_rationale(question, text, "mentor", sampler, prediction=question.answer, correct=True))
    return made


@pytest.fixture
def folder(tmp_path):
    tiny.llama(tmp_path / "mentor")
    write_json(tmp_path / "mentor" / "manifest.json", {"max_length": 256})
    return tmp_path


@pytest.mark.parametrize("shape", ["llama", "t5"])
def test_confidence_does_not_depend_on_the_batch(tmp_path, shape):
    loaded = loading.load(tiny.SHAPES[shape](tmp_path / shape))
    examples = tiny.examples(loaded, 5)
    together = mean_log_probabilities(loaded, examples)
    for example, value in zip(examples, together, strict=True):
        assert mean_log_probabilities(loaded, [example])[0] == pytest.approx(value, abs=1e-5)
    assert all(value < 0 for value in together)


def test_confidence_is_the_mean_over_target_tokens(folder):
    (row,) = rows(1)
    loaded = loading.load(folder / "mentor")
    prompt = encode_prompt(loaded.tokenizer, False, row.question)
    written = encode_target(loaded.tokenizer, target(row))
    with torch.no_grad():
        logits = loaded.model(torch.tensor([prompt + written])).logits[0]
    logs = [torch.log_softmax(logits[len(prompt) - 1 + t].double(), 0)[token].item() for t, token in enumerate(written)]
    assert confidences(folder, [row])[row.id] == pytest.approx(sum(logs) / len(written), abs=1e-5)


def test_confidence_is_computed_once_and_resumes(folder, monkeypatch):
    some = rows(4)
    first = confidences(folder, some[:2])
    read = []
    whole = confidence.mean_log_probabilities
    monkeypatch.setattr(
        confidence, "mean_log_probabilities", lambda loaded, batch: read.extend(batch) or whole(loaded, batch)
    )
    every = confidences(folder, some)
    assert {example.id for example in read} == {some[2].id, some[3].id}
    assert {key: every[key] for key in first} == first
    (file,) = (folder / "confidence").glob("*.jsonl")
    file.write_text(file.read_text() + '{"id": "half a li')  # as left by a killed run
    monkeypatch.setattr(loading, "load", lambda name: pytest.fail("the mentor was loaded although nothing is missing"))
    assert confidences(folder, some) == every


def test_stored_values_are_read_without_the_mentor(folder, monkeypatch):
    some = rows(3, long=True)
    assert confidence.stored(folder, some) == {}
    scored = confidences(folder, some[:2])
    monkeypatch.setattr(loading, "load", lambda name: pytest.fail("the mentor was loaded"))
    assert confidence.stored(folder, some) == {some[0].id: None, **scored}  # the first is too long for the mentor


def test_another_mentor_is_scored_separately(folder):
    some = rows(2)
    first = confidences(folder, some)
    shutil.rmtree(folder / "mentor")
    tiny.llama(folder / "mentor", seed=1)
    write_json(folder / "mentor" / "manifest.json", {"max_length": 256})
    second = confidences(folder, some)
    assert set(first) == set(second) and first != second
    assert len(list((folder / "confidence").glob("*.jsonl"))) == 2


def test_texts_too_long_have_no_confidence_and_pass_the_filter(folder):
    some = rows(2, long=True)
    found = confidences(folder, some)
    assert set(found) == {some[1].id}
    limit = found[some[1].id]
    assert [r.reason for r in apply(some, FilterSettings(min_confidence=limit), confidence=found)] == ["", ""]
    strict = apply(some, FilterSettings(min_confidence=limit / 2), confidence=found)
    assert [row.reason for row in strict] == ["", "low confidence"]
