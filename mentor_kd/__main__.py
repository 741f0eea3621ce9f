"""The command line: `python -m mentor_kd COMMAND`, with a --help for each."""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from . import __version__, cli_annotate
from .files import ROOT, WORK, InputError, RunFailed, reports_root


def _run(args: argparse.Namespace) -> int:
    from .progress import duration
    from .runs import notebooks, run

    started = time.monotonic()
    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    if args.dry_run:
        for job in run.plan(parameters):
            print(f"{job.key}: " + ", ".join(f"{name}={value!r}" for name, value in job.parameters.items()))
        return 0
    index = run.run(parameters)
    print()
    print(run.table(index.parent))
    print(f"\nreport: {_shown(index)} (after {duration(time.monotonic() - started)})")
    return 0


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
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
        raise InputError(f"--gpu {gpu}: known are {', '.join(GPUS)}")
    if args.workers < 1 or args.memory < 0:
        raise InputError("--workers is a number from 1, --memory a number of GB from 0")
    grid, console = grids.read(Path(args.params), args.parameter), Console()
    if not console.is_terminal:
        console.width = 150  # a log has room
    cells = grid.chosen(args.cell) if args.cell else list(grid.cells)
    if args.dry_run:
        sweep_report.show_plan(grid, cells, gpu, console)
        return 0
    state = None if args.table else sweep_report.run(grid, cells, args.workers, args.memory, gpu, console)
    if state is None or len(state.failed) < len(state.wanted):
        folder = sweep_report.write(grid)
        sweep_report.show_results(grid, console)
        print(f"tables: {_shown(folder / 'results.csv')} · reports: {_shown(folder / 'charts')}/*/index.html")
        if grid.study:
            from .runs import findings

            found = findings.write(grid)
            print(*findings.sentences(found.differences), sep="\n")
            print(f"beside the paper: {_shown(found.folder / 'chart.png')}")
    if state and state.failed:
        key, why = next(iter(state.failed.items()))
        raise RunFailed(
            f"{len(state.failed)} of {len(state.wanted)} stages failed, the first {key}: {why}. Mend it and run the "
            f"same command: it goes on from there."
        )
    return 0


def _bench(args: argparse.Namespace) -> int:
    import pandas

    from .runs import notebooks, run

    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    folder = run.run_one("90_measure_speed", parameters)
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
        raise InputError("no question was given; write one behind the model, or name a file with --file")
    predict.check_out(args.out)
    predict.write_answers(predict.predict(Path(args.model), questions), Path(args.out) if args.out else None)
    return 0


def _augment(args: argparse.Namespace) -> int:
    from .files import read_json
    from .models.generation import Sampling
    from .pipeline.augment import Augmenter, augment
    from .teacher.connection import EndpointSettings

    folder = Path(args.folder)
    usual = folder / "mentor" / "manifest.json"
    if not usual.exists():
        raise InputError(f"{folder}: no mentor/manifest.json there; give reports/<run>/<task> with a trained mentor")
    sampling = Sampling(
        n=args.samples,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        max_new_tokens=args.max_new_tokens or read_json(usual)["max_new_tokens"],
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


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="python -m mentor_kd",
        description="A workbench for reasoning distillation: a teacher's rationales train a mentor, the mentor writes "
        "more rationales and soft labels, and a small student learns from what is left.",
        epilog="Start with `python -m mentor_kd reproduce`, or open notebooks/00_tour.ipynb in JupyterLab.",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="command")

    def add(name: str, function, summary: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=summary, description=f"{summary} {more}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        made.set_defaults(function=function)
        return made

    again = "\n\nRun again, it goes on where it was; what is done and unchanged is not computed again."
    one = add(
        "run",
        _run,
        "Run the notebooks headlessly from a YAML of parameters.",
        "\n\nRuns 01 to 06 for each task and 07 for all, and writes reports/<run>/index.html."
        + again
        + "\n\nexample: python -m mentor_kd run --params notebooks/params/quick.yaml -p run=mine -p seeds=[0,1,2]",
    )
    one.add_argument("--params", required=True, help="YAML file of parameters; see notebooks/params/")
    one.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="override one")
    one.add_argument("--dry-run", action="store_true", help="check the parameters, print what would run, and stop")

    one = add(
        "sweep",
        _sweep,
        "Run a grid: methods x tasks x models x seeds, or any parameter, several at a time.",
        "\n\nWhat cells share (questions, mentor, its samples, its soft labels) is computed once. Results:\n"
        "reports/<sweep>/results.csv, and a report for each size in reports/<sweep>/charts/."
        + again
        + "\n\nexample: python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --dry-run --gpu h100"
        "\n         python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --workers 4",
    )
    one.add_argument("--params", required=True, help="YAML file of the grid; see notebooks/params/paper-*.yaml")
    one.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="override one")
    one.add_argument("--workers", type=int, default=1, help="stages at a time, as far as memory allows (default: 1)")
    one.add_argument(
        "--memory", type=float, default=0, metavar="GB", help="to share, on each GPU (default: what it has)"
    )
    one.add_argument(
        "--cell", action="append", default=[], metavar="NAME", help="only this cell, or those whose names begin so"
    )
    one.add_argument("--gpu", default="", help="for the estimates: h100, a100-80, a6000, ... (default: this machine's)")
    one.add_argument("--dry-run", action="store_true", help="check the grid, print the plan and its cost, and stop")
    one.add_argument("--table", action="store_true", help="print and write what is done so far, run nothing")

    one = add("reproduce", _reproduce, "The quick reproduction on the sandbox: two tasks, minutes on two cores.", again)
    one.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="override a parameter"
    )

    one = add(
        "bench",
        _bench,
        "Measure speed: the paper's loop, ours, and the floor, side by side on this machine.",
        "\n\nRuns notebook 90 and prints its tables: padding, time, memory, soft-label cache, sampling. Without\n"
        "--params it takes sandbox models and some minutes; bench-svamp.yaml has the paper's data and true shapes."
        "\n\nexample: python -m mentor_kd bench --params notebooks/params/bench-svamp.yaml",
    )
    sizes = ROOT / "notebooks" / "params" / "bench-sandbox.yaml"
    one.add_argument("--params", default=str(sizes), help="YAML file of notebook 90's parameters")
    one.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="override one")

    cli_annotate.add_arguments(add("annotate", cli_annotate.run, cli_annotate.SUMMARY, cli_annotate.MORE))

    one = add(
        "augment",
        _augment,
        "Sample a mentor that is served by vLLM or another OpenAI-compatible server, instead of notebook 03.",
        again + "\n\nexample: vllm serve reports/mine/gsm8k/mentor --served-model-name mentor\n"
        "         python -m mentor_kd augment reports/mine/gsm8k --base-url http://127.0.0.1:8000/v1 --model mentor"
        "\n\nWith the settings that notebook 03 has, it finds its work done.",
    )
    one.add_argument("folder", help="the task's folder, reports/<run>/<task>, with a trained mentor")
    one.add_argument("--base-url", required=True, metavar="URL", help="of the server, such as http://127.0.0.1:8000/v1")
    one.add_argument("--model", required=True, help="the mentor's name at the server")
    one.add_argument("--key-env", default="", metavar="NAME", help="environment variable that holds the key, if any")
    one.add_argument("--samples", type=int, default=3, metavar="N", help="for each training question; default: 3")
    one.add_argument("--temperature", type=float, default=0.7, help="default: 0.7")
    one.add_argument("--top-k", type=int, default=50, metavar="K", help="default: 50; 0 where the server knows none")
    one.add_argument("--top-p", type=float, default=1.0, metavar="P", help="default: 1")
    one.add_argument("--max-new-tokens", type=int, default=0, metavar="N", help="0 (default): as its training suggests")
    one.add_argument("--generation-batch", type=int, default=64, help="notebook 03's; it changes nothing here")
    one.add_argument("--seed", type=int, default=0, help="sampling_seed of notebook 03")
    one.add_argument("--in-flight", type=int, default=64, metavar="N", help="requests at once; default: 64")

    data = commands.add_parser("data", help="The paper's own data.", description="The paper's own data.")
    inner = data.add_subparsers(required=True, metavar="command")
    one = inner.add_parser(
        "fetch",
        help="Get the paper's data, verified file by file.",
        description="Get the paper's data at its pinned commit into data/official/. Each file's git blob hash is "
        "verified; files already there are kept, so a fetch that broke off is simply run again. Where the data lies "
        "elsewhere, the environment variable MENTOR_KD_OFFICIAL_DATA names the folder that holds its data/.",
    )
    one.add_argument("--from", dest="source", metavar="DIR", help="take a local copy, whole or in part")
    one.add_argument("--to", metavar="DIR", help="install there instead of data/official/")
    one.set_defaults(function=_fetch)

    one = add(
        "start",
        _start,
        "Copy notebooks, parameter files and the sandbox into a folder, for an installation without a checkout.",
        "\n\nCommands that are run in that folder use its notebooks and parameter files, and write reports/ there."
        "\n\nexample: mentor-kd start my-study",
    )
    one.add_argument("folder", help="a new folder; nothing that exists is overwritten")

    one = add("report", _report, "Write a run's table, chart and index.html again.")
    one.add_argument("run", help="name of the run, or its folder")

    one = add(
        "predict",
        _predict,
        "Answer new questions with a saved student or mentor.",
        '\n\nexample: python -m mentor_kd predict reports/quick/sandbox-sums/students/mentor-kd-seed0 "Ann has ..."',
    )
    one.add_argument("model", help="folder of the saved model")
    one.add_argument("question", nargs="*", help="a question; several may be given")
    one.add_argument("--file", help="questions from a file: .txt (one a line), .csv or .jsonl (column question)")
    one.add_argument("--out", help="write the answers to this .jsonl or .csv file instead of printing them")
    return top


def _interrupt(number, frame):
    """A polite kill stops the run as Ctrl-C does: the notebook at work saves a checkpoint first."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run a command; wrong input gives one clear line and exit code 2, a failed run 1, an interruption 130."""
    args = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return args.function(args)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"stopped. {str(error) or 'Run the same command again to go on from here.'}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
