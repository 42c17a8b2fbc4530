"""Residual, and the two entries that it is in the flat list of a network's layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from deltarule import _settings
from deltarule._layers import Input, Layer


class _End(Layer):
    """One end of a residual: nothing to set."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Keep(_End):
    """The start of a residual, A = A_{l-1}: what its end will add."""

    kind: ClassVar[str] = "keep"


class Add(_End):
    """The end of a residual: A = A_{l-1} + the A of its start."""

    kind: ClassVar[str] = "add"


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    r"""Add what some layers compute to what enters them.

    .. math:: A = A_{l-1} + f(A_{l-1})

    with :math:`f` the given layers, one after another; Residual may be among them. They must
    keep the width. For a network with residuals in the pre-activation form, start each with
    `LayerNorm` and end it with a `Dense` without activation.

    In ``net.layers`` and ``trace.layers`` a residual is its own layers between two entries: Keep,
    whose output is its input, and Add, the sum. ``delta`` of Keep is that of both paths.

    Parameters
    ----------
    layers : sequence of layers
        At least one. Input, Standardize, Embedding and Rescale have their places outside.

    Raises
    ------
    TypeError, ValueError
        If `layers` is no such sequence. From `Network`, if the width that leaves them is not that
        which enters, or a layer is not allowed there.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import deltarule as dr
    >>> block = dr.Residual([dr.LayerNorm(), dr.Dense(8, "relu"), dr.Dense(8)])
    >>> net = dr.Network([dr.Input(8), block, dr.Dense(1)], seed=0)
    >>> print(net.summary())
    layer  kind         output  parameters  activation
    --------------------------------------------------
           Input        (n, 8)
        0  Keep         (n, 8)           0
        1    LayerNorm  (n, 8)          16
        2    Dense      (n, 8)          72  relu
        3    Dense      (n, 8)          72  identity
        4  Add          (n, 8)           0  + layer 0
        5  Dense        (n, 1)           9  identity
    --------------------------------------------------
    169 parameters, 0.7 KiB of float32
    """

    kind: ClassVar[str] = "residual"
    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        given = self.layers
        if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
            raise TypeError(f"layers must be a list of layers, got {_settings.shown(given)}")
        for i, layer in enumerate(given):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{i}] must be a layer, got {_settings.shown(layer)}")
            if isinstance(layer, Input):
                raise ValueError(f"layers[{i}] must not be an Input: a network starts with it")
        if not given:
            raise ValueError("layers must hold at least one layer, got none")
        _settings.set_field(self, "layers", tuple(given))

    def __repr__(self) -> str:
        return texts(layer for _, layer in flatten([("", self)]))[0]


def flatten(named: Iterable[tuple[str, Layer]]) -> Iterator[tuple[str, Layer]]:
    """Yield layers with their names, each Residual as Keep, its own layers, Add."""
    waiting = list(named)[::-1]
    while waiting:
        name, layer = waiting.pop()
        if isinstance(layer, Residual):
            inside = [(f"{name}.layers[{i}]", each) for i, each in enumerate(layer.layers)]
            waiting += [(name, Add()), *inside[::-1]]
            layer = Keep()
        yield name, layer


def texts(layers: Iterable[Layer]) -> list[str]:
    """Return what to write for flat layers, one text for each that is in no residual."""
    open_ends: list[list[str]] = [[]]
    for layer in layers:
        if isinstance(layer, Keep):
            open_ends.append([])
        elif isinstance(layer, Add):
            inside = open_ends.pop()
            open_ends[-1].append(f"Residual([{', '.join(inside)}])")
        else:
            open_ends[-1].append(repr(layer))
    return open_ends[0]


def starts(layers: Iterable[Layer]) -> list[tuple[int, int | None]]:
    """Return, for every flat layer, how deep it lies, and the index of the Keep of an Add."""
    result: list[tuple[int, int | None]] = []
    kept: list[int] = []
    for i, layer in enumerate(layers):
        start = kept.pop() if isinstance(layer, Add) else None
        result.append((len(kept), start))
        if isinstance(layer, Keep):
            kept.append(i)
    return result
