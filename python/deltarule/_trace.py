"""One forward and backward pass with every intermediate kept: what ``net.trace`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deltarule._layers import Embedding, Layer
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._validation import Array
from deltarule._views import split_block, split_norm

if TYPE_CHECKING:
    from deltarule._dispatch import core


class LayerTrace:
    """What one layer computed: read-only views of the trace's own memory.

    Attributes
    ----------
    z : ndarray (n, n_l)
        What enters the activation; what the layer computes, if it has none.
    a : ndarray (n, n_l)
        What leaves the layer.
    delta : ndarray (n, n_l)
        ∂L/∂z, with the 1/n of the mean in it.
    dW : ndarray (n_l, n_{l-1}) or None
        ∂L/∂W = deltaᵀ · (a of the layer before); None where nothing is trained.
    db : ndarray (n_l,) or None
        ∂L/∂b, the sum of delta over the rows; None where nothing is trained.
    dtables : list of ndarray (n_levels[j], dimension), or None
        ∂L/∂E_j of an Embedding, the sum of delta over the rows of each level; None elsewhere.
    dgamma, dbeta : ndarray (n_l,) or None
        ∂L/∂gamma and ∂L/∂beta of a LayerNorm or BatchNorm; None elsewhere.
    """

    __slots__ = ("a", "dW", "db", "dbeta", "delta", "dgamma", "dtables", "settings", "z")

    def __init__(self, settings: Layer, z: Array, a: Array, delta: Array) -> None:
        self.settings = settings
        self.z = z
        self.a = a
        self.delta = delta
        self.dW: Array | None = None
        self.db: Array | None = None
        self.dtables: list[Array] | None = None
        self.dgamma: Array | None = None
        self.dbeta: Array | None = None

    def __repr__(self) -> str:
        names = ("z", "a", "delta", "dW", "db", "dgamma", "dbeta")
        arrays = ((name, getattr(self, name)) for name in names)
        shapes = [f"{name} {array.shape}" for name, array in arrays if array is not None]
        if self.dtables is not None:
            shapes.append(f"dtables {[table.shape for table in self.dtables]}")
        return f"<{self.settings!r}: {', '.join(shapes)}>"


class Trace:
    """The loss of one batch and every z, a, delta and gradient on the way to it.

    Attributes
    ----------
    loss : float
        The loss of the batch.
    gradient : ndarray (n_parameters,)
        ∂L/∂θ with the layout of ``net.theta``, read-only; `dW`, `db`, `dtables`, `dgamma` and
        `dbeta` are views of it.
    layers : tuple of LayerTrace
        ``trace.layers[i]`` belongs to ``net.layers[i]``: with `z`, `a`, `delta` of shape
        (n, n_l), `dW` (n_l, n_{l-1}) and `db` (n_l,).

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> net = dr.Network([2, 3, 1], activation="tanh", dtype="float64", seed=0)
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> trace = net.trace(X, [1.0, 0.0])
    >>> trace.layers[0]
    <Dense(3, 'tanh'): z (2, 3), a (2, 3), delta (2, 3), dW (3, 2), db (3,)>
    >>> np.allclose(trace.layers[0].dW, trace.layers[0].delta.T @ X)
    True
    """

    def __init__(
        self,
        trace: core.Trace32 | core.Trace64,
        layers: tuple[Layer, ...],
        layout: list[dict[str, int]],
    ) -> None:
        self.loss = trace.loss
        self.gradient: Array = trace.gradient
        traced = []
        for i, (settings, place) in enumerate(zip(layers, layout, strict=True)):
            layer = LayerTrace(settings, trace.z(i), trace.a(i), trace.delta(i))
            if place["n_parameters"]:
                start = place["theta_offset"]
                block = self.gradient[start : start + place["n_parameters"]]
                if isinstance(settings, Embedding):
                    layer.dtables = settings.split(block)
                elif isinstance(settings, (BatchNorm, LayerNorm)):
                    layer.dgamma, layer.dbeta = split_norm(block)
                else:
                    layer.dW, layer.db = split_block(block, place["n_inputs"], place["n_outputs"])
            traced.append(layer)
        self.layers = tuple(traced)

    def __repr__(self) -> str:
        lines = [f"<Trace of {len(self.layers)} layers, loss {self.loss:.6g}"]
        lines += [f"  {i} {layer!r}" for i, layer in enumerate(self.layers)]
        return "\n".join(lines) + ">"
