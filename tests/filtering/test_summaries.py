"""Summaries of a teacher's rationales, checked against hand calculations."""

import pytest

from mentor_kd.data.rationales import judged, new_question
from mentor_kd.data.tasks import Task
from mentor_kd.files import InputError
from mentor_kd.filtering import summaries
from mentor_kd.report import teacher_charts

TASK = Task("sums", "number")


def rows(**answers):
    """Rationales by question: each digit is the answer of a sample, `-` is none. The gold answer is 1."""
    made = []
    for name, drawn in answers.items():
        question = new_question("sums", f"What is {name}?", "1", "train")
        for index, answer in enumerate(drawn):
            sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None, "index": index}
            text = "I do not know." if answer == "-" else f"So it is. --> {answer}"
            made.append(judged(question, text, "teacher", sampler, TASK))
    return made


def test_accuracy_by_task_counts_questions_not_rationales():
    frame = summaries.by_task({"a": rows(p="1111", q="2222"), "b": rows(p="11", q="12", r="1")})
    a, b = frame.to_dict("records")
    # shares 100 and 0: mean 50, standard error 50, t(1) = 12.706: clipped to 0 and 100
    assert (a["questions"], a["rationales"], a["accuracy"], a["low"], a["high"], a["none_right"]) == (
        2,
        8,
        50,
        0,
        100,
        1,
    )
    # shares 100, 50, 100: mean 83.33, standard deviation 28.87, standard error 16.67, t(2) = 4.303: 83.33 - 71.71
    assert b["accuracy"] == pytest.approx(83.333, abs=1e-3) and b["low"] == pytest.approx(11.62, abs=0.01)
    assert b["high"] == 100 and b["words"] == 3
    with pytest.raises(InputError, match="task c: no rationales"):
        summaries.by_task({"c": []})


def test_votes():
    frame = summaries.votes(rows(p="111", q="222", r="112", s="122", t="--", u="11-", v="12"), TASK)
    assert frame.values.tolist() == [
        ["all agree", "right", 1],
        ["all agree", "wrong", 1],
        ["no answer at all", "none", 1],
        ["they differ", "right", 3],  # r; u, with one missing answer; v, a tie won by the first
        ["they differ", "wrong", 1],
    ]


def test_replayed_policies():
    drawn = rows(easy="1111", hard="2212", never="2222")

    def counts(policy):
        draws, kept = summaries.replay(drawn, policy)
        return draws, [row.question.split()[-1].strip("?") for row in kept]

    assert counts(summaries.Policy(2)) == (6, ["easy", "easy"])
    assert counts(summaries.Policy(4)) == (12, ["easy"] * 4 + ["hard"])
    assert counts(summaries.Policy(4, until=1)) == (1 + 3 + 4, ["easy", "hard"])
    assert counts(summaries.Policy(4, until=2)) == (2 + 4 + 4, ["easy", "easy", "hard"])
    assert counts(summaries.Policy(4, until=2, whole=True)) == (10, ["easy", "easy"])
    with pytest.raises(InputError, match=r"most must be <= .* \(4 for one\), got 5"):
        summaries.replay(drawn, summaries.Policy(5))
    hard = {row.question_id for row in drawn if "easy" not in row.question}
    policies = {"four": summaries.Policy(4), "one": summaries.Policy(4, until=1)}
    frame = summaries.policy_table(drawn, policies, hard)
    assert frame[["draws", "kept", "draws_for_each", "questions", "hard_questions"]].values.tolist() == [
        [12, 5, 2.4, 2, 1],
        [8, 2, 4.0, 2, 1],
    ]
    assert frame["hard_share"].tolist() == [20, 50]
    assert teacher_charts.policy_chart(frame, 66.7)._repr_png_().startswith(b"\x89PNG")


def test_right_answers_with_wrong_steps():
    question = new_question("sums", "What is 2 + 2, less 3?", "1", "train")
    sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None, "index": 0}
    texts = [
        "2 + 2 = 4. 4 - 3 = 1. --> 1",
        "2 + 2 = 5. 5 - 3 = 1. --> 1",
        "2 + 2 = 5. --> 2",
        "So the answer is 7. --> 1",
    ]
    made = [judged(question, text, "teacher", sampler | {"index": i}, TASK) for i, text in enumerate(texts)]
    found = summaries.right_by_wrong_steps(made, TASK)
    assert [(row.original, row.reason) for row in found] == [(texts[1], "arithmetic"), (texts[3], "conclusion")]


def test_the_task_chart_draws_one_row_per_task():
    chart = teacher_charts.task_chart(summaries.by_task({"a": rows(p="11", q="22"), "b": rows(p="1")}))
    panel = chart.axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["a", "b"]
    assert [tuple(one.get_offsets()[0]) for one in panel.collections if one.get_gid() == "mean"] == [(50, 0), (100, 1)]
