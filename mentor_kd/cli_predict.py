"""The command `python -m mentor_kd predict`: a saved model answers new questions."""

import argparse
from pathlib import Path

from .files import InputError

SUMMARY = "Answer new questions with a trained student or mentor."
EXAMPLES = """\
  python -m mentor_kd predict reports/quick/sandbox-sums/students/mentor-kd-seed0 "Ann has ..."
  python -m mentor_kd predict reports/quick/sandbox-sums/mentor --file questions.csv --out answers.csv"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("model", help="folder of the saved model")
    one.add_argument("question", nargs="*", help="one or more questions")
    one.add_argument("--file", help="read questions from .txt (one per line), .csv or .jsonl (column `question`)")
    one.add_argument("--out", metavar="FILE", help="write the answers to .csv or .jsonl (default: print them)")


def run(args: argparse.Namespace) -> int:
    """Print or write the answers."""
    from .evaluation import predict

    questions = list(args.question)
    if args.file:
        questions += predict.read_list(Path(args.file))
    if not questions:
        raise InputError("no question was given; write one after the model, or pass a file with --file")
    predict.check_out(args.out)
    predict.write_answers(predict.predict(Path(args.model), questions), Path(args.out) if args.out else None)
    return 0


COMMANDS = {"predict": ((SUMMARY, "", EXAMPLES), add_arguments, run)}
