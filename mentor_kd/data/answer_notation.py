"""Rewrite the notations of a text in plain characters: LaTeX, full-width forms, digits of other scripts, tags.

Each character keeps its position in the original text, so that an answer can be shown where it is written.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

Piece = str | tuple[int, int]  # new text that replaces the whole match, or a slice of the text that is kept


@dataclass(frozen=True)
class Readable:
    """A rewritten text; `starts` and `ends` are the span in the original text of each of its characters."""

    text: str
    starts: list[int] | range
    ends: list[int] | range

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span in the original text of a non-empty span of this text."""
        return self.starts[start], max(self.ends[start], self.ends[end - 1])


def plain(text: str, start: int, end: int, numerals: bool = True, notation: bool = True) -> Readable:
    """Rewrite quotes and signs of other scripts, with `numerals` their digits, with `notation` LaTeX and tags."""
    made = Readable(text[start:end], range(start, end), range(start + 1, end + 1))
    if not made.text.isascii():
        made = _rewritten(made, _CHARACTER, _character if numerals else _mark)
    if notation and any(mark in made.text for mark in ("\\", "^{", "{,}")):
        made = _rewritten(made, _COMMAND, _command)
        for _ in range(4):  # innermost groups first; deeper nesting is not a plain answer
            before = made.text
            made = _rewritten(made, _GROUP, _group)
            if made.text == before:
                break
    if notation and "<" in made.text:
        made = _rewritten(made, _TAG, lambda match: [" "])
    return made


def _rewritten(old: Readable, pattern: re.Pattern[str], change: Callable[[re.Match[str]], list[Piece]]) -> Readable:
    """Replace each match by pieces; new text gets the span of the whole match."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []

    def keep(a: int, b: int) -> None:
        parts.append(old.text[a:b])
        starts.extend(old.starts[a:b])
        ends.extend(old.ends[a:b])

    at = 0
    for match in pattern.finditer(old.text):
        keep(at, match.start())
        for piece in change(match):
            if isinstance(piece, tuple):
                keep(*piece)
            else:
                parts.append(piece)
                starts.extend([old.starts[match.start()]] * len(piece))
                ends.extend([max(old.ends[match.start()], old.ends[match.end() - 1])] * len(piece))
        at = match.end()
    if at == 0:
        return old
    keep(at, len(old.text))
    return Readable("".join(parts), starts, ends)


# Characters

_CHARACTER = re.compile("[^\x00-\x7f]")
_PLAIN = {
    **dict.fromkeys("\u2018\u2019\u02bc\u2032", "'"),
    **dict.fromkeys("\u300c\u300d\u300e\u300f\u300a\u300b\u201e\u201f", '"'),
    **dict.fromkeys("\u2212\ufe63\u2011\u2010\u02d7", "-"),
    **dict.fromkeys("\xa0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\u2061\u2062\u2063", ""),
    **dict.fromkeys("\u3002\uff61", ". "),
    **dict.fromkeys("\u3010\u3014", "["),
    **dict.fromkeys("\u3011\u3015", "]"),
    **dict.fromkeys("\u2044\u2215", "/"),
    **dict.fromkeys("\u2217\u22c5\u00b7\u2022", "·"),
    "\u3001": ",",
    "\u066b": ".",
    "\u066c": ",",
    "\u2026": "...",
    "\u2260": "!=",
}


def _mark(match: re.Match[str]) -> list[Piece]:
    """A punctuation mark in its plain form; letters and digits stay."""
    one = match[0]
    if one in _PLAIN:
        return [_PLAIN[one]]
    if "\uff01" <= one <= "\uff5e" and not one.isalnum():  # full-width forms
        return [chr(ord(one) - 0xFEE0)]
    return [match.span()]


def _character(match: re.Match[str]) -> list[Piece]:
    one = match[0]
    if one in _PLAIN:
        return [_PLAIN[one]]
    if "\uff01" <= one <= "\uff5e":  # full-width forms
        return [chr(ord(one) - 0xFEE0)]
    decomposed = unicodedata.normalize("NFKC", one)
    if "\u2044" in decomposed:  # a fraction in one character: 2½ is 2 1/2
        after_digit = match.start() > 0 and match.string[match.start() - 1].isdigit()
        return [" " * after_digit + decomposed.replace("\u2044", "/")]
    if _superscript(one) and (decomposed.isdecimal() or one == "\u207b"):
        before = match.string[match.start() - 1 : match.start()]
        return [("" if before and _superscript(before) else "^") + decomposed.replace("\u2212", "-")]
    if one.isdecimal():
        return [str(unicodedata.decimal(one))]
    return [match.span()]


def _superscript(one: str) -> bool:
    return "SUPERSCRIPT" in unicodedata.name(one, "")


# LaTeX

_SYMBOLS = {
    **dict.fromkeys(("times",), "×"),
    **dict.fromkeys(("cdot", "ast", "bullet"), "·"),
    **dict.fromkeys(("div",), "÷"),
    **dict.fromkeys(("pi", "Pi"), "π"),
    **dict.fromkeys(("pm", "mp"), "±"),
    **dict.fromkeys(("circ", "degree"), "°"),
    **dict.fromkeys(("to", "rightarrow", "Rightarrow", "implies", "longrightarrow"), "→"),
    **dict.fromkeys(("approx", "sim", "simeq", "cong"), "≈"),
    **dict.fromkeys(("dots", "ldots", "cdots"), "..."),
    **dict.fromkeys(("quad", "qquad", "left", "right", "displaystyle", "big", "Big", "bigl", "bigr", "large"), " "),
    **dict.fromkeys(("le", "leq", "leqslant"), "≤"),
    **dict.fromkeys(("ge", "geq", "geqslant"), "≥"),
    "lt": "<",
    "gt": ">",
    "neq": "!=",
    "sqrt": "√",
    "infty": "∞",
    "euro": "€",
    "pounds": "£",
    "yen": "¥",
    "dollar": "$",
    "percent": "%",
    "checkmark": "✓",
}
_COMMAND = re.compile(
    r"(?P<degree>\^\s*\\circ)|\\(?:(?P<word>[A-Za-z]+)\s*|(?P<space>[,;:!\s])|(?P<mark>[$%&#_{}]|\\)|(?P<fence>[()\[\]]))|\{,\}|(?<=\d)\{[.]\}|(?P<empty>\\f?boxed\s*\{\s*\})"
)
_TEXTS = "text|textbf|textit|textrm|texttt|emph|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|operatorname|underline"
_KEPT = frozenset(f"boxed fbox frac dfrac tfrac cfrac {_TEXTS.replace('|', ' ')}".split())


def _command(match: re.Match[str]) -> list[Piece]:
    if match["degree"]:
        return ["°"]
    if match["empty"]:
        return [" "]
    if match[0] == "{,}":
        return [","]
    if match[0] == "{.}":
        return ["."]
    if match["space"]:  # between digits a thin space groups thousands
        return ["" if match["space"] in ",!" else " "]
    if match["fence"]:
        return [" "]
    if match["mark"]:
        return ["\n" if match["mark"] == "\\" else match["mark"]]
    word = match["word"]
    if word in _KEPT:
        return [match.span()]
    if word in _SYMBOLS:
        return [_SYMBOLS[word]]
    return [match.span()]


_GROUP = re.compile(
    rf"""\\[dtc]?frac\s*(?:\{{(?P<top>[^{{}}]*)\}}|(?P<one>\d))\s*(?:\{{(?P<bottom>[^{{}}]*)\}}|(?P<two>\d))
    |\\(?:{_TEXTS})\s*\{{(?P<inner>[^{{}}]*)\}}
    |(?P<raised>\^)\s*\{{(?P<power>[^{{}}]*)\}}
    |(?P<above>\d++)\s*\\over\s*(?P<below>\d++)
    |√\s*\{{(?P<root>[^{{}}]*)\}}""",
    re.VERBOSE,
)
_NUMERAL = re.compile(r"\s*[-+]?[\d,]*\.?\d+\s*")


def _group(match: re.Match[str]) -> list[Piece]:
    if match["inner"] is not None:
        return [match.span("inner")]
    if match["raised"]:
        power = match["power"].strip()
        if power == "°":
            return ["°"]
        return ["^" + power if _NUMERAL.fullmatch(power) else f"^({power})"]
    if match["above"] is not None:
        return [f"{match['above']}/{match['below']}"]
    if match["root"] is not None:
        return [f"√({match['root']})"]
    top, bottom = (match[a] if match[a] is not None else match[b] for a, b in (("top", "one"), ("bottom", "two")))
    mixed = match.start() > 0 and match.string[match.start() - 1].isdigit()
    if _NUMERAL.fullmatch(top) and _NUMERAL.fullmatch(bottom):
        return [" " * mixed + f"{top.strip()}/{bottom.strip()}"]
    return [f"({top.strip()})/({bottom.strip()})"]


_TAG = re.compile(
    r"</?(?:b|i|u|em|strong|p|br|span|div|sub|sup|code|pre|mark|li|ul|ol|h[1-6]|final|result|output|solution|option|choice)\b[^<>]{0,80}>",
    re.I,
)
