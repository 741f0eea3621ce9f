"""Hostile model folders: nothing in them runs, nothing they name is fetched, and each is refused by name."""

import builtins
import json
import shutil
import sys

import pytest
import tiny

from mentor_kd.files import InputError, read_json
from mentor_kd.models import loading, lora

EVIL = "import os, pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass C: pass\nM = T = C\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny.llama(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def folder(plain, tmp_path, monkeypatch):
    """A model's folder with its own code, and a terminal whose user answers every question with yes."""
    monkeypatch.setattr(builtins, "input", lambda *_: "y")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    made = shutil.copytree(plain, tmp_path / "evil")
    (made / "evil.py").write_text(EVIL)
    return made


def change(folder, file="config.json", **values):
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def refused(folder, message):
    for read in (loading.load, loading.outline):
        with pytest.raises(InputError, match=message):
            read(folder)
    assert not (folder / "ran").exists()


CODE = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": ["evil.T", "evil.T"]}


def test_code_for_an_unknown_architecture_is_refused_by_name(folder):
    change(folder, model_type="evil", auto_map=CODE)
    refused(
        folder, "evil' could not be loaded .*config.json: auto_map names the model's own code for model_type 'evil'"
    )


def test_code_for_a_known_architecture_is_ignored(folder):
    change(folder, auto_map=CODE)
    assert loading.load(folder).parameters > 0
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("known", [True, False])
def test_code_of_a_tokenizer_never_runs(folder, known):
    name = read_json(folder / "tokenizer_config.json")["tokenizer_class"] if known else "T"
    change(folder, "tokenizer_config.json", tokenizer_class=name, auto_map=CODE)
    if known:
        assert loading.load(folder).tokenizer("a")["input_ids"]
    else:
        refused(folder, "could not be loaded")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "_attn_implementation_internal"])
@pytest.mark.parametrize("value", ["kernels-community/flash-attn", "flash_attention_2", {"": "a/b"}, 7])
def test_an_attention_kernel_is_never_fetched(folder, key, value):
    change(folder, **{key: value})
    refused(folder, f"config.json: {key} must be eager or sdpa, got")


def test_a_kernel_named_deeper_in_the_config_is_refused_too(folder):
    change(folder, text_config={"parts": [{"experts_implementation": "a/b"}]})
    refused(folder, "experts_implementation must be eager or sdpa, got 'a/b'")


def test_attention_of_torch_may_be_named(folder):
    change(folder, attn_implementation="eager")
    assert loading.load(folder).model.config._attn_implementation == "eager"


@pytest.mark.parametrize("key", ["quantization_config", "kernel_config"])
def test_a_model_that_needs_other_packages_is_refused(folder, key):
    change(folder, **{key: {"quant_method": "gptq", "bits": 4}})
    refused(folder, f"config.json: {key} needs other packages")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{"model_type": "llama", "model_type": "gpt2"}', "line 1, column 25: the key 'model_type' is"),
        ("config.json", '{"model_type": "llama", "a": ' + "[" * 99 + "]" * 99 + "}", "nested deeper than 50 levels"),
        ("config.json", "[1]", "config.json: expected a JSON object, got list"),
        ("generation_config.json", '{"eos_token_id": "x"}', "eos_token_id must be a token id, or a list of them"),
        ("tokenizer_config.json", '{"eos_token": ', "tokenizer_config.json, line 1: not valid JSON"),
        ("special_tokens_map.json", "{", "special_tokens_map.json, line 1: not valid JSON"),
        ("tokenizer.json", '{"model": {"type": "WordLevel"}}', "could not be loaded"),
        ("model.safetensors", "x" * 100, "could not be loaded"),
        ("model.safetensors.index.json", '{"weight_map": NaN', "could not be loaded"),
    ],
)
def test_a_damaged_file_is_named(folder, file, text, message):
    (folder / file).write_text(text)
    with pytest.raises(InputError, match=message):
        loading.load(folder)


def test_an_impossible_size_is_refused_before_anything_is_built(folder):
    change(folder, num_hidden_layers=10**9)
    refused(folder, "num_hidden_layers must be an integer <= 1000, got 1000000000")


def test_a_config_of_fewer_layers_than_the_weights_is_refused(tmp_path):
    """Transformers would run the first layers and say nothing."""
    folder = tiny.llama(tmp_path / "three", layers=3)
    change(folder, num_hidden_layers=2)
    with pytest.raises(InputError, match=r"weights of more layers than config.json says \(model.layers.2"):
        loading.load(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    change(folder, vocab_size=99)
    refused(folder, "its tokenizer has ids up to 1023, but the model has 99 embeddings")


def test_a_pad_token_without_an_embedding_is_replaced(plain, tmp_path):
    one = loading.load(plain)
    one.tokenizer.add_special_tokens({"pad_token": "<new pad>"})  # the model is not resized
    one.model.save_pretrained(tmp_path)
    one.tokenizer.save_pretrained(tmp_path)
    again = loading.load(tmp_path)
    assert again.tokenizer.pad_token_id == again.tokenizer.eos_token_id


@pytest.fixture
def adapters(plain, tmp_path):
    one = loading.load(plain)
    adapted = lora.adapt(one.model, lora.LoraSettings(rank=2), seed=0)
    loading.save(tmp_path / "adapters", loading.Loaded("a", adapted, one.tokenizer), {"name": "a"}, str(plain))
    return tmp_path / "adapters"


def test_adapters_that_are_their_own_base_are_refused(adapters, tmp_path):
    assert lora.bases_of(adapters) and loading.load(adapters).parameters
    shutil.copytree(adapters, tmp_path / "other")
    change(adapters, "adapter_config.json", base_model_name_or_path=str(tmp_path / "other"))
    change(tmp_path / "other", "adapter_config.json", base_model_name_or_path=str(adapters))
    for read in (loading.load, loading.identity):
        with pytest.raises(InputError, match="the adapters are their own base model"):
            read(adapters)


def test_adapters_must_be_complete_and_of_one_kind(adapters):
    from safetensors.torch import load_file, save_file

    weights = load_file(adapters / lora.WEIGHTS)
    save_file(dict(list(weights.items())[1:]), adapters / lora.WEIGHTS)
    with pytest.raises(InputError, match="the file has 3 of 4 weights"):
        loading.load(adapters)
    change(adapters, "adapter_config.json", peft_type="IA3")
    with pytest.raises(InputError, match="peft_type must be LORA, got 'IA3'"):
        loading.load(adapters)
