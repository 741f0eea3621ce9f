"""The command `mentor-kd start`: copy notebooks, parameter files and sandbox data into a user's folder."""

import shutil
from pathlib import Path

from .files import ROOT, InputError

CARRIED = ("notebooks", "data/sandbox", "data/models", "data/paper", "data/README.md", "reports/sandbox")


def start(folder: Path) -> list[str]:
    """Copy the notebooks and data of the installation into a folder; returns the names copied.

    Raises InputError if the folder already contains one of them, or if the installation lacks one.
    """
    folder = Path(folder)
    if missing := [name for name in CARRIED if not (ROOT / name).exists()]:
        raise InputError(f"{ROOT}: {missing[0]} is missing from the installation; reinstall mentor-kd")
    for name in CARRIED:
        if (folder / name).exists():
            raise InputError(f"{folder / name} already exists and would be overwritten; choose another folder")
    for name in CARRIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        else:
            shutil.copyfile(source, target)
    return list(CARRIED)
