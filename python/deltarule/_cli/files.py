"""Tables in, results out: standard input, and places that are checked before the work."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltarule import _atomic
from deltarule._cli import options

if TYPE_CHECKING:
    import narwhals as nw

STDIO = "-"


def read_table(path: str, *, infer: bool) -> nw.DataFrame[Any]:
    """Read a CSV or Parquet file, or standard input."""
    from deltarule._table import frames

    if path != STDIO:
        return frames.read(path, infer=infer)
    if sys.stdin is None:
        raise OSError("standard input is closed")
    return frames.read(sys.stdin.buffer.read(), infer=infer)


def check_output(args: Namespace, option: str, *inputs: str) -> None:
    """Refuse now what could not be written later, or what would replace a file that is read.

    Parameters
    ----------
    args : argparse.Namespace
        Of the command.
    option : str
        Which option names the file, without the dashes.
    *inputs : str
        The files that it must not be.
    """
    path: str = getattr(args, option)
    if not path:
        raise options.wrong(args, "must name a file", option)
    for other in inputs:
        if other != STDIO and _are_same(path, other):
            raise options.wrong(args, f"it is the same file as {other!r}", option)
    with _atomic.naming(path):
        target = Path(os.path.realpath(path))
        if target.is_dir() or not target.name:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not target.parent.is_dir():
            raise OSError(errno.ENOENT, "its directory does not exist")
        if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):
            raise OSError(errno.EACCES, "cannot be replaced")
        with tempfile.TemporaryFile(dir=target.parent):  # the one sure test, also for root
            pass


def check_is_model(args: Namespace, option: str) -> None:
    """Refuse to replace a file that holds something, but no model."""
    path = Path(getattr(args, option))
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(9)
        if start and start[8:] != b"{":
            message = f"{str(path)!r} is there and is no model: choose another name, or remove it"
            raise options.wrong(args, message, option)


def _are_same(path: str, other: str) -> bool:
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    try:
        return Path(path).samefile(other)
    except OSError:
        return False


def size(path: str) -> str:
    """Return the size of a file, for people."""
    n_bytes = Path(path).stat().st_size
    if n_bytes < 2**20:
        return f"{n_bytes / 2**10:.1f} KiB"
    return f"{n_bytes / 2**20:.1f} MiB"
