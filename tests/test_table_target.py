"""The target: what is decided without being told, labels that keep their type, bad targets."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from deltarule._table import frames, target
from deltarule._table.target import Amount, Classes
from table_helpers import LIBRARIES, NAN, series


def fit(values, task="auto", dtype=None):
    return target.fit(series(values, dtype), task)


def decoded(known):
    """What the model says if it is right in every row."""
    if isinstance(known.target, Amount):
        return known.target.decode(known.y[:, None])
    return known.target.decode(np.eye(known.target.width)[known.y])


def objects(items):
    return pd.Series(items, dtype=object)


# --- the task ---------------------------------------------------------------------------------

WHOLE = [0, 1, 2] * 5
DECISIONS = {
    "text": (["a", "b", "a"], Classes),
    "text of numbers": (["1", "2", "1"], Classes),
    "booleans": ([True, False, True], Classes),
    "few whole numbers": (WHOLE, Classes),
    "few whole floats": ([float(each) for each in WHOLE], Classes),
    "ten whole numbers": ([*range(10), 0], Classes),
    "eleven whole numbers": ([*range(11)] * 2, Amount),
    "ten rows": ([0, 1] * 5, Amount),
    "eleven rows": ([0, 1] * 5 + [0], Classes),
    "floats": ([0.5, *WHOLE], Amount),
    "few floats": ([0.5, 1.5] * 10, Amount),
    "categorical": (pl.Series(["a", "b", "a"], dtype=pl.Categorical), Classes),
    "decimals": ([Decimal("0.5"), Decimal(1), Decimal(1)], Amount),
    "objects of booleans": (objects([True, None, False, True]), Classes),
    "objects of text": (objects(["a", None, "b", "a"]), Classes),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_the_task_is_decided(name):
    values, kind = DECISIONS[name]
    assert isinstance(fit(values).target, kind)


@pytest.mark.parametrize("values", [WHOLE, [*range(50), 0], [0.5, 1.5, 0.5], [1.0, NAN, 2.0, 2.0]])
@pytest.mark.parametrize("missing", [[], [None]])
def test_the_task_is_what_was_asked_for(values, missing):
    values = missing + values
    known = fit(values, "regression")
    assert known.target == Amount("x")
    assert known.target.width == 1
    assert known.y.dtype == np.float64
    expected = [each for each in values if each is not None and each == each]
    assert decoded(known).tolist() == known.y.tolist() == expected
    known = fit(values, "classification")
    assert known.target == Classes("x", tuple(sorted(set(expected))))
    assert known.target.width == len(set(expected))
    assert decoded(known).tolist() == expected


# --- labels -----------------------------------------------------------------------------------

LABELS = {
    "text": (["b", "a", "b", "ü"], str),
    "text of numbers": (["10", "9", "10", "09"], str),
    "integers": ([10, -9, 10], int),
    "integers beyond float64": ([2**60, 2**60 + 1, 2**60], int),
    "uint64": (pl.Series([2**64 - 1, 2**64 - 2] * 2, dtype=pl.UInt64), int),
    "floats": ([1.0, 2.0, 1.0], float),
    "fractions": ([0.1, -0.25, 0.1], float),
    "booleans": ([True, False, True], bool),
    "float32": (pl.Series([0.1, 0.2, 0.1], dtype=pl.Float32), float),
    "pandas integers": (pd.Series([3, 1, 3]), int),
    "pandas Int64": (pd.Series(pd.array([2**60 + 1, 2**60, 2**60], "Int64")), int),
    "pandas category": (pd.Series(pd.Categorical(["b", "a", "b"])), str),
    "pyarrow booleans": (pa.array([False, True, True]), bool),
    "pyarrow dictionary": (pa.array(["b", "a", "b"]).dictionary_encode(), str),
    "objects": (objects([True, False, True]), bool),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_keep_their_type_and_are_sorted(name):
    values, kind = LABELS[name]
    known = fit(values, "classification")
    given = series(values).to_list()
    assert {type(label) for label in known.target.labels} == {kind}
    assert list(known.target.labels) == sorted(set(given))
    assert known.y.dtype == np.int64
    assert [known.target.labels[i] for i in known.y] == given
    assert decoded(known).tolist() == given
    assert {type(label) for label in decoded(known).tolist()} == {kind}


def test_plus_and_minus_zero_are_one_label():
    assert fit([0.0, -0.0, 1.0, 1.0], "classification").target.width == 2


# --- missing rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "values",
    [[None, "b", "a", None, "a"], [None, True, False, None, True], [None, 1.5, 2.5, None, 1.5]],
)
def test_rows_without_a_target_are_left_out(library, values):
    known = target.fit(frames.wrap(LIBRARIES[library]({"x": values}))["x"], "auto")
    assert known.rows.tolist() == [1, 2, 4]
    assert decoded(known).tolist() == [values[i] for i in known.rows]


def test_nan_is_a_missing_target():
    known = fit([NAN, 0.5, None, 1.0])
    assert known.rows.tolist() == [1, 3]
    assert known.y.tolist() == [0.5, 1]


# --- regression on text -----------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_text_is_parsed_for_regression(library):
    column = frames.wrap(LIBRARIES[library]({"x": [None, "1", " 2.5 ", None, "-3e2"]}))["x"]
    known = target.fit(column, "regression")
    assert known.rows.tolist() == [1, 2, 4]
    assert known.y.tolist() == [1, 2.5, -300]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("wrong", ["three", "1,500"])
def test_text_that_is_no_number_is_named_by_its_row_in_the_table(library, wrong):
    column = frames.wrap(LIBRARIES[library]({"x": [None, "1", None, wrong, "2"]}))["x"]
    with pytest.raises(ValueError, match=f"column 'x', row 4: '{wrong}' is not a number"):
        target.fit(column, "regression")


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
@pytest.mark.parametrize("task", ["auto", "regression", "classification"])
@pytest.mark.parametrize("values", [[0.5, None, 1.5] * 2, [0.0, None, 1.0] * 9])
def test_infinite_targets_are_named_by_their_row_in_the_table(values, task, infinite):
    with pytest.raises(ValueError, match=f"target 'x', row {len(values) + 1}: {infinite} is not f"):
        fit([*values, infinite, None], task)


REFUSED = {
    "missing": ([None, None], "auto", "'x' is missing in every row"),
    "NaN": ([NAN, NAN], "regression", "'x' is missing in every row"),
    "no rows": (pl.Series([], dtype=pl.Float64), "auto", "'x' is missing in every row"),
    "constant number": ([2.5, None, 2.5], "auto", "'x' is 2.5 in every row: nothing to learn"),
    "constant integer": ([2] * 20, "auto", "'x' is 2 in every row: nothing to learn"),
    "constant amount": ([2] * 20, "regression", "'x' is 2 in every row: nothing to learn"),
    "constant text": (["a", None, "a"], "auto", "'x' is 'a' in every row: nothing to learn"),
    "constant boolean": ([True, True], "auto", "'x' is True in every row: nothing to learn"),
    "one row": (["a"], "auto", "'x' is 'a' in every row"),
    "all different": (["a", "b", "c"], "auto", "different in every row, such as 'a' and 'b'"),
    "different numbers": ([1, 2, 3], "classification", "different in every row, such as 1 and 2"),
    "booleans": ([True, False, True], "regression", "'x' holds booleans: regression needs numbers"),
    "dates": (pl.Series(["2020-01-31"]).str.to_date(), "auto", "'x' holds dates"),
    "lists": ([[1], [2]], "auto", r"'x' holds List\(Int64\)"),
    "mixed": (objects(["a", 1]), "auto", "'x' holds Python objects of the types int, str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_targets_that_are_refused(name):
    values, task, match = REFUSED[name]
    with pytest.raises(ValueError, match=match):
        fit(values, task)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.0, 2.5, 3.0], "float32"),
        ([1e8, 1e8 + 1, 1e8 + 2], "float64"),  # float32 has steps of 8 there
        ([0.5, 1.0, 6e38], "float64"),
    ],
)
def test_the_network_has_the_digits_that_the_numbers_need(values, dtype):
    assert fit(values, "regression").target.dtype == dtype


def test_numbers_whose_squares_overflow_are_named_by_their_row():
    with pytest.raises(ValueError, match=r"the target 'x', row 2: 1e\+200 is too large"):
        fit([1.0, 1e200, 3.0], "regression")
