"""Asking: what is said to a teacher, how often, and as which requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import yaml

from ..checks import require_integer, require_number, require_text
from ..data.rationales import Question, Rationale
from ..data.tasks import Task
from ..files import InputError
from .prices import Budget
from .prompts import Prompt, answer_form, examples_text, fill, get_prompt
from .store import Request

CONCLUDE_TOKENS = 64
ASKED = ("endpoint", "local")  # teachers that are asked; any other is a file of rationales
OWN_FIELDS = ("model", "messages", "prompt", "temperature", "max_tokens", "max_completion_tokens", "seed", "stop", "n")


@dataclass(frozen=True)
class AskSettings:
    """What the teacher is asked, how often, and what it may cost in all (0: no limit)."""

    model: str = ""
    prompt: str = "zero-shot-cot"  # one of prompts.yaml, or a YAML file of one's own
    rationales: int = 3  # draws for each question
    until_correct: int = 0  # go on until so many are right; 0 for exactly `rationales` draws
    most_asked: int = 10  # with until_correct: at most so many draws for each question
    examples: int = 4  # worked examples in a prompt that wants them
    temperature: float = 0.7  # paper, appendix E
    max_tokens: int = 512
    seed: int = -1  # sent with each request, plus the draw's index; -1 to send none
    extra: str = ""  # further fields of the request as YAML or JSON, such as {top_p: 0.9}
    prices: str = ""  # a YAML file of prices; "" for the own table
    budget_calls: int = 0
    budget_tokens: int = 0
    budget_money: float = 0.0

    def __post_init__(self) -> None:
        for name in ("model", "prompt", "extra", "prices"):
            require_text(name, getattr(self, name))
        for name in ("rationales", "most_asked", "examples", "max_tokens"):
            require_integer(name, getattr(self, name), 1)
        require_integer("until_correct", self.until_correct)
        require_integer("seed", self.seed, -1)
        require_number("temperature", self.temperature, least=0, note="0 is greedy")
        if self.until_correct > self.most_asked:
            raise InputError(f"most_asked must be >= until_correct, {self.until_correct}, got {self.most_asked}")
        get_prompt(self.prompt)
        _ = self.budget, self.fields

    @property
    def budget(self) -> Budget:
        return Budget(self.budget_calls, self.budget_tokens, self.budget_money)

    @property
    def fields(self) -> dict:
        """The further fields of a request; InputError where they are none, or set what has a setting of its own."""
        try:
            found = yaml.safe_load(self.extra) if self.extra else {}
        except yaml.YAMLError:
            found = None
        if not isinstance(found, dict):
            raise InputError(f"extra holds further fields of a request, such as {{top_p: 0.9}}, not {self.extra!r}")
        for name in (*OWN_FIELDS, "stream"):
            if name in found:
                raise InputError(f"extra: {name} cannot be set there; it has a setting of its own, or has to stay")
        return found

    @property
    def draws(self) -> tuple[int, int]:
        """The fewest and the most draws for each question."""
        return (self.until_correct, self.most_asked) if self.until_correct else (self.rationales, self.rationales)


class Where(Protocol):
    """Who is asked, by which route, and what the limit of tokens is called there."""

    who: str
    route: str
    limit_field: str


def body(
    where: Where,
    ask: AskSettings,
    text: str,
    index: int,
    *,
    limit: int,
    temperature: float,
    prompt: Prompt | None = None,
) -> dict:
    """The body of a request for one text: as a chat with one message of the user, or as a prompt to be completed."""
    system = prompt.system if prompt else ""
    if where.route == "chat":
        message = [{"role": "system", "content": system}] if system else []
        said = {"messages": [*message, {"role": "user", "content": text}]}
    else:
        said = {"prompt": f"{system}\n\n{text}" if system else text}
    made = {"model": ask.model, **said, "temperature": temperature, where.limit_field: limit}
    if ask.seed >= 0:
        made["seed"] = ask.seed + index
    if prompt and prompt.stop:
        made["stop"] = list(prompt.stop)
    return made | ask.fields


@dataclass(frozen=True)
class Script:
    """What is said to the teacher: a prompt, the settings, the task's form of answers, and worked examples."""

    task: Task
    ask: AskSettings
    where: Where
    prompt: Prompt
    examples: tuple[Rationale, ...] = ()

    def _text(self, template: str, question: Question, **values: str) -> str:
        shown = [row for row in self.examples if row.question_id != question.id][: self.ask.examples]
        blanks = {"question": question.question, "form": answer_form(self.task)}
        return fill(template, examples=examples_text(self.prompt, shown), **blanks, **values)

    def first(self, question: Question, index: int) -> Request:
        text, ask = self._text(self.prompt.reason, question), self.ask
        made = body(self.where, ask, text, index, limit=ask.max_tokens, temperature=ask.temperature, prompt=self.prompt)
        return Request(self.where.who, self.where.route, made, index)

    def second(self, question: Question, index: int, rationale: str) -> Request:
        """The call that asks for the answer alone: greedy, and short."""
        text = self._text(self.prompt.conclude, question, rationale=rationale.strip())
        made = body(self.where, self.ask, text, index, limit=CONCLUDE_TOKENS, temperature=0.0, prompt=self.prompt)
        return Request(self.where.who, self.where.route, made, index)


def write_script(task: Task, ask: AskSettings, where: Where, given: Sequence[Rationale] = ()) -> Script:
    """The script with worked examples from rationales that are there; InputError where it wants some and gets none."""
    if not ask.model:
        raise InputError("model is empty; name the model that is to be asked")
    prompt = get_prompt(ask.prompt)
    examples: dict[str, Rationale] = {}
    for row in given if prompt.wants_examples else ():
        if (
            row.correct and row.rationale and len(examples) <= ask.examples
        ):  # one more: a question is not its own example
            examples.setdefault(row.question_id, row)
    if prompt.wants_examples and len(examples) < 2:
        raise InputError(
            f"prompt {prompt.name} wants worked examples: fill in the column `rationale` for two or more of your "
            f"training questions, or take another prompt"
        )
    return Script(task, ask, where, prompt, tuple(examples.values()))
