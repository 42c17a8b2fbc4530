"""Networks in format 1: settings to JSON and back by an allow-list, numbers to tensors and back.

The JSON is ``{"dtype", "n_inputs", "layers", "seed", "n_steps", "cpu_level"}``, a checkpoint also
has ``"trainer"``. Tensor ``layers.<i>.<name>`` belongs to ``net.layers[i]``: kernel
(n_{l-1}, n_l), bias (n_l,), mean and scale (n_l,), embedding (all levels, dimension), gamma, beta,
running_mean and running_var (n_l,). A residual is the kinds keep and add around its layers. How a
layer is trained (l1, l2, learning_rate_factor) is in its entry where that is not the default.
``_file`` knows the container.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deltarule import _architecture, _file, _settings
from deltarule._dispatch import build_info
from deltarule._errors import ModelFileError
from deltarule._layers import (
    TRAINING,
    Activation,
    Dense,
    Dropout,
    Embedding,
    Input,
    Layer,
    Rescale,
    Standardize,
    activation_of,
)
from deltarule._network import Network
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._residual import Add, Keep
from deltarule._validation import Array
from deltarule._views import LayerView, arrays_of
from deltarule.initializers import BY_NAME as INITIALIZERS
from deltarule.initializers import gain_of
from deltarule.initializers import resolve as resolve_initializer

if TYPE_CHECKING:
    from deltarule._table.model import TableModel

T = TypeVar("T")
Json = dict[str, Any]

NETWORK_KEYS = frozenset({"dtype", "n_inputs", "layers", "seed", "n_steps", "cpu_level"})


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network as a model file."""
    _file.write(path, describe(network), tensors_of(network))


def load(path: str | os.PathLike[str], *, allow_nonfinite: bool = False) -> Network | TableModel:
    """Load a network from a model file, or from a trainer's checkpoint; or a model of tables.

    No code in the file is ever run, and nothing is allocated before the file was checked.

    Parameters
    ----------
    path : str or os.PathLike
        A file that ``net.save``, ``trainer.save``, ``deltarule fit`` or ``TableModel.save`` wrote.
    allow_nonfinite : bool, default False
        Load parameters that are NaN or infinite, instead of refusing the file.

    Returns
    -------
    Network or TableModel
        With the same bits in ``theta`` as when it was saved, the same seed and ``n_steps``. A file
        with a table section gives a `TableModel`, never a bare network that expects scaled inputs.

    Raises
    ------
    ModelFileError
        If the file is damaged, is not a model file, or needs a newer deltarule.
    OSError
        If the file cannot be read.

    Examples
    --------
    See ``Network.save``.
    """
    allow_nonfinite = _settings.boolean("allow_nonfinite", allow_nonfinite)
    metadata, tensors = _file.read(path)
    with_trainer = "trainer" in metadata
    own = {
        name: tensor
        for name, tensor in tensors.items()
        if not (with_trainer and name.startswith("trainer."))
    }
    with_table = "table" in metadata
    section = metadata.pop("table", None)
    with naming(path):
        network = rebuild(metadata, own, allow_nonfinite=allow_nonfinite)
        return _with_table(section, network) if with_table else network


def _with_table(section: Any, network: Network) -> TableModel:
    from deltarule._table.section import rebuild

    return rebuild(section, network)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the path before the message of a ModelFileError."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)!r} {error}") from error.__cause__


def describe(network: Network) -> Json:
    """Return the settings and counters of a network, as JSON."""
    return {
        "dtype": network.dtype.name,
        "n_inputs": network.n_inputs,
        "layers": [encode_layer(layer) for layer in network.layers],
        "seed": network.seed,
        "n_steps": network.n_steps,
        "cpu_level": str(build_info()["cpu_level"]),
    }


def tensors_of(network: Network, theta: Array | None = None) -> dict[str, Array]:
    """Return views of all numbers of a network, by their names in the file.

    With `theta` the parameters are taken from there.
    """
    theta = network.theta if theta is None else theta
    places = network._core.layout()
    return {
        f"layers.{i}.{name}": array
        for i, (settings, place) in enumerate(zip(network._layers, places, strict=True))
        for name, array in arrays_of(theta, network._core.state, place, settings).items()
    }


def encode_layer(view: LayerView) -> Json:
    layer, activation = view.settings, activation_of(view.settings)
    encoded: Json = {"kind": layer.kind}
    if isinstance(layer, Dense) and activation is not None:
        initializer = resolve_initializer(layer.initializer, activation.name)
        encoded |= {"units": layer.units, "initializer": initializer.name}
        encoded |= {"gain": gain_of(initializer)}
    if activation is not None:
        encoded |= {"activation": activation.name, "alpha": activation.alpha}
    if isinstance(layer, Dropout):
        encoded |= {"rate": layer.rate}
    if isinstance(layer, Embedding):
        encoded |= {"columns": list(layer.columns), "n_levels": list(layer.n_levels)}
        encoded |= {"dimension": layer.dimension}
    if isinstance(layer, BatchNorm):
        encoded |= {"momentum": layer.momentum, "epsilon": layer.epsilon}
    if isinstance(layer, LayerNorm):
        encoded |= {"epsilon": layer.epsilon}
    if isinstance(layer, (Standardize, Rescale)):
        encoded |= {"fitted": view.fitted}
    training = {name: getattr(layer, name, default) for name, default in TRAINING.items()}
    return encoded | {name: x for name, x in training.items() if x != TRAINING[name]}


def rebuild(metadata: Json, tensors: Mapping[str, Array], *, allow_nonfinite: bool) -> Network:
    """Return the network of a file's metadata and tensors, or refuse what does not fit."""
    allowed = NETWORK_KEYS | {"format", "version", "trainer"}
    check_keys("metadata", metadata, NETWORK_KEYS, allowed)
    n_inputs, layers, fitted = _decode_layers(metadata["n_inputs"], metadata["layers"])
    dtype = accepted(_architecture.dtype_of, metadata["dtype"])
    seed = accepted(_settings.integer, "seed", metadata["seed"], low=0, high=2**64 - 1)
    n_steps = accepted(_settings.integer, "n_steps", metadata["n_steps"], low=0, high=2**63 - 1)
    if not isinstance(metadata["cpu_level"], str):
        raise ModelFileError(f"has a damaged cpu_level: {_settings.shown(metadata['cpu_level'])}")
    accepted(_architecture.check_numbers, n_inputs, layers, dtype)
    expected = {
        f"layers.{i}.{name}": shape
        for i, shapes in enumerate(_architecture.shapes(n_inputs, layers))
        for name, shape in shapes.items()
    }
    check_tensors(tensors, expected, dtype, allow_nonfinite=allow_nonfinite)

    network = Network.__new__(Network)
    accepted(network._build, n_inputs, layers, dtype, seed)
    network._core.n_steps = n_steps
    network._core.fitted = fitted
    for name, view in tensors_of(network).items():
        view[:] = tensors[name]
    return network


def _decode_layers(width: Any, entries: Any) -> tuple[int, tuple[Layer, ...], list[bool]]:
    if not isinstance(entries, list) or len(entries) > _architecture.MAX_LAYERS:
        raise ModelFileError("has a damaged list of layers")
    layers = [_decode_layer(f"layers[{i}]", entry) for i, entry in enumerate(entries)]
    n_inputs, checked = accepted(_architecture.check, [accepted(Input, width), *layers])
    return n_inputs, checked, [entry.get("fitted", True) for entry in entries]


_LAYER_KEYS: Mapping[str, frozenset[str]] = {
    "dense": frozenset({"kind", "units", "initializer", "gain", "activation", "alpha"}),
    "activation": frozenset({"kind", "activation", "alpha"}),
    "standardize": frozenset({"kind", "fitted"}),
    "rescale": frozenset({"kind", "fitted"}),
    "dropout": frozenset({"kind", "rate"}),
    "embedding": frozenset({"kind", "columns", "n_levels", "dimension"}),
    "batch_norm": frozenset({"kind", "momentum", "epsilon"}),
    "layer_norm": frozenset({"kind", "epsilon"}),
    "keep": frozenset({"kind"}),
    "add": frozenset({"kind"}),
}


_TRAINED: Mapping[str, type[Layer]] = {
    "dense": Dense,
    "embedding": Embedding,
    "layer_norm": LayerNorm,
    "batch_norm": BatchNorm,
}


def _decode_layer(name: str, entry: Any) -> Layer:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _LAYER_KEYS:
        raise ModelFileError(f"has an unknown kind of layer: {name} is {_settings.shown(entry)}")
    optional = [each for each in TRAINING if hasattr(_TRAINED.get(kind), each)]
    check_keys(name, entry, _LAYER_KEYS[kind], _LAYER_KEYS[kind].union(optional))
    training = {each: entry[each] for each in optional if each in entry}
    if kind == "dropout":
        return accepted(Dropout, entry["rate"])
    if kind == "layer_norm":
        return accepted(LayerNorm, epsilon=entry["epsilon"], **training)
    if kind in ("keep", "add"):
        return Keep() if kind == "keep" else Add()
    if kind == "embedding":
        columns, n_levels = entry["columns"], entry["n_levels"]
        return accepted(Embedding, columns, n_levels, dimension=entry["dimension"], **training)
    if kind == "batch_norm":
        return accepted(BatchNorm, momentum=entry["momentum"], epsilon=entry["epsilon"], **training)
    if kind in ("standardize", "rescale"):
        accepted(_settings.boolean, f"{name}: fitted", entry["fitted"])
        return Standardize() if kind == "standardize" else Rescale()
    activation = accepted(Activation, entry["activation"], alpha=entry["alpha"])
    return activation if kind == "activation" else _decode_dense(entry, activation, training)


def _decode_dense(entry: Json, activation: Activation, training: Json) -> Dense:
    initializer_name = accepted(_settings.choice, "initializer", entry["initializer"], INITIALIZERS)
    make = INITIALIZERS[initializer_name]
    settings = {field.name: entry[field.name] for field in fields(make)}
    initializer = accepted(make, **settings)
    used = None if initializer == resolve_initializer(None, activation.name) else initializer
    return accepted(Dense, entry["units"], activation, initializer=used, **training)


def accepted(make: Callable[..., T], *arguments: Any, **settings: Any) -> T:
    """Return ``make(...)``; what it refuses makes the file a wrong one."""
    try:
        return make(*arguments, **settings)
    except (TypeError, ValueError, MemoryError, RuntimeError) as error:
        raise ModelFileError(f"holds what deltarule refuses: {error}") from error


def check_keys(name: str, entry: Json, needed: frozenset[str], allowed: frozenset[str]) -> None:
    """Refuse a part of the JSON with keys missing or unknown."""
    for key in sorted(needed - entry.keys()):
        raise ModelFileError(f"lacks the key {key!r} in {name}")
    for key in sorted(entry.keys() - allowed):
        raise ModelFileError(f"has the unknown key {_settings.shown(key)} in {name}")


def check_tensors(
    tensors: Mapping[str, Array],
    expected: Mapping[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    *,
    allow_nonfinite: bool,
) -> None:
    """Refuse tensors that are missing, extra, of another shape or dtype, or not finite."""
    for name in sorted(expected.keys() - tensors.keys()):
        raise ModelFileError(f"lacks the tensor {name!r}")
    for name in sorted(tensors.keys() - expected.keys()):
        raise ModelFileError(f"has the unknown tensor {name!r}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            found = f"{tensor.shape} of {tensor.dtype}"
            raise ModelFileError(f"has tensor {name!r} of shape {found}, not {shape} of {dtype}")
        if not (allow_nonfinite or np.isfinite(tensor).all()):
            raise ModelFileError(
                f"has NaN or infinite numbers in tensor {name!r}; "
                "deltarule.load(path, allow_nonfinite=True) takes them in a network"
            )
