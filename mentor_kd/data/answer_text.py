"""The part of a text that is judged, and helpers of all answer finders.

`judged` cuts a text down to what the model says to its reader: no thoughts, nothing after an end token, no further
questions that the model invents, and only what follows the last marker.
"""

import re
import unicodedata
from dataclasses import dataclass

MARKER = "-->"

# Word characters of scripts that are written without spaces; they do not continue a Latin word or a number.
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
LETTER = rf"[^\W_{CJK}]"
AROUND = " \t\r\n\v\f\"'“”‘’«»`*_.,;:!?{}()[]<>\\#→=|"  # may surround a stated text; not part of it


@dataclass(frozen=True)
class Candidate:
    """Something in a text that looks like an answer: its canonical value, or None and a note on why it has none."""

    value: str | None
    start: int
    end: int
    note: str = ""


_THINK = "think|thinking|thought|thoughts|reasoning|reflection|seed:think"
THOUGHT_OPENS = re.compile(
    rf"<(?:{_THINK})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<\|begin_of_think\|>", re.IGNORECASE
)
THOUGHT_CLOSES = re.compile(
    rf"</(?:{_THINK})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|end_of_think\|>", re.IGNORECASE
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final[^<]{0,40}<\|message\|>", re.IGNORECASE)
_START_TOKEN = re.compile(
    r"\s*(?:<s>|<bos>|<pad>|<\|(?:begin_of_text|startoftext|im_start)\|>(?:assistant\b)?|<start_of_turn>model\b)\s*"
)
_END_TOKEN = re.compile(
    r"</s>|<eos>|<pad>|<unk>|<end_of_turn>|<\|[a-z_]{1,30}\|>|<｜[^<>｜]{1,30}｜>|\[/?INST\]|<</?SYS>>", re.IGNORECASE
)
# A further question that a model invents after its answer, like the next one of a few-shot prompt.
NEXT_QUESTION = re.compile(
    r"""\n[^\S\n]*+(?:[#*_>-]{1,4}\s?)?(?:(?:next|new|another)\s+)?
    (?:Q|Question|Problem|Exercise|Example|Human|User|Instruction|Task|Input|Frage|Aufgabe|Pregunta|Problema|Pergunta
      |Domanda|Exercice|Вопрос|Задача|Pytanie|Soru|Soal|Pertanyaan|Câu\shỏi|प्रश्न|السؤال
      |问题|題目|题目|問題|质問|问|問|문제|질문)
    \s?(?:\#?\d{1,4})?\s?[*_]{0,2}\s?(?:[:：]|\.(?![\w.]))""",
    re.VERBOSE | re.IGNORECASE,
)
_STATED = re.compile(r"\banswer|####|\\boxed|-->|\bans\b|答案|답은|答え", re.IGNORECASE)
_SHORT = 80  # characters; a reply that is cut here and this short states an answer without announcing it


def judged(text: str) -> tuple[int, int, bool, str]:
    """The span of a text that is judged, whether a marker precedes it, and a reason if the text ends too early.

    A thought (`<think>...</think>`, or everything before a closing tag) is left out; what follows an end token or an
    invented further question is cut; of the rest only what follows the last marker counts.
    """
    closing = (match.end() for pattern in (THOUGHT_CLOSES, _FINAL_CHANNEL) for match in pattern.finditer(text))
    begin = max(closing, default=0)
    end = _next_question(text, begin)
    cut = text.rfind(MARKER, begin, end)
    start = begin if cut < 0 else cut + len(MARKER)
    reason = ""
    if cut < 0 and (thought := THOUGHT_OPENS.search(text, begin, end)):
        end, reason = thought.start(), "the text ends within a thought"
    while match := _START_TOKEN.match(text, start, end):
        start = match.end()
    for match in _END_TOKEN.finditer(text, start, end):
        if text[start : match.start()].strip():
            return start, match.start(), cut >= 0, reason
        start = match.end()
    return start, end, cut >= 0, reason


def _next_question(text: str, begin: int) -> int:
    """Where an invented further question begins, if an answer precedes it; else the end of the text."""
    for match in NEXT_QUESTION.finditer(text, begin):
        head = text[begin : match.start()].strip()
        if head and (_STATED.search(head) or (len(head) <= _SHORT and "\n" not in head)):
            return match.start()
    return len(text)


def past(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """The position after the match at `start`; `start` itself if the pattern does not match there."""
    match = pattern.match(text, start, end)
    return match.end() if match else start


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the quotes, punctuation, emoji and white space around its text."""
    while start < end and _surrounds(text[start]):
        start += 1
    while end > start and _surrounds(text[end - 1]):
        end -= 1
    return start, end


def _surrounds(one: str) -> bool:
    return one in AROUND or one == "\ufe0f" or (one > "\x7f" and unicodedata.category(one) in ("So", "Sk", "Cf"))


def shortened(text: str) -> str:
    """A text for a message: quoted, and cut after 40 characters."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
