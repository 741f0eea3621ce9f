"""Small copies of the official files: the questions and rationales read, and the rows left out."""

import json
from collections import Counter

import official_files
import pytest

from mentor_kd.data import official
from mentor_kd.data.official import load_task, mentor_rationales, read_dev, teacher_rationales
from mentor_kd.data.rationales import new_question, question_id
from mentor_kd.data.tasks import PROTOCOLS, TASKS
from mentor_kd.files import InputError

SVAMP = "data/main/svamp_test.json"
LETTERS = "data/main/last_letter_concatenation_test.json"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    official_files.pin(monkeypatch)
    official_files.write_tree(tmp_path)
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_DATA", str(tmp_path))
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_CHANGED", "accept")  # most tests change a file
    return tmp_path


def test_load_task(tree):
    task = load_task("svamp")
    assert (len(task.train), len(task.test), task.rows, task.dropped) == (4, 2, {"train": 4, "test": 2}, ())
    assert task.train[0] == new_question(
        "svamp", "Ann has 1 pens and gets 2 more. How many pens does she have?", "3", "train"
    )
    assert {row.split for row in task.test} == {"test"}
    assert load_task(TASKS["svamp"], root=tree) == task


def test_without_the_skeleton_the_questions_come_from_the_rationales(tree):
    (tree / "data/skeleton/svamp_train.json").unlink()
    task = load_task("svamp")
    assert len(task.train) == 3 and task.rows["train"] == 3 and official_files.adds_up(task)


def test_a_train_question_in_the_test_file_is_held_out(tree):
    key = question_id("strategy-qa", official_files.TESTED)
    sound, paper = load_task("strategy-qa"), load_task("strategy-qa", "paper")
    assert len(sound.train) == 3 and key not in {row.id for row in sound.train}
    assert sound.dropped == (f"{tree}/data/skeleton/strategy_qa_train.json, row 1: {official.HELD_OUT}",)
    assert len(paper.train) == 4 and key in {row.id for row in paper.train} and paper.dropped == ()
    assert official_files.adds_up(sound) and official_files.adds_up(paper)


def test_a_held_out_questions_rationales_are_held_out_too(tree):
    key = question_id("strategy-qa", official_files.TESTED)
    for read, total in ((teacher_rationales, 9), (mentor_rationales, 12)):
        sound, paper = read("strategy-qa"), read("strategy-qa", protocol="paper")
        assert len(paper) == total and sum(row.question_id == key for row in paper) == 3 and not paper.dropped
        assert len(sound) == total - 3 == total - len(sound.dropped)
        assert key not in {row.question_id for row in sound}
        assert all(official.HELD_OUT in why for why in sound.dropped)


def test_a_repeated_question_is_taken_once(tree):
    for protocol in PROTOCOLS:
        task = load_task("asdiv", protocol)
        assert len(task.train) == 3 and official_files.adds_up(task)
        assert task.dropped == (f"{tree}/data/skeleton/asdiv_train.json, row 3: repeats the question of row 1",)
    rows = mentor_rationales("asdiv").rows
    assert len(rows) == 12 and len({row.id for row in rows}) == 12
    assert [row.sampler["index"] for row in rows if row.question_id == rows[0].question_id] == [0, 1, 2, 3, 4, 5]


def test_a_repeated_question_with_another_answer_is_named(tree):
    path = tree / "data/skeleton/asdiv_train.json"
    rows = json.loads(path.read_text())
    rows[2]["answer"] = "5"
    path.write_text(json.dumps(rows))
    assert "repeats the question of row 1, with the answer '5' instead of '4'" in load_task("asdiv").dropped[0]


def test_rationales_of_unknown_questions_or_other_labels_are_dropped_and_listed(tree):
    path = tree / "data/skeleton/svamp_train.json"
    rows = json.loads(path.read_text())
    rows[0]["answer"] = "4"
    path.write_text(json.dumps([rows[0], *rows[2:]]))
    got = teacher_rationales("svamp")
    assert len(got) == 3 and len(got.dropped) == 6
    assert Counter(why.split(": ")[1] for why in got.dropped) == {
        "its gold answer is '3', the training question's is '4'": 3,
        "its question is not among the training questions": 3,
    }


def test_last_letter_labels(tree):
    key = question_id("last-letter-concatenation", official_files.TWO_WORDS)
    fixed, published = (load_task("last-letter-concatenation", last_letter_labels=kind) for kind in official.LABELS)
    assert {row.id: row.answer for row in fixed.test}[key] == "aab" and fixed.corrected == (key,)
    assert {row.id: row.answer for row in published.test}[key] == "ab" and published.corrected == ()
    assert [row.id for row in fixed.test] == [row.id for row in published.test]


def test_only_the_published_wrong_label_is_corrected(tree):
    (tree / LETTERS).write_bytes((tree / "data/skeleton/last_letter_concatenation_test.json").read_bytes())
    task = load_task("last-letter-concatenation")
    assert task.corrected == () and task.test[1].answer == "aab"
    (tree / LETTERS).write_text((tree / LETTERS).read_text().replace('"aab"', '"other"'))
    task = load_task("last-letter-concatenation")  # a label other than the published one is not corrected
    assert task.corrected == () and task.test[1].answer == "other"


def test_teacher_rationales(tree):
    path = tree / "data/main/svamp_3_train.json"
    rows = json.loads(path.read_text())
    rows[1]["chain"] = "I forgot what to conclude."
    path.write_text(json.dumps(rows))
    got = teacher_rationales("svamp").rows
    assert [row.prediction for row in got[:3]] == ["3", None, "3"]
    assert all(row.correct and row.source == "teacher" for row in got)  # upstream's verdict
    assert "no completion published" in got[1].miss and got[0].miss == ""
    assert got[2].sampler == {"model": "gpt-3.5-turbo", "temperature": 0.7, "top_k": None, "seed": None, "index": 2}
    assert got[0].original == "She has 1 pens.\nThen 1 + 2 = 3 pens."


@pytest.mark.parametrize(
    "task", ["svamp", "asdiv", "strategy-qa", "last-letter-concatenation", "tracking-shuffled-objects"]
)
def test_mentor_rationales_right_and_wrong(tree, task):
    got = mentor_rationales(task, protocol="paper" if task == "strategy-qa" else "sound")
    assert not got.disagreements and not got.dropped
    assert all(row.correct == (row.sampler["index"] % 3 < 2) for row in got)
    assert all(row.prediction is not None for row in got)
    assert got.rows[0].sampler["model"] == "flan-t5-large" and got.rows[0].sampler["top_k"] == 50


def test_disagreements_with_upstream_are_listed(tree):
    path = tree / "data/aug/flan-t5_large/svamp_rand3_aug3.json"
    rows = json.loads(path.read_text())
    rows[0] |= {"completion": "3.00", "initial_correct": False}
    rows[4]["completion"] = "no idea"
    path.write_text(json.dumps(rows))
    got = mentor_rationales("svamp")
    assert [(ours.correct, theirs.correct) for ours, theirs in got.disagreements] == [(True, False), (False, True)]
    assert [theirs.prediction for _, theirs in got.disagreements] == ["3.00", "no idea"]
    assert got.rows[4].prediction is None and got.rows[4].miss
    assert len(got) == 12


def test_read_dev(tmp_path):
    path = tmp_path / "dev.json"
    rows = [{"instruction": "How many?\n", "output": "", "label": "14"}, {"instruction": "And now?", "label": "2"}]
    path.write_text(json.dumps(rows))
    assert read_dev(path, "svamp") == [
        new_question("svamp", "How many?", "14", "dev"),
        new_question("svamp", "And now?", "2", "dev"),
    ]
    path.write_text(json.dumps([*rows, {"instruction": "How  many?", "label": "14"}]))
    with pytest.raises(InputError, match="dev.json, row 3: repeats the question of row 1; remove one"):
        read_dev(path, "svamp")
    path.write_text(json.dumps([{"instruction": "How many?", "label": 14}]))
    with pytest.raises(InputError, match="dev.json, row 1: label must be a string, got a number"):
        read_dev(path, "svamp")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"[]", "expected at least one row"),
        (b'[\n {"input": "q",\n', "line 3: not valid JSON"),
        (b'[{"input": "\xff"}]', "line 1: not UTF-8"),
        (b'[{"input": "q"}]', "row 1: the key 'answer' is missing"),
        (
            b'[{"input": "q", "answer": "a"}, {"input": ["q"], "answer": "a"}]',
            "row 2: input must be a string, got an array",
        ),
        (b'[{"input": "q", "answer": "a", "label": "a"}]', "row 1: unknown key 'label'"),
    ],
)
def test_a_damaged_file_is_named(tree, content, message):
    (tree / SVAMP).write_bytes(content)
    with pytest.raises(InputError, match=f"{SVAMP}.*{message}"):
        load_task("svamp")


def test_wrong_settings_are_named(tree):
    with pytest.raises(InputError, match="protocol must be one of sound, paper, got 'best'"):
        load_task("svamp", "best")
    with pytest.raises(InputError, match="last_letter_labels must be one of corrected, as published, got 'fixed'"):
        load_task("svamp", last_letter_labels="fixed")
    with pytest.raises(InputError, match="family must be one of flan-t5_large, t5_large, got 'gpt2'"):
        mentor_rationales("svamp", "gpt2")
    with pytest.raises(InputError, match="sandbox-sums has no official data; choose one of gsm8k"):
        teacher_rationales("sandbox-sums")
    with pytest.raises(InputError, match=r"gsm8k_test.json: no such file; run `python -m mentor_kd data fetch`"):
        load_task("gsm8k")


# files that are not the published ones


def test_a_changed_file_is_refused_where_it_is_read(tree, monkeypatch, capsys):
    monkeypatch.delenv("MENTOR_KD_OFFICIAL_CHANGED")
    assert len(load_task("svamp").test) == 2
    path = tree / SVAMP
    path.write_bytes(path.read_bytes().replace(b"21", b"22"))
    for read in (lambda: load_task("svamp"), lambda: load_task("svamp", "paper")):
        with pytest.raises(InputError, match=r"svamp_test\.json: not the published file: git blob hash .*data fetch"):
            read()
    assert load_task("svamp", root=tree).test[0].answer == "22"  # a folder given in a call is the caller's own
    (tree / "data/main/svamp_3_train.json").write_bytes(b"[]")
    with pytest.raises(InputError, match=r"svamp_3_train\.json: not the published file"):
        teacher_rationales("svamp")
    monkeypatch.setenv("MENTOR_KD_OFFICIAL_CHANGED", "accept")
    capsys.readouterr()
    assert load_task("svamp").test[0].answer == load_task("svamp").test[0].answer == "22"
    assert capsys.readouterr().out.count("svamp_test.json: not the published file") == 1  # one warning per file
