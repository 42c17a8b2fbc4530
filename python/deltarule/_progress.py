"""The progress bar of a training: tqdm, imported only if a bar is shown."""

from __future__ import annotations

import importlib
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from deltarule._history import History

INTERVAL = 0.1  # seconds between two moves of the bar


def in_notebook() -> bool:
    """Whether this Python is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def wanted(progress: bool | None) -> bool:
    """Whether to show a bar: as asked, or by default on a terminal and in a notebook only."""
    if progress is not None:
        return progress
    if sys.stderr is None:
        return False
    return sys.stderr.isatty() or in_notebook()


def _bar_class() -> Any:
    module = "tqdm.auto" if in_notebook() else "tqdm.std"
    base = importlib.import_module(module).tqdm
    # No watching thread: this bar is moved often enough, and a thread would outlive the call.
    return type("ProgressBar", (base,), {"monitor_interval": 0})


class Progress:
    """A bar over all rows of all epochs, so that it moves inside a long epoch too."""

    def __init__(self, epochs: int, rows: int, start: Mapping[str, Any]) -> None:
        self._epochs = epochs
        self._rows = rows
        self._next = 0.0
        self._bar = _bar_class()(
            total=epochs * rows,
            initial=self._done(start),
            desc=self._epoch(start),
            unit="row",
            unit_scale=True,
            bar_format="{desc} {percentage:3.0f}%|{bar:24}| {elapsed}<{remaining}{postfix}",
            dynamic_ncols=True,
        )

    def _done(self, progress: Mapping[str, Any]) -> int:
        return int(progress["epoch"] * self._rows + progress["position"])

    def _epoch(self, progress: Mapping[str, Any]) -> str:
        running = min(int(progress["epoch"]) + (progress["position"] > 0), self._epochs)
        return f"epoch {running}/{self._epochs}"

    def show(self, progress: Mapping[str, Any], history: History, *, at_once: bool = False) -> None:
        """Move the bar to `progress`; more often than every 0.1 s only if `at_once`."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        self._next = now + INTERVAL
        last = history.last()
        loss = float(progress["loss"])
        if not math.isfinite(loss):
            loss = last.get("loss", math.nan)
        postfix = f"loss {loss:.4g}"
        if "val_loss" in last:
            postfix += f", val_loss {last['val_loss']:.4g}"
        self._bar.n = self._done(progress)
        self._bar.set_description_str(self._epoch(progress), refresh=False)
        self._bar.set_postfix_str(postfix, refresh=False)
        self._bar.refresh()

    def close(self, progress: Mapping[str, Any], history: History) -> None:
        """Show the last state and leave the line as it is."""
        self.show(progress, history, at_once=True)
        self._bar.close()
