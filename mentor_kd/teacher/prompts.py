"""Prompts: how a teacher is asked, as templates in YAML."""

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
    """Templates of the first call, of the second (if there is one), of an example; a system message; stop texts.

    Raises InputError for a blank that no template has, such as {qestion}, and for a first call without the question.
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
                raise InputError(f"prompt {self.name}: {name} is a text, not {getattr(self, name)!r}")
        for name, blanks in BLANKS.items():
            unknown = sorted(set(re.findall(r"\{(\w+)\}", getattr(self, name))) - blanks)
            if unknown:
                raise InputError(
                    f"prompt {self.name}: {name} has the blank {{{unknown[0]}}}; there are {', '.join(sorted(blanks))}"
                )
        if "{question}" not in self.reason:
            raise InputError(f"prompt {self.name}: reason does not hold {{question}}")
        if self.conclude and "{rationale}" not in self.conclude:
            raise InputError(f"prompt {self.name}: conclude does not hold {{rationale}}")
        if isinstance(self.stop, str) or not all(isinstance(one, str) and one for one in self.stop):
            raise InputError(f"prompt {self.name}: stop is a list of texts, not {self.stop!r}")
        object.__setattr__(self, "stop", tuple(self.stop))

    @property
    def wants_examples(self) -> bool:
        return "{examples}" in self.reason + self.conclude


def fill(template: str, **values: str) -> str:
    """A template with its blanks filled, all at once: a brace within a question is no blank."""
    return re.sub(r"\{(\w+)\}", lambda blank: values[blank[1]], template)


def read_prompts(path: Path | str = TEMPLATES) -> dict[str, Prompt]:
    """The prompts of a YAML file by name; InputError names the file and what is wrong in it."""
    found = read_yaml(Path(path))
    known = [f.name for f in fields(Prompt) if f.name != "name"]
    if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()) or not found:
        raise InputError(f"{path}: a name and its templates were expected, such as `mine: {{reason: ...}}`")
    prompts = {}
    for name, row in found.items():
        unknown = sorted(set(map(str, row)) - set(known))
        if unknown or "reason" not in row:
            what = f"unknown key {unknown[0]!r}" if unknown else "the key 'reason' is missing"
            raise InputError(f"{path}: {name}: {what}; known are {', '.join(known)}")
        prompts[str(name)] = Prompt(str(name), **row)
    return prompts


def get_prompt(name: str) -> Prompt:
    """The prompt of that name, or the only one in the YAML file of that name; InputError where there is none."""
    shipped = read_prompts()
    if name in shipped:
        return shipped[name]
    if str(name).endswith((".yaml", ".yml")):
        own = read_prompts(name)
        if len(own) != 1:
            raise InputError(f"{name}: holds {len(own)} prompts ({', '.join(own)}); one was expected")
        return next(iter(own.values()))
    raise InputError(f"prompt {name!r} is none of {', '.join(shipped)}, nor a YAML file of your own")


def answer_form(task: Task) -> str:
    """What the task's answers are, in words for a prompt."""
    letters = ", ".join(task.choices[:-1]) + f" or {task.choices[-1]}"
    forms = {"number": "a number", "choice": f"one of the letters {letters}", "yes/no": "yes or no"}
    return forms.get(task.answer_type, "as short as it can be")


def examples_text(prompt: Prompt, rows: Iterable[Rationale]) -> str:
    """Worked examples, one after the other, as the prompt writes them."""
    return "".join(
        fill(prompt.example, question=row.question, rationale=row.rationale, answer=row.answer) for row in rows
    )
