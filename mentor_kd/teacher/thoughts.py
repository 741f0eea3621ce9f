"""A reply's thought and its solution: what the model wrote before its answer, and what it says to its reader.

Servers deliver the thought in a field (see `parse`) or inside the text: between tags such as `<think>` and `</think>`,
before a closing tag alone (the chat template wrote the opening one), after an opening tag that is never closed (the
reply was cut), or in the channels of gpt-oss. The rest of the text is the solution. It ends where a model without a
chat format may continue with invented questions. Pure functions of texts; the stored reply is never changed.
"""

import re
from dataclasses import dataclass

from ..data.answer_text import MARKER, NEXT_QUESTION, THOUGHT_CLOSES, THOUGHT_OPENS
from ..data.special_tokens import strip_special

RATIONALE_FROM = ("solution", "thought", "both")

_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>|\Z")

_SENTENCE = re.compile(r"""[.!?。！？]["'”’)*\]]*(?=\s|\Z)|\n""")
_STATES = re.compile(r"\banswer|####|\\boxed|-->|=|答案", re.IGNORECASE)
_SHORT = 80  # characters of a text that may state an answer without announcing it

_ANNOUNCED = re.compile(
    r"""\A[\s*_#>"'“(]*(?:(?:so|thus|hence|therefore|finally|okay|ok)\b[\s,]*)?
    (?:(?:the|my|our)\s+)?(?:(?:final|correct|right)\s+)?(?:(?:answer|result|solution)\b[\s*_]*(?:is|was|:|=)?)?""",
    re.VERBOSE | re.IGNORECASE,
)
_REASONS = re.compile(r"=|≈|→|\b(?:because|since|so|then|if|thus|therefore|hence|as)\b", re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-z][a-z0-9_-]{0,20}>|\\boxed|\\text|[#*_${}\\]+", re.IGNORECASE)
_FEW_WORDS = 8  # a sentence of no more words, without a reason, is only a conclusion


@dataclass(frozen=True)
class Parts:
    """The parts of a reply. `ran_on`: further questions followed the solution; `stripped`: end tokens removed."""

    thought: str
    solution: str
    ran_on: bool = False
    stripped: int = 0


def split(text: str, thinking: str = "") -> Parts:
    """The parts of a reply's text; `thinking` is the thought that the server delivered apart from it."""
    thoughts, said = _channels(text) if _CHANNEL.search(text) else _tagged(text)
    end = further_question(said)
    solution, stripped = strip_special(said[:end])
    parts = (strip_special(one)[0].strip() for one in (thinking, *thoughts))
    return Parts("\n\n".join(part for part in parts if part), solution.strip(), end < len(said), stripped)


def _tagged(text: str) -> tuple[list[str], str]:
    """The thoughts between tags, and the text outside them."""
    thoughts, said, place = [], "", 0
    while True:
        opens, closes = THOUGHT_OPENS.search(text, place), THOUGHT_CLOSES.search(text, place)
        if closes and (not opens or closes.start() < opens.start()):  # the opening tag was part of the prompt
            thoughts.append(said + text[place : closes.start()])
            said, place = "", closes.end()
        elif opens:
            said += text[place : opens.start()]
            closes = THOUGHT_CLOSES.search(text, opens.end())
            thoughts.append(text[opens.end() : closes.start() if closes else len(text)])
            place = closes.end() if closes else len(text)
        else:
            return thoughts, said + text[place:]


def _channels(text: str) -> tuple[list[str], str]:
    """The thoughts and the final message of a reply in gpt-oss's raw format."""
    thoughts, said = [], ""
    for channel in _CHANNEL.finditer(text):
        ends = _CHANNEL_END.search(text, channel.end())
        message = text[channel.end() : ends.start() if ends else len(text)]
        if channel[1].lower() == "final":
            said += message
        else:
            thoughts.append(message)
    return thoughts, said


def further_question(text: str) -> int:
    """Where a question that the model invented begins, if an answer or a solution precedes it; else the text's end."""
    for match in NEXT_QUESTION.finditer(text):
        head = text[: match.start()].strip()
        short = len(head) <= _SHORT and "\n" not in head
        if head and not head.endswith((":", "：")) and (short or _STATES.search(head) or sentences(head) > 1):
            return len(text[: match.start()].rstrip())
    return len(text)


def sentences(text: str) -> int:
    """The number of sentences or lines in a text."""
    return len([one for one in _SENTENCE.split(text) if one.strip()])


def whole_sentences(text: str) -> str:
    """A text that was cut, up to the end of its last whole sentence or line; "" if it has none."""
    ends = [match.end() for match in _SENTENCE.finditer(text.strip()) if match.end() < len(text.strip())]
    return text.strip()[: ends[-1]] if ends else ""


def only_concludes(text: str) -> bool:
    """Whether a text holds nothing but a conclusion: at most one short sentence, without a step or a reason."""
    rest = _ANNOUNCED.sub("", _MARKUP.sub(" ", text).strip(), count=1)
    if sentences(rest) > 1 or _REASONS.search(rest):
        return False
    return len(rest.split()) <= _FEW_WORDS


def rationale_of(thought: str, solution: str, wanted: str) -> tuple[str, str]:
    """The text to learn from, and which part it is: "solution", "thought" or "both".

    `solution` is the visible text without its marked conclusion, and `wanted` one of RATIONALE_FROM. A part that is
    missing is replaced by the other one; so is, for "solution", a visible text that only states a conclusion.
    """
    thought = without_conclusion(thought)
    if wanted == "both" and thought and solution:
        return f"{thought}\n\n{solution}", "both"
    if thought and (wanted != "solution" or only_concludes(solution)):
        return thought, "thought"
    return solution, "solution"


def without_conclusion(text: str) -> str:
    """A text without the marked conclusion at its end; an arrow in the middle of it is not a marker."""
    head, marker, tail = text.rpartition(MARKER)
    closes = marker and "\n" not in tail.strip() and len(tail.split()) <= _FEW_WORDS
    return head.strip() if closes else text.strip()
