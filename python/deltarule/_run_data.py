"""What a run reads and whom it tells, checked before any work: rows, metrics, callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule import _evaluation, _validation
from deltarule._evaluation import Metrics
from deltarule._validation import Array, Data
from deltarule.callbacks import Callback
from deltarule.callbacks import resolve as resolve_callbacks
from deltarule.metrics import resolve as resolve_metrics

if TYPE_CHECKING:
    from deltarule._monitor import Monitor
    from deltarule._split import Split
    from deltarule._training import Trainer
    from deltarule.metrics import Metric


@dataclass(frozen=True)
class RunData:
    """What a run reads and whom it tells: training rows, validation rows, metrics, callbacks.

    With a `split`, `train` and `validation` are both all rows, of which it says who has which.
    """

    train: Data
    validation: Data | None
    metrics: Metrics
    callbacks: tuple[Callback, ...]
    split: Split | None = None
    monitor: Monitor | None = None

    @property
    def n_rows(self) -> int:
        """How many rows train."""
        return len(self.split.train) if self.split else int(self.train.X.shape[0])


def run_data(
    trainer: Trainer,
    rows: tuple[Any, Any, Any],
    validation_data: Any,
    metrics: Sequence[Metric],
    callbacks: Sequence[Callback],
    *,
    validation_fraction: float | None = None,
    class_weight: Any = None,
    monitor: Any = None,
) -> RunData:
    """Check all arrays, metrics and callbacks before any work."""
    if validation_data is not None and validation_fraction is not None:
        raise ValueError("give validation_data or validation_fraction, not both")
    network, indices = trainer.network, trainer.loss.takes_class_indices
    widths = network._data_widths(trainer.loss)
    functions, listeners = resolve_metrics(metrics), resolve_callbacks(callbacks)
    X, y, weight = rows
    if class_weight is not None:
        weight = _class_weights(trainer, class_weight, y, weight)
    train = _validation.data(X, y, weight, widths, class_indices=indices)
    validation, split = None, None
    if validation_data is not None:
        validation = _validation.validation_data(validation_data, widths, class_indices=indices)
    elif validation_fraction is not None:
        train, validation, split = _hold_out(
            trainer, train, rows[2], validation_fraction, class_weight
        )
    for data in (train, validation):
        if data is not None:
            _evaluation.check(network, data, trainer.loss, functions)
    if validation is not None and validation.y.shape[1] != train.y.shape[1]:
        raise ValueError(
            "validation_data[1] must have targets of the same form as y, "
            f"got {validation.y.shape[1]} columns and {train.y.shape[1]} in y"
        )
    monitored = None
    if monitor is not None:
        from deltarule import _monitor

        monitored = _monitor.resolve(monitor, functions, validated=validation is not None)
    return RunData(train, validation, functions, listeners, split, monitored)


def _class_weights(
    trainer: Trainer, class_weight: Any, y: Any, weight: Any, rows: Array | None = None
) -> Array:
    from deltarule import _class_weight
    from deltarule.losses import Hinge

    if isinstance(trainer.loss, Hinge):  # its classes are -1 and 1
        y = (np.asarray(y) + 1) / 2
    return _class_weight.of_rows(class_weight, y, weight, trainer.network.n_outputs, rows)


def _hold_out(
    trainer: Trainer, train: Data, weight: Any, fraction: float, class_weight: Any
) -> tuple[Data, Data, Split]:
    """Hold rows out; both parts are views of all rows. Class weights are for training only."""
    from deltarule import _split

    seed = trainer.network.seed if trainer.seed is None else trainer.seed
    split = _split.hold_out(fraction, trainer.loss, train.y, seed)
    validation = train._replace(weight=_validation.weights("sample_weight", weight, len(train.y)))
    if class_weight is not None:
        counted = _class_weights(trainer, class_weight, train.y, validation.weight, split.train)
        train = train._replace(weight=counted[:, np.newaxis])
    parts = ((train, split.train, "train"), (validation, split.validation, "validate"))
    for part, rows, name in parts:
        if part.weight is not None and not part.weight[rows].any():
            raise ValueError(
                f"validation_fraction={fraction:g} leaves rows to {name} on whose "
                "sample_weight is all zero"
            )
    return train, validation, split
