"""Answers to multiple-choice questions: letters of options, and the options' words."""

import re

from .answer_text import AROUND, CJK, LETTER, Candidate, trimmed
from .answer_words import LISTED

Options = tuple[re.Pattern, str]  # one group per option, matching its words, and the letters of the groups

# Words after which a bare letter is an answer; after others it belongs to a name (vitamin C, plan B).
_BEFORE_LETTER = re.compile(
    r"""(?:\A|[^\w\s'’]|_|['’]s\s|\b(?:is|are|was|be|has|have|had|gets?|got|letter|option|choice|answer|with|meant|between|say|choose|chose|pick
    |select|says?|or|and|but|not|to|as|than|becomes?|remains?|leaves|holds?|means|likely|probably|just|only|still|now|also|either
    |both|so|thus|hence|then|therefore|la|le|el|il|die|der|das|opción|lettre|\w+ly)\s|[@])["'“”‘’*_(\[$\s]*\Z""".replace(
        "@", CJK
    ),
    re.VERBOSE | re.IGNORECASE,
)
# A capital A or I before a word is an article or a pronoun, unless one of these words follows.
_AFTER_A = r"(?:is|was|because|since|and|or|but|not|as|while|whereas|seems|must|would)\b"
_AFTER_I = r"(?:is|because|since|or|not|seems)\b"
_OPTION = "option|choice|answer|antwort|réponse|respuesta|opción|选项|選項|选|選|選択肢"
_BETTER = re.compile(
    r"""["'”’)\]}*.]*\s?(?:[✅✓✔☑]|\b(?:is|must\sbe|seems|would\sbe)\s(?:the\s|a\s)?(?:\w+ly\s|just\s)?
    (?:right|correct|true|best|better|preferable|answer|(?:more|most)\s(?!of\b)\w+)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_SUBJECT = re.compile(  # words before a letter that is called right; "statement I is true" names no option
    rf"""(?:\A|[^\w\s'’]|[{CJK}]|\b(?:that|think|believe|conclude|say|while|whereas|although|though|and|or|but|so|thus|hence|then
    |therefore|only|just|option|choice|answer|letter|because|since|as|if|is)\s)["'“”‘(\[{{*_$\s]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_SO = re.compile(r"\b(?:so|thus|hence|therefore)\s\Z", re.IGNORECASE)
_STOP = re.compile(r"""["'”’)\]*]*\s*(?:[.!;]|\Z)""")


def letters(choices: str, text: str, start: int, end: int, lead: int, stated: bool) -> list[Candidate]:
    """Letters of the choice: in brackets, after "option", or bare; only those called right or better, if any are.

    A bare capital counts at `lead`; where an answer is `stated`, it also counts later unless a name precedes it. A bare
    lower-case letter counts only if there is nothing else.
    """
    large, any_case = f"[{choices}]", f"[{choices}{choices.lower()}]"
    pattern = re.compile(
        rf"[(\[{{]\s?({any_case})\s?[)\]}}]|(?<!{LETTER})(?<!['’])({any_case})\)"
        rf"|(?<!{LETTER})(?i:{_OPTION})\s?\(?({any_case})(?!{LETTER}|['’])"
        rf"|(?<!{LETTER})(?<!['’&/.-])({large})(?!{LETTER})(?!['’&/-]|\x22\s?:|\.\w|\s?[=^>≈≤≥]|\+(?!\s[A-Z]\b)|\s?<(?![/a-z]))"
        rf"(?!(?<=A)\s+(?!{_AFTER_A})\w)(?!(?<=I)\s+(?!{_AFTER_I})\w)"
    )
    found: list[Candidate] = []
    for match in pattern.finditer(text, start, end):
        at = match.start(match.lastindex or 0)
        before = text[max(start, at - 20) : at]
        after_last = bool(found) and LISTED.fullmatch(text, found[-1].end, at) is not None
        concluded = _SO.search(before) and _STOP.match(text, at + 1, end)
        called = _SUBJECT.search(before) and _BETTER.match(text, at + 1, end)
        free = (stated and _BEFORE_LETTER.search(before)) or concluded or called
        if match[4] is None or free or at == lead or after_last:
            found.append(Candidate(text[at].upper(), at, at + 1))
    if not found:
        first, last = trimmed(text, start, end)
        if last - first == 1 and text[first].upper() in choices:
            found.append(Candidate(text[first].upper(), first, last))
    return [one for one in found if _BETTER.match(text, one.end, end)] or found


_ITEM = re.compile(r"^[\s*_>-]{0,6}[(\[]?([A-Z])\s?[)\].:–—-]\s?[^\W_]", re.MULTILINE)


def in_list(text: str, at: int) -> bool:
    """Whether a position is in a line of a list of options, such as `A: no`, `B: yes`; such a line states no answer."""
    line = text.rfind("\n", 0, at) + 1
    return _ITEM.match(text, line) is not None and len({match[1] for match in _ITEM.finditer(text)}) > 1


_HEADS = r"[(\[]([{0}])[)\]]\s*|(?<!\S)([{0}])[.):]\s+"


def options(choices: str, question: str) -> Options | None:
    """A pattern with one group per option of the question, matching its words, and the letters of the groups."""
    run: list[re.Match] = []
    for head in re.finditer(_HEADS.format(choices), question):
        letter = question[head.start(head.lastindex or 0)]
        if letter == choices[0]:
            run = []
        if len(run) < len(choices) and letter == choices[len(run)]:
            run.append(head)
    words: dict[str, str] = {}
    for place, head in enumerate(run):
        end = run[place + 1].start() if place + 1 < len(run) else len(question)
        line = (question[head.end() : end].strip().splitlines() or [""])[0]
        option = " ".join(line.strip(AROUND).lower().split())
        words[option] = "" if option in words else choices[place]  # repeated words identify no option
    usable = sorted((option for option, letter in words.items() if option and letter), key=len, reverse=True)
    if not usable:
        return None
    groups = ("(" + r"\s+".join(map(re.escape, option.split())) + ")" for option in usable)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(groups)})(?!\w)", re.IGNORECASE)
    return pattern, "".join(words[option] for option in usable)


def option_words(found: Options, text: str, start: int, end: int) -> list[Candidate]:
    """The options whose words are in a span, as their letters."""
    pattern, letters_of = found
    return [Candidate(letters_of[(m.lastindex or 1) - 1], *m.span()) for m in pattern.finditer(text, start, end)]


def letters_or_words(
    choices: str, listed: Options | None, text: str, start: int, end: int, lead: int, stated: bool
) -> list[Candidate]:
    """The letters in a span, or else the options' words."""
    found = letters(choices, text, start, end, lead, stated)
    return option_words(listed, text, start, end) if listed and not found else found
