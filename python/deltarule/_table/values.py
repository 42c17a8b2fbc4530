"""The values of one column of a data frame, whatever library and type they have.

Each function parses text too, since a CSV file is nothing else, and names the row (from 1, the
header not counted) of a value that does not fit. Text means the same in every library: spaces
around it do not count, and the spellings of `spelling.MISSING` are no value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Number
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltarule._table import frames, spelling

if TYPE_CHECKING:
    import narwhals as nw

Floats: TypeAlias = "NDArray[np.float64]"
Series: TypeAlias = "nw.Series[Any]"
Kind: TypeAlias = Literal["number", "boolean", "category", "empty"]

_TEXT = ("String", "Categorical", "Enum")
_READABLE = (*_TEXT, "Boolean", "Object")


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


def numbers(series: Series) -> Floats:
    """Return a column as float64 in memory of its own, NaN where missing."""
    _check_type(series)
    if _is_empty(series):
        return np.full(len(series), np.nan)
    if _type_name(series) in _TEXT:
        return _parsed(texts(series))
    if _type_name(series) not in ("Object", "Boolean"):
        # pyarrow casts no integers beyond 2**53, polars has some that NumPy has not
        whole = series.dtype.is_integer() and not series.implementation.is_polars()
        try:
            floats = series if whole else series.cast(frames.narwhals().Float64)
            return np.array(floats.to_numpy(), dtype=np.float64)
        except Exception as error:  # every library has its own
            raise ValueError(f"column {series.name!r} holds no numbers: {error}") from error
    return _each(series, float, "is not a number")


def _parsed(text: Series) -> Floats:
    """Return a column of text as numbers."""
    if text.implementation.is_polars():  # whose numbers are those of `spelling`, but quicker
        with contextlib.suppress(Exception):
            return np.array(text.cast(frames.narwhals().Float64).to_numpy(), dtype=np.float64)
    different = _different(text)
    commas = spelling.takes_commas(value for value in different.values() if value is not None)
    parsed: dict[str, float] = {}
    for raw, value in different.items():
        number = np.nan if value is None else spelling.number_of(value, commas=commas)
        if number is None:
            row = int(np.flatnonzero((text == raw).fill_null(value=False).to_numpy())[0]) + 1
            raise ValueError(f"column {text.name!r}, row {row}: {raw!r} is not a number")
        parsed[raw] = number
    if not parsed:
        return np.full(len(text), np.nan)
    floats = text.replace_strict(
        list(parsed), list(parsed.values()), default=None, return_dtype=frames.narwhals().Float64
    )
    return np.array(floats.to_numpy(), dtype=np.float64)


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
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    whole = isinstance(value, (float, np.floating)) and value.is_integer()
    return str(int(value) if whole else value)


def _different(text: Series) -> dict[str, str | None]:
    """Return every different text of a column, and what it says: None if nothing."""
    return {raw: spelling.said(raw) for raw in text.drop_nulls().unique().to_list()}


def counts(text: Series) -> dict[str, int]:
    """Return how often each text occurs in a column of text, in no order."""
    table = text.drop_nulls().alias("level").value_counts(name="n")
    found: dict[str, int] = {}
    for raw, n in zip(table["level"].to_list(), table["n"].to_list(), strict=True):
        if (said := spelling.said(raw)) is not None:
            found[said] = found.get(said, 0) + int(n)
    return found


def codes(text: Series, levels: Sequence[str]) -> NDArray[np.int32]:
    """Return the place of each text among the levels, -1 for another and where missing."""
    place = {level: i for i, level in enumerate(levels)}
    known = {raw: place[said] for raw, said in _different(text).items() if said in place}
    if not known:
        return np.full(len(text), -1, np.int32)
    int32 = frames.narwhals().Int32
    found = text.replace_strict(list(known), list(known.values()), default=-1, return_dtype=int32)
    return np.array(found.fill_null(-1).to_numpy(), dtype=np.int32)


def odd_one(series: Series) -> str | None:
    """Return a value that keeps a column of text from being numbers, if nearly all look like some.

    The first thousand values decide on "nearly all".
    """
    text = texts(series)
    known = [said for raw in text.drop_nulls().head(1000).to_list() if (said := spelling.said(raw))]
    alike = sum(spelling.number_of(each, commas=True) is not None for each in known)
    if not known or alike < 0.9 * len(known):
        return None
    commas = spelling.takes_commas(known)
    for said in _different(text).values():
        number = None if said is None else spelling.number_of(said, commas=commas)
        if said is not None and (number is None or spelling.is_code(said)):
            return said
    return None


def missing(series: Series) -> NDArray[np.bool_]:
    """Return where a column has no value (NaN counts as none)."""
    if _type_name(series) == "Object":
        return np.array([_is_missing(value) for value in series.to_list()], dtype=np.bool_)
    unknown = np.array(series.is_null().to_numpy(), dtype=np.bool_)
    if series.dtype.is_float():
        return unknown | np.isnan(numbers(series))
    if _type_name(series) in _TEXT:
        text = texts(series)
        spelled = [raw for raw, said in _different(text).items() if said is None]
        if spelled:
            unknown |= np.array(text.is_in(spelled).fill_null(value=False).to_numpy(), np.bool_)
    return unknown


def spellings(series: Series) -> list[str]:
    """Return what a column of text writes where it has no value, besides nothing."""
    if _type_name(series) not in _TEXT:
        return []
    different = _different(texts(series))
    return sorted({raw.strip() for raw, said in different.items() if said is None} - {""})


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
    if isinstance(value, str):
        return spelling.said(value) is None
    if isinstance(value, Number):
        return bool(value != value)  # NaN
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _type_name(series: Series) -> str:
    return type(series.dtype).__name__
