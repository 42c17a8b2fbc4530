"""What the parsers of the sub-commands share."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from deltarule import _threads

T = TypeVar("T")
Run = Callable[[argparse.Namespace], None]


class UsageError(Exception):
    """An option is unknown, lacks its value, or has a wrong one: exit code 2."""


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and where the options are listed."""

    def __init__(self, **settings: Any) -> None:
        kind = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=kind, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a usage of many lines."""
        raise UsageError(f"{message} (see: {self.prog} --help)")


def command(commands: Any, name: str, run: Run, *, summary: str, more: str, example: str) -> Parser:
    """Add a sub-command and return its parser."""
    description = f"{summary[0].upper()}{summary[1:]}.\n\n{more}"
    parser: Parser = commands.add_parser(
        name, help=summary, description=description, epilog=f"example:\n{example}"
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_common(parser: Parser) -> None:
    """Add what every sub-command has."""
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error (for a bug report)"
    )


def add_threads(parser: Parser) -> None:
    """Add the number of threads."""
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads to use; results do not depend on it (default: the processors it may use)",
    )


def threads(args: argparse.Namespace) -> int | None:
    """Return the number of threads asked for."""
    if args.threads is not None:
        checked(args, _threads.checked, args.threads, option="threads")
    number: int | None = args.threads
    return number


def checked(
    args: argparse.Namespace, make: Callable[..., T], *values: Any, option: str | None = None
) -> T:
    """Return what `make` makes of the values; what it refuses is a wrong usage."""
    try:
        return make(*values)
    except (TypeError, ValueError) as error:
        raise wrong(args, str(error), option) from error


def wrong(args: argparse.Namespace, message: str, option: str | None = None) -> UsageError:
    """Return the error about an option."""
    where = "" if option is None else f"argument --{option}: "
    return UsageError(f"{where}{message} (see: {args.parser.prog} --help)")


def units(text: str) -> tuple[int, ...]:
    """Parse the widths of the hidden layers."""
    try:
        return tuple(int(part) for part in text.split(",")) if text.strip() else ()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas between, such as 128,64, got {text!r}"
        ) from None


def columns(text: str) -> list[str]:
    """Parse names of columns; one that holds a comma stands in double quotes, as in a CSV file."""
    names = [name.strip() for row in csv.reader([text], skipinitialspace=True) for name in row]
    return [name for name in names if name]


def batch_size(text: str) -> int | None:
    """Parse the number of rows of a step."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be auto or a whole number, got {text!r}") from None
