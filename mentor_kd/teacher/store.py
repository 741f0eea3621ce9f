"""The append-only store of replies, and the validation of what a server sends.

A request is identified by the hash of everything that shapes its reply: provider, route, the whole body, and the
sample's index. `replies.jsonl` has one line per complete reply, written to disk before the reply is used; a stored
request is never sent again. `attempts.jsonl` logs what was sent and what failed, so that the bill includes the requests
in flight when a run was killed. Lines cut off by a kill are skipped and counted.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock

from ..files import InputError, digest

REFUSALS = ("content_filter", "refusal", "safety")
MOST_TOKENS = 10_000_000  # larger token counts are server errors


class BadReply(ValueError):
    """The server did not send a complete, valid reply; the message says what is wrong."""


@dataclass(frozen=True)
class Request:
    """One request: the provider, the route, the body as sent, and the sample's index."""

    provider: str
    route: str
    body: dict
    index: int

    @cached_property
    def key(self) -> str:
        """The hash of everything that shapes the reply, as 32 hex digits."""
        return digest(asdict(self))[:32]

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Upper bounds on prompt and reply tokens: a token has at least one byte, and the reply has its limit."""
        limit = next(value for name, value in self.body.items() if name in ("max_tokens", "max_completion_tokens"))
        return len(json.dumps(self.body, ensure_ascii=False).encode()) + 16, limit


@dataclass(frozen=True)
class Reply:
    """A complete reply. `finish` is the server's finish reason; `counted`: whether the server counted the tokens."""

    text: str
    finish: str
    tokens_in: int
    tokens_out: int
    counted: bool = True
    refusal: str = ""
    thinking: str = ""
    model: str = ""

    @property
    def state(self) -> str:
        """complete, refused, truncated (at the token limit) or empty."""
        if self.refusal or self.finish in REFUSALS:
            return "refused"
        if self.finish == "length":
            return "truncated"
        return "complete" if self.text.strip() else "empty"


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


def parse_reply(raw: bytes, route: str, prompt: str = "") -> Reply:
    """The reply in a response body. Raises BadReply if it is invalid.

    If the server does not count tokens, they are estimated; those of the prompt from `prompt`.
    """
    try:
        found = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadReply(f"not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise BadReply(f"malformed JSON ({str(error)[:80]})") from None
    choice = _inner(_inner(found, "the reply", dict, "choices", list), "choices", list, 0, dict)
    message = _inner(choice, "the choice", dict, "message", dict) if route == "chat" else choice
    name = "content" if route == "chat" else "text"
    finish, refusal, thinking = (
        _text(place, key)
        for place, key in ((choice, "finish_reason"), (message, "refusal"), (message, "reasoning_content"))
    )
    text = message.get(name)
    if text is None and (refusal or finish in (*REFUSALS, "length")):
        text = ""
    if not isinstance(text, str):
        raise BadReply(f"wrong type: {name} is {_kind(text)}, not a text")
    for value in (text, finish, refusal, thinking):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadReply("half a surrogate pair in a text, which UTF-8 cannot hold") from None
    usage = found.get("usage") if isinstance(found.get("usage"), dict) else {}
    counts: list[Any] = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    counted = all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts)
    if not counted:
        counts = [estimated_tokens(prompt), estimated_tokens(text + thinking + refusal)]
    model = found.get("model") if isinstance(found.get("model"), str) else ""
    return Reply(
        text, finish, counts[0], counts[1], counted, refusal, thinking, model.encode("utf-8", "replace").decode()
    )


def _inner(place: Any, where: str, kind: type[dict] | type[list], key: Any, inner: type) -> Any:
    """place[key], after checking the types of both."""
    if not isinstance(place, kind):
        raise BadReply(f"wrong type: {where} is {_kind(place)}, not {_kind(kind())}")
    if kind is list and not place:
        raise BadReply("no choices: the list is empty")
    if kind is dict and key not in place:
        raise BadReply(f"{where} has no {key!r}")
    if not isinstance(place[key], inner):
        raise BadReply(f"wrong type: {key if kind is dict else where} is {_kind(place[key])}, not {_kind(inner())}")
    return place[key]


def _text(place: dict, key: str) -> str:
    value = place.get(key)
    if value is not None and not isinstance(value, str):
        raise BadReply(f"wrong type: {key} is {_kind(value)}, not a text")
    return value or ""


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


class Replies:
    """The store in a folder: `with Replies(folder) as store`. Raises InputError if another process has it open."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.found: dict[str, Reply] = {}
        self.costs: dict[str, Cost] = {}
        self.spent = Cost()  # all that was or may have been billed, over all runs
        self.unreadable = 0
        self.read_only = False

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
        self.found, self.costs, self.spent, self.unreadable = {}, {}, Cost(), 0
        for key, reply, cost in self._rows("replies", _answer):
            if key not in self.found:
                self.found[key], self.costs[key] = reply, cost
        unanswered: dict[str, Cost] = {}
        for key, event, cost in self._rows("attempts", _attempt):
            lost = unanswered.pop(key, None)
            if event == "sent":
                unanswered[key] = cost
                self.spent += lost or Cost()  # sent by a run that was killed before the reply
            else:
                self.spent += cost
        for cost in [*self.costs.values(), *(c for key, c in unanswered.items() if key not in self.found)]:
            self.spent += cost
        return self

    def get(self, request: Request) -> Reply | None:
        """The stored reply to this request, or None."""
        return self.found.get(request.key)

    def add(self, request: Request, reply: Reply, cost: Cost) -> None:
        """Store a reply; it is on disk when this returns."""
        key = request.key
        row = {"key": key, **asdict(request), "reply": asdict(reply), "cost": asdict(cost), "time": round(time.time())}
        self._write("replies", row)
        os.fsync(self._files["replies"].fileno())
        if key not in self.found:
            self.found[key], self.costs[key] = reply, cost
            self.spent += cost

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
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    try:
                        yield make(json.loads(line))
                    except (ValueError, TypeError, KeyError):  # not UTF-8, not JSON, or not a valid row
                        self.unreadable += 1


def _answer(row: dict) -> tuple[str, Reply, Cost]:
    return row["key"], Reply(**row["reply"]), Cost(**row["cost"])


def _attempt(row: dict) -> tuple[str, str, Cost]:
    return row["key"], row["event"], Cost(**row["cost"])
