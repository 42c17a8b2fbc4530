"""The fit of sgd and adam: epochs in the core, scikit-learn's rules for when to stop.

Warnings and printed lines are worded as scikit-learn's, since scripts filter and parse them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from deltarule import _threads
from deltarule._dispatch import core
from deltarule.sklearn._callbacks import FitTasks
from deltarule.sklearn._rows import Rows
from deltarule.sklearn._solver import Objective, StochasticSolver

if TYPE_CHECKING:
    from deltarule.sklearn._mlp import BaseMLP

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
MOST = 2**62  # what the core can count to


class StochasticFit:
    """One call of fit or partial_fit with sgd or adam."""

    def __init__(
        self,
        estimator: BaseMLP,
        solver: StochasticSolver,
        objective: Objective,
        rows: Rows,
        validation: Rows | None,
        tasks: FitTasks | None,
    ) -> None:
        self._est = estimator
        self._solver = solver
        self._network = estimator.network_
        self._core = solver.attach(self._network, objective)
        self._rows = rows
        self._validation = validation
        self._tasks = tasks
        self._best_theta = self._network.theta.copy() if estimator.early_stopping else None
        self._stops_early = False

    def run(self, *, single_epoch: bool) -> None:
        """Train until a rule stops it, or for one epoch."""
        est = self._est
        self._stops_early = est.early_stopping and not single_epoch
        self._carry_over()
        self._network._begin_training()
        est._fitting = True
        try:
            validation = self._validation
            given = (None, None, None) if validation is None else validation.for_core()
            self._core.set_data(*self._rows.for_core(), *given)
            self._loop(1 if single_epoch else est.max_iter, single_epoch)
        except KeyboardInterrupt:
            self._record()
            warnings.warn("Training interrupted by user.", stacklevel=5)
        finally:
            self._leave_epoch()
            self._core.clear_data()
            self._network._end_training()
        if self._stops_early and self._best_theta is not None:
            self._network.theta[:] = self._best_theta

    def _carry_over(self) -> None:
        """Give the core what scikit-learn keeps over fits: the best loss, the stalled epochs."""
        est = self._est
        if self._stops_early and est.validation_scores_ is None:
            est.validation_scores_, est.best_validation_score_ = [], -np.inf
        if not self._stops_early and est.best_loss_ is None:
            est.best_loss_ = np.inf
        count, best = est._no_improvement_count, est.best_loss_
        known = best is not None and best < np.inf
        if count or known:
            self._solver.set_progress(
                epochs_since_best=count, has_best=known, best_loss=best if known else 0.0
            )

    def _loop(self, max_epochs: int, single_epoch: bool) -> None:
        est = self._est
        est.n_iter_ = 0
        max_epochs = min(max_epochs, MOST)
        first_epoch = self._core.epoch
        options = self._options(first_epoch + max_epochs, paused=single_epoch or self._looks())
        while True:
            if self._tasks is not None:
                self._tasks.begin()
            status = self._core.run(options)
            if status == "diverged":
                self._end_diverged()
                return
            self._record()
            self._move_rate()
            stalled = status == "converged" or self._stalled()
            stop = stalled and self._stop_at_stall()
            if self._tasks is not None:
                stop = self._tasks.end() or stop
            if stop or single_epoch:
                return
            if est.n_iter_ >= max_epochs:
                break
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({max_epochs}) reached and the "
            "optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=7,
        )

    def _looks(self) -> bool:
        """Whether each epoch is looked at; else the core stops at a stalled loss by itself."""
        listens = bool(self._est.verbose) or self._tasks is not None
        return listens or self._validation is not None or self._rate_moves()

    def _end_diverged(self) -> None:
        """Raise; or, as scikit-learn does with early stopping, keep the best parameters."""
        est = self._est
        if not self._stops_early:
            raise ValueError(NOT_FINITE)
        est.n_iter_ += 1
        est.t_ += self._rows.targets.shape[0]
        est.loss_ = np.nan
        for curve in (est.loss_curve_, est.validation_loss_curve_, est.validation_scores_):
            curve.append(np.nan)
        warnings.warn(
            f"the training diverged in epoch {est.n_iter_} and has stopped; the best parameters "
            "are kept",
            ConvergenceWarning,
            stacklevel=7,
        )

    def _options(self, epochs: int, *, paused: bool) -> core.RunOptions:
        est, n_rows = self._est, self._rows.targets.shape[0]
        return core.RunOptions(
            batch_size=_batch_size(est.batch_size, n_rows),
            shuffle=est.shuffle,
            epochs=epochs,
            pause_each_epoch=paused,
            tol=-1.0 if paused else float(est.tol),
            patience=int(min(est.n_iter_no_change, MOST)) + 1,
            ties_improve=True,
            mean_over_rows=True,
            n_threads=_threads.resolve(est.n_threads),
        )

    def _record(self) -> None:
        """Move the core's records of finished epochs, one if they are looked at, to attributes."""
        est, records = self._est, self._core.take_records()
        if not records:
            return
        losses, validation_losses, *_ = zip(*records, strict=True)
        est.n_iter_ += len(losses)
        est.t_ += len(losses) * self._rows.targets.shape[0]
        est.loss_ = losses[-1]
        est.loss_curve_ += losses
        self._say(f"Iteration {est.n_iter_}, loss = {est.loss_:.8f}")
        if est.validation_loss_curve_ is not None:  # NaN without validation rows
            est.validation_loss_curve_ += validation_losses
        if self._stops_early:
            self._judge_score()
        else:
            self._judge_losses(losses)

    def _judge_losses(self, losses: Sequence[float]) -> None:
        est = self._est
        best, count, tol = est.best_loss_, est._no_improvement_count, est.tol
        for loss in losses:
            count = count + 1 if loss > best - tol else 0
            if loss < best:
                best = loss
        est.best_loss_, est._no_improvement_count = best, count

    def _judge_score(self) -> None:
        est, rows = self._est, self._validation
        assert rows is not None
        outputs = self._network.predict(rows.X, n_threads=est.n_threads)
        finite = bool(np.isfinite(outputs).all())
        score = est._score_outputs(rows.targets, outputs, rows.weight) if finite else np.nan
        est.validation_scores_.append(score)
        self._say(f"Validation score: {score:f}")
        stalled = score < est.best_validation_score_ + est.tol
        est._no_improvement_count = est._no_improvement_count + 1 if stalled else 0
        if score > est.best_validation_score_:
            est.best_validation_score_ = score
            self._best_theta = self._network.theta.copy()

    def _rate_moves(self) -> bool:
        return self._est.solver == "sgd" and self._est.learning_rate == "invscaling"

    def _move_rate(self) -> None:
        """η = η₀ / (t + 1)^power_t, t the rows seen so far."""
        est = self._est
        if self._rate_moves():
            rate = float(est.learning_rate_init) / (est.t_ + 1) ** est.power_t
            self._solver.set_learning_rate(rate)

    def _stalled(self) -> bool:
        return bool(self._est._no_improvement_count > self._est.n_iter_no_change)

    def _stop_at_stall(self) -> bool:
        """Stop; or, if the learning rate is adaptive and not tiny yet, go on with a fifth of it."""
        est = self._est
        what = "Validation score" if self._stops_early else "Training loss"
        message = (
            f"{what} did not improve more than tol={est.tol:f} "
            f"for {est.n_iter_no_change} consecutive epochs."
        )
        adaptive = est.solver == "sgd" and est.learning_rate == "adaptive"
        if not adaptive or self._solver.learning_rate <= 1e-6:
            end = " Learning rate too small. Stopping." if adaptive else " Stopping."
            self._say(message + end)
            return True
        self._solver.set_learning_rate(self._solver.learning_rate / 5.0)
        self._say(f"{message} Setting learning rate to {self._solver.learning_rate:f}")
        est._no_improvement_count = 0
        self._solver.set_progress(epochs_since_best=0)
        return False

    def _say(self, line: str) -> None:
        if self._est.verbose:
            print(line)

    def _leave_epoch(self) -> None:
        """Forget a part of an epoch that was interrupted: the next call has rows of its own."""
        if self._core.scalars()["in_epoch"]:
            self._solver.set_progress(in_epoch=False)


def _batch_size(batch_size: int | Literal["auto"], n_rows: int) -> int:
    if batch_size == "auto":
        return min(200, n_rows)
    if batch_size > n_rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=8,
        )
    return min(batch_size, n_rows)
