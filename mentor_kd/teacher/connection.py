"""Settings of the connection to a model server: address, rate limits, timeouts, and the name of the key variable."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..checks import require_choice, require_integer, require_number, require_text
from ..files import InputError

ROUTES = {"chat": "chat/completions", "completions": "completions"}
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class EndpointSettings:
    """Where a model is served, and the limits of requests to it. Times are in seconds; 0 means no limit.

    Raises InputError for an invalid value, and for a key given in place of its variable's name.
    """

    base_url: str = ""  # such as https://api.openai.com/v1
    route: str = "chat"  # chat, or completions: the plain prompt, without a chat template
    key_env: str = ""  # the environment variable that holds the key; "" for a server without one
    provider: str = ""  # name that replies are stored under; "" for base_url
    in_flight: int = 8
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    connect_timeout: float = 10.0
    read_timeout: float = 900.0  # without receiving a byte; a server sends none while its model thinks
    total_timeout: float = 900.0  # for one request
    max_reply_bytes: int = 2_000_000
    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0
    breaker_failures: int = 16
    breaker_pause: float = 2.0
    breaker_openings: int = 6
    limit_field: str = "max_tokens"  # some models need max_completion_tokens

    def __post_init__(self) -> None:
        for name in ("base_url", "provider"):
            require_text(name, getattr(self, name))
        if self.base_url:
            url = urlsplit(self.base_url)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise InputError("base_url must be an http(s) address such as https://api.openai.com/v1")
            if url.username or url.password or url.query or url.fragment:
                raise InputError(
                    "base_url must be an address only; set key_env to the name of the variable that holds the key"
                )
        require_text("key_env", self.key_env if isinstance(self.key_env, str) else None)
        if self.key_env and not re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", self.key_env):
            raise InputError(
                "key_env must be the NAME of an environment variable in capitals, such as OPENAI_API_KEY, never the "
                "key itself (the value is not shown, as it may be a key)"
            )
        require_choice("route", self.route, ROUTES)
        require_choice("limit_field", self.limit_field, ("max_tokens", "max_completion_tokens"))
        for name in ("in_flight", "tries", "max_reply_bytes", "breaker_failures", "breaker_openings"):
            require_integer(name, getattr(self, name), 1)
        for name in ("requests_per_minute", "tokens_per_minute"):
            require_integer(name, getattr(self, name), note="0 for no limit")
        for name in ("connect_timeout", "read_timeout", "total_timeout", "first_wait", "longest_wait", "breaker_pause"):
            require_number(name, getattr(self, name), least=0.001, note="seconds")

    @property
    def who(self) -> str:
        return self.provider or self.base_url.rstrip("/")
