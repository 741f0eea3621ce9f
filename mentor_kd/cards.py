"""Cards of models and data sets: YAML front matter and Markdown in which quoted texts are inert.

Names, questions and file names come from people and models. Each is put on one line, and escaped or put into a code
span or block with more backticks than any run of them inside, so that no text can end the front matter, start a heading
or add HTML.
"""

import re
import unicodedata
from typing import Any

import yaml

README = "README.md"
UNKNOWN = "unknown"  # the Hub's value for a licence that is not stated
HERE = "# this folder, or its name on the Hub"  # ends a line `x_id = ...`, in which an upload sets the name


def one_line(text: object) -> str:
    """A text on one line, without control characters."""
    kept = "".join(" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in str(text))
    return " ".join(kept.split())


def front_matter(data: dict[str, Any]) -> str:
    """The YAML block at the top of a card; entries that are None are left out."""
    kept = {key: _plain(value) for key, value in data.items() if value is not None}
    return f"---\n{yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=10_000)}---\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {one_line(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return one_line(value) if isinstance(value, str) else value


def code(text: object) -> str:
    """A text as an inline code span."""
    text = one_line(text) or " "
    fence = "`" * (1 + _longest_run(text))
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{edge}{text}{edge}{fence}"


def block(text: str, language: str = "") -> str:
    """A text as a fenced code block."""
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def plain(text: object) -> str:
    """A text outside of code: on one line, with everything that Markdown or HTML could read escaped."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&$])", r"\\\1", one_line(text))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
