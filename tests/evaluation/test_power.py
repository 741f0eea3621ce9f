"""Standard errors and detectable differences, worked by hand and by simulation."""

import math

import numpy
import pytest

from mentor_kd.evaluation import power
from mentor_kd.files import InputError


def answers(*marks: str) -> dict:
    """One string of 0 and 1 per seed."""
    return {seed: {f"q{i}": mark == "1" for i, mark in enumerate(line)} for seed, line in enumerate(marks)}


def test_the_error_of_one_seed_by_hand():
    # differences in points: 100, 100, 0, -100; mean 25, deviations 75, 75, -25, -125; variance 27500 / 3
    assert power.clustered_error(answers("0011"), answers("1110")) == pytest.approx(math.sqrt(27500 / 3) / 2)


def test_seeds_that_answer_alike_add_nothing():
    one, three = (answers("0011"), answers("1110")), (answers("0011", "0011", "0011"), answers("1110", "1110", "1110"))
    assert power.clustered_error(*three) == pytest.approx(power.clustered_error(*one))


def test_independent_seeds_make_it_smaller():
    # question means over two seeds: 50, 50, 0, 0; deviations 25, 25, -25, -25; variance 2500 / 3
    found = power.clustered_error(answers("0000", "0000"), answers("1000", "0100"))
    assert found == pytest.approx(math.sqrt(2500 / 3) / 2)


def test_a_detectable_difference_is_found_in_four_of_five_tries():
    assert power.detectable(1.0) == pytest.approx(2.8016, abs=1e-4)
    rng = numpy.random.default_rng(0)
    drawn = rng.normal(power.detectable(1.0), 1.0, 20_000)
    assert (numpy.abs(drawn) > 1.96).mean() == pytest.approx(0.8, abs=0.01)


def test_different_questions_are_refused():
    with pytest.raises(InputError, match="same seeds and questions"):
        power.clustered_error(answers("01"), answers("011"))
    assert math.isnan(power.clustered_error(answers("0"), answers("1")))
