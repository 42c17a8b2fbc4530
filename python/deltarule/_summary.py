"""The table that ``net.summary()`` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deltarule._layers import TRAINING, Layer, activation_of
from deltarule._residual import starts

if TYPE_CHECKING:
    from deltarule._network import Network

_TITLES = ("layer", "kind", "output", "parameters", "activation")


def summary_table(network: Network) -> str:
    """Return one line for every layer, and the totals."""
    rows = [_TITLES, ("", "Input", f"(n, {network.n_inputs})", "", "")]
    places = starts(layer.settings for layer in network.layers)
    for i, (layer, (depth, start)) in enumerate(zip(network.layers, places, strict=True)):
        activation = activation_of(layer.settings)
        note = "" if activation is None else repr(activation)[len("Activation(") : -1]
        note = note if start is None else f"+ layer {start}"
        note = note if layer.fitted else "not fitted"
        note = ", ".join(filter(None, (note, *_training(layer.settings))))
        kind = "  " * depth + type(layer.settings).__name__
        output = f"(n, {layer.n_outputs})"
        rows.append((str(i), kind, output, f"{layer.n_parameters:,}", note.replace("'", "")))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * sum(widths, 2 * (len(widths) - 1)))
    n_bytes = network.theta.nbytes
    size = f"{n_bytes / 2**20:.1f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.1f} KiB"
    lines += [lines[1], f"{network.n_parameters:,} parameters, {size} of {network.dtype}"]
    return "\n".join(lines)


def _training(settings: Layer) -> list[str]:
    """Return how a layer is trained, where it is not as the others are."""
    values = {name: getattr(settings, name, default) for name, default in TRAINING.items()}
    frozen = values["learning_rate_factor"] == 0
    shown = {name: value for name, value in values.items() if value != TRAINING[name]}
    if frozen:
        del shown["learning_rate_factor"]
    return [f"{name}={value!r}" for name, value in shown.items()] + ["frozen"] * frozen


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    layer, kind, output, parameters, activation = (
        text.rjust(width) if column in (0, 3) else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"{layer}  {kind}  {output}  {parameters}  {activation}".rstrip()
