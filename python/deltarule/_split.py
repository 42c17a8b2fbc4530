"""Rows held out for validation: a pure function of the seed, the number of rows, their classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deltarule import _settings
from deltarule._dispatch import core
from deltarule._validation import Array
from deltarule.losses import BinaryCrossEntropy, Hinge, Loss

Numbers = NDArray[np.int64]


class Split(NamedTuple):
    """Which rows train and which validate, each in ascending order."""

    train: Numbers
    validation: Numbers


def hold_out(fraction: object, loss: Loss, y: Array, seed: int) -> Split:
    """Hold out round(n fraction) of the n rows of y, of each class of a class loss its share.

    A class of n_c rows gives n_c times the fraction rounded down or up, those with the largest
    remainder up, so that the sum is right; but it keeps at least one row to train on, even if
    then fewer rows are held out in all.
    """
    share = _settings.real("validation_fraction", fraction, below=1.0, positive=True)
    n = len(y)
    order = core.split_order(n, seed)
    classes = _classes(loss, y)
    along = np.zeros(n, np.int64) if classes is None else classes[order]
    counts = np.bincount(along)
    first = np.full(len(counts), n)
    np.minimum.at(first, along, np.arange(n))
    held = _held(counts, share, first)
    if not held.any():
        raise ValueError(
            f"validation_fraction={share:g} of {n} row{'s'[: n - 1]}"
            f"{'' if classes is None else f' of {len(counts)} classes'} leaves no row to validate "
            "on: take a larger share, or give validation_data"
        )
    grouped = np.argsort(along, kind="stable")  # by class, and in a class as drawn
    within = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.zeros(n, np.bool_)
    taken[order[grouped[within < np.repeat(held, counts)]]] = True
    return Split(np.flatnonzero(~taken), np.flatnonzero(taken))


def _held(counts: Numbers, share: float, first: Numbers) -> Numbers:
    """Return how many rows of each class to hold out; of equal classes, the first drawn."""
    exact = counts * share
    held: Numbers = np.floor(exact).astype(np.int64)
    missing = int(np.floor(counts.sum() * share + 0.5)) - int(held.sum())
    by_remainder = np.lexsort((first, held - exact))
    able = by_remainder[held[by_remainder] + 1 < counts[by_remainder]]
    held[able[: max(missing, 0)]] += 1
    return held


def _classes(loss: Loss, y: Array) -> Numbers | None:
    """Return the number of each row's class, None where there are no classes or several a row."""
    labels: Array
    if y.shape[1] > 1:
        if not loss.takes_class_indices or ((y > 0.5).sum(axis=1) > 1).any():
            return None
        labels = y.argmax(axis=1)
    elif loss.takes_class_indices:
        labels = y[:, 0]
    elif isinstance(loss, BinaryCrossEntropy):
        labels = y[:, 0] > 0.5
    elif isinstance(loss, Hinge):
        labels = y[:, 0] > 0
    else:
        return None
    numbers: Numbers = np.unique(labels, return_inverse=True)[1].reshape(-1)
    return numbers
