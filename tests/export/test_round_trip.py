"""Round trip: run -> export -> `data:` of another run gives the same rows and the same student."""

import pytest
import torch
from safetensors.torch import load_file
from small_run import TRAINING, keep_some_of_the_mentors

from mentor_kd.data import table
from mentor_kd.data.folder import questions, task_of, teacher_rows
from mentor_kd.data.rationales import judged, new_question, write_questions, write_rationales
from mentor_kd.data.tasks import Task
from mentor_kd.export import dataset
from mentor_kd.export.rows import contents
from mentor_kd.export.settings import FORMATS, SetSettings
from mentor_kd.files import read_json, write_json
from mentor_kd.filtering import filters
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.pipeline.collect import CollectSettings, collect
from mentor_kd.pipeline.distill import distill
from mentor_kd.pipeline.filter import rationales


def texts(rows):
    return [(row.question_id, row.question, row.rationale, row.answer) for row in rows]


@pytest.mark.parametrize("form", FORMATS)
def test_a_run_on_the_exported_set_has_the_same_rows(folder, tmp_path, form):
    keep_some_of_the_mentors(folder)  # by verdict: their texts conclude with other answers than the gold ones
    dataset.export(folder, tmp_path / "set", SetSettings(form))
    again = tmp_path / "again" / folder.name
    collect(again, folder.name, CollectSettings(data=str(tmp_path / "set"), answer_type=task_of(folder).answer_type))
    kept = [row for row in rationales(folder) if row.kept]
    rows = filters.apply(teacher_rows(again), FilterSettings(), {}, task_of(again))
    assert all(row.correct and row.kept for row in rows) and texts(rows) == texts(kept)
    for split in ("dev", "test"):
        ours = [(q.id, q.question, q.answer) for q in questions(folder, split)]
        assert [(q.id, q.question, q.answer) for q in questions(again, split)] == ours


def test_and_gives_the_same_student(folder, tmp_path, model):
    keep_some_of_the_mentors(folder)
    before = distill(folder, "mentor-kd-no-sld", model, TRAINING)
    dataset.export(folder, tmp_path / "set", SetSettings())
    again = tmp_path / "again" / folder.name
    collect(again, folder.name, CollectSettings(data=str(tmp_path / "set"), answer_type=task_of(folder).answer_type))
    rows = filters.apply(teacher_rows(again), FilterSettings(), {}, task_of(again))
    write_rationales(again / "rationales.jsonl", rows)
    write_json(again / "filters.yaml", {})
    after = distill(again, "vanilla-kd", model, TRAINING)  # all rationales are the teacher's there
    one, other = (
        load_file(place / "model.safetensors")
        for place in (folder / "students/mentor-kd-no-sld-seed0", again / "students/vanilla-kd-seed0")
    )
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert before["test"] == after["test"] and before["trained_on"] == after["trained_on"] == len(rows)


TEXTS = [
    "She has 3 + 4 = 7 pens. --> 7",
    "She has 7 pens, 2 more than Bob. --> 7",  # read alone: several numbers
    "It is not 5. --> 7",
    "No number here. --> 7",
    "--> 7",
    "The answer is 8. --> 7",
    'Quotes " and, commas; é 漢字 = + - @ --> 7',
]


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_of_text_comes_back(tmp_path, form):
    """Also those that state another answer, or none, before the marker; further columns come back as meta."""
    folder, task = tmp_path / "run" / "own", Task("own", "number")
    meta = {"level": "hard", "points": 3, "id": "theirs"}
    asked = [new_question("own", f"Ann has {i} pens. How many?", "7", "train", meta) for i in range(len(TEXTS))]
    sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None, "index": 0}
    rows = [judged(question, text, "teacher", sampler, task) for question, text in zip(asked, TEXTS, strict=True)]
    more = [new_question("own", f"Bob has {i} pens. How many?", "1.5", ("dev", "test")[i % 2]) for i in range(4)]
    write_json(folder / "collected" / "task.json", {"name": "own", "answer_type": "number"})
    write_questions(folder / "collected" / "questions.jsonl", [*asked, *more])
    write_rationales(folder / "rationales.jsonl", filters.apply(rows, FilterSettings(), {}, task))
    write_json(folder / "filters.yaml", {})
    assert len(contents(folder).kept) == len(TEXTS)
    dataset.export(folder, tmp_path / "set", SetSettings(form))
    found = table.read_table(tmp_path / "set", task)
    again = [row for row in found.rationales if row.question_id in {question.id for question in asked}]
    # a reply or a completion that is only an answer is read as an answer, and not as a rationale without words
    expected = [row for row in rows if row.rationale or form == "parquet"]
    assert texts(again) == texts(expected) and all(row.correct for row in again)
    assert [(q.id, q.split) for q in found.questions] == [(q.id, q.split) for q in [*asked, *sorted_by_split(more)]]
    assert {row.meta["level"] for row in again} == {"hard"} and {row.meta["points"] for row in again} == {3}
    assert not found.left_out and read_json(tmp_path / "set" / "manifest.json")["exported"] == len(TEXTS)


def sorted_by_split(asked):
    return sorted(asked, key=lambda question: ("dev", "test").index(question.split))
