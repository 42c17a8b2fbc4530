"""From a table to a trained model with honest numbers: hold rows out, train, score.

Held-out rows are of two kinds: the *validation* rows choose the epoch that is kept, the *test*
rows are never looked at before the end, and the metrics are theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deltarule import _settings, _threads, metrics
from deltarule._errors import DivergenceError
from deltarule._history import History
from deltarule._layers import ACTIVATIONS, ActivationName, Dense, Dropout, Input, Layer, Rescale
from deltarule._network import Network
from deltarule._run import RunSettings
from deltarule._table import frames, section
from deltarule._table import target as targets
from deltarule._table.columns import Matrix, Rows
from deltarule._table.encoder import Encoder
from deltarule._table.model import TableModel
from deltarule._table.target import Amount, Classes, KnownTarget, Target, Task
from deltarule.optimizers import Optimizer, OptimizerName
from deltarule.optimizers import resolve as resolve_optimizer

if TYPE_CHECKING:
    import narwhals as nw

MIN_ROWS = 10
_FOR = ", to train on some and to hold some out"
HIDDEN_ACTIVATIONS = tuple(name for name in ACTIVATIONS if name != "softmax")


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How to train on a table; the defaults are those of ``deltarule fit``."""

    hidden: tuple[int, ...] = (128, 64)
    activation: ActivationName = "relu"
    dropout: float = 0.1
    optimizer: OptimizerName | Optimizer = "adam"
    epochs: int = 200
    batch_size: int | None = None  # by the number of rows
    validation: float = 0.2
    test: float = 0.2
    patience: int = 20
    max_seconds: float | None = None
    seed: int = 0
    n_threads: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        for units in self.hidden:
            _settings.size("hidden", units)
        _settings.choice("activation", self.activation, HIDDEN_ACTIVATIONS)
        resolve_optimizer(self.optimizer)
        for name in ("dropout", "validation", "test"):
            value = getattr(self, name)
            _settings.real(name, value, below=1.0, positive=name == "validation")
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation and test must leave rows to train on, got {self.validation:g} and "
                f"{self.test:g}"
            )
        _settings.integer("seed", self.seed, low=0, high=2**64 - 1)
        RunSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            shuffle=True,
            tol=0.0,
            patience=self.patience,
            max_seconds=self.max_seconds,
            max_steps=None,
            n_threads=self.n_threads,
            progress=self.progress,
        )


@dataclass(frozen=True)
class Split:
    """Which of the rows with a known target train, choose the epoch, and score."""

    train: Rows
    validation: Rows
    test: Rows


@dataclass(frozen=True)
class Plan:
    """All that is decided before training, for people to read."""

    model: TableModel  # not trained yet
    target: Target
    encoder: Encoder
    split: Split
    n_without_target: int
    batch_size: int
    settings: TableSettings
    X: Matrix
    y: NDArray[Any]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A trained model, how it went, and what it is worth beside a constant guess."""

    model: TableModel
    history: History
    stopped_by: str
    scored_on: str  # "test", or "validation" without test rows
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]


def prepare(
    frame: nw.DataFrame[Any],
    target: str,
    settings: TableSettings,
    *,
    task: Task = "auto",
    ignore: Collection[str] = (),
) -> Plan:
    """Understand the table: encode it, split it, and make the network."""
    names = frame.columns
    for name in (target, *ignore):
        if name not in names:
            raise ValueError(f"the table has no column {name!r}; it has {frames.listed(names)}")
    if target in ignore:
        raise ValueError(f"the target {target!r} cannot be left out")
    if len(frame) < MIN_ROWS:
        found = "no rows" if not len(frame) else f"only {len(frame)} row{'s'[: len(frame) - 1]}"
        raise ValueError(f"the table has {found}: at least {MIN_ROWS} are needed{_FOR}")
    known = targets.fit(frame[target], task)
    if len(known.rows) < MIN_ROWS:
        raise ValueError(
            f"only {len(known.rows)} of {len(frame)} rows have a known {target!r}: at least "
            f"{MIN_ROWS} are needed{_FOR}"
        )
    split = _split(known, settings)
    n_threads = _threads.resolve(settings.n_threads)
    rows = known.rows[split.train]
    encoder = Encoder.fit(frame, rows, ignore={target, *ignore}, n_threads=n_threads)
    X = encoder.encode(frame, n_threads=n_threads)
    X = X if len(known.rows) == len(X) else X[known.rows]
    network = _network(encoder, known.target, settings)
    model = TableModel(encoder, known.target, network, {})
    section.check_size(model)
    n_without = len(frame) - len(known.rows)
    batch_size = settings.batch_size or _batch_size(len(split.train))
    return Plan(
        model,
        known.target,
        encoder,
        split,
        n_without,
        batch_size,
        settings,
        X,
        known.y,
        tuple(ignore),
    )


def train(plan: Plan) -> Result:
    """Train until the validation loss stops improving, keep the best epoch, score the test rows.

    Ctrl-C, or a loss that is no longer finite, ends it early and keeps the best epoch so far.
    """
    settings, split, network = plan.settings, plan.split, plan.model.network
    try:
        history = network.fit(
            plan.X[split.train],
            plan.y[split.train],
            optimizer=settings.optimizer,
            epochs=settings.epochs,
            batch_size=plan.batch_size,
            validation_data=(plan.X[split.validation], plan.y[split.validation]),
            tol=0.0,
            patience=settings.patience,
            max_seconds=settings.max_seconds,
            restore_best=True,
            n_threads=settings.n_threads,
            progress=settings.progress,
        )
        stopped_by = str(history.stopped_by)
    except (KeyboardInterrupt, DivergenceError) as error:
        if network.history is None or not network.history.n_epochs:
            raise
        history = network.history
        stopped_by = "interrupted" if isinstance(error, KeyboardInterrupt) else "diverged"
    scored = split.test if split.test.size else split.validation
    y = plan.y[scored]
    outputs = network.predict(plan.X[scored], n_threads=settings.n_threads)
    result = Result(
        model=plan.model,
        history=history,
        stopped_by=stopped_by,
        scored_on="test" if split.test.size else "validation",
        metrics=_score(plan.target, y, outputs),
        baseline=_score(plan.target, y, _constant(plan, len(y))),
    )
    plan.model.record = _record(plan, result)
    return result


def _split(known: KnownTarget, settings: TableSettings) -> Split:
    """Hold out the same share of every class, drawn from the seed."""
    n, shares = len(known.rows), (settings.validation, settings.test)
    order = np.random.default_rng(settings.seed).permutation(n)
    if isinstance(known.target, Classes):
        order = order[np.argsort(known.y[order], kind="stable")]
    # Along this order every held-out row follows the last one at the same distance.
    test = _taken(n, settings.test)
    rest = np.flatnonzero(~test)
    validation = np.zeros(n, np.bool_)
    validation[rest] = _taken(len(rest), settings.validation / (1 - settings.test))
    parts = (~test & ~validation, validation, test)
    train, chosen, scored = (np.sort(order[part]) for part in parts)
    for name, part, share in zip(("validation", "test"), (chosen, scored), shares, strict=True):
        if share > 0 and not part.size:
            raise ValueError(f"{name}={share:g} of {n} rows leaves no row: take a larger share")
    if not train.size:
        raise ValueError(f"validation and test leave none of {n} rows to train on")
    return Split(train, chosen, scored)


def _taken(n: int, share: float) -> NDArray[np.bool_]:
    taken: NDArray[np.bool_] = np.diff(np.floor(np.arange(n + 1) * share + 0.5)) > 0
    return taken


def _batch_size(n_rows: int) -> int:
    """Return a power of two: about 50 steps an epoch, within 16 and 256 rows."""
    return int(np.clip(2 ** round(np.log2(max(n_rows / 50, 1))), 16, 256))


def _network(encoder: Encoder, target: Target, settings: TableSettings) -> Network:
    layers: list[Layer] = [Input(encoder.width)]
    embedding = encoder.embedding()
    if embedding is not None:
        layers.append(embedding)
    for units in settings.hidden:
        layers.append(Dense(units, settings.activation))
        if settings.dropout:
            layers.append(Dropout(settings.dropout))
    if isinstance(target, Amount):
        layers += [Dense(1), Rescale()]
    else:
        layers.append(Dense(target.width, "softmax"))
    network = Network(layers, seed=settings.seed, dtype=target.dtype)
    for table in network.layers[0].tables or ():
        table[0] = 0  # what training never sees stays nothing
    return network


def _score(target: Target, y: NDArray[Any], outputs: NDArray[Any]) -> dict[str, float]:
    if isinstance(target, Amount):
        functions = {"r2": metrics.r2, "rmse": metrics.rmse, "mae": metrics.mae}
    else:
        functions = {"accuracy": metrics.accuracy, "log_loss": metrics.log_loss}
    return {name: function(y, outputs) for name, function in functions.items()}


def _constant(plan: Plan, n: int) -> NDArray[Any]:
    """Return what is guessed without looking: the mean, or how frequent each class is."""
    y = plan.y[plan.split.train]
    if isinstance(plan.target, Amount):
        return np.full((n, 1), y.mean())
    return np.tile(np.bincount(y, minlength=plan.target.width) / len(y), (n, 1))


def _record(plan: Plan, result: Result) -> dict[str, Any]:
    settings, split = plan.settings, plan.split
    optimizer = resolve_optimizer(settings.optimizer)
    return {
        "ignored": [*plan.ignored, *plan.encoder.idle],
        "rows": {name: len(getattr(split, name)) for name in ("train", "validation", "test")},
        "optimizer": repr(optimizer),
        "batch_size": plan.batch_size,
        "seed": settings.seed,
        "epochs": result.history.n_epochs,
        "best_epoch": result.history.best_epoch,
        "stopped_by": result.stopped_by,
        "scored_on": result.scored_on,
        "metrics": dict(result.metrics),
        "baseline": dict(result.baseline),
    }
