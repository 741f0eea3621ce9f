"""Chats as rows: `messages` with role and content, or ShareGPT's `conversations` with from and value."""

from dataclasses import dataclass
from typing import Any

from ..files import InputError
from ..parsing import shown
from .sources import parse_cell

TURNS = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue", "turns")  # names of the column
_ROLES = {
    "user": "user human prompter".split(),
    "assistant": "assistant gpt chatgpt model bot ai bing bard claude".split(),
    "system": "system developer".split(),
}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True)
class Chat:
    """The last question of a chat, the assistant's replies to it, and the system's text."""

    question: str
    replies: tuple[str, ...]
    system: str


def are_turns(value: Any) -> bool:
    """Whether a value looks like the turns of a chat."""
    try:
        value = _parsed(value)
    except InputError:  # a text that only begins like a list
        return False
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and _role(one) for one in value)


def read_chat(value: Any) -> Chat:
    """Read a chat: the last user turn is the question, the text after it the reply. InputError if there is none."""
    if not are_turns(value):
        raise InputError(f"a chat must be a list of turns (role and content, or from and value), got {shown(value)}")
    turns = _parsed(value)
    said = [(_role(turn), _text(turn)) for turn in turns]
    asked = [place for place, (role, text) in enumerate(said) if role == "user" and text.strip()]
    if not asked:
        raise InputError("the chat has no user turn")
    replies = tuple(text for role, text in said[asked[-1] + 1 :] if role == "assistant" and text.strip())
    system = "\n".join(text for role, text in said if role == "system" and text.strip())
    return Chat(said[asked[-1]][1], replies[-1:], system)


def replies(turns: Any) -> tuple[str, ...]:
    """What the assistant says in these turns."""
    return tuple(_text(turn) for turn in _parsed(turns) if _role(turn) == "assistant")


def _parsed(value: Any) -> Any:
    return parse_cell(value, "chat") if isinstance(value, str) and value.lstrip().startswith("[{") else value


def _role(turn: dict) -> str:
    name = str(turn.get("role") or turn.get("from") or "").strip().lower()
    known = next((role for role, names in _ROLES.items() if name in names), "other" if name else "")
    return known if {"content", "value"} & set(turn) else ""


def _text(turn: dict) -> str:
    """A turn's text; parts are joined, and a separate thought of the assistant is put in front, in tags."""
    content = turn.get("value") if turn.get("content") is None else turn["content"]
    if isinstance(content, list):
        parts = [one.get("text") if isinstance(one, dict) else one for one in content]
        content = "\n".join(part for part in parts if isinstance(part, str))
    text = content if isinstance(content, str) else ""
    thought = next((turn[name] for name in _THOUGHTS if isinstance(turn.get(name), str) and turn[name].strip()), "")
    return f"<think>{thought}</think>\n{text}" if thought else text
