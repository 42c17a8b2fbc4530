"""The callback that writes the numbers of every epoch into a CSV file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from deltarule import _atomic, _settings

if TYPE_CHECKING:
    from deltarule._history import History
    from deltarule.callbacks import CallbackState


class CSVLogger:
    """Write a line of numbers into a CSV file at the end of every epoch.

    The columns are ``epoch`` and the keys of the history; numbers have all their digits, what is
    missing is ``nan``. Each line is in the file before the next epoch begins. The file always has
    each epoch of the training once: one that was resumed writes the epochs of its checkpoint anew,
    so lines that were written after the checkpoint are not there twice.

    Parameters
    ----------
    path : str or os.PathLike
        The file, in an existing folder.
    append : bool, default False
        Keep what is in the file and write below it; the columns must be the same. False begins a
        file of this training alone.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If the path is that of a directory.
    OSError
        In training: if the file cannot be written.
    TypeError, ValueError
        If an argument is not as above; in training: if the file to append to has other columns, or
        is no text.

    Examples
    --------
    >>> import os, tempfile
    >>> import deltarule as dr
    >>> net = dr.Network([1, 1], seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     history = net.fit([[1.0]], [0.0], epochs=2, callbacks=[dr.callbacks.CSVLogger(path)])
    ...     with open(path) as file:
    ...         lines = file.read().splitlines()
    >>> lines[0], [line.split(",")[0] for line in lines[1:]]
    ('epoch,loss,seconds', ['1', '2'])
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        _atomic.refuse_no_file("path", _atomic.text_of(path))
        self._path = Path(path)
        self._append = _settings.boolean("append", append)
        self._history: History | None = None  # the one whose lines are in the file
        self._columns: list[str] = []
        self._n_epochs = 0
        self._kept = ""  # what was in the file before them

    def __call__(self, state: CallbackState) -> None:
        """Write what the file lacks."""
        history = state.history
        same = history is self._history and [*history] == self._columns
        if not same or history.n_epochs != self._n_epochs + 1:
            self._write_all(history)
        else:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_lines(history, self._n_epochs))
        self._n_epochs = history.n_epochs

    def __repr__(self) -> str:
        return f"CSVLogger({str(self._path)!r})"

    def _write_all(self, history: History) -> None:
        header = ",".join(["epoch", *history]) + "\n"
        if history is not self._history:
            self._kept = self._old_lines(header, history) if self._append else ""
        elif self._kept and not self._kept.startswith(header):
            raise ValueError(f"{str(self._path)!r} has the columns {self._kept.splitlines()[0]}")
        text = (self._kept or header) + _lines(history, 0)
        _atomic.replace_file(str(self._path), [text.encode()])
        self._history, self._columns = history, [*history]

    def _old_lines(self, header: str, history: History) -> str:
        """Return the lines of earlier trainings: without those that the history has."""
        path = str(self._path)
        try:
            with _atomic.naming(path), _atomic.open_regular(path) as file:
                text = io.TextIOWrapper(io.BufferedReader(file), encoding="utf-8")
                lines = list(text)
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError:
            raise ValueError(f"{path!r} is no text: append to another file") from None
        if lines and not lines[-1].endswith("\n"):  # cut off by a kill
            whole = len(lines) > 1 or header.startswith(lines[-1])
            lines = lines[:-1] if whole else lines
        if lines and lines[0] != header:
            raise ValueError(
                f"{path!r} has the columns {lines[0].rstrip()}, this training has "
                f"{header.rstrip()}: append to another file"
            )
        return "".join(_without(lines, history))


def _without(lines: list[str], history: History) -> list[str]:
    """Return `lines` without those that this training wrote before it was resumed."""
    if history.n_epochs == 1 and not history._was_read:  # it has only begun
        return lines
    first = _lines(history, 0).splitlines(keepends=True)[0]
    starts = [i for i, line in enumerate(lines) if line.startswith("1,")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        if lines[start] == first:  # its seconds tell it from an equal training
            return lines[:start] + lines[stop:]
    return lines


def _lines(history: History, first: int) -> str:
    """Return the lines of the epochs after the first so many."""
    columns = [values[first:].tolist() for values in history.values()]
    rows = enumerate(zip(*columns, strict=True), first + 1)
    return "".join(",".join([str(epoch), *map(repr, row)]) + "\n" for epoch, row in rows)
