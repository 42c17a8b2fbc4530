"""A picture of what flows through a network: activations, deltas and gradients, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deltarule._layers import Activation, activation_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deltarule._passes import Passes
    from deltarule._trace import Trace
    from deltarule._validation import Array

Floats = NDArray[np.float64]

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ALARM = 100  # times that delta's size may change from one end to the other
_SATURATED = 0.05  # of the largest slope of a sigmoid or tanh: flatter is saturated
_ALARM_COLOUR = "#c62828"


class Spread(NamedTuple):
    """How large the numbers of one layer are that are neither 0 nor infinite."""

    quantiles: Floats  # (5,) of their absolute values; NaN if there are none
    rms: float  # 0 if there are none; NaN if nothing is finite
    is_finite: bool


class Shares(NamedTuple):
    """Of the outputs of one layer, from 0 to 1."""

    zeros: float
    dead: float  # units that are 0 in every row
    saturated: float  # where a sigmoid or tanh is nearly flat; NaN without one


class Flow(NamedTuple):
    """What the picture shows: one entry a layer, from the input to the output."""

    labels: list[str]
    numbers: list[int]  # of the layers: net.layers[i]
    activations: list[Spread]
    deltas: list[Spread]
    gradients: list[Spread | None]
    shares: list[Shares]


def measure(network: Passes, trace: Trace) -> Flow:
    """Return the sizes of all that a trace holds, of layers that train or activate."""
    layout = network._core.layout()
    chosen = [
        i
        for i, layer in enumerate(network._layers)
        if layout[i]["n_parameters"] or isinstance(layer, Activation)
    ] or [*range(len(layout))]
    flow = Flow([], chosen, [], [], [], [])
    for i in chosen:
        layer, settings, place = trace.layers[i], network._layers[i], layout[i]
        activation = activation_of(settings)
        name = None if activation is None else activation.name
        lines = [str(i)] if isinstance(settings, Activation) else [str(i), type(settings).__name__]
        flow.labels.append("\n".join(lines if name is None else [*lines, name]))
        flow.activations.append(_spread(layer.a))
        flow.deltas.append(_spread(layer.delta))
        start = place["theta_offset"]
        block = trace.gradient[start : start + place["n_parameters"]]
        flow.gradients.append(_spread(block) if block.size else None)
        flow.shares.append(_shares(layer.a, name))
    return flow


def _spread(values: Array) -> Spread:
    sizes = np.abs(values, dtype=np.float64).ravel()
    finite = sizes[np.isfinite(sizes)]
    known = finite[finite > 0]
    is_finite = finite.size == sizes.size
    if not known.size:
        rms = 0.0 if finite.size or is_finite else np.nan
        return Spread(np.full(5, np.nan), rms, is_finite)
    largest = known.max()  # so that no square overflows
    rms = largest * np.sqrt(np.mean((known / largest) ** 2))
    return Spread(np.quantile(known, _QUANTILES), float(rms), is_finite)


def _shares(a: Array, activation: str | None) -> Shares:
    zero = a == 0
    saturated = np.nan
    if activation in ("sigmoid", "tanh"):
        slope = 4 * a * (1 - a) if activation == "sigmoid" else 1 - a * a
        saturated = float(np.mean(slope < _SATURATED))
    return Shares(float(zero.mean()), float(zero.all(axis=0).mean()), saturated)


def verdict(flow: Flow) -> str | None:
    """Say in words if delta fades or grows on its way back, or is not there at all."""
    rms = [spread.rms for spread in flow.deltas]
    broken = [i for i, each in zip(flow.numbers, flow.deltas, strict=True) if not each.is_finite]
    silent = [i for i, size in zip(flow.numbers, rms, strict=True) if size == 0]
    if broken:
        return f"delta is not finite in layer{_listed(broken)}"
    if silent:
        return f"delta is 0 in layer{_listed(silent)}"
    first, last = flow.numbers[0], flow.numbers[-1]
    powers = float(np.log10(rms[0]) - np.log10(rms[-1]))
    if abs(powers) <= np.log10(_ALARM):
        return None
    what = "vanishing: delta falls" if powers < 0 else "exploding: delta grows"
    return f"{what} {_times(abs(powers))} from layer {last} to {first}"


def _times(powers: float) -> str:
    """Return 10**powers in one digit."""
    return f"{10**powers:.0e}".replace("e+0", "e").replace("e+", "e") + "-fold"


def _listed(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f" {numbers[0]}"
    return f"s {numbers[0]} to {numbers[-1]}"


def plot(network: Passes, trace: Trace, path: str | os.PathLike[str] | None) -> Axes:
    """Draw a trace; see ``Network.plot_flow``."""
    try:
        from matplotlib import figure
    except ImportError as error:
        raise ImportError("plot_flow needs matplotlib: pip install 'deltarule[plot]'") from error
    flow = measure(network, trace)
    size = (float(np.clip(2.0 + 0.62 * len(flow.labels), 7.0, 18.0)), 8.4)
    if path is not None:
        whole = figure.Figure(figsize=size, layout="constrained")
    else:
        from matplotlib import pyplot

        whole = pyplot.figure(figsize=size, layout="constrained")
    first = _draw_all(whole, flow)
    if path is not None:
        whole.savefig(path, dpi=100)
    return first


def _draw_all(figure: Figure, flow: Flow) -> Axes:
    axes = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 3, 2]})
    _draw_spreads(axes[0], flow.activations, "activations |a|", "tab:blue")
    _draw_spreads(axes[1], flow.deltas, "deltas |δ| = |∂L/∂z|", "tab:orange")
    _draw_spreads(axes[2], flow.gradients, "gradients |∂L/∂θ|", "tab:green")
    said = verdict(flow)
    if said is not None:
        axes[1].set_title(said, loc="right", color=_ALARM_COLOUR, fontsize=10, fontweight="bold")
    _explain(axes[0])
    _draw_shares(axes[3], flow.shares)
    n = len(flow.labels)
    axes[3].set_xlim(-0.6, n - 0.4)
    step = -(-n // 30)
    labels = flow.labels if n <= 30 else [label.split("\n")[0] for label in flow.labels]
    axes[3].set_xticks(range(0, n, step), labels[::step], fontsize=9 if n <= 12 else 7)
    axes[3].set_xlabel("layer, from the input to the output")
    figure.align_ylabels(axes)
    first: Axes = axes[0]
    return first


def _draw_spreads(ax: Axes, spreads: Sequence[Spread | None], title: str, colour: str) -> None:
    """Draw bars of 90 % and 50 % of the numbers, their median and their root mean square."""
    from matplotlib import ticker

    ax.set_title(title, loc="left", fontsize=10)
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    ax.grid(visible=True, which="major", axis="y", alpha=0.3, linewidth=0.6)
    ax.tick_params(axis="x", length=0)
    shown = [(x, each) for x, each in enumerate(spreads) if each is not None and each.rms > 0]
    if not shown:
        words = _why_empty(spreads)
        ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", color=_ALARM_COLOUR)
        return
    places = np.array([x for x, _ in shown])
    q05, q25, q50, q75, q95 = np.array([each.quantiles for _, each in shown]).T
    ax.vlines(places, q05, q95, color=colour, alpha=0.3, linewidth=9)
    ax.vlines(places, q25, q75, color=colour, alpha=0.75, linewidth=9)
    ax.scatter(places, q50, marker="_", s=90, color="black", linewidth=1.6, zorder=3)
    rms = [each.rms for _, each in shown]
    ax.plot(places, rms, "o-", color=colour, markersize=3.5, linewidth=1, zorder=2.5,
            markeredgecolor="black", markeredgewidth=0.5)  # fmt: skip
    low, high = ax.get_ylim()
    if high < 30 * low:  # at least one power of ten has its number
        centre = np.sqrt(low * high)
        ax.set_ylim(min(low, centre / 6), max(high, centre * 6))


def _why_empty(spreads: Sequence[Spread | None]) -> str:
    there = [each for each in spreads if each is not None]
    if all(each.is_finite for each in there):
        return "all are 0"
    return "none is finite" if np.isnan([each.rms for each in there]).all() else "0 or not finite"


def _explain(ax: Axes) -> None:
    """Write what the marks of all panels mean, above the first."""
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color="0.5", alpha=0.4, linewidth=7, label="90 % of them"),
        Line2D([], [], color="0.5", linewidth=7, label="50 %"),
        Line2D([], [], color="black", linestyle="", marker="_", markersize=9, label="median"),
        Line2D([], [], color="0.5", marker="o", markersize=3.5, label="root mean square"),
    ]
    ax.legend(
        handles=marks, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False,
        fontsize=9, borderaxespad=0.1, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _draw_shares(ax: Axes, shares: Sequence[Shares]) -> None:
    """Draw how many activations are 0, how many units dead, how many sigmoids flat."""
    ax.set_title("share of activations", loc="left", fontsize=10)
    columns = (
        ("zeros", "exactly 0", "0.6"),
        ("dead", "units that are always 0", _ALARM_COLOUR),
        ("saturated", "saturated", "tab:purple"),
    )
    for k, (name, label, colour) in enumerate(columns):
        values = 100 * np.array([getattr(each, name) for each in shares])
        ax.bar(np.arange(len(shares)) + (k - 1) * 0.25, values, 0.25, label=label, color=colour)
    ax.set_ylim(0, 100)
    ax.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    ax.grid(visible=True, axis="y", alpha=0.3, linewidth=0.6)
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=8,
        borderaxespad=0.1, handlelength=1.0, columnspacing=1.0,
    )  # fmt: skip
