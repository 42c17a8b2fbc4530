"""Arrays of the user, turned into what the core reads: every message about shapes and dtypes.

The core reads bool, integers and float16/32/64 in place, in any byte order and with any strides.
So an array of those is passed on as it is; only lists, object arrays and long doubles are copied.
A sparse X goes to the core as the three arrays of its CSR form, likewise in place; SciPy itself is
never imported here.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deltarule import _settings
from deltarule._dispatch import core

Array = NDArray[Any]
Rows: TypeAlias = Array | core.SparseRows


class SparseMatrix(Protocol):
    """A sparse matrix or array of SciPy, in any of its formats."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def tocsr(self) -> Any: ...


MatrixLike: TypeAlias = ArrayLike | SparseMatrix

_READ_IN_PLACE = frozenset("?bBhHiIlLqQefd")  # dtype.char: bool, integers, float16/32/64


class Data(NamedTuple):
    """Rows as the core takes them: X (n, n_0), y (n, n_L) or class indices (n, 1), w (n, 1)."""

    X: Rows
    y: Array
    weight: Array | None


def numbers(name: str, value: Any) -> Array:
    """Return `value` as an array of a dtype that the core reads, copied only if it must be."""
    if type(value) is np.ndarray and value.dtype.char in _READ_IN_PLACE:
        return value
    if isinstance(value, np.ndarray) and np.ma.isMaskedArray(value):
        if np.ma.is_masked(value):
            raise ValueError(f"{name} must not hold masked items; fill them or drop their rows")
        value = np.ma.getdata(value)
    array = _as_array(name, value)
    if array.dtype.char in _READ_IN_PLACE:
        return array
    return _converted(name, array)


def _as_array(name: str, value: Any) -> Array:
    if hasattr(value, "toarray") and not hasattr(value, "__array__"):
        kind = type(value).__name__
        raise ValueError(f"{name} must be a dense array, got {kind}; pass {name}.toarray()")
    if not isinstance(value, (list, tuple)):
        return np.asarray(value)  # the error of an object's own __array__ passes through
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from error


def _converted(name: str, array: Array) -> Array:
    """Return a float64 copy of long doubles and objects; refuse every other dtype."""
    dtype = array.dtype
    if dtype.kind == "f":
        return array.astype(np.float64)
    if dtype.kind == "O":
        return _from_objects(name, array)
    error = ValueError if dtype.kind in "cUST" else TypeError  # complex, text; else structured, …
    raise error(f"{name} must hold real numbers (bool, integer or float), got dtype {dtype}")


def _from_objects(name: str, array: Array) -> Array:
    # NumPy would read the text "1.5" as a number; here text is a mistake.
    if any(isinstance(item, (str, bytes)) for item in array.flat):
        raise ValueError(f"{name} must hold real numbers, got an object array with text in it")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} must hold real numbers, got an object array: {error}") from error


def matrix(name: str, value: Any, width: int, *, empty: bool = False) -> Rows:
    """Return `value` as rows of shape (n, width); n may be 0 only if `empty`."""
    is_sparse = _is_sparse(value)
    rows = value if is_sparse else numbers(name, value)
    shape: tuple[int, ...] = rows.shape
    if len(shape) != 2 or shape[1] != width:
        raise ValueError(f"{name} must have shape (n, {width}), got {_shape_and_hint(shape, name)}")
    if not empty and shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got shape {shape}")
    return _sparse_rows(name, value) if is_sparse else rows


def _is_sparse(value: Any) -> bool:
    return type(value) is not np.ndarray and hasattr(value, "tocsr") and hasattr(value, "format")


def _sparse_rows(name: str, value: Any) -> core.SparseRows:
    """Return a sparse matrix (n, width) as what the core reads."""
    if value.dtype.kind not in "buif":
        expected = "real numbers (bool, integer or float)"
        raise ValueError(f"{name} must hold {expected}, got dtype {value.dtype}")
    n_rows, n_columns = value.shape
    if value.format != "csr":
        _check_before_conversion(name, value)
    return _compressed(name, value.tocsr(), (n_rows, n_columns))


class _Compressed(NamedTuple):
    """The arrays of a compressed matrix."""

    data: Array
    indices: Array
    indptr: Array


def _check_before_conversion(name: str, value: Any) -> None:
    """Refuse arrays of indices that SciPy's conversion to CSR would trust."""
    n_rows, n_columns = value.shape
    if value.format == "csc":
        _compressed(name, value, (n_columns, n_rows))
    elif value.format == "bsr":
        height, width = value.blocksize
        blocks = _Compressed(np.zeros(len(value.data)), value.indices, value.indptr)
        _compressed(name, blocks, (n_rows // height, n_columns // width))
    elif value.format == "coo":
        for what, places, size in (("row", value.row, n_rows), ("col", value.col, n_columns)):
            outside = len(places) and (places.min() < 0 or places.max() >= size)
            if outside or len(places) != len(value.data):
                raise ValueError(
                    f"{name} must be a well-formed sparse matrix: {what} must hold "
                    f"{len(value.data)} numbers from 0 to {size - 1}"
                )


def _compressed(name: str, matrix: Any, shape: tuple[int, int]) -> core.SparseRows:
    """Return the arrays of a compressed matrix, checked, and copied only if they must be."""
    data = numbers(name, matrix.data)
    try:
        data = np.require(data, data.dtype.newbyteorder("="), "C")
        given = [np.asarray(each) for each in (matrix.indices, matrix.indptr)]
        index = np.int32 if all(each.dtype == np.int32 for each in given) else np.int64
        indices, indptr = (
            each.astype(index, order="C", casting="same_kind", copy=False) for each in given
        )
        if len(indptr) != shape[0] + 1:
            raise ValueError(f"indptr must have {shape[0] + 1} numbers, got {len(indptr)}")
        return core.SparseRows(data, indices, indptr, shape[1])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a well-formed sparse matrix: {error}") from error


def first_rows(rows: Rows, count: int) -> Rows:
    """Return at most `count` rows from the start, without a copy."""
    if isinstance(rows, np.ndarray):
        return rows[:count]
    return core.SparseRows(rows.data, rows.indices, rows.indptr[: count + 1], rows.shape[1])


def apart_from(out: Array, rows: Rows) -> Rows:
    """Return `rows` in memory that writing to `out` does not change: a copy if there is doubt."""
    if isinstance(rows, np.ndarray):
        return rows.copy() if np.may_share_memory(out, rows) else rows
    parts = (rows.data, rows.indices, rows.indptr)
    if not any(np.may_share_memory(out, part) for part in parts):
        return rows
    data, indices, indptr = (part.copy() for part in parts)
    return core.SparseRows(data, indices, indptr, rows.shape[1])


def _shape_and_hint(shape: tuple[int, ...], name: str) -> str:
    if len(shape) != 1:
        return str(shape)
    return (
        f"{shape}; use {name}.reshape(1, -1) for one row, "
        f"{name}.reshape(-1, 1) for rows of one feature"
    )


def targets(name: str, value: Any, width: int | None, class_indices: bool = False) -> Array:
    """Return `value` as an array of shape (n, width), or (n, 1) if it holds class indices.

    A one-dimensional array is a column: of targets if `width` is 1 or None, which is any, of class
    indices if those are allowed.
    """
    array = numbers(name, value)
    if array.ndim == 1 and (width in (1, None) or class_indices):
        return array[:, np.newaxis]
    if array.ndim == 2 and (array.shape[1] == width or (class_indices and array.shape[1] == 1)):
        return array
    if array.ndim == 2 and width is None and array.shape[1] > 0:
        return array
    expected = "(n, at least 1)" if width is None else f"(n, {width})"
    if width in (1, None):
        expected += " or (n,)"
    elif class_indices:
        expected += ", or (n,) for class indices"
    raise ValueError(f"{name} must have shape {expected}, got {array.shape}")


def weights(name: str, value: Any, n_rows: int) -> Array | None:
    """Return sample weights as a column (n, 1): finite, none negative, not all zero."""
    if value is None:
        return None
    array = numbers(name, value)
    if array.shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(f"{name} must have shape ({n_rows},), got {array.shape}")
    low, high = array.min(), array.max()  # both are NaN if any item is
    if not (low >= 0 and np.isfinite(high)):
        flat = array.reshape(-1)
        bad = int(np.argmax(~(np.isfinite(flat) & (flat >= 0))))
        raise ValueError(f"{name} must be finite and >= 0, got {flat[bad]} at row {bad}")
    if high == 0:
        raise ValueError(f"{name} must not be all zero, got {n_rows} zeros")
    return array.reshape(n_rows, 1)


def data(
    X: Any,
    y: Any,
    weight: Any,
    widths: tuple[int, int | None],
    *,
    class_indices: bool,
    names: tuple[str, str, str] = ("X", "y", "sample_weight"),
) -> Data:
    """Return X, y and weights, checked together; `widths` are those of X and y."""
    rows = matrix(names[0], X, widths[0])
    aims = targets(names[1], y, widths[1], class_indices)
    if rows.shape[0] != aims.shape[0]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same number of rows, "
            f"got {rows.shape[0]} and {aims.shape[0]}"
        )
    return Data(rows, aims, weights(names[2], weight, rows.shape[0]))


def validation_data(value: Any, widths: tuple[int, int | None], *, class_indices: bool) -> Data:
    """Return what ``validation_data=(X, y)`` or ``(X, y, sample_weight)`` holds, checked."""
    if not isinstance(value, (tuple, list)) or len(value) not in (2, 3):
        raise TypeError(
            f"validation_data must be (X, y) or (X, y, sample_weight), got {_settings.shown(value)}"
        )
    X, y, *weight = value
    names = ("validation_data[0]", "validation_data[1]", "validation_data[2]")
    weight_or_none = weight[0] if weight else None
    return data(X, y, weight_or_none, widths, class_indices=class_indices, names=names)


def vector(name: str, value: Any, size: int) -> Array:
    """Return `value` as an array of shape (size,), for parameters and gradients."""
    array = numbers(name, value)
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {array.shape}")
    return array


def output(name: str, value: Any, shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    """Return `value`, an array that the core can write to: C-ordered, writable, of this dtype."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, got {_settings.shown(value)}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
    if value.dtype != dtype:
        raise ValueError(f"{name} must have dtype {dtype}, got {value.dtype}")
    if not (value.flags.c_contiguous and value.flags.writeable and value.flags.aligned):
        raise ValueError(f"{name} must be C-contiguous, aligned and writable")
    return value


def statistics(name: str, value: Any, *, positive: bool) -> float | tuple[float, ...]:
    """Return given means or scales as one float, or as a tuple of floats."""
    array = numbers(name, value).astype(np.float64)
    if array.ndim > 1 or array.size == 0:
        raise ValueError(f"{name} must be a number or one-dimensional, got shape {array.shape}")
    if not np.isfinite(array).all() or (positive and not (array > 0).all()):
        kind = "finite and > 0" if positive else "finite"
        raise ValueError(f"{name} must be {kind}, got {_settings.shown(value)}")
    return float(array) if array.ndim == 0 else tuple(array.tolist())
