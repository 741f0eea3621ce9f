"""Summaries of rationales: accuracy by task, agreement within a question, and yield by number of samples.

Rationales of the same question are not independent, so intervals are computed over questions, not rationales.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas
from scipy import stats

from ..data.rationales import Rationale
from ..data.tasks import Task, same_answer
from ..files import InputError
from . import filters
from .filters import FilterSettings


def _by_question(rows: Iterable[Rationale]) -> dict[str, list[Rationale]]:
    """The rationales of each question in sampling order."""
    found: dict[str, list[Rationale]] = {}
    for row in rows:
        found.setdefault(row.question_id, []).append(row)
    return {question: sorted(drawn, key=lambda row: row.sampler["index"]) for question, drawn in found.items()}


def by_task(rows: Mapping[str, Sequence[Rationale]]) -> pandas.DataFrame:
    """The teacher's accuracy per task in percent: the mean over questions of the share right, with 95% t interval.

    Columns: task, questions, rationales, accuracy, low, high, words (median per rationale), none_right (questions
    without a right rationale). Raises InputError for a task without rationales.
    """
    table = []
    for task, drawn in rows.items():
        shares = [100 * sum(r.correct for r in draws) / len(draws) for draws in _by_question(drawn).values()]
        if not shares:
            raise InputError(f"task {task}: no rationales; pass at least one")
        mean, n = sum(shares) / len(shares), len(shares)
        spread = math.sqrt(sum((share - mean) ** 2 for share in shares) / (n - 1) / n) if n > 1 else math.nan
        half = stats.t.ppf(0.975, n - 1) * spread if n > 1 else math.nan
        words = pandas.Series([len(row.rationale.split()) for row in drawn]).median()
        low, high = max(0.0, mean - half), min(100.0, mean + half)
        table.append([task, n, len(drawn), mean, low, high, words, sum(share == 0 for share in shares)])
    return pandas.DataFrame(
        table, columns=["task", "questions", "rationales", "accuracy", "low", "high", "words", "none_right"]
    )


def votes(rows: Iterable[Rationale], task: Task) -> pandas.DataFrame:
    """Questions by whether their rationales agree on an answer and whether the most frequent answer is right.

    Columns: agreement, majority, questions. Rationales without an answer do not vote; a tie goes to the first answer.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for drawn in _by_question(rows).values():
        answers = [row.prediction for row in drawn if row.prediction is not None]
        kinds: list[str] = []
        for answer in answers:
            kinds.append(next((known for known in kinds if same_answer(task, known, answer)), answer))
        if not kinds:
            counts["no answer at all", "none"] += 1
            continue
        winner = Counter(kinds).most_common(1)[0][0]
        agreed = "all agree" if len(set(kinds)) == 1 and len(kinds) == len(drawn) else "they differ"
        counts[agreed, "right" if same_answer(task, winner, drawn[0].answer) else "wrong"] += 1
    table = [[*key, count] for key, count in sorted(counts.items())]
    return pandas.DataFrame(table, columns=["agreement", "majority", "questions"])


def right_by_wrong_steps(rows: Iterable[Rationale], task: Task) -> list[Rationale]:
    """Rationales with the right answer but a wrong arithmetic step or a contradicting conclusion."""
    settings = FilterSettings(arithmetic=True, conclusion=True)
    found = filters.apply([row for row in rows if row.correct], settings, {}, task)
    return [row for row in found if row.reason in ("arithmetic", "conclusion")]


@dataclass(frozen=True)
class Policy:
    """How many rationales to sample per question: `most`, or fewer once `until` are right (0: always `most`).

    With `whole`, a question that ends with fewer than `until` right rationales contributes none.
    """

    most: int
    until: int = 0
    whole: bool = False


def replay(rows: Iterable[Rationale], policy: Policy) -> tuple[int, list[Rationale]]:
    """Apply a policy to rationales already sampled; returns the number of samples used and the right ones kept.

    Raises InputError if a question has fewer rationales than the policy may use.
    """
    draws, kept = 0, []
    for drawn in _by_question(rows).values():
        if len(drawn) < policy.most:
            raise InputError(
                f"most must be <= the number of rationales of every question ({len(drawn)} for one), got {policy.most}"
            )
        right: list[Rationale] = []
        for row in drawn[: policy.most]:
            draws += 1
            right += [row] if row.correct else []
            if policy.until and len(right) == policy.until:
                break
        kept += right if len(right) >= policy.until or not policy.whole else []
    return draws, kept


def policy_table(rows: Sequence[Rationale], policies: Mapping[str, Policy], hard: Iterable[str]) -> pandas.DataFrame:
    """Cost and bias of sampling policies.

    Columns: policy, draws (samples), kept (right rationales), draws_for_each (samples per kept rationale), questions
    (covered), hard_questions, hard_share (percentage of kept rationales). `hard` are the ids of questions the teacher
    finds hard; a share below their share of the data is a bias towards easy questions.
    """
    hard = set(hard)
    table = []
    for name, policy in policies.items():
        draws, kept = replay(rows, policy)
        covered = {row.question_id for row in kept}
        share = 100 * sum(row.question_id in hard for row in kept) / max(1, len(kept))
        table.append([name, draws, len(kept), draws / max(1, len(kept)), len(covered), len(covered & hard), share])
    columns = ["policy", "draws", "kept", "draws_for_each", "questions", "hard_questions", "hard_share"]
    return pandas.DataFrame(table, columns=columns)


def lengths(rows: Iterable[Rationale]) -> pandas.DataFrame:
    """The table for `length_histogram`: source, correct and words of each rationale."""
    table = [[row.source, row.correct, len(row.rationale.split())] for row in rows]
    return pandas.DataFrame(table, columns=["source", "correct", "words"])


def agreement(rows: Iterable[Rationale]) -> pandas.DataFrame:
    """The table for `agreement_chart`: per source, the number of questions with `correct` of `samples` right.

    Questions without a rationale from a source are not counted for it.
    """
    tally: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        tally.setdefault((row.source, row.question_id), []).append(row.correct)
    table = pandas.DataFrame(
        [[source, len(right), sum(right)] for (source, _), right in tally.items()],
        columns=["source", "samples", "correct"],
    )
    return table.groupby(["source", "samples", "correct"], sort=True).size().reset_index(name="questions")


def coverage(rows: Iterable[Rationale], questions: Iterable[str]) -> pandas.DataFrame:
    """The table for `coverage_chart`: how many of the questions (ids) have a kept rationale, by source.

    Raises InputError for a rationale of a question that is not in `questions`.
    """
    sources: dict[str, set[str]] = {question: set() for question in questions}
    for row in rows:
        if row.question_id not in sources:
            raise InputError(
                f"rationale {row.id}: its question {row.question_id} is not in `questions`; pass all questions"
            )
        if row.kept:
            sources[row.question_id].add(row.source)
    kinds = {"teacher only": {"teacher"}, "both": {"teacher", "mentor"}, "mentor only": {"mentor"}, "none": set()}
    table = [[name, sum(found == kind for found in sources.values())] for name, kind in kinds.items()]
    frame = pandas.DataFrame(table, columns=["covered_by", "questions"])
    return frame.assign(share=100 * frame["questions"] / max(1, len(sources)))
