"""Your own table: questions, gold answers as they are stored, rationales as they are, and refusals with their line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.rationales import new_question, target
from mentor_kd.data.table import read_table
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError

TASK = Task("apples", "number")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def csv(tmp_path, text, name="table.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path / name


def jsonl(tmp_path, *rows, name="table.jsonl"):
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path / name


def read(path, task=TASK, **more):
    found = read_table(path, task, **more)
    return found.questions, found.rationales


def test_a_csv_with_every_column(tmp_path):
    path = csv(
        tmp_path,
        "\ufeffquestion,answer,rationale,split\r\n"
        '"Ann has 2, Bob 3.\nHow many?",5,"2 + 3 = 5. --> 5",train\r\n'
        '"Ann has 2, Bob 3. How many?",5.0,"2 + 3 = 6. --> 6",\r\n'
        "How many eggs?,12,,test\r\n",
    )
    questions, rows = read(path)
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
    assert rows[0].sampler["model"] == "table.csv" and rows[0].meta == {}


def test_the_training_text_has_one_conclusion(tmp_path):
    _, [row] = read(jsonl(tmp_path, {"question": "q?", "answer": "5", "rationale": "2 + 3 = 5 --> 5"}))
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
    _, [row] = read(jsonl(tmp_path, {"question": "q?", "answer": 5, "rationale": rationale}))
    assert (row.prediction, row.correct) == (prediction, correct)
    assert row.miss == miss if miss is not None else row.miss


def test_without_rationales_and_splits_there_are_only_training_questions(tmp_path):
    questions, rows = read(csv(tmp_path, "answer,question\n1,One?\n2,Two?\n"))
    assert [(q.question, q.answer, q.split) for q in questions] == [("One?", "1", "train"), ("Two?", "2", "train")]
    assert rows == []


@pytest.mark.parametrize(
    ("split", "meant"),
    [
        *((empty, "train") for empty in ("", "  ", None, "training", "Train")),
        *((name, "dev") for name in ("validation", "val", "valid", "dev", "eval", " VAL ")),
        ("test", "test"),
    ],
)
def test_the_usual_names_of_splits(tmp_path, split, meant):
    [question], _ = read(jsonl(tmp_path, {"question": "q?", "answer": "5", "split": split}))
    assert question.split == meant


@pytest.mark.parametrize(
    ("answer_type", "given", "stored"),
    [
        ("number", "$1,234.50", "1234.5"),
        ("number", "18 apples", "18"),
        ("number", 58.0, "58"),
        ("number", "\\boxed{7}", "7"),
        ("math", "$\\frac{1}{2}$", "\\frac{1}{2}"),
        ("choice", "(b)", "B"),
        ("choice", "C.", "C"),
        ("yes/no", True, "Yes"),
        ("yes/no", False, "No"),
        ("yes/no", "no", "No"),
        ("text", "The  Hague", "The Hague"),
    ],
)
def test_the_gold_answer_is_stored_as_the_answer_found(tmp_path, answer_type, given, stored):
    [question], _ = read(jsonl(tmp_path, {"question": "q?", "answer": given}), Task("t", answer_type))
    assert question.answer == stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question,answer\n", r"table\.csv: the table has no rows"),
        ("", r"table\.csv: the file is empty"),
        (
            "question,reply\nOne?,1\n",
            r"no column is the answer; the columns are question, reply; .*\{question: question, answer: reply\}",
        ),
        ("question\nOne?\n", r"no column is the answer; the columns are question; .*answer: NAME"),
        (
            "question,anwser,rationale\nOne?,1,One. The answer is 1.\n",  # not the answer that the rationale states
            r"no column is the answer; .*\{question: question, answer: anwser, rationale: rationale\}",
        ),
        (
            "question,problem,answer\nOne?,1,2\n",
            r"the question could be 'question' or 'problem'; the columns are question, problem, answer; .*\{question:",
        ),
        ("question,answer,Final Answer\nOne?,1,2\n", r"the answer could be 'answer' or 'Final Answer'"),
        ("question,answer\nOne?,1\nTwo, or three?,2\n", r"line 3: expected 2 values, got 3"),
        ("question,answer\nOne?\n", r"line 2: expected 2 values, got 1"),
        ("question,answer,answer\nOne?,1,2\n", r"line 1: the column 'answer' is repeated"),
        ('question,answer\nOne?,"1\n', r"line 2: not valid CSV"),
        ("question,answer\nOne?,\n", r"line 2: the answer is missing"),
        ("question,answer\n,1\n", r"line 2: question must not be empty"),
        ("question,answer,split\nOne?,1,later\n", r"line 2: the split must be train, dev .*got 'later'"),
        (
            "question,answer\nOne?,1\nTwo?,2\nOne?,3\n",
            r"line 4: the same question has answer '1' and split 'train' in line 2, but '3' and 'train' here",
        ),
        ("question,answer,split\nOne?,1,train\nOne?,1,test\n", r"line 3: the same question .*split 'train'"),
        ("question,answer\nOne?,nan\n", r"line 2: the answer 'nan' is not of type 'number'"),
        ("question,answer\nOne?,1e999\n", r"line 2: the answer '1e999' is not of type 'number'"),
        ("question,answer\nOne?," + "9" * 5000 + "\n", r"line 2: the answer '999.{50,80} is not of type 'number'"),
    ],
)
def test_a_wrong_table_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        read(csv(tmp_path, text))
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q?", "answer": None}, "line 1: the answer is missing"),
        ({"question": 7, "answer": "5"}, "line 1: question must be a string, got 7"),
        ({"question": "q?", "answer": "5", "rationale": [3]}, r"line 1: rationale must be a string or a list of"),
        ({"question": "q?", "answer": "5", "split": 1}, "line 1: split must be a string, got 1"),
        ({"question": "q?", "answer": ["1", "2"]}, "line 1: answer must be one answer"),
        ({"question": "q?", "answer": True}, "line 1: the answer must be a string or a number, got True"),
        ({"question": "q?", "answer": "many"}, "line 1: the answer 'many' is not of type 'number'"),
    ],
)
def test_a_wrong_row_of_jsonl_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read(jsonl(tmp_path, row))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "q", "answer": NaN}', "line 1.*NaN is not a finite number"),
        ('{"question": "q", "answer": 1e999}', "line 1.*not a finite number"),
        (f'{{"question": "q", "answer": {"9" * 5000}}}', "line 1.*a number of 5000 digits"),
        ('{"question": "\\ud83d", "answer": 1}', "line 1.*an unpaired surrogate"),
        ('{"question": "q", "answer": 1, "answer": 2}', "line 1.*the key 'answer' is repeated"),
    ],
)
def test_json_that_says_nothing_certain_is_refused(tmp_path, line, message):
    with pytest.raises(InputError, match=message):
        read(csv(tmp_path, line + "\n", "table.jsonl"))


@given(TEXTS)
def test_any_bytes_are_a_table_or_an_input_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text("question,answer,rationale\n" + text, encoding="utf-8", newline="")
    try:
        questions, _ = read(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        assert questions


@pytest.mark.parametrize("text", ["It is either 44 or 52.", "The answer is not 47."])
def test_an_unclear_conclusion_is_a_miss_and_not_the_tables_answer(tmp_path, text):
    _, (row,) = read(jsonl(tmp_path, {"question": "q", "answer": "47", "rationale": text}))
    assert not row.correct and row.prediction is None and row.miss


def test_a_letter_that_is_no_choice_is_refused(tmp_path):
    with pytest.raises(InputError, match="the answer 'F' is not of type 'choice' .one of the letters ABCDE"):
        read(jsonl(tmp_path, {"question": "q", "answer": "F"}), Task("mine", "choice"))


def test_several_rationales_in_a_list_are_samples_of_the_question(tmp_path):
    row = {"question": "q?", "answer": "5", "rationales": ["2 + 3 = 5.", "", "2 + 3 = 6. --> 6"]}
    _, rows = read(jsonl(tmp_path, row))
    assert [(one.rationale, one.correct, one.sampler["index"]) for one in rows] == [
        ("2 + 3 = 5.", True, 0),
        ("2 + 3 = 6.", False, 1),
    ]


def test_columns_are_mapped_by_name(tmp_path):
    path = jsonl(
        tmp_path, {"text": "q?", "more": "Which?", "final": "5", "a": "So 5.", "b": "Or 6. --> 6", "answer": "x"}
    )
    columns = {"question": ["more", "text"], "answer": "final", "rationale": ["a", "b"]}
    [question], rows = read(path, columns=columns)
    assert question.question == "Which? q?" and question.answer == "5" and question.meta == {"answer": "x"}
    assert [row.correct for row in rows] == [True, False]
    with pytest.raises(InputError, match=r"there is no column 'finale'; the columns are text.*\{answer: final\}"):
        read(path, columns=columns | {"answer": "finale"})


def test_further_columns_are_kept_as_meta(tmp_path):
    path = jsonl(
        tmp_path,
        {"id": 7, "question": "q?", "answer": "5", "rationale": "So 5.", "level": "easy", "tags": ["a"], "who": "x"},
        {"id": 8, "question": "q?", "answer": "5", "rationale": "Thus 5.", "level": "easy", "who": None},
    )
    found = read_table(path, TASK)
    assert [row.meta for row in found.rationales] == [
        {"id": 7, "level": "easy", "who": "x"},
        {"id": 8, "level": "easy"},
    ]
    assert found.questions[0].meta == {"level": "easy"}  # what all of its rows say
    assert "kept as meta: id, level, who" in found.said and any("not used: tags" in one for one in found.said)


def test_a_second_file_has_the_test_questions(tmp_path):
    train = jsonl(tmp_path, {"question": "a?", "answer": "1"}, {"question": "b?", "answer": "2", "split": "val"})
    test = csv(tmp_path, "Problem;Final Answer\nc?;3\n", "test.csv")
    questions, _ = read(train, test=str(test))
    assert [(q.question, q.split) for q in questions] == [("a?", "train"), ("b?", "dev"), ("c?", "test")]
    with pytest.raises(InputError, match=r"test\.csv, line 2: .* in line 1, but '3' and 'test' here"):
        read(jsonl(tmp_path, {"question": "c?", "answer": "3"}), test=str(test))
    marked = jsonl(tmp_path, {"question": "d?", "answer": "4", "split": "test"}, name="marked.jsonl")
    with pytest.raises(InputError, match=r"marked\.jsonl, line 1: a test row, but data_test"):
        read(marked, test=str(test))


def test_end_tokens_at_the_ends_of_a_rationale_are_removed_and_counted(tmp_path):
    found = read_table(jsonl(tmp_path, {"question": "q?", "answer": "7", "rationale": "9 - 2 = 7.</s>"}), TASK)
    assert found.rationales[0].original == "9 - 2 = 7." and found.end_tokens == 1
    assert found.facts()["end_tokens_removed"] == 1


@pytest.mark.parametrize("meta", [["a"], {"a": ["b"]}, {"a": float("nan")}, {"a": None}, {"a": "\ud800"}, {1: "a"}])
def test_meta_holds_texts_numbers_and_booleans_only(meta):
    with pytest.raises(InputError, match="meta"):
        new_question("t", "q?", "5", meta=meta)
