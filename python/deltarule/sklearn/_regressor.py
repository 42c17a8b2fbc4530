"""`MLPRegressor`: scikit-learn's class of this name, trained by deltarule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, column_or_1d

from deltarule import _validation
from deltarule._validation import Array
from deltarule.sklearn._mlp import BaseMLP
from deltarule.sklearn._solver import Objective

Self = TypeVar("Self", bound="MLPRegressor")


class MLPRegressor(RegressorMixin, BaseMLP):
    r"""Multi-layer perceptron for regression: ``sklearn.neural_network.MLPRegressor``, faster.

    Squared error or Poisson loss; parameters, methods and attributes are scikit-learn's, with
    `dropout`, `n_threads`, validation rows in `fit`, `hidden_activations` and `input_gradient`
    beyond them.

    .. math::

        L = \frac{1}{\sum_i w_i} \sum_i w_i \ell_i, \qquad
        \ell_i = \frac{1}{2 k} \sum_j (a_{ij} - y_{ij})^2 \quad \text{or} \quad
        \ell_i = \sum_j y_{ij} \log \frac{y_{ij}}{a_{ij}} - y_{ij} + a_{ij}

    for k outputs. With several outputs, sgd and adam take scikit-learn's step on the squared
    error, which is k times the gradient of this loss.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        With "poisson" the output is an exponential and targets are at least 0.
    hidden_layer_sizes : array-like of int, or int, default (100,)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default "relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
        sgd and adam take scikit-learn's steps in deltarule's compiled loop; lbfgs is SciPy's
        L-BFGS-B on the loss of all rows,
        with the gradient of this loss also for several outputs.
    alpha : float, default 1e-4
        Penalty :math:`\frac{\alpha}{2 \sum_i w_i} \sum \lVert W \rVert^2` of each batch, on
        weights and not on intercepts.
    batch_size : int or "auto", default "auto"
        Rows of one step; "auto" is min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        For sgd: :math:`\eta_0`; :math:`\eta_0 / (t + 1)^p` after t rows, p = `power_t`; or a
        fifth of it whenever the loss has stalled for `n_iter_no_change` epochs, down to 1e-6.
    learning_rate_init : float, default 0.001
        :math:`\eta_0`.
    power_t : float, default 0.5
        See `learning_rate`.
    max_iter : int, default 200
        Epochs at most (sgd, adam), or iterations (lbfgs); a ConvergenceWarning tells when it ends
        the training.
    shuffle : bool, default True
        Whether each epoch has its own order of rows; one batch of all takes them as they lie.
    random_state : int, RandomState or None, default None
        Of the initial parameters (drawn as scikit-learn draws them), of the split of early
        stopping (the same), and of the order of rows and dropout (deltarule's own, from one draw).
    tol : float, default 1e-4
        The loss has stalled while it is not below its best by `tol` or more.
    verbose : bool or int, default False
        Print the loss of each epoch.
    warm_start : bool, default False
        Whether fit goes on from the parameters of the last fit.
    momentum : float, default 0.9
        For sgd, in [0, 1].
    nesterovs_momentum : bool, default True
        For sgd.
    early_stopping : bool, default False
        Watch the score on validation rows instead of the loss, and keep the best parameters.
    validation_fraction : float, default 0.1
        Share of the rows that early stopping sets aside, unless fit is given validation rows.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999 and 1e-8
        For adam.
    n_iter_no_change : int or np.inf, default 10
        Epochs that may stall.
    max_fun : int, default 15000
        For lbfgs: evaluations of the loss at most.
    dropout : float, default 0.0
        For sgd and adam, beyond scikit-learn: the share of hidden outputs set to zero at random in
        each training step, in [0, 1).
    n_threads : int, optional
        Beyond scikit-learn: threads at most, see `deltarule.set_num_threads`. Results do not
        depend on it.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights (n_{l-1}, n_l) and intercepts (n_l,) of each layer: writable views of `network_`.
    network_ : deltarule.Network
        The network itself.
    loss_, loss_curve_, best_loss_ : float, list of float, float or None
        The loss with the penalty: of the last epoch, of all epochs, the lowest (None with early
        stopping). lbfgs sets `loss_` alone.
    validation_loss_curve_ : list of float or None
        The loss of the validation rows after each epoch, without the penalty; None without such.
    validation_scores_, best_validation_score_ : list of float and float, or None
        Coefficient of determination of the validation rows, with early stopping.
    n_iter_, t_ : int
        Epochs or iterations of the last fit; rows seen by sgd or adam.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        Layers with input and output, outputs, and the activation of the output.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Features seen in fit, and their names if they have any.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from deltarule.sklearn import MLPRegressor
    >>> X = np.linspace(-1.0, 1.0, 200).reshape(-1, 1)
    >>> model = MLPRegressor(hidden_layer_sizes=(32,), max_iter=2000, random_state=0)
    >>> bool(model.fit(X, np.sin(3 * X[:, 0])).score(X, np.sin(3 * X[:, 0])) > 0.99)
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss: Literal["squared_error", "poisson"] = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Literal["identity", "logistic", "tanh", "relu"] = "relu",
        *,
        solver: Literal["lbfgs", "sgd", "adam"] = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: Literal["constant", "invscaling", "adaptive"] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        n_threads: int | None = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.n_threads = n_threads

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self: Self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train on rows; see `MLPClassifier.fit` for the arguments.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.
        y : array-like of shape (n,) or (n, n_outputs)
            Targets; at least 0 with ``loss="poisson"``.
        sample_weight : array-like of shape (n,), optional
            Weights, not negative and not all zero.
        X_val, y_val, sample_weight_val : array-like, optional
            Validation rows of your own.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is refused, or the loss does not stay finite.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @available_if(BaseMLP._is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self: Self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on rows, which may be others in each call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.
        y : array-like of shape (n,) or (n, n_outputs)
            Targets.
        sample_weight : array-like of shape (n,), optional
            Weights, not negative and not all zero.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Return the predictions of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _checked_targets(
        self, X: Any, y: Any, *, reset: bool, incremental: bool
    ) -> tuple[Any, Array]:
        X, y = self._checked_data(X, y, reset=reset, y_numeric=True)
        return X, self._columns("y", y)

    def _validation_targets(self, y: Any, like: Array) -> Array:
        targets = self._columns("y_val", check_array(y, ensure_2d=False, input_name="y_val"))
        if targets.shape[1] != like.shape[1]:
            raise ValueError(
                f"y_val must have as many columns as y, {like.shape[1]}, got {targets.shape[1]}"
            )
        return targets

    def _columns(self, name: str, y: Array) -> Array:
        """Return targets (n, n_outputs) of a dtype that the core reads."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = _validation.numbers(name, y)
        if self.loss == "poisson" and y.min() < 0:
            raise ValueError(f"{name} must be at least 0 with loss='poisson', got {y.min()}")
        return y.reshape(len(y), -1)

    def _output(self, targets: Array) -> tuple[int, str]:
        return targets.shape[1], "exp" if self.loss == "poisson" else "identity"

    def _objective(self) -> Objective:
        width = float(self.n_outputs_)
        if self.loss == "poisson":  # the sum over outputs
            return Objective("poisson_deviance", width, 1.0, self.alpha)
        return Objective("mse", 0.5, width, self.alpha)

    def _score_outputs(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        flat = None if weight is None else weight[:, 0]
        return float(r2_score(targets, outputs, sample_weight=flat))

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.neural_network.MLPRegressor`` with the same predictions."""
        from deltarule.sklearn._convert import to_sklearn

        return to_sklearn(self)
