"""solver="lbfgs": SciPy's L-BFGS-B on the whole data, with the core's loss and gradient."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result

from deltarule import _threads
from deltarule._validation import Array
from deltarule.sklearn._callbacks import FitTasks
from deltarule.sklearn._rows import Rows
from deltarule.sklearn._solver import Objective
from deltarule.sklearn._training import NOT_FINITE

if TYPE_CHECKING:
    from deltarule.sklearn._mlp import BaseMLP

_STOPPED = 99  # SciPy's status of a run that a callback stopped


class LossAndGradient:
    r"""The penalised loss of all rows and its gradient, as functions of theta.

    .. math:: L + \frac{\alpha}{2 \sum_i w_i} \sum \lVert W \rVert^2
    """

    def __init__(self, estimator: BaseMLP, objective: Objective, rows: Rows) -> None:
        self._network = estimator.network_
        self._loss = objective.spec(of_step=False)
        self._data = rows.for_core()
        n_rows, weight = rows.targets.shape[0], rows.weight
        total = n_rows if weight is None else float(np.sum(weight, dtype=np.float64))
        self._l2 = objective.alpha / total
        self.last_loss = np.inf
        self._n_threads = _threads.resolve(estimator.n_threads)
        self._is_weight = np.zeros(self._network.n_parameters, dtype=bool)
        for block in self._network.unflatten(self._is_weight):
            if isinstance(block, tuple):
                block[0][...] = True

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return the loss and its gradient at theta, which becomes the network's."""
        network = self._network
        network.theta[:] = theta
        gradient = np.empty(theta.size)
        loss = network._core.gradient(*self._data, self._loss, 0, False, self._n_threads, gradient)
        W = theta * self._is_weight
        self.last_loss = loss + 0.5 * self._l2 * float(W @ W)
        return self.last_loss, gradient + self._l2 * W


def fit(
    estimator: BaseMLP,
    objective: Objective,
    rows: Rows,
    tasks: FitTasks | None,
) -> None:
    """Minimise the loss of all rows from the network's present parameters."""
    function = LossAndGradient(estimator, objective, rows)
    network = estimator.network_
    start = network.theta.copy()
    reached = start.copy()  # by the last finished iteration

    def callback(theta: Array) -> None:
        reached[:] = network.theta[:] = theta
        estimator.n_iter_ += 1
        estimator.loss_ = function.last_loss
        if tasks is not None:
            if tasks.end():
                raise StopIteration
            if estimator.n_iter_ < estimator.max_iter:
                tasks.begin()

    estimator.n_iter_ = 0
    estimator._fitting = True
    network._begin_training()
    try:
        if tasks is not None:
            tasks.begin()
        result = scipy.optimize.minimize(
            function,
            start,
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={
                "maxfun": estimator.max_fun,
                "maxiter": estimator.max_iter,
                "gtol": estimator.tol,
            },
        )
    except KeyboardInterrupt:
        network.theta[:] = reached
        warnings.warn("Training interrupted by user.", stacklevel=6)
        return
    finally:
        network._end_training()
    finite = np.isfinite(result.fun) and np.isfinite(result.x).all()
    network.theta[:] = result.x if finite else start
    if not finite:
        raise ValueError(NOT_FINITE)
    if result.status == _STOPPED:
        estimator.n_iter_ = result.nit
    else:
        estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = float(result.fun)
