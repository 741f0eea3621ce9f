"""Answers of each type are found in a text, or missed with a reason."""

import pytest

from mentor_kd.data.tasks import extract, judge

BALLS = (
    "Alice has an orange ball, Bob has a white ball, and Claire has a blue ball. At the end, Alice has the \n"
    "Which choice is true? Answer choices: (A) orange ball, (B) white ball, (C) blue ball."
)
PLACES = (
    "It is a security measure at a what? Answer Choices:\nA. bank\nB. library\nC. store\nD. book store\nE. new york\n"
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
        ("12,00", "12"),
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
        ("--> 1,2", "cannot be read as one number"),
        ("--> 1.2.3", "cannot be read as one number"),
        ("--> 1/0", "divides by zero"),
        ("--> 1e999999999", "longer than"),
        ("--> " + "9" * 5000, "longer than"),
        ("--> not 12", "negated"),
        ("He has 3 apples. The answer is unknown.", "no number"),
        ("5 apples -->", "nothing follows -->"),
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


def test_option_words_are_read_in_both_question_formats():
    assert extract("commonsense-qa", "--> New York", PLACES).value == "E"
    assert extract("commonsense-qa", "--> the book store", PLACES).value == "D"  # the longest option, not "store"
    assert extract("commonsense-qa", "--> New York").value is None  # without the question the words are not known
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
def test_an_unclear_verdict_is_a_miss(text):
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


def test_a_missing_text_answer_is_a_miss():
    assert "no answer" in extract("sandbox-letters", "Let me think about that for you").reason
    assert "longer than 400" in extract("sandbox-letters", "--> " + "word " * 200).reason
    assert extract("sandbox-letters", '--> ".').value is None


def test_dates_are_texts():
    assert judge("sandbox-dates", "Two days later. --> 03/04/2020", "03/04/2020").correct
    assert not judge("sandbox-dates", "--> 04/03/2020", "03/04/2020").correct
