"""The command line: `python -m mentor_kd COMMAND`. Each command has a --help."""

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

from . import __version__, cli_annotate, cli_data, cli_distill, cli_export, cli_models
from .files import ROOT, WORK, InputError, RunFailed, reports_root
from .progress import visible


def _run(args: argparse.Namespace) -> int:
    from .progress import duration
    from .runs import follow, notebooks, run

    started = time.monotonic()
    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    if args.dry_run:
        jobs = run.plan(parameters)
        for job in jobs:
            print(f"{job.key}: " + ", ".join(f"{name}={value!r}" for name, value in job.parameters.items()))
        for look in run.looks(jobs):
            print(f"\n{look}")
        return 0
    with follow.Line() as line:
        index = run.run(parameters, line.say, line.show)
    print()
    print(run.table(index.parent))
    print(f"\nreport: {_shown(index)} (after {duration(time.monotonic() - started)})")
    return 0


def _shown(path: Path) -> str:
    """The path relative to the working directory, if it is inside it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _reproduce(args: argparse.Namespace) -> int:
    args.params, args.dry_run = str(ROOT / "notebooks" / "params" / "quick.yaml"), False
    return _run(args)


def _sweep(args: argparse.Namespace) -> int:
    from rich.console import Console

    from .models.shapes import GPUS, own_gpu
    from .runs import grids, sweep_report

    gpu = args.gpu or own_gpu()
    if gpu not in GPUS:
        raise InputError(f"--gpu must be one of {', '.join(GPUS)}, got {gpu!r}")
    if args.workers < 1 or args.memory < 0:
        raise InputError(f"--workers must be >= 1 and --memory >= 0, got {args.workers} and {args.memory:g}")
    grid, console = grids.read(Path(args.params), args.parameter), Console()
    if not console.is_terminal:
        console.width = 150  # not a terminal: do not wrap at 80 columns
    cells = grid.chosen(args.cell) if args.cell else list(grid.cells)
    if args.dry_run:
        sweep_report.show_plan(grid, cells, gpu, console)
        return 0
    state = None if args.table else sweep_report.run(grid, cells, args.workers, args.memory, gpu, console)
    if state is None or len(state.failed) < len(state.wanted):
        folder = sweep_report.write(grid)
        sweep_report.show_results(grid, console)
        print(f"report: {_shown(folder / 'index.html')} · tables: {_shown(folder / 'results.csv')}")
        if grid.study:
            from .runs import findings

            found = findings.write(grid)
            print(*findings.sentences(found.differences), sep="\n")
            print(f"comparison with the paper: {_shown(found.folder / 'chart.png')}")
            sweep_report.write_page(grid)  # again, as the findings are now there
    if state and state.failed:
        key, why = next(iter(state.failed.items()))
        raise RunFailed(
            f"{len(state.failed)} of {len(state.wanted)} stages failed, first {key}: {why}. "
            f"Fix the cause and run the same command again to resume."
        )
    return 0


def _bench(args: argparse.Namespace) -> int:
    import pandas

    from .runs import follow, notebooks, run

    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    with follow.Line() as line:
        folder = run.run_one("90_measure_speed", parameters, line.say, line.show)
    tables = "padding ratios memory fidelity cache sampling_ratios sampling_natural_ratios cost"
    for table in tables.split():
        print(f"\n{table}\n{pandas.read_csv(folder / 'bench' / f'{table}.csv').round(4).to_string(index=False)}")
    print(f"\nall tables and figures: {_shown(folder / 'bench')}; report: ", end="")
    print(_shown(folder / "notebooks" / "90_measure_speed.html"))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from .data.download import fetch

    destination = Path(args.to) if args.to else WORK / "data" / "official"
    report = fetch(destination, Path(args.source) if args.source else None)
    print(report)
    return 0 if report.complete or (args.source and not report.failed) else 1


def _report(args: argparse.Namespace) -> int:
    from .report import run_report
    from .runs import run

    folder = reports_root() / args.run if not Path(args.run).is_dir() else Path(args.run)
    index = run_report.write(folder)
    print(run.table(folder))
    print(f"\nreport: {_shown(index)}")
    return 0


def _predict(args: argparse.Namespace) -> int:
    from .evaluation import predict

    questions = list(args.question)
    if args.file:
        questions += predict.read_list(Path(args.file))
    if not questions:
        raise InputError("no question was given; write one after the model, or pass a file with --file")
    predict.check_out(args.out)
    predict.write_answers(predict.predict(Path(args.model), questions), Path(args.out) if args.out else None)
    return 0


def _augment(args: argparse.Namespace) -> int:
    from .files import read_record
    from .models.generation import Sampling
    from .pipeline.augment import Augmenter, augment
    from .teacher.connection import EndpointSettings

    folder = Path(args.folder)
    usual = folder / "mentor" / "manifest.json"
    if not os.path.lexists(usual):
        raise InputError(f"{folder}: mentor/manifest.json is missing; pass reports/<run>/<task> with a trained mentor")
    sampling = Sampling(
        n=args.samples,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens or read_record(usual, max_new_tokens=int)["max_new_tokens"],
        batch_size=args.generation_batch,
        seed=args.seed,
    )
    where = EndpointSettings(base_url=args.base_url, key_env=args.key_env, in_flight=args.in_flight)
    made = augment(folder, sampling, Augmenter(endpoint=where, served=args.model))
    print(f"{made['rows']} samples in {_shown(folder / 'augmented' / 'mentor.jsonl')}")
    return 0


def _start(args: argparse.Namespace) -> int:
    from .start import start

    copied = start(Path(args.folder))
    print(f"{args.folder}: {', '.join(copied)}")
    print(f"next: cd {args.folder} && jupyter lab notebooks/00_tour.ipynb, or: mentor-kd reproduce")
    return 0


RAW = argparse.RawDescriptionHelpFormatter
RESUMES = "Run the same command again to resume; finished work that has not changed is not repeated."


def _wrapped(text: str) -> str:
    """Paragraphs wrapped at 80 columns."""
    return "\n\n".join(textwrap.fill(part, 80, break_on_hyphens=False) for part in text.split("\n\n"))


def parser() -> argparse.ArgumentParser:
    """The argument parser with all commands."""
    top = argparse.ArgumentParser(
        prog="python -m mentor_kd",
        description=_wrapped(
            "A workbench for reasoning distillation. A teacher's rationales train a mentor, the mentor writes more "
            "rationales and soft labels, and a small student is distilled from what you keep."
        ),
        epilog="getting started:\n"
        "  python -m mentor_kd reproduce         # ten minutes on two cores; no GPU or API key\n"
        "  jupyter lab notebooks/00_tour.ipynb   # the whole method on one page\n"
        "  python -m mentor_kd COMMAND --help    # options and examples of a command\n\n"
        "`mentor-kd` is short for `python -m mentor_kd`.\n"
        "Exit codes: 0 success, 1 failed or incomplete, 2 invalid input, 130 interrupted.",
        formatter_class=RAW,
    )
    top.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    commands = top.add_subparsers(required=True, title="commands", metavar="COMMAND")

    def add(name: str, function, summary: str, more="", examples="", to=commands) -> argparse.ArgumentParser:
        about = _wrapped(f"{summary}\n\n{more}".strip())
        epilog = examples and f"examples:\n{examples}"
        made = to.add_parser(name, help=summary, description=about, epilog=epilog, formatter_class=RAW)
        made.set_defaults(function=function)
        return made

    def add_override(one: argparse.ArgumentParser) -> None:
        text = "override one parameter; repeatable"
        one.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help=text)

    one = add(
        "reproduce",
        _reproduce,
        "Run the quick reproduction on the embedded sandbox.",
        "Two tasks, about ten minutes on two cores; no GPU or API key needed. Writes reports/quick/index.html. Same as "
        f"`run --params notebooks/params/quick.yaml`.\n\n{RESUMES}",
    )
    add_override(one)

    one = add(
        "start",
        _start,
        "Create a folder with notebooks, parameter files and sandbox.",
        "For an installation without a checkout. Commands run in that folder use its notebooks and parameter files, "
        "and write to its reports/.",
        "  mentor-kd start my-study && cd my-study",
    )
    one.add_argument("folder", help="folder to create; existing files are never overwritten")

    one = add(
        "run",
        _run,
        "Run the notebooks headlessly with parameters from a YAML file.",
        f"Runs notebooks 01 to 06 for each task and 07 for all, and writes reports/<run>/index.html.\n\n{RESUMES}",
        "  python -m mentor_kd run --params notebooks/params/quick.yaml --dry-run\n"
        '  python -m mentor_kd run --params notebooks/params/quick.yaml -p run=mine -p "seeds=[0,1,2]"',
    )
    one.add_argument("--params", required=True, metavar="FILE", help="YAML file of parameters; see notebooks/params/")
    add_override(one)
    one.add_argument("--dry-run", action="store_true", help="check the parameters, print what would run, and exit")

    one = add(
        "sweep",
        _sweep,
        "Run a grid over methods, tasks, models, seeds or any parameter.",
        "Work that cells share (questions, mentor, its samples and soft labels) is done once. Writes "
        f"reports/<sweep>/results.csv, and one report per model size in reports/<sweep>/charts/.\n\n{RESUMES}",
        "  python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --dry-run --gpu h100\n"
        "  python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --workers 4",
    )
    one.add_argument("--params", required=True, metavar="FILE", help="YAML file of the grid; see notebooks/params/")
    add_override(one)
    text = "maximum number of concurrent stages; available memory may allow fewer (default: 1)"
    one.add_argument("--workers", type=int, default=1, metavar="N", help=text)
    text = "GB to use on each GPU, or on a machine without one (default: nearly all)"
    one.add_argument("--memory", type=float, default=0, metavar="GB", help=text)
    text = "run only this cell, or the cells under a prefix (svamp) or matching a pattern with * and ?; repeatable"
    one.add_argument("--cell", action="append", default=[], metavar="NAME", help=text)
    text = "GPU to estimate cost for, such as h100, a100-80 or a6000 (default: this machine's)"
    one.add_argument("--gpu", default="", metavar="NAME", help=text)
    one.add_argument("--dry-run", action="store_true", help="check the grid, print the plan and its cost, and exit")
    one.add_argument("--table", action="store_true", help="run nothing; print and write the results so far")

    about = (cli_distill.SUMMARY, cli_distill.MORE, cli_distill.EXAMPLES)
    cli_distill.add_arguments(add("distill", cli_distill.run, *about))
    about = (cli_annotate.SUMMARY, cli_annotate.MORE, cli_annotate.EXAMPLES)
    cli_annotate.add_arguments(add("annotate", cli_annotate.run, *about))
    about = (cli_export.SUMMARY, cli_export.MORE, cli_export.EXAMPLES)
    cli_export.add_arguments(add("export", cli_export.run, *about))
    about = (cli_export.PUSH_SUMMARY, cli_export.PUSH_MORE, cli_export.PUSH_EXAMPLES)
    cli_export.add_push_arguments(add("push", cli_export.push, *about))

    one = add(
        "augment",
        _augment,
        "Sample a mentor served by vLLM or any OpenAI-compatible server.",
        f"Replaces notebook 03. If both use the same sampling settings, the notebook finds its work done.\n\n{RESUMES}",
        "  vllm serve reports/mine/gsm8k/mentor --served-model-name mentor\n"
        "  python -m mentor_kd augment reports/mine/gsm8k --base-url http://127.0.0.1:8000/v1 --model mentor",
    )
    one.add_argument("folder", help="task folder with a trained mentor, reports/<run>/<task>")
    one.add_argument("--base-url", required=True, metavar="URL", help="server URL, such as http://127.0.0.1:8000/v1")
    one.add_argument("--model", required=True, metavar="NAME", help="name of the mentor on the server")
    one.add_argument("--key-env", default="", metavar="NAME", help="environment variable that holds the key, if any")
    one.add_argument("--samples", type=int, default=3, metavar="N", help="samples per training question (default: 3)")
    one.add_argument("--temperature", type=float, default=0.7, metavar="T", help="sampling temperature (default: 0.7)")
    text = "top-k sampling; 0 if the server does not support it (default: 50)"
    one.add_argument("--top-k", type=int, default=50, metavar="K", help=text)
    one.add_argument("--top-p", type=float, default=1.0, metavar="P", help="nucleus sampling (default: 1.0)")
    text = "token limit of a sample (default: as stored with the mentor)"
    one.add_argument("--max-new-tokens", type=int, default=0, metavar="N", help=text)
    text = "batch size of notebook 03; no effect here except that it must match (default: 64)"
    one.add_argument("--generation-batch", type=int, default=64, metavar="N", help=text)
    one.add_argument("--seed", type=int, default=0, metavar="N", help="sampling_seed of notebook 03 (default: 0)")
    one.add_argument("--in-flight", type=int, default=64, metavar="N", help="concurrent requests (default: 64)")

    one = add(
        "predict",
        _predict,
        "Answer new questions with a trained student or mentor.",
        examples='  python -m mentor_kd predict reports/quick/sandbox-sums/students/mentor-kd-seed0 "Ann has ..."\n'
        "  python -m mentor_kd predict reports/quick/sandbox-sums/mentor --file questions.csv --out answers.csv",
    )
    one.add_argument("model", help="folder of the saved model")
    one.add_argument("question", nargs="*", help="one or more questions")
    one.add_argument("--file", help="read questions from .txt (one per line), .csv or .jsonl (column `question`)")
    one.add_argument("--out", metavar="FILE", help="write the answers to .csv or .jsonl (default: print them)")

    one = add("report", _report, "Rewrite the table, charts and index.html of a run.")
    one.add_argument("run", help="name of the run, or its folder")

    summary = "Look at your own data, or get the paper's."
    data = commands.add_parser("data", help=summary, description=summary)
    of_data = data.add_subparsers(required=True, title="commands", metavar="COMMAND")
    look = add("look", cli_data.run, cli_data.SUMMARY, cli_data.MORE, cli_data.EXAMPLES, to=of_data)
    cli_data.add_arguments(look)
    one = add(
        "fetch",
        _fetch,
        "Download the paper's data and verify every file.",
        "Installs the authors' questions and teacher rationales at a pinned commit into data/official/ and checks the "
        "git blob hash of each file. Files already installed are kept, so run the command again after an interruption. "
        "To use data stored elsewhere, set MENTOR_KD_OFFICIAL_DATA to the folder that contains its data/.",
        to=of_data,
    )
    one.add_argument("--from", dest="source", metavar="DIR", help="install from a local copy, complete or partial")
    one.add_argument("--to", metavar="DIR", help="destination (default: data/official/)")

    models = commands.add_parser("models", help=cli_models.ABOUT, description=cli_models.ABOUT)
    of_models = models.add_subparsers(required=True, title="commands", metavar="COMMAND")
    for name, (texts, add_arguments, function) in cli_models.COMMANDS.items():
        summary, more, examples = texts
        add_arguments(add(name, function, summary, more, examples, to=of_models))

    one = add(
        "bench",
        _bench,
        "Measure speed and memory of training and sampling.",
        "Compares the paper's training loop, this project's, and training on cross-entropy alone (the floor). Runs "
        "notebook 90 and prints its tables: padding, time, memory, soft-label cache, sampling. The default uses "
        "sandbox models and takes some minutes; bench-svamp.yaml uses the paper's data and real model shapes.",
        "  python -m mentor_kd bench --params notebooks/params/bench-svamp.yaml",
    )
    sizes, text = ROOT / "notebooks" / "params" / "bench-sandbox.yaml", "YAML file of notebook 90's parameters"
    one.add_argument("--params", default=str(sizes), metavar="FILE", help=f"{text} (default: bench-sandbox.yaml)")
    add_override(one)
    return top


def _interrupt(number, frame):
    """Treat SIGTERM like Ctrl-C, so that the running notebook saves a checkpoint first."""
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Give a process without standard input, output or error (as after `<&-`) the null device for it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))  # takes the lowest free number
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows escapes


def _said(error: OSError) -> str:
    """An error of the operating system in one line, with the file it concerns."""
    hints = {
        errno.ENOSPC: "; free some space and run the same command again to resume",
        errno.EDQUOT: "; free some space and run the same command again to resume",
        errno.EFBIG: "; the file would be larger than this system allows",
        errno.EROFS: "; choose a folder that you can write to",
        errno.EACCES: "; choose a folder or file that you have access to",
        errno.EPERM: "; choose a folder or file that you have access to",
    }
    what = error.strerror or str(error) or type(error).__name__
    file = f"{error.filename}: " if error.filename is not None else ""
    return f"{file}{what}{hints.get(error.errno or 0, '')}"


def _failed(text: object, code: int) -> int:
    print(f"error: {visible(str(text))}", file=sys.stderr)
    return code


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 1 for a failed run, 2 for invalid input, 130 for an interruption.

    An error of the operating system, such as a full disk, is one line and exit code 1. Any other exception is a mistake
    in the program and keeps its traceback.
    """
    _open_streams()
    args = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = args.function(args)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _failed(error, 2)
    except RunFailed as error:
        return _failed(error, 1)
    except KeyboardInterrupt as error:
        print(f"stopped. {str(error) or 'Run the same command again to resume.'}", file=sys.stderr)
        return 130
    except OSError as error:
        unread = isinstance(error, BrokenPipeError)  # as in `predict ... | head`: no reason for an error message
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            return 1 if unread else _failed(_said(error), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads the output: nothing is left to flush at exit
        return 1 if unread else _failed(f"standard output: {_said(error)}", 1)


if __name__ == "__main__":
    sys.exit(main())
