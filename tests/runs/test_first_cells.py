"""Each notebook checks all its parameters in its first cell, by the check that a run uses, before anything is made."""

import nbformat
import pytest

from mentor_kd.files import InputError, reports_root
from mentor_kd.pipeline import parameters
from mentor_kd.runs.notebooks import NOTEBOOKS

START = {"run": "x", "task": "sandbox-sums"}
STUDENTS = "06_distill_student"


def begin(notebook: str, **given) -> None:
    """Run the parameters cell and the first cell after it, with these parameters injected as papermill does."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    first, second = [cell.source for cell in cells if cell.cell_type == "code"][:2]
    space: dict = {}
    exec(first, space)
    space |= {name: value for name, value in (START | given).items() if name in space}
    exec(second, space)


@pytest.mark.parametrize(
    ("notebook", "given", "words"),
    [
        (
            STUDENTS,
            {"seeds": "[0,1]"},
            "seeds must be a non-empty list of integers, got the text '[0,1]'; with papermill write "
            '-y "seeds: [0, 1]" or a file with -f',
        ),
        (
            STUDENTS,
            {"methods": "vanilla-kd"},
            "got the text 'vanilla-kd'; with papermill write -y \"methods: [vanilla-kd]\"",
        ),
        (STUDENTS, {"methods": "[vanilla-kd]"}, 'write -y "methods: [vanilla-kd]" or'),
        (STUDENTS, {"methods": "('vanilla-kd', 'mentor-kd')"}, 'write -y "methods: [vanilla-kd, mentor-kd]" or'),
        (STUDENTS, {"seeds": ["0", "1"]}, "seeds[0] must be an integer, got '0'"),
        (STUDENTS, {"seeds": [0, "1"]}, "seeds[1] must be an integer, got '1'"),
        (STUDENTS, {"seeds": [0, 0]}, "seeds[1] repeats 0"),
        (STUDENTS, {"methods": ["vanilla-kd", "vanilla-kd"]}, "methods[1] repeats 'vanilla-kd'"),
        (STUDENTS, {"methods": ["sorcery"]}, "methods must be one of"),
        (STUDENTS, {"max_length": 0}, "max_length must be an integer >= 1"),
        (STUDENTS, {"student": ""}, "student must be a non-empty string"),
        (STUDENTS, {"report_to": "tensorboard"}, 'write -y "report_to: [tensorboard]" or'),
        (STUDENTS, {"learning_rate": "fast"}, "learning_rate must be a number > 0 and < 1, got 'fast'"),
        ("00_tour", {"run": True}, "run must be a string, got True (YAML reads on, off"),
        ("01_collect_rationales", {"coverage": 90}, "coverage must be a number > 0 and <= 1"),
        ("01_collect_rationales", {"task": "no-such-task"}, "no-such-task"),
        ("02_train_mentor", {"mentor": ""}, "mentor must be a non-empty string"),
        ("02_train_mentor", {"report_to": ["sorcery"]}, "report_to must be one of tensorboard, trackio, wandb, mlflow"),
        ("03_augment_rationales", {"backend": "abacus"}, "abacus"),
        ("04_inspect_and_filter", {"who": 3}, "who must be a string, got 3"),
        ("05_look_inside_soft_labels", {"lens_rationales": 0}, "lens_rationales must be an integer >= 1"),
        ("07_chart_accuracy", {"tasks": "[a, b]"}, 'write -y "tasks: [a, b]" or'),
        ("07_chart_accuracy", {"tasks": ["a", "a"]}, "tasks[1] repeats 'a'"),
        ("20_bring_your_own_task", {"samples": 0}, "samples must be an integer >= 1"),
    ],
)
def test_a_bad_parameter_is_refused_in_the_first_cell(notebook, given, words):
    with pytest.raises(InputError) as error:
        begin(notebook, **given)
    assert words in str(error.value)
    assert not list(reports_root().iterdir())


@pytest.mark.parametrize("notebook", parameters.CHECKS)
def test_every_notebook_of_the_story_calls_the_check(notebook, monkeypatch):
    class Called(Exception):
        pass

    def check(name, given):
        raise Called(name, given["run"])

    monkeypatch.setattr(parameters, "check", check)
    with pytest.raises(Called) as called:
        begin(notebook)
    assert called.value.args == (notebook, "x")


def test_a_learning_rate_that_papermill_reads_as_text_is_a_number():
    given = {"learning_rate": "2e-5", "mentor_learning_rate": "3e-4", "soft_label_weight": "5e-1"}
    assert parameters.student_settings(given).learning_rate == 2e-5
    assert parameters.student_settings(given).loss.soft_label_weight == 0.5
    assert parameters.mentor_settings(given).learning_rate == 3e-4
    assert parameters.filter_settings({"min_confidence": "-5e-1"}).min_confidence == -0.5
    assert parameters.augmenter({"augmenter": "local", "augmenter_model": "1e3"}).ask.model == "1e3"
