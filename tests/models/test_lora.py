"""LoRA: few weights are trained; saved adapters and merged weights restore the same model."""

import json
from dataclasses import replace

import pytest
import tiny
import torch
from trained import same, weights
from transformers import T5Config, T5EncoderModel

from mentor_kd.files import InputError
from mentor_kd.models import loading, lora
from mentor_kd.models.lora import LoraSettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import train

SETTINGS = TrainSettings(epochs=3, batch_size=4, learning_rate=3e-2, lora=LoraSettings(rank=4))
LAYERS = {"llama": ["q_proj", "v_proj"], "t5": ["q", "v"], "gpt2": ["c_attn"]}


def adapted(folder, seed=0):
    loaded = loading.load(folder)
    return replace(loaded, model=lora.adapt(loaded.model, SETTINGS.lora, seed))


def logits(loaded, examples):
    from mentor_kd.models.batches import model_inputs, target_logits

    with torch.no_grad():
        return target_logits(loaded, model_inputs(examples, loaded))


@pytest.mark.parametrize("shape", ["llama", "t5", "gpt2"])
def test_only_query_and_value_get_adapters_and_learn(tmp_path, shape):
    folder = tiny.SHAPES[shape](tmp_path / "model")
    loaded = adapted(folder)
    before = weights(loaded)
    examples = tiny.examples(loaded, 8)
    train(loaded, examples, None, SETTINGS, tmp_path / "work")
    moved = {name for name, value in weights(loaded).items() if not torch.equal(value, before[name])}
    assert moved and all("lora_" in name for name in moved)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in moved} == set(LAYERS[shape])
    config = loaded.model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 32, 0.05)


@pytest.mark.parametrize("shape", ["llama", "t5", "gpt2"])
def test_saved_merged_or_apart_it_is_the_same_model_again(tmp_path, shape):
    folder = tiny.SHAPES[shape](tmp_path / "model")
    loaded = adapted(folder)
    examples = tiny.examples(loaded, 8)
    train(loaded, examples, None, SETTINGS, tmp_path / "work")
    wanted = logits(loaded, examples)
    assert not torch.allclose(wanted, logits(loading.load(folder), examples), atol=1e-2)
    loading.save(tmp_path / "apart", loaded, {"name": "a"}, adapters_of=str(folder))
    merged = replace(loaded, model=lora.merged(loaded.model))
    loading.save(tmp_path / "merged", merged, {"name": "m"})
    for place in ("apart", "merged"):
        again = loading.load(tmp_path / place)
        assert torch.allclose(logits(again, examples), wanted, atol=1e-4), place
        assert again.parameters == loading.load(folder).parameters
    size = {
        place: sum(f.stat().st_size for f in (tmp_path / place).glob("*.safetensors")) for place in ("apart", "merged")
    }
    assert size["apart"] < size["merged"]
    assert loading.outline(tmp_path / "apart").vocabulary == loading.load(folder).vocabulary


def test_the_identity_of_adapters_covers_their_base(tmp_path):
    folder = tiny.llama(tmp_path / "model")
    loading.save(tmp_path / "apart", adapted(folder), {"name": "a"}, adapters_of=str(folder))
    first = loading.identity(tmp_path / "apart")
    assert first == loading.identity(tmp_path / "apart") != loading.identity(folder)
    tiny.llama(folder, seed=5)
    assert loading.identity(tmp_path / "apart") != first


def test_the_seed_makes_the_adapters_and_leaves_the_random_state(tmp_path):
    folder = tiny.llama(tmp_path / "model")
    state = torch.get_rng_state()
    assert same(weights(adapted(folder, 1)), weights(adapted(folder, 1)))
    assert not same(weights(adapted(folder, 1)), weights(adapted(folder, 2)))
    loading.load(folder)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(state)
        loaded = loading.load(folder)
        before = torch.get_rng_state()
        lora.adapt(loaded.model, SETTINGS.lora, 0)
        assert torch.equal(torch.get_rng_state(), before)


def test_a_stopped_training_resumes_with_the_same_adapters(tmp_path):
    folder = tiny.llama(tmp_path / "model")

    def go(work, stop=lambda: False):
        loaded = adapted(folder)
        trained = train(loaded, tiny.examples(loaded, 8), None, SETTINGS, work, stop=stop)
        return weights(loaded), trained

    whole, _ = go(tmp_path / "whole")
    asked = iter([False, False, True])
    assert go(tmp_path / "stopped", lambda: next(asked))[1].stopped
    again, trained = go(tmp_path / "stopped")
    assert trained.steps == 6 and same(again, whole)


def test_gradient_checkpointing_changes_no_number(tmp_path):
    folder, found = tiny.llama(tmp_path / "model", layers=2), []
    for checkpointing in (False, True):
        settings = replace(SETTINGS, epochs=1, gradient_checkpointing=checkpointing, lora=LoraSettings(4, dropout=0.0))
        loaded = loading.load(folder)
        loaded = replace(loaded, model=lora.adapt(loaded.model, settings.lora, 0))
        train(loaded, tiny.examples(loaded, 8), None, settings, tmp_path / str(checkpointing))
        found.append(weights(loaded))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_the_best_evaluation_is_what_is_left(tmp_path):
    from mentor_kd.evaluation.metrics import DevScore

    loaded, seen = adapted(tiny.llama(tmp_path / "model")), []

    def dev(to_beat):
        seen.append(weights(loaded))
        return DevScore([10.0, 50.0, 30.0][len(seen) - 1])

    trained = train(loaded, tiny.examples(loaded, 8), dev, SETTINGS, tmp_path / "work")
    assert trained.best_step == 4 and same(weights(loaded), seen[1]) and not same(seen[1], seen[2])


def test_unsupported_models_and_unreadable_adapters_are_rejected(tmp_path):
    with pytest.raises(InputError, match="LoRA does not support Linear .*; set lora_rank to 0"):
        lora.targets(torch.nn.Linear(2, 2))
    assert lora.targets(T5EncoderModel(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))) == ["q", "v"]
    folder = tiny.llama(tmp_path / "model")
    loading.save(tmp_path / "apart", adapted(folder), {"name": "a"}, adapters_of=str(folder))
    config = tmp_path / "apart" / lora.ADAPTER
    found = json.loads(config.read_text())
    config.write_text(json.dumps(found | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="base_model_name_or_path must name the base model"):
        loading.load(tmp_path / "apart")
    config.write_text(json.dumps(found | {"base_model_name_or_path": "/nowhere/model"}))
    with pytest.raises(InputError, match="no folder /nowhere/model"):
        loading.load(tmp_path / "apart")
    config.write_text(json.dumps(found | {"base_model_name_or_path": str(tiny.llama(tmp_path / "wide", width=48))}))
    with pytest.raises(InputError, match="do not fit their base model"):
        loading.load(tmp_path / "apart")
    (tmp_path / "apart" / lora.WEIGHTS).unlink()
    with pytest.raises(InputError, match="only safetensors are read"):
        loading.load(tmp_path / "apart")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rank": -1}, "rank .*-1"),
        ({"rank": True}, "rank .*True"),
        ({"alpha": 0}, "alpha .*0"),
        ({"dropout": 1.0}, r"dropout .*1\.0"),
        ({"merge": "no"}, "merge .*'no'"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        LoraSettings(**changes)
