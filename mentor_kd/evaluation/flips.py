"""Flips: the test questions that exactly one of two methods answers correctly.

Questions that both methods get right, or both wrong, do not show which method is better. A paired test rests on the
others only, and they are few enough to read one by one.
"""

from collections.abc import Iterable, Mapping

import pandas

from ..files import InputError
from .metrics import correctness, holm_column, mcnemar

COUNTS = ["task", "a", "b", "seed", "only a", "only b", "both", "neither", "p", "p_holm"]


def _by_model(rows: Iterable[Mapping]) -> dict[tuple, list[Mapping]]:
    models: dict[tuple, list[Mapping]] = {}
    for row in rows:
        models.setdefault((row["task"], row["method"], row["seed"]), []).append(row)
    return models


def counts(rows: Iterable[Mapping], pairs: Iterable[tuple[str, str, str]]) -> pandas.DataFrame:
    """McNemar's four counts of each (task, a, b) on each seed that both methods have, with exact p-values.

    `rows` are predictions with task, method and seed, as returned by report.run_report.predictions. Columns: task, a,
    b, seed, only a, only b, both, neither (numbers of questions right), p, p_holm (Holm-corrected over all rows).
    """
    right = {key: correctness(group) for key, group in _by_model(rows).items()}
    lines = []
    for task, a, b in pairs:
        for one, method, seed in right:
            if (one, method) == (task, a) and (task, b, seed) in right:
                found = mcnemar(right[task, a, seed], right[task, b, seed])
                lines.append([task, a, b, seed, found.only_a, found.only_b, found.both, found.neither, found.p])
    frame = pandas.DataFrame(lines, columns=COUNTS[:-1])
    return frame.assign(p_holm=holm_column(frame["p"]))


def by_question(rows: Iterable[Mapping], task: str, a: str, b: str) -> pandas.DataFrame:
    """The test questions on which a and b differ, over the seeds both have, sorted by the gain of b.

    Columns: id, answer (gold), a right, b right (numbers of seeds), gain (b right - a right), flips (seeds on which
    exactly one is right), seeds. A question whose wins and losses cancel over the seeds has gain 0 and is listed.
    Raises InputError if a and b have no seed in common.
    """
    models = {key: group for key, group in _by_model(rows).items() if key[0] == task}
    seeds = sorted({seed for _, m, seed in models if m == a} & {seed for _, m, seed in models if m == b})
    if not seeds:
        raise InputError(f"{task}: {a} and {b} have no seed in common; run both with the same seeds")
    right = {method: [correctness(models[task, method, seed]) for seed in seeds] for method in (a, b)}
    gold = {row["id"]: row["answer"] for row in models[task, a, seeds[0]]}
    lines = []
    for key in right[a][0]:
        one, other = ([found[key] for found in right[method]] for method in (a, b))
        flips = sum(x != y for x, y in zip(one, other, strict=True))
        if flips:
            lines.append([key, gold[key], sum(one), sum(other), sum(other) - sum(one), flips, len(seeds)])
    columns = ["id", "answer", f"{a} right", f"{b} right", "gain", "flips", "seeds"]
    frame = pandas.DataFrame(lines, columns=columns)
    return frame.sort_values(["gain", "flips"], ascending=False, kind="stable").reset_index(drop=True)


def reasoning(rows: Iterable[Mapping], question: str, methods: Iterable[str], seed: int | None = None) -> str:
    """The students' answers to a question (its id) as plain text: for each method its answer, verdict and reasoning.

    Shows the given seed, or by default the first seed on which the methods differ. Model output is quoted, never
    rendered. Raises InputError if no common seed has an answer from every method.
    """
    methods = list(methods)
    found: dict[int, dict[str, Mapping]] = {}
    for row in rows:
        if row["id"] == question and row["method"] in methods:
            found.setdefault(row["seed"], {})[row["method"]] = row
    found = {key: group for key, group in sorted(found.items()) if len(group) == len(methods)}
    if seed is None:
        differing = [key for key, group in found.items() if len({_right(row) for row in group.values()}) > 1]
        seed = next(iter(differing or found), None)
    if seed not in found:
        raise InputError(f"question {question}: {', '.join(methods)} must all have answered it on one seed")
    lines = [f"gold answer {found[seed][methods[0]]['answer']!r}, seed {seed}"]
    for method in methods:
        row = found[seed][method]
        lines.append(f"{method}: {row['prediction']!r}, {'right' if _right(row) else 'wrong'}")
        lines.append(f"   {row['text']!r}")
    return "\n".join(lines)


def _right(row: Mapping) -> bool:
    return row["paper_correct" if row.get("protocol") == "paper" else "correct"]
