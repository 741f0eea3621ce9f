"""Pacing: so many requests and tokens in any minute, pauses that a server asks for, and a circuit breaker."""

import asyncio
import time
from collections import deque

from ..files import InputError

MINUTE = 60.0


class Stopped(RuntimeError):
    """Nothing more is asked in this run; the message says why, and what to do."""


class Window:
    """At most `limit` (requests, or tokens) in any 60 seconds; 0 for no limit. Waiters are served in their order."""

    def __init__(self, limit: int, unit: str, seconds: float = MINUTE):
        self.limit, self.unit, self.seconds = limit, unit, seconds
        self.taken: deque[tuple[float, int]] = deque()
        self.used = 0
        self.turn = asyncio.Lock()

    def check(self, amount: int) -> None:
        """InputError for an amount that would never fit."""
        if self.limit and amount > self.limit:
            raise InputError(
                f"one request counts {amount} {self.unit}, but the limit is {self.limit} a minute; raise it"
            )

    async def take(self, amount: int) -> None:
        """Wait until so much more fits."""
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
    """Stops asking a server that only fails, lets one request through now and then, and gives up after a while.

    After `failures` in a row it opens; after `pause` seconds, twice as long each time, one request may try. The first
    success closes it. After `openings` pauses in vain it gives up, and `gate` raises Stopped from then on; after two,
    while nothing has ever succeeded, for then the address is wrong, or the server not up. `hold` is the server's own
    wish to be left alone for some seconds.
    """

    def __init__(self, failures: int, pause: float, openings: int):
        self.limit, self.pause, self.openings = failures, pause, openings
        self.in_a_row = self.opened = self.successes = 0
        self.cause = ""  # of the last failure
        self.until = 0.0  # nothing is sent before
        self.probing = False
        self.stopped = ""

    def stop(self, why: str) -> None:
        """Nothing more is sent in this run; the first reason stands."""
        self.stopped = self.stopped or why

    def hold(self, seconds: float) -> None:
        self.until = max(self.until, time.monotonic() + seconds)

    async def rest(self) -> None:
        """Wait as long as the server wants to be left alone; for a request that has passed the gate and had to wait."""
        while time.monotonic() < self.until and not self.stopped:
            await asyncio.sleep(0.02)

    async def gate(self) -> bool:
        """Wait until a request may be sent; whether it is the one that tries an open circuit. Raises Stopped."""
        while True:
            if self.stopped:
                raise Stopped(self.stopped)
            if time.monotonic() >= self.until and not self.probing:
                self.probing = self.opened > 0
                return self.probing
            await asyncio.sleep(0.02)

    def release(self, probe: bool) -> None:
        """The request that tried is over, or was never sent."""
        if probe:
            self.probing = False

    def success(self) -> None:
        self.in_a_row = self.opened = 0
        self.successes += 1

    def failure(self, cause: str, probe: bool) -> None:
        self.in_a_row, self.cause = self.in_a_row + 1, cause
        if not probe and (self.opened or self.in_a_row < self.limit):  # what was under way when it opened says no more
            return
        self.opened += 1
        if self.opened > (self.openings if self.successes else min(self.openings, 2)):
            self.stop(f"the server failed {self.in_a_row} times in a row, at last: {cause}; run again when it is well")
        self.hold(self.pause * 2 ** (self.opened - 1))
