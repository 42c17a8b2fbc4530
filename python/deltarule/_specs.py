"""Settings turned into the specifications that the core takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from deltarule._dispatch import core
from deltarule._layers import Activation, Dense, Dropout, Layer, activation_of
from deltarule.initializers import gain_of
from deltarule.initializers import resolve as resolve_initializer
from deltarule.losses import BinaryCrossEntropy, CrossEntropy, Focal, Hinge, Huber, Loss, Quantile
from deltarule.optimizers import SGD, Adam, Optimizer

CoreNetwork: TypeAlias = "core.Network32 | core.Network64"
CoreTrainer: TypeAlias = "core.Trainer32 | core.Trainer64"


def layer_spec(layer: Layer) -> core.LayerSpec:
    """Return the core's specification of a layer (Input has none)."""
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
    return core.LayerSpec(layer.kind)


def loss_spec(loss: Loss) -> core.LossSpec:
    """Return the core's specification of a loss."""
    spec = core.LossSpec(loss.name)
    if isinstance(loss, Huber):
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


def optimizer_spec(optimizer: Optimizer) -> core.OptimizerSpec:
    """Return the core's specification of an optimiser."""
    if isinstance(optimizer, SGD):
        return core.OptimizerSpec(
            "sgd",
            learning_rate=optimizer.learning_rate,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            l2=optimizer.l2,
            weight_decay=optimizer.weight_decay,
        )
    if isinstance(optimizer, Adam):
        return core.OptimizerSpec(
            "adam",
            learning_rate=optimizer.learning_rate,
            beta1=optimizer.beta1,
            beta2=optimizer.beta2,
            epsilon=optimizer.epsilon,
            l2=optimizer.l2,
            weight_decay=optimizer.weight_decay,
        )
    raise TypeError(f"optimizer must be an SGD or an Adam, got {optimizer!r}")
