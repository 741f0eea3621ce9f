"""The lens's numbers against hand-computed ones on minimal models, and with real model and tokenizer types."""

import math
from types import SimpleNamespace

import pytest
import tiny
import torch

from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import Example
from mentor_kd.models.loading import Loaded
from mentor_kd.training.losses import LossSettings, cross_entropy, distillation_loss, soft_label_divergence
from mentor_kd.widgets.lens import measures
from mentor_kd.widgets.lens.measures import REST, visible

LN2, LN3 = math.log(2), math.log(3)


def logits(*rows):
    """Logits whose softmax at temperature 1 gives these probabilities."""
    return torch.tensor(rows).log()


class Letters:
    """A tokenizer with four letters and an end token."""

    eos_token_id, pad_token_id, all_special_ids = 4, 4, [4]
    pieces = ["a", "b", "c", " ", "</s>"]

    def convert_ids_to_tokens(self, one):
        return self.pieces[one] if one < len(self.pieces) else None

    def decode(self, ids, **options):
        return "".join(self.pieces[one] for one in ids)

    def __call__(self, text, **options):
        return {"input_ids": [self.pieces.index(letter) for letter in text]}

    def get_vocab(self):
        return {piece: one for one, piece in enumerate(self.pieces)}


class Table(torch.nn.Module):
    """A model whose logits at each position are the table's row for the token read there."""

    device = torch.device("cpu")

    def __init__(self, table, encoder_decoder=False):
        super().__init__()
        self.table = table
        self.config = SimpleNamespace(is_encoder_decoder=encoder_decoder, decoder_start_token_id=4)

    def forward(self, input_ids, attention_mask=None, decoder_input_ids=None, use_cache=False):
        read = input_ids if decoder_input_ids is None else decoder_input_ids
        return SimpleNamespace(logits=self.table[read])


def dummy(name, table, encoder_decoder=False):
    return Loaded(name, Table(table, encoder_decoder), TOKENIZER)


TOKENIZER = Letters()
EVEN = [0.2] * 5
MENTOR = logits(EVEN, [0.5, 0.25, 0.25, 1e-9, 1e-9], EVEN, EVEN, [0.1, 0.6, 0.1, 0.1, 0.1])
STUDENT = logits(EVEN, [0.25, 0.5, 0.25, 1e-9, 1e-9], EVEN, EVEN, EVEN)


def test_entropy_with_and_without_a_temperature():
    one = logits([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3])
    assert measures.entropy(one).tolist() == pytest.approx([LN2, 0, LN3])
    # at temperature 2 the probabilities (16, 1) / 17 become (4, 1) / 5
    expected = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert measures.entropy(logits([16 / 17, 1 / 17]), 2.0).tolist() == pytest.approx([expected])


def test_divergence_equals_that_of_the_loss_by_position():
    mentor, student = logits([0.5, 0.25, 0.25], [0.2, 0.3, 0.5]), logits([0.25, 0.5, 0.25], [0.2, 0.3, 0.5])
    assert measures.divergence(mentor, student).tolist() == pytest.approx([0.25 * LN2, 0], abs=1e-6)
    for tau in (0.5, 2.0, 7.0):
        expected = float(soft_label_divergence(student, mentor, tau))
        assert float(measures.divergence(mentor, student, tau).sum()) == pytest.approx(expected, abs=1e-6)


def test_loss_equals_that_of_training_by_position():
    student = logits([0.25, 0.5, 0.25], [0.125, 0.125, 0.75])
    assert measures.loss(student, torch.tensor([1, 0])).tolist() == pytest.approx([LN2, 3 * LN2])


def test_the_training_target():
    mentor = logits([16 / 26, 9 / 26, 1 / 26])  # at temperature 2: (4, 3, 1) / 8
    told = measures.mixture(mentor, torch.tensor([1]), LossSettings(0.4, 2.0))[0]
    assert told.tolist() == pytest.approx([0.4 * 0.5, 0.6 + 0.4 * 0.375, 0.4 * 0.125])
    assert measures.mixture(mentor, torch.tensor([1]), LossSettings(0.0, 2.0))[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0, 8.0])
@pytest.mark.parametrize(("weight", "squared"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)])
def test_the_push_is_minus_the_gradient_of_the_training_loss(weight, squared, tau):
    torch.manual_seed(0)
    student, mentor, targets = torch.randn(3, 7, requires_grad=True), torch.randn(3, 7), torch.tensor([0, 3, 6])
    settings = LossSettings(weight, tau, tau_squared=squared)
    ce, kl = cross_entropy(student, targets), soft_label_divergence(student, mentor, tau)
    distillation_loss(ce, kl, 1, settings).backward()
    push = measures.push(student.detach(), mentor, targets, settings)
    assert torch.allclose(push, -student.grad, atol=1e-6)
    if tau == 1:
        told = measures.mixture(mentor, targets, settings)
        assert torch.allclose(push, told - student.detach().softmax(-1), atol=1e-6)


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_a_look_has_a_row_for_each_target_token(encoder_decoder):
    """The first token is predicted from the last prompt token, or from an encoder-decoder's start token (here 4)."""
    mentor, student = (dummy(n, t, encoder_decoder) for n, t in (("mentor", MENTOR), ("student", STUDENT)))
    seen = measures.look(Example("r1", [0, 4], [1, 0, 4]), mentor, {"after": student})
    assert seen.texts == ("b", "a", "</s>") and seen.id == "r1"
    table = measures.tokens(seen)
    assert list(table) == ["position", "token", "entropy", "divergence of after", "loss of after"]
    uneven = -(0.6 * math.log(0.6) + 0.4 * math.log(0.1))
    assert table["entropy"].tolist() == pytest.approx([uneven, 1.5 * LN2, math.log(5)], abs=1e-5)
    assert table["divergence of after"].tolist() == pytest.approx([math.log(5) - uneven, 0.25 * LN2, 0], abs=1e-5)
    assert table["loss of after"].tolist() == pytest.approx([math.log(5), 2 * LN2, math.log(5)], abs=1e-5)


def test_candidates():
    seen = measures.look(Example("r1", [4], [1, 0, 4]), dummy("mentor", MENTOR), {"after": dummy("student", STUDENT)})
    table = measures.candidates(seen, 1, LossSettings(0.4, 1.0), count=2).set_index("token").round(4)
    # after "b": mentor (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4), hard label "a"
    assert list(table.index) == ["a", "b", REST]
    assert table["hard label"].tolist() == [1, 0, 0]
    assert table["mentor"].tolist() == [0.5, 0.25, 0.25]
    assert table["target"].tolist() == [0.8, 0.1, 0.1]
    assert table["after"].tolist() == [0.25, 0.5, 0.25]
    assert table["push on after"].tolist() == [0.55, -0.4, -0.15]


def test_the_hard_label_is_among_the_candidates_however_unlikely():
    unlikely = logits(EVEN, [1e-9, 0.5, 0.5, 1e-9, 1e-9], EVEN, EVEN, EVEN)
    seen = measures.look(
        Example("r1", [4], [1, 0, 4]), dummy("mentor", unlikely), {"after": dummy("student", unlikely)}
    )
    table = measures.candidates(seen, 1, LossSettings(0.3, 2.0), count=1)
    assert table["token"].tolist() == ["a", REST]
    assert table["hard label"].tolist() == [1, 0]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5"])
def test_a_look_with_each_model_type(tmp_path, shape):
    mentor = loading.load(tiny.SHAPES[shape](tmp_path / "mentor", seed=1))
    student = loading.load(tiny.SHAPES[shape](tmp_path / "student", seed=2))
    example = tiny.examples(mentor, 1)[0]
    seen = measures.look(example, mentor, {"before": student, "after": mentor})
    table = measures.tokens(seen, temperature=2.0)
    assert len(table) == len(example.target) == len(seen.targets)
    assert table["divergence of after"].abs().max() < 1e-5 < table["divergence of before"].min()
    shares = measures.candidates(seen, 3, LossSettings(0.3, 2.0))
    assert shares[["hard label", "mentor", "target", "before", "after"]].sum().tolist() == pytest.approx([1] * 5)
    assert shares[["push on before", "push on after"]].sum().tolist() == pytest.approx([0, 0], abs=1e-5)


def test_vocabularies_with_different_padding_are_compared_on_their_shared_part(tmp_path):
    mentor = loading.load(tiny.t5(tmp_path / "mentor", seed=1, beyond=12))
    student = loading.load(tiny.t5(tmp_path / "student", seed=2, beyond=4))
    seen = measures.look(tiny.examples(mentor, 1)[0], mentor, {"after": student})
    assert seen.mentor.shape == seen.students["after"].shape == (len(seen.texts), len(student.tokenizer) + 4)
    measures.candidates(seen, 0, LossSettings(), count=10_000)  # entries beyond the tokenizer have a name as well


def test_models_that_cannot_be_compared_are_rejected_by_name(tmp_path):
    mentor, student = loading.load(tiny.llama(tmp_path / "m")), loading.load(tiny.gpt2(tmp_path / "s"))
    with pytest.raises(InputError, match="with the same tokenizer, but student 'after'"):
        measures.look(tiny.examples(mentor, 1)[0], mentor, {"after": student})


# readable tokens


@pytest.mark.parametrize("tokenizer", [tiny.sandbox_tokenizer, tiny.bpe_tokenizer, tiny.unigram_tokenizer])
def test_pieces_join_to_the_text(tokenizer):
    text = "Ann has 12 apples, <b>not</b> 3."
    ids = tokenizer()(text, add_special_tokens=False)["input_ids"]
    found = "".join(measures.readable(tokenizer(), ids))
    assert found.replace("\u2423", " ").replace("<unk>", "?").strip()[:17] == text[:17]
    assert "\u2423has" in found or "\u2423h" in found


def test_the_end_a_lone_byte_and_a_line_break_are_visible():
    tokenizer = tiny.bpe_tokenizer()
    assert measures.readable(tokenizer, [tokenizer.eos_token_id]) == ["<|endoftext|>"]
    ids = tokenizer("\n\u6f22", add_special_tokens=False)["input_ids"]
    assert "".join(measures.readable(tokenizer, ids)) == "\u21b5<E6><BC><A2>"


def test_nothing_is_invisible():
    hidden, shown = "a b\n\t\x00\u202e\u200b\xa0é", "a\u2423b\u21b5\u21e5\u2400<202E><200B>\u237dé"
    assert visible(hidden) == shown
