"""The target of a table: class labels of any type, or a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltarule._table import values
from deltarule._table.values import Series

Task = Literal["auto", "classification", "regression"]
Label: TypeAlias = "str | int | float | bool"

_HUGE = 1e100  # its square must not overflow
_LARGE = 1e12  # for float32, whose largest number is 3e38: squares of it are summed
_FINE = 1e4  # deviations: float32 has 7 digits
MAX_AUTO_CLASSES = 10  # whole numbers with more values than that are a number to predict


@dataclass(frozen=True)
class Classes:
    """Class labels, sorted; a row's class is the index of its label."""

    kind: ClassVar[str] = "classes"
    dtype: ClassVar[Literal["float32"]] = "float32"
    name: str
    labels: tuple[Label, ...]

    @property
    def width(self) -> int:
        """How many outputs the network needs."""
        return len(self.labels)

    def decode(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Return the most probable label (n,) of every row."""
        decoded: NDArray[Any] = np.array(self.labels)[probabilities.argmax(axis=1)]
        return decoded


@dataclass(frozen=True)
class Amount:
    """A number, in its own units.

    The network needs float64 where float32 would lose the differences between the numbers, or
    overflow.
    """

    kind: ClassVar[str] = "number"
    name: str
    dtype: Literal["float32", "float64"] = field(default="float32", compare=False)

    @property
    def width(self) -> int:
        """How many outputs the network needs."""
        return 1

    def decode(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Return the predicted number (n,) of every row."""
        return outputs[:, 0]


Target: TypeAlias = "Classes | Amount"


@dataclass(frozen=True)
class KnownTarget:
    """A target, and where it is known: indices of classes or numbers y (n,) of these rows."""

    target: Target
    rows: NDArray[np.intp]
    y: NDArray[Any]


def fit(series: Series, task: Task) -> KnownTarget:
    """Decide what a target column is, and return it for the rows where it is not missing."""
    name = series.name
    kind = values.kind_of(series)
    rows = np.flatnonzero(~values.missing(series))
    if not rows.size:
        raise ValueError(f"the target {name!r} is missing in every row")
    if kind == "number" or (kind == "category" and task == "regression"):
        numbers = values.numbers(series)[rows]
        _check_finite(name, rows, numbers)
        if task == "regression" or (task == "auto" and not _are_classes(numbers)):
            if numbers.min() == numbers.max():
                raise ValueError(_constant(name, f"{numbers[0]:g}"))
            largest = np.abs(numbers).max()
            needs_float64 = largest > min(_FINE * numbers.std(), _LARGE)
            dtype: Literal["float32", "float64"] = "float64" if needs_float64 else "float32"
            return KnownTarget(Amount(name, dtype), rows, numbers)
    elif task == "regression":
        raise ValueError(
            f"the target {name!r} holds booleans: regression needs numbers; "
            "leave the task out, or make it classification"
        )
    labels, y = _classes(series[rows], kind)
    if len(labels) == 1:
        raise ValueError(_constant(name, repr(labels[0])))
    if len(labels) == len(y):
        raise ValueError(
            f"the target {name!r} is different in every row, such as {labels[0]!r} and "
            f"{labels[1]!r}: class labels must repeat"
        )
    return KnownTarget(Classes(name, labels), rows, y)


def _are_classes(numbers: NDArray[np.float64]) -> bool:
    whole = bool((numbers == np.trunc(numbers)).all())
    return whole and np.unique(numbers).size <= MAX_AUTO_CLASSES < numbers.size


def _check_finite(name: str, rows: NDArray[np.intp], numbers: NDArray[np.float64]) -> None:
    wrong = np.flatnonzero(~(np.abs(numbers) < _HUGE))
    if wrong.size:
        found, row = numbers[wrong[0]], rows[wrong[0]] + 1
        what = "is too large" if np.isfinite(found) else "is not finite"
        raise ValueError(f"the target {name!r}, row {row}: {found:g} {what}")


def _constant(name: str, value: str) -> str:
    return f"the target {name!r} is {value} in every row: nothing to learn"


def _classes(series: Series, kind: str) -> tuple[tuple[Label, ...], NDArray[np.int64]]:
    """Return the sorted labels, in the type of the column, and each row's index."""
    if kind == "category":
        text = values.texts(series)
        labels = sorted(values.counts(text))
        return tuple(labels), values.codes(text, labels).astype(np.int64)
    if kind == "boolean":
        known: NDArray[Any] = values.booleans(series).astype(np.bool_)
    elif series.dtype.is_integer():  # float64 would merge some beyond 2**53
        known = np.array(series.to_list())
    else:
        known = values.numbers(series)
    found, y = np.unique(known, return_inverse=True)
    return tuple(found.tolist()), y.astype(np.int64)
