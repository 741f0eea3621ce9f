"""Parameters of a run are checked before anything starts, and each notebook gets its own."""

from dataclasses import replace

import pytest
import tiny
from run_books import TWO

from mentor_kd.files import ROOT, InputError, reports_root
from mentor_kd.models import names
from mentor_kd.runs import jobs, notebooks, run


def test_an_unknown_parameter_is_rejected_with_a_list_of_known_ones(books):
    with pytest.raises(InputError, match=r"'epochz' is not known to any notebook.*epochs_01.*learning_rate.*seeds"):
        run.plan({"run": "a", "epochz": 3})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("learning_rate", "1e-3", "must be of type float, got '1e-3' of type str .in YAML write numbers, true and"),
        ("epochs_01", 2.5, "must be of type int, got 2.5 of type float"),
        ("epochs_01", True, "must be of type int, got True of type bool"),
        ("fast", "false", "must be of type bool, got 'false' of type str"),
        ("seeds", 3, "must be of type list, got 3 of type int"),
        ("seeds", "[0,1]", r"must be of type list, got '\[0,1\]' of type str \(in YAML write a list as \[0, 1\], w"),
        ("tasks", "one", "tasks must be a non-empty list of strings, got the text 'one'"),
        ("tasks", ["one", 2], r"tasks\[1\] must be a string, got 2 \(YAML reads it as a number: put it in quotes"),
        (
            "run",
            True,
            "'run' must be of type str, got True of type bool .YAML reads on, off, yes and no without quotes",
        ),
        ("run", 2026, "'run' must be of type str, got 2026 of type int .YAML reads it as a number: put it in quotes"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected(books, name, value, words):
    with pytest.raises(InputError, match=words):
        run.plan({"run": "a", name: value})


def test_each_notebook_gets_the_parameters_it_knows_for_each_task(books):
    jobs = run.plan({"run": "a", "tasks": ["svamp", "gsm8k"], "seeds": [0, 1], "learning_rate": 0.5, "epochs_02": 7})
    assert [job.key for job in jobs][:6] == [
        *(
            "svamp/01_collect_rationales",
            "svamp/02_train_mentor",
            "svamp/03_augment_rationales",
            "svamp/04_inspect_and_filter",
        ),
        *("svamp/06_distill_student", "gsm8k/01_collect_rationales"),
    ]
    assert len(jobs) == 11
    assert jobs[1].parameters == {"run": "a", "task": "svamp", "epochs_02": 7}
    assert jobs[4].parameters == {"run": "a", "task": "svamp", "seeds": [0, 1], "learning_rate": 0.5}
    assert jobs[-1].parameters == {"run": "a", "tasks": ["svamp", "gsm8k"]}


def test_the_lens_runs_after_the_students_and_only_with_soft_labels(books):
    soft = run.plan({"run": "a", "methods": ["vanilla-kd", "mentor-kd"], "lens_student": "mentor-kd-seed1"})
    assert [job.notebook for job in soft][-3:] == [notebooks.STUDENTS, notebooks.LENS, notebooks.CHART]
    assert soft[-2].parameters == {"run": "a", "task": "sandbox-letters", "lens_student": "mentor-kd-seed1"}
    hard = run.plan({"run": "a", "methods": ["vanilla-kd"], "lens_student": "mentor-kd-seed1"})
    assert notebooks.LENS not in [job.notebook for job in hard]


def test_parameters_from_yaml_with_overrides(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("run: a\nseeds: [0]\n")
    assert notebooks.read_parameters(path, ["seeds=[1, 2]", "rate=1.0e-3"]) == {
        "run": "a",
        "seeds": [1, 2],
        "rate": 0.001,
    }
    path.write_text("run: a\nlearning_rate: 2e-5\ngrid: {rate: [1e-3, 2.5E-3]}\nname: '2e-5'\n")  # as YAML 1.2 and JSON
    assert notebooks.read_parameters(path, ["mentor_learning_rate=3e-4", "who='1e3'"]) == {
        "run": "a",
        "learning_rate": 2e-5,
        "grid": {"rate": [1e-3, 2.5e-3]},
        "name": "2e-5",
        "mentor_learning_rate": 3e-4,
        "who": "1e3",
    }
    with pytest.raises(InputError, match="name=value"):
        notebooks.read_parameters(path, ["seeds"])
    path.write_text("- a\n- b\n")
    with pytest.raises(InputError, match=r"p\.yaml must contain parameters and values"):
        notebooks.read_parameters(path)
    path.write_text("run: [a\n")
    with pytest.raises(InputError, match=r"p\.yaml, line 2: not valid YAML"):
        notebooks.read_parameters(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": "nope"}, "task must be one of .* got 'nope'"),
        ({"seeds": []}, "seeds must be a non-empty list"),
        ({"seeds": ["0"]}, r"seeds\[0\] must be an integer, got '0'"),
        ({"seeds": [0, 0]}, r"seeds\[1\] repeats 0, which is also seeds\[0\]; remove one"),
        ({"methods": ["mentor-kd", "mentor-kd"]}, r"methods\[1\] repeats 'mentor-kd'"),
        ({"tasks": ["sandbox-letters", "sandbox-letters"]}, r"tasks\[1\] repeats 'sandbox-letters'"),
        ({"tasks": []}, "tasks must be a non-empty list of strings"),
        (
            {"task": "sandbox-letters", "tasks": ["sandbox-sums"]},
            "give either task or tasks, got task 'sandbox-letters'",
        ),
        ({"cell_minutes": -1}, "cell_minutes must be a number >= 0"),
        ({"learning_rate": 5.0}, "learning_rate must be a number > 0 and < 1"),
        ({"tasks": ["sandbox-letters", "other"]}, "task must be one of .* got 'other'"),
    ],
)
def test_an_invalid_value_is_rejected_immediately(books, values, words):
    with pytest.raises(InputError, match=words):
        run.plan({"run": "a", **values})


def test_a_run_name_cannot_leave_the_reports_folder(books):
    with pytest.raises(InputError, match=r"run must be a folder name .*got '../x'"):
        run.plan({"run": "../x"})


def test_every_parameter_file_is_accepted_by_the_notebooks():
    files = sorted((ROOT / "notebooks" / "params").glob("*.yaml"))
    assert files
    for path in files:
        parameters = notebooks.read_parameters(path)
        if "grid" in parameters:  # a sweep: test_paper_grids
            continue
        if parameters.get("mentor") in names.FETCHABLE and not (names.models_root() / parameters["mentor"]).exists():
            notebooks.check_names(parameters, notebooks.PER_TASK + (notebooks.STUDENTS,))
            with pytest.raises(InputError, match="mentor-kd models fetch"):
                run.plan(parameters)
        elif path.name.startswith("bench-"):
            assert notebooks.check_names(parameters, ("90_measure_speed",)), path.name
        else:
            assert run.plan(parameters), path.name


def test_tokenizers_are_compared_before_anything_starts(tmp_path):
    mentor = str(tiny.gpt2(tmp_path / "gpt2"))
    with pytest.raises(
        InputError, match="same tokenizer for both models, but mentor .*gpt2.* and student 'sandbox-sma"
    ):
        run.plan({**TWO, "mentor": mentor, "methods": ["vanilla-kd", "mentor-kd"]})
    assert run.plan({**TWO, "mentor": mentor, "methods": ["vanilla-kd", "mentor-kd-no-sld", "self-mentor"]})
    assert run.plan({**TWO, "mentor": "sandbox-base", "methods": ["mentor-kd"]})


def test_a_dry_run_looks_at_your_own_data(tmp_path):
    path = tmp_path / "apples.csv"
    path.write_text("question,answer,rationale\n" + "".join(f"{i} and {i}?,{2 * i},it is {2 * i}\n" for i in range(20)))
    own = {"run": "x", "task": "apples", "data": str(path), "answer_type": "number"}
    (look,) = run.looks(run.plan(own))
    assert "rows: 20 read" in look and "example 1" in look
    assert run.looks(run.plan(TWO)) == [] and not list(reports_root().iterdir())


@pytest.mark.parametrize("wrong", [{"coverage": 90}, {"mentor": ""}, {"student": "  "}, {"samples": -1}])
def test_values_out_of_range_are_refused_before_anything_starts(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        run.plan({**TWO, **wrong})


def test_a_change_of_trackers_runs_nothing_again(tmp_path):
    one = jobs.Job("06_distill_student", tmp_path, {"run": "x", "seeds": [0]}, "x")
    other = replace(one, parameters={**one.parameters, "report_to": ["tensorboard"]})
    assert run._fingerprint(one, "") == run._fingerprint(other, "")
