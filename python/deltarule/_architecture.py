"""Lists of layers: the short and the long form, what may stand where, and how large it will be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from deltarule import _settings, losses
from deltarule._layers import (
    ACTIVATIONS,
    Activation,
    Dense,
    Embedding,
    Input,
    Layer,
    Rescale,
    Standardize,
    activation_of,
)
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._residual import Add, Keep, flatten
from deltarule._validation import Array

MAX_LAYERS = 10_000


def parse(layers: Any, activation: Any, output: Any) -> tuple[int, tuple[Layer, ...]]:
    """Return the input width and the layers after Input, from either form of a network."""
    if isinstance(layers, (str, bytes)) or not isinstance(layers, Iterable):
        raise TypeError(
            "layers must be a list of sizes, such as [13, 64, 1], or of layers that starts with "
            f"an Input, got {_settings.shown(layers)}"
        )
    entries = list(layers)
    if len(entries) > MAX_LAYERS + 1:
        raise ValueError(f"layers must be at most {MAX_LAYERS} layers, got {len(entries) - 1}")
    if any(isinstance(entry, Layer) for entry in entries):
        if activation is not None or output is not None:
            raise ValueError(
                "activation and output are for a list of sizes; "
                "in a list of layers every Dense states its own activation"
            )
        return check(entries)
    return check(_from_sizes(entries, activation, output))


def _from_sizes(sizes: list[Any], activation: Any, output: Any) -> list[Layer]:
    if len(sizes) < 2:
        raise ValueError(
            f"layers must have at least an input and an output size, got {_settings.shown(sizes)}"
        )
    checked = [_settings.size(f"layers[{i}]", entry) for i, entry in enumerate(sizes)]
    hidden = _activation("activation", activation, "relu")
    last = _activation("output", output, "identity")
    inside = [Dense(units, hidden) for units in checked[1:-1]]
    return [Input(checked[0]), *inside, Dense(checked[-1], last)]


def _activation(name: str, value: Any, default: Any) -> Any:
    if value is None:
        return default
    if isinstance(value, Activation):
        return value
    return _settings.choice(name, value, ACTIVATIONS)


def check(entries: Sequence[Any]) -> tuple[int, tuple[Layer, ...]]:
    """Return the input width and the layers of a list of layers, if each may stand there."""
    for i, entry in enumerate(entries):
        if not isinstance(entry, Layer):
            raise TypeError(f"layers[{i}] must be a layer, got {_settings.shown(entry)}")
    first, rest = entries[0], entries[1:]
    if not isinstance(first, Input):
        raise ValueError(f"layers[0] must be an Input(width), got {first!r}")
    if not rest:
        raise ValueError(f"layers must hold at least one layer after {first!r}")
    named = [(f"layers[{i + 1}]", layer) for i, layer in enumerate(rest)]
    flat = list(islice(flatten(named), MAX_LAYERS + 1))
    if len(flat) > MAX_LAYERS:
        raise ValueError(f"layers must be at most {MAX_LAYERS} layers, got more inside of Residual")
    for i, (name, layer) in enumerate(flat):
        if isinstance(layer, Input):
            raise ValueError(f"{name} must not be an Input: only the first entry is one")
        if isinstance(layer, Standardize) and i != 0:
            raise ValueError(f"{name}: Standardize can only follow the Input")
        if isinstance(layer, Embedding):
            _check_columns(name, layer, first.width if i == 0 else None)
        if isinstance(layer, Rescale) and i != len(flat) - 1:
            raise ValueError(f"{name}: Rescale can only be the last layer")
    layers = tuple(layer for _, layer in flat)
    _check_residuals([name for name, _ in flat], layers, widths(first.width, layers))
    return first.width, layers


def _check_residuals(names: Sequence[str], layers: Sequence[Layer], sizes: Sequence[int]) -> None:
    """Refuse flat layers whose residuals have only one end, no layer, or another width."""
    kept: list[int] = []
    for i, (name, layer) in enumerate(zip(names, layers, strict=True)):
        if isinstance(layer, Keep):
            kept.append(i)
        elif isinstance(layer, Add):
            if not kept:
                raise ValueError(f"{name}: Add ends a residual that has no start")
            start = kept.pop()
            if i == start + 1:
                raise ValueError(f"{name}: a Residual must hold at least one layer")
            if sizes[i] != sizes[start]:
                raise ValueError(
                    f"{name}: the layers of a Residual must keep the width, "
                    f"got {sizes[start]} in and {sizes[i]} out"
                )
    if kept:
        raise ValueError(f"{names[kept[-1]]}: Keep starts a residual that has no end")


def _check_columns(name: str, layer: Embedding, width: int | None) -> None:
    """Refuse an Embedding that does not follow an Input of all its columns."""
    if width is None:
        raise ValueError(f"{name}: Embedding can only follow the Input")
    highest = max(layer.columns)
    if highest >= width:
        raise ValueError(
            f"{name}: columns must be from 0 to {width - 1}, the Input's, "
            f"got {_settings.shown_integer(highest)}"
        )


def widths(n_inputs: int, layers: Sequence[Layer]) -> list[int]:
    """Return n_0, n_1 … n_L: the width that enters each layer, and at the end the output's."""
    result = [n_inputs]
    for layer in layers:
        if isinstance(layer, Embedding):
            result.append(result[-1] + len(layer.columns) * (layer.dimension - 1))
        else:
            result.append(layer.units if isinstance(layer, Dense) else result[-1])
    return result


def shapes(n_inputs: int, layers: Sequence[Layer]) -> list[dict[str, tuple[int, ...]]]:
    """Return, for every layer, the names and shapes of its arrays as a model file has them."""
    sizes = widths(n_inputs, layers)
    result: list[dict[str, tuple[int, ...]]] = []
    for i, layer in enumerate(layers):
        if isinstance(layer, Dense):
            result.append({"kernel": (sizes[i], sizes[i + 1]), "bias": (sizes[i + 1],)})
        elif isinstance(layer, Embedding):
            result.append({"embedding": (sum(layer.n_levels), layer.dimension)})
        elif isinstance(layer, (Standardize, Rescale)):
            result.append({"mean": (sizes[i],), "scale": (sizes[i],)})
        elif isinstance(layer, BatchNorm):
            names = ("gamma", "beta", "running_mean", "running_var")
            result.append(dict.fromkeys(names, (sizes[i],)))
        elif isinstance(layer, LayerNorm):
            result.append({"gamma": (sizes[i],), "beta": (sizes[i],)})
        else:
            result.append({})
    return result


def dtype_of(value: Any) -> np.dtype[Any]:
    """Return float32 or float64, from a name or a NumPy type."""
    try:
        dtype = None if value is None else np.dtype(value)
    except TypeError:
        dtype = None
    for allowed in (np.dtype(np.float32), np.dtype(np.float64)):
        if dtype is not None and dtype == allowed:
            return allowed
    error = ValueError if dtype is not None or isinstance(value, str) else TypeError
    raise error(f"dtype must be 'float32' or 'float64', got {_settings.shown(value)}")


def given_statistics(
    n_inputs: int, layers: Sequence[Layer], dtype: np.dtype[Any]
) -> dict[int, Array]:
    """Return mean and scale (2, n_l) of every layer that was given them, in the network's dtype."""
    result: dict[int, Array] = {}
    for i, (layer, width) in enumerate(zip(layers, widths(n_inputs, layers), strict=False)):
        if not isinstance(layer, (Standardize, Rescale)) or layer.mean is None:
            continue
        values = np.empty((2, width), dtype)
        for row, name in zip(values, ("mean", "scale"), strict=True):
            given = np.asarray(getattr(layer, name))
            if given.ndim and given.size != width:
                raise ValueError(f"{layer.kind}: {name} must have {width} values, got {given.size}")
            with np.errstate(over="ignore", under="ignore"):
                row[:] = given
        if not (np.isfinite(values).all() and (values[1] > 0).all()):
            raise ValueError(f"{layer.kind}: mean must be finite, scale finite and > 0, as {dtype}")
        result[i] = values
    return result


def without_statistics(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers with statistics left out: in a network those are state, not settings."""
    return tuple(
        type(each)() if isinstance(each, (Standardize, Rescale)) else each for each in layers
    )


def check_numbers(n_inputs: int, layers: Sequence[Layer], dtype: np.dtype[Any]) -> None:
    """Refuse a network that cannot be held, or whose codes cannot, before anything is allocated."""
    exact = 2 ** (np.finfo(dtype).nmant + 1)  # integers up to here
    for i, layer in enumerate(layers):
        if isinstance(layer, Embedding) and max(layer.n_levels) > exact:
            raise ValueError(
                f"layers[{i + 1}]: n_levels must be at most {exact}, the codes that {dtype} "
                f"holds exactly, got {_settings.shown_integer(max(layer.n_levels))}"
            )
    count = sum(widths(n_inputs, layers))  # one row of every layer
    for arrays in shapes(n_inputs, layers):
        for shape in arrays.values():
            count += shape[0] * (shape[1] if len(shape) == 2 else 1)
    n_bytes = count * dtype.itemsize
    if n_bytes >= 2**63:
        raise ValueError("layers must have sizes whose product fits 63 bits of memory addresses")
    available = _physical_memory()
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"layers need {n_bytes / 2**30:.1f} GiB for parameters, "
            f"this machine has {available / 2**30:.1f} GiB"
        )


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a POSIX system: the allocation decides
        return None


def loss_for(layers: Sequence[Layer], loss: object) -> losses.Loss:
    """Return the loss that a name, an object or None means for a network."""
    used = losses.resolve(loss, output_activation(layers))
    if isinstance(used, losses.GaussianNLL) and isinstance(layers[-1], Rescale):
        raise ValueError(
            "loss 'gaussian_nll' has logarithms of variances among its outputs, which a Rescale "
            "layer would scale: leave the layer out"
        )
    return used


def output_activation(layers: Sequence[Layer]) -> str:
    """Return the name of the activation whose values leave the network."""
    activation = activation_of(layers[-1])
    return "identity" if activation is None else activation.name
