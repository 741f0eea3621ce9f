"""The files of a sweep's stages: results passed on to the next stage, shared folders, and each stage's status."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from .. import disk, manifests
from ..files import InputError, read_record, sha256
from ..training.soft_label_cache import discard_damaged
from . import jobs
from .grids import Stage

OWN_WORK = ("notebooks", "figures", "students", "soft_labels")  # not passed on to the next stage
PARAMETERS = "../params.yaml"


def pass_on(source: Path, folder: Path) -> None:
    """Link or copy a stage's results to the folder of the next; files that are there already, unchanged, are kept."""
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        target = folder / inner
        if inner.parts[0] in OWN_WORK or path.is_dir() or path.name.startswith(".") or path.suffix == manifests.ASIDE:
            continue
        if _same(path, target):
            continue
        target.unlink(missing_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":  # large, and never modified: link instead of copy
            with contextlib.suppress(OSError):
                os.link(path, target)
                continue
        part = target.with_name(f".{target.name}.part")
        shutil.copy2(path, part)
        part.replace(target)


def _same(path: Path, other: Path) -> bool:
    if not other.is_file() or path.stat().st_size != other.stat().st_size:
        return False
    return path.samefile(other) or sha256(path) == sha256(other)


def _status(folder: Path) -> dict[str, Any]:
    """The status of the stage in a task's folder; empty if there is none, or if its file was changed."""
    try:
        found = read_record(folder.parent / "status.json")
    except InputError:
        return {}
    return found if manifests.is_sealed(found) else {}


def made(one: jobs.Job, stage: Stage) -> dict[str, str]:
    """Hashes of all files of a stage, given or made; the soft labels are shared, and checked where they are read."""
    every = jobs.made(one, *(part.notebook for part in stage.chain()))
    kept = {name: value for name, value in every.items() if not name.startswith("soft_labels/")}
    return {**kept, PARAMETERS: sha256(one.folder / PARAMETERS)}


def discard_damaged_soft_labels(sweep: Path) -> None:
    """Remove the mentors' cached soft labels that are not as they were written; they are computed again if needed."""
    for place in sorted(sweep.glob("*/*/soft_labels")):
        if not place.is_symlink():
            discard_damaged(place)


def succeeded(folder: Path) -> bool:
    """Whether the stage in a task's folder succeeded and left results."""
    known = _status(folder)
    return known.get("state") == "ok" and bool(known["made"])


def changed(folder: Path, before: list[Path]) -> dict[str, str]:
    """The files of a finished stage that are missing, changed, or replaced in the folders of the stages before it."""
    if not succeeded(folder):
        return {}
    made = _status(folder)["made"]
    found = manifests.changed(folder, made)
    for one in before:
        for name, value in _status(one).get("made", {}).items():
            if name != PARAMETERS and name in made and made[name] != value:
                found.setdefault(name, "replaced")
    return found


def note(folder: Path, **facts: object) -> None:
    """Add to the status of the stage in a task's folder; a new run of it starts from nothing."""
    path = folder.parent / "status.json"
    before = _status(folder) if facts["state"] != "running" else {}
    disk.write_status(path, manifests.sealed({**before, **facts}), path.parent)


def share(link: Path, folder: Path) -> None:
    """Make `link` a relative link to a folder, which is created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(folder, link.parent))
