"""The methods compared: what each learns from, and which must agree when a setting is 0."""

import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from small_run import TASK, keep_some_of_the_mentors, run_up_to_filtering
from trained import same, weights

from mentor_kd.data import folder as data_folder
from mentor_kd.data.folder import questions
from mentor_kd.data.rationales import target
from mentor_kd.evaluation.predict import predictions
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling
from mentor_kd.models.lora import WEIGHTS, LoraSettings
from mentor_kd.pipeline import distill, filter
from mentor_kd.pipeline.collect import CollectSettings
from mentor_kd.report import run_report
from mentor_kd.training.losses import LossSettings
from mentor_kd.training.methods import METHODS, USUAL
from mentor_kd.training.on_policy import OnPolicySettings
from mentor_kd.training.settings import TrainSettings
from mentor_kd.widgets.lens import measures

COLLECT = CollectSettings(train_questions=8, dev_questions=3, test_questions=4, rationales=5)
TRAINING = TrainSettings(epochs=2, batch_size=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory, model):
    """A run whose mentor has the student's size; verdicts keep some of the random mentor's texts."""
    folder, sampling = tmp_path_factory.mktemp("run") / TASK, Sampling(n=2, temperature=0.9, max_new_tokens=20)
    run_up_to_filtering(folder, model, COLLECT, TRAINING, sampling, FilterSettings(duplicates=False))
    keep_some_of_the_mentors(folder, 7)
    return folder


def student(folder, method, seed=0):
    return loading.load(folder / "students" / f"{method}-seed{seed}")


def close(a, b):
    a, b = weights(a), weights(b)
    return all(torch.allclose(a[name], b[name], atol=1e-5) for name in a)


def test_the_methods_differ_only_as_the_table_says():
    assert [name for name, row in METHODS.items() if row.soft_labels] == [
        *("mentor-kd", "mentor-kd-no-rd", "self-mentor", "on-policy")
    ]
    full = METHODS["mentor-kd"]
    assert METHODS["mentor-kd-no-sld"] == replace(full, soft_labels=False)
    assert METHODS["mentor-kd-no-rd"] == replace(full, sources=("teacher",))
    assert METHODS["self-mentor"] == replace(full, mentor="self-mentor")
    assert METHODS["vanilla-kd-step-matched"] == replace(METHODS["vanilla-kd"], steps_of="mentor-kd")
    assert METHODS["mcc-kd"] == replace(METHODS["vanilla-kd"], pairs=True)
    assert set(USUAL) <= set(METHODS) and METHODS["answer-only"].sources == ()


def test_with_lambda_0_mentor_kd_equals_its_ablation_without_soft_labels(folder, model):
    none = replace(TRAINING, loss=LossSettings(0.0))
    for method in ("mentor-kd", "mentor-kd-no-sld"):
        distill.distill(folder, method, model, none)
    assert close(student(folder, "mentor-kd"), student(folder, "mentor-kd-no-sld"))
    distill.distill(folder, "mentor-kd", model, TRAINING)
    assert not close(student(folder, "mentor-kd"), loading.load(model))
    distill.distill(folder, "mentor-kd-no-sld", model, TRAINING)
    assert not close(student(folder, "mentor-kd"), student(folder, "mentor-kd-no-sld"))


def test_a_self_mentor_equals_the_mentor_if_the_student_is_its_base_model(folder, model):
    found = {method: distill.distill(folder, method, model, TRAINING) for method in ("mentor-kd", "self-mentor")}
    assert same(weights(student(folder, "self-mentor")), weights(student(folder, "mentor-kd")))
    assert same(weights(loading.load(folder / "self-mentor" / "mentor")), weights(loading.load(folder / "mentor")))
    assert found["self-mentor"]["inputs"]["data"] == found["mentor-kd"]["inputs"]["data"]
    assert (folder / "self-mentor" / "soft_labels").is_dir()


def test_a_self_mentor_has_the_students_size_and_follows_the_runs_verdicts(folder, tmp_path):
    small = str(tiny.llama(tmp_path / "small", seed=3, width=16))
    first = distill.distill(folder, "self-mentor", small, TRAINING)
    own = read_json(folder / "self-mentor" / "mentor" / "manifest.json")
    assert own["base"] == small and own["parameters"] == first["parameters"]
    mentor = read_json(folder / "mentor" / "manifest.json")
    assert own["inputs"]["settings"] == mentor["inputs"]["settings"]
    assert own["parameters"] < mentor["parameters"]
    dropped = next(row for row in filter.rationales(folder) if row.kept and row.source == "teacher")
    verdicts.add_verdict(folder / "verdicts.jsonl", dropped.id, "drop")
    second = distill.distill(folder, "self-mentor", small, TRAINING)
    assert second["rationales"] == first["rationales"] - 1
    assert "self-mentor" in set(run_report.costs(folder.parent)["model"])
    assert measures.subjects(folder, "self-mentor-seed0").mentor.parameters == own["parameters"]


def test_alpha_lowers_the_consistency_loss_of_mcc_kd_on_the_same_data(folder, model):
    found = {}
    for alpha in (0.0, 0.5):
        settings = replace(TRAINING, loss=LossSettings(consistency_weight=alpha))
        manifest = distill.distill(folder, "mcc-kd", model, settings)
        log = [row for _, row in read_jsonl(folder / "students" / "mcc-kd-seed0" / "metrics.jsonl")]
        found[alpha] = manifest["inputs"]["data"], [row["consistency"] for row in log if "consistency" in row][-1]
    assert found[0.0][0] == found[0.5][0]
    assert found[0.5][1] < found[0.0][1]


def test_mcc_kd_uses_at_most_three_rationales_per_question(folder, model):
    rows = filter.rationales(folder)
    chosen, all_of = distill.rows_for(rows, "mcc-kd"), distill.rows_for(rows, "vanilla-kd")
    counts = {row.question_id: 0 for row in all_of}
    for row in chosen:
        counts[row.question_id] += 1
    assert max(counts.values()) == 3 and len(chosen) < len(all_of)
    manifest = distill.distill(folder, "mcc-kd", model, TRAINING)
    assert manifest["rationales"] == manifest["trained_on"] + len(manifest["too_long"]) == len(chosen)
    questions_of = len(counts)
    assert manifest["training"]["steps"] == 2 * -(-questions_of // 4)


def test_answer_only_learns_the_bare_answers_of_all_training_questions(folder, model):
    rows = distill.rows_for(filter.rationales(folder), "answer-only")
    asked = questions(folder, "train")
    assert {row.id for row in rows} == {q.id for q in asked} and len(rows) == len(asked)
    assert {target(row) for row in rows} == {f"--> {q.answer}" for q in asked}
    manifest = distill.distill(folder, "answer-only", model, TRAINING)
    assert manifest["trained_on"] == len(asked) == 8
    assert manifest["max_new_tokens"] < 16


def test_an_untuned_student_is_evaluated_unchanged(folder, model):
    manifest = distill.distill(folder, "untuned", model, TRAINING)
    assert (manifest["training"]["steps"], manifest["parameters"]) == (0, loading.outline(model).parameters)
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(weights(m).values() for m in (loading.load(model), student(folder, "untuned"))), strict=True)
    )
    assert manifest["max_new_tokens"] == distill.distill(folder, "vanilla-kd", model, TRAINING)["max_new_tokens"]


def test_on_policy_starts_from_the_vanilla_student(folder, model):
    manifest = distill.distill(folder, "on-policy", model, TRAINING)
    assert (manifest["base"], manifest["starts_from"]) == (model, "vanilla-kd-seed0")
    assert manifest["inputs"]["starts_from"] == loading.identity(folder / "students" / "vanilla-kd-seed0")
    assert not close(student(folder, "on-policy"), student(folder, "vanilla-kd"))
    assert close(measures.subjects(folder, "on-policy-seed0").students["before"], student(folder, "vanilla-kd"))
    nothing = replace(TRAINING, learning_rate=1e-9, on_policy=OnPolicySettings(share=1.0))
    before = student(folder, "vanilla-kd")
    distill.distill(folder, "on-policy", model, nothing)
    assert not close(student(folder, "vanilla-kd"), before)  # trained again with the new settings
    assert close(student(folder, "on-policy"), student(folder, "vanilla-kd"))


def test_a_stopped_on_policy_student_resumes_and_ends_with_the_same_weights(folder, model):
    whole = distill.distill(folder, "on-policy", model, TRAINING)
    place = folder / "students" / "on-policy-seed0"
    bytes_of = (place / "model.safetensors").read_bytes()
    shutil.rmtree(place)
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt, match="on-policy, seed 0 was stopped at step 3"):
        distill.distill(folder, "on-policy", model, TRAINING, stop=lambda: next(asked))
    again = distill.distill(folder, "on-policy", model, TRAINING)
    assert (place / "model.safetensors").read_bytes() == bytes_of
    assert again["test"] == whole["test"]


def test_other_divergences_need_the_live_mentor_only_if_the_cache_holds_the_top_k(folder, model):
    reversed_kl = replace(TRAINING, loss=LossSettings(beta=1.0), precision="float32")

    def divergences(settings):
        distill.distill(folder, "mentor-kd", model, settings)
        rows = [row for _, row in read_jsonl(folder / "students" / "mentor-kd-seed0" / "metrics.jsonl")]
        return [row["kl"] for row in rows if "kl" in row]

    live = divergences(replace(reversed_kl, soft_label_k=64))
    assert live and not (folder / "soft_labels").exists()
    assert divergences(reversed_kl) == pytest.approx(live, rel=2e-4) and (folder / "soft_labels").is_dir()
    assert divergences(TRAINING) != pytest.approx(live, rel=1e-3)  # the models are so similar that both are close


@pytest.mark.parametrize("merge", [True, False])
def test_students_with_lora(folder, model, merge):
    settings = replace(TRAINING, lora=LoraSettings(rank=2, merge=merge), learning_rate=3e-2)
    manifest = distill.distill(folder, "mentor-kd", model, settings)
    place = folder / "students" / "mentor-kd-seed0"
    assert (WEIGHTS in manifest["outputs"]) is not merge and (place / "model.safetensors").exists() is merge
    assert manifest["trained_parameters"] < 0.2 * manifest["parameters"]
    again = loading.load(place)
    assert again.parameters == manifest["parameters"] == loading.load(model).parameters
    rows = [row for _, row in read_jsonl(place / "predictions.jsonl")]
    greedy = Sampling(max_new_tokens=manifest["max_new_tokens"], batch_size=64)
    told = predictions(again, questions(folder, "test"), data_folder.task_of(folder), greedy)
    assert [row["text"] for row in told] == [row["text"] for row in rows]


def test_the_tokenizer_error_lists_the_methods_without_soft_labels(folder, tmp_path):
    other = str(tiny.gpt2(tmp_path / "gpt2"))
    for method in ("mentor-kd-no-rd", "on-policy"):
        with pytest.raises(InputError, match="a method without soft labels: untuned, answer-only, vanilla-kd, "):
            distill.distill(folder, method, other, TRAINING)
    assert not (folder / "students").exists() or not list((folder / "students").iterdir())
