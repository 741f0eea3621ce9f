"""Columns of a table: which is the question, the answer, a rationale, the options, the split.

The user's mapping takes precedence; otherwise common names are recognised, whatever their case and separators. An
ambiguous table is refused, with a mapping that resolves it.
"""

import difflib
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..files import InputError
from ..parsing import shown

ROLES = ("question", "answer", "rationale", "options", "split")
SEVERAL = ("question", "rationale", "options")  # roles that several columns may share
# Per role, groups of names: a name counts only if no name of an earlier group is there.
NAMES: dict[str, tuple[str, ...]] = {
    "question": ("question problem query questiontext questionstem squestion", "instruction prompt input"),
    "answer": (
        "answer answers finalanswer finalans gold goldanswer goldlabel correctanswer expectedanswer groundtruth "
        "referenceanswer answerkey correctoption lsolutions",
        "target label correct result cop answeridx answerindex",
    ),
    "rationale": (
        "rationale rationales solution solutions cot cotcontent chain chainofthought chainsofthought explanation "
        "explanations reasoning reasoningchain generatedsolution",
        "response responses completion completions output outputs generation generations",
    ),
    "options": ("options choices answerchoices candidates",),
    "split": ("split",),
}
CONTEXT = ("body", "passage", "context", "premise")  # written before the question
ALIKE = 0.8  # similarity from which a name counts as a misspelling of another
_OPTION = re.compile(r"(?:op|opt|option|choice)([a-j])")
Found = dict[str, tuple[str, ...]]


def plain(name: str) -> str:
    """A column's name in lower case, without separators."""
    return re.sub(r"[\W_]", "", name.lower())


def require_mapping(mapping: Any) -> None:
    """Raise InputError unless `columns` maps roles to names of columns."""
    example = "such as columns: {question: problem, answer: final}"
    if not isinstance(mapping, Mapping):
        raise InputError(f"columns must map roles to columns, {example}, got {shown(mapping)}")
    for role, names in mapping.items():
        if role not in ROLES:
            raise InputError(f"columns must map the roles {', '.join(ROLES)}, {example}, got {shown(role)}")
        several = isinstance(names, list | tuple) and role in SEVERAL
        listed = list(names) if several else [names]
        if not listed or not all(isinstance(one, str) and one for one in listed):
            more = " or a list of them" if role in SEVERAL else ""
            raise InputError(f"columns: {role} must be the name of a column{more}, got {shown(names)}")


def find(columns: Sequence[str], mapping: Mapping[str, Any], where: object) -> Found:
    """The columns of each role, as mapped or by their common names; a role without one is left out.

    Raises InputError for a mapped column that does not exist, and for a role that two columns could have.
    """
    found: Found = {}
    for role in mapping:
        names = mapping[role] if isinstance(mapping[role], list | tuple) else [mapping[role]]
        for name in names:
            if name not in columns:
                like = max(columns, key=lambda one: difflib.SequenceMatcher(None, plain(name), plain(one)).ratio())
                raise InputError(
                    f"{where}: columns: {role}: there is no column {name!r}; {listed(columns)}; perhaps columns: "
                    f"{{{role}: {like}}}"
                )
        found[role] = tuple(names)
    taken = {name for names in found.values() for name in names}
    free = [name for name in columns if name not in taken]
    for role in ROLES:
        groups = NAMES[role]
        if role == "rationale" and "answer" not in found:  # the answer is in one of them
            groups = (" ".join(groups),)
        if role not in found and (usual := _usual(groups, free)):
            found[role] = usual
            if len(usual) > 1 and {plain(name) for name in usual} != {"instruction", "input"}:
                said = " or ".join(repr(name) for name in usual)
                raise InputError(f"{where}: the {role} could be {said}; {listed(columns)}; {proposal(found, columns)}")
    if "options" not in found and (names := _lettered(free)):
        found["options"] = names
    if "question" in found and "question" not in mapping:
        found["question"] = (*(name for name in free if plain(name) in CONTEXT), *found["question"])
    return found


def _usual(groups: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """The columns whose names are in the first group that has any."""
    found = (tuple(name for name in columns if plain(name) in group.split()) for group in groups)
    return next((names for names in found if names), ())


def _lettered(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns that hold an option each: A, B, C ... or option_a, option_b ..."""
    bare = {plain(name): name for name in columns if re.fullmatch("[a-j]", plain(name))}
    named = {match[1]: name for name in columns if (match := _OPTION.fullmatch(plain(name)))}
    for letters, fewest in ((named, 2), (bare, 3)):
        if len(letters) >= fewest and "".join(sorted(letters)) == "abcdefghij"[: len(letters)]:
            return tuple(letters[letter] for letter in sorted(letters))
    return ()


def listed(columns: Sequence[str]) -> str:
    """The columns for a message."""
    return f"the columns are {', '.join(shown(name, 40)[1:-1] for name in columns[:30])}"


def like_an_answer(columns: Sequence[str], found: Found) -> bool:
    """Whether the name of a column without a role is nearly one of an answer, such as anwser or answer_text."""
    taken = {name for names in found.values() for name in names}
    free = [name for name in columns if name not in taken]
    return any("answer" in plain(name) or _likeness("answer", name) >= ALIKE for name in free)


@functools.cache
def _likeness(role: str, name: str) -> float:
    known = " ".join(NAMES[role]).split()
    return max(difflib.SequenceMatcher(None, plain(str(name)), one).ratio() for one in known)


def proposal(found: Found, columns: Sequence[str]) -> str:
    """A suggested `columns` mapping for an error message, with the most similar columns for missing roles."""
    mapping = {role: names[0] for role, names in found.items() if role in ("question", "answer", "rationale")}
    missing = [role for role in ("question", "answer") if role not in mapping]
    left = [name for name in columns[:30] if name not in mapping.values()] + ["NAME"] * len(missing)
    best = max(
        itertools.permutations(left, len(missing)),
        key=lambda names: sum(_likeness(*pair) - (pair[1] == "NAME") for pair in zip(missing, names, strict=True)),
    )
    mapping |= dict(zip(missing, best, strict=True))
    inner = ", ".join(f"{role}: {mapping[role]}" for role in ROLES if role in mapping)
    return f"say which with columns: {{{inner}}}"
