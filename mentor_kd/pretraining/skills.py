"""Skills: generated exercises in the components of reasoning, for the pre-training of the sandbox models.

Copying, spelling, lookup, swaps, small sums, the calendar and one-step stories, in many wordings, as in rationales. No
exercise is a question of the sandbox's tasks or asks for what a task asks for: combining the components is left to
distillation. The question always determines the form of the reply.
"""

import calendar
import datetime
import random

from ..data import sandbox

PEOPLE = (sandbox.NAMES, sandbox.NAMES, "Alice Bob Claire Dave Eve Fred".split())
COLOURED = "ball ball gift present card cup ring coat hat bag".split()
# phrases for holding something: at the start, after a swap
HOLDING = (
    ("has a {}", "has the {}"),
    ("holds the {}", "has the {}"),
    ("gets {}", "has {}"),
    ("is playing {}", "is playing {}"),
    ("is dancing with {}", "is dancing with {}"),
)
POSITIONS = "goalkeeper,striker,fullback,cheerleader,benchwarmer,left winger,right winger,center midfielder"
SWAP_WORDS = ("{} and {} swap", "{} and {} swap {}", "{} and {} trade {}", "{} and {} switch", "{} swaps with {}")
ORDER = (("", "", ""), ("First, ", "Then, ", "Finally, "), ("First, ", "Next, ", "Last, "), ("Then ", "Then ", "Then "))
# Formats of a trace: the request, the start of a line, the separator between holders, the end of a line.
TRACES = (
    ("Follow the swaps.", "{a} and {b}: ", ", ", ". "),
    ("Who has what after each swap?", "After {a} and {b} swap, ", ", ", ". "),
    ("Who has what after each swap, line by line?", "After {a} and {b} swap:\n", "\n", "\n\n"),
    ("Number the swaps.", "{i}. {a} and {b} swap: ", ", ", ". "),
    ("Number the swaps, line by line.", "{i}. {a} and {b} swap:\n- ", "\n- ", "\n\n"),
    ("Tell it step by step.", "{a} and {b} swap, so now ", " and ", ". "),
)
# One-step stories: text and operator. a and b are numbers, t things, n and m people.
STEPS = (
    ("{n} has {a} {t} and finds {b} more.", "+"),
    ("{n} had {a} {t} and then bought {b} {t}.", "+"),
    ("{m} gives {b} {t} to {n}, who had {a}.", "+"),
    ("{n} has {a} {t} and {m} has {b} {t}. They put them together.", "+"),
    ("There are {a} {t} in a box and {b} {t} on a table in all.", "+"),
    ("{m} has {b} {t} more than {n}, who has {a}. What has {m}?", "+"),
    ("{n} has {a} {t} and loses {b}.", "-"),
    ("{n} takes {b} {t} from a box with {a}. What is left?", "-"),
    ("{n} gives {b} of {a} {t} to {m}. What does {n} keep?", "-"),
    ("They have {a} {t} and give away {b}.", "-"),
    ("{m} has {b} {t} fewer than {n}, who has {a}. What has {m}?", "-"),
    ("{n} has {a} {t} and {m} has {b}. How many more has {n}?", "-"),
    ("{n} ate {b} of the {a} {t}.", "-"),
    ("{n} buys {a} bags with {b} {t} each.", "*"),
    ("{n} fills {a} boxes with {b} {t} each.", "*"),
    ("{a} children have {b} {t} each.", "*"),
)


def copy_skill(rng: random.Random) -> tuple[str, str]:
    def item() -> str:
        kinds = (
            sandbox.made_up_word(rng),
            rng.choice(sandbox.COLOURS),
            str(rng.randrange(1000)),
            rng.choice(sandbox.NAMES),
        )
        return rng.choice(kinds)

    items = [item() for _ in range(rng.randint(1, 9))]
    if rng.random() < 0.3:
        return f"Number: {', '.join(items)}", " ".join(f"{i}. {one}" for i, one in enumerate(items, 1))
    if rng.random() < 0.3:
        return f"Copy in lines: {', '.join(items)}", "\n".join(items)
    return f"Copy: {' '.join(items)}", " ".join(items)


def spell_skill(rng: random.Random) -> tuple[str, str]:
    word = sandbox.made_up_word(rng)
    kind = rng.random()
    if kind < 0.2:
        return f"Spell {word} backwards.", " ".join(reversed(word))
    if kind < 0.4:
        place = rng.randrange(len(word))
        return f"Letter {place + 1} of {word}?", word[place]
    if kind < 0.5:
        return f"Where does {word} end?", f"{word} ends in {word[-1]}."
    return f"Spell {word}.", " ".join(word)


def join_skill(rng: random.Random) -> tuple[str, str]:
    letters = [rng.choice("abcdefghijklmnoprstuvz") for _ in range(rng.randint(2, 6))]
    return f"Write without spaces: {' '.join(letters)}", "".join(letters)


def lookup_skill(rng: random.Random, easy: bool = False) -> tuple[str, str]:
    """One to six questions at once: who has what, or which option has which letter."""
    n = rng.randint(2, 5)
    keys, values, (start, now) = holders(rng, n, easy)
    held = dict(zip(keys, values, strict=True))
    many = range(rng.randint(3, 6) if easy else rng.choice((1, 1, 2, 3, 4, 5)))
    # No colon in the easy form: the word to look up comes directly before the answer, which is easier to learn.
    colon = "" if easy else ":"
    if rng.random() < 0.25:
        options = rng.choice((" ", ", ")).join(f"({letter}) {v}" for letter, v in zip("ABCDE", values, strict=False))
        picks = [rng.randrange(n) for _ in many]
        asked = f"{'Letters' if easy else 'Which letter'}: {', '.join(values[i] for i in picks)}?"
        return f"{options}. {asked}", ", ".join(f"{values[i]}{colon} {'ABCDE'[i]}" for i in picks)
    plain, short = easy or rng.random() < 0.4, easy or rng.random() < 0.4
    pairs = ", ".join(f"{k} {v}" if plain else f"{k} {start.format(v)}" for k, v in held.items())
    picks = [rng.choice(keys) for _ in many]
    if rng.random() < 0.4:
        asked = f"{'Who has' if easy else 'Whose'}: {', '.join(held[k] for k in picks)}?"
        return f"{pairs}. {asked}", ", ".join(f"{held[k]}{colon} {k}" for k in picks)
    told = ", ".join(f"{k} {held[k]}" if short else f"{k} {now.format(held[k])}" for k in picks)
    return f"{pairs}. {'In short' if short else 'And'}: {', '.join(picks)}?", told + "."


def holders(rng: random.Random, n: int, easy: bool = False) -> tuple[list[str], list[str], tuple[str, str]]:
    """People, what each has, and the phrases for having it; `easy` uses only names and colours of one token."""
    if easy:
        return rng.sample(sandbox.NAMES, n), rng.sample(sandbox.COLOURS, n), HOLDING[2]
    keys = rng.sample(rng.choice(PEOPLE), n)
    kind = rng.choice((0, 0, 0, 1, 2, 3, 4))
    if kind < 2:
        noun = rng.choice(COLOURED)
        return keys, [f"{colour} {noun}" for colour in rng.sample(sandbox.COLOURS, n)], HOLDING[kind]
    if kind == 2:
        words = {sandbox.made_up_word(rng): 0 for _ in range(20)}
        return keys, list(words)[:n], HOLDING[2]
    if kind == 3:
        return keys, rng.sample(POSITIONS.split(","), n), HOLDING[3]
    return keys, rng.sample([name for name in sandbox.NAMES if name not in keys], n), HOLDING[4]


def partner_skill(rng: random.Random) -> tuple[str, str]:
    """With whom somebody swaps: the half of a swap that a model does not learn without explicit exercises."""
    people = rng.sample(rng.choice((sandbox.NAMES, PEOPLE[-1])), 2 * rng.randint(1, 3))
    pairs = list(zip(people[::2], people[1::2], strict=True))
    partner = dict(pairs) | {b: a for a, b in pairs}
    word = rng.choice(SWAP_WORDS)
    picks = [rng.choice(people) for _ in range(rng.randint(2, 6))]
    told = " ".join(word.format(a, b, "places") + "." for a, b in pairs)
    return f"{told} With whom: {', '.join(picks)}?", ", ".join(f"{one} {partner[one]}" for one in picks)


def swap_skill(rng: random.Random, most: int = 3, easy: bool = False) -> tuple[str, str]:
    """Who has what after each of 1 to `most` swaps, or who takes what; after a single swap also what some have."""
    n = rng.choice((2, 3, 3, 3, 4))
    keys, values, (start, now) = holders(rng, n, easy)
    held = dict(zip(keys, values, strict=True))
    short = easy or rng.random() < 0.4  # names and things only
    told = ", ".join(f"{k} {v}" if short else f"{k} {start.format(v)}" for k, v in held.items())
    asks, opening, between, end = rng.choice(TRACES)
    swap, order = rng.choice(SWAP_WORDS), rng.choice(ORDER)
    drop = short and all(" " in value for value in values) and rng.random() < 0.7  # "red" for "red ball"
    takes = short and rng.random() < 0.3
    asked, reply = [], ""
    for index in range(rng.randint(1, most)):
        a, b = rng.sample(keys, 2)
        held[a], held[b] = held[b], held[a]
        asked.append(order[index] + swap.format(a, b, "places") + ".")
        shown = {k: v.split()[0] if drop else v for k, v in held.items()}
        if takes:
            opening = f"{a} takes {b} {shown[a]}, {b} takes {a} {shown[b]}: "
            between, end = ", ", ". "
        state = between.join(f"{k} {v}" if short else f"{k} {now.format(v)}" for k, v in shown.items())
        reply += opening.format(a=a, b=b, i=index + 1) + state + end
    if takes:
        asks = "Who takes what?"
    if drop:
        asks += " Colours only."
    if len(asked) == 1 and not takes and rng.random() < 0.5:
        picks = [rng.choice(keys) for _ in range(rng.randint(1, 6))]
        told_now = ", ".join(f"{k} {held[k]}" if short else f"{k} {now.format(held[k])}" for k in picks)
        return f"{told}. {asked[0]} And: {', '.join(picks)}?", told_now + "."
    return f"{told}. {' '.join(asked)} {asks}", reply.strip()


def sum_skill(rng: random.Random, most: int = 4) -> tuple[str, str]:
    """1 to `most` sums, independent or each starting from the previous result."""

    def one(x: int | None) -> tuple[str, int]:
        kind = rng.choice("++--*") if x is None else rng.choice("+-")
        if kind == "*":
            x, y = rng.randint(2, 12), rng.randint(2, 12)
            return f"{x} * {y}", x * y
        wide = rng.random() < 0.15
        y = rng.randint(1, 400 if wide else 60)
        x = rng.randint(1, 600 if wide else 99) if x is None else x
        if kind == "-":
            return (f"{x} - {y}", x - y) if x > y else (f"{y} - {x}", y - x)
        return f"{x} + {y}", x + y

    sums: list[tuple[str, int]] = []
    chained = rng.random() < 0.4
    for _ in range(rng.randint(1, most)):
        sums.append(one(sums[-1][1] if chained and sums else None))
    asked = "; ".join(text for text, _ in sums)
    if rng.random() < 0.3:
        return f"{asked} in words", " and then ".join(f"{text} which is {value}" for text, value in sums) + "."
    return asked, ". ".join(f"{text} = {value}" for text, value in sums) + "."


def calendar_skill(rng: random.Random) -> tuple[str, str]:
    day = datetime.date(2001, 1, 1) + datetime.timedelta(days=rng.randrange(365 * 24))
    name = sandbox.MONTHS[day.month - 1]
    after = sandbox.MONTHS[day.month % 12]
    length = calendar.monthrange(day.year, day.month)[1]
    kind = rng.randrange(8)
    if kind == 0:
        return f"How many days has {name} {day.year}?", f"{name} has {length} days."
    if kind == 1:
        return (
            (f"Which month comes after {name}?", after)
            if rng.random() < 0.5
            else (f"Which month comes before {after}?", name)
        )
    if kind < 4:  # correct a day beyond the end, or before the start, of a month
        far = rng.randint(1, 19)
        year = day.year + (day.month == 12)
        if kind == 2:
            right = f"{name} has {length} days. {length + far} - {length} = {far}. {far} {after} {year}."
            return f"Put right: {length + far} {name} {day.year}", right
        right = f"{name} has {length} days. {length} - {far} = {length - far}. {length - far} {name} {day.year}."
        return f"Put right: {far} before {after} {year}", right
    text = f"{day.day} {name} {day.year}"
    return (f"{text} in digits", f"{day:%m/%d/%Y}") if kind < 7 else (f"{day:%m/%d/%Y} in words", text)


def story_skill(rng: random.Random) -> tuple[str, str]:
    """A one-step story: the sum it asks for, or the numbers it contains."""
    text, operator = rng.choice(STEPS)
    n, m = rng.sample(sandbox.NAMES, 2)
    wide = rng.random() < 0.1
    a = rng.randint(2, 12) if operator == "*" else rng.randint(5, 400 if wide else 90)
    b = rng.randint(2, 12) if operator == "*" else rng.randint(1, a - 1 if operator == "-" else 60)
    things = rng.choice(sandbox.THINGS)
    told = text.format(n=n, m=m, t=things, a=a, b=b)
    if rng.random() < 0.15:
        return f"{told} Which numbers?", " and ".join(word.strip(".,?") for word in told.split() if word[0].isdigit())
    result = {"+": a + b, "-": a - b, "*": a * b}[operator]
    if rng.random() < 0.5:
        return f"{told} Which sum?", f"{a} {operator} {b} = {result}."
    return f"{told} Which sum of what?", f"{a} {operator} {b} = {result} {things}."


SKILLS = (
    *(copy_skill, spell_skill, join_skill, lookup_skill, partner_skill),
    *(swap_skill, sum_skill, calendar_skill, story_skill),
)
# Weights at the start and from the middle on. Copying and lookup come first: all other skills build on them.
EARLY = (4, 2.5, 1, 8, 3, 4, 1.5, 1, 1)
LATE = (0.6, 0.6, 0.4, 2, 0.7, 3, 3, 2.5, 2)


def skill_text(rng: random.Random, progress: float = 1.0) -> tuple[str, str]:
    """A question and its reply, from a curriculum over the training `progress` in [0, 1].

    At first people and things are one token each, with decreasing probability until 0.4. Swaps and sums come one at a
    time until 0.2, up to two until 0.4, then up to three.
    """
    late = min(1.0, 2 * progress)
    weights = [(1 - late) * early + late * usual for early, usual in zip(EARLY, LATE, strict=True)]
    skill = rng.choices(SKILLS, weights)[0]
    easy = rng.random() > progress / 0.4
    most = 1 if progress < 0.2 else 2 if progress < 0.4 else 3
    if skill is lookup_skill:
        return skill(rng, easy)
    if skill is swap_skill:
        return skill(rng, most, easy)
    return skill(rng, most) if skill is sum_skill else skill(rng)
