import json
import shutil

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd import files as models
from mentor_kd.files import InputError, read_json
from mentor_kd.models import loading
from mentor_kd.models.prompts import decode, encode_prompt, encode_target


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: build(root / name) for name, build in tiny.SHAPES.items()}


@pytest.fixture(scope="module")
def loaded(folders):
    return {name: loading.load(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_folder_of_each_shape_is_loaded(loaded, folders, shape):
    one = loaded[shape]
    assert one.encoder_decoder is (shape == "t5")
    assert one.name == str(folders[shape])
    assert not one.model.training
    assert {p.dtype for p in one.model.parameters()} == {torch.float32}
    assert one.parameters == sum(p.numel() for p in one.model.parameters()) > 10_000
    assert one.tokenizer.eos_token_id is not None


def test_gpt2_gets_a_pad_token_and_the_others_keep_theirs(loaded):
    assert loaded["gpt2"].tokenizer.pad_token_id == loaded["gpt2"].tokenizer.eos_token_id
    for shape in ("llama", "t5"):
        assert loaded[shape].tokenizer.pad_token_id != loaded[shape].tokenizer.eos_token_id


def test_a_relative_path_is_loaded_too(folders, monkeypatch):
    monkeypatch.chdir(folders["llama"].parent)
    assert loading.load("llama").parameters == loading.load("./llama").parameters
    assert loading.identity("llama") == loading.identity(folders["llama"])


def test_half_precision_files_are_loaded_in_float32(folders, tmp_path):
    one = loading.load(folders["llama"])
    one.model.bfloat16().save_pretrained(tmp_path)
    one.tokenizer.save_pretrained(tmp_path)
    assert {p.dtype for p in loading.load(tmp_path).model.parameters()} == {torch.float32}


# what cannot be loaded


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(InputError, match=rf"model '{name}': no folder .*sandbox-small"):
        loading.load(name)


@pytest.mark.parametrize("name", ["nobody/no-such-model", "a/b/c", "not a name"])
def test_an_unknown_hub_id_is_named_when_loaded_and_when_identified(name):
    with pytest.raises(InputError, match=f"model '{name}' could not be loaded"):
        loading.load(name)
    with pytest.raises(InputError, match=f"model '{name}'"):
        loading.identity(name)


def copy(folders, tmp_path, shape="llama"):
    return shutil.copytree(folders[shape], tmp_path / "copy")


def test_pickled_weights_are_not_read(folders, tmp_path):
    folder = copy(folders, tmp_path)
    torch.save(loading.load(folder).model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"could not be loaded .*safetensors"):
        loading.load(folder)


@pytest.mark.parametrize("harm", ["cut weights", "cut config", "no config", "unknown architecture", "no tokenizer"])
def test_a_damaged_folder_is_named(folders, tmp_path, harm):
    folder = copy(folders, tmp_path)
    if harm == "cut weights":
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    elif harm == "cut config":
        (folder / "config.json").write_text('{"model_type": ')
    elif harm == "no config":
        (folder / "config.json").unlink()
    elif harm == "unknown architecture":
        (folder / "config.json").write_text('{"model_type": "abacus"}')
    else:
        for file in folder.glob("tokenizer*"):
            file.unlink()
    with pytest.raises(InputError, match="copy' could not be loaded"):
        loading.load(folder)


def test_missing_weights_are_rejected(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy(folders, tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="up_proj"):
        loading.load(folder)


def test_a_tokenizer_without_eos_is_rejected(folders, tmp_path):
    folder = copy(folders, tmp_path)
    settings = read_json(folder / "tokenizer_config.json")
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no end-of-text token"):
        loading.load(folder)


# generation settings that come with a model


def test_a_models_sampling_settings_are_ignored(folders, tmp_path):
    folder = copy(folders, tmp_path)
    settings = read_json(folder / "generation_config.json")
    settings |= {"do_sample": True, "temperature": 0.1, "repetition_penalty": 2.0, "num_beams": 3}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    found = loading.load(folder).model.generation_config
    assert not found.do_sample
    assert found.repetition_penalty in (None, 1.0)
    assert found.num_beams in (None, 1)


def test_the_models_end_tokens_are_kept_and_the_tokenizers_is_added(folders, tmp_path):
    folder = copy(folders, tmp_path)
    settings = read_json(folder / "generation_config.json")
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": [7, 8]}))
    one = loading.load(folder)
    assert set(one.model.generation_config.eos_token_id) == {7, 8, one.tokenizer.eos_token_id}


# tokenizers


def test_each_tokenizer_equals_only_itself(loaded, folders):
    for shape, one in loaded.items():
        again = loading.load(folders[shape])
        for other_shape, other in loaded.items():
            assert loading.same_tokenizer(again.tokenizer, other.tokenizer) is (shape == other_shape)
        assert loading.same_tokenizer(one.tokenizer, one.tokenizer)


def test_sizes_of_the_embedding_say_nothing_about_the_tokenizer(loaded, tmp_path):
    # as FlanT5's: 32,100 tokens, 32,128 rows
    other = loading.load(tiny.t5(tmp_path, beyond=12))
    assert other.model.config.vocab_size != loaded["t5"].model.config.vocab_size
    assert loading.same_tokenizer(loaded["t5"].tokenizer, other.tokenizer)
    loading.require_same_tokenizer(loaded["t5"], other, [])


def test_a_pad_token_given_to_one_side_does_not_make_a_difference(folders, tmp_path):
    given_pad = loading.load(folders["gpt2"])
    from transformers import AutoTokenizer

    assert loading.same_tokenizer(given_pad.tokenizer, AutoTokenizer.from_pretrained(folders["gpt2"]))


def test_the_same_vocabulary_split_in_another_way_is_another_tokenizer(folders, tmp_path):
    folder = copy(folders, tmp_path, "gpt2")
    rules = read_json(folder / "tokenizer.json")
    rules["model"]["merges"] = rules["model"]["merges"][:5]
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    one, other = loading.load(folders["gpt2"]).tokenizer, loading.load(folder).tokenizer
    assert one.get_vocab() == other.get_vocab()
    assert not loading.same_tokenizer(one, other)


def test_different_tokenizers_are_rejected_with_both_names_and_a_fix(loaded, folders):
    with pytest.raises(InputError) as caught:
        loading.require_same_tokenizer(loaded["llama"], loaded["gpt2"], ["vanilla-kd", "label-only"])
    said = str(caught.value)
    for part in (str(folders["llama"]), str(folders["gpt2"]), "vanilla-kd, label-only", "1024 tokens", "401 tokens"):
        assert part in said


def test_models_of_two_kinds_are_rejected_with_both_names_and_a_fix(loaded, folders):
    said = "mentor .* is an encoder-decoder and student .* is a decoder-only model; .*: vanilla-kd"
    with pytest.raises(InputError, match=said):
        loading.require_same_tokenizer(loaded["t5"], loaded["llama"], ["vanilla-kd"])


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_byte_level_targets_decode_to_themselves(text):
    # skip_special_tokens removes EOS and nothing else
    tokenizer = tiny.bpe_tokenizer()
    if tokenizer.eos_token not in text:
        assert decode(tokenizer, encode_target(tokenizer, text)) == text


def test_a_decoders_bos_is_kept_and_its_eos_removed(folders, tmp_path):
    folder = copy(folders, tmp_path, "gpt2")
    rules = read_json(folder / "tokenizer.json")
    end = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    rules["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [end, {"Sequence": {"id": "A", "type_id": 0}}, end],
        "pair": [end, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [400], "tokens": ["<|endoftext|>"]},
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    tokenizer = loading.load(folder).tokenizer
    plain = tiny.bpe_tokenizer()("Who?\n###\n")["input_ids"]
    assert encode_prompt(tokenizer, False, "Who?") == [400, *plain]
    assert encode_target(tokenizer, "x")[:-1] == tiny.bpe_tokenizer()("x")["input_ids"]


# saving and identity


@pytest.mark.parametrize("shape", tiny.SHAPES)
@torch.inference_mode()
def test_a_saved_model_is_the_same_when_loaded(loaded, tmp_path, shape):
    one = loaded[shape]
    loading.save(tmp_path / "saved", one, {"name": "toy", "summary": "A toy.", "seed": 3})
    again = loading.load(tmp_path / "saved")
    ours, theirs = one.model.state_dict(), again.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert loading.same_tokenizer(one.tokenizer, again.tokenizer)
    assert again.tokenizer.pad_token_id == one.tokenizer.pad_token_id
    files = {path.suffix for path in (tmp_path / "saved").iterdir()}
    assert ".safetensors" in files and not files & {".bin", ".pt", ".pth", ".pkl"}


def test_the_card_says_what_the_model_is(loaded, tmp_path):
    loading.save(tmp_path, loaded["llama"], {"name": "toy", "summary": "A toy.", "data_hashes": {"a": 1}})
    card = read_json(tmp_path / "model_card.json")
    assert card == {
        "parameters": loaded["llama"].parameters,
        "name": "toy",
        "summary": "A toy.",
        "data_hashes": {"a": 1},
    }
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n") and "\n# toy\n\nA toy.\n" in readme
    assert '- **data hashes**: `{"a": 1}`' in readme


def test_identity_is_of_the_content(folders, tmp_path):
    folder = copy(folders, tmp_path)
    same = loading.identity(folders["llama"])
    assert loading.identity(folder) == same
    (folder / "model_card.json").write_text("{}")
    (folder / "manifest.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    assert loading.identity(folder) == same
    assert loading.identity(tiny.llama(tmp_path / "other", seed=1)) != same
    (folder / "tokenizer_config.json").write_text("{}")
    assert loading.identity(folder) != same


def test_sandbox_names_are_folders_of_the_project():
    assert loading.model_path("sandbox-base") == str(models.DATA / "models" / "sandbox-base")
    assert loading.model_path("org/name") == "org/name"
