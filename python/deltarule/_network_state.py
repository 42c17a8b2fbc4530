"""The numbers of a network: settings, parameters, their views, copies, and who may train them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from deltarule import _settings, _validation
from deltarule._dispatch import core
from deltarule._layers import TRAINING, Embedding
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._specs import CoreNetwork, layer_spec, layer_training
from deltarule._validation import Array
from deltarule._views import LayerView, layer_views, split_block, split_norm

if TYPE_CHECKING:
    from deltarule._history import History
    from deltarule._layers import Layer

Self = TypeVar("Self", bound="NetworkState")


class NetworkState:
    """What a `Network` is; what it computes is in its subclasses."""

    _stepping = False  # inside a step, where a loss of the user's own may be called
    _seed_given = True  # not drawn from the system

    def _build(
        self, n_inputs: int, layers: tuple[Layer, ...], dtype: np.dtype[Any], seed: int
    ) -> None:
        """Make the core from settings that were checked, with its initial weights."""
        specs = [layer_spec(each) for each in layers]
        self._core: CoreNetwork
        if dtype == np.float32:
            self._core = core.Network32(n_inputs, specs, seed)
            self._predict_small = core.SmallPredictor32(self._core).predict
        else:
            self._core = core.Network64(n_inputs, specs, seed)
            self._predict_small = core.SmallPredictor64(self._core).predict
        self._layers = layers
        self._dtype = dtype
        self._seed = seed
        self._widths = (self._core.n_inputs, self._core.n_outputs)
        self._theta: Array = self._core.theta
        self._views: tuple[LayerView, ...] | None = None
        self._has_scaling = not all(self._core.fitted)
        self._history: History | None = None
        self._lock = threading.Lock()
        self._training_thread: int | None = None

    @property
    def theta(self) -> Array:
        """All parameters, (n_parameters,): W_1, b_1, W_2, b_2 … A writable view, not a copy.

        An Embedding's part is its tables, one after another; that of a norm gamma, then beta.

        Assigning copies the numbers in: ``net.theta = v`` is ``net.theta[:] = v``, with the shape
        checked.
        """
        return self._theta

    @theta.setter
    def theta(self, value: ArrayLike) -> None:
        self._theta[:] = _validation.vector("theta", value, self.n_parameters)

    @property
    def layers(self) -> tuple[LayerView, ...]:
        """The layers, Input excluded, as views of their numbers; see `LayerView`."""
        if self._views is None:
            self._views = layer_views(self._core, self._layers, weakref.ref(self))
        return self._views

    @property
    def n_parameters(self) -> int:
        """How many numbers are trained."""
        return self._theta.size

    @property
    def n_inputs(self) -> int:
        """Width of the input, n_0."""
        return self._widths[0]

    @property
    def n_outputs(self) -> int:
        """Width of the output, n_L."""
        return self._widths[1]

    @property
    def n_steps(self) -> int:
        """How many updates were ever made, saved with the network."""
        return self._core.n_steps

    @property
    def seed(self) -> int:
        """The seed, as given or as drawn from the system."""
        return self._seed

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the parameters: float32 or float64."""
        return self._dtype

    @property
    def history(self) -> History | None:
        """The history of the last training, also of one that was interrupted; None before."""
        return self._history

    def unflatten(self, v: Array) -> list[tuple[Array, Array] | list[Array] | None]:
        """Return views (W, b) of each layer's part of a vector shaped like `theta`.

        Parameters
        ----------
        v : ndarray (n_parameters,)
            Any dtype: a gradient, a step, a second copy of theta.

        Returns
        -------
        list
            For every layer W (n_l, n_{l-1}) and b (n_l,); the list of the tables
            (n_levels[j], dimension) of an Embedding; gamma and beta (n_l,) of a LayerNorm or
            BatchNorm; None where nothing is trained.

        Raises
        ------
        TypeError, ValueError
            If `v` is no array or has another shape.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([2, 3, 1], seed=0)
        >>> loss, gradient = net.gradient([[1.0, 2.0]], [3.0])
        >>> [(W.shape, b.shape) for W, b in net.unflatten(gradient)]
        [((3, 2), (3,)), ((1, 3), (1,))]
        """
        if not isinstance(v, np.ndarray):
            raise TypeError(f"v must be a NumPy array, got {_settings.shown(v)}")
        if v.shape != (self.n_parameters,):
            raise ValueError(f"v must have shape ({self.n_parameters},), got {v.shape}")
        result: list[tuple[Array, Array] | list[Array] | None] = []
        for settings, place in zip(self._layers, self._core.layout(), strict=True):
            start, size = place["theta_offset"], place["n_parameters"]
            block = v[start : start + size]
            if isinstance(settings, Embedding):
                result.append(settings.split(block))
            elif isinstance(settings, (BatchNorm, LayerNorm)):
                result.append(split_norm(block))
            else:
                shape = place["n_inputs"], place["n_outputs"]
                result.append(split_block(block, *shape) if size else None)
        return result

    def copy(self: Self) -> Self:
        """Return an independent network of the same settings, parameters, state and counters.

        ``copy.copy``, ``copy.deepcopy`` and pickle do the same; the history stays behind.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([2, 1], seed=0)
        >>> twin = net.copy()
        >>> twin.theta[:] = 0
        >>> bool((net.theta == 0).all())
        False
        """
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __copy__(self: Self) -> Self:
        return self.copy()

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {
            "n_inputs": self.n_inputs,
            "layers": self._layers,
            "dtype": self._dtype.name,
            "seed": self._seed,
            "n_steps": self.n_steps,
            "theta": self._theta.copy(),
            "state": self._core.state.copy(),
            "fitted": list(self._core.fitted),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._build(state["n_inputs"], state["layers"], np.dtype(state["dtype"]), state["seed"])
        self._core.n_steps = state["n_steps"]
        self._core.state[:] = state["state"]
        self._core.fitted = state["fitted"]
        self._theta[:] = state["theta"]

    def _adopt(self, other: NetworkState) -> None:
        """Take over the numbers of a network of the same layers, and how they are trained."""
        self._seed = self._core.seed = other._seed
        self._core.n_steps = other.n_steps
        self._core.state[:] = other._core.state
        self._core.fitted = other._core.fitted
        self._theta[:] = other._theta
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            for name in TRAINING:
                value = getattr(theirs, name)
                if value != getattr(mine, name):
                    setattr(mine, name, value)

    def _begin_training(self) -> None:
        """Take the network for one training call, or refuse."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "this network is being trained by another call (a fit, run, step or apply, in "
                "another thread or in a callback); train a net.copy(), or wait for it"
            )
        self._training_thread = threading.get_ident()

    def _end_training(self) -> None:
        self._training_thread = None
        self._lock.release()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other calls from training; a callback of the one that trains may enter."""
        if self._training_thread == threading.get_ident():
            if self._stepping:
                raise RuntimeError(
                    "the network is in the middle of a step: a loss of your own may not change it "
                    "or how it is trained, a callback may"
                )
            yield
            return
        self._begin_training()
        try:
            yield
        finally:
            self._end_training()

    @contextmanager
    def _in_step(self) -> Iterator[None]:
        """Say that what is called now is called from inside a step."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def _change_layer(self, index: int, settings: Layer) -> None:
        """Take other settings of how a layer is trained; what it computes is the same."""
        with self._alone():
            self._core.set_training(index, layer_training(settings))
            self._layers = (*self._layers[:index], settings, *self._layers[index + 1 :])

    def _refuse_other_thread(self) -> None:
        if self._training_thread not in (None, threading.get_ident()):
            raise RuntimeError("this network is being trained by another thread; wait for it")

    def _require_scaling(self) -> None:
        if self._has_scaling and not all(self._core.fitted):
            i = self._core.fitted.index(False)
            raise ValueError(
                f"net.layers[{i}], {self._layers[i]!r}, has no statistics yet: give them "
                "(mean=..., scale=...), or train with fit or trainer.run first"
            )
