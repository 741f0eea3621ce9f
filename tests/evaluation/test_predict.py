"""Predictions for questions with known answers, the dev score, and answers to new questions."""

import json

import pytest
import tiny

from mentor_kd.data.rationales import new_question
from mentor_kd.data.tasks import TASKS
from mentor_kd.evaluation import predict as predicting
from mentor_kd.evaluation.metrics import DevScore, accuracy
from mentor_kd.evaluation.predict import dev_score, predictions
from mentor_kd.files import InputError, RunFailed
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


def test_evaluation_ends_once_the_best_cannot_be_reached(loaded, asked):
    questions, calls = asked
    assert dev_score(loaded, questions, TASK, GREEDY, 95.0) == DevScore(90.0, exact=False)
    assert len(calls) == 1 and len(calls[0]) == 4  # the first batch has the longest questions, and the wrong answer
    assert dev_score(loaded, questions, TASK, GREEDY, 90.0) == DevScore(90.0)  # an epoch that is as good is later


# the place of the answers is checked first, and answers that cannot be written are not lost


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "must end in .csv or .jsonl, got '.txt'"),
        ("none/a.csv", "folder .*none does not exist; create it first"),
        ("folder.csv", "exists and is not a regular file"),
        ("a.txt/a.csv", "does not exist"),
        ("/proc/a.csv", "folder /proc cannot be written to"),
    ],
)
def test_a_place_for_answers_that_cannot_be_used_is_refused_first(tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=message):
        predicting.check_out(str(tmp_path / name))


def test_a_place_for_answers_is_left_as_it_was(tmp_path):
    predicting.check_out(str(tmp_path / "a.csv"))
    predicting.check_out(None)
    assert not list(tmp_path.iterdir())


ROW = {"question": "Q?", "prediction": "1", "rationale": "a\x1b[31m", "miss": ""}


def test_answers_that_cannot_be_written_are_printed(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predicting, "write_jsonl", full)
    with pytest.raises(
        RunFailed, match="a.jsonl: cannot be written .No space left on device.; the answers were printed"
    ):
        predicting.write_answers([ROW, ROW], tmp_path / "a.jsonl")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [ROW, ROW]


def test_answers_show_no_control_characters_in_a_terminal(capsys):
    predicting.write_answers([ROW], None)
    assert capsys.readouterr().out == "Q: Q?\n   a\\x1b[31m\nA: 1\n\n"


def test_questions_in_a_file_must_be_texts(tmp_path):
    for line, message in (('{"question": null}', "got None"), ('{"question": 3}', "got 3"), ('{"q": "a"}', "missing")):
        (tmp_path / "q.jsonl").write_text(f"{line}\n")
        with pytest.raises(InputError, match=f"line 1.*{message}"):
            predicting.read_list(tmp_path / "q.jsonl")
    (tmp_path / "q.txt").write_bytes("\ufeffWhat\u2028now?\r\rThen?\r".encode())
    assert predicting.read_list(tmp_path / "q.txt") == ["What\u2028now?", "Then?"]


@pytest.mark.parametrize("shape", ["llama", "gpt2", "t5"])
def test_a_question_that_fills_the_model_is_named(tmp_path, shape):
    folder = tiny.SHAPES[shape](tmp_path / "m")
    card = {"task": {"name": "mine", "answer_type": "text"}, "max_new_tokens": 2}
    (folder / "model_card.json").write_text(json.dumps(card))
    long = "Ann has 3 pens. " * 200
    if shape == "t5":  # its positions are relative
        assert len(predicting.predict(folder, ["Who?", long])) == 2
    else:
        with pytest.raises(InputError, match="question 2 has [0-9]+ tokens, but the model reads at most 512"):
            predicting.predict(folder, ["Who?", long])
    (folder / "model_card.json").write_text(json.dumps(card | {"max_new_tokens": 10**9}))
    with pytest.raises(InputError, match="model_card.json: max_new_tokens must be <= 32768, got 1000000000"):
        predicting.predict(folder, ["Who?"])
