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
        "rate must be a number > 0, got '3e-4' (in YAML write 3.0e-4: 3e-4 is read as a string)",
    ),
    (lambda: checks.require_choice("kind", "c", ("a", "b")), "kind must be one of a, b, got 'c'"),
    (lambda: checks.require_choice("kind", ["a"], ("a", "b")), "kind must be one of a, b, got ['a']"),
    (lambda: checks.require_bool("on", "false"), "on must be true or false, got 'false'"),
    (lambda: checks.require_text("name", 3), "name must be a string, got 3"),
    (lambda: checks.require_text("name", "", empty=False), "name must be a non-empty string, got ''"),
    (
        lambda: checks.require_list("seeds", [0, True], int),
        "seeds must be a list of int, such as [0, 1], got [0, True]",
    ),
    (lambda: checks.require_list("tasks", "a", str), "tasks must be a list of str, such as [a, b], got 'a'"),
    (
        lambda: checks.require_list("seeds", [], int, empty=False),
        "seeds must be a non-empty list of int, such as [0, 1], got []",
    ),
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
