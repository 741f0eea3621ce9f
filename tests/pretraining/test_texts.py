import os
import random
import re

import pytest

from mentor_kd.data import official, rationales, sandbox
from mentor_kd.data.answers import MARKER
from mentor_kd.data.tasks import get_task
from mentor_kd.files import InputError
from mentor_kd.models.prompts import SEPARATOR
from mentor_kd.pretraining.skills import skill_text, swap_skill
from mentor_kd.pretraining.swaps import (
    LETTERS,
    after_skill,
    latest_skill,
    option_skill,
    story_text,
    swap_text,
    tale_skill,
    trace_skill,
)
from mentor_kd.pretraining.tellings import conclusion_skill, telling_skill, told_text


def test_no_sandbox_question_occurs_in_the_texts():
    shipped = {q.question for family in sandbox.FAMILIES for q in sandbox.load_questions(family)}
    rng = random.Random(11)
    for i in range(20_000):
        question, reply = (skill_text, swap_text, story_text, told_text)[i % 4](rng, i / 20_000)
        assert question and reply
        assert MARKER not in question + reply and SEPARATOR not in question + reply
        assert question not in shipped
        for family in sandbox.FAMILIES:
            with pytest.raises(InputError):
                sandbox.read_question(family, question)


@pytest.mark.skipif(not os.environ.get("MENTOR_KD_OFFICIAL_DATA"), reason="needs the paper's data")
@pytest.mark.parametrize("name", ["tracking-shuffled-objects", "last-letter-concatenation", "svamp"])
def test_no_official_question_occurs_in_the_texts(name):
    found = official.load_task(get_task(name))
    asked = {rationales.normalise(q.question) for q in [*found.train, *found.test]}
    rng = random.Random(13)
    assert len(asked) > 300
    for text in (skill_text, swap_text, story_text, told_text):
        assert not asked & {rationales.normalise(text(rng, i / 20_000)[0]) for i in range(20_000)}


def test_a_trace_of_swaps_is_correct():
    rng, checked = random.Random(14), 0
    for _ in range(3000):
        question, reply = swap_skill(rng)
        if not question.endswith("Follow the swaps.") or " is " in question or " has " in reply:
            continue  # checks the simplest form only: Ann red hat, Bob blue hat. Ann and Bob swap. ...
        told = question.split(". ")[0]
        held = dict(pair.split(" ", 1) for pair in told.split(", "))
        for line in reply.rstrip(".").split(". "):
            pair, state = line.split(": ")
            a, b = pair.split(" and ")
            held[a], held[b] = held[b], held[a]
            assert state == ", ".join(f"{name} {thing}" for name, thing in held.items())
            checked += 1
    assert checked > 50


def test_the_state_after_one_more_swap_is_correct():
    rng, checked = random.Random(15), 0
    for i in range(600):
        question, reply = after_skill(rng, before=i % 3, easy=True)
        if i % 3 and ": " not in question.split("In short")[0]:
            continue  # a format without a colon
        told, swap, asked = re.fullmatch(r"(.*)[.\n] ?(.*)\. In short: (.*)\?", question, re.DOTALL).groups()
        last = re.split(r"\. |: |:\n|\n\n", told.strip())[-1]
        held = dict(re.findall(r"(\w+) (\w+)", last))
        a, b = re.search(r"(\w+) (?:and|swaps with) (\w+)", swap).groups()
        held[a], held[b] = held[b], held[a]
        assert reply == ", ".join(f"{one} {held[one]}" for one in asked.split(", ")) + "."
        checked += 1
    assert checked > 300


def test_answers_come_from_the_last_of_several_lists():
    rng = random.Random(17)
    for _ in range(300):
        question, reply = latest_skill(rng, easy=True)
        told, asked = question.removesuffix("?").split("In the end: ")
        lists = [
            dict(re.findall(r"(\w+) (\w+)", one.replace(" and ", ", "))) for one in re.split(r"\. |\n\n", told)[:-1]
        ]
        assert 2 <= len(lists) <= 4
        assert reply == ", ".join(f"{one} {lists[-1][one]}" for one in asked.split(", ")) + "."


def follow(question):
    """The story's phrase for holding, and who has what at the end."""
    told = ", ".join(re.search(r"(?:: )(.*?), and (.*?)\.", question).groups())
    people = [name for name, _ in re.findall(r"(\w+) (has|is|gets) ", told)]
    verb = re.search(rf"{people[0]} (has a|is playing|is dancing with|gets) ", question)[1]
    held = dict(zip(people, re.findall(rf"\w+ {verb} ([\w -]+)", told), strict=True))
    for a, b in re.findall(r"[.] (?:\w+, |Then )?(\w+) and (\w+) (?:swap|trade|switch) (?:\w+ ?)+(?=[.])", question):
        held[a], held[b] = held[b], held[a]
    return verb, held


def test_a_story_is_told_in_the_requested_manner():
    rng, checked = random.Random(19), 0
    for _ in range(4000):
        question, reply = tale_skill(rng)
        if "Manner 0." not in question or "gives" in question or "Only" in question or "two first" in question:
            continue
        verb, held = follow(question)
        now = {"has a": "has the", "gets": "has"}.get(verb, verb)
        state = " ".join(f"{name} {now} {thing}" for name, thing in held.items())
        assert state in reply.replace(".", "")
        checked += 1
    assert checked > 100


def test_a_free_telling_ends_with_what_people_have():
    rng, checked = random.Random(20), 0
    for _ in range(600):
        question, reply = telling_skill(rng)
        _, held = follow(question)
        things = "|".join(map(re.escape, held.values()))
        for name, thing in held.items():
            said = re.findall(rf"\b{name}(?:: | (?:[a-z]+ )*?)({things})\b", reply)
            # a name may not occur with a thing if only the two swappers are reported
            assert not said or said[-1] == thing, (question, reply)
            checked += bool(said)
    assert checked > 1500


def test_a_conclusion_follows_from_its_telling():
    rng = random.Random(21)
    for _ in range(600):
        question, reply = conclusion_skill(rng)
        _, held = follow(question.split(" At the end of the")[0])
        who = re.search(r"[Aa]t the end of the \w+, (\w+) (?:has|is) ", question)[1]
        letters = {thing: letter for letter, thing in re.findall(r"\(([ABC])\) ([^,.(]+?)(?=,|\.)", question)[:3]}
        thing = held[who]
        letter, wrong = letters[thing], set("ABC") - {letters[thing]}
        assert thing in reply or re.search(rf"\b{letter}\b", reply), (question, reply)
        assert not any(re.search(rf"\({other}\)|is:? {other}\.", reply) for other in wrong), (question, reply)
        assert not any(other in reply.split() for other in held if other != who)


def test_answers_name_the_letters_of_the_options():
    rng, checked = random.Random(18), 0
    for _ in range(400):
        question, reply = option_skill(rng)
        letters = {v: letter for letter, v in re.findall(r"\(([A-D])\) ([^,.(]+?)(?=,? \(|\.)", question)}
        asked = re.search(r"[a-z]: ([^:]*)\?$", question)[1].split(", ")
        full = [next(v for v in letters if v == one or v == f"{one} ball") for one in asked]
        form = dict(LETTERS)[re.search(r"([A-Z][a-z ]+): [^:]*\?$", question)[1]]
        told = [form.format(s=one, v=v, letter=letters[v]) for one, v in zip(asked, full, strict=True)]
        assert reply == ", ".join(told) + "."
        checked += 1
    assert checked == 400


def test_the_question_determines_the_form_of_a_trace():
    rng, seen = random.Random(16), set()
    for _ in range(3000):
        question, reply = trace_skill(rng, most=1, easy=True)
        told, swap, asked = question.split(". ", 2)
        held = dict(pair.split(" ") for pair in told.split(", "))
        start = ", ".join(f"{k} {v}" for k, v in held.items())
        a, b = re.match(r"(?:\w+,? )??(\w+) (?:and|swaps with) (\w+)", swap).groups()
        if not asked.startswith("Follow the swaps."):
            continue  # other formats differ only in line breaks and words
        manner = asked.removeprefix("Follow the swaps. ").removesuffix(" From the start.")
        seen.add(manner)
        lines = [f"At the start, {start}"] if asked.endswith("From the start.") else []
        gives = f"{a} gives {held[a]} to {b}, {b} gives {held[b]} to {a}, " if manner == "Who gives what?" else ""
        held[a], held[b] = held[b], held[a]
        order = {"The two first.": sorted(held, key=lambda k: (k != a, k != b)), "Only the two.": [a, b]}
        state = ", ".join(f"{k} {held[k]}" for k in order.get(manner, held))
        assert reply == ". ".join([*lines, f"{a} and {b}: {gives}{state}."])
    assert seen == {"All.", "The two first.", "Only the two.", "Who gives what?"}


def test_replies_of_skills_are_correct():
    rng, checked = random.Random(12), 0
    for i in range(5000):
        question, reply = skill_text(rng, i / 5000)
        for left, sign, right, value in re.findall(r"(\d+) ([-+*]) (\d+) = (-?\d+)", reply):
            x, y = int(left), int(right)
            assert {"+": x + y, "-": x - y, "*": x * y}[sign] == int(value)
            checked += 1
        if question.startswith("Copy: "):
            assert question == f"Copy: {reply}"
            checked += 1
        if found := re.fullmatch(r"Spell (\w+)( backwards)?\.", question):
            letters = reply.split(" ")
            assert "".join(reversed(letters) if found[2] else letters) == found[1]
            checked += 1
        if found := re.fullmatch(r"Letter (\d) of (\w+)\?", question):
            assert reply == found[2][int(found[1]) - 1]
            checked += 1
        if question.startswith("Write without spaces: "):
            assert reply == question.removeprefix("Write without spaces: ").replace(" ", "")
            checked += 1
        if found := re.search(r"With whom: (.*)\?", question):
            swaps = re.findall(r"(\w+) (?:and|swaps with) (\w+)", question.replace("trade places", ""))
            partner = dict(swaps) | {b: a for a, b in swaps}
            assert reply == ", ".join(f"{one} {partner[one]}" for one in found[1].split(", "))
            checked += 1
        if found := re.fullmatch(r"(.*)\. Who has: (.*)\?", question):
            holder = {pair.split(" ")[1]: pair.split(" ")[0] for pair in found[1].split(", ")}
            assert reply == ", ".join(f"{thing} {holder[thing]}" for thing in found[2].split(", "))
            checked += 1
    assert checked > 2000


def test_copying_is_more_frequent_early():
    def share(progress, kind):
        rng = random.Random(1)
        return sum(skill_text(rng, progress)[0].startswith(kind) for _ in range(2000)) / 2000

    assert share(0.0, "Copy: ") > 2 * share(1.0, "Copy: ")
