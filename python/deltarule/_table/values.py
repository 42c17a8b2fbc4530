"""The values of one column of a data frame, whatever library and type they have.

Each function parses text too, since a CSV file is nothing else, and names the row (from 1, the
header not counted) of a value that does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Number
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
_READABLE = (*_TEXT, "Boolean", "Object")
_DATE = re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?([T ]\d\d?:\d\d.*)?|\d\d?[./-]\d\d?[./-]\d{4}")


def kind_of(series: Series) -> Kind:
    """Return what a column holds, or refuse what no network can use."""
    if _is_empty(series):
        return "empty"
    name = _type_name(series)
    if name == "Object":
        return _kind_of_objects(series)
    if name in _TEXT:
        return "category"
    _check_type(series)
    return "boolean" if name == "Boolean" else "number"


def _check_type(series: Series) -> None:
    """Refuse a column of dates, lists, records …; empty ones pass."""
    dtype = series.dtype
    if dtype.is_numeric() or _type_name(series) in _READABLE or _is_empty(series):
        return
    if dtype.is_temporal():
        raise ValueError(no_dates(series.name))
    native = series.to_native()
    found = native.dtype if hasattr(native, "dtype") else native.type
    raise ValueError(
        f"column {series.name!r} holds {found}; a column must hold numbers, booleans or text: "
        "leave it out (ignore), or turn it into such columns"
    )


def _kind_of_objects(series: Series) -> Kind:
    known = [value for value in series.to_list() if not _is_missing(value)]
    kinds: list[tuple[Kind, Any]] = [
        ("boolean", (bool, np.bool_)),
        ("number", (int, float, np.number, Decimal)),
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
    _check_type(series)
    if _is_empty(series):
        return np.full(len(series), np.nan)
    if _type_name(series) not in ("Object", "Boolean"):
        # pyarrow casts no integers beyond 2**53, polars has some that NumPy has not
        whole = series.dtype.is_integer() and not series.implementation.is_polars()
        try:
            floats = series if whole else series.cast(frames.narwhals().Float64)
            return np.array(floats.to_numpy(), dtype=np.float64)
        except Exception as error:  # every library has its own; the values say what is wrong
            if _type_name(series) not in _TEXT:
                raise ValueError(f"column {series.name!r} holds no numbers: {error}") from error
    return _each(series, float, "is not a number")


def booleans(series: Series) -> Floats:
    """Return a column as float64: 0, 1, or NaN where missing."""
    _check_type(series)
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
    """Return a column as text, null where missing; whole numbers without a point."""
    _check_type(series)
    narwhals = frames.narwhals()
    name = _type_name(series)
    if name == "String" and str(getattr(series.to_native(), "type", "")) != "string_view":
        return series
    if name == "Boolean":
        return series.cast(narwhals.String).str.to_lowercase()
    has_text_levels = name in ("Categorical", "Enum") and not series.implementation.is_pandas_like()
    if has_text_levels or series.dtype.is_integer():
        return series.cast(narwhals.String)
    values = [_text(value) for value in series.to_list()]
    backend = series.implementation
    text: Series = narwhals.new_series(series.name, values, narwhals.String, backend=backend)
    return text


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if _is_missing(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    whole = isinstance(value, (float, np.floating)) and value.is_integer()
    return str(int(value) if whole else value)


def counts(text: Series) -> dict[str, int]:
    """Return how often each text occurs in a column of text, in no order."""
    table = text.drop_nulls().alias("level").value_counts(name="n")
    pairs = zip(table["level"].to_list(), table["n"].to_list(), strict=True)
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
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"column {series.name!r}, row {row + 1}: {value!r} {fault}") from None
    return values


def _is_empty(series: Series) -> bool:
    return series.null_count() == len(series)


def _is_missing(value: object) -> bool:
    if isinstance(value, Number):
        return bool(value != value)  # NaN
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _type_name(series: Series) -> str:
    return type(series.dtype).__name__
