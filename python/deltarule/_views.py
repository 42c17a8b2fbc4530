"""What ``net.layers[i]`` is: the settings of a layer and views of its numbers in the network."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deltarule import _settings, _validation
from deltarule._layers import Dense, Embedding, Layer, Rescale, Standardize
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._validation import Array

if TYPE_CHECKING:
    from deltarule._network_state import NetworkState
    from deltarule._specs import CoreNetwork

_NO_STATISTICS = "only Standardize and Rescale layers have statistics to fit"


def split_block(block: Array, n_inputs: int, n_outputs: int) -> tuple[Array, Array]:
    """Return views W (n_outputs, n_inputs) and b (n_outputs,) of a dense layer's part of theta."""
    kernel = block[: n_inputs * n_outputs].reshape(n_inputs, n_outputs)
    return kernel.T, block[n_inputs * n_outputs :]


def split_norm(block: Array) -> tuple[Array, Array]:
    """Return views gamma and beta (n_l,) of a norm's part of theta."""
    half = block.size // 2
    return block[:half], block[half:]


class LayerView:
    """One layer of a network: its settings, and its numbers as writable views.

    Writing into a view changes the network: ``net.layers[0].b[:] = 0``. A layer that trains
    nothing has ``W``, ``kernel`` and ``b`` None; one without statistics has ``mean`` and
    ``scale`` None; only an Embedding has ``tables``, only a norm ``gamma`` and ``beta``, only a
    BatchNorm ``running_mean`` and ``running_var``.

    How a layer is trained can be changed: `l1`, `l2`, `learning_rate_factor` and `frozen` (see
    `Dense`) are settings of the network, which copies and files keep. A trainer goes by them from
    its next run or step on; a callback may set them between epochs.

    Attributes
    ----------
    settings : Dense, Activation, Embedding, Standardize, Rescale, Dropout, LayerNorm or BatchNorm
        What the layer was made from, with what was changed since; Keep and Add are the start and
        the end of a Residual.
    n_inputs, n_outputs : int
        The widths n_{l-1} and n_l. `W` is what the mathematics writes, `kernel` what lies in
        ``net.theta`` and what scikit-learn calls ``coefs_[l]``.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> net = dr.Network([3, 2], seed=0)
    >>> layer = net.layers[0]
    >>> layer.W.shape, np.shares_memory(layer.W, net.theta)
    ((2, 3), True)
    >>> layer.W[:] = 0
    >>> net.predict([[1.0, 2.0, 3.0]])
    array([[0., 0.]], dtype=float32)
    >>> layer.frozen = True
    >>> layer
    <layer 0: Dense(2, learning_rate_factor=0.0), 3 -> 2, 8 parameters>
    """

    __slots__ = ("_arrays", "_index", "_network", "_owner", "n_inputs", "n_outputs", "settings")

    def __init__(
        self,
        network: CoreNetwork,
        index: int,
        settings: Layer,
        place: dict[str, int],
        owner: weakref.ref[NetworkState],
    ) -> None:
        self._network = network
        self._index = index
        self._owner = owner
        self.settings = settings
        self.n_inputs = place["n_inputs"]
        self.n_outputs = place["n_outputs"]
        self._arrays = arrays_of(network.theta, network.state, place, settings)

    @property
    def n_parameters(self) -> int:
        """How many trained numbers the layer has."""
        names = ("kernel", "bias", "embedding", "gamma", "beta")
        trained = (self._arrays.get(name) for name in names)
        return sum(array.size for array in trained if array is not None)

    @property
    def W(self) -> Array | None:
        """The weights (n_outputs, n_inputs), or None: the transposed view of `kernel`."""
        kernel = self.kernel
        return None if kernel is None else kernel.T

    @W.setter
    def W(self, value: ArrayLike) -> None:
        self._assign("W", self.W, value)

    @property
    def kernel(self) -> Array | None:
        """The weights (n_inputs, n_outputs) as they lie in theta, or None."""
        return self._arrays.get("kernel")

    @kernel.setter
    def kernel(self, value: ArrayLike) -> None:
        self._assign("kernel", self.kernel, value)

    @property
    def b(self) -> Array | None:
        """The biases (n_outputs,), or None."""
        return self._arrays.get("bias")

    @b.setter
    def b(self, value: ArrayLike) -> None:
        self._assign("b", self.b, value)

    @property
    def gamma(self) -> Array | None:
        """The factors (n_outputs,) of a LayerNorm or BatchNorm, or None."""
        return self._arrays.get("gamma")

    @gamma.setter
    def gamma(self, value: ArrayLike) -> None:
        self._assign("gamma", self.gamma, value)

    @property
    def beta(self) -> Array | None:
        """The shifts (n_outputs,) of a LayerNorm or BatchNorm, or None."""
        return self._arrays.get("beta")

    @beta.setter
    def beta(self, value: ArrayLike) -> None:
        self._assign("beta", self.beta, value)

    @property
    def tables(self) -> list[Array] | None:
        """The tables (n_levels[j], dimension) of an Embedding, or None.

        Views, to write into: ``net.layers[0].tables[1][:] = vectors``.
        """
        if not isinstance(self.settings, Embedding):
            return None
        return self.settings.split(self._arrays["embedding"].reshape(-1))

    @property
    def running_mean(self) -> Array | None:
        """The mean (n_outputs,) with which a BatchNorm predicts, or None."""
        return self._arrays.get("running_mean")

    @running_mean.setter
    def running_mean(self, value: ArrayLike) -> None:
        self._assign("running_mean", self.running_mean, value)

    @property
    def running_var(self) -> Array | None:
        """The variance (n_outputs,) with which a BatchNorm predicts, or None."""
        return self._arrays.get("running_var")

    @running_var.setter
    def running_var(self, value: ArrayLike) -> None:
        self._assign("running_var", self.running_var, value)

    @property
    def l1(self) -> float | None:
        """The factor of Σ|w| in the loss, or None where there are no weights; see `Dense`."""
        return getattr(self.settings, "l1", None)

    @l1.setter
    def l1(self, value: float) -> None:
        self._change("l1", value)

    @property
    def l2(self) -> float | None:
        """The factor of ½ Σw² in the loss, or None where there are no weights; see `Dense`."""
        return getattr(self.settings, "l2", None)

    @l2.setter
    def l2(self, value: float) -> None:
        self._change("l2", value)

    @property
    def learning_rate_factor(self) -> float | None:
        """What the learning rate is multiplied by, or None where nothing is trained."""
        return getattr(self.settings, "learning_rate_factor", None)

    @learning_rate_factor.setter
    def learning_rate_factor(self, value: float) -> None:
        self._change("learning_rate_factor", value)

    @property
    def frozen(self) -> bool | None:
        """Whether `learning_rate_factor` is 0, or None where nothing is trained.

        Setting True makes it 0; setting False makes the 0 of a frozen layer 1, whatever it was
        before, and leaves other factors alone. The running statistics of a frozen BatchNorm still
        move in training.
        """
        factor = self.learning_rate_factor
        return None if factor is None else factor == 0

    @frozen.setter
    def frozen(self, value: bool) -> None:
        value = _settings.boolean("frozen", value)
        if self.frozen is None:
            raise ValueError(f"frozen: this layer trains nothing, it is {self.settings!r}")
        if value != self.frozen:
            self._change("learning_rate_factor", 0.0 if value else 1.0)

    def _change(self, name: str, value: Any) -> None:
        """Change how the layer is trained, here and in the network."""
        if not hasattr(self.settings, name):
            raise ValueError(f"{name}: this layer has none, it is {self.settings!r}")
        changed: Any = replace(self.settings, **{name: value})  # type: ignore[type-var]
        owner = self._owner()
        if owner is None:
            raise RuntimeError(f"{name}: the network of this layer no longer exists")
        owner._change_layer(self._index, changed)
        self.settings = changed

    @property
    def mean(self) -> Array | None:
        """The mean (n_outputs,) of a Standardize or Rescale, or None."""
        return self._arrays.get("mean")

    @mean.setter
    def mean(self, value: ArrayLike) -> None:
        self._assign("mean", self.mean, value)

    @property
    def scale(self) -> Array | None:
        """The scale (n_outputs,) of a Standardize or Rescale, or None."""
        return self._arrays.get("scale")

    @scale.setter
    def scale(self, value: ArrayLike) -> None:
        self._assign("scale", self.scale, value)

    @property
    def fitted(self) -> bool:
        """Whether there is nothing left for a fit to compute from the data.

        False only for a Standardize or Rescale whose statistics were neither given nor fitted.
        `set_statistics` makes it True; set it to False to have the next fit compute them anew.
        """
        if self.mean is None:
            return True
        return self._network.fitted[self._index]

    @fitted.setter
    def fitted(self, value: bool) -> None:
        value = _settings.boolean("fitted", value)
        if not isinstance(self.settings, (Standardize, Rescale)):
            raise ValueError(f"fitted: {_NO_STATISTICS}, this is {self.settings!r}")
        flags = self._network.fitted
        flags[self._index] = value
        self._network.fitted = flags

    def set_statistics(self, mean: ArrayLike, scale: ArrayLike) -> None:
        """Write both statistics of a Standardize or Rescale, which no fit then changes.

        Parameters
        ----------
        mean, scale : array_like (n_outputs,)
            Finite; `scale` positive.

        Raises
        ------
        TypeError, ValueError
            If they are not such numbers, or the layer has no statistics.
        """
        if self.mean is None or self.scale is None:
            raise ValueError(f"set_statistics: {_NO_STATISTICS}, this is {self.settings!r}")
        values = np.empty((2, self.n_outputs), self.mean.dtype)
        with np.errstate(over="ignore", under="ignore"):
            values[0] = _validation.vector("mean", mean, self.n_outputs)
            values[1] = _validation.vector("scale", scale, self.n_outputs)
        if not (np.isfinite(values).all() and (values[1] > 0).all()):
            raise ValueError(f"mean must be finite, scale finite and > 0, as {values.dtype}")
        self.mean[:], self.scale[:] = values
        self.fitted = True

    def _assign(self, name: str, view: Array | None, value: ArrayLike) -> None:
        """Copy `value` into a view, so that ``layer.W = A`` and ``layer.W += A`` work."""
        if view is None:
            raise ValueError(f"{name}: this layer has none, it is {self.settings!r}")
        array = _validation.numbers(name, value)
        if array.shape != view.shape:
            raise ValueError(f"{name} must have shape {view.shape}, got {array.shape}")
        view[:] = array

    def __repr__(self) -> str:
        text = f"<layer {self._index}: {self.settings!r}, {self.n_inputs} -> {self.n_outputs}"
        if self.n_parameters:
            text += f", {self.n_parameters:,} parameters"
        return text + (">" if self.fitted else ", not fitted>")


def arrays_of(
    theta: Array, state: Array, place: dict[str, int], settings: Layer
) -> dict[str, Array]:
    """Return views of one layer's numbers, by the names that a model file gives them."""
    n_inputs, n_outputs = place["n_inputs"], place["n_outputs"]
    block = theta[place["theta_offset"] :][: place["n_parameters"]]
    held = state[place["state_offset"] :][: place["n_state"]]
    if isinstance(settings, Dense):
        W, b = split_block(block, n_inputs, n_outputs)
        return {"kernel": W.T, "bias": b}
    if isinstance(settings, Embedding):
        return {"embedding": block.reshape(-1, settings.dimension)}
    if isinstance(settings, (Standardize, Rescale)):
        return {"mean": held[:n_outputs], "scale": held[n_outputs:]}
    if isinstance(settings, (BatchNorm, LayerNorm)):
        found = dict(zip(("gamma", "beta"), split_norm(block), strict=True))
        if isinstance(settings, BatchNorm):
            found["running_mean"], found["running_var"] = split_norm(held)
        return found
    return {}


def layer_views(
    network: CoreNetwork, layers: tuple[Layer, ...], owner: weakref.ref[NetworkState]
) -> tuple[LayerView, ...]:
    """Return the views of all layers of a network."""
    places = network.layout()
    return tuple(
        LayerView(network, i, settings, place, owner)
        for i, (settings, place) in enumerate(zip(layers, places, strict=True))
    )
