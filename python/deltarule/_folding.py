"""Batch normalisation moved into the dense layers beside it: what ``net.folded()`` does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deltarule._layers import Activation, Dense, Layer, activation_of
from deltarule._norms import BatchNorm
from deltarule._validation import Array

if TYPE_CHECKING:
    from deltarule._views import LayerView

Arrays = dict[str, Array]


class Entry(NamedTuple):
    """A layer of the result: its settings, its numbers, and whether they are those of a fit."""

    settings: Layer
    arrays: Arrays
    fitted: bool = True


def fold(views: tuple[LayerView, ...]) -> list[Entry]:
    """Return the layers without the BatchNorms that a Dense can take, and their numbers."""
    entries = [Entry(view.settings, view._arrays, view.fitted) for view in views]
    i = 1
    while i < len(entries):  # into the Dense before; of several in a row the first one first
        if isinstance(entries[i].settings, BatchNorm) and _is_linear(entries[i - 1].settings):
            entries[i - 1 : i + 1] = [_after(entries[i - 1], *_affine(entries[i]))]
            _join_activation(entries, i - 1)
        else:
            i += 1
    for i in reversed(range(len(entries) - 1)):  # into the Dense after; the last one first
        norm, dense = entries[i : i + 2]
        if isinstance(norm.settings, BatchNorm) and isinstance(dense.settings, Dense):
            entries[i : i + 2] = [_before(dense, *_affine(norm))]
    return entries


def _affine(norm: Entry) -> tuple[Array, Array]:
    """Return scale and shift (n_l,) of a BatchNorm in inference, in float64."""
    assert isinstance(norm.settings, BatchNorm)
    names = ("gamma", "beta", "running_mean", "running_var")
    gamma, beta, mean, var = (norm.arrays[name].astype(np.float64) for name in names)
    scale = gamma / np.sqrt(var + norm.settings.epsilon)
    return scale, beta - mean * scale


def _is_linear(layer: Layer) -> bool:
    activation = activation_of(layer)
    return isinstance(layer, Dense) and activation is not None and activation.name == "identity"


def _after(dense: Entry, scale: Array, shift: Array) -> Entry:
    """Return the Dense of scale * (W a + b) + shift: `kernel` (n_{l-1}, n_l) is W transposed."""
    kernel, bias = dense.arrays["kernel"], dense.arrays["bias"]
    return Entry(dense.settings, {"kernel": kernel * scale, "bias": bias * scale + shift})


def _before(dense: Entry, scale: Array, shift: Array) -> Entry:
    """Return the Dense of W (scale * a + shift) + b."""
    kernel, bias = dense.arrays["kernel"], dense.arrays["bias"]
    folded = {"kernel": kernel * scale[:, np.newaxis], "bias": bias + shift @ kernel}
    return Entry(dense.settings, folded)


def _join_activation(entries: list[Entry], i: int) -> None:
    """Let a linear Dense do what an Activation after it does: the same numbers, one pass less."""
    dense, arrays, _ = entries[i]
    if i + 1 < len(entries) and isinstance(dense, Dense):
        activation = entries[i + 1].settings
        if isinstance(activation, Activation):
            entries[i : i + 2] = [Entry(replace(dense, activation=activation), arrays)]
