r"""Numbers to read beside the loss: plain functions of NumPy arrays.

Each is ``metric(y_true, y_pred, *, weights=None) -> float``. By name they serve ``net.evaluate(X,
y, metrics=["rmse", "r2"])`` and ``net.fit(..., metrics=["accuracy"])``; there a function of your
own works too: ``f(y_true, y_pred) -> float`` with arrays of shape (n, n_L), class indices being
(n, 1); its key is its ``__name__`` (``lambda`` for a lambda).

``y_pred`` has shape (n, n_L) or (n,). ``y_true`` has the same, or for classes also the class
indices (n,) or (n, 1). ``weights`` has shape (n,).

`accuracy`, `balanced_accuracy`, `f1`, `auc` and `log_loss` need probabilities. Asked for by name,
or as the functions of this module, they get probabilities even where the network has a linear
output and the loss is a cross-entropy: fit and evaluate then turn the logits into them first.
With the loss `hinge` the sign of an output decides, and only `log_loss` is refused.

Several columns are the scores of classes, of which each row has one. With ``multilabel=True`` each
column is a yes or no of its own, `y_true` holds zeros and ones, and 0.5 decides: `accuracy` is then
the share of rows with all labels right, the others are the mean over the labels. Asked for by name
they take several sigmoid outputs, or several of `binary_cross_entropy` or `hinge`, for labels.

With several targets `mae` and `r2` are the mean over them, as in scikit-learn; `rmse` is the root
of the mean over all, where scikit-learn takes the mean of the roots. Of `gaussian_nll` they look at
the means, of several quantiles at the median, if it is one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deltarule import _settings
from deltarule._validation import numbers
from deltarule._validation import weights as checked_weights

__all__ = ["accuracy", "auc", "balanced_accuracy", "f1", "log_loss", "mae", "r2", "rmse"]

MetricName = Literal["rmse", "mae", "r2", "accuracy", "balanced_accuracy", "f1", "auc", "log_loss"]
Metric: TypeAlias = "MetricName | Callable[[NDArray[Any], NDArray[Any]], float]"
Floats = NDArray[np.float64]


def rmse(y_true: ArrayLike, y_pred: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    r"""Root of the mean squared error, over rows and outputs: the root of the `mse` loss.

    .. math:: \sqrt{\frac{\sum_i w_i \frac{1}{n_L} \sum_j (a_{ij} - y_{ij})^2}{\sum_i w_i}}

    Examples
    --------
    >>> from deltarule.metrics import rmse
    >>> rmse([1.0, 2.0, 3.0], [1.0, 2.0, 6.0]) == 3**0.5
    True
    """
    true, predicted, w = _regression(y_true, y_pred, weights)
    return float(np.sqrt(np.average(np.mean((predicted - true) ** 2, axis=1), weights=w)))


def mae(y_true: ArrayLike, y_pred: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    r"""Mean absolute error, over rows and outputs.

    Examples
    --------
    >>> from deltarule.metrics import mae
    >>> mae([1.0, 2.0, 3.0], [1.0, 2.0, 6.0])
    1.0
    """
    true, predicted, w = _regression(y_true, y_pred, weights)
    return float(np.average(np.mean(np.abs(predicted - true), axis=1), weights=w))


def r2(y_true: ArrayLike, y_pred: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    r"""Coefficient of determination; the plain mean of that of every output.

    .. math:: R^2 = 1 - \frac{\sum_i w_i (y_i - a_i)^2}{\sum_i w_i (y_i - \bar y)^2}

    A constant target counts 1 if predicted exactly, else 0 (as in scikit-learn).

    Examples
    --------
    >>> from deltarule.metrics import r2
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), r2([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    (1.0, 0.0)
    """
    true, predicted, w = _regression(y_true, y_pred, weights)
    column = np.ones((len(true), 1)) if w is None else w[:, np.newaxis]
    residual = (column * (true - predicted) ** 2).sum(axis=0)
    total = (column * (true - np.average(true, axis=0, weights=w)) ** 2).sum(axis=0)
    counted = true if w is None else true[w > 0]
    varies = counted.max(axis=0) > counted.min(axis=0)
    score = 1 - residual / np.where(varies & (total > 0), total, 1.0)
    return float(np.mean(np.where(varies, score, np.where(residual == 0, 1.0, 0.0))))


def accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    multilabel: bool = False,
) -> float:
    """Share of rows whose class is right.

    One column of predictions is the probability of class 1 (right if on the true side of 0.5);
    several columns are the scores of the classes (right if the largest is the true one).
    With `multilabel` a row is right if all its labels are, each on its side of 0.5.

    Examples
    --------
    >>> from deltarule.metrics import accuracy
    >>> accuracy([0, 1, 1, 0], [0.1, 0.8, 0.4, 0.3])
    0.75
    >>> accuracy([2, 0], [[0.1, 0.2, 0.7], [0.3, 0.5, 0.2]])
    0.5
    >>> accuracy([[1, 1], [0, 0]], [[0.8, 0.7], [0.1, 0.6]], multilabel=True)
    0.5
    """
    if multilabel:
        labels, scores = _labels(y_true, y_pred)
        chosen = [_chosen(scores[:, [j]]) for j in range(scores.shape[1])]
        right = (labels == np.stack(chosen, axis=1)).all(axis=1)
        return float(np.average(right, weights=_weights(weights, len(right))))
    true, predicted, w = _classes(y_true, y_pred, weights)
    return float(np.average(true == _chosen(predicted), weights=w))


def balanced_accuracy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    multilabel: bool = False,
) -> float:
    r"""Mean over the classes of the share of their rows that is right: a rare class counts in full.

    .. math:: \frac{1}{K} \sum_k \frac{\sum_{i: y_i = k} w_i [\hat y_i = k]}{\sum_{i: y_i = k} w_i}

    over the K classes that `y_true` has. Classes are chosen as in `accuracy`.

    Examples
    --------
    >>> from deltarule.metrics import balanced_accuracy
    >>> balanced_accuracy([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4])
    0.5
    """
    if multilabel:
        return _mean_over_labels(balanced_accuracy, y_true, y_pred, weights)
    true, predicted, w = _classes(y_true, y_pred, weights)
    of_class = np.bincount(true, weights=w)
    right = np.bincount(true, weights=(true == _chosen(predicted)) * (1.0 if w is None else w))
    return float(np.mean(right[of_class > 0] / of_class[of_class > 0]))


def f1(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    multilabel: bool = False,
) -> float:
    r"""Harmonic mean of precision and recall: of class 1 of two, else the mean over the classes.

    .. math:: F_1 = \frac{2 \, TP}{2 \, TP + FP + FN}

    0 where nothing is found and nothing was there. Of several classes those count that are true or
    chosen anywhere (the *macro* mean). Classes are chosen as in `accuracy`.

    Examples
    --------
    >>> from deltarule.metrics import f1
    >>> f1([0, 1, 1, 1], [0.1, 0.9, 0.8, 0.3])
    0.8
    """
    if multilabel:
        return _mean_over_labels(f1, y_true, y_pred, weights)
    true, predicted, w = _classes(y_true, y_pred, weights)
    chosen, n_classes = _chosen(predicted), max(predicted.shape[1], 2)
    known = chosen >= 0
    hit = np.bincount(true, (true == chosen) * (1.0 if w is None else w), n_classes)
    there = np.bincount(true, w, n_classes)
    said = np.bincount(chosen[known], None if w is None else w[known], n_classes)
    scores = 2 * hit / np.where(there + said > 0, there + said, 1)
    return float(scores[1] if n_classes == 2 else scores[there + said > 0].mean())


def auc(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    multilabel: bool = False,
) -> float:
    r"""Area under the ROC curve: how often a row of the class scores above a row of another.

    .. math::

        \sum_{i \in 1} \sum_{j \notin 1} w_i w_j \big( [p_i > p_j] + \tfrac12 [p_i = p_j] \big)
        \Big/ \sum_{i \in 1} \sum_{j \notin 1} w_i w_j

    Of more than two classes it is the mean over the classes, each against the rest. NaN if a class
    is absent from `y_true`, or a score is NaN.

    References
    ----------
    J. Hanley, B. McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143 (1982).

    Examples
    --------
    >>> from deltarule.metrics import auc
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    if multilabel:
        return _mean_over_labels(auc, y_true, y_pred, weights)
    true, predicted, w = _classes(y_true, y_pred, weights)
    w = np.ones(len(true)) if w is None else w
    if predicted.shape[1] <= 2:
        return _auc(true == 1, predicted[:, -1], w)
    areas = [_auc(true == k, predicted[:, k], w) for k in range(predicted.shape[1])]
    return float(np.mean(areas))


def log_loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    multilabel: bool = False,
) -> float:
    r"""Mean negative logarithm of the probability given to the true class.

    .. math:: -\sum_i w_i \log p_{i, y_i} \Big/ \sum_i w_i

    Probabilities are clipped to [eps, 1 − eps] with eps that of the predictions' dtype.

    Examples
    --------
    >>> import math
    >>> from deltarule.metrics import log_loss
    >>> math.isclose(log_loss([1, 0], [0.5, 0.5]), math.log(2))
    True
    """
    if multilabel:
        return _mean_over_labels(log_loss, y_true, y_pred, weights)
    dtype = numbers("y_pred", y_pred).dtype
    true, predicted, w = _classes(y_true, y_pred, weights)
    if ((predicted < 0) | (predicted > 1)).any():
        raise ValueError("y_pred must hold probabilities in [0, 1] (are these logits?)")
    if predicted.shape[1] == 1:
        predicted = np.hstack([1 - predicted, predicted])
    eps = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    of_true = predicted[np.arange(len(true)), true]
    return float(np.average(-np.log(np.clip(of_true, eps, 1 - eps)), weights=w))


BY_NAME: Mapping[str, Callable[..., float]] = {
    each.__name__: each for each in (rmse, mae, r2, accuracy, balanced_accuracy, f1, auc, log_loss)
}
HIGHER_IS_BETTER = (r2, accuracy, balanced_accuracy, f1, auc)


def _chosen(predicted: Floats) -> NDArray[np.int64]:
    """Return the class (n,) that the scores choose, -1 where one of them is NaN."""
    chosen = predicted[:, 0] > 0.5 if predicted.shape[1] == 1 else predicted.argmax(axis=1)
    return np.where(np.isnan(predicted).any(axis=1), -1, chosen).astype(np.int64)


def _auc(positive: NDArray[np.bool_], score: Floats, w: Floats) -> float:
    """Return the area for one class, in one pass over the sorted scores."""
    if np.isnan(score).any():
        return np.nan
    order = np.argsort(score)
    score, inside, outside = score[order], (w * positive)[order], (w * ~positive)[order]
    first = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))  # of equal scores
    inside, outside = np.add.reduceat(inside, first), np.add.reduceat(outside, first)
    below = np.cumsum(outside) - outside
    pairs = inside.sum() * outside.sum()
    return float(inside @ (below + outside / 2) / pairs) if pairs > 0 else np.nan


def _columns(name: str, value: ArrayLike) -> Floats:
    array = numbers(name, value)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must have shape (n,) or (n, n_L), none zero, got {array.shape}")
    return array.astype(np.float64)


def _weights(weights: ArrayLike | None, n_rows: int) -> Floats | None:
    column = checked_weights("weights", weights, n_rows)
    return None if column is None else column[:, 0].astype(np.float64)


def _regression(
    y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats | None]:
    """Return both as (n, n_L) of equal shape: a column never meets a row by broadcasting."""
    true, predicted = _columns("y_true", y_true), _columns("y_pred", y_pred)
    if true.shape != predicted.shape:
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {true.shape} and {predicted.shape}"
        )
    return true, predicted, _weights(weights, len(true))


def _classes(
    y_true: ArrayLike, y_pred: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.int64], Floats, Floats | None]:
    """Return the true class indices (n,) and the predictions (n, n_L)."""
    true, predicted = _columns("y_true", y_true), _columns("y_pred", y_pred)
    n_columns = predicted.shape[1]
    if len(true) != len(predicted) or true.shape[1] not in (1, n_columns):
        raise ValueError(
            f"y_true must hold class indices ({len(predicted)},) or rows of {n_columns}, "
            f"got shape {true.shape}"
        )
    w = _weights(weights, len(true))
    if true.shape[1] == 1:
        indices, n_classes = true[:, 0], max(n_columns, 2)
    else:
        indices, n_classes = _class_of(true, w).astype(np.float64), n_columns
    wrong = ~((indices >= 0) & (indices < n_classes) & (indices == np.floor(indices)))
    if wrong.any():
        row = int(wrong.argmax())
        expected = f"class indices from 0 to {n_classes - 1}"
        raise ValueError(f"y_true must hold {expected}, got {indices[row]:g} at row {row}")
    return indices.astype(np.int64), predicted, w


def _class_of(true: Floats, w: Floats | None) -> NDArray[np.int64]:
    """Return the class (n,) of rows of probabilities, which must have one where they count."""
    several = (true > 0.5).sum(axis=1) > 1
    none = (true <= 0).all(axis=1) & (True if w is None else w > 0)
    if several.any() or none.any():
        found = "several labels" if several.any() else "none"
        raise ValueError(
            f"y_true must have one class in every row, got a row with {found}; multilabel=True "
            "takes any number"
        )
    classes: NDArray[np.int64] = true.argmax(axis=1)
    return classes


def _labels(y_true: ArrayLike, y_pred: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return labels and scores (n, k), of the dtypes that they have."""
    true, predicted = (
        array[:, np.newaxis] if array.ndim == 1 else array
        for array in (numbers("y_true", y_true), numbers("y_pred", y_pred))
    )
    if true.shape != predicted.shape or true.ndim != 2 or 0 in true.shape:
        raise ValueError(
            "y_true and y_pred must both have shape (n, labels), none zero, "
            f"got {true.shape} and {predicted.shape}"
        )
    wrong = (true != 0) & (true != 1)
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise ValueError(f"y_true must hold labels 0 or 1, got {true[i, j]} at row {i}, column {j}")
    return true, predicted


def _mean_over_labels(
    metric: Callable[..., float],
    y_true: ArrayLike,
    y_pred: ArrayLike,
    weights: ArrayLike | None,
) -> float:
    true, predicted = _labels(y_true, y_pred)
    each = zip(true.T, predicted.T, strict=True)
    return float(np.mean([metric(label, score, weights=weights) for label, score in each]))


def resolve(metrics: Any) -> dict[str, Callable[..., float]]:
    """Return the metrics by key, from a sequence of names and functions."""
    if isinstance(metrics, str) or callable(metrics) or not hasattr(metrics, "__iter__"):
        raise TypeError(f"metrics must be a list, such as ['rmse'], got {_settings.shown(metrics)}")
    result: dict[str, Callable[..., float]] = {}
    for i, metric in enumerate(metrics):
        if callable(metric):
            name = getattr(metric, "__name__", type(metric).__name__)
            key, function = re.sub(r"\W", "", name, flags=re.ASCII) or "metric", metric
        else:
            key = _settings.choice(f"metrics[{i}]", metric, BY_NAME)
            function = BY_NAME[key]
        if key in result or key in ("loss", "learning_rate", "seconds") or key.startswith("val_"):
            raise ValueError(f"metrics[{i}]: the name {key!r} is taken; rename the function")
        result[key] = function
    return result
