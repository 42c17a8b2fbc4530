"""The encoder of tables: fitted once, then every table becomes a matrix in the same way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from deltarule._layers import Embedding
from deltarule._table import columns, frames
from deltarule._table.columns import Category, Column, Matrix, Rows

if TYPE_CHECKING:
    import narwhals as nw

S = TypeVar("S")
T = TypeVar("T")

DIMENSION = 8  # of the vector that an embedded level becomes


@dataclass(frozen=True)
class Encoder:
    """The columns that a model reads, in the order of their columns in the matrix.

    Attributes
    ----------
    columns : tuple of Column
        Those that teach something.
    idle : dict of str to str
        After `fit`: the names of the others, and why they do not.
    """

    columns: tuple[Column, ...]
    idle: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def fit(
        cls, frame: nw.DataFrame[Any], rows: Rows, *, ignore: Collection[str], n_threads: int
    ) -> Encoder:
        """Learn all columns but the ignored ones from the given rows."""
        names = [name for name in frame.columns if name not in ignore]
        if not names:
            raise ValueError("the table has no columns to learn from, besides those left out")

        def fitted(name: str) -> tuple[Column, str]:
            column = columns.fit(frame[name], rows)
            return column, columns.why_idle(column, frame[name], rows)

        pairs = _each(fitted, names, n_threads)
        used = tuple(column for column, why in pairs if not why)
        idle = {column.name: why for column, why in pairs if why}
        if not used:
            why = ", ".join(f"{name!r} ({why})" for name, why in list(idle.items())[:10])
            raise ValueError(f"no column teaches anything: {why}")
        return cls(used, idle)

    @property
    def width(self) -> int:
        """How many columns the matrix has."""
        return sum(column.width for column in self.columns)

    @property
    def _stops(self) -> list[int]:
        return list(itertools.accumulate(column.width for column in self.columns))

    def embedding(self) -> Embedding | None:
        """Return the layer that the codes need, None without any."""
        places, n_levels = [], []
        for column, stop in zip(self.columns, self._stops, strict=True):
            if isinstance(column, Category) and column.embedded:
                places.append(stop - 1)
                n_levels.append(column.n_levels + 1)  # code 0: not seen in training
        return Embedding(places, n_levels, dimension=DIMENSION) if places else None

    def encode(self, frame: nw.DataFrame[Any], *, n_threads: int) -> Matrix:
        """Return a table as a matrix (n, width); columns may stand in any order."""
        known = set(frame.columns)
        absent = [column.name for column in self.columns if column.name not in known]
        if absent:
            raise ValueError(f"the table lacks columns of the model: {frames.listed(absent)}")
        matrix = np.zeros((len(frame), self.width), np.float32)
        parts = [
            (column, matrix[:, stop - column.width : stop])
            for column, stop in zip(self.columns, self._stops, strict=True)
        ]
        _each(lambda part: part[0].encode(frame[part[0].name], part[1]), parts, n_threads)
        return matrix


def _each(task: Callable[[S], T], items: Sequence[S], n_threads: int) -> list[T]:
    """Return what `task` makes of every item, on some threads; the first error is raised."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(task, items))
