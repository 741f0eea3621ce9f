"""Evaluation: accuracies with intervals, paired tests, and the table that the charts draw.

Accuracies and their differences are in percent everywhere, intervals are 95%. Test sets of this field are small (111 to
1221 questions), so no number leaves this module without its interval.
"""

import math
import os
import re
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pandas
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ..data.tasks import PROTOCOLS
from ..files import InputError, read_jsonl, read_yaml

COLUMNS = ["task", "method", "seed", "n", "correct", "accuracy", "low", "high", "protocol"]
STUDENT = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)")


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval (NaN where there is none) and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference b - a with its 95% interval and two-sided p."""

    p: float


@dataclass(frozen=True)
class McNemar:
    """How many questions only a, only b, both or neither got right, and the exact two-sided p."""

    only_a: int
    only_b: int
    both: int
    neither: int
    p: float


def accuracy(correct: Iterable[bool]) -> Interval:
    """Accuracy in percent with its Wilson interval; n is the number of questions. Raises InputError for none."""
    correct = [bool(value) for value in correct]
    if not correct:
        raise InputError("accuracy: there is no prediction; was the evaluation run?")
    low, high = proportion_confint(sum(correct), len(correct), alpha=0.05, method="wilson")
    return Interval(100 * sum(correct) / len(correct), 100 * low, 100 * high, len(correct))


@dataclass(frozen=True)
class DevScore:
    """Accuracy in percent on dev; with `exact` False it was at most this, for not every question was asked."""

    accuracy: float
    exact: bool = True


def score_while_open(batches: Iterable[list[bool]], questions: int, to_beat: float | None) -> DevScore:
    """The accuracy of batches of right and wrong answers, drawn only while it can still become more than `to_beat`.

    The epoch is chosen by the highest accuracy, the earlier of equals. So once all remaining answers right would not
    exceed the best so far, the epoch is out, and what the remaining answers are cannot change the choice.
    """
    batches, wrong, seen = iter(batches), 0, 0
    while seen < questions:
        bound = accuracy([True] * (questions - wrong) + [False] * wrong).value
        if to_beat is not None and bound <= to_beat:
            return DevScore(bound, exact=False)
        batch = next(batches)
        wrong, seen = wrong + batch.count(False), seen + len(batch)
    return DevScore(accuracy([True] * (questions - wrong) + [False] * wrong).value)


def mean_over_seeds(values: Iterable[float]) -> Interval:
    """Mean over seeds with its t interval; n is the number of seeds, one seed has no interval (NaN)."""
    values = [float(value) for value in values]
    if not values:
        raise InputError("mean over seeds: there is no value; give one accuracy for each seed")
    mean, half = statistics.fmean(values), _half_width(values)
    return Interval(mean, mean - half, mean + half, len(values))


def over_seeds(group: pandas.DataFrame) -> tuple[Interval, str]:
    """The mean accuracy of a group's rows, one a seed, with its interval, and the kind of that interval.

    It is "t over seeds"; where there is one row, it is the row's own interval (columns low and high), "Wilson".
    """
    mean, first = mean_over_seeds(group["accuracy"]), group.iloc[0]
    if mean.n > 1:
        return mean, "t over seeds"
    return replace(mean, low=float(first["low"]), high=float(first["high"])), "Wilson"


def paired_seeds(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> Difference:
    """Mean of b - a over seeds with the paired t interval and p; a and b map a seed to a value.

    With one seed interval and p are NaN; so is p where all differences are the same and not zero, as the t statistic
    has no finite value there. Raises InputError if the seeds differ.
    """
    _check_same("seed", a, b)
    differences = [round(float(b[seed]) - float(a[seed]), 9) for seed in a]  # equal differences shall be equal
    mean, half = statistics.fmean(differences), _half_width(differences)
    if half > 0:
        p = float(stats.ttest_1samp(differences, 0).pvalue)
    else:
        p = 1.0 if half == 0 == mean else math.nan
    return Difference(mean, mean - half, mean + half, len(differences), p)


def mcnemar(a: Mapping[str, bool], b: Mapping[str, bool]) -> McNemar:
    """Exact McNemar test of two models on the same questions; a and b map a question's id to whether it was right.

    Raises InputError if the questions differ.
    """
    _check_same("question", a, b)
    both = sum(a[key] and b[key] for key in a)
    only_a = sum(a[key] and not b[key] for key in a)
    only_b = sum(b[key] and not a[key] for key in a)
    neither = len(a) - both - only_a - only_b
    p = statsmodels_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
    return McNemar(only_a, only_b, both, neither, min(1.0, float(p)))


def compare(
    a: Mapping[Hashable, Mapping[str, bool]],
    b: Mapping[Hashable, Mapping[str, bool]],
    seed: int = 0,
    replicates: int = 5000,
) -> Difference:
    """Difference b - a in accuracy over seeds and questions, with a paired bootstrap interval and p; n is the seeds.

    a and b map a seed to a mapping of question id to whether it was right. What is resampled are the differences of
    paired answers (same seed, same question): seeds with replacement, and questions with replacement, drawn once per
    replicate for all its seeds, since all seeds answer the same questions. So the interval speaks of new seeds and of
    new questions. It is percentile, and narrow for fewer than about five seeds: read it beside `paired_seeds`. p is
    twice the smaller share of replicates on either side of zero. Raises InputError if seeds or questions differ.
    """
    _check_same("seed", a, b)
    questions = list(next(iter(a.values())))
    for key in a:
        _check_same("question", dict.fromkeys(questions), a[key])
        _check_same("question", dict.fromkeys(questions), b[key])
    paired = numpy.array([[100.0 * (int(b[key][q]) - int(a[key][q])) for q in questions] for key in a])
    random = numpy.random.default_rng(seed)
    means = numpy.empty(replicates)
    for i in range(replicates):
        rows = random.integers(paired.shape[0], size=paired.shape[0])
        columns = random.integers(paired.shape[1], size=paired.shape[1])
        means[i] = paired[rows].mean(axis=0)[columns].mean()
    low, high = numpy.percentile(means, [2.5, 97.5])
    p = 2 * min((1 + numpy.sum(means <= 0)) / (1 + replicates), (1 + numpy.sum(means >= 0)) / (1 + replicates))
    return Difference(float(paired.mean()), float(low), float(high), len(a), min(1.0, float(p)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction of a family of p values, by name; a NaN stays NaN and does not count as a test."""
    tested = [name for name, p in p_values.items() if not math.isnan(p)]
    corrected = dict.fromkeys(p_values, math.nan)
    if tested:
        values = multipletests([p_values[name] for name in tested], method="holm")[1]
        corrected.update(zip(tested, map(float, values), strict=True))
    return corrected


def holm_column(p_values: Sequence[float]) -> list[float]:
    """Holm's correction over a column of a table, in its order."""
    return list(holm({str(number): p for number, p in enumerate(p_values)}).values())


# Predictions of a run


def read_predictions(run_folder: Path) -> list[dict]:
    """The predictions of a run's mentor and students, each row with its task, method, seed and protocol.

    Read are mentor/predictions.jsonl and students/<method>-seed<k>/predictions.jsonl; task, protocol ("sound" if not
    named) and the mentor's seed (`seed`, 0 if not named) come from params.yaml. What a row says itself goes first.
    """
    run_folder = Path(run_folder)
    parameters = read_yaml(run_folder / "params.yaml") or {}
    facts = {key: parameters[key] for key in ("task", "protocol") if key in parameters}
    sources = [(run_folder / "mentor", "mentor", parameters.get("seed", 0))]
    for folder in sorted((run_folder / "students").glob("*")):
        if match := STUDENT.fullmatch(folder.name):
            sources.append((folder, match["method"], int(match["seed"])))
    rows = []
    for folder, method, seed in sources:
        path = folder / "predictions.jsonl"
        if path.exists():
            about = {"protocol": "sound", **facts, "method": method, "seed": seed}
            rows += [about | row for _, row in read_jsonl(path)]
    if not rows:
        raise InputError(f"{run_folder}: no predictions.jsonl in mentor/ or students/<method>-seed<k>/; evaluate first")
    return rows


def correctness(rows: Iterable[Mapping]) -> dict[str, bool]:
    """Question id -> whether it was right, of one model's test predictions, by the rules of their protocol.

    Protocol "paper" goes by `paper_correct`, the verdict of the official evaluator's rules. Raises InputError for a
    question that was answered twice and for a row without the fields.
    """
    right: dict[str, bool] = {}
    for row in rows:
        try:
            name, split, protocol = row["id"], row["split"], row["protocol"]
            verdict = row["paper_correct" if protocol == "paper" else "correct"]
        except KeyError as error:
            raise InputError(f"prediction {row.get('id', row)}: field {error} is missing; evaluate again") from None
        if protocol not in PROTOCOLS:
            raise InputError(f"prediction {name}: protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
        if not isinstance(verdict, bool):
            raise InputError(f"prediction {name}: whether it is correct is {verdict!r}; it must be true or false")
        if split != "test":
            continue
        if name in right:
            raise InputError(f"prediction {name}: the question was answered twice; give one model's predictions")
        right[name] = verdict
    return right


def accuracy_table(source: os.PathLike | str | Sequence[Mapping]) -> pandas.DataFrame:
    """Test accuracy of every task, method, seed and protocol in percent, with Wilson intervals.

    `source` is a run folder, or prediction rows that carry task, method, seed and protocol as `read_predictions` gives
    them. Columns: task, method, seed, n, correct, accuracy, low, high, protocol; one row a trained model.
    """
    rows = read_predictions(Path(source)) if isinstance(source, (str, os.PathLike)) else source
    models: dict[tuple, list[Mapping]] = {}
    for row in rows:
        try:
            models.setdefault((row["task"], row["method"], row["seed"], row["protocol"]), []).append(row)
        except KeyError as error:
            raise InputError(f"prediction {row.get('id', row)}: field {error} is missing; name it in params") from None
    table = []
    for (task, method, seed, protocol), predictions in models.items():
        right = list(correctness(predictions).values())
        if not right:
            raise InputError(f"{method}, seed {seed}, on {task}: no prediction has the split 'test'; evaluate on it")
        found = accuracy(right)
        table.append([task, method, seed, found.n, sum(right), found.value, found.low, found.high, protocol])
    return pandas.DataFrame(table, columns=COLUMNS)


def summarise(table: pandas.DataFrame) -> pandas.DataFrame:
    """Each task, method and protocol of an accuracy table: mean accuracy over its seeds with an interval.

    Columns: task, method, protocol, seeds, n (questions), accuracy, low, high, interval ("t over seeds", or "Wilson"
    where there is one seed). The t interval speaks of seeds only, Wilson's of questions only. Order as in the table.
    """
    lines = []
    for (task, method, protocol), group in table.groupby(["task", "method", "protocol"], sort=False):
        mean, kind = over_seeds(group)
        n = int(group.iloc[0]["n"])
        lines.append([task, method, protocol, mean.n, n, mean.value, mean.low, mean.high, kind])
    columns = ["task", "method", "protocol", "seeds", "n", "accuracy", "low", "high", "interval"]
    return pandas.DataFrame(lines, columns=columns)


def _half_width(values: Sequence[float]) -> float:
    """Half the width of the 95% t interval of a mean; NaN for one value."""
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def _check_same(what: str, a: Mapping, b: Mapping) -> None:
    if not a or not b:
        raise InputError(f"paired comparison: one side has no {what}; give both sides the same {what}s")
    if odd := sorted(map(str, set(a) ^ set(b))):
        raise InputError(
            f"paired comparison: {what} {odd[0]} is on one side only ({len(odd)} such); give both the same {what}s"
        )
