"""Files: locations, atomic writes, strict reading, and hashes.

Every writer here writes to a temporary file in the same folder and renames it, so that a reader never sees a partial
file. Every reader raises InputError with the file and, where it is known, the line, and never waits for a pipe or a
device; `parsing` says what is refused.
"""

import codecs
import contextlib
import hashlib
import json
import math
import os
import site
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from .parsing import InputError, parse_csv, parse_json, parse_yaml, shown

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
Made = TypeVar("Made")
LARGEST = 1 << 30  # bytes of a file that is read as a whole
KINDS = {  # what is not a regular file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


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
        with _naming(path), os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp creates files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file's name to an error of writing to it, such as a full disk, which has none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically; InputError for an unpaired surrogate, which UTF-8 cannot contain."""
    write_bytes(path, _utf8(path, text))


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file atomically; a float that is not finite becomes null."""
    write_text(path, _dumped(value, indent=1) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object per line, atomically; a float that is not finite becomes null."""
    write_text(path, "".join(_dumped(row) + "\n" for row in rows))


def _utf8(path: Path, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = ascii(text[max(0, error.start - 20) : error.end + 20])
        raise InputError(f"{path}: an unpaired surrogate in {near}; remove it. Nothing was written") from None


def _dumped(value: object, indent: int | None = None) -> str:
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has neither NaN nor infinity
        return json.dumps(_finite(value), indent=indent, ensure_ascii=False)


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append_text(path: Path, text: str) -> None:
    """Append whole lines in one write, and wait until they are on disk."""
    path, lines = Path(path), _utf8(path, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path), path.open("a+b") as file:
        start = b""
        if file.tell() > 0:  # a killed writer may have left half a line: end it
            file.seek(-1, os.SEEK_END)
            start = b"" if file.read(1) == b"\n" else b"\n"
        file.write(start + lines)
        file.flush()
        os.fsync(file.fileno())


def append_jsonl(path: Path, row: dict) -> None:
    """Append one row and wait until it is on disk; for user input and for logs of long work."""
    append_text(path, _dumped(row) + "\n")


def _require_file(path: Path, largest: float = LARGEST) -> None:
    """Raise InputError unless the path is a regular file of at most `largest` bytes."""
    try:
        found = path.stat()
    except FileNotFoundError:
        what = "a broken link" if path.is_symlink() else "no such file"
        raise InputError(f"{path}: {what}") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise InputError(f"{str(path)!r}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if not stat.S_ISREG(found.st_mode):
        what = KINDS.get(stat.S_IFMT(found.st_mode), "not a regular file")
        raise InputError(f"{path}: cannot be read, it is {what}; give a file")
    if found.st_size > largest:
        raise InputError(f"{path}: {found.st_size} bytes; at most {largest} are read, so split the file")


def read_bytes(path: Path) -> bytes:
    """Read a whole file. Raises InputError if it is missing, unreadable, larger than 1 GiB, or not a regular file."""
    path = Path(path)
    _require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, without its byte order mark; InputError names the file, and the line that is not UTF-8.

    Raises InputError like `read_bytes`.
    """
    content = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        wide = " (it looks like UTF-16)" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}){wide}; save the file as UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that end in LF, CRLF or CR; other separators, such as U+2028, belong to the text."""
    return read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_json(path: Path, finite: bool = True) -> Any:
    """Read a JSON file; InputError names the file and the line of what is wrong (see `parsing.parse_json`)."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return parse_json(text, path, finite=finite)


class Record(dict):
    """A JSON object of a file: a missing key raises InputError with the file's name."""

    path: Path

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path}: the key {key!r} is missing; the file was changed or is of another version")


def read_record(path: Path, **needed: type) -> Record:
    """Read a JSON object that this package wrote, such as a manifest; `needed` maps required keys to their types.

    Raises InputError for a value of another type, and, at its use, for any missing key.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(found).__name__}")
    record = _as_record(found, Path(path))
    for key, kind in needed.items():
        if not isinstance(record[key], kind):
            raise InputError(f"{path}: {key!r} must be of type {kind.__name__}, got {shown(record[key])}")
    return record


def read_records(path: Path) -> dict[str, Record]:
    """Read a JSON object of objects, such as status.json. Raises InputError for anything else."""
    found = read_record(path)
    for key, value in found.items():
        if not isinstance(value, Record):
            raise InputError(f"{path}: {key!r} must be an object, got {shown(value)}")
    return found


def build(kind: Callable[..., Made], values: dict[str, Any], where: object) -> Made:
    """`kind(**values)` with values from the file `where`; InputError with its name for values that are not accepted."""
    try:
        return kind(**values)
    except (TypeError, InputError) as error:  # TypeError: a missing or unknown key, or a value of another type
        raise InputError(f"{where}: {str(error).removeprefix(f'{kind.__name__}.__init__() ')}") from None


def _as_record(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        value = Record({key: _as_record(inner, path) for key, inner in value.items()})
        value.path = path
    return value


def read_yaml(path: Path) -> Any:
    """Read a YAML file; InputError names the file and the line of what is wrong (see `parsing.parse_yaml`)."""
    return parse_yaml(read_text(path), path)


def read_settings(path: Path) -> dict[str, Any]:
    """Read a YAML mapping of settings; empty for an empty file. Raises InputError for anything else."""
    found = read_yaml(path)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected `name: value` on each line, got {shown(found)}")
    return found


def read_jsonl(path: Path) -> Iterator[tuple[int, dict]]:
    """Yield (line number, row) of a JSONL file; InputError names file and line of anything else."""
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        row = parse_json(line, path, number)
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__} ({line[:60]})")
        yield number, row


def read_csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with the numbers of their lines; see `parsing.parse_csv` for separators and errors."""
    return parse_csv(read_text(path), path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's files and their relative paths, in hex.

    Raises InputError if the path is missing, unreadable, or neither a regular file nor a folder.
    """
    path = Path(path)
    total = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                total.update(file.relative_to(path).as_posix().encode() + b"\0")
                _add(total, file)
    else:
        _require_file(path, largest=math.inf)
        _add(total, path)
    return total.hexdigest()


def _add(total: Any, path: Path) -> None:
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def digest(value: object) -> str:
    """The SHA-256 of a JSON-like value in canonical form (sorted keys), in hex."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
