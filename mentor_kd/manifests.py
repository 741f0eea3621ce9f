"""Manifests: what a finished step read and wrote, so that a later change of its files is noticed.

A step's manifest is written last: a folder without one is unfinished. It has the SHA-256 of each file that the step
wrote, and of itself. A file is hashed again only if its size, its times or its inode differ from those in `.stamps`,
noted when its hash was last verified, so a large finished run is checked quickly. The files of a moved or copied folder
have other times, so they are hashed once more.
"""

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .files import MANIFEST, InputError, Record, digest, read_record, sha256, write_json, write_text

STAMPS = ".stamps"
ASIDE = ".changed"  # suffix of a changed file that a step writes again
SEAL = "seal"  # the key of a manifest's own hash
SETTLED = 2 * 10**9  # ns: a younger file may change again within one tick of the file system's clock
MISSING, CHANGED = "missing", "changed"


def finish(folder: Path, inputs: dict, outputs: Iterable[str], **facts: object) -> None:
    """Write the manifest of a finished step: its inputs, the hashes of its outputs, and any further facts."""
    folder = Path(folder)
    hashes = {name: sha256(folder / name) for name in outputs}
    write_json(folder / MANIFEST, sealed({"inputs": inputs, "outputs": hashes, **facts}))


def is_done(folder: Path, inputs: dict) -> bool:
    """Whether the folder's manifest is intact and has these inputs, and every output that it lists is unchanged."""
    found = read(folder)
    if found is None or found["inputs"] != json.loads(json.dumps(inputs)):
        return False
    return not changed(folder, found["outputs"])


def read(folder: Path) -> Record | None:
    """A finished step's manifest; None if there is none, or if it was changed."""
    try:
        found = read_record(Path(folder) / MANIFEST, inputs=dict, outputs=dict)
    except InputError:
        return None
    return found if is_sealed(found) else None


def problems(folder: Path) -> dict[str, str]:
    """The files of a finished step that differ from its manifest: name -> "missing" or "changed".

    Empty for a folder without a manifest, which is unfinished, and for one whose manifest lists no outputs.
    """
    path = Path(folder) / MANIFEST
    try:
        found = read_record(path)
    except InputError:
        return {MANIFEST: CHANGED} if path.exists() else {}
    if "outputs" not in found:
        return {}
    if not is_sealed(found):
        return {MANIFEST: CHANGED}
    return changed(folder, found["outputs"])


def require_unchanged(folder: Path, remedy: str) -> None:
    """Raise InputError, with the file's name and the remedy, if a finished step's files differ from its manifest."""
    for name, what in problems(folder).items():
        raise InputError(f"{_place(folder, name)}: {what} since the step that wrote it; {remedy}")


def warn_of_changes(folder: Path) -> None:
    """Print a warning for each changed file of a finished step whose result is still usable, such as a model."""
    for name, what in problems(folder).items():
        print(f"warning: {_place(folder, name)}: {what} since it was written; results that depend on it will differ")


def discard_changed(folder: Path) -> dict[str, str]:
    """Rename the changed outputs of a step that is run again, so that nothing trusts them, and print their names."""
    found = problems(folder)
    for name, what in found.items():
        path = _place(folder, name)
        kept = f" and kept as {path.name}{ASIDE}" if what == CHANGED else ""
        print(f"{path}: {what} since it was written{kept}; the step is run again")
        if what == CHANGED:
            path.replace(path.with_name(path.name + ASIDE))
    return found


def _place(folder: Path, name: str) -> Path:
    """The path of an output; some are in the folder above."""
    return Path(os.path.normpath(Path(folder) / name))


def changed(folder: Path, recorded: Mapping[str, str]) -> dict[str, str]:
    """The files that differ from their recorded hashes, by name relative to `folder`: "missing" or "changed"."""
    folder = Path(folder)
    known, found = _stamps(folder), {}
    noted = dict(known)
    for name, value in recorded.items():
        try:
            facts = (folder / name).stat()
        except OSError:
            found[name] = MISSING
            continue
        times = (facts.st_mtime_ns, facts.st_ctime_ns)
        stamp = [value, facts.st_size, *times, facts.st_ino]
        if known.get(name) == stamp and stat.S_ISREG(facts.st_mode):
            continue
        if not stat.S_ISREG(facts.st_mode) or sha256(folder / name) != value:
            found[name] = CHANGED
        elif time.time_ns() - max(times) > SETTLED:
            noted[name] = stamp
    if noted != known:
        with contextlib.suppress(OSError):  # a folder that cannot be written to is checked in full each time
            write_text(folder / STAMPS, json.dumps(noted))
    return found


def _stamps(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / STAMPS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def require_whole(path: Path, what: str) -> None:
    """Raise InputError if a file that is only appended to lost or changed anything that it had at the last call.

    Its length and hash are noted in a hidden file in the same folder. `what` names its contents
    in the error, such as verdicts or paid replies.
    """
    path = Path(path)
    note = path.with_name(f".{path.name}.seen")
    try:
        seen = json.loads(note.read_bytes())
        size, value = int(seen["size"]), seen["sha256"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        size, value = 0, ""
    content = path.read_bytes() if path.is_file() else b""
    if size and hashlib.sha256(content[:size]).hexdigest() != value:
        gone = "are missing" if len(content) < size else "were changed"
        raise InputError(
            f"{path}: {what} {gone} (the file had {size} bytes, and is only ever appended to); restore it, or delete "
            f"{note} to continue without them"
        )
    if len(content) > size:
        with contextlib.suppress(OSError):
            write_text(note, json.dumps({"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}))


def sealed(value: dict) -> dict:
    """A JSON object with its own hash under the key "seal", by which a change of the written file is noticed."""
    return {**value, SEAL: _seal(value)}


def is_sealed(value: Mapping) -> bool:
    """Whether an object that was read is as it was sealed."""
    return value.get(SEAL) == _seal(value)


def _seal(value: Mapping) -> str:
    """The hash of an object as it will be read back: a float that is not finite is written as null."""
    content = {key: one for key, one in value.items() if key != SEAL}
    return digest(json.loads(json.dumps(content), parse_constant=lambda _: None))
