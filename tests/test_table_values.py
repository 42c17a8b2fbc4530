"""The values of one column, the same whatever library and type they have."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from deltarule._table import frames, spelling, values
from table_helpers import LIBRARIES, NAN, same, series


def objects(items):
    return pd.Series(items, dtype=object)


def nullable(items, dtype):
    return pd.array(items, dtype)


def arrow(items, dtype=None):
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(items, dtype)))


def category(items):
    return pd.Series(pd.Categorical(items))


NUMBERS = {
    "polars integers": (pl.Series([1, None, 2]), [1, NAN, 2]),
    "polars floats": (pl.Series([1.5, None, NAN]), [1.5, NAN, NAN]),
    "polars int8": (pl.Series([-128, None], dtype=pl.Int8), [-128, NAN]),
    "polars uint64": (pl.Series([2**64 - 1, None], dtype=pl.UInt64), [2.0**64, NAN]),
    "polars int128": (pl.Series([2**100, None], dtype=pl.Int128), [2.0**100, NAN]),
    "polars float32": (pl.Series([0.1, None], dtype=pl.Float32), [np.float32(0.1), NAN]),
    "polars decimal": (pl.Series([Decimal("1.50"), None]), [1.5, NAN]),
    "polars only NaN": (pl.Series([NAN, NAN]), [NAN, NAN]),
    "numpy int64": (np.array([1, -(2**62)]), [1, -(2.0**62)]),
    "numpy float16": (np.array([1.5, NAN, 2], np.float16), [1.5, NAN, 2]),
    "numpy uint8": (np.array([255, 0], np.uint8), [255, 0]),
    "pandas Int64": (nullable([1, None, 2], "Int64"), [1, NAN, 2]),
    "pandas UInt64": (nullable([2**64 - 1, None], "UInt64"), [2.0**64, NAN]),
    "pandas Float64": (nullable([1.5, None, 2], "Float64"), [1.5, NAN, 2]),
    "pandas Float64 0/0": (nullable([0.0, 1], "Float64") / [0.0, 1], [NAN, 1]),
    "pandas arrow int": (arrow([2**62 + 1, None]), [2.0**62, NAN]),
    "pandas arrow decimal": (arrow([Decimal("1.5"), None]), [1.5, NAN]),
    "pandas objects": (objects([1, None, 2.5, np.float32(3), Decimal(4)]), [1, NAN, 2.5, 3, 4]),
    "pandas missing objects": (objects([1, NAN, pd.NA, pd.NaT, True]), [1, NAN, NAN, NAN, 1]),
    "arrow integers": (pa.array([1, None, 2]), [1, NAN, 2]),
    "arrow int64": (pa.array([2**62 + 1, None]), [2.0**62, NAN]),
    "arrow uint64": (pa.array([2**64 - 1, 1], pa.uint64()), [2.0**64, 1]),
    "arrow floats": (pa.array([1.5, None, NAN]), [1.5, NAN, NAN]),
    "arrow float16": (pa.array(np.array([1.5, NAN], np.float16)), [1.5, NAN]),
    "arrow decimal": (pa.array([Decimal("1.50"), None]), [1.5, NAN]),
    "arrow chunks": (pa.chunked_array([[1], [None, 2]]), [1, NAN, 2]),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    given, expected = NUMBERS[name]
    column = series(given)
    assert values.kind_of(column) == "number"
    found = values.numbers(column)
    assert found.dtype == np.float64
    assert found.flags.owndata
    assert found.flags.writeable
    assert same(found, expected)


@pytest.mark.parametrize("given", [pl.Series([1.0, 2]), np.array([1.0, 2]), pa.array([1.0, 2])])
def test_numbers_are_never_the_users_memory(given):
    column = series(given)
    values.numbers(column)[:] = 0
    values.booleans(series([True, False]))[:] = 0
    assert column.to_list() == [1, 2]


BOOLEANS = {
    "polars": (pl.Series([True, None, False]), [1, NAN, 0]),
    "numpy": (np.array([True, False]), [1, 0]),
    "pandas boolean": (nullable([True, None, False], "boolean"), [1, NAN, 0]),
    "pandas arrow": (arrow([True, None, False]), [1, NAN, 0]),
    "pandas objects": (objects([True, None, np.False_, NAN, pd.NA]), [1, NAN, 0, NAN, NAN]),
    "arrow": (pa.array([True, None, False]), [1, NAN, 0]),
}


@pytest.mark.parametrize("name", BOOLEANS)
def test_booleans(name):
    given, expected = BOOLEANS[name]
    assert values.kind_of(series(given)) == "boolean"
    assert same(values.booleans(series(given)), expected)
    assert same(values.numbers(series(given)), expected)
    names = {1: "true", 0: "false"}
    levels = values.codes(values.texts(series(given)), ["false", "true"])
    assert [("false", "true")[i] if i >= 0 else None for i in levels] == [
        names.get(each) for each in expected
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["true", " False ", "TRUE", None, "1", "0.0"], [1, 0, 1, NAN, 1, 0]),
        ([1, 0, None], [1, 0, NAN]),
        ([1.0, NAN, 0.0], [1, NAN, 0]),
    ],
)
def test_booleans_may_be_written_otherwise(given, expected):
    assert same(values.booleans(series(given)), expected)


@pytest.mark.parametrize("wrong", ["yes", 2, 0.5])
def test_what_is_no_boolean_is_named(wrong):
    with pytest.raises(ValueError, match=f"'x', row 3: {wrong!r} is neither true nor false"):
        values.booleans(series([None, type(wrong)(1), wrong]))


TEXTS = {
    "polars": (pl.Series(["a", None, "ö"]), ["a", None, "ö"]),
    "polars categorical": (pl.Series(["b", None, "a"], dtype=pl.Categorical), ["b", None, "a"]),
    "polars enum": (pl.Series(["b", None], dtype=pl.Enum(["z", "b"])), ["b", None]),
    "polars objects": (pl.Series(["b", None], dtype=pl.Object), ["b", None]),
    "pandas str": (pd.Series(["a", None, NAN, "ö"]), ["a", None, None, "ö"]),
    "pandas string": (nullable(["a", None], "string"), ["a", None]),
    "pandas python string": (nullable(["a", None], pd.StringDtype("python")), ["a", None]),
    "pandas objects": (objects(["a", None, NAN, pd.NA, "ö"]), ["a", None, None, None, "ö"]),
    "pandas NaT": (objects(["a", pd.NaT]), ["a", None]),
    "pandas arrow": (arrow(["a", None]), ["a", None]),
    "pandas arrow large": (arrow(["a", None], pa.large_string()), ["a", None]),
    "pandas arrow dictionary": (
        pd.Series(pd.arrays.ArrowExtensionArray(pa.array(["b", None, "a"]).dictionary_encode())),
        ["b", None, "a"],
    ),
    "pandas category": (category(["b", None, "a"]), ["b", None, "a"]),
    "pandas category of objects": (
        pd.Series(pd.Categorical(["b", None], categories=pd.Index(["z", "b"], dtype=object))),
        ["b", None],
    ),
    "pandas ordered": (pd.Series(pd.Categorical(["b", None, "a"], ordered=True)), ["b", None, "a"]),
    "pandas category of integers": (category([2, None, 1]), ["2", None, "1"]),
    "pandas category of integers, none missing": (category([2, 1]), ["2", "1"]),
    "pandas category of floats": (category([2.0, None, 1.5]), ["2", None, "1.5"]),
    "pandas category of booleans": (category([True, None]), ["true", None]),
    "arrow": (pa.array(["a", None, "ö"]), ["a", None, "ö"]),
    "arrow large": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "arrow view": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "arrow dictionary": (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
    "arrow dictionary of integers": (pa.array([2, None]).dictionary_encode(), ["2", None]),
    "arrow chunks": (pa.chunked_array([["a"], [None, "b"]]), ["a", None, "b"]),
}


def assert_texts(column, expected):
    """Texts, their counts, their codes and what is missing agree."""
    text = values.texts(column)
    assert [None if pd.isna(each) else each for each in text.to_list()] == expected
    levels = sorted({each for each in expected if each is not None})
    assert values.counts(text) == {level: expected.count(level) for level in levels}
    places = [-1 if each is None else levels.index(each) for each in expected]
    codes = values.codes(text, levels)
    assert codes.dtype == np.int32
    assert codes.tolist() == places
    assert values.missing(text).tolist() == [each is None for each in expected]


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name):
    given, expected = TEXTS[name]
    assert values.kind_of(series(given)) == "category"
    assert_texts(series(given), expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_spaces_do_not_count_and_spellings_of_nothing_are_missing(library):
    column = frames.wrap(LIBRARIES[library]({"x": ["a", " a", "", "NA ", None, "none", "b"]}))["x"]
    text = values.texts(column)
    assert values.counts(text) == {"a": 2, "none": 1, "b": 1}
    assert values.codes(text, ["b", "a"]).tolist() == [1, 1, -1, -1, -1, -1, 0]
    assert values.missing(column).tolist() == [False, False, True, True, True, False, False]
    assert values.spellings(column) == ["NA"]


@pytest.mark.parametrize("index", [[5, 5, 7], ["b", "a", "b"]])
def test_the_index_of_pandas_is_not_looked_at(index):
    assert_texts(series(pd.Series(["a", None, "b"], index=index)), ["a", None, "b"])
    assert_texts(series(pd.Series(pd.Categorical([1, None, 2]), index=index)), ["1", None, "2"])
    assert same(values.numbers(series(pd.Series([1, NAN, 2], index=index))), [1, NAN, 2])


NUMBERS_AS_TEXT = {
    "polars integers": (pl.Series([1, None]), ["1", None]),
    "polars floats": (pl.Series([1.0, None, NAN, 0.5]), ["1", None, None, "0.5"]),
    "pandas integers with gaps": (pd.Series([1, None, 2]), ["1", None, "2"]),
    "pandas Float64": (nullable([1.0, None], "Float64"), ["1", None]),
    "pandas objects": (objects([1, None, 2.0]), ["1", None, "2"]),
    "arrow floats": (pa.array([1.0, None, NAN]), ["1", None, None]),
    "arrow integers beyond float64": (pa.array([2**62 + 1, None]), [str(2**62 + 1), None]),
}


@pytest.mark.parametrize("name", NUMBERS_AS_TEXT)
def test_numbers_as_text_have_no_point_and_do_not_depend_on_their_neighbours(name):
    given, expected = NUMBERS_AS_TEXT[name]
    assert_texts(series(given), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["n", "level", "count", "index", "", "x y", "é"])
def test_columns_of_any_name_are_counted(library, name):
    table = LIBRARIES[library]({name: ["a", "b", "a", None]})
    text = values.texts(frames.wrap(table)[name])
    assert values.counts(text) == {"a": 2, "b": 1}


@pytest.mark.parametrize("library", LIBRARIES)
def test_codes_of_no_levels_and_of_unknown_text(library):
    text = frames.wrap(LIBRARIES[library]({"x": ["a", "b", None]}))["x"]
    assert values.codes(text, []).tolist() == [-1, -1, -1]
    assert values.codes(text, ["c", "b"]).tolist() == [-1, 1, -1]


EMPTY = {
    "polars": pl.Series([None, None]),
    "polars integers": pl.Series([None, None], dtype=pl.Int64),
    "polars dates": pl.Series([None, None], dtype=pl.Date),
    "polars lists": pl.Series([None, None], dtype=pl.List(pl.Int64)),
    "pandas objects": objects([None, NAN]),
    "pandas dates": pd.Series([pd.NaT, pd.NaT], dtype="datetime64[ns]"),
    "pandas Int64": nullable([None, None], "Int64"),
    "pandas floats": np.array([NAN, NAN]),
    "pandas category": category([None, None]),
    "arrow": pa.nulls(2),
    "arrow text": pa.nulls(2, pa.string()),
    "arrow dates": pa.nulls(2, pa.date32()),
}


@pytest.mark.parametrize("name", EMPTY)
def test_columns_without_a_value(name):
    column = series(EMPTY[name])
    assert values.kind_of(column) == "empty"
    assert same(values.numbers(column), [NAN, NAN])
    assert same(values.booleans(column), [NAN, NAN])
    assert_texts(column, [None, None])


@pytest.mark.parametrize("given", [pl.Series([1])[:0], objects([]), pa.array([], pa.string())])
def test_no_rows(given):
    column = series(given)
    assert values.kind_of(column) == "empty"
    assert values.numbers(column).shape == values.booleans(column).shape == (0,)
    assert_texts(column, [])


DAY, TIME = dt.date(2020, 1, 31), dt.datetime(2020, 1, 31, 12)
DATES = {
    "polars date": pl.Series([DAY, None]),
    "polars datetime": pl.Series([TIME]),
    "polars time": pl.Series([dt.time(1)]),
    "polars duration": pl.Series([dt.timedelta(1)]),
    "pandas datetime": pd.Series([pd.Timestamp(TIME), None]),
    "pandas zone": pd.Series([pd.Timestamp(TIME, tz="UTC")]),
    "pandas timedelta": pd.Series([pd.Timedelta(1)]),
    "pandas arrow": arrow([DAY, None]),
    "arrow date": pa.array([DAY, None]),
    "arrow timestamp": pa.array([TIME]),
    "arrow time": pa.array([dt.time(1)]),
    "arrow duration": pa.array([dt.timedelta(1)]),
}
OTHERS = {
    "polars list": (pl.Series([[1], None]), r"List\(Int64\)"),
    "polars array": (pl.Series([[1]], dtype=pl.Array(pl.Int64, 1)), "Array"),
    "polars struct": (pl.Series([{"a": 1}, None]), "Struct"),
    "polars binary": (pl.Series([b"a", None]), "Binary"),
    "pandas period": (nullable(["2020-01", None], "period[M]"), "period"),
    "pandas sparse": (pd.arrays.SparseArray([1.0, 0, 0]), "Sparse"),
    "pandas complex": (np.array([1 + 2j]), "complex128"),
    "arrow list": (pa.array([[1], None]), "list<"),
    "arrow struct": (pa.array([{"a": 1}, None]), "struct<"),
    "arrow map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "map<"),
    "arrow binary": (pa.array([b"a"]), "binary"),
}
READERS = [values.kind_of, values.numbers, values.booleans, values.texts]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", DATES)
def test_dates_are_refused_in_training_and_after(name, read):
    with pytest.raises(ValueError, match="'x' holds dates or times, which are not used: leave it"):
        read(series(DATES[name]))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_refused_by_the_name_that_their_library_gives_them(name, read):
    given, type_name = OTHERS[name]
    with pytest.raises(ValueError, match=f"'x' holds {type_name}.* must hold numbers, booleans or"):
        read(series(given))


@pytest.mark.parametrize(
    ("items", "types"),
    [
        (["a", 1, None, True], "bool, int, str"),
        ([DAY, None], "date"),
        ([[1], None], "list"),
        ([np.zeros(2), None], "ndarray"),
        ([b"a"], "bytes"),
        ([1, "1"], "int, str"),
        ([pd.Timestamp(TIME), "a"], "Timestamp, str"),
    ],
)
def test_mixed_objects_are_refused(items, types):
    with pytest.raises(ValueError, match=f"'x' holds Python objects of the types {types}; a"):
        values.kind_of(series(objects(items)))


@pytest.mark.parametrize("library", LIBRARIES)
def test_text_is_parsed_as_numbers(library):
    written = ["1", " 3.5 ", "-1e-3", "+4", ".5", "5.", "nan", "NaN", "-nan", None, "1e400", "-inf"]
    column = frames.wrap(LIBRARIES[library]({"x": written}))["x"]
    expected = [1, 3.5, -0.001, 4, 0.5, 5, NAN, NAN, NAN, NAN, np.inf, -np.inf]
    assert same(values.numbers(column), expected)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("wrong", ["three", "1,050", "0x10", "1 000", "1_000", "１", "--1"])
def test_what_is_no_number_is_named_with_its_row(library, wrong):
    column = frames.wrap(LIBRARIES[library]({"x": ["1", None, wrong, "4"]}))["x"]
    with pytest.raises(ValueError, match=f"column 'x', row 3: '{wrong}' is not a number"):
        values.numbers(column)


@pytest.mark.parametrize("wrong", ["three", [1], 1j, 10**400])
def test_objects_that_are_no_numbers_are_named_with_their_row(wrong):
    with pytest.raises(ValueError, match=r"column 'x', row 2: .* is not a number"):
        values.numbers(series(objects([1, wrong])))


@pytest.mark.parametrize("library", LIBRARIES)
def test_decimals_are_read_to_the_last_bit(library):
    numbers = np.random.default_rng(0).normal(size=300) * 10.0 ** np.arange(-150, 150)
    column = frames.wrap(LIBRARIES[library]({"x": [repr(float(x)) for x in numbers]}))["x"]
    assert values.numbers(column).tobytes() == numbers.tobytes()


@pytest.mark.parametrize(
    "text",
    ["2020-01-31", "2020-1-3", "2020/01/31", "2020-01-31 12:00", "2020-01-31T12:00:05.5Z",
     "31.01.2020", "1/31/2020", "31-01-2020", "2020-01-31 00:00:00+00:00"],
)  # fmt: skip
def test_dates_in_text(text):
    assert spelling.is_date(text)


@pytest.mark.parametrize("text", ["2020", "1.5", "20200131", "a 2020-01-31", "1-2-3", ""])
def test_no_dates_in_text(text):
    assert not spelling.is_date(text)
