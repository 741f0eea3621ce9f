import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.rationales import target
from mentor_kd.data.table import read_table
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError

TASK = Task("apples", "number")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def csv(tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path / name


def jsonl(tmp_path, *rows):
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / "table.jsonl"


def test_a_csv_with_every_column(tmp_path):
    path = csv(
        tmp_path,
        "\ufeffquestion,answer,rationale,split\r\n"
        '"Ann has 2, Bob 3.\nHow many?",5,"2 + 3 = 5. --> 5",train\r\n'
        '"Ann has 2, Bob 3. How many?",5,"2 + 3 = 6. --> 6",\r\n'
        "How many eggs?,12,,test\r\n",
    )
    questions, rows = read_table(path, TASK)
    assert [(q.question, q.answer, q.split, q.task) for q in questions] == [
        ("Ann has 2, Bob 3. How many?", "5", "train", "apples"),
        ("How many eggs?", "12", "test", "apples"),
    ]
    assert [(r.rationale, r.prediction, r.correct, r.sampler["index"]) for r in rows] == [
        ("2 + 3 = 5.", "5", True, 0),
        ("2 + 3 = 6.", "6", False, 1),
    ]
    assert {r.question_id for r in rows} == {questions[0].id}
    assert rows[0].original == "2 + 3 = 5. --> 5" and rows[0].source == "teacher"


def test_the_training_text_has_one_conclusion(tmp_path):
    _, [row] = read_table(jsonl(tmp_path, {"question": "q?", "answer": "5", "rationale": "2 + 3 = 5 --> 5"}), TASK)
    assert target(row) == "2 + 3 = 5 --> 5"


@pytest.mark.parametrize(
    ("rationale", "prediction", "correct", "miss"),
    [
        ("They have some.", None, True, "no conclusion stated; the table's answer was taken"),
        ("The answer is 5.", "5", True, ""),
        ("The answer is 7.", "7", False, ""),
        ("So five. --> 5", "5", True, ""),
        ("So five. --> a few", None, False, None),  # an unreadable conclusion is a miss; the table's answer is not used
    ],
)
def test_what_a_rationale_concludes(tmp_path, rationale, prediction, correct, miss):
    _, [row] = read_table(jsonl(tmp_path, {"question": "q?", "answer": 5, "rationale": rationale}), TASK)
    assert (row.prediction, row.correct) == (prediction, correct)
    assert row.miss == miss if miss is not None else row.miss


def test_without_rationales_and_splits_there_are_only_training_questions(tmp_path):
    questions, rows = read_table(csv(tmp_path, "answer,question\n1,One?\n2,Two?\n"), TASK)
    assert [(q.question, q.answer, q.split) for q in questions] == [("One?", "1", "train"), ("Two?", "2", "train")]
    assert rows == []


@pytest.mark.parametrize("split", ["", "  ", None])
def test_an_empty_split_is_train(tmp_path, split):
    [question], _ = read_table(jsonl(tmp_path, {"question": "q?", "answer": "5", "split": split}), TASK)
    assert question.split == "train"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\n", r"table\.csv: the table has no rows"),
        ("", r"table\.csv: the table has no rows"),
        ("question,reply\nOne?,1\n", r"line 2: unknown column 'reply'; the columns are question, answer"),
        ("question\nOne?\n", r"line 2: the column 'answer' is missing"),
        ("question,answer\nOne?,1\nTwo, or three?,2\n", r"line 3: expected 2 columns; put texts that contain commas"),
        ("question,answer\nOne?\n", r"line 2: expected 2 columns"),
        ('question,answer\nOne?,"1\n', r"line 2: not valid CSV"),
        ("question,answer\nOne?,\n", r"line 2: answer must not be empty"),
        ("question,answer,split\nOne?,1,validation\n", r"line 2: split must be one of 'train'.*got 'validation'"),
        (
            "question,answer\nOne?,1\nTwo?,2\nOne?,3\n",
            r"line 4: the same question .*answer '1' .*but '3' and 'train' here",
        ),
        ("question,answer,split\nOne?,1,train\nOne?,1,test\n", r"line 3: the same question .*split 'train'"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_table(csv(tmp_path, text), TASK)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q?"}, "line 1: the column 'answer' is missing"),
        ({"question": "q?", "answer": None}, "line 1: answer must be a string, got None"),
        ({"question": 7, "answer": "5"}, "line 1: question must be a string, got 7"),
        ({"question": "q?", "answer": "5", "rationale": ["a"]}, r"line 1: rationale must be a string, got \['a'\]"),
        ({"question": "q?", "answer": "5", "split": 1}, "line 1: split must be a string, got 1"),
        ({"question": "q?", "answer": "5", "note": "x"}, "line 1: unknown column 'note'"),
    ],
)
def test_a_wrong_row_of_jsonl_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read_table(jsonl(tmp_path, row), TASK)


def test_other_kinds_of_file_are_rejected(tmp_path):
    with pytest.raises(InputError, match=r"must end in \.csv or \.jsonl, got '\.xlsx'"):
        read_table(tmp_path / "table.xlsx", TASK)
    with pytest.raises(InputError, match=r"gone\.csv: no such file"):
        read_table(tmp_path / "gone.csv", TASK)


@given(TEXTS)
def test_any_bytes_are_a_table_or_an_input_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("question,answer,rationale\n" + text, encoding="utf-8", newline="")
    try:
        questions, _ = read_table(path, TASK)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert questions


@pytest.mark.parametrize("text", ["It is either 44 or 52.", "The answer is not 47."])
def test_an_unclear_conclusion_is_a_miss_and_not_the_tables_answer(tmp_path, text):
    _, (row,) = read_table(jsonl(tmp_path, {"question": "q", "answer": "47", "rationale": text}), TASK)
    assert not row.correct and row.prediction is None and row.miss


def test_a_gold_answer_of_the_wrong_type_is_rejected(tmp_path):
    with pytest.raises(InputError, match="line 1: the answer 'many' is not of type 'number'"):
        read_table(jsonl(tmp_path, {"question": "q", "answer": "many"}), TASK)
    with pytest.raises(InputError, match="the answer 'F' is not of type 'choice' .one of the letters ABCDE"):
        read_table(jsonl(tmp_path, {"question": "q", "answer": "F"}), Task("mine", "choice"))
