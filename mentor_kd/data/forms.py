"""Forms of data sets: the common ones are recognised, reported, and read as uniform entries.

GSM8K (`####` and calculator marks), chats, ShareGPT, Alpaca, prompt and completion, multiple choice, or plain columns
under any usual name. An entry keeps the answer as given; `table` converts it to the task's type.
"""

import datetime
import decimal
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..files import InputError
from ..parsing import shown
from .columns import NAMES, Found, find, like_an_answer, listed, plain, proposal
from .options import Options, read_options
from .sources import Row, parse_cell, split_of
from .turns import TURNS, are_turns, read_chat, replies

LOOKED_AT = 1000  # rows by which the form is recognised
LONGEST_META = 500  # characters of a text in a further column
LONG = 12  # words of an answer; a longer one is a worked solution
_FINAL = re.compile(r"####\s*(?=\S)")


@dataclass(frozen=True)
class Form:
    """How the columns of a source are read; `said` has one line for each recognised property.

    `public`: one of the common forms of public sets, in which a row that cannot be read is left out and counted. In a
    table of the user's own it is an error.
    """

    columns: Found
    turns: str = ""  # the column of chats
    worked: str = ""  # what the column `answer` holds: "" the bare answer, "marked" or "long" a worked solution
    meta: tuple[str, ...] = ()
    public: bool = False
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One row, read: `solutions` are the texts in which the answer is looked for if there is no bare `answer`.

    `replies`: the texts are whole replies, so one that only states the answer is not a rationale.
    """

    source: str
    place: str
    question: str
    answer: Any
    solutions: tuple[str, ...]
    texts: tuple[str, ...]
    options: Options
    split: str
    meta: dict[str, str | int | float | bool]
    long: bool = False  # its only answer is a long text, which is the answer itself in a task of type text
    replies: bool = False
    strict: bool = True

    @property
    def where(self) -> str:
        """Source and place, for messages."""
        return f"{self.source}, {self.place}"


def recognise(rows: Sequence[Row], mapping: Mapping[str, Any], source: str) -> Form:
    """The form of a source's rows. InputError, with the columns and a mapping, if there is no question or answer."""
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    found = find(columns, mapping, source)
    turns = _turns(rows, columns) if not mapping.keys() & {"question", "rationale"} else ""
    if turns and not ("question" in found and {"answer", "rationale"} & set(found)):
        found = {role: names for role, names in found.items() if role in ("answer", "split", "options")}
        form = Form(found, turns, public=True)
    elif "question" not in found:
        raise InputError(f"{source}: no column is the question; {listed(columns)}; {proposal(found, columns)}")
    elif "answer" not in found and ("rationale" not in found or (not mapping and like_an_answer(columns, found))):
        raise InputError(f"{source}: no column is the answer; {listed(columns)}; {proposal(found, columns)}")
    else:
        worked = _worked(rows, found)
        form = Form(found, worked=worked, public=bool(worked) or "answer" not in found or "options" in found)
    used = {form.turns, *(name for names in found.values() for name in names)}
    others = [name for name in columns if name not in used]
    meta = tuple(name for name in others if any(_scalar(row.values.get(name)) is not None for row in rows))
    return _described(form, meta, [name for name in others if name not in meta], columns)


def _turns(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """The column that holds chats; "" if there is none."""
    for name in columns:
        values = [row.values[name] for row in rows[:LOOKED_AT] if row.values.get(name)]
        if plain(name) in TURNS and values and sum(map(are_turns, values)) > len(values) / 2:
            return name
    return ""


def _worked(rows: Sequence[Row], found: Found) -> str:
    """Whether most answers are worked solutions: with a `####` before the answer, or simply long."""
    if "answer" not in found:
        return ""
    answers = [row.values.get(found["answer"][0]) for row in rows[:LOOKED_AT]]
    texts = [one for one in answers if isinstance(one, str)]
    if texts and sum(bool(_FINAL.search(one)) for one in texts) > len(texts) / 2:
        return "marked"
    many = "rationale" not in found and sum(len(one.split()) > LONG for one in texts) > len(texts) / 2
    return "long" if many else ""


def _described(form: Form, meta: tuple[str, ...], unused: Sequence[str], columns: Sequence[str]) -> Form:
    names = {role: " + ".join(found) for role, found in form.columns.items()}
    plainly = {role: tuple(map(plain, found)) for role, found in form.columns.items()}
    said = []
    if form.turns:
        kind = "ShareGPT" if plain(form.turns) == "conversations" else "chat"
        said.append(f"{kind} ({form.turns}): the last user turn is the question, the assistant's reply the rationale")
    elif plainly["question"][-1:] == ("prompt",) and plainly.get("rationale") == ("completion",):
        said.append("prompt and completion: the completion is the rationale")
    elif "instruction" in plainly["question"] and plainly.get("rationale") == ("output",):
        said.append("Alpaca: instruction and input are the question, the output is the rationale")
    if form.worked == "marked":
        said.append("GSM8K: the answer follows ####, calculator marks <<...>> are removed")
    elif form.worked:
        said.append(f"worked solutions in {names['answer']}: the answer is the one they state")
    if form.worked and "rationale" not in form.columns:
        said.append("the solution is the rationale")
    if "answer" not in form.columns:
        said.append("no column has the answers: the answer is the one that the text states")
    if "options" in form.columns:
        said.append(f"options ({names['options']}): written into the question, the answer becomes a letter")
    said.append("columns: " + ", ".join(f"{role} = {name}" for role, name in names.items()) if names else "")
    if meta:
        said.append(f"kept as meta: {', '.join(meta)}")
    if unused:
        said.append(f"not used: {', '.join(unused)} (neither numbers nor texts of at most {LONGEST_META} characters)")
    return Form(form.columns, form.turns, form.worked, meta, form.public, tuple(filter(None, said)))


def entry(row: Row, form: Form, source: str) -> Entry:
    """A row of this form, read. Raises InputError, without the place, if it has no question, or an unusable value."""
    split = _split(row, form)
    meta = {name: value for name in form.meta if (value := _scalar(row.values.get(name))) is not None}
    answer, texts, long = _answer(row, form), _texts(row, form), False
    solutions: tuple[str, ...] = ()
    if form.turns:
        chat = read_chat(row.values.get(form.turns))
        question, texts = chat.question, chat.replies
        meta |= {"system": chat.system} if chat.system else {}
    else:
        question = _question(row, form)
    if form.worked and isinstance(answer, str):
        solutions, long = (answer,), form.worked == "long"
        texts, answer = texts or solutions, answer if long else None
    elif answer is None:
        solutions = texts
        if "answer" in form.columns and not form.turns:
            raise InputError("the answer is missing")
    return Entry(
        source, row.place, question, answer, solutions, texts, _options(row, form), split, meta,
        long=long, replies=_are_replies(form), strict=not form.public,
    )  # fmt: skip


def _are_replies(form: Form) -> bool:
    """Whether the texts are whole replies: chats, completions, or the only place that has an answer."""
    replies = NAMES["rationale"][1].split()
    given = any(plain(name) in replies for name in form.columns.get("rationale", ()))
    return given or bool(form.turns) or "answer" not in form.columns


def _split(row: Row, form: Form) -> str:
    """The split by the column if there is one, else by the part of the source; "" for an unmarked row."""
    name: Any = row.part
    if column := form.columns.get("split"):
        name = row.values.get(column[0])
        if not (name is None or isinstance(name, str)):
            raise InputError(f"{column[0]} must be a string, got {shown(name)}")
    split = split_of(name)
    if split is None:
        raise InputError(f"the split must be train, dev (validation) or test, got {shown(name)}")
    return split


def _question(row: Row, form: Form) -> str:
    parts = []
    for name in form.columns["question"]:
        value = row.values.get(name)
        if isinstance(value, dict) and "stem" in value:
            value = value["stem"]
        if are_turns(value):
            value = read_chat(value).question
        if value is None and len(form.columns["question"]) > 1:
            continue
        if not isinstance(value, str):
            raise InputError(f"{name} is missing" if value is None else f"{name} must be a string, got {shown(value)}")
        parts.append(value)
    text = re.sub(r"\s*###\s*\Z", "", " ".join(part.strip() for part in parts if part.strip()))
    if not text:
        raise InputError(f"{form.columns['question'][-1]} must not be empty")
    return text


def _answer(row: Row, form: Form) -> Any:
    """The answer as given; None if there is none. A list of one answer is that answer."""
    if "answer" not in form.columns:
        return None
    name = form.columns["answer"][0]
    value = row.values.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        raise InputError(f"{name} must be one answer, got {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {value}")
    return None if isinstance(value, str) and not value.strip() else value


def _texts(row: Row, form: Form) -> tuple[str, ...]:
    """The rationales of a row: texts, lists of texts, or lists of turns; empty ones are left out."""
    found: list[str] = []
    for name in form.columns.get("rationale", ()):
        value = row.values.get(name)
        if isinstance(value, str) and value.strip()[:2] in ('["', "['") and value.strip().endswith("]"):
            value = parse_cell(value, name)
        if are_turns(value):  # a completion as turns
            value = list(replies(value))
        for one in value if isinstance(value, list) else [value]:
            if not (one is None or isinstance(one, str)):
                raise InputError(f"{name} must be a string or a list of strings, got {shown(value)}")
            found += [one] if one and one.strip() else []
    return tuple(found)


def _options(row: Row, form: Form) -> Options:
    names = form.columns.get("options", ())
    values = [row.values.get(name) for name in names]
    if len(names) > 1:
        return read_options([one for one in values if one not in (None, "")])
    return read_options(values[0]) if values and values[0] is not None else ()


def _scalar(value: Any) -> str | int | float | bool | None:
    """A value as text, number or boolean; None if it is none of these, empty, or too long."""
    if isinstance(value, datetime.date | datetime.time | decimal.Decimal):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and len(value) > LONGEST_META:
        return None
    return value if isinstance(value, str | int | float) and value != "" else None


def unnested(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows whose question is an object with a stem and choices (CommonsenseQA and ARC as published), flattened."""
    for row in rows:
        question = row.values.get("question")
        if isinstance(question, dict) and isinstance(question.get("stem"), str):
            others = {name: value for name, value in question.items() if name != "stem"}
            row = Row(row.place, row.part, row.values | others | {"question": question["stem"]})
        yield row
