"""Pictures of a training: the losses and the metrics by epoch. Matplotlib is imported here only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from deltarule import _atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from deltarule._history import Floats, History

# 0 is perfect, or no rate at all: a logarithm makes sense.
_LOGARITHMIC = ("loss", "rmse", "mae", "log_loss", "learning_rate")
_LOG_FROM = 20  # max / min from which a panel is logarithmic
_FEW = 20  # epochs up to which each is marked by a point

Panel = dict[str, str]  # the label of a curve and the history's key, in the order of drawing


def plot(history: History, path: str | os.PathLike[str] | None, ax: Axes | None) -> Axes:
    """Draw a history; see ``History.plot``."""
    try:
        from matplotlib import axes, figure
    except ImportError as error:
        raise ImportError("history.plot needs matplotlib: pip install 'deltarule[plot]'") from error
    if path is not None:
        path = _atomic.text_of(path)
    if path is not None and ax is not None:
        raise ValueError("give path or ax, not both: ax.figure.savefig(path) saves your own figure")
    if ax is not None and not isinstance(ax, axes.Axes):
        raise TypeError(f"ax must be a matplotlib Axes, got {type(ax).__name__}")
    panels = _panels(history)
    if not panels:
        raise ValueError("the history has nothing to plot: no epoch was finished")
    if ax is not None:
        _draw(ax, history, *next(iter(panels.items())))
        _finish(ax)
        return ax
    size = (7.0, 3.4 + 1.7 * (len(panels) - 1))
    if path is not None:
        whole = figure.Figure(figsize=size, layout="constrained")
    else:
        from matplotlib import pyplot

        whole = pyplot.figure(figsize=size, layout="constrained")
    first = _draw_all(whole, history, panels)
    if path is not None:
        whole.savefig(path, dpi=150)
    return first


def _panels(history: History) -> dict[str, Panel]:
    """Return what each panel shows: the loss first, then each metric beside its ``val_`` twin."""
    panels: dict[str, Panel] = {"loss": {}}
    for key, values in history.items():
        if key == "seconds" or not np.isfinite(values).any():
            continue
        base = key.removeprefix("val_")
        if key.startswith("val_") and base in history:
            panels.setdefault(base, {})["validation"] = key
        elif key == "val_loss":
            panels["loss"]["validation"] = key
        else:
            panels.setdefault(key, {})["training"] = key
    return {name: panel for name, panel in panels.items() if panel}


def _draw_all(figure: Figure, history: History, panels: dict[str, Panel]) -> Axes:
    ratios = [2.0] + [1.0] * (len(panels) - 1)
    column = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios}
    )[:, 0]
    for ax, (name, panel) in zip(column, panels.items(), strict=True):
        _draw(ax, history, name, panel)
    figure.align_ylabels(column)
    _finish(column[0], column[-1])
    first: Axes = column[0]
    return first


def _draw(ax: Axes, history: History, name: str, panel: Panel) -> None:
    """Draw the curves of one panel, and the best epoch."""
    curves = {label: _finite_only(history[key]) for label, key in panel.items()}
    epochs = np.arange(1, history.n_epochs + 1)
    for label, values in curves.items():
        marker = "." if _needs_points(values) else None
        ax.plot(epochs, values, label=label, linewidth=1.4, marker=marker)
    best = history.best_epoch
    if best is not None:
        ax.axvline(
            best,
            label=f"best epoch: {best}",
            color="0.35",
            linewidth=0.8,
            linestyle=(0, (5, 3)),
            zorder=1.5,
        )
    if name in _LOGARITHMIC:
        _scale(ax, np.concatenate([*curves.values()]))
    ax.margins(x=0.02)
    ax.set_ylabel(name)
    ax.grid(visible=True, which="major", alpha=0.3, linewidth=0.6)


def _finite_only(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, np.nan)


def _needs_points(values: Floats) -> bool:
    """Whether lines alone would hide epochs: there are few, or one stands between two gaps."""
    known = np.concatenate([[False], np.isfinite(values), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    return len(values) <= _FEW or bool(alone.any())


def _scale(ax: Axes, values: Floats) -> None:
    """Make the axis logarithmic if the values span more than a factor of 20."""
    from matplotlib import ticker

    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not 0 < _LOG_FROM * low < high:
        return
    ax.set_yscale("log")
    if high < 1000 * low:  # so few powers of ten want numbers between them
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(ticker.NullFormatter())


def _finish(first: Axes, last: Axes | None = None) -> None:
    """Write what the panels share: the legend above the first, the epochs below the last."""
    from matplotlib import ticker

    last = first if last is None else last
    # Outside, where it hides no curve.
    first.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
    last.set_xlabel("epoch")
    last.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1))
