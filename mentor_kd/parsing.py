"""Strict parsing of JSON, YAML and CSV: ambiguous, deeply nested or very large input is refused, with its position.

Every file of a user passes through here (see `files`), and so does every YAML or JSON value on the command line.
Whatever the libraries raise becomes an InputError that names the file and, where it is known, the line. A repeated key
is refused, because the libraries would keep the last value silently; so are numbers that are not finite, and unpaired
surrogates, which no UTF-8 file can contain.
"""

import csv
import io
import json
import math
import re
import time
from typing import Any, NoReturn

import yaml

DEEPEST = 50  # levels of nested lists and objects
LONGEST_NUMBER = 300  # digits; larger integers have no float
YAML_CHARACTERS = 500_000
YAML_NODES = 10_000  # values of a YAML text, aliases expanded
YAML_SECONDS = 4.0
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}


class InputError(ValueError):
    """Invalid user input; the message names it, its value and how to fix it."""


def shown(value: object, most: int = 60) -> str:
    """A value as one short line of ASCII-safe text, for messages."""
    text = ascii(value) if has_half_surrogate(value) else repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def has_half_surrogate(value: object) -> bool:
    """Whether a value is a string with an unpaired surrogate."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _deeper_than(value: object, levels: int) -> bool:
    """Whether lists and objects are nested in more levels."""
    level: list[Any] = [value]
    for _ in range(levels + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return False
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return True


# JSON


class _Repeated(Exception):
    """A key that occurs twice in one object."""


class _Unusable(Exception):
    """A number that is not finite or too long."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Repeated
    return found


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise _Unusable(digits)
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Unusable(digits)
    return value


def _constant(word: str) -> NoReturn:
    raise _Unusable(word)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_LENIENT_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, where: object, line: int = 1, finite: bool = True) -> Any:
    """The value of a JSON text from the file `where`, which starts on the line `line` of it.

    With `finite` False, NaN and infinity are accepted.

    Raises InputError for invalid JSON, a repeated key, a number that is not finite or has more than 300 digits, an
    unpaired surrogate, and nesting deeper than 50 levels.
    """
    try:
        value = (_DECODER if finite else _LENIENT_DECODER).decode(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}, line {line + error.lineno - 1}: not valid JSON ({error.msg}); is the file truncated?"
        ) from None
    except RecursionError:
        raise InputError(f"{where}, line {line}: nested deeper than {DEEPEST} levels; simplify it") from None
    except _Repeated:
        raise InputError(f"{where}, {_repeated_key(text, line)}; remove one of them") from None
    except _Unusable as error:
        token = str(error)
        at = next((match.start() for match in _TOKEN.finditer(text) if match[0] == token), 0)
        why = f"a number of {len(token)} digits" if len(token) > LONGEST_NUMBER else f"{token} is not a finite number"
        raise InputError(f"{where}, {_place(text, at, line)}: {why}; correct it or put it in quotes") from None
    if text.count("[") + text.count("{") > DEEPEST and _deeper_than(value, DEEPEST):
        raise InputError(f"{where}, line {line}: nested deeper than {DEEPEST} levels; simplify it")
    if has_half_surrogate(text) or _ESCAPED_HALF.search(text):
        for match in _TOKEN.finditer(text):
            if match[0].startswith('"') and has_half_surrogate(part := json.loads(match[0], strict=False)):
                place = _place(text, match.start(), line)
                raise InputError(f"{where}, {place}: an unpaired surrogate in {shown(part)}; remove it")
    return value


def _place(text: str, at: int, line: int) -> str:
    return f"line {line + text.count(chr(10), 0, at)}, column {at - text.rfind(chr(10), 0, at)}"


def _repeated_key(text: str, line: int) -> str:
    """The first repeated key of a JSON text, with both places."""
    open_keys: list[dict[str, int]] = []
    tokens = list(_TOKEN.finditer(text))
    for token, after in zip(tokens, tokens[1:], strict=False):
        if token[0] in "{[":
            open_keys.append({})
        elif token[0] in "}]":
            open_keys.pop()
        elif after[0] == ":":
            key = json.loads(token[0])
            if key in open_keys[-1]:
                first, second = (_place(text, at, line) for at in (open_keys[-1][key], token.start()))
                return f"{second}: the key {shown(key)} is repeated (first on {first})"
            open_keys[-1][key] = token.start()
    raise AssertionError("no key is repeated")


# YAML


_PLAIN = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "seq", "map")}
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
# a number such as 2e-5, which YAML 1.2 and JSON know and YAML 1.1 takes for text
_EXPONENT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+\Z"))
_STARTS = tuple("-+.0123456789")  # first characters of a number


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with JSON's values only (a date is a string), unique string keys, and limits."""

    yaml_implicit_resolvers = {
        first: [
            *(rule for rule in rules if rule[0] != _TIMESTAMP),
            *([_EXPONENT] if first in _STARTS else []),
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _PLAIN
    }

    def __init__(self, text: str):
        self.depth = self.nodes = 0
        self.sizes: dict[int, int] = {}  # by node: how many nodes it has, aliases expanded
        self.until = time.monotonic() + YAML_SECONDS
        super().__init__(text)

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self.sizes:
                _refuse("an alias refers to the value that contains it", mark)
            self.nodes += self.sizes[id(node)]
        else:
            before = self.nodes
            self.nodes += 1
            self.depth += 1
            if self.depth > DEEPEST + 1:  # the last may be a string
                _refuse(f"nested deeper than {DEEPEST} levels; simplify it", mark)
            node = super().compose_node(parent, index)
            self.depth -= 1
            self.sizes[id(node)] = self.nodes - before
        if self.nodes > YAML_NODES or time.monotonic() > self.until:
            _refuse(f"more than {YAML_NODES} values, aliases expanded; simplify it", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: dict[str, int] = {}
        for key, _ in node.value:
            mark = key.start_mark
            if key.tag != _MERGE and (not isinstance(key, yaml.ScalarNode) or _PLAIN.get(key.tag) != "str"):
                _refuse(f"a key must be a string, got {shown(_source(key))}; put it in quotation marks", mark)
            if key.value in seen:
                first = seen[key.value] + 1
                _refuse(f"the key {shown(key.value)} is repeated (first on line {first}); remove one of them", mark)
            seen[key.value] = mark.line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
            kind = _PLAIN.get(node.tag, node.tag)
            _refuse(f"{shown(_source(node))} is not a value of type {kind}", node.start_mark)
        unusable = isinstance(value, float) and not math.isfinite(value)
        if unusable or (isinstance(value, int) and abs(value) >= 10**LONGEST_NUMBER):
            _refuse(f"{shown(node.value)} is not a finite number of at most {LONGEST_NUMBER} digits", node.start_mark)
        if has_half_surrogate(value):
            _refuse(f"an unpaired surrogate in {shown(value)}; remove it", node.start_mark)
        return value


def _source(node: Any) -> object:
    return node.value if isinstance(node, yaml.ScalarNode) else f"a {node.id}"


def _refuse(problem: str, mark: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also puts texts that `parse_yaml` would read as numbers in quotation marks."""

    yaml_implicit_resolvers = {
        first: [*rules, *([_EXPONENT] if first in _STARTS else [])]
        for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


def yaml_text(value: Any, sort_keys: bool = False) -> str:
    """A value of JSON's types as YAML, which `parse_yaml` reads as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=sort_keys)


def parse_yaml(text: str, where: object) -> Any:
    """The value of a YAML text from the file or option `where`; None for an empty text.

    Values are those of JSON: a date is a string, and 2e-5 is a number. Raises InputError for invalid YAML, a key that
    is repeated or is not a string, any other tag, a number that is not finite or has more than 300 digits, an unpaired
    surrogate, nesting deeper than 50 levels, and more than 10,000 values once aliases are expanded.
    """
    if len(text) > YAML_CHARACTERS:
        raise InputError(f"{where}: {len(text)} characters of YAML; at most {YAML_CHARACTERS} are read")
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise InputError(f"{where}{line}: not valid YAML ({problem[:200]})") from None
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{where}, line {number}: not valid YAML (the character U+{error.character:04X} is not allowed)"
        ) from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: not valid YAML ({str(error)[:200]})") from None
    if _deeper_than(value, DEEPEST):
        raise InputError(f"{where}: nested deeper than {DEEPEST} levels, aliases expanded; simplify it")
    return value


# CSV


def parse_csv(text: str, where: object) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV text with a header, each with the number of its first line in the file `where`.

    The separator is the comma, semicolon or tab that is most frequent in the header; lines end in LF, CRLF or CR. Blank
    lines are skipped. Raises InputError for a column that has no name or a repeated one, a row with more or fewer
    values than the header, wrong quoting, and NUL characters.
    """
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{where}, line {line}: contains NUL characters; save the file as UTF-8 text")
    head = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").splitlines()[0]) if text.strip() else ""
    separator = max(SEPARATORS, key=head.count)  # the comma if there is none
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: list[str] = []
    rows: list[tuple[int, dict[str, str]]] = []
    line = 1
    try:
        for values in reader:
            if values and columns:
                if len(values) != len(columns):
                    raise InputError(
                        f"{where}, line {line}: expected {len(columns)} values, got {len(values)}; the header uses "
                        f"{SEPARATORS[separator]}s, so put texts that contain one in quotes"
                    )
                rows.append((line, dict(zip(columns, values, strict=True))))
            elif values:
                columns = _columns([value.strip() for value in values], f"{where}, line {line}")
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{where}, line {line}: not valid CSV ({error})") from None
    if not columns:
        raise InputError(f"{where}: the file is empty")
    return rows


def _columns(names: list[str], where: str) -> list[str]:
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"{where}: column {number} has no name; give it one, or remove it")
        if name in names[: number - 1]:
            raise InputError(
                f"{where}: the column {shown(name)} is repeated (columns {names.index(name) + 1} and {number}); "
                f"remove or rename one of them"
            )
    return names
