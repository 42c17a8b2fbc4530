"""What both estimators share: the parameters and the course of a fit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions

from deltarule._validation import Array
from deltarule.sklearn import _lbfgs, _rows
from deltarule.sklearn._callbacks import CallbackSupportMixin, tasks_of
from deltarule.sklearn._link import HIDDEN, Link, Shape
from deltarule.sklearn._linked import LinkedEstimator
from deltarule.sklearn._rows import Rows
from deltarule.sklearn._solver import Objective, Settings, StochasticSolver
from deltarule.sklearn._training import StochasticFit

Validation = tuple[Any, Any, Any]  # X_val, y_val, sample_weight_val

_VALID: set[object] = set()  # parameters that were checked, with their class
_MOST_VALID = 1000


class BaseMLP(CallbackSupportMixin, LinkedEstimator):
    """The common part of `MLPClassifier` and `MLPRegressor`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(HIDDEN))],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    hidden_layer_sizes: Any
    solver: Literal["sgd", "adam", "lbfgs"]
    alpha: float
    batch_size: int | Literal["auto"]
    learning_rate: Literal["constant", "invscaling", "adaptive"]
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int

    n_iter_: int
    n_layers_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    best_loss_: Any  # float, or None with early stopping
    validation_loss_curve_: Any  # list of float, or None without validation rows
    validation_scores_: Any  # list of float, or None without early stopping
    best_validation_score_: Any  # float, or None without early stopping
    _no_improvement_count: int
    _optimizer: StochasticSolver

    @abstractmethod
    def _checked_targets(
        self, X: Any, y: Any, *, reset: bool, incremental: bool
    ) -> tuple[Any, Array]:
        """Return X and the core's targets; with `reset` learn the classes and features."""

    @abstractmethod
    def _validation_targets(self, y: Any, like: Array) -> Array:
        """Return the core's targets of validation rows."""

    @abstractmethod
    def _output(self, targets: Array) -> tuple[int, str]:
        """Return the number of outputs and their activation."""

    @abstractmethod
    def _objective(self) -> Objective:
        """Return the loss for this output."""

    @abstractmethod
    def _score_outputs(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        """Return the score of network outputs that early stopping watches."""

    def _is_stochastic(self) -> bool:
        """Whether there is a partial_fit; without, the AttributeError says why."""
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit needs solver='sgd' or 'adam', got 'lbfgs'")
        return True

    def _sample_weight(self, targets: Array, sample_weight: Any, X: Any) -> Array | None:
        return _rows.weights("sample_weight", sample_weight, X)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Validation = (None, None, None),
        *,
        incremental: bool = False,
        classes: Any = None,
    ) -> None:
        """Do what fit or, `incremental`, partial_fit is to do; what is refused changes nothing."""
        if "_fitting" in self.__dict__:
            raise RuntimeError(
                "this estimator is being fitted, by another thread or with a callback that calls "
                "fit; fit a clone of it instead"
            )
        before = dict(self.__dict__)
        link = before.get("_link")
        n_steps = 0 if link is None else link.network.n_steps
        self._fitting = False  # not yet
        try:
            self._prepare_and_train(X, y, sample_weight, validation, incremental, classes)
        except (ValueError, TypeError, MemoryError):
            now = self.__dict__.get("_link")
            if now is None or now.network.n_steps == (n_steps if now is link else 0):
                of_callbacks = {key: each for key, each in vars(self).items() if "callback" in key}
                self.__dict__.clear()
                self.__dict__.update(before | of_callbacks)
            raise
        finally:
            self.__dict__.pop("_fitting", None)

    def _prepare_and_train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Validation,
        incremental: bool,
        classes: Any,
    ) -> None:
        hidden = _hidden_sizes(self.hidden_layer_sizes)
        self._refuse_contradictions(incremental)
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        given = X, y, sample_weight
        if incremental:
            self._learn_classes(y, classes)
        X, targets = self._checked_targets(X, y, reset=first, incremental=incremental)
        rows = Rows(X, targets, self._sample_weight(targets, sample_weight, X))
        own_validation = self._own_validation(validation, targets)
        random_state = check_random_state(self.random_state)
        n_outputs, output = self._output(targets)
        sizes = (X.shape[1], *hidden, n_outputs)
        dtype = np.float64 if self.solver == "lbfgs" else X.dtype
        if first:
            self._initialize(sizes, output, np.dtype(dtype), random_state)
        else:
            self._refuse_other_sizes(sizes)
        name = "lbfgs-iter" if self.solver == "lbfgs" else "epoch"
        tasks = None if incremental else tasks_of(self, *given, name)
        if self.solver == "lbfgs":
            if self._link.shape.dtype != np.float64:  # after a fit of float32 by sgd or adam
                self.coefs_ = [W.astype(np.float64) for W in self.coefs_]
            _lbfgs.fit(self, self._objective(), rows, tasks)
        else:
            self._fit_stochastic(rows, own_validation, random_state, tasks, incremental)
        if tasks is not None:
            tasks.close()

    def _learn_classes(self, y: Any, classes: Any) -> None:
        """Take what partial_fit is told of the classes; a regressor has none."""

    def _validate_params(self) -> None:
        """Check the parameters, once for each set of plain values: it costs more than an epoch."""
        values = [vars(self).get(name) for name in self._parameter_constraints]
        plain = all(map(_is_unchanging, values))
        key = (type(self), *((type(each), each) for each in values)) if plain else None
        if key in _VALID:
            return
        super()._validate_params()
        if key is not None and len(_VALID) < _MOST_VALID:
            _VALID.add(key)

    def _refuse_contradictions(self, incremental: bool) -> None:
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.solver == "lbfgs" and self.dropout > 0:
            raise ValueError(
                f"dropout must be 0 with solver='lbfgs', which needs the same loss at each look, "
                f"got dropout={self.dropout}; use 'adam' or 'sgd'"
            )

    def _refuse_other_sizes(self, sizes: tuple[int, ...]) -> None:
        network_sizes = (self.network_.n_inputs, *(W.shape[1] for W in self.coefs_))
        if network_sizes != sizes:
            raise ValueError(
                "hidden_layer_sizes and the data must be those of the first fit to go on from it: "
                f"the layers are {list(network_sizes)}, now {list(sizes)} are asked for; "
                "use warm_start=False to start afresh"
            )

    def _own_validation(self, validation: Validation, like: Array) -> Rows | None:
        X, y, sample_weight = validation
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            missing = "X_val" if X is None else "y_val"
            raise ValueError(f"X_val and y_val must be given together, got no {missing}")
        if self.solver == "lbfgs":
            raise ValueError("X_val must be None with solver='lbfgs', which has no epochs")
        X = _rows.checked_validation(self, X)
        targets = self._validation_targets(y, like)
        if self.early_stopping and X.shape[0] < 2:
            raise ValueError(
                f"X_val must have at least 2 rows for early stopping, got {X.shape[0]}"
            )
        if X.shape[0] != targets.shape[0]:
            raise ValueError(
                "X_val and y_val must have the same number of rows, "
                f"got {X.shape[0]} and {targets.shape[0]}"
            )
        return Rows(X, targets, _rows.weights("sample_weight_val", sample_weight, X))

    def _initialize(
        self,
        sizes: tuple[int, ...],
        output: str,
        dtype: np.dtype[Any],
        random_state: np.random.RandomState,
    ) -> None:
        """Draw the initial parameters as scikit-learn does, and set all counters to zero."""
        link = Link(Shape(sizes, self.activation, output, self.dropout, dtype))
        factor = 2.0 if self.activation == "logistic" else 6.0
        for W, b in zip(link.coefs, link.intercepts, strict=True):
            bound = np.sqrt(factor / sum(W.shape))
            W[...] = random_state.uniform(-bound, bound, W.shape)
            b[...] = random_state.uniform(-bound, bound, b.shape)
        self.coefs_, self.intercepts_ = [], []
        self._show(link)
        self.n_outputs_, self.n_layers_, self.out_activation_ = sizes[-1], len(sizes), output
        self.n_iter_ = self.t_ = 0
        for name in self._no_records():
            self.__dict__.pop(name, None)
        if self.solver != "lbfgs":
            self.__dict__.update(self._no_records())

    def _no_records(self) -> dict[str, Any]:
        """Return what sgd and adam tell of their epochs, before the first."""
        stops = self.early_stopping
        return {
            "loss_curve_": [],
            "validation_loss_curve_": None,
            "best_loss_": None if stops else np.inf,
            "validation_scores_": [] if stops else None,
            "best_validation_score_": -np.inf if stops else None,
            "_no_improvement_count": 0,
        }

    def _fit_stochastic(
        self,
        rows: Rows,
        validation: Rows | None,
        random_state: np.random.RandomState,
        tasks: Any,
        incremental: bool,
    ) -> None:
        if self.early_stopping and validation is None:
            rows, validation = _rows.split(
                rows, self.validation_fraction, random_state, stratify=self._stratifies()
            )
        for name, value in self._no_records().items():  # after lbfgs some are missing
            self.__dict__.setdefault(name, value)
        if validation is not None and self.validation_loss_curve_ is None:
            self.validation_loss_curve_ = [np.nan] * len(self.loss_curve_)
        if not incremental or not self._can_go_on():
            seed = int(random_state.randint(0, 2**63 - 1, dtype=np.int64))
            settings = Settings(
                self.solver,  # type: ignore[arg-type]
                self.learning_rate_init,
                self.momentum,
                self.nesterovs_momentum,
                self.beta_1,
                self.beta_2,
                self.epsilon,
            )
            self._optimizer = StochasticSolver(settings, seed)
        fit = StochasticFit(self, self._optimizer, self._objective(), rows, validation, tasks)
        fit.run(single_epoch=incremental)

    def _can_go_on(self) -> bool:
        """Whether there is a solver whose state fits the parameters."""
        solver = vars(self).get("_optimizer")
        return solver is not None and solver.fits(self.network_)

    def _stratifies(self) -> bool:
        """Whether the split of early stopping keeps the share of each class."""
        return False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _is_unchanging(value: object) -> bool:
    """Whether a parameter is one that cannot change, and equal only to the like of it."""
    if isinstance(value, tuple):
        return all(type(each) is int for each in value)
    return type(value) in (bool, int, float, str, type(None))


def _hidden_sizes(sizes: Any) -> list[int]:
    """Return the widths of the hidden layers as a list of int >= 1."""
    given = list(sizes) if isinstance(sizes, Iterable) else [sizes]
    if not all(isinstance(each, Integral) for each in given) or any(each <= 0 for each in given):
        raise ValueError(f"hidden_layer_sizes must be > 0, whole numbers, got {given}")
    return [int(each) for each in given]
