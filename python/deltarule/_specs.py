"""Settings turned into the specifications that the core takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeAlias

from deltarule import optimizers
from deltarule._dispatch import core
from deltarule._layers import (
    TRAINING,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Layer,
    activation_of,
)
from deltarule._learning_rate import LearningRate, Schedule
from deltarule._norms import BatchNorm, LayerNorm
from deltarule.initializers import gain_of
from deltarule.initializers import resolve as resolve_initializer
from deltarule.losses import BinaryCrossEntropy, CrossEntropy, Focal, Hinge, Huber, Loss, Quantile
from deltarule.optimizers import Optimizer

CoreNetwork: TypeAlias = "core.Network32 | core.Network64"
CoreTrainer: TypeAlias = "core.Trainer32 | core.Trainer64"


def layer_spec(layer: Layer) -> core.LayerSpec:
    """Return the core's specification of a layer (Input has none)."""
    spec = _spec_of_kind(layer)
    spec.training = layer_training(layer)
    return spec


def layer_training(layer: Layer) -> core.LayerTraining:
    """Return how a layer is trained, as the core has it."""
    given = {name: getattr(layer, name, default) for name, default in TRAINING.items()}
    return core.LayerTraining(**given)


def _spec_of_kind(layer: Layer) -> core.LayerSpec:
    activation = activation_of(layer)
    if isinstance(layer, Dense) and activation is not None:
        initializer = resolve_initializer(layer.initializer, activation.name)
        return core.LayerSpec(
            "dense",
            units=layer.units,
            activation=activation.name,
            alpha=activation.alpha or 0.0,
            initializer=initializer.name,
            gain=gain_of(initializer),
        )
    if isinstance(layer, Activation):
        return core.LayerSpec("activation", activation=layer.name, alpha=layer.alpha or 0.0)
    if isinstance(layer, Dropout):
        return core.LayerSpec("dropout", rate=layer.rate)
    if isinstance(layer, Embedding):
        return core.LayerSpec(
            "embedding",
            columns=layer.columns,
            n_levels=layer.n_levels,
            dimension=layer.dimension,
        )
    if isinstance(layer, BatchNorm):
        return core.LayerSpec("batch_norm", momentum=layer.momentum, epsilon=layer.epsilon)
    if isinstance(layer, LayerNorm):
        return core.LayerSpec("layer_norm", epsilon=layer.epsilon)
    return core.LayerSpec(layer.kind)


def loss_spec(loss: Loss) -> core.LossSpec:
    """Return the core's specification of a loss; of a `Custom` it holds no reference."""
    spec = core.LossSpec(loss.name)
    if loss.name == "custom":
        width = loss._target_width(0)
        spec.set_custom(loss, -1 if width is None else width)
    elif isinstance(loss, Huber):
        spec.delta = loss.delta
    elif isinstance(loss, Quantile):
        spec.quantiles = _list(loss.q)
    elif isinstance(loss, Hinge):
        spec.squared = loss.squared
    elif isinstance(loss, (BinaryCrossEntropy, CrossEntropy)):
        spec.label_smoothing = loss.label_smoothing
    elif isinstance(loss, Focal):
        spec.gamma = loss.gamma
        spec.alpha = [] if loss.alpha is None else _list(loss.alpha)
    return spec


def _list(value: float | Sequence[float]) -> list[float]:
    return [value] if isinstance(value, float) else [*value]


_SETTINGS = {
    kind: tuple(each.name for each in fields(kind)) for kind in optimizers.BY_NAME.values()
}


def optimizer_spec(optimizer: Optimizer) -> core.OptimizerSpec:
    """Return the core's specification of an optimiser: its settings have the same names."""
    kind = optimizers.BY_NAME.get(optimizer.name)
    if kind is None or not isinstance(optimizer, kind):
        names = ", ".join(each.__name__ for each in optimizers.BY_NAME.values())
        raise TypeError(f"optimizer must be one of {names}, got {optimizer!r}")
    settings: dict[str, Any] = {name: getattr(optimizer, name) for name in _SETTINGS[kind]}
    given = {name: value for name, value in settings.items() if value is not None}
    return core.OptimizerSpec(optimizer.name, **given | _rate_settings(optimizer.learning_rate))


def _rate_settings(rate: LearningRate) -> dict[str, Any]:
    """Return what the core has in the place of ``learning_rate=``."""
    if isinstance(rate, float):
        return {"learning_rate": rate}
    if not isinstance(rate, Schedule):
        return {"learning_rate": 0.0, "schedule": core.ScheduleSpec("sampled")}
    from deltarule import schedules

    kind = schedules.BY_NAME.get(rate.name)
    if kind is None or not isinstance(rate, kind):
        names = ", ".join(each.__name__ for each in schedules.BY_NAME.values())
        raise TypeError(
            f"learning_rate must be a number, a callable or one of {names}, got {rate!r}"
        )
    name, initial, settings = rate._parts()
    given = {
        key: min(value, 2**62) if isinstance(value, int) else value  # what the core can count to
        for key, value in settings.items()
        if value is not None
    }
    return {"learning_rate": initial, "schedule": core.ScheduleSpec(name, **given)}
