"""Checks of single values: what passes, and errors with the setting, the requirement, and the value."""

import math

import pytest

from mentor_kd import checks
from mentor_kd.files import InputError


def test_is_whole():
    assert checks.is_whole(0) and checks.is_whole(3, 3) and not checks.is_whole(2, 3)
    assert not any(map(checks.is_whole, (-1, True, False, 1.0, "1", None)))


def test_is_number():
    assert checks.is_number(0) and checks.is_number(-1.5)
    assert not any(map(checks.is_number, (True, "1", None, math.nan, math.inf, -math.inf)))


REFUSED = [
    (lambda: checks.require_integer("epochs", 0, 1), "epochs must be an integer >= 1, got 0"),
    (
        lambda: checks.require_integer("top_k", "5", note="0 for all"),
        "top_k must be an integer >= 0 (0 for all), got '5'",
    ),
    (lambda: checks.require_number("p", 1.5, above=0, most=1), "p must be a number > 0 and <= 1, got 1.5"),
    (lambda: checks.require_number("p", 0, above=0, most=1), "p must be a number > 0 and <= 1, got 0"),
    (lambda: checks.require_number("p", 1, least=0, below=1), "p must be a number >= 0 and < 1, got 1"),
    (lambda: checks.require_number("p", math.nan, least=0), "p must be a number >= 0, got nan"),
    (
        lambda: checks.require_number("rate", "3e-4", above=0),
        "rate must be a number > 0, got '3e-4'",
    ),
    (lambda: checks.require_choice("kind", "c", ("a", "b")), "kind must be one of a, b, got 'c'"),
    (lambda: checks.require_choice("kind", ["a"], ("a", "b")), "kind must be one of a, b, got ['a']"),
    (lambda: checks.require_bool("on", "false"), "on must be true or false, got 'false'"),
    (
        lambda: checks.require_text("name", 3),
        "name must be a string, got 3 (YAML reads it as a number: put it in quotes)",
    ),
    (
        lambda: checks.require_text("run", True),
        "run must be a string, got True (YAML reads on, off, yes and no without quotes as true or false: put the text "
        "in quotes)",
    ),
    (lambda: checks.require_text("run", None), "run must be a string, got None"),
    (lambda: checks.require_text("mentor", "  ", empty=False), "mentor must be a non-empty string, got '  '"),
    (lambda: checks.require_text("name", "", empty=False), "name must be a non-empty string, got ''"),
    (lambda: checks.require_list("seeds", [0, True], int), "seeds[1] must be an integer, got True"),
    (
        lambda: checks.require_list("seeds", ["0", "1"], int),
        "seeds[0] must be an integer, got '0' (remove the quotes)",
    ),
    (
        lambda: checks.require_list("tasks", ["a", False], str),
        "tasks[1] must be a string, got False (YAML reads on, off, yes and no without quotes as true or false: put the "
        "text in quotes)",
    ),
    (
        lambda: checks.require_list("seeds", "[0,1]", int),
        "seeds must be a list of integers, got the text '[0,1]'; with papermill write -y \"seeds: [0, 1]\" or a file "
        "with -f",
    ),
    (
        lambda: checks.require_list("methods", "('a', \"b\")", str, empty=False),
        "methods must be a non-empty list of strings, got the text '(\\'a\\', \"b\")'; with papermill write -y "
        '"methods: [a, b]" or a file with -f',
    ),
    (
        lambda: checks.require_list("methods", "a", str),
        "methods must be a list of strings, got the text 'a'; with papermill write -y \"methods: [a]\" or a file with "
        "-f",
    ),
    (
        lambda: checks.require_list("seeds", [3, 0, 3], int),
        "seeds[2] repeats 3, which is also seeds[0]; remove one",
    ),
    (
        lambda: checks.require_list("seeds", [], int, empty=False),
        "seeds must be a non-empty list of integers, such as [0, 1], got []",
    ),
    (lambda: checks.require_list("tasks", 3, str), "tasks must be a list of strings, such as [a, b], got 3"),
]


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_errors_say_what_is_required(call, words):
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == words


def test_valid_values_pass():
    checks.require_integer("epochs", 1, 1)
    for value in (0, 1, 0.5):
        checks.require_number("share", value, least=0, most=1)
    checks.require_choice("kind", "a", ("a", "b"))
    checks.require_bool("on", False)
    checks.require_text("name", "")
    checks.require_list("seeds", [0, 1], int)
    checks.require_list("tasks", [], str)


def test_a_number_with_an_exponent_is_read_from_text_and_nothing_else_is():
    assert [checks.as_number(text) for text in ("2e-5", "-1E3", "1.5e-4", ".5e1")] == [2e-5, -1000.0, 1.5e-4, 5.0]
    for other in ("3", "0.1", "e5", "2e", "nan", "inf", "2e-5 ", "1e9999", 7, True, None, [1]):
        assert checks.as_number(other) is other
