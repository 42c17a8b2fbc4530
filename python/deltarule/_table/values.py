"""The values of one column of a data frame, whatever library and type they have.

Each function parses text too, since a CSV file is nothing else, and names the row (from 1, the
header not counted) of a value that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltarule._table import frames

if TYPE_CHECKING:
    import narwhals as nw

Floats: TypeAlias = "NDArray[np.float64]"
Series: TypeAlias = "nw.Series[Any]"
Kind: TypeAlias = Literal["number", "boolean", "category", "empty"]

_TEXT = ("String", "Categorical", "Enum")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ]\d\d?:\d\d.*)?|\d\d?[./-]\d\d?[./-]\d{4}")


def kind_of(series: Series) -> Kind:
    """Return what a column holds, or refuse what no network can use."""
    dtype, name = series.dtype, _type_name(series)
    if series.null_count() == len(series):
        return "empty"
    if name == "Object":
        return _kind_of_objects(series)
    if dtype.is_numeric():
        return "number"
    if name == "Boolean":
        return "boolean"
    if name in _TEXT:
        return "category"
    if dtype.is_temporal():
        raise ValueError(no_dates(series.name))
    raise ValueError(
        f"column {series.name!r} holds {dtype}; a column must hold numbers, booleans or text: "
        "leave it out (ignore), or turn it into such columns"
    )


def _kind_of_objects(series: Series) -> Kind:
    known = [value for value in series.to_list() if not _is_missing(value)]
    kinds: list[tuple[Kind, Any]] = [
        ("boolean", (bool, np.bool_)),
        ("number", (int, float, np.number)),
        ("category", str),
    ]
    for kind, types in kinds:
        if all(isinstance(value, types) for value in known):
            return kind
    found = ", ".join(sorted({type(value).__name__ for value in known}))
    raise ValueError(
        f"column {series.name!r} holds Python objects of the types {found}; a column must hold "
        "only numbers, only booleans or only text"
    )


def no_dates(name: str) -> str:
    """Return the sentence that refuses a column of dates."""
    return (
        f"column {name!r} holds dates or times, which are not used: leave it out (ignore), or turn "
        "it into numbers, such as the year, the day of the week or days since a first day"
    )


def is_date(text: str) -> bool:
    """Whether a text is a day, or a day and a time."""
    return _DATE.fullmatch(text) is not None


def numbers(series: Series) -> Floats:
    """Return a column as float64 in memory of its own, NaN where missing."""
    narwhals = frames.narwhals()
    if _type_name(series) not in ("Object", "Boolean"):
        try:
            return np.array(series.cast(narwhals.Float64).to_numpy(), dtype=np.float64)
        except Exception as error:  # every library has its own; the values say what is wrong
            if _type_name(series) not in _TEXT:
                raise ValueError(f"column {series.name!r} holds no numbers: {error}") from error
    return _each(series, float, "is not a number")


def booleans(series: Series) -> Floats:
    """Return a column as float64: 0, 1, or NaN where missing."""
    if _type_name(series) == "Boolean":
        values = series.fill_null(value=False).to_numpy().astype(np.float64)
        values[missing(series)] = np.nan
        return values
    return _each(series, _boolean, "is neither true nor false")


def _boolean(value: object) -> float:
    text = str(value).strip().lower()
    if text in ("true", "1", "1.0"):
        return 1.0
    if text in ("false", "0", "0.0"):
        return 0.0
    raise ValueError


def texts(series: Series) -> Series:
    """Return a column as text; whole numbers without a point."""
    narwhals = frames.narwhals()
    name = _type_name(series)
    if name == "String":
        return series
    if name == "Object":
        values = [None if _is_missing(value) else str(value) for value in series.to_list()]
        backend = series.implementation
        return narwhals.new_series(series.name, values, narwhals.String, backend=backend)
    if name == "Boolean":
        return series.cast(narwhals.String).str.to_lowercase()
    if series.dtype.is_float():
        values = numbers(series)
        known = values[~np.isnan(values)]
        if known.size and (np.abs(known) < 2**53).all() and (known == np.trunc(known)).all():
            return series.cast(narwhals.Int64).cast(narwhals.String)
    return series.cast(narwhals.String)


def counts(text: Series) -> dict[str, int]:
    """Return how often each text occurs in a column of text, in no order."""
    table = text.drop_nulls().value_counts(name="n")
    pairs = zip(table[text.name].to_list(), table["n"].to_list(), strict=True)
    return {str(level): int(n) for level, n in pairs}


def codes(text: Series, levels: Sequence[str]) -> NDArray[np.int32]:
    """Return the place of each text among the levels, -1 for another and where missing."""
    if not levels:
        return np.full(len(text), -1, np.int32)
    places, int32 = list(range(len(levels))), frames.narwhals().Int32
    found = text.replace_strict(list(levels), places, default=-1, return_dtype=int32)
    return np.array(found.fill_null(-1).to_numpy(), dtype=np.int32)


def missing(series: Series) -> NDArray[np.bool_]:
    """Return where a column has no value (NaN counts as none)."""
    unknown = np.asarray(series.is_null().to_numpy(), dtype=np.bool_)
    if series.dtype.is_float():
        unknown = unknown | np.isnan(numbers(series))
    return unknown


def _each(series: Series, convert: Callable[[Any], float], fault: str) -> Floats:
    values = np.full(len(series), np.nan)
    for row, value in enumerate(series.to_list()):
        if _is_missing(value):
            continue
        try:
            values[row] = convert(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"column {series.name!r}, row {row + 1}: {value!r} {fault}"
            ) from None
    return values


def _is_missing(value: object) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value  # noqa: PLR0124


def _type_name(series: Series) -> str:
    return type(series.dtype).__name__
