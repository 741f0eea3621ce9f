"""Disks that are full or cannot be written to: one clear error, and a status file that can still be written."""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from safetensors import SafetensorError

from .files import InputError, RunFailed, write_bytes, write_json

FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    **dict.fromkeys(FULL, "free some space"),
    errno.EFBIG: "the file would be larger than this system allows: raise the limit",
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "make the folder writable"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "the folder was removed while it was in use: create it"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR), "something else is in its place: remove that"),
    errno.EIO: "check the disk",
}
WRITERS = ("os error", "I/O error", "PytorchStreamWriter", "inline_container", "No space left")  # safetensors, torch
RESERVE = 1 << 16  # bytes kept free for status files
P = ParamSpec("P")
T = TypeVar("T")


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an error while writing into a RunFailed whose one-line message names the file and a remedy."""
    try:
        yield
    except (InputError, RunFailed):
        raise
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise RunFailed(_said(error.filename or place, error.strerror, REMEDIES[error.errno])) from error
    except (RuntimeError, SafetensorError) as error:  # the writers of weights do not raise OSError
        text = " ".join(str(error).split())
        if not any(mark in text for mark in WRITERS):
            raise
        raise RunFailed(_said(place, text[:160], "check that the disk has space and the folder is writable")) from error


def _said(place: object, why: str | None, remedy: str) -> str:
    return f"{place}: cannot be written ({why}); {remedy}, and run the same command again to resume"


def writes_files(step: Callable[P, T]) -> Callable[P, T]:
    """A step, a function whose first argument is its folder, that fails as `writing` does."""

    @functools.wraps(step)
    def clear(*args: P.args, **named: P.kwargs) -> T:
        with writing(Path(os.fspath(args[0] if args else named["folder"]))):  # type: ignore[call-overload]
            return step(*args, **named)

    return clear


def reserve(folder: Path) -> None:
    """Keep some space for the status files in a folder, in a hidden file."""
    path = Path(folder) / ".reserve"
    if not path.exists():
        with contextlib.suppress(OSError):  # the first status says what is wrong
            write_bytes(path, os.urandom(RESERVE))  # random, so that no file system stores it in less


def write_status(path: Path, value: object, reserved_in: Path) -> None:
    """Write a status file; on a full disk, in the space reserved in a folder."""
    try:
        write_json(path, value)
    except OSError as error:
        if error.errno not in FULL:
            raise
        (Path(reserved_in) / ".reserve").unlink(missing_ok=True)
        write_json(path, value)
