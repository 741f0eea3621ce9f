"""The measurements of speed and memory: the paper's loop follows its formula, ours is the trainer itself."""

import pandas
import pytest
import tiny
import torch

from mentor_kd.bench import charts, growth, loops
from mentor_kd.bench.loops import BenchSettings, PaperLoop, compare, cost_of_distillation, flops, ratios, spread
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import Example
from mentor_kd.models.generation import Sampling
from mentor_kd.models.shapes import T5Shape
from mentor_kd.pipeline import augment
from mentor_kd.pipeline import mentor as steps
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.report.figures import png
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings

QUICK = BenchSettings(batch_size=2, steps=3, paper_steps=1, rounds=2)


@pytest.fixture(scope="module", params=["llama", "t5"])
def pair(request, tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    shape, config = tiny.SHAPES[request.param], {"dropout_rate": 0.0} if request.param == "t5" else {}
    return str(shape(place / "student", **config)), str(shape(place / "mentor", seed=1, **config))


def test_the_papers_loop_pads_every_row_to_the_longest_of_the_set(pair):
    student = loading.load(pair[0])
    examples = tiny.examples(student, 8, "sandbox-sums")
    loop = PaperLoop(student, loading.load(pair[1]), examples, BenchSettings())
    inputs = loop.inputs(examples[:2])
    longest = max(len(e.target if student.encoder_decoder else e.prompt + e.target[:-1]) for e in examples)
    assert inputs["labels"].shape == (2, longest)
    assert (inputs["labels"] != -100).sum() == sum(len(e.target) for e in examples[:2])
    cut = PaperLoop(student, student, examples, BenchSettings(max_length=9)).inputs(examples[:2])
    assert all(value.shape == (2, 9) for value in cut.values())


def test_the_papers_loop_follows_its_formula(pair, monkeypatch):
    """CE is the mean over tokens, KL is summed over the vocabulary and averaged over all positions, without tau²."""
    student, mentor = loading.load(pair[0]), loading.load(pair[1])
    examples = tiny.examples(student, 2)
    loop = PaperLoop(student, mentor, examples, BenchSettings(loss=LossSettings(0.3, 2.0)))
    inputs = loop.inputs(examples)
    labels = inputs.pop("labels")
    with torch.no_grad():
        own, taught = student.model(**inputs).logits, mentor.model(**inputs).logits
    m, s = (taught / 2).softmax(-1), (own / 2).softmax(-1)
    kl = (m * (m / s).log()).sum() / labels.numel()
    ce = -own.log_softmax(-1)[labels != -100][range(int((labels != -100).sum())), labels[labels != -100]].mean()
    seen = []
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: seen.append(float(self.detach())))
    loop.step(examples)
    assert seen == [pytest.approx(float(0.7 * ce + 0.3 * kl), rel=1e-4)]


def test_three_loops_are_compared(pair):
    student = loading.outline(pair[0])
    examples = tiny.examples(student, 8, "sandbox-sums")
    table = compare(*pair, examples, QUICK)
    assert list(table["loop"]) == ["paper", "ours", "floor"] * 2
    assert (table[["seconds", "rationales", "tokens"]] > 0).all().all()
    assert (table["slots"] >= 1).all() and table["mfu"].isna().all() == (not torch.cuda.is_available())
    found = ratios(table)
    assert list(found.index) == ["paper / ours", "ours / floor"] and (found > 0).all().all()
    assert len(png(charts.loops_chart(table, "title"))) > 1000


def test_ratios_are_paired_by_round():
    rounds = [("paper", 0, 10.0), ("ours", 0, 2.0), ("floor", 0, 1.0), ("paper", 1, 40.0), ("ours", 1, 4.0)]
    table = pandas.DataFrame([*rounds, ("floor", 1, 4.0)], columns=["loop", "round", "seconds"])
    assert ratios(table).loc["paper / ours"].tolist() == [7.5, 5.0, 10.0]
    assert ratios(table).loc["ours / floor"].tolist() == [1.5, 1.0, 2.0]
    cost = cost_of_distillation(table, labels_seconds=0.5, rows=100, epochs=20)
    assert cost.loc["ours"].tolist() == [3.0 * 2000, 50.0, pytest.approx(6050 / 3600)]
    assert cost.loc["paper", "mentor's pass"] == 0


def test_useful_flops_by_hand(tmp_path):
    loaded = loading.outline(tiny.llama(tmp_path / "llama", width=32, layers=1))
    body = 4 * 32 * 32 + 3 * 32 * 64 + 3 * 32  # attention, gated MLP, three norms; embeddings are only looked up
    examples = [Example("a", [0] * 3, [0] * 5), Example("b", [0] * 2, [0] * 4)]
    assert flops(loaded, examples) == 6 * (body * 14 + len(loaded.tokenizer) * 32 * 9)


def test_sampled_rows_cover_all_lengths():
    examples = [Example(str(i), [0], [0] * (i + 1)) for i in range(100)]
    chosen = spread(examples, 10)
    assert sorted(len(e.target) for e in chosen) == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    with pytest.raises(InputError, match="needs 101 rationales, got 100"):
        spread(examples, 101)


def test_a_shape_is_created_with_the_given_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setitem(loops.SHAPES, "t5-shape-tiny", T5Shape(16, 24, 2, 2, 2, head_width=8))
    named = []
    monkeypatch.setattr(
        loops.T5Tokenizer, "from_pretrained", lambda name: named.append(name) or tiny.unigram_tokenizer()
    )
    path = loops.model_for("t5-shape-tiny", tmp_path, "a/tokenizer")
    assert loops.model_for("t5-shape-tiny", tmp_path, "a/tokenizer") == path and named == ["a/tokenizer"]
    assert loading.load(path).model.config.d_ff == 24
    assert loops.model_for("sandbox-small", tmp_path, "") == "sandbox-small"
    with pytest.raises(InputError, match="shape must be one of t5-shape-tiny.*got 't5-shape-huge'"):
        loops.random_t5(tmp_path / "x", "t5-shape-huge", "")


def test_peak_memory_is_measured_for_each_loop(tmp_path):
    model = str(tiny.llama(tmp_path / "llama"))
    found = loops.peak_memory(model, model, tiny.examples(loading.outline(model), 4), QUICK)
    assert list(found.index) == ["paper", "ours", "floor"] and (found >= 0).all()


def test_the_plain_loss_needs_more_memory_and_both_are_drawn():
    table = growth.loss_growth([32_128], [16, 1024])
    large = table[table["positions"] == 1024].set_index("loss")["mb"]
    assert large["plain"] > 3 * large["chunked"] > 0
    assert len(png(charts.loss_growth_chart(table, "title"))) > 1000


def test_the_cache_grows_with_the_number_of_rows(pair):
    examples = tiny.examples(loading.outline(pair[0]), 8)
    table = growth.cache_growth(pair[1], pair[0], examples, [8, 16], QUICK)
    assert table["tokens"].tolist() == [table["tokens"][0], 2 * table["tokens"][0]]
    assert (table["bytes_per_token"] <= 310).all() and (table["read_tokens"] > 1000).all()
    assert len(png(charts.cache_chart(table, "title"))) > 1000


def test_soft_labels_with_more_tokens_are_more_exact(pair):
    examples = tiny.examples(loading.outline(pair[0]), 24)
    vocabulary = loading.outline(pair[0]).vocabulary
    settings = BenchSettings(loss=LossSettings(0.3, 2.0))
    table = growth.fidelity(pair[1], pair[0], examples[:4], examples[4:], [2, 32, vocabulary], settings)
    errors = table["loss_error"].tolist()
    assert abs(errors[1]) < abs(errors[0]) and errors[2] == pytest.approx(0, abs=2e-3)
    assert table["cosine"].min() > 0.99 and table["cosine"].iloc[-1] > 0.9999


def test_the_distillation_set_has_correct_rationales(tmp_path):
    folder = tmp_path / "sandbox-letters"
    collect(folder, "sandbox-letters", CollectSettings(train_questions=12, dev_questions=2, test_questions=2))
    rows = loops.distillation_set(folder, "sandbox")
    assert rows and all(row.correct and row.source == "teacher" for row in rows)
    steps.train_mentor(
        folder, str(tiny.llama(tmp_path / "m")), TrainSettings(epochs=2, batch_size=16, learning_rate=3e-3)
    )
    augment.augment(folder, Sampling(n=3, temperature=0.7, top_k=50, max_new_tokens=80))
    assert len(loops.distillation_set(folder, "sandbox")) >= len(rows)


def test_warm_up_steps_change_the_model(pair, tmp_path):
    examples = tiny.examples(loading.outline(pair[0]), 4)
    assert loops.warmed(pair[0], examples, 0, tmp_path / "a", QUICK) == pair[0]
    found = loops.warmed(pair[0], examples, 2, tmp_path / "b", QUICK)
    assert loading.identity(found) != loading.identity(pair[0])


@pytest.mark.parametrize("changes", [{"steps": 0}, {"rounds": True}, {"batch_size": "8"}])
def test_wrong_settings_are_named(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        BenchSettings(**changes)
