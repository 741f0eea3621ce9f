"""Grids: a YAML file that describes a whole sweep, read into cells, each a chain of stages that cells can share.

    sweep: letters              # results go to reports/<sweep>/; default: the name of this file
    study: figure3              # optional: the paper's table or figure to compare with (see studies.py)
    threads: 1                  # optional: CPU threads per run; rounding, and so results, depend on it
    cell_minutes: 30            # optional: time limit per notebook cell, in minutes; default: none
    epochs: 12                  # any parameter of notebooks 01 to 04 and 06: the value for all cells
    grid:                       # a block, or a list of blocks; each gives one cell per combination of its values
      task: [sandbox-letters, sandbox-sums]
      method: [mentor, vanilla-kd, mentor-kd]  # singular here: method, seed, task
      seed: [0, 1, 2]
    where:                      # exceptions: if all conditions hold, set these values; the last match wins
      - {if: {task: sandbox-sums}, then: {epochs: 20}}
      - {if: {task: sandbox-sums, method: [vanilla-kd, mentor-kd]}, then: {batch_size: 4}}  # a list means any of these
    search:                     # chosen by dev accuracy with seed 0, one parameter after another
      learning_rate: [1e-3, 2e-3]

A value in a cell's `grid` block takes precedence over `where`, and `where` over the top level. A parameter that `grid`
or `where` sets for a cell is not searched for that cell.

A cell is one trained model: a student of one method and seed, or the mentor itself (method `mentor`). Its stages are
the notebooks up to the one that trains the model. A stage's key is a hash of its parameters and of the previous stage,
so cells share all stages up to the first one in which they differ.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from ..checks import require_integer, require_number, require_text
from ..data import sources
from ..data.folder import task_folder
from ..files import InputError, digest, sha256
from ..models import loading
from ..pipeline.parameters import check_tokenizers, needs_mentors_soft_labels
from ..training.methods import get_method
from . import notebooks

NOTEBOOKS = (*notebooks.PER_TASK, notebooks.STUDENTS)
MENTOR, MENTORS = "mentor", "02_train_mentor"
OWN = ("sweep", "study", "grid", "where", "search", "threads", "cell_minutes")
MODEL_OF = {MENTORS: "mentor", notebooks.STUDENTS: "student"}
SOFT = ("soft_label_weight", "soft_label_temperature")  # no effect for a method without soft labels
SEARCH_SEED = 0
PLACE = {"task": 0, "student": 1, "method": 3, "seed": 4}  # position in a cell's name; all others: 2


@dataclass(frozen=True)
class Cell:
    """One trained model of a sweep: its name, its values in `grid`, and all its parameters."""

    name: str
    keys: dict
    parameters: dict
    fixed: frozenset = frozenset()  # set by `grid` or `where`, so not searched

    @property
    def method(self) -> str:
        return self.parameters["method"]


@dataclass(frozen=True)
class Stage:
    """One notebook of a cell with its parameters; `key` names its folder, `before` is the stage it depends on."""

    notebook: str
    parameters: dict = field(compare=False)
    key: str
    before: "Stage | None" = field(default=None, compare=False)

    def chain(self) -> list["Stage"]:
        """All stages up to and including this one, in order."""
        return [*(self.before.chain() if self.before else []), self]

    @property
    def every(self) -> dict:
        """The parameters of all stages up to and including this one."""
        return {name: value for stage in self.chain() for name, value in stage.parameters.items()}


@dataclass(frozen=True)
class Grid:
    """A sweep read from YAML: cells in order, searched values, threads per run, minutes per notebook cell (0: any)."""

    name: str
    cells: tuple[Cell, ...]
    search: dict
    threads: int
    cell_minutes: float
    known: dict = field(repr=False)  # notebook -> its parameters as inspected by papermill
    study: str = ""  # the paper's table or figure to compare with

    def stage(self, parameters: dict) -> Stage:
        """The last stage of the model with these parameters (method and seed included), linked to those before it."""
        mentor = parameters["method"] == MENTOR
        given = {key: value for key, value in parameters.items() if key not in ("method", "seed")}
        given |= {"mentor_seed": parameters["seed"]} if mentor else {}
        given |= {"methods": [parameters["method"]], "seeds": [parameters["seed"]]}
        stage = None
        for notebook in NOTEBOOKS:
            own = {key: facts["default"] for key, facts in self.known[notebook].items() if key != "run"}
            own |= {key: value for key, value in given.items() if key in own}
            counts = {key: content(key, value) for key, value in own.items() if key not in notebooks.WITHOUT_EFFECT}
            means = [notebook, counts, stage.key if stage else ""]
            stage = Stage(notebook, own, digest(means)[:12], stage)
            if mentor and notebook == MENTORS:
                return stage
        return stage

    def searched(self, cell: Cell) -> dict[str, list]:
        """Parameters to search for a cell, with their values: those that affect its method."""
        mentors, students = self.known[MENTORS], self.known[notebooks.STUDENTS]
        soft = cell.method != MENTOR and get_method(cell.method).soft_labels
        return {
            name: values
            for name, values in self.search.items()
            if name not in cell.fixed
            if name in mentors or (name in students and cell.method != MENTOR and (soft or name not in SOFT))
        }

    def resolve(self, cell: Cell, dev: Callable[[Stage], float | None]) -> tuple[list[Stage], dict | None]:
        """The models to train so far for a cell's search, and its final parameters, None while a result is missing.

        Parameters are searched one after another in the order of the YAML file, with the others as chosen or given.
        Parameters of the mentor alone are judged by the mentor's dev accuracy, all others by the student's. `dev`
        returns a stage's dev accuracy, None while there is none. Ties go to the first value in the file.
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
        """Cells by full name, by a prefix up to a slash, or by a pattern with * and ?. InputError if none matches."""
        found: dict[str, Cell] = {}
        for wanted in names:
            here = [c for c in self.cells if c.name.startswith(wanted.rstrip("/") + "/") or c.name == wanted]
            here = here or [c for c in self.cells if fnmatchcase(c.name, wanted)]  # a name may contain brackets
            if not here:
                raise InputError(f"no cell is called {wanted!r}; known cells: {', '.join(c.name for c in self.cells)}")
            found |= {cell.name: cell for cell in here}
        return [cell for cell in self.cells if cell.name in found]


def content(name: str, value: object) -> object:
    """What affects results: for a local model or file its hash instead of its path, else the value itself."""
    known = name in ("mentor", "student", *notebooks.FILES) and value
    return _content(name, str(value)) if known else value


@functools.cache
def _content(name: str, value: str) -> str:
    if name in notebooks.FILES:
        folder = name in ("data", "data_test") and sources.is_folder(value)
        return sha256(Path(value)) if Path(value).is_file() or folder else value
    place = Path(loading.model_path(value)).expanduser()
    if place.is_dir():
        return loading.identity(value)
    if place.is_absolute() or value.startswith("."):
        raise InputError(f"{name}: no folder {place}; use a sandbox model, a local folder or a hub id")
    return value


def read(path: Path, overrides: list[str] = ()) -> Grid:
    """Read a sweep's YAML file, with `name=value` overrides. Raises InputError for the first cell that is invalid."""
    found = notebooks.read_parameters(path, overrides)
    known = {notebook: notebooks.known_parameters(notebook) for notebook in NOTEBOOKS}
    name = found.get("sweep", Path(path).stem)
    require_text(f"{path}: sweep", name, empty=False)
    task_folder(name, "task")  # rejects a name that cannot be a folder
    where, search = _where(path, found.get("where") or []), _search(path, found.get("search") or {}, known)
    threads = found.get("threads", 1)
    require_integer(f"{path}: threads", threads, 1)
    minutes, study = found.get("cell_minutes", 0.0), found.get("study") or ""
    require_number(f"{path}: cell_minutes", minutes, least=0, note="0 for no limit")
    require_text(f"{path}: study", study)
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
        raise InputError(f"{path}: `grid` has the cell {twice[0]!r} twice; remove one")
    _check(path, [*cells, *rest], known)
    compare_tokenizers([*cells, *rest], known, hub=False)
    return Grid(name, tuple(cells), search, threads, float(minutes), known, study)


def _rows(path: Path, grid: object) -> Iterable[dict]:
    """The combinations of values of each block of a grid, one dict per cell."""
    blocks = grid if isinstance(grid, list) else [grid]
    if not grid or not all(isinstance(block, dict) and block for block in blocks):
        raise InputError(f"{path}: `grid` must map parameters to values, such as `method: [vanilla-kd, mentor-kd]`")
    for block in blocks:
        for key in ("methods", "seeds", "tasks"):
            if key in block:
                raise InputError(f"{path}: in a grid write {key[:-1]}: {block[key]}, because each cell has only one")
        lists = [value if isinstance(value, list) else [value] for value in block.values()]
        if not all(lists):
            raise InputError(f"{path}: `grid` has an empty list; give each parameter at least one value")
        for values in itertools.product(*lists):
            yield dict(zip(block, values, strict=True))


def _varies(key: str, rows: list[dict]) -> bool:
    return len({repr(row.get(key)) for row in rows}) > 1


def _word(key: str, value: object) -> str:
    """A value as part of a cell's name."""
    if key in ("task", "method"):
        return str(value)
    if key in ("mentor", "student"):
        return ("mentor-" if key == "mentor" else "") + Path(str(value)).name
    return f"seed{value}" if key == "seed" else f"{key}={value}"


def _where(path: Path, entries: object) -> list[tuple[dict, dict]]:
    if not isinstance(entries, list):
        raise InputError(f"{path}: `where` must be a list such as [{{if: {{task: svamp}}, then: {{epochs: 20}}}}]")
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"if", "then"} or not all(map(_full, entry.values())):
            raise InputError(f"{path}: `where` entries must have the form {{if: {{..}}, then: {{..}}}}, got {entry!r}")
    return [(entry["if"], entry["then"]) for entry in entries]


def _holds(value: object, wanted: object) -> bool:
    """Whether a parameter equals `wanted` or, if that is a list, one of its items."""
    return value in wanted if isinstance(wanted, list) else value == wanted


def _full(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _search(path: Path, search: object, known: dict) -> dict[str, list]:
    if not isinstance(search, dict):
        raise InputError(f"{path}: `search` must map parameters to lists of values")
    for name, values in search.items():
        if name not in {*known[MENTORS], *known[notebooks.STUDENTS]}:
            raise InputError(f"{path}: search: {name!r} is not a parameter of notebook 02 (mentor) or 06 (student)")
        if not isinstance(values, list) or not values:
            raise InputError(f"{path}: search: {name} must be a non-empty list of values, got {values!r}")
    return search


def _check(path: Path, cells: list[Cell], known: dict) -> None:
    """Check the parameters of every cell as a run does; models are checked only if they are local."""
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
            task = parameters.get("task", known[NOTEBOOKS[0]]["task"]["default"])
            notebooks.check_values(subsets, [task], known)
            for name in ("mentor", "student"):  # a hub model is checked when it is loaded
                content(name, parameters.get(name, ""))
        except InputError as error:
            raise InputError(f"{path}, cell {cell.name}: {error}") from None


def compare_tokenizers(cells: Iterable[Cell], known: dict, hub: bool) -> None:
    """Raise InputError for the first cell whose student cannot use the soft labels of its mentor.

    With `hub` False, models that are neither in a local folder nor in the hub's cache are left out, because a plan is
    made offline too.
    """
    defaults = {name: known[notebook][name]["default"] for notebook, name in MODEL_OF.items()}
    compared = set()
    for cell in cells:
        models = tuple((defaults | cell.parameters)[name] for name in MODEL_OF.values())
        if cell.method == MENTOR or models in compared or not needs_mentors_soft_labels([cell.method]):
            continue
        compared.add(models)
        if hub or all(map(_at_hand, models)):
            try:
                check_tokenizers(*models)
            except InputError as error:
                raise InputError(f"cell {cell.name}: {error}") from None


def _at_hand(model: str) -> bool:
    """Whether a model is on this machine: a local folder, or a hub model in the cache."""
    files = ("config.json", "tokenizer_config.json")
    with contextlib.suppress(ValueError):  # no name that the hub would accept
        return Path(loading.model_path(model)).expanduser().is_dir() or all(
            isinstance(try_to_load_from_cache(model, file), str) for file in files
        )
    return False
