"""Predictions for questions with known answers, and the dev score."""

import pytest
import tiny

from mentor_kd.data.rationales import new_question
from mentor_kd.data.tasks import TASKS
from mentor_kd.evaluation import predict as predicting
from mentor_kd.evaluation.metrics import DevScore, accuracy
from mentor_kd.evaluation.predict import dev_score, predictions
from mentor_kd.models import loading
from mentor_kd.models.generation import Sampling

TASK = TASKS["sandbox-letters"]
GREEDY = Sampling(max_new_tokens=8, batch_size=4)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return loading.load(tiny.llama(tmp_path_factory.mktemp("m") / "llama"))


@pytest.fixture
def asked(monkeypatch):
    """Ten questions of different lengths; the model answers all correctly except the second longest."""
    questions = [new_question(TASK.name, f"Question{' and' * i} {i}?", "a", "dev") for i in range(10)]
    calls = []

    def answers(loaded, asked, task, sampling):
        calls.append([question.question for question in asked])
        return [{"correct": question != questions[8]} for question in asked]

    monkeypatch.setattr(predicting, "predictions", answers)
    return questions, calls


def test_the_dev_score_is_the_accuracy_of_the_predictions(loaded):
    questions = [new_question(TASK.name, f"Word {i}?", "a", "dev") for i in range(6)]
    rows = predictions(loaded, questions, TASK, GREEDY)
    assert [row["id"] for row in rows] == [question.id for question in questions]
    assert dev_score(loaded, questions, TASK, GREEDY) == DevScore(accuracy(r["correct"] for r in rows).value)


def test_all_questions_are_asked_while_the_best_can_be_beaten(loaded, asked):
    questions, calls = asked
    assert dev_score(loaded, questions, TASK, GREEDY, 80.0) == DevScore(90.0)
    assert sorted(sum(calls, [])) == sorted(question.question for question in questions)


def test_evaluation_ends_once_the_best_cannot_be_beaten(loaded, asked):
    questions, calls = asked
    assert dev_score(loaded, questions, TASK, GREEDY, 90.0) == DevScore(90.0, exact=False)
    assert len(calls) == 1 and len(calls[0]) == 4  # the first batch has the longest questions, and the wrong answer
    assert dev_score(loaded, questions, TASK, GREEDY, 100.0) == DevScore(100.0, exact=False)
    assert len(calls) == 1
