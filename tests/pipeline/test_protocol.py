"""Protocol `paper`: it computes what a loop in the official code's shape does, and every output is marked."""

from dataclasses import replace

import pytest
import tiny
import torch
from small_run import TASK, run_up_to_filtering
from trained import one_step

from mentor_kd.bench.loops import BenchSettings, PaperLoop
from mentor_kd.data import folder as data_folder
from mentor_kd.data.folder import protocol_of, questions, teacher_rows
from mentor_kd.data.rationales import judged
from mentor_kd.evaluation.metrics import accuracy_table, read_predictions
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import augment, distill
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.report import charts, run_report
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.settings import TrainSettings, settings_from, under
from mentor_kd.training.train import plan_batches

COLLECT = CollectSettings(train_questions=10, dev_questions=3, test_questions=5, protocol="paper")
TRAINING = TrainSettings(epochs=2, batch_size=4, learning_rate=3e-3)
SAMPLING = Sampling(n=1, temperature=0.9, max_new_tokens=20)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory, model):
    """A run under protocol `paper`."""
    return run_up_to_filtering(tmp_path_factory.mktemp("run") / TASK, model, COLLECT, TRAINING, SAMPLING)


def test_paper_changes_the_settings_and_sound_does_not():
    settings = TrainSettings(schedule="cosine", warmup=0.1, loss=LossSettings(0.2, 1.5))
    assert under("sound", settings) is settings
    found = under("paper", settings)
    assert (found.schedule, found.warmup, found.max_grad_norm) == ("constant", 0.0, 0.0)
    assert found.loss == LossSettings(0.2, 1.5, tau_squared=False, mask="as published")
    assert under("paper", found) == found
    with pytest.raises(InputError, match="protocol must be one of sound, paper, got 'loud'"):
        under("loud", settings)
    with pytest.raises(InputError, match="protocol must be one of sound, paper, got 'loud'"):
        CollectSettings(protocol="loud")


def test_settings_are_read_back_from_a_manifest(filtered):
    settings = settings_from(read_json(filtered / "mentor" / "manifest.json")["inputs"]["settings"])
    assert settings == under("paper", TRAINING)


def still(folder, shape, seed=0):
    """A model without dropout. T5's start token gets an embedding: normalising zeros would amplify rounding."""
    if shape != "t5":
        return tiny.SHAPES[shape](folder, seed)
    loaded = loading.load(tiny.t5(folder, seed, dropout_rate=0.0))
    with torch.no_grad():
        loaded.model.shared.weight[0].normal_(generator=torch.Generator().manual_seed(seed))
    loading.save(folder, loaded, {"name": "still"})
    return folder


@pytest.mark.parametrize("shape", ["llama", "t5"])
def test_a_step_has_the_gradients_of_the_papers_loop(tmp_path, shape):
    """The loop has the official code's shape: padding to the longest of the set, no tau squared, batch means."""
    folder, mentor = still(tmp_path / "student", shape), loading.load(still(tmp_path / "mentor", shape, 1))
    student = loading.load(folder)
    examples = tiny.examples(student, 4, "sandbox-sums")
    assert len({len(example.target) for example in examples}) > 1
    loss = LossSettings(0.3, 2.0)
    loop = PaperLoop(student, mentor, examples, BenchSettings(loss=loss))
    wanted = {}
    for name, parameter in student.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda p, name=name: wanted.update({name: p.grad.clone()}))
    loop.step(examples)
    settings = under("paper", TrainSettings(epochs=1, batch_size=4, loss=loss))
    gradients, row = one_step(loading.load(folder), examples, settings, tmp_path / "work", mentor)
    size = max(float(g.abs().max()) for g in wanted.values())
    assert size > 1e-3
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, wanted[name], atol=2e-5 * max(1.0, size)), name
    # with the correct mask the divergence differs, because padding is excluded
    right, other = one_step(
        loading.load(folder),
        examples,
        replace(settings, loss=replace(settings.loss, mask="targets")),
        tmp_path / "b",
        mentor,
    )
    assert abs(row["kl"] - other["kl"]) > 1e-3 * row["kl"]


def test_accumulation_changes_nothing(tmp_path):
    folder, mentor = tiny.llama(tmp_path / "student"), loading.load(tiny.llama(tmp_path / "mentor", seed=1))
    examples = tiny.examples(loading.load(folder), 4, "sandbox-sums")
    settings = under("paper", TrainSettings(epochs=1, batch_size=4))
    whole, _ = one_step(loading.load(folder), examples, settings, tmp_path / "a", mentor)
    parts, _ = one_step(loading.load(folder), examples, replace(settings, accumulation=2), tmp_path / "b", mentor)
    assert all(torch.allclose(parts[name], whole[name], atol=1e-5) for name in whole)


def test_batches_are_drawn_without_regard_to_length(model):
    examples = tiny.examples(loading.load(model), 64, "sandbox-sums")

    def spread(settings):
        batches = plan_batches(examples, False, settings).epoch(0)
        lengths = [[len(examples[i].prompt) + len(examples[i].target) for i in batch] for batch in batches]
        return sum(max(found) - min(found) for found in lengths)

    settings = TrainSettings(epochs=1, batch_size=8)
    assert spread(under("paper", settings)) > 1.5 * spread(settings)


def test_no_question_is_held_out(filtered, tmp_path):
    assert protocol_of(filtered) == "paper"
    assert [len(questions(filtered, split)) for split in ("train", "dev", "test")] == [13, 0, 5]
    collect(tmp_path / TASK, TASK, replace(COLLECT, protocol="sound"))
    sound = {split: {q.id for q in questions(tmp_path / TASK, split)} for split in ("train", "dev", "test")}
    assert {q.id for q in questions(filtered, "train")} == sound["train"] | sound["dev"]
    assert {q.id for q in questions(filtered, "test")} == sound["test"]
    asked = {row.question_id for row in teacher_rows(filtered)}
    assert asked <= sound["train"] | sound["dev"]


def test_the_mentors_answers_are_judged_by_the_official_rules(folder, monkeypatch):
    """On an answer that the official rules extract differently from ours."""
    task, text = data_folder.task_of(folder), "Not so. --> it is d a"
    question = questions(folder, "train")[0]
    sampler = {"model": "m", "temperature": 1.0, "top_k": 0, "seed": 0, "index": 0}
    found = {mode: judged(question, text, "mentor", sampler, task, mode).prediction for mode in ("sound", "paper")}
    assert found["paper"] == "itisda" != found["sound"]
    seen = set()
    monkeypatch.setattr(augment, "judged", lambda *given: seen.add(given[-1]) or judged(*given))
    augment.augment(folder, Sampling(n=1, temperature=0.9, max_new_tokens=10))
    assert seen == {"paper"}


def test_the_test_set_chooses_the_epoch_by_the_official_verdict(folder, model, monkeypatch):
    seen = []

    def score(loaded, asked, task, sampling, to_beat=None, verdict="correct"):
        from mentor_kd.evaluation.metrics import DevScore

        seen.append(([q.split for q in asked], verdict))
        return DevScore([20.0, 10.0][(len(seen) - 1) % 2])

    monkeypatch.setattr("mentor_kd.pipeline.fit.dev_score", score)
    manifest = distill.distill(folder, "vanilla-kd", model, TRAINING)
    assert seen == [(["test"] * 5, "paper_correct")] * 2
    assert manifest["training"]["best_step"] == manifest["training"]["steps"] // 2
    assert (manifest["protocol"], manifest["chosen_on"]) == ("paper", "test")


def test_every_output_is_marked(folder, model):
    distill.distill(folder, "mentor-kd", model, TRAINING)
    place = folder / "students" / "mentor-kd-seed0"
    rows = [row for _, row in read_jsonl(place / "predictions.jsonl")]
    assert {row["protocol"] for row in rows} == {"paper"}
    card = read_json(place / "model_card.json")
    assert card["protocol"].startswith("paper: epoch chosen on the test questions; nothing held out")
    assert card["settings"]["loss"]["mask"] == "as published" and not card["settings"]["loss"]["tau_squared"]
    manifest = read_json(place / "manifest.json")
    assert manifest["test"]["value"] == 100 * sum(row["paper_correct"] for row in rows) / 5
    table = accuracy_table(read_predictions(folder))
    assert set(table["protocol"]) == {"paper"}
    texts = [text.get_text() for text in run_report.chart(table, folder.parent).texts]
    assert charts.PAPER_MARK in texts
    page = run_report.write(folder.parent).read_text()
    assert "Protocol: <b>paper</b>" in page


def test_a_learning_curve_is_marked():
    import pandas

    frame = pandas.DataFrame({"step": [1, 2], "loss": [2.0, 1.0], "dev_accuracy": [10.0, 20.0]})
    plain = charts.learning_curve(frame)
    marked = charts.learning_curve(frame.assign(protocol="paper"))
    assert charts.PAPER_MARK not in [text.get_text() for text in plain.texts]
    assert charts.PAPER_MARK in [text.get_text() for text in marked.texts]
    titles = [panel.get_title() for panel in marked.axes]
    assert "Test accuracy (%), used to select the epoch" in titles and "Dev accuracy (%)" not in titles


def test_students_of_the_other_protocol_are_moved_to_earlier(folder, model):
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    run_up_to_filtering(folder, model, replace(COLLECT, protocol="sound"), TRAINING, SAMPLING)
    distill.distill(folder, "vanilla-kd", model, replace(TRAINING, seed=1))
    assert [path.name for path in (folder / "students").glob("*-seed*")] == ["vanilla-kd-seed1"]
    assert {row["protocol"] for row in read_predictions(folder)} == {"sound"}
