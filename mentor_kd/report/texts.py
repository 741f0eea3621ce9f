"""Texts of models and people as they are shown on a page: with a visible sign for every invisible character."""

import re

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def visible(text: str, limit: int | None = None) -> str:
    """The text with a sign for every invisible character, cut at `limit` characters. Not escaped.

    Control characters become signs such as ␀; direction marks and zero-width characters become their code point.
    """
    cut = text if limit is None or len(text) <= limit else text[:limit] + "…"
    return _HIDDEN.sub(_sign, cut)


def _sign(match: re.Match) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
