"""What `data look` prints about your own data: what was recognised, what was left out and why, and three examples.

Nothing is written. `pipeline.collect.look_text` gives the whole text about what a collection would contain.
"""

from collections import Counter
from collections.abc import Sequence

from .answers import MARKER
from .rationales import Question, Rationale, target
from .table import Table
from .tasks import Task

EXAMPLES = 3
LONGEST = 2000  # characters of a question or rationale that are shown; a target is shown whole
REASONS = 8  # reasons for rows left out that are listed


def looked(table: Table, task: Task, why: str, questions: Sequence[Question], note: str) -> str:
    """The look at a table and its questions as split, with a `note` on that.

    `why` says what the answer type was guessed from; "" if it was given.
    """
    chosen = f" (guessed: {why}; set answer_type if it is another)" if why else ""
    letters = f", letters {task.choices}" if task.answer_type == "choice" else ""
    lines = [f"recognised: {one}" for one in table.said]
    lines += [f"answer type: {task.answer_type}{letters}{chosen}", _rows(table)]
    lines += _left_out(table)
    counts = Counter(question.split for question in questions)
    lines += ["questions: " + ", ".join(f"{counts[split]} {split}" for split in ("train", "dev", "test")) + note]
    lines += _rationales(table)
    return "\n".join([*lines, *_examples(table, questions)])


def _rows(table: Table) -> str:
    lost = sum(map(len, table.left_out.values()))
    return f"rows: {table.rows} read, {table.rows - lost} used, {lost} left out"


def _left_out(table: Table) -> list[str]:
    reasons = sorted(table.left_out.items(), key=lambda one: -len(one[1]))
    lines = [
        f"  {len(places)} x {reason}: {', '.join(places[:3])}{' ...' if len(places) > 3 else ''}"
        for reason, places in reasons[:REASONS]
    ]
    rest = reasons[REASONS:]
    return lines + ([f"  {sum(len(places) for _, places in rest)} for {len(rest)} other reasons"] if rest else [])


def _rationales(table: Table) -> list[str]:
    rows = table.rationales
    if not rows:
        return ["rationales: none; a teacher has to write them"]
    taken = sum(row.correct and bool(row.miss) for row in rows)
    missed = sum(row.prediction is None and not row.correct for row in rows)
    right = sum(row.correct for row in rows)
    line = f"rationales: {len(rows)}, of which {right} conclude with the gold answer, {len(rows) - right - missed} with"
    line += f" another, {missed} with none that can be read"
    lines = [line]
    if taken:
        lines += [f"  {taken} state no answer and count as concluding with the gold answer"]
    if table.end_tokens:
        lines += [f"  {table.end_tokens} special tokens, such as </s>, were removed from their ends"]
    return lines


def _examples(table: Table, questions: Sequence[Question]) -> list[str]:
    """Training questions, those with a correct rationale first, each with the text that a model is trained to write."""
    first: dict[str, Rationale] = {}
    for row in table.rationales:
        if row.correct:
            first.setdefault(row.question_id, row)
    train = [question for question in questions if question.split == "train"]
    chosen = sorted(train, key=lambda question: question.id not in first)[:EXAMPLES]
    lines = []
    for number, question in enumerate(chosen, 1):
        best = first.get(question.id)
        lines += [
            "",
            f"example {number}",
            f"  question:    {_short(question.question)}",
            f"  gold answer: {question.answer}",
            f"  rationale:   {_short(best.rationale) if best else 'none'}",
            f"  target:      {target(best) if best else f'{MARKER} {question.answer}'}",
        ]
    return lines


def _short(text: str) -> str:
    rest = f" ... ({len(text)} characters)" if len(text) > LONGEST else ""
    return text[:LONGEST] + rest
