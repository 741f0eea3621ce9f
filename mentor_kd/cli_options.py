"""Options that several commands share, and how they show a path."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parsing import parse_yaml

if TYPE_CHECKING:
    from .pipeline.collect import CollectSettings

RESUMES = "Run the same command again to resume; finished work that has not changed is not repeated."


def add_parameters(one: argparse.ArgumentParser, text: str = "override one parameter; repeatable") -> None:
    """Add `-p NAME=VALUE`."""
    one.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help=text)


def add_value(one: argparse._ActionsContainer, name: str, default: Any, metavar: str, text: str) -> None:
    """Add an option with a value of the default's type."""
    one.add_argument(name, type=type(default), default=default, metavar=metavar, help=text)


def add_columns(one: argparse._ActionsContainer) -> None:
    """Add `--columns` and `--data-test`, for your own data."""
    text = "names of your columns, as YAML: {question: problem, answer: final}"
    one.add_argument("--columns", default="", metavar="YAML", help=text)
    text = "a second file, folder or hub id with the test questions"
    one.add_argument("--data-test", default="", metavar="DATA", help=text)


def add_answers(one: argparse._ActionsContainer) -> None:
    """Add `--answer-type`, `--answer-pattern` and `--answer-choices`, for your own task."""
    text = "number, math, choice, yes/no, text or pattern (default: recognised from the answers)"
    one.add_argument("--answer-type", default="", metavar="TYPE", help=text)
    text = "what an answer looks like, for type pattern"
    one.add_argument("--answer-pattern", default="", metavar="REGEX", help=text)
    text = "letters of the choices, for type choice (default: ABCDE)"
    one.add_argument("--answer-choices", default="", metavar="LETTERS", help=text)


def columns_of(args: argparse.Namespace) -> Any:
    """The value of `--columns`; an empty mapping if it is not given. Raises InputError for invalid YAML."""
    return parse_yaml(args.columns, "--columns") if args.columns else {}


def own_data(args: argparse.Namespace, **more: Any) -> "CollectSettings":
    """The data that a command names, from `data` and the options of `add_columns` and `add_answers`."""
    from .pipeline.collect import CollectSettings  # imported here to keep --help fast

    return CollectSettings(
        data=args.data,
        columns=columns_of(args),
        data_test=args.data_test,
        answer_type=args.answer_type,
        answer_pattern=args.answer_pattern,
        answer_choices=args.answer_choices,
        **more,
    )


def shown(path: Path) -> str:
    """The path relative to the working directory, if it is inside it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
