"""`MLPClassifier`: scikit-learn's class of this name, trained by deltarule."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import check_array, column_or_1d

from deltarule._validation import Array
from deltarule.sklearn import _labels
from deltarule.sklearn._mlp import BaseMLP
from deltarule.sklearn._solver import Objective

Self = TypeVar("Self", bound="MLPClassifier")


class MLPClassifier(ClassifierMixin, BaseMLP):
    r"""Multi-layer perceptron for classes: ``sklearn.neural_network.MLPClassifier``, faster.

    Cross-entropy of two or more classes, or of several labels; parameters, methods and attributes
    are scikit-learn's, with `dropout`, `class_weight`, `n_threads`, validation rows in `fit`,
    `hidden_activations` and `input_gradient` beyond them.

    .. math::

        L = -\frac{1}{\sum_i w_i} \sum_i w_i \sum_j y_{ij} \log a_{ij}
        \quad (\text{and } + (1 - y_{ij}) \log (1 - a_{ij}) \text{ with logistic outputs})

    Parameters
    ----------
    hidden_layer_sizes : array-like of int, or int, default (100,)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default "relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default "adam"
        sgd and adam take scikit-learn's steps in deltarule's compiled loop; lbfgs is SciPy's
        L-BFGS-B on the loss of all rows.
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
    class_weight : dict, list of dict, "balanced" or None, default None
        Beyond scikit-learn: weights of the classes, which multiply the sample weights; "balanced"
        is n / (n_classes · rows of the class). For several labels a list of dict.
    n_threads : int, optional
        Beyond scikit-learn: threads at most, see `deltarule.set_num_threads`. Results do not
        depend on it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; for several labels their numbers.
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
        Accuracy of the validation rows, with early stopping.
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
    >>> from sklearn.datasets import load_iris
    >>> from deltarule.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(hidden_layer_sizes=(32,), max_iter=1000, random_state=0).fit(X, y)
    >>> model.predict(X[:3]), bool(model.score(X, y) > 0.95)
    (array([0, 0, 0]), True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    loss = "log_loss"

    classes_: Array
    _sparse_labels = False  # whether labels came as a sparse matrix, and so go as one

    def __init__(
        self,
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
        class_weight: Any = None,
        n_threads: int | None = None,
    ) -> None:
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
        self.class_weight = class_weight
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
        """Train on rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.
        y : array-like of shape (n,) or (n, n_labels)
            Labels of any type, or 0 and 1 in a column for each label.
        sample_weight : array-like of shape (n,), optional
            Weights, not negative and not all zero.
        X_val, y_val, sample_weight_val : array-like, optional
            Validation rows of your own: they give `validation_loss_curve_`, and early stopping
            uses them instead of a part of X. (In a pipeline see ``transform_input``.)

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
    def partial_fit(
        self: Self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Train for one epoch on rows, which may be others in each call.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.
        y : array-like of shape (n,) or (n, n_labels)
            Labels.
        sample_weight : array-like of shape (n,), optional
            Weights, not negative and not all zero.
        classes : array-like, optional
            All labels that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight must be a dict or None in partial_fit, which does not see all rows, "
                f"got {self.class_weight!r}"
            )
        self._fit(X, y, sample_weight, incremental=True, classes=classes)
        return self

    def predict(self, X: Any) -> Any:
        """Return the most probable labels of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.

        Returns
        -------
        ndarray of shape (n,) or (n, n_labels)
        """
        labels = _labels.decode(self._outputs(X), self._kind, self.classes_)
        return sparse.csr_matrix(labels) if self._sparse_labels else labels

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, ordered as ``classes_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        outputs = self._outputs(X)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows, finite.

        Returns
        -------
        ndarray of shape (n, n_classes)
        """
        probabilities = self.predict_proba(X)
        logarithms: Array = np.log(probabilities, out=probabilities)
        return logarithms

    def to_sklearn(self) -> Any:
        """Return a fitted ``sklearn.neural_network.MLPClassifier`` with the same predictions."""
        from deltarule.sklearn._convert import to_sklearn

        return to_sklearn(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _kind(self) -> _labels.Kind:
        if self.out_activation_ == "softmax":
            return "multiclass"
        return "binary" if self.n_outputs_ == 1 else "multilabel"

    @property
    def _label_binarizer(self) -> LabelBinarizer:
        """What scikit-learn keeps under this name."""
        several = self._kind == "multilabel"
        labels = np.ones((1, self.n_outputs_), dtype=int) if several else self.classes_
        return LabelBinarizer().fit(labels)

    def _learn_classes(self, y: Any, classes: Any) -> None:
        if _check_partial_fit_first_call(self, classes):
            self._sparse_labels = sparse.issparse(y)

    def _checked_targets(
        self, X: Any, y: Any, *, reset: bool, incremental: bool
    ) -> tuple[Any, Array]:
        X, y = self._checked_data(X, y, reset=reset)
        y = _flat(y)
        kind, classes = _labels.classes_of(y)
        if reset and not incremental:
            self.classes_ = classes
            self._sparse_labels = sparse.issparse(y)
        elif self.warm_start and not incremental and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if not reset and (kind == "multilabel") != (self._kind == "multilabel"):
            raise ValueError(
                f"y must be of the kind of the first fit, {self._kind}, got {kind} targets"
            )
        return X, self._encoded("y", y, kind, classes)

    def _encoded(self, name: str, y: Any, kind: _labels.Kind, classes: Array) -> Array:
        """Return the core's targets of labels that must all be known."""
        unknown = np.setdiff1d(classes, self.classes_)
        if len(unknown):
            raise ValueError(f"{name} has classes not in `self.classes_`: {unknown}")
        if kind != "multilabel":
            kind = _labels.kind_of(self.classes_)
        return _labels.encode(y, kind, self.classes_)

    def _validation_targets(self, y: Any, like: Array) -> Array:
        y = check_array(y, accept_sparse="csr", ensure_2d=False, dtype=None, input_name="y_val")
        y = _flat(y)
        targets = self._encoded("y_val", y, *_labels.classes_of(y))
        if targets.shape[1] != like.shape[1]:
            raise ValueError(
                f"y_val must have as many columns as y, {like.shape[1]}, got {targets.shape[1]}"
            )
        return targets

    def _sample_weight(self, targets: Array, sample_weight: Any, X: Any) -> Array | None:
        weight = super()._sample_weight(targets, sample_weight, X)
        if self.class_weight is None:
            return weight
        of_class = self._weight_of_classes(targets)
        product = of_class if weight is None else weight * of_class
        if not (np.isfinite(product).all() and (product >= 0).all() and (product > 0).any()):
            raise ValueError(
                "class_weight must give rows finite weights, not negative and not all zero, got "
                f"{self.class_weight!r}"
            )
        return product

    def _weight_of_classes(self, targets: Array) -> Array:
        """Return the weight that class_weight gives to each row, (n, 1)."""
        several = targets.dtype == bool
        given = self.class_weight
        if isinstance(given, list) != (several and not isinstance(given, str)) or (
            isinstance(given, list) and len(given) != targets.shape[1]
        ):
            raise ValueError(
                "class_weight must be a dict or 'balanced', or for several labels a list of a "
                f"dict for each of them, got {given!r}"
            )
        labels = np.array([False, True]) if several else np.arange(len(self.classes_))
        names = labels.astype(int) if several else self.classes_
        weight = np.ones((len(targets), 1))
        for column, chosen in enumerate(targets.T):
            rule = given[column] if isinstance(given, list) else given
            of_label = np.ones(len(labels))
            if rule == "balanced":
                present = np.unique(chosen)
                of_present = compute_class_weight("balanced", classes=present, y=chosen)
                of_label[present.astype(int)] = of_present
            else:
                of_label[:] = compute_class_weight(rule, classes=names, y=names[chosen.astype(int)])
            weight[:, 0] *= of_label[chosen.astype(int)]
        return weight

    def _output(self, targets: Array) -> tuple[int, str]:
        if targets.dtype == bool:
            return targets.shape[1], "logistic"
        n_classes = len(self.classes_)
        return (1, "logistic") if n_classes <= 2 else (n_classes, "softmax")

    def _objective(self) -> Objective:
        if self._kind == "multiclass":
            return Objective("cross_entropy", 1.0, 1.0, self.alpha)
        return Objective("binary_cross_entropy", float(self.n_outputs_), 1.0, self.alpha)

    def _stratifies(self) -> bool:
        return self._kind == "binary"

    def _score_outputs(self, targets: Array, outputs: Array, weight: Array | None) -> float:
        right = (_labels.numbers(outputs, self._kind) == targets).all(axis=1)
        return float(np.average(right, weights=None if weight is None else weight[:, 0]))


def _flat(y: Any) -> Any:
    one_column = not sparse.issparse(y) and y.ndim == 2 and y.shape[1] == 1
    return column_or_1d(y, warn=True) if one_column else y
