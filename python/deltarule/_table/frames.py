"""Data frames in: files read with polars, frames of any library taken through narwhals."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule import _threads
from deltarule._settings import shown
from deltarule._table import spelling

if TYPE_CHECKING:
    from types import ModuleType

    import narwhals as nw
    import polars as pl

SEPARATORS = (",", ";", "\t", "|")
_AS_TEXT: dict[str, Any] = {"infer_schema": False, "encoding": "utf8"}


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
    if hasattr(table, "collect_schema") and hasattr(table, "collect"):
        raise TypeError("table must be a data frame, got a lazy one: pass table.collect()")
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
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[:4] == b"PK\x03\x04":
            raise ValueError(f"{name} is a zip archive, or a spreadsheet: save it as CSV")
        if content[:4] == b"PAR1":
            frame = polars.read_parquet(content)
        else:
            frame = _read_csv(polars, content, name, infer=infer)
    except (polars.exceptions.PolarsError, gzip.BadGzipFile, EOFError) as error:
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
    if b"\n" not in content:  # line ends of old Macintoshes
        content = content.replace(b"\r", b"\n")
    if not content or content.isspace():
        raise ValueError(f"{name} is empty")
    separator, header = _header(polars, content, name)
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
    if len(names) > 1:
        content = _whole_rows(content, separator, len(names), name)
    frame = polars.read_csv(content, new_columns=names, separator=separator, **_AS_TEXT)
    return _inferred(polars, frame) if infer else _said(polars, frame)


def _header(polars: Any, content: bytes, name: str) -> tuple[str, tuple[Any, ...]]:
    """Return the separator that cuts the first line into most fields, and these."""
    first: dict[str, Any] = {"has_header": False, "n_rows": 1, "truncate_ragged_lines": True}
    best: tuple[str, tuple[Any, ...]] = (",", ())
    for separator in SEPARATORS:
        try:
            line = polars.read_csv(content, separator=separator, **first, **_AS_TEXT)
        except polars.exceptions.PolarsError as error:
            if "utf-8" in str(error):
                raise
            continue  # quotes that belong to another separator
        if len(line) and line.width > len(best[1]):
            best = (separator, tuple(line.row(0)))
    if not best[1]:
        raise ValueError(f"{name} cannot be read: a quoted field of the header does not end")
    return best


def _whole_rows(content: bytes, separator: str, width: int, name: str) -> bytes:
    """Return a file without its blank lines, if every row has all its fields.

    polars would fill short rows with missing values. Files with quotes are taken as they are.
    """
    content = content.rstrip(b"\r\n") + b"\n"
    if b'"' in content:
        return content
    if b"\n\n" in content or b"\n\r\n" in content:
        content = re.sub(rb"(\r?\n)(\r?\n)+", rb"\1", content)
    expected = width - 1
    if _count(content, separator.encode()) < _count(content, b"\n") * expected:
        for row, line in enumerate(io.BytesIO(content)):
            if (found := line.count(separator.encode())) < expected:
                raise ValueError(
                    f"{name}, row {row}: {found + 1} fields, where the header has {width}"
                )
    return content


def _count(content: bytes, byte: bytes) -> int:
    """Return how often a byte occurs; ``bytes.count`` takes five times as long."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == byte[0]))


def _said(polars: Any, frame: pl.DataFrame) -> pl.DataFrame:
    """Return columns of text without spaces around it, null where it stands for nothing."""
    stripped = polars.all().str.strip_chars()
    kept = polars.when(stripped.is_in(spelling.MISSING)).then(None).otherwise(stripped)
    return frame.select(kept.name.keep())


def _inferred(polars: Any, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of text as what every value of them is: whole numbers, numbers, booleans.

    The whole column decides, not its first rows.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_threads.resolve(None)) as pool:
        return frame.select(list(pool.map(lambda column: _typed(polars, column), frame)))


def _typed(polars: Any, written: pl.Series) -> pl.Series:
    text = written
    number = text.cast(polars.Float64, strict=False)
    if number.null_count() > text.null_count() or number.is_nan().any():
        # Only now: to strip costs as much as to read.
        text = _said(polars, text.to_frame()).to_series()
        number = text.cast(polars.Float64, strict=False)
    n_missing = text.null_count()
    if n_missing == len(text):
        return text
    if number.null_count() == n_missing:
        return _whole(polars, text, number)
    for found in (_with_commas(polars, text), _booleans(text)):
        if found is not None:
            return found
    return written


def _with_commas(polars: Any, text: pl.Series) -> pl.Series | None:
    """Return numbers whose decimal point is a comma, None for other text."""
    if not text.str.contains(",", literal=True).any():
        return None
    point = text.str.replace(spelling.WITH_COMMA, "${1}.${2}")
    number: pl.Series = point.cast(polars.Float64, strict=False)
    all_are = number.null_count() == text.null_count()
    return number if all_are and spelling.takes_commas(text.filter(text != point)) else None


def _booleans(text: pl.Series) -> pl.Series | None:
    """Return a column of true and false, in any case, None for other text."""
    for part in (text.drop_nulls().head(1), text):  # most columns are settled by one value
        lower = part.str.to_lowercase()
        if not lower.is_in(["true", "false"]).all():
            return None
    return lower == "true"


def _whole(polars: Any, text: pl.Series, number: pl.Series) -> pl.Series:
    """Return numbers as integers if they are, or as text if that is what their digits are."""
    if not (number == number.floor()).all():
        return number
    if text.str.contains(r"^[+-]?0\d").any():  # see spelling.is_code
        return text
    whole: pl.Series = text.cast(polars.Int64, strict=False)
    if whole.null_count() == text.null_count():
        return whole
    return text if text.str.contains(r"^[+-]?\d{19,}$").any() else number


def listed(names: Collection[str]) -> str:
    """Return names for a message, the first ten of them."""
    shown_names = [repr(name) for name in list(names)[:10]]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(shown_names) + more
