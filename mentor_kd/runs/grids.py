"""Grids: a YAML of a whole sweep, read into cells, and each cell into a chain of stages that others may share.

    sweep: letters              # the folder: reports/<sweep>/
    study: figure3              # optional: the table or figure of the paper that it is drawn beside (studies.py)
    epochs: 12                  # any parameter of the notebooks, the same for all cells
    grid:                       # one product, or a list of them; `method` and `seed` stand for one of each
      task: [sandbox-letters, sandbox-sums]
      method: [mentor, vanilla-kd, mentor-kd]
      seed: [0, 1, 2]
    where:                      # what depends on another parameter (or on one of a list); later entries go first
      - {if: {task: sandbox-sums}, then: {epochs: 20}}
    search:                     # what is chosen on dev, one after the other, with seed 0, unless `where` fixes it
      learning_rate: [1.0e-3, 2.0e-3]

A cell is one trained model: a student of one method and seed, or the mentor itself (method `mentor`). Its stages are
the notebooks up to the one that trains it. A stage's key is a hash of its own parameters and of the stage before, so
cells that differ only in what comes later share everything before.
"""

import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from ..checks import require_integer
from ..data.folder import task_folder
from ..files import InputError, digest, sha256
from ..models import loading
from ..training.methods import get_method
from . import notebooks

NOTEBOOKS = (*notebooks.PER_TASK, notebooks.STUDENTS)
MENTOR, MENTORS = "mentor", "02_train_mentor"
OWN = ("sweep", "study", "grid", "where", "search", "threads", "cell_minutes")
SOFT = ("soft_label_weight", "soft_label_temperature")  # without meaning for a method without soft labels
SEARCH_SEED = 0
PLACE = {"task": 0, "student": 1, "method": 3, "seed": 4}  # in a cell's name; what else varies stands between


@dataclass(frozen=True)
class Cell:
    """One trained model of a sweep: its name, the grid's values that make it, and all its parameters."""

    name: str
    keys: dict
    parameters: dict
    fixed: frozenset = frozenset()  # what `where` says for it, and so is not searched

    @property
    def method(self) -> str:
        return self.parameters["method"]


@dataclass(frozen=True)
class Stage:
    """One notebook of a cell with its own parameters; `key` names its folder, `before` is the stage that it needs."""

    notebook: str
    parameters: dict = field(compare=False)
    key: str
    before: "Stage | None" = field(default=None, compare=False)

    def chain(self) -> list["Stage"]:
        """All stages up to this one, the first first."""
        return [*(self.before.chain() if self.before else []), self]

    @property
    def every(self) -> dict:
        """The parameters of all stages up to this one."""
        return {name: value for stage in self.chain() for name, value in stage.parameters.items()}


@dataclass(frozen=True)
class Grid:
    """A sweep as its YAML says it: the cells in order, what is searched, threads of a run, minutes of a cell."""

    name: str
    cells: tuple[Cell, ...]
    search: dict
    threads: int
    cell_minutes: float
    known: dict = field(repr=False)  # notebook -> its parameters, as papermill sees them
    study: str = ""  # what of the paper it is drawn beside

    def stage(self, parameters: dict) -> Stage:
        """The last stage of a model with these parameters (with method and seed), all others before it."""
        mentor = parameters["method"] == MENTOR
        given = {key: value for key, value in parameters.items() if key not in ("method", "seed")}
        given |= {"mentor_seed": parameters["seed"]} if mentor else {}
        given |= {"methods": [parameters["method"]], "seeds": [parameters["seed"]]}
        stage = None
        for notebook in NOTEBOOKS:
            own = {key: facts["default"] for key, facts in self.known[notebook].items() if key != "run"}
            own |= {key: value for key, value in given.items() if key in own}
            means = [notebook, {key: content(key, value) for key, value in own.items()}, stage.key if stage else ""]
            stage = Stage(notebook, own, digest(means)[:12], stage)
            if mentor and notebook == MENTORS:
                return stage
        return stage

    def searched(self, cell: Cell) -> dict[str, list]:
        """What is searched for a cell: the parameters that matter to its method."""
        mentors, students = self.known[MENTORS], self.known[notebooks.STUDENTS]
        soft = cell.method != MENTOR and get_method(cell.method).soft_labels
        return {
            name: values
            for name, values in self.search.items()
            if name not in cell.fixed
            if name in mentors or (name in students and cell.method != MENTOR and (soft or name not in SOFT))
        }

    def resolve(self, cell: Cell, dev: Callable[[Stage], float | None]) -> tuple[list[Stage], dict | None]:
        """The models to try for a cell so far, and its final parameters once all of them have a dev accuracy.

        Parameters are searched one after the other, in the YAML's order, the others as chosen or given; a mentor's own
        are judged by the mentor's dev accuracy, all others by the student's. `dev` gives a stage's dev accuracy, None
        while there is none. Of equal ones the first in the YAML is taken.
        """
        parameters, tried = dict(cell.parameters), []
        for name, values in self.searched(cell).items():
            fixed = {"seed": SEARCH_SEED}
            if name in self.known[MENTORS] and name not in self.known[notebooks.STUDENTS]:
                fixed = {"method": MENTOR, "seed": parameters.get("mentor_seed", 0)}
            trials = [self.stage({**parameters, name: value, **fixed}) for value in values]
            tried += trials
            found = [dev(trial) for trial in trials]
            if None in found:
                return tried, None
            parameters[name] = values[found.index(max(found))]
        return tried, parameters

    def chosen(self, names: Iterable[str]) -> list[Cell]:
        """The cells of these names: whole, a beginning up to a slash, or a pattern with * and ?. InputError if none."""
        found: dict[str, Cell] = {}
        for wanted in names:
            here = [c for c in self.cells if fnmatchcase(c.name, wanted) or c.name.startswith(wanted.rstrip("/") + "/")]
            if not here:
                raise InputError(f"no cell is called {wanted!r}; there are {', '.join(c.name for c in self.cells)}")
            found |= {cell.name: cell for cell in here}
        return [cell for cell in self.cells if cell.name in found]


def content(name: str, value: object) -> object:
    """What a parameter means for a result: a local model's or file's hash in the place of its path, else the value."""
    known = name in ("mentor", "student", *notebooks.FILES) and value
    return _content(name, str(value)) if known else value


@functools.cache
def _content(name: str, value: str) -> str:
    if name in notebooks.FILES:
        return sha256(Path(value)) if Path(value).is_file() else value
    place = Path(loading.model_path(value)).expanduser()
    if place.is_dir():
        return loading.identity(value)
    if place.is_absolute() or value.startswith("."):
        raise InputError(f"{name}: no folder {place}; give a sandbox model, a local folder or a hub id")
    return value


def read(path: Path, overrides: list[str] = ()) -> Grid:
    """Read a sweep's YAML, with `name=value` overrides; every cell is checked. InputError says what is wrong."""
    found = notebooks.read_parameters(path, overrides)
    known = {notebook: notebooks.known_parameters(notebook) for notebook in NOTEBOOKS}
    name = str(found.get("sweep", Path(path).stem))
    task_folder(name, "task")  # refuses a name that is no folder's
    where, search = _where(path, found.get("where") or []), _search(path, found.get("search") or {}, known)
    threads = found.get("threads", 1)
    require_integer(f"{path}: threads", threads, 1)
    fixed = {key: value for key, value in found.items() if key not in OWN}
    rows = list(_rows(path, found.get("grid")))
    varied = [key for key in dict.fromkeys(key for row in rows for key in row) if _varies(key, rows)] or ["method"]
    varied.sort(key=lambda key: PLACE.get(key, 2))
    cells = []
    for row in rows:
        parameters = {"method": "mentor-kd", "seed": 0, **fixed, **row}
        said = {}
        for condition, then in where:
            if all(_holds(parameters.get(key), value) for key, value in condition.items()):
                said |= {key: value for key, value in then.items() if key not in row}
        label = "/".join(_word(key, row[key]) for key in varied if key in row)
        cells.append(Cell(label, row, notebooks.whole_paths(parameters | said), frozenset({*said, *row})))
    trials = [(key, value) for key, values in search.items() for value in values]
    rest = [Cell(f"search {k}={v!r}", {}, {**cells[0].parameters, k: v}) for k, v in trials]
    names = [cell.name for cell in cells]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        raise InputError(f"{path}: the cell {twice[0]!r} stands in `grid` twice")
    _check(path, [*cells, *rest], known)
    minutes, study = float(found.get("cell_minutes", 0.0)), str(found.get("study") or "")
    return Grid(name, tuple(cells), search, threads, minutes, known, study)


def _rows(path: Path, grid: object) -> Iterable[dict]:
    """The products of a grid, one dict a cell."""
    blocks = grid if isinstance(grid, list) else [grid]
    if not grid or not all(isinstance(block, dict) and block for block in blocks):
        raise InputError(f"{path}: `grid` names parameters and their values, such as `method: [vanilla-kd, mentor-kd]`")
    for block in blocks:
        for key in ("methods", "seeds", "tasks"):
            if key in block:
                raise InputError(f"{path}: in a grid write {key[:-1]}: {block[key]}, for each cell has one")
        lists = [value if isinstance(value, list) else [value] for value in block.values()]
        if not all(lists):
            raise InputError(f"{path}: `grid` has an empty list; give each parameter at least one value")
        for values in itertools.product(*lists):
            yield dict(zip(block, values, strict=True))


def _varies(key: str, rows: list[dict]) -> bool:
    return len({repr(row.get(key)) for row in rows}) > 1


def _word(key: str, value: object) -> str:
    """A value as a part of a cell's name."""
    if key in ("task", "method"):
        return str(value)
    if key in ("mentor", "student"):
        return ("mentor-" if key == "mentor" else "") + Path(str(value)).name
    return f"seed{value}" if key == "seed" else f"{key}={value}"


def _where(path: Path, entries: object) -> list[tuple[dict, dict]]:
    if not isinstance(entries, list):
        raise InputError(f"{path}: `where` is a list of entries such as {{if: {{task: svamp}}, then: {{epochs: 20}}}}")
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"if", "then"} or not all(map(_full, entry.values())):
            raise InputError(f"{path}: an entry of `where` has `if` and `then`, each names and values, not {entry!r}")
    return [(entry["if"], entry["then"]) for entry in entries]


def _holds(value: object, wanted: object) -> bool:
    """Whether a parameter has the value wanted, or one of a list of them."""
    return value in wanted if isinstance(wanted, list) else value == wanted


def _full(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _search(path: Path, search: object, known: dict) -> dict[str, list]:
    if not isinstance(search, dict):
        raise InputError(f"{path}: `search` names parameters, each with a list of values")
    for name, values in search.items():
        if name not in {*known[MENTORS], *known[notebooks.STUDENTS]}:
            raise InputError(f"{path}: search: {name!r} is no parameter of the mentor's or the student's training")
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: search: {name} needs a list of values, not {values!r}")
    return search


def _check(path: Path, cells: list[Cell], known: dict) -> None:
    """Every cell's parameters, as a run checks its own; the models only where they are local."""
    seen = set()
    for cell in cells:
        parameters = {key: value for key, value in cell.parameters.items() if key not in ("method", "seed")}
        methods = [] if cell.method == MENTOR else [cell.method]
        parameters |= {"methods": methods or ["mentor-kd"], "seeds": [cell.parameters["seed"]], "run": "check"}
        mark = digest(parameters)
        if mark in seen:
            continue
        seen.add(mark)
        try:
            subsets = notebooks.check_names(parameters, NOTEBOOKS, known)
            task = str(parameters.get("task", known[NOTEBOOKS[0]]["task"]["default"]))
            notebooks.check_values(subsets, [task], known)
            for name in ("mentor", "student"):  # whether the hub has a model is seen when it is loaded
                content(name, parameters.get(name, ""))
        except InputError as error:
            raise InputError(f"{path}, cell {cell.name}: {error}") from None
