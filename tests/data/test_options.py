"""Multiple choice: every form of options, their letters, the text that is written, and the right one."""

import json

import pytest

from mentor_kd.data.options import index_base, lettered, read_options, written
from mentor_kd.data.table import read_table
from mentor_kd.data.tasks import Task, extract
from mentor_kd.files import InputError

TASK = Task("t", "choice")
RED = (("", "red"), ("", "green"), ("", "blue"))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["red", "green", "blue"], RED),
        (["A)21", "B)21.5", "C) none"], (("A", "21"), ("B", "21.5"), ("C", "none"))),
        (["(a) 21", "(b) 21.5"], (("a", "21"), ("b", "21.5"))),
        (["A.M.", "P.M."], (("", "A.M."), ("", "P.M."))),  # not letters of options
        ([3, 4.5], (("", "3"), ("", "4.5"))),
        ({"A": "red", "B": "green"}, (("A", "red"), ("B", "green"))),
        ({"label": ["1", "2"], "text": ["red", "green"]}, (("1", "red"), ("2", "green"))),
        ([{"label": "A", "text": "red"}, {"label": "B", "text": "green"}], (("A", "red"), ("B", "green"))),
        ("a ) 38 , b ) 27.5 , c ) none of these", (("a", "38"), ("b", "27.5"), ("c", "none of these"))),
        ("A) red\nB) green", (("A", "red"), ("B", "green"))),
        ("red\ngreen\nblue", RED),
        ('["red", "green", "blue"]', RED),  # as a cell of a CSV file
        ("['red', 'green', 'blue']", RED),
    ],
)
def test_the_forms_of_options(given, found):
    assert read_options(given) == found


@pytest.mark.parametrize("given", ["red", [], ["red"], ["red", ""], 3, {}, None, "[1"])
def test_what_is_no_list_of_options_is_refused(given):
    with pytest.raises(InputError, match="options"):
        read_options(given)


def test_letters_are_the_options_own_or_by_place():
    assert lettered(RED, TASK) == (("A", "red"), ("B", "green"), ("C", "blue"))
    assert lettered((("b", "x"), ("a", "y")), TASK) == (("B", "x"), ("A", "y"))
    assert lettered((("1", "x"), ("2", "y")), TASK) == (("A", "x"), ("B", "y"))
    with pytest.raises(InputError, match="6 options, but the letters are ABCDE; set answer_choices to ABCDEF"):
        lettered((("", "x"),) * 6, TASK)


def test_options_are_written_as_answers_are_read_and_only_once():
    letters = lettered(RED, TASK)
    text = written("Which one?", letters, TASK)
    assert text == "Which one? Answer choices: (A) red (B) green (C) blue"
    assert written(text, letters, TASK) == text
    assert written("Pick. A. red B. green C. blue", letters, TASK) == "Pick. A. red B. green C. blue"
    assert extract(TASK, "The answer is green.", text).value == "B"


def gold(tmp_path, *rows, task=TASK):
    rows = [{"question": f"q{i}?", **row} for i, row in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [question.answer for question in read_table(tmp_path / "t.jsonl", task).questions]


@pytest.mark.parametrize(
    ("answers", "letters"),
    [
        (["B", "(c)", "a"], "BCA"),
        (["green", " Blue ", "RED"], "BCA"),
        ([1, 2, 0], "BCA"),
        (["1", "2", "0"], "BCA"),
        ([2, 3, 1], "BCA"),  # one answer is as large as the number of options
        ([1, 2, 1], "BCB"),  # nothing says otherwise: from 0
        (["B) green", "C", "red"], "BCA"),
    ],
)
def test_the_right_option_by_letter_words_or_number(tmp_path, answers, letters):
    options = ["red", "green", "blue"]
    assert gold(tmp_path, *({"choices": options, "answer": one} for one in answers)) == list(letters)


def test_numbers_as_options_are_words_unless_the_answers_count_them(tmp_path):
    assert gold(tmp_path, {"options": ["3", "4", "5"], "answer": "4"}) == ["B"]
    assert gold(tmp_path, {"options": [3, 4, 5], "answer": 4}) == ["B"]
    assert index_base([(1, (("", "7"), ("", "1")))] * 2) is None  # in both readings the second option
    assert index_base([(0, (("", "1"), ("", "2"))), (1, (("", "3"), ("", "4")))]) == 0
    with pytest.raises(InputError, match="can be read as numbers of options and as the options' words"):
        gold(tmp_path, {"options": [1, 2, 0], "answer": 1})


def test_arc_with_digits_as_labels_in_some_rows(tmp_path):
    words = ["red", "green", "blue", "grey"]
    rows = [
        {"choices": {"label": list("ABCD"), "text": words}, "answerKey": "C"},
        {"choices": {"label": list("1234"), "text": words}, "answerKey": "3"},
    ]
    assert gold(tmp_path, *rows) == ["C", "C"]


def test_commonsense_qa_as_published(tmp_path):
    choices = [{"label": letter, "text": letter * 3} for letter in "ABCDE"]
    rows = [{"answerKey": "D", "id": "x", "question": {"stem": "Which?", "question_concept": "c", "choices": choices}}]
    (tmp_path / "t.jsonl").write_text(json.dumps(rows[0]))
    [question] = read_table(tmp_path / "t.jsonl", TASK).questions
    assert question.question == "Which? Answer choices: (A) AAA (B) BBB (C) CCC (D) DDD (E) EEE"
    assert question.answer == "D" and question.meta == {"id": "x", "question_concept": "c"}


def test_an_option_in_each_column(tmp_path):
    (tmp_path / "t.csv").write_text("question,A,B,C,answer\nWhich?,red,green,blue,C\nAnd?,one,two,,two\n")
    first, second = read_table(tmp_path / "t.csv", TASK).questions
    assert (first.answer, second.answer) == ("C", "B")
    assert second.question == "And? Answer choices: (A) one (B) two"


def test_an_answer_that_is_none_of_the_options_is_left_out(tmp_path):
    rows = [{"choices": ["red", "green"], "answer": answer} for answer in ("A", "red", "pink", "")]
    rows.append({"choices": ["B", "A"], "answer": "A"})  # a letter and the words of another option
    rows = [{"question": f"q{i}?", **row} for i, row in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + rows[:1]))
    found = read_table(tmp_path / "t.jsonl", TASK)
    assert [q.answer for q in found.questions] == ["A", "A"]
    assert sorted(places for places in found.left_out.values()) == [["line 3"], ["line 4"], ["line 5"]]
