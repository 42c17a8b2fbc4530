"""Models of tables: what they read, say and keep, in memory and in a file."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import deltarule as dr
from deltarule import _file
from deltarule._errors import ModelFileError
from deltarule._table import frames, section, training
from deltarule._table.encoder import Encoder
from deltarule._table.model import TableModel
from deltarule._table.target import Amount, Classes
from helpers import level, rng
from make_golden import GOLDEN
from table_helpers import LIBRARIES, mixed
from tolerances import GOLDEN_FACTOR, close, tolerance

N = 60
TARGETS = {
    "text": Classes("y", ("a", "b", "ü")),
    "integers": Classes("y", (-1, 7, 2**60 + 1)),
    "floats": Classes("y", (0.1, 0.5)),
    "booleans": Classes("y", (False, True)),
    "number": Amount("y"),
}


def model(target="text", data=None, dtype="float32"):
    """A model with a network that was not trained; its biases are drawn."""
    frame = frames.wrap(pl.DataFrame(data or mixed(N)))
    encoder = Encoder.fit(frame, np.arange(len(frame)), ignore=(), n_threads=2)
    embedding = encoder.embedding()
    known = TARGETS[target]
    ends = [dr.Dense(1), dr.Rescale()] if target == "number" else [dr.Dense(known.width, "softmax")]
    layers = [dr.Input(encoder.width), *([embedding] if embedding else []), dr.Dense(8, "tanh")]
    network = dr.Network([*layers, *ends], dtype=dtype, seed=0)
    network.theta[:] = rng(3).normal(size=network.theta.shape)
    return TableModel(encoder, known, network, {"epochs": 3, "metrics": {"r2": 0.5}})


def answers(model, table):
    """The bits of all that a model says of a table."""
    probabilities = model.predict if model.classes is None else model.predict_proba
    return [
        array.tobytes()
        for array in (model.encode(table), model.predict(table), probabilities(table))
    ]


# --- tables -----------------------------------------------------------------------------------


def test_the_matrix_has_the_columns_in_order():
    built = model()
    X = built.encode(pl.DataFrame(mixed(N)))
    assert (X.dtype, X.shape) == (np.float32, (N, built.network.n_inputs))
    data = mixed(N)
    assert X[:, 1].tolist() == [value is None for value in data["size"]]
    assert X[:, 3].tolist() == [[-1, 1, 0][2 if v is None else v] for v in data["ok"]]
    assert X[:, 5:8].tolist() == [[v == each for each in "abc"] for v in data["kind"]]
    assert X[:, 8].tolist() == [v is None for v in data["kind"]]
    levels = sorted(set(data["town"]))
    assert X[:, 9].tolist() == [levels.index(v) + 1 for v in data["town"]]
    assert X[:, 10].max() == 16
    assert X[:, 10].min() == 1
    assert X.shape[1] == 11
    embedding = built.network.layers[0].settings
    assert (embedding.columns, embedding.n_levels) == ((9, 10), (13, 17))


def test_columns_that_teach_nothing_are_not_part_of_the_model():
    built, table = model(), pl.DataFrame(mixed(N))
    assert built._encoder.idle == {
        "same": "always the same", "serial": "no value repeats", "nothing": "empty",
    }  # fmt: skip
    assert not set(built._encoder.idle) & set(built.columns)
    assert answers(built, table.drop("same", "serial", "nothing")) == answers(built, table)
    odd = pl.DataFrame({"a": ["1.5", "2.25", *map(str, range(20)), "n.a."]})
    with pytest.raises(ValueError, match=r"no column teaches .* 'a' \(no value .* text for 'n.a.'"):
        Encoder.fit(frames.wrap(odd), np.arange(23), ignore=(), n_threads=1)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_library_gives_the_same_bits(library):
    table = LIBRARIES[library](mixed(N))
    fitted = Encoder.fit(frames.wrap(table), np.arange(N), ignore=(), n_threads=1)
    assert fitted == model()._encoder
    assert answers(model(), table) == answers(model(), pl.DataFrame(mixed(N)))


def test_a_csv_file_gives_the_same_bits(tmp_path):
    data = {name: values for name, values in mixed(N).items() if name not in ("town", "nothing")}
    table = pl.DataFrame(data)
    table.write_csv(tmp_path / "table.csv", separator=";")
    expected = answers(model(data=data), table)
    for infer in (True, False):
        found = frames.read(tmp_path / "table.csv", infer=infer)
        assert answers(model(data=data), found) == expected


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_in_another_order_and_columns_more(library):
    data = mixed(N)
    names = sorted(data, reverse=True)
    more = {"dates": pd.Timestamp(2020, 1, 31).to_pydatetime(), "lists": [1]}
    data |= {name: [value] * N for name, value in more.items()}
    table = LIBRARIES[library]({name: data[name] for name in ["dates", *names, "lists"]})
    assert answers(model(), table) == answers(model(), pl.DataFrame(mixed(N)))


def test_rows_alone_and_threads_give_the_same_bits():
    built, table = model(), pl.DataFrame(mixed(N))
    X = built.encode(table, n_threads=1)
    assert X.tobytes() == built.encode(table, n_threads=7).tobytes()
    assert X.tobytes() == b"".join(built.encode(table[i]).tobytes() for i in range(N))
    proba = built.predict_proba(table)
    assert proba.tobytes() == b"".join(built.predict_proba(table[i]).tobytes() for i in range(N))


def test_missing_columns_are_named():
    match = "the table lacks columns of the model: 'count', 'kind'$"
    with pytest.raises(ValueError, match=match):
        model().predict(pl.DataFrame(mixed(N)).drop("kind", "count"))


def test_values_that_do_not_fit_are_named():
    table = pl.DataFrame(mixed(N)).with_columns(pl.lit("few").alias("count"))
    with pytest.raises(ValueError, match="column 'count', row 1: 'few' is not a number"):
        model().predict(table)
    table = pl.DataFrame(mixed(N)).with_columns(pl.date(2020, 1, 31).alias("count"))
    with pytest.raises(ValueError, match="column 'count' holds dates"):
        model().predict(table)
    with pytest.raises(TypeError, match="table must be a data frame"):
        model().predict(np.zeros((3, 9)))


def test_what_training_has_not_seen():
    table = pl.DataFrame(mixed(3)).with_columns(
        pl.lit("new").alias("town"), pl.lit("new").alias("kind"), pl.lit(None).alias("count"),
        pl.lit(None).alias("ok"), pl.lit(None).alias("area"),
    )  # fmt: skip
    X = model().encode(table)
    assert X[:, 2:].tolist() == [[0, 0, 1, 0, 0, 0, 0, 0, 16]] * 3
    assert np.isfinite(model().predict_proba(table)).all()


def test_no_rows_and_no_columns():
    table = pl.DataFrame(mixed(N))
    assert model().predict(table[:0]).shape == (0,)
    assert model().predict_proba(table[:0]).shape == (0, 3)
    assert model("number").predict(table[:0]).shape == (0,)
    with pytest.raises(ValueError, match="no columns to learn from, besides those left out"):
        Encoder.fit(frames.wrap(table), np.arange(N), ignore=table.columns, n_threads=1)
    partial = Encoder.fit(frames.wrap(table), np.arange(N), ignore={"size", "town"}, n_threads=1)
    assert [column.name for column in partial.columns] == ["count", "ok", "kind", "area"]


# --- what it says -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_predictions_have_the_type_of_the_target(target):
    built, table = model(target), pl.DataFrame(mixed(N))
    outputs = built.network.predict(built.encode(table))
    found = built.predict(table)
    assert built.target == "y"
    assert built.columns == ("size", "count", "ok", "kind", "town", "area")
    if target == "number":
        assert built.classes is None
        assert found.tobytes() == outputs[:, 0].tobytes()
        with pytest.raises(ValueError, match="'y' is a number: it has no classes and prob"):
            built.predict_proba(table)
        return
    labels = TARGETS[target].labels
    assert built.classes.tolist() == list(labels)
    assert found.tolist() == [labels[i] for i in outputs.argmax(axis=1)]
    assert {type(label) for label in found.tolist()} == {type(labels[0])}
    assert len(set(found.tolist())) > 1
    proba = built.predict_proba(table)
    assert proba.tobytes() == outputs.tobytes()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)


def test_repr_and_copies():
    built, table = model(), pl.DataFrame(mixed(N))
    assert repr(built).startswith("<TableModel 'y' from 6 columns, ")
    expected = answers(built, table)
    for copied in (copy.copy(built), copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        assert answers(copied, table) == expected
        assert copied.record == built.record
    deep = copy.deepcopy(built)
    deep.network.theta[:] = 0
    deep.record.clear()
    assert answers(built, table) == expected
    assert built.record


# --- the file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_saved_is_loaded(target, dtype, path):
    built, table = model(target, dtype=dtype), pl.DataFrame(mixed(N))
    built.save(path)
    loaded = dr.load(path)
    assert isinstance(loaded, TableModel)
    assert answers(loaded, table) == answers(built, table)
    assert (loaded.record, loaded.columns, loaded.target) == (built.record, built.columns, "y")
    assert loaded._encoder == built._encoder
    assert loaded._target == built._target
    content = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == content


def test_without_codes_there_is_no_embedding(path):
    built = model(data={name: mixed(N)[name] for name in ("size", "ok", "kind")})
    assert built.network.layers[0].settings == dr.Dense(8, "tanh")
    built.save(path)
    assert answers(dr.load(path), pl.DataFrame(mixed(N))) == answers(built, pl.DataFrame(mixed(N)))


def test_the_numbers_of_a_column_survive_to_the_last_bit(path):
    x = rng(0).normal(size=N) * 10.0 ** rng(1).integers(-30, 30, N)
    data = {"a": x.tolist(), "b": [5e-324] * N, "c": [2**62 + k % 2 for k in range(N)]}
    built = model(data=data)
    built.save(path)
    assert dr.load(path)._encoder == built._encoder


def saved(path, target="text"):
    """The metadata and tensors of a model's file."""
    model(target).save(path)
    metadata, tensors = _file.read(path)
    return {k: v for k, v in metadata.items() if k not in ("format", "version")}, tensors


def places(value, at=()):
    """Every place in JSON, but inside the record."""
    if at:
        yield at
    if isinstance(value, (dict, list)) and at != ("record",):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*at, key))


def replaced(value, at, new):
    """JSON with another value in one place."""
    whole = inner = copy.deepcopy(value)
    for key in at[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return whole


def assert_refused(path, metadata, tensors, match=None):
    path.unlink()
    _file.write(path, metadata, tensors)
    with pytest.raises(ModelFileError, match=match) as caught:
        dr.load(path)
    assert str(caught.value).startswith(repr(str(path)))
    assert len(str(caught.value)) < 600


WRONG = [None, True, -1, 2**63, 0.5, 1e308, "", "NaN", "os.system", [], {}, [1, True], [["a"]], ...]


@pytest.mark.parametrize(
    "wrong", WRONG, ids=lambda value: json.dumps(value) if value != ... else ""
)
@pytest.mark.parametrize("target", ["text", "number"])
def test_any_value_replaced_is_refused_or_a_model(target, wrong, path):
    metadata, tensors = saved(path, target)
    refused = 0
    network = dr.load(path).network
    for at in places(metadata["table"]):
        table = replaced(metadata["table"], at, wrong)
        try:
            built = section.rebuild(table, network)
        except ModelFileError:
            refused += 1
        else:
            assert section.describe(built) == table
    assert refused > 25
    assert_refused(
        path, metadata | {"table": replaced(metadata["table"], ("columns",), wrong)}, tensors
    )


def hostile():
    """Name, place, value, what the message says."""
    size, kind, town = ("columns", 0), ("columns", 3), ("columns", 4)
    yield "NaN as text", (*size, "center"), "NaN", "'NaN' .* where a number belongs"
    yield "flag for a number", (*size, "factor"), True, "True .* where a number belongs"
    yield "number for a flag", (*size, "missing"), 1, "where true or false belongs"
    yield "wider", (*size, "missing"), False, "does not fit the widths"
    yield "unknown kind", (*size, "kind"), "date", "unknown kind of column"
    yield "class path", (*size, "kind"), "deltarule._table.columns.Number", "unknown kind"
    yield "list for a kind", (*size, "kind"), ["number"], "unknown kind of column"
    yield "other kind", (*size, "kind"), "boolean", "other keys in a boolean column"
    yield "name of another column", (*size, "name"), "town", "one name twice"
    yield "no columns", ("columns",), [], "without columns"
    yield "levels twice", (*kind, "levels"), ["a", "b", "a"], "lists a value twice"
    yield "levels of numbers", (*kind, "levels"), [1, 2, 3], "where text belongs"
    yield "levels of two types", (*kind, "levels"), ["a", 1, True], "twice|where text belongs"
    yield "a level more", (*kind, "levels"), ["a", "b", "c", "d"], "does not fit the widths"
    yield (
        "many levels",
        (*kind, "levels"),
        [str(i) for i in range(10**5)],
        "does not fit the widths",
    )
    yield (
        "a code less",
        (*town, "levels"),
        list("abcdefghijk"),
        "does not fit the network's embedding",
    )
    yield "codes as columns", (*town, "levels"), ["a"], "does not fit the network's embedding"
    yield "half a character", (*size, "name"), "\ud800", "damaged text"
    yield "half a character as label", ("target", "labels"), ["a", "b", "\udc80"], "damaged text"
    yield "many columns", ("columns",), [{"kind": "boolean"}] * 10**4, "other keys in a boolean"
    yield "record", ("record",), [], "damaged table section"
    yield "labels of two types", ("target", "labels"), ["a", 1, 2], "damaged target"
    yield "labels of one and true", ("target", "labels"), [1, True, 2], "lists a value twice"
    yield "labels of 1 and 2.5", ("target", "labels"), [1, 2.5, 3], "damaged target"
    yield "labels of null", ("target", "labels"), [None, "a", "b"], "where a list belongs"
    yield "labels of lists", ("target", "labels"), [["a"], ["b"], ["c"]], "where a list belongs"
    yield "a label less", ("target", "labels"), ["a", "b"], "does not fit the widths"
    yield "no labels", ("target", "labels"), [], "damaged target"
    yield "labels in text", ("target", "labels"), "abc", "where a list belongs"
    yield "labels twice", ("target", "labels"), ["a", "a", "b"], "lists a value twice"
    yield "target of a number", ("target",), {"kind": "number", "name": "y"}, "does not fit the wid"
    yield "unknown target", ("target", "kind"), "pickle", "damaged target"
    yield "key more", ("code",), "import os", "other keys in the table section"
    yield "key less", ("record",), ..., "other keys in the table section"


@pytest.mark.parametrize("name", [case[0] for case in hostile()])
def test_a_table_section_that_does_not_fit_is_refused(name, path):
    (at, wrong, match) = next(case[1:] for case in hostile() if case[0] == name)
    metadata, tensors = saved(path)
    metadata["table"] = replaced(metadata["table"], at, wrong)
    assert_refused(path, metadata, tensors, match)


@pytest.mark.parametrize("table", [None, 1, "", [], {}, [{"columns": []}]])
def test_a_table_section_of_another_type_is_refused(table, path):
    metadata, tensors = saved(path)
    assert_refused(path, metadata | {"table": table}, tensors, "table section|table")


def test_a_network_without_layers_is_refused(path):
    metadata, _ = saved(path)
    assert_refused(path, metadata | {"layers": []}, {})


def test_weights_that_are_not_finite_are_refused(path):
    metadata, tensors = saved(path)
    tensors["layers.1.bias"][0] = np.nan
    assert_refused(path, metadata, tensors, "NaN or infinite")
    assert isinstance(dr.load(path, allow_nonfinite=True), TableModel)


def test_a_model_of_a_table_in_format_1_predicts_what_it_did():
    recorded = json.loads((GOLDEN / "table_1.json").read_text())
    loaded = dr.load(GOLDEN / "table_1.safetensors")
    table = pl.DataFrame(mixed(N))
    assert loaded.encode(table).tolist() == recorded["encoded"]
    assert loaded.predict(table).tolist() == recorded["predictions"]
    rtol = GOLDEN_FACTOR[level()] * tolerance("float32", 100)
    assert close(loaded.predict_proba(table), recorded["probabilities"], rtol)


def test_levels_that_no_model_file_can_hold_are_refused_before_training():
    words = [f"{i:05d}" + "\u6f22" * 900 for i in range(4000)]
    table = pl.DataFrame({"text": words * 5, "y": [i / 3 for i in range(20000)]})
    settings = training.TableSettings(progress=False)
    with pytest.raises(ValueError, match=r"need \d+ MiB of a model file, .*'text', the largest"):
        training.prepare(frames.wrap(table), "y", settings)
