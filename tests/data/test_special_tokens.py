"""Special tokens written as text: removed from the ends, found inside."""

import pytest
import tiny

from mentor_kd.data.rationales import judged, new_question
from mentor_kd.data.special_tokens import special_in, strip_special, tokens_of, trainable
from mentor_kd.data.tasks import Task

ENDS = ["</s>", "<|im_end|>", "<|endoftext|>", "<eos>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_text|>"]
ENDS += ["<pad>", "<｜end▁of▁sentence｜>", "<|return|>", "<|END_OF_TURN_TOKEN|>", "[EOS]"]


@pytest.mark.parametrize("token", ENDS)
def test_tokens_of_common_tokenizers(token):
    assert strip_special(f"9 - 2 = 7.{token}") == ("9 - 2 = 7.", 1)
    assert strip_special(f"9 - 2 = 7. {token}\n{token} ") == ("9 - 2 = 7.", 2)
    inside = f"9 - 2{token} = 7."
    assert strip_special(inside) == (inside, 0) and special_in(inside) == token


def test_a_turns_beginning_goes_with_its_role():
    assert strip_special("<|im_start|>assistant\n9 - 2 = 7.<|im_end|>") == ("9 - 2 = 7.", 2)
    assert strip_special("<s> 7") == ("7", 1)
    assert strip_special("</s>") == ("", 1)


@pytest.mark.parametrize("text", ["2 < 3 and 3 > 2", "<b>7</b>", "a <s", "[1, 2]", "x || y", "<answer>7</answer>", ""])
def test_other_texts_are_left_alone(text):
    assert strip_special(text) == (text, 0) and special_in(text) == ""


def test_rows_for_a_given_tokenizer():
    """The sandbox's tokenizer reads </s>; <|im_end|> is a text like any other to it."""
    tokens = tokens_of(tiny.sandbox_tokenizer())
    assert "</s>" in tokens and "<|endoftext|>" in tokens_of(tiny.bpe_tokenizer()) + ("<|endoftext|>",)
    task, question = Task("sums", "number"), new_question("sums", "9 - 2?", "7", "train")

    def row(text, index):
        sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None, "index": index}
        return judged(question, f"{text} --> 7", "teacher", sampler, task)

    rows = [row(text, index) for index, text in enumerate(["So 7.", "So 7.</s>", "So</s> 7.", "So 7.<|im_end|>"])]
    kept, dropped = trainable(rows, tokens)
    assert [one.rationale for one in kept] == ["So 7.", "So 7.", "So 7.<|im_end|>"]
    assert kept[0] is rows[0] and dropped == [rows[2].id]
