import itertools
import os
import random
import re

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from mentor_kd import models, official, pretraining, sandbox
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.models import IGNORED, SEPARATOR
from mentor_kd.pretraining import SIZES, MuonAdamW, PackedSkills, PretrainSettings, build_model, build_tokenizer
from mentor_kd.skills import skill_text, swap_skill
from mentor_kd.swaps import (
    LETTERS,
    after_skill,
    latest_skill,
    option_skill,
    story_text,
    swap_text,
    tale_skill,
    trace_skill,
)
from mentor_kd.tasks import MARKER, get_task
from mentor_kd.tellings import conclusion_skill, telling_skill, told_text

SMALL = PretrainSettings(steps=20, rows=2, length=64)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.sandbox_tokenizer()


# the tokenizer


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_survives_encoding(text):
    tokenizer = tiny.sandbox_tokenizer()
    if not any(special in text for special in tokenizer.all_special_tokens):
        assert models.decode(tokenizer, tokenizer(text)["input_ids"]) == text


def test_sandbox_texts_survive_and_are_short(tokenizer):
    encoded = [tokenizer(text)["input_ids"] for text in tiny.texts()]
    assert [models.decode(tokenizer, ids) for ids in encoded] == list(tiny.texts())
    assert sum(map(len, encoded)) < 0.6 * sum(map(len, tiny.texts()))


def test_the_tokenizer_is_the_same_each_time_it_is_built(tokenizer):
    again = build_tokenizer()
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(again) == 1024


def test_made_up_words_are_spelled_and_known_ones_are_not(tokenizer):
    def pieces(text):
        return [tokenizer.decode([i]) for i in tokenizer(text)["input_ids"]]

    assert pieces(" Bobadik") == [" ", *"Bobadik"]
    assert pieces(" apples") == [" apples"]
    assert pieces("1204") == list("1204")
    assert pieces(f"x{SEPARATOR}y") == ["x", SEPARATOR, "y"]
    assert pieces(f"a {MARKER} b")[1:3] == [" ", MARKER]


def test_the_tokenizer_has_an_end_and_a_pad_and_adds_nothing(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, None)
    assert tokenizer.eos_token_id not in tokenizer("apples")["input_ids"]


# the text


def test_no_question_of_the_sandbox_is_in_the_text():
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
def test_no_official_question_is_in_the_text(name):
    found = official.load_task(get_task(name))
    asked = {sandbox.normalise(q.question) for q in [*found.train, *found.test]}
    rng = random.Random(13)
    assert len(asked) > 300
    for text in (skill_text, swap_text, story_text, told_text):
        assert not asked & {sandbox.normalise(text(rng, i / 20_000)[0]) for i in range(20_000)}


def test_a_trace_of_swaps_is_true():
    rng, checked = random.Random(14), 0
    for _ in range(3000):
        question, reply = swap_skill(rng)
        if not question.endswith("Follow the swaps.") or " is " in question or " has " in reply:
            continue  # the form that is read with least ado: Ann red hat, Bob blue hat. Ann and Bob swap. ...
        told = question.split(". ")[0]
        held = dict(pair.split(" ", 1) for pair in told.split(", "))
        for line in reply.rstrip(".").split(". "):
            pair, state = line.split(": ")
            a, b = pair.split(" and ")
            held[a], held[b] = held[b], held[a]
            assert state == ", ".join(f"{name} {thing}" for name, thing in held.items())
            checked += 1
    assert checked > 50


def test_what_people_have_after_one_more_swap_is_true():
    rng, checked = random.Random(15), 0
    for i in range(600):
        question, reply = after_skill(rng, before=i % 3, easy=True)
        if i % 3 and ": " not in question.split("In short")[0]:
            continue  # a way of telling without a colon
        told, swap, asked = re.fullmatch(r"(.*)[.\n] ?(.*)\. In short: (.*)\?", question, re.DOTALL).groups()
        last = re.split(r"\. |: |:\n|\n\n", told.strip())[-1]
        held = dict(re.findall(r"(\w+) (\w+)", last))
        a, b = re.search(r"(\w+) (?:and|swaps with) (\w+)", swap).groups()
        held[a], held[b] = held[b], held[a]
        assert reply == ", ".join(f"{one} {held[one]}" for one in asked.split(", ")) + "."
        checked += 1
    assert checked > 300


def test_the_latest_of_several_lists_counts():
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
    """How a story says that somebody holds something, and who has what at its end."""
    told = ", ".join(re.search(r"(?:: )(.*?), and (.*?)\.", question).groups())
    people = [name for name, _ in re.findall(r"(\w+) (has|is|gets) ", told)]
    verb = re.search(rf"{people[0]} (has a|is playing|is dancing with|gets) ", question)[1]
    held = dict(zip(people, re.findall(rf"\w+ {verb} ([\w -]+)", told), strict=True))
    for a, b in re.findall(r"[.] (?:\w+, |Then )?(\w+) and (\w+) (?:swap|trade|switch) (?:\w+ ?)+(?=[.])", question):
        held[a], held[b] = held[b], held[a]
    return verb, held


def test_a_story_is_told_in_its_manner():
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
            # after a last swap of two others, or told for the two alone, a name may never be said to have anything
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


def test_options_have_their_own_letters():
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


def test_the_manner_of_a_trace_follows_from_its_question():
    rng, seen = random.Random(16), set()
    for _ in range(3000):
        question, reply = trace_skill(rng, most=1, easy=True)
        told, swap, asked = question.split(". ", 2)
        held = dict(pair.split(" ") for pair in told.split(", "))
        start = ", ".join(f"{k} {v}" for k, v in held.items())
        a, b = re.match(r"(?:\w+,? )??(\w+) (?:and|swaps with) (\w+)", swap).groups()
        if not asked.startswith("Follow the swaps."):
            continue  # the other ways of telling differ in lines and words alone
        manner = asked.removeprefix("Follow the swaps. ").removesuffix(" From the start.")
        seen.add(manner)
        lines = [f"At the start, {start}"] if asked.endswith("From the start.") else []
        gives = f"{a} gives {held[a]} to {b}, {b} gives {held[b]} to {a}, " if manner == "Who gives what?" else ""
        held[a], held[b] = held[b], held[a]
        order = {"The two first.": sorted(held, key=lambda k: (k != a, k != b)), "Only the two.": [a, b]}
        state = ", ".join(f"{k} {held[k]}" for k in order.get(manner, held))
        assert reply == ". ".join([*lines, f"{a} and {b}: {gives}{state}."])
    assert seen == {"All.", "The two first.", "Only the two.", "Who gives what?"}


def test_skills_teach_what_is_true():
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


def test_early_text_copies_and_late_text_reckons():
    def share(progress, kind):
        rng = random.Random(1)
        return sum(skill_text(rng, progress)[0].startswith(kind) for _ in range(2000)) / 2000

    assert share(0.0, "Copy: ") > 2 * share(1.0, "Copy: ")


# packed rows


def test_rows_follow_from_seed_and_number(tokenizer):
    rows, again = PackedSkills(tokenizer, SMALL), PackedSkills(tokenizer, SMALL)
    assert len(rows) == 40
    for i in (0, 7, 39):
        assert all(torch.equal(rows[i][key], again[i][key]) for key in rows[i])
    assert not torch.equal(rows[0]["input_ids"], rows[1]["input_ids"])
    other = PackedSkills(tokenizer, PretrainSettings(steps=20, rows=2, length=64, seed=1))
    assert not torch.equal(rows[0]["input_ids"], other[0]["input_ids"])


def test_only_replies_are_scored_and_positions_start_anew(tokenizer):
    packed = PackedSkills(tokenizer, PretrainSettings(steps=1, rows=8, length=200))
    separator, end = tokenizer(SEPARATOR)["input_ids"][0], tokenizer.eos_token_id
    for row in (packed[i] for i in range(8)):
        ids, labels, positions = (row[key].tolist() for key in ("input_ids", "labels", "position_ids"))
        assert len(ids) == len(labels) == len(positions) == 200
        replying, expected, place = False, [], 0
        for token, position in zip(ids, positions, strict=True):
            assert position == place
            expected.append(token if replying else IGNORED)
            replying = (replying or token == separator) and token != end
            place = 0 if token == end else place + 1
        assert labels == expected
        assert any(label != IGNORED for label in labels) and IGNORED in labels


def test_texts_of_a_row_do_not_see_each_other_in_training(tokenizer, tmp_path, monkeypatch):
    seen = []

    class Spy:
        def __init__(self, model, **others):
            seen.append(model)
            raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "_ScoredOnly", Spy)
    with pytest.raises(KeyboardInterrupt):
        pretraining.pretrain("sandbox-small", tmp_path / "model", tmp_path / "work", SMALL)
    model = seen[0].train()
    row = PackedSkills(tokenizer, PretrainSettings(steps=1, rows=8, length=200))[0]
    cut = (row["position_ids"] == 0).nonzero().flatten().tolist()
    assert len(cut) > 2
    together = model(input_ids=row["input_ids"][None], position_ids=row["position_ids"][None], labels=None).logits[0]
    for start, end in itertools.pairwise(cut):
        alone = model(input_ids=row["input_ids"][None, start:end]).logits[0]
        assert torch.allclose(together[start:end], alone, atol=1e-5)


def test_the_loss_is_the_mean_cross_entropy_of_the_replies(tokenizer, tmp_path):
    model = build_model("sandbox-small", tokenizer)
    row = {name: values[None] for name, values in PackedSkills(tokenizer, SMALL)[3].items()}
    with torch.no_grad():
        theirs = model(**row).loss
        trainer = pretraining._ScoredOnly(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
        assert torch.allclose(trainer.compute_loss(model, dict(row)), theirs, atol=1e-5)


def test_muon_moves_the_matrices_and_adamw_the_rest(tokenizer):
    model = build_model("sandbox-small", tokenizer)
    muon, adamw = MuonAdamW(model, 0.01).parts
    names = {id(p): name for name, p in model.named_parameters()}
    held = [[names[id(p)] for group in part.param_groups for p in group["params"]] for part in (muon, adamw)]
    assert held[0] and all("proj" in name for name in held[0])
    assert "model.embed_tokens.weight" in held[1] and any("norm" in name for name in held[1])
    assert sorted(held[0] + held[1]) == sorted(names.values())


# models


@pytest.mark.parametrize(("size", "low", "high"), [("sandbox-small", 1e5, 3e5), ("sandbox-base", 4e5, 5e5)])
def test_sizes(tokenizer, size, low, high):
    model = build_model(size, tokenizer)
    assert low < sum(p.numel() for p in model.parameters()) < high
    same, other = build_model(size, tokenizer), build_model(size, tokenizer, seed=1)
    weight = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(model.state_dict()[weight], same.state_dict()[weight])
    assert not torch.equal(model.state_dict()[weight], other.state_dict()[weight])


def test_an_unknown_size_is_named(tokenizer):
    with pytest.raises(InputError, match="unknown sandbox model 'huge'; there are sandbox-small"):
        build_model("huge", tokenizer)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 0}, "steps .*0"),
        ({"texts": "poems"}, "texts .*skills, swaps, stories, tellings.*'poems'"),
        ({"rows": "32"}, "rows .*'32'"),
        ({"length": 5000}, "length .*1024.*5000"),
        ({"learning_rate": 2}, "learning_rate .*2"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        PretrainSettings(**changes)


def test_pretraining_goes_on_where_it_was_killed_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "sandbox-small", (16, 1, 2, 8))
    settings = PretrainSettings(steps=120, rows=1, length=32)
    whole = pretraining.pretrain("sandbox-small", tmp_path / "whole", tmp_path / "whole-work", settings)

    real = pretraining.append_jsonl

    def killed(path, row):
        real(path, row)
        if row["step"] == 110:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretraining, "append_jsonl", killed)
        pretraining.pretrain("sandbox-small", tmp_path / "again", tmp_path / "work", settings)
    assert not (tmp_path / "again").exists()
    again = pretraining.pretrain("sandbox-small", tmp_path / "again", tmp_path / "work", settings)
    ours, theirs = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    steps = [row["step"] for _, row in read_jsonl(tmp_path / "work" / "metrics.jsonl")]
    assert steps == [1, *range(10, 121, 10)]

    card = read_json(tmp_path / "again" / "model_card.json")
    assert (card["name"], card["tokens"]) == ("sandbox-small", 120 * 32)
    assert card["loss_curve"][-1][1] < card["loss_curve"][0][1]
    loaded = models.load(tmp_path / "again")
    assert torch.equal(loaded.model.state_dict()["lm_head.weight"], ours["lm_head.weight"])
    assert models.same_tokenizer(loaded.tokenizer, again.tokenizer)


def test_a_model_goes_on_from_another_and_its_card_counts_both(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "sandbox-small", (16, 1, 2, 8))
    first = pretraining.pretrain("sandbox-small", tmp_path / "first", tmp_path / "work", SMALL)
    second = PretrainSettings(start=str(tmp_path / "first"), steps=4, rows=2, length=64, learning_rate=1e-9)
    went_on = pretraining.pretrain("sandbox-small", tmp_path / "second", tmp_path / "second-work", second)
    ours, theirs = went_on.model.state_dict(), first.model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    card = read_json(tmp_path / "second" / "model_card.json")
    assert card["tokens"] == (20 + 4) * 2 * 64
    assert (card["settings"]["start"], card["settings"]["steps"]) == (str(tmp_path / "first"), 4)
    assert card["parts"] == [card["settings"]]
    third = PretrainSettings(start=str(tmp_path / "second"), texts="stories", steps=2, rows=2, length=64)
    pretraining.pretrain("sandbox-small", tmp_path / "third", tmp_path / "third-work", third)
    assert [part["steps"] for part in read_json(tmp_path / "third" / "model_card.json")["parts"]] == [4, 2]


def test_the_settings_choose_the_texts(tokenizer):
    def read(texts):
        rows = PackedSkills(tokenizer, PretrainSettings(texts=texts, steps=200, rows=1))
        return " ".join(tokenizer.decode(rows[i]["input_ids"]) for i in range(200))

    found = {texts: read(texts) for texts in pretraining.TEXTS}
    assert [texts for texts in found if "Only the two." in found[texts]] == ["swaps", "stories", "tellings"]
    assert [texts for texts in found if "At the start of the event" in found[texts]] == ["stories", "tellings"]
    assert [texts for texts in found if "Tell the swaps." in found[texts]] == ["tellings"]


def test_a_start_of_another_make_is_refused(tmp_path):
    with pytest.raises(InputError, match="'sandbox-small' has another shape"):
        pretraining.pretrain(
            "sandbox-base", tmp_path / "model", tmp_path / "work", PretrainSettings(start="sandbox-small", steps=1)
        )
    gpt2 = tiny.gpt2(tmp_path / "gpt2")
    with pytest.raises(InputError, match="gpt2' has another tokenizer"):
        pretraining.pretrain(
            "sandbox-base", tmp_path / "model", tmp_path / "work", PretrainSettings(start=str(gpt2), steps=1)
        )
