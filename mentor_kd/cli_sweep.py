"""The command `python -m mentor_kd sweep`: a grid of cells, run, resumed and reported."""

import argparse
from pathlib import Path

from .cli_options import RESUMES, add_parameters, shown
from .files import InputError, RunFailed

SUMMARY = "Run a grid over methods, tasks, models, seeds or any parameter."
MORE = f"""\
Work that cells share (questions, mentor, its samples and soft labels) is done once. Writes reports/<sweep>/results.csv,
and one report per model size in reports/<sweep>/charts/.

{RESUMES}"""
EXAMPLES = """\
  python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --dry-run --gpu h100
  python -m mentor_kd sweep --params notebooks/params/paper-table3.yaml --workers 4"""


def add_arguments(one: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    one.add_argument("--params", required=True, metavar="FILE", help="YAML file of the grid; see notebooks/params/")
    add_parameters(one)
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


def run(args: argparse.Namespace) -> int:
    """Run the cells and print the results, or print the plan."""
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
        print(f"report: {shown(folder / 'index.html')} · tables: {shown(folder / 'results.csv')}")
        if grid.study:
            from .runs import findings

            found = findings.write(grid)
            print(*findings.sentences(found.differences), sep="\n")
            print(f"comparison with the paper: {shown(found.folder / 'chart.png')}")
            sweep_report.write_page(grid)  # again, as the findings are now there
    if state and state.failed:
        key, why = next(iter(state.failed.items()))
        raise RunFailed(
            f"{len(state.failed)} of {len(state.wanted)} stages failed, first {key}: {why}. "
            f"Fix the cause and run the same command again to resume."
        )
    return 0


COMMANDS = {"sweep": ((SUMMARY, MORE, EXAMPLES), add_arguments, run)}
