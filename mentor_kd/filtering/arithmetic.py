"""Find arithmetic errors in a rationale: steps such as `2 + 3 = 6`.

Only unambiguous claims about numbers are checked; anything doubtful passes.
"""

import itertools
import operator
import re
from fractions import Fraction

_TOKEN = re.compile(
    r"""(?P<other>(?<=\s):|[-=]+>|[<>!]=|==+|\*\*                          # ratios, arrows, comparisons, powers
          |\d+/\d+/\d+|\d{4}-\d{1,2}-\d{1,2}|\d{1,2}:\d\d          # dates and times of day
          |\d+\s+\d+/\d+(?![\d/])                                  # mixed numbers, 1 1/2
          |(?<!\d)(?:[$€£]\x20?)?\d{1,3}(?:[\x20\xa0\u2009\u202f'’_]\d{3})+(?!\d)(?:[.,]\d+)?)  # 10 000 or two numbers
      |(?P<number>(?:[$€£]\x20?)?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?!\d|[.,]\d))
      |(?P<op>[-+*/×÷·−–]|\\times|\\cdot|\\div|[xX](?=\s*[$€£(]?\d))
      |(?P<paren>[()])|(?P<equals>=)
      |(?P<word>[^\W\d]\w*)|(?P<mark>[.,;:!?"'<>\[\]“”’])|(?P<symbol>\d+(?:[.,]\d+)*|\S)""",
    re.VERBOSE,
)
_SIGNS = {"x": "*", "X": "*", "×": "*", "·": "*", r"\times": "*", r"\cdot": "*", "÷": "/", r"\div": "/"}
_SIGNS |= {"−": "-", "–": "-"}
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_RANKS = {"+": 1, "-": 1, "*": 2, "/": 2}
# After or before these words a number has another meaning: "half of 3 + 1 = ...", "2 + 3 = 5 hundred".
_BEFORE = frozenset("plus minus times by of over than x step".split())
_AFTER = frozenset("hundred thousand million billion dozen percent with remainder r".split())
_DOTTED = re.compile(r"(?<!\d)[1-9]\d{0,2}\.\d{3}\Z")
_LONGEST = 60  # tokens on one side; longer ones are degenerate text


def wrong_steps(text: str) -> list[str]:
    """The incorrect arithmetic steps in a text, such as "2 + 3 = 6".

    Supports + - * / and their typographic forms (x between numbers, ×, ÷, –), parentheses, thousands separators,
    decimals and currency signs before a number. Arithmetic is exact; a result with decimals may be rounded or truncated
    to them. Run-on steps (2 + 3 = 5 + 1 = 6) are read as two steps. Not checked: steps with a letter, a unit between
    the numbers, a percentage, a power, a mixed number, a date, a time, or a number with other separators (10 000,
    10'000, 1.234,5); 1.500 may be a decimal or a whole number. Units are not converted, so "60 + 60 = 2 hours" is
    wrong.
    """
    tokens = [(match.lastgroup, match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text)]
    wrong, i = [], 0
    while i < len(tokens):
        end = i
        while end < len(tokens) and tokens[end][0] in ("number", "op", "paren", "equals"):
            end += 1
            if end < len(tokens) and tokens[end - 1][0] == tokens[end][0] == "number":
                break  # two adjacent numbers: joined lines
        run = tokens[i:end]
        if any(token[0] == "equals" for token in run):
            pairs = _wrong_pairs(run, tokens[i - 1 : i], tokens[end : end + 1])
            wrong += [text[first[2] : last[3]] for first, last in pairs]
        i = max(end, i + 1)
    return wrong


def _wrong_pairs(run: list, before: list, after: list) -> list[tuple]:
    """(first token, last token) of each wrong step in a run of numbers, operators and equals signs."""
    cuts = [-1, *(k for k, token in enumerate(run) if token[0] == "equals"), len(run)]
    sides = [run[start + 1 : end] for start, end in itertools.pairwise(cuts)]
    unclosed, unopened = _depth(sides[0]), -_depth(sides[-1])  # the whole step is in parentheses: "(2 + 3 = 5)"
    while unclosed > 0 and sides[0][0][1] == "(":
        sides[0].pop(0)
        unclosed -= 1
    while unopened > 0 and sides[-1][-1][1] == ")":
        sides[-1].pop()
        unopened -= 1
    dash = bool(sides[0]) and sides[0][0][1] in "-–−"  # a sign, a list item's dash, or "apples - 3 + 1 = ..."
    if dash or (before and _clings(before[0], run[0], _BEFORE)):
        sides[0] = []
    if after and _clings(after[0], run[-1], _AFTER):
        sides[-1] = []
    wrong = []
    for k, (left, right) in enumerate(itertools.pairwise(sides)):
        if _value(left) is None or _value(right) is None or all(token[0] != "op" for token in left + right):
            continue
        lefts, rights = [left], [right]
        if k > 0 and len(left) > 2 and left[1][1] in "-–−":  # list items joined at their dashes: 2 + 3 = 5 - 5 + 1 = 6
            lefts.append(left[2:])
        if right[0][0] == "number":
            rights.append(right[:1])
        readings = itertools.product(lefts, rights, (False, True))
        if not any(_agree(_value(one, dots), _value(other, dots), other) for one, other, dots in readings):
            wrong.append((left[0], right[-1]))
    return wrong


def _depth(side: list) -> int:
    return sum({"(": 1, ")": -1}.get(token[1], 0) for token in side)


def _clings(neighbour: tuple, edge: tuple, words: frozenset[str]) -> bool:
    """Whether the token next to a run changes the meaning of the run's outermost number."""
    kind, text, start, end = neighbour
    if kind in ("other", "symbol"):
        return True
    touches = start == edge[3] or end == edge[2]
    return kind == "word" and (touches or text.lower() in words)


def _agree(value: Fraction | None, claim: Fraction | None, written: list) -> bool:
    """Whether a value equals the claim, exactly or rounded or truncated to the decimals of the claim."""
    if value is None or claim is None or value == claim:
        return value is not None and value == claim
    decimals = [len(token[1].partition(".")[2]) for token in written if "." in token[1]]
    return bool(decimals) and abs(value - claim) < Fraction(len(decimals), 10 ** min(decimals))


def _value(side: list, dots: bool = False) -> Fraction | None:
    """The exact value of an expression's tokens, without eval; None if they are not an expression.

    With `dots`, a dot before three digits separates thousands: 1.500 is 1500.
    """
    tokens = [_SIGNS.get(token[1], token[1]) for token in reversed(side)]
    if dots:
        tokens = [token.replace(".", "") if _DOTTED.search(token) else token for token in tokens]

    def operand() -> Fraction:
        token = tokens.pop()
        if token == "(":
            value = expression(0)
            if tokens.pop() != ")":
                raise ValueError("not closed")
            return value
        return -operand() if token == "-" else Fraction(token.replace(",", "").lstrip("$€£ "))

    def expression(above: int) -> Fraction:
        value = operand()
        while tokens and (rank := _RANKS.get(tokens[-1], 0)) > above:
            value = _OPERATIONS[tokens.pop()](value, expression(rank))
        return value

    try:
        value = expression(0) if len(side) <= _LONGEST else None
    except (ValueError, IndexError, ZeroDivisionError):  # not an expression, or an incomplete one
        return None
    return None if tokens else value
