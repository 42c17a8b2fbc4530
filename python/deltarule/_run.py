"""One run of a trainer: its settings, and the loop around the slices that the core trains."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from deltarule import _evaluation, _progress, _settings, _threads, callbacks
from deltarule._dispatch import core
from deltarule._errors import DivergenceError
from deltarule._history import History, StoppedBy
from deltarule._validation import Array
from deltarule.callbacks import Callback, CallbackState

if TYPE_CHECKING:
    from deltarule._monitor import Monitor
    from deltarule._run_data import RunData
    from deltarule._split import Split
    from deltarule._training import Trainer


def _count(name: str, value: object, *, low: int) -> int:
    return min(_settings.integer(name, value, low=low), 2**62)  # what the core can count to


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The numbers and flags of a run, each checked."""

    epochs: int
    batch_size: int | None
    shuffle: bool
    tol: float | None
    patience: int
    max_seconds: float | None
    max_steps: int | None
    n_threads: int | None
    progress: bool | None
    keep_best: bool = False
    restore_best: bool = False  # implies keep_best

    def __post_init__(self) -> None:
        checked: dict[str, object] = {
            "epochs": _count("epochs", self.epochs, low=0),
            "patience": _count("patience", self.patience, low=1),
        }
        for name in ("shuffle", "keep_best", "restore_best"):
            checked[name] = _settings.boolean(name, getattr(self, name))
        checked["n_threads"] = _threads.resolve(self.n_threads)
        for name, low in (("batch_size", 1), ("max_steps", 0)):
            value = getattr(self, name)
            if value is not None:
                checked[name] = _count(name, value, low=low)
        for name in ("tol", "max_seconds"):
            value = getattr(self, name)
            if value is not None:
                checked[name] = _settings.real(name, value)
        if self.progress is not None:
            checked["progress"] = _settings.boolean("progress", self.progress)
        vars(self).update(checked)


_JUDGED = ("best_loss", "has_best", "epochs_since_best", "plateau")  # what forget_best changes


class _Before(NamedTuple):
    """What a run that fails before its first step must leave as it was."""

    n_steps: int
    state: Array
    fitted: list[bool]
    history: History | None
    stopped_by: StoppedBy | None
    monitor: Monitor | None
    scalars: dict[str, int | float]  # these two only if the monitor changes
    best: dict[str, Any] | None


class Run:
    """The loop of ``Trainer.run``; the caller holds the network's lock."""

    def __init__(self, trainer: Trainer, data: RunData, settings: RunSettings) -> None:
        self._trainer = trainer
        self._network = trainer.network
        self._core = trainer._core
        self._data = data
        self._settings = settings
        self._started = time.monotonic()
        self._first_step = self._core.n_steps
        self._has_work = (
            self._core.epoch < settings.epochs
            and settings.max_steps != 0
            and settings.max_seconds != 0
        )
        self._bar: _progress.Progress | None = None

    def execute(self, missed: Sequence[Callback] = ()) -> None:
        """Train until a rule stops it; whatever happens, keep the epochs that were finished.

        The callbacks in `missed` still have to be called for the last epoch.
        """
        before = self._snapshot()
        self._trainer.history.stopped_by = None
        self._network._history = self._trainer.history
        calling = False  # such callbacks: one that fails leaves the network of that epoch
        try:
            self._bind()
            self._fit_scaling()
            self._name_columns()
            self._set_monitor()
            self._show_bar()
            stopped_by: StoppedBy | None = None
            calling = True
            if self._call_back(missed) and self._has_work:
                stopped_by = "callback"
            calling = False
            while stopped_by is None:
                stopped_by = self._advance()
            self._core.use_average()
            self._trainer.history.stopped_by = stopped_by
        except DivergenceError:
            raise
        except Exception:  # refused data, an error in a loss of the user's own
            if self._network.n_steps == before.n_steps and not calling:  # nothing was trained
                self._restore(before)
            raise
        finally:
            if self._settings.restore_best:
                self._core.restore_best()
            self._record(with_metrics=False)
            self._close_bar()
            self._core.clear_data()

    def _snapshot(self) -> _Before:
        network, history = self._network, self._trainer.history
        judged_anew = history.monitor != self._data.monitor
        return _Before(
            n_steps=network.n_steps,
            state=network._core.state.copy(),
            fitted=network._core.fitted,
            history=network._history,
            stopped_by=history.stopped_by,
            monitor=history.monitor,
            scalars=self._core.scalars() if judged_anew else {},
            best=self._core.best if judged_anew else None,
        )

    def _restore(self, before: _Before) -> None:
        self._network._core.state[:] = before.state
        self._network._core.fitted = before.fitted
        self._network._history = before.history
        self._trainer.history.stopped_by = before.stopped_by
        if self._trainer.history.monitor != before.monitor:
            self._trainer.history.monitor = before.monitor
            judged = {k: v for k, v in before.scalars.items() if k.startswith(_JUDGED)}
            self._core.set_scalars(self._core.scalars() | judged)
            if before.best is not None:
                self._core.set_best(**before.best)

    def _bind(self) -> None:
        train, validation = self._data.train, self._data.validation or (None, None, None)
        rows = self._data.split or (None, None)
        self._core.set_data(train.X, train.y, train.weight, *validation, *rows)

    def _set_monitor(self) -> None:
        """Forget the best epoch if it was the best by another number."""
        history = self._trainer.history
        if not self._has_work:
            return
        if history.monitor != self._data.monitor:
            self._core.forget_best(True)
            history.monitor = self._data.monitor
        elif history.monitor is None and history.n_epochs > 0:
            validated = not math.isnan(history.last().get("val_loss", math.nan))
            if validated != (self._data.validation is not None):  # kept are those of one kind
                self._core.forget_best(False)

    def _name_columns(self) -> None:
        """Give the history its keys, so that they are there even if no epoch is finished."""
        keys = ["loss", *self._data.metrics]
        if self._data.validation is not None:
            keys = [name for key in keys for name in (key, f"val_{key}")]
        if self._rate_changes():
            keys.append("learning_rate")
        self._trainer.history.extend({key: () for key in [*keys, "seconds"]})

    def _fit_scaling(self) -> None:
        """Compute the statistics that are missing, if there is anything to train at all."""
        if self._has_work:
            split = self._data.split
            self._network._core.fit_scaling(*self._data.train, split.train if split else None)

    def _show_bar(self) -> None:
        if _progress.wanted(self._settings.progress):
            epochs, n_rows = self._settings.epochs, self._data.n_rows
            history = self._trainer.history
            self._bar = _progress.Progress(epochs, n_rows, self._core.progress, history)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close(self._core.progress, self._trainer.history)

    def _advance(self) -> StoppedBy | None:
        """Train one slice and tell who listens; return the rule that stopped it, if one did."""
        seconds_left, steps_left = self._left()
        if steps_left == 0:
            return "max_steps"
        if seconds_left is not None and seconds_left <= 0:
            return "max_seconds"
        options = self._options(seconds_left, steps_left)
        with self._network._in_step():
            status = self._core.run(options)
        try:
            n_ended = self._record()
        finally:  # an epoch whose metrics failed is no improvement
            if options.judge_outside and status == "epoch":
                status = self._core.judge(self._monitored(), options)
        if self._bar is not None:
            self._bar.show(self._core.progress, self._trainer.history)
        if status == "diverged":
            epoch, step, loss = self._core.divergence
            best = self._core.best if self._settings.restore_best else None
            raise DivergenceError(
                epoch=epoch + 1,
                step=step + 1,
                loss=loss,
                best_epoch=best["epoch"] if best else None,
            )
        stop = n_ended > 0 and self._call_back(self._data.callbacks)
        if status == "rate":
            self._trainer._sample_rate()
        if status in ("epochs", "converged"):
            return "epochs" if status == "epochs" else "converged"
        if stop:
            return "callback"
        return "max_steps" if status == "max_steps" else None

    def _left(self) -> tuple[float | None, int | None]:
        """Return the seconds and the steps that this run may still take, None without limit."""
        seconds, steps = self._settings.max_seconds, self._settings.max_steps
        if seconds is not None:
            seconds -= time.monotonic() - self._started
        if steps is not None:
            steps -= self._core.n_steps - self._first_step
        return seconds, steps

    def _options(self, seconds_left: float | None, steps_left: int | None) -> core.RunOptions:
        settings, n_rows = self._settings, self._data.n_rows
        slices = [] if seconds_left is None else [seconds_left]
        if self._bar is not None:
            slices.append(_progress.INTERVAL)
        return core.RunOptions(
            batch_size=min(settings.batch_size or n_rows, n_rows),
            shuffle=settings.shuffle,
            epochs=settings.epochs,
            max_steps=-1 if steps_left is None else steps_left,
            slice_seconds=min(slices, default=-1.0),
            pause_each_epoch=bool(self._data.callbacks or self._data.metrics),
            tol=-1.0 if settings.tol is None else settings.tol,
            patience=settings.patience,
            keep_best=settings.keep_best or settings.restore_best,
            judge_outside=self._data.monitor is not None,
            n_threads=settings.n_threads or 1,
        )

    def _record(self, *, with_metrics: bool = True) -> int:
        """Move the core's records of finished epochs into the history; return how many."""
        records = self._core.take_records()
        if not records:
            return 0
        losses, val_losses, seconds, rates = zip(*records, strict=True)
        columns: dict[str, tuple[float, ...]] = {"loss": losses}
        if self._data.validation is not None:
            columns["val_loss"] = val_losses
        try:
            if with_metrics:
                # With metrics the core pauses at each epoch's end, so there is one record.
                columns |= {key: (value,) for key, value in self._metrics().items()}
        finally:
            if self._rate_changes():
                columns["learning_rate"] = rates
            self._trainer.history.extend(columns | {"seconds": seconds})
        return len(records)

    def _rate_changes(self) -> bool:
        return not isinstance(self._trainer.optimizer.learning_rate, float)

    def _monitored(self) -> float:
        """Return the last epoch's value of what is monitored, lower if it is better."""
        assert self._data.monitor is not None
        key, mode = self._data.monitor
        value = float(self._trainer.history[key][-1])
        return value if mode == "min" else -value

    def _metrics(self) -> dict[str, float]:
        data, network, loss = self._data, self._network, self._trainer.loss
        count = self._settings.n_threads
        if data.split is not None:
            return self._metrics_of_split(data.split)
        values = _evaluation.compute(network, data.train, loss, data.metrics, count)
        if data.validation is not None:
            of_validation = _evaluation.compute(network, data.validation, loss, data.metrics, count)
            values |= {f"val_{key}": value for key, value in of_validation.items()}
        return values

    def _metrics_of_split(self, split: Split) -> dict[str, float]:
        """Return the metrics of both parts, from one prediction of all rows."""
        data, network, loss = self._data, self._network, self._trainer.loss
        if not data.metrics:
            return {}
        predicted = network._predict_rows(data.train.X, None, self._settings.n_threads)
        values: dict[str, float] = {}
        parts = (("", data.train, split.train), ("val_", data.validation, split.validation))
        for prefix, part, rows in parts:
            assert part is not None
            weight = None if part.weight is None else part.weight[rows]
            of_part = _evaluation.of_predictions(
                network, predicted[rows], part.y[rows], weight, loss, data.metrics
            )
            values |= {f"{prefix}{key}": value for key, value in of_part.items()}
        return values

    def _call_back(self, listeners: Sequence[Callback]) -> bool:
        """Call them for the last epoch; return whether one of them asks to stop."""
        if not listeners:
            return False
        history = self._trainer.history
        epoch = self._core.epoch
        state = CallbackState(self._network, self._trainer, epoch, history.last(), history)
        try:
            return callbacks.call(listeners, state)
        finally:
            self._core.use_average()  # unless one of them called use_raw, it is there
