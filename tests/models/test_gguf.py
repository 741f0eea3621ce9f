"""GGUF files: converted with the same logits, the right pre-tokenizer, chat template and card; others refused."""

import gguf_file
import pytest
import tiny
import torch
from transformers import AutoTokenizer

from mentor_kd.files import InputError
from mentor_kd.models import gguf, loading, names
from mentor_kd.models.generation import Sampling, generate
from mentor_kd.teacher.local import local_where


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("gguf")
    gguf.convert(gguf_file.write(root / "a.gguf"), root / "model", "a", {"source": "a test"})
    return root / "model"


@pytest.fixture(scope="module")
def loaded(folder):
    return loading.load(folder)


def test_the_converted_model_computes_the_logits_of_the_weights_in_the_file(loaded):
    ids = torch.tensor([loaded.tokenizer("Take the last letters of 12 words.")["input_ids"]])
    with torch.inference_mode():
        assert torch.allclose(loaded.model(ids).logits, gguf_file.model()(ids).logits, atol=1e-5)
    assert loaded.parameters == sum(p.numel() for p in gguf_file.model().parameters())


def test_special_tokens_line_breaks_and_the_chat_template_survive(loaded):
    tokenizer = loaded.tokenizer
    for text in ("a\n\n12 b", "<|endoftext|>user\nhi", "  two  spaces\t1,234.5", "\u6f22 \U0001f600"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    end = tiny.bpe_tokenizer().eos_token_id
    assert tokenizer("<|endoftext|>")["input_ids"] == [end] == [tokenizer.eos_token_id]
    asked = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert asked == "<|endoftext|>user\nhi"


def test_white_space_before_a_digit_is_split_as_the_model_was_trained(loaded, tmp_path):
    """`smollm` splits off digits first; transformers, which does not know it, reads GPT-2's pieces."""

    def pieces(tokenizer):
        return [text for text, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12")]

    path = gguf_file.write(tmp_path / "a.gguf")
    assert pieces(loaded.tokenizer) == ["a", "\u010a\u010a", "1", "2"]
    assert pieces(AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)) == ["a", "\u010a", "\u010a", "12"]


@pytest.mark.parametrize(("pre", "known"), [("gpt-2", True), ("qwen2", True), ("viking", False), ("", False)])
def test_an_unknown_pre_tokenizer_is_told(tmp_path, pre, known):
    header = gguf.read_header(gguf_file.write(tmp_path / "a.gguf", pre=pre))
    warning = gguf.add_pre_tokenizer(tiny.bpe_tokenizer(), header)
    assert (warning == "") is known
    assert known or f"its pre-tokenizer {pre or '(none named)'!r} is not known" in warning


def test_the_card_states_licence_and_source_and_escapes_names(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n") and "- **source**: `a test`" in card
    assert "<b>" not in card.replace("\\<b\\>", "")
    assert not (folder / loading.CARD).exists()  # it would be taken for a model that was trained on a task


def test_a_converted_model_writes_and_is_a_local_teacher(loaded, folder):
    texts = generate(loaded, ["Take the last letters."], Sampling(max_new_tokens=5))
    assert texts[0][0].tokens == 5
    assert local_where(str(folder)) == local_where(folder)


def test_the_identity_of_a_model_includes_its_chat_template(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    assert loading.identity(copy) == loading.identity(folder)
    (copy / "chat_template.jinja").write_text("other")
    assert loading.identity(copy) != loading.identity(folder)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    def refused(path, message):
        with pytest.raises(InputError, match=message):
            gguf.convert(path, tmp_path / "out", "a", {"source": "a test"})

    refused(tmp_path / "none.gguf", "no such file")
    (tmp_path / "text.gguf").write_text("<html>not found")
    refused(tmp_path / "text.gguf", "not a GGUF file")
    whole = gguf_file.write(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "half.gguf", "transformers cannot read this GGUF file")
    (tmp_path / "start.gguf").write_bytes(whole[:100])
    refused(tmp_path / "start.gguf", "transformers cannot read this GGUF file")
    refused(gguf_file.write(tmp_path / "bert.gguf", architecture="bert"), "architecture bert is not supported")
    refused(gguf_file.write(tmp_path / "huge.gguf", blocks=10**6), "num_hidden_layers must be an integer <= 1000")
    refused(gguf_file.write(tmp_path / "part.gguf", parts=3), "one of the 3 parts of a model; merge them")
    refused(gguf_file.write(tmp_path / "bare.gguf", vocabulary=False), "transformers cannot read this GGUF file")


real = pytest.mark.skipif(
    not (names.models_root() / "smollm2-135m" / "config.json").is_file(),
    reason="smollm2-135m is not there: mentor-kd models fetch smollm2-135m",
)


@real
def test_the_real_model_answers_in_english_in_its_chat_format():
    one = loading.load("smollm2-135m", "cpu")
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    ids = one.tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        made = one.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
    assert one.tokenizer.decode(made) == "The capital of France is Paris.<|im_end|>"
    assert one.parameters == 134_515_008


@real
def test_the_real_tokenizer_reads_digits_and_line_breaks_as_in_training():
    tokenizer = loading.outline("smollm2-135m").tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("a\n\n12 b")["input_ids"]) == [
        "a",
        "\u010a\u010a",
        "1",
        "2",
        "\u0120b",
    ]
    assert tokenizer("<|im_start|>user\n")["input_ids"][0] == 1
