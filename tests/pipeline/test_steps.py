"""The steps before the students: collection, mentor, augmentation and filters, and missing inputs."""

import re
from dataclasses import replace

import pandas
import pytest
import tiny
from small_run import COLLECT, SAMPLING, TASK, TRAINING, keep_some_of_the_mentors

from mentor_kd.data import sandbox
from mentor_kd.data.folder import questions, task_folder, task_of, teacher_rows
from mentor_kd.data.rationales import read_rationales, target
from mentor_kd.data.tasks import get_task
from mentor_kd.evaluation.predict import answer_cap
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.filtering import filters, verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models import loading
from mentor_kd.models.batches import Example
from mentor_kd.pipeline import augment, distill, ensure, filter, mentor, sizes
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.methods import USUAL

# collection


def test_the_collection(filtered):
    assert [len(questions(filtered, split)) for split in ("train", "dev", "test")] == [12, 3, 5]
    assert task_of(filtered) == get_task(TASK)
    rows, train = teacher_rows(filtered), {q.id for q in questions(filtered, "train")}
    assert len(rows) == 21  # 60% of 12 questions, three times
    assert {row.question_id for row in rows} <= train
    assert {row.source for row in rows} == {"teacher"}
    assert all(row.rationale and row.prediction is not None for row in rows)
    assert read_json(filtered / "collected" / "manifest.json")["questions"] == {"train": 12, "dev": 3, "test": 5}


def test_newly_drawn_test_questions_share_none_with_the_package(tmp_path):
    shipped = {q.id for q in sandbox.load_questions(TASK)}
    found = {}
    for seed in (1, 2):
        collect(tmp_path / str(seed), TASK, replace(COLLECT, test_seed=seed))
        found[seed] = {q.id for q in questions(tmp_path / str(seed), "test")}
        assert len(found[seed]) == 5 and not found[seed] & shipped
        assert questions(tmp_path / str(seed), "train") == sandbox.load_questions(TASK)[:12]
    assert not found[1] & found[2]


@pytest.mark.parametrize(
    ("task", "settings", "message"),
    [
        ("chess", {}, "task must be one of .* got 'chess'"),
        ("svamp", {}, "task 'svamp' is not a sandbox task .*set data to 'official'"),
        (TASK, {"coverage": 0.0}, "coverage"),
        (TASK, {"data": "/nowhere/table.csv"}, r"data must be .*, got '/nowhere/table\.csv"),
    ],
)
def test_a_failed_collection_raises_and_writes_no_manifest(tmp_path, task, settings, message):
    with pytest.raises(InputError, match=message):
        collect(tmp_path / TASK, task, replace(COLLECT, **settings))
    assert not (tmp_path / TASK / "collected" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"test_seed": -1}, "test_seed .*-1"),
        ({"test_seed": 1, "data": "official"}, "test_seed .*'official'"),
        ({"train_questions": -1}, "train_questions .*-1"),
        ({"rationales": 0}, "rationales .*0"),
    ],
)
def test_invalid_settings_are_rejected(changes, named):
    with pytest.raises(InputError, match=named):
        CollectSettings(**changes)


def test_a_users_data_is_split_and_only_training_rationales_are_kept(tmp_path):
    lines = [f"{i} and 1?,{i + 1},{i} + 1 = {i + 1}. --> {i + 1},{'test' if i > 8 else ''}" for i in range(12)]
    table = tmp_path / "sums.csv"
    table.write_text("question,answer,rationale,split\n" + "\n".join(lines) + "\n")
    collect(tmp_path / "sums", "sums", CollectSettings(data=str(table), answer_type="number", dev_questions=2))
    found = {split: questions(tmp_path / "sums", split) for split in ("train", "dev", "test")}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 7, "dev": 2, "test": 3}
    rows = teacher_rows(tmp_path / "sums")
    assert {row.question_id for row in rows} == {q.id for q in found["train"]} and len(rows) == 7
    manifest = read_json(tmp_path / "sums" / "collected" / "manifest.json")
    assert manifest["teacher_rows_of_dev_test_or_beyond_the_limits"] == 5


@pytest.mark.parametrize("run", ["", "..", ".", "a/b", "a b", ".hidden"])
def test_names_that_are_not_valid_folders_are_rejected(run):
    with pytest.raises(InputError, match="run must be a folder name"):
        task_folder(run, TASK)


# mentor and augmentation


def test_the_mentor_learns_from_the_teachers_correct_rationales(filtered):
    rows = teacher_rows(filtered)
    right = [row for row in filters.apply(rows, FilterSettings()) if row.kept]
    manifest = read_json(filtered / "mentor" / "manifest.json")
    assert 0 < len(right) < len(rows)
    assert manifest["rationales"] == manifest["trained_on"] == len(right)
    assert manifest["inputs"]["data"]["rows"] == [row.id for row in right]
    assert manifest["training"]["steps"] == 2 * -(-len(right) // 4)
    assert manifest["too_long"] == []


def test_the_accuracy_is_that_of_the_test_predictions(filtered):
    rows = [row for _, row in read_jsonl(filtered / "mentor" / "predictions.jsonl")]
    assert [row["id"] for row in rows] == [q.id for q in questions(filtered, "test")]
    manifest = read_json(filtered / "mentor" / "manifest.json")
    assert manifest["test"]["value"] == 100 * sum(row["correct"] for row in rows) / 5
    assert manifest["test"]["n"] == 5
    card = read_json(filtered / "mentor" / "model_card.json")
    assert card["protocol"].startswith("sound") and card["seed"] == 0 and card["provenance"]["versions"]["torch"]


def test_a_finished_step_leaves_no_checkpoint(filtered):
    assert not list(filtered.rglob("checkpoint-*")) and not (filtered / "mentor" / "work").exists()
    assert list(read_jsonl(filtered / "mentor" / "metrics.jsonl"))


def test_the_mentor_writes_for_every_training_question(filtered):
    rows = read_rationales(filtered / "augmented" / "mentor.jsonl")
    assert [(row.question_id, row.sampler["index"]) for row in rows] == [
        (q.id, k) for q in questions(filtered, "train") for k in range(2)
    ]
    assert {row.source for row in rows} == {"mentor"}
    assert rows[0].sampler["temperature"] == 0.9 and rows[0].sampler["top_k"] == 50


def test_rationales_that_are_too_long_are_listed(folder, model):
    shortest = min(len(e.target) for e in tiny.examples(loading.load(model), 20, TASK))
    longest = max(len(e.prompt) + len(e.target) for e in tiny.examples(loading.load(model), 20, TASK))
    manifest = mentor.train_mentor(folder, model, replace(TRAINING, epochs=1), longest - 20)
    assert manifest["trained_on"] + len(manifest["too_long"]) == manifest["rationales"]
    assert manifest["too_long"] and set(manifest["too_long"]) <= {row.id for row in teacher_rows(folder)}
    with pytest.raises(InputError, match=r"none of \d+ rationale\(s\) is left to train on \(too long: \d+\)"):
        mentor.train_mentor(folder, model, TRAINING, max_length=shortest // 2)


def test_the_length_limit_of_answers_by_hand():
    examples = [Example(str(i), [1], [1] * (i + 1)) for i in range(1000)]  # the 99.5th percentile is 996 tokens
    assert answer_cap(examples, 5000) == 1200
    assert answer_cap(examples, 512) == 512
    assert answer_cap([Example("a", [1], [1] * 10)], 512) == 16


# filters and verdicts


def test_counts_add_up(filtered):
    table = filter.filter_rationales(filtered, FilterSettings())
    assert list(table["total"]) == [21, 24]
    assert (table.drop(columns="total").sum(axis=1) == table["total"]).all()
    rows = filter.rationales(filtered)
    assert len(rows) == 45 and all(row.kept is not None for row in rows)
    saved = pandas.read_csv(filtered / "filter_counts.csv", index_col="source")
    assert saved.equals(table)


def test_a_verdict_changes_the_rationales_and_the_counts(folder):
    before = filter.filter_rationales(folder, FilterSettings())
    dropped = next(row for row in filter.rationales(folder) if row.kept)
    verdicts.add_verdict(folder / "verdicts.jsonl", dropped.id, "drop", "guessed")
    kept = keep_some_of_the_mentors(folder, 1)
    now = {row.id: row for row in filter.rationales(folder)}  # without filtering again
    assert (now[dropped.id].kept, now[dropped.id].reason) == (False, "verdict: drop")
    assert (now[kept[0]].kept, now[kept[0]].reason) == (True, "verdict: keep")
    after = filter.filter_rationales(folder, FilterSettings())
    assert after.loc["mentor", "kept"] == before.loc["mentor", "kept"] + 1
    assert after.loc["teacher", "verdict: drop"] == 1
    assert after["total"].equals(before["total"])


def test_filter_settings_are_stored(folder):
    strict = filter.filter_rationales(folder, FilterSettings(max_words=3))
    assert strict.loc["teacher", "kept"] == 0 and strict.loc["teacher", "too long"] > 0
    assert not any(row.kept for row in filter.rationales(folder))


def test_methods_use_the_rationales_of_their_sources(folder):
    keep_some_of_the_mentors(folder)
    rows = filter.rationales(folder)
    kept = [row for row in rows if row.kept]
    assert distill.rows_for(rows, "mentor-kd") == kept
    assert distill.rows_for(rows, "vanilla-kd") == [row for row in kept if row.source == "teacher"]
    assert distill.rows_for(rows, "vanilla-kd-step-matched") == distill.rows_for(rows, "vanilla-kd")
    assert len(kept) > len(distill.rows_for(rows, "vanilla-kd"))


# missing inputs


def test_a_step_without_its_inputs_raises(tmp_path, model):
    folder = tmp_path / TASK
    early = [
        lambda: mentor.train_mentor(folder, model, TRAINING),
        lambda: augment.augment(folder, SAMPLING),
        lambda: filter.filter_rationales(folder, FilterSettings()),
        lambda: distill.distill(folder, "vanilla-kd", model, TRAINING),
    ]
    for step in early:
        with pytest.raises(InputError, match=str(folder)):
            step()
    collect(folder, TASK, COLLECT)
    for step in early[1:]:
        with pytest.raises(InputError, match=str(folder)):
            step()
    with pytest.raises(InputError, match="model './nothing' could not be loaded|model './nothing': no folder"):
        mentor.train_mentor(folder, "./nothing", TRAINING)


def test_ensure_creates_what_is_missing_and_prints_it(tmp_path, model, monkeypatch, capsys):
    small = {"train_questions": 12, "dev_questions": 3, "test_questions": 5, "mentor_epochs": 1, "epochs": 1}
    models = {"mentor": model, "student": model, "max_new_tokens": 20}
    monkeypatch.setattr(sizes, "SMOKE", sizes.SMOKE | small | models)
    folder = tmp_path / "run" / TASK
    ensure.ensure(folder, "rationales")
    said = capsys.readouterr().out
    assert re.findall(rf"^(\w+): missing in run/{TASK}, created now", said, re.M) == list(ensure.STEPS[:-1])
    assert (folder / "rationales.jsonl").exists() and not (folder / "students").exists()
    ensure.ensure(folder, "rationales")
    assert capsys.readouterr().out == ""
    ensure.ensure(folder, "students")
    assert {path.name for path in (folder / "students").iterdir()} == {f"{name}-seed0" for name in USUAL}
    with pytest.raises(InputError, match="needed must be one of collected, mentor.* got 'dinner'"):
        ensure.ensure(folder, "dinner")


def test_training_texts_carry_the_gold_answer(filtered):
    for row in teacher_rows(filtered):
        assert target(row) == f"{row.rationale} --> {row.answer}"
        assert "-->" not in row.rationale


def test_ensure_uses_the_papers_data_for_its_tasks_and_rejects_unknown_tasks(tmp_path, monkeypatch):
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_DATA", str(tmp_path))
    with pytest.raises(InputError, match="mentor_kd data fetch"):
        ensure.ensure(tmp_path / "run" / "svamp", "collected")
    with pytest.raises(InputError, match="'mine' is your own: run notebook 01 first"):
        ensure.ensure(tmp_path / "run" / "mine", "mentor")
