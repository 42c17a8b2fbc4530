r"""The columns of a table: how each kind becomes numbers.

========  =============================================================================
kind      its columns in the matrix
========  =============================================================================
number    :math:`s / \sqrt{1 + (s / 3)^2}` with :math:`s = (x - \mathrm{median}) / \mathrm{IQR}`;
          half the range in place of an interquartile range of 0
boolean   -1 for false, 1 for true
category  up to 9 levels: one column each, 0 or 1; more: one column with the level's code
========  =============================================================================

A missing number or boolean is 0, and a column more is 1 where it is missing, if any was missing in
training. A missing category is a level of its own, if any was. A level that training has not seen
has 0 in all its columns, or code 0.

Source of the scaling and the limits: D. Holzmüller, L. Grinsztajn, I. Steinwart, "Better by
default: strong pre-tuned MLPs and boosted trees on tabular data", NeurIPS 2024.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltarule._table import spelling, values
from deltarule._table.values import Series

Matrix: TypeAlias = "NDArray[np.float32]"
Rows: TypeAlias = "NDArray[np.intp]"

MAX_ONE_HOT = 9
MAX_LEVELS = 10_000  # the most frequent ones; the rest count as not seen
_HUGE = 1e100  # x² overflows later on, and the clip has long reached its limit


@dataclass(frozen=True)
class Number:
    """A column of numbers: its median, and one over its interquartile range."""

    kind: ClassVar[str] = "number"
    name: str
    center: float
    factor: float
    missing: bool

    @classmethod
    def fit(cls, series: Series, rows: Rows) -> Number:
        """Learn the scale from the given rows."""
        name, x = series.name, _finite(series)[rows]
        known = x[~np.isnan(x)]
        if not known.size:
            return cls(name, 0.0, 0.0, missing=False)
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            low, center, high = (float(q) for q in np.quantile(known, (0.25, 0.5, 0.75)))
        spread = high - low or (float(known.max()) - float(known.min())) / 2
        factor = 1 / spread if spread else 0.0  # a constant becomes 0
        if not math.isfinite(spread) or not math.isfinite(factor):
            raise ValueError(
                f"column {name!r} cannot be scaled: half of its numbers lie between {low:g} and "
                f"{high:g}"
            )
        return cls(name, center, factor, missing=known.size < x.size)

    @property
    def width(self) -> int:
        """How many columns of the matrix it takes."""
        return 1 + self.missing

    def encode(self, series: Series, out: Matrix) -> None:
        """Write the column into its columns (n, width) of the matrix."""
        x = _finite(series)
        unknown = np.isnan(x)
        with np.errstate(over="ignore", invalid="ignore"):
            x -= self.center
            x *= self.factor
        np.clip(x, -_HUGE, _HUGE, out=x)
        x /= np.sqrt(1 + np.square(x / 3))
        x[np.isnan(x)] = 0  # missing, or too far from the only number seen
        out[:, 0] = x
        if self.missing:
            out[:, 1] = unknown


@dataclass(frozen=True)
class Boolean:
    """A column of true and false."""

    kind: ClassVar[str] = "boolean"
    name: str
    missing: bool

    @classmethod
    def fit(cls, series: Series, rows: Rows) -> Boolean:
        """Learn whether some are missing."""
        unknown = np.isnan(values.booleans(series)[rows])
        return cls(series.name, missing=bool(unknown.any() and not unknown.all()))

    @property
    def width(self) -> int:
        """How many columns of the matrix it takes."""
        return 1 + self.missing

    def encode(self, series: Series, out: Matrix) -> None:
        """Write the column into its columns (n, width) of the matrix."""
        x = values.booleans(series)
        unknown = np.isnan(x)
        out[:, 0] = np.where(unknown, 0, 2 * x - 1)
        if self.missing:
            out[:, 1] = unknown


@dataclass(frozen=True)
class Category:
    """A column of text: its levels in alphabetical order."""

    kind: ClassVar[str] = "category"
    name: str
    levels: tuple[str, ...]
    missing: bool

    @classmethod
    def fit(cls, series: Series, rows: Rows) -> Category:
        """Learn the levels from the given rows.

        If there are more than 9, those seen once count as not seen: so the code for what was not
        seen is trained too, and a column of names or serial numbers teaches nothing.
        """
        text = values.texts(series)[rows]
        levels = values.counts(text)
        if levels and all(map(spelling.is_date, levels)):
            raise ValueError(values.no_dates(series.name))
        some_missing = 0 < sum(levels.values()) < len(text)
        if len(levels) + some_missing > MAX_ONE_HOT:
            repeated = sorted(level for level, n in levels.items() if n > 1)
            repeated.sort(key=lambda level: -levels[level])
            levels = dict.fromkeys(repeated[:MAX_LEVELS], 0)
        return cls(series.name, tuple(sorted(levels)), missing=some_missing)

    @property
    def n_levels(self) -> int:
        """How many levels it has, "missing" being one."""
        return len(self.levels) + self.missing

    @property
    def embedded(self) -> bool:
        """Whether the levels are codes of an embedding, not columns."""
        return self.n_levels > MAX_ONE_HOT

    @property
    def width(self) -> int:
        """How many columns of the matrix it takes."""
        return 1 if self.embedded else self.n_levels

    def encode(self, series: Series, out: Matrix) -> None:
        """Write the column into its columns (n, width) of the matrix, which hold zeros."""
        text = values.texts(series)
        codes = values.codes(text, self.levels)
        if self.missing:
            codes[values.missing(text)] = len(self.levels)
        if self.embedded:
            out[:, 0] = codes + 1
            return
        seen = np.flatnonzero(codes >= 0)
        out[seen, codes[seen]] = 1


Column: TypeAlias = "Number | Boolean | Category"


def _finite(series: Series) -> values.Floats:
    x = values.numbers(series)
    infinite = np.flatnonzero(np.isinf(x))
    if infinite.size:
        row = infinite[0]
        raise ValueError(f"column {series.name!r}, row {row + 1}: {x[row]} is not a finite number")
    return x


def fit(series: Series, rows: Rows) -> Column:
    """Choose the kind of a column by its type, and learn from the given rows."""
    kind = values.kind_of(series)
    if kind == "empty":
        return Number(series.name, 0.0, 0.0, missing=False)
    kinds: dict[str, type[Number] | type[Boolean] | type[Category]] = {
        "number": Number,
        "boolean": Boolean,
        "category": Category,
    }
    return kinds[kind].fit(series, rows)


def why_idle(column: Column, series: Series, rows: Rows) -> str:
    """Return why a fitted column is the same for every row and teaches nothing; "" if it is not."""
    if isinstance(column, Category):
        if not column.levels:
            odd = values.odd_one(series)
            return "no value repeats" + ("" if odd is None else f", and it is text for {odd!r}")
        return "" if column.n_levels > 1 else "always the same"
    if column.missing or (isinstance(column, Number) and column.factor):
        return ""
    if isinstance(column, Boolean) and np.unique(values.booleans(series)[rows]).size > 1:
        return ""
    return "empty" if values.missing(series)[rows].all() else "always the same"
