"""Texts about swaps, for a sandbox model that has the other skills; used to continue pre-training as sandbox-swaps.

A swap takes two lookups: the partner, and what the partner has. A further swap starts from the state that the previous
one left. The letter of an option is looked up by a thing that occurs in the text several times. Each of these is
exercised separately, then in longer stories like those of the paper's tasks. No story asks what a task asks.
"""

import random
from typing import NamedTuple

from ..data import sandbox
from .skills import (
    ORDER,
    PEOPLE,
    POSITIONS,
    SWAP_WORDS,
    TRACES,
    holders,
    lookup_skill,
    partner_skill,
    skill_text,
    swap_skill,
)

SWAPPED = ("places", "balls", "gifts", "positions", "partners", "books", "their gifts")
# Irrelevant sentences before a text, so that the first occurrence of a name is not always the relevant one
LEADS = (
    "{} are friends. ",
    "{} are playing a game. ",
    "This is about {}. ",
    "Once there were {}. At the start of the day, ",
    "{} meet. At the start, ",
)
# Letters of options: the request and the form of an answer; s is the thing asked for, v the option's full text
LETTERS = (
    ("Letters", "{s} {letter}"),
    ("Options", "{s} is ({letter}) {v}"),
    ("Which letters", "{s}, so {letter}"),
    ("Answers", "{s}. So the answer is ({letter}) {v}"),
    ("Choices", "the {s}. Choice {letter}"),
    ("Marks", "{s} has the letter {letter}"),
)

# Stories: the beginning, the phrase for holding, the phrase for a swap, and the noun ("" if things need none)
STORIES = (
    ("{} are playing a game, and each of them is holding a ball at the start: ", "has a {}", "swap balls", "ball"),
    ("{} exchange gifts. At the start of the event each has a present: ", "has a {}", "swap their gifts", "present"),
    ("{} are on one team. At the start of the match each has a position: ", "is playing {}", "trade positions", ""),
    ("{} are dancers. At the start of a song each has a partner: ", "is dancing with {}", "switch partners", ""),
    ("{} are friends who trade books. At the start each has a new one: ", "gets {}", "swap books", ""),
)
OF_THE = ("{0} of the {1}", "The {0} of the {1}", "The {3} of the {2}", "{0} and the {1}")
GOES_ON = ("As time goes on, they trade. ", "As the game goes on, pairs of players trade. ", "Then they trade. ", "")
# Manners of reporting a swap: opening, separator between holders, end, and whether "now" and "still" are used
MANNERS = (
    ("After {a} and {b} {swap}: ", " ", " ", False),
    ("After the {nth} swap, ", ", ", ". ", True),
    ("{i}. {a} and {b} {swap}: - ", " - ", " ", False),
    ("{i}. {a} and {b} {swap}: ", ", ", ". ", True),
    ("{nth_word}, {a} and {b} {swap}. So ", " and ", ". ", True),
    ("{a} and {b} {swap}. Now, ", ", ", ". ", False),
)


def after_skill(rng: random.Random, before: int = 0, easy: bool = False) -> tuple[str, str]:
    """What people have after one more swap, two to six questions at once: only the two lookups of a swap.

    `before` earlier swaps are reported with the full state after each, so the latest of several states must be used.
    """
    keys, values, (start, now) = holders(rng, rng.choice((2, 3, 3, 4)), easy)
    held = dict(zip(keys, values, strict=True))
    short = easy or rng.random() < 0.3
    _, opening, between, end = rng.choice(TRACES)

    def say(people: list[str], form: str) -> list[str]:
        return [f"{k} {held[k]}" if short else f"{k} {form.format(held[k])}" for k in people]

    told = ", ".join(say(keys, start)) + ". "
    for index in range(before + 1):
        a, b = rng.sample(keys, 2)
        held[a], held[b] = held[b], held[a]
        if index < before:
            told += opening.format(a=a, b=b, i=index + 1) + between.join(say(keys, now)) + end
    picks = [rng.choice(keys) for _ in range(rng.randint(2, 6))]
    swap = rng.choice(SWAP_WORDS).format(a, b, rng.choice(SWAPPED))
    return f"{told}{swap}. {'In short' if short else 'And'}: {', '.join(picks)}?", ", ".join(say(picks, now)) + "."


def latest_skill(rng: random.Random, easy: bool = False) -> tuple[str, str]:
    """What people have according to the last of two to four lists, each with a new assignment."""
    keys, values, (_, now) = holders(rng, rng.choice((2, 3, 3, 4)), easy)
    short = easy or rng.random() < 0.3
    between, end = rng.choice(((", ", ". "), ("\n", "\n\n"), (" and ", ". ")))
    told = ""
    for _ in range(rng.randint(2, 4)):
        held = dict(zip(keys, rng.sample(values, len(values)), strict=True))
        said = {k: f"{k} {v}" if short else f"{k} {now.format(v)}" for k, v in held.items()}
        told += between.join(said.values()) + end
    picks = [rng.choice(keys) for _ in range(rng.randint(1, 4))]
    return f"{told}In the end: {', '.join(picks)}?", ", ".join(said[one] for one in picks) + "."


def option_skill(rng: random.Random, easy: bool = False) -> tuple[str, str]:
    """The letters of options, when the same things also occur in the text as held by people."""
    keys, values, (start, now) = holders(rng, rng.choice((2, 3, 3, 3, 4)), easy)
    short = easy or rng.random() < 0.3
    options = values if rng.random() < 0.7 else rng.sample(values, len(values))
    letters = dict(zip(options, "ABCD", strict=False))
    told = ", ".join(f"{k} {v}" if short else f"{k} {start.format(v)}" for k, v in zip(keys, values, strict=True))
    told += ". " + rng.choice((" ", ", ")).join(f"({letter}) {v}" for v, letter in letters.items()) + ". "
    for _ in range(rng.randrange(3)):
        held = zip(keys, rng.sample(values, len(values)), strict=True)
        told += ", ".join(f"{k} {v}" if short else f"{k} {now.format(v)}" for k, v in held) + ". "
    drop = all(" ball" in v for v in values) and rng.random() < 0.5  # "red" for "red ball"
    picks = [rng.choice(values) for _ in range(rng.randint(1, 4))]
    asks, form = rng.choice(LETTERS)
    shown = {v: v.split()[0] if drop else v for v in picks}
    replies = [form.format(s=shown[v], v=v, letter=letters[v]) for v in picks]
    return f"{told}{asks}: {', '.join(shown[v] for v in picks)}?", ", ".join(replies) + "."


def trace_skill(rng: random.Random, most: int = 3, easy: bool = False) -> tuple[str, str]:
    """1 to `most` swaps as requested: optionally with the start, the two swappers first or only, or what each gives."""
    keys, values, (start, now) = holders(rng, rng.choice((2, 3, 3, 3, 4)), easy)
    held = dict(zip(keys, values, strict=True))
    short = easy or rng.random() < 0.3
    told = ", ".join(f"{k} {v}" if short else f"{k} {start.format(v)}" for k, v in held.items())
    asks, opening, between, end = rng.choice(TRACES)
    manner = rng.choice(("All.", "The two first.", "Only the two.", "Who gives what?"))
    swap, swapped, order = rng.choice(SWAP_WORDS), rng.choice(SWAPPED), rng.choice(ORDER)

    def state(people: list[str]) -> str:
        return between.join(f"{k} {held[k]}" if short else f"{k} {now.format(held[k])}" for k in people)

    reply = ""
    if rng.random() < 0.5:
        manner += " From the start."
        reply = f"At the start, {state(keys)}{end}"
    asked = []
    for index in range(rng.randint(min(2, most), most)):
        a, b = rng.sample(keys, 2)
        asked.append(order[index] + swap.format(a, b, swapped) + ".")
        reply += opening.format(a=a, b=b, i=index + 1)
        if "gives" in manner:
            reply += f"{a} gives {held[a]} to {b}{between}{b} gives {held[b]} to {a}{between}"
        held[a], held[b] = held[b], held[a]
        others = [k for k in keys if k not in (a, b)]
        reply += state([a, b] if "Only" in manner else [a, b, *others] if "first" in manner else keys) + end
    return f"{told}. {' '.join(asked)} {asks} {manner}", reply.strip()


def swap_text(rng: random.Random, progress: float = 1.0) -> tuple[str, str]:
    """A question and its reply to continue training on swaps: most are about swaps or their components.

    Easy words and single swaps come first, options' letters later, because a thing that occurs both as held and as an
    option is one more difficulty.
    """
    easy = rng.random() > 0.7 * min(1.0, progress / 0.6)
    most = 1 if progress < 0.1 else 2 if progress < 0.2 else 3
    kind = rng.random()
    if kind < 0.22:
        return skill_text(rng)
    if kind < 0.27:
        return lookup_skill(rng, easy)
    if kind < 0.30:
        return partner_skill(rng)
    if kind < 0.35:
        question, reply = latest_skill(rng, easy)
    elif kind < 0.50 and progress > 0.2:
        question, reply = option_skill(rng, easy)
    elif kind < 0.70:
        question, reply = after_skill(rng, rng.randrange(most), easy)
    elif kind < 0.82:
        question, reply = swap_skill(rng, most, easy)
    else:
        question, reply = trace_skill(rng, most, easy)
    return (_led(rng, question) if rng.random() < 0.5 * progress else question), reply


def _led(rng: random.Random, question: str) -> str:
    """The question after an irrelevant sentence that names all its people in random order."""
    words = set(question.replace(",", " ").replace(".", " ").split())
    people = [name for name in dict.fromkeys(PEOPLE[0] + PEOPLE[-1]) if name in words]
    rng.shuffle(people)
    return rng.choice(LEADS).format(", ".join(people[:-1]) + f", and {people[-1]}") + question


class Story(NamedTuple):
    """Three people, what each has at the start, the swaps, the phrases for having and swapping, and the full text."""

    people: list[str]
    things: list[str]
    pairs: list[list[str]]
    has: str
    swap: str
    told: str

    @property
    def options(self) -> str:
        return ", ".join(f"({letter}) {v}" for letter, v in zip("ABC", self.things, strict=True))


def make_title(rng: random.Random) -> str:
    """A made-up book title of up to four words."""
    words = [sandbox.made_up_word(rng) for _ in range(3)]
    longer = words[0] + words[1].lower()
    form = rng.choice(("{0}", "{3}", "The {0}", "The {3}", "The {0} {2}", "{0} {1}", "{0}-{4}", *OF_THE))
    return form.format(*words, longer, rng.randrange(10, 100))


def make_story(rng: random.Random, titles: bool = False) -> Story:
    """A story of one to three swaps, without a question; with `titles`, books have titles instead of single words."""
    begins, has, swap, noun = rng.choice(STORIES)
    people = rng.sample(PEOPLE[-1][:3] if rng.random() < 0.6 else rng.choice(PEOPLE), 3)
    if noun:
        things = [f"{colour} {noun}" for colour in rng.sample(sandbox.COLOURS, 3)]
    elif "playing" in has:
        things = rng.sample(POSITIONS.split(","), 3)
    elif "dancing" in has:
        names = [name for name in sandbox.NAMES if name not in people]
        things = [rng.choice((rng.choice(names), sandbox.made_up_word(rng))) for _ in range(3)]
    elif titles:
        things = [make_title(rng) for _ in range(3)]
    else:
        longest = rng.randint(1, 3)
        things = [" ".join(sandbox.made_up_word(rng) for _ in range(rng.randint(1, longest))) for _ in range(3)]
    if len(set(things)) < 3:
        return make_story(rng, titles)
    listed = [f"{k} {has.format(v)}" for k, v in zip(people, things, strict=True)]
    told = begins.format(f"{people[0]}, {people[1]}, and {people[2]}") + f"{listed[0]}, {listed[1]}, and {listed[2]}. "
    told += rng.choice(GOES_ON)
    pairs = [rng.sample(people, 2) for _ in range(rng.choice((1, 2, 3, 3)))]
    words = rng.choice(ORDER[1:3])
    told += " ".join(f"{words[i]}{a} and {b} {swap}." for i, (a, b) in enumerate(pairs))
    return Story(people, things, pairs, has, swap, told)


def tale_skill(rng: random.Random) -> tuple[str, str]:
    """The swaps of a story reported in the requested manner, or the letters of its options."""
    story = make_story(rng)
    people, things, pairs, has, swap, told = story
    held, now = dict(zip(people, things, strict=True)), has.replace(" a {}", " the {}").replace("gets", "has")
    if rng.random() < 0.15:
        asks, form = rng.choice(LETTERS)
        picks = [rng.choice(things) for _ in range(rng.randint(1, 4))]
        replies = [form.format(s=v, v=v, letter="ABC"[things.index(v)]) for v in picks]
        return f"{told} Answer choices: {story.options}. {asks}: {', '.join(picks)}?", ", ".join(replies) + "."
    number = rng.randrange(len(MANNERS))
    opening, between, end, adverbs = MANNERS[number]
    asks, reply = f"Manner {number}.", ""
    if rng.random() < 0.5:
        asks += " From the start."
        reply += "At the start, " + between.join(f"{k} {now.format(v)}" for k, v in held.items()) + end
    gives, only, first = (rng.random() < share for share in (0.2, 0.25, 0.3))
    asks += " Who gives what?" * gives + (" Only the two." if only else " The two first." * first)
    for i, (a, b) in enumerate(pairs):
        nth = ("first", "second", "third")[i]
        reply += opening.format(a=a, b=b, swap=swap, i=i + 1, nth=nth, nth_word=("First", "Then", "Finally")[i])
        if gives:
            reply += f"{a} gives {held[a]} to {b}, and {b} gives {held[b]} to {a}{between}"
        held[a], held[b] = held[b], held[a]
        others = [k for k in people if k not in (a, b)]
        shown = [a, b] if only else [a, b, *others] if first else people
        said = []
        for k in shown:
            verb, _, rest = now.format(held[k]).partition(" ")
            adverb = ("still " if k in others else "now ") if adverbs else ""
            said.append(f"{k} {verb} {adverb}{rest}" if verb == "is" else f"{k} {adverb}{verb} {rest}")
        reply += between.join(said) + end
    if rng.random() < 0.4:
        who = rng.choice(people)
        asks += f" At the end: {who}?"
        reply = f"{reply.rstrip(' .')}. At the end, {who} {now.format(held[who])}."
    return f"{told} {asks}", reply.strip()


def story_text(rng: random.Random, progress: float = 1.0) -> tuple[str, str]:
    """A question and its reply for a model that knows swaps: stories of swaps, plus earlier texts to retain skills."""
    return tale_skill(rng) if rng.random() < 0.6 else swap_text(rng)
