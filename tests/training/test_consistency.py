"""mcc-kd: the choice of rationales, the pairs, and a loss that equals that of vanilla-kd for alpha 0."""

import itertools
from dataclasses import replace

import pytest
import tiny
import torch
from trained import formula, one_step

from mentor_kd.data.rationales import new_question, new_rationale, target
from mentor_kd.data.sandbox import STYLES, explain, make_questions, read_question
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import Example
from mentor_kd.models.prompts import decode
from mentor_kd.training import trainer
from mentor_kd.training.consistency import PairBatches, answer_places, encode_apart, most_diverse
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.training.train import plan_batches

TASK = "sandbox-sums"


def rationale(text, question="1 + 1?", index=0, answer="2"):
    sampler = {"model": "t", "temperature": None, "top_k": None, "seed": 0, "index": index}
    asked = new_question(TASK, question, answer, "train")
    return new_rationale(asked, text, "teacher", sampler, prediction=answer, correct=True)


def rows(questions=3, styles=3):
    """Sandbox questions with rationales in several styles."""
    found = []
    for question in make_questions(TASK, questions, seed=3):
        for index, style in enumerate(STYLES[:styles]):
            text = explain(read_question(TASK, question.question), style).rpartition("-->")[0]
            found.append(rationale(text, question.question, index, question.answer))
    return found


def test_the_three_most_diverse_are_kept_by_hand():
    # word trigrams; b shares two of three with a, d shares one of three with c, e shares none
    texts = {"a": "w x y z v", "b": "w x y z u", "c": "k l m n o", "d": "j l m n p", "e": "f g h i q"}
    given = [rationale(text, index=i) for i, text in enumerate(texts.values())]
    # similar pairs: (a, b) 2/4, (c, d) 1/5; the first triple without one is a, c, e
    assert [row.rationale for row in most_diverse(given)] == [texts[name] for name in "ace"]
    # each triple of the first four has a similar pair: (c, d) is less similar than (a, b)
    assert [row.rationale for row in most_diverse(given[:4])] == [texts[name] for name in "acd"]
    assert most_diverse(given[:3]) == given[:3] and most_diverse(given[:1]) == given[:1]


def test_each_question_keeps_three():
    given = [rationale(f"{a} {b} {c}", f"{n} + 1?", i) for n in range(3) for i, (a, b, c) in enumerate(["abc"] * 5)]
    kept = most_diverse(given)
    assert [row.question for row in kept] == [f"{n} + 1?" for n in range(3) for _ in range(3)]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5"])
def test_the_answer_is_the_same_tokens_after_every_rationale(tmp_path, shape):
    loaded = loading.load(tiny.SHAPES[shape](tmp_path))
    given = rows()
    examples, too_long = encode_apart(loaded, given, 10_000)
    assert not too_long and len(examples) == len(given)
    for example, row in zip(examples, given, strict=True):
        answer = example.target[-1 - example.answer : -1]
        assert decode(loaded.tokenizer, answer).strip() == row.answer
        assert decode(loaded.tokenizer, example.target[:-1]).strip() == target(row)
        assert example.target[-1] == loaded.tokenizer.eos_token_id and example.group == row.question_id
    for a, b in itertools.combinations(examples, 2):
        if a.group == b.group:
            assert a.target[-1 - a.answer :] == b.target[-1 - b.answer :] and a.target != b.target


def test_rationales_that_are_too_long_are_listed(tmp_path):
    loaded = loading.load(tiny.llama(tmp_path))
    given = rows()
    lengths = {e.id: len(e.prompt) + len(e.target) for e in encode_apart(loaded, given, 10_000)[0]}
    limit = sorted(lengths.values())[4]
    kept, too_long = encode_apart(loaded, given, limit)
    assert {e.id for e in kept} == {i for i, n in lengths.items() if n <= limit} and too_long
    assert len(kept) + len(too_long) == len(given)


def fake(*groups):
    """Examples of questions by their numbers of rationales."""
    return [
        Example(f"{name}{i}", [1], [5] * (3 + i) + [7, 2], group=name, answer=1)
        for name, count in groups
        for i in range(count)
    ]


def test_an_epoch_has_every_question_once_with_two_adjacent_rationales():
    examples = fake(("a", 3), ("b", 3), ("c", 2), ("d", 1), ("e", 3))
    batches = plan_batches(examples, False, TrainSettings(epochs=4, batch_size=4, seed=1))
    assert isinstance(batches, PairBatches) and batches.steps == 4 * 3  # two questions a step
    drawn = set()
    for number in range(8):
        seen = []
        for batch in batches.epoch(number):
            assert len(batch) <= 4
            names = [examples[row].group for row in batch]
            groups = [(name, len(list(found))) for name, found in itertools.groupby(names)]
            assert groups == [(name, 1 if name == "d" else 2) for name, _ in groups]
            seen += groups
            drawn |= {tuple(sorted(row for row in batch if examples[row].group == "a"))}
        assert sorted(name for name, _ in seen) == list("abcde")
    assert drawn - {()} == {(0, 1), (0, 2), (1, 2)}
    assert list(batches) == list(plan_batches(examples, False, TrainSettings(epochs=4, batch_size=4, seed=1)))
    assert list(batches) != list(plan_batches(examples, False, TrainSettings(epochs=4, batch_size=4, seed=2)))


def test_a_pair_is_not_split():
    examples = fake(("a", 2), ("b", 2), ("c", 2), ("d", 2))
    halves = plan_batches(examples, False, TrainSettings(epochs=1, batch_size=4, accumulation=2))
    assert [[examples[row].group for row in batch] for batch in halves.epoch(0)] == [
        [name] * 2 for name in (examples[batch[0]].group for batch in halves.epoch(0))
    ]
    with pytest.raises(InputError, match="accumulation must be <= 2 with batch_size 4, got 4"):
        plan_batches(examples, False, TrainSettings(epochs=1, batch_size=4, accumulation=4))


def test_the_positions_of_answers_by_hand():
    # targets of 5, 6, 5 and 5 tokens; the answer is the second last of each
    a, b = fake(("a", 2))
    alone, other = fake(("c", 1))[0], fake(("d", 1))[0]
    assert answer_places([a, b, alone, other]).tolist() == [[3], [9]]
    assert answer_places([alone, other]).tolist() == [[], []]
    with pytest.raises(ValueError, match="a0 and a1 of one question end in different answers"):
        answer_places([a, replace(b, target=[5, 5, 5, 5, 8, 2])])


# the loss


def by_hand(loaded, examples, settings):
    """Half the sum of both rationales' cross-entropies and the consistency of the answers, text by text."""
    ce = formula(loaded, examples, settings)[0]
    apart, count = torch.tensor(0.0), 0
    for a, b in itertools.pairwise(examples):
        if a.group != b.group:
            continue
        parts = []
        for example in (a, b):
            if loaded.encoder_decoder:
                fed = {
                    "input_ids": torch.tensor([example.prompt]),
                    "decoder_input_ids": torch.tensor([[loaded.model.config.decoder_start_token_id, *example.target]]),
                }
                found = loaded.model(**fed).logits[0][: len(example.target)]
            else:
                found = loaded.model(torch.tensor([example.prompt + example.target])).logits[0]
                found = found[len(example.prompt) - 1 : -1]
            tau = settings.soft_label_temperature
            parts.append((found[-1 - example.answer : -1, : loaded.vocabulary] / tau).softmax(-1))
        p, q = parts
        apart = apart + ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2
        count += a.answer
    return ce + settings.consistency_weight * apart / count, float(apart.detach()) / count


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("head", ["plain", "capped"])
@pytest.mark.parametrize("shape", ["llama", "t5"])
def test_a_step_follows_the_formula_and_equals_vanilla_kd_for_alpha_0(tmp_path, monkeypatch, shape, head, accumulation):
    folder = tiny.SHAPES[shape](tmp_path / "model", **({"dropout_rate": 0.0} if shape == "t5" else {}))
    loaded = loading.load(folder)
    examples, _ = encode_apart(loaded, rows(2, 2), 10_000)
    loss = LossSettings(consistency_weight=0.7, soft_label_temperature=1.5)
    expected, apart = by_hand(loaded, examples, loss)
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in loaded.model.named_parameters()}
    loaded.model.zero_grad()
    if head == "capped":
        monkeypatch.setattr(trainer, "has_plain_head", lambda loaded: False)
    settings = TrainSettings(epochs=1, batch_size=4, accumulation=accumulation, loss=loss)
    gradients, row = one_step(loaded, examples, settings, tmp_path / "mcc")
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-3)
    assert row["consistency"] == pytest.approx(apart, rel=1e-3) and apart > 0.01
    size = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=2e-5 * max(1.0, size)), name

    # the same batches with alpha 0, and without groups as in vanilla-kd
    off = replace(settings, loss=replace(loss, consistency_weight=0.0))
    without, _ = one_step(loading.load(folder), examples, off, tmp_path / "off")
    plain = [replace(example, group="", answer=0) for example in examples]
    vanilla, _ = one_step(loading.load(folder), plain, off, tmp_path / "vanilla")
    assert all(torch.allclose(without[name], vanilla[name], atol=1e-6 * max(1.0, size)) for name in vanilla)
    assert not all(torch.allclose(gradients[name], vanilla[name], atol=1e-4 * size) for name in vanilla)
