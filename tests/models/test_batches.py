import itertools

import pytest
import tiny
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import (
    BucketBatches,
    Example,
    cut,
    encode,
    has_plain_head,
    mask,
    model_inputs,
    pad,
    padding_waste,
    positions,
    row_lengths,
    steps_per_epoch,
    target_logits,
    target_states,
)
from mentor_kd.models.loading import IGNORED


@pytest.fixture(scope="module", params=tiny.SHAPES)
def loaded(request, tmp_path_factory):
    return loading.load(tiny.SHAPES[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return loading.load(tiny.gpt2(tmp_path_factory.mktemp("decoder")))


@pytest.fixture(scope="module")
def encoder_decoder(tmp_path_factory):
    return loading.load(tiny.t5(tmp_path_factory.mktemp("t5")))


# encoding


def test_targets_end_with_eos_and_prompts_of_decoders_with_the_separator(loaded):
    [example], too_long = encode(loaded, [("x", "How many?", "1 + 1 = 2. --> 2")], 200)
    end = loaded.tokenizer.eos_token_id
    assert too_long == []
    assert example.target[-1] == end and end not in example.target[:-1]
    assert loaded.tokenizer.decode(example.target[:-1]) == "1 + 1 = 2. --> 2"
    said = loaded.tokenizer.decode(example.prompt)
    assert said == ("How many?</s>" if loaded.encoder_decoder else "How many?\n###\n")


def test_too_long_rows_are_listed_and_none_is_truncated(loaded):
    rows = [("short", "A?", "b --> c"), ("long", "A?", "b " * 300 + "--> c"), ("asked long", "A? " * 300, "b --> c")]
    kept, too_long = encode(loaded, rows, 250)
    assert [e.id for e in kept] == ["short"]
    assert too_long == ["long", "asked long"]


def test_the_limit_counts_both_parts_for_a_decoder_and_the_longer_for_an_encoder_decoder(loaded):
    row = ("x", "Where is it?", "It is here. --> here")
    [example], _ = encode(loaded, [row], 1000)
    sizes = len(example.prompt), len(example.target)
    limit = max(sizes) if loaded.encoder_decoder else sum(sizes)
    assert encode(loaded, [row], limit)[1] == []
    assert encode(loaded, [row], limit - 1)[1] == ["x"]


# padding and alignment


def test_padding_by_hand():
    rows = [[1, 2, 3], [4]]
    assert pad(rows, 9).tolist() == [[1, 2, 3], [4, 9, 9]]
    assert pad(rows, 9, left=True).tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask(rows).tolist() == [[1, 1, 1], [1, 0, 0]]
    assert mask(rows, left=True).tolist() == [[1, 1, 1], [0, 0, 1]]


def test_inputs_and_labels_of_a_decoder(decoder):
    end = decoder.tokenizer.eos_token_id
    assert decoder.tokenizer.pad_token_id == end  # GPT-2: PAD and EOS have the same id
    inputs = model_inputs([Example("a", [11, 12], [21, 22, end]), Example("b", [13], [23, end])], decoder)
    assert inputs["input_ids"].tolist() == [[11, 12, 21, 22], [13, 23, end, end]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    # the prompt's last position predicts the first target token; the real EOS is scored, the padding is not
    assert inputs["labels"].tolist() == [[IGNORED, 21, 22, end], [23, end, IGNORED, IGNORED]]


def test_inputs_and_labels_of_an_encoder_decoder(encoder_decoder):
    inputs = model_inputs([Example("a", [11, 12, 1], [21, 22, 1]), Example("b", [13, 1], [23, 1])], encoder_decoder)
    assert inputs["input_ids"].tolist() == [[11, 12, 1], [13, 1, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert inputs["decoder_input_ids"].tolist() == [[0, 21, 22], [0, 23, 0]]
    assert inputs["labels"].tolist() == [[21, 22, 1], [23, 1, IGNORED]]


def test_positions_name_what_is_read_and_what_must_be_predicted(decoder, encoder_decoder):
    for loaded, fed in ((decoder, [11, 12, 21, 22]), (encoder_decoder, [0, 21, 22])):
        end = loaded.tokenizer.eos_token_id
        found = positions(Example("a", [11, 12], [21, 22, end]), loaded)
        wanted = [""] * (len(fed) - 3) + loaded.tokenizer.convert_ids_to_tokens([21, 22, end])
        assert found == list(zip(loaded.tokenizer.convert_ids_to_tokens(fed), wanted, strict=True))


@torch.inference_mode()
def next_token_logits(loaded, example):
    """The logits that predict each target token, from one forward pass per token and no other rows."""
    found = []
    for i in range(len(example.target)):
        so_far = example.target[:i]
        if loaded.encoder_decoder:
            start = [loaded.model.config.decoder_start_token_id]
            fed = {"input_ids": [example.prompt], "decoder_input_ids": [start + so_far]}
        else:
            fed = {"input_ids": [example.prompt + so_far]}
        found.append(loaded.model(**{key: torch.tensor(value) for key, value in fed.items()}).logits[0, -1])
    return torch.stack(found)


@torch.inference_mode()
def test_target_logits_are_those_that_predict_each_token_whatever_the_padding(loaded):
    rows = sorted(tiny.examples(loaded, 6), key=lambda e: len(e.target))
    chosen = [rows[0], rows[-1], rows[2]]
    assert len(chosen[0].target) < len(chosen[1].target)
    found = target_logits(loaded, model_inputs(chosen, loaded))
    expected = torch.cat([next_token_logits(loaded, example) for example in chosen])
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-4)


# the plan of a training run


def test_cutting_by_hand():
    assert cut(list(range(7)), 3) == [[0, 1], [2, 3, 4], [5, 6]]
    assert cut([1], 1) == [[1]]


@given(rows=st.integers(1, 200), parts=st.integers(1, 40))
def test_parts_differ_by_at_most_one_and_lose_nothing(rows, parts):
    runs = cut(list(range(rows)), parts)
    sizes = [len(run) for run in runs]
    assert len(runs) == parts and list(itertools.chain(*runs)) == list(range(rows))
    assert max(sizes) - min(sizes) <= 1


@given(
    lengths=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 90)), min_size=1, max_size=150),
    accumulation=st.sampled_from([1, 2, 4]),
    times=st.integers(1, 5),
    epochs=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_every_row_occurs_once_per_epoch_in_steps_of_equal_size(lengths, accumulation, times, epochs, seed):
    size = accumulation * times
    steps = steps_per_epoch(len(lengths), size)
    if len(lengths) // steps < accumulation:
        with pytest.raises(InputError, match="micro-batches"):
            BucketBatches(lengths, size, accumulation, epochs * steps, seed)
        return
    batches = list(BucketBatches(lengths, size, accumulation, epochs * steps, seed))
    assert len(batches) == epochs * steps * accumulation
    assert all(batches)
    each = steps * accumulation
    for epoch in range(epochs):
        rows = list(itertools.chain(*batches[epoch * each : (epoch + 1) * each]))
        assert sorted(rows) == list(range(len(lengths)))
    together = [sum(map(len, batches[i : i + accumulation])) for i in range(0, len(batches), accumulation)]
    assert max(together) - min(together) <= 1 and max(together) <= size


def test_too_much_accumulation_is_rejected():
    # 5 rows in steps of up to 4 are steps of 2 and 3, which cannot be split into 4 batches
    with pytest.raises(InputError, match="accumulation"):
        BucketBatches([(1,)] * 5, 4, 4, 2, 0)


def test_batches_are_determined_by_seed_and_epoch():
    lengths = [(i % 17, i % 5) for i in range(100)]

    def plan(seed, steps=26):
        return list(BucketBatches(lengths, 8, 2, steps, seed))

    assert plan(1) == plan(1)
    assert plan(1) != plan(2)
    assert plan(1)[:26] != plan(1)[26:]
    assert plan(1, 9) == plan(1)[:18]  # a shorter run is the beginning of a longer one


def test_micro_batches_of_a_step_hold_the_rows_of_the_step_without_accumulation():
    lengths = [(i * 7 % 23,) for i in range(64)]
    whole = list(BucketBatches(lengths, 8, 1, 16, 0))
    halves = list(BucketBatches(lengths, 8, 2, 16, 0))
    assert [a + b for a, b in zip(halves[::2], halves[1::2], strict=True)] == whole


def test_padding_waste_by_hand():
    rows = [Example("a", [0] * 4, [0] * 2), Example("b", [0] * 2, [0] * 5), Example("c", [0] * 1, [0] * 1)]
    # encoder: 4+2 real of 4*2, 1 of 1; decoder: 2+5 of 5*2, 1 of 1: 20 slots for 15 tokens
    assert padding_waste(rows, [[0, 1], [2]], True) == pytest.approx((8 + 1 + 10 + 1) / (6 + 1 + 7 + 1))
    # one sequence of prompt and target without its last token: 5, 6 and 1, so 12 + 1 slots for 12 tokens
    assert padding_waste(rows, [[0, 1], [2]], False) == pytest.approx(13 / 12)
    assert padding_waste(rows, [[0], [1], [2]], True) == 1.0


def test_buckets_waste_far_less_than_chance():
    lengths = [5 + i * 37 % 96 for i in range(512)]
    rows = [Example(str(i), [0] * n, [0] * n) for i, n in enumerate(lengths)]
    bucketed = padding_waste(rows, BucketBatches(row_lengths(rows, True), 8, 1, 64, 0).epoch(0), True)
    chance = padding_waste(rows, cut(list(range(512)), 64), True)
    assert bucketed < 1.1 < 1.4 < chance


def test_both_lengths_of_an_encoder_decoder_count():
    """Sorting by the target alone would leave the prompts in random order."""
    rows = [Example(str(i), [0] * (5 + i * 53 % 61), [0] * (5 + i * 37 % 67)) for i in range(512)]
    lengths = row_lengths(rows, True)
    split = padding_waste(rows, BucketBatches(lengths, 8, 1, 64, 0).epoch(0), True)
    order = sorted(range(512), key=lambda i: lengths[i])
    assert split < 1.25 < 1.35 < padding_waste(rows, cut(order, 64), True)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=1, max_size=150),
    budget=st.integers(1, 600),
    accumulation=st.sampled_from([1, 3]),
)
@example(lengths=[(35, 30)], budget=1, accumulation=1)  # a row longer than a whole mega-batch
def test_a_token_budget_is_kept_and_every_row_occurs_once(lengths, budget, accumulation):
    batches = BucketBatches(lengths, 8, accumulation, 0, 0, token_budget=budget, epochs=2)
    for number in range(2):
        found = batches.epoch(number)
        assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
        for batch in found:
            slots = len(batch) * (max(lengths[i][0] for i in batch) + max(lengths[i][1] for i in batch))
            assert slots <= budget or len(batch) == 1
    epochs = sum(len(batches.epoch(number)) for number in range(2))
    assert epochs <= len(list(batches)) == batches.steps * accumulation < epochs + accumulation


# without the output layer


def test_the_output_layer_turns_target_states_into_logits(loaded):
    chosen = tiny.examples(loaded, 3)
    inputs = model_inputs(chosen, loaded)
    head = loaded.model.get_output_embeddings()
    with torch.no_grad():
        states = target_states(loaded, inputs)
        assert states.shape == (sum(len(e.target) for e in chosen), head.weight.shape[1])
        assert torch.allclose(head(states), target_logits(loaded, inputs), atol=1e-5)
    assert has_plain_head(loaded)


def test_a_model_that_scales_its_logits_afterwards_is_detected(loaded, monkeypatch):
    forward = type(loaded.model).forward

    def doubled(self, *args, **kwargs):
        found = forward(self, *args, **kwargs)
        found.logits = 2 * found.logits + 1
        return found

    monkeypatch.setattr(type(loaded.model), "forward", doubled)
    assert not has_plain_head(loaded)
