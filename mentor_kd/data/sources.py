"""Sources of rows: a table in a file, a folder saved by `datasets`, or a data set of the hub.

JSON, JSONL, CSV and TSV are read by `files`, which knows the lines and refuses what is ambiguous; Parquet, Arrow,
folders and hub ids by the `datasets` library, without running the data set's code. What the columns mean: see
`columns`.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import InputError, read_csv_rows, read_jsonl, read_text, sha256
from ..parsing import parse_json, parse_yaml, shown

EXAMPLE = "hub:openai/gsm8k:main"
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
_HUB = re.compile(
    r"hub:(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[\w./-]+))?"
    r"(?::(?P<config>[^:\[\]]*))?(?::(?P<split>\w[\w.-]*(?:\[[^\[\]]*\])?))?",
    re.ASCII,
)
_SPLITS = {
    "train": "train training",
    "dev": "dev development validation valid val eval evaluation",
    "test": "test testing",
}


@dataclass(frozen=True)
class Row:
    """One row: its place in the source ("line 3"), the part of the source ("" if it has one part), and its values."""

    place: str
    part: str
    values: dict[str, Any]


def split_of(name: object) -> str | None:
    """The split (train, dev or test) that a name such as `validation` means; "" for an empty one, None if unknown."""
    plain = "" if name is None else str(name).strip().lower()
    return next((split for split, names in _SPLITS.items() if plain in names.split()), None if plain else "")


def require_source(name: str, source: str) -> None:
    """Raise InputError, with the parameter's name, unless a source of rows has this form and, if local, exists.

    The hub is not contacted.
    """
    if source.startswith("hub:"):
        _hub_id(name, source)
    elif not Path(source).exists():
        raise InputError(
            f"{name} must be a {', '.join(SUFFIXES)} file, a folder saved by datasets, or a hub id such as {EXAMPLE}, "
            f"got {shown(source)}: no such file or folder"
        )


def is_folder(source: str) -> bool:
    """Whether a source is a folder; the words `sandbox` and `official` never are."""
    return source not in ("sandbox", "official") and Path(source).is_dir()


def identity(source: str) -> str:
    """What a manifest compares: the hash of a file or folder; of a hub id the text itself, so give a revision in it."""
    return source if source.startswith("hub:") else sha256(Path(source))


def model_name(source: str) -> str:
    """The name under which the rationales of a source are recorded as their model: its file name or hub id."""
    return source.removeprefix("hub:") if source.startswith("hub:") else Path(source).name


def read(source: str | Path) -> list[Row]:
    """Read the rows of a file, a folder or `hub:owner/name[@revision][:config][:split]`.

    Raises InputError, with the file and (for text files) the line, for anything that cannot be read.
    """
    source = str(source)
    if source.startswith("hub:"):
        return _hub(source)
    path, suffix = Path(source), Path(source).suffix.lower()
    if path.is_dir():
        return _folder(path)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return _json(path)
    if suffix in (".csv", ".tsv"):
        return [Row(f"line {line}", "", values) for line, values in read_csv_rows(path)]
    if suffix in (".parquet", ".arrow"):
        return _arrow(path, suffix[1:])
    raise InputError(f"{path}: a table must end in {', '.join(SUFFIXES)}, got {suffix!r}")


def parse_cell(text: str, what: str) -> Any:
    """A list or object in a cell of a CSV file, in JSON or as Python prints it. Raises InputError that names `what`."""
    try:
        return parse_json(text, what)
    except InputError:
        return parse_yaml(text, what)  # reads single quotes


# Text


def _json(path: Path) -> list[Row]:
    """The rows of JSONL, of a JSON array, or of a JSON object that holds one array of rows, or one per split."""
    text = read_text(path).strip()
    first, _, more = text.replace("\r", "\n").partition("\n")
    lines = path.suffix.lower() != ".json" or (first.startswith("{") and first.endswith("}") and more.strip())
    if not text.startswith("[") and lines:
        return [Row(f"line {line}", "", values) for line, values in read_jsonl(path)]
    found = parse_json(read_text(path), path)
    if isinstance(found, list):
        return _items(path, "", found)
    lists = {name: one for name, one in found.items() if isinstance(one, list)} if isinstance(found, dict) else {}
    splits = {name: one for name, one in lists.items() if split_of(name)}
    parts = splits or (dict(zip([""], lists.values(), strict=True)) if len(lists) == 1 else {})
    if parts:
        return [row for name, one in parts.items() for row in _items(path, name, one)]
    raise InputError(
        f"{path}: expected a JSON array of rows, or an object with one array of rows or one per split (train, dev, "
        f"test), got {f'an object with the keys {shown(list(found))}' if isinstance(found, dict) else shown(found)}"
    )


def _items(path: Path, part: str, items: list) -> list[Row]:
    rows = [Row(f"{part} item {number}".strip(), part, values) for number, values in enumerate(items, 1)]
    for row in rows:
        if not isinstance(row.values, dict):
            raise InputError(f"{path}, {row.place}: expected a JSON object, got {shown(row.values)}")
    return rows


# datasets


@contextlib.contextmanager
def _reading(source: object) -> Iterator[None]:
    """Turn any error of `datasets` into one line that names the source; its log and progress bars are off."""
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # it passes on whatever its readers, the network and the file system raise
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{source}: cannot be read ({why})") from error
    finally:
        datasets.logging.set_verbosity(level)


def _arrow(path: Path, kind: str) -> list[Row]:
    from datasets import load_dataset

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with _reading(path):
        return _rows({"": load_dataset(kind, data_files=str(path), split="train", streaming=True)})


def _folder(path: Path) -> list[Row]:
    from datasets import load_dataset, load_from_disk

    with _reading(path):
        if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
            found = load_from_disk(str(path))
        else:
            found = load_dataset(str(path), streaming=True)
        return _rows(found if isinstance(found, dict) else {"": found})


def _hub_id(name: str, source: str) -> dict[str, str | None]:
    found = _HUB.fullmatch(source)
    if not found:
        raise InputError(
            f"{name} must be hub:owner/name[@revision][:config][:split], such as {EXAMPLE}, got {shown(source)}"
        )
    return found.groupdict()


def _hub(source: str) -> list[Row]:
    from datasets import load_dataset

    given = _hub_id("data", source)
    with _reading(source):
        found = load_dataset(
            given["name"], given["config"] or None, split=given["split"] or None, revision=given["revision"]
        )
        return _rows(found if isinstance(found, dict) else {"": found})


def _rows(parts: dict[str, Any]) -> list[Row]:
    """The rows of data sets by part; the number of a class becomes its name.

    The only part of an undivided set is called train by `datasets`, which does not mean the split.
    """
    from datasets import ClassLabel

    rows = []
    for part, found in parts.items():
        name = part if len(parts) > 1 or split_of(part) in ("dev", "test") else ""
        classes = {key: one for key, one in (found.features or {}).items() if isinstance(one, ClassLabel)}
        for number, values in enumerate(found, 1):
            for key, one in classes.items():
                if values[key] is not None:
                    values[key] = one.int2str(values[key]) if values[key] >= 0 else None
            rows.append(Row(f"{name} row {number}".strip(), name, values))
    return rows
