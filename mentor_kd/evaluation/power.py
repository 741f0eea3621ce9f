"""How small a difference a comparison could have found: its standard error, clustered by question, and its power.

All seeds of a method answer the same questions, so their answers to one question are not independent. The standard
error therefore takes each question's mean over seeds as one observation (Miller, 2024, "Adding Error Bars to Evals",
sections 2.2 and 4.2).
"""

import math
from collections.abc import Hashable, Mapping

from scipy.stats import norm

from .metrics import paired_differences


def clustered_error(a: Mapping[Hashable, Mapping[str, bool]], b: Mapping[Hashable, Mapping[str, bool]]) -> float:
    """Standard error in points of the difference b - a, paired by question and clustered by it over seeds.

    a and b map a seed to a mapping of question id to whether it was right, with the same seeds and questions. NaN for a
    single question. Raises InputError if seeds or questions differ.
    """
    means = paired_differences(a, b).mean(axis=0)
    return float(means.std(ddof=1) / math.sqrt(len(means))) if len(means) > 1 else math.nan


def detectable(error: float, power: float = 0.8, level: float = 0.05) -> float:
    """The true difference, in the unit of its standard error, that a two-sided test finds with this power."""
    return float((norm.ppf(1 - level / 2) + norm.ppf(power)) * error)
