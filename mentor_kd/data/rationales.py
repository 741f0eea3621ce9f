"""Questions and rationales: the rows and their JSONL files.

A row is validated when it is created, so reading a file validates it; an error names file and line (JSONL) or file and
row (the official JSON arrays). Only `judged` judges an answer: official rows carry upstream's verdict until
`data.official` judges them.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

from ..files import InputError, digest, read_jsonl, write_jsonl
from ..parsing import has_half_surrogate
from .answers import MARKER
from .tasks import Task, judge, split_target

SPLITS = ("train", "dev", "test", "")
SOURCES = ("teacher", "mentor")
SAMPLER_KEYS = ("model", "temperature", "top_k", "seed", "index")
Meta = dict[str, str | int | float | bool]  # further columns of a table


def normalise(text: str) -> str:
    """Collapse each run of white space to one space and strip the ends; idempotent.

    White space is what `str.split` splits on: line breaks, tabs, no-break and ideographic spaces, U+2028, and so on.
    T5's tokenizer drops line breaks, so text is normalised once, for every model, before it is hashed, compared or
    trained on.
    """
    return " ".join(text.split())


@dataclass(frozen=True)
class Question:
    """A question with its gold answer; `question` and `answer` are normalised. InputError names an invalid field.

    `meta` has the values of the other columns of a table; rows without any lack the key in the file.
    """

    id: str
    task: str
    question: str
    answer: str
    split: str = ""
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self):
        _check_text(self, "id", "task", "question", "answer")
        _check_normalised(self, "question", "answer")
        _check_choice(self, "split", SPLITS)
        _check_meta(self.meta)


@dataclass(frozen=True)
class Rationale:
    """One sampled rationale of a question, with its conclusion. InputError names an invalid field.

    `rationale` is normalised and stops before the conclusion; `original` is the text as written. `prediction` is None
    if no answer was found, and `miss` gives the reason. `kept` and `reason` are set by the filters. `meta` as in
    Question.
    """

    id: str
    task: str
    question_id: str
    question: str
    rationale: str
    prediction: str | None
    answer: str
    correct: bool
    source: str
    sampler: dict = field(hash=False)
    original: str
    miss: str = ""
    kept: bool | None = None
    reason: str | None = None
    meta: Meta = field(default_factory=dict, hash=False)

    def __post_init__(self):
        _check_text(self, "id", "task", "question_id", "question", "answer")
        _check_text(self, "rationale", "original", "miss", empty=True)
        _check_text(self, "prediction", "reason", empty=True, none=True)
        _check_normalised(self, "question", "answer", "rationale")
        _check_type(self, "correct", bool, "true or false")
        _check_type(self, "kept", bool | None, "true, false or null")
        _check_choice(self, "source", SOURCES)
        _check_sampler(self.sampler)
        _check_meta(self.meta)


def question_id(task: str, question: str) -> str:
    """The stable id of a question: 16 hex digits of a hash of the task's name and the normalised question."""
    return digest({"task": task, "question": normalise(question)})[:16]


def rationale_id(task: str, question: str, source: str, sampler: dict) -> str:
    """The stable id of a rationale: 16 hex digits of a hash of task, normalised question, source and sampler.

    The text is not part of it: the id names the draw, so that a repeated draw has the same id.
    """
    _check_sampler(sampler)
    parts = {"task": task, "question": normalise(question), "source": source, "sampler": sampler}
    return digest(parts)[:16]


def new_question(task: str, question: str, answer: str, split: str = "", meta: Meta | None = None) -> Question:
    """Create a Question from texts as written: normalised, with its id."""
    return Question(question_id(task, question), task, normalise(question), normalise(answer), split, meta or {})


def new_rationale(
    question: Question,
    rationale: str,
    source: str,
    sampler: dict,
    *,
    prediction: str | None,
    correct: bool,
    miss: str = "",
    original: str | None = None,
    meta: Meta | None = None,
) -> Rationale:
    """Create a Rationale from texts as written: normalised, with its ids.

    `original` defaults to `rationale`, and `meta` to the question's.
    """
    return Rationale(
        id=rationale_id(question.task, question.question, source, sampler),
        task=question.task,
        question_id=question.id,
        question=question.question,
        rationale=normalise(rationale),
        prediction=prediction,
        answer=question.answer,
        correct=correct,
        source=source,
        sampler=dict(sampler),
        original=rationale if original is None else original,
        miss=miss,
        meta=dict(question.meta if meta is None else meta),
    )


def target(row: Rationale) -> str:
    """The text that a model is trained to generate: the rationale, the marker, and always the gold answer."""
    return f"{row.rationale} {MARKER} {row.answer}".lstrip()


def read_questions(path: Path) -> list[Question]:
    """Read a JSONL file of questions; InputError names file and line of the first error."""
    return _read(path, Question)


def read_rationales(path: Path) -> list[Rationale]:
    """Read a JSONL file of rationales; InputError names file and line of the first error."""
    return _read(path, Rationale)


def write_questions(path: Path, rows: Iterable[Question]) -> None:
    """Write questions as JSONL, atomically; InputError if there are no rows or an id is repeated."""
    _write(path, rows)


def write_rationales(path: Path, rows: Iterable[Rationale]) -> None:
    """Write rationales as JSONL, atomically; InputError if there are no rows or an id is repeated."""
    _write(path, rows)


def _read(path: Path, kind: type) -> list:
    known = [one.name for one in fields(kind)]
    required = [one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING]
    rows: list = []
    lines: dict[str, int] = {}
    for line, row in read_jsonl(path):
        where = f"{path}, line {line}"
        _check_keys(where, row, required, known)
        try:
            made = kind(**row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if lines.setdefault(made.id, line) != line:
            raise InputError(f"{where}: the id {made.id!r} is already on line {lines[made.id]}; remove one of them")
        rows.append(made)
    if not rows:
        raise InputError(f"{path}: the file is empty; expected one JSON object per line")
    return rows


def _write(path: Path, rows: Iterable) -> None:
    rows = list(rows)
    if not rows:
        raise InputError(f"{path}: no rows to write")
    repeated = [key for key, count in Counter(row.id for row in rows).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: the id {repeated[0]!r} is repeated; nothing was written")
    write_jsonl(path, [{key: value for key, value in asdict(row).items() if key != "meta" or value} for row in rows])


def _check_keys(where: str, row: dict, required: Iterable[str], known: Iterable[str]) -> None:
    missing = [key for key in required if key not in row]
    if missing:
        raise InputError(f"{where}: the key {missing[0]!r} is missing; add it")
    unknown = [key for key in row if key not in known]
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; the keys are {', '.join(known)}")


def _check_text(row: object, *names: str, empty: bool = False, none: bool = False) -> None:
    for name in names:
        value = getattr(row, name)
        if none and value is None:
            continue
        _check_type(row, name, str, "a string or null" if none else "a string")
        if not value and not empty:
            raise InputError(f"{name} must not be empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise InputError(f"{name} contains an unpaired surrogate, not valid in UTF-8 ({value[:60]!a})") from None


def _check_normalised(row: object, *names: str) -> None:
    for name in names:
        value = getattr(row, name)
        if value != normalise(value):
            raise InputError(f"{name} must be normalised (no line breaks, no repeated spaces), got {value[:60]!r}")


def _check_type(row: object, name: str, kind: type, words: str) -> None:
    value = getattr(row, name)
    if not isinstance(value, kind):
        raise InputError(f"{name} must be {words}, got {_name(value)} ({str(value)[:60]})")


def _check_choice(row: object, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(row, name)
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(repr(choice) for choice in choices)}, got {value!r}")


def _check_sampler(sampler: object) -> None:
    if not isinstance(sampler, dict) or set(sampler) != set(SAMPLER_KEYS):
        raise InputError(f"sampler must be an object with the keys {', '.join(SAMPLER_KEYS)}, got {sampler}")
    whole = {name: type(sampler[name]) is int for name in ("top_k", "seed", "index")}  # excludes bool
    temperature = sampler["temperature"]
    finite = type(temperature) in (int, float) and math.isfinite(temperature)
    valid = {
        "model": (isinstance(sampler["model"], str) and sampler["model"] != "", "a non-empty string"),
        "temperature": (temperature is None or finite, "a finite number or null"),
        "top_k": (whole["top_k"] or sampler["top_k"] is None, "an integer or null"),
        "seed": (whole["seed"] or sampler["seed"] is None, "an integer or null"),
        "index": (whole["index"], "an integer"),
    }
    for name, (good, words) in valid.items():
        if not good:
            raise InputError(f"sampler: {name} must be {words}, got {sampler[name]!r}")


def _check_meta(meta: object) -> None:
    if not isinstance(meta, dict) or not all(isinstance(key, str) for key in meta):
        raise InputError(f"meta must be an object, got {str(meta)[:60]}")
    for key, value in meta.items():
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"meta: {key!a} must be a string, a finite number, true or false, got {str(value)[:60]!a}")
        if has_half_surrogate(key) or has_half_surrogate(value):
            raise InputError(f"meta: {key!a} contains an unpaired surrogate, not valid in UTF-8 ({str(value)[:60]!a})")


def _name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def judged(question: Question, text: str, source: str, sampler: dict, task: Task, protocol: str = "sound") -> Rationale:
    """Create a Rationale from a text as written: split at its last marker, with its answer extracted and judged."""
    rationale, _ = split_target(text)
    found = judge(task, text, question.answer, question.question, mode=protocol)
    return new_rationale(
        question,
        rationale,
        source,
        sampler,
        prediction=found.prediction,
        correct=found.correct,
        miss=found.reason,
        original=text,
    )
