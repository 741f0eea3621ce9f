"""Folders of exports: only an earlier export of the same kind is ever replaced."""

from pathlib import Path

from ..files import MANIFEST, InputError, read_record


def clear(to: Path, kind: str) -> None:
    """Remove an earlier export of this kind from a folder; InputError if the folder has other files."""
    if not to.exists():
        return
    if not to.is_dir():
        raise InputError(f"{to}: is a file; give a folder that does not exist yet")
    if not any(to.iterdir()):
        return
    manifest = to / MANIFEST
    known = read_record(manifest) if manifest.is_file() else {}
    if known.get("kind") != kind:
        raise InputError(f"{to}: has files that are not an earlier export of this kind; give a new or empty folder")
    for name in known["outputs"]:
        if (to / name).resolve().is_relative_to(to.resolve()):
            (to / name).unlink(missing_ok=True)
    manifest.unlink()
