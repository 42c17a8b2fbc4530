"""The callback that saves checkpoints, and the names of the files it writes."""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltarule import _atomic, _settings

if TYPE_CHECKING:
    from deltarule.callbacks import CallbackState

_EPOCH = "{epoch}"


class CheckpointPath:
    """One file, or with ``{epoch}`` in its name the files ``run-00012.safetensors`` of a pattern.

    Raises OSError if the folder does not exist, or the path is that of a directory.
    """

    def __init__(self, name: str, value: Any) -> None:
        text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
        if not isinstance(text, str):
            raise TypeError(f"{name} must be a str or os.PathLike, got {_settings.shown(value)}")
        folder, base = os.path.split(text)
        self._before, _, self._after = base.partition(_EPOCH)
        if _EPOCH in folder or {*"{}"} & {*self._before, *self._after}:
            raise ValueError(
                f"{name} must name a file, with at most one {_EPOCH}, in its last part, and no "
                f"other brace there, got {_settings.shown(text)}"
            )
        _atomic.refuse_no_file(name, text)
        self.text = text
        self.is_pattern = _EPOCH in base
        self.folder = Path(folder or ".")

    def of(self, epoch: int) -> str:
        """Return the path of the file that is saved after an epoch."""
        return self.text.replace(_EPOCH, f"{epoch:05d}")

    def files(self) -> list[str]:
        """Return the files that exist, the newest first."""
        if not self.is_pattern:
            return [self.text] if os.path.lexists(self.text) else []
        matching = re.compile(f"{re.escape(self._before)}(\\d{{5,}}){re.escape(self._after)}")
        found = []
        for entry in os.scandir(self.folder):
            match = matching.fullmatch(entry.name)
            with contextlib.suppress(FileNotFoundError):
                if match and entry.is_file() and self._name_of(int(match[1])) == entry.name:
                    found.append((entry.stat().st_mtime_ns, int(match[1])))
        return [self.of(epoch) for _, epoch in sorted(found, reverse=True)]

    def _name_of(self, epoch: int) -> str:
        return f"{self._before}{epoch:05d}{self._after}"


class Checkpoint:
    """Save the trainer at the end of epochs, so that a killed training can go on.

    ``fit(..., callbacks=[checkpoint], resume_from=checkpoint)`` run again after a kill ends with
    the bits of a fit that was never interrupted. A file is written whole or not at all
    (``trainer.save``), and older files go only when the new one is on the disk; if it cannot be
    written, the training ends with the OSError and the older files stay.

    In a list of callbacks it may stand anywhere: those after it, which a kill may have kept from
    the epoch that was saved, are called for that epoch when the training goes on; those before it
    are not called again. So one that asks to stop belongs after it: it will ask again.

    A checkpoint is a model file too: ``dr.load(path)`` gives its network. What other callbacks
    remember is not in it. Temporaries that kills left in the folder (``.deltarule-*.tmp``) are
    deleted once they are an hour old.

    Parameters
    ----------
    path : str or os.PathLike
        A file in an existing folder. ``{epoch}`` in its name becomes the number of the epoch, at
        least five digits: ``"run-{epoch}.safetensors"`` makes ``run-00012.safetensors``. Without,
        one file is replaced again and again. Other braces are refused.
    every : int, default 1
        Save after every so many epochs.
    every_seconds : float, optional
        But not if less time than this has passed since the last save.
    keep : int, optional, default 3
        With ``{epoch}``: delete all but so many of the newest files that the path matches, those of
        earlier trainings too; None keeps all.
    best_only : bool, default False
        Save only when the epoch is the best one so far, see ``history.best_epoch``.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If the path is that of a directory.
    TypeError, ValueError
        If an argument is not as above.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = dr.callbacks.Checkpoint(os.path.join(folder, "run-{epoch}.safetensors"))
    ...     arguments = {"callbacks": [checkpoint], "resume_from": checkpoint}
    ...     history = dr.Network([1, 8, 1], seed=0).fit(X, X**2, epochs=12, **arguments)
    ...     print(sorted(os.listdir(folder)))
    ...     longer = dr.Network([1, 8, 1], seed=0).fit(X, X**2, epochs=15, **arguments)
    ['run-00010.safetensors', 'run-00011.safetensors', 'run-00012.safetensors']
    >>> np.array_equal(longer["loss"][:12], history["loss"]), longer.n_epochs
    (True, 15)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        every_seconds: float | None = None,
        keep: int | None = 3,
        best_only: bool = False,
    ) -> None:
        self._every = _settings.integer("every", every, low=1)
        self._seconds = 0.0
        if every_seconds is not None:
            self._seconds = _settings.real("every_seconds", every_seconds)
        self._keep = None if keep is None else _settings.integer("keep", keep, low=1)
        self._best_only = _settings.boolean("best_only", best_only)
        self._path = CheckpointPath("path", path)
        self._saved_at = -math.inf

    def __call__(self, state: CallbackState) -> None:
        """Save the trainer, if it is time."""
        if not self._is_due(state):
            return
        state.trainer.save(self._path.of(state.epoch))
        if self._saved_at == -math.inf:
            _atomic.remove_leftovers(self._path.folder)
        self._saved_at = time.monotonic()
        self._delete_old(state)

    def _wrote(self, path: str, epoch: int) -> bool:
        return os.path.realpath(path) == os.path.realpath(self._path.of(epoch))

    def _delete_old(self, _: CallbackState) -> None:
        if self._path.is_pattern and self._keep is not None:
            for old in self._path.files()[self._keep :]:
                with contextlib.suppress(FileNotFoundError):
                    Path(old).unlink()

    def _is_due(self, state: CallbackState) -> bool:
        if state.epoch % self._every or time.monotonic() - self._saved_at < self._seconds:
            return False
        return not self._best_only or state.history.best_epoch == state.history.n_epochs

    def __repr__(self) -> str:
        return f"Checkpoint({self._path.text!r})"
