"""Tasks: definition of a task, the answer that a text gives to it, and equality of answers.

A task is a name and an answer type. Your own task is one `Task(...)`; every function accepts it in place of a name.
Mode "sound" finds answers as described in `data.answers`; model output never raises. Mode "paper" reproduces the
official evaluator with its faults, and is meant only for comparison with published numbers.
"""

import re
import unicodedata
from dataclasses import dataclass

import regex

from ..checks import require_choice
from ..files import InputError
from ..parsing import shown
from . import math_answers
from .answer_text import MARKER, shortened
from .answer_words import PATTERN_SECONDS
from .answers import ANSWER_TYPES, Extraction, find_answer

MODES = ("sound", "paper")
PROTOCOLS = ("sound", "paper")
LONGEST_PATTERN = 1000  # characters


@dataclass(frozen=True)
class Task:
    """A task: its name, its answer type, the letters of a choice, and the regular expression of a pattern.

    `official` is the task's name in the official file names, "" if it has none. Raises InputError if the type is
    unknown, the letters are not distinct capitals or digits, or the pattern is invalid or matches the empty string.
    """

    name: str
    answer_type: str
    title: str = ""
    choices: str = "ABCDE"
    official: str = ""
    pattern: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"task name must be a non-empty string, got {self.name!r}")
        if self.answer_type not in ANSWER_TYPES:
            raise InputError(
                f"task {self.name}: answer_type must be one of {', '.join(ANSWER_TYPES)}, got {self.answer_type!r}"
            )
        letters = self.choices if isinstance(self.choices, str) else ""
        if not re.fullmatch("[A-Z0-9]+", letters) or len(set(letters)) < len(letters):
            raise InputError(
                f"task {self.name}: choices must be distinct capitals or digits, such as ABCDE, got {self.choices!r}"
            )
        if (self.answer_type == "pattern") != bool(self.pattern):
            raise InputError(
                f"task {self.name}: a pattern, such as \\d{{1,2}}:\\d\\d, is required with answer_type 'pattern' "
                f"and only then, got answer_type {self.answer_type!r} and pattern {self.pattern!r}"
            )
        if isinstance(self.pattern, str) and len(self.pattern) > LONGEST_PATTERN:
            raise InputError(
                f"task {self.name}: pattern has {len(self.pattern)} characters; at most {LONGEST_PATTERN} are allowed"
            )
        try:
            empty = regex.compile(self.pattern).fullmatch("", timeout=PATTERN_SECONDS) if self.pattern else None
        except (regex.error, TypeError, ValueError, RecursionError, OverflowError, TimeoutError) as error:
            raise InputError(
                f"task {self.name}: pattern {shown(self.pattern)} is not a regular expression ({error})"
            ) from None
        if empty:
            raise InputError(f"task {self.name}: pattern must not match the empty string, got {self.pattern!r}")


TASKS = {
    task.name: task
    for task in (
        Task("gsm8k", "number", "GSM8K", official="gsm8k"),
        Task("asdiv", "number", "ASDiv", official="asdiv"),
        Task("svamp", "number", "SVAMP", official="svamp"),
        Task("strategy-qa", "yes/no", "StrategyQA", official="strategy_qa"),
        Task("commonsense-qa", "choice", "CommonsenseQA", official="commonsense_qa"),
        Task("tracking-shuffled-objects", "choice", "Shuffled objects", "ABC", "tracking_shuffled_objects"),
        Task("date-understanding", "choice", "Date understanding", "ABCDEF", "date_understanding"),
        Task("last-letter-concatenation", "text", "Last letters", official="last_letter_concatenation"),
        Task("sandbox-shuffled", "choice", "Sandbox: shuffled objects", "ABC"),
        Task("sandbox-letters", "text", "Sandbox: last letters"),
        Task("sandbox-dates", "text", "Sandbox: dates"),
        Task("sandbox-sums", "number", "Sandbox: sums"),
    )
}


@dataclass(frozen=True)
class Judgement:
    """The answer that a text gives and whether it is correct; `start` and `end` are its span (-1: not found)."""

    prediction: str | None
    correct: bool
    reason: str
    start: int
    end: int


def get_task(task: str | Task) -> Task:
    """The task of that name, or the task itself; InputError lists the known names."""
    if isinstance(task, Task):
        return task
    if isinstance(task, str) and task in TASKS:
        return TASKS[task]
    raise InputError(f"task {task!r} is unknown; choose one of {', '.join(TASKS)}, or pass your own Task")


def split_target(text: str) -> tuple[str, str | None]:
    """The rationale before and the conclusion after the last marker, stripped; (text, None) without a marker."""
    rationale, marker, conclusion = text.rpartition(MARKER)
    return (rationale.strip(), conclusion.strip()) if marker else (text.strip(), None)


def extract(task: str | Task, text: object, question: str = "", mode: str = "sound") -> Extraction:
    """Find the answer that a text states.

    The question is needed only to map an option's words to its letter. A text that is not a string is converted with
    str(); None counts as empty. Raises InputError for an unknown task or mode, never because of the text.
    """
    task = get_task(task)
    require_choice("mode", mode, MODES)
    text = _as_text(text)
    if mode == "paper":
        return _extract_as_paper(task, text)
    return find_answer(text, task.answer_type, task.choices, _as_text(question), task.pattern)


def same_answer(task: str | Task, a: object, b: object, mode: str = "sound") -> bool:
    """Whether two bare answers (not rationales) are equal; an invalid answer equals nothing."""
    task = get_task(task)
    if mode == "paper":
        return _same_as_paper(task, _as_text(a), _as_text(b))
    first, second = (extract(task, f"{MARKER} {_as_text(answer)}", mode=mode).value for answer in (a, b))
    if first is None or second is None:
        return False
    if task.answer_type == "math":
        return math_answers.equal(first, second)
    return _folded(first) == _folded(second)


def judge(task: str | Task, text: object, gold: object, question: str = "", mode: str = "sound") -> Judgement:
    """Find the answer that a text states and compare it with the gold answer.

    With an invalid gold answer every prediction is wrong, and the reason says so.
    """
    task = get_task(task)
    found = extract(task, text, question, mode)
    correct = found.value is not None and same_answer(task, found.value, gold, mode)
    reason = found.reason
    if found.value is not None and not correct and not same_answer(task, gold, gold):
        reason = f"the gold answer {shortened(_as_text(gold))} is not an answer of type {task.answer_type}"
    return Judgement(found.value, correct, reason, found.start, found.end)


def _folded(answer: str) -> str:
    return unicodedata.normalize("NFC", answer.casefold())


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


# The official evaluator: the first candidate after the marker or, without a marker, the last one in the text, whatever
# its context.

_AS_FLOATS = ("svamp",)  # the only official task here whose numbers it compares as numbers


def _extract_as_paper(task: Task, text: str) -> Extraction:
    marked = MARKER in text
    begin = text.rfind(MARKER) + len(MARKER) if marked else 0
    if task.answer_type == "text":
        value = re.sub(r"[\"'.\s]", "", text[begin:])
        found = [(value, begin, len(text))] if value else []
    else:
        pattern = {
            "number": r"(?:-,*+)?\d[\d,]*+(?:\.[\d,]*+)?",
            "choice": f"[{task.choices}]",
            "yes/no": r"(?<![^\"'\n.\s:,])(?:yes|no)(?![^\"'\n.\s:,])",
            "pattern": task.pattern,
        }[task.answer_type]
        flags = re.IGNORECASE if task.answer_type == "yes/no" else 0
        try:
            if task.answer_type == "pattern":
                matches = list(regex.finditer(pattern, text, pos=begin, timeout=PATTERN_SECONDS))
            else:
                matches = list(re.compile(pattern, flags).finditer(text, begin))
        except TimeoutError:
            return Extraction(None, f"the pattern took longer than {PATTERN_SECONDS:g} seconds")
        found = [(match[0], *match.span()) for match in matches]
    if not found:
        return Extraction(None, f"no candidate {'after the marker' if marked else 'in the text'}")
    value, start, end = found[0 if marked else -1]
    if task.answer_type == "number":
        value = value.replace(",", "").removesuffix(".")
    return Extraction(value, "", start, end)


def _same_as_paper(task: Task, prediction: str, gold: str) -> bool:
    if task.answer_type == "choice":
        return prediction == (gold[:1] if task.name == "commonsense-qa" else gold)
    if task.answer_type == "number" and task.official in _AS_FLOATS:
        try:
            return float(prediction) == float(gold.replace(",", ""))
        except ValueError:
            return False
    if task.answer_type == "number":
        return prediction == gold.replace(",", "")
    return prediction.casefold() == gold.casefold()
