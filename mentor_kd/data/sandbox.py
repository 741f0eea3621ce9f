"""The sandbox: questions made by rule, and a rule-based teacher that explains them and makes honest mistakes.

Four families mirror the paper's tasks: three people swap balls (sandbox-shuffled), last letters of made-up words
(sandbox-letters), dates (sandbox-dates) and arithmetic stories (sandbox-sums). The teacher reads a question as text,
writes its reasoning in one of three styles, annotates only a share of the questions and errs at a set rate, as
GPT-3.5 did: so a mentor has something to add and a filter something to drop. Everything follows from a seed.
"""

import calendar
import datetime
import itertools
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..checks import require_integer, require_number
from ..files import DATA, InputError
from .answers import MARKER
from .rationales import Question, normalise, question_id, read_questions

FAMILIES = ("sandbox-shuffled", "sandbox-letters", "sandbox-dates", "sandbox-sums")
NAMES = (
    "Ann Bob Cid Dora Emil Fay Gus Hana Ivo Jill Kim Leo Mia Ned Olga Paul Rosa Sam Tina Uma Vic Will Yara Zoe".split()
)
COLOURS = "red blue green black white pink brown grey gold orange purple yellow".split()
THINGS = "apples books cards coins cups eggs keys marbles nuts pens plums rings roses shells stamps stones".split()
MONTHS = list(calendar.month_name)[1:]
STYLES = (0, 1, 2)
SHIPPED = {"train": 400, "dev": 100, "test": 500, "seed": 2024}  # of the questions in data/sandbox/
# Wrong answers of GPT-3.5 in the paper's Table 2: Shuffled 64.00, Last Letter 68.00, Date 81.98, SVAMP 75.14.
ERROR_RATES = {
    "sandbox-shuffled": 0.36,
    "sandbox-letters": 0.32,
    "sandbox-dates": 0.18,
    "sandbox-sums": 0.25,
}
# A story is a text with blanks, and the steps that solve it; "_" is the result of the step before.
STORIES = [
    (
        "{n} has {a} {t}. {m} gives {n} {b} more {t}, and then {n} loses {c} {t}. How many {t} does {n} have now?",
        "a+b _-c",
    ),
    ("{n} buys {b} bags with {c} {t} each and already has {a} {t}. How many {t} does {n} have in all?", "b*c a+_"),
    ("There are {a} {t} in a box. {n} takes {b} {t} and {m} takes {c} {t}. How many {t} are left?", "a-b _-c"),
    ("{n} has {a} {t} and {m} has {b} {t}. They give away {c} {t}. How many {t} do they still have?", "a+b _-c"),
    ("{n} fills {b} boxes with {c} {t} each and gives {d} {t} to {m}. How many {t} does {n} keep?", "b*c _-d"),
    ("{n} had {a} {t}, found {b} {t} and then bought {c} {t}. How many {t} does {n} have?", "a+b _+c"),
    ("{n} has {a} {t}. {m} has {b} {t} more than {n}. How many {t} do they have together?", "a+b a+_"),
    ("{n} has {a} {t}. {m} has {b} {t} fewer than {n}. How many {t} do they have together?", "a-b a+_"),
]
SHIFTS = {
    "What is the date tomorrow?": 1,
    "What was the date yesterday?": -1,
    "What is the date a week from today?": 7,
    "What was the date a week ago?": -7,
}


@dataclass(frozen=True)
class TeacherSettings:
    """How the rule-based teacher annotates: share of questions, rationales each, share of wrong ones, styles, seed."""

    coverage: float = 0.6
    error_rate: float | None = None  # None: the task's own rate in ERROR_RATES
    n: int = 3
    styles: tuple[int, ...] = STYLES
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "styles", tuple(self.styles))
        require_number("coverage", self.coverage, above=0, most=1, note="a share of the questions")
        if self.error_rate is not None:
            require_number("error_rate", self.error_rate, least=0, most=1)
        require_integer("n (rationales for each question)", self.n, 1)
        if not self.styles or not set(self.styles) <= set(STYLES):
            raise InputError(f"styles must be one or more of {STYLES}, got {self.styles!r}")


@dataclass(frozen=True)
class Facts:
    """What the teacher has read in a question: the facts of its family."""

    family: str
    values: dict = field(default_factory=dict)


def made_up_word(rng: random.Random) -> str:
    """A pronounceable word of three to six letters that is in no dictionary."""
    syllables = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.choice((1, 2, 2)))]
    return "".join(syllables).capitalize() + rng.choice(
        ("", "n", "r", "s", "k", "l", "t", "m") if len(syllables) > 1 else "nrsklt"
    )


def _ask_shuffled(rng: random.Random) -> str:
    people = rng.sample(NAMES, 3)
    balls = rng.sample(COLOURS, 3)
    pairs = [rng.sample(people, 2) for _ in range(3)]
    swaps = " ".join(
        f"{when}, {a} and {b} swap." for when, (a, b) in zip(("First", "Then", "Finally"), pairs, strict=True)
    )
    held = ", ".join(f"{person} has a {ball} ball" for person, ball in zip(people, balls, strict=True))
    options = " ".join(f"({letter}) {ball} ball" for letter, ball in zip("ABC", balls, strict=True))
    return f"{held}. {swaps} At the end, which ball does {rng.choice(people)} have? {options}"


def _ask_letters(rng: random.Random) -> str:
    words = " ".join(made_up_word(rng) for _ in range(rng.choice((3, 4))))
    return f'Take the last letters of the words in "{words}" and join them.'


def _ask_dates(rng: random.Random) -> str:
    today = datetime.date(2001, 1, 1) + datetime.timedelta(days=rng.randrange(365 * 24))
    days = rng.randint(2, 19)
    asked = rng.choice([*SHIFTS, f"What is the date {days} days from today?", f"What was the date {days} days ago?"])
    return f"Today is {today.day} {MONTHS[today.month - 1]} {today.year}. {asked} Write it as MM/DD/YYYY."


def _ask_sums(rng: random.Random) -> str:
    text, plan = rng.choice(STORIES)
    product = "b*c" in plan
    numbers = {
        "a": rng.randint(20, 60),
        "b": rng.randint(2, 9 if product else 19),
        "c": rng.randint(2, 9 if product else 15),
    }
    numbers["d"] = rng.randint(1, numbers["b"] * numbers["c"] - 1)
    n, m = rng.sample(NAMES, 2)
    if plan.startswith("a-b _-c"):
        numbers["a"] = numbers["b"] + numbers["c"] + rng.randint(1, 40)
    return text.format(n=n, m=m, t=rng.choice(THINGS), **numbers)


_ASK: dict[str, Callable[[random.Random], str]] = dict(
    zip(FAMILIES, (_ask_shuffled, _ask_letters, _ask_dates, _ask_sums), strict=True)
)


def _story_pattern(text: str) -> re.Pattern:
    """A story with blanks as a pattern; a blank that occurs twice must be filled in the same way."""
    kinds = {"n": r"[A-Z]\w+", "m": r"[A-Z]\w+", "t": r"[a-z]+"}
    seen: set[str] = set()
    pattern = ""
    for piece in re.split(r"(\{\w\})", text):
        name = piece[1:-1]
        if not piece.startswith("{"):
            pattern += re.escape(piece)
        elif name in seen:
            pattern += f"(?P={name})"
        else:
            pattern += f"(?P<{name}>{kinds.get(name, r'[0-9]+')})"
            seen.add(name)
    return re.compile(pattern)


_STORY_PATTERNS = [(_story_pattern(text), plan) for text, plan in STORIES]
_LETTERS = re.compile(r'Take the last letters of the words in "(?P<words>[^"]+)" and join them\.')
_DATE = re.compile(
    r"Today is (?P<day>\d+) (?P<month>[A-Z]\w+) (?P<year>\d+)\. (?P<asked>What .*\?) Write it as MM/DD/YYYY\."
)
_SHUFFLED = re.compile(
    r"(?P<held>.*)\. (?P<swaps>First, .* swap\.) At the end, which ball does (?P<asked>\w+) have\? \(A\) .*"
)


def read_question(family: str, text: str) -> Facts:
    """What a sandbox question says; InputError where it is not a question of this family."""
    text = normalise(text)
    try:
        facts = _read(family, text)
    except (KeyError, ValueError, OverflowError):  # no such month, no such day
        facts = None
    if facts is None:
        raise InputError(
            f"{text[:80]!r} is not a question of {family}; the rule-based teacher reads only questions that the "
            f"sandbox made; for others use a language model as teacher"
        )
    return facts


def _read(family: str, text: str) -> Facts | None:
    if family == "sandbox-letters" and (found := _LETTERS.fullmatch(text)):
        return Facts(family, {"words": found["words"].split()})
    if family == "sandbox-dates" and (found := _DATE.fullmatch(text)):
        day = datetime.date(int(found["year"]), MONTHS.index(found["month"]) + 1, int(found["day"]))
        days = re.search(r"(\d+) days (from|ago)", found["asked"])
        shift = int(days[1]) * (1 if days[2] == "from" else -1) if days else SHIFTS[found["asked"]]
        return Facts(family, {"today": day, "shift": shift})
    if family == "sandbox-sums":
        for pattern, plan in _STORY_PATTERNS:
            if found := pattern.fullmatch(text):
                values = {key: int(value) if value.isdigit() else value for key, value in found.groupdict().items()}
                return Facts(family, {"plan": plan.split(), **values})
    if family == "sandbox-shuffled" and (found := _SHUFFLED.fullmatch(text)):
        held = dict(re.findall(r"(\w+) has a (\w+) ball", found["held"]))
        swaps = re.findall(r"(\w+) and (\w+) swap", found["swaps"])
        if len(held) == len(swaps) == 3 and {found["asked"], *itertools.chain(*swaps)} <= set(held):
            options = list(held.values())
            return Facts(family, {"held": held, "swaps": swaps, "asked": found["asked"], "options": options})
    return None


def _explain_letters(values: dict, style: int, slip: random.Random | None) -> str:
    words = values["words"]
    letters = [word[-1] for word in words]
    if slip:
        wrong = slip.randrange(len(words))
        others = [letter for letter in words[wrong].lower()[:-1] if letter != letters[wrong]]
        letters[wrong] = slip.choice(others or ["e" if letters[wrong] != "e" else "a"])
    pairs = list(zip(words, letters, strict=True))
    spaced = " ".join(letters)
    told = (
        " ".join(f"{word} ends in {letter}." for word, letter in pairs) + f" Joined: {spaced}.",
        " ".join(f"{i}. {word} - {letter}" for i, (word, letter) in enumerate(pairs, 1)) + f" Together: {spaced}.",
        "The last letter of "
        + ", of ".join(f"{word} is {letter}" for word, letter in pairs)
        + f". That makes {spaced}.",
    )[style]
    return f"{told} {MARKER} {''.join(letters)}"


def _explain_dates(values: dict, style: int, slip: random.Random | None) -> str:
    today, shift = values["today"], values["shift"]
    if slip:  # a miscount by a day or two is the mistake that people and language models make
        shift += slip.choice([error for error in (-2, -1, 1, 2) if shift + error])
    then = today + datetime.timedelta(days=shift)
    sign, days = ("+", shift) if shift > 0 else ("-", -shift)
    raw = today.day + shift
    start, end = f"{today.day} {MONTHS[today.month - 1]}", f"{then.day} {MONTHS[then.month - 1]} {then.year}"
    if then.month == today.month:
        steps = [f"{today.day} {sign} {days} = {raw}"]
        reason = f"{raw} is still in {MONTHS[today.month - 1]}"
    else:
        turned = today if shift > 0 else then  # the month whose length matters
        length = calendar.monthrange(turned.year, turned.month)[1]
        undo = f"{raw} - {length}" if shift > 0 else f"{length} - {-raw}"
        steps = [f"{today.day} {sign} {days} = {raw}", f"{undo} = {then.day}"]
        reason = f"{MONTHS[turned.month - 1]} has {length} days"
    told = (
        f"{steps[0]}. {reason}. " + "".join(f"{step}. " for step in steps[1:]) + f"That is {end}.",
        f"From {start} go {days} days {'on' if shift > 0 else 'back'}: {', and '.join(steps)}, for {reason}. "
        f"We reach {end}.",
        f"{reason}. So {' and '.join(steps)}. The date is {end}.",
    )[style]
    return f"{told} {MARKER} {then:%m/%d/%Y}"


def _explain_sums(values: dict, style: int, slip: random.Random | None) -> str:
    plan = values["plan"]
    slipped = slip.randrange(len(plan)) if slip else -1
    result, steps = 0, []
    for index, (left, operator, right) in enumerate(plan):
        x = result if left == "_" else values[left]
        y = result if right == "_" else values[right]
        result = {"+": x + y, "-": x - y, "*": x * y}[operator]
        if slip and index == slipped:
            result += slip.choice([error for error in (-10, -2, -1, 1, 2, 10) if result + error > 0])
        steps.append((f"{x} {operator} {y}", result))
    told = (
        " ".join(f"{sum_} = {value}." for sum_, value in steps),
        f"First, {steps[0][0]} = {steps[0][1]}. Then, {steps[1][0]} = {steps[1][1]} {values['t']}.",
        f"We work out {' and then '.join(f'{sum_} which is {value}' for sum_, value in steps)}.",
    )[style]
    return f"{told} {MARKER} {result}"


def _explain_shuffled(values: dict, style: int, slip: random.Random | None) -> str:
    held = dict(values["held"])
    people = list(held)
    slipped = slip.randrange(3) if slip else -1

    def state() -> str:
        return ", ".join(f"{person} {held[person]}" for person in people)

    lines = [state()]
    for index, (a, b) in enumerate(values["swaps"]):
        # the honest mistake: a swap is forgotten, or the wrong two are taken for the right ones
        first, second = (
            (a, b) if slip is None or index != slipped else slip.choice([(a, a), *itertools.combinations(people, 2)])
        )
        held[first], held[second] = held[second], held[first]
        lines.append(
            (
                f"{a} and {b} swap: {state()}",
                f"After {a} and {b} swap, {state()}",
                f"{index + 1}. {a} and {b}: {state()}",
            )[style]
        )
    ball = held[values["asked"]]
    letter = "ABC"[values["options"].index(ball)]
    opening = ("", "At the start, ", "0. ")[style]
    return f"{opening}{'. '.join(lines)}. {values['asked']} has {ball} ({letter}). {MARKER} {letter}"


_EXPLAIN = dict(zip(FAMILIES, (_explain_shuffled, _explain_letters, _explain_dates, _explain_sums), strict=True))


def explain(facts: Facts, style: int = 0, slip: random.Random | None = None) -> str:
    """`{rationale} --> {answer}` in one of the styles; with `slip` a mistake is made and the answer follows from it."""
    return _EXPLAIN[facts.family](facts.values, style, slip)


def answer(family: str, text: str) -> str:
    """The right answer to a sandbox question, read from its text."""
    return explain(read_question(family, text)).rsplit(MARKER, 1)[1].strip()


def make_questions(
    family: str, n: int, seed: int, split: str = "", avoid: frozenset[str] = frozenset()
) -> list[Question]:
    """`n` distinct questions of a family, none with an id in `avoid`; the same for the same seed."""
    if family not in FAMILIES:
        raise InputError(f"unknown sandbox task {family!r}; the sandbox has {', '.join(FAMILIES)}")
    rng = random.Random(f"{family} questions {seed}")
    rows: dict[str, Question] = {}
    for _ in itertools.repeat(None, 100 * n + 1000):
        if len(rows) == n:
            return list(rows.values())
        text = normalise(_ASK[family](rng))
        identity = question_id(family, text)
        if identity not in avoid and identity not in rows:
            rows[identity] = Question(identity, family, text, answer(family, text), split)
    raise InputError(f"{family} has no {n} distinct questions besides those to avoid; ask for fewer")


def load_questions(family: str) -> list[Question]:
    """The questions that ship with the project, in data/sandbox/."""
    return read_questions(DATA / "sandbox" / f"{family}.jsonl")


def annotate(questions: list[Question], settings: TeacherSettings) -> list[tuple[Question, int, int, str]]:
    """The teacher's texts as (question, index, style, text), for the share of the questions that it annotates.

    Which questions are annotated, the styles and the mistakes follow from the seed and each question's id alone, so
    that another order or another set of questions changes nothing for those in both.
    """
    drawn = sorted(questions, key=lambda q: random.Random(f"{settings.seed} drawn {q.id}").random())
    chosen = {q.id for q in drawn[: max(1, round(settings.coverage * len(questions)))]}
    rows = []
    for question in questions:
        if question.id not in chosen:
            continue
        facts = read_question(question.task, question.question)
        rate = ERROR_RATES[question.task] if settings.error_rate is None else settings.error_rate
        for index in range(settings.n):
            rng = random.Random(f"{settings.seed} {index} {question.id}")
            wrong = rng.random() < rate
            style = rng.choice(settings.styles)
            text = explain(facts, style)
            for _ in range(100 if wrong else 0):  # a forgotten swap may not change the answer: then make another slip
                text = explain(facts, style, rng)
                if text.rsplit(MARKER, 1)[1].strip() != question.answer:
                    break
            rows.append((question, index, style, text))
    return rows
