"""The append-only store of replies: a paid reply is kept, and never requested again.

A request is identified by the hash of everything that shapes its reply: provider, route, the whole body, and the
sample's index. `replies.jsonl` has one line per reply, written to disk before the reply is used; a stored request is
never sent again. A token limit shapes only replies that reach it, so a stored reply also answers the same request with
another limit, unless it was cut at a lower one. `attempts.jsonl` logs what was sent and what failed, so that the bill
includes the requests in flight when a run was killed. Lines cut off by a kill are skipped and counted.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import filelock

from ..checks import is_number
from ..files import InputError, digest, read_bytes
from ..parsing import parse_json
from .thoughts import Parts, split, whole_sentences

# Finish reasons of the usual servers, in lower case; any other one ends a complete reply.
REFUSALS = ("content_filter", "refusal", "safety", "sensitive", "recitation", "prohibited_content", "blocklist", "spii")
CUTS = ("length", "max_tokens", "model_length", "max_output_tokens")
TOOL_CALLS = ("tool_calls", "function_call", "tool_use", "tool_call")
ERRORS = ("error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource")  # never an answer
MOST_TOKENS = 10_000_000  # larger token counts are server errors
LIMITS = ("max_tokens", "max_completion_tokens")
UNSHAPED = (*LIMITS, "stream", "stream_options")  # fields of a request that do not change what a model writes


@dataclass(frozen=True)
class Request:
    """One request: the provider, the route, the body as sent, and the sample's index.

    `closing` marks a request for the answer alone, of which a whole sentence is enough.
    """

    provider: str
    route: str
    body: dict
    index: int
    closing: bool = field(default=False, compare=False)

    @cached_property
    def key(self) -> str:
        """The hash of everything that shapes the reply, as 32 hex digits."""
        return digest(self.parts)[:32]

    @cached_property
    def draw(self) -> str:
        """The hash of everything that shapes the reply but its token limit."""
        body = {name: value for name, value in self.body.items() if name not in UNSHAPED}
        return digest({**self.parts, "body": body})[:32]

    @property
    def parts(self) -> dict:
        return {"provider": self.provider, "route": self.route, "body": self.body, "index": self.index}

    @property
    def limit(self) -> int:
        """The largest number of tokens of the reply."""
        return next((value for name, value in self.body.items() if name in LIMITS), 0)

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Upper bounds on prompt and reply tokens: a token has at least one byte, and the reply has its limit."""
        return len(json.dumps(self.body, ensure_ascii=False).encode()) + 16, self.limit


@dataclass(frozen=True)
class Reply:
    """A reply as the server sent it. `finish` is the server's finish reason; `counted`: whether it counted the tokens.

    `thinking` is the thought that the server sent apart from the text, and `tools` the tool calls as JSON.
    """

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    counted: bool = True
    refusal: str = ""
    thinking: str = ""
    model: str = ""
    tools: str = ""

    @cached_property
    def parts(self) -> Parts:
        """Thought and solution."""
        return split(self.text, self.thinking)

    @property
    def state(self) -> str:
        """complete, refused, truncated (at the token limit), tool call, or empty."""
        finish = self.finish.lower()
        if self.refusal or finish in REFUSALS:
            return "refused"
        if finish in CUTS:  # a text that continues with another question was complete before it
            return "complete" if self.parts.ran_on else "truncated"
        if (self.tools or finish in TOOL_CALLS) and not self.parts.solution:
            return "tool call"
        return "complete" if self.parts.solution or self.parts.thought else "empty"

    def answers(self, request: Request, limit: int) -> bool:
        """Whether this reply, to a request with token limit `limit`, is what `request` would return."""
        if self.state != "truncated" or limit >= request.limit:
            return True
        return request.closing and bool(whole_sentences(self.parts.solution))


@dataclass(frozen=True)
class Cost:
    """Calls, input and output tokens, and money (0 if no price is known)."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


def estimated_tokens(text: str) -> int:
    """The number of tokens, estimated as one per four characters, rounded up."""
    return -(-len(text) // 4)


class Replies:
    """The store in a folder: `with Replies(folder) as store`. Raises InputError if another process has it open."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.found: dict[str, Reply] = {}
        self.costs: dict[str, Cost] = {}
        self.draws: dict[str, list[tuple[str, int]]] = {}  # draw -> the keys and token limits of its replies
        self.spent = Cost()  # all that was or may have been billed, over all runs
        self.unreadable = 0

    def __enter__(self) -> "Replies":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self.folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise InputError(f"{self.folder}: in use by another process; wait for it, or stop it") from None
        self._files = {name: self._open(name) for name in ("replies", "attempts")}
        self.load()
        return self

    def __exit__(self, *_) -> None:
        for file in self._files.values():
            file.close()
        self._lock.release()

    def __len__(self) -> int:
        return len(self.found)

    def load(self) -> "Replies":
        """Read the files without taking the lock, for read-only use."""
        self.found, self.costs, self.draws, self.spent, self.unreadable = {}, {}, {}, Cost(), 0
        answered = set()
        for request, reply, cost in self._rows("replies", _answer):
            answered.add(request.key)
            if request.key not in self.found:
                self.spent += cost
                self._keep(request, reply, cost)
        unanswered: dict[str, Cost] = {}
        for key, event, cost in self._rows("attempts", _attempt):
            lost = unanswered.pop(key, None)
            if event == "sent":
                unanswered[key] = cost
                self.spent += lost or Cost()  # sent by a run that was killed before the reply
            else:
                self.spent += cost
        for cost in (cost for key, cost in unanswered.items() if key not in answered):
            self.spent += cost
        return self

    def _keep(self, request: Request, reply: Reply, cost: Cost) -> None:
        if reply.finish.lower() not in ERRORS:  # older versions stored errors as replies
            self.found[request.key], self.costs[request.key] = reply, cost
            self.draws.setdefault(request.draw, []).append((request.key, request.limit))

    def key_of(self, request: Request) -> str:
        """The key of the stored reply to this request, whole ones first; its own key if there is none."""
        found = [key for key, limit in self.draws.get(request.draw, ()) if self.found[key].answers(request, limit)]
        return min(found, key=lambda key: self.found[key].state == "truncated", default=request.key)

    def get(self, request: Request) -> Reply | None:
        """The stored reply to this request, or None."""
        return self.found.get(self.key_of(request))

    def cost(self, request: Request) -> Cost:
        """What the stored reply to this request cost."""
        return self.costs.get(self.key_of(request), Cost())

    def add(self, request: Request, reply: Reply, cost: Cost) -> None:
        """Store a reply; it is on disk when this returns."""
        what = {"key": request.key, **request.parts, "reply": asdict(reply), "cost": asdict(cost)}
        self._write("replies", {**what, "time": round(time.time())})
        os.fsync(self._files["replies"].fileno())
        if request.key not in self.found:
            self.spent += cost
            self._keep(request, reply, cost)

    def sent(self, request: Request, most: Cost) -> None:
        """Log that a request is about to be sent, with its maximum cost."""
        self._write("attempts", {"key": request.key, "event": "sent", "cost": asdict(most)})

    def failed(self, request: Request, cause: str, cost: Cost) -> None:
        """Log that a request got no valid reply, with the cause and what may still be billed for it."""
        row = {"key": request.key, "event": "failed", "cause": cause, "cost": asdict(cost), "time": round(time.time())}
        self._write("attempts", row)
        self.spent += cost

    def _open(self, name: str):
        file = (self.folder / f"{name}.jsonl").open("a+b")
        if file.tell() > 0:  # end an incomplete line left by a killed writer
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        return file

    def _write(self, name: str, row: dict) -> None:
        file = self._files[name]
        file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))
        file.flush()

    def _rows(self, name: str, make: Callable[[dict], tuple]) -> Iterator[tuple]:
        path = self.folder / f"{name}.jsonl"
        if not os.path.lexists(path):
            return
        for number, line in enumerate(re.split(rb"\r\n|\n|\r", read_bytes(path)), 1):
            if line.strip():
                try:
                    yield make(parse_json(line.decode("utf-8"), path, number))
                except (ValueError, TypeError, KeyError):  # not UTF-8, not JSON, or not a valid row
                    self.unreadable += 1


def _made(kind: type, values: dict) -> Any:
    """A Reply or a Cost from a stored row; TypeError if a value has another type."""
    made = kind(**values)
    for one in fields(kind):
        value, wanted = getattr(made, one.name), cast(type, one.type)
        if not (is_number(value) and value >= 0 if wanted in (int, float) else isinstance(value, wanted)):
            raise TypeError(f"{one.name} is {value!r}")
    return made


def _answer(row: dict) -> tuple[Request, Reply, Cost]:
    request = Request(row["provider"], row["route"], dict(row["body"]), row["index"])
    if request.key != row["key"]:
        raise ValueError("the row was changed")
    return request, _made(Reply, row["reply"]), _made(Cost, row["cost"])


def _attempt(row: dict) -> tuple[str, str, Cost]:
    cost = _made(Cost, row["cost"])
    if not isinstance(row["key"], str):
        raise TypeError(f"key is {row['key']!r}")
    refused = row["event"] == "failed" and not (
        cost.tokens_in or cost.tokens_out
    )  # nothing was written, nothing billed
    return row["key"], row["event"], Cost() if refused else cost
