"""Your own data as questions and teacher rationales: gold answers of the task's type, rows left out with reasons.

`sources` reads the rows, `forms` recognises their form. The rules are in docs/data.md.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..files import InputError
from ..parsing import shown
from . import sources
from .answers import MARKER
from .forms import Entry, Form, entry, recognise, unnested
from .options import Options, index_base, letter_of, lettered, written
from .rationales import Meta, Question, Rationale, new_question, new_rationale
from .special_tokens import strip_special
from .tasks import Task, extract, judge, same_answer, split_target

MOST_LEFT_OUT = 0.5  # share of the rows; if more cannot be read, the form or the answer type is wrong
_MARKS = re.compile(r"<<[-+*/().,%$=\d\s]*>>")  # GSM8K's calculator marks
_FINAL = re.compile(r"\s*####\s*(\S.*?)\s*\Z", re.DOTALL)
_STATING = re.compile(
    r"\b(?:the|final|correct|answer|result|is|so|thus|therefore|hence|boxed|text|option|choice)\b", re.I
)
_RANK = ("test", "dev", "train")  # the split of a question that is in several splits of a public set


@dataclass(frozen=True)
class Source:
    """The entries of one source and its form; `left_out` maps reasons to the places of rows that cannot be read."""

    name: str
    rows: int
    form: Form
    entries: list[Entry]
    left_out: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """The questions and teacher rationales of one or two sources, and counts of their rows.

    Every row gave a question, gave a rationale of a question, or is in `left_out` (reason -> places).
    """

    questions: list[Question]
    rationales: list[Rationale]
    rows: int
    said: tuple[str, ...]
    left_out: dict[str, list[str]]
    end_tokens: int  # removed from the ends of rationales

    def facts(self) -> dict[str, Any]:
        """What the manifest of a collection records about its table."""
        left_out = {why: {"rows": len(places), "first": places[:3]} for why, places in self.left_out.items()}
        return {
            "rows_read": self.rows,
            "recognised": list(self.said),
            "left_out": left_out,
            "end_tokens_removed": self.end_tokens,
        }


def read_table(path: str | Path, task: Task, columns: Mapping[str, Any] | None = None, test: str = "") -> Table:
    """The questions and teacher rationales of a file, a folder or a hub id; `test` is a second one, all test questions.

    A question may have several rows, each with a rationale. A rationale's answer is found in its text; if the text has
    no marker and states no answer, it counts as concluding with the row's answer.

    Raises InputError, with source and place, for anything that cannot be read. In the usual public forms a row without
    a usable answer is left out instead, with its reason, unless that is more than half of the rows.
    """
    return build(read_sources(path, columns, test), task)


def read_sources(path: str | Path, columns: Mapping[str, Any] | None = None, test: str = "") -> list[Source]:
    """The entries of a source and of the second one for test, which needs no rationales.

    Raises InputError as `read_table` does.
    """
    found = [_read(str(path), columns or {})]
    if test:
        second = _read(
            test, {role: name for role, name in (columns or {}).items() if role not in ("rationale", "split")}
        )
        for one, allowed in ((found[0], ("", "train", "dev")), (second, ("", "test"))):
            if wrong := next((row for row in one.entries if row.split not in allowed), None):
                raise InputError(
                    f"{wrong.where}: a {wrong.split} row, but data_test sets the test questions; choose one"
                )
        found.append(replace(second, entries=[replace(one, split="test") for one in second.entries]))
    return found


def _read(name: str, columns: Mapping[str, Any]) -> Source:
    rows = list(unnested(sources.read(name)))
    if not rows:
        raise InputError(f"{name}: the table has no rows")
    form = recognise(rows, columns, name)
    if name.startswith("hub:"):
        form = replace(form, public=True)
    entries: list[Entry] = []
    left_out: dict[str, list[str]] = {}
    for row in rows:
        try:
            entries.append(entry(row, form, name))
        except InputError as error:
            _leave_out(left_out, form.public, f"{name}, {row.place}", row.place, str(error))
    return Source(name, len(rows), form, entries, left_out)


def _leave_out(left_out: dict[str, list[str]], allowed: bool, where: str, place: str, reason: str) -> None:
    """Count a row that cannot be read; InputError in a table of the user's own. Reasons differ only in their kind."""
    if not allowed:
        raise InputError(f"{where}: {reason}")
    left_out.setdefault(re.sub(r"'(?:[^'\\]|\\.)*'(?:\.\.\.)?", "'…'", reason), []).append(place)


def build(found: Sequence[Source], task: Task) -> Table:
    """The table of these sources for a task. Raises InputError as `read_table` does."""
    left_out = {why: list(places) for one in found for why, places in one.left_out.items()}
    said, pairs, stripped = [], [], 0
    for one in found:
        base = _base(one, task)
        said += [*one.form.said, *_said_of_base(base)]
        for row in one.entries:
            try:
                pairs.append((row, _question(row, task, base)))
            except InputError as error:
                _leave_out(left_out, not row.strict, row.where, row.place, str(error))
    questions, kept = _distinct(pairs, left_out)
    rows, lost = sum(one.rows for one in found), sum(map(len, left_out.values()))
    if lost > MOST_LEFT_OUT * rows:
        why, places = max(left_out.items(), key=lambda one: len(one[1]))
        raise InputError(
            f"{found[0].name}: {lost} of {rows} rows cannot be read as answer_type {task.answer_type!r}; most often "
            f"({len(places)}, first {places[0]}): {why}. Recognised: {'; '.join(found[0].form.said)}. Set another "
            f"answer_type, or name the columns, such as columns: {{question: problem, answer: final}}"
        )
    rationales: list[Rationale] = []
    counts: dict[str, int] = {}
    for row, question in kept:
        for text in _texts(row, task, question):
            text, removed = strip_special(text)
            stripped += removed
            index = counts.get(question.id, 0)
            counts[question.id] = index + 1
            model = sources.model_name(row.source)
            sampler = {"model": model, "temperature": None, "top_k": None, "seed": None, "index": index}
            rationales.append(_judged(questions[question.id], text, sampler, task, row.meta))
    return Table(list(questions.values()), rationales, rows, tuple(dict.fromkeys(said)), left_out, stripped)


def _distinct(
    pairs: Sequence[tuple[Entry, Question]], left_out: dict[str, list[str]]
) -> tuple[dict[str, Question], list[tuple[Entry, Question]]]:
    """The distinct questions by id, with the meta that all of their rows share, and the rows that belong to them.

    A row that contradicts another of its question is an error, or left out; the order of precedence is then test, dev,
    train.
    """
    first: dict[str, tuple[Entry, Question]] = {}
    for row, question in sorted(pairs, key=lambda one: 0 if one[0].strict else _RANK.index(one[1].split)):
        first.setdefault(question.id, (row, question))
    questions: dict[str, Question] = {}
    kept = []
    for row, question in pairs:
        other, before = first[question.id]
        if (before.answer, before.split) == (question.answer, question.split):
            shared = questions.get(question.id, question)
            same = {key: value for key, value in shared.meta.items() if question.meta.get(key) == value}
            questions[question.id] = replace(shared, meta=same)
            kept.append((row, question))
        elif row.strict:
            raise InputError(
                f"{row.where}: the same question has answer {before.answer!r} and split {before.split!r} in "
                f"{other.place}, but {question.answer!r} and {question.split!r} here; make them equal"
            )
        else:
            why = "answer" if before.split == question.split else f"split ({before.split})"
            left_out.setdefault(f"the question also occurs with another {why}", []).append(row.place)
    return questions, kept


# Answers


def _base(one: Source, task: Task) -> int | None:
    """Where the source's answers count its options from; None if they do not."""
    if task.answer_type != "choice":
        return None
    pairs = [(row.answer, row.options) for row in one.entries if row.options and row.answer is not None]
    try:
        return index_base(pairs)
    except InputError as error:
        raise InputError(f"{one.name}: {error}") from None


def _said_of_base(base: int | None) -> list[str]:
    return [] if base is None else [f"the answers are numbers of options, counted from {base}"]


def _question(row: Entry, task: Task, base: int | None) -> Question:
    """The row's question, with the options in a choice, and its gold answer."""
    text = row.question
    letters: Options = ()
    if task.answer_type == "choice" and row.options:
        letters = lettered(row.options, task)
        text = written(text, letters, task)
    return new_question(task.name, text, _gold(row, task, text, letters, base), row.split or "train", row.meta)


def _gold(row: Entry, task: Task, question: str, letters: Options, base: int | None) -> str:
    """The gold answer in the form that is stored: the number, letter, Yes or No; a text as it is."""
    if row.answer is None or (row.long and task.answer_type != "text"):
        return _concluded(row, task, question)
    if letters:
        return letter_of(row.answer, row.options, letters, base, task)
    if isinstance(row.answer, bool) and task.answer_type != "yes/no":
        raise InputError(f"the answer must be a string or a number, got {row.answer}; answer_type yes/no reads it")
    text = str(row.answer)
    found = extract(task, f"{MARKER} {text}", question)
    if found.value is None:
        more = f" (one of the letters {task.choices})" if task.answer_type == "choice" else f" ({found.reason})"
        raise InputError(f"the answer {shown(text)} is not of type {task.answer_type!r}{more}")
    return text if task.answer_type == "text" else found.value


def _concluded(row: Entry, task: Task, question: str) -> str:
    """The answer that the row's solutions state."""
    if not row.solutions:
        raise InputError("there is no answer and no text that concludes with one")
    found = [extract(task, _cleaned(text), question) for text in row.solutions]
    values = [one.value for one in found if one.value is not None]
    if not values:
        raise InputError(found[0].reason)
    for value in values[1:]:
        if not same_answer(task, value, values[0]):
            raise InputError(f"its texts conclude with different answers: {values[0]!r} and {value!r}")
    return values[0]


# Rationales


def _cleaned(text: str) -> str:
    """The text without calculator marks, and with `-->` where GSM8K has `####` before its last words."""
    return _FINAL.sub(rf" {MARKER} \1", _MARKS.sub("", text))


def _texts(row: Entry, task: Task, question: Question) -> Iterable[str]:
    """The row's rationales; a reply that only states the answer is not one."""
    if row.long and task.answer_type == "text":
        return
    for text in map(_cleaned, row.texts):
        if not (row.replies and _only_states(text, task, question.question)):
            yield text


def _only_states(text: str, task: Task, question: str) -> bool:
    rationale, conclusion = split_target(text)
    if conclusion is not None:
        return not rationale
    found = extract(task, text, question)
    around = text[: found.start] + text[found.end :] if found.value is not None else text
    return found.value is not None and not re.search(r"\w", _STATING.sub("", around))


def _judged(question: Question, text: str, sampler: dict, task: Task, meta: Meta) -> Rationale:
    rationale, conclusion = split_target(text)
    found = judge(task, text, question.answer, question.question)
    # A negated answer, or several answers, count as a miss. Only a text that states none takes the table's answer.
    taken = conclusion is None and found.reason.startswith("no ") and found.reason.endswith(" is stated")
    return new_rationale(
        question,
        rationale,
        "teacher",
        sampler,
        prediction=found.prediction,
        correct=found.correct or taken,
        miss="no conclusion stated; the table's answer was taken" if taken else found.reason,
        original=text,
        meta=meta,
    )
