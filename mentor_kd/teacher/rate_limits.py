"""Rate limits: requests and tokens per minute, pauses requested by the server, and a circuit breaker."""

import asyncio
import time
from collections import deque

from ..files import InputError

MINUTE = 60.0


class Stopped(RuntimeError):
    """No more requests are sent in this run; the message says why and what to do."""


class Window:
    """At most `limit` requests or tokens in any 60 seconds; 0 for no limit. Waiting requests are served in order."""

    def __init__(self, limit: int, unit: str, seconds: float = MINUTE):
        self.limit, self.unit, self.seconds = limit, unit, seconds
        self.taken: deque[tuple[float, int]] = deque()
        self.used = 0
        self.turn = asyncio.Lock()

    def check(self, amount: int) -> None:
        """Raise InputError for an amount that can never fit."""
        if self.limit and amount > self.limit:
            raise InputError(
                f"one request needs {amount} {self.unit}, but the limit is {self.limit} per minute; raise the "
                f"limit, or lower the token limit of a reply"
            )

    async def take(self, amount: int) -> None:
        """Wait until `amount` more fits into the window."""
        self.check(amount)
        if not self.limit:
            return
        async with self.turn:
            while True:
                now = time.monotonic()
                while self.taken and self.taken[0][0] <= now - self.seconds:
                    self.used -= self.taken.popleft()[1]
                if self.used + amount <= self.limit:
                    break
                await asyncio.sleep(self.taken[0][0] + self.seconds - now)
            self.taken.append((now, amount))
            self.used += amount


class Breaker:
    """A circuit breaker: pauses when the server keeps failing, probes it with single requests, and finally gives up.

    It opens after `failures` in a row. After `pause` seconds, doubled each time, one request may probe the server; the
    first success closes the circuit. After `openings` pauses without success it gives up, and `gate` raises Stopped
    from then on. If no request has ever succeeded it gives up after two, as the address is probably wrong or the server
    down. `hold` pauses for a time requested by the server.
    """

    def __init__(self, failures: int, pause: float, openings: int):
        self.limit, self.pause, self.openings = failures, pause, openings
        self.in_a_row = self.opened = self.successes = 0
        self.cause = ""  # of the last failure
        self.until = 0.0  # send nothing before this time
        self.probing = False
        self.stopped = ""

    def stop(self, why: str) -> None:
        """Send nothing more in this run; the first reason is kept."""
        self.stopped = self.stopped or why

    def hold(self, seconds: float) -> None:
        self.until = max(self.until, time.monotonic() + seconds)

    async def rest(self) -> None:
        """Wait for the end of a pause that began after the request passed the gate."""
        while time.monotonic() < self.until and not self.stopped:
            await asyncio.sleep(0.02)

    async def gate(self) -> bool:
        """Wait until a request may be sent; returns whether it probes an open circuit. Raises Stopped."""
        while True:
            if self.stopped:
                raise Stopped(self.stopped)
            if time.monotonic() >= self.until and not self.probing:
                self.probing = self.opened > 0
                return self.probing
            await asyncio.sleep(0.02)

    def release(self, probe: bool) -> None:
        """Call when a request has ended or was not sent, so that after a probe the next one may start."""
        if probe:
            self.probing = False

    def success(self) -> None:
        self.in_a_row = self.opened = 0
        self.successes += 1

    def failure(self, cause: str, probe: bool) -> None:
        self.in_a_row, self.cause = self.in_a_row + 1, cause
        if not probe and (self.opened or self.in_a_row < self.limit):  # in flight when it opened
            return
        self.opened += 1
        if self.opened > (self.openings if self.successes else min(self.openings, 2)):
            self.stop(f"the server failed {self.in_a_row} times in a row, at last: {cause}; run again when it is well")
        self.hold(self.pause * 2 ** (self.opened - 1))
