"""The usual forms of data sets go from their own shape to questions and rationales, and are named."""

import json

import pytest

from mentor_kd.data.guess import guess
from mentor_kd.data.rationales import target
from mentor_kd.data.table import build, read_sources
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError

SUMS = range(2, 8)


def chat(question, reply, system=""):
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return [{"role": "system", "content": system}, *turns] if system else turns


def told(i):
    return f"{i} + 1 = {i + 1}. The answer is {i + 1}."


def asked(i):
    return f"What is {i} + 1?"


def sharegpt(i):
    return [{"from": "human", "value": asked(i)}, {"from": "gpt", "value": told(i)}]


GSM8K = [{"question": asked(i), "answer": f"It is {i}+1=<<{i}+1={i + 1}>>{i + 1}.\n#### {i + 1}"} for i in SUMS]
BEGIN = "We begin with the first number, then add one, so that we get: "
FORMS = {  # name: (rows, what is said, the rationale of 2 + 1)
    "gsm8k": (GSM8K, "GSM8K", "It is 2+1=3."),
    "gsm8k with a rationale of its own": (
        [row | {"rationale": told(i)} for i, row in zip(SUMS, GSM8K, strict=True)],
        "GSM8K",
        "2 + 1 = 3. The answer is 3.",
    ),
    "messages": ([{"messages": chat(asked(i), told(i))} for i in SUMS], "chat (messages)", told(2)),
    "messages in parts": (
        [{"messages": chat([{"type": "text", "text": asked(i)}], [{"type": "text", "text": told(i)}])} for i in SUMS],
        "chat (messages)",
        told(2),
    ),
    "messages and an answer": (
        [{"messages": chat(asked(i), "We add one."), "answer": i + 1} for i in SUMS],
        "chat (messages)",
        "We add one.",
    ),
    "sharegpt": ([{"id": f"x{i}", "conversations": sharegpt(i)} for i in SUMS], "ShareGPT (conversations)", told(2)),
    "alpaca": (
        [{"instruction": asked(i), "input": "", "output": told(i)} for i in SUMS],
        "Alpaca",
        told(2),
    ),
    "prompt and completion": (
        [{"prompt": asked(i) + "\n###\n", "completion": f" {i} + 1 = {i + 1} --> {i + 1}"} for i in SUMS],
        "prompt and completion",
        "2 + 1 = 3",
    ),
    "prompt and completion as turns": (
        [{"prompt": chat(asked(i), "")[:1], "completion": chat("", told(i))[1:]} for i in SUMS],
        "prompt and completion",
        told(2),
    ),
    "worked solutions as answers": (
        [
            {"question": asked(i), "answer": f"We begin with the number {i}, then add one, so that we get: " + told(i)}
            for i in SUMS
        ],
        "worked solutions in answer",
        "We begin with the number 2, then add one, so that we get: " + told(2),
    ),
    "problem and solution": (
        [{"problem": asked(i), "solution": f"We add: $\\boxed{{{i + 1}}}$.", "level": "1"} for i in SUMS],
        "columns: question = problem, rationale = solution",
        "We add: $\\boxed{3}$.",
    ),
    "multiarith": ([{"question": asked(i), "final_ans": f"{i + 1}"} for i in SUMS], "answer = final_ans", None),
    "multiarith as published": (
        [{"iIndex": i, "sQuestion": asked(i), "lEquations": [f"X={i}+1"], "lSolutions": [i + 1.0]} for i in SUMS],
        "question = sQuestion, answer = lSolutions",
        None,
    ),
    "svamp": (
        [{"Body": "Count.", "Question": asked(i), "Answer": i + 1.0, "question_concat": "x"} for i in SUMS],
        "question = Body + Question",
        None,
    ),
    "capitals": (
        [{"Question": asked(i), "Chain of Thought": told(i), "TARGET": i + 1} for i in SUMS],
        "question = Question, answer = TARGET, rationale = Chain of Thought",
        told(2),
    ),
    "rows of a big benchmark": (
        [{"question": asked(i), "rationale": told(i), "answer": i + 1, "prompt": "x", "completion": "y"} for i in SUMS],
        "question = question, answer = answer, rationale = rationale",
        told(2),
    ),
}


def table(tmp_path, rows, task=None, **more):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_sources(tmp_path / "t.jsonl", **more)
    return build(found, task or guess(found, "t")[0])


@pytest.mark.parametrize("name", FORMS)
def test_a_usual_form_needs_no_reshaping(tmp_path, name):
    rows, said, rationale = FORMS[name]
    found = table(tmp_path, rows)
    assert any(said in one for one in found.said), found.said
    body = "Count. " if name == "svamp" else ""
    assert [(q.question, q.answer) for q in found.questions] == [(body + asked(i), str(i + 1)) for i in SUMS]
    assert found.left_out == {} and found.rows == len(rows)
    if rationale is None:
        assert found.rationales == []
    else:
        assert found.rationales[0].rationale == rationale and all(row.correct for row in found.rationales)
        assert target(found.rationales[0]) == f"{rationale} --> 3"


def test_a_chat_is_asked_by_its_last_user_turn_and_its_system_text_is_meta(tmp_path):
    turns = [*chat("Hello", "Hi!", "Be brief."), *chat("What is 2 + 1?", told(2))]
    found = table(tmp_path, [{"messages": turns}, {"messages": chat("What is 3 + 1?", told(3))}])
    assert [q.question for q in found.questions] == ["What is 2 + 1?", "What is 3 + 1?"]
    assert found.rationales[0].meta == {"system": "Be brief."} and found.rationales[1].meta == {}


def test_chats_in_cells_of_a_csv_file(tmp_path):
    cells = [json.dumps(chat(asked(i), told(i))).replace('"', '""') for i in SUMS]
    (tmp_path / "t.csv").write_text("messages,n\n" + "".join(f'"{cell}",1\n' for cell in cells))
    found = build(read_sources(tmp_path / "t.csv"), Task("t", "number"))
    assert [q.answer for q in found.questions] == [str(i + 1) for i in SUMS] and found.rationales[0].meta == {"n": "1"}


def test_a_thought_apart_from_the_reply_is_not_lost_and_not_judged(tmp_path):
    turns = chat("What is 2 + 1?", "So it is 3.")
    turns[-1]["reasoning_content"] = "Is it 7?"
    [row] = table(tmp_path, [{"messages": turns}], Task("t", "number")).rationales
    assert row.prediction == "3" and "Is it 7?" in row.rationale


def test_rows_of_a_public_form_without_an_answer_are_left_out_with_reasons_that_add_up(tmp_path):
    rows = [
        *[{"messages": chat(asked(i), told(i))} for i in range(8)],
        {"messages": chat("How are you?", "Fine, thanks.")},
        {"messages": chat("And you?", "Fine, too.")},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": None},
        {"messages": chat(asked(0), "The answer is 5.")},
    ]
    found = table(tmp_path, rows, Task("t", "number"))
    assert found.left_out == {
        "the chat has no user turn": ["line 11"],
        "a chat must be a list of turns (role and content, or from and value), got None": ["line 12"],
        "no number is stated": ["line 9", "line 10"],
        "the question also occurs with another answer": ["line 13"],
    }
    assert found.rows == 13 == len(found.questions) + 5
    assert found.facts()["left_out"]["no number is stated"] == {"rows": 2, "first": ["line 9", "line 10"]}


def test_if_most_rows_cannot_be_read_the_table_is_refused(tmp_path):
    rows = [{"messages": chat("How are you?", "Fine, thanks.")}] * 3
    with pytest.raises(InputError, match=r"3 of 3 rows cannot be read as answer_type 'number'; .*no number is stated"):
        table(tmp_path, rows, Task("t", "number"))
    with pytest.raises(InputError, match="state no number, letter, yes or no; set answer_type"):
        table(tmp_path, rows)


def test_a_bare_reply_is_an_answer_and_no_rationale(tmp_path):
    rows = [
        {"prompt": "a?", "completion": "--> 3"},
        {"prompt": "b?", "completion": "4"},
        {"prompt": "c?", "completion": "The answer is 5."},
        {"prompt": "d?", "completion": "2 + 4 = 6"},
    ]
    found = table(tmp_path, rows, Task("t", "number"))
    assert [q.answer for q in found.questions] == ["3", "4", "5", "6"]
    assert [row.rationale for row in found.rationales] == ["2 + 4 = 6"]


def test_rationales_without_an_answer_column_that_disagree_have_no_answer(tmp_path):
    rows = [{"problem": "a?", "solutions": ["So 3. --> 3", "Or 4. --> 4"]}]
    rows += [{"problem": f"{i}?", "solutions": ["So 3. --> 3", "It is 3.0. --> 3.0"]} for i in range(3)]
    found = table(tmp_path, rows, Task("t", "number"))
    assert list(found.left_out.values()) == [["line 1"]] and "different answers" in next(iter(found.left_out))
    assert len(found.rationales) == 6


def test_a_question_in_two_splits_of_a_public_set_counts_for_test(tmp_path):
    rows = [{"messages": chat(asked(i), told(i)), "split": "train"} for i in (1, 2, 3)]
    found = table(tmp_path, [*rows, rows[0] | {"split": "test"}])
    assert sorted((q.question[8], q.split) for q in found.questions) == [("1", "test"), ("2", "train"), ("3", "train")]
    assert found.left_out == {"the question also occurs with another split (test)": ["line 1"]}


def test_a_passage_stands_in_front_of_its_question(tmp_path):
    rows = [{"question": f"is it {i}", "passage": "It is 2.", "answer": i == 2} for i in (1, 2)]
    found = table(tmp_path, rows)
    assert [(q.question, q.answer) for q in found.questions] == [
        ("It is 2. is it 1", "No"),
        ("It is 2. is it 2", "Yes"),
    ]


@pytest.mark.parametrize(
    ("rows", "answer_type"),
    [
        ([{"answer": 3}, {"answer": "1,200"}, {"answer": "4 apples"}], "number"),
        ([{"answer": "yes"}, {"answer": "No"}], "yes/no"),
        ([{"answer": True}, {"answer": False}], "yes/no"),
        ([{"answer": "A"}, {"answer": "(C)"}], "choice"),
        ([{"answer": "\\frac{1}{2}"}, {"answer": "2\\sqrt{3}"}], "math"),
        ([{"answer": "Paris"}, {"answer": "7"}], "text"),
        ([{"answer": "B", "options": ["1", "2", "3"]}, {"answer": "A", "options": ["4", "5", "6"]}], "choice"),
    ],
)
def test_the_answer_type_is_guessed_from_all_answers(tmp_path, rows, answer_type):
    rows = [row | {"question": f"{i}?"} for i, row in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task, why = guess(read_sources(tmp_path / "t.jsonl"), "t")
    assert task.answer_type == answer_type and why


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": "b"}, r"no column is the question; the columns are text, label; .*\{question: text"),
        ({"question": "a", "note": "b"}, r"no column is the answer; .*\{question: question, answer: note\}"),
        ({"query": "a", "question": "b", "answer": "1"}, "the question could be 'query' or 'question'"),
        ({"question": "a", "label": "1", "target": "1"}, "the answer could be 'label' or 'target'"),
        ({"question": "a", "cot": "1", "solution": "1", "answer": "1"}, "the rationale could be 'cot' or 'solution'"),
        ({"prompt": "a", "reasoning": "1", "response": "1"}, "the rationale could be 'reasoning' or 'response'"),
        ({"question": "a", "options": ["1"], "choices": ["1"], "answer": "1"}, "the options could be"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused_with_the_columns_and_a_mapping(tmp_path, row, message):
    with pytest.raises(InputError, match=message) as error:
        table(tmp_path, [row])
    assert "say which with columns: {question: " in str(error.value) and "the columns are" in str(error.value)
