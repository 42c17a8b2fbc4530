"""Metrics of a network on data: predictions, made probabilities where a metric needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from deltarule import _settings, _validation
from deltarule import metrics as metrics_module
from deltarule._architecture import output_activation
from deltarule._validation import Array, Data
from deltarule.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    Hinge,
    Loss,
    Quantile,
)

if TYPE_CHECKING:
    from deltarule._passes import Passes

Metrics = Mapping[str, Callable[..., float]]

_OF_THE_PACKAGE = tuple(metrics_module.BY_NAME.values())
_OF_PROBABILITIES = (
    metrics_module.accuracy,
    metrics_module.balanced_accuracy,
    metrics_module.f1,
    metrics_module.auc,
    metrics_module.log_loss,
)


def compute(
    network: Passes, data: Data, loss: Loss, metrics: Metrics, n_threads: int | None = None
) -> dict[str, float]:
    """Return every metric on `data`, from one prediction in inference mode."""
    if not metrics:
        return {}
    predicted = network._predict_rows(data.X, None, n_threads)
    return of_predictions(network, predicted, data.y, data.weight, loss, metrics)


def of_predictions(
    network: Passes,
    predicted: Array,
    y: Array,
    weight: Array | None,
    loss: Loss,
    metrics: Metrics,
) -> dict[str, float]:
    """Return every metric of predictions that were made."""
    predicted.flags.writeable = False  # a metric reads: one that sorts must not sort for the next
    true = y.view()
    true.flags.writeable = False
    activation = output_activation(network._layers)
    result: dict[str, float] = {}
    for key, metric in metrics.items():
        if metric in _OF_PROBABILITIES:
            value = _of_probabilities(metric, true, predicted, loss, weight, activation)
        elif metric in _OF_THE_PACKAGE:
            value = metric(true, _points(predicted, loss), weights=weight)
        else:
            value = metric(true, predicted)
        if not isinstance(value, Real):
            raise TypeError(f"metric {key} must return a number, got {_settings.shown(value)}")
        result[key] = float(value)
    return result


def check(network: Passes, data: Data, loss: Loss, metrics: Metrics) -> None:
    """Try the metrics of the package on two rows, so that a misfit shows before any training."""
    if not metrics:
        return
    few = Data(_validation.first_rows(data.X, 2), data.y[:2], None)
    try:
        network._predict_rows(few.X, None, 1)
    except ValueError:  # no code for an Embedding: refused, with its place, when all are read
        return
    for key, metric in metrics.items():
        if metric in _OF_THE_PACKAGE:
            try:
                compute(network, few, loss, {key: metric})
            except ValueError as error:
                raise ValueError(f"metrics: {key!r} does not fit the targets: {error}") from error


def _of_probabilities(
    metric: Callable[..., float],
    true: Array,
    output: Array,
    loss: Loss,
    weight: Array | None,
    activation: str,
) -> float:
    """Return a metric of classes; several columns of yes or no are labels, not classes."""
    yes_or_no = isinstance(loss, (BinaryCrossEntropy, Hinge)) or activation == "sigmoid"
    multilabel = yes_or_no and true.shape[1] > 1
    if isinstance(loss, Hinge):
        if metric is metrics_module.log_loss:
            raise ValueError("log_loss needs probabilities, and outputs under 'hinge' are none")
        true = (true > 0).astype(np.float64)
    scores = _probabilities(output, loss, activation)
    return metric(true, scores, weights=weight, multilabel=multilabel)


def _probabilities(output: Array, loss: Loss, activation: str) -> Array:
    """Return class probabilities (n, n_L), or what has their order and 0.5 in the middle."""
    if isinstance(loss, Hinge):
        margin = output.astype(np.float64)
        return np.asarray(0.5 + 0.5 * margin / (1 + abs(margin)))
    if isinstance(loss, CrossEntropy) and activation != "softmax":
        shifted = np.exp(output - output.max(axis=1, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
    if isinstance(loss, BinaryCrossEntropy) and activation != "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * output)))
    return output


def _points(output: Array, loss: Loss) -> Array:
    """Return one prediction for each target: the means of variances, the median of quantiles."""
    if isinstance(loss, Quantile) and isinstance(loss.q, tuple) and 0.5 in loss.q:
        return output[:, [loss.q.index(0.5)]]
    return output[:, : output.shape[1] // 2] if isinstance(loss, GaussianNLL) else output
