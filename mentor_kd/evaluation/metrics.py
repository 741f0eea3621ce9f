"""Metrics: accuracies with intervals, paired tests, and the table that the charts show.

Accuracies and their differences are in percent; intervals are 95%. Test sets in this field are small (111 to 1221
questions), so every accuracy comes with an interval.
"""

import math
import os
import re
import statistics
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pandas
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ..data.tasks import PROTOCOLS
from ..files import InputError, read_jsonl, read_settings
from ..parsing import shown

COLUMNS = ["task", "method", "seed", "n", "correct", "accuracy", "low", "high", "protocol"]
STUDENT = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)")


@dataclass(frozen=True)
class Interval:
    """A value with its 95% interval (NaN if there is none) and the number of observations."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference b - a with its 95% interval and two-sided p-value."""

    p: float


@dataclass(frozen=True)
class McNemar:
    """The numbers of questions that only a, only b, both or neither got right, and the exact two-sided p-value."""

    only_a: int
    only_b: int
    both: int
    neither: int
    p: float


def accuracy(correct: Iterable[bool]) -> Interval:
    """Accuracy in percent with its Wilson interval; n is the number of questions. Raises InputError if it is 0."""
    correct = [bool(value) for value in correct]
    if not correct:
        raise InputError("accuracy: no predictions; run the evaluation first")
    value = 100 * sum(correct) / len(correct)
    return Interval(value, *wilson(value, len(correct)), len(correct))


def wilson(percent: float, n: int) -> tuple[float, float]:
    """The 95% Wilson interval of a percentage of `n` questions, in percent; never empty, within 0 and 100.

    A mean over seeds that answered the same n questions may be passed: it varies no more than one seed's accuracy, so
    that the interval is then a little too wide rather than too narrow.
    """
    low, high = proportion_confint(percent * n / 100, n, alpha=0.05, method="wilson")
    return max(0.0, 100 * float(low)), min(100.0, 100 * float(high))


@dataclass(frozen=True)
class DevScore:
    """Dev accuracy in percent; with `exact` False an upper bound, as the evaluation ended early."""

    accuracy: float
    exact: bool = True


def score_while_open(batches: Iterable[list[bool]], questions: int, to_beat: float | None) -> DevScore:
    """The accuracy over batches of right and wrong answers, consumed only while it can still reach `to_beat`.

    The epoch with the highest accuracy is selected; among equal ones the last, which has been trained longest. Once an
    epoch cannot reach the best so far even if all remaining answers are right, they cannot change the selection.
    """
    batches, wrong, seen = iter(batches), 0, 0
    while seen < questions:
        bound = accuracy([True] * (questions - wrong) + [False] * wrong).value
        if to_beat is not None and bound < to_beat - 1e-6:
            return DevScore(bound, exact=False)
        batch = next(batches)
        wrong, seen = wrong + batch.count(False), seen + len(batch)
    return DevScore(accuracy([True] * (questions - wrong) + [False] * wrong).value)


def mean_over_seeds(values: Iterable[float]) -> Interval:
    """Mean over seeds with its t interval; n is the number of seeds. Raises InputError for none.

    With fewer than three seeds the ends are NaN: the t interval of two values has one degree of freedom and mostly
    tells how close those two happened to be.
    """
    values = [float(value) for value in values]
    if not values:
        raise InputError("mean over seeds: no values; pass one accuracy per seed")
    mean, half = statistics.fmean(values), _half_width(values)
    return Interval(mean, mean - half, mean + half, len(values))


def over_seeds(group: pandas.DataFrame) -> tuple[Interval, str]:
    """The mean accuracy of a group with one row per seed (columns accuracy, n, low, high), its interval, and its kind.

    "t over seeds" from three seeds on, cut at 0 and 100. With fewer seeds, or if all seeds have the same accuracy (the
    t interval would be empty, as for 0 of n), it is "Wilson": the interval of the mean over the n questions.
    """
    mean = mean_over_seeds(group["accuracy"])
    if mean.high > mean.low:
        return replace(mean, low=max(0.0, mean.low), high=min(100.0, mean.high)), "t over seeds"
    first = group.iloc[0]
    low, high = (first["low"], first["high"]) if mean.n == 1 else wilson(mean.value, int(first["n"]))
    return replace(mean, low=float(low), high=float(high)), "Wilson"


def paired_seeds(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> Difference:
    """Mean of b - a over seeds with the paired t interval and p-value; a and b map a seed to a value.

    With fewer than three seeds, interval and p are NaN; p is also NaN if all differences are equal and nonzero, as the
    t statistic is infinite. Raises InputError if the seeds differ.
    """
    _check_same("seed", a, b)
    differences = [round(float(b[seed]) - float(a[seed]), 9) for seed in a]  # so that equal differences compare equal
    mean, half = statistics.fmean(differences), _half_width(differences)
    if half > 0:
        p = float(stats.ttest_1samp(differences, 0).pvalue)
    else:
        p = 1.0 if half == 0 == mean else math.nan
    return Difference(mean, mean - half, mean + half, len(differences), p)


def mcnemar(a: Mapping[str, bool], b: Mapping[str, bool]) -> McNemar:
    """Exact McNemar test of two models on the same questions; a and b map a question id to whether it was right.

    Raises InputError if the questions differ.
    """
    _check_same("question", a, b)
    both = sum(a[key] and b[key] for key in a)
    only_a = sum(a[key] and not b[key] for key in a)
    only_b = sum(b[key] and not a[key] for key in a)
    neither = len(a) - both - only_a - only_b
    p = statsmodels_mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue
    return McNemar(only_a, only_b, both, neither, min(1.0, float(p)))


def paired_differences(
    a: Mapping[Hashable, Mapping[str, bool]], b: Mapping[Hashable, Mapping[str, bool]]
) -> numpy.ndarray:
    """The difference b - a of each seed and question, in points: an array of shape (seeds, questions).

    a and b map a seed to a mapping of question id to whether it was right. Raises InputError if seeds or questions
    differ.
    """
    _check_same("seed", a, b)
    questions = list(next(iter(a.values())))
    for key in a:
        _check_same("question", dict.fromkeys(questions), a[key])
        _check_same("question", dict.fromkeys(questions), b[key])
    return numpy.array([[100.0 * (int(b[key][q]) - int(a[key][q])) for q in questions] for key in a])


def compare(
    a: Mapping[Hashable, Mapping[str, bool]],
    b: Mapping[Hashable, Mapping[str, bool]],
    seed: int = 0,
    replicates: int = 5000,
) -> Difference:
    """Difference in accuracy b - a over seeds and questions, with a paired bootstrap interval and p-value.

    a and b map a seed to a mapping of question id to whether it was right; n is the number of seeds. Each replicate
    resamples the paired differences (same seed, same question): seeds with replacement, and questions with replacement,
    drawn once for all seeds because all seeds answer the same questions. The interval therefore covers new seeds and
    new questions. It is a percentile interval, too narrow for fewer than about five seeds; report `paired_seeds` along
    with it. If all paired differences are equal, no replicate differs, and the interval is as wide as Wilson's for 0 of
    n questions. p is twice the smaller share of replicates on either side of zero. Raises InputError if seeds or
    questions differ.
    """
    paired = paired_differences(a, b)
    random = numpy.random.default_rng(seed)
    means = numpy.empty(replicates)
    for i in range(replicates):
        rows = random.integers(paired.shape[0], size=paired.shape[0])
        columns = random.integers(paired.shape[1], size=paired.shape[1])
        means[i] = paired[rows].mean(axis=0)[columns].mean()
    low, high = numpy.percentile(means, [2.5, 97.5])
    if low == high:
        room = wilson(0.0, paired.shape[1])[1]
        low, high = max(-100.0, low - room), min(100.0, high + room)
    p = 2 * min((1 + numpy.sum(means <= 0)) / (1 + replicates), (1 + numpy.sum(means >= 0)) / (1 + replicates))
    return Difference(float(paired.mean()), float(low), float(high), len(a), min(1.0, float(p)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's correction of a family of p-values, by name; a NaN stays NaN and does not count as a test."""
    tested = [name for name, p in p_values.items() if not math.isnan(p)]
    corrected = dict.fromkeys(p_values, math.nan)
    if tested:
        values = multipletests([p_values[name] for name in tested], method="holm")[1]
        corrected.update(zip(tested, map(float, values), strict=True))
    return corrected


def holm_column(p_values: Sequence[float]) -> list[float]:
    """Holm's correction over a column of p-values, in order."""
    return list(holm({str(number): p for number, p in enumerate(p_values)}).values())


# Predictions of a run


def read_predictions(run_folder: Path, without: Container[Path] = ()) -> list[dict]:
    """The predictions of a run's mentor and students, each row with task, method, seed and protocol.

    Reads mentor/predictions.jsonl and students/<method>-seed<k>/predictions.jsonl. Task, protocol (default "sound") and
    the mentor's seed (`seed`, default 0) come from params.yaml; values in a row take precedence. Models whose folders
    are in `without` are left out. Raises InputError if there are no predictions.
    """
    run_folder = Path(run_folder)
    parameters = read_settings(run_folder / "params.yaml")
    facts: dict[str, object] = {key: parameters[key] for key in ("task", "protocol") if key in parameters}
    sources = [(run_folder / "mentor", "mentor", parameters.get("seed", 0))]
    for folder in sorted((run_folder / "students").glob("*")):
        if match := STUDENT.fullmatch(folder.name):
            sources.append((folder, match["method"], int(match["seed"])))
    rows = []
    for folder, method, seed in sources:
        path = folder / "predictions.jsonl"
        if path.exists() and folder not in without:
            about: dict[str, object] = {"protocol": "sound", **facts, "method": method, "seed": seed}
            rows += [_typed(about | row, f"{path}, line {line}") for line, row in read_jsonl(path)]
    if not rows:
        raise InputError(
            f"{run_folder}: no predictions.jsonl in mentor/ or students/<method>-seed<k>/; run the evaluation first"
        )
    return rows


def _typed(row: dict, where: str) -> dict:
    """The row, if the fields that identify it have the right types; InputError with its place otherwise."""
    for name, kind in (("task", str), ("method", str), ("seed", int), ("id", str), ("split", str)):
        if name in row and type(row[name]) is not kind:
            raise InputError(f"{where}: {name} must be of type {kind.__name__}, got {shown(row[name])}")
    return row


def correctness(rows: Iterable[Mapping]) -> dict[str, bool]:
    """Question id -> whether it was right, for the test predictions of one model, under their protocol.

    Protocol "paper" uses `paper_correct`, the verdict by the official evaluator's rules. Raises InputError for a
    question answered twice and for a row with missing or invalid fields.
    """
    right: dict[str, bool] = {}
    for row in rows:
        try:
            name, split, protocol = row["id"], row["split"], row["protocol"]
            verdict = row["paper_correct" if protocol == "paper" else "correct"]
        except KeyError as error:
            raise InputError(
                f"prediction {row.get('id', row)}: field {error} is missing; run the evaluation again"
            ) from None
        if protocol not in PROTOCOLS:
            raise InputError(f"prediction {name}: protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
        if not isinstance(verdict, bool):
            raise InputError(f"prediction {name}: its verdict must be true or false, got {verdict!r}")
        if split != "test":
            continue
        if name in right:
            raise InputError(
                f"prediction {name}: the question was answered twice; pass the predictions of one model only"
            )
        right[name] = verdict
    return right


def accuracy_table(source: os.PathLike | str | Sequence[Mapping]) -> pandas.DataFrame:
    """Test accuracy in percent for each task, method, seed and protocol, with Wilson intervals.

    `source` is a run folder, or prediction rows with task, method, seed and protocol, as from `read_predictions`.
    Columns: task, method, seed, n, correct, accuracy, low, high, protocol; one row per trained model. Raises InputError
    for invalid predictions and for a model without test predictions.
    """
    rows = read_predictions(Path(source)) if isinstance(source, (str, os.PathLike)) else source
    models: dict[tuple, list[Mapping]] = {}
    for row in rows:
        try:
            models.setdefault((row["task"], row["method"], row["seed"], row["protocol"]), []).append(row)
        except KeyError as error:
            raise InputError(
                f"prediction {row.get('id', row)}: field {error} is missing; set it in params.yaml"
            ) from None
    table = []
    for (task, method, seed, protocol), predictions in models.items():
        right = list(correctness(predictions).values())
        if not right:
            raise InputError(
                f"{method}, seed {seed}, on {task}: no predictions with split 'test'; evaluate it on the test questions"
            )
        found = accuracy(right)
        table.append([task, method, seed, found.n, sum(right), found.value, found.low, found.high, protocol])
    return pandas.DataFrame(table, columns=COLUMNS)


def summarise(table: pandas.DataFrame) -> pandas.DataFrame:
    """Mean accuracy over seeds, with an interval, for each task, method and protocol of an accuracy table.

    Columns: task, method, protocol, seeds, n (questions), accuracy, low, high, interval ("t over seeds" or "Wilson",
    see `over_seeds`). The t interval covers seeds only, Wilson's covers questions only. Rows keep the table's order.
    """
    lines = []
    for (task, method, protocol), group in table.groupby(["task", "method", "protocol"], sort=False):
        mean, kind = over_seeds(group)
        n = int(group.iloc[0]["n"])
        lines.append([task, method, protocol, mean.n, n, mean.value, mean.low, mean.high, kind])
    columns = ["task", "method", "protocol", "seeds", "n", "accuracy", "low", "high", "interval"]
    return pandas.DataFrame(lines, columns=columns)


def _half_width(values: Sequence[float]) -> float:
    """Half the width of the 95% t interval of a mean; NaN for fewer than three values."""
    if len(values) < 3:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))


def _check_same(what: str, a: Mapping, b: Mapping) -> None:
    if not a or not b:
        raise InputError(f"paired comparison: one side has no {what}; both need the same seeds and questions")
    if odd := sorted(map(str, set(a) ^ set(b))):
        raise InputError(
            f"paired comparison: {what} {odd[0]} is on one side only ({len(odd)} such); both need the same seeds and "
            "questions"
        )
