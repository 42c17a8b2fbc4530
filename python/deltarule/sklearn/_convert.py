"""Fitted estimators from scikit-learn's class to ours and back."""

from __future__ import annotations

from typing import Any

from sklearn import neural_network
from sklearn.base import clone
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from deltarule.sklearn._classifier import MLPClassifier
from deltarule.sklearn._regressor import MLPRegressor

_FITTED = (
    "classes_", "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "n_iter_", "t_",
    "out_activation_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "_no_improvement_count",
)  # fmt: skip
_BEYOND = ("dropout", "class_weight", "n_threads")


def from_sklearn(fitted: Any) -> MLPClassifier | MLPRegressor:
    """Return one of our estimators with the parameters and predictions of scikit-learn's.

    Parameters
    ----------
    fitted : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted; it is not changed, and shares no memory with the result.

    Returns
    -------
    MLPClassifier or MLPRegressor
        Its sgd or adam starts afresh: their state is not carried over.

    Raises
    ------
    TypeError
        If it is of another class.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Examples
    --------
    >>> import sklearn.neural_network
    >>> from sklearn.datasets import load_iris
    >>> from deltarule.sklearn import from_sklearn
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = sklearn.neural_network.MLPClassifier((8,), solver="lbfgs", random_state=0)
    >>> ours = from_sklearn(theirs.fit(X, y))
    >>> bool((ours.predict(X) == theirs.predict(X)).all())
    True
    """
    ours: MLPClassifier | MLPRegressor
    if isinstance(fitted, neural_network.MLPClassifier):
        ours = MLPClassifier(**_settings(fitted))
    elif isinstance(fitted, neural_network.MLPRegressor):
        ours = MLPRegressor(**_settings(fitted))
    else:
        raise TypeError(
            "fitted must be scikit-learn's MLPClassifier or MLPRegressor, "
            f"got {type(fitted).__name__}"
        )
    check_is_fitted(fitted)
    _copy_attributes(fitted, ours)
    if isinstance(ours, MLPClassifier):
        ours._sparse_labels = bool(fitted._label_binarizer.sparse_input_)
    ours._relink(None)
    return ours


def to_sklearn(fitted: MLPClassifier | MLPRegressor) -> Any:
    """Return scikit-learn's estimator with the parameters and predictions of ours."""
    check_is_fitted(fitted)
    settings = _settings(fitted)
    for name in _BEYOND:
        settings.pop(name, None)
    fitted.network_  # noqa: B018  (arrays put in by hand become the network's)
    if isinstance(fitted, MLPClassifier):
        theirs = neural_network.MLPClassifier(**settings)
        theirs._label_binarizer = _binarizer(fitted)
    else:
        theirs = neural_network.MLPRegressor(**settings)
    _copy_attributes(fitted, theirs)
    theirs._best_coefs = [each.copy() for each in theirs.coefs_]
    theirs._best_intercepts = [each.copy() for each in theirs.intercepts_]
    return theirs


def _settings(estimator: Any) -> dict[str, Any]:
    """Return copies of the parameters: a RandomState is not shared."""
    params = estimator.get_params(deep=False)
    return {name: clone(value, safe=False) for name, value in params.items()}


def _binarizer(fitted: MLPClassifier) -> LabelBinarizer:
    binarizer = fitted._label_binarizer
    binarizer.sparse_input_ = fitted._sparse_labels
    return binarizer


def _copy_attributes(source: Any, target: Any) -> None:
    for name in _FITTED:
        if name in vars(source):
            value = vars(source)[name]
            setattr(target, name, list(value) if isinstance(value, list) else value)
    target.coefs_ = [each.copy() for each in source.coefs_]
    target.intercepts_ = [each.copy() for each in source.intercepts_]
