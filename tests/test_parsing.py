"""JSON, YAML and CSV: what is ambiguous, too deep or too large is refused, with its place."""

import datetime
import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mentor_kd.parsing import InputError, parse_csv, parse_json, parse_yaml, shown, yaml_text

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_any_json_is_read_as_it_was_written(value):
    assert parse_json(json.dumps(value), "a.json") == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1), "a.json") == value


@given(VALUES)
@example("1e5")
@example({"-.5E0": ["2e-5", "\x85", "2026-11-27", "yes"]})
def test_plain_values_are_read_from_yaml_as_they_were_written(value):
    assert parse_yaml(yaml_text(value), "a.yaml") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1,\n "b": ', "f, line 6: not valid JSON .*truncated"),
        (
            '{"a": 1, "b": {"c": 1,\n "c": 2}}',
            r"f, line 6, column 2: the key 'c' is repeated \(first on line 5, column 16\)",
        ),
        ('{"a": "a", "b": 1, "a": 2}', r"line 5, column 20: the key 'a' is repeated \(first on line 5, column 2\)"),
        ('{"\\u0061": 1, "a": 2}', "column 15: the key 'a' is repeated"),
        ('{"a": "NaN",\n "b": NaN}', "line 6, column 7: NaN is not a finite number"),
        ('{"a": -Infinity}', "column 7: -Infinity is not a finite number"),
        ('{"a": 1e999}', "column 7: 1e999 is not a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "column 7: a number of 5000 digits"),
        ('{"a": "x", "b": "\\ud800"}', r"line 5, column 17: an unpaired surrogate in '\\ud800'"),
        ('{"\\udc00": 1}', "an unpaired surrogate"),
        ("[" * 51 + "]" * 51, "line 5: nested deeper than 50 levels"),
        ("[" * 100_000, "line 5: nested deeper than 50 levels"),
    ],
)
def test_json_that_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_json(text, "f", line=5)


def test_what_only_looks_wrong_in_json_is_read():
    assert parse_json('{"a": "NaN 1e999 {\\"a\\": 1, \\"a\\": 2}", "b": {"a": 1}}', "f")["b"] == {"a": 1}
    assert parse_json('"\\ud83d\\ude00 \\\\ud800"', "f") == "\U0001f600 \\ud800"
    assert parse_json("[" * 50 + "]" * 50, "f")
    assert parse_json("[NaN, -Infinity]", "f", finite=False)[1] == -float("inf")


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"f, line 3: .*the key 'a' is repeated \(first on line 1\)"),
        ("a: {b: 1, b: 2}\n", "line 1: .*the key 'b' is repeated"),
        ("a: 1\n1: 2\n", "line 2: .*a key must be a string, got '1'; put it in quotation marks"),
        ("yes: 2\n", "a key must be a string, got 'yes'"),
        ("? [a]\n: 2\n", "a key must be a string, got 'a sequence'"),
        ("a: !!bool maybe\n", "line 1: .*'maybe' is not a value of type bool"),
        ("a: !!float abc\n", "'abc' is not a value of type float"),
        ("a: !!int ''\n", "is not a value of type int"),
        ("a: !!timestamp x\n", "tag:yaml.org,2002:timestamp"),
        ("a: !!binary '@'\n", "tag:yaml.org,2002:binary"),
        ("a: !!set {x}\n", "tag:yaml.org,2002:set"),
        ("a: !!python/object/apply:os.abort []\n", "tag:yaml.org,2002:python"),
        ("a: .nan\n", "'.nan' is not a finite number"),
        ("b: 1\na: " + "9" * 5000, "line 2: .*'9999.* is not a value of type int"),
        ("a: " + "9" * 400, "is not a finite number of at most 300 digits"),
        ('a: "\\uD800"', "an unpaired surrogate in '\\\\ud800'"),
        ("a: 1\nb: x\0y", r"f, line 2: .*the character U\+0000 is not allowed"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("[" * 100_000, "nested deeper than 50 levels"),
        ("{a: " * 5000, "nested deeper than 50 levels"),
        (BOMB, "more than 10000 values, aliases expanded"),
        ("a: &a [*a]", "an alias refers to the value that contains it"),
        ("&a {b: *a}", "an alias refers to the value that contains it"),
        ("- *nowhere", "undefined alias"),
        ("- &a1 [x]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(2, 100)), "nested deeper than 50 levels"),
        ("- " * 20_000, "nested deeper than 50"),
        ("- x\n" * 20_000, "more than 10000 values"),
        ("a: 1\n---\na: 2\n", "line 2: .*single document|another document"),
        ("a: [1, 2\nb: 3", "line 2: not valid YAML"),
        ("x" * 600_000, "600000 characters of YAML; at most 500000 are read"),
    ],
)
def test_yaml_that_is_refused_at_once(text, message):
    started = time.process_time()
    with pytest.raises(InputError, match=message):
        parse_yaml(text, "f")
    assert time.process_time() - started < 3


def test_dates_are_strings_and_aliases_may_be_used_with_measure():
    found = parse_yaml("a: 2024-13-45\nb: 2024-01-05\nc: &c {x: 1}\nd: {<<: *c, x: 2, y: *c}\n", "f")
    assert found == {"a": "2024-13-45", "b": "2024-01-05", "c": {"x": 1}, "d": {"x": 2, "y": {"x": 1}}}
    assert not isinstance(found["b"], datetime.date)
    assert parse_yaml("", "f") is None and parse_yaml("# nothing\n", "f") is None


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_of_any_separator_and_line_end(separator, end):
    lines = ["question,answer", "How?,7", "", '"What, ""then""?\nNow?",8', "x,"]
    text = end.join(line.replace(",", separator) for line in lines)
    rows = parse_csv(text, "f")
    assert [row for _, row in rows] == [
        {"question": "How?", "answer": "7"},
        {"question": f'What{separator} "then"?\nNow?', "answer": "8"},
        {"question": "x", "answer": ""},
    ]
    assert [line for line, _ in rows] == [2, 4, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a\n1,2,3\n", r"f, line 1: the column 'a' is repeated \(columns 1 and 3\)"),
        ("a, a\n1,2\n", "the column 'a' is repeated"),
        ("\na,,b\n", "line 2: column 2 has no name"),
        ("a,b\n1,2\n1\n", "line 3: expected 2 values, got 1; the header uses commas"),
        ("a;b\n1;2;3\n", "line 2: expected 2 values, got 3; the header uses semicolons"),
        ('a,b\n1,"2\n3\n', "line 2: not valid CSV"),
        ('a,b\n1,"2"x\n', "line 2: not valid CSV"),
        ("a\n" + "x" * 200_000, "line 2: not valid CSV .*field larger"),
        ("a,b\n1,\x002\n", "line 2: contains NUL"),
        ("", "f: the file is empty"),
        ("\n \n", "line 2: column 1 has no name"),
    ],
)
def test_csv_that_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_csv(text, "f")


def test_values_are_shown_short_and_safe():
    assert shown("\ud800") == r"'\ud800'" and shown("é") == "'é'" and shown([1]) == "[1]"
    assert len(shown("x" * 999)) == 60
