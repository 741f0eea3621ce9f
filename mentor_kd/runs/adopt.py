"""The parameters of an existing run, for a notebook that is opened with the run's name alone."""

from collections.abc import Callable, Mapping
from typing import Any

from ..files import reports_root
from ..pipeline import sizes
from . import notebooks


def adopted(notebook: str, given: Mapping[str, Any], say: Callable[[str], None] = print) -> dict[str, Any]:
    """The values of a notebook's parameters, for `globals().update(...)` in its first cell.

    A parameter that still has the notebook's default gets the value that the run was started with
    (reports/<run>/params.yaml), so that opening a run never repeats it with other settings. In the tests' smoke size,
    defaults are replaced by that size's.
    """
    defaults = {name: facts["default"] for name, facts in notebooks.known_parameters(notebook).items()}
    values = {name: given[name] for name in defaults}
    untouched = [name for name in defaults if values[name] == defaults[name]]
    if sizes.is_smoke():
        values |= {name: sizes.SMOKE[name] for name in untouched if name in sizes.SMOKE}
    run = sizes.of_run(reports_root() / str(values["run"]))
    tasks = run.get("tasks", [])
    if tasks:
        run["task"] = values["task"] if values.get("task") in tasks else tasks[0]
    new = {name: run[name] for name in untouched if name != "run" and run.get(name, values[name]) != values[name]}
    if new:
        say(f"parameters of the run {values['run']}: {', '.join(f'{name} = {value!r}' for name, value in new.items())}")
    return values | new
