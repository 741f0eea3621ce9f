"""Annotation: have a language model write rationales for questions, and count every outcome.

Paper, section 3.1: Zero-shot-CoT in two calls, first the reasoning, then "Therefore, the answer is". Each rationale is
sampled independently, by one request (or two) identified by the question and the sample's index. It has one of the
outcomes of `outcome.STATES`; their counts add up to the number of rationales planned. The model is either behind an
`endpoint` or on this machine (`local`).

An annotation folder holds `replies.jsonl` and `attempts.jsonl` (see `teacher/store`), `outcomes.jsonl` (the outcome of
each requested rationale) and `summary.json` (the counts). The last two can be deleted safely; the first two record
what has been paid.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

from ..data.rationales import Question, Rationale, read_rationales
from ..data.tasks import Task
from ..files import InputError, write_json, write_jsonl
from ..progress import Progress, visible
from .ask import ASKED, AskSettings, Script, Where, write_script
from .connection import EndpointSettings
from .endpoint import Endpoint
from .estimates import Estimate, estimate
from .outcome import OPEN, STATES, UNUSABLE, Draw, end
from .prices import Price, price_of, read_prices
from .store import Cost, Replies, Request

ANNOTATION = "annotation"  # folder of the store, within a task folder


class Teacher(Protocol):
    """Anything that answers requests and stores the replies: an endpoint, or a model on this machine."""

    @property
    def where(self) -> Where: ...

    @property
    def store(self) -> Replies: ...

    @property
    def stopped(self) -> str: ...

    def ask(self, requests: Iterable[Request], label: str) -> dict[str, str]: ...


def annotate(questions: Sequence[Question], script: Script, teacher: Teacher) -> list[Draw]:
    """Request every question's rationales; returns the draws in the order of questions and indices.

    With `until_correct`, rationales of a question are requested until that number are right or `most_asked` is reached.
    Stored replies are not requested again. Returns early if the teacher stops.
    """
    fewest, most = script.ask.draws
    draws = {question.id: [Draw(question, index) for index in range(fewest)] for question in questions}
    wave = [draw for question in questions for draw in draws[question.id]]
    number = 1
    while wave:
        _ask_wave(wave, script, teacher, f"round {number}, " if script.ask.until_correct else "")
        if teacher.stopped or not script.ask.until_correct:
            break
        wave, number = [], number + 1
        for question in questions:
            known = draws[question.id]
            lacking = script.ask.until_correct - sum(draw.state == "right" for draw in known)
            more = range(len(known), min(most, len(known) + lacking))
            wave += [Draw(question, index) for index in more]
            known += wave[len(wave) - len(more) :]
    return [draw for question in questions for draw in draws[question.id]]


def _ask_wave(wave: list[Draw], script: Script, teacher: Teacher, label: str) -> None:
    """Send the first call of each draw and, if the prompt has one, the second; then judge the replies."""
    for draw in wave:
        draw.requests = [script.first(draw.question, draw.index)]
    two = bool(script.prompt.conclude)
    causes = teacher.ask([draw.requests[0] for draw in wave], f"{label}first call" if two else f"{label}asking")
    if two:
        for draw in wave:
            reply = teacher.store.get(draw.requests[0])
            if reply and reply.state == "complete":
                draw.requests.append(script.second_to(draw.question, draw.index, reply, teacher.store))
        if second := [draw.requests[1] for draw in wave if len(draw.requests) > 1]:
            causes |= teacher.ask(second, f"{label}second call")
    for draw in wave:
        end(draw, [teacher.store.get(request) for request in draw.requests], causes, script)
        draw.keys = [teacher.store.key_of(one) for one in draw.requests]
        draw.cost = sum((teacher.store.cost(one) for one in draw.requests), Cost())


def summary(draws: Sequence[Draw], teacher: Teacher, price: Price | None) -> dict:
    """The counts of an annotation: draws by state (they add up), causes of failures, calls, tokens and money."""
    states = Counter(draw.state for draw in draws)
    parts = Counter(draw.part for draw in draws if draw.state in ("right", "wrong", "no answer"))
    answers = sum((draw.cost for draw in draws), Cost())
    return {
        "questions": len({draw.question.id for draw in draws}),
        "draws": len(draws),
        "states": {state: states[state] for state in STATES},
        "causes": dict(Counter(draw.cause for draw in draws if draw.state in OPEN).most_common(20)),
        "unusable": dict(Counter(draw.cause for draw in draws if draw.state in UNUSABLE).most_common(20)),
        "open": sum(states[state] for state in OPEN),
        "rationales_from": dict(parts),
        "end_tokens_removed": sum(draw.stripped for draw in draws),
        "stopped": teacher.stopped,
        "answers": asdict(answers),
        "spent_in_all": asdict(teacher.store.spent),
        "currency": price.currency if price else None,
        "unreadable_lines": teacher.store.unreadable,
    }


def write_outcomes(folder: Path, draws: Sequence[Draw], facts: dict) -> None:
    """Write one line per draw to outcomes.jsonl, and the counts to summary.json."""
    rows = [
        {
            "question_id": draw.question.id,
            "index": draw.index,
            "state": draw.state,
            "cause": draw.cause,
            "rationale_from": draw.part,
            "requests": draw.keys,
            **asdict(draw.cost),
        }
        for draw in draws
    ]
    write_jsonl(Path(folder) / "outcomes.jsonl", rows)
    write_json(Path(folder) / "summary.json", facts)


def said(facts: dict) -> str:
    """A summary as readable lines."""
    counts = ", ".join(f"{count} {state}" for state, count in facts["states"].items() if count)
    answers, spent = facts["answers"], facts["spent_in_all"]
    money = f", {answers['money']:.4f} {facts['currency']}" if facts["currency"] else ""
    lines = [
        f"{facts['draws']} rationales requested for {facts['questions']} questions: {counts}",
        f"used: {answers['calls']} calls, {answers['tokens_in']} input, {answers['tokens_out']} output tokens{money}",
    ]
    if spent["calls"] != answers["calls"]:
        extra = f", {spent['money']:.4f} {facts['currency']}" if facts["currency"] else ""
        lines.append(
            f"total, including failed calls and other stored replies: {spent['calls']} calls, at most "
            f"{spent['tokens_in'] + spent['tokens_out']} tokens{extra}"
        )
    if facts["unreadable_lines"]:
        lines.append(
            f"{facts['unreadable_lines']} incomplete line(s) of the store were skipped (a run was killed while writing)"
        )
    if set(facts["rationales_from"]) - {"solution"}:
        counts = ", ".join(f"{count} from the {part}" for part, count in facts["rationales_from"].items())
        lines.append(f"rationales taken: {counts}".replace("from the both", "from both"))
    if facts["end_tokens_removed"]:
        lines.append(f"{facts['end_tokens_removed']} end tokens written as text were removed")
    for causes in (facts["unusable"], facts["causes"]):
        lines += [f"  {count} x {visible(cause, keep='')}" for cause, count in causes.items()]
    if facts["states"]["truncated"]:
        lines.append("to request the truncated ones again, and no others, raise max_tokens or conclude_tokens")
    if facts["stopped"]:
        lines.append(f"stopped: {visible(facts['stopped'], keep='')}")
    return "\n".join(lines)


def check_teacher(teacher: str, ask: AskSettings, endpoint: EndpointSettings) -> None:
    """Raise InputError for an unusable teacher: no model, address or file, or a money budget without a price."""
    if teacher in ASKED and not ask.model:
        raise InputError(f"teacher {teacher!r}: model is empty; set it to the name of the model to use")
    if teacher == "endpoint" and not endpoint.base_url:
        raise InputError(
            "teacher 'endpoint': base_url is empty; set it to an address such as https://api.openai.com/v1"
        )
    if teacher == "endpoint" and ask.budget_money and price_of(ask.model, ask.prices) is None:
        raise InputError(
            f"budget_money needs a price, and none is known for {ask.model!r}; add it to a YAML file like "
            f"mentor_kd/teacher/prices.yaml and set prices to that file"
        )
    if teacher and teacher not in ASKED and not Path(teacher).is_file():
        raise InputError(
            f"teacher must be '', 'endpoint', 'local', or the path of a JSONL file of rationales, got {teacher!r}"
        )
    read_prices(ask.prices)


def where_is(teacher: str, ask: AskSettings, endpoint: EndpointSettings) -> Where:
    """Where requests go: the endpoint, or a model on this machine."""
    if teacher == "endpoint":
        return endpoint
    with Progress("reading the model's files", 1, "models") as progress:
        from .local import local_where  # imports torch, which is slow; an endpoint does not need it

        where = local_where(ask.model)
        progress.advance()
    return where


def estimated(
    folder: Path,
    task: Task,
    questions: Sequence[Question],
    given: Sequence[Rationale],
    teacher: str,
    ask: AskSettings,
    endpoint: EndpointSettings,
) -> Estimate:
    """What `annotated` would cost now, given the stored replies. Sends nothing and needs no key."""
    script = write_script(task, ask, where_is(teacher, ask, endpoint), given)
    return estimate(questions, script, Replies(folder).load(), _price(teacher, ask))


def annotated(
    folder: Path,
    task: Task,
    questions: Sequence[Question],
    given: Sequence[Rationale],
    teacher: str,
    ask: AskSettings,
    endpoint: EndpointSettings,
) -> tuple[list[Rationale], dict]:
    """The teacher's rationales for these questions, and the counts.

    `given` are rationales to use as worked examples if the prompt needs them. Raises InputError, with the causes, if no
    reply arrived at all.
    """
    if teacher not in ASKED:
        return _from_file(Path(teacher), task, questions)
    where = where_is(teacher, ask, endpoint)
    script, price = write_script(task, ask, where, given), _price(teacher, ask)
    client: Teacher
    with Replies(folder) as store:
        if teacher == "endpoint":
            with Endpoint(endpoint, store, ask.budget, price) as client:
                draws = annotate(questions, script, client)
        else:
            from .local import LocalTeacher

            client = LocalTeacher(ask.model, store, ask.budget, where=where)
            draws = annotate(questions, script, client)
        facts = summary(draws, client, price)
        write_outcomes(folder, draws, facts)
    rows = [draw.row for draw in draws if draw.row is not None]
    if not rows:
        raise InputError(f"no reply from {ask.model!r}. {said(facts)}")
    return rows, facts


def _price(teacher: str, ask: AskSettings) -> Price | None:
    return price_of(ask.model, ask.prices) if teacher == "endpoint" else None


def _from_file(path: Path, task: Task, questions: Sequence[Question]) -> tuple[list[Rationale], dict]:
    """Rationales from a file, such as one written by `annotate`; rows of other questions are counted and left out."""
    known = {question.id: question for question in questions}
    found = read_rationales(path)
    rows = [replace(row, source="teacher", kept=None, reason=None) for row in found if row.question_id in known]
    if not rows:
        raise InputError(
            f"{path}: none of its {len(found)} rationales belongs to a training question of task {task.name!r} (they "
            f"are of task {found[0].task!r}); use the task name, table, dev split and seed of the annotation"
        )
    for row in rows:
        if row.answer != known[row.question_id].answer:
            raise InputError(
                f"{path}: rationale {row.id}: its gold answer is {row.answer!r}, but the question's is "
                f"{known[row.question_id].answer!r}; annotate again, or correct one of them"
            )
    return rows, {"file": path.name, "rationales": len(rows), "of_other_questions": len(found) - len(rows)}
