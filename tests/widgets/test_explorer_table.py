"""Columns give exactly the result of filters.apply for any rows, settings and verdicts; similarity and search cases."""

from dataclasses import replace

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import OTHER, QUESTION, rationale

from mentor_kd.files import InputError
from mentor_kd.filtering import filters
from mentor_kd.filtering.filters import FilterSettings
from mentor_kd.filtering.verdicts import Verdict
from mentor_kd.widgets.explorer import table as columns
from mentor_kd.widgets.explorer.table import REASONS, SAID, Columns
from mentor_kd.widgets.explorer.view import View

WORDS = st.lists(st.sampled_from("a b c A ß é".split()), max_size=7).map(" ".join)
CHAIN = ["a b c d e", "b c d e f", "c d e f g", "d e f g h", "e f g h i"]  # each is near the next, not the next but one
TEXTS = WORDS | st.sampled_from([*CHAIN, "2 + 2 = 5", "the answer is 6", "the answer is 5"])
ROWS = st.lists(
    st.tuples(
        TEXTS,
        st.sampled_from(["teacher", "mentor"]),
        st.sampled_from([QUESTION, OTHER]),
        st.sampled_from(["5", "5", "5", "6", None]),
        st.sampled_from([None, None, "keep", "drop", "unsure"]),
        st.sampled_from([None, -0.1, -0.7]),
    ),
    max_size=24,
)
SETTINGS = st.builds(
    FilterSettings,
    duplicates=st.booleans(),
    near_duplicates=st.sampled_from([None, 0.01, 0.2, 1 / 3, 0.5, 2 / 3, 1]),
    ngram=st.integers(1, 4),
    min_words=st.sampled_from([None, 0, 1, 2]),
    max_words=st.sampled_from([None, 2, 4]),
    conclusion=st.booleans(),
    arithmetic=st.booleans(),
    min_confidence=st.sampled_from([None, 0, -0.1, -0.5]),
)


def made(drawn):
    rows = [
        rationale(text, k, source, question, prediction == "5", prediction)
        for k, (text, source, question, prediction, _, _) in enumerate(drawn)
    ]
    confidence = {row.id: one[5] for row, one in zip(rows, drawn, strict=True) if one[5] is not None}
    return rows, {row.id: one[4] for row, one in zip(rows, drawn, strict=True) if one[4]}, confidence


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    """Small chunks, so that a few rows are split the way 100,000 are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "CHUNK", 3)
        yield


@settings(max_examples=400)
@given(ROWS, SETTINGS)
def test_the_columns_give_the_same_reasons_as_the_filters(drawn, chosen):
    rows, said, confidence = made(drawn)
    expected = filters.apply(
        rows, chosen, {key: Verdict(key, value) for key, value in said.items()}, confidence=confidence
    )
    table = Columns(rows, confidence=confidence)
    for identity, value in said.items():
        table.said[table.number[identity]] = SAID[value]
    assert [REASONS[code] for code in table.reasons(chosen)] == [row.reason or "kept" for row in expected]


def test_a_rationale_similar_only_to_a_dropped_one_is_kept():
    rows = [rationale(text, k) for k, text in enumerate(CHAIN)]
    chosen = FilterSettings(
        near_duplicates=0.5, ngram=2
    )  # 3 bigrams of 5 shared with the next, 2 of 6 with the one after
    found = [REASONS[code] for code in Columns(rows).reasons(chosen)]
    assert found == ["kept", "near duplicate", "kept", "near duplicate", "kept"]
    assert found == [row.reason or "kept" for row in filters.apply(rows, chosen)]


@given(ROWS, st.integers(1, 4))
def test_pairs_are_exactly_those_that_share_an_ngram(drawn, n):
    rows, _, _ = made(drawn)
    first, second, alike, same = Columns(rows).pairs(n)
    found = {frozenset(pair): value for *pair, value in zip(first, second, alike, strict=True)}
    expected = {
        frozenset((i, j)): filters.jaccard(a.rationale, b.rationale, n)
        for i, a in enumerate(rows)
        for j, b in enumerate(rows[:i])
        if a.question_id == b.question_id
    }
    assert found == {pair: value for pair, value in expected.items() if value > 0}
    assert len(found) == len(first) and (numpy.diff(alike) <= 0).all()
    assert all((rows[i].rationale == rows[j].rationale) == flag for i, j, flag in zip(first, second, same, strict=True))


def test_similarity_is_to_the_most_similar_sibling():
    rows = [rationale("a b c d", 0), rationale("a b c e", 1), rationale("x", 2)]
    table = Columns([*rows, rationale("a b c d", 3, question=OTHER)])
    assert table.similarity.tolist() == pytest.approx([1 / 3, 1 / 3, 0, 0])  # abc bcd, abc bce: 1 of 3
    assert table.siblings(0).tolist() == [1, 2] and table.siblings(3).tolist() == []
    assert table.words.tolist() == [4, 4, 1, 4]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("STRASSE", [True, False, False]),  # case-insensitive, by casefold
        ("to  the", [False, True, False]),
        ("pens", [True, True, True]),  # in the question
        ("--> 7", [False, False, True]),  # in the conclusion
        ("road.", [False, False, False]),
        ("side to", [False, False, False]),  # no match from one text into the next
        ("\x00", [False, True, False]),
        ("😀", [False, False, True]),
        ("", [True, True, True]),
    ],
)
def test_search(words, expected):
    rows = [rationale("Straße by the side", 0), rationale("to the \x00 road", 1)]
    odd = rationale("it is 😀", 2)
    rows.append(type(odd)(**{**odd.__dict__, "original": "it is 😀\n--> 7"}))
    assert Columns(rows).search(words).tolist() == expected


def test_no_rows_and_no_confidence():
    table = Columns([])
    assert len(table.reasons(FilterSettings(near_duplicates=0.5))) == 0 == len(table.search("a"))
    with pytest.raises(InputError, match="min_confidence"):
        table.reasons(FilterSettings(min_confidence=-1.0))


def test_further_columns_with_few_values_are_facets():
    rows = [
        replace(rationale("a b", k), meta={"id": k, "level": ["easy", "hard"][k % 2], "source": "web"})
        for k in range(14)
    ]
    rows.append(rationale("a b c", 14))
    view = View(Columns(rows), numpy.zeros(15, dtype="int8"))
    assert view.counts["level"] == {"none": 1, "easy": 7, "hard": 7}
    assert view.counts["source (data)"] == {"none": 1, "web": 14} and view.counts["source"]["teacher"] == 15
    assert "id" not in view.counts
    view.chosen = {"level": {"hard"}}
    view.update()
    assert view.rows.tolist() == [1, 3, 5, 7, 9, 11, 13]
