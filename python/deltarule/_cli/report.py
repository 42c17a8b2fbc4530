"""What ``deltarule fit`` says: what it understood, how it went, what the model is worth."""

from __future__ import annotations

import math
import os
import shlex
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule import optimizers
from deltarule._cli import files
from deltarule._layers import Dense, Embedding, activation_of
from deltarule._learning_rate import LearningRate
from deltarule._table import values
from deltarule._table.columns import Boolean, Category, Column, Number
from deltarule._table.target import Classes
from deltarule._table.training import Plan, Result

if TYPE_CHECKING:
    import narwhals as nw

WIDTH = 96
_LABEL = 13  # width of the labels, the indent of two included
_MOST = 200  # characters of a list of names
_FEW_ROWS = 30  # that make rough metrics

# name of the metric: how it is written, and what it is
_METRICS = {
    "accuracy": ("accuracy", "share of the rows that are right; 1 is perfect"),
    "log_loss": ("log loss", "error of the probabilities; 0 is perfect"),
    "r2": ("R²", "share of the variation explained; 1 is perfect"),
    "rmse": ("RMSE", "root of the mean squared error, in units of the target"),
    "mae": ("MAE", "mean error, in units of the target"),
}


def of_plan(source: str, frame: nw.DataFrame[Any], plan: Plan, *, task: str) -> list[str]:
    """Return what was understood of the table."""
    lines = [f"{title(source)}: {_n(len(frame), 'row')}, {_n(len(frame.columns), 'column')}"]
    lines += _entry("target", _target(plan))
    if plan.n_without_target:
        spelled = _spelled(frame, plan.target.name)
        lines += _entry("", f"{_n(plan.n_without_target, 'row')} without it{spelled}, not used")
    if task == "auto" and isinstance(plan.target, Classes) and type(plan.target.labels[0]) is int:
        lines += _entry("", "whole numbers taken as classes (else: --task regression)")
    for label, members in _by_kind(plan).items():
        lines += _entry(label, _listed(members))
    lines += _entry("left out", _listed([plain(name) for name in plan.ignored]))
    lines += _entry(
        "of no use", _listed([f"{plain(name)} ({why})" for name, why in plan.encoder.idle.items()])
    )
    lines += _entry("look at", _listed(_nearly_numbers(frame, plan)))
    lines += _entry("missing", _listed(_missing(frame, plan), count=False))
    lines += _entry("rows", _rows(plan))
    lines += _entry("", _untrained(plan))
    lines += _entry("network", _network(plan))
    settings, optimizer = plan.settings, optimizers.resolve(plan.settings.optimizer)
    limit = "" if settings.max_seconds is None else f" or {settings.max_seconds:g} s"
    lines += _entry(
        "training",
        f"{optimizer.name}, learning rate {_rate(optimizer.learning_rate)}, batches of "
        f"{plan.batch_size}, seed {settings.seed}; at most {_n(settings.epochs, 'epoch')}{limit}",
    )
    return lines


def _rate(rate: LearningRate) -> str:
    return f"{rate:g}" if isinstance(rate, float) else repr(rate)


def of_training(plan: Plan, result: Result, seconds: float) -> list[str]:
    """Return how the training ended."""
    n_epochs, best = result.history.n_epochs, result.history.best_epoch
    why = {
        "converged": f"stopped: {_n(plan.settings.patience, 'epoch')} without a lower loss on the "
        "validation rows",
        "epochs": "all epochs done",
        "max_seconds": "stopped: the time is over",
        "interrupted": "stopped by Ctrl-C",
        "diverged": "stopped: the loss was no longer a number (try a smaller --learning-rate)",
    }[result.stopped_by]
    took = f"{seconds:.2g}" if seconds < 1 else f"{seconds:,.1f}"
    lines = [f"trained {_n(n_epochs, 'epoch')} in {took} s; {why}"]
    if best is None:
        return [*lines, "no epoch was finished: the network is hardly trained"]
    kept = f"kept epoch {best}, the best on the validation rows"
    if best == n_epochs and result.stopped_by == "epochs":
        kept += "; it was still getting better: try more --epochs"
    return [*lines, kept]


def of_metrics(plan: Plan, result: Result) -> list[str]:
    """Return the table of the metrics beside the baseline, and what to think of it."""
    n_rows = len(plan.split.test if result.scored_on == "test" else plan.split.validation)
    head = f"on the {_n(n_rows, f'{result.scored_on} row')}"
    width = max(len(head), _LABEL) + 2
    lines = ["", f"{head:<{width}}{'model':>10}{'baseline':>12}"]
    for name, value in result.metrics.items():
        label, meaning = _METRICS[name]
        scale = result.baseline[name] if name in ("rmse", "mae") else 1.0
        numbers = f"{_number(value, scale):>10}{_number(result.baseline[name], scale):>12}"
        lines.append(f"  {label:<{width - 2}}{numbers}   {meaning}")
    lines += textwrap.wrap(f"baseline: {_baseline(plan)}", WIDTH)
    lines += textwrap.wrap(_verdict(plan, result), WIDTH)
    if result.scored_on == "validation":
        lines.append("These rows also chose the epoch: the metrics flatter the model.")
    elif n_rows < _FEW_ROWS:
        lines.append(f"Measured on {_n(n_rows, 'row')} only: rough numbers.")
    return [*lines, ""]


def of_file(output: str) -> list[str]:
    """Return what was saved, and how to use it."""
    return [
        f"saved {plain(output)} ({files.size(output)})",
        f"use it:  deltarule predict {shlex.quote(output)} DATA.csv",
    ]


def as_json(
    source: str, frame: nw.DataFrame[Any], plan: Plan, result: Result, seconds: float
) -> dict[str, Any]:
    """Return the results for ``--json``."""
    target, classes = plan.target, isinstance(plan.target, Classes)
    names = dict.fromkeys((Number.kind, Boolean.kind, Category.kind))
    return {
        "data": source,
        "task": "classification" if classes else "regression",
        "target": target.name,
        "classes": list(target.labels) if isinstance(target, Classes) else None,
        "columns": {
            kind: [column.name for column in plan.encoder.columns if column.kind == kind]
            for kind in names
        },
        "rows": {
            "all": len(frame),
            "without_target": plan.n_without_target,
            "train": len(plan.split.train),
            "validation": len(plan.split.validation),
            "test": len(plan.split.test),
        },
        "n_parameters": plan.model.network.n_parameters,
        "epochs": result.history.n_epochs,
        "best_epoch": result.history.best_epoch,
        "stopped_by": result.stopped_by,
        "seconds": round(seconds, 3),
        "scored_on": result.scored_on,
        "metrics": _finite(result.metrics),
        "baseline": _finite(result.baseline),
        "better_than_baseline": not _worse(result),
    }


def title(source: str) -> str:
    """Return what to call the table."""
    return "standard input" if source == files.STDIO else plain(os.path.basename(source))  # noqa: PTH119


def plain(text: object) -> str:
    """Return a text as it stands, or escaped if it could disturb the line."""
    shown = str(text)
    return shown if shown.isprintable() and shown.strip() else repr(shown)


def _by_kind(plan: Plan) -> dict[str, list[str]]:
    """Return the columns in the words of the report."""
    groups: dict[str, list[str]] = {"numbers": [], "booleans": [], "categories": []}
    names = {"number": "numbers", "boolean": "booleans", "category": "categories"}
    for column in plan.encoder.columns:
        groups[names[column.kind]].append(_described(column))
    return groups


def _described(column: Column) -> str:
    name = plain(column.name)
    if not isinstance(column, Category):
        return name
    return f"{name} ({_n(len(column.levels), 'level')}{', embedded' if column.embedded else ''})"


def _nearly_numbers(frame: nw.DataFrame[Any], plan: Plan) -> list[str]:
    """Return the columns of text that are so because of few values, with one of them."""
    names = [column.name for column in plan.encoder.columns if isinstance(column, Category)]
    odd = {name: values.odd_one(frame[name]) for name in names}
    return [f"{plain(name)} is text for {found!r}" for name, found in odd.items() if found]


def _missing(frame: nw.DataFrame[Any], plan: Plan) -> list[str]:
    names = [name for name in frame.columns if name not in plan.ignored]
    counts = {name: int(values.missing(frame[name]).sum()) for name in names}
    found = sorted((name for name, n in counts.items() if n), key=lambda name: -counts[name])
    return [f"{plain(name)} ({counts[name]}{_spelled(frame, name)})" for name in found]


def _spelled(frame: nw.DataFrame[Any], name: str) -> str:
    """Return what a column writes for "missing", besides nothing."""
    found = ", ".join(map(repr, values.spellings(frame[name])))
    return f": {found}" if found else ""


def _target(plan: Plan) -> str:
    name, y = plain(plan.target.name), plan.y
    if not isinstance(plan.target, Classes):
        low, high, mean = (_number(each, np.abs(y).max()) for each in (y.min(), y.max(), y.mean()))
        return f"{name}: a number from {low} to {high}, mean {mean}"
    counts = np.bincount(y, minlength=plan.target.width)
    order = np.argsort(-counts, kind="stable")
    shown = _listed([f"{plain(plan.target.labels[i])} ({counts[i]})" for i in order], count=False)
    return f"{name}: {_n(len(counts), 'class', 'classes')}: {shown}"


def _rows(plan: Plan) -> str:
    split = plan.split
    train, validation, test = map(len, (split.train, split.validation, split.test))
    return f"{train} to train, {validation} to choose the epoch (validation), {test} to test"


def _untrained(plan: Plan) -> str:
    """Return which classes no row trains."""
    if not isinstance(plan.target, Classes):
        return ""
    seen = np.bincount(plan.y[plan.split.train], minlength=plan.target.width)
    names = [plain(plan.target.labels[i]) for i in np.flatnonzero(seen == 0)]
    return f"too rare to train, so never predicted: {_listed(names)}" if names else ""


def _network(plan: Plan) -> str:
    network, dropout = plan.model.network, plan.settings.dropout
    parts = [_n(plan.encoder.width, "input")]
    for layer in network.layers:
        activation = activation_of(layer.settings)
        if isinstance(layer.settings, Embedding):
            parts.append(f"{layer.n_outputs} with embeddings")
        elif isinstance(layer.settings, Dense) and activation is not None:
            name = "output" if activation.name == "identity" else activation.name
            parts.append(f"{layer.n_outputs} {name}")
    text = f"{', '.join(parts)}: {network.n_parameters:,} parameters"
    return f"{text}, dropout {dropout:g}" if dropout and plan.settings.hidden else text


def _baseline(plan: Plan) -> str:
    y = plan.y[plan.split.train]
    if not isinstance(plan.target, Classes):
        return f"always the mean of the training rows, {_number(y.mean(), np.abs(y).max())}"
    label = plan.target.labels[int(np.bincount(y).argmax())]
    return f"always the most frequent class, {plain(label)}; as probabilities, how frequent each is"


def _worse(result: Result) -> list[str]:
    """Return the metrics in which the model is no better than the baseline."""
    worse = []
    for name, value in result.metrics.items():
        gain = value - result.baseline[name]
        if not (gain > 0 if name in ("accuracy", "r2") else gain < 0):
            worse.append(name)
    return worse


def _verdict(plan: Plan, result: Result) -> str:
    worse = _worse(result)
    if not worse:
        return ""
    if len(worse) == len(result.metrics):
        return (
            "The model is NO BETTER than the baseline: the columns do not tell "
            f"{plain(plan.target.name)}, or there are too few rows."
        )
    names = ", ".join(_METRICS[name][0] for name in worse)
    return f"In {names} the model is no better than the baseline."


def _number(value: float, scale: float) -> str:
    """Return a number with the decimals that make four digits of `scale`."""
    if not 1e-4 <= abs(scale) < 1e15:
        return f"{value:.4g}"
    decimals = max(0, 3 - math.floor(math.log10(abs(scale))))
    return f"{value:,.{decimals}f}"


def _finite(metrics: Any) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _n(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _listed(names: Iterable[str], *, count: bool = True) -> str:
    """Return the names, as many as fit, after their number if there are several."""
    every = list(names)
    shown, room = 0, _MOST
    while shown < len(every) and (shown == 0 or room >= len(every[shown])):
        room -= len(every[shown]) + 2
        shown += 1
    text = ", ".join(every[:shown])
    if shown < len(every):
        text += f" … and {len(every) - shown} more"
    return f"{len(every)}: {text}" if count and len(every) > 1 else text


def _entry(label: str, text: str) -> list[str]:
    """Return a label and its text, of several lines if it is long; nothing without text."""
    if not text:
        return []
    indent = " " * (_LABEL + 2)
    first = f"  {label}".ljust(len(indent))
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )
