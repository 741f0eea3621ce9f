"""What a mentor has memorised, counted by hand."""

from mentor_kd.data.rationales import judged, new_question
from mentor_kd.data.tasks import Task
from mentor_kd.evaluation import memorisation

TASK = Task("own", "number")


def texts(*written, source="mentor"):
    """Rationales from (question, text); the gold answer of every question is 7."""
    sampler = {"model": "m", "temperature": None, "top_k": None, "seed": None}
    return [
        judged(new_question("own", question, "7", "train"), text, source, {**sampler, "index": index}, TASK)
        for index, (question, text) in enumerate(written)
    ]


TAUGHT = texts(("a?", "3 + 4 = 7. --> 7"), ("b?", "5 + 2 = 7. --> 7"), source="teacher")
SAMPLES = texts(
    ("a?", "3 + 4 = 7. --> 7"),  # repeats its training text
    ("a?", "3 and 4 are 7. --> 7"),
    ("b?", "3 + 4 = 7. --> 7"),  # the text of another question
    ("b?", "5 + 2 = 8. --> 8"),
    ("c?", "6 + 1 = 7. --> 7"),
    ("c?", "6 + 1 = 9. --> 9"),
)


def test_counts_by_hand():
    assert memorisation.measure(SAMPLES, TAUGHT) == {
        "trained": {"questions": 2, "samples": 4, "right": 3, "repeated": 1},
        "other": {"questions": 1, "samples": 2, "right": 1, "repeated": 0},
    }


def test_a_mentor_that_is_much_worse_elsewhere_is_said_with_a_remedy():
    said = memorisation.sentence(memorisation.measure(SAMPLES, TAUGHT), None)
    assert "2 questions that it was trained on, 75.0%" in said and "25.0% repeat" in said
    assert (
        "1 other questions, 50.0% are right. It has memorised its training questions" in said and "fewer epochs" in said
    )


def test_without_other_questions_dev_takes_their_place():
    facts = memorisation.measure(SAMPLES[:4], TAUGHT)
    assert "on dev it answers 70.0%." in memorisation.sentence(facts, 70.0)
    assert "memorised" not in memorisation.sentence(facts, 70.0)
    assert "memorised" in memorisation.sentence(facts, 20.0)
    assert memorisation.sentence(facts, None).endswith("word for word.")


def test_repeating_most_training_texts_is_said_too():
    facts = memorisation.measure(SAMPLES[:1], TAUGHT)
    said = memorisation.sentence(facts, 100.0)
    assert "100.0% repeat" in said and "repeat the teacher add nothing" in said and "memorised" not in said


def test_a_mentor_that_wrote_only_for_other_questions():
    facts = memorisation.measure(SAMPLES[4:], TAUGHT)
    assert memorisation.sentence(facts, 50.0) == "The mentor wrote nothing for the questions that it was trained on."
