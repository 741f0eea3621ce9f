"""The commands `run`, `reproduce`, `report` and `bench`: notebooks run headlessly, and the report of a run."""

import argparse
import time
from pathlib import Path

from .cli_options import RESUMES, add_parameters, shown
from .files import ROOT, reports_root


def add_run(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    one.add_argument("--params", required=True, metavar="FILE", help="YAML file of parameters; see notebooks/params/")
    add_parameters(one)
    one.add_argument("--dry-run", action="store_true", help="check the parameters, print what would run, and exit")


def run(args: argparse.Namespace) -> int:
    """Run the notebooks and print the table, or print what would run."""
    from .progress import duration
    from .runs import follow, notebooks
    from .runs import run as runs

    started = time.monotonic()
    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    if args.dry_run:
        jobs = runs.plan(parameters)
        for job in jobs:
            print(f"{job.key}: " + ", ".join(f"{name}={value!r}" for name, value in job.parameters.items()))
        for look in runs.looks(jobs):
            print(f"\n{look}")
        return 0
    with follow.Line() as line:
        index = runs.run(parameters, line.say, line.show)
    print()
    print(runs.table(index.parent))
    print(f"\nreport: {shown(index)} (after {duration(time.monotonic() - started)})")
    return 0


def reproduce(args: argparse.Namespace) -> int:
    """Run notebooks/params/quick.yaml."""
    args.params, args.dry_run = str(ROOT / "notebooks" / "params" / "quick.yaml"), False
    return run(args)


def add_report(one: argparse.ArgumentParser) -> None:
    """Add the argument of `report`."""
    one.add_argument("run", help="name of the run, or its folder")


def report(args: argparse.Namespace) -> int:
    """Write a run's report again and print its table."""
    from .report import run_report
    from .runs import run as runs

    folder = reports_root() / args.run if not Path(args.run).is_dir() else Path(args.run)
    index = run_report.write(folder)
    print(runs.table(folder))
    print(f"\nreport: {shown(index)}")
    return 0


def add_bench(one: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench`."""
    sizes, text = ROOT / "notebooks" / "params" / "bench-sandbox.yaml", "YAML file of notebook 90's parameters"
    one.add_argument("--params", default=str(sizes), metavar="FILE", help=f"{text} (default: bench-sandbox.yaml)")
    add_parameters(one)


def bench(args: argparse.Namespace) -> int:
    """Run notebook 90 and print its tables."""
    import pandas

    from .runs import follow, notebooks
    from .runs import run as runs

    parameters = notebooks.read_parameters(Path(args.params), args.parameter)
    with follow.Line() as line:
        folder = runs.run_one("90_measure_speed", parameters, line.say, line.show)
    tables = "padding ratios memory fidelity cache sampling_ratios sampling_natural_ratios cost"
    for table in tables.split():
        print(f"\n{table}\n{pandas.read_csv(folder / 'bench' / f'{table}.csv').round(4).to_string(index=False)}")
    print(f"\nall tables and figures: {shown(folder / 'bench')}; report: ", end="")
    print(shown(folder / "notebooks" / "90_measure_speed.html"))
    return 0


COMMANDS = {
    "reproduce": (
        (
            "Run the quick reproduction on the embedded sandbox.",
            "Two tasks, about six minutes on two cores; no GPU or API key needed. Writes reports/quick/index.html. "
            f"Same as `run --params notebooks/params/quick.yaml`.\n\n{RESUMES}",
            "",
        ),
        add_parameters,
        reproduce,
    ),
    "run": (
        (
            "Run the notebooks headlessly with parameters from a YAML file.",
            f"Runs notebooks 01 to 06 for each task and 07 for all, and writes reports/<run>/index.html.\n\n{RESUMES}",
            "  python -m mentor_kd run --params notebooks/params/quick.yaml --dry-run\n"
            '  python -m mentor_kd run --params notebooks/params/quick.yaml -p run=mine -p "seeds=[0,1,2]"',
        ),
        add_run,
        run,
    ),
    "report": (("Rewrite the table, charts and index.html of a run.", "", ""), add_report, report),
    "bench": (
        (
            "Measure speed and memory of training and sampling.",
            "Compares the paper's training loop, this project's, and training on cross-entropy alone (the floor). Runs "
            "notebook 90 and prints its tables: padding, time, memory, soft-label cache, sampling. The default uses "
            "sandbox models and takes some minutes; bench-svamp.yaml uses the paper's data and real model shapes.",
            "  python -m mentor_kd bench --params notebooks/params/bench-svamp.yaml",
        ),
        add_bench,
        bench,
    ),
}
