"""Numbers in a text: the notations that are read, and their exact values."""

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from .answer_text import CJK, Candidate

_WORDS = {  # in English, German and Spanish
    **{"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"dozen": 12, "lakh": 10**5, "crore": 10**7},
    **{"millionen": 10**6, "millones": 10**6, "milliarden": 10**9, "milliard": 10**9, "tausend": 10**3},
}
LONGEST_NUMBER = 25  # characters; longer ones are noise, and the cost of arithmetic on them is not linear

_CURRENCY = r"(?:(?:US|AU|CA|HK|NZ|[ACRS])?[$€£¥₹₩₽]|(?<![^\W_])(?:Rs\.?|INR|USD|EUR|GBP|CHF))"
_NUMBER = re.compile(
    rf"""(?<![^\W_{CJK}])(?<![^\W_]_)(?<![a-z]-)(?<![0-9][.,])           # not inside a word, a number or a name
    (?>(?P<sign>(?<![\w)\]])(?<![0-9)\]]\s)[-−–+]|(?<![0-9)\]]\s)(?:minus|negative|минус|(?<!al\s)(?<!au\s)(?<!o\s)(?:menos|moins|meno))\s
      |(?:负|負|マイナス|마이너스)\s?)?)
    (?>(?:{_CURRENCY}\s?)?)(?>(?P<inner>[-−](?=\.?[0-9]))?)
    (?>(?P<open>(?(sign)\((?=[0-9.]++\))|(?!)))?)                        # -(5)
    (?P<body>(?>(?:[0-9]++\s++(?=[0-9]++/[0-9]))?)                       # the whole part of a mixed number
      (?:[0-9]{{1,3}}(?>(?:[ '_][0-9]{{3}}(?![0-9]))+)(?>(?:[.,][0-9]++)?)
        |(?:[0-9]|(?<![0-9.])\.[0-9])[0-9,.]*+)
      (?>(?:\s?/\s?[0-9]++(?![0-9,/]))?)(?>(?:e[+-]?[0-9]++)?))
    (?>(?:\s?(?:[×*·]|x)\s?10(?:\^|\*\*)\s?\(?(?P<ten>[-+]?[0-9]{{1,3}})\)?(?![0-9]))?)
    (?>(?:(?:\^|\*\*)\(?(?P<power>[-+]?[0-9]{{1,3}})\)?(?![0-9]))?)
    (?>(?:\sand\sa\s(?P<part>half|quarter|third)\b(?!\sof\b))?)          # 2 and a half
    (?>(?:\s?(?P<hundred>hundred)(?=\s(?:thousand|[mb]illion)))?)
    (?>(?:\s?(?P<magnitude>(?:{"|".join(_WORDS)})(?=s?(?![^\W_]))|[mb]n(?![^\W_]))s?
      |(?P<short>(?-i:[kKMB]))(?![\w'°])|\s?(?P<myriad>[万萬만亿億억]))?)
    (?!(?:st|nd|rd|th)\b)""",
    re.VERBOSE | re.IGNORECASE,
)
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_SHORT = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
_MAGNITUDES = {
    **_WORDS,
    **{"mn": 10**6, "bn": 10**9},
    **dict.fromkeys("万萬만", 10**4),
    **dict.fromkeys("亿億억", 10**8),
}
_FRACTION = re.compile(
    r"(?:(?P<whole>[0-9]+)\s+(?=[0-9]+/))?(?P<top>[0-9.,' _]+)(?:\s?/\s?(?P<bottom>[0-9]+))?(?:e(?P<e>[+-]?[0-9]+))?",
    re.IGNORECASE,
)
_UNIT = re.compile(rf"\s?(?:[^\W\d_{CJK}]|[$€£¥₹%°])")
_BRACKET = re.compile(r"[(\[{]\s?\Z")
_EURO = re.compile(r"\s?(?:€|EUR\b)")
AMBIGUOUS = "cannot be read as one number"

# Neighbours of a number that make it something other than a plain number.
_MONTH = (
    r"(?-i:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_EXPRESSION = "is part of an expression, not a plain number"
_TIME = "is a time of day"
_DATE = "is part of a date"
_BEFORE = tuple(
    (re.compile(rf"(?:{pattern})\Z", re.IGNORECASE), note)
    for pattern, note in (
        (r"(?:[√^]|[)\w]/|\b(?:sqrt|log|ln|sin|cos|tan|exp)(?:_\{?\w{1,3}\}?|\b))[\s({]{0,2}", _EXPRESSION),
        (r"\b(?:twice|thrice|double|triple|half of)\s", _EXPRESSION),
        (r"\b(?:half|quarter)\s(?:past|to)\s", _TIME),
        (r"±\s?", "has two signs"),
        (r"(?:[≤≥]=?|(?<=[\w)}$:] )[<>]=?|\b[a-z][<>]=?)\s?\$?", "is a bound, not a number"),
        (r"\b(?:more|less|fewer|greater|smaller|higher|larger)\sthan\s?\$?", "is a bound, not a number"),
        (r"(?:\bis|:)\s(?:over|under|above|below|up\sto)\s[$€£]?", "is a bound, not a number"),
        (rf"\b{_MONTH}\s(?:[0-9]{{1,2}}(?:st|nd|rd|th)?,?\s)?", _DATE),
    )
)
_AFTER = tuple(
    (re.compile(pattern, re.IGNORECASE), note)
    for pattern, note in (
        (r" ?[√π∞]|[₀-₉]|_\{?[0-9]|\)?/\(?[^\W\d](?![\w-])|\)/\(|\^|x[0-9a-f]|!\s?(?:[}$)*/+^]|\\\))", _EXPRESSION),
        (r"(?:[xyzni]|(?-i:[aD]))(?![\w'])", _EXPRESSION),
        (r" (?:plus|minus|times|over|mod|by|through|multiplied by|divided by|to the power of) [$(]?[0-9]", _EXPRESSION),
        (
            r" (?:more|less|fewer) than [$(]?[0-9]|(?:%| percent) of [$(]?[0-9]| (?:squared|cubed)\b(?! [a-z])",
            _EXPRESSION,
        ),
        (r" ?(?-i:R) ?[0-9]| remainder [0-9]", "has a remainder"),
        (r"(?: ?[°º] ?[CF]?| degrees?(?: \w+)?)? below (?:zero|0)\b", "is below zero in words"),
        (r" \w+ and (?:a|one) (?:half|quarter|third)\b(?! of\b)", "is followed by a fraction in words"),
        (
            r"(?: \w+)? (?:or|and) (?:more|less|fewer|higher|lower|above|below|up)\b|\+(?=[.,;!)]|\Z| [a-z])",
            "is a bound, not a number",
        ),
        (
            r" (?:hal(?:f|ves)|thirds|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand)ths|score|point [0-9])\b",
            _EXPRESSION,
        ),
        (r" (?:out of|in (?:a|every) (?:hundred|thousand|million|billion))\b", "is a part of a ratio"),
        (r" ?(?:[ap]\.? ?m\b|o'clock\b|noon\b|midnight\b)|h[0-9]", _TIME),
        (rf" (?:of )?{_MONTH}(?![\w-])", _DATE),
    )
)
_DECADE = re.compile(r"'?s\b", re.IGNORECASE)
_DAY_OR_YEAR = re.compile(r"[0-3]?[0-9]|[12][0-9]{3}")


def numbers(text: str, start: int, end: int) -> list[Candidate]:
    """The numbers in a span, each with its exact value; ordinals and numbers within names are left out."""
    found = []
    for match in _NUMBER.finditer(text, start, end):
        last = match.end()
        if last == match.end("body"):
            last = match.start("body") + len(match["body"].rstrip(".,"))
        if match["open"]:
            last = match.end("body") + 1
        before = text[max(0, match.start() - 24) : match.start()]
        note = _other_meaning(match["body"].rstrip(".,"), before, text[last : last + 40])
        value = None
        if not note:
            bracketed = _BRACKET.search(before) is not None
            measured = match.start("body") > match.start() or _UNIT.match(text, match.end("body"), end) is not None
            euro = "€" in text[match.start() : match.start("body")] or _EURO.match(text, match.end("body"), end)
            value, note = _value(match, bracketed, measured, bool(euro))
        found.append(Candidate(value, match.start(), last, note))
    if len(found) > 1:  # "204 / 109 = 2, so ..." is arithmetic; alone "1 / 2" is a number
        found = [_undivided(one, text) for one in found]
    return found


def _other_meaning(body: str, before: str, after: str) -> str:
    """Why its neighbours make a number something other than a plain one, as in √3 or 7 pm; "" if they do not."""
    for pattern, note in _BEFORE:
        if pattern.search(before) and (note != _DATE or _DAY_OR_YEAR.fullmatch(body)):
            return note
    for pattern, note in _AFTER:
        if pattern.match(after) and (note != _DATE or _DAY_OR_YEAR.fullmatch(body)):
            return note
    return "is a decade" if len(body) == 4 and body[3] == "0" and _DECADE.match(after) else ""


def _undivided(one: Candidate, text: str) -> Candidate:
    return replace(one, value=None, note="may be a division") if " /" in text[one.start : one.end] else one


def _value(match: re.Match[str], bracketed: bool, measured: bool, euro: bool) -> tuple[str | None, str]:
    """The canonical form of a number (a plain decimal if exact, else a reduced fraction), or None and the reason."""
    body = match["body"].rstrip(".,")
    negative = (match["sign"] or "+") != "+" or match["inner"] is not None
    too_long = f"is longer than {LONGEST_NUMBER} characters"
    if len(body) > 2 * LONGEST_NUMBER:
        return None, too_long
    plain = match.end() == match.end("body")
    if plain and body.isdecimal() and len(body) <= LONGEST_NUMBER:  # the usual case, without arithmetic
        digits = body.lstrip("0") or "0"
        return "-" * (negative and digits != "0") + digits, ""
    parts = _FRACTION.fullmatch(body)
    decimal = _decimal(parts["top"].strip(), bracketed, measured, euro) if parts else None
    if parts is None or decimal is None:
        return None, AMBIGUOUS
    if parts["bottom"] and (parts["bottom"][0] == "0" < parts["bottom"][1:] or re.match("0[0-9]", parts["top"])):
        return None, AMBIGUOUS  # 04/05 is a date
    if parts["bottom"] is not None and int(parts["bottom"]) == 0:
        return None, "divides by zero"
    exponent, power = int(parts["e"] or 0) + int(match["ten"] or 0), int(match["power"] or 1)
    if abs(exponent) > LONGEST_NUMBER or abs(power) > 4 * LONGEST_NUMBER:
        return None, too_long
    value = Fraction(decimal) / int(parts["bottom"] or 1) * Fraction(10) ** exponent + int(parts["whole"] or 0)
    value = (value + _PARTS.get((match["part"] or "").lower(), 0)) * (100 if match["hundred"] else 1)
    value *= _MAGNITUDES.get((match["magnitude"] or match["myriad"] or "").lower(), 1) * _SHORT.get(
        match["short"] or "", 1
    )
    if value == 0 and power < 0:
        return None, "divides by zero"
    written = _written((-1 if negative else 1) * value**power)
    return (written, "") if len(written) <= LONGEST_NUMBER else (None, too_long)


def _decimal(body: str, bracketed: bool, measured: bool, euro: bool) -> str | None:
    """Digits with a decimal point, from the usual ways to group thousands; None if they are ambiguous.

    1,234.5 and 1.234,5 and 1 234,5 and 1'234.5 and 1,23,456 are read; 1.234 is a decimal, but not in euros. 12,5 is a
    decimal too, except in brackets, where it may be a pair; 1,2 only with a unit.
    """
    grouped = re.sub(r"[ '_]", "", body)
    if grouped != body and not re.fullmatch(r"[0-9]{1,3}(?:([ '_])[0-9]{3})(?:\1[0-9]{3})*(?:[.,][0-9]+)?", body):
        return None
    if euro and re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", grouped):
        return None
    if re.fullmatch(r"[0-9]*\.?[0-9]+", grouped):
        return grouped
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?", grouped):
        return grouped.replace(",", "")
    if re.fullmatch(r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?", grouped):  # lakh and crore
        return grouped.replace(",", "")
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}", grouped):
        return grouped.replace(".", "").replace(",", ".")
    pair = re.fullmatch(r"([0-9]+),([0-9]+)", grouped)
    long = pair and (len(pair[1]) + len(pair[2]) > 2 or pair[1] == "0")
    if pair and not bracketed and (measured or grouped != body or long):
        return f"{pair[1]}.{pair[2]}"
    return None


def _written(value: Fraction) -> str:
    decimal = Decimal(value.numerator) / Decimal(value.denominator)
    return format(decimal.normalize(), "f") if Fraction(decimal) == value else str(value)
