"""Flips: the test questions that exactly one of two methods answers right, counted, listed and read.

Where both are right or both wrong, a question says nothing about which method is better. All that a paired test has to
go by are the others, and there are few of them: worth reading one by one.
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
    """McNemar's four counts of each (task, a, b) on each seed that both have, with exact p.

    `rows` are predictions as report.predictions gives them. Columns: task, a, b, seed, only a, only b, both, neither
    (questions right), p, and p_holm, corrected over all rows.
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
    """Each test question that a and b differ on, over the seeds that both have: the ones that b wins first.

    Columns: id, answer (gold), a right, b right (seeds), gain (b right - a right), flips (seeds on which exactly one is
    right), seeds. Where the wins and losses of a question balance over its seeds, the gain is 0 and it still flips.
    Raises InputError where a and b have no seed in common.
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
    """How students of these methods reasoned about a question (its id), for reading: verdict, answer, and text, quoted.

    Of one seed, or of the first on which not all of them are right or wrong alike. Plain text: what a model wrote is
    quoted, never rendered. InputError where the question was not asked.
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
        raise InputError(f"question {question}: {', '.join(methods)} did not all answer it on a common seed")
    lines = [f"gold answer {found[seed][methods[0]]['answer']!r}, seed {seed}"]
    for method in methods:
        row = found[seed][method]
        lines.append(f"{method}: {row['prediction']!r}, {'right' if _right(row) else 'wrong'}")
        lines.append(f"   {row['text']!r}")
    return "\n".join(lines)


def _right(row: Mapping) -> bool:
    return row["paper_correct" if row.get("protocol") == "paper" else "correct"]
