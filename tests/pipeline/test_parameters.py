"""Parameters become settings in one place, and a bad value of any parameter is rejected there."""

import math

import pytest

from mentor_kd.files import InputError
from mentor_kd.pipeline import parameters
from mentor_kd.runs.notebooks import known_parameters

KNOWN = {notebook: known_parameters(notebook) for notebook in parameters.CHECKS}
EVERY = [(notebook, name) for notebook, facts in KNOWN.items() for name in facts]

WRONG_TYPE = {"str": 3, "int": "many", "float": "much", "bool": "false", "list": "word", "dict": "word"}
# Bad values of the right type, for parameters that do not allow every value of their type.
BAD = {
    "run": ["../elsewhere", ""],
    "task": ["../elsewhere", ""],
    "data": ["nowhere.csv", "hub:"],
    "columns": [{"colour": "x"}, {"question": 3}, {"question": "x"}, [], None],  # the sandbox has no columns
    "data_test": ["nowhere.csv", "hub:a b"],
    "answer_type": ["colour"],
    "dev_file": ["nowhere.json"],
    "last_letter_labels": ["mine"],
    "protocol": ["loud"],
    "share_of": ["words"],
    "teacher": ["nowhere.jsonl"],
    "base_url": ["ftp://example.org"],
    "key_env": ["sk-not-a-name"],
    "prompt": ["no-such-prompt"],
    "prices": ["nowhere.yaml"],
    "rationale_from": ["answer"],
    "mentor": [""],
    "student": [""],
    "precision": ["float8"],
    "prompt_format": ["html"],
    "backend": ["abacus"],
    "augmenter": ["nobody"],
    "augmenter_url": ["not an address"],
    "augmenter_key_env": ["sk-not-a-name"],
    "augmenter_prompt": ["no-such-prompt"],
    "lens_student": ["../elsewhere"],
    "coverage": [0.0, 1.5],
    "error_rate": [1.5, -0.5],
    "teacher_share": [0.0, 1.5],
    "rationales": [0],
    "most_asked": [0],
    "until_correct": [11],  # more than most_asked
    "test_seed": [],
    "top_p": [0.0, 1.5],
    "samples": [0],
    "methods": [[], ["sorcery"], [3]],
    "method": ["sorcery"],
    "seeds": [[], [-1], ["0"]],
    "tasks": [["../elsewhere"], [3]],
    "min_confidence": [0.5],
    "near_duplicates": [1.5],
    "soft_label_weight": [1.5],
    "soft_label_temperature": [0.0],
    "soft_label_beta": [1.5],
    "on_policy_share": [1.5],
    "on_policy_temperature": [0.0],
    "on_policy_beta": [1.5],
    "learning_rate": [0.0, 1.0],
    "report_to": [["sorcery"], [3], ["tensorboard", "tensorboard"]],
    "mentor_learning_rate": [0.0, 1.0],
}
FREE = {
    "teacher_model",
    "augmenter_model",
    "who",
    "answer_pattern",
    "answer_choices",
}  # any text is valid, or see below
NEGATIVE_ALLOWED = {"min_confidence"}  # a log-probability


def bad_values(notebook, name):
    kind = KNOWN[notebook][name]["type"]
    values = [WRONG_TYPE[kind], *BAD.get(name, [])]
    if (notebook, name) == (parameters.OWN, "task"):  # recognised from the data
        values.remove("")
    if kind == "int":
        values += [-1, True, 1.5]
    if kind == "float":
        values += [math.nan, math.inf, True]
        values += [] if name in NEGATIVE_ALLOWED else [-5.0]
    if kind == "str" and name not in FREE:
        assert name in BAD, f"{name}: add a bad value of this parameter to BAD"
    if kind == "list":
        assert name in BAD, f"{name}: add a bad value of this parameter to BAD"
    return values


def given(notebook, **more):
    return {name: facts["default"] for name, facts in KNOWN[notebook].items()} | more


@pytest.mark.parametrize("notebook", KNOWN)
def test_the_defaults_of_a_notebook_are_valid(notebook):
    parameters.check(notebook, given(notebook))


@pytest.mark.parametrize(("notebook", "name"), EVERY, ids=[f"{notebook[:2]}-{name}" for notebook, name in EVERY])
def test_every_parameter_rejects_a_bad_value(notebook, name):
    for value in bad_values(notebook, name):
        with pytest.raises(InputError) as error:
            parameters.check(notebook, given(notebook, **{name: value}))
        assert "\n" not in str(error.value), value
        if not name.endswith("key_env"):  # the value may be a key, so it is not repeated
            assert name.removesuffix("s") in str(error.value) or str(value) in str(error.value), (
                value,
                str(error.value),
            )


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer_type": "pattern", "answer_pattern": "("},
        {"answer_type": "pattern", "answer_pattern": ""},
        {"answer_type": "choice", "answer_choices": "aa"},
        {"teacher": "endpoint"},  # without a model and a base_url
        {"test_seed": 5, "data": "official"},
        {"task": "no-such-task"},
    ],
)
def test_parameters_that_contradict_each_other_are_rejected(wrong):
    with pytest.raises(InputError):
        parameters.check("01_collect_rationales", given("01_collect_rationales", **wrong))


@pytest.mark.parametrize(
    ("notebook", "values", "words"),
    [
        ("02_train_mentor", {"mentor_epochs": 0}, "mentor_epochs must be an integer >= 1, got 0"),
        ("02_train_mentor", {"accumulation": 3}, "batch_size 16 must be a multiple of accumulation, got 3"),
        ("03_augment_rationales", {"generation_batch": 0}, "generation_batch must be an integer >= 1, got 0"),
        ("06_distill_student", {"soft_label_beta": 2.0}, "soft_label_beta must be a number >= 0 and <= 1 (0 is KL"),
        ("06_distill_student", {"lora_merge": 1}, "lora_merge must be true or false, got 1"),
        ("06_distill_student", {"methods": ["sorcery"]}, "methods must be one of untuned, answer-only"),
    ],
)
def test_an_error_has_the_notebooks_name_of_the_parameter(notebook, values, words):
    with pytest.raises(InputError) as error:
        parameters.check(notebook, given(notebook, **values))
    assert words in str(error.value)


def test_a_missing_model_is_rejected_before_the_run():
    with pytest.raises(InputError, match="nowhere"):
        parameters.check_models({"mentor": "sandbox-small", "student": "./nowhere"})


def test_students_are_ordered_by_method():
    found = parameters.students(given("06_distill_student", methods=["mentor-kd", "vanilla-kd"], seeds=[3, 1]))
    assert [(method, one.seed) for method, one in found] == [
        ("mentor-kd", 3),
        ("mentor-kd", 1),
        ("vanilla-kd", 3),
        ("vanilla-kd", 1),
    ]
