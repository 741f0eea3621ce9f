"""Your own data as a task: the sentence about whether the mentor has learned it."""

import pytest

from mentor_kd.data.rationales import Question, write_questions
from mentor_kd.files import write_json, write_jsonl
from mentor_kd.pipeline.own_task import mentor_verdict, name_of


def mentor(folder, right: tuple[float, float, float], dev: list[float]):
    """A folder with 3 of 4 training and 1 of 2 test answers "7", and a mentor with these accuracies."""
    answers = {"train": ["7", "7", "7", "8"], "test": ["7", "9"]}
    rows = [
        Question(f"{split}{i}", "mine", f"{split} {i}?", answer, split)
        for split, given in answers.items()
        for i, answer in enumerate(given)
    ]
    write_questions(folder / "collected" / "questions.jsonl", rows)
    value, low, high = right
    test = {"value": value, "low": low, "high": high, "n": 2}
    write_json(folder / "mentor" / "manifest.json", {"parameters": 1000, "test": test})
    metrics = [{"step": i, "dev_accuracy": value} for i, value in enumerate(dev)]
    write_jsonl(folder / "mentor" / "metrics.jsonl", [{"step": 0, "loss": 2.0}, *metrics])
    return mentor_verdict(folder)


def test_a_mentor_above_the_most_frequent_answer_has_learned(tmp_path):
    said = mentor(tmp_path, (90.0, 51.0, 99.0), [10.0, 90.0])
    assert said == (
        "the mentor (1,000 parameters) answers 90.0% of 2 test questions correctly (51.0 to 99.0); "
        "always answering '7' would give 50.0%"
    )


@pytest.mark.parametrize("dev", [[0.0, 0.0, 0.0], [40.0, 50.0, 50.0], [60.0, 50.0, 55.0], [], [30.0]])
def test_a_mentor_that_no_longer_improves_is_too_small(tmp_path, dev):
    said = mentor(tmp_path, (60.0, 50.0, 70.0), dev)
    assert "too small for these data, or 4 training questions are too few" in said and "more epochs" not in said


def test_a_mentor_that_still_improves_is_trained_for_longer_first(tmp_path):
    said = mentor(tmp_path, (20.0, 5.0, 40.0), [0.0, 5.0, 20.0])
    assert said.endswith("Its dev accuracy was still rising (20.0% at the end): train it for more epochs first")


def test_a_task_is_named_after_its_data():
    assert name_of("hub:openai/gsm8k:main") == "gsm8k" and name_of("data/My Questions.csv") == "my-questions"
