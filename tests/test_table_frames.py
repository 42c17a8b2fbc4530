"""Data frames in: what a CSV file says, and which tables are refused with which sentence."""

import gzip
import io
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deltarule._table import frames
from deltarule._table.spelling import MISSING
from table_helpers import LIBRARIES


def read(content, *, infer=True):
    """The columns of a CSV file as lists."""
    content = content.encode() if isinstance(content, str) else content
    return frames.read(content, infer=infer).to_dict(as_series=False)


# --- CSV --------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n", "\ufeff\r\n"])
def test_separators_line_ends_and_marks(separator, end, start):
    lines = [["a", "b b", "ç"], ["1", "x, y" if separator != "," else "xy", "2.5"], ["3", "z", ""]]
    content = start + end.join(separator.join(line) for line in lines) + end
    expected = {"a": [1, 3], "b b": [lines[1][1], "z"], "ç": [2.5, None]}
    assert read(content) == read(content.rstrip("\r\n")) == expected


def test_the_header_alone_decides_on_the_separator():
    assert read("a;b\n1,x;2\n2,y;3\n") == {"a": ["1,x", "2,y"], "b": [2, 3]}
    assert read("a\nx;y\n1|2\n") == {"a": ["x;y", "1|2"]}
    assert read('"a;b",c\n1,2\n') == {"a;b": [1], "c": [2]}


def test_quotes():
    content = 'a,"b,c"\n"x,1","two\nlines"\n"say ""hi""",\n" ",""\n'
    expected = {"a": ["x,1", 'say "hi"', None], "b,c": ["two\nlines", None, None]}
    assert read(content, infer=False) == expected


def test_one_column():
    assert read("a\n1\n\n3\n") == {"a": [1, None, 3]}
    assert read('"a,b"\n"x,y"\n') == {"a,b": ["x,y"]}


def test_a_thousand_columns():
    n = 1000
    lines = [[f"c{i}" for i in range(n)], [str(i) for i in range(n)], ["NA"] * n]
    content = "\n".join(",".join(line) for line in lines)
    assert read(content) == {f"c{i}": [i, None] for i in range(n)}


def test_header_only():
    frame = frames.read(b"a,b\n", infer=True)
    assert frame.shape == (0, 2)
    assert frame.columns == ["a", "b"]


@pytest.mark.parametrize("line", ["{},x", "{} ,x", '"{}",x', '" {}",x'])
@pytest.mark.parametrize("spelling", MISSING)
def test_every_spelling_of_missing(spelling, line):
    content = "a,b\n1,x\n" + line.format(spelling) + "\n2.5,y\n"
    assert read(content) == {"a": [1, None, 2.5], "b": ["x", "x", "y"]}
    assert read(content, infer=False) == {"a": ["1", None, "2.5"], "b": ["x", "x", "y"]}


def test_missing_in_a_column_of_text_and_of_booleans():
    assert read("a,b\nx,true\nNA, ?\n null,False\n") == {
        "a": ["x", "NA", " null"], "b": [True, None, False],
    }  # fmt: skip
    assert read("a,b\nNA,1\n,2\n") == {"a": [None, None], "b": [1, 2]}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1", "2.5", "1e3", "-.5", "7."], [1, 2.5, 1000, -0.5, 7]),
        ([" 1", "2 ", "\t3"], [1, 2, 3]),
        (["9223372036854775807", "1"], [2**63 - 1, 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["inf", "1"], [np.inf, 1]),
        (["0", "0.5", "-0.25", "10"], [0, 0.5, -0.25, 10]),
        (["true", "FALSE", " True "], [True, False, True]),
        (["01", "10"], ["01", "10"]),  # leading zeros: a code
        (["-01", "10"], ["-01", "10"]),
        ([" 007 ", "10"], ["007", "10"]),
        (["00.5", "1"], [0.5, 1]),
        (["true", "1"], ["true", "1"]),
        (["yes", "no"], ["yes", "no"]),
        (["0x10", "1"], ["0x10", "1"]),
        (["1_000", "1"], ["1_000", "1"]),
        (["1 000", "1"], ["1 000", "1"]),
        (["x ", " x", "x y"], ["x ", " x", "x y"]),
        (["2020-01-31", "2020-02-01"], ["2020-01-31", "2020-02-01"]),
    ],
)
def test_what_a_column_of_a_csv_file_holds(written, expected):
    content = "a,b\n" + "".join(f"{each},0\n" for each in written)
    found = read(content)["a"]
    assert found == expected
    assert len({type(value) for value in found}) == 1
    stripped = [each.strip() for each in written]
    assert read(content, infer=False) == {"a": stripped, "b": ["0"] * len(written)}


@pytest.mark.parametrize("last", ["x", "2.5", "true", "007"])
def test_the_last_row_counts_as_much_as_the_first(last):
    n = 50_000
    found = read("a,b\n" + "1,2\n" * (n - 1) + f"{last},2\n")
    assert found["b"] == [2] * n
    if last == "2.5":
        assert found["a"] == [1.0] * (n - 1) + [2.5]
    else:
        assert found["a"] == ["1"] * (n - 1) + [last]


# --- what cannot be read ----------------------------------------------------------------------

REFUSED = {
    "empty": (b"", "is empty"),
    "blank": (b"\xef\xbb\xbf \r\n\t\n", "is empty"),
    "no name": (b"a,,c\n1,2,3\n", "column 2 has no name in the header"),
    "blank name": (b"a, \n1,2\n", "column 2 has no name in the header"),
    "separator at the end": (b"a,b,\n1,2,\n", "column 3 has no name in the header"),
    "twice": (b"a,b,a\n1,2,3\n", "two columns have the name 'a': rename one"),
    "twice with spaces": (b"a, a\n1,2\n", "two columns have the name 'a': rename one"),
    "long row": (b"a,b\n1,2\n1,2,3\n", "a row has more fields than the header"),
    "open quote": (b'a,b\n1,"x\n2,y\n', "a quoted field does not end"),
    "open quote in the header": (b'a,"b\n1,2\n', "a quoted field (of the header )?does not end"),
    "Latin-1": ("a,b\nü,1\n".encode("latin-1"), "it is not UTF-8 text"),
    "Latin-1 in the header": ("ü,b\nx,1\n".encode("latin-1"), "it is not UTF-8 text"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "it is not UTF-8 text"),
    "archive": (b"PK\x03\x04\x14\x00\x08\xff,\n\xfe\n", "is a zip archive, or a spreadsheet"),
    "Parquet, cut off": (b"PAR1 and no more", "parquet"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_that_names_the_file(name, tmp_path):
    content, sentence = REFUSED[name]
    for infer in (True, False):
        with pytest.raises(ValueError, match=sentence) as caught:
            frames.read(content, infer=infer)
        assert str(caught.value).startswith("the table")
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        frames.read(path, infer=True)
    assert str(caught.value).startswith(f"{str(path)!r}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_files_that_are_not_there(kind, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        frames.read(kind(tmp_path / "nothing.csv"), infer=True)
    with pytest.raises(IsADirectoryError):
        frames.read(kind(tmp_path), infer=True)


# --- other files ------------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [False, True])
def test_parquet_keeps_its_types(as_path, tmp_path):
    table = pl.DataFrame(
        {"a": [1, None], "b": ["NA", " x"], "c": [[1], None], "d": [{"e": 1}, None]}
    )
    path = tmp_path / "table"  # the content decides, not the name
    table.write_parquet(path)
    for infer in (True, False):
        found = frames.read(path if as_path else path.read_bytes(), infer=infer)
        assert found.to_native().equals(table)
        assert found.to_native().schema == table.schema


def test_parquet_of_pyarrow_and_pandas(tmp_path):
    data = {"a": [1.5, None], "b": ["x", None]}
    pd.DataFrame(data).to_parquet(tmp_path / "pandas.parquet")
    pq.write_table(pa.table(data), tmp_path / "pyarrow.parquet")
    for path in tmp_path.iterdir():
        assert frames.read(path, infer=True).to_dict(as_series=False) == data


def test_gzip_is_unpacked():
    assert read(gzip.compress("a,b\n1,ü\n".encode())) == {"a": [1], "b": ["ü"]}


# --- data frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_every_library(library):
    data = {"column_names": [1, 2], "columns": ["x", "y"], "schema": [True, False]}
    table = LIBRARIES[library](data)
    frame = frames.wrap(table)
    assert frame.to_native() is table
    assert frame.to_dict(as_series=False) == data
    assert frames.wrap(nw.from_native(table)).to_native() is table


@pytest.mark.parametrize(
    "wrong",
    [None, 3, "data.csv", {"a": [1]}, [[1.0]], np.zeros((2, 2)), pl.Series([1]), pd.Series([1]),
     pa.array([1]), io.StringIO("a\n1\n"), pl.DataFrame],
)  # fmt: skip
def test_what_is_no_frame(wrong):
    with pytest.raises(TypeError, match="table must be a data frame of pandas, polars or pyarrow"):
        frames.wrap(wrong)


@pytest.mark.parametrize("names", [[0, 1], [("a", "b"), ("a", "c")], ["a", None]])
def test_column_names_are_text(names):
    with pytest.raises(TypeError, match="with text as column names"):
        frames.wrap(pd.DataFrame([[1, 2]], columns=pd.Index(names, dtype=object)))


@pytest.mark.parametrize(
    "table",
    [pd.DataFrame([[1, 2]], columns=["a", "a"]), pa.table([[1], [2]], names=["a", "a"])],
    ids=["pandas", "pyarrow"],
)
def test_column_names_are_different(table):
    with pytest.raises(ValueError, match="two columns have the name 'a': rename one"):
        frames.wrap(table)


def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(ImportError, match=r"no_such_library is needed .* 'deltarule\[cli\]'"):
        frames.optional("no_such_library", "cli")


def test_long_lists_of_names_are_cut():
    assert frames.listed(["a", "b"]) == "'a', 'b'"
    assert frames.listed([str(i) for i in range(12)]).endswith("'9' and 2 more")


def test_commas_are_decimal_points_if_the_whole_column_says_so():
    frame = frames.read(b"a;b;c;d\n1,5;x,y;1,050;-2,25\n2;3,4;947; 0,5 \n", infer=True)
    assert frame["a"].to_list() == [1.5, 2.0]
    assert frame["d"].to_list() == [-2.25, 0.5]
    assert frame["b"].to_list() == ["x,y", "3,4"]
    assert frame["c"].to_list() == ["1,050", "947"]  # a thousand, or one?


def test_blank_lines_are_no_rows_and_short_rows_are_refused():
    assert read("a,b\n1,2\n\n3,4\r\n\r\n,\n\n") == {"a": [1, 3, None], "b": [2, 4, None]}
    with pytest.raises(ValueError, match="row 2: 1 fields, where the header has 2"):
        read("a,b\n1,2\n3\n")


def test_old_line_ends_long_codes_and_lazy_tables():
    assert read("a,b\r1,2\r3,4\r") == {"a": [1, 3], "b": [2, 4]}
    codes = ["12345678901234567890", "12345678901234567891"]
    assert read("a,b\n" + "".join(f"{code},1\n" for code in codes))["a"] == codes
    with pytest.raises(TypeError, match=r"pass table.collect\(\)"):
        frames.wrap(pl.LazyFrame({"a": [1]}))
