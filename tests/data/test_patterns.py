"""Answers found with a task's regular expression."""

import pytest

from mentor_kd.data.tasks import Task, extract, judge, same_answer
from mentor_kd.files import InputError

CLOCK = Task("clock", "pattern", pattern="0?([0-9]{1,2}:[0-9][0-9])")


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("9:40 and 95 minutes --> 11:15", "11:15", ""),
        ("The answer is 09:05.", "9:05", ""),
        ("It leaves at 9:40. It arrives at 11:15.", "11:15", ""),
        ("--> 11:15, not 10:15", "11:15", ""),
        ("--> 10:15 or 11:15", None, "several different answers: '10:15' and '11:15'"),
        ("--> not 11:15", None, "'11:15' is negated"),
        ("95 minutes later", None, "no answer of the task's pattern is stated"),
        ("", None, "the text is empty"),
    ],
)
def test_answers_by_your_own_pattern(text, value, reason):
    found = extract(CLOCK, text)
    assert (found.value, found.reason) == (value, reason)
    if value:
        assert text[found.start : found.end] == value


def test_patterns_are_compared_by_group_and_without_case():
    assert same_answer(CLOCK, "09:05", "9:05") and not same_answer(CLOCK, "9:05", "19:05")
    chess = Task("chess", "pattern", pattern="[NBRQK]?[a-h][1-8]")
    assert judge(chess, "--> nf3", "Nf3").correct
    assert extract(chess, "a4 --> Nf3 or e4", mode="paper").value == "Nf3"
    two = Task("two", "pattern", pattern="a(x)?b")
    assert [extract(two, f"--> {text}").value for text in ("axb", "ab")] == ["x", "ab"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"answer_type": "pattern"}, "is required with answer_type 'pattern'"),
        ({"answer_type": "number", "pattern": "x"}, "is required with answer_type 'pattern' and only then"),
        ({"answer_type": "pattern", "pattern": "("}, "is not a regular expression"),
        ({"answer_type": "pattern", "pattern": "x*"}, "must not match the empty string"),
        ({"answer_type": "pattern", "pattern": 5}, "is not a regular expression"),
    ],
)
def test_an_invalid_pattern_is_rejected(arguments, words):
    with pytest.raises(InputError, match=words):
        Task("mine", **arguments)


@pytest.mark.parametrize("pattern", ["(?:" * 300 + "a" + ")" * 300, "x" * 1001, "(?P<x>a", "a\ud800[", "(?<=a*"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern):
    with pytest.raises(InputError, match="task mine: pattern"):
        Task("mine", "pattern", pattern=pattern)


@pytest.mark.parametrize("mode", ["sound", "paper"])
def test_a_pattern_that_backtracks_without_end_is_a_miss_with_a_reason(monkeypatch, mode):
    from mentor_kd.data import answer_words, tasks

    for module in (answer_words, tasks):
        monkeypatch.setattr(module, "PATTERN_SECONDS", 0.2)
    mine = Task("mine", "pattern", pattern=r"(x+x+)+y")
    found = tasks.extract(mine, "--> " + "x" * 5000, mode=mode)
    assert found.value is None and "took" in found.reason
