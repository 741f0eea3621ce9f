"""Checks of single values: each raises InputError with the name of the setting, the requirement, and the value."""

import math
import re
from collections.abc import Iterable
from typing import Any

from .files import InputError

KINDS: dict[type, str] = {int: "integers", str: "strings"}
ONE: dict[type, str] = {int: "an integer", str: "a string"}
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d{1,3}")


def is_whole(value: object, least: int = 0) -> bool:
    """Whether a value is an integer >= `least`; booleans do not count as integers."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether a value is a finite integer or float; booleans do not count."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value.bit_length() < 1000  # a larger one has no float
    return isinstance(value, float) and math.isfinite(value)


def require_integer(name: str, value: Any, least: int = 0, note: str = "") -> None:
    """Require an integer >= `least`; `note` explains a special value."""
    if not is_whole(value, least):
        raise InputError(f"{name} must be an integer >= {least}{_after(note)}, got {value!r}")


def as_number(value: Any) -> Any:
    """A number given as text with an exponent, such as 2e-5, as a float; anything else is returned unchanged.

    YAML 1.1, which papermill and PyYAML read, takes 2e-5 for text.
    """
    return float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def require_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    note: str = "",
) -> None:
    """Require a finite number within bounds: `least` and `most` are inclusive, `above` and `below` exclusive."""
    bounds = {">=": least, ">": above, "<=": most, "<": below}
    inside = is_number(value) and (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not inside:
        wanted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)
        raise InputError(f"{name} must be a number{' ' if wanted else ''}{wanted}{_after(note)}, got {value!r}")


def require_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Require one of the given strings."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def require_bool(name: str, value: Any) -> None:
    """Require a boolean; papermill's -p passes a lower-case "false" as a string."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, got {value!r}")


def require_text(name: str, value: Any, empty: bool = True) -> None:
    """Require a string; with `empty` False, one that is not blank."""
    if not isinstance(value, str) or not (value.strip() or empty):
        hint = quotes_hint(value)
        raise InputError(f"{name} must be a {'' if empty else 'non-empty '}string, got {value!r}{hint}")


def items_in(text: str) -> list[str]:
    """The items of a list that was given as text, such as "[a, b]", "('a', 'b')" or "a", for messages."""
    return [one.strip().strip("'\"") for one in text.strip().strip("[]()").split(",") if one.strip()]


def quotes_hint(value: Any) -> str:
    """How to give a value as text, if YAML reads it as a number or a boolean; "" for any other value."""
    if isinstance(value, bool):
        return " (YAML reads on, off, yes and no without quotes as true or false: put the text in quotes)"
    return " (YAML reads it as a number: put it in quotes)" if isinstance(value, int | float) else ""


def require_list(name: str, value: Any, of: type, empty: bool = True) -> None:
    """Require a list of distinct items of one type; with `empty` False, a non-empty one.

    Papermill's option -p passes a list as text, which is refused with the options that pass a list.
    """
    kind = f"{'' if empty else 'non-empty '}list of {KINDS[of]}"
    if isinstance(value, str) and value.strip():
        items = ", ".join(items_in(value))
        raise InputError(
            f'{name} must be a {kind}, got the text {value!r}; with papermill write -y "{name}: [{items}]" or a file '
            f"with -f"
        )
    if not isinstance(value, list) or not (value or empty):
        example = "[0, 1]" if of is int else "[a, b]"
        raise InputError(f"{name} must be a {kind}, such as {example}, got {value!r}")
    for place, one in enumerate(value):
        if type(one) is not of:
            hint = quotes_hint(one) if of is str else " (remove the quotes)" if isinstance(one, str) else ""
            raise InputError(f"{name}[{place}] must be {ONE[of]}, got {one!r}{hint}")
        if one in value[:place]:
            raise InputError(f"{name}[{place}] repeats {one!r}, which is also {name}[{value.index(one)}]; remove one")


def _after(note: str) -> str:
    return f" ({note})" if note else ""
