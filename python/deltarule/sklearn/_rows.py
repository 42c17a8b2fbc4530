"""Training and validation rows: sample weights, and where the validation rows come from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, validate_data

from deltarule import _validation
from deltarule._validation import Array, Data


class Rows(NamedTuple):
    """Rows with targets (n, k) or class numbers (n, 1), and weights (n, 1)."""

    X: Any  # array or sparse matrix (n, n_features)
    targets: Array
    weight: Array | None

    def for_core(self) -> Data:
        """Return them as the core takes them."""
        return Data(_validation.matrix("X", self.X, self.X.shape[1]), self.targets, self.weight)


def weights(name: str, sample_weight: Any, X: Any) -> Array | None:
    """Return sample weights as a column: finite, none negative, not all zero."""
    if sample_weight is None:
        return None
    column: Array = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
    if not (column > 0).any():
        raise ValueError(f"{name} must not be all zero, got {len(column)} zeros")
    return column.reshape(-1, 1)


def checked_validation(estimator: Any, X_val: Any) -> Any:
    """Return validation rows with the features of the training rows."""
    dtypes = (np.float64, np.float32)
    return validate_data(estimator, X_val, accept_sparse=["csr", "csc"], dtype=dtypes, reset=False)


def split(
    rows: Rows, fraction: float, random_state: np.random.RandomState, *, stratify: bool
) -> tuple[Rows, Rows]:
    """Return training and validation rows, as scikit-learn's early stopping splits them."""
    arrays = [rows.X, rows.targets] if rows.weight is None else list(rows)
    parts = train_test_split(
        *arrays,
        random_state=random_state,
        test_size=fraction,
        stratify=rows.targets.astype(bool) if stratify else None,
    )
    parts += [None, None] if rows.weight is None else []
    training, validation = Rows(*parts[::2]), Rows(*parts[1::2])
    if validation.targets.shape[0] < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    return training, validation
