import dataclasses
import datetime
import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data import sandbox
from mentor_kd.data.sandbox import FAMILIES, SHIPPED, TeacherSettings, annotate, explain, make_questions, read_question
from mentor_kd.data.tasks import judge, split_target
from mentor_kd.files import InputError


def solve(family, text):
    """The answer, computed from the text independently of the sandbox."""
    if family == "sandbox-letters":
        return "".join(re.findall(r"(\w)(?= |\")", text.split('"')[1] + '"'))
    if family == "sandbox-shuffled":
        balls = {name: ball for name, ball in re.findall(r"(\w+) has a (\w+) ball", text)}
        order = list(balls)
        for one, other in re.findall(r"(?:First|Then|Finally), (\w+) and (\w+) swap", text):
            balls[one], balls[other] = balls[other], balls[one]
        asked = re.search(r"which ball does (\w+) have", text)[1]
        return re.search(rf"\((.)\) {balls[asked]} ball", text)[1] if asked in order else None
    if family == "sandbox-dates":
        day = datetime.datetime.strptime(re.search(r"Today is (.*?)\.", text)[1], "%d %B %Y")
        days = re.search(r"(\d+) days", text)
        size = int(days[1]) if days else 7 if "week" in text else 1
        back = "ago" in text or "yesterday" in text
        return f"{day + datetime.timedelta(days=-size if back else size):%m/%d/%Y}"
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    x, y, z = [*numbers, 0][:3]
    cases = {
        r"gives \w+ \d+ more .* then \w+ loses": x + y - z,
        r"buys .* already has": x * y + z,
        r"in a box\. .* are left": x - y - z,
        r"They give away": x + y - z,
        r"fills .* does \w+ keep": x * y - z,
        r"found .* then bought": x + y + z,
        r"more than .* together": x + (x + y),
        r"fewer than .* together": x + (x - y),
    }
    [found] = [value for pattern, value in cases.items() if re.search(pattern, text)]
    return str(found)


@pytest.fixture(scope="module")
def shipped():
    return {family: sandbox.load_questions(family) for family in FAMILIES}


# questions


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_files_match_the_rules(shipped, family):
    assert shipped[family] == made_splits(family, **SHIPPED)


def made_splits(family, train, dev, test, seed):
    """How data/sandbox/ was generated: distinct questions; the test questions use another seed."""
    known = make_questions(family, train + dev, seed)
    rows = [dataclasses.replace(row, split="train" if i < train else "dev") for i, row in enumerate(known)]
    return rows + make_questions(family, test, seed + 1_000_003, "test", frozenset(row.id for row in rows))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_splits_are_distinct_and_of_the_stated_size(shipped, family):
    rows = shipped[family]
    assert Counter(row.split for row in rows) == {name: SHIPPED[name] for name in ("train", "dev", "test")}
    assert len({row.id for row in rows}) == len({row.question for row in rows}) == len(rows)
    assert {row.task for row in rows} == {family}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_correct(shipped, family):
    wrong = [row for row in shipped[family] if solve(family, row.question) != row.answer]
    assert wrong == []
    assert len({row.answer for row in shipped[family]}) >= (3 if family == "sandbox-shuffled" else 50)


def test_answers_by_hand():
    told = "Ann has a red ball, Bob has a blue ball, Cid has a green ball."
    swaps = "First, Ann and Bob swap. Then, Bob and Cid swap. Finally, Ann and Cid swap."
    asked = "At the end, which ball does Ann have? (A) red ball (B) blue ball (C) green ball"
    # Ann blue, Bob red; Bob green, Cid red; Ann red
    assert sandbox.answer("sandbox-shuffled", f"{told} {swaps} {asked}") == "A"
    letters = 'Take the last letters of the words in "Bobadi Kur Zel" and join them.'
    assert sandbox.answer("sandbox-letters", letters) == "irl"
    date = "Today is 27 February 2004. What is the date 3 days from today? Write it as MM/DD/YYYY."
    assert sandbox.answer("sandbox-dates", date) == "03/01/2004"  # a leap year
    sums = "Ann has 20 eggs. Bob has 5 eggs fewer than Ann. How many eggs do they have together?"
    assert sandbox.answer("sandbox-sums", sums) == "35"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_determines_the_questions(family):
    first = make_questions(family, 30, seed=1)
    assert make_questions(family, 30, seed=1) == first
    assert make_questions(family, 10, seed=1) == first[:10]
    assert len({q.id for q in first} & {q.id for q in make_questions(family, 30, seed=2)}) < 5


def test_questions_to_avoid_are_avoided():
    first = make_questions("sandbox-sums", 30, seed=1)
    held = frozenset(q.id for q in first[:10])
    again = make_questions("sandbox-sums", 30, seed=1, avoid=held)
    assert again[:20] == first[10:] and not held & {q.id for q in again}


def test_more_questions_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setitem(sandbox._ASK, "sandbox-letters", lambda rng: sandbox._ask_letters(random.Random(1)))
    with pytest.raises(InputError, match="sandbox-letters does not have 2 distinct questions"):
        make_questions("sandbox-letters", 2, seed=0)


# reading


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is the capital of France?",
        "Today is 3 May 2010. Who are you? Write it as MM/DD/YYYY.",
        "Today is 31 February 2010. What is the date tomorrow? Write it as MM/DD/YYYY.",
        "Today is 3 Mai 2010. What is the date tomorrow? Write it as MM/DD/YYYY.",
        "Today is 3 May 2010. What day is it? Write it as MM/DD/YYYY.",
        "Ann has a red ball. First, Ann and Bob swap. At the end, which ball does Cid have? (A) red ball",
    ],
)
def test_foreign_questions_are_rejected(family, text):
    with pytest.raises(InputError, match=f"is not a question of {family}"):
        explain(read_question(family, text))


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_of_the_other_families_are_rejected(family):
    for other in FAMILIES:
        question = make_questions(other, 1, seed=0)[0].question
        if other == family:
            assert read_question(family, f"  {question}\n").family == family
        else:
            with pytest.raises(InputError, match=f"is not a question of {family}"):
                read_question(family, question)


@given(st.sampled_from(FAMILIES), st.text(max_size=80))
def test_any_text_is_read_or_rejected(family, text):
    with pytest.raises(InputError):
        read_question(family, text)


# the teacher


@pytest.mark.parametrize("family", FAMILIES)
def test_every_style_gives_the_correct_answer_in_a_different_text(family):
    for question in make_questions(family, 60, seed=4):
        facts = read_question(family, question.question)
        told = [explain(facts, style) for style in sandbox.STYLES]
        assert len(set(told)) == 3
        for text in told:
            assert judge(family, text, question.answer, question.question).correct, text
            rationale, conclusion = split_target(text)
            assert conclusion == question.answer and len(rationale.split()) > 3


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "sandbox-shuffled"])
def test_a_slip_makes_the_answer_wrong(family):
    for number, question in enumerate(make_questions(family, 200, seed=5)):
        text = explain(read_question(family, question.question), number % 3, random.Random(number))
        found = judge(family, text, question.answer, question.question)
        assert found.prediction is not None and not found.correct, text


def test_a_forgotten_swap_usually_makes_the_answer_wrong():
    questions = make_questions("sandbox-shuffled", 300, seed=5)
    slips = [explain(read_question(q.task, q.question), 0, random.Random(i)) for i, q in enumerate(questions)]
    wrong = [split_target(text)[1] != q.answer for text, q in zip(slips, questions, strict=True)]
    assert 0.3 < sum(wrong) / len(wrong) < 0.9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rate", [0.0, 1.0, 0.5, None])
def test_the_teacher_errs_at_the_set_rate(shipped, family, rate):
    questions = [q for q in shipped[family] if q.split == "train"]
    rows = annotate(questions, TeacherSettings(coverage=1.0, error_rate=rate, n=3))
    wrong = sum(not judge(q.task, text, q.answer, q.question).correct for q, _, _, text in rows) / len(rows)
    expected = sandbox.ERROR_RATES[family] if rate is None else rate
    assert len(rows) == 1200
    assert wrong == pytest.approx(expected, abs=0.0 if rate in (0.0, 1.0) else 0.06)


@pytest.mark.parametrize(("coverage", "count"), [(1.0, 100), (0.6, 60), (0.25, 25), (0.001, 1)])
def test_the_teacher_annotates_the_set_share(coverage, count):
    questions = make_questions("sandbox-sums", 100, seed=0)
    rows = annotate(questions, TeacherSettings(coverage=coverage, n=2))
    assert len({q.id for q, *_ in rows}) == count
    assert Counter(index for _, index, *_ in rows) == {0: count, 1: count}


def test_more_coverage_adds_to_what_less_coverage_annotates():
    questions = make_questions("sandbox-sums", 50, seed=0)
    few = annotate(questions, TeacherSettings(coverage=0.3))
    many = annotate(questions, TeacherSettings(coverage=0.8))
    assert len(few) < len(many) and set(few) <= set(many)


def test_annotation_depends_on_the_seed_and_not_on_the_order():
    questions = make_questions("sandbox-letters", 40, seed=0)
    rows = annotate(questions, TeacherSettings(seed=1))
    assert annotate(questions, TeacherSettings(seed=1)) == rows
    assert sorted(annotate(questions[::-1], TeacherSettings(seed=1)), key=str) == sorted(rows, key=str)
    assert annotate(questions, TeacherSettings(seed=2)) != rows


def test_only_the_set_styles_are_used():
    rows = annotate(make_questions("sandbox-dates", 30, seed=0), TeacherSettings(styles=[2]))
    assert {style for _, _, style, _ in rows} == {2}
    all_styles = annotate(make_questions("sandbox-dates", 30, seed=0), TeacherSettings())
    assert {style for _, _, style, _ in all_styles} == {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"coverage": 0}, "coverage .*0"),
        ({"coverage": 1.5}, "coverage .*1.5"),
        ({"error_rate": -0.1}, "error_rate .*-0.1"),
        ({"n": 0}, "n .*0"),
        ({"styles": ()}, "styles"),
        ({"styles": (3,)}, "styles .*3"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        TeacherSettings(**changes)


def test_an_unknown_family_is_named():
    with pytest.raises(InputError, match="unknown sandbox task 'chess'"):
        make_questions("chess", 1, seed=0)
