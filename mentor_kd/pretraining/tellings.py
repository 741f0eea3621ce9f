"""Tellings: free retellings of stories of swaps and conclusions from them, in the language of the paper's tasks.

A model that traces swaps in six fixed manners has not seen the wordings of a large teacher, and would have to learn
them from few rationales. Tellings therefore vary freely: the beginning, the description of a swap, the people listed
after it and the phrase for holding. Conclusions are separate exercises with the telling in the question. Answering with
a telling followed by a conclusion is left to distillation, as in `skills`.
"""

import random

from .swaps import Story, make_story, swap_text, tale_skill

EVENTS = ("game", "event", "match", "dance", "song", "semester", "day", "evening")
BEGINS = ("", "", "", "Let's track the {w} step by step: ", "Let's track the {w}: ", "Let's go through the {w}: ")
BEGINS += ("Let's follow the {w} one by one. ", "We go step by step. ", "Step by step: ", "First, who has what? ")
WORDS = ("swaps", "exchanges", "trades", "changes", "positions", "balls", "gifts", "books")
STARTS = ("At the start of the {e}: ", "At the start of the {e}, ", "Initially, ", "Initially: ", "1. Initially: - ")
STARTS += ("At the start, ", "In the beginning: ", "The initial state: ")
# Descriptions of one swap; nth is "first", Nth "First" etc., x and y are what the two have before the swap
NAMED = (
    "After {a} and {b} {swap}: ",
    "After {a} and {b} {swap}, ",
    "- After {a} and {b} {swap}, ",
    "After the {nth} swap: ",
    "After the {nth} swap, ",
    "After the {nth} swap between {a} and {b}: ",
    "After the {nth} exchange between {a} and {b}: ",
    "{i}. {a} and {b} {swap}: ",
    "{i}. {a} and {b} {swap}: - ",
    "{i}. {a} and {b} {swap}. ",
    "{i}. {a} and {b} {swap}, so ",
    "{i}. After {a} and {b} {swap}, ",
    "{i}. {a} swaps with {b}: ",
    "{i}. After the {nth} swap ({a} and {b}): ",
    "{Nth}, {a} and {b} {swap}. So now ",
    "{Nth}, {a} and {b} {swap}. Now ",
    "{Nth}, {a} and {b} {swap}: ",
    "{Nth}, after {a} and {b} {swap}, ",
    "{Nth}, {a} swaps with {b}, so ",
    "{Nth}, {a} swaps {x} with {y} of {b}. So now ",
    "{i}. {a} gives {x} to {b}, and {b} gives {y} to {a}: ",
)
NTH = (
    ("First", "Then", "Finally"),
    ("First", "Next", "Lastly"),
    ("First", "Second", "Third"),
    ("First", "Then", "Then"),
)
# Phrases for holding, keyed by the story's own phrase; all phrases of a key have the same meaning
HELD = {
    "has a {}": ("has the {}", "has the {}", "has a {}", "now has the {}", "ends up with the {}", "will have the {}"),
    "is playing {}": (
        "is playing {}",
        "is {}",
        "becomes {}",
        "becomes the {}",
        "is now playing {}",
        "is the {}",
        "moves to {}",
    ),
    "is dancing with {}": ("is dancing with {}", "is with {}", "is now dancing with {}", "dances with {}"),
    "gets {}": ("has {}", "now has {}", "gets {}", "ends up with {}"),
}
STILL = {
    "has a {}": ("still has the {}", "still has the {}", "keeps the {}", "still has a {}"),
    "is playing {}": ("is still {}", "remains {}", "remains as {}", "is still playing {}", "stays at {}"),
    "is dancing with {}": ("is still dancing with {}", "is still with {}", "remains with {}"),
    "gets {}": ("still has {}", "keeps {}"),
}
BETWEEN = (", ", ", ", " and ", ". ", " - ", "; ", " ")
ENDS = (". ", ". ", " ", ", ")
ASKS = ("Which choice is true?", "Which is true?", "What is true at the end?", "Choose one.")
SO = ("Therefore, ", "So, ", "So ", "Thus, ", "")
ANSWERS = (
    "So the correct answer is {o}.",
    "So, the correct answer is: {o}.",
    "Therefore, the correct answer is {o}.",
    "The correct answer is {o}.",
    "The correct choice is {o}.",
    "So the answer is {o}.",
    "The true choice is {o}.",
)


def _says(form: str, thing: str) -> str:
    """A phrase for holding with its thing, such as "has an orange ball"."""
    return form.format(thing).replace(" a o", " an o")


def _tell(rng: random.Random, story: Story, event: str) -> tuple[str, dict[str, str]]:
    """Report a story's swaps in a randomly chosen manner. Returns the text and who has what at the end."""
    held = dict(zip(story.people, story.things, strict=True))
    form, still = rng.choice(HELD[story.has]), rng.choice(STILL[story.has])
    between, end, named, nth = (rng.choice(one) for one in (BETWEEN, ENDS, NAMED, NTH))
    who = rng.choice(("all", "all", "first", "two", "two"))
    colon = rng.random() < 0.12  # "Ann: red ball"

    def say(people: list[str], others: list[str] = ()) -> str:
        if colon:
            return between.join(f"{k}: {held[k]}" for k in people)
        return between.join(f"{k} {_says(still if k in others else form, held[k])}" for k in people)

    text = rng.choice(BEGINS).format(w=rng.choice(WORDS))
    first = 1
    if rng.random() < 0.5:
        start = rng.choice(STARTS)
        first += start.startswith("1.")
        text += start.format(e=event) + say(story.people).replace("now ", "") + end
    for i, (a, b) in enumerate(story.pairs):
        ordinal = ("first", "second", "third" if rng.random() < 0.5 else "final")[i]
        x, y = (f"the {held[k]}" if story.has == "has a {}" else held[k] for k in (a, b))
        text += named.format(a=a, b=b, swap=story.swap, i=first + i, nth=ordinal, Nth=nth[i], x=x, y=y)
        held[a], held[b] = held[b], held[a]
        others = [k for k in story.people if k not in (a, b)]
        shown = story.people if who == "all" else [a, b, *others] if who == "first" else [a, b]
        text += say(shown, others if who == "first" else []) + end
    return text.rstrip(" ,"), held


def telling_skill(rng: random.Random) -> tuple[str, str]:
    """A free telling of a story's swaps, sometimes followed by what one person has at the end."""
    story = make_story(rng, titles=True)
    event = rng.choice(EVENTS)
    text, held = _tell(rng, story, event)
    asks = "Tell the swaps."
    if rng.random() < 0.3:
        who = rng.choice(story.people)
        asks += f" At the end: {who}?"
        text = f"{text.rstrip('.')}. {_ends(rng, event)}{who} {_says(rng.choice(HELD[story.has]), held[who])}."
    return f"{story.told} {asks}", text


def conclusion_skill(rng: random.Random) -> tuple[str, str]:
    """A conclusion from a telling: what one person has at the end, and its letter among the options."""
    story = make_story(rng, titles=True)
    event = rng.choice(EVENTS)
    text, held = _tell(rng, story, event)
    who = rng.choice(story.people)
    thing = held[who]
    letter = "ABC"[story.things.index(thing)]
    stem = story.has.replace(" a {}", " the").replace("gets", "has").replace(" {}", "")
    asked = f"At the end of the {event}, {who} {stem} {rng.choice(ASKS)} Answer choices: {story.options}."
    full = f"({letter}) {thing}"
    option = rng.choice((full, full, full, f"**{full}**", f"({letter})", letter))
    form = rng.choice(HELD[story.has])
    kind = rng.random()
    if kind < 0.15:
        reply = _ends(rng, event) + f"{who} {form.format(full).replace(' a (', ' the (')}."
    elif kind < 0.3:
        reply = rng.choice(("Therefore, ", "So ", "Thus, ")) + rng.choice(ANSWERS[2:4]).split(", ")[-1].format(o=option)
        reply = reply.replace("The ", "the ")
    else:
        reply = f"{_ends(rng, event)}{who} {_says(form, thing)}. {rng.choice(ANSWERS).format(o=option)}"
    if rng.random() < 0.4:
        reply += f" Letter: {letter}"
    return f"{story.told} {asked} {text}", reply[0].upper() + reply[1:]


def _ends(rng: random.Random, event: str) -> str:
    return rng.choice(SO) + rng.choice(("at the end of the {}, ", "at the end, ", "")).format(event)


def told_text(rng: random.Random, progress: float = 1.0) -> tuple[str, str]:
    """A question and its reply for a model that knows stories of swaps: tellings, conclusions, some earlier texts."""
    kind = rng.random()
    if kind < 0.5:
        return telling_skill(rng)
    if kind < 0.85:
        return conclusion_skill(rng)
    return tale_skill(rng) if kind <= 0.9 else swap_text(rng)
