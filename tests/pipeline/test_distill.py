"""Students: trained by every method, repeated only after a change, never mixed with those of other settings."""

import dataclasses
import os
import shutil
from dataclasses import replace

import pytest
import tiny
from small_run import COLLECT, SAMPLING, TASK, TRAINING, keep_some_of_the_mentors

from mentor_kd.files import InputError, read_jsonl
from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models import loading
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import collect
from mentor_kd.pipeline.fit import encode_rows
from mentor_kd.training.methods import METHODS, USUAL


def times(folder):
    return {
        str(path): os.stat(path).st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock"
    }


def test_every_method_trains_a_student_and_the_control_has_the_same_number_of_steps(folder, model):
    keep_some_of_the_mentors(folder)
    found = {name: distill.distill(folder, name, model, TRAINING) for name in METHODS}
    count = {name: manifest["training"]["steps"] for name, manifest in found.items()}
    assert count["vanilla-kd-step-matched"] == count["mentor-kd"] > count["vanilla-kd"]
    assert found["vanilla-kd-step-matched"]["trained_on"] == found["vanilla-kd"]["trained_on"]
    assert found["mentor-kd"]["trained_on"] == found["vanilla-kd"]["trained_on"] + 9
    for name in METHODS:
        place = folder / "students" / f"{name}-seed0"
        rows = [row for _, row in read_jsonl(place / "metrics.jsonl")]
        evaluated = [row["step"] for row in rows if "dev_accuracy" in row]
        assert evaluated == ([count[name] // 2, count[name]] if METHODS[name].tuned else [])
        assert any("kl" in row for row in rows) is METHODS[name].soft_labels
        assert loading.load(place).parameters == found[name]["parameters"]
        assert len(list(read_jsonl(place / "predictions.jsonl"))) == 5

    # run again: no file changes
    before = times(folder)
    again = {name: distill.distill(folder, name, model, TRAINING) for name in METHODS}
    assert again == found and times(folder) == before


def test_a_finished_step_is_not_repeated(folder, model):
    before = times(folder)
    collect(folder, TASK, COLLECT)
    mentor.train_mentor(folder, model, TRAINING)
    augment.augment(folder, SAMPLING)
    assert times(folder) == before
    rationales = (folder / "rationales.jsonl").read_bytes()
    filter.filter_rationales(folder, FilterSettings())
    assert (folder / "rationales.jsonl").read_bytes() == rationales


def test_other_settings_repeat_a_step_and_the_steps_that_depend_on_it(folder, model):
    def state():
        return {
            name: (folder / name).read_bytes()
            for name in ("collected/manifest.json", "mentor/manifest.json", "augmented/mentor.jsonl")
        }

    first = state()
    mentor.train_mentor(folder, model, replace(TRAINING, seed=1))
    second = state()
    assert second["mentor/manifest.json"] != first["mentor/manifest.json"]
    assert not (folder / "mentor" / "work" / "checkpoint-1").exists()
    augment.augment(folder, SAMPLING)
    third = state()
    assert third["augmented/mentor.jsonl"] != second["augmented/mentor.jsonl"]
    collect(folder, TASK, replace(COLLECT, test_questions=4))
    mentor.train_mentor(folder, model, replace(TRAINING, seed=1))
    assert len(list(read_jsonl(folder / "mentor" / "predictions.jsonl"))) == 4


def test_a_damaged_output_is_written_again(folder, model):
    predictions = (folder / "mentor" / "predictions.jsonl").read_bytes()
    (folder / "mentor" / "predictions.jsonl").write_bytes(predictions[:50])
    mentor.train_mentor(folder, model, TRAINING)
    assert (folder / "mentor" / "predictions.jsonl").read_bytes() == predictions


def test_a_new_verdict_retrains_the_student(folder, model):
    settings = replace(TRAINING, epochs=1)
    first = distill.distill(folder, "vanilla-kd", model, settings)
    dropped = next(row for row in filter.rationales(folder) if row.kept)
    verdicts.add_verdict(folder / "verdicts.jsonl", dropped.id, "drop")
    second = distill.distill(folder, "vanilla-kd", model, settings)
    assert second["rationales"] < first["rationales"]
    assert dropped.id not in second["inputs"]["data"]["rows"]


def test_a_stopped_step_has_no_manifest_and_resumes(folder, model):
    whole = distill.distill(folder, "vanilla-kd", model, TRAINING)
    place = folder / "students" / "vanilla-kd-seed0"
    weights = (place / "model.safetensors").read_bytes()
    shutil.rmtree(place)
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt, match="vanilla-kd, seed 0 was stopped at step 3"):
        distill.distill(folder, "vanilla-kd", model, TRAINING, stop=lambda: next(asked))
    assert not (place / "manifest.json").exists()
    asked = []
    again = distill.distill(folder, "vanilla-kd", model, TRAINING, stop=lambda: bool(asked.append(1)))
    assert len(asked) == whole["training"]["steps"] - 3  # it resumed and did not start again
    assert (place / "model.safetensors").read_bytes() == weights
    for facts in (whole, again):
        facts["training"].pop("seconds")
    assert again == whole | {name: again[name] for name in ("outputs", "seal")}  # metrics.jsonl has times
    assert again["outputs"]["predictions.jsonl"] == whole["outputs"]["predictions.jsonl"]


def test_unfinished_work_of_other_settings_is_not_resumed(folder, model):
    with pytest.raises(KeyboardInterrupt):
        distill.distill(folder, "vanilla-kd", model, TRAINING, stop=lambda: True)
    asked = []
    other = replace(TRAINING, learning_rate=1e-3)
    manifest = distill.distill(folder, "vanilla-kd", model, other, stop=lambda: bool(asked.append(1)))
    assert len(asked) == manifest["training"]["steps"]


def test_different_tokenizers_rule_out_soft_labels_only(folder, tmp_path):
    student = str(tiny.gpt2(tmp_path / "gpt2"))
    with pytest.raises(
        InputError, match="soft labels require the same tokenizer .*: untuned, answer-only, vanilla-kd, .*mcc-kd"
    ):
        distill.distill(folder, "mentor-kd", student, TRAINING)
    assert not (folder / "students" / "mentor-kd-seed0").exists()
    manifest = distill.distill(folder, "vanilla-kd", student, replace(TRAINING, epochs=1))
    assert manifest["trained_on"] > 0


def test_each_seed_has_a_separate_folder(folder, model):
    for seed in (0, 3):
        distill.distill(folder, "vanilla-kd", model, replace(TRAINING, epochs=1, seed=seed))
    assert {path.name for path in (folder / "students").iterdir()} == {"vanilla-kd-seed0", "vanilla-kd-seed3"}


def test_an_unknown_method_is_rejected(folder, model):
    with pytest.raises(InputError, match="method must be one of untuned, answer-only, vanilla-kd.* got 'none'"):
        distill.distill(folder, "none", model, TRAINING)


def test_the_controls_steps_are_counted_without_rationales_that_are_too_long(folder, model):
    keep_some_of_the_mentors(folder)
    lengths = sorted(
        len(e.prompt) + len(e.target)
        for e in encode_rows(loading.load(model), all_kept(folder), 10_000, METHODS["mentor-kd"])[0]
    )
    limit = lengths[len(lengths) // 2]
    found = {name: distill.distill(folder, name, model, TRAINING, max_length=limit) for name in USUAL}
    assert found["mentor-kd"]["too_long"]
    assert found["vanilla-kd-step-matched"]["training"]["steps"] == found["mentor-kd"]["training"]["steps"]


def all_kept(folder):
    return distill.rows_for(filter.rationales(folder), "mentor-kd")


def test_students_with_other_settings_are_moved_to_earlier(folder, model, capsys):
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    same = dataclasses.replace(TRAINING, seed=1)
    distill.distill(folder, "vanilla-kd", model, same)
    assert sorted(p.name for p in (folder / "students").iterdir()) == ["vanilla-kd-seed0", "vanilla-kd-seed1"]
    other = dataclasses.replace(TRAINING, seed=2, learning_rate=0.002)
    with pytest.raises(InputError, match="learning_rate was 0.003, is now 0.002; set replace to true"):
        distill.distill(folder, "vanilla-kd", model, other, replace=False)
    distill.distill(folder, "vanilla-kd", model, other)
    left = sorted(p.name for p in (folder / "students").glob("*-seed*"))
    assert left == ["vanilla-kd-seed2"]
    assert len(list((folder / "students" / "earlier").iterdir())) == 2
    assert "moved to students/earlier/" in capsys.readouterr().out
