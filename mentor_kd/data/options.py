"""Options of a multiple-choice question: the forms in which data sets hold them, their letters, and the right one."""

import re
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from ..files import InputError
from ..parsing import shown
from .answer_choices import options as options_in
from .answers import MARKER
from .rationales import normalise
from .sources import parse_cell
from .tasks import Task, extract

Options = tuple[tuple[str, str], ...]  # (label as in the data or "", words)
INTRODUCED = "Answer choices:"  # as in the official data
_PREFIX = re.compile(r"\s*[(\[]?([A-Za-z])\s?[)\].:]\s*(?=\S)")
_HEAD = re.compile(r"(?:(?<=[\s,;|\[])|\A)[(\[]?([A-Za-z])\s?[)\].:]\s*(?=\S)")


def read_options(value: Any) -> Options:
    """Options given as a list, as {letter: words}, as {label: [...], text: [...]}, or as one text with letters.

    Raises InputError for anything else, and for fewer than two options.
    """
    found = _read(value)
    if len(found) < 2 or not all(words for _, words in found):
        raise InputError(f"the options must be at least two texts, got {shown(value)}")
    return found


def _read(value: Any) -> Options:
    if isinstance(value, str):
        if value.lstrip()[:1] in ("[", "{"):
            return _read(parse_cell(value, "options"))
        return _in_text(value)
    if isinstance(value, dict) and {"label", "text"} <= set(value):
        return tuple((str(label), _words(text)) for label, text in zip(value["label"], value["text"], strict=False))
    if isinstance(value, dict):
        return tuple((str(label), _words(text)) for label, text in value.items() if text is not None)
    if isinstance(value, list) and all(isinstance(one, dict) and {"label", "text"} <= set(one) for one in value):
        return tuple((str(one["label"]), _words(one["text"])) for one in value)
    if isinstance(value, list):
        return _prefixed([_words(one) for one in value if one is not None])
    return ()


def _words(value: Any) -> str:
    return normalise(value) if isinstance(value, str) else "" if value is None else str(value)


def _prefixed(texts: Sequence[str]) -> Options:
    """Texts such as "A)21" with their letters removed, if each has the next letter; else without labels."""
    heads = [_PREFIX.match(text) for text in texts]
    labels = [head[1] if head else "" for head in heads]
    if labels and _consecutive(labels):
        return tuple(
            (label, text[head.end() :]) for label, text, head in zip(labels, texts, heads, strict=True) if head
        )
    return tuple(("", text) for text in texts)


def _in_text(text: str) -> Options:
    """The options of one text, such as "a ) 38 , b ) 27.5 , c ) none", or one per line."""
    run: list[re.Match] = []
    for head in _HEAD.finditer(text):
        if _consecutive([*(one[1] for one in run), head[1]]):
            run.append(head)
    if len(run) < 2:
        return _prefixed([normalise(line) for line in text.splitlines() if line.strip()])
    ends = [head.start() for head in run[1:]] + [len(text)]
    return tuple(
        (head[1], normalise(text[head.end() : end]).strip(" ,;|")) for head, end in zip(run, ends, strict=True)
    )


def _consecutive(labels: Sequence[str]) -> bool:
    return "".join(labels).upper() == ascii_uppercase[: len(labels)]


def lettered(options: Options, task: Task) -> Options:
    """The options with letters of the task; their own labels if those are among its letters, else by position.

    Raises InputError if there are more options than letters.
    """
    if len(options) > len(task.choices):
        letters = ascii_uppercase[: len(options)]
        raise InputError(f"{len(options)} options, but the letters are {task.choices}; set answer_choices to {letters}")
    labels = [label.upper() for label, _ in options]
    own = len(set(labels)) == len(labels) and all(label and label in task.choices for label in labels)
    chosen = labels if own else list(task.choices[: len(options)])
    return tuple((letter, words) for letter, (_, words) in zip(chosen, options, strict=True))


def written(question: str, letters: Options, task: Task) -> str:
    """The question with its options as (A) ... (B) ..., the form that answers are read in, if it lacks them."""
    folded = normalise(question).casefold()
    if options_in(task.choices, question) and all(words.casefold() in folded for _, words in letters):
        return question
    return f"{question} {INTRODUCED} {' '.join(f'({letter}) {words}' for letter, words in letters)}"


def index_base(pairs: Sequence[tuple[Any, Options]]) -> int | None:
    """Where the answers of a table count its options from, 0 or 1; None if they are letters or words.

    Answers are numbers of options if all of them are whole numbers, are within range, and are not all labels or words
    of options themselves. They count from 1 only if some answer is as large as the number of options. Raises
    InputError if the answers could be either words or numbers of options.
    """
    numbers = [as_index(answer) for answer, _ in pairs]
    if not pairs or None in numbers:
        return None
    found = [(number, options) for number, (_, options) in zip(numbers, pairs, strict=True) if number is not None]
    words = [_by_words(str(number), options) for number, options in found]
    base = 0 if all(0 <= number < len(options) for number, options in found) else 1
    if not all(base <= number < base + len(options) for number, options in found):
        return None
    if None not in words:
        if [number - base for number, _ in found] == words or isinstance(pairs[0][0], str):
            return None
        raise InputError(
            "the answers can be read as numbers of options and as the options' words; write letters (A, B, ...) instead"
        )
    return base


def as_index(answer: Any) -> int | None:
    """A whole number, also one written as text; else None."""
    if isinstance(answer, str) and re.fullmatch(r"\s*\d{1,3}\s*", answer, re.ASCII):
        return int(answer)
    if isinstance(answer, float) and answer.is_integer():
        return int(answer)
    return answer if isinstance(answer, int) and not isinstance(answer, bool) else None


def _by_words(answer: str, options: Options) -> int | None:
    """The place of the option with this label, or else with these words; None if there is not exactly one."""
    wanted = normalise(answer).casefold()
    for part in (0, 1):
        places = [place for place, one in enumerate(options) if one[part].casefold() == wanted]
        if len(places) == 1:
            return places[0]
    return None


def letter_of(answer: Any, options: Options, letters: Options, base: int | None, task: Task) -> str:
    """The letter of the right option, given as a letter, as the option's words, or (with a base) as its number.

    Raises InputError if the answer is none of the options.
    """
    number = as_index(answer)
    if base is not None and number is not None and 0 <= number - base < len(letters):
        return letters[number - base][0]
    text, listed = str(answer), " ".join(f"({letter}) {words}" for letter, words in letters)
    place = _by_words(text, options)
    if place is None:
        found = extract(task, f"{MARKER} {text.strip()}", listed).value
        place = next((place for place, (letter, _) in enumerate(letters) if letter == found), None)
    elif any(letter == text.strip().upper() != options[place][0].upper() for letter, _ in letters):
        raise InputError(
            f"the answer {shown(answer)} is both a letter and the words of an option ({shown(listed, 200)})"
        )
    if place is None:
        raise InputError(f"the answer {shown(answer)} is none of the options ({shown(listed, 200)})")
    return letters[place][0]
