"""What a training run leaves behind: one number an epoch, by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deltarule._monitor import Monitor

Floats = NDArray[np.float64]
StoppedBy = Literal["converged", "epochs", "max_seconds", "max_steps", "callback"]
STOPPED_BY: tuple[str, ...] = ("converged", "epochs", "max_seconds", "max_steps", "callback")


class History(dict[str, Floats]):
    """The course of a training: a dict of float64 arrays of shape (epochs,).

    Keys are ``loss`` (the weighted mean over the epoch's batches as they were trained, penalties
    included), ``val_loss`` if there were validation data, every metric and its ``val_`` twin,
    ``learning_rate`` (of the epoch's last step, if it is a schedule or a callable), and ``seconds``
    (how long the epoch took). A key that came later, or was left out in some epochs,
    holds NaN for those.

    Attributes
    ----------
    stopped_by : str or None
        ``"epochs"``, ``"converged"``, ``"max_seconds"``, ``"max_steps"`` or ``"callback"``; None
        while the training runs, and after it was interrupted or diverged.
    monitor : (str, "min" or "max"), or None
        What ``monitor=`` named, and which of its values is best; None for the validation loss, or
        without validation rows the loss.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 32).reshape(-1, 1)
    >>> history = dr.Network([1, 4, 1], seed=0).fit(X, X, epochs=3)
    >>> history["loss"].shape, history.n_epochs, history.stopped_by
    ((3,), 3, 'epochs')
    """

    def __init__(self, columns: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.stopped_by: StoppedBy | None = None
        self.monitor: Monitor | None = None
        self._room: dict[str, Floats] = {}  # the arrays with space to grow
        self._n_epochs = 0
        self._was_read = bool(columns)  # from a file, or a pickle: not begun here
        if columns:
            self.extend(columns)

    @property
    def n_epochs(self) -> int:
        """How many epochs it holds."""
        return self._n_epochs

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the lowest ``val_loss``, or without validation data the lowest ``loss``.

        With a `monitor`, the one with its best value. Counted from 1, the first of equal ones; None
        if it holds none. ``val_loss`` counts as soon as one epoch has it: then the epochs without
        are no candidates.

        Examples
        --------
        >>> from deltarule import History
        >>> History({"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.7]}).best_epoch
        2
        """
        for key in ("val_loss", "loss") if self.monitor is None else (self.monitor.key,):
            values = self.get(key, np.empty(0))
            known = np.flatnonzero(~np.isnan(values))
            if known.size:
                highest = self.monitor is not None and self.monitor.mode == "max"
                best = np.argmax(values[known]) if highest else np.argmin(values[known])
                return int(known[best]) + 1
        return None

    def extend(self, columns: Mapping[str, Any]) -> None:
        """Add epochs: equally long sequences by name. Training calls this, users need not."""
        n_new = max(map(len, columns.values()), default=0)
        start, stop = self._n_epochs, self._n_epochs + n_new
        if stop == 0:  # names only: room comes with the first epoch
            self.update({key: np.empty(0) for key in columns})
            return
        for key in dict.fromkeys([*self, *columns]):
            room = self._room.get(key)
            if room is None or len(room) < stop:
                room = np.full(max(16, 2 * stop), np.nan)
                if start > 0:
                    room[:start] = self.get(key, np.nan)
                self._room[key] = room
            room[start:stop] = columns.get(key, np.nan)
            self[key] = room[:stop]
        self._n_epochs = stop

    def last(self) -> dict[str, float]:
        """Return the numbers of the last epoch, as floats; empty before the first.

        Examples
        --------
        >>> from deltarule import History
        >>> History({"loss": [2.0, 1.0]}).last()
        {'loss': 1.0}
        """
        return {key: float(values[-1]) for key, values in self.items() if len(values)}

    def plot(self, path: str | os.PathLike[str] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the losses by epoch, the metrics in panels below, and mark the best epoch.

        Needs matplotlib, the extra ``deltarule[plot]``. Panels of errors (loss, rmse, mae,
        log_loss) and of the learning rate that span more than a factor of 20 are logarithmic;
        ``seconds`` is not drawn; what is not finite is a gap.

        Parameters
        ----------
        path : str or os.PathLike, optional
            Save the picture there, in the format that its ending names (png, pdf, svg …): without
            pyplot, so no window opens and no figure is left behind. None makes a pyplot figure,
            which a notebook shows by itself and ``plt.show()`` in a script.
        ax : matplotlib.axes.Axes, optional
            Draw the losses there, in a figure of your own, and the metrics nowhere.

        Returns
        -------
        matplotlib.axes.Axes
            The panel of the losses; ``.figure`` is the figure, ``.figure.axes`` all its panels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If `ax` is not an Axes, comes beside a `path`, or no epoch was finished.

        Examples
        --------
        >>> import os, tempfile
        >>> import deltarule as dr
        >>> history = dr.History({"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, 2.7]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ax = history.plot(os.path.join(folder, "training.png"))
        ...     os.listdir(folder)
        ['training.png']
        >>> ax.get_ylabel()
        'loss'
        """
        from deltarule import _plot

        return _plot.plot(self, path, ax)

    def __repr__(self) -> str:
        parts = [f"epochs={self.n_epochs}"]
        parts += [f"{key}={value:.4g}" for key, value in self.last().items()]
        return f"<History {', '.join(parts)}, stopped_by={self.stopped_by!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self), self.stopped_by, self.monitor)


def _rebuild(
    columns: dict[str, Floats], stopped_by: StoppedBy | None, monitor: Monitor | None = None
) -> History:
    history = History(columns)
    history.stopped_by = stopped_by
    history.monitor = monitor
    return history
