"""``deltarule predict`` and ``deltarule info``."""

import hashlib
import json
import re

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import deltarule as dr
from cli_helpers import fit, only, predict, refused, run, table, write
from helpers import run_python


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data.csv", only(table(), "kind"))


@pytest.fixture
def model(data):
    return fit(data, "kind")[0]


@pytest.fixture
def new(tmp_path):
    """Rows without the target."""
    return write(tmp_path / "new.csv", only(table(30, seed=1), "kind").drop("kind"))


def test_one_row_for_every_row_in_their_order(model, new, tmp_path):
    predictions, done = predict(model, new)
    assert done.err == ""
    assert predictions.columns == ["kind"]
    assert predictions["kind"].to_list() == dr.load(model).predict(pl.read_csv(new)).tolist()
    backwards = write(tmp_path / "backwards.csv", pl.read_csv(new).reverse())
    assert predict(model, backwards)[0].equals(predictions.reverse())


def test_a_number_comes_in_its_units(tmp_path):
    data = write(tmp_path / "data.csv", only(table(), "price"))
    model, _ = fit(data, "price")
    predictions, _ = predict(model, data)
    expected = dr.load(model).predict(pl.read_csv(data))
    assert np.array_equal(predictions["price"].to_numpy().astype(np.float32), expected)


def test_probabilities(model, new):
    predictions, _ = predict(model, new, "--proba", "--threads", "2")
    assert predictions.columns == ["kind", "kind=big", "kind=small"]
    probabilities = predictions[:, 1:].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert predictions["kind"].to_list() == [
        ("big", "small")[i] for i in probabilities.argmax(axis=1)
    ]


def test_columns_of_probabilities_are_named_as_the_labels_are_written(tmp_path):
    model, _ = fit(write(tmp_path / "data.csv", only(table(), "sold")), "sold")
    done = run("predict", model, tmp_path / "data.csv", "--proba")
    lines = done.out.splitlines()
    assert lines[0] == "sold,sold=false,sold=true"
    assert {line.split(",")[0] for line in lines[1:]} == {"true", "false"}


def test_permuted_columns_give_the_same_predictions(model, new, tmp_path):
    permuted = write(
        tmp_path / "permuted.csv", pl.read_csv(new).select("fresh", "color", "count", "size")
    )
    assert run("predict", model, permuted, "--proba") == run("predict", model, new, "--proba")


def test_parquet_in_and_out(model, new, tmp_path):
    parquet = write(tmp_path / "new.parquet", pl.read_csv(new))
    predictions, _ = predict(model, new, "--proba")
    for suffix in (".parquet", ".csv"):
        output = tmp_path / f"predictions{suffix}"
        done = run("predict", model, parquet, "--proba", "--output", output)
        assert done == (0, "", "")
        read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
        assert_frame_equal(read(output), predictions, check_dtypes=False, rel_tol=1e-6)
    assert not list(tmp_path.glob(".*"))  # no temporaries


def test_standard_input(model, new):
    assert predict(model, "-", stdin=new.read_bytes())[0].equals(predict(model, new)[0])


def test_extra_columns_are_named_the_target_is_none(model, data, tmp_path):
    more = pl.read_csv(data).with_columns(pl.lit(1).alias("more"), pl.lit("x").alias("other"))
    predictions, done = predict(model, write(tmp_path / "more.csv", more))
    assert done.err == "deltarule: columns not used: 'more', 'other'\n"
    assert predictions.equals(predict(model, data)[0])


def test_missing_columns_are_named(model, new, tmp_path):
    less = write(tmp_path / "less.csv", pl.read_csv(new).drop("size", "color"))
    message = refused("predict", model, less)
    assert "'size', 'color'" in message
    assert "count" not in message


def test_unseen_categories_and_new_missing_values_are_predicted(model, new, tmp_path):
    frame = pl.read_csv(new)
    frame[0, "color"] = "violet"
    frame[1, "color"] = frame[2, "size"] = frame[3, "fresh"] = None
    odd = write(tmp_path / "odd.csv", frame)
    predictions, done = predict(model, odd, "--proba")
    assert done.err == ""
    known, _ = predict(model, new, "--proba")
    assert predictions[4:].equals(known[4:])
    assert np.isfinite(predictions[:, 1:].to_numpy()).all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("size", "tall", "column 'size', row 3: 'tall' is not a number"),
        ("count", "1,500", "column 'count', row 3: '1,500' is not a number"),
        ("fresh", "perhaps", "column 'fresh', row 3: 'perhaps' is neither true nor false"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row(
    model, new, tmp_path, column, value, message
):
    frame = pl.read_csv(new).with_columns(pl.col(column).cast(pl.String))
    frame[2, column] = value
    assert refused("predict", model, write(tmp_path / "odd.csv", frame)) == message


def test_no_rows_give_the_header_only(model, new, tmp_path):
    nothing = write(tmp_path / "nothing.csv", pl.read_csv(new).clear())
    assert run("predict", model, nothing) == (0, "kind\n", "")
    assert run("predict", model, nothing, "--proba").out == "kind,kind=big,kind=small\n"
    output = tmp_path / "nothing.parquet"
    assert run("predict", model, nothing, "--output", output).code == 0
    assert pl.read_parquet(output).schema == {"kind": pl.String}


def test_one_row(model, new, tmp_path):
    one = write(tmp_path / "one.csv", pl.read_csv(new)[4:5])
    assert predict(model, one, "--proba")[0].equals(predict(model, new, "--proba")[0][4:5])


def test_refuses_what_is_no_model_of_tables(model, new, tmp_path):
    assert "not a deltarule model file" in refused("predict", new, new)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model.read_bytes()[:-5])
    assert "cut off" in refused("predict", cut, new)
    bare = tmp_path / "bare.safetensors"
    dr.Network([4, 2], seed=0).save(bare)
    assert "is a bare network" in refused("predict", bare, new)
    assert "No such file" in refused("predict", tmp_path / "none", new)
    assert "'new.csv'" in refused("predict", model, "new.csv")


def test_refuses_probabilities_of_a_number(tmp_path):
    data = write(tmp_path / "data.csv", only(table(), "price"))
    model, _ = fit(data, "price")
    assert "'price' is a number" in refused("predict", model, data, "--proba", code=2)


def test_refuses_an_output_of_another_kind_or_in_the_place_of_its_input(model, new, tmp_path):
    message = refused("predict", model, new, "--output", tmp_path / "out.txt", code=2)
    assert ".csv or .parquet" in message
    before = new.read_bytes()
    assert "same file" in refused("predict", model, new, "--output", new, code=2)
    assert new.read_bytes() == before
    assert "directory does not exist" in refused("predict", model, new, "--output", "/no/a.csv")


def test_info_about_a_model_of_tables(model):
    done = run("info", model)
    assert (done.code, done.err) == (0, "")
    text = re.sub(r" +", " ", done.out)
    for words in (
        "a model of tables",
        f"sha256 {checksum(model)} (matches)",
        dr.load(model).network.summary(),
        "columns: 4, as 6 inputs of the network",
        "color category one input for each of 3 levels: blue, green, red, dark",
        "fresh boolean -1 or 1; missing: 0",
        "target: kind, 2 classes: big, small",
        "stopped_by epochs",
        "metrics accuracy 0.",
    ):
        assert re.sub(r" +", " ", words) in text, words
    assert re.search(r"size number \(x - .*\) / .*, clipped; missing: 0\n", text)


def checksum(path):
    """The SHA-256 of the whole file with its own digits read as zeros."""
    content = path.read_bytes()
    digits = re.search(rb'\\"sha256\\":\\"([0-9a-f]{64})', content)[1]
    assert hashlib.sha256(content.replace(digits, b"0" * 64)).hexdigest() == digits.decode()
    return digits.decode()


def test_info_about_a_bare_network_and_a_checkpoint(tmp_path):
    net, path = dr.Network([3, 4, 1], seed=0), tmp_path / "net.safetensors"
    net.save(path)
    done = run("info", path)
    assert net.summary() in done.out
    assert f"sha256 {checksum(path)}" in done.out
    assert "columns" not in done.out
    trainer = dr.Trainer(net, loss="huber", optimizer=dr.SGD(learning_rate=0.25))
    trainer.run(np.ones((8, 3)), np.ones(8), epochs=2, batch_size=4)
    trainer.save(path)
    done = run("info", path)
    for words in ("a checkpoint", "huber(", "sgd(", "learning_rate=0.25", "2 epochs, 4 steps"):
        assert words in done.out


def test_info_as_json(model):
    about = json.loads(run("info", model, "--json").out)
    assert about["sha256"] == checksum(model)
    assert about["bytes"] == model.stat().st_size
    assert [column["name"] for column in about["table"]["columns"]] == [
        "size", "count", "color", "fresh",
    ]  # fmt: skip
    assert about["table"]["record"] == dr.load(model).record
    assert json.loads(run("info", "--json").out) == dr.build_info()


def test_info_without_a_model():
    done = run("info")
    assert re.search(rf"^version +{dr.__version__}$", done.out, re.MULTILINE)
    assert "cpu_level" in done.out


def test_info_imports_no_library_of_tables(model):
    modules = run_python(
        """
        import contextlib, io, json, sys
        import deltarule
        assert "deltarule._cli" not in sys.modules
        from deltarule._cli import main
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(["info", sys.argv[1]]) == 0
        print(json.dumps(sorted(sys.modules)))
        """,
        model,
    )
    top = {name.split(".")[0] for name in modules}
    assert not top & {"polars", "narwhals", "pandas", "pyarrow", "matplotlib", "sklearn"}
