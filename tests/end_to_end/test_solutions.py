"""Each notebook with solutions runs alone from nothing, at the size of the tests."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from mentor_kd.files import ROOT
from mentor_kd.pipeline.sizes import SMOKE_VARIABLE

PLACE = ROOT / "notebooks" / "solutions"
BOOKS = sorted(path.stem for path in PLACE.glob("*.ipynb"))


def text(path) -> str:
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells)


def exercises(source: str) -> list[str]:
    """The titles of numbered exercises in a notebook, or of their solutions."""
    return re.findall(r"^(?:\*\*|## )\d\. (.+?)\.?(?:\*\*|$)", source, re.M)


def test_there_are_solutions():
    assert [name[:2] for name in BOOKS] == ["00", "01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("name", BOOKS)
def test_every_exercise_has_its_solution(name):
    [chapter] = (ROOT / "notebooks").glob(f"{name[:2]}_*.ipynb")
    asked = text(chapter).partition("## Exercises")[2]
    assert 3 <= len(exercises(asked)) <= 5
    assert f"(solutions/{name}.ipynb)" in asked
    assert exercises(text(PLACE / f"{name}.ipynb")) == exercises(asked)


@pytest.mark.parametrize("name", BOOKS)
def test_solutions_run_alone(name, tmp_path):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-cell-timeout=120"]
    environment = {**os.environ, "MENTOR_KD_REPORTS": str(tmp_path), SMOKE_VARIABLE: "1"}
    done = subprocess.run([*command, f"{name}.ipynb"], cwd=PLACE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
