"""The progress of a training on stderr: a bar on a terminal or in a notebook, lines in a file.

tqdm is imported only if a bar is shown.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from deltarule._history import History

INTERVAL = 0.1  # seconds between two moves of the bar
_LINE_AFTER = 60.0  # seconds between two lines of a file
_LEAST_BAR, _MOST_BAR = 5, 30  # characters


def in_notebook() -> bool:
    """Whether this Python is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def _as_bar() -> bool:
    """Whether a line on stderr can be redrawn; what stands in for it may lack an ``isatty``."""
    return getattr(sys.stderr, "isatty", bool)() or in_notebook()


def wanted(progress: bool | None) -> bool:
    """Whether to show progress: as asked, or by default on a terminal and in a notebook only."""
    if progress is not None:
        return progress and sys.stderr is not None
    return sys.stderr is not None and _as_bar()


class State(NamedTuple):
    """What there is to show; the numbers with the most telling first."""

    done: int  # of `total` rows
    total: int
    epoch: str
    numbers: dict[str, str]  # loss, val_loss, why it stopped, time, lr

    @property
    def percent(self) -> str:
        return f"{100 * self.done // max(self.total, 1):3d}%"


class _Shower(Protocol):
    def show(self, state: State) -> None: ...

    def close(self, state: State) -> None: ...


class Progress:
    """How far a training is, in rows of all epochs, so that it moves inside a long epoch too."""

    def __init__(self, epochs: int, rows: int, start: Mapping[str, Any], history: History) -> None:
        self._epochs = epochs
        self._rows = rows
        self._start = time.monotonic()
        self._next = 0.0
        self._first = self._done(start)
        make = _Bar if _as_bar() else _Lines
        self._shower: _Shower = make(self._state(start, history))

    def show(self, progress: Mapping[str, Any], history: History) -> None:
        """Show `progress`, at most every 0.1 s."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INTERVAL
            self._shower.show(self._state(progress, history))

    def close(self, progress: Mapping[str, Any], history: History) -> None:
        """Show the last state and leave it as it is."""
        self._shower.close(self._state(progress, history))

    def _done(self, progress: Mapping[str, Any]) -> int:
        return int(progress["epoch"] * self._rows + progress["position"])

    def _state(self, progress: Mapping[str, Any], history: History) -> State:
        running = min(int(progress["epoch"]) + (progress["position"] > 0), self._epochs)
        loss, last = float(progress["loss"]), history.last()
        values = {"loss": loss if math.isfinite(loss) else last.get("loss")}
        values["val_loss"] = last.get("val_loss")
        # As wide as most are: what is beside them stands still.
        numbers = {k: f"{k} {v:<7.4g}" for k, v in values.items() if v is not None}
        done, total = self._done(progress), self._epochs * self._rows
        if history.stopped_by not in (None, "epochs"):
            numbers["end"] = str(history.stopped_by)
        numbers["time"] = self._time(done, total)
        if math.isfinite(progress["learning_rate"]):  # of a function: not before it was asked
            numbers["lr"] = f"lr {progress['learning_rate']:.3g}"
        epoch = f"epoch {running:{len(str(self._epochs))}}/{self._epochs}"
        return State(done, total, epoch, numbers)

    def _time(self, done: int, total: int) -> str:
        """Return the time that has passed and the time left, at the speed of this run."""
        elapsed = time.monotonic() - self._start
        new = done - self._first
        left = _clock(elapsed * (total - done) / new) if new > 0 else "?"
        return f"{_clock(elapsed)}<{left}"


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


class _Bar:
    """A bar that is redrawn in its place."""

    def __init__(self, state: State) -> None:
        self._in_notebook = in_notebook()
        module = "tqdm.auto" if self._in_notebook else "tqdm.std"
        base = importlib.import_module(module).tqdm
        # No watching thread: this bar is moved often enough, and a thread would outlive the call.
        bar = type("ProgressBar", (base,), {"monitor_interval": 0})
        self._bar = bar(
            total=state.total,
            initial=state.done,
            bar_format=self._format(state),
            dynamic_ncols=not self._in_notebook,
        )

    def show(self, state: State) -> None:
        self._bar.n = state.done
        self._bar.bar_format = self._format(state)
        self._bar.refresh()

    def close(self, state: State) -> None:
        self.show(state)
        self._bar.close()

    def _format(self, state: State) -> str:
        """Return the line: as many numbers as have room, and in what is left the bar."""
        start, numbers = f"{state.epoch} {state.percent}", [*state.numbers.values()]
        if self._in_notebook:
            return "  ".join([f"{start} {{bar}}", *numbers])
        room, gap = _columns() - 1, "  "
        if len(gap.join([start, *numbers])) > room:  # words and spaces go before any number does
            gap, start = " ", start.removeprefix("epoch ")
            numbers = [each.replace("val_loss", "val") for each in numbers]
        while numbers and len(gap.join([start, *numbers])) > room:
            numbers.pop()
        left = room - len(gap.join([start, *numbers])) - 1
        if left >= _LEAST_BAR and len(numbers) == len(state.numbers):
            start += f" {{bar:{min(left, _MOST_BAR)}}}"
        return gap.join([start, *numbers])


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (AttributeError, OSError, ValueError):  # a terminal that is none, such as an editor's
        return 80


class _Lines:
    """A line after each tenth of the training, and each minute; for files."""

    def __init__(self, state: State) -> None:
        self._written = self._said(state)
        self._at = time.monotonic()
        self._tenth = 10 * state.done // max(state.total, 1)

    def show(self, state: State) -> None:
        tenth, now = 10 * state.done // max(state.total, 1), time.monotonic()
        if tenth > self._tenth or now - self._at >= _LINE_AFTER:
            self._tenth, self._at = tenth, now
            self.close(state)

    def close(self, state: State) -> None:
        if self._said(state) != self._written:  # the last one may be there already
            self._written = self._said(state)
            line = "  ".join([state.epoch, state.percent, *state.numbers.values()])
            print(line, file=sys.stderr, flush=True)

    def _said(self, state: State) -> tuple[int, str]:
        return state.done, state.numbers.get("end", "")
