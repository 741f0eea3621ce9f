"""What a mentor has memorised: its samples for the questions that it was trained on and for other questions.

A small mentor trained for many epochs repeats its training texts. Nearly all of its samples for those questions are
then right, although it answers few new ones, and its rationales add little to the teacher's. Repetition alone is no
proof of that: a task may leave little choice of words.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..data.rationales import Rationale

FAR = 20.0  # points between trained and other questions from which we say that a mentor has memorised
MANY = 50.0  # percent of samples that repeat a training text
REMEDY = "its rationales for them add little. Train it for fewer epochs or on more questions, or raise the temperature"


def measure(samples: Iterable[Rationale], trained_on: Iterable[Rationale]) -> dict[str, dict[str, int]]:
    """Counts of a mentor's samples by whether it was trained on a rationale of their question.

    Keys: trained and other; of each: questions, samples, right (with the gold answer), and repeated (with the rationale
    of a training text of the same question, word for word).
    """
    texts = {(row.question_id, row.rationale) for row in trained_on}
    known = {question for question, _ in texts}
    rows = list(samples)
    groups = {
        "trained": [row for row in rows if row.question_id in known],
        "other": [row for row in rows if row.question_id not in known],
    }
    return {
        name: {
            "questions": len({row.question_id for row in found}),
            "samples": len(found),
            "right": sum(row.correct for row in found),
            "repeated": sum((row.question_id, row.rationale) in texts for row in found),
        }
        for name, found in groups.items()
    }


def sentence(facts: Mapping[str, Mapping[str, int]], dev_accuracy: float | None) -> str:
    """What `measure` found, in words, with a remedy if the mentor has memorised its training questions.

    Without samples for other questions, the dev accuracy (percent, of greedy answers) takes their place.
    """
    trained, other = facts["trained"], facts["other"]
    if not trained["samples"]:
        return "The mentor wrote nothing for the questions that it was trained on."
    right, repeated = _percent(trained, "right"), _percent(trained, "repeated")
    found = (
        f"For the {trained['questions']} questions that it was trained on, {right:.1f}% of the mentor's samples are "
        f"right, and {repeated:.1f}% repeat a training text word for word"
    )
    if other["samples"]:
        elsewhere: float | None = _percent(other, "right")
        found += f"; for {other['questions']} other questions, {elsewhere:.1f}% are right"
    else:
        elsewhere = dev_accuracy
        found += f"; on dev it answers {elsewhere:.1f}%" if elsewhere is not None else ""
    if elsewhere is not None and right - elsewhere >= FAR:
        return f"{found}. It has memorised its training questions: {REMEDY}."
    if repeated >= MANY:
        return f"{found}. Samples that repeat the teacher add nothing: a higher temperature gives more variety."
    return f"{found}."


def _percent(counts: Mapping[str, int], name: str) -> float:
    return 100 * counts[name] / counts["samples"]


def of_mentor(augmented: Mapping[str, Any], mentor: Mapping[str, Any]) -> str:
    """The sentence from the manifests of an augmentation and its mentor; "" if another model wrote the texts."""
    if "memorisation" not in augmented:
        return ""
    return sentence(augmented["memorisation"], mentor["training"]["dev_accuracy"])
