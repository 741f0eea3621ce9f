"""The commands `data look`, which inspects your own data, and `data fetch`, which downloads the paper's."""

import argparse
from pathlib import Path

from .cli_options import add_answers, add_columns, own_data
from .data.folder import require_folder_name
from .files import WORK

SUMMARY = "Look at your own data: what is recognised, left out, and trained on."
MORE = """\
Prints rows and splits, the form and the columns that were recognised, the answer type, rows left out with reasons, and
three examples with the text that a model is trained to write. Writes nothing.

DATA is a JSON, JSONL, CSV, TSV, Parquet or Arrow file, a folder saved by `datasets`, or
hub:owner/name[@revision][:config][:split]."""
EXAMPLES = """\
  mentor-kd data look my.csv
  mentor-kd data look train.jsonl --data-test test.jsonl --columns '{question: problem, answer: final}'
  mentor-kd data look hub:openai/gsm8k:main"""


def add_look(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `data look`."""
    one.add_argument("data", metavar="DATA", help="a file, a folder, or a hub id")
    one.add_argument("--task", default="", metavar="NAME", help="task name (default: the file's name)")
    add_columns(one)
    add_answers(one)


def look(args: argparse.Namespace) -> int:
    """Print what was recognised in the data."""
    from .pipeline.collect import look_text  # imported here to keep --help fast
    from .pipeline.own_task import name_of
    from .progress import visible

    name = args.task or name_of(args.data)
    require_folder_name("--task", name)
    found = look_text(name, own_data(args))
    print(found or visible(f"{args.data}: this is not your own data; pass a file, a folder or a hub id"))
    return 0


def add_fetch(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `data fetch`."""
    one.add_argument("--from", dest="source", metavar="DIR", help="install from a local copy, complete or partial")
    one.add_argument("--to", metavar="DIR", help="destination (default: data/official/)")


def fetch(args: argparse.Namespace) -> int:
    """Install the paper's data and print what is there; returns 1 if files are missing."""
    from .data import download

    destination = Path(args.to) if args.to else WORK / "data" / "official"
    report = download.fetch(destination, Path(args.source) if args.source else None)
    print(report)
    return 0 if report.complete or (args.source and not report.failed) else 1


ABOUT = "Look at your own data, or download the paper's."
COMMANDS = {
    "look": ((SUMMARY, MORE, EXAMPLES), add_look, look),
    "fetch": (
        (
            "Download the paper's data and verify every file.",
            "Installs the authors' questions and teacher rationales at a pinned commit into data/official/ and checks "
            "the git blob hash of each file. Files already installed are kept, so run the command again after an "
            "interruption. To use data stored elsewhere, set MENTOR_KD_OFFICIAL_DATA to the folder that contains its "
            "data/.",
            "",
        ),
        add_fetch,
        fetch,
    ),
}
