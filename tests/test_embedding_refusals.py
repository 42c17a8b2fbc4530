"""Embedding: settings, codes and files that are refused, everywhere and with their place."""

import json
import re

import numpy as np
import pytest
import scipy.sparse as sp

import deltarule as dr
from deltarule import _file
from embedding_helpers import DTYPES, N_INPUTS, network, rows
from helpers import run_python

# ---- settings that are refused ------------------------------------------------------------------

SETTINGS = {
    "text": (("01", [2, 2]), TypeError, "columns must be a sequence of integers >= 0"),
    "one number": ((0, [2]), TypeError, "columns must be a sequence"),
    "no dimension": ((np.array(0), [2]), TypeError, "columns must be a sequence"),
    "a NumPy number": (([0], np.int64(2)), TypeError, "n_levels must be a sequence"),
    "a set": (({0, 1}, [2, 2]), TypeError, "columns must be a sequence"),
    "none": (([], []), ValueError, "columns must hold at least one integer"),
    "negative": (([0, -1], [2, 2]), ValueError, r"columns\[1\] must be an integer >= 0, got -1"),
    "float": (([0.0], [2]), TypeError, r"columns\[0\] must be an integer >= 0"),
    "boolean": (([True], [2]), TypeError, r"columns\[0\] must be an integer >= 0"),
    "nested": (([[0]], [2]), TypeError, r"columns\[0\]"),
    "two dimensions": ((np.zeros((1, 1), int), [2]), TypeError, r"columns\[0\]"),
    "twice": (([1, 0, 1], [2, 2, 2]), ValueError, "columns must be different ones, got 1 more"),
    "no levels": (([0], [0]), ValueError, r"n_levels\[0\] must be an integer >= 1, got 0"),
    "levels float": (([0], [2.0]), TypeError, r"n_levels\[0\]"),
    "levels number": (([0], 2), TypeError, "n_levels must be a sequence"),
    "lengths": (([0, 1], [2]), ValueError, "n_levels must have one number .* got 1 for 2"),
    "dimension 0": (([0], [2], 0), ValueError, "dimension must be an integer >= 1, got 0"),
    "dimension float": (([0], [2], 2.5), ValueError, "dimension must be an integer >= 1"),
    "dimension text": (([0], [2], "8"), TypeError, "dimension must be an integer >= 1"),
    "dimension True": (([0], [2], True), TypeError, "dimension must be an integer >= 1"),
}


@pytest.mark.parametrize("case", list(SETTINGS))
def test_settings_that_are_refused(case):
    (columns, n_levels, *dimension), error, match = SETTINGS[case]
    with pytest.raises(error, match=match):
        dr.Embedding(columns, n_levels, **({"dimension": dimension[0]} if dimension else {}))


def test_dimension_is_a_keyword():
    with pytest.raises(TypeError):
        dr.Embedding([0], [2], 3)


PLACES = {
    "after a Dense": ([dr.Dense(2), dr.Embedding([0], [2])], r"layers\[2\]: Embedding can only"),
    "twice": ([dr.Embedding([0], [2])] * 2, r"layers\[2\]: Embedding can only follow the Input"),
    "after Standardize": ([dr.Standardize(), dr.Embedding([0], [2])], "Embedding can only follow"),
    "before Standardize": ([dr.Embedding([0], [2]), dr.Standardize()], "Standardize can only"),
    "beyond X": ([dr.Embedding([0, 3], [2, 2])], "columns must be from 0 to 2, .* got 3"),
    "far beyond": ([dr.Embedding([10**30], [2])], "columns must be from 0 to 2"),
}


@pytest.mark.parametrize("case", list(PLACES))
def test_places_that_are_refused(case):
    layers, match = PLACES[case]
    with pytest.raises(ValueError, match=match):
        dr.Network([dr.Input(3), *layers, dr.Dense(1)])


def test_tables_that_cannot_be_held():
    def make(n_levels, dimension=1, dtype="float32"):
        layers = [dr.Input(2), dr.Embedding([0, 1], [2, n_levels], dimension=dimension)]
        return dr.Network(layers, dtype=dtype, seed=0)

    assert make(2**24).n_parameters == 2**24 + 2
    with pytest.raises(
        ValueError, match="n_levels must be at most 16777216, the codes that float32"
    ):
        make(2**24 + 1)
    with pytest.raises(ValueError, match="n_levels must be at most 9007199254740992"):
        make(2**53 + 1, dtype="float64")
    with pytest.raises(MemoryError, match="layers need"):
        make(2**24, 2**20)
    with pytest.raises(ValueError, match="63 bits"):
        make(2**24, 10**30)


# ---- codes that are refused ---------------------------------------------------------------------

NO_CODES = [6, -1, 0.5, 5.999, -0.001, 1e30, -1e30, 2**31, 2**63, 16777217.0]


def refusal(call):
    with pytest.raises(ValueError, match="got") as caught:
        call()
    assert type(caught.value) is ValueError
    return str(caught.value)


def uses(net, X, Y, n_threads=None):
    """Everything that takes X and refuses what is no code."""
    return {
        "fit": lambda: net.fit(X, Y, epochs=2, n_threads=n_threads),
        "whole": lambda: net.fit(X, Y, epochs=1, batch_size=None, n_threads=n_threads),
        "rmse": lambda: net.fit(X, Y, epochs=1, metrics=["rmse"], shuffle=False),
        "step": lambda: dr.Trainer(net).step(X, Y),
        "evaluate": lambda: net.evaluate(X, Y, metrics=["rmse"], n_threads=n_threads),
        "gradient": lambda: net.gradient(X, Y),
        "backward": lambda: net.backward(X, Y),
        "trace": lambda: net.trace(X, Y),
        "predict": lambda: net.predict(X, n_threads=n_threads),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", NO_CODES)
@pytest.mark.parametrize(("n", "row"), [(4, 0), (60, 59), (600, 1), (600, 599)])
def test_what_is_no_code_is_refused_everywhere(n, row, bad, dtype):
    net, (X, Y) = network(dtype, rescale=True), rows(n)
    X, Y = X.astype(dtype), Y.astype(dtype)
    X[row, 3] = bad
    kept = net.theta.copy()
    shown = float(np.asarray(bad, dtype))
    expected = f"X must hold integer codes from 0 to 5 in column 3, got {shown:.9g} at row {row}"
    for name in ("fit", "whole", "rmse"):
        assert refusal(uses(net, X, Y)[name]) == expected
        assert not net.layers[-1].fitted
        assert (np.array_equal(net.theta, kept), net.n_steps) == (True, 0)
    net.layers[-1].fitted = True
    for memory in (X, X.tolist(), sp.csr_array(X)):
        for name, use in uses(net, memory, Y).items():
            assert refusal(use) == expected, name
            assert (np.array_equal(net.theta, kept), net.n_steps) == (True, 0)


def test_the_first_is_named_on_any_number_of_threads():
    layers = [dr.Input(5), dr.Embedding((3, 1), (6, 40)), dr.Dense(300, "relu"), dr.Dense(300)]
    net = dr.Network([*layers, dr.Dense(2)], seed=0)
    X, Y = rows(2000)
    X[500:, 3], X[400:, 1], X[401:, 3] = 77, 50, 66
    X[400, 3] = 9  # the lower column of the row comes first, whichever is embedded first
    expected = "X must hold integer codes from 0 to 39 in column 1, got 50 at row 400"
    for n_threads in (1, 2, 5):
        for name, use in uses(net, X, Y, n_threads).items():
            assert refusal(use) == expected, name
    X[1999, 0] = np.nan  # what is not finite comes before, in training
    for n_threads in (1, 2, 5):
        assert "finite, got nan at row 1999" in refusal(uses(net, X, Y, n_threads)["fit"])
        assert refusal(uses(net, X, Y, n_threads)["predict"]) == expected


def test_bad_codes_come_before_bad_targets():
    layers = [dr.Input(2), dr.Embedding([0], [3]), dr.Dense(2, "softmax")]
    X, y = np.zeros((600, 2)), np.zeros(600, int)
    X[580, 0], y[3] = 4, 2
    for n in (1, 3):
        net = dr.Network(layers, seed=0)
        with pytest.raises(ValueError, match=r"X must hold integer codes .* got 4 at row 580"):
            net.fit(X, y, epochs=1, n_threads=n)


def test_validation_data_are_refused_by_name():
    net, (X, Y) = network(), rows(300)
    bad = X.copy()
    bad[1, 1] = 40
    kept = net.theta.copy()
    for metrics in ((), ["rmse"]):
        with pytest.raises(ValueError, match=r"^validation_data\[0\] must hold .* got 40 at row 1"):
            net.fit(X, Y, validation_data=(bad, Y), epochs=3, metrics=metrics)
        assert np.array_equal(net.theta, kept)
        assert net.n_steps == 0


def test_a_refused_run_leaves_the_trainer_as_it_was():
    X, Y = rows(50)
    bad = X.copy()
    bad[49, 3] = 6
    results = []
    for refused in (False, True):
        trainer = dr.Trainer(network(), seed=1)
        trainer.run(X, Y, epochs=3, batch_size=None)
        if refused:
            with pytest.raises(ValueError, match="got 6 at row 49"):
                trainer.run(bad, Y, epochs=6, batch_size=None)
            with pytest.raises(ValueError, match="got 6 at row 49"):
                trainer.step(bad, Y)
        trainer.run(X, Y, epochs=6, batch_size=None)
        results.append(trainer.network.theta.copy())
    assert np.array_equal(*results)


@pytest.mark.parametrize("n", [4, 64, 65, 700])
@pytest.mark.parametrize("n_threads", [None, 1, 3])
def test_a_refused_prediction_writes_nothing(n, n_threads):
    net, (X, _) = network("float32"), rows(n)
    X = X.astype("float32")
    X[n - 1, 3] = 6
    out = np.full((n, 2), 7, np.float32)
    with pytest.raises(ValueError, match=f"got 6 at row {n - 1}"):
        net.predict(X, out, n_threads=n_threads)
    assert (out == 7).all()
    X[n - 1, 3] = 5
    assert not (net.predict(X, out, n_threads=n_threads) == 7).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [9, 700])
def test_nan_stays_in_its_row(n, dtype):
    net, (X, Y) = network(dtype), rows(n)
    X = X.astype(dtype)
    expected = net.predict(X)
    for column in range(N_INPUTS):
        bad = X.copy()
        bad[4, column] = np.nan
        for memory in (bad, bad.tolist(), sp.csr_array(bad)):
            result = net.predict(memory)
            assert np.isnan(result[4]).all()
            assert np.delete(result, 4, 0).tobytes() == np.delete(expected, 4, 0).tobytes()
        for name, use in uses(net, bad, Y).items():
            if name != "predict":
                assert "finite, got nan at row 4" in refusal(use)


def test_codes_beyond_what_float32_holds():
    """Rounding to the dtype never makes a code of a number that is too large."""
    net = dr.Network([dr.Input(1), dr.Embedding([0], [2**24], dimension=1)], seed=0)
    X = np.array([[2**24 - 1], [0]])
    assert np.array_equal(net.predict(X)[:, 0], net.theta[[-1, 0]])
    for bad in (2**24, 2**24 + 1, 2**62, 2**63 - 1):
        with pytest.raises(ValueError, match="integer codes from 0 to 16777215"):
            net.predict(np.array([[0], [bad]]))


def test_codes_are_checked_in_the_dtype_of_the_network():
    """As all of X, and as class numbers: what rounds to a code there is one."""
    nets = [dr.Network([dr.Input(1), dr.Embedding([0], [4])], dtype=t, seed=0) for t in DTYPES]
    near = [[3 - 1e-12]]
    assert np.array_equal(nets[0].predict(near), nets[0].predict([[3]]))
    with pytest.raises(
        ValueError, match=r"codes from 0 to 3 in column 0, got 2\.99999999999\d+ at"
    ):
        nets[1].predict(near)


def test_x_may_change_under_a_fit():
    """Another thread writes codes that are none: refused or not, nothing is read out of bounds."""
    done = run_python(
        """
        import json, threading
        import numpy as np
        import deltarule as dr

        X = np.zeros((3000, 2))
        stop = threading.Event()

        def spoil():
            values = [0, 1e9, 2, -5, 0.5, 2**40]
            while not stop.is_set():
                for value in values:
                    X[:, 0] = value

        layers = [dr.Input(2), dr.Embedding([0], [3]), dr.Dense(8, "tanh"), dr.Dense(1)]
        net = dr.Network(layers, seed=0)
        thread = threading.Thread(target=spoil)
        thread.start()
        refused = 0
        for _ in range(30):
            try:
                net.fit(X, X[:, 1], epochs=2, n_threads=2)
                net.predict(X)
            except ValueError:
                refused += 1
        stop.set()
        thread.join()
        print(json.dumps(refused))
        """
    )
    assert 0 <= done <= 30


# ---- files that are refused ---------------------------------------------------------------------

FILES = {
    "columns text": ({"columns": "31"}, "columns must be a sequence"),
    "columns null": ({"columns": None}, "columns must be a sequence"),
    "columns object": ({"columns": {"3": 1}}, "columns must be a sequence"),
    "columns number": ({"columns": 3}, "columns must be a sequence"),
    "columns empty": ({"columns": [], "n_levels": []}, "columns must hold at least one"),
    "column float": ({"columns": [3.0, 1]}, r"columns\[0\] must be an integer"),
    "column boolean": ({"columns": [3, True]}, r"columns\[1\] must be an integer"),
    "column negative": ({"columns": [3, -1]}, r"columns\[1\] must be an integer"),
    "column beyond": ({"columns": [3, 5]}, "columns must be from 0 to 4"),
    "column huge": ({"columns": [3, 2**64]}, "columns must be from 0 to 4"),
    "column twice": ({"columns": [3, 3]}, "columns must be different"),
    "many columns": ({"columns": [1] * 100_000, "n_levels": [1] * 100_000}, "be different"),
    "levels missing": ({"n_levels": [6]}, "n_levels must have one number"),
    "levels swapped": ({"n_levels": [40, 7]}, "shape"),
    "levels zero": ({"n_levels": [46, 0]}, r"n_levels\[1\] must be an integer >= 1"),
    "levels negative": ({"n_levels": [-6, 52]}, r"n_levels\[0\] must be an integer >= 1"),
    "levels huge": ({"n_levels": [6, 2**62]}, "n_levels must be at most"),
    "levels wrap": ({"n_levels": [2**63, 2**63]}, "n_levels must be at most"),
    "levels of all memory": ({"n_levels": [6, 2**24], "dimension": 2**20}, "layers need"),
    "dimension huge": ({"dimension": 2**62}, "63 bits"),
    "dimension wraps": ({"dimension": 2**64 + 3}, "63 bits"),
    "dimension zero": ({"dimension": 0}, "dimension must be an integer >= 1"),
    "dimension float": ({"dimension": 3.0}, "dimension must be an integer >= 1"),
    "dimension other": ({"dimension": 4}, "layers.0.embedding"),
    "a key more": ({"units": 3}, "unknown key 'units'"),
    "kind": ({"kind": "embeddings"}, "unknown kind of layer"),
    "kind path": ({"kind": "deltarule.Embedding"}, "unknown kind of layer"),
}


@pytest.mark.parametrize("case", list(FILES))
def test_files_that_are_refused(case, tmp_path):
    path = tmp_path / "m.safetensors"
    network("float32").save(path)
    metadata, tensors = _file.read(path)
    changes, match = FILES[case]
    metadata["layers"][0] |= changes
    settings = {k: v for k, v in metadata.items() if k not in ("format", "version")}
    _file.write(path, json.loads(json.dumps(settings)), tensors)
    with pytest.raises(dr.ModelFileError, match=match):
        dr.load(path)


def test_files_with_other_tensors_or_places_are_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    network("float32").save(path)
    metadata, tensors = _file.read(path)
    metadata = {k: v for k, v in metadata.items() if k not in ("format", "version")}
    table = tensors["layers.0.embedding"]
    spoiled = table.copy()
    spoiled[7, 2] = np.nan
    others = {
        "lacks the tensor": {},
        "not (46, 3)": {"layers.0.embedding": table.T.copy()},
        "of float64": {"layers.0.embedding": table.astype("f8")},
        "NaN or infinite": {"layers.0.embedding": spoiled},
        "unknown tensor": {"layers.0.embedding": table, "layers.0.kernel": table},
    }
    rest = {k: v for k, v in tensors.items() if k != "layers.0.embedding"}
    for match, given in others.items():
        _file.write(path, metadata, {**rest, **given})
        with pytest.raises(dr.ModelFileError, match=re.escape(match)):
            dr.load(path)
    metadata["layers"] = [metadata["layers"][1], metadata["layers"][0], *metadata["layers"][2:]]
    _file.write(path, metadata, tensors)
    with pytest.raises(dr.ModelFileError, match="Embedding can only follow the Input"):
        dr.load(path)
