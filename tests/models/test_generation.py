from dataclasses import replace

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from prompts import GREEDY, QUESTIONS, THREE, prompts
from transformers.generation import GenerateDecoderOnlyOutput

from mentor_kd.files import InputError, read_jsonl
from mentor_kd.models import generation, loading
from mentor_kd.models.generation import (
    Sampling,
    by_length,
    generate,
    generate_batch,
    generate_to,
    prompt_padding,
    shard_seed,
)
from mentor_kd.models.prompts import decode


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: loading.load(build(root / name)) for name, build in tiny.SHAPES.items()}


@pytest.fixture(scope="module")
def llama(shapes):
    return shapes["llama"]


@torch.inference_mode()
def greedy_by_hand(loaded, prompt, longest):
    """Greedy ids for one prompt, with a full forward pass per token."""
    start = [loaded.model.config.decoder_start_token_id] if loaded.encoder_decoder else []
    ids = []
    while len(ids) < longest:
        if loaded.encoder_decoder:
            fed = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([start + ids])}
        else:
            fed = {"input_ids": torch.tensor([prompt + ids])}
        token = int(loaded.model(**fed).logits[0, -1].argmax())
        if token == loaded.tokenizer.eos_token_id:
            break
        ids.append(token)
    return ids


# greedy decoding


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_a_text_does_not_depend_on_what_it_is_batched_with(shapes, shape):
    loaded = shapes[shape]
    together = generate_batch(loaded, prompts(loaded), GREEDY, 0)
    for prompt, [text] in zip(prompts(loaded), together, strict=True):
        ids = greedy_by_hand(loaded, prompt, GREEDY.max_new_tokens)
        assert text.text == decode(loaded.tokenizer, ids)
        assert text.tokens == len(ids)
    assert len({text.text for [text] in together}) > 2  # the model depends on its prompt


def test_texts_come_in_the_order_of_the_questions(llama):
    alone = [generate(llama, [question], GREEDY)[0] for question in QUESTIONS]
    assert generate(llama, QUESTIONS, GREEDY) == alone


def test_a_text_ends_at_the_first_end_token(llama, monkeypatch):
    end = llama.tokenizer.eos_token_id
    word = llama.tokenizer(" apples", add_special_tokens=False)["input_ids"]
    written = torch.tensor([[9, 9, *word, end, 0, 0], [9, 9, *word, *word, *word, *word]])

    monkeypatch.setattr(llama.model, "generate", lambda **_: GenerateDecoderOnlyOutput(sequences=written))
    [first], [second] = generate_batch(llama, [[9, 9], [9, 9]], replace(GREEDY, max_new_tokens=4), 0)
    assert (first.text, first.finished, first.tokens) == (" apples", True, 1)
    assert (second.text, second.finished, second.tokens) == (" apples apples apples apples", False, 4)


def test_any_of_several_end_tokens_ends_a_text(llama, monkeypatch):
    [word] = llama.tokenizer(" apples", add_special_tokens=False)["input_ids"]
    [other] = llama.tokenizer(" books", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", [llama.tokenizer.eos_token_id, other])
    written = GenerateDecoderOnlyOutput(sequences=torch.tensor([[9, word, word, other, 0]]))
    monkeypatch.setattr(llama.model, "generate", lambda **_: written)
    [[text]] = generate_batch(llama, [[9]], GREEDY, 0)
    assert (text.text, text.finished) == (" apples apples", True)


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("sampling", [GREEDY, THREE], ids=["greedy", "sampled"])
def test_finished_texts_leave_their_batch_and_change_no_other(shapes, monkeypatch, sampling, shape):
    """Three tokens at a time: only unfinished texts stay in the batch, and greedy texts do not change."""
    loaded, chosen = shapes[shape], replace(sampling, max_new_tokens=24)
    head = loaded.model.get_output_embeddings()

    def end_at_times(module, given, found):  # a random model rarely ends a text
        ends = torch.zeros_like(found)
        ends[..., list(generation.end_tokens(loaded))] = 50.0
        return found + ends * ((found[..., 7:8] * 1000).long() % 6 == 0)

    handle = head.register_forward_hook(end_at_times)
    monkeypatch.setattr(generation, "SEGMENT", 1000)
    whole = generate_batch(loaded, prompts(loaded), chosen, 3)
    monkeypatch.setattr(generation, "SEGMENT", 3)
    real, rows = loaded.model.generate, []

    def counted(**given):
        found = real(**given)
        rows.append(len(found.sequences))
        return found

    monkeypatch.setattr(loaded.model, "generate", counted)
    drawn = generate_batch(loaded, prompts(loaded), chosen, 3)
    texts, seen = [text for of_prompt in drawn for text in of_prompt], list(rows)
    assert drawn == generate_batch(loaded, prompts(loaded), chosen, 3)  # reproducible
    handle.remove()
    assert seen == [n for k in range(8) if (n := sum(text.tokens + text.finished > 3 * k for text in texts))]
    assert len(seen) > 1 and seen[-1] < seen[0] == len(QUESTIONS) * chosen.n
    if chosen.greedy:
        assert drawn == whole


def test_no_more_tokens_than_allowed(llama):
    texts = generate(llama, QUESTIONS, replace(GREEDY, max_new_tokens=3))
    assert max(text.tokens for [text] in texts) <= 3
    assert all(text.tokens == 3 or text.finished for [text] in texts)


# sampling


@pytest.mark.parametrize("shape", tiny.SHAPES)
def test_sampling_gives_n_texts_and_the_same_for_the_same_seed(shapes, shape):
    loaded = shapes[shape]
    first = generate(loaded, QUESTIONS, THREE)
    assert [len(texts) for texts in first] == [3] * len(QUESTIONS)
    assert generate(loaded, QUESTIONS, THREE) == first
    assert generate(loaded, QUESTIONS, replace(THREE, seed=6)) != first
    assert any(len({text.text for text in texts}) == 3 for texts in first)


def test_equal_questions_in_different_batches_and_shards_get_different_texts(llama, tmp_path):
    apart = replace(THREE, n=1, batch_size=1)
    assert len({text.text for [text] in generate(llama, ["Who?"] * 6, apart)}) == 6
    rows = list(generate_to(tmp_path, llama, [(f"q{i}", "Who?") for i in range(6)], apart, {}))
    assert len({row["text"] for row in rows}) == 6


def test_sampling_from_the_likeliest_token_alone_is_greedy(llama):
    one = replace(THREE, n=1, temperature=1.0, top_k=1, max_new_tokens=12)
    assert generate(llama, QUESTIONS, one) == generate(llama, QUESTIONS, GREEDY)


def test_without_top_k_all_tokens_may_come(llama):
    many = Sampling(n=400, temperature=50.0, top_k=0, max_new_tokens=1, batch_size=400)  # almost uniform
    narrow = replace(many, top_k=5)
    assert len({text.text for text in generate(llama, ["Who?"], many)[0]}) > 200
    assert len({text.text for text in generate(llama, ["Who?"], narrow)[0]}) <= 5


def test_the_callers_random_state_and_mode_are_restored(llama):
    llama.model.train()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    generate(llama, QUESTIONS[:2], THREE)
    assert torch.equal(torch.get_rng_state(), before)
    assert llama.model.training
    llama.model.eval()


def test_batches_go_from_long_to_short():
    assert by_length([[1], [1, 1, 1], [1, 1], [2]], 2) == [[1, 2], [0, 3]]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60), st.integers(1, 20))
def test_batches_hold_every_prompt_once_and_little_padding(lengths, size):
    asked = [[0] * length for length in lengths]
    batches = by_length(asked, size)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size
    assert prompt_padding(asked, batches) <= 1.15
    firsts = [len(asked[i]) for batch in batches for i in batch]
    assert firsts == sorted(firsts, reverse=True)


def test_a_batch_is_split_only_where_padding_requires_it():
    assert by_length([[1] * 10] * 9 + [[1] * 9], 10) == [list(range(10))]
    assert by_length([[1] * 100, [1], [1], [1]], 4) == [[0], [1, 2, 3]]
    assert prompt_padding([[1] * 4, [1] * 2], [[0, 1]]) == 8 / 6


def test_shards_have_different_seeds():
    assert len({shard_seed(0, shard) for shard in range(100)} | {shard_seed(1, shard) for shard in range(100)}) == 200


# shards


SMALL = replace(THREE, batch_size=3)  # one question per batch, four per shard: two shards
PAIRS = [(f"q{i}", question) for i, question in enumerate(QUESTIONS)]


def shards(folder):
    return sorted(path.name for path in folder.glob("shard-*"))


def test_rows_are_complete_and_in_order(llama, tmp_path):
    rows = list(generate_to(tmp_path, llama, PAIRS, SMALL, {}))
    assert [(row["id"], row["index"]) for row in rows] == [(f"q{i}", k) for i in range(8) for k in range(3)]
    assert set(rows[0]) == {"id", "index", "text", "finished", "tokens"}
    assert shards(tmp_path) == ["shard-00000.jsonl", "shard-00001.jsonl"]


@pytest.mark.parametrize("gone", [[0], [1], [0, 1]])
def test_only_missing_shards_are_generated_again(llama, tmp_path, monkeypatch, gone):
    rows = list(generate_to(tmp_path, llama, PAIRS, SMALL, {"mentor": "a"}))
    for number in gone:
        (tmp_path / f"shard-{number:05d}.jsonl").unlink()
    calls = []
    real = generation.generate_batch
    monkeypatch.setattr(generation, "generate_batch", lambda *given: calls.append(1) or real(*given))
    assert list(generate_to(tmp_path, llama, PAIRS, SMALL, {"mentor": "a"})) == rows
    assert len(calls) == 4 * len(gone)


@pytest.mark.parametrize("change", ["origin", "sampling", "questions"])
def test_shards_of_another_plan_are_removed(llama, tmp_path, change):
    list(generate_to(tmp_path, llama, PAIRS, SMALL, {"mentor": "a"}))
    plan = {"origin": {"mentor": "a"}, "sampling": SMALL, "questions": PAIRS}
    other = {"origin": {"mentor": "b"}, "sampling": replace(SMALL, seed=9), "questions": PAIRS[:4]}
    plan[change] = other[change]
    marked = tmp_path / "shard-00000.jsonl"
    marked.write_text("{}\n")
    rows = list(generate_to(tmp_path, llama, plan["questions"], plan["sampling"], plan["origin"]))
    assert len(rows) == 3 * len(plan["questions"])
    assert len(shards(tmp_path)) == (1 if change == "questions" else 2)
    assert "text" in next(read_jsonl(marked))[1]


def test_a_folder_without_a_plan_is_not_trusted(llama, tmp_path):
    rows = list(generate_to(tmp_path, llama, PAIRS, SMALL, {}))
    (tmp_path / "plan.json").unlink()
    (tmp_path / "shard-00000.jsonl").write_text("{}\n")
    assert list(generate_to(tmp_path, llama, PAIRS, SMALL, {})) == rows


def test_a_stop_keeps_finished_shards_and_the_same_call_resumes(llama, tmp_path):
    undisturbed = list(generate_to(tmp_path / "a", llama, PAIRS, SMALL, {}))
    with pytest.raises(KeyboardInterrupt, match="after 1 of 2 shards"):
        list(generate_to(tmp_path / "b", llama, PAIRS, SMALL, {}, stop=lambda: bool(shards(tmp_path / "b"))))
    assert shards(tmp_path / "b") == ["shard-00000.jsonl"]
    assert list(generate_to(tmp_path / "b", llama, PAIRS, SMALL, {})) == undisturbed


# settings


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": True}, "n must be an integer"),
        ({"max_new_tokens": 1.5}, "max_new_tokens .*1.5"),
        ({"batch_size": "64"}, "batch_size .*'64'"),
        ({"temperature": -0.1}, "temperature .*-0.1"),
        ({"temperature": "0.7"}, "temperature .*'0.7'"),
        ({"top_k": -1}, "top_k .*-1"),
        ({"top_p": 0.0}, "top_p .*0.0"),
        ({"top_p": "1"}, "top_p .*'1'"),
        ({"min_new_tokens": 300}, "min_new_tokens .*300"),
        ({"n": 3, "temperature": 0}, "n must be 1 for greedy .* got 3"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        Sampling(**changes)
