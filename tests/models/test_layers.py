"""Models with some layers left out: the right ones are left, and the result is an ordinary model."""

import pytest
import tiny
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from mentor_kd.files import InputError
from mentor_kd.models import greedy_cut, layers, loading, names
from mentor_kd.models.batches import model_inputs, target_logits
from mentor_kd.models.generation import Sampling, generate
from mentor_kd.pipeline.parameters import check_models
from mentor_kd.runs import estimates

BUILD = {
    "llama": lambda folder: tiny.llama(folder, layers=4),
    "gpt2": lambda folder: tiny.gpt2(folder, n_layer=4),
    "t5": lambda folder: tiny.t5(folder, num_layers=4),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {shape: build(root / shape) for shape, build in BUILD.items()}


def logits(loaded):
    with torch.inference_mode():
        return target_logits(loaded, model_inputs(tiny.examples(loaded, 3), loaded))


CHOSEN = [("llama", "[0,2-3]"), ("gpt2", "[1,3]"), ("t5", "[1-3]"), ("t5", "[0,2,3;1,3]"), ("llama", "[3]")]


@pytest.mark.parametrize(("shape", "chosen"), CHOSEN)
def test_a_cut_model_is_the_same_after_saving(folders, tmp_path, shape, chosen):
    one = loading.load(f"{folders[shape]}{chosen}")
    loading.save(tmp_path, one, {"name": "cut"})
    again, outline = loading.load(tmp_path), loading.outline(f"{folders[shape]}{chosen}")
    assert torch.equal(logits(one), logits(again))
    assert one.parameters == again.parameters == outline.parameters < loading.load(folders[shape]).parameters
    asked, sampling = ["Take the last letters.", "And?"], Sampling(max_new_tokens=8)  # uses the cache
    assert generate(one, asked, sampling) == generate(again, asked, sampling)


def test_the_layers_are_those_that_were_named(folders):
    """By hand: the layers that are left out do nothing."""
    one, cut = loading.load(folders["llama"]), loading.load(f"{folders['llama']}[0,2]")
    with torch.no_grad():
        for number in (1, 3):
            one.model.model.layers[number].self_attn.o_proj.weight.zero_()
            one.model.model.layers[number].mlp.down_proj.weight.zero_()
    assert torch.allclose(logits(one), logits(cut), atol=1e-5)


def test_the_first_layer_of_a_t5_passes_on_its_bias_of_positions(folders):
    one, cut = loading.load(folders["t5"]), loading.load(f"{folders['t5']}[1-3]")
    for part, kept in ((one.model.encoder, cut.model.encoder), (one.model.decoder, cut.model.decoder)):
        bias = part.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        assert torch.equal(kept.block[0].layer[0].SelfAttention.relative_attention_bias.weight, bias)
        with torch.no_grad():
            for layer in part.block[0].layer:
                for name in ("SelfAttention.o", "EncDecAttention.o", "DenseReluDense.wo"):
                    if hasattr(layer, name.split(".")[0]):
                        layer.get_submodule(name).weight.zero_()
    assert torch.allclose(logits(one), logits(cut), atol=1e-4)


def test_settings_per_layer_go_with_their_layer():
    config = Gemma3TextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2, head_dim=8
    )
    config.layer_types = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    model = layers.cut(Gemma3ForCausalLM(config), ((0, 2, 3),))
    assert model.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("shape", "chosen", "message"),
    [
        ("llama", "[0-4]", "layer 4 does not exist: its layers are 0 to 3"),
        ("llama", "[2,1]", "layer 1 follows layer 2; name each layer once, in ascending order"),
        ("llama", "[0-2,2]", "layer 2 follows layer 2"),
        ("llama", "[3-1]", "layers 3-1: the range must ascend; write 1-3"),
        ("llama", "[a]", "layers must be numbers and ranges, such as 0-19,28,29, got 'a'"),
        ("llama", "[]", r"the brackets must contain layers"),
        ("llama", "[0;1]", "it takes one list of layers, got 2"),
        ("t5", "[0;1;2]", "two lists of layers at most, the encoder's first, got 3"),
        ("t5", "[0;1,2]", r"the decoder may not keep more layers than the encoder \(2 and 1\)"),
        ("t5", "[0;4]", "decoder layer 4 does not exist: its layers are 0 to 3"),
    ],
)
def test_an_error_names_the_layer_and_the_range(folders, shape, chosen, message):
    name = f"{folders[shape]}{chosen}"
    for use in (loading.load, loading.outline):
        with pytest.raises(InputError, match=message) as error:
            use(name)
        assert name in str(error.value)


def test_numbers_are_written_in_the_shortest_way():
    assert layers.text_of(((*range(20), 28, 29),)) == "0-19,28,29"
    assert layers.text_of(((0, 1), (0, 1))) == "0,1" and layers.text_of(((0, 1, 2), (3,))) == "0-2;3"


@pytest.mark.parametrize(("name", "full"), names.CUT.items())
def test_a_named_cut_has_as_many_layers_as_it_says(name, full):
    whole, _, layers_left = name.rpartition("-")
    assert names.split(name) == names.split(full) and names.split(name)[0] == whole
    (kept,) = layers.parse(name, names.split(name)[1], (30,))
    assert len(kept) == int(layers_left) and f"{whole}[{layers.text_of((kept,))}]" == full


def test_the_identity_depends_on_the_layers_and_on_the_whole_model(folders, tmp_path):
    name = str(folders["llama"])
    found = {chosen: loading.identity(name + chosen) for chosen in ("", "[0-2]", "[0,1,2]", "[0,1]")}
    assert found["[0-2]"] == found["[0,1,2]"] and len(set(found.values())) == 3
    other = tiny.llama(tmp_path / "other", seed=9, layers=4)
    assert loading.identity(f"{other}[0-2]") != found["[0-2]"]
    check_models({"mentor": name, "student": name + "[0-2]", "methods": ["mentor-kd"]})
    with pytest.raises(InputError, match="layer 9 does not exist"):
        check_models({"mentor": name, "student": name + "[9]", "methods": ["mentor-kd"]})


def test_estimates_are_those_of_the_layers_that_are_left(folders):
    whole, cut = estimates.shape(str(folders["llama"])), estimates.shape(f"{folders['llama']}[0,1]")
    assert cut.layers == 2 and cut.parameters == loading.load(f"{folders['llama']}[0,1]").parameters < whole.parameters


def test_a_folder_whose_name_ends_in_brackets_is_a_folder(tmp_path):
    folder = tiny.llama(tmp_path / "run[0-1]", layers=3)
    assert loading.load(folder).model.config.num_hidden_layers == 3
    assert loading.load(f"{folder}[0]").model.config.num_hidden_layers == 1


def test_adapters_of_a_cut_model_are_added_to_it_again(folders, tmp_path):
    from mentor_kd.models import lora

    name = f"{folders['llama']}[0,3]"
    one = loading.load(name)
    adapted = lora.adapt(one.model, lora.LoraSettings(rank=2, merge=False), seed=0)
    loading.save(tmp_path, loading.Loaded(name, adapted, one.tokenizer), {"name": "a"}, adapters_of=name)
    assert loading.load(tmp_path).model.config.num_hidden_layers == 2
    assert loading.identity(tmp_path)


# chosen by measured loss


@pytest.mark.parametrize("shape", BUILD)
def test_layers_are_left_out_where_the_loss_is_lowest(folders, tmp_path, shape):
    one = loading.load(folders[shape])
    examples, before = tiny.examples(one, 4), logits(one)
    cuts = greedy_cut.choose(one, examples, 3, tmp_path / "log.jsonl", "model")
    assert torch.equal(logits(one), before)  # the model is whole again
    for cut in (cuts[0], cuts[-1]):
        again = loading.load(f"{folders[shape]}[{cut.kept}]")
        assert cut.loss == pytest.approx(greedy_cut.loss_of(again, examples), rel=1e-5)
    texts = ["1-3", "0,2,3", "0,1,3", "0-2"]
    if shape != "t5":
        tried = {text: greedy_cut.loss_of(loading.load(f"{folders[shape]}[{text}]"), examples) for text in texts}
        assert len(cuts) == 2 and cuts[1].kept == min(tried, key=tried.get)
        assert cuts[1].left_out == str(texts.index(cuts[1].kept))
    else:
        assert len(cuts) == 3 and {cut.left_out.split()[0] for cut in cuts[1:]} == {"encoder", "decoder"}


def test_a_stopped_search_goes_on_and_ends_with_the_same_cuts(folders, tmp_path, monkeypatch):
    one = loading.load(folders["llama"])
    examples, log = tiny.examples(one, 4), tmp_path / "log.jsonl"
    expected = greedy_cut.choose(one, examples, 1, tmp_path / "whole.jsonl", "model")
    right, calls = greedy_cut.loss_of, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 7:  # in the middle of the second layer
            raise KeyboardInterrupt
        return right(*given)

    monkeypatch.setattr(greedy_cut, "loss_of", killed)
    with pytest.raises(KeyboardInterrupt):
        greedy_cut.choose(one, examples, 1, log, "model")
    assert len(log.read_text().splitlines()) == 2
    assert greedy_cut.choose(one, examples, 1, log, "model") == expected
    assert len(calls) == 7 + 3 + 2
    assert greedy_cut.choose(one, examples, 3, log, "model") == expected[:2] and len(calls) == 12
    assert greedy_cut.choose(one, examples[:3], 3, log, "model") != expected[:2]  # other rationales: from the start


@pytest.mark.parametrize(
    ("least", "count", "message"), [(4, 2, "layers must be < 4"), (0, 2, "layers must be"), (2, 0, "no rationale")]
)
def test_an_impossible_search_is_refused(folders, tmp_path, least, count, message):
    one = loading.load(folders["llama"])
    with pytest.raises(InputError, match=message):
        greedy_cut.choose(one, tiny.examples(one, 4)[:count], least, tmp_path / "log.jsonl", "model")
    cut = loading.load(f"{folders['llama']}[0-2]")
    with pytest.raises(InputError, match="give the whole model"):
        greedy_cut.choose(cut, tiny.examples(one, 2), 1, tmp_path / "log.jsonl", "model")
