"""The soft-label cache: it holds the mentor's distribution, computed once and recomputed only where needed."""

import json
import math
import resource
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from mentor_kd import files
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.batches import Example, model_inputs, target_logits
from mentor_kd.training import soft_labels
from mentor_kd.training.losses import top_k
from mentor_kd.training.soft_label_cache import TAIL, SoftLabels, SoftLabelSettings, with_temperature
from mentor_kd.training.soft_labels import cached
from mentor_kd.training.tail_directions import RANK

SETTINGS = SoftLabelSettings(k=8, temperatures=(1.0, 2.0))


@pytest.fixture(scope="module", params=["llama", "gpt2", "t5"])
def mentor(request, tmp_path_factory):
    return loading.load(tiny.SHAPES[request.param](tmp_path_factory.mktemp("mentor") / request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return loading.load(tiny.llama(tmp_path_factory.mktemp("mentor") / "llama"))


def make(folder, mentor, examples, settings=SETTINGS, identity="mentor", **more):
    return cached(folder, identity, lambda: mentor, mentor.vocabulary, examples, settings, **more)


def unexpected():
    raise AssertionError("the mentor was called again")


def again(folder, mentor, examples, settings=SETTINGS, identity="mentor"):
    """The cache, read without the mentor."""
    return cached(folder, identity, unexpected, mentor.vocabulary, examples, settings)


@torch.inference_mode()
def exact(mentor, example):
    return target_logits(mentor, model_inputs([example], mentor))[:, : mentor.vocabulary]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cached_rows_equal_the_mentors_distribution_in_any_order(tmp_path, mentor, temperature):
    examples = tiny.examples(mentor, 6)
    labels = make(tmp_path, mentor, examples)
    chosen = [examples[4], examples[0], examples[4]]
    found = labels.rows(chosen, temperature)
    expected = top_k(torch.cat([exact(mentor, one) for one in chosen]), 8, temperature)
    assert found.ids.shape == (sum(len(one.target) for one in chosen), 8) and found.vocabulary == mentor.vocabulary
    assert torch.allclose(found.log_tail, expected.log_tail, atol=1e-4)  # the tail's mass is exact
    logs = found.logits(temperature)
    assert torch.allclose(logs.gather(-1, expected.ids), expected.log_probs, atol=2e-2)  # 8 bits
    assert torch.allclose(logs.exp().sum(-1), torch.ones(len(logs)), atol=1e-5)


def test_a_head_of_more_than_one_layer_gives_the_same_tail(tmp_path, mentor, monkeypatch):
    examples = tiny.examples(mentor, 3)
    usual = make(tmp_path / "a", mentor, examples).rows(examples, 2.0)
    monkeypatch.setattr(soft_labels, "has_plain_head", lambda loaded: False)
    plain = make(tmp_path / "b", mentor, examples).rows(examples, 2.0)
    assert torch.allclose(usual.log_tail, plain.log_tail, atol=1e-4)


def test_the_whole_vocabulary_leaves_no_tail(tmp_path, llama):
    examples = tiny.examples(llama, 2)
    found = make(tmp_path, llama, examples, SoftLabelSettings(10**6)).rows(examples, 2.0)
    assert found.ids.shape[1] == llama.vocabulary and (found.log_tail == -math.inf).all()


def test_the_mentor_is_called_only_for_new_or_changed_rationales(tmp_path, llama, monkeypatch):
    examples = tiny.examples(llama, 6)
    asked = []
    of_batch = soft_labels._of_batch

    def counted(mentor, batch, *rest):
        asked.extend(one.id for one in batch)
        return of_batch(mentor, batch, *rest)

    monkeypatch.setattr(soft_labels, "_of_batch", counted)
    make(tmp_path, llama, examples[:4])
    again(tmp_path, llama, examples[:4])
    assert sorted(asked) == sorted(one.id for one in examples[:4])
    asked.clear()
    changed = Example(examples[0].id, examples[0].prompt, examples[0].target[:-3] + examples[0].target[-2:])
    labels = make(tmp_path, llama, [changed, *examples[1:]])
    assert sorted(asked) == sorted([changed.id, examples[4].id, examples[5].id])
    assert torch.allclose(
        labels.rows([changed], 1.0).log_tail, top_k(exact(llama, changed), 8, 1.0).log_tail, atol=1e-4
    )
    again(tmp_path, llama, examples)  # the row from before the change is still cached for methods that use it


@pytest.mark.parametrize(
    "other",
    [{"identity": "retrained"}, {"settings": SoftLabelSettings(9, (1.0, 2.0))}, {"settings": SoftLabelSettings(8)}],
    ids=["mentor", "k", "temperatures"],
)
def test_another_mentor_k_or_set_of_temperatures_is_another_cache(tmp_path, llama, other):
    examples = tiny.examples(llama, 2)
    make(tmp_path, llama, examples)
    with pytest.raises(AssertionError, match="called again"):
        again(tmp_path, llama, examples, **other)


def test_incomplete_or_damaged_shards_are_detected_and_computed_again(tmp_path, llama, monkeypatch):
    monkeypatch.setattr(soft_labels, "SHARD_TOKENS", 1)
    monkeypatch.setitem(soft_labels.BATCH_TOKENS, "cpu", 1)
    examples = tiny.examples(llama, 4)
    expected = make(tmp_path, llama, examples).rows(examples, 2.0)
    shards = sorted(tmp_path.glob("*/shard-*.safetensors"))
    assert len(shards) == 4
    shards[0].write_bytes(shards[0].read_bytes()[:-7])
    content = bytearray(shards[1].read_bytes())
    content[-5] ^= 1
    shards[1].write_bytes(content)
    shards[2].unlink()
    shards[3].with_suffix(".part").write_bytes(b"a killed writer left this")
    with pytest.raises(AssertionError, match="called again"):
        again(tmp_path, llama, examples)
    found = make(tmp_path, llama, examples).rows(examples, 2.0)
    assert torch.allclose(found.log_tail, expected.log_tail, atol=1e-6)
    assert torch.equal(found.numbers, expected.numbers)
    again(tmp_path, llama, examples)


def test_a_shard_that_is_not_in_the_manifest_is_ignored(tmp_path, llama):
    """As after a kill between writing the shard and the manifest: the next run writes it again."""
    examples = tiny.examples(llama, 2)
    make(tmp_path, llama, examples)
    [manifest] = tmp_path.glob("*/manifest.json")
    manifest.unlink()
    with pytest.raises(AssertionError, match="called again"):
        again(tmp_path, llama, examples)
    make(tmp_path, llama, examples)
    again(tmp_path, llama, examples)


def test_a_stop_keeps_the_finished_shards(tmp_path, llama, monkeypatch):
    monkeypatch.setattr(soft_labels, "SHARD_TOKENS", 1)
    monkeypatch.setitem(soft_labels.BATCH_TOKENS, "cpu", 1)
    examples, asked = tiny.examples(llama, 4), []
    with pytest.raises(KeyboardInterrupt, match="run again"):
        make(tmp_path, llama, examples, stop=lambda: len(asked) == 2 or asked.append(1))
    assert len(list(tmp_path.glob("*/shard-*.safetensors"))) == 2
    labels = make(tmp_path, llama, examples)
    assert labels.rows(examples, 1.0).ids.shape[0] == sum(len(one.target) for one in examples)


def test_bytes_per_token_are_constant(tmp_path, llama):
    """At most 300 bytes per token at k = 64, whatever the number of rows."""
    examples, settings = tiny.examples(llama, 60), SoftLabelSettings(64, (1.0, 1.5, 2.0, 3.0, 4.0))
    sizes = {}
    for rows in (30, 60):
        make(tmp_path / str(rows), llama, examples[:rows], settings)
        tokens = sum(len(one.target) for one in examples[:rows])
        files = [path for path in (tmp_path / str(rows)).rglob("*") if path.is_file() and path.name != TAIL]
        size = sum(path.stat().st_size for path in files)  # without the small layer that all rows share
        sizes[rows] = size / tokens
        assert size / tokens <= 300 - max(0, RANK - 32)
        [shard] = (tmp_path / str(rows)).rglob("shard-*")
        each = 64 * 3 + 2 + 5 * 4 + min(RANK, 32)  # the mentor has 32 dimensions
        assert sum(one.numel() * one.element_size() for one in load_file(shard).values()) == tokens * each
    assert sizes[60] == pytest.approx(sizes[30], rel=0.02)


def test_the_manifest_records_the_settings(tmp_path, llama):
    make(tmp_path, llama, tiny.examples(llama, 2))
    [path] = tmp_path.glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    assert (manifest["k"], manifest["temperatures"], manifest["vocabulary"]) == (8, [1.0, 2.0], llama.vocabulary)


def test_a_temperature_must_be_added_before_caching(tmp_path, llama):
    assert with_temperature(SETTINGS, 1.5).temperatures == (1.0, 1.5, 2.0)
    assert with_temperature(SETTINGS, 2) == SETTINGS
    examples = tiny.examples(llama, 1)
    with pytest.raises(ValueError, match="tuple"):
        make(tmp_path, llama, examples).rows(examples, 1.5)


@pytest.mark.parametrize(
    "changes", [{"k": -1}, {"k": True}, {"k": "64"}, {"temperatures": ()}, {"temperatures": (0.0,)}]
)
def test_invalid_settings_are_rejected(changes):
    with pytest.raises(InputError, match="soft_label_k|temperatures"):
        SoftLabelSettings(**changes)


def anonymous() -> int:
    """Bytes of this process's memory that are not file-backed."""
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use from Linux's /proc")
def test_the_cache_is_memory_mapped(tmp_path, llama):
    """A large shard uses no memory until its rows are read, and then only for these rows."""
    make(tmp_path, llama, tiny.examples(llama, 2))
    [shard] = tmp_path.rglob("shard-*")
    tokens = 1_000_000
    big = {
        "ids": torch.zeros(tokens, 64, dtype=torch.int16).view(torch.uint16),
        "misses": torch.zeros(tokens, 64, dtype=torch.int8),
        "step": torch.zeros(tokens, dtype=torch.float16),
        "log_tail": torch.zeros(tokens, 2),
        "numbers": torch.zeros(tokens, RANK, dtype=torch.int8),
    }
    rows = [[str(i), "check", 100] for i in range(tokens // 100)]
    save_file(big, shard, metadata={"rows": json.dumps(rows)})
    del big
    manifest = next(tmp_path.glob("*/manifest.json"))
    known = json.loads(manifest.read_text())
    known["shards"][shard.name] = files.sha256(shard)
    manifest.write_text(json.dumps(known))
    before = anonymous()
    labels = SoftLabels(manifest.parent, SETTINGS, llama.vocabulary)
    assert len(labels.places) == tokens // 100
    assert anonymous() - before < 50e6 < shard.stat().st_size
    shard.unlink()
