"""Fixtures of the tests of runs."""

import pytest
from run_books import BASE, MADE, notebook

from mentor_kd.runs import notebooks


@pytest.fixture
def books(tmp_path, monkeypatch):
    """A folder of small, fast notebooks that replace the real ones."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(notebooks, "NOTEBOOKS", folder)
    for name in notebooks.PER_TASK:
        notebook(folder, name, BASE + f"epochs_{name[:2]}: int = 2  # passes\n", "1 + 1")
    notebook(
        folder,
        notebooks.STUDENTS,
        BASE + "learning_rate: float = 3.0e-4  # rate\nseeds: list = [0]  # seeds\nfast: bool = True  # quick\n"
        'methods: list = ["vanilla-kd"]  # methods\n',
        MADE + "print(place)",
    )
    notebook(folder, notebooks.LENS, BASE + 'lens_student: str = ""  # a student\n', "1 + 1")
    notebook(folder, notebooks.CHART, 'run: str = "smoke"  # the run\ntasks: list = []  # the tasks\n', "len(tasks)")
    return folder
