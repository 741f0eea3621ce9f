"""The answer type of a table, guessed from all of its answers; `data look` shows it with the reason."""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from ..files import InputError
from .answers import MARKER
from .table import Source
from .tasks import Task, extract

NEARLY_ALL = 0.8  # share of texts that conclude with an answer of a type
LOOKED_AT = 1000  # texts that are read for a guess
_KINDS = {"yes/no": "yes or no", "number": "numbers", "choice": "letters", "math": "numbers or expressions"}
_BARE = {
    "yes/no": re.compile(r"\W*(?:yes|no|true|false)\W*", re.IGNORECASE),
    "choice": re.compile(r"\W*[A-J]\W*"),
    "number": re.compile(r"\S+(?:\s+\S+){0,2}"),  # a number, perhaps with its unit
    "math": re.compile(r"(?=.*(?:\\|\^|\d|[a-z]\s*[-+*/=]))\S+(?:\s+\S+){0,20}", re.DOTALL),
}


def guess(found: Sequence[Source], name: str) -> tuple[Task, str]:
    """The task of this name with the answer type of all answers of these sources, and the reason for the guess.

    Raises InputError if there are no bare answers and the texts state no answer of any type.
    """
    entries = [row for one in found for row in one.entries]
    most = max((len(row.options) for row in entries), default=0)
    if most:
        return Task(name, "choice", choices=ascii_uppercase[: max(most, 5)]), f"the questions have up to {most} options"
    bare = [row.answer for row in entries if row.answer is not None and not row.long]
    texts = [text for row in entries for text in row.solutions[:1]][:LOOKED_AT]
    for answer_type, words in _KINDS.items():
        task = Task(name, answer_type)
        if bare and all(_is(task, answer) for answer in bare):
            return task, f"all {len(bare)} gold answers are {words}"
        if texts and not bare:
            stated = sum(_concludes(task, text) for text in texts)
            if stated >= NEARLY_ALL * len(texts):
                return task, f"{stated} of the first {len(texts)} texts conclude with {words}"
    if bare:
        return Task(name, "text"), "the gold answers are texts"
    raise InputError(f"{found[0].name}: the texts state no number, letter, yes or no; set answer_type")


def _is(task: Task, answer: Any) -> bool:
    if isinstance(answer, bool):
        return task.answer_type == "yes/no"
    text = str(answer).strip()
    return bool(_BARE[task.answer_type].fullmatch(text)) and extract(task, f"{MARKER} {text}").value is not None


def _concludes(task: Task, text: str) -> bool:
    value = extract(task, text).value
    return value is not None and bool(_BARE[task.answer_type].fullmatch(value))
