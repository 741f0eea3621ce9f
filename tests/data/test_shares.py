"""Low resource: shares of the teacher's rationales, by question and by rationale, with counts that add up."""

import pytest
import tiny

from mentor_kd.data.folder import missed, questions, teacher_rows
from mentor_kd.data.splits import ShareSettings, draw
from mentor_kd.files import InputError, read_json
from mentor_kd.pipeline import mentor as steps
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.training.settings import TrainSettings

TASK = "sandbox-letters"
SMALL = {"train_questions": 40, "dev_questions": 3, "test_questions": 4, "coverage": 0.5}


def collected(folder, **share):
    collect(folder, TASK, CollectSettings(**SMALL, share=ShareSettings(**share)))
    return teacher_rows(folder)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("run") / TASK)


def test_a_share_of_questions_includes_all_their_rationales(everything):
    used, facts = draw(everything, ShareSettings(0.4, "questions"))
    assert len(everything) == 60 and len(used) == 24 and len({row.question_id for row in used}) == 8
    assert facts == {
        **{"share": 0.4, "of": "questions", "collected": 60, "used": 24, "set_aside": 36},
        **{"questions_collected": 20, "questions_used": 8},
    }
    assert used == [row for row in everything if row in used]  # in the given order


def test_a_share_of_rationales_covers_more_questions(everything):
    used, facts = draw(everything, ShareSettings(0.4, "rationales"))
    assert len(used) == facts["used"] == 24 and facts["set_aside"] == 36
    assert facts["questions_used"] > 8


@pytest.mark.parametrize("unit", ["questions", "rationales"])
def test_a_smaller_share_is_a_subset_of_a_larger_one_and_the_seed_matters(everything, unit):
    before: set[str] = set()
    for share in (0.001, 0.1, 0.5, 0.9, 1.0):
        now = {row.id for row in draw(everything, ShareSettings(share, unit))[0]}
        assert before < now  # 0.001 still gives one unit
        before = now
    assert len(before) == 60
    others = {row.id for row in draw(everything, ShareSettings(0.5, unit, seed=1))[0]}
    assert others != {row.id for row in draw(everything, ShareSettings(0.5, unit))[0]}


def test_mentor_and_counts_know_the_share_only(tmp_path, everything):
    model, folder = str(tiny.gpt2(tmp_path / "model")), tmp_path / "run" / TASK
    rows = collected(folder, share=0.4, unit="rationales")
    facts = read_json(folder / "collected" / "manifest.json")["teacher_share"]
    assert facts["used"] + facts["set_aside"] == facts["collected"] == len(everything)
    assert {row.id for row in rows} < {row.id for row in everything} and len(rows) == facts["used"]
    assert len(questions(folder, "train")) == 40  # the mentor may still generate for all of them
    explained = {row.question_id for row in rows if row.correct}
    assert {q.id for q in missed(folder)} == {q.id for q in questions(folder, "train")} - explained
    mentor = steps.train_mentor(folder, model, TrainSettings(epochs=1, batch_size=16))
    assert set(mentor["inputs"]["data"]["rows"]) <= {row.id for row in rows if row.correct}


def test_a_share_of_one_changes_nothing(tmp_path, everything):
    folder = tmp_path / TASK
    assert collected(folder, share=1.0, unit="rationales", seed=7) == everything
    manifest = read_json(folder / "collected" / "manifest.json")
    assert "teacher_share" not in manifest and "share" not in manifest["inputs"]["settings"]


@pytest.mark.parametrize(
    ("share", "words"),
    [
        ({"share": 0.0}, "share must be a number > 0 and <= 1"),
        ({"share": 40}, "share .* got 40"),
        ({"share": True}, "share must"),
        ({"unit": "words"}, "unit must be one of questions, rationales, got 'words'"),
        ({"seed": -1}, "seed must be an integer >= 0"),
    ],
)
def test_an_invalid_share_is_rejected(share, words):
    with pytest.raises(InputError, match=words):
        ShareSettings(**share)
