"""A notebook opened with a run's name alone has the run's own parameters; the smoke size is the tests'."""

import pytest

from mentor_kd.files import write_text
from mentor_kd.pipeline import sizes
from mentor_kd.runs import adopt, notebooks

MENTOR = "02_train_mentor"


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(tmp_path))
    monkeypatch.delenv(sizes.SMOKE_VARIABLE, raising=False)
    return tmp_path


def defaults(name: str) -> dict:
    return {key: facts["default"] for key, facts in notebooks.known_parameters(name).items()}


def test_untouched_parameters_are_the_runs_own(reports):
    (reports / "mine").mkdir()
    write_text(
        reports / "mine" / "params.yaml", "run: mine\ntasks: [sandbox-dates]\nmentor_epochs: 20\nmentor_seed: 4\n"
    )
    said = []
    given = defaults(MENTOR) | {"run": "mine", "mentor_seed": 7}
    found = adopt.adopted(MENTOR, given, said.append)
    assert (found["mentor_epochs"], found["task"], found["mentor_seed"]) == (20, "sandbox-dates", 7)
    assert "mentor_epochs = 20" in said[0] and "mentor_seed" not in said[0]


def test_a_run_without_parameters_changes_nothing(reports):
    said = []
    assert adopt.adopted(MENTOR, defaults(MENTOR) | {"run": "new"}, said.append) == defaults(MENTOR) | {"run": "new"}
    assert not said


def test_the_smoke_size_replaces_defaults_only(reports, monkeypatch):
    monkeypatch.setenv(sizes.SMOKE_VARIABLE, "1")
    found = adopt.adopted(MENTOR, defaults(MENTOR) | {"mentor_epochs": 5})
    assert (found["run"], found["mentor"], found["mentor_epochs"]) == ("smoke", "sandbox-small", 5)


@pytest.mark.parametrize("name", [one for one in (*notebooks.PER_TASK, notebooks.STUDENTS)])
def test_the_defaults_are_the_quick_size(name):
    found = defaults(name)
    assert {key: found[key] for key in found if key in sizes.QUICK} == {
        k: v for k, v in sizes.QUICK.items() if k in found
    }


def test_the_quick_run_has_the_quick_size():
    params = notebooks.read_parameters(notebooks.NOTEBOOKS / "params" / "quick.yaml")
    same = {key: value for key, value in sizes.QUICK.items() if key in params and key != "seeds"}
    assert {key: params[key] for key in same} == same and params["seeds"][0] == 0
