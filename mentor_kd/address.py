"""Addresses: where a model is served, how it may be asked, and the key, which nothing shows.

The key is read from the environment at each request, by the name that the settings give. No attribute, local variable,
repr, log or error holds it, and what a server says is redacted before it goes anywhere.
"""

import math
import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from .files import InputError

ROUTES = {"chat": "chat/completions", "completions": "completions"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class EndpointSettings:
    """Where a model is served, and how it may be asked. Times are in seconds, limits 0 for none.

    Raises InputError for a value that cannot be, and for a key where only its variable's name belongs.
    """

    base_url: str = ""  # such as https://api.openai.com/v1
    route: str = "chat"  # chat, or completions: the prompt as it is, without a chat template
    key_env: str = ""  # the environment variable that holds the key; "" for a server without one
    provider: str = ""  # who answers, as the store of replies knows it; "" for base_url
    in_flight: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    connect_timeout: float = 10.0
    read_timeout: float = 120.0  # of silence
    total_timeout: float = 600.0  # of one request
    max_reply_bytes: int = 2_000_000
    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    breaker_failures: int = 16
    breaker_pause: float = 2.0
    breaker_openings: int = 6
    limit_field: str = "max_tokens"  # some models want max_completion_tokens

    def __post_init__(self):
        if self.base_url:
            url = urlsplit(self.base_url)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise InputError("base_url is an address such as https://api.openai.com/v1")
            if url.username or url.password or url.query or url.fragment:
                raise InputError("base_url is an address only; name the variable that holds the key with key_env")
        if self.key_env and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", self.key_env):
            raise InputError(
                "key_env is the NAME of an environment variable, such as OPENAI_API_KEY, in capitals; a key itself "
                "stands nowhere in settings (the value is not shown here, lest it be one)"
            )
        if self.route not in ROUTES:
            raise InputError(f"route {self.route!r} is none of {', '.join(ROUTES)}")
        if self.limit_field not in ("max_tokens", "max_completion_tokens"):
            raise InputError(f"limit_field {self.limit_field!r} is neither max_tokens nor max_completion_tokens")
        for name in ("in_flight", "tries", "max_reply_bytes", "breaker_failures", "breaker_openings"):
            _check(self, name, int, 1)
        for name in ("requests_per_minute", "tokens_per_minute"):
            _check(self, name, int, 0)
        for name in ("connect_timeout", "read_timeout", "total_timeout", "first_wait", "longest_wait", "breaker_pause"):
            _check(self, name, int | float, 0.001)

    @property
    def who(self) -> str:
        return self.provider or self.base_url.rstrip("/")


def _check(settings: EndpointSettings, name: str, kind: type, least: float) -> None:
    value = getattr(settings, name)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:
        raise InputError(f"{name} is a number from {least}, not {value!r}")


class Key(httpx.Auth):
    """The key, put on each request; nothing shows it."""

    def __init__(self, name: str):
        self._name = name
        if name and not os.environ.get(name, "").strip():
            raise InputError(f"the environment variable {name} is not set; it should hold the key of the endpoint")
        if name and not re.fullmatch(r"[\x21-\x7e]+", os.environ[name].strip()):
            raise InputError(f"the environment variable {name} holds characters that no key has (it is not shown here)")

    def auth_flow(self, request: httpx.Request):
        if self._name:
            request.headers["Authorization"] = f"Bearer {os.environ[self._name].strip()}"
        yield request

    def redacted(self, text: str) -> str:
        """A text of the server without the key; words as short as the EMPTY of some servers are no secret.

        Redact before anything is cut off: a part of a key is too much.
        """
        if self._name and len(os.environ[self._name].strip()) >= 8:
            return text.replace(os.environ[self._name].strip(), f"[{self._name}]")
        return text
