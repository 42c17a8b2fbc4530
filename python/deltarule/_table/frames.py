"""Data frames in: files read with polars, frames of any library taken through narwhals."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from deltarule._settings import shown

if TYPE_CHECKING:
    from types import ModuleType

    import narwhals as nw
    import polars as pl

# What a CSV file may write for "not known", besides nothing.
MISSING = (
    *("", "?", "#N/A", "<NA>", "N/A", "NA", "n/a", "NaN", "nan", "-nan", "-NaN"),
    *("NULL", "Null", "null", "None", "none"),
)
SEPARATORS = (",", ";", "\t", "|")


def optional(name: str, extra: str) -> ModuleType:
    """Import a library of an extra, or say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is needed for this: pip install 'deltarule[{extra}]'") from error


def narwhals() -> ModuleType:
    """Return the library that reads data frames of every kind."""
    return optional("narwhals", "table")


def wrap(table: Any) -> nw.DataFrame[Any]:
    """Return a data frame of pandas, polars, pyarrow … as one of narwhals."""
    try:
        names = getattr(table, "column_names", None)  # a list: pandas gives columns as attributes
        _check_names(names if isinstance(names, list) else list(getattr(table, "columns", ())))
        frame: nw.DataFrame[Any] = narwhals().from_native(table, eager_only=True)
    except TypeError as error:
        raise TypeError(
            "table must be a data frame of pandas, polars or pyarrow, with text as column names, "
            f"got {shown(table)}"
        ) from error
    return frame


def _check_names(names: list[Any]) -> None:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"column names must be text, got {shown(name)}")
        if name in seen:
            raise ValueError(f"two columns have the name {name!r}: rename one")
        seen.add(name)


def read(path: str | os.PathLike[str] | bytes, *, infer: bool) -> nw.DataFrame[Any]:
    """Read a CSV or Parquet file, or the bytes of one.

    With `infer`, a column of a CSV file holds numbers or booleans if all its values can be read as
    such; without, all columns are text, and whoever uses them parses what he needs.
    """
    polars = optional("polars", "cli")
    name = "the table" if isinstance(path, bytes) else repr(os.fspath(path))
    content = path if isinstance(path, bytes) else _bytes(path)
    try:
        if content[:4] == b"PAR1":
            frame = polars.read_parquet(content)
        else:
            frame = _read_csv(polars, content, name, infer=infer)
    except polars.exceptions.PolarsError as error:
        raise ValueError(f"{name} cannot be read: {_sentence(error)}") from error
    return wrap(frame)


def _bytes(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - any path-like, "-" never comes here
        return file.read()


def _sentence(error: Exception) -> str:
    """Return what is wrong with a file, for what polars says of it."""
    text = str(error)
    if "utf-8" in text or "utf8" in text:
        return "it is not UTF-8 text (iconv can convert it)"
    if "more fields" in text:
        return "a row has more fields than the header"
    if "could not parse" in text:
        return "a quoted field does not end"
    return text.split("\n", 1)[0]


def _read_csv(polars: Any, content: bytes, name: str, *, infer: bool) -> pl.DataFrame:
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if not content.strip():
        raise ValueError(f"{name} is empty")
    options: dict[str, Any] = {"infer_schema": False, "encoding": "utf8"}
    header = _header(polars, content, name, options)
    names = [(each or "").strip() for each in header]
    for i, each in enumerate(names):
        if not each:
            raise ValueError(
                f"{name}: column {i + 1} has no name in the header (if pandas wrote the file: "
                "to_csv(index=False))"
            )
    try:
        _check_names(names)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    frame = polars.read_csv(content, new_columns=names, **options)
    if options["separator"] == ";":  # where the comma is the decimal point
        point = polars.all().str.replace(r"^\s*([+-]?\d+),(\d+)\s*$", "${1}.${2}")
        frame = frame.select(point)
    return _inferred(polars, frame) if infer else _without_missing(polars, frame)


def _header(polars: Any, content: bytes, name: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """Return the fields of the first line; the separator that cuts it becomes an option."""
    first: dict[str, Any] = {"has_header": False, "n_rows": 1, "truncate_ragged_lines": True}
    for separator in (*SEPARATORS, ","):
        options["separator"] = separator
        line = polars.read_csv(content, **first, **options)
        if not len(line):
            raise ValueError(f"{name} cannot be read: a quoted field of the header does not end")
        if line.width > 1:
            break
    return tuple(line.row(0))


def _without_missing(polars: Any, frame: pl.DataFrame) -> pl.DataFrame:
    stripped = polars.all().str.strip_chars()
    kept = polars.when(stripped.is_in(MISSING)).then(None).otherwise(stripped)
    return frame.select(kept.name.keep())


def _inferred(polars: Any, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of text as what every value of them is: whole numbers, numbers, booleans.

    The whole column decides, not its first rows.
    """
    every = polars.all()
    frame = frame.select(polars.when(every.is_in(MISSING)).then(None).otherwise(every).name.keep())
    numbers = frame.select(every.cast(polars.Float64, strict=False))
    texts = [
        column.name
        for column, number in zip(frame, numbers, strict=True)
        if number.null_count() > column.null_count()
    ]
    if texts:  # only now: to strip costs as much as to read
        stripped = _without_missing(polars, frame.select(texts))
        again = stripped.select(every.cast(polars.Float64, strict=False))
        frame, numbers = frame.with_columns(stripped), numbers.with_columns(again)
    return frame.select(
        [_typed(polars, column, number) for column, number in zip(frame, numbers, strict=True)]
    )


def _typed(polars: Any, text: pl.Series, number: pl.Series) -> pl.Series:
    n_missing = text.null_count()
    if n_missing == len(text):
        return text
    if number.null_count() == n_missing:
        if text.str.contains(r"^[+-]?0\d").any():  # 01234 is a code: as a number it loses its zero
            return text
        whole = text.cast(polars.Int64, strict=False)
        return whole if whole.null_count() == n_missing else number
    lower = text.str.to_lowercase()
    if lower.is_in(["true", "false"]).sum() == len(text) - n_missing:
        return lower == "true"
    return text


def listed(names: Collection[str]) -> str:
    """Return names for a message, the first ten of them."""
    shown_names = [repr(name) for name in list(names)[:10]]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(shown_names) + more
