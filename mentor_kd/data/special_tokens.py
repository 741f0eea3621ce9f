"""Special tokens written as text, such as `</s>` or `<|im_end|>`: removed from the ends of a text, found inside it.

Servers and files sometimes deliver the end token of a tokenizer as characters. A tokenizer reads them as the token
itself, so that a rationale which ends in `</s>` would be trained with two end tokens. At the ends of a text they carry
no meaning and are removed; inside a text they indicate a broken reply, and the row is dropped.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from .rationales import Rationale

# What the tokenizers in use write where a text or a turn begins, ends or is padded (T5, Llama, GPT, Qwen, Gemma,
# Mistral, Phi, DeepSeek, Command, BERT). `<|...|>` and DeepSeek's full-width form are never part of a plain text.
_WRITTEN = (
    "</s>", "<s>", "<pad>", "<eos>", "<bos>", "<end_of_turn>", "<start_of_turn>", "<end_of_text>", "<eot>", "<eod>",
    "[EOS]", "[BOS]", "[PAD]", "[SEP]", "[CLS]", "[INST]", "[/INST]", "</INST>", "<end_of_utterance>", "[|endofturn|]",
)  # fmt: skip
_ANGLED = r"<\|[A-Za-z][A-Za-z0-9_ ]{0,30}\|>|<｜[^<>｜\n]{1,30}｜>"
_ROLE = re.compile(r"\s*(?:assistant|model)\b[:\s]*", re.IGNORECASE)


@cache
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str]:
    written = sorted({*tokens} or {*_WRITTEN}, key=len, reverse=True)
    found = "|".join(re.escape(token) for token in written)
    return re.compile(found if tokens else f"{found}|{_ANGLED}")


def strip_special(text: str, tokens: Sequence[str] = ()) -> tuple[str, int]:
    """The text without special tokens (and white space) at its ends, and how many were removed.

    `tokens` are those of a given tokenizer (see `tokens_of`); by default those of all common tokenizers. A role that
    follows a token at the start, as in `<|im_start|>assistant`, is removed too.
    """
    pattern, removed = _pattern(tuple(tokens)), 0
    start, end = 0, len(text)
    while match := pattern.match(text, start + _blank(text[start:end])):
        start, removed = match.end(), removed + 1
        if not tokens and (role := _ROLE.match(text, start, end)):
            start = role.end()
    for match in reversed(list(pattern.finditer(text, start))):
        if text[match.end() : end].strip():
            break
        end, removed = match.start(), removed + 1
    return (text[start:end].strip(), removed) if removed else (text, 0)


def _blank(text: str) -> int:
    return len(text) - len(text.lstrip())


def special_in(text: str, tokens: Sequence[str] = ()) -> str:
    """The first special token in a text; "" if there is none. `tokens` as in `strip_special`."""
    match = _pattern(tuple(tokens)).search(text)
    return match[0] if match else ""


def tokens_of(tokenizer: Any) -> tuple[str, ...]:
    """The special tokens that a transformers tokenizer reads in a text, without the one for unknown characters."""
    return tuple(token for token in tokenizer.all_special_tokens if token and token != tokenizer.unk_token)


def trainable(rows: Iterable[Rationale], tokens: Sequence[str]) -> tuple[list[Rationale], list[str]]:
    """The rows as they can be trained on with these special tokens, and the ids of those that cannot.

    Tokens at the ends of a rationale are removed; a row with one inside its rationale or in its answer is left out.
    """
    kept, dropped = [], []
    for row in rows:
        rationale = strip_special(row.rationale, tokens)[0]
        if special_in(rationale, tokens) or special_in(row.answer, tokens):
            dropped.append(row.id)
        else:
            kept.append(row if rationale == row.rationale else replace(row, rationale=rationale))
    return kept, dropped
