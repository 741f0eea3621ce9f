"""The key of an endpoint, which nothing shows.

It is read from the environment at each request, by the name that the settings give. No attribute, local variable, repr,
log or error holds it, and what a server says is redacted before it goes anywhere.
"""

import os
import re

import httpx

from ..files import InputError


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
