"""Annotation: which teacher annotates, into which store, and what is kept of it.

The folder holds `replies.jsonl` and `attempts.jsonl` (the store: see `replies`), `outcomes.jsonl` (how each rationale
that was asked for ended) and `summary.json` (the counts). Delete the last two at will; the first two were paid for.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .address import EndpointSettings
from .asking import AskSettings, Where, write_script
from .endpoint import Endpoint
from .estimates import Estimate, estimate
from .files import InputError
from .prices import Price, price_of, read_prices
from .rationales import Question, Rationale, read_rationales
from .replies import Replies
from .tasks import Task
from .teacher import annotate, said, summary, write_outcomes

ANNOTATION = "annotation"
ASKED = ("endpoint", "local")  # teachers that are asked; any other is a file of rationales


def check_teacher(teacher: str, ask: AskSettings, endpoint: EndpointSettings) -> None:
    """InputError where this teacher cannot be: nothing to ask, no such model or file, a budget without a price."""
    if teacher in ASKED and not ask.model:
        raise InputError(f"teacher {teacher!r}: model is empty; name the model that is to be asked")
    if teacher == "endpoint" and not endpoint.base_url:
        raise InputError("teacher 'endpoint': base_url is empty; give its address, such as https://api.openai.com/v1")
    if teacher == "endpoint" and ask.budget_money and price_of(ask.model, ask.prices) is None:
        raise InputError(
            f"a budget of money needs a price, and none is known of {ask.model!r}; write it into a YAML file, as "
            f"mentor_kd/prices.yaml has it, and name that file with the setting prices"
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
    from .local_teacher import local_where  # torch takes seconds to import: an endpoint needs none of it

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
            from .local_teacher import LocalTeacher

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
