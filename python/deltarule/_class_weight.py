"""Weights of classes made weights of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltarule import _settings, _validation
from deltarule._validation import Array

ClassWeight: TypeAlias = "Mapping[int, float] | Sequence[float] | Literal['balanced'] | Array"


def of_rows(
    class_weight: Any, y: Any, weight: Any, n_outputs: int, rows: Array | None = None
) -> Array:
    """Return the weight (n,) of each row: its sample weight times the weight of its class.

    "balanced" counts the classes of `rows`, or of all.
    """
    classes, n_classes = _classes_of(y, n_outputs)
    counted = classes if rows is None else classes[rows]
    if isinstance(class_weight, str):
        _settings.choice("class_weight", class_weight, ("balanced",))
        counts = np.bincount(counted, minlength=n_classes)
        # Of a class that is not in y no row asks.
        each = len(counted) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    elif isinstance(class_weight, Mapping):
        each = _from_mapping(class_weight, n_classes)
    else:
        each = _from_sequence(class_weight, n_classes)
    of_class: Array = each[classes]
    given = _validation.weights("sample_weight", weight, len(classes))
    result: Array = of_class if given is None else of_class * given[:, 0]
    if not result.any():
        raise ValueError("class_weight must leave some row a weight, got 0 for every row")
    return result


def _classes_of(y: Any, n_outputs: int) -> tuple[NDArray[np.int64], int]:
    """Return the class of each row, and how many there are."""
    array = _validation.numbers("y", y)
    columns = array[:, np.newaxis] if array.ndim == 1 else array
    if columns.ndim != 2 or columns.shape[1] not in (1, n_outputs) or not len(columns):
        raise ValueError(
            f"class_weight needs y of class indices (n,) or one-hot rows (n, {n_outputs}), "
            f"got shape {array.shape}"
        )
    n_classes = max(n_outputs, 2)
    if columns.shape[1] > 1:
        hot = columns == 1
        bad = (hot.sum(axis=1) != 1) | ((columns != 0) & ~hot).any(axis=1)
        indices: Array = hot.argmax(axis=1)
    else:
        indices = columns[:, 0]
        bad = ~((indices >= 0) & (indices < n_classes) & (indices == np.floor(indices)))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"class_weight needs y of class indices from 0 to {n_classes - 1} or of one-hot rows, "
            f"got {_settings.shown(columns[row].tolist())} at row {row}"
        )
    return indices.astype(np.int64), n_classes


def _from_mapping(class_weight: Mapping[Any, Any], n_classes: int) -> NDArray[np.float64]:
    each = np.ones(n_classes)
    for label, value in class_weight.items():
        is_label = isinstance(label, (Integral, np.integer)) and not isinstance(label, bool)
        if not is_label or not 0 <= int(label) < n_classes:
            raise ValueError(
                f"class_weight must have class indices from 0 to {n_classes - 1} as keys, "
                f"got {_settings.shown(label)}"
            )
        each[int(label)] = _settings.real(f"class_weight[{label}]", value)
    return each


def _from_sequence(class_weight: Any, n_classes: int) -> NDArray[np.float64]:
    if not hasattr(class_weight, "__len__"):
        raise TypeError(
            "class_weight must be 'balanced', a dict from class index to weight or a sequence of "
            f"weights, got {_settings.shown(class_weight)}"
        )
    values = [*class_weight]
    if len(values) != n_classes:
        raise ValueError(
            f"class_weight must have one weight for each of the {n_classes} classes, "
            f"got {len(values)}"
        )
    return np.array([_settings.real(f"class_weight[{i}]", v) for i, v in enumerate(values)])
