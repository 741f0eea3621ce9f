"""The outcome of one requested rationale: what its replies amount to, and the row that is kept of them.

A draw ends as right, wrong, no answer, truncated, refused, empty, tool call, special token, failed (with its cause) or
not asked. The answer is that of the visible text; `rationale_from` decides which part becomes the rationale.
"""

import json
from dataclasses import dataclass, field

from ..data.answers import MARKER
from ..data.rationales import Question, Rationale, new_rationale
from ..data.special_tokens import special_in
from ..data.tasks import Judgement, judge, split_target
from .ask import Script
from .store import Cost, Reply, Request
from .thoughts import rationale_of, whole_sentences

STATES = (
    "right", "wrong", "no answer", "truncated", "refused", "empty", "tool call", "special token", "failed", "not asked"
)  # fmt: skip
UNUSABLE = ("truncated", "refused", "empty", "tool call", "special token")  # paid for, and without an answer to judge
OPEN = ("failed", "not asked")  # requested again by the next run


@dataclass
class Draw:
    """One requested rationale: its requests, its outcome and, if a reply arrived, the resulting row.

    `keys` are those of its stored replies, `part` is the part of the first reply that became the rationale, and
    `stripped` is the number of end tokens removed from the replies.
    """

    question: Question
    index: int
    requests: list[Request] = field(default_factory=list)
    state: str = "not asked"
    cause: str = ""
    row: Rationale | None = None
    cost: Cost = field(default_factory=Cost)
    keys: list[str] = field(default_factory=list)
    part: str = ""
    stripped: int = 0


def end(draw: Draw, replies: list[Reply | None], causes: dict[str, str], script: Script) -> None:
    """Set the outcome of a draw from its replies; `causes` says why a reply is missing, by the request's key."""
    received: list[Reply] = []
    for request, reply in zip(draw.requests, replies, strict=True):
        if reply is None:
            draw.cause = causes.get(request.key, "not asked")
            draw.state = "not asked" if draw.cause.startswith("not asked") else "failed"
            return
        received.append(reply)
    draw.stripped = sum(reply.parts.stripped for reply in received)
    first, second = received[0], (received[1] if len(received) > 1 else None)
    thought, solution = first.parts.thought, first.parts.solution
    text = split_target(solution)[0] if second is None else solution
    rationale, draw.part = rationale_of(thought, text, script.ask.rationale_from)
    found: Judgement | None = None
    draw.state, draw.cause = _unusable(draw, received)
    if not draw.state and (token := special_in(rationale)):
        draw.state, draw.cause = "special token", f"a special token is inside the rationale ({token})"
    if not draw.state:
        found = _judged(draw, first, second, script)
        draw.state = "right" if found.correct else "wrong" if found.prediction is not None else "no answer"
        draw.cause = found.reason
        if second and second.state == "truncated" and found.prediction is None:
            draw.state, draw.cause = "truncated", _cut(draw, second, 1)
    draw.row = new_rationale(
        draw.question,
        rationale,
        "teacher",
        _sampler(draw, script),
        prediction=found.prediction if found else None,
        correct=bool(found and found.correct),
        miss=draw.cause,
        original=_original(received),
    )


def _unusable(draw: Draw, replies: list[Reply]) -> tuple[str, str]:
    """The state and the cause if a reply holds no text to judge; ("", "") if all do."""
    for number, reply in enumerate(replies):
        call = "the second call: " if number else ""
        if reply.state == "refused":
            return "refused", f"{call}the teacher refused ({reply.refusal or reply.finish})"[:200]
        if reply.state == "tool call":
            return "tool call", f"{call}the teacher called a tool ({_tools(reply)}) and did not answer"
        if reply.state == "empty":
            return "empty", f"{call}the answer is empty"
        if reply.state == "truncated" and not (number and whole_sentences(reply.parts.solution)):
            return "truncated", _cut(draw, reply, number)
    return "", ""


def _cut(draw: Draw, reply: Reply, number: int) -> str:
    what = "the second call's answer" if number else "the answer"
    where = "" if reply.parts.solution or not reply.parts.thought else ", in the middle of the thought"
    return f"{what} was cut at {draw.requests[number].limit} tokens{where}"


def _tools(reply: Reply) -> str:
    try:
        calls = json.loads(reply.tools or "[]")
    except (ValueError, RecursionError):  # a stored reply that was changed
        calls = []
    parts = [call.get("function", call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    names = [part.get("name") for part in parts if isinstance(part, dict)]
    return ", ".join(str(name) for name in names if name)[:80] or "unnamed"


def _judged(draw: Draw, first: Reply, second: Reply | None, script: Script) -> Judgement:
    """The answer of the last reply's visible text; of its thought if it has nothing else."""

    def of(text: str) -> Judgement:
        return judge(script.task, text, draw.question.answer, draw.question.question)

    if second is None:
        return of(first.parts.solution or first.parts.thought)
    closing = second.parts.solution
    if not closing:
        return of(second.parts.thought)
    if second.state == "truncated":  # half a number at its end would be read as another number
        closing = whole_sentences(closing)
    body = first.parts.solution or first.parts.thought
    return of(f"{body} {MARKER} {closing.replace(MARKER, ' ').strip()}")  # its markers would be taken for ours


def _original(replies: list[Reply]) -> str:
    """All that the teacher wrote, with the thoughts that came apart in tags."""
    first, *more = (_whole(reply) for reply in replies)
    return f"{first.strip()} {MARKER} {more[0].replace(MARKER, ' ').strip()}" if more else first


def _whole(reply: Reply) -> str:
    return f"<think>\n{reply.thinking}\n</think>\n\n{reply.text}" if reply.thinking else reply.text


def _sampler(draw: Draw, script: Script) -> dict:
    """The sampler of the row; its model says if the rationale is not the visible text."""
    ask = script.ask
    part = {"thought": ", thought", "both": ", thought and solution"}.get(draw.part, "")
    return {
        "model": f"{ask.model}, {script.prompt.name}{part}",
        "temperature": ask.temperature,
        "top_k": None,
        "seed": ask.seed + draw.index if ask.seed >= 0 else None,
        "index": draw.index,
    }
