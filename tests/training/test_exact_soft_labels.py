"""Exact soft labels: the loss and gradient of the live mentor, from its cached states and one output layer."""

import json
import math
from dataclasses import replace

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import PhiConfig, PhiForCausalLM

from mentor_kd import files
from mentor_kd.models import batches as models_batches
from mentor_kd.models import loading
from mentor_kd.models.batches import Example, model_inputs, target_logits, target_states
from mentor_kd.models.loading import IGNORED
from mentor_kd.training import chunked_loss as chunks
from mentor_kd.training import losses, soft_labels
from mentor_kd.training.chunked_loss import chunked_loss
from mentor_kd.training.losses import (
    LossSettings,
    States,
    TopK,
    cached_divergence,
    cross_entropy,
    distillation_loss,
    rounded_products,
    soft_label_divergence,
)
from mentor_kd.training.settings import TrainSettings, rounds_soft_labels
from mentor_kd.training.soft_label_cache import HEAD, SoftLabelSettings
from mentor_kd.training.soft_labels import cached
from mentor_kd.training.train import train

EXACT = SoftLabelSettings()


def phi(folder, seed=0, **config):
    """A decoder whose output layer has a bias and is not tied to the embeddings."""
    tokenizer = tiny.sandbox_tokenizer()
    settings = {
        "vocab_size": len(tokenizer) + 7,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "initializer_range": 0.2,
        "resid_pdrop": 0.0,
    }
    torch.manual_seed(seed)
    model = PhiForCausalLM(PhiConfig(**settings | config))
    torch.nn.init.normal_(model.lm_head.bias)
    return tiny.save(folder, model, tokenizer)


PAIRS = {  # a student, and a wider mentor with other vocabulary padding
    "llama": (tiny.llama, {}, {"hidden_size": 48}),
    "gpt2": (tiny.gpt2, {}, {"n_embd": 48, "n_layer": 2}),
    "t5": (tiny.t5, {"beyond": 4}, {"beyond": 20, "d_model": 48}),
    "t5, student's vocabulary larger": (tiny.t5, {"beyond": 9}, {"beyond": 0, "d_model": 48}),
    "phi": (phi, {}, {"hidden_size": 48, "vocab_size": 1500}),
}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, tmp_path_factory):
    make, student, mentor = PAIRS[request.param]
    place = tmp_path_factory.mktemp("models")
    return loading.load(make(place / "student", **student)), loading.load(make(place / "mentor", seed=1, **mentor))


@pytest.fixture(scope="module")
def mentor(tmp_path_factory):
    return loading.load(tiny.llama(tmp_path_factory.mktemp("mentor") / "llama"))


def make(folder, mentor, examples, vocabulary=None, identity="mentor", **more):
    return cached(folder, identity, lambda: mentor, vocabulary or mentor.vocabulary, examples, EXACT, **more)


def unexpected():
    raise AssertionError("the mentor was called again")


def again(folder, mentor, examples, identity="mentor"):
    """The cache, read without the mentor."""
    return cached(folder, identity, unexpected, mentor.vocabulary, examples, EXACT)


def gradient(student, loss):
    found = torch.autograd.grad(loss, list(student.model.parameters()), allow_unused=True)
    return torch.cat([one.flatten() for one in found if one is not None])


SETTINGS = [LossSettings(0.3, 2.0, beta) for beta in (0.0, 0.1, 0.5, 1.0)]
SETTINGS += [LossSettings(1.0, 1.0), LossSettings(0.0, 2.0), LossSettings(0.5, 4.0, 0.5, tau_squared=False)]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"beta {s.beta}, tau {s.soft_label_temperature}")
def test_loss_and_gradient_are_those_of_the_live_mentor(tmp_path, monkeypatch, pair, settings):
    student, mentor = pair
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 20 * 4 * student.model.get_output_embeddings().weight.shape[0])
    examples = tiny.examples(student, 4, "sandbox-sums")
    inputs = model_inputs(examples, student)
    targets, shared = inputs["labels"][inputs["labels"] != IGNORED], min(student.vocabulary, mentor.vocabulary)
    tau, tokens = settings.soft_label_temperature, len(inputs["labels"])
    with torch.no_grad():
        taught = target_logits(mentor, inputs)[:, :shared]
    logits = target_logits(student, inputs)
    kl = soft_label_divergence(logits[:, :shared], taught, tau, settings.beta)
    live = distillation_loss(cross_entropy(logits, targets), kl, tokens, settings)

    soft = make(tmp_path, mentor, examples, shared).rows(examples, tau)
    states, head = target_states(student, inputs), student.model.get_output_embeddings()
    loss, _, found_kl = chunked_loss(states, head, targets, soft, settings, tokens)
    assert loss.item() == pytest.approx(live.item(), rel=1e-3) and found_kl.item() == pytest.approx(kl.item(), rel=1e-3)
    assert cached_divergence(logits, soft, tau, settings.beta).item() == pytest.approx(kl.item(), rel=1e-3)
    expected, found = gradient(student, live), gradient(student, loss)
    assert torch.nn.functional.cosine_similarity(expected.double(), found.double(), dim=0) > 0.9999
    assert torch.allclose(found, expected, atol=2e-3 * float(expected.abs().max()))


def layer(rows):
    head = torch.nn.Linear(len(rows[0]), len(rows), bias=False)
    head.weight.data = torch.tensor(rows)
    return head.requires_grad_(False)


def test_the_exact_divergence_and_its_gradient_by_hand():
    # states (1, 0) under these rows give the mentor 1/2, 1/4, 1/8, 1/8; a uniform student has 1/4 of each
    log = math.log
    head = layer([[log(4), 9.0], [log(2), -9.0], [0.0, 3.0], [0.0, 5.0]])
    soft = States(torch.tensor([[1.0, 0.0]]), head)
    student, own = torch.zeros(1, 4, requires_grad=True), layer(torch.eye(4).tolist())
    loss, ce, kl = chunked_loss(student, own, torch.tensor([2]), soft, LossSettings(1.0, 1.0), 1)
    loss.backward()
    assert loss.item() == pytest.approx(log(2) / 4) == pytest.approx(kl.item()) and ce.item() == pytest.approx(log(4))
    assert student.grad[0].tolist() == pytest.approx([-1 / 4, 0, 1 / 8, 1 / 8])  # s - m
    student.grad = None
    reverse, *_ = chunked_loss(student, own, torch.tensor([2]), soft, LossSettings(1.0, 1.0, 1.0), 1)
    reverse.backward()  # log s/m is -log 2, 0, log 2, log 2: KL(s || m) is log(2) / 4, and the slope s (log s/m - KL)
    assert reverse.item() == pytest.approx(log(2) / 4)
    assert student.grad[0].tolist() == pytest.approx([log(2) / 4 * x for x in (-5 / 4, -1 / 4, 3 / 4, 3 / 4)])


def test_tokens_beyond_the_shared_vocabulary_are_ignored_even_if_they_dominate():
    head, own = torch.nn.Linear(6, 20).requires_grad_(False), torch.nn.Linear(4, 24, bias=False)
    with torch.no_grad():
        own.weight[20:] += 1e4
    hidden, soft = torch.rand(50, 4, requires_grad=True), States(torch.randn(50, 6).half(), head)
    loss, _, kl = chunked_loss(hidden, own, torch.zeros(50, dtype=torch.long), soft, LossSettings(1.0, 2.0), 50)
    expected = soft_label_divergence(own(hidden)[:, :20], soft.logits(), 2.0)
    assert kl.item() == pytest.approx(expected.item(), rel=1e-3)
    loss.backward()
    found, hidden.grad = hidden.grad, None
    (4.0 / 50 * expected).backward()
    assert torch.allclose(found, hidden.grad, atol=1e-3 * float(found.abs().max()))


def test_the_divergence_of_nearly_equal_distributions_is_accurate():
    torch.manual_seed(0)
    head, own = torch.nn.Linear(16, 8192, bias=False), torch.nn.Linear(16, 8192, bias=False)
    with torch.no_grad():
        own.weight.copy_(head.weight + 0.0003 * torch.randn_like(head.weight))
    hidden = 3 * torch.randn(200, 16).half().float()
    _, _, kl = chunked_loss(hidden, own, torch.zeros(200, dtype=torch.long), States(hidden, head), LossSettings(), 200)
    expected = soft_label_divergence(own(hidden).double(), head(hidden).double(), 2.0).item()
    assert expected < 1e-3 and kl.item() == pytest.approx(expected, rel=0.05)


def test_rounded_products_have_a_small_error_and_restore_torchs_setting():
    torch.manual_seed(0)
    soft = States(torch.randn(40, 256).half(), torch.nn.Linear(256, 500).requires_grad_(False))
    before, precise = torch.backends.mkldnn.matmul.fp32_precision, soft.logits(2.0)
    some = replace(soft, rounded=True)[3:].to(torch.device("cpu"))
    rounded = some.logits(2.0)
    assert some.rounded and float((rounded - precise[3:]).std()) < 0.005 * float(precise.std())
    with pytest.raises(KeyError), rounded_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        raise KeyError
    assert torch.backends.mkldnn.matmul.fp32_precision == before and torch.equal(soft.logits(2.0), precise)


def test_rounding_changes_loss_and_gradient_by_less_than_a_thousandth(monkeypatch):
    modes, layer_logits = [], losses.layer_logits

    def seen(*given):
        modes.append(torch.backends.mkldnn.matmul.fp32_precision)
        return layer_logits(*given)

    monkeypatch.setattr(losses, "layer_logits", seen)
    monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 30 * 4 * 3000)  # three chunks
    torch.manual_seed(0)
    head, own = torch.nn.Linear(256, 3000).requires_grad_(False), torch.nn.Linear(64, 3000)
    with torch.no_grad():
        head.weight *= 8  # logits with a standard deviation of about 3, like a trained mentor's
    states, targets = torch.randn(90, 256).half(), torch.randint(0, 3000, (90,))
    hidden, found = torch.randn(90, 64, requires_grad=True), []
    for rounded in (False, True):
        loss, *_ = chunked_loss(hidden, own, targets, States(states, head, rounded), LossSettings(), 90)
        found.append((loss.item(), torch.autograd.grad(loss, hidden)[0].flatten()))
    assert modes[3:] == ["bf16"] * 3 and "bf16" not in modes[:3]
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-3)
    assert torch.nn.functional.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.9999


@pytest.mark.parametrize(
    ("precision", "amx", "rounds"), [("auto", 1, 1), ("auto", 0, 0), ("bfloat16", 1, 1), ("float32", 1, 0)]
)
def test_soft_labels_are_rounded_on_cpus_with_amx_unless_precision_is_float32(
    tmp_path, monkeypatch, mentor, precision, amx, rounds
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": bool(amx)}, raising=False)
    student, examples = loading.load(mentor.name, torch.device("cpu")), tiny.examples(mentor, 4)
    labels = make(tmp_path / "labels", mentor, examples)
    train(student, examples, None, TrainSettings(steps=1, epochs=1, precision=precision), tmp_path / "work", labels)
    assert labels.rows(examples, 2.0).rounded is bool(rounds)
    assert not rounds_soft_labels(precision, torch.device("meta"))


def test_rows_are_read_at_any_temperature_and_in_any_order(tmp_path, mentor):
    examples = tiny.examples(mentor, 6)
    labels = make(tmp_path, mentor, examples)
    chosen = [examples[4], examples[0], examples[4]]
    found = labels.rows(chosen, 1.7)
    with torch.no_grad():
        expected = torch.cat([target_logits(mentor, model_inputs([one], mentor)) for one in chosen])
    assert found.vocabulary == mentor.vocabulary and found.states.dtype == torch.float16
    assert torch.allclose(found.logits(), expected, atol=5e-3)
    other = cached(tmp_path, "mentor", unexpected, mentor.vocabulary, examples, SoftLabelSettings(0, (3.0,)))
    assert torch.equal(other.rows(chosen, 3.0).states, found.states)


def test_a_token_takes_two_bytes_per_dimension_of_the_mentor(tmp_path, mentor):
    for rows in (30, 60):
        examples = tiny.examples(mentor, rows)
        make(tmp_path / str(rows), mentor, examples)
        tokens = sum(len(one.target) for one in examples)
        [shard] = (tmp_path / str(rows)).rglob("shard-*")
        assert sum(one.numel() * one.element_size() for one in load_file(shard).values()) == tokens * 2 * 32
        assert shard.stat().st_size / tokens <= 2 * 32 + 4  # with the index of rows
        [head] = (tmp_path / str(rows)).rglob(HEAD)
        assert load_file(head)["weight"].shape == (mentor.vocabulary, 32)


def test_the_layer_has_only_the_shared_rows_and_is_in_the_manifest(tmp_path):
    mentor = loading.load(tiny.t5(tmp_path / "t5", beyond=20))
    make(tmp_path / "labels", mentor, tiny.examples(mentor, 2))
    [path] = (tmp_path / "labels").glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    assert manifest["head"] == files.sha256(path.with_name(HEAD))
    assert (manifest["k"], manifest["vocabulary"]) == (0, mentor.vocabulary) and "temperatures" not in manifest
    assert len(load_file(path.with_name(HEAD))["weight"]) == mentor.vocabulary == len(mentor.tokenizer)


def test_the_mentor_is_called_once_and_again_after_a_change(tmp_path, mentor):
    examples = tiny.examples(mentor, 3)
    make(tmp_path, mentor, examples)
    again(tmp_path, mentor, examples)
    changed = Example(examples[0].id, examples[0].prompt, examples[0].target[:-2] + examples[0].target[-1:])
    for other, identity in ((examples, "retrained"), ([changed], "mentor")):
        with pytest.raises(AssertionError, match="called again"):
            again(tmp_path, mentor, other, identity)


def test_an_incomplete_shard_or_layer_is_detected_and_written_again(tmp_path, mentor, monkeypatch):
    monkeypatch.setattr(soft_labels, "SHARD_TOKENS", 1)
    monkeypatch.setitem(soft_labels.BATCH_TOKENS, "cpu", 1)
    examples, batches = tiny.examples(mentor, 3), []
    expected = make(tmp_path, mentor, examples).rows(examples, 2.0)
    of_batch = soft_labels._of_batch
    monkeypatch.setattr(soft_labels, "_of_batch", lambda *given: batches.append(given[1]) or of_batch(*given))
    shards, [head] = sorted(tmp_path.glob("*/shard-*")), tmp_path.glob(f"*/{HEAD}")
    for torn, asked in ((shards[1], 1), (head, 0)):
        torn.write_bytes(torn.read_bytes()[:-7])
        with pytest.raises(AssertionError, match="called again"):
            again(tmp_path, mentor, examples)
        batches.clear()
        found = make(tmp_path, mentor, examples).rows(examples, 2.0)
        assert torch.equal(found.states, expected.states) and torch.equal(found.head.weight, expected.head.weight)
        assert len(batches) == asked
        again(tmp_path, mentor, examples)


def test_states_beyond_half_precision_are_stored_in_float32(tmp_path, mentor, monkeypatch):
    of_states = models_batches.target_states
    monkeypatch.setattr(soft_labels, "target_states", lambda *given: 1e6 * of_states(*given))
    examples = tiny.examples(mentor, 2)
    found = make(tmp_path, mentor, examples).rows(examples, 2.0).states
    assert found.dtype == torch.float32 and found.isfinite().all() and found.abs().max() > 1e6


def test_a_mentor_without_a_plain_output_layer_gets_the_top_k_form_and_a_notice(tmp_path, mentor, monkeypatch, capsys):
    monkeypatch.setattr(soft_labels, "has_plain_head", lambda loaded: False)
    examples = tiny.examples(mentor, 2)
    labels = make(tmp_path, mentor, examples)
    assert "not one layer of its states, so its top 64 tokens are kept" in capsys.readouterr().out
    found = labels.rows(examples, 2.0)
    assert isinstance(found, TopK) and found.ids.shape[1] == 64 == labels.settings.k
    assert isinstance(again(tmp_path, mentor, examples).rows(examples, 2.0), TopK)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_no_tensor_holds_the_logits_of_all_positions(beta):
    positions, vocabulary = 600, 32_128
    head, own = torch.nn.Linear(6, vocabulary).requires_grad_(False), torch.nn.Linear(4, vocabulary, bias=False)
    hidden, targets = torch.randn(positions, 4, requires_grad=True), torch.randint(0, vocabulary, (positions,))
    soft = States(torch.randn(positions, 6).half(), head)
    with tiny.Largest() as chunked:
        chunked_loss(hidden, own, targets, soft, LossSettings(beta=beta), positions)[0].backward()
    assert chunked.most <= chunks.CHUNK_BYTES["cpu"] // 4 < positions * vocabulary
