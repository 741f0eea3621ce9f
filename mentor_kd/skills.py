"""Skills: generated exercises in the parts of reasoning, for the pre-training of the sandbox models.

Copying, spelling, joining, looking up, swapping, small sums, the calendar, and the sandbox's way of telling. None is a
question of the sandbox's tasks: putting the parts together is left for distillation to teach.
"""

import calendar
import datetime
import random

from . import sandbox


def copy_skill(rng: random.Random) -> tuple[str, str]:
    def item() -> str:
        kinds = (
            sandbox.made_up_word(rng),
            rng.choice(sandbox.COLOURS),
            str(rng.randrange(200)),
            rng.choice(sandbox.NAMES),
        )
        return rng.choice(kinds)

    words = " ".join(item() for _ in range(rng.randint(1, 9)))
    return f"Copy: {words}", words


def spell_skill(rng: random.Random) -> tuple[str, str]:
    word = sandbox.made_up_word(rng)
    if rng.random() < 0.25:
        return f"Spell {word} backwards.", " ".join(reversed(word))
    if rng.random() < 0.35:
        place = rng.randrange(len(word))
        return f"Letter {place + 1} of {word}?", word[place]
    return f"Spell {word}.", " ".join(word)


def join_skill(rng: random.Random) -> tuple[str, str]:
    letters = [rng.choice("abcdefghijklmnoprstuvz") for _ in range(rng.randint(2, 6))]
    return f"Write without spaces: {' '.join(letters)}", "".join(letters)


def lookup_skill(rng: random.Random) -> tuple[str, str]:
    n = rng.randint(2, 5)
    keys = rng.sample(sandbox.NAMES, n)
    values = rng.sample(sandbox.COLOURS if rng.random() < 0.7 else sandbox.THINGS, n)
    if rng.random() < 0.3:
        options = " ".join(f"({letter}) {value}" for letter, value in zip("ABCDE", values, strict=False))
        chosen = rng.randrange(n)
        return f"{options}. Which letter is {values[chosen]}?", "ABCDE"[chosen]
    pick = rng.randrange(n)
    pairs = ", ".join(f"{key} {value}" for key, value in zip(keys, values, strict=True))
    if rng.random() < 0.5:
        return f"{pairs}. Who has {values[pick]}?", keys[pick]
    return f"{pairs}. What does {keys[pick]} have?", values[pick]


def swap_skill(rng: random.Random) -> tuple[str, str]:
    n = rng.randint(2, 4)
    keys, values = rng.sample(sandbox.NAMES, n), rng.sample(sandbox.COLOURS, n)
    held = dict(zip(keys, values, strict=True))
    before = ", ".join(f"{key} {held[key]}" for key in keys)
    lines = []
    asked = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        a, b = rng.sample(keys, 2)
        held[a], held[b] = held[b], held[a]
        asked.append(f"{a} and {b} swap.")
        lines.append(f"{a} and {b}: " + ", ".join(f"{key} {held[key]}" for key in keys))
    return f"{before}. {' '.join(asked)}", ". ".join(lines) + "."


def sum_skill(rng: random.Random) -> tuple[str, str]:
    def one() -> tuple[str, int]:
        kind = rng.choice("++--*")
        if kind == "*":
            x, y = rng.randint(2, 12), rng.randint(2, 12)
            return f"{x} * {y}", x * y
        x, y = rng.randint(1, 99), rng.randint(1, 40)
        if kind == "-":
            return (f"{x} - {y}", x - y) if x > y else (f"{y} - {x}", y - x)
        return f"{x} + {y}", x + y

    sums = [one() for _ in range(rng.randint(1, 4))]
    return "; ".join(text for text, _ in sums), ". ".join(f"{text} = {value}" for text, value in sums) + "."


def calendar_skill(rng: random.Random) -> tuple[str, str]:
    day = datetime.date(2001, 1, 1) + datetime.timedelta(days=rng.randrange(365 * 24))
    name = sandbox.MONTHS[day.month - 1]
    kind = rng.randrange(4)
    if kind == 0:
        return (
            f"How many days has {name} {day.year}?",
            f"{name} has {calendar.monthrange(day.year, day.month)[1]} days.",
        )
    if kind == 1:
        after = sandbox.MONTHS[day.month % 12]
        return (
            (f"Which month comes after {name}?", after)
            if rng.random() < 0.5
            else (f"Which month comes before {after}?", name)
        )
    text = f"{day.day} {name} {day.year}"
    return (f"{text} in digits", f"{day:%m/%d/%Y}") if kind == 2 else (f"{day:%m/%d/%Y} in words", text)


def story_skill(rng: random.Random) -> tuple[str, str]:
    """The sandbox's way of telling, with one fact asked that stands in the text: no sum, no task question."""
    n, m = rng.sample(sandbox.NAMES, 2)
    t, u = rng.sample(sandbox.THINGS, 2)
    a, b = rng.randint(2, 60), rng.randint(2, 60)
    told = rng.choice(
        [
            f"{n} has {a} {t} and {m} has {b} {u}.",
            f"{n} buys {a} {t} in a box and {m} gives away {b} {u}.",
            f"{n} had {a} {t} and found {b} {u}.",
            f"There are {a} {t} and {b} {u} left. {n} loses none and {m} takes more.",
        ]
    )
    pick, number = rng.choice([(t, a), (u, b)])
    return f"{told} How many {pick}?", f"{number} {pick}"


SKILLS = (
    copy_skill,
    spell_skill,
    join_skill,
    lookup_skill,
    swap_skill,
    sum_skill,
    sum_skill,
    calendar_skill,
    story_skill,
)
# Copying and looking up come first, for everything else is made of them: shares at the start and from the middle on.
EARLY = (5, 3, 2, 4, 1, 0.5, 0.5, 0.5, 1)
LATE = (1, 1, 0.5, 1, 2, 1.5, 1.5, 1, 0.7)


def skill_text(rng: random.Random, progress: float = 1.0) -> tuple[str, str]:
    """A question and its reply; `progress` in [0, 1] says how far the training is, and so which skills are usual."""
    late = min(1.0, 2 * progress)
    weights = [(1 - late) * early + late * usual for early, usual in zip(EARLY, LATE, strict=True)]
    return rng.choices(SKILLS, weights)[0](rng)
