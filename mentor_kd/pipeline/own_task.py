"""Your own data as a task: a name for it, the answer type of its answers, and whether the mentor has learned it."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data import guess, sources, table
from ..data.folder import questions
from ..data.tasks import TASKS
from ..files import InputError, read_jsonl, read_record
from .collect import CollectSettings

# the example of notebook 20: when does a train arrive?
EXAMPLE = {
    "task": "arrivals",
    "answer_type": "pattern",
    "answer_pattern": "0?([0-9]{1,2}:[0-9][0-9])",
    "answer_choices": "",
}


def recognised(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of notebook 20 that name the task and its answers, for `globals().update(...)`.

    Empty values are recognised from the data; without data, they are the example's. Raises InputError if the data
    cannot be read or their answers have no common type.
    """
    found = {name: given[name] for name in EXAMPLE}
    if not given["data"]:
        return {name: value or EXAMPLE[name] for name, value in found.items()}
    settings = CollectSettings(**{name: given[name] for name in ("data", "columns", "data_test")})
    sources.require_source("data", settings.data)
    found["task"] = found["task"] or name_of(given["data"])
    if not found["answer_type"]:
        settings = with_answer_type(found["task"], settings)
        found |= {name: getattr(settings, name) for name in EXAMPLE if name != "task"}
    return found


def name_of(data: str) -> str:
    """A task name made from a file's name or a hub id. Raises InputError if no valid characters are left."""
    place = re.split("[@:]", data.removeprefix("hub:"))[0] if data.startswith("hub:") else data
    name = re.sub(r"[^a-z0-9]+", "-", Path(place).stem.lower()).strip("-")
    if not name:
        raise InputError(f"no task name can be made from {data!r}; pass one with --task")
    return name


def with_answer_type(task: str, settings: CollectSettings) -> CollectSettings:
    """The settings with the answer type that the data's answers have, if they name none and the task is not known.

    Raises InputError if the answers have no common type.
    """
    if settings.answer_type or task in TASKS or not settings.own:
        return settings
    one, _ = guess.guess(table.read_sources(settings.data, settings.columns, settings.data_test), task)
    choices = one.choices if one.answer_type == "choice" else ""
    return replace(settings, answer_type=one.answer_type, answer_choices=choices, answer_pattern=one.pattern)


def mentor_verdict(folder: Path) -> str:
    """Whether the mentor of a folder has learned the task, in a sentence, and what to do if it has not.

    The measure is the training questions' most frequent answer: a mentor whose interval on the test questions is not
    above the share of that answer has learned nothing that its rationales could teach.
    """
    place = Path(folder) / "mentor"
    facts = read_record(place / "manifest.json")
    train, test = ([question.answer for question in questions(folder, split)] for split in ("train", "test"))
    most, found = Counter(train).most_common(1)[0][0], facts["test"]
    share = 100 * test.count(most) / len(test)
    got = (
        f"the mentor ({facts['parameters']:,} parameters) answers {found['value']:.1f}% of {len(test)} test questions "
        f"correctly ({found['low']:.1f} to {found['high']:.1f}); always answering {most!r} would give {share:.1f}%"
    )
    if found["low"] > share:
        return got
    dev = [row["dev_accuracy"] for _, row in read_jsonl(place / "metrics.jsonl") if "dev_accuracy" in row]
    if dev and dev[-1] == max(dev) > dev[(len(dev) - 1) // 2]:
        return f"{got}. Its dev accuracy was still rising ({dev[-1]:.1f}% at the end): train it for more epochs first"
    return (
        f"{got}. Its dev accuracy was no longer rising: this model is too small for these data, or {len(train)} "
        "training questions are too few. Use a larger pre-trained model (a hub id or a folder) or easier data"
    )
