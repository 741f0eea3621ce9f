"""The command `python -m mentor_kd distill`: from a file with rationales to a student, its report and its data set."""

import argparse
import time
from pathlib import Path

from .cli_options import add_answers, add_columns, add_parameters, columns_of
from .files import ROOT, InputError, reports_root

SUMMARY = "From a file with rationales to a student: look, train, report, export."
MORE = """\
Takes your questions with rationales (a file, a folder saved by `datasets`, or hub:owner/name; see docs/data.md),
reports what it recognised and what it will do, then runs notebooks 01 to 07: a mentor, its rationales, the filters, one
student on the teacher's rationales alone (vanilla-kd) and one on both (mentor-kd). Writes the report, the distillation
set and a student that `mentor-kd push` can upload. The default models are the sandbox's tiny decoders; for real ones,
pass --mentor and --student."""
EXAMPLES = """\
  python -m mentor_kd distill my.jsonl --dry-run
  python -m mentor_kd distill my.csv --columns "{question: problem, rationale: solution, answer: final}"
  python -m mentor_kd distill hub:owner/name --mentor Qwen/Qwen3-1.7B --student Qwen/Qwen3-0.6B -p epochs=3"""
METHODS = ["vanilla-kd", "mentor-kd"]


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("data", help="file, folder, or hub:owner/name")
    one.add_argument("--run", default="", metavar="NAME", help="name of the run (default: the task's name)")
    one.add_argument("--task", default="", metavar="NAME", help="name of the task (default: the file's name)")
    add_answers(one)
    add_columns(one)
    one.add_argument("--mentor", default="", metavar="MODEL", help="hub id, folder or sandbox size")
    one.add_argument("--student", default="", metavar="MODEL", help="hub id, folder or sandbox size")
    add_parameters(one, "set any other parameter of notebooks/params/own.yaml; repeatable")
    one.add_argument("--dry-run", action="store_true", help="inspect the data, print what would run, and exit")


def run(args: argparse.Namespace) -> int:
    """Look at the data, run the notebooks, export; returns 0 when all is written."""
    from .progress import duration
    from .runs import estimates, follow
    from .runs import run as runs

    started = time.monotonic()
    parameters = _parameters(args)
    print(_look(parameters), end="\n\n")
    jobs = runs.plan(parameters)
    seconds = sum(estimates.of_run(jobs))
    about = f", about {duration(seconds)}" if seconds else ""
    print(
        f"run {parameters['run']}: mentor {parameters['mentor']} for {parameters['mentor_epochs']} epochs, then a "
        f"student {parameters['student']} for {parameters['epochs']} epochs with each of "
        f"{', '.join(parameters['methods'])}; {len(jobs)} notebooks{about}"
    )
    if args.dry_run:
        return 0
    with follow.Line() as line:
        index = runs.run(parameters, line.say, line.show)
    print(f"\n{runs.table(index.parent)}\n")
    folder = reports_root() / parameters["run"] / parameters["task"]
    print(_written(index, folder, parameters))
    print(f"done after {duration(time.monotonic() - started)}")
    return 0


def _parameters(args: argparse.Namespace) -> dict:
    """The parameters of the run: own.yaml, the command line, and the answer type that the data has."""
    from .pipeline import parameters as mapping
    from .pipeline.own_task import name_of, with_answer_type
    from .runs import notebooks

    parameters = notebooks.read_parameters(ROOT / "notebooks" / "params" / "own.yaml", args.parameter)
    named = {one.partition("=")[0] for one in args.parameter}
    parameters |= {name: value for name, value in (("methods", METHODS), ("seeds", [0])) if name not in named}
    task = args.task or name_of(args.data)
    given = {"data": args.data, "task": task, "run": args.run or task, "data_test": args.data_test}
    given["columns"] = columns_of(args)
    answers = ("answer_type", "answer_choices", "answer_pattern")
    given |= {name: getattr(args, name) for name in ("mentor", "student", *answers)}
    parameters |= {name: value for name, value in given.items() if value}
    found = with_answer_type(task, mapping.collect_settings(parameters))
    return parameters | {name: getattr(found, name) for name in answers}


def _look(parameters: dict) -> str:
    """The first look at the data. Raises InputError if it has no rationale to learn from."""
    from .pipeline import parameters as mapping
    from .pipeline.collect import look_text, make, task_for

    settings = mapping.collect_settings(parameters)
    look = look_text(parameters["task"], settings)
    if not parameters.get("teacher"):
        _, rationales, _ = make(task_for(parameters["task"], settings), settings)
        if not any(row.correct for row in rationales):
            raise InputError(
                f"{look}\n\n{settings.data}: no rationale concludes with its gold answer, so there is nothing to learn "
                "from; have a teacher write some with `mentor-kd annotate`, then pass -p teacher=FILE"
            )
    return look


def _written(index: Path, folder: Path, parameters: dict) -> str:
    from .export import dataset
    from .export.settings import SetSettings

    best = parameters["methods"][-1]
    student = folder / "students" / f"{best}-seed{parameters['seeds'][0]}"
    facts = dataset.export(folder, folder / "export", SetSettings())
    return (
        f"report:  {index}\n"
        f"set:     {folder / 'export'} ({facts['exported']} rationales)\n"
        f"student: {student}\n"
        f'try it:  python -m mentor_kd predict {student} "..."\n'
        f"upload:  python -m mentor_kd push {student} hub:owner/name"
    )


COMMANDS = {"distill": ((SUMMARY, MORE, EXAMPLES), add_arguments, run)}
