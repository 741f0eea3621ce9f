"""The API key of an endpoint, which is never shown.

It is read from the environment at each request, under the variable name in the settings. No attribute, local variable,
repr, log or error contains it, and server messages are redacted before use.
"""

import os
import re

import httpx

from ..files import InputError


class Key(httpx.Auth):
    """Adds the key to each request without ever showing it. Raises InputError if it is unset or malformed."""

    def __init__(self, name: str):
        self._name = name
        if name and not os.environ.get(name, "").strip():
            raise InputError(f"the environment variable {name} is not set; set it to the API key of the endpoint")
        if name and not re.fullmatch(r"[\x21-\x7e]+", os.environ[name].strip()):
            raise InputError(
                f"the environment variable {name} must hold printable ASCII without spaces (its value is not shown)"
            )

    def auth_flow(self, request: httpx.Request):
        if self._name:
            request.headers["Authorization"] = f"Bearer {os.environ[self._name].strip()}"
        yield request

    def redacted(self, text: str) -> str:
        """A server's text without the key. Values under 8 characters are placeholders such as EMPTY, not secrets.

        Redact before truncating: even part of a key must not be shown.
        """
        if self._name and len(os.environ[self._name].strip()) >= 8:
            return text.replace(os.environ[self._name].strip(), f"[{self._name}]")
        return text
