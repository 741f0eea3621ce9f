"""Answer extraction: find the answer of a given type in a text.

The text is searched in this order:
1. what follows the last marker `-->`, if there is one; what precedes it never matters;
2. within that, or in a text without a marker, what follows the last cue ("the answer is", "####", "\\boxed{");
   what precedes the cue is ignored;
3. in a text with neither, the sentences from last to first, until one states an answer.

An answer counts if it is the only candidate or (except for a choice) the first one; what follows "because" is ignored.
Several different candidates, a negated one ("not B"), or none is a miss with a reason. Model output never raises here.

number    Sign, thousands commas, decimals, fractions, exponents; currency, units and per cent signs are dropped
          (50% is 50, as in the gold answers of the data sets). Equality is exact: 12.0 is 12, 3/4 is 0.75.
          The result follows the last equals sign. Ordinals, number words ("twelve"), ranges (3-4), times and numbers
          inside names are not answers.
choice    A letter: (B), B, "option b"; or the words of an option if the question is given. Letters take precedence.
yes/no    Yes or No; "true" and "false" count as Yes and No. "Yes and no" is a miss, and so is "not true".
text      The quoted text, or else everything stated. Compared without case, outer quotes and full stops, and with inner
          white space collapsed. Spelt-out letters (y-a-j-o, "y a j o") are joined into one word. Dates are texts:
          3/4/2020 is not 03/04/2020.
pattern   The match of the task's regular expression (clock times, chess moves, formulas), or its first group if it has
          one, so that `0?(\\d{1,2}:\\d\\d)` reads 09:05 as 9:05. Compared without case.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial

MARKER = "-->"
ANSWER_TYPES = ("number", "choice", "yes/no", "text", "pattern")
LONGEST_NUMBER = 25  # characters; longer ones are noise, and the cost of arithmetic on them is not linear
LONGEST_TEXT = 400  # characters; a longer text is not a short answer, and the cost of normalising it is not linear
LAST_SENTENCES = 20  # searched in a text without marker and cue; earlier ones are not conclusions


@dataclass(frozen=True)
class Extraction:
    """An answer found in a text: its canonical value and span, or None and the reason."""

    value: str | None
    reason: str = ""
    start: int = -1
    end: int = -1


def find_answer(text: str, answer_type: str, choices: str, question: str, pattern: str = "") -> Extraction:
    """The answer of a given type that a text states; for a choice, one of the letters or an option's words."""
    letters, matches = partial(_letters, choices), partial(_matches, pattern)
    finders: tuple[Callable[..., list[_Candidate]], ...] = (_numbers, letters, _verdicts, _phrases, matches)
    candidates_in = dict(zip(ANSWER_TYPES, finders, strict=True))[answer_type]
    options = _options(choices, question) if answer_type == "choice" else None
    for start, end, stated in _claims(answer_type, text):
        start = _after_equals(answer_type, text, start, end)
        lead = _past(_FILLER, text, start, end)
        candidates = candidates_in(text, start, end, None if stated else lead)
        if options and not candidates:
            candidates = [
                _Candidate(options[1][(m.lastindex or 1) - 1], *m.span()) for m in options[0].finditer(text, start, end)
            ]
        if candidates:
            return _choose(answer_type, text, start, lead, candidates)
    if not text.strip():
        return Extraction(None, "the text is empty")
    if not text.rpartition(MARKER)[2].strip():
        return Extraction(None, f"nothing stands after {MARKER}")
    kind = {"number": "number", "choice": f"choice among {choices}", "yes/no": "yes or no", "text": "answer"}
    kind["pattern"] = "answer of the task's pattern"
    return Extraction(None, f"no {kind[answer_type]} is stated")


def shortened(text: str) -> str:
    """A text for a message: quoted, and cut after 40 characters."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


# First the spans to search, then the candidates in a span, then the choice among them. Patterns do not backtrack, so no
# text takes long: classes are possessive (`\s*+`), groups atomic (possessive groups are broken before Python 3.11.5).

_CUE = re.compile(
    r"""\b(?:answer|(?:final|correct|right|best)\s++(?:result|choice|option|word|number|date))\s*+
    (?:\([^()\n]{0,40}+\)\s*+)?
    (?:(?:is|was|equals|(?:would|should|will|must)\s++be)\b|:|=|→|-++>)|\\boxed\{|\#\#\#\#""",
    re.IGNORECASE | re.VERBOSE,
)
_BLANKS = re.compile(r"[\s:]*+")
_SENTENCE_END = re.compile(r"""[.!?]["'”’)*]*+(?=\s|\Z)|\n""")
_ARGUMENT = re.compile(r"\b(?:because|since|rather than|instead of|as opposed to)\b", re.IGNORECASE)
_NEGATION = re.compile(r"""(?:\b(?:not|never|neither|nor|cannot)|n['’]t)\s+(?:\w+\s+)?[\s"'“(*$]*\Z""", re.IGNORECASE)
_FILLER = re.compile(
    r"(?>(?:[\W_]|\b(?:that|it|is|would|be|therefore|thus|so|hence|exactly|about|approximately|probably|possibly|likely|most)\b)*)",
    re.IGNORECASE,
)
_JOINT = re.compile(r"(?>(?:[\W_]|\b(?:or|and|to|x)\b)*)", re.IGNORECASE)
_AROUND = " \t\r\n\v\f\xa0\"'“”‘’«»`*.,;:!{}()[]<>\\#→="  # may surround a stated text; not part of it


@dataclass(frozen=True)
class _Candidate:
    value: str | None  # None: it looks like an answer but cannot be read; `note` says why
    start: int
    end: int
    note: str = ""


def _past(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """The end of a match at `start`, for a pattern that may match the empty string."""
    match = pattern.match(text, start, end)
    return match.end() if match else start


def _claims(answer_type: str, text: str) -> Iterator[tuple[int, int, bool]]:
    """The spans to search; first without the argument, because an argument names other answers ("B because A ...")."""
    for start, end, stated in _places(text):
        argument = _ARGUMENT.search(text, start, end) if stated and answer_type != "text" else None
        if argument:
            yield start, argument.start(), stated
        yield start, end, stated


def _places(text: str) -> Iterator[tuple[int, int, bool]]:
    """Spans to search, the best first, and whether the span is known to state the answer."""
    cut = text.rfind(MARKER)
    begin = 0 if cut < 0 else cut + len(MARKER)
    cues = deque(_CUE.finditer(text, begin), maxlen=1)
    if cues:
        start = begin = _past(_BLANKS, text, cues[0].end(), len(text))
        close = _SENTENCE_END.search(text, start)
        yield start, close.start() if close else len(text), True
    if cut >= 0:
        yield cut + len(MARKER), len(text), True
        return
    ends = [match.end() for match in _SENTENCE_END.finditer(text, begin)]
    sentences = ((a, b) for a, b in zip([begin, *ends], [*ends, len(text)], strict=True) if not text[a:b].isspace())
    for start, end in reversed(deque(sentences, maxlen=LAST_SENTENCES)):
        yield start, end, False


def _choose(answer_type: str, text: str, start: int, lead: int, candidates: list[_Candidate]) -> Extraction:
    """The only answer, or (not for a choice) the one that comes first; else a miss with its reason."""

    def shown(one: _Candidate) -> str:
        return shortened(text[one.start : one.end])

    kept = [one for one in candidates if not _NEGATION.search(text[max(start, one.start - 30) : one.start])]
    if not kept:
        return Extraction(None, f"{shown(candidates[0])} is negated")
    first = kept[0]
    other = next((one for one in kept if one.value != first.value), None)
    if other:
        leading = first.start <= lead and answer_type != "choice"
        if not leading or _past(_JOINT, text, first.end, other.start) == other.start:
            return Extraction(None, f"several different answers: {shown(first)} and {shown(other)}")
    if first.value is None:
        return Extraction(None, f"{shown(first)} {first.note}")
    return Extraction(first.value, "", first.start, first.end)


_EQUALS = {"number": re.compile(r"=\s*+(?=[-−$€£.]*+\s?[0-9])"), "text": re.compile(r"=\s*+(?=[\w\"'“])")}


def _after_equals(answer_type: str, text: str, start: int, end: int) -> int:
    """The start of the result of the last equation in the span; the start of the span if there is no equation."""
    pattern = _EQUALS.get(answer_type)
    last = deque(pattern.finditer(text, start, end), maxlen=1) if pattern else None
    return last[0].end() if last else start


_NUMBER = re.compile(
    r"""(?<![\w.,])(?<![a-z]-)                                  # not inside a word or a name (M60, COVID-19)
    (?>(?P<sign>(?<![\w)\]])(?<![0-9)\]]\s)[-−–+])?)(?>(?:[$€£¥₹]\s?)?)(?>(?P<inner>[-−](?=\.?[0-9]))?)
    (?P<body>(?>(?:[0-9]++\s++(?=[0-9]++/[0-9]))?)              # the whole part of a mixed number
    (?:[0-9]|\.[0-9])[0-9,.]*+(?>(?:/[0-9]++(?![0-9,/]))?)(?>(?:e[+-]?[0-9]++)?))
    (?!(?:st|nd|rd|th)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN = re.compile(
    r"(?:([0-9]+)\s+)?([0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]*\.?[0-9]+)(?:/([0-9]+))?(?:e([+-]?[0-9]+))?",
    re.IGNORECASE,
)


def _numbers(text: str, start: int, end: int, lead: int | None) -> list[_Candidate]:
    found = []
    for match in _NUMBER.finditer(text, start, end):
        body = match["body"].rstrip(".,")
        negative = (match["sign"] or "+") != "+" or match["inner"] is not None
        value, note = _number(body, negative)
        found.append(_Candidate(value, match.start(), match.start("body") + len(body), note))
    return found


def _number(body: str, negative: bool) -> tuple[str | None, str]:
    """The canonical form of a number (a plain decimal if exact, else a reduced fraction), or None and the reason."""
    too_long = f"is longer than {LONGEST_NUMBER} characters"
    if len(body) > 2 * LONGEST_NUMBER:
        return None, too_long
    if body.isdecimal() and len(body) <= LONGEST_NUMBER:  # the usual case, without arithmetic
        digits = body.lstrip("0") or "0"
        return "-" * (negative and digits != "0") + digits, ""
    match = _PLAIN.fullmatch(body)
    if not match:
        return None, "cannot be read as one number"
    whole, number, divisor, exponent = match.groups()
    if divisor is not None and int(divisor) == 0:
        return None, "divides by zero"
    if abs(int(exponent or 0)) > LONGEST_NUMBER:
        return None, too_long
    value = Fraction(number.replace(",", "")) / int(divisor or 1) * Fraction(10) ** int(exponent or 0) + int(whole or 0)
    written = _written(-value if negative else value)
    return (written, "") if len(written) <= LONGEST_NUMBER else (None, too_long)


def _written(value: Fraction) -> str:
    decimal = Decimal(value.numerator) / Decimal(value.denominator)
    return format(decimal.normalize(), "f") if Fraction(decimal) == value else str(value)


def _letters(choices: str, text: str, start: int, end: int, lead: int | None) -> list[_Candidate]:
    """Letters of the choice: in brackets, after "option", or bare.

    A bare capital counts where an answer is expected, or at the start of a sentence (not vitamin C, plan B);
    a capital A before a word is an article; a bare lower-case letter counts only if there is nothing else.
    """
    large, any_case = f"[{choices}]", f"[{choices}{choices.lower()}]"
    pattern = re.compile(
        rf"[(\[{{]\s?({any_case})\s?[)\]}}]|(?<![\w'’])({any_case})\)|\b(?i:option|choice|answer)\s({any_case})\b(?!['’])"
        rf"|(?<![\w'’&/.-])({large})(?![\w'’&/-]|\.\w)(?!(?<=A)\s+(?!(?:is|was|because|since|and|or|but|not)\b)\w)"
    )
    found = []
    for match in pattern.finditer(text, start, end):
        at = match.start(match.lastindex or 0)
        if match[4] is None or lead is None or at == lead:
            found.append(_Candidate(text[at].upper(), at, at + 1))
    if not found:
        first, last = _trimmed(text, start, end)
        if last - first == 1 and text[first].upper() in choices:
            found.append(_Candidate(text[first].upper(), first, last))
    return found


def _options(choices: str, question: str) -> tuple[re.Pattern, str] | None:
    """A pattern with one group per option of the question, matching its words, and the letters of the groups."""
    heads = list(re.finditer(rf"[(\[]([{choices}])[)\]]\s*|(?<!\S)([{choices}])[.):]\s+", question))
    run: list[re.Match] = []
    for head in heads:
        letter = question[head.start(head.lastindex or 0)]
        if letter == choices[0]:
            run = []
        if len(run) < len(choices) and letter == choices[len(run)]:
            run.append(head)
    words: dict[str, str] = {}
    for place, head in enumerate(run):
        end = run[place + 1].start() if place + 1 < len(run) else len(question)
        line = (question[head.end() : end].strip().splitlines() or [""])[0]
        option = " ".join(line.strip(_AROUND).lower().split())
        words[option] = "" if option in words else choices[place]  # repeated words identify no option
    usable = sorted((option for option, letter in words.items() if option and letter), key=len, reverse=True)
    if not usable:
        return None
    groups = ("(" + r"\s+".join(map(re.escape, option.split())) + ")" for option in usable)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(groups)})(?!\w)", re.IGNORECASE)
    return pattern, "".join(words[option] for option in usable)


_VERDICT = re.compile(
    r"""(?<![\w'’-])(?:
    yes(?![\w'’])(?!["'”’)*]*\?)
    |(?:true|false)(?=["'”’)*]*(?:[.,;:!/–—-]|\s[-–—]|\s*\Z|\s*\n))
    |no(?=["'”’)*]*(?:[.,;:!/–—-](?!\s?[0-9\w])|[,;:.!]\s(?!\d)|\s[-–—]|\s*\Z|\s*\n)
         |\s(?:and|or|but|because|since|as|it|they|he|she|you|we)\b|/))""",
    re.IGNORECASE | re.VERBOSE,
)


def _verdicts(text: str, start: int, end: int, lead: int | None) -> list[_Candidate]:
    """Yes, no, true and false used as a verdict: "no, it is", but not "no doubt" or "a true story"."""
    found = [
        _Candidate("Yes" if match[0].lower() in ("yes", "true") else "No", *match.span())
        for match in _VERDICT.finditer(text, start, end)
    ]
    if lead is None or not found or found[0].start == lead:
        return found
    last = found[-1]  # in a sentence without a cue, also at its end: "so the statement is false."
    closes = text[last.start].lower() in "tf" and not text[last.end : end].strip(_AROUND)
    return [last] if closes else []


def _matches(pattern: str, text: str, start: int, end: int, lead: int | None) -> list[_Candidate]:
    """Matches of the task's pattern, or of its first group if it has one."""
    found = []
    for match in re.compile(pattern, re.IGNORECASE).finditer(text, start, end):
        group = 1 if match.re.groups and match[1] else 0
        if match[group]:
            found.append(_Candidate(match[group], *match.span(group)))
    return found


_QUOTED = re.compile(
    r"""["“”«]([^"“”«»\n]{1,400})["“”»]|(?<!\w)['‘`]([^'‘’`\n]{1,400})['’`](?!\w)|\*\*([^*\n]{1,400})\*\*"""
)
_LINK = re.compile(
    r"""[=:→>]|(?<![\w"'“])(?:is|are|was|be|gets?|have|has|us|obtain|makes?|forms?|becomes?|spells?|as)\b""",
    re.IGNORECASE,
)


def _phrases(text: str, start: int, end: int, lead: int | None) -> list[_Candidate]:
    """Quoted texts; else everything stated; in a sentence without a cue, its end of at most three words."""
    quoted = _phrase_list(text, (match.span(match.lastindex or 0) for match in _QUOTED.finditer(text, start, end)))
    links = deque(_LINK.finditer(text, start, end), maxlen=1)
    after = links[0].end() if links else start
    quoted_after = [one for one in quoted if one.start >= after]
    if quoted_after or (quoted and lead is None):
        return quoted_after if len({one.value for one in quoted}) > 1 and quoted_after else quoted
    whole = _phrase_list(text, [(start, end)])
    if lead is None or (whole and len((whole[0].value or "").split()) == 1):
        return whole
    tail = _phrase_list(text, [(after, end)]) if links else []
    return tail if tail and len((tail[0].value or "").split()) <= 3 else quoted


def _phrase_list(text: str, spans: Iterable[tuple[int, int]]) -> list[_Candidate]:
    found = []
    for start, end in spans:
        start, end = _trimmed(text, start, end)
        if end - start > LONGEST_TEXT:
            found.append(_Candidate(None, start, start + 40, f"... is longer than {LONGEST_TEXT} characters"))
        elif end > start:
            found.append(_Candidate(_joined(text[start:end]), start, end))
    return found


def _joined(text: str) -> str:
    """The text on one line, in NFC, with spelt-out letters joined."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    letters = re.fullmatch(r"[^\W\d_](?:[\s,+·-]+[^\W\d_])+", text)
    return "".join(filter(str.isalpha, text)) if letters else text


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the quotes, punctuation and white space around its text."""
    inner = text[start:end].lstrip(_AROUND)
    start = end - len(inner)
    return start, start + len(inner.rstrip(_AROUND))
