"""Tasks: what a task is, what a text answers to it, and when two answers are equal.

A task is a name and an answer type. Your own task is one `Task(...)`; every function takes it in the place of a name.
`answers` says how an answer is found; that is the mode "sound", and nothing here raises because of what a model wrote.
The mode "paper" reads as the official evaluator does, with its faults, for comparison with published numbers only.
"""

import re
import unicodedata
from dataclasses import dataclass

from ..files import InputError
from .answers import ANSWER_TYPES, MARKER, Extraction, find_answer, shortened

MODES = ("sound", "paper")


@dataclass(frozen=True)
class Task:
    """A task: its name, the type of its answers, for a choice the letters, for a pattern the regular expression.

    `official` is the task's name in the official data's file names, "" if it has none there.
    Raises InputError if the type is unknown, the letters are not distinct single letters or digits, or the pattern is
    none, or finds an answer in nothing.
    """

    name: str
    answer_type: str
    title: str = ""
    choices: str = "ABCDE"
    official: str = ""
    pattern: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"task name {self.name!r}: give a name that is not empty")
        if self.answer_type not in ANSWER_TYPES:
            raise InputError(
                f"task {self.name}: answer_type must be one of {', '.join(ANSWER_TYPES)}, got {self.answer_type!r}"
            )
        letters = self.choices if isinstance(self.choices, str) else ""
        if not re.fullmatch("[A-Z0-9]+", letters) or len(set(letters)) < len(letters):
            raise InputError(
                f"task {self.name}: choices {self.choices!r} must be distinct capitals or digits, as ABCDE"
            )
        if (self.answer_type == "pattern") != bool(self.pattern):
            raise InputError(
                f"task {self.name}: answer_type 'pattern' and a pattern, such as \\d{{1,2}}:\\d\\d, go together "
                f"(answer_type is {self.answer_type!r}, pattern is {self.pattern!r})"
            )
        try:
            empty = re.compile(self.pattern).fullmatch("") if self.pattern else None
        except (re.error, TypeError) as error:
            raise InputError(f"task {self.name}: pattern {self.pattern!r} is no regular expression ({error})") from None
        if empty:
            raise InputError(f"task {self.name}: pattern {self.pattern!r} is found in nothing at all; ask for more")


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
    """What a text answers and whether that is right; `start` and `end` delimit it in the text (-1: nothing found)."""

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
    raise InputError(f"task {task!r} is unknown; take one of {', '.join(TASKS)}, or pass a Task of your own")


def split_target(text: str) -> tuple[str, str | None]:
    """The rationale and the conclusion around the last marker, both stripped; (text, None) if there is no marker."""
    rationale, marker, conclusion = text.rpartition(MARKER)
    return (rationale.strip(), conclusion.strip()) if marker else (text.strip(), None)


def extract(task: str | Task, text: object, question: str = "", mode: str = "sound") -> Extraction:
    """Find the answer that a text states.

    The question is needed only to read an option's words as its letter. A text that is no string is read as str(text),
    None as empty. Raises InputError for an unknown task or mode, never because of the text.
    """
    task = get_task(task)
    if mode not in MODES:
        raise InputError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    text = _as_text(text)
    if mode == "paper":
        return _extract_as_paper(task, text)
    return find_answer(text, task.answer_type, task.choices, _as_text(question), task.pattern)


def same_answer(task: str | Task, a: object, b: object, mode: str = "sound") -> bool:
    """Whether two bare answers (not rationales) are equal; one that is no answer of the task equals nothing."""
    task = get_task(task)
    if mode == "paper":
        return _same_as_paper(task, _as_text(a), _as_text(b))
    first, second = (extract(task, f"{MARKER} {_as_text(answer)}", mode=mode).value for answer in (a, b))
    if first is None or second is None:
        return False
    return _folded(first) == _folded(second)


def judge(task: str | Task, text: object, gold: object, question: str = "", mode: str = "sound") -> Judgement:
    """Find the answer that a text states and compare it with the gold answer.

    A gold answer that is none itself makes every prediction wrong, and the reason says so.
    """
    task = get_task(task)
    found = extract(task, text, question, mode)
    correct = found.value is not None and same_answer(task, found.value, gold, mode)
    reason = found.reason
    if found.value is not None and not correct and not same_answer(task, gold, gold):
        reason = f"the gold answer {shortened(_as_text(gold))} is no answer of the type {task.answer_type}"
    return Judgement(found.value, correct, reason, found.start, found.end)


def _folded(answer: str) -> str:
    return unicodedata.normalize("NFC", answer.casefold())


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


# The official evaluator's reading: the first candidate after the marker, or without one the last of the text, wherever
# it stands and whatever is said about it.

_AS_FLOATS = ("svamp",)  # of the official tasks here, the one whose numbers it compares as numbers


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
        found = [(match[0], *match.span()) for match in re.compile(pattern, flags).finditer(text, begin)]
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


PROTOCOLS = ("sound", "paper")
