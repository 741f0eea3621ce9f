"""Augmenters: all write for the same questions to the same file, and a student may learn from them alone."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest
import tiny

from mentor_kd.data.folder import missed, questions, task_of, teacher_rows
from mentor_kd.data.rationales import read_rationales, write_rationales
from mentor_kd.files import InputError, read_json
from mentor_kd.filtering import filters
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.models.generation import Sampling
from mentor_kd.pipeline import distill, filter, mentor
from mentor_kd.pipeline.augment import Augmenter, augment
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.teacher.ask import AskSettings
from mentor_kd.training.settings import TrainSettings

TASK = "sandbox-letters"
TRAINING = TrainSettings(epochs=1, batch_size=16)
SAMPLING = Sampling(n=2, temperature=0.9, max_new_tokens=10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A task's folder with a mentor, and its base model."""
    place = tmp_path_factory.mktemp("run")
    model = str(tiny.llama(place / "model"))
    collect(place / TASK, TASK, CollectSettings(train_questions=60, dev_questions=3, test_questions=4, rationales=1))
    mentor.train_mentor(place / TASK, model, TRAINING)
    return place / TASK, model


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run" / TASK)


def written(folder):
    return read_rationales(folder / "augmented" / "mentor.jsonl")


def test_missed_questions_have_no_correct_teacher_rationale(folder):
    right = {row.question_id for row in teacher_rows(folder) if row.correct}
    asked = {row.question_id for row in teacher_rows(folder)}
    left = {question.id for question in missed(folder)}
    assert left | right == {question.id for question in questions(folder, "train")} and not left & right
    assert left - asked and left & asked  # some were never asked, some were answered wrongly


def test_only_missed_without_missed_questions_is_an_error(tmp_path):
    sizes = {"train_questions": 8, "dev_questions": 3, "test_questions": 4, "coverage": 1.0, "error_rate": 0.0}
    collect(tmp_path / TASK, TASK, CollectSettings(**sizes))
    with pytest.raises(InputError, match="so none is missed; lower teacher_share"):
        augment(tmp_path / TASK, SAMPLING, Augmenter("sandbox", True))


@pytest.mark.parametrize("only", [True, False])
def test_the_mentor_and_the_sandbox_teacher_write_for_the_same_questions(folder, only):
    wanted = {q.id for q in (missed(folder) if only else questions(folder, "train"))}
    found = {}
    for who in ("mentor", "sandbox"):
        augment(folder, SAMPLING, Augmenter(who, only))
        found[who] = written(folder)
        assert Counter(row.question_id for row in found[who]) == Counter({one: 2 for one in wanted})
        assert {row.source for row in found[who]} == {"mentor"}
    assert all("asked again" in row.sampler["model"] for row in found["sandbox"])
    assert not {row.id for row in found["sandbox"]} & {row.id for row in [*found["mentor"], *teacher_rows(folder)]}


def test_the_sandbox_teacher_keeps_its_error_rate_with_a_new_seed_and_a_finished_step_is_not_repeated(folder):
    augment(folder, replace(SAMPLING, n=5), Augmenter("sandbox"))
    first = written(folder)
    share = sum(row.correct for row in first) / len(first)
    assert 0.58 < share < 0.78  # 300 draws at 0.68
    texts = {(row.question_id, row.original) for row in teacher_rows(folder)}
    assert {(row.question_id, row.original) for row in first} - texts
    made = (folder / "augmented" / "manifest.json").stat().st_mtime_ns
    augment(folder, replace(SAMPLING, n=5), Augmenter("sandbox"))
    assert (folder / "augmented" / "manifest.json").stat().st_mtime_ns == made
    augment(folder, replace(SAMPLING, n=5, seed=1), Augmenter("sandbox"))
    assert written(folder) != first


def test_augmented_only_learns_from_the_augmenters_correct_rationales_only(folder, trained):
    augment(folder, SAMPLING, Augmenter("sandbox", True))
    counts = filter.filter_rationales(folder, FilterSettings())
    assert counts.loc["mentor", "total"] == 2 * len(missed(folder)) == counts.loc["mentor"].drop("total").sum()
    manifest = distill.distill(folder, "augmented-only", trained[1], TRAINING)
    assert manifest["trained_on"] == counts.loc["mentor", "kept"] > 0
    rows = filters.apply(teacher_rows(folder) + written(folder), FilterSettings(), {}, task_of(folder))
    kept = {row.id for row in rows if row.kept and row.source == "mentor"}
    assert set(manifest["inputs"]["data"]["rows"]) == kept
    with pytest.raises(InputError, match="self-mentor requires augmented/ to be written by the mentor"):
        distill.distill(folder, "self-mentor", trained[1], TRAINING)


def test_a_local_model_and_a_file_can_augment(folder, trained, tmp_path):
    ask = AskSettings(model=trained[1], prompt="one-call", max_tokens=8)
    augment(folder, Sampling(n=1, temperature=0.7, max_new_tokens=8), Augmenter("local", True, ask))
    found = written(folder)
    assert {row.question_id for row in found} == {q.id for q in missed(folder)}
    assert all(row.sampler["model"] == f"{trained[1]}, one-call" for row in found)
    assert read_json(folder / "augmented" / "manifest.json")["annotation"]["open"] == 0

    first = missed(folder)[0]
    write_rationales(tmp_path / "mine.jsonl", [row for row in found if row.question_id == first.id])
    augment(folder, SAMPLING, Augmenter(str(tmp_path / "mine.jsonl"), True))
    assert [row.question_id for row in written(folder)] == [first.id]
    assert written(folder)[0].source == "mentor"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"who": "nobody"}, "who must be 'mentor', 'sandbox' .* got 'nobody'"),
        ({"who": "local"}, "model is empty"),
        ({"who": "endpoint", "ask": AskSettings(model="m")}, "base_url is empty"),
        ({"only_missed": "false"}, "only_missed must be true or false"),
    ],
)
def test_an_invalid_augmenter_is_rejected(given, words):
    with pytest.raises(InputError, match=words):
        Augmenter(**given)
