"""Metrics: intervals and tests against hand calculations, the dev split, and the accuracy table."""

import json
import math
import random
import statistics
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mentor_kd.data.rationales import new_question
from mentor_kd.data.splits import split_dev
from mentor_kd.evaluation.metrics import (
    COLUMNS,
    DevScore,
    accuracy,
    accuracy_table,
    compare,
    correctness,
    holm,
    mcnemar,
    mean_over_seeds,
    paired_seeds,
    read_predictions,
    score_while_open,
    summarise,
)
from mentor_kd.files import InputError, write_json, write_jsonl, write_text

T_95_TWO_DEGREES = 4.302653  # 97.5% point of Student's t, from a table


def chosen(scores):
    """The epoch the trainer selects, the first with the highest accuracy, and all scores."""
    best, found = None, []
    for epoch, score in enumerate(scores):
        found.append(score(None if best is None else found[best].accuracy))
        if best is None or found[epoch].accuracy >= found[best].accuracy:
            best = epoch
    return best, found


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    st.integers(1, 5),
)
def test_ending_an_evaluation_early_never_changes_the_selection(epochs, size):
    def ended_early(answers):
        batches = [answers[i : i + size] for i in range(0, len(answers), size)]
        return lambda to_beat: score_while_open(batches, len(answers), to_beat)

    plain = [lambda _, answers=answers: DevScore(accuracy(answers).value) for answers in epochs]
    expected, full = chosen(plain)
    best, found = chosen(map(ended_early, epochs))
    assert best == expected
    for score, whole in zip(found, full, strict=True):
        assert score == whole if score.exact else score.accuracy >= whole.accuracy
    assert found[best].exact


def test_evaluation_ends_once_the_rest_cannot_matter():
    asked = []

    def batches(*answers):
        for answer in answers:
            asked.append(answer)
            yield answer

    assert score_while_open(batches([False, False], [True, True]), 4, 75.0) == DevScore(50.0, exact=False)
    assert asked == [[False, False]]  # with two of four wrong, 50% is the maximum
    assert score_while_open(batches([True, False], [True, True]), 4, 75.0) == DevScore(75.0)  # an equal is later
    assert score_while_open(batches([True, True], [False, True]), 4, 50.0) == DevScore(75.0)
    assert score_while_open(batches([False], [False]), 2, None) == DevScore(0.0)


def test_wilson_interval_of_8_in_10():
    # p = 0.8, z = 1.959964: centre (p + z^2/20) / (1 + z^2/10), half z sqrt(p q / 10 + z^2/400) / (1 + z^2/10)
    z = 1.959964
    centre, scale = 0.8 + z * z / 20, 1 + z * z / 10
    half = z * sqrt(0.8 * 0.2 / 10 + z * z / 400)
    found = accuracy([True] * 8 + [False] * 2)
    assert (found.value, found.n) == (80, 10)
    assert found.low == pytest.approx(100 * (centre - half) / scale, abs=1e-3) == pytest.approx(49.02, abs=0.01)
    assert found.high == pytest.approx(100 * (centre + half) / scale, abs=1e-3) == pytest.approx(94.33, abs=0.01)


def test_wilson_interval_stays_within_0_and_100():
    assert accuracy([True] * 3).high == 100 and accuracy([True] * 3).low > 40
    assert accuracy([False] * 3).low == 0
    with pytest.raises(InputError, match="accuracy: no predictions"):
        accuracy([])


def test_mean_over_seeds_by_hand():
    found = mean_over_seeds([60, 62, 67])  # mean 63, squared deviations 9 + 1 + 16, variance 13
    half = T_95_TWO_DEGREES * sqrt(13) / sqrt(3)
    assert (found.value, found.n) == (63, 3)
    assert found.low == pytest.approx(63 - half, abs=1e-4) == pytest.approx(54.0433, abs=1e-3)
    assert found.high == pytest.approx(63 + half, abs=1e-4)


def test_one_seed_and_two_have_no_t_interval():
    for values in ([61.0], [60.0, 62.0]):
        found = mean_over_seeds(values)
        assert found.value == 61 and math.isnan(found.low) and math.isnan(found.high)


def test_paired_seeds_by_hand():
    found = paired_seeds({0: 60, 1: 70, 2: 50}, {2: 53, 0: 61, 1: 72})  # differences 1, 2, 3
    half = T_95_TWO_DEGREES / sqrt(3)
    assert (found.value, found.n) == (2, 3)
    assert (found.low, found.high) == (pytest.approx(2 - half, abs=1e-5), pytest.approx(2 + half, abs=1e-5))
    # t = 2 sqrt(3); with two degrees of freedom p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(12 / 14)
    assert found.p == pytest.approx(1 - sqrt(12 / 14), abs=1e-9)


def test_paired_seeds_at_the_edges():
    one = {0: 60.1, 1: 62.3, 2: 61.0}
    same = paired_seeds(one, one)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    shifted = paired_seeds(one, {seed: value + 1 for seed, value in one.items()})
    assert shifted.low == shifted.high == 1 and math.isnan(shifted.p)
    for few in ({0: 60}, {0: 60, 1: 64}):
        found = paired_seeds(few, {seed: value + 1 for seed, value in few.items()})
        assert found.value == 1 and math.isnan(found.low) and math.isnan(found.p)
    with pytest.raises(InputError, match="seed 1 is on one side only"):
        paired_seeds({0: 60, 1: 61}, {0: 60})
    with pytest.raises(InputError, match="no seed"):
        paired_seeds({}, {})


def test_mcnemar_by_hand():
    a = dict.fromkeys("abcdefgh", False) | {"i": True, "j": True}
    b = dict.fromkeys("abcdef", True) | {"g": False, "h": False, "i": False, "j": True}
    found = mcnemar(a, b)
    assert (found.only_a, found.only_b, found.both, found.neither) == (1, 6, 1, 2)
    # 7 discordant questions, 1 for a: twice the binomial tail (1 + 7) / 2^7
    assert found.p == pytest.approx(2 * 8 / 128)
    assert mcnemar(b, a).p == found.p
    assert mcnemar(a, a).p == 1


def test_mcnemar_needs_the_same_questions():
    with pytest.raises(InputError, match="question b is on one side only"):
        mcnemar({"a": True}, {"a": True, "b": True})


def test_compare_is_certain_of_a_constant_difference():
    questions = [f"q{i}" for i in range(30)]
    wrong, right = dict.fromkeys(questions, False), dict.fromkeys(questions, True)
    found = compare({0: wrong, 1: wrong}, {0: right, 1: right}, replicates=200)
    assert (found.value, found.high, found.n) == (100, 100, 2)
    assert found.low == pytest.approx(100 - accuracy([False] * 30).high)  # as wide as the interval of 0 of 30
    assert found.p == pytest.approx(2 / 201)
    same = compare({0: wrong}, {0: wrong}, replicates=200)
    assert same.p == 1 and same.value == 0 and same.low == -same.high == -accuracy([False] * 30).high < -10


def test_compare_covers_seeds_and_questions():
    coin = random.Random(0)
    a = {seed: {f"q{i}": coin.random() < 0.5 for i in range(100)} for seed in range(4)}
    b = {seed: {f"q{i}": coin.random() < 0.7 for i in range(100)} for seed in range(4)}
    found = compare(a, b)
    by_hand = sum(b[s][q] - a[s][q] for s in a for q in a[s]) / 4
    assert found.value == pytest.approx(by_hand) and found.low < by_hand < found.high
    assert found == compare(a, b) != compare(a, b, seed=1)
    back = compare(b, a)
    assert (back.value, back.p) == (pytest.approx(-found.value), pytest.approx(found.p))
    # More seeds on the same questions say nothing new about other questions: the interval hardly shrinks.
    copied = compare({s: a[0] for s in range(8)}, {s: b[0] for s in range(8)})
    alone = compare({0: a[0]}, {0: b[0]})
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)
    # For one seed it is the interval of a mean of 100 paired differences, 1.96 standard errors to each side.
    spread = statistics.stdev(100 * (b[0][q] - a[0][q]) for q in a[0])
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * spread / 10, rel=0.1)


def test_compare_needs_the_same_questions_in_all_seeds():
    with pytest.raises(InputError, match=r"question q is on one side only \(2 such\)"):
        compare({0: {"q": True}, 1: {"r": True}}, {0: {"q": True}, 1: {"r": True}})


def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04 times 3, 2, 1 = 0.03, 0.06, 0.04, made monotone: 0.03, 0.06, 0.06
    found = holm({"a": 0.04, "b": 0.01, "c": math.nan, "d": 0.03})
    assert found["b"] == pytest.approx(0.03)
    assert found["a"] == found["d"] == pytest.approx(0.06)
    assert math.isnan(found["c"]) and list(found) == ["a", "b", "c", "d"]
    assert holm({}) == {}


# The dev split


def questions(count: int) -> list:
    return [new_question("sandbox-sums", f"What is {i} plus 1?", str(i + 1)) for i in range(count)]


@given(st.randoms(use_true_random=False), st.integers(0, 5), st.integers(2, 30))
def test_the_split_ignores_order_and_keeps_equal_questions_together(order, seed, count):
    rows = questions(count)
    expected = {row.id: row.split for row in split_dev(rows, share=0.5, seed=seed)}
    shuffled = [*rows, rows[0]]
    order.shuffle(shuffled)
    found = split_dev(shuffled, share=0.5, seed=seed)
    assert [row.id for row in found] == [row.id for row in shuffled]
    assert {(row.id, row.split) for row in found} == set(expected.items())
    assert list(expected.values()).count("dev") == round(0.5 * count)


def test_the_split_follows_count_and_seed():
    rows = questions(40)
    dev = [{row.id for row in split_dev(rows, count=7, seed=seed) if row.split == "dev"} for seed in (0, 0, 1)]
    assert dev[0] == dev[1] != dev[2] and list(map(len, dev)) == [7, 7, 7]
    larger = {row.id for row in split_dev(rows, count=9, seed=0) if row.split == "dev"}
    assert dev[0] < larger


@pytest.mark.parametrize(
    ("count", "size", "message"),
    [
        (3, {"share": 0.1}, "0 of 3 distinct questions"),
        (3, {"count": 3}, "3 of 3 distinct questions"),
        (0, {"count": 1}, "1 of 0 distinct questions"),
        (9, {}, "give either share or count"),
        (9, {"share": 0.5, "count": 2}, "give either share or count"),
        (9, {"share": 1.0}, "share .* got 1.0"),
        (9, {"share": "0.1"}, "share .* got '0.1'"),
        (9, {"count": 0}, "count .* got 0"),
        (9, {"count": True}, "count .* got True"),
    ],
)
def test_an_impossible_split_is_rejected(count, size, message):
    with pytest.raises(InputError, match=message):
        split_dev(questions(count), **size)


def test_test_questions_are_never_split():
    rows = [*questions(9), new_question("sandbox-sums", "What is 9 plus 9?", "18", "test")]
    with pytest.raises(InputError, match="split must be .*got .test."):
        split_dev(rows, count=2)


# The table


def prediction(name: str, correct: bool, paper_correct: bool | None = None, split: str = "test", **about) -> dict:
    row = {"id": name, "prediction": "5", "answer": "5", "correct": correct, "miss": "", "text": "--> 5"}
    return row | {"split": split, "paper_correct": correct if paper_correct is None else paper_correct} | about


def write_run(folder, protocol: str | None = None):
    write_text(folder / "params.yaml", "task: sandbox-sums\n" + (f"protocol: {protocol}\n" if protocol else ""))
    rows = [prediction("a", True, False), prediction("b", False), prediction("c", True, split="dev")]
    write_jsonl(folder / "students/vanilla-kd-seed12/predictions.jsonl", rows)
    write_jsonl(folder / "students/mentor-kd-no-rd-seed0/predictions.jsonl", rows[:1])
    write_jsonl(folder / "mentor/predictions.jsonl", rows[:2])
    write_json(folder / "students/vanilla-kd-seed13/manifest.json", {})  # trained, not evaluated yet


def test_the_table_of_a_run_folder(tmp_path):
    write_run(tmp_path)
    table = accuracy_table(tmp_path)
    assert list(table.columns) == COLUMNS
    shown = table[["task", "method", "seed", "n", "correct", "accuracy", "protocol"]].values.tolist()
    assert shown == [
        ["sandbox-sums", "mentor", 0, 2, 1, 50.0, "sound"],
        ["sandbox-sums", "mentor-kd-no-rd", 0, 1, 1, 100.0, "sound"],
        ["sandbox-sums", "vanilla-kd", 12, 2, 1, 50.0, "sound"],
    ]
    assert table["low"].iloc[0] == pytest.approx(accuracy([True, False]).low)


def test_the_papers_protocol_goes_by_the_papers_rules(tmp_path):
    write_run(tmp_path, "paper")
    table = accuracy_table(str(tmp_path))
    assert table["correct"].tolist() == [0, 0, 0] and set(table["protocol"]) == {"paper"}


def test_a_run_without_predictions(tmp_path):
    write_text(tmp_path / "params.yaml", "task: sandbox-sums\n")
    with pytest.raises(InputError, match="no predictions.jsonl"):
        read_predictions(tmp_path)


def test_invalid_predictions_are_named():
    about = {"task": "t", "method": "m", "seed": 0, "protocol": "sound"}
    with pytest.raises(InputError, match="prediction a: field 'task' is missing"):
        accuracy_table([prediction("a", True)])
    with pytest.raises(InputError, match="prediction a: field 'correct' is missing"):
        correctness([{"id": "a", "split": "test", "protocol": "sound"}])
    with pytest.raises(InputError, match="prediction a: the question was answered twice"):
        accuracy_table([prediction("a", True, **about)] * 2)
    with pytest.raises(InputError, match="prediction a: .* must be true or false, got 1"):
        accuracy_table([json.loads('{"correct": 1}') | {"id": "a", "split": "test"} | about])
    with pytest.raises(InputError, match="protocol must be one of sound, paper, got 'mine'"):
        accuracy_table([prediction("a", True, **about | {"protocol": "mine"})])
    with pytest.raises(InputError, match="m, seed 0, on t: no predictions with split 'test'"):
        accuracy_table([prediction("a", True, split="dev", **about)])


def test_summary_over_seeds():
    rows = []
    for seed, right in [(0, 1), (1, 2), (2, 3)]:
        about = {"task": "t", "method": "m", "seed": seed, "protocol": "sound"}
        rows += [prediction(f"q{i}", i < right, **about) for i in range(4)]
    rows += [prediction(f"q{i}", i < 1, task="t", method="single", seed=0, protocol="sound") for i in range(4)]
    several, single = summarise(accuracy_table(rows)).to_dict("records")
    assert (several["method"], several["seeds"], several["n"], several["accuracy"]) == ("m", 3, 4, 50)
    assert several["interval"] == "t over seeds"  # 50 +- T_95_TWO_DEGREES * 25 / sqrt(3), cut at 0 and 100
    assert (several["low"], several["high"]) == (0, 100) and T_95_TWO_DEGREES * 25 / sqrt(3) > 50
    assert (single["interval"], single["low"]) == ("Wilson", accuracy([True, False, False, False]).low)


def summary_of(*counts, n=4):
    """The summary of one method whose seeds got these numbers of n questions right."""
    rows = []
    for seed, right in enumerate(counts):
        about = {"task": "t", "method": "m", "seed": seed, "protocol": "sound"}
        rows += [prediction(f"q{i}", i < right, **about) for i in range(n)]
    return summarise(accuracy_table(rows)).iloc[0]


@pytest.mark.parametrize("counts", [(0,), (0, 0), (0, 0, 0), (4, 4, 4), (1, 3), (0, 0, 4), (4, 4, 3)])
def test_intervals_lie_within_0_and_100_and_are_never_empty(counts):
    found = summary_of(*counts)
    assert 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 100
    assert found["high"] - found["low"] > 10
    alike = len(set(counts)) == 1
    assert found["interval"] == ("Wilson" if len(counts) < 3 or alike else "t over seeds")


def test_two_seeds_get_the_wilson_interval_of_their_mean():
    found, by_hand = summary_of(1, 3), accuracy([True, True, False, False])  # the mean is 2 of 4
    assert (found["low"], found["high"]) == (pytest.approx(by_hand.low), pytest.approx(by_hand.high))
