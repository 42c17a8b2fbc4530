"""What the tests of tables share: one table in three libraries, and columns taken from it."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from deltarule._table import columns, frames

NAN = float("nan")

LIBRARIES = {
    "polars": lambda data: pl.DataFrame(data, strict=False),
    "pandas": pd.DataFrame,
    "pandas_arrow": lambda data: pa.table(data).to_pandas(types_mapper=pd.ArrowDtype),
    "pyarrow": pa.table,
}


def series(values, dtype=None):
    """A column "x", as the code sees it: of a native column, or of a list and a polars type."""
    if isinstance(values, (list, pl.Series)):
        table = pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)})
    elif isinstance(values, (pa.Array, pa.ChunkedArray)):
        table = pa.table({"x": values})
    else:
        table = pd.DataFrame({"x": values})
    return frames.wrap(table)["x"]


def rows_of(column):
    return np.arange(len(column))


def encoded(column, values):
    """The matrix (n, width) of values in a fitted column."""
    values = series(values) if isinstance(values, list) else values
    matrix = np.zeros((len(values), column.width), np.float32)
    column.encode(values, matrix)
    return matrix


def learned(values, rows=None, dtype=None):
    """A column fitted to a list, or to some rows of it."""
    column = series(values, dtype) if isinstance(values, list) else values
    return columns.fit(column, rows_of(column) if rows is None else np.array(rows))


def same(a, b):
    """The same numbers, NaN in the same places."""
    return np.array_equal(np.asarray(a, float), np.asarray(b, float), equal_nan=True)


def mixed(n=60):
    """A table with every kind of column, as lists."""
    i = range(n)
    towns = ["Köln", "Bonn", "New York, NY", "none", "0", "01", "1", "é", "a b", "x", "Y", "z"]
    return {
        "size": [None if k % 7 == 3 else (k * 37 % 101) / 8 - 5 for k in i],
        "count": [k * k % 23 for k in i],
        "same": [4] * n,
        "ok": [None if k % 11 == 5 else k % 3 == 0 for k in i],
        "kind": [None if k % 13 == 1 else "abc"[k // 2 % 3] for k in i],
        "town": [towns[k * 5 % 12] for k in i],
        "area": [None if k % 9 == 4 else f"area {k * 7 % 15}" for k in i],
        "serial": [f"no {k}" for k in i],
        "nothing": [None] * n,
    }
