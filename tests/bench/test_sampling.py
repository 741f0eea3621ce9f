"""The measurement of sampling: the same work for every way, and the paper's way as described."""

import pandas
import pytest
import tiny
from prompts import QUESTIONS

from mentor_kd.bench import sampling
from mentor_kd.bench.sampling import SamplingBench, compare, paper_way, peak_memory, ratios
from mentor_kd.files import InputError
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling, generate
from mentor_kd.models.prompts import encode_prompt

pytest.importorskip("ctranslate2")


@pytest.fixture(scope="module", params=["llama", "t5"])
def folder(request, tmp_path_factory):
    return tiny.SHAPES[request.param](tmp_path_factory.mktemp("bench") / request.param)


def test_all_ways_generate_the_same_number_of_tokens_at_a_fixed_length(folder, tmp_path):
    table = compare(folder, QUESTIONS, SamplingBench(n=2, batch_size=4, length=5, rounds=2), tmp_path)
    assert list(table.columns) == sampling.COLUMNS
    assert list(table["way"]) == list(sampling.WAYS) * 2  # in turn
    assert list(table["round"]) == [0] * 4 + [1] * 4
    assert set(table["length"]) == {5.0} and set(table["unfinished"]) == {1.0}
    assert (table["tokens"] - 5 * table["texts"]).abs().max() < 1e-6
    assert ((table["texts"] * table["seconds"]) - 2 * len(QUESTIONS)).abs().max() < 1e-6


def test_texts_of_free_length_are_capped_in_our_ways_only(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "PAPER_LENGTH", 60)
    settings = SamplingBench(n=1, batch_size=4, length=0, cap=6, rounds=1)
    table = compare(folder, QUESTIONS, settings, tmp_path).set_index("way")
    assert table.loc["hf", "length"] <= 6 and table.loc["ct2-int8", "length"] <= 6
    assert table.loc["paper", "length"] > 6


def test_the_papers_way_keeps_the_file_order_and_pads_to_the_longest_prompt(folder, monkeypatch):
    loaded = loading.load(folder)
    shapes = []
    real = loaded.model.generate
    monkeypatch.setattr(loaded.model, "generate", lambda **k: shapes.append(k["input_ids"].shape) or real(**k))
    one = Sampling(n=1, temperature=1.0, top_k=1, min_new_tokens=6, max_new_tokens=6, batch_size=3)
    texts = paper_way(loaded, QUESTIONS, one)  # top_k 1 is greedy decoding
    monkeypatch.undo()
    greedy = generate(loaded, QUESTIONS, Sampling(min_new_tokens=6, max_new_tokens=6))
    assert texts == [text for [text] in greedy]
    longest = max(len(encode_prompt(loaded.tokenizer, loaded.encoder_decoder, q)) for q in QUESTIONS)
    assert shapes == [(3, longest), (3, longest), (2, longest)]


def test_ratios_are_paired_by_round():
    rows = [
        ("paper", 0, 8.0),
        ("hf", 0, 4.0),
        ("ct2-int8", 0, 1.0),
        ("paper", 1, 9.0),
        ("hf", 1, 3.0),
        ("ct2-int8", 1, 1.5),
    ]
    found = ratios(pandas.DataFrame(rows, columns=["way", "round", "seconds"]))
    assert list(found.index) == ["paper / hf", "paper / ct2-int8", "hf / ct2-int8"]
    assert found.loc["paper / hf"].to_list() == [2.5, 2.0, 3.0]
    assert found.loc["hf / ct2-int8"].to_list() == [3.0, 2.0, 4.0]


def test_peak_memory_is_measured_in_a_separate_process(tmp_path):
    folder = tiny.llama(tmp_path / "m")
    settings = SamplingBench(n=1, length=2, ways=("hf",))
    found = peak_memory(folder, QUESTIONS[:2], settings, tmp_path)
    assert list(found.index) == ["hf"] and 100 < found["hf"] < 5000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n": 0}, "n must be an integer"),
        ({"length": -1}, "length .*-1"),
        ({"ways": ("vllm",)}, "backends must be one of .*got 'vllm'"),
    ],
)
def test_wrong_settings_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        SamplingBench(**changes)


def test_no_questions_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no question"):
        compare(tiny.llama(tmp_path / "m"), [], SamplingBench(), tmp_path)
