"""Class labels of any type, as numbers for the core and back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from deltarule._validation import Array

Kind = Literal["binary", "multiclass", "multilabel"]


def classes_of(y: Any) -> tuple[Kind, Array]:
    """Return what the labels mean, and the sorted classes; for several labels their numbers."""
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return "multilabel", np.arange(y.shape[1])
    if kind == "multiclass-multioutput":
        raise ValueError(
            f"y must hold one class a row, or a 0/1 column for each label, got {kind} of shape "
            f"{y.shape}"
        )
    if kind not in ("binary", "multiclass"):
        check_classification_targets(y)  # raises
    classes = np.unique(y)
    return kind_of(classes), classes


def kind_of(classes: Array) -> Kind:
    """Return what so many classes mean when every row has one of them."""
    return "binary" if len(classes) <= 2 else "multiclass"


def encode(y: Any, kind: Kind, classes: Array) -> Array:
    """Return class numbers (n, 1), or for several labels booleans (n, n_labels)."""
    if kind == "multilabel":
        dense: Array = y.toarray() if sparse.issparse(y) else np.asarray(y)
        return np.not_equal(dense, 0)
    found: Array = np.searchsorted(classes, y)
    return found.reshape(-1, 1)


def numbers(outputs: Array, kind: Kind) -> Array:
    """Return the most probable class numbers (n, 1), or 0 and 1 for each label (n, n_labels)."""
    if kind == "multiclass":
        best: Array = np.argmax(outputs, axis=1)
        return best.reshape(-1, 1)
    probable: Array = outputs > 0.5
    return probable.astype(np.int64)


def decode(outputs: Array, kind: Kind, classes: Array) -> Array:
    """Return the label of each row of outputs, or 0 and 1 for each label."""
    chosen = numbers(outputs, kind)
    if kind == "multilabel":
        return chosen
    # With one class alone there is no other label, whatever the output is.
    return classes[np.minimum(chosen[:, 0], len(classes) - 1)]
