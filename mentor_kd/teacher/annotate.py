"""The teacher: have a language model annotate questions, with as many rationales as wanted, and count everything.

Paper, section 3.1: Zero-shot-CoT in two calls, first the reasoning, then "Therefore, the answer is". Each rationale is
a draw of its own: one request (or two), known by the question and the sample's index. A draw ends as right, wrong, no
answer, truncated, refused, empty, failed (with its cause) or not asked; the counts add up to the draws that were
planned. The model is reached by `endpoint`, or runs on this machine by `local`.

The folder of an annotation holds `replies.jsonl` and `attempts.jsonl` (the store, see `store`), `outcomes.jsonl` (how
each requested rationale ended) and `summary.json` (the counts). The last two can be deleted at will; the first two were
paid for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from ..data.answers import MARKER
from ..data.rationales import Question, Rationale, judged, new_rationale, read_rationales
from ..data.tasks import Task
from ..files import InputError, write_json, write_jsonl
from .ask import ASKED, AskSettings, Script, Where, write_script
from .connection import EndpointSettings
from .endpoint import Endpoint
from .estimates import Estimate, estimate
from .prices import Price, price_of, read_prices
from .store import Cost, Replies, Reply, Request

STATES = ("right", "wrong", "no answer", "truncated", "refused", "empty", "failed", "not asked")
ANNOTATION = "annotation"  # the store's folder in a task's folder
OPEN = ("failed", "not asked")  # asked again by the next run


class Teacher(Protocol):
    """Anything that answers requests into a store: an endpoint, or a model on this machine."""

    where: Where
    store: Replies
    stopped: str

    def ask(self, requests: Iterable[Request], label: str) -> dict[str, str]: ...


@dataclass
class Draw:
    """One rationale that was asked for: its requests, how it ended, and the row that came of it, if an answer did."""

    question: Question
    index: int
    requests: list[Request] = field(default_factory=list)
    state: str = "not asked"
    cause: str = ""
    row: Rationale | None = None
    cost: Cost = field(default_factory=Cost)


def annotate(questions: Sequence[Question], script: Script, teacher: Teacher) -> list[Draw]:
    """Ask for every question's rationales; the draws in the order of questions and indices.

    With `until_correct`, a question is asked again until so many of its draws are right or `most_asked` is reached.
    What the store holds is not asked again. Stops early, and cleanly, where the teacher stops.
    """
    fewest, most = script.ask.draws
    draws = {question.id: [Draw(question, index) for index in range(fewest)] for question in questions}
    wave = [draw for question in questions for draw in draws[question.id]]
    number = 1
    while wave:
        _ask_wave(wave, script, teacher, f"asking, round {number}" if script.ask.until_correct else "asking")
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
    """Ask the first calls of these draws and, where the prompt has one, the second calls; then judge."""
    for draw in wave:
        draw.requests = [script.first(draw.question, draw.index)]
    causes = teacher.ask([draw.requests[0] for draw in wave], label)
    if script.prompt.conclude:
        for draw in wave:
            reply = teacher.store.get(draw.requests[0])
            if reply and reply.state == "complete":
                draw.requests.append(script.second(draw.question, draw.index, reply.text))
        if second := [draw.requests[1] for draw in wave if len(draw.requests) > 1]:
            causes |= teacher.ask(second, f"{label}, the answers")
    for draw in wave:
        _end(draw, [teacher.store.get(request) for request in draw.requests], causes, script)
        draw.cost = sum((teacher.store.costs.get(one.key, Cost()) for one in draw.requests), Cost())


def _end(draw: Draw, replies: list[Reply | None], causes: dict[str, str], script: Script) -> None:
    """How a draw ended, by its replies."""
    for request, reply in zip(draw.requests, replies, strict=True):
        if reply is None:
            draw.cause = causes.get(request.key, "not asked")
            draw.state = "not asked" if draw.cause.startswith("not asked") else "failed"
            return
    ask = script.ask
    sampler = {
        "model": f"{ask.model}, {script.prompt.name}",
        "temperature": ask.temperature,
        "top_k": None,
        "seed": ask.seed + draw.index if ask.seed >= 0 else None,
        "index": draw.index,
    }
    first, last = replies[0], replies[-1]
    text = first.text
    if last is not first:  # a marker within either text would be taken for ours
        text = f"{first.text.strip()} {MARKER} {last.text.replace(MARKER, ' ').strip()}"
    unusable = next((one for one in replies if one.state in ("refused", "empty")), None)
    if first.state == "truncated":
        unusable = first
    if unusable is None:
        draw.row = judged(draw.question, text, "teacher", sampler, script.task)
        draw.state = "right" if draw.row.correct else "wrong" if draw.row.prediction is not None else "no answer"
        draw.cause = draw.row.miss
        return
    draw.state = unusable.state
    draw.cause = {
        "refused": f"the teacher refused ({unusable.refusal or unusable.finish})"[:200],
        "truncated": f"the answer was cut at {ask.max_tokens} tokens",
        "empty": "the answer is empty",
    }[draw.state]
    draw.row = new_rationale(
        draw.question, first.text, "teacher", sampler, prediction=None, correct=False, miss=draw.cause, original=text
    )


def summary(draws: Sequence[Draw], teacher: Teacher, price: Price | None) -> dict:
    """The counts of an annotation, which add up: draws by state, causes of what failed, calls, tokens and money."""
    states = Counter(draw.state for draw in draws)
    answers = sum((draw.cost for draw in draws), Cost())
    return {
        "questions": len({draw.question.id for draw in draws}),
        "draws": len(draws),
        "states": {state: states[state] for state in STATES},
        "causes": dict(Counter(draw.cause for draw in draws if draw.state in OPEN).most_common(20)),
        "open": sum(states[state] for state in OPEN),
        "stopped": teacher.stopped,
        "answers": asdict(answers),
        "spent_in_all": asdict(teacher.store.spent),
        "currency": price.currency if price else None,
        "unreadable_lines": teacher.store.unreadable,
    }


def write_outcomes(folder: Path, draws: Sequence[Draw], facts: dict) -> None:
    """One line for each draw into outcomes.jsonl, and the counts into summary.json."""
    rows = [
        {
            "question_id": draw.question.id,
            "index": draw.index,
            "state": draw.state,
            "cause": draw.cause,
            "requests": [request.key for request in draw.requests],
            **asdict(draw.cost),
        }
        for draw in draws
    ]
    write_jsonl(Path(folder) / "outcomes.jsonl", rows)
    write_json(Path(folder) / "summary.json", facts)


def said(facts: dict) -> str:
    """A summary as lines for people."""
    counts = ", ".join(f"{count} {state}" for state, count in facts["states"].items() if count)
    answers, spent = facts["answers"], facts["spent_in_all"]
    money = f", {answers['money']:.4f} {facts['currency']}" if facts["currency"] else ""
    lines = [
        f"{facts['draws']} rationales asked of {facts['questions']} questions: {counts}",
        f"answers: {answers['calls']} calls, {answers['tokens_in']} tokens in, {answers['tokens_out']} out{money}",
    ]
    if spent["calls"] != answers["calls"]:
        extra = f", {spent['money']:.4f} {facts['currency']}" if facts["currency"] else ""
        lines.append(
            f"in all, with failed calls and what the store holds besides: {spent['calls']} calls, at most "
            f"{spent['tokens_in'] + spent['tokens_out']} tokens{extra}"
        )
    if facts["unreadable_lines"]:
        lines.append(f"{facts['unreadable_lines']} line(s) of the store were cut off by a kill and passed over")
    lines += [f"  {count} x {cause}" for cause, count in facts["causes"].items()]
    if facts["stopped"]:
        lines.append(f"stopped: {facts['stopped']}")
    return "\n".join(lines)


def check_teacher(teacher: str, ask: AskSettings, endpoint: EndpointSettings) -> None:
    """InputError where this teacher cannot be: nothing to ask, no such model or file, a budget without a price."""
    if teacher in ASKED and not ask.model:
        raise InputError(f"teacher {teacher!r}: model is empty; name the model that is to be asked")
    if teacher == "endpoint" and not endpoint.base_url:
        raise InputError("teacher 'endpoint': base_url is empty; give its address, such as https://api.openai.com/v1")
    if teacher == "endpoint" and ask.budget_money and price_of(ask.model, ask.prices) is None:
        raise InputError(
            f"a budget of money needs a price, and none is known of {ask.model!r}; write it into a YAML file, as "
            f"mentor_kd/teacher/prices.yaml has it, and name that file with the setting prices"
        )
    if teacher and teacher not in ASKED and not Path(teacher).is_file():
        raise InputError(
            f"teacher is '', 'endpoint', 'local', or the path of a JSONL file of rationales, not {teacher!r}"
        )
    read_prices(ask.prices)


def where_is(teacher: str, ask: AskSettings, endpoint: EndpointSettings) -> Where:
    """Who is asked: the endpoint, or a model on this machine."""
    if teacher == "endpoint":
        return endpoint
    from .local import local_where  # torch takes seconds to import: an endpoint needs none of it

    return local_where(ask.model)


def estimated(
    folder: Path,
    task: Task,
    questions: Sequence[Question],
    given: Sequence[Rationale],
    teacher: str,
    ask: AskSettings,
    endpoint: EndpointSettings,
) -> Estimate:
    """What `annotated` would cost now, with what its store holds already. Sends nothing, and needs no key."""
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
    """The teacher's rationales for these questions, and the counts; `given` are examples for a prompt that wants some.

    Raises InputError where not a single answer came, with the reasons.
    """
    if teacher not in ASKED:
        return _from_file(Path(teacher), task, questions)
    script = write_script(task, ask, where_is(teacher, ask, endpoint), given)
    price = _price(teacher, ask)
    with Replies(folder) as store:
        if teacher == "endpoint":
            with Endpoint(endpoint, store, ask.budget, price) as client:
                draws = annotate(questions, script, client)
        else:
            from .local import LocalTeacher

            client = LocalTeacher(ask.model, store, ask.budget)
            draws = annotate(questions, script, client)
        facts = summary(draws, client, price)
        write_outcomes(folder, draws, facts)
    rows = [draw.row for draw in draws if draw.row is not None]
    if not rows:
        raise InputError(f"no answer came from {ask.model!r}. {said(facts)}")
    return rows, facts


def _price(teacher: str, ask: AskSettings) -> Price | None:
    return price_of(ask.model, ask.prices) if teacher == "endpoint" else None


def _from_file(path: Path, task: Task, questions: Sequence[Question]) -> tuple[list[Rationale], dict]:
    """Rationales that were made before, as by `python -m mentor_kd annotate`; those of other questions are counted."""
    known = {question.id: question for question in questions}
    found = read_rationales(path)
    rows = [replace(row, source="teacher", kept=None, reason=None) for row in found if row.question_id in known]
    if not rows:
        raise InputError(
            f"{path}: none of its {len(found)} rationales is of a training question of task {task.name!r} (they are of "
            f"task {found[0].task!r}); the task's name, the table, the dev split and its seed must be the same"
        )
    for row in rows:
        if row.answer != known[row.question_id].answer:
            raise InputError(
                f"{path}: rationale {row.id}: its gold answer is {row.answer!r}, the question's is "
                f"{known[row.question_id].answer!r}"
            )
    return rows, {"file": path.name, "rationales": len(rows), "of_other_questions": len(found) - len(rows)}
