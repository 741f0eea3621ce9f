"""How rationales enter training: with one end token, whatever the text says."""

import tiny

from mentor_kd.data.rationales import judged, new_question
from mentor_kd.data.tasks import Task
from mentor_kd.models import loading
from mentor_kd.pipeline.fit import encode_rows
from mentor_kd.training.methods import METHODS

TASK = Task("sums", "number")


def row(index, text):
    sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None, "index": index}
    question = new_question("sums", "Tom had 9 pens and lost 2. How many?", "7", "train")
    return judged(question, f"{text} --> 7", "teacher", sampler, TASK)


def test_a_rationale_that_ends_in_the_end_token_is_trained_with_one(tmp_path):
    loaded = loading.load(tiny.llama(tmp_path / "model"))
    rows = [row(0, "He had 9, lost 2, 9 - 2 = 7."), row(1, "He had 9, lost 2, 9 - 2 = 7.</s>"), row(2, "He</s> had 9.")]
    for method in ("vanilla-kd", "mcc-kd"):
        examples, left_out = encode_rows(loaded, rows, 400, METHODS[method])
        assert [example.id for example in examples] == [rows[0].id, rows[1].id]
        assert examples[0].target == examples[1].target
        assert examples[1].target.count(loaded.tokenizer.eos_token_id) == 1
        assert left_out == {"too_long": [], "special_tokens": [rows[2].id]}
