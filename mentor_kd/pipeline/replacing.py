"""Replacing a finished step: refused without permission if its settings differ, and the old result is always kept.

A step whose input data were replaced is repeated without asking, because that replacement was permitted.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import manifests
from ..files import InputError

# Keys of a manifest's inputs that describe what a step read; the others are its settings.
DATA = frozenset(
    "data questions mentor protocol collected only_missed file files test_file annotations starts_from task".split()
)
REMEDY = "set replace to true to repeat it (the old result is kept), or give the run another name"


def allow(place: Path, inputs: Mapping[str, Any], replace: bool) -> bool:
    """Whether there is a finished step with other inputs; InputError if its settings differ and `replace` is False."""
    found = manifests.read(place)
    now = json.loads(json.dumps(inputs))
    if found is None or found["inputs"] == now:
        return False
    require_permission(place, found["inputs"], now, replace)
    return True


def make_way(place: Path, inputs: Mapping[str, Any], replace: bool) -> None:
    """Move a finished step with other inputs aside, to <name>-earlier-<number>.

    Does nothing for an unfinished step or one with the same inputs. Raises InputError, which lists the differences,
    if the settings differ and `replace` is False.
    """
    if not allow(place, inputs, replace):
        return
    number = 1
    while (aside := place.with_name(f"{place.name}-earlier-{number}")).exists():
        number += 1
    place.rename(aside)
    print(f"{place.name} is repeated; the result with other settings or data is kept in {aside.name}")


def require_permission(place: Path, before: Mapping[str, Any], now: Mapping[str, Any], replace: bool) -> None:
    """Raise InputError if a finished step's settings differ from the ones asked for and `replace` is False."""
    told = [one for key in sorted({*before, *now} - DATA) for one in _differences(key, before.get(key), now.get(key))]
    if told and not replace:
        raise InputError(f"{place}: finished with other settings: {'; '.join(told[:5])}; {REMEDY}")


def _differences(name: str, before: Any, now: Any) -> Iterator[str]:
    """The settings that differ, by name, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _differences(key, before.get(key), now.get(key))
    elif before != now:
        yield f"{name} was {_short(before)}, is now {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
