"""What a server sends, as a reply: validated, with thought, answer, refusal and tool calls kept separate.

Reads the replies of OpenAI, vLLM, SGLang, llama.cpp, Ollama, DeepSeek, OpenRouter, Mistral and similar servers:
thoughts in the fields `reasoning_content`, `reasoning`, `thinking`, `reasoning_details` or `thinking_blocks` (texts,
objects or lists), content as a text or a list of parts, errors in a reply of status 200, and event streams that were
not requested.
"""

import json
import re
from typing import Any

from .store import ERRORS, MOST_TOKENS, Reply, estimated_tokens

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details", "thinking_blocks", "thought")
_TEXT_KEYS = ("text", "thinking", "reasoning", "reasoning_content", "content", "summary", "parts")
_THOUGHT_PARTS = ("thinking", "reasoning", "thought", "redacted_thinking", "summary_text")
_STREAM = re.compile(r"\s*(?:data|event|id|retry)?:")


class BadReply(ValueError):
    """The server did not send a complete, valid reply; the message says what is wrong."""


class Foreign(BadReply):
    """A whole reply that is none of this protocol, such as a web page: the same request would get the same again."""


class ServerError(RuntimeError):
    """The server sent an error: its message, the equivalent HTTP status, its code, and the reply tokens it counted."""

    def __init__(self, message: str, status: int, code: str = "", tokens: tuple[int, int] = (0, 0)):
        super().__init__(message)
        self.message, self.status, self.code, self.tokens = message, status, code, tokens


def parse_reply(raw: bytes, route: str, prompt: str = "") -> Reply:
    """The reply in a response body. Raises BadReply if it is invalid, and ServerError for an error in its place.

    If the server does not count tokens, they are estimated; those of the prompt from `prompt`.
    """
    found = _read(raw, route)
    counts = _usage(found)
    _raise_error(found, counts)
    if isinstance(found, dict) and "choices" not in found:
        raise Foreign("it has no 'choices', so the server speaks another protocol; check base_url and route")
    choice = _inner(_inner(found, "the reply", dict, "choices", list), "choices", list, 0, dict)
    message = _inner(choice, "the choice", dict, "message", dict) if route == "chat" else choice
    name = "content" if route == "chat" else "text"
    said = _said(message, name)
    if message is not choice:
        said = {**{key: value for key, value in _said(choice, name).items() if key in THOUGHT_FIELDS}, **said}
    finish, tools = _finish(choice), _tool_calls(message)
    if name not in message and not (said or finish or tools):
        raise BadReply(f"the {'message' if route == 'chat' else 'choice'} has neither {name} nor a thought")
    reply = Reply(
        said.get(name, ""),
        finish,
        *(counts or (estimated_tokens(prompt), estimated_tokens("".join(said.values())))),
        counted=counts is not None,
        refusal=said.get("refusal", ""),
        thinking=_thought(said),
        model=_printable(found.get("model")),
        tools=json.dumps(tools) if tools else "",
    )
    for value in (reply.text, reply.finish, reply.refusal, reply.thinking):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadReply("an unpaired surrogate in a text, which UTF-8 cannot hold") from None
    return reply


def _read(raw: bytes, route: str) -> Any:
    """The JSON value of a body; an event stream is joined into one reply."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadReply(f"not UTF-8 (byte {error.start})") from None
    if text.lstrip()[:1] == "<":
        raise Foreign("a web page instead of JSON; check base_url")
    return _joined(text, route) if _STREAM.match(text) else _json(text)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadReply(f"malformed JSON ({str(error)[:80]})") from None


# Fields of a message


def _said(message: dict, name: str) -> dict[str, str]:
    """The texts of a message or of a part of a stream, by field; only those that are not empty."""
    found = {key: text for key in THOUGHT_FIELDS if (text := _texts(message.get(key)))}
    content, refusal = message.get(name), message.get("refusal")
    if content is not None and not isinstance(content, str | list):
        raise BadReply(f"wrong type: {name} is {_kind(content)}, not a text")
    if refusal is not None and not isinstance(refusal, str):
        raise BadReply(f"wrong type: refusal is {_kind(refusal)}, not a text")
    parts = [_part(part, name) for part in content] if isinstance(content, list) else [(name, content or "")]
    for key, text in [*parts, ("refusal", refusal or "")]:
        if text:
            found[key] = found.get(key, "") + text
    return found


def _part(part: Any, name: str) -> tuple[str, str]:
    """The field that a part of a content list belongs to, and its text."""
    if isinstance(part, str):
        return name, part
    if not isinstance(part, dict):
        raise BadReply(f"wrong type: a part of {name} is {_kind(part)}, not a text or an object")
    kind = part.get("type")
    if kind in _THOUGHT_PARTS or part.get("thought") is True:
        return "thinking", _texts(part)
    if kind == "refusal":
        return "refusal", _texts(part.get("refusal"))
    return name, _texts(part)  # "" for a part without text, such as an image


def _texts(value: Any) -> str:
    """All texts in a field that may be a text, an object or a list of either."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for one in value if (text := _texts(one)))
    if isinstance(value, dict):
        return "\n".join(text for key in _TEXT_KEYS if (text := _texts(value.get(key))))
    return ""


def _thought(said: dict[str, str]) -> str:
    """The thoughts of all fields; servers repeat one thought in several fields, of which the longest is taken."""
    kept: list[str] = []
    for text in sorted((said[key] for key in THOUGHT_FIELDS if key in said), key=len, reverse=True):
        if not any("".join(text.split()) in "".join(other.split()) for other in kept):
            kept.append(text)
    return "\n\n".join(kept)


def _finish(choice: dict) -> str:
    value = choice.get("finish_reason")
    if isinstance(value, dict):  # SGLang's own form
        value = value.get("type")
    if value is not None and not isinstance(value, str):
        raise BadReply(f"wrong type: finish_reason is {_kind(value)}, not a text")
    return value or ""


def _tool_calls(message: dict) -> list:
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    return [*calls, message["function_call"]] if message.get("function_call") else calls


def _usage(found: Any) -> tuple[int, int] | None:
    """The tokens of prompt and reply as the server counted them; None if it did not."""
    usage = found.get("usage") if isinstance(found, dict) else None
    if not isinstance(usage, dict):
        return None
    counts: list[Any] = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    valid = all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts)
    return (counts[0], counts[1]) if valid else None


def _printable(value: Any) -> str:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


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


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


# Event streams


def _joined(text: str, route: str) -> dict:
    """One reply from the events of a stream. Raises BadReply for a stream that does not end."""
    said: dict[str, str] = {}
    found: dict[str, Any] = {}
    finish, tools, name = None, [], "content" if route == "chat" else "text"
    failed = ended = False
    for line in re.split(r"\r\n|\r|\n", text):  # not splitlines: a text may contain U+2028
        if line.startswith("event:"):
            failed = line[6:].strip() == "error"
        data = line[5:].strip() if line.startswith("data:") else ""
        ended = ended or data == "[DONE]"
        if data in ("", "[DONE]"):
            continue
        chunk = _json(data)
        if not isinstance(chunk, dict):
            raise BadReply(f"wrong type: an event is {_kind(chunk)}, not an object")
        if failed or chunk.get("object") == "error":
            chunk = {"error": chunk.get("error") or chunk}
        found |= {key: chunk[key] for key in ("model", "usage", "error") if chunk.get(key)}
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if not isinstance(choice, dict):
                raise BadReply(f"wrong type: a choice is {_kind(choice)}, not an object")
            delta = choice.get("delta") or choice.get("message") or {} if route == "chat" else choice
            if not isinstance(delta, dict):
                raise BadReply(f"wrong type: delta is {_kind(delta)}, not an object")
            for key, more in _said(delta, name).items():
                said[key] = said.get(key, "") + more
            tools += _tool_calls(delta)
            finish = choice.get("finish_reason") or finish
            found |= {"error": choice["error"]} if choice.get("error") else {}
    if not (ended or finish or found.get("error")):
        raise BadReply("the event stream ended early")
    message = {name: said.pop(name, ""), **said, "tool_calls": tools}
    choice = {"message": message} if route == "chat" else message
    return {
        **found,
        "choices": [{**choice, "finish_reason": finish}] if said or finish or any(message.values()) else [],
    }


# Errors


def _raise_error(found: Any, counts: tuple[int, int] | None) -> None:
    """Raise ServerError if a reply of status 200 holds an error in place of an answer."""
    if isinstance(found, list) and len(found) == 1:  # as Google's servers send errors
        found = found[0]
    if not isinstance(found, dict):
        return
    choices = found.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    finish = choice.get("finish_reason")
    errored = isinstance(finish, str) and finish.lower() in ERRORS
    error = choice.get("error") or found.get("error")
    if not choice and error is None:
        error = _other_error(found)
    if not errored and (choice or not error):
        return
    message, status, code = error_parts(error)
    message = f"finish_reason {finish}" + (f": {message}" if message else "") if errored else message
    raise ServerError(message, status, code, counts if counts and counts[1] else (0, 0))


def _other_error(found: dict) -> Any:
    """The error of a reply without a choice, in other servers' forms; None if there is none."""
    errors = found.get("errors")
    if isinstance(errors, list) and errors:
        return errors[0]
    if found.get("object") == "error" or ("code" in found and ("msg" in found or "message" in found)):
        return found
    return found.get("detail") or found.get("base_resp")


def error_in(raw: bytes, status: int) -> ServerError:
    """The error in the body of a response with an HTTP error status."""
    text = raw.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ServerError(text, status)
    error = found.get("error") or found.get("detail") or found.get("message") if isinstance(found, dict) else None
    message, _, code = error_parts(error if error else text)
    return ServerError(message, status, code)


def error_parts(error: Any) -> tuple[str, int, str]:
    """The message of an error object, the equivalent HTTP status (500 if unknown), and its code."""
    if not isinstance(error, dict):
        message = error if isinstance(error, str) else json.dumps(error) if error else ""
        return message, _status("", message), ""
    message = str(error.get("message") or error.get("msg") or error.get("status_msg") or error.get("error") or "")
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):  # the words of OpenRouter's provider
        message += f" ({metadata['raw']})"
    code = error.get("code")
    for value in (code, error.get("status"), error.get("status_code"), error.get("http_code")):
        if re.fullmatch(r"[45]\d\d", str(value)):
            return message, int(str(value)), str(code)
    names = f"{code} {error.get('type')} {error.get('status')}".replace("_", " ")
    return message, _status(names, message), "" if code is None else str(code)


_STATUS = (
    (402, r"insufficient.?(?:quota|balance|credit|funds)|billing"),
    (429, r"rate.?limit|too many requests|throttl|resource.?exhausted"),
    (503, r"overload|unavailable|timed? ?out|busy|capacity|try again|bad.?gateway|upstream"),
    (500, r"server.?error|internal"),
    (401, r"authenti|api.?key|unauthorized|permission"),
    (404, r"model.{0,60}(?:not found|does not exist|unknown)|not.?found"),
    (
        400,
        r"invalid|bad.?request|unsupported|not support|context.?length|too (?:long|large)|content.?filter|moderation",
    ),
)


def _status(names: str, message: str) -> int:
    """The HTTP status equivalent to an error, by its code and type, else by its words."""
    for words in (names, message):
        for status, pattern in _STATUS:
            if re.search(pattern, words, re.IGNORECASE):
                return status
    return 500
