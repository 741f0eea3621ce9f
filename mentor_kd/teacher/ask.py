"""Requests to a teacher: which prompts, how many samples, which settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..checks import require_choice, require_integer, require_number, require_text
from ..data.rationales import Question, Rationale
from ..data.tasks import Task
from ..files import InputError
from ..parsing import parse_yaml
from .prices import Budget
from .prompts import Prompt, answer_form, examples_text, fill, get_prompt
from .store import Replies, Reply, Request
from .thoughts import RATIONALE_FROM

ASKED = ("endpoint", "local")  # any other teacher is a file of rationales
OWN_FIELDS = ("model", "messages", "prompt", "temperature", "max_tokens", "max_completion_tokens", "seed", "stop", "n")


@dataclass(frozen=True)
class AskSettings:
    """What is requested from the teacher, how often, and the total budget (0: no limit).

    Raises InputError for an invalid value.
    """

    model: str = ""
    prompt: str = "zero-shot-cot"  # a prompt of prompts.yaml, or the path of a YAML file
    rationales: int = 3  # per question
    until_correct: int = 0  # request until this many are right; 0: exactly `rationales`
    most_asked: int = 10  # with until_correct: maximum number per question
    examples: int = 4  # worked examples, if the prompt has {examples}
    temperature: float = 0.7  # paper, appendix E
    max_tokens: int = 4096  # limit of a reply, its thought included
    conclude_tokens: int = 2048  # limit of the second call's reply: the answer is short, but the model may think again
    rationale_from: str = "solution"  # the visible text; or thought, or both (see `thoughts.rationale_of`)
    seed: int = -1  # sent with each request, plus the sample's index; -1: none
    extra: str = ""  # more request fields as YAML or JSON, such as {top_p: 0.9}
    prices: str = ""  # path of a YAML file; "" for teacher/prices.yaml
    budget_calls: int = 0
    budget_tokens: int = 0
    budget_money: float = 0.0

    def __post_init__(self) -> None:
        for name in ("model", "prompt", "extra", "prices"):
            require_text(name, getattr(self, name))
        for name in ("rationales", "most_asked", "examples", "max_tokens", "conclude_tokens"):
            require_integer(name, getattr(self, name), 1)
        require_choice("rationale_from", self.rationale_from, RATIONALE_FROM)
        require_integer("until_correct", self.until_correct)
        require_integer("seed", self.seed, -1)
        require_number("temperature", self.temperature, least=0, note="0 is greedy")
        if self.until_correct > self.most_asked:
            raise InputError(f"most_asked must be >= until_correct ({self.until_correct}), got {self.most_asked}")
        get_prompt(self.prompt)
        _ = self.budget, self.fields

    @property
    def budget(self) -> Budget:
        return Budget(self.budget_calls, self.budget_tokens, self.budget_money)

    @property
    def fields(self) -> dict:
        """`extra` as a dictionary; InputError if it is not a mapping or sets a field that has its own setting."""
        found = parse_yaml(self.extra, "extra") if self.extra else {}
        if not isinstance(found, dict):
            raise InputError(f"extra must be a mapping of request fields, such as {{top_p: 0.9}}, got {self.extra!r}")
        for name in OWN_FIELDS:
            if name in found:
                raise InputError(f"extra cannot set {name}; use the setting for it, or leave it at its default")
        return found

    @property
    def draws(self) -> tuple[int, int]:
        """The minimum and maximum number of rationales per question."""
        return (self.until_correct, self.most_asked) if self.until_correct else (self.rationales, self.rationales)


class Where(Protocol):
    """Where requests go: the name replies are stored under, the route, and the name of the token-limit field."""

    @property
    def who(self) -> str: ...

    @property
    def route(self) -> str: ...

    @property
    def limit_field(self) -> str: ...


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
    """The request body for one text: a chat with one user message, or a prompt to complete."""
    system = prompt.system if prompt else ""
    if where.route == "chat":
        message = [{"role": "system", "content": system}] if system else []
        said: dict[str, Any] = {"messages": [*message, {"role": "user", "content": text}]}
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
    """Builds the requests for a question from a prompt, the settings, the task and worked examples."""

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

    def second(self, question: Question, index: int, solution: str) -> Request:
        """The second call, which asks for the answer only, greedily."""
        text, ask = self._text(self.prompt.conclude, question, rationale=solution.strip()), self.ask
        made = body(self.where, ask, text, index, limit=ask.conclude_tokens, temperature=0.0, prompt=self.prompt)
        return Request(self.where.who, self.where.route, made, index, closing=True)

    def second_to(self, question: Question, index: int, reply: Reply, store: Replies) -> Request:
        """The second call after a first reply: with its solution, or its thought if it has nothing else.

        A call with the whole text of the reply, as older versions sent it, is used if it is in the store.
        """
        made = self.second(question, index, reply.parts.solution or reply.parts.thought)
        older = self.second(question, index, reply.text)
        return older if store.get(older) and not store.get(made) else made


def write_script(task: Task, ask: AskSettings, where: Where, given: Sequence[Rationale] = ()) -> Script:
    """A script with worked examples from given rationales; InputError if the prompt needs some and there are none."""
    if not ask.model:
        raise InputError("model is empty; set it to the name of the model to use")
    prompt = get_prompt(ask.prompt)
    examples: dict[str, Rationale] = {}
    for row in given if prompt.wants_examples else ():
        # <= collects one extra, as a question is never its own example
        if row.correct and row.rationale and len(examples) <= ask.examples:
            examples.setdefault(row.question_id, row)
    if prompt.wants_examples and len(examples) < 2:
        raise InputError(
            f"prompt {prompt.name} needs worked examples: fill in the column `rationale` for two or more of your "
            f"training questions, or use another prompt"
        )
    return Script(task, ask, where, prompt, tuple(examples.values()))
