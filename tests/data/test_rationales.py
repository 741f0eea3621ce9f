import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.official import read_official_questions, read_official_rationales
from mentor_kd.data.rationales import (
    Question,
    Rationale,
    new_question,
    new_rationale,
    normalise,
    question_id,
    rationale_id,
    read_questions,
    read_rationales,
    target,
    write_questions,
    write_rationales,
)
from mentor_kd.files import InputError

SAMPLER = {"model": "toy", "temperature": 0.7, "top_k": 50, "seed": 1, "index": 0}
QUESTION = new_question("svamp", "How many\n pens? ", "3", "train")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def row(index=0, rationale="1 + 2 = 3.\nSo three.", **changes) -> Rationale:
    made = new_rationale(
        QUESTION, rationale, "teacher", SAMPLER | {"index": index}, prediction="3", correct=True, miss=""
    )
    return replace(made, **changes)


# normalising, ids, targets


def test_normalise_by_hand():
    assert normalise(" a\n\nb\t c\u00a0\u3000d\u2028e\x85 ") == "a b c d e"
    assert normalise(" \n ") == ""
    assert normalise("a\u200bb") == "a\u200bb"  # a zero-width space is not white space


@given(TEXTS)
def test_normalise_is_idempotent_and_changes_only_white_space(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip() and "  " not in once
    assert not any(letter.isspace() and letter != " " for letter in once)
    assert "".join(once.split()) == "".join(text.split())


def test_ids_do_not_change_between_versions():
    """Files, caches and verdicts contain these ids."""
    assert question_id("svamp", "How many pens?") == "4cc474bb5c218496"
    assert rationale_id("svamp", "How many pens?", "teacher", SAMPLER) == "df1f69e6379d9fac"


def test_what_ids_depend_on():
    assert question_id("svamp", "How  many\npens?") == QUESTION.id
    assert question_id("asdiv", "How many pens?") != QUESTION.id
    ids = {
        rationale_id("svamp", "q", source, SAMPLER | {"index": k}) for source in ("teacher", "mentor") for k in (0, 1)
    }
    assert len(ids) == 4
    shuffled = dict(reversed(SAMPLER.items()))
    assert rationale_id("svamp", " q", "mentor", shuffled) == rationale_id("svamp", "q", "mentor", SAMPLER)


def test_new_rationale_keeps_the_text_as_written():
    made = row()
    assert (made.rationale, made.original) == ("1 + 2 = 3. So three.", "1 + 2 = 3.\nSo three.")
    assert (made.question, made.answer, made.question_id) == ("How many pens?", "3", QUESTION.id)


def test_target_has_the_gold_answer():
    assert target(row(prediction="4", correct=False)) == "1 + 2 = 3. So three. --> 3"
    assert target(row(rationale="")) == "--> 3"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rationale": "two\nlines"}, "rationale must be normalised"),
        ({"question": ""}, "question must not be empty"),
        ({"answer": 3}, "answer must be a string, got a number"),
        ({"correct": 1}, "correct must be true or false"),
        ({"kept": "yes"}, "kept must be true, false or null"),
        ({"prediction": 3}, "prediction must be a string or null"),
        ({"source": "student"}, "source must be one of .*got 'student'"),
        ({"original": "\ud800"}, "original contains an unpaired surrogate"),
        ({"sampler": {"model": "toy"}}, "sampler must be an object with the keys model, temperature"),
        ({"sampler": SAMPLER | {"seed": True}}, "sampler: seed must be an integer or null, got True"),
        ({"sampler": SAMPLER | {"temperature": float("nan")}}, "sampler: temperature"),
        ({"sampler": SAMPLER | {"index": None}}, "sampler: index"),
        ({"sampler": SAMPLER | {"model": ""}}, "sampler: model"),
    ],
)
def test_a_row_is_checked_when_it_is_created(change, message):
    good = row()
    with pytest.raises(InputError, match=message):
        replace(good, **change)


# JSONL


def test_questions_round_trip(tmp_path):
    rows = [QUESTION, new_question("svamp", "Which\u2028one?", "7 \n", "test")]
    write_questions(tmp_path / "questions.jsonl", rows)
    assert read_questions(tmp_path / "questions.jsonl") == rows
    assert rows[1].question == "Which one?" and rows[1].answer == "7"


@given(texts=st.lists(TEXTS, min_size=1, max_size=4), prediction=st.none() | TEXTS, kept=st.none() | st.booleans())
def test_rationales_round_trip(tmp_path_factory, texts, prediction, kept):
    path = tmp_path_factory.mktemp("rows") / "rationales.jsonl"
    rows = [row(k, text, prediction=prediction, kept=kept, reason="too long") for k, text in enumerate(texts)]
    write_rationales(path, rows)
    assert read_rationales(path) == rows


def test_optional_keys_have_defaults(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rationales(path, [row()])
    short = json.loads(path.read_text())
    for key in ("miss", "kept", "reason"):
        del short[key]
    path.write_text(json.dumps(short) + "\n")
    assert read_rationales(path) == [row()]


def damaged(lines: list[dict], number: int, **changes) -> bytes:
    lines = [dict(line) for line in lines]
    for key, value in changes.items():
        if value is ...:
            del lines[number][key]
        else:
            lines[number][key] = value
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def json_rows(tmp_path) -> list[dict]:
    write_rationales(tmp_path / "good.jsonl", [row(0), row(1), row(2)])
    return [json.loads(line) for line in (tmp_path / "good.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (1, {"answer": ...}, "line 2: the key 'answer' is missing"),
        (2, {"colour": "red"}, "line 3: unknown key 'colour'"),
        (0, {"correct": "true"}, r"line 1: correct must be true or false, got a string \(true\)"),
        (1, {"sampler": []}, "line 2: sampler"),
        (2, {"source": None}, "line 3: source"),
        (1, {"id": row(0).id}, "line 2: the id .* is already on line 1"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, number, changes, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(damaged(json_rows(tmp_path), number, **changes))
    with pytest.raises(InputError, match=f"rows.jsonl, {message}"):
        read_rationales(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: good[:-20], "line 3: not valid JSON .*truncated"),
        (lambda good: good.replace(b"svamp", b"sv\xe9mp", 1), "line 1: not UTF-8 .*0xe9"),
        (lambda good: good + b"[1]\n", "line 4: expected a JSON object"),
        (lambda good: b"", "the file is empty"),
        (lambda good: b"\n \n", "the file is empty"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(damage(damaged(json_rows(tmp_path), 0)))
    with pytest.raises(InputError, match=f"rows.jsonl.*{message}"):
        read_rationales(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.jsonl: no such file"):
        read_questions(tmp_path / "nowhere.jsonl")


def test_invalid_rows_are_not_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(InputError, match="is repeated; nothing was written"):
        write_rationales(path, [row(0), row(0)])
    with pytest.raises(InputError, match="no rows to write"):
        write_questions(path, [])
    assert not path.exists()


def test_a_question_is_checked():
    with pytest.raises(InputError, match="split must be one of .*got 'exam'"):
        Question("1", "svamp", "q", "a", "exam")


# the official format


def official(tmp_path, rows, name="svamp_3_train.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows, indent=4))
    return path


DRAW = {"model": "toy", "temperature": 0.7, "top_k": None, "seed": None}
PUBLISHED = {"input": "How many\npens?\n", "chain": " \n\nOne.\nTwo.", "answer": "3", "initial_correct": True}


def test_official_rationales_are_counted_per_question(tmp_path):
    other = PUBLISHED | {"input": "And cups?", "completion": "4.0", "initial_correct": False}
    path = official(tmp_path, [PUBLISHED, other, PUBLISHED, PUBLISHED])
    rows = read_official_rationales(path, "svamp", "teacher", DRAW)
    assert [made.sampler["index"] for made in rows] == [0, 0, 1, 2]
    assert len({made.id for made in rows}) == 4
    assert (rows[0].rationale, rows[0].original) == ("One. Two.", " \n\nOne.\nTwo.")
    assert (rows[0].prediction, rows[0].correct) == (None, True) and "upstream verdict" in rows[0].miss
    assert (rows[1].prediction, rows[1].correct, rows[1].miss) == ("4.0", False, "")


def test_official_questions_keep_every_row(tmp_path):
    questions = read_official_questions(official(tmp_path, [PUBLISHED, PUBLISHED]), "svamp", "train")
    assert questions == [QUESTION] * 2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"input": "q"}, "expected a JSON array of rows, got an object"),
        ([], "expected at least one row"),
        ([PUBLISHED, 3], "row 2: expected a JSON object, got a number"),
        ([{"input": "q", "answer": "a"}], "row 1: the key 'chain' is missing"),
        ([PUBLISHED, PUBLISHED | {"note": "x"}], "row 2: unknown key 'note'"),
        ([PUBLISHED | {"initial_correct": 1}], "row 1: initial_correct must be true or false, got a number"),
        ([PUBLISHED | {"answer": 3}], "row 1: answer must be a string"),
        ([PUBLISHED, PUBLISHED | {"answer": " "}], "row 2: answer must not be empty"),
        ([PUBLISHED | {"chain": "\ud800"}], "an unpaired surrogate in"),
    ],
)
def test_a_wrong_official_row_is_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=f"svamp_3_train.json.*{message}"):
        read_official_rationales(official(tmp_path, rows), "svamp", "teacher", DRAW)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: good[:-30], "line 6: not valid JSON .*truncated"),
        (lambda good: good.replace(b"One", b"\xff"), "line 4: not UTF-8"),
        (lambda good: b" \n", "the file is empty"),
    ],
)
def test_a_damaged_official_file_is_named(tmp_path, damage, message):
    path = official(tmp_path, [PUBLISHED])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"svamp_3_train.json.*{message}"):
        read_official_rationales(path, "svamp", "teacher", DRAW)
