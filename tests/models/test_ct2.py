"""CTranslate2 as a backend: its scores and samples match the reference for every model shape."""

import json
from dataclasses import replace

import numpy
import pytest
import tiny
import torch
from prompts import GREEDY, QUESTIONS, THREE, prompts
from scipy import stats
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from mentor_kd.data.rationales import read_rationales
from mentor_kd.files import InputError, read_json
from mentor_kd.models import ct2, generation, loading
from mentor_kd.models.generation import Sampling
from mentor_kd.models.prompts import decode, encode_target
from mentor_kd.pipeline import augment, mentor
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings

pytest.importorskip("ctranslate2")

known = getattr(torch.cpu, "get_capabilities", dict)()
VNNI = any(known.get(name) for name in ("avx512_vnni", "avx_vnni", "amx_int8")) or not known.get("avx2")


def t5_scaled(folder):
    """T5's shape: embeddings tied, decoder outputs scaled by d_model ** -0.5."""
    return tiny.t5(folder, tie_word_embeddings=True, feed_forward_proj="relu")


def flan_t5(folder):
    """FlanT5's shape: outputs not scaled, a separate head."""
    folder = tiny.t5(folder, tie_word_embeddings=False)
    model = loading.load(folder, "cpu").model
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.2)
    model.save_pretrained(folder)
    return folder


def grouped(folder):
    """Llama's shape with fewer key than query heads, rotary positions with another base, and a separate head."""
    rope = {"rope_type": "default", "rope_theta": 500.0}
    return tiny.llama(folder, num_key_value_heads=1, rope_parameters=rope, tie_word_embeddings=False)


SHAPES = {"t5": t5_scaled, "flan-t5": flan_t5, "llama": tiny.llama, "llama grouped": grouped, "gpt2": tiny.gpt2}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: loading.load(build(root / name), "cpu") for name, build in SHAPES.items()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("converted")


def backend(loaded, cache, name="ct2-float32"):
    return ct2.get_backend(name, loaded, cache / loaded.model.name_or_path.split("/")[-1] / name)


# scores


def reference_scores(loaded, prompt, target):
    """Log-probabilities of the target's tokens after the prompt, by the reference."""
    with torch.inference_mode():
        if loaded.encoder_decoder:
            fed = [loaded.model.config.decoder_start_token_id, *target[:-1]]
            logits = loaded.model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([fed])).logits[0]
        else:
            logits = loaded.model(input_ids=torch.tensor([prompt + target[:-1]])).logits[0, len(prompt) - 1 :]
    return torch.log_softmax(logits, -1)[range(len(target)), target].numpy()


def converted_scores(loaded, folder, prompt, target, precision="float32"):
    """The same by CTranslate2."""
    worker = ct2.engine(loaded, folder, precision, 0)
    tokens = [str(token) for token in target]
    if loaded.encoder_decoder:
        [found] = worker.score_batch([[str(token) for token in prompt]], [tokens[:-1]])
        assert found.tokens[:-1] == tokens[:-1]
        return numpy.array(found.log_probs)
    [found] = worker.score_batch([[str(token) for token in prompt + target]])
    return numpy.array(found.log_probs[len(prompt) - 1 :])


def scores(loaded, folder):
    prompt = prompts(loaded)[1]
    target = encode_target(loaded.tokenizer, "Ann has 3 apples. --> 3")
    return reference_scores(loaded, prompt, target), converted_scores(loaded, folder, prompt, target)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_are_those_of_the_reference(shapes, tmp_path, shape):
    ct2.convert(shapes[shape].name, tmp_path / "c", "float32")
    expected, found = scores(shapes[shape], tmp_path / "c")
    assert expected.std() > 0.3  # the model has preferences that could be wrong
    numpy.testing.assert_allclose(found, expected, atol=2e-4)


def test_without_mend_scale_flan_t5_has_wrong_probabilities(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(ct2, "mend_scale", lambda model: None)
    loaded = shapes["flan-t5"]
    ct2.convert(loaded.name, tmp_path / "c", "float32")
    expected, found = scores(loaded, tmp_path / "c")
    assert abs(found - expected).max() > 0.3
    greedy = generation.draw(loaded, prompts(loaded), GREEDY, 0)
    [unmended] = {tuple(map(str, ct2._draw(loaded, tmp_path / "c", "float32", prompts(loaded), GREEDY, 0)))}
    assert unmended == tuple(map(str, greedy))  # so greedy texts could not reveal it


# texts


@pytest.mark.parametrize("shape", SHAPES)
def test_greedy_texts_are_those_of_the_reference(shapes, cache, shape):
    loaded = shapes[shape]
    expected = generation.draw(loaded, prompts(loaded), GREEDY, 0)
    assert backend(loaded, cache)(prompts(loaded), GREEDY, 0) == expected
    assert len({text.text for [text] in expected}) > 2


@pytest.mark.parametrize("shape", ["flan-t5", "llama"])
def test_a_text_ends_at_any_end_token_or_unfinished_at_the_limit(shapes, cache, shape, monkeypatch):
    loaded = shapes[shape]
    ends = [loaded.tokenizer.eos_token_id, *range(20, loaded.vocabulary, 40)]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", ends)
    hot = Sampling(n=40, temperature=9.0, top_k=0, max_new_tokens=60, batch_size=400)
    texts = [text for row in backend(loaded, cache)(prompts(loaded), hot, 1) for text in row]
    assert {text.finished for text in texts} == {True, False}
    assert all(text.tokens == 60 for text in texts if not text.finished)
    assert all(text.tokens < 60 for text in texts if text.finished)
    assert not any("</s>" in text.text for text in texts)


@pytest.mark.parametrize("name", ["hf", "ct2-float32", "ct2-int8"])
@pytest.mark.parametrize("shape", ["flan-t5", "llama"])
def test_texts_of_equal_length_on_request(shapes, cache, shape, name):
    fixed = replace(THREE, min_new_tokens=7, max_new_tokens=7)
    rows = backend(shapes[shape], cache, name)(prompts(shapes[shape]), fixed, 0)
    assert {text.tokens for row in rows for text in row} == {7}


@pytest.mark.parametrize("shape", SHAPES)
def test_n_texts_per_prompt_and_the_same_for_the_same_seed(shapes, cache, shape):
    draw, asked = backend(shapes[shape], cache), prompts(shapes[shape])
    first = draw(asked, THREE, 5)
    assert [len(row) for row in first] == [3] * len(QUESTIONS)
    draw(asked, THREE, 7)  # what was drawn between does not matter
    assert draw(asked, THREE, 5) == first
    assert draw(asked, THREE, 6) != first
    assert any(len({text.text for text in row}) == 3 for row in first)


def with_threads(monkeypatch, count):
    """As on a CPU with this number of threads."""
    monkeypatch.setattr(loading, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)


def test_engines_share_the_work_and_draw_different_texts(shapes, cache, monkeypatch):
    loaded = shapes["llama"]
    draw, asked = backend(loaded, cache), [prompts(loaded)[1]] * 4
    with_threads(monkeypatch, 2)
    one_each = replace(THREE, batch_size=2 * THREE.n)  # two questions at once: one per engine
    drawn = draw(asked, one_each, 5)
    assert draw(asked, one_each, 5) == drawn
    assert sorted(drawn[0], key=str) != sorted(drawn[1], key=str)
    assert draw(prompts(loaded), GREEDY, 0) == generation.draw(loaded, prompts(loaded), GREEDY, 0)


def test_the_number_of_threads_is_restored(shapes, cache):
    loaded, threads = shapes["llama"], torch.get_num_threads()
    draw = backend(loaded, cache)
    try:
        torch.set_num_threads(2)
        draw(prompts(loaded), GREEDY, 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_weights_are_copied_only_within_the_memory_limit(shapes, cache, monkeypatch):
    folder = cache / "counted"
    ct2.convert(shapes["llama"].name, folder, "float32")
    size = (folder / "model.bin").stat().st_size
    with_threads(monkeypatch, 4)
    for room, prompts_there, expected in ((0.5, 9, 1), (2.5, 9, 2), (100, 9, 4), (100, 3, 3)):
        monkeypatch.setattr(ct2, "COPIES", int(room * size))
        assert len(ct2.engines(shapes["llama"], folder, "float32", 0, prompts_there)) == expected


def test_the_likeliest_token_alone_gives_n_equal_texts(shapes, cache):
    loaded = shapes["llama"]
    rows = backend(loaded, cache)(prompts(loaded), replace(THREE, top_k=1, max_new_tokens=12), 0)
    assert rows == [[text] * 3 for [text] in generation.draw(loaded, prompts(loaded), GREEDY, 0)]


def test_a_top_k_above_the_vocabulary_is_no_limit(shapes, cache):
    draw, asked = backend(shapes["llama"], cache), prompts(shapes["llama"])
    assert draw(asked, replace(THREE, top_k=10**6), 0) == draw(asked, replace(THREE, top_k=0), 0)


@pytest.mark.skipif(not VNNI, reason="without VNNI int8 products saturate: CTranslate2's scores are then off by 0.5")
def test_int8_is_near_float32(shapes, cache):
    loaded = shapes["llama"]
    ct2.convert(loaded.name, cache / "int8", "int8")
    prompt, target = prompts(loaded)[1], encode_target(loaded.tokenizer, "Ann has 3 apples. --> 3")
    rough = converted_scores(loaded, cache / "int8", prompt, target, "int8")
    error = abs(rough - reference_scores(loaded, prompt, target)).max()
    assert 1e-4 < error < 0.2  # int8 is used, and the error is no larger than it explains


# the distribution


def expected_shares(logits, sampling):
    """Probabilities of the next token as transformers would sample it."""
    scored = TemperatureLogitsWarper(float(sampling.temperature))(None, logits[None])
    if sampling.top_k:
        scored = TopKLogitsWarper(sampling.top_k)(None, scored)
    if sampling.top_p < 1:
        scored = TopPLogitsWarper(sampling.top_p)(None, scored)
    return torch.softmax(scored[0].double(), -1).numpy()


def counts_of_first_tokens(loaded, folder, prompt, sampling, seed):
    """How often each token came first, with the backend's options."""
    worker = ct2.engine(loaded, folder, "float32", seed)
    rows = [row for drawn in ct2.sequences(loaded, worker, [prompt] * 20, sampling) for row in drawn]
    firsts = [row[0] for row in rows]
    return numpy.bincount(firsts, minlength=loaded.model.get_input_embeddings().weight.shape[0])


def p_value(counts, shares):
    """The p-value of a chi-square test; tokens expected less than five times are pooled."""
    assert counts[shares == 0].sum() == 0  # transformers would never draw these
    order = numpy.argsort(-shares)[: (shares > 0).sum()]
    observed, expected, open_cell = [], [], False
    for seen, wanted in zip(counts[order], counts.sum() * shares[order], strict=True):
        if open_cell:
            observed[-1] += seen
            expected[-1] += wanted
        else:
            observed.append(seen)
            expected.append(wanted)
        open_cell = expected[-1] < 5
    if open_cell and len(observed) > 1:
        observed[-2:], expected[-2:] = [sum(observed[-2:])], [sum(expected[-2:])]
    observed, expected = numpy.array(observed), numpy.array(expected)
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize(
    "changes",
    [
        {},  # the official settings
        {"temperature": 1.0, "top_k": 0},
        {"top_k": 0, "top_p": 0.8},
        {"temperature": 1.6, "top_k": 20, "top_p": 0.9},
    ],
)
@pytest.mark.parametrize("shape", ["flan-t5", "llama"])
def test_tokens_come_as_often_as_in_the_reference(shapes, cache, shape, changes):
    loaded = shapes[shape]
    sampling = Sampling(**{"n": 250, "temperature": 0.7, "top_k": 50, "max_new_tokens": 1, **changes})
    prompt = prompts(loaded)[1]
    backend(loaded, cache)  # converts
    folder = cache / shape / "ct2-float32"
    with torch.inference_mode():
        if loaded.encoder_decoder:
            start = torch.tensor([[loaded.model.config.decoder_start_token_id]])
            logits = loaded.model(input_ids=torch.tensor([prompt]), decoder_input_ids=start).logits[0, -1]
        else:
            logits = loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    counts = counts_of_first_tokens(loaded, folder, prompt, sampling, seed=3)
    assert p_value(counts, expected_shares(logits, sampling)) > 0.001
    hotter = replace(sampling, temperature=sampling.temperature * 1.5, top_p=1.0, top_k=0)
    assert p_value(counts, expected_shares(logits, hotter)) < 1e-6  # the test detects another temperature


def test_the_first_text_of_a_question_is_as_random_as_any(shapes, cache):
    """CTranslate2 returns the likeliest of n texts first."""
    loaded, n = shapes["llama"], 4
    sampling = Sampling(n=n, temperature=1.0, top_k=0, max_new_tokens=1, batch_size=4000)
    prompt = prompts(loaded)[1]
    rows = backend(loaded, cache)([prompt] * 600, sampling, 2)
    with torch.inference_mode():
        shares = torch.softmax(loaded.model(input_ids=torch.tensor([prompt])).logits[0, -1], -1)
    found = {decode(loaded.tokenizer, [i]): float(share) for i, share in enumerate(shares)}
    likelihood = numpy.array([[numpy.log(found.get(text.text, 1e-6)) for text in row] for row in rows])
    best = numpy.bincount(likelihood.argmax(1), minlength=n)
    assert stats.chisquare(best).pvalue > 0.001


# conversion


def test_a_model_is_converted_once_and_again_after_a_change(tmp_path):
    loaded = loading.load(tiny.llama(tmp_path / "m"), "cpu")
    ct2.convert(loaded.name, tmp_path / "c", "float32")
    written = (tmp_path / "c" / "model.bin").stat()
    ct2.convert(loaded.name, tmp_path / "c", "float32")
    assert (tmp_path / "c" / "model.bin").stat() == written
    tiny.llama(tmp_path / "m", seed=1)
    ct2.convert(loaded.name, tmp_path / "c", "float32")
    assert read_json(tmp_path / "c" / "manifest.json")["inputs"]["model"] == loading.identity(tmp_path / "m")
    assert (tmp_path / "c" / "model.bin").stat().st_ino != written.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "m"]  # nothing incomplete is left


def test_an_incomplete_conversion_is_repeated(tmp_path):
    loaded = loading.load(tiny.llama(tmp_path / "m"), "cpu")
    draw = ct2.get_backend("ct2-float32", loaded, tmp_path / "c")
    expected = draw(prompts(loaded), GREEDY, 0)
    whole = (tmp_path / "c" / "model.bin").read_bytes()
    (tmp_path / "c" / "model.bin").write_bytes(whole[:1000])
    assert ct2.get_backend("ct2-float32", loaded, tmp_path / "c")(prompts(loaded), GREEDY, 0) == expected


def test_an_architecture_that_cannot_be_converted_is_named(tmp_path):
    folder = tiny.llama(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "olmo", "architectures": ["Olmo"]}))
    with pytest.raises(InputError, match=r"CTranslate2 cannot convert it .*OlmoConfig.*; choose backend hf"):
        ct2.convert(folder, tmp_path / "c", "float32")
    assert not (tmp_path / "c").exists()


# choosing


def test_an_unknown_backend_is_named():
    with pytest.raises(InputError, match="backend must be one of hf, ct2-float32, ct2-bfloat16, ct2-int8, got 'ct2'"):
        ct2.check_backend("ct2")


def test_a_precision_that_the_machine_lacks_is_named(monkeypatch):
    import ctranslate2

    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: {"float32", "int8"})
    with pytest.raises(
        InputError, match="'ct2-bfloat16': this machine's .* does not support bfloat16.*ct2-float32, ct2-int8"
    ):
        ct2.check_backend("ct2-bfloat16")


def test_without_ctranslate2_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2", None)
    with pytest.raises(InputError, match=r'pip install "mentor-kd\[fast\]"'):
        ct2.check_backend("ct2-int8")
    ct2.check_backend("hf")


def test_the_backend_is_recorded_in_manifest_plan_and_rows(reports):
    folder = reports / "run" / "sandbox-letters"
    collect(folder, "sandbox-letters", CollectSettings(train_questions=8, dev_questions=2, test_questions=2))
    mentor.train_mentor(folder, "sandbox-small", TrainSettings(epochs=1, batch_size=8))
    sampling = Sampling(n=2, temperature=0.7, max_new_tokens=12)
    for name in ("hf", "ct2-int8"):
        augment.augment(folder, sampling, backend=name)
        assert read_json(folder / "augmented" / "manifest.json")["inputs"]["backend"] == name
        assert read_json(folder / "augmented" / "shards" / "plan.json")["origin"]["backend"] == name
        rows = read_rationales(folder / "augmented" / "mentor.jsonl")
        assert len(rows) == 16
        models_named = {row.sampler["model"] for row in rows}
        assert models_named == {"mentor sandbox-small" + (" by ct2-int8" if name == "ct2-int8" else "")}
