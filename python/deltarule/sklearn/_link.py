"""A network behind an estimator's ``coefs_`` and ``intercepts_``, which are views of its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from deltarule import Activation, Dense, Dropout, Input, Network
from deltarule._layers import ActivationName, Layer
from deltarule._validation import Array

HIDDEN = ("identity", "logistic", "tanh", "relu")
_ACTIVATIONS: dict[str, ActivationName] = {
    "identity": "identity",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softmax": "softmax",
    "exp": "exp",
}


class Shape(NamedTuple):
    """What a network is built from: all widths from input to output, and what lies between."""

    sizes: tuple[int, ...]
    hidden: str  # activations by scikit-learn's names
    output: str
    dropout: float
    dtype: np.dtype[Any]


def build(shape: Shape) -> Network:
    """Return a network of this shape: a Dense for each matrix, a Dropout after each hidden one."""
    layers: list[Layer] = [Input(shape.sizes[0])]
    for units in shape.sizes[1:-1]:
        layers.append(Dense(units, Activation(_ACTIVATIONS[shape.hidden]), initializer="zeros"))
        if shape.dropout > 0:
            layers.append(Dropout(shape.dropout))
    output = Activation(_ACTIVATIONS[shape.output])
    layers.append(Dense(shape.sizes[-1], output, initializer="zeros"))
    return Network(layers, dtype=shape.dtype, seed=0)


class Link:
    """A network and the views of it that are an estimator's ``coefs_`` and ``intercepts_``."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.network = build(shape)
        self._wide: Network | None = None
        # (n_{l-1}, n_l), C-ordered, and (n_l,)
        self.coefs: list[Array] = [v.kernel for v in self.network.layers if v.kernel is not None]
        self.intercepts: list[Array] = [v.b for v in self.network.layers if v.b is not None]

    def shows(self, coefs: object, intercepts: object) -> bool:
        """Whether these lists hold the views of this network, and nothing else."""
        return _same(coefs, self.coefs) and _same(intercepts, self.intercepts)

    def in_float64(self) -> Network:
        """Return a network of the same numbers that computes in float64."""
        if self._wide is None:
            self._wide = build(self.shape._replace(dtype=np.dtype(np.float64)))
        self._wide.theta[:] = self.network.theta
        return self._wide

    def take(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> None:
        """Copy numbers of the same shapes into the network."""
        for own, given in zip(self.coefs, coefs, strict=True):
            own[...] = given
        for own, given in zip(self.intercepts, intercepts, strict=True):
            own[...] = given


def _same(given: object, own: list[Array]) -> bool:
    return (
        isinstance(given, list)
        and len(given) == len(own)
        and all(a is b for a, b in zip(given, own, strict=True))
    )


def sizes_of(coefs: Sequence[Any], intercepts: Sequence[Any]) -> tuple[int, ...]:
    """Return the widths that these arrays mean, from input to output; refuse what does not fit."""
    if len(coefs) == 0 or len(coefs) != len(intercepts):
        raise ValueError(
            "coefs_ and intercepts_ must hold one array for each layer, "
            f"got {len(coefs)} and {len(intercepts)}"
        )
    shapes = [np.shape(W) for W in coefs]
    for i, (shape, b) in enumerate(zip(shapes, intercepts, strict=True)):
        if len(shape) != 2 or (i > 0 and shape[0] != shapes[i - 1][-1]):
            width = "n_features" if i == 0 else shapes[i - 1][-1]
            raise ValueError(f"coefs_[{i}] must have shape ({width}, units), got {shape}")
        if np.shape(b) != (shape[1],):
            raise ValueError(f"intercepts_[{i}] must have shape ({shape[1]},), got {np.shape(b)}")
    return (shapes[0][0], *(shape[1] for shape in shapes))


def dtype_of(arrays: Sequence[Any]) -> np.dtype[Any]:
    """Return float32 if all arrays are, else float64."""
    every = all(np.asarray(each).dtype == np.float32 for each in arrays)
    return np.dtype(np.float32 if every else np.float64)
