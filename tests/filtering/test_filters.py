"""Filters: each reason on a worked example, the order of reasons, verdicts, and that no row is lost."""

from dataclasses import replace

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import OTHER, QUESTION, rationale

from mentor_kd.data.rationales import Rationale
from mentor_kd.files import InputError
from mentor_kd.filtering.filters import REASONS, FilterSettings, apply, counts, jaccard
from mentor_kd.filtering.verdicts import Verdict


def reasons(rows, verdicts=None, **settings) -> list[str]:
    return [row.reason for row in apply(rows, FilterSettings(**settings), verdicts)]


def verdict(row: Rationale, what: str) -> dict[str, Verdict]:
    return {row.id: Verdict(row.id, what)}


def test_wrong_and_missing_answers_are_dropped_with_their_own_reason():
    rows = [
        rationale("right", 0),
        rationale("wrong", 1, correct=False, prediction="6"),
        rationale("nothing", 2, correct=False, prediction=None),
        rationale("published as right, without its completion", 3, prediction=None),
    ]
    assert reasons(rows) == ["", "wrong answer", "no answer", ""]
    assert [row.kept for row in apply(rows, FilterSettings())] == [True, False, False, True]


def test_of_equal_texts_the_teachers_is_kept_in_any_order():
    rows = [
        rationale("2 and 3\nmake 5", 0, "mentor"),
        rationale("2 and 3 make 5", 1, "teacher"),
        rationale("2 and 3 make  5", 2, "teacher"),
        rationale("2 and 3 make 5", 3, "mentor", question=OTHER),  # another question: not a duplicate
    ]
    assert reasons(rows) == ["duplicate", "", "duplicate", ""]
    assert reasons(rows, duplicates=False) == ["", "", "", ""]


def test_a_dropped_rationale_has_no_duplicates():
    rows = [rationale("so 5", 0, correct=False, prediction="4"), rationale("so 5", 1)]
    assert reasons(rows) == ["wrong answer", ""]


def test_near_duplicates_are_dropped_at_the_threshold():
    rows = [rationale("a b c d", 0), rationale("a b c e", 1)]  # bigrams: ab bc cd, ab bc ce: 2 of 4
    assert reasons(rows, near_duplicates=0.5, ngram=2) == ["", "near duplicate"]
    assert reasons(rows, near_duplicates=0.51, ngram=2) == ["", ""]


def test_near_duplicates_are_compared_with_kept_rationales_only():
    rows = [rationale("a b c d", 0), rationale("a b c e", 1)]
    assert reasons(rows, verdict(rows[0], "drop"), near_duplicates=0.5, ngram=2) == ["verdict: drop", ""]


@pytest.mark.parametrize(
    ("a", "b", "n", "expected"),
    [
        ("a b c d", "a b c d", 2, 1.0),
        ("a b c d", "b c d e", 2, 2 / 4),
        ("a b c", "x y z", 1, 0.0),
        ("A b", "a B", 1, 1.0),
        ("a a a", "a", 1, 1.0),
        ("a b", "a b", 3, 1.0),
        ("a b", "a c", 3, 0.0),
        ("", "", 3, 1.0),
        ("", "a", 3, 0.0),
    ],
)
def test_jaccard_by_hand(a, b, n, expected):
    assert jaccard(a, b, n) == jaccard(b, a, n) == expected


def test_length_limits_are_in_words_and_inclusive():
    rows = [rationale("w " * n, n) for n in (1, 2, 4, 5)]
    assert reasons(rows, min_words=2, max_words=4) == ["too short", "", "", "too long"]


def test_a_conclusion_that_contradicts_the_gold_answer():
    rows = [
        rationale("2 + 3 = 6. So the answer is 6.", 0),
        rationale("2 + 3 = 5. So the answer is 5.", 1),
        rationale("She gets some more.", 2),  # no conclusion
    ]
    assert reasons(rows, conclusion=True) == ["conclusion", "", ""]
    assert reasons(rows) == ["", "", ""]


def test_arithmetic_is_checked_on_request_only():
    rows = [rationale("2 + 3 = 6, so 5", 0), rationale("2 + 3 = 5", 1)]
    assert reasons(rows, arithmetic=True) == ["arithmetic", ""]
    assert reasons(rows) == ["", ""]


def test_the_first_reason_in_the_documented_order_is_given():
    wrong = rationale("2 + 3 = 6. So the answer is 6.", 0, correct=False, prediction="6")
    right = rationale("2 + 3 = 6. So the answer is 6.", 1)
    every = {"conclusion": True, "min_words": 50, "arithmetic": True}
    assert reasons([wrong, right], **every) == ["wrong answer", "conclusion"]
    assert reasons([right], min_words=50, arithmetic=True) == ["too short"]


# Verdicts


def test_a_verdict_overrides_every_filter():
    wrong = rationale("wrong", 0, correct=False, prediction="6")
    right = rationale("right", 1)
    kept = apply([wrong, right], FilterSettings(), verdict(wrong, "keep") | verdict(right, "drop"))
    assert [(row.kept, row.reason) for row in kept] == [(True, "verdict: keep"), (False, "verdict: drop")]
    assert reasons([wrong, right], verdict(wrong, "unsure") | verdict(right, "unsure")) == ["wrong answer", ""]


def test_verdicts_and_duplicates():
    teacher, mentor, copy = (rationale("same", k, source) for k, source in enumerate(["teacher", "mentor", "mentor"]))
    rows = [teacher, mentor, copy]
    assert reasons(rows, verdict(mentor, "keep")) == ["duplicate", "verdict: keep", "duplicate"]
    assert reasons(rows, verdict(teacher, "drop")) == ["verdict: drop", "duplicate", "duplicate"]
    assert reasons(rows, verdict(mentor, "drop")) == ["", "verdict: drop", "duplicate"]


# Settings and counts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correct": False}, "correct must be true"),
        ({"duplicates": "false"}, "duplicates must be true or false, got 'false'"),
        ({"arithmetic": 1}, "arithmetic .* got 1"),
        ({"near_duplicates": 0}, "near_duplicates .* got 0"),
        ({"near_duplicates": 1.1}, "near_duplicates .* got 1.1"),
        ({"near_duplicates": float("nan")}, "near_duplicates .* got nan"),
        ({"near_duplicates": True}, "near_duplicates .* got True"),
        ({"ngram": 0}, "ngram .* got 0"),
        ({"ngram": "3"}, "ngram .* got '3'"),
        ({"min_words": -1}, "min_words .* got -1"),
        ({"max_words": 2.5}, "max_words .* got 2.5"),
        ({"min_words": 5, "max_words": 4}, r"min_words must be <= max_words \(4\), got 5"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(InputError, match=message):
        FilterSettings(**settings)


def test_counts_by_hand():
    rows = apply(
        [
            rationale("one", 0),
            rationale("two", 1, correct=False, prediction=None),
            rationale("one", 2, "mentor"),
            rationale("three", 3, "mentor"),
            rationale("four", 4, "mentor", correct=False, prediction="7"),
        ],
        FilterSettings(),
    )
    expected = pandas.DataFrame(
        {
            "total": [2, 3],
            "kept": [1, 1],
            "no answer": [1, 0],
            "wrong answer": [0, 1],
            "duplicate": [0, 1],
        },
        index=pandas.Index(["teacher", "mentor"], name="source"),
    )
    pandas.testing.assert_frame_equal(counts(reversed(rows)), expected)


def test_counts_reject_unfiltered_rows():
    with pytest.raises(InputError, match="call filters.apply"):
        counts([rationale("one", 0)])
    assert list(counts([]).columns) == ["total", "kept"]


TEXTS = ["a b c d", "a b c e", "2 + 2 = 5", "the answer is 6", "", "w " * 9]
ROWS = st.lists(
    st.builds(
        lambda text, source, question, prediction, kept: (text, source, question, prediction, kept),
        st.sampled_from(TEXTS),
        st.sampled_from(["teacher", "mentor"]),
        st.sampled_from([QUESTION, OTHER]),
        st.sampled_from(["5", "6", None]),
        st.sampled_from(["keep", "drop", "unsure", None]),
    ),
    max_size=12,
)
SETTINGS = st.builds(
    FilterSettings,
    duplicates=st.booleans(),
    near_duplicates=st.sampled_from([None, 0.3, 1.0]),
    ngram=st.integers(1, 3),
    min_words=st.sampled_from([None, 1]),
    max_words=st.sampled_from([None, 6]),
    conclusion=st.booleans(),
    arithmetic=st.booleans(),
)


@given(ROWS, SETTINGS)
def test_no_rationale_is_lost_reordered_or_dropped_without_reason(drawn, settings):
    rows = [
        rationale(text, k, source, question, prediction == "5", prediction)
        for k, (text, source, question, prediction, _) in enumerate(drawn)
    ]
    said = {row.id: Verdict(row.id, one[-1]) for row, one in zip(rows, drawn, strict=True) if one[-1]}
    filtered = apply(rows, settings, said)
    assert [replace(row, kept=None, reason=None) for row in filtered] == rows
    assert all(row.reason in (("", "verdict: keep") if row.kept else REASONS) for row in filtered)
    assert apply(filtered, settings, said) == filtered
    table = counts(filtered)
    assert table["total"].sum() == len(rows)
    assert (table.drop(columns="total").sum(axis=1) == table["total"]).all()
    kept_texts = [
        (row.question_id, row.rationale) for row in filtered if row.kept and row.reason == "" and settings.duplicates
    ]
    assert len(kept_texts) == len(set(kept_texts))
