"""A client of any OpenAI-compatible endpoint: concurrent requests within limits, every reply stored as it arrives.

The key is read from the environment, under the variable name in the settings, and never appears in a repr, log, error
or file. Redirects are not followed, so the key goes nowhere else. Responses are bounded in size and time.
"""

import asyncio
import contextlib
import email.utils
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import tenacity
from anyio.from_thread import start_blocking_portal

from .. import __version__
from ..files import InputError
from ..progress import Progress, visible
from .connection import LOOPBACK, ROUTES, EndpointSettings
from .key import Key
from .parse import BadReply, Foreign, ServerError, error_in, parse_reply
from .prices import Budget, Price
from .rate_limits import Breaker, Stopped, Window
from .store import Cost, Replies, Reply, Request, estimated_tokens

NOTHING = Cost()  # the server refused, so nothing was written that could be billed
WRONG_SETTING = {401: "the key", 403: "the key", 404: "base_url or the model's name", 405: "base_url"}
FLAGGED = re.compile(r"content.?(?:filter|policy|management)|moderation|flagged", re.IGNORECASE)


class Failed(RuntimeError):
    """A request without a valid reply: the cause, whether to retry (`again`), and what may be billed (`cost`).

    `throttled`: the server works but asks for a lower rate, with a pause of `wait` seconds if it named one. `fatal`:
    how to fix it, if every other request would fail too.
    """

    def __init__(self, cause: str, again=True, cost=NOTHING, throttled=False, wait=None, fatal=""):
        super().__init__(visible(cause.encode("utf-8", "replace").decode(), keep=""))
        self.again, self.cost, self.throttled, self.wait, self.fatal = again, cost, throttled, wait, fatal


class Endpoint:
    """A client of one endpoint that writes to one store: `with Endpoint(settings, store, budget, price) as client`."""

    def __init__(self, settings: EndpointSettings, store: Replies, budget: Budget, price: Price | None):
        if not settings.base_url:
            raise InputError("base_url is empty; set it to an address such as https://api.openai.com/v1")
        if budget.money and price is None:
            raise InputError(
                "budget_money needs a price for the model; add it to a YAML file and set `prices` to that file"
            )
        self.settings, self.store, self.budget, self.price = settings, store, budget, price
        self.url = f"{settings.base_url.rstrip('/')}/{ROUTES[settings.route]}"
        self.key = Key(settings.key_env)
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_pause, settings.breaker_openings)
        self.requests = Window(settings.requests_per_minute, "request")
        self.tokens = Window(settings.tokens_per_minute, "tokens")
        self.reserved: dict[str, Cost] = {}
        self.ended = self.failed = self.tried_again = 0

    @property
    def where(self) -> EndpointSettings:
        """The settings that the key of a request depends on."""
        return self.settings

    def __enter__(self) -> "Endpoint":
        self._stack = contextlib.ExitStack()
        with self._stack:
            self._portal = self._stack.enter_context(start_blocking_portal())
            self._stack.enter_context(self._portal.wrap_async_context_manager(self._client()))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._stack.__exit__(*error)

    @property
    def stopped(self) -> str:
        """Why this run stopped sending requests; "" if it has not."""
        return self.breaker.stopped

    def ask(self, requests: Iterable[Request], label: str = "asking") -> dict[str, str]:
        """Send the requests that have no stored reply, and store the replies. Returns key -> cause for the failures.

        On Ctrl-C no more requests are sent, and those in flight, which are paid for, are awaited; a second Ctrl-C does
        not wait.
        """
        wanted = {request.key: request for request in requests}
        todo = {key: one for key, one in wanted.items() if self.store.get(one) is None}
        for one in todo.values():
            self.tokens.check(_window_tokens(one))
        causes: dict[str, str] = {}
        with Progress(label, len(wanted), "requests") as progress:
            progress.skip(len(wanted) - len(todo))
            self.ended = self.failed = 0
            work = self._portal.start_task_soon(self._ask_all, iter(todo.values()), causes)
            try:
                while not futures.wait([work], timeout=0.1).done:
                    self._show(progress, len(wanted) - len(todo))
            except KeyboardInterrupt:
                self.breaker.stop("interrupted")
                print(
                    "\nstopping: waiting for requests in flight, which are paid for (Ctrl-C again to quit now)",
                    file=sys.stderr,
                )
                futures.wait([work], timeout=self.settings.total_timeout)
                raise
            self._show(progress, len(wanted) - len(todo))
            work.result()
        for key, one in todo.items():
            if self.store.get(one) is None:
                causes.setdefault(key, f"not asked: {self.breaker.stopped}")
        return causes

    def _show(self, progress: Progress, before: int) -> None:
        notes = [f"{self.failed} failed"] if self.failed else []
        notes += [f"{self.store.spent.money:.4f} {self.price.currency} spent"] if self.price else []
        notes += [f"{self.tried_again} retries"] if self.tried_again else []
        notes += [f"server failing: {self.breaker.cause[:80]}"] if self.breaker.opened else []
        progress.advance(before + self.ended - progress.done, ", ".join(notes))

    @contextlib.asynccontextmanager
    async def _client(self):
        s = self.settings
        async with httpx.AsyncClient(
            auth=self.key,
            timeout=httpx.Timeout(s.read_timeout, connect=s.connect_timeout, pool=None),
            limits=httpx.Limits(max_connections=s.in_flight, max_keepalive_connections=s.in_flight),
            headers={"Accept-Encoding": "identity", "User-Agent": f"mentor-kd/{__version__}"},
            follow_redirects=False,
            trust_env=urlsplit(s.base_url).hostname not in LOOPBACK,  # no proxy for localhost
        ) as self._http:
            yield

    async def _ask_all(self, todo: Iterator[Request], causes: dict[str, str]) -> None:
        async def work() -> None:
            for request in todo:  # one iterator for all workers
                try:
                    await self._ask(request)
                except Failed as error:
                    causes[request.key] = str(error)
                    self.failed += 1
                    if error.fatal:
                        self.breaker.stop(f"{error}; {error.fatal}")
                except Stopped:
                    return
                self.ended += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(self.settings.in_flight):
                group.create_task(work())

    async def _ask(self, request: Request) -> None:
        """Retry until the reply is stored; raises Failed with the last cause."""
        async for attempt in tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.settings.tries),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failed) and error.again),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        ):
            with attempt:
                await self._try(request)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Exponential backoff with full jitter, or slightly more than the server asked for."""
        s, error = self.settings, state.outcome.exception() if state.outcome else None
        if isinstance(error, Failed) and error.wait is not None:
            return error.wait + random.uniform(0, s.first_wait)
        return tenacity.wait_random_exponential(multiplier=s.first_wait, max=s.longest_wait)(state)

    async def _sleep(self, seconds: float) -> None:
        self.tried_again += 1
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self.breaker.stopped:
            await asyncio.sleep(min(left, 0.1))

    async def _try(self, request: Request) -> None:
        probe = await self.breaker.gate()
        try:
            most = self._most(request)
            await self._reserve(request.key, most)
            await self.requests.take(1)
            await self.tokens.take(_window_tokens(request))
            await self.breaker.rest()
            if self.breaker.stopped:
                raise Stopped(self.breaker.stopped)
            self.store.sent(request, most)
            try:
                reply = await self._post(request, most)
            except Failed as error:
                self.store.failed(request, str(error), error.cost)
                if not error.throttled:
                    self.breaker.failure(str(error), probe)
                raise
            self.breaker.success()
            self.store.add(request, reply, self._cost(reply.tokens_in, reply.tokens_out))
        finally:
            self.reserved.pop(request.key, None)
            self.breaker.release(probe)

    def _cost(self, tokens_in: int, tokens_out: int) -> Cost:
        return Cost(1, tokens_in, tokens_out, self.price.of(tokens_in, tokens_out) if self.price else 0.0)

    def _most(self, request: Request) -> Cost:
        return self._cost(*request.most_tokens)

    async def _reserve(self, key: str, most: Cost) -> None:
        """Reserve the maximum cost of a request before it is sent, so that the budget is never exceeded."""
        while why := self.budget.exceeded(sum(self.reserved.values(), self.store.spent) + most):
            if not self.reserved:
                self.breaker.stop(f"{why}; raise it to go on")
                raise Stopped(why)
            await asyncio.sleep(0.02)  # requests in flight usually cost less than was reserved
            if self.breaker.stopped:
                raise Stopped(self.breaker.stopped)
        self.reserved[key] = most

    async def _post(self, request: Request, most: Cost) -> Reply:
        """Send once and return the reply; raises Failed with the cause."""
        seconds = self.settings.total_timeout
        try:
            async with asyncio.timeout(seconds), self._http.stream("POST", self.url, json=request.body) as response:
                raw = await self._read(response, most)
        except TimeoutError:
            raise Failed(f"no whole answer within {seconds:g} s", cost=most) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Failed(f"no connection ({self._said(error)})") from None
        except httpx.TimeoutException:
            raise Failed(f"silence for {self.settings.read_timeout:g} s", cost=most) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise Failed(f"the connection broke ({self._said(error)})", cost=most) from None
        if response.status_code != 200:
            raise self._refused(error_in(raw, response.status_code), response.headers, "HTTP")
        try:
            reply = parse_reply(raw, request.route, _prompt_text(request.body))
        except BadReply as error:
            again = not isinstance(error, Foreign)
            raise Failed(f"unusable answer: {self.key.redacted(str(error))}", again, cost=most) from None
        except ServerError as error:
            raise self._refused(error, response.headers, "HTTP 200 with error") from None
        names = ("text", "refusal", "thinking", "model", "finish", "tools")
        texts: dict[str, Any] = {name: self.key.redacted(getattr(reply, name)) for name in names}
        return replace(reply, **texts)

    async def _read(self, response: httpx.Response, most: Cost) -> bytes:
        limit = self.settings.max_reply_bytes
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise Failed("unusable answer: compressed, which was not asked for", cost=most)
        raw = bytearray()
        async for block in response.aiter_raw():
            raw += block
            if len(raw) > limit:
                raise Failed(f"unusable answer: larger than {limit} bytes", cost=most)
        return bytes(raw)

    def _said(self, error: Exception) -> str:
        return self.key.redacted(f"{type(error).__name__}: {error}")[:160]

    def _refused(self, error: ServerError, headers: httpx.Headers, said: str) -> Failed:
        """The failure that an error means, by its HTTP status; it costs the reply tokens that were counted."""
        status, tokens = error.status, error.tokens
        cost = self._cost(*tokens) if tokens[1] else NOTHING
        message = " ".join(self.key.redacted(error.message).split())[:200]
        cause = f"{said} {status}: {message}" if message else f"{said} {status}"
        wait = _retry_after(headers)
        if status in (400, 403, 451) and FLAGGED.search(f"{error.code} {message}"):
            return Failed(f"{cause} (the server's content filter)", again=False, cost=cost)
        if status in WRONG_SETTING:
            return Failed(cause, again=False, cost=cost, fatal=f"check {WRONG_SETTING[status]}, then run again")
        if status == 402 or (status == 429 and error.code == "insufficient_quota"):
            return Failed(cause, again=False, fatal="your account's quota is used up; run again when it is not")
        if 300 <= status < 400:
            return Failed(cause, again=False, fatal="redirects are not followed; give base_url its new address")
        if wait is not None and wait > self.settings.longest_wait:
            return Failed(cause, again=False, fatal=f"the server asks to wait {wait:.0f} s; run again then")
        if status == 429 or (wait is not None and status >= 500):
            self.breaker.hold(wait or 0.0)
            return Failed(cause, cost=cost, throttled=True, wait=wait)
        if 400 <= status < 500 and "stream" in message.lower():
            cause += " (if this model only streams, set extra to {stream: true})"
        return Failed(cause, again=status in (408, 409, 425) or status >= 500, cost=cost)


def _window_tokens(request: Request) -> int:
    return estimated_tokens(_prompt_text(request.body)) + request.most_tokens[1]


def _prompt_text(body: dict) -> str:
    return body["prompt"] if "prompt" in body else "\n".join(message["content"] for message in body["messages"])


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait from a Retry-After header (a number or a date); None if it is absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
