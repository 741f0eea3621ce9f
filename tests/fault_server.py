"""A loopback server that speaks the OpenAI protocol and injects faults, for testing the client."""

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

HUGE = b'{"choices": [{"message": {"content": "' + b"x" * 10_000_000 + b'"}}]}'
FAULTS = {  # name -> text required in the client's error
    "429": "HTTP 429",
    "500": "HTTP 500",
    "503": "HTTP 503",
    "hang up": "the connection broke",
    "half a body": "the connection broke",
    "slow body": "no whole answer within",
    "silence": "silence for",
    "malformed": "malformed JSON",
    "deep": "malformed JSON",
    "no choices": "no choices",
    "null choices": "wrong type: choices",
    "an array": "wrong type: the reply",
    "number for text": "wrong type: content",
    "surrogate": "an unpaired surrogate",
    "not utf-8": "not UTF-8",
    "huge": "larger than",
    "huge without length": "larger than",
    "compressed": "compressed",
    "not http": "the connection broke",
}


def reply(text: object, finish: str | None = "stop", usage: bool = True, **message) -> dict:
    """A chat reply; each word counts as one token."""
    made = {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]}
    if usage:
        made["usage"] = {"prompt_tokens": 10, "completion_tokens": len(str(text or "").split())}
    return made


class Server:
    """`with Server(behave) as server`: `behave(body, nth)` returns a fault's name, a reply, or its bytes.

    `nth` counts the requests with the same body, from 0. `asked` and `answered` count bodies by their JSON text.
    """

    def __init__(self, behave: Callable[[dict, int], object], delay: float = 0.0, port: int = 0):
        self.behave, self.delay, self.port = behave, delay, port
        self.asked: Counter = Counter()
        self.answered: Counter = Counter()
        self.times: list[float] = []
        self.keys: set[str] = set()
        self.open = self.most_open = self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> "Server":
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        async def serve() -> None:
            self._stop = asyncio.Event()
            server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._loop.run_until_complete(serve())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._request(reader, writer):
                    pass
        finally:
            self.open -= 1
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        text = json.dumps(body, sort_keys=True)
        self.keys.add(headers.get("authorization", ""))
        self.times.append(time.monotonic())
        nth = self.asked[text]
        self.asked[text] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay)
            told = self.behave(body, nth)
            if isinstance(told, str):
                return await self._misbehave(told, writer)
            await self._send(writer, told if isinstance(told, bytes) else json.dumps(told).encode())
            self.answered[text] += 1
            return True
        finally:
            self.in_flight -= 1

    async def _send(self, writer, body: bytes, status: str = "200 OK", headers: str = "", length: int | None = None):
        size = "" if length == -1 else f"Content-Length: {len(body) if length is None else length}\r\n"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{size}{headers}\r\n".encode())
        for start in range(0, len(body), 1 << 16):
            writer.write(body[start : start + (1 << 16)])
            await writer.drain()

    async def _misbehave(self, fault: str, writer: asyncio.StreamWriter) -> bool:
        bodies = {
            "malformed": b'{"choices": [{"message": {"content": "half',
            "deep": b"[" * 200_000,
            "no choices": b'{"choices": []}',
            "null choices": b'{"choices": null}',
            "an array": b"[1, 2]",
            "number for text": b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}',
            "surrogate": b'{"choices": [{"message": {"content": "\\ud83d"}, "finish_reason": "stop"}]}',
            "not utf-8": b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
            "huge": HUGE,
        }
        if fault in bodies:
            await self._send(writer, bodies[fault])
        elif fault == "429":
            await self._send(
                writer, b'{"error": {"message": "slow down"}}', "429 Too Many Requests", "Retry-After: 1\r\n"
            )
        elif fault in ("500", "503"):
            await self._send(writer, b"\xff <html>oops", f"{fault} Error")
        elif fault[:1].isdigit():  # for example "401 wrong key", "400 {"error": ...}"
            await self._send(writer, fault[4:].encode(), f"{fault[:3]} Error")
        elif fault == "compressed":
            await self._send(writer, b"\x1f\x8b", headers="Content-Encoding: gzip\r\n")
        elif fault == "half a body":
            await self._send(writer, b'{"choices"', length=100)
        elif fault == "not http":
            writer.write(b"\x00\x01\x02 hello\r\n\r\n")
        elif fault == "huge without length":
            await self._send(writer, HUGE, length=-1)
        elif fault == "slow body":
            await self._send(writer, b"", length=10_000)
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        elif fault == "silence":
            await asyncio.sleep(3600)
        else:
            assert fault == "hang up", fault
        return fault not in ("hang up", "half a body", "not http", "huge without length")
