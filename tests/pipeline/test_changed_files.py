"""Steps whose files were changed, cut or removed: noticed, and repeated or refused by name."""

import json
import shutil

import pytest
from small_run import COLLECT, SAMPLING, TASK, TRAINING, keep_some_of_the_mentors

from mentor_kd import manifests
from mentor_kd.files import InputError, read_json, write_json
from mentor_kd.filtering import verdicts
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.pipeline import augment, distill, filter, mentor
from mentor_kd.pipeline.collect import collect


def cut(path, rows=5):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:rows]))


def test_a_cut_collection_is_refused_by_later_steps_and_made_again_by_its_own(folder, model, capsys):
    path = folder / "collected" / "teacher.jsonl"
    whole = path.read_bytes()
    cut(path)
    later = {
        "mentor": lambda: mentor.train_mentor(folder, model, TRAINING),
        "augment": lambda: augment.augment(folder, SAMPLING),
        "filter": lambda: filter.filter_rationales(folder, FilterSettings()),
        "distil": lambda: distill.distill(folder, "vanilla-kd", model, TRAINING),
    }
    for name, step in later.items():
        with pytest.raises(InputError, match=r"teacher\.jsonl: changed since .*notebook 01"):
            step()
        assert not (folder / "students").exists(), name
    collect(folder, TASK, COLLECT)
    assert path.read_bytes() == whole
    assert f"{path}: changed since it was written and kept as teacher.jsonl.changed" in capsys.readouterr().out
    assert len((folder / "collected" / "teacher.jsonl.changed").read_text().splitlines()) == 5
    assert manifests.problems(folder / "collected") == {}
    for step in later.values():
        step()


@pytest.mark.parametrize("name", ["task.json", "questions.jsonl", "manifest.json", "../params.yaml"])
def test_any_removed_file_of_a_collection_is_made_again(folder, name):
    path = folder / "collected" / name
    whole = path.read_bytes()
    path.unlink()
    collect(folder, TASK, COLLECT)
    assert path.read_bytes() == whole


def test_numbers_changed_in_a_manifest_are_not_believed(folder, model):
    path = folder / "mentor" / "manifest.json"
    facts = read_json(path)
    right_answers = facts["test"]["value"]
    write_json(path, {**facts, "test": {**facts["test"], "value": 100.0}})
    assert manifests.problems(folder / "mentor") == {"manifest.json": "changed"}
    assert mentor.train_mentor(folder, model, TRAINING)["test"]["value"] == right_answers


def test_a_removed_readme_is_written_again_without_training(folder, model, monkeypatch):
    path = folder / "mentor" / "README.md"
    whole = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("mentor_kd.pipeline.fit._fit", lambda *_: pytest.fail("trained again"))
    mentor.train_mentor(folder, model, TRAINING)
    assert path.read_bytes() == whole


def test_changed_rationales_are_filtered_again_before_a_student_learns_from_them(folder, model, capsys):
    path = folder / "rationales.jsonl"
    whole = path.read_bytes()
    rows = [json.loads(line) | {"correct": True} for line in whole.splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    assert path.read_bytes() == whole
    assert "rationales.jsonl: filtered again (rationales.jsonl changed)" in capsys.readouterr().out


def test_rationales_of_an_earlier_mentor_are_filtered_again(folder, model, capsys):
    augment.augment(folder, type(SAMPLING)(n=1, temperature=0.9, max_new_tokens=20))
    before = (folder / "rationales.jsonl").read_bytes()
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    assert (folder / "rationales.jsonl").read_bytes() != before
    assert "filtered again (the rationales were replaced)" in capsys.readouterr().out


def test_changed_filters_are_refused_and_set_right_by_the_filter_step(folder, model):
    path = folder / "filters.yaml"
    whole = path.read_bytes()
    path.write_text("duplicates: false\n")
    with pytest.raises(InputError, match=r"filters\.yaml: changed since the filters were applied; run notebook 04"):
        distill.distill(folder, "vanilla-kd", model, TRAINING)
    filter.filter_rationales(folder, FilterSettings(), replace=False)
    assert path.read_bytes() == whole


def test_a_changed_mentor_is_said(folder, model, capsys):
    keep_some_of_the_mentors(folder)
    (folder / "mentor" / "tokenizer_config.json").write_text(
        (folder / "mentor" / "tokenizer_config.json").read_text() + "\n"
    )
    distill.distill(folder, "mentor-kd", model, TRAINING)
    assert f"warning: {folder / 'mentor' / 'tokenizer_config.json'}: changed" in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_verdicts_that_are_gone_are_never_done_without(folder, model, harm):
    ids = keep_some_of_the_mentors(folder)
    distill.distill(folder, "vanilla-kd", model, TRAINING)
    path = folder / "verdicts.jsonl"
    whole = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else whole.replace(b"keep", b"drop", 1))
    students = sorted((folder / "students").rglob("*"))
    for step in (filter.rationales, lambda place: distill.distill(place, "vanilla-kd", model, TRAINING)):
        with pytest.raises(InputError, match=r"verdicts\.jsonl: verdicts (are missing|were changed) .*restore it, or"):
            step(folder)
    assert sorted((folder / "students").rglob("*")) == students  # nothing is lost
    path.write_bytes(whole)
    verdicts.add_verdict(path, ids[0], "drop")  # more are fine
    filter.rationales(folder)
    path.unlink()
    (folder / ".verdicts.jsonl.seen").unlink()  # as the message says, to continue without them
    filter.rationales(folder)


def test_a_moved_or_copied_folder_is_finished(folder, model, tmp_path, monkeypatch):
    other = shutil.move(shutil.copytree(folder, tmp_path / "copy"), tmp_path / "moved")
    monkeypatch.setattr("mentor_kd.pipeline.fit._fit", lambda *_: pytest.fail("trained again"))
    collect(other, TASK, COLLECT)
    mentor.train_mentor(other, model, TRAINING)
    augment.augment(other, SAMPLING)
    assert not list(other.rglob("*.changed"))
