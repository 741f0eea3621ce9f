"""Each notebook runs alone from nothing, is committed clean, and its parameters are those of the quick size."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

from mentor_kd.files import ROOT
from mentor_kd.pipeline import sizes
from mentor_kd.runs import notebooks

BOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def read(name: str):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def defaults(name: str) -> dict:
    return {key: facts["default"] for key, facts in notebooks.known_parameters(name).items()}


def test_the_story_is_complete():
    assert [name[:2] for name in BOOKS] == [
        "00",
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "07",
        *("10", "11", "12", "13", "14", "15"),
        "20",
        "30",
        "90",
    ]


@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_is_clean_and_readable(name):
    book = read(name)
    nbformat.validate(book)
    assert "widgets" not in book.metadata and "papermill" not in book.metadata
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "execute it afresh"
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings were left in the outputs"
    assert str(ROOT) not in nbformat.writes(book) and "/tmp/" not in nbformat.writes(book)
    headings = [c for c in book.cells if c.cell_type == "markdown" and re.match(r"# ", c.source)]
    assert len(headings) == 1 and book.cells[0] is headings[0]
    tagged = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1 and tagged[0] is code[0]
    assert all(len(cell.source.splitlines()) <= 30 for cell in code[1:])  # parameters are a list, one a line
    figures = [
        i for i, c in enumerate(book.cells) if any("image/png" in o.get("data", {}) for o in c.get("outputs", []))
    ]
    for index in figures:
        assert "**What to see.**" in book.cells[index + 1].source, f"cell {index}: say what to see in the figure"


def test_every_parameter_has_a_type_and_help_and_means_the_same_everywhere():
    seen: dict[str, tuple] = {}
    for name in BOOKS:
        for key, facts in notebooks.known_parameters(name).items():
            assert facts["type"] in notebooks.TYPES, f"{name}: {key} has no plain type"
            assert facts["help"], f"{name}: {key} has no comment"
            assert seen.setdefault(key, facts["type"]) == facts["type"], key


@pytest.mark.parametrize("name", BOOKS)
def test_papermill_sees_every_parameter(name):
    """Its inspector is a regular expression: a default or a comment with an equals sign hides the whole line."""
    cell = next(cell for cell in read(name).cells if "parameters" in cell.metadata.get("tags", []))
    assert re.findall(r"^(\w+):", cell.source, re.M) == list(notebooks.known_parameters(name))


@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_imports_the_package_in_one_or_two_lines(name):
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    lines = re.findall(r"^(?:import mentor_kd|from mentor_kd[\w.]* import).*$", code, re.M)
    assert 1 <= len(lines) <= 2, lines


def test_the_defaults_are_those_of_the_quick_size():
    for name in BOOKS[:8]:
        found = defaults(name)
        assert {key: value for key, value in found.items() if key in sizes.QUICK} == {
            key: value for key, value in sizes.QUICK.items() if key in found
        }, name


def outputs_of(name: str) -> str:
    """The texts and tables that a reader of the committed notebook sees."""
    parts = []
    for cell in read(name).cells:
        for output in cell.get("outputs", []):
            parts.append(output.get("text", "") or "")
            parts += [str(output.get("data", {}).get(kind, "")) for kind in ("text/plain", "text/markdown")]
    return "\n".join(parts)


def accuracies(name: str) -> dict[str, float]:
    """Method -> accuracy in percent, from the committed tables of a notebook: rows such as `mentor-kd ... 73.6 ...`."""
    found: dict[str, list[float]] = {}
    for line in outputs_of(name).splitlines():
        match = re.match(r"\s*(?:\d+\s+)?(?:sandbox-\w+\s+)?(mentor-kd|vanilla-kd|mentor)\s", line)
        numbers = re.findall(r"(?<![\w.])(\d{1,3}\.\d)(?![\w.])", line)
        if match and numbers:
            found.setdefault(match[1], []).append(float(numbers[0]))
    return {method: max(values) for method, values in found.items()}


def test_the_committed_notebooks_show_real_results():
    mentor = re.search(r"(\d+\.\d)% of 300 test questions", outputs_of("02_train_mentor"))
    assert mentor and float(mentor[1]) > 50
    counts = re.search(r"^mentor +900 +(\d+) ", outputs_of("03_augment_rationales"), re.M)
    assert counts and int(counts[1]) > 100  # kept rationales of the mentor
    for name in ("06_distill_student", "07_chart_accuracy"):
        found = accuracies(name)
        assert found["mentor-kd"] > found["vanilla-kd"] > 0, name
    for name in BOOKS[:8]:
        assert not re.search(r"\b(\w{2,})(?: and \1){2,}", outputs_of(name)), f"{name}: a model that repeats a word"
        assert min(accuracies(name).values(), default=1) > 0, f"{name}: an accuracy of 0.0"


@pytest.mark.parametrize("name", BOOKS)
def test_no_committed_notebook_is_large(name):
    assert (ROOT / "notebooks" / f"{name}.ipynb").stat().st_size < 400_000


@pytest.mark.parametrize("name", BOOKS)
def test_a_notebook_runs_alone(name, tmp_path):
    """nbval, with a reports folder of its own: as on a clean checkout."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-cell-timeout=120"]
    environment = {**os.environ, "MENTOR_KD_REPORTS": str(tmp_path), sizes.SMOKE_VARIABLE: "1"}
    done = subprocess.run(
        [*command, f"{name}.ipynb"], cwd=ROOT / "notebooks", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)
