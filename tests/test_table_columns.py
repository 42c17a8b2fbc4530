"""How each kind of column becomes numbers: the equations, and what training has not seen."""

import string

import numpy as np
import polars as pl
import pytest

from deltarule._table import columns, frames
from deltarule._table.columns import Boolean, Category, Number
from helpers import rng
from table_helpers import LIBRARIES, NAN, encoded, learned, series

EPS = np.finfo(np.float32).eps


def quantile(x, q):
    """By linear interpolation between the sorted values."""
    x = np.sort(np.asarray(x, float))
    place = q * (len(x) - 1)
    low = int(place)
    return x[low] + (place - low) * (x[min(low + 1, len(x) - 1)] - x[low])


def clipped(x, center, spread):
    s = (np.asarray(x, float) - center) / spread
    return s / np.sqrt(1 + (s / 3) ** 2)


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5, 10, 101])
@pytest.mark.parametrize("scale", [1e-30, 1, 1e30])
def test_a_number_is_scaled_and_clipped(n, scale):
    x = scale * (5 + rng(n).standard_cauchy(n))
    column = learned(x.tolist())
    center, spread = quantile(x, 0.5), quantile(x, 0.75) - quantile(x, 0.25)
    assert isinstance(column, Number)
    assert column.width == 1
    found = encoded(column, x.tolist())[:, 0]
    np.testing.assert_allclose(found, clipped(x, center, spread), rtol=EPS, atol=EPS)
    assert np.abs(found).max() <= 3
    assert np.ptp(found) > 0.5


def test_a_number_that_training_has_not_seen_follows_the_same_curve():
    column = learned([0, 1, 2, 3, 4])  # median 2, IQR 2
    new = [-1e6, -2, 2, 3, 4, 8, 1e100]
    expected = clipped(np.array(new), 2, 2)
    np.testing.assert_allclose(encoded(column, new)[:, 0], expected, rtol=2 * EPS)
    assert expected[2:5].tolist() == [0, 0.5 / np.sqrt(1 + 1 / 36), 1 / np.sqrt(1 + 1 / 9)]


def test_without_interquartile_range_half_the_range_is_the_scale():
    x = [5.0] * 20 + [9, 1, 3]
    np.testing.assert_allclose(encoded(learned(x), x)[:, 0], clipped(x, 5, 4), rtol=EPS, atol=EPS)


@pytest.mark.parametrize("value", [0, 7, -1.5, 1e308, -1e308, 5e-324, True])
def test_a_constant_is_zero_whatever_comes_later(value):
    column = columns.Number.fit(series([value] * 5), np.arange(5))
    assert column.width == 1
    new = [value, 0.0, 1.0, -1e308, 1e308, 5e-324, None]
    assert encoded(column, [each if each is None else float(each) for each in new]).tolist() == [
        [0]
    ] * len(new)


@pytest.mark.parametrize("values", [[None] * 4, [NAN] * 4, [None, NAN, None, NAN]])
def test_a_column_without_a_value_is_zero_and_has_no_indicator(values):
    column = learned(values, dtype=pl.Float64)
    assert column.width == 1
    assert encoded(column, [1.0, None, NAN]).tolist() == [[0], [0], [0]]
    assert encoded(column, [None, None, None]).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("missing", [None, NAN])
def test_a_missing_number_is_the_median_and_has_an_indicator(missing):
    column = learned([1.0, 2, 3, missing])
    assert column.width == 2
    found = encoded(column, [missing, 2.0, 9.0])
    assert found[:, 1].tolist() == [1, 0, 0]
    assert found[:2, 0].tolist() == [0, 0]
    np.testing.assert_allclose(found[2, 0], clipped(9, 2, 1), rtol=EPS)


def test_a_number_first_missing_after_training_is_the_median():
    column = learned([1.0, 2, 3])
    assert encoded(column, [None, NAN, 2.0]).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_numbers_are_named_in_training_and_after(infinite):
    values = [0.0, 1, 2, 3, infinite, infinite]
    match = f"column 'x', row 5: {infinite} is not a finite number"
    with pytest.raises(ValueError, match=match):
        learned(values)
    with pytest.raises(ValueError, match=match):  # also outside the rows it learns from
        learned(values, rows=[0, 1])
    for column in (learned(values[:4]), learned([7, 7])):
        with pytest.raises(ValueError, match=match):
            encoded(column, values)
        with pytest.raises(ValueError, match=match):
            encoded(column, [str(value) for value in values])


HUGE = [
    [1e308, 1, 2, 3, 4],
    [-1e308, 1, 2, 3, 1e308],
    [1e300, 2e300, 3e300, 4e300],
    [1e308, 1.1e308, 1.2e308],
    [1e-300, 2e-300, 3e-300],
    [1e-307, 5e-324, 2e-307, 3e-307],
    [1, 1 + 2**-52, 1 + 2**-51],
]


@pytest.mark.parametrize("values", HUGE)
def test_huge_and_tiny_numbers_make_no_warning_and_no_nan(values):
    found = encoded(learned(values), [*values, 1.7e308, -1.7e308, 5e-324, 0.0])
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 3 * (1 + EPS)
    order = np.argsort(values)
    assert (np.diff(found[order, 0]) >= 0).all()
    assert np.ptp(found[: len(values)]) > 0.1


@pytest.mark.parametrize(
    "values", [[-1.7e308, -1.7e308, 1.7e308, 1.7e308], [0, 5e-324, 1e-323, 1.5e-323]]
)
def test_a_scale_beyond_float64_is_refused(values):
    with pytest.raises(ValueError, match="column 'x' cannot be scaled: half of its numbers lie be"):
        learned(values)


# --- booleans ---------------------------------------------------------------------------------


def test_booleans():
    column = learned([True, False, False])
    assert isinstance(column, Boolean)
    assert encoded(column, [True, False, None]).tolist() == [[1], [-1], [0]]
    assert encoded(column, ["false", " TRUE", "1"]).tolist() == [[-1], [1], [1]]
    column = learned([True, None, False])
    assert encoded(column, [True, False, None]).tolist() == [[1, 0], [-1, 0], [0, 1]]
    assert encoded(column, [True, False]).tolist() == [[1, 0], [-1, 0]]
    column = learned([None, None, True], rows=[0, 1])
    assert encoded(column, [True, None]).tolist() == [[1], [0]]


def test_what_is_no_boolean_is_named():
    with pytest.raises(ValueError, match="column 'x', row 2: 'maybe' is neither true nor false"):
        encoded(learned([True, False]), ["true", "maybe"])


# --- categories -------------------------------------------------------------------------------


def letters(n):
    return list(string.ascii_lowercase[:n])


@pytest.mark.parametrize(
    ("n", "missing"), [(1, False), (1, True), (2, False), (8, False), (8, True), (9, False)]
)
def test_up_to_nine_levels_have_a_column_each(n, missing):
    levels = letters(n)
    column = learned([*reversed(levels), *([None] * missing)])
    assert isinstance(column, Category)
    assert (column.width, column.embedded) == (n + missing, False)
    found = encoded(column, [*levels, None, "not seen"])
    assert found[:n].tolist() == np.eye(n, n + missing).tolist()
    assert found[n].tolist() == [0] * n + [1] * missing
    assert not found[n + 1].any()


@pytest.mark.parametrize(("n", "missing"), [(9, True), (10, False), (10, True), (26, True)])
def test_more_levels_are_codes(n, missing):
    levels = letters(n)
    column = learned([*levels, *([None] * missing), *reversed(levels)])
    assert (column.width, column.embedded, column.n_levels) == (1, True, n + missing)
    found = encoded(column, [*levels, None, "not seen"])[:, 0]
    assert found.tolist() == [*range(1, n + 1), (n + 1) * missing, 0]


def test_levels_seen_once_count_as_not_seen_if_there_are_more_than_nine():
    column = learned([*letters(12), *letters(11)])
    assert column.n_levels == 11
    assert encoded(column, ["k", "l", "z"])[:, 0].tolist() == [11, 0, 0]
    few = learned([*letters(12), *letters(3)])  # three are left: columns
    assert (few.width, few.embedded) == (3, False)
    assert encoded(few, ["c", "d"]).tolist() == [[0, 0, 1], [0, 0, 0]]
    assert learned(letters(9)).width == 9  # nine of one row each stay
    assert learned([*letters(9), None]).n_levels == 1  # of ten none, but that it is missing


def test_the_most_frequent_levels_are_kept(monkeypatch):
    monkeypatch.setattr(columns, "MAX_LEVELS", 12)
    counts = [2 + (i * 7) % 20 for i in range(20)]  # all different
    values = [name for name, n in zip(letters(20), counts, strict=True) for _ in range(n)]
    column = learned(rng(0).permutation([*values, *[None] * 3]).tolist())
    kept = sorted(sorted(letters(20), key=lambda name: -counts[letters(20).index(name)])[:12])
    assert column.n_levels == 13
    assert encoded(column, kept)[:, 0].tolist() == list(range(1, 13))
    lost = sorted(set(letters(20)) - set(kept))
    assert encoded(column, [*lost, None])[:, 0].tolist() == [0] * 8 + [13]


@pytest.mark.parametrize("order", [1, -1])
def test_of_equally_frequent_levels_the_first_by_name_are_kept(order, monkeypatch):
    monkeypatch.setattr(columns, "MAX_LEVELS", 10)
    column = learned((letters(15) * 2)[::order])
    assert encoded(column, letters(15))[:, 0].tolist() == [*range(1, 11), 0, 0, 0, 0, 0]


def test_a_column_of_names_teaches_nothing():
    names = [f"id {i}" for i in range(50)]
    assert learned(names).width == 0
    assert encoded(learned(names), names).shape == (50, 0)
    column = learned([*names, None])  # but that it is missing may
    assert encoded(column, ["id 3", None]).tolist() == [[0], [1]]


def test_a_text_that_training_has_never_seen_known_is_nothing():
    column = learned([None, None, "a"], rows=[0, 1])
    assert column.width == 0
    assert encoded(column, ["a", None]).shape == (2, 0)


@pytest.mark.parametrize("dates", [["2020-01-31", "2021-12-01"], ["1.2.2020", None, "3.4.2021"]])
def test_dates_in_text_are_refused(dates):
    with pytest.raises(ValueError, match="'x' holds dates or times, which are not used"):
        learned(dates)


def test_one_text_that_is_no_date_makes_it_a_category():
    assert learned(["2020-01-31", "never"]).width == 2


@pytest.mark.parametrize("levels", [["é", "e\u0301", "ß", "\U0001f600", "a a", "aa", "a", "A"]])
def test_text_is_compared_letter_by_letter(levels):
    column = learned(levels)
    order = np.argsort([sorted(levels).index(level) for level in levels])
    assert encoded(column, levels)[order].tolist() == np.eye(len(levels)).tolist()


def test_levels_that_look_like_numbers():
    column = learned(["01", "1", "1.0", "2"])
    assert column.width == 4
    assert encoded(column, [1, 2, None]).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert encoded(column, [1.0, NAN, 2.0]).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    missing = learned(["1", "2", None])
    assert encoded(missing, [1.0, NAN, 2.0]).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum([*"zyx", "not in it"])])
def test_levels_are_what_occurs_in_the_order_of_the_alphabet(dtype):
    column = learned(["z", "x", "z"], dtype=dtype)
    assert column == learned(["z", "x", "z"])
    assert encoded(column, series(["x", "z", "y"], dtype)).tolist() == [[1, 0], [0, 1], [0, 0]]


# --- all kinds --------------------------------------------------------------------------------

KINDS = {
    "number": [4.0, -1.0, None, 2.5, 3.0, 100.0],
    "integer": [4, -1, None, 7, 3, 2**40],
    "boolean": [True, None, False, False, True, True],
    "one-hot": ["b", None, "", "é", "b", "c"],
    "codes": [None, *(letters(12) * 2), "once"],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_gives_the_same_bits(library, kind):
    column = frames.wrap(LIBRARIES[library]({"x": KINDS[kind]}))["x"]
    expected = learned(KINDS[kind])
    assert learned(column) == expected
    assert encoded(expected, column).tobytes() == encoded(expected, KINDS[kind]).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_written_as_text_gives_the_same_bits(kind):
    written = [None if value is None else str(value) for value in KINDS[kind]]
    expected = encoded(learned(KINDS[kind]), KINDS[kind])
    assert encoded(learned(KINDS[kind]), written).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone_has_the_bits_that_it_has_in_a_table(kind):
    column = learned(KINDS[kind])
    alone = [encoded(column, series(KINDS[kind])[[i]]) for i in range(len(KINDS[kind]))]
    assert np.concatenate(alone).tobytes() == encoded(column, KINDS[kind]).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_make_no_rows(kind):
    column = learned(KINDS[kind])
    assert encoded(column, series(KINDS[kind])[:0]).shape == (0, column.width)


@pytest.mark.parametrize(
    ("used", "others"),
    [
        ([1.0, 2, 3], [-9.0, 99]),
        ([1.0, 2, 3], [None, NAN]),
        ([None, 1.0, 2], [5.0, 6]),
        ([True, False], [None]),
        (["a", "b"], ["c", None]),
        (["a", None], ["a", "b"]),
        (letters(10) * 2, ["z", "z", None]),
    ],
)
def test_only_the_given_rows_are_learned_from(used, others):
    rows = np.arange(len(used)) + len(others)
    column = learned([*others, *used], rows=rows)
    assert column == learned(used)
    assert column != learned([*others, *used])
    assert column == learned([*used, *others, *others], rows=rows - len(others))
