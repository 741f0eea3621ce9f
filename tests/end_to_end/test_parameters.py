"""Notebooks outside the story refuse a bad value of any parameter before anything is computed."""

import math

import pytest

from mentor_kd.bench import parameters as bench
from mentor_kd.files import InputError
from mentor_kd.pipeline import parameters
from mentor_kd.pretraining import pretrain
from mentor_kd.runs import studies
from mentor_kd.runs.notebooks import NOTEBOOKS, known_parameters

STUDIES = {"10": "table4", "11": "figure3", "12": "figure5", "13": "figure6", "14": "figure7", "15": "figure4"}
BOOKS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb") if path.stem not in parameters.CHECKS)
KNOWN = {book: known_parameters(book) for book in BOOKS}
EVERY = [(book, name) for book, facts in KNOWN.items() for name in facts]
WRONG_TYPE = {"str": 3, "int": "many", "float": "much", "bool": "false", "list": "word"}
BAD = {  # of the right type
    "grid": ["nowhere", "", "smoke"],
    "changes": [["epochs"], ["epochs=0"], ["sorcery=1"], [3]],
    "run": ["../elsewhere", ""],
    "task": ["../elsewhere", "no-such-task"],
    "data": ["nowhere.csv"],
    "size": ["sandbox-huge"],
    "texts": ["poems"],
    "mentor": [""],
    "student": [""],
    "tokenizer": [""],
    "precision": ["float8"],
    "backends": [[], ["abacus"], [3]],
    "vocabularies": [[], [0], ["1"]],
    "positions": [[], [0], ["1"]],
    "cache_rows": [[], [0], ["1"]],
    "length": [100_000],
    "start": [],
    "target": [],
}


def check(book: str, given: dict) -> None:
    if book[:2] in STUDIES:
        studies.read(given["grid"], STUDIES[book[:2]], given["changes"])
    else:
        {"30": pretrain.from_parameters, "90": bench.check}[book[:2]](given)


def given(book: str, **more) -> dict:
    return {name: facts["default"] for name, facts in KNOWN[book].items()} | more


def test_every_notebook_is_here_or_in_the_story():
    assert [book[:2] for book in BOOKS] == ["10", "11", "12", "13", "14", "15", "30", "90"]


@pytest.mark.parametrize("book", BOOKS)
def test_a_notebooks_own_defaults_pass(book):
    check(book, given(book))


@pytest.mark.parametrize(("book", "name"), EVERY, ids=[f"{book[:2]}-{name}" for book, name in EVERY])
def test_every_parameter_with_a_bad_value_is_refused(book, name):
    kind = KNOWN[book][name]["type"]
    assert kind not in ("str", "list") or name in BAD, f"{name}: name a bad value of this parameter in this test"
    values = [WRONG_TYPE[kind], *BAD.get(name, [])]
    values += {"int": [-1, True, 1.5], "float": [-1.0, math.nan, math.inf, True]}.get(kind, [])
    for value in values:
        with pytest.raises(InputError) as error:
            check(book, given(book, **{name: value}))
        assert "\n" not in str(error.value), value


@pytest.mark.parametrize("book", BOOKS)
def test_the_first_cell_after_the_parameters_is_where_it_is_refused(book):
    """So papermill, too, stops before anything is computed."""
    import nbformat

    code = [cell for cell in nbformat.read(NOTEBOOKS / f"{book}.ipynb", as_version=4).cells if cell.cell_type == "code"]
    assert any(call in code[1].source for call in ("studies.read(", "from_parameters(globals())", "check(globals())"))
