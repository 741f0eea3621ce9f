"""Checks of single values: each raises InputError with the name of the setting, the requirement, and the value."""

import math
import re
from collections.abc import Iterable
from typing import Any

from .files import InputError


def is_whole(value: object, least: int = 0) -> bool:
    """Whether a value is an integer >= `least`; booleans do not count as integers."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Whether a value is a finite integer or float; booleans do not count."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def require_integer(name: str, value: Any, least: int = 0, note: str = "") -> None:
    """Require an integer >= `least`; `note` explains a special value."""
    if not is_whole(value, least):
        raise InputError(f"{name} must be an integer >= {least}{_after(note)}, got {value!r}")


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
        short = isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value)
        hint = f" (in YAML write {value.replace('e', '.0e')}: {value} is read as a string)" if short else ""
        raise InputError(f"{name} must be a number{' ' if wanted else ''}{wanted}{_after(note)}, got {value!r}{hint}")


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
    """Require a string; with `empty` False, a non-empty one."""
    if not isinstance(value, str) or not (value or empty):
        raise InputError(f"{name} must be a {'' if empty else 'non-empty '}string, got {value!r}")


def require_list(name: str, value: Any, of: type, empty: bool = True) -> None:
    """Require a list with items of one type; with `empty` False, a non-empty one."""
    if not isinstance(value, list) or not all(type(one) is of for one in value) or not (value or empty):
        kind = f"{'' if empty else 'non-empty '}list of {of.__name__}"
        raise InputError(f"{name} must be a {kind}, such as {'[0, 1]' if of is int else '[a, b]'}, got {value!r}")


def _after(note: str) -> str:
    return f" ({note})" if note else ""
