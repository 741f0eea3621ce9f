"""Tasks: equality of answers, judgement of texts, and properties that hold for any text."""

import string
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.answers import MARKER
from mentor_kd.data.tasks import TASKS, Task, extract, get_task, judge, same_answer, split_target
from mentor_kd.files import InputError

BALLS = (
    "Alice has an orange ball, Bob has a white ball, and Claire has a blue ball. At the end, Alice has the \n"
    "Which choice is true? Answer choices: (A) orange ball, (B) white ball, (C) blue ball."
)
PLACES = (
    "It is a security measure at a what? Answer Choices:\nA. bank\nB. library\nC. store\nD. book store\nE. new york\n"
)
OF_EACH_TYPE = ["gsm8k", "svamp", "tracking-shuffled-objects", "commonsense-qa", "strategy-qa", "sandbox-letters"]

WRITTEN = st.one_of(
    st.text(),
    st.text(alphabet=st.characters()),  # with lone surrogates, NUL and all planes
    st.lists(
        st.sampled_from(
            [
                MARKER,
                "yes",
                "no",
                "not",
                "true",
                "answer is",
                "Answer:",
                "(A)",
                "B",
                "a",
                " or ",
                " and ",
                "because",
                "=",
                "-",
            ]
            + [
                "12",
                "1,200",
                "3/4",
                ".5",
                "$",
                "%",
                '"',
                "'",
                "**",
                ".",
                ",",
                " ",
                "\n",
                "blue ball",
                "new york",
                "yajo",
                "a-b",
            ]
            + ["\x00", "\ud800", "😀", "é", "e\u0301", "\xa0", "####", "\\boxed{", "}", "1e9", "0", "th"]
        ),
        max_size=25,
    ).map("".join),
)


@pytest.mark.parametrize(
    ("task", "a", "b", "equal"),
    [
        ("gsm8k", "12.0", "12", True),
        ("gsm8k", "1,200", 1200, True),
        ("gsm8k", "3/4", "0.75", True),
        ("gsm8k", "12", "-12", False),
        ("gsm8k", "twelve", "twelve", False),
        ("gsm8k", None, None, False),
        ("commonsense-qa", "(B)", "B", True),
        ("commonsense-qa", "b.", "B", True),
        ("commonsense-qa", "(B) library", "B", True),
        ("commonsense-qa", "", "", False),
        ("strategy-qa", "true", "Yes", True),
        ("strategy-qa", True, "Yes", True),
        ("sandbox-letters", '"YAJO".', "yajo", True),
        ("sandbox-letters", "new\xa0 york", "New York", True),
        ("sandbox-letters", "newyork", "new york", False),
        ("sandbox-letters", "", "", False),
    ],
)
def test_when_answers_are_equal(task, a, b, equal):
    assert same_answer(task, a, b) is equal
    assert same_answer(task, b, a) is equal


def test_a_judgement_has_the_span_of_the_answer():
    text = "He pays 3 times $400. --> $1,200 in all"
    judgement = judge("gsm8k", text, "1200")
    assert judgement.correct and judgement.prediction == "1200" and judgement.reason == ""
    assert text[judgement.start : judgement.end] == "$1,200"


def test_a_malformed_gold_answer_makes_the_prediction_wrong_with_a_reason():
    judgement = judge("gsm8k", "--> 12", "a dozen")
    assert judgement.prediction == "12" and not judgement.correct
    assert "'a dozen'" in judgement.reason
    assert judge("gsm8k", "--> 12", "13").reason == ""


@pytest.mark.parametrize(
    ("task", "text", "gold", "sound", "paper"),
    [
        ("gsm8k", "--> 12.0", "12", True, False),
        ("svamp", "--> 12.0", "12", True, True),
        ("gsm8k", "--> 1,200 of 3.", "1200", True, True),
        ("gsm8k", "3 and then 12.", "12", False, True),  # the last candidate of the text
        ("commonsense-qa", "--> Answer is B", "B", True, False),
        ("tracking-shuffled-objects", "--> Alice has (C)", "C", True, False),
        ("commonsense-qa", "--> DATE is (C)", "C", True, False),
        ("date-understanding", "--> D or (C)", "D", False, True),
        ("commonsense-qa", "--> B", "(B)", True, False),
        ("strategy-qa", "--> yes and no.", "Yes", False, True),
        ("strategy-qa", "yes! It can.", "Yes", True, False),
        ("strategy-qa", "yes, although there is no evidence", "Yes", True, False),
        ("last-letter-concatenation", ' "y a j o".', "yajo", True, True),
        ("last-letter-concatenation", ' "y-a-j-o".', "yajo", True, False),
    ],
)
def test_the_mode_paper_keeps_the_faults_of_the_official_evaluator(task, text, gold, sound, paper):
    assert judge(task, text, gold).correct is sound
    assert judge(task, text, gold, mode="paper").correct is paper


def test_split_target():
    assert split_target("a --> b --> 12 ") == ("a --> b", "12")
    assert split_target(" a ") == ("a", None)
    assert split_target("a -->") == ("a", "")


def test_your_own_task():
    grades = Task("grades", "choice", choices="1234")
    assert judge(grades, "It is good. --> (2)", "2").correct
    assert judge(grades, "--> very good", "1", "Which? (1) very good, (2) good").correct
    capital = Task("capitals", "text")
    assert judge(capital, "The capital of France --> Paris.", "paris").correct
    assert get_task(capital) is capital


def test_invalid_arguments_raise_a_helpful_input_error():
    with pytest.raises(InputError, match="gsm8k, asdiv"):
        get_task("gsm9k")
    with pytest.raises(InputError, match="sound, paper"):
        extract("gsm8k", "12", mode="strict")
    with pytest.raises(InputError, match="number, math, choice, yes/no, text"):
        Task("mine", "integer")
    with pytest.raises(InputError, match="'AAB'"):
        Task("mine", "choice", choices="AAB")
    with pytest.raises(InputError, match="name"):
        Task(" ", "text")


def test_the_known_tasks():
    assert all(name == task.name and get_task(name) is task for name, task in TASKS.items())
    assert {task.official for task in TASKS.values() if task.official} == {
        *("gsm8k", "asdiv", "svamp", "strategy_qa", "commonsense_qa", "tracking_shuffled_objects"),
        *("date_understanding", "last_letter_concatenation"),
    }


@given(st.sampled_from(sorted(TASKS)), WRITTEN, WRITTEN, WRITTEN, st.sampled_from(["sound", "paper"]))
def test_no_text_raises_and_the_parts_agree(task, text, gold, question, mode):
    judgement = judge(task, text, gold, question, mode)
    if judgement.prediction is None:
        assert judgement.reason and not judgement.correct and (judgement.start, judgement.end) == (-1, -1)
    else:
        assert 0 <= judgement.start < judgement.end <= len(text)


@given(st.sampled_from(OF_EACH_TYPE), WRITTEN)
def test_the_span_holds_the_value_and_reading_it_again_finds_it_again(task, text):
    found = extract(task, text)
    if found.value is None:
        return
    inside = text[found.start : found.end]
    if get_task(task).answer_type == "text":  # not again: a text may itself announce or quote a text
        composed = unicodedata.normalize("NFC", inside)
        assert list(filter(str.isalnum, found.value)) == list(filter(str.isalnum, composed))
    else:
        assert extract(task, f"{MARKER} {inside}").value == found.value
        assert extract(task, f"{MARKER} {found.value}").value == found.value
        assert same_answer(task, found.value, found.value)


@given(st.text(string.ascii_letters, min_size=2, max_size=12))
def test_a_word_is_found_however_it_is_given(word):
    for text in (
        word,
        f'"{word}".',
        f"{MARKER} {word}",
        f'So the final answer is "{word}".',
        f"{MARKER} {'-'.join(word)}",
    ):
        assert judge("sandbox-letters", text, word).correct, text


@given(st.sampled_from(OF_EACH_TYPE), WRITTEN, WRITTEN, WRITTEN, st.sampled_from(["sound", "paper"]))
def test_text_before_the_marker_never_matters(task, before, text, gold, mode):
    short, long = f"{MARKER} {text}", f"{before}{MARKER} {text}"
    first, second = judge(task, short, gold, BALLS, mode), judge(task, long, gold, BALLS, mode)
    assert (first.prediction, first.correct, first.reason) == (second.prediction, second.correct, second.reason)
    assert short[first.start : first.end] == long[second.start : second.end] or first.prediction is None


@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["{:d}", "{:,d}", "{:d}.0", "{:,d}.00", "{:d} apples", "${:,d}", "{:d}%", "**{:d}**", "{:d}/1"]),
    st.sampled_from(
        ["{}", f"{MARKER} {{}}", "The answer is {}.", "#### {}", "x = {}", "3 + 4 = 7, so in the end ({})", " {}\n"]
    ),
)
def test_a_number_is_found_however_it_is_written(number, form, frame):
    text = frame.format(form.format(number))
    if frame.startswith("3 + 4"):  # a sentence without announcement that names several numbers
        text = text.replace("7, so", "7. So")
    assert judge("gsm8k", text, str(number)).correct, text


LONG = [
    "a",
    "1 ",
    "1,",
    "1/",
    " ",
    '"',
    "'a",
    ". ",
    "\n",
    "a.\n",
    "A ",
    "(A",
    "B or ",
    "yes ",
    "no, ",
    "not ",
    "answer is ",
]
LONG += [MARKER, "-", "=1 ", "\u0301", "**", "blue ", "because ", "\ud800", "e1", "$", "option "]
LONG += ["oh, ", "wait ", "\\boxed{", '"answer": [', "1'", "1½", "A, ", "is the answer ", "May 1 ", "</s>", "答案"]


@pytest.mark.parametrize("task", ["gsm8k", "commonsense-qa", "strategy-qa", "sandbox-letters"])
@pytest.mark.parametrize("unit", LONG, ids=ascii)
def test_a_long_text_takes_linear_time(task, unit):
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    for whole in (text, f"{MARKER} {text}", f"{text} {MARKER} 12", f"The answer is 1 or A. {text}"):
        for mode in ("sound", "paper"):
            extract(task, whole, PLACES, mode)
    assert time.process_time() - start < 10  # quadratic work on 100,000 characters takes minutes


def test_a_million_characters():
    text = "Alice has 3 apples, and so on. " * 33_000 + f"{MARKER} 12"
    start = time.process_time()
    found = {task: extract(task, text).value for task in OF_EACH_TYPE}
    assert {task for task, value in found.items() if value == "12"} == {"gsm8k", "svamp", "sandbox-letters"}
    assert [found[task] for task in ("commonsense-qa", "tracking-shuffled-objects", "strategy-qa")] == [None] * 3
    assert time.process_time() - start < 20
