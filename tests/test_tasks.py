"""Tasks: how an answer is found in a text, and when two answers are equal."""

import string
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.files import InputError
from mentor_kd.tasks import MARKER, TASKS, Task, extract, get_task, judge, same_answer, split_target

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
    ("text", "number"),
    [
        ("12.0", "12"),
        ("--> 12.00", "12"),
        ("--> $1,200", "1200"),
        ("--> 1,200.50", "1200.5"),
        ("--> 1,234,567 people", "1234567"),
        ("-3", "-3"),
        ("--> −3", "-3"),
        ("--> -$5", "-5"),
        ("--> $-5", "-5"),
        ("--> .5", "0.5"),
        ("--> -0.0", "0"),
        ("--> 007", "7"),
        ("--> 50%", "50"),
        ("--> 3/4", "0.75"),
        ("--> 2/6", "1/3"),
        ("--> 1 1/2 cups", "1.5"),
        ("--> 1e3", "1000"),
        ("--> 12 apples", "12"),
        ("--> 12kg.", "12"),
        (" $12", "12"),
        (" that the answer is 12.", "12"),
        ("--> 5 + 7 = 12", "12"),
        ("Danny has 67 - 35 = 32 more wrappers than bottle caps.", "32"),
        ("67 -35 = 32", "32"),
        ("He has 3. He gets 4. So he has 7 apples. Hope this helps!", "7"),
        ("The answer is 12. It has 2 digits.", "12"),
        ("Answer: **12** because 3 + 4 = 7", "12"),
        ("3 apples\n#### 1,000", "1000"),
        (r"so it is $\boxed{18}$", "18"),
        ("x --> 5 --> 6", "6"),
        ("--> not 12 but 13", "13"),
        ("On the 2nd day the M60 and COVID-19 left 8", "8"),
    ],
)
def test_numbers(text, number):
    assert extract("gsm8k", text).value == number


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("--> 3 or 4", "several different answers: '3' and '4'"),
        ("--> 3-4", "several different answers"),
        ("--> 12:30", "several different answers"),
        ("--> Bob has 12 apples and 3 pears", "several different answers"),
        ("12,00", "cannot be read as one number"),
        ("--> 1.2.3", "cannot be read as one number"),
        ("--> 1/0", "divides by zero"),
        ("--> 1e999999999", "longer than"),
        ("--> " + "9" * 5000, "longer than"),
        ("--> not 12", "negated"),
        ("He has 3 apples. The answer is unknown.", "no number"),
        ("5 apples -->", "nothing stands after -->"),
        ("--> twelve", "no number"),
        ("the 5th", "no number"),
        ("", "the text is empty"),
        (None, "the text is empty"),
    ],
)
def test_a_number_that_cannot_be_found_is_a_miss_with_a_reason(text, reason):
    found = extract("gsm8k", text)
    assert found.value is None and (found.start, found.end) == (-1, -1)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("--> B", "B"),
        ("--> b.", "B"),
        ("a", "A"),
        ("Answer is B", "B"),
        ("--> Answer is B", "B"),
        ("(C) blue ball", "C"),
        ("--> Alice has (C)", "C"),
        ("--> DATE is (C)", "C"),
        (" A: Sam.", "A"),
        (" (C) Claire has the orange ball.", "C"),
        (" that the answer is B.", "B"),
        ("--> option b", "B"),
        ("--> [c]", "C"),
        ("--> A is right", "A"),
        ("--> **A**", "A"),
        ("--> not (A) but (B)", "B"),
        ("The correct choice is (B) white ball because (A) was swapped.", "B"),
        ("First (A), then (B). So the correct answer is: (C) blue ball. Well done!", "C"),
        ("the blue ball", "C"),
        ("--> a Blue\n ball.", "C"),
        ("Bob has the white ball. So Alice has the orange ball.", "A"),
    ],
)
def test_choices(text, letter):
    assert extract("tracking-shuffled-objects", text, BALLS).value == letter


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("--> (B) or (C)", "several different answers: 'B' and 'C'"),
        ("(A) orange ball, (B) white ball, (C) blue ball", "several different answers"),
        ("--> the white ball or the blue ball", "several different answers: 'white ball' and 'blue ball'"),
        ("--> not B", "'B' is negated"),
        ("--> A ball", "no choice among ABC"),
        ("--> E", "no choice among ABC"),
        ("Vitamin C helps", "no choice among ABC"),
        ("--> the green ball", "no choice among ABC"),
        ("ALICE CALLS BOB", "no choice among ABC"),
    ],
)
def test_a_choice_that_cannot_be_found_is_a_miss_with_a_reason(text, reason):
    assert extract("tracking-shuffled-objects", text, BALLS).value is None
    assert reason in extract("tracking-shuffled-objects", text, BALLS).reason


def test_the_words_of_an_option_are_read_in_both_spellings_of_a_question():
    assert extract("commonsense-qa", "--> New York", PLACES).value == "E"
    assert extract("commonsense-qa", "--> the book store", PLACES).value == "D"  # the longest option, not "store"
    assert extract("commonsense-qa", "--> New York").value is None  # without the question nobody knows
    twins = "Which? (A) red (B) red (C) blue"
    assert extract("commonsense-qa", "--> red", twins).value is None
    assert extract("commonsense-qa", "--> blue", twins).value == "C"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Yes", "Yes"),
        ("--> no.", "No"),
        ("--> True", "Yes"),
        ("--> It is false.", "No"),
        (" yes, Brooke Shields could succeed.", "Yes"),
        (" no, there is no evidence that the story was true", "No"),
        (" no - it is not true.", "No"),
        (' probably "no."', "No"),
        (" yes! It can.", "Yes"),
        (":\n\nNo, it was not.", "No"),
        ("Do hamsters eat animals? No. Do animals eat hamsters? Yes, some do. So they are food.", "Yes"),
        ('Therefore, the statement "1 exceeds 5" is false.', "No"),
        ("So, yes, there are several.", "Yes"),
        ("--> Yes, although some would say no.", "Yes"),
    ],
)
def test_verdicts(text, verdict):
    assert extract("strategy-qa", text).value == verdict


@pytest.mark.parametrize(
    "text",
    [
        "yes and no.",
        "--> yes/no",
        "--> yes. No.",
        "--> not yes",
        "--> it is not true",
        "it depends.",
        "unknown",
        "Is it? Yes?",
    ]
    + [
        "--> there is no evidence",
        "--> no doubt",
        "--> No. 1",
        "--> a true story",
        "--> nobody",
        " that it is not common",
    ],
)
def test_a_verdict_that_is_none_is_a_miss(text):
    found = extract("strategy-qa", text)
    assert found.value is None and found.reason


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("--> yajo", "yajo"),
        (' "yajo".', "yajo"),
        ('The final result is "yajo"', "yajo"),
        ("Putting them together, we get: yajo", "yajo"),
        ('"y" + "a" = "ya"', "ya"),
        ('The last letters of "Ann Bo" form “no”. Hope this helps you!', "no"),
        ("as", "as"),  # a word that may also introduce an answer
        ("is", "is"),
        ("--> y-a-j-o", "yajo"),
        (' "y a j o".', "yajo"),
        ("--> new  york\n", "new york"),
        ("--> me\u0301yl", "m\xe9yl"),
    ],
)
def test_texts(text, word):
    assert extract("last-letter-concatenation", text).value == word


def test_a_text_that_is_none_is_a_miss():
    assert "no answer" in extract("sandbox-letters", "Let me think about that for you").reason
    assert "longer than 400" in extract("sandbox-letters", "--> " + "word " * 200).reason
    assert extract("sandbox-letters", '--> ".').value is None


def test_dates_are_texts():
    assert judge("sandbox-dates", "Two days later. --> 03/04/2020", "03/04/2020").correct
    assert not judge("sandbox-dates", "--> 04/03/2020", "03/04/2020").correct


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


def test_a_judgement_carries_where_the_answer_stands():
    text = "He pays 3 times $400. --> $1,200 in all"
    judgement = judge("gsm8k", text, "1200")
    assert judgement.correct and judgement.prediction == "1200" and judgement.reason == ""
    assert text[judgement.start : judgement.end] == "$1,200"


def test_a_malformed_gold_answer_makes_the_prediction_wrong_and_says_so():
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


def test_a_task_of_ones_own_is_one_task():
    grades = Task("grades", "choice", choices="1234")
    assert judge(grades, "It is good. --> (2)", "2").correct
    assert judge(grades, "--> very good", "1", "Which? (1) very good, (2) good").correct
    capital = Task("capitals", "text")
    assert judge(capital, "The capital of France --> Paris.", "paris").correct
    assert get_task(capital) is capital


def test_wrong_use_is_an_input_error_that_helps():
    with pytest.raises(InputError, match="gsm8k, asdiv"):
        get_task("gsm9k")
    with pytest.raises(InputError, match="sound, paper"):
        extract("gsm8k", "12", mode="strict")
    with pytest.raises(InputError, match="number, choice, yes/no, text"):
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
def test_what_stands_before_the_marker_never_matters(task, before, text, gold, mode):
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


@pytest.mark.parametrize("task", ["gsm8k", "commonsense-qa", "strategy-qa", "sandbox-letters"])
@pytest.mark.parametrize("unit", LONG, ids=ascii)
def test_a_long_text_takes_linear_time(task, unit):
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    for whole in (text, f"{MARKER} {text}", f"{text} {MARKER} 12"):
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
