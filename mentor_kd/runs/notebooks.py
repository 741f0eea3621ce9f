"""The notebooks of a run, their parameters as papermill reads them, and YAML files of parameters."""

import ast
from pathlib import Path

from ..checks import items_in, quotes_hint
from ..data import sources
from ..files import ROOT, InputError, read_yaml
from ..parsing import parse_yaml
from ..pipeline import parameters

NOTEBOOKS = ROOT / "notebooks"
PER_TASK = ("01_collect_rationales", "02_train_mentor", "03_augment_rationales", "04_inspect_and_filter")
STUDENTS = "06_distill_student"
LENS = "05_look_inside_soft_labels"
CHART = "07_chart_accuracy"
OWN_KEYS = {"tasks": "list", "cell_minutes": "float"}  # keys of a run's YAML that are not notebook parameters
# a keyword or a file
FILES = ("data", "data_test", "dev_file", "teacher", "augmenter", "prompt", "augmenter_prompt", "prices")
MODELS = ("mentor", "student", "tokenizer")  # a name or a folder
WITHOUT_EFFECT = ("report_to", "replace")  # parameters that do not change a result
TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}


def known_parameters(notebook: str) -> dict[str, dict]:
    """A notebook's parameters as papermill reads them: name -> type, default, help. InputError without the notebook."""
    import papermill

    path = NOTEBOOKS / f"{notebook}.ipynb"
    if not path.exists():
        raise InputError(f"{path}: no such notebook; set MENTOR_KD_HOME to the project's folder")
    try:
        found = papermill.inspect_notebook(str(path))
    except ValueError as error:
        raise InputError(f"{path}: papermill cannot read it ({error}); save the notebook again in JupyterLab") from None
    return {
        name: {
            "type": facts["inferred_type_name"],
            "default": ast.literal_eval(facts["default"]),
            "help": facts["help"],
        }
        for name, facts in found.items()
    }


def check_names(found: dict, notebooks: tuple[str, ...], known: dict[str, dict] | None = None) -> dict[str, dict]:
    """Split parameters by notebook. Raises InputError for an unknown name or a value of the wrong type."""
    known = known or {notebook: known_parameters(notebook) for notebook in notebooks}
    types = {name: facts["type"] for facts_of in known.values() for name, facts in facts_of.items()} | OWN_KEYS
    for name, value in found.items():
        if name not in types:
            raise InputError(
                f"parameter {name!r} is not known to any notebook of this run; known: {', '.join(sorted(types))}"
            )
        kind = TYPES.get(types[name])
        wrong = isinstance(value, bool) and kind is not bool
        if kind is not None and (wrong or not isinstance(value, kind)):
            hint = quotes_hint(value) if kind is str else ""
            if isinstance(value, str) and kind is list:
                hint = f" (in YAML write a list as [{', '.join(items_in(value))}], without quotes)"
            elif isinstance(value, str):
                hint = " (in YAML write numbers, true and false without quotes)"
            raise InputError(
                f"parameter {name!r} must be of type {types[name]}, got {value!r} of type {type(value).__name__}{hint}"
            )
    return {one: {name: value for name, value in found.items() if name in known[one]} for one in notebooks}


def check_values(subsets: dict[str, dict], tasks: list[str], known: dict[str, dict]) -> None:
    """Build the settings of every notebook, with defaults filled in. Raises InputError for the first invalid value."""
    for notebook, subset in subsets.items():
        given = {name: facts["default"] for name, facts in known[notebook].items()} | subset
        for task in tasks if "task" in given else tasks[:1]:
            parameters.check(notebook, given | ({"task": task} if "task" in given else {}))


def read_parameters(path: Path, overrides: list[str] = ()) -> dict:
    """Read a run's parameters from YAML, with `name=value` overrides. Raises InputError if either is invalid."""
    path = Path(path)
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} must contain parameters and values, such as `run: quick`")
    for override in overrides:
        name, separator, value = override.partition("=")
        if not separator:
            raise InputError(f"-p {override}: must have the form name=value")
        found[name] = parse_yaml(value, f"-p {name}") if value else ""
    return found


def whole_paths(given: dict) -> dict:
    """Make relative paths absolute, because notebooks run in their own folder."""
    places = {name: Path(str(given[name])) for name in (*FILES, *MODELS) if given.get(name)}
    local = [name for name, place in places.items() if (place.is_file() if name in FILES else place.exists())]
    local += [name for name in ("data", "data_test") if name in places and sources.is_folder(given[name])]
    return given | {name: str(places[name].resolve()) for name in local}
