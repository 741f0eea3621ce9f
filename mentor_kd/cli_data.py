"""The command `python -m mentor_kd data look`: the first look at your own data, before anything is written."""

import argparse
import re
from pathlib import Path

from .data.folder import require_folder_name
from .parsing import parse_yaml

SUMMARY = "Look at your own data: what is recognised, left out, and trained on."
MORE = """\
Prints rows and splits, the form and the columns that were recognised, the answer type, rows left out with reasons, and
three examples with the text that a model is trained to write. Writes nothing.

DATA is a JSON, JSONL, CSV, TSV, Parquet or Arrow file, a folder saved by `datasets`, or
hub:owner/name[@revision][:config][:split]."""
EXAMPLES = """\
  mentor-kd data look my.csv
  mentor-kd data look train.jsonl --test test.jsonl --columns '{question: problem, answer: final}'
  mentor-kd data look hub:openai/gsm8k:main"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("data", metavar="DATA", help="a file, a folder, or a hub id")
    one.add_argument("--test", default="", metavar="DATA", help="a second file, folder or hub id: the test questions")
    one.add_argument(
        "--columns", default="{}", metavar="YAML", help="names of the columns, such as '{question: problem}'"
    )
    one.add_argument("--task", default="", metavar="NAME", help="task name (default: the file's name)")
    one.add_argument(
        "--answer-type",
        default="",
        metavar="TYPE",
        help="number, math, choice, yes/no, text or pattern (default: guessed)",
    )
    one.add_argument(
        "--answer-pattern", default="", metavar="REGEX", help="what an answer looks like, for type pattern"
    )
    one.add_argument("--answer-choices", default="", metavar="LETTERS", help="letters of the choices, for type choice")


def task_name(data: str) -> str:
    """A task's name from a file, a folder or a hub id."""
    place = re.split("[@:]", data.removeprefix("hub:"))[0] if data.startswith("hub:") else Path(data).stem
    return re.sub(r"[^a-z0-9]+", "-", place.rpartition("/")[2].lower()).strip("-") or "task"


def run(args: argparse.Namespace) -> int:
    """Print the look, and how to go on."""
    from .pipeline.collect import CollectSettings, look_text  # imported here to keep --help fast
    from .progress import visible

    name = args.task or task_name(args.data)
    require_folder_name("--task", name)
    settings = CollectSettings(
        data=args.data,
        columns=parse_yaml(args.columns, "--columns"),
        data_test=args.test,
        answer_type=args.answer_type,
        answer_pattern=args.answer_pattern,
        answer_choices=args.answer_choices,
    )
    found = look_text(name, settings)
    print(found or visible(f"{args.data}: this is not your own data; pass a file, a folder or a hub id"))
    return 0
