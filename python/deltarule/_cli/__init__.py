"""The command ``deltarule``: train on a table, predict with the model, look into it.

``fit``, ``predict`` and ``info`` are the sub-commands; ``report`` is the text that ``fit`` prints,
``files`` reads tables and checks where results go, ``options`` is what the parsers share. Here is
what turns errors into exit codes: 0 fine, 1 an error in the data, the model or the run, 2 usage.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from deltarule._cli import fit, info, predict
from deltarule._cli.options import Parser, UsageError
from deltarule._errors import DivergenceError
from deltarule._version import __version__

_DESCRIPTION = """\
Trains a neural network on a table and predicts with it.

  deltarule fit penguins.csv --target species
  deltarule predict model.safetensors penguins.csv --output predictions.csv
  deltarule info model.safetensors
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        The exit code: 0 fine, 1 an error in the data, the model or the run, 2 a wrong usage.
    """
    _prepare_streams()
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(argv)
        with _warnings_in_one_line(quiet=getattr(args, "quiet", False)):
            args.run(args)
        sys.stdout.flush()
    except UsageError as error:
        return _fail(str(error), code=2)
    except KeyboardInterrupt:
        return _fail("interrupted", debug=debug)
    except BrokenPipeError:  # whoever reads has seen enough
        _drop_output()
        return 1
    except Exception as error:
        _drop_output()
        return _fail(_sentence(error), debug=debug)
    return 0


def _prepare_streams() -> None:
    """Let no text fail: neither closed streams nor names that the terminal cannot show."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parse(argv: Sequence[str] | None) -> Any:
    parser = Parser(prog="deltarule", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"deltarule {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (fit, predict, info):
        command.add_to(commands)
    args, unknown = parser.parse_known_args(argv)
    if not hasattr(args, "run"):
        parser.print_help(sys.stderr)
        parser.error("a command is needed")
    if unknown:
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


def _sentence(error: Exception) -> str:
    if isinstance(error, DivergenceError):
        return (
            f"training diverged in epoch {error.epoch}: the loss became {error.loss}; nothing was "
            "saved. Try a smaller --learning-rate"
        )
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename!r}: " if error.filename is not None else ""
        return name + error.strerror
    if isinstance(error, (ValueError, OSError, ImportError)):
        return str(error)
    if isinstance(error, MemoryError):
        return str(error) or "not enough memory"
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"


def _fail(message: str, *, code: int = 1, debug: bool = False) -> int:
    """Say what is wrong, in one line on stderr, and return the exit code."""
    if debug:
        traceback.print_exc()
    with contextlib.suppress(OSError):
        print("deltarule: error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


def _drop_output() -> None:
    """Let nothing fail again at exit: what stdout cannot take goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def _warnings_in_one_line(*, quiet: bool) -> Iterator[None]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print("deltarule: warning:", " ".join(str(message).split()), file=sys.stderr)

    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        warnings.showwarning = show
        yield
