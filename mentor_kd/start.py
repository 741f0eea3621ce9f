"""The command `mentor-kd start`: copy notebooks, parameter files and sandbox data into a user's folder."""

import argparse
import shutil
from pathlib import Path

from .files import ROOT, InputError
from .models.names import SANDBOX_MODELS

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
            shutil.copytree(source, target, ignore=_left_behind)
        else:
            shutil.copyfile(source, target)
    return list(CARRIED)


def _left_behind(folder: str, names: list[str]) -> list[str]:
    """Names that are not copied: notebooks' checkpoints, and models that were fetched, cut or healed here."""
    fetched = [name for name in names if (Path(folder) / name / "config.json").is_file() and name not in SANDBOX_MODELS]
    return [*fetched, ".ipynb_checkpoints"]


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the argument of the command to its parser."""
    one.add_argument("folder", help="folder to create; existing files are never overwritten")


def run(args: argparse.Namespace) -> int:
    """Copy, and print what to do next."""
    copied = start(Path(args.folder))
    print(f"{args.folder}: {', '.join(copied)}")
    print(f"next: cd {args.folder} && jupyter lab notebooks/00_tour.ipynb, or: mentor-kd reproduce")
    return 0


SUMMARY = "Create a folder with notebooks, parameter files and sandbox."
MORE = """\
For an installation without a checkout. Commands run in that folder use its notebooks and parameter files, and write to
its reports/."""
EXAMPLES = "  mentor-kd start my-study && cd my-study"
COMMANDS = {"start": ((SUMMARY, MORE, EXAMPLES), add_arguments, run)}
