"""Prompt templates for a teacher, in YAML."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from ..data.rationales import Rationale
from ..data.tasks import Task
from ..files import InputError, read_yaml

TEMPLATES = Path(__file__).parent / "prompts.yaml"
BLANKS = {
    "reason": {"question", "form", "examples"},
    "conclude": {"question", "form", "examples", "rationale"},
    "example": {"question", "rationale", "answer"},
}


@dataclass(frozen=True)
class Prompt:
    """Templates of the first call, the second call ("" for none) and an example; a system message; stop strings.

    Raises InputError for an unknown placeholder, such as {qestion}, and for a first call without {question}.
    """

    name: str
    reason: str
    conclude: str = ""
    example: str = ""
    system: str = ""
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("reason", "conclude", "example", "system"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"prompt {self.name}: {name} must be a string, got {getattr(self, name)!r}")
        for name, blanks in BLANKS.items():
            unknown = sorted(set(re.findall(r"\{(\w+)\}", getattr(self, name))) - blanks)
            if unknown:
                raise InputError(
                    f"prompt {self.name}: {name} has an unknown placeholder {{{unknown[0]}}}; "
                    f"use {', '.join(sorted(blanks))}"
                )
        if "{question}" not in self.reason:
            raise InputError(f"prompt {self.name}: reason must contain {{question}}")
        if self.conclude and "{rationale}" not in self.conclude:
            raise InputError(f"prompt {self.name}: conclude must contain {{rationale}}")
        listed = isinstance(self.stop, list | tuple)
        if not listed or not all(isinstance(one, str) and one for one in self.stop):
            raise InputError(f"prompt {self.name}: stop must be a list of non-empty strings, got {self.stop!r}")
        object.__setattr__(self, "stop", tuple(self.stop))

    @property
    def wants_examples(self) -> bool:
        return "{examples}" in self.reason + self.conclude


def fill(template: str, **values: str) -> str:
    """Fill all placeholders of a template in one pass, so that braces in a question are left alone."""
    return re.sub(r"\{(\w+)\}", lambda blank: values[blank[1]], template)


def read_prompts(path: Path | str = TEMPLATES) -> dict[str, Prompt]:
    """The prompts in a YAML file, by name. Raises InputError for an invalid file."""
    found = read_yaml(Path(path))
    known = [f.name for f in fields(Prompt) if f.name != "name"]
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()) or not found:
        raise InputError(f"{path}: needs a name with its templates, such as `mine: {{reason: ...}}`")
    prompts = {}
    for name, row in found.items():
        unknown = sorted(set(map(str, row)) - set(known))
        if unknown or "reason" not in row:
            what = f"unknown key {unknown[0]!r}" if unknown else "key 'reason' is missing"
            raise InputError(f"{path}: {name}: {what}; the keys are {', '.join(known)}")
        prompts[str(name)] = Prompt(str(name), **row)
    return prompts


def get_prompt(name: str) -> Prompt:
    """A built-in prompt by name, or the only prompt in a YAML file by path. Raises InputError if there is none."""
    shipped = read_prompts()
    if name in shipped:
        return shipped[name]
    if str(name).endswith((".yaml", ".yml")):
        own = read_prompts(name)
        if len(own) != 1:
            raise InputError(f"{name}: must contain one prompt, got {len(own)} ({', '.join(own)})")
        return next(iter(own.values()))
    raise InputError(f"prompt must be one of {', '.join(shipped)}, or the path of a YAML file, got {name!r}")


def answer_form(task: Task) -> str:
    """The form of the task's answers, as written in prompts."""
    letters = ", ".join(task.choices[:-1]) + f" or {task.choices[-1]}"
    forms = {"number": "a number", "choice": f"one of the letters {letters}", "yes/no": "yes or no"}
    return forms.get(task.answer_type, "as short as it can be")


def examples_text(prompt: Prompt, rows: Iterable[Rationale]) -> str:
    """Worked examples in the prompt's example format, concatenated."""
    return "".join(
        fill(prompt.example, question=row.question, rationale=row.rationale, answer=row.answer) for row in rows
    )
