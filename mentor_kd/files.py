"""Files: locations, atomic writes, JSONL, hashes, and the manifests that mark a step as done.

Every writer here writes to a temporary file in the same folder and renames it, so that a reader never sees a partial
file. A step's manifest is written last: a folder without one is unfinished.
"""

import hashlib
import json
import os
import site
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

PACKAGE = Path(__file__).resolve().parent
HOME_MARKS = ("notebooks/00_tour.ipynb", "data/sandbox")  # files that identify a folder with notebooks and data


def _is_home(folder: Path) -> bool:
    return all((folder / mark).exists() for mark in HOME_MARKS)


def installed_home() -> Path | None:
    """The folder with the notebooks and data of an installed wheel; None if there is none, as in a checkout."""
    places = (PACKAGE.parent, Path(sys.prefix), Path(site.getuserbase()))
    return next((one / "share" / "mentor-kd" for one in places if _is_home(one / "share" / "mentor-kd")), None)


def _home() -> Path:
    """The folder with notebooks/ and data/.

    MENTOR_KD_HOME if it is set; else the first that exists of the checkout, the current folder or its nearest parent
    created by `mentor-kd start`, and the folder of the installed wheel.
    """
    if named := os.environ.get("MENTOR_KD_HOME"):
        return Path(named)
    here = Path.cwd()
    found = (one for one in (PACKAGE.parent, here, *here.parents) if _is_home(one))
    return next(found, None) or installed_home() or PACKAGE.parent


ROOT = _home()
WORK = Path.cwd() if installed_home() == ROOT else ROOT  # where results go: never into an installation
DATA = ROOT / "data"
MANIFEST = "manifest.json"


class InputError(ValueError):
    """Invalid user input; the message names it, its value and how to fix it."""


class RunFailed(RuntimeError):
    """A step or a notebook of a run failed; the message says which one, why, and how to resume."""


def reports_root() -> Path:
    """The folder of all run folders: MENTOR_KD_REPORTS, or reports/ of the project.

    For a package installed without a checkout, it is reports/ in the current folder.
    """
    return Path(os.environ.get("MENTOR_KD_REPORTS", WORK / "reports"))


def official_root() -> Path:
    """The folder with the paper's data: MENTOR_KD_OFFICIAL_DATA, or data/official/ of the project."""
    return Path(os.environ.get("MENTOR_KD_OFFICIAL_DATA", WORK / "data" / "official"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, creating its folder if needed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object per line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def append_text(path: Path, text: str) -> None:
    """Append whole lines in one write, and wait until they are on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        start = b""
        if file.tell() > 0:  # a killed writer may have left half a line: end it
            file.seek(-1, os.SEEK_END)
            start = b"" if file.read(1) == b"\n" else b"\n"
        file.write(start + text.encode("utf-8"))
        file.flush()
        os.fsync(file.fileno())


def append_jsonl(path: Path, row: dict) -> None:
    """Append one row and wait until it is on disk; for user input and for logs of long work."""
    append_text(path, json.dumps(row, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; InputError names the file, and the line that is not UTF-8."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8"
        ) from None


def read_json(path: Path) -> Any:
    """Read a JSON file; InputError names the file and the line of a syntax error."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}); is the file truncated?") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file; InputError names the file and the syntax error."""
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())[:200]})") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict]]:
    """Yield (line number, row) of a JSONL file; InputError names file and line of anything else."""
    text = read_text(path)
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: a text may contain U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {number}: not valid JSON ({error.msg}); is the file truncated?") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__} ({line[:60]})")
        yield number, row


def sha256(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their relative paths, in hex; InputError if it is missing."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                total.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def digest(value: object) -> str:
    """The SHA-256 of a JSON-like value in canonical form (sorted keys), in hex."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_done(folder: Path, inputs: dict) -> bool:
    """Whether the folder's manifest records these inputs, and every output that it lists exists unchanged."""
    manifest = Path(folder) / MANIFEST
    if not manifest.exists():
        return False
    recorded = read_json(manifest)
    if recorded.get("inputs") != json.loads(json.dumps(inputs)):
        return False
    return all(
        (Path(folder) / name).exists() and sha256(Path(folder) / name) == value
        for name, value in recorded["outputs"].items()
    )


def finish(folder: Path, inputs: dict, outputs: Iterable[str], **facts: object) -> None:
    """Write the manifest of a finished step: its inputs, the hashes of its outputs, and any further facts."""
    folder = Path(folder)
    hashes = {name: sha256(folder / name) for name in outputs}
    write_json(folder / MANIFEST, {"inputs": inputs, "outputs": hashes, **facts})
