import itertools

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainingArguments

from mentor_kd import files
from mentor_kd.data.answers import MARKER
from mentor_kd.files import InputError, read_json, read_jsonl
from mentor_kd.models import loading
from mentor_kd.models.loading import IGNORED
from mentor_kd.models.prompts import SEPARATOR, decode
from mentor_kd.pretraining import pretrain
from mentor_kd.pretraining.pretrain import (
    SIZES,
    MuonAdamW,
    PackedSkills,
    PretrainSettings,
    build_model,
    build_tokenizer,
)

SMALL = PretrainSettings(steps=20, rows=2, length=64)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.sandbox_tokenizer()


# the tokenizer


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_survives_encoding_and_decoding(text):
    tokenizer = tiny.sandbox_tokenizer()
    if not any(special in text for special in tokenizer.all_special_tokens):
        assert decode(tokenizer, tokenizer(text)["input_ids"]) == text


def test_sandbox_texts_survive_with_few_tokens(tokenizer):
    encoded = [tokenizer(text)["input_ids"] for text in tiny.texts()]
    assert [decode(tokenizer, ids) for ids in encoded] == list(tiny.texts())
    assert sum(map(len, encoded)) < 0.6 * sum(map(len, tiny.texts()))


def test_the_tokenizer_is_deterministic(tokenizer):
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


def test_the_tokenizer_has_eos_and_pad_and_adds_nothing(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id) == (0, 1, None)
    assert tokenizer.eos_token_id not in tokenizer("apples")["input_ids"]


# packed rows


def test_rows_depend_only_on_seed_and_index(tokenizer):
    rows, again = PackedSkills(tokenizer, SMALL), PackedSkills(tokenizer, SMALL)
    assert len(rows) == 40
    for i in (0, 7, 39):
        assert all(torch.equal(rows[i][key], again[i][key]) for key in rows[i])
    assert not torch.equal(rows[0]["input_ids"], rows[1]["input_ids"])
    other = PackedSkills(tokenizer, PretrainSettings(steps=20, rows=2, length=64, seed=1))
    assert not torch.equal(rows[0]["input_ids"], other[0]["input_ids"])


def test_only_replies_are_scored_and_positions_restart(tokenizer):
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


def test_texts_of_a_row_do_not_attend_to_each_other_in_training(tokenizer, tmp_path, monkeypatch):
    seen = []

    class Spy:
        def __init__(self, model, **others):
            seen.append(model)
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "_ScoredOnly", Spy)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain("sandbox-small", tmp_path / "model", tmp_path / "work", SMALL)
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
        trainer = pretrain._ScoredOnly(model=model, args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True))
        assert torch.allclose(trainer.compute_loss(model, dict(row)), theirs, atol=1e-5)


def test_muon_updates_the_matrices_and_adamw_all_others(tokenizer):
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
    with pytest.raises(InputError, match="unknown sandbox model 'huge'; use one of sandbox-small"):
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


def test_killed_pretraining_resumes_with_the_same_result(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "sandbox-small", (16, 1, 2, 8))
    settings = PretrainSettings(steps=120, rows=1, length=32)
    whole = pretrain.pretrain("sandbox-small", tmp_path / "whole", tmp_path / "whole-work", settings)

    real = files.append_jsonl

    def killed(path, row):
        real(path, row)
        if row["step"] == 110:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain, "append_jsonl", killed)
        pretrain.pretrain("sandbox-small", tmp_path / "again", tmp_path / "work", settings)
    assert not (tmp_path / "again").exists()
    again = pretrain.pretrain("sandbox-small", tmp_path / "again", tmp_path / "work", settings)
    ours, theirs = whole.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    steps = [row["step"] for _, row in read_jsonl(tmp_path / "work" / "metrics.jsonl")]
    assert steps == [1, *range(10, 121, 10)]

    card = read_json(tmp_path / "again" / "model_card.json")
    assert (card["name"], card["tokens"]) == ("sandbox-small", 120 * 32)
    assert card["loss_curve"][-1][1] < card["loss_curve"][0][1]
    loaded = loading.load(tmp_path / "again")
    assert torch.equal(loaded.model.state_dict()["lm_head.weight"], ours["lm_head.weight"])
    assert loading.same_tokenizer(loaded.tokenizer, again.tokenizer)


def test_training_continues_from_another_model_and_the_card_counts_both(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "sandbox-small", (16, 1, 2, 8))
    first = pretrain.pretrain("sandbox-small", tmp_path / "first", tmp_path / "work", SMALL)
    second = PretrainSettings(start=str(tmp_path / "first"), steps=4, rows=2, length=64, learning_rate=1e-9)
    went_on = pretrain.pretrain("sandbox-small", tmp_path / "second", tmp_path / "second-work", second)
    ours, theirs = went_on.model.state_dict(), first.model.state_dict()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    card = read_json(tmp_path / "second" / "model_card.json")
    assert card["tokens"] == (20 + 4) * 2 * 64
    assert (card["settings"]["start"], card["settings"]["steps"]) == (str(tmp_path / "first"), 4)
    assert card["parts"] == [card["settings"]]
    third = PretrainSettings(start=str(tmp_path / "second"), texts="stories", steps=2, rows=2, length=64)
    pretrain.pretrain("sandbox-small", tmp_path / "third", tmp_path / "third-work", third)
    assert [part["steps"] for part in read_json(tmp_path / "third" / "model_card.json")["parts"]] == [4, 2]


def test_the_settings_choose_the_texts(tokenizer):
    def read(texts):
        rows = PackedSkills(tokenizer, PretrainSettings(texts=texts, steps=200, rows=1))
        return " ".join(tokenizer.decode(rows[i]["input_ids"]) for i in range(200))

    found = {texts: read(texts) for texts in pretrain.TEXTS}
    assert [texts for texts in found if "Only the two." in found[texts]] == ["swaps", "stories", "tellings"]
    assert [texts for texts in found if "At the start of the event" in found[texts]] == ["stories", "tellings"]
    assert [texts for texts in found if "Tell the swaps." in found[texts]] == ["tellings"]


def test_a_start_that_does_not_match_is_rejected(tmp_path):
    with pytest.raises(InputError, match="'sandbox-small' has a different shape"):
        pretrain.pretrain(
            "sandbox-base", tmp_path / "model", tmp_path / "work", PretrainSettings(start="sandbox-small", steps=1)
        )
    gpt2 = tiny.gpt2(tmp_path / "gpt2")
    with pytest.raises(InputError, match="gpt2' has a different tokenizer"):
        pretrain.pretrain(
            "sandbox-base", tmp_path / "model", tmp_path / "work", PretrainSettings(start=str(gpt2), steps=1)
        )
