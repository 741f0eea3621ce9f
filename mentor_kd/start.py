"""The command `mentor-kd start`: notebooks, parameter files and the sandbox's data in a folder of the user's."""

import shutil
from pathlib import Path

from .files import ROOT, InputError

CARRIED = ("notebooks", "data/sandbox", "data/models", "data/paper", "data/README.md")


def start(folder: Path) -> list[str]:
    """Copy what is carried along into a folder that lacks it; the names of what was copied.

    Raises InputError where the folder holds one of them already, and where this installation has nothing to copy.
    """
    folder = Path(folder)
    if missing := [name for name in CARRIED if not (ROOT / name).exists()]:
        raise InputError(f"{ROOT}: {missing[0]} is not there, so there is nothing to copy; install mentor-kd again")
    for name in CARRIED:
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists already; name another folder, as nothing is overwritten")
    for name in CARRIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
        else:
            shutil.copyfile(source, target)
    return list(CARRIED)
