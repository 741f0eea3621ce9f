"""The command line: `python -m mentor_kd COMMAND`. Each command has a --help."""

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import textwrap
from collections.abc import Mapping

from . import (
    __version__,
    cli_annotate,
    cli_augment,
    cli_data,
    cli_distill,
    cli_export,
    cli_models,
    cli_predict,
    cli_run,
    cli_sweep,
    start,
)
from .files import InputError, RunFailed
from .progress import visible

RAW = argparse.RawDescriptionHelpFormatter


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
        "  python -m mentor_kd reproduce         # about six minutes on two cores; no GPU or API key\n"
        "  jupyter lab notebooks/00_tour.ipynb   # the whole method on one page\n"
        "  python -m mentor_kd COMMAND --help    # options and examples of a command\n\n"
        "`mentor-kd` is short for `python -m mentor_kd`.\n"
        "Exit codes: 0 success, 1 failed or incomplete, 2 invalid input, 130 interrupted.",
        formatter_class=RAW,
    )
    top.add_argument("--version", action="version", version=__version__, help="print the version and exit")
    commands = top.add_subparsers(required=True, title="commands", metavar="COMMAND")
    for module in (cli_run, cli_sweep, cli_distill, cli_annotate, cli_augment, cli_predict, cli_export, start):
        _add(commands, module.COMMANDS)
    for name, group in (("data", cli_data), ("models", cli_models)):
        one = commands.add_parser(name, help=group.ABOUT, description=group.ABOUT)
        _add(one.add_subparsers(required=True, title="commands", metavar="COMMAND"), group.COMMANDS)
    return top


def _add(commands: argparse._SubParsersAction, found: Mapping[str, tuple]) -> None:
    """Add commands: name -> (summary, more, examples), the function that adds arguments, the function that runs."""
    for name, ((summary, more, examples), add_arguments, function) in found.items():
        about = _wrapped(f"{summary}\n\n{more}".strip())
        epilog = examples and f"examples:\n{examples}"
        one = commands.add_parser(name, help=summary, description=about, epilog=epilog, formatter_class=RAW)
        one.set_defaults(function=function)
        add_arguments(one)


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
