"""Embedding: against tables in NumPy, one-hot columns and differences; bits, views, copies."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

import deltarule as dr
import reference
from deltarule import _file
from embedding_helpers import (
    COLUMNS,
    DIMENSION,
    DTYPES,
    LEVELS,
    N_INPUTS,
    N_TABLE,
    NAMES,
    SIZES,
    TABLES,
    WIDTH,
    network,
    rows,
)
from helpers import OPTIMIZERS, central_differences, dense_layers, rng
from tolerances import DIFFERENCE, close, tolerance

# ---- the mathematics ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 256, 257, 600])
def test_predictions_and_gradients_agree_with_the_reference(n, dtype):
    net, (X, Y) = network(dtype), rows(n)
    X, Y, theta = (
        X.astype(dtype).astype(float),
        Y.astype(dtype).astype(float),
        net.theta.astype(float),
    )
    tables, dense_theta = reference.unflatten_tables(theta, LEVELS, DIMENSION)
    embedded = reference.embed(tables, COLUMNS, X)
    rtol = tolerance(dtype, terms=n + sum(SIZES))
    _, A = reference.forward(dense_theta, SIZES, NAMES, embedded)
    assert close(net.predict(X), A[-1].T, rtol)
    L, grad, dA = reference.embedding_gradient(theta, *TABLES, SIZES, NAMES, X, Y, "mse")
    loss, gradient = net.gradient(X, Y)
    assert close(loss, L, rtol)
    assert close(gradient, grad, rtol)
    trace = net.trace(X, Y)
    assert np.array_equal(trace.layers[0].a, embedded)
    assert close(trace.layers[0].delta, dA, rtol)
    assert np.array_equal(trace.gradient, gradient)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_gradients_agree_with_central_differences(loss):
    net, (X, Y) = network(dropout=0.3), rows(20)
    for training in (False, True):
        arguments = {"loss": loss, "training": training}
        _, gradient = net.gradient(X, Y, **arguments)
        differences = central_differences(lambda a=arguments: net.gradient(X, Y, **a)[0], net.theta)
        assert abs(gradient[:N_TABLE]).max() > 1e-3
        assert close(gradient, differences, DIFFERENCE)


def test_backward_has_no_gradient_for_codes():
    net, (X, Y) = network(), rows(300)
    gradient, d_X = net.backward(X, Y)
    assert not d_X[:, COLUMNS].any()
    others = [c for c in range(N_INPUTS) if c not in COLUMNS]
    few = X[:4].copy()

    def value():
        return float((net.predict(few) * Y[:4]).sum())

    differences = np.zeros(few.shape)
    for c in others:
        view = few[:, c]
        differences[:, c] = central_differences(value, view)
    assert close(d_X[:4], differences, DIFFERENCE)
    by_row = [net.backward(X[i : i + 1], Y[i : i + 1])[0] for i in range(300)]
    assert close(gradient, np.sum(by_row, axis=0), 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_that_no_row_has_have_no_gradient(dtype):
    net, (X, Y) = network(dtype), rows(300)
    X[:, COLUMNS[1]] = np.where(X[:, COLUMNS[1]] < 10, 5, 38)
    for gradient in (net.gradient(X, Y)[1], net.backward(X, Y)[0], net.trace(X, Y).gradient):
        for j, table in enumerate(net.unflatten(gradient)[0]):
            seen = np.isin(np.arange(LEVELS[j]), X[:, COLUMNS[j]])
            assert (table[seen] != 0).all()
            assert not table[~seen].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_embedding_is_a_dense_layer_on_one_hot_columns(dtype):
    """Without biases: the same outputs, gradients of the tables, and training."""
    net, (X, Y) = network(dtype), rows(90)
    others = [c for c in range(N_INPUTS) if c not in COLUMNS]
    hot = [np.eye(n)[X[:, c].astype(int)] for c, n in zip(COLUMNS, LEVELS, strict=True)]
    wide = np.hstack([X[:, others], *hot])
    layers = [dr.Input(wide.shape[1]), dr.Dense(WIDTH), dr.Dense(7, "tanh"), dr.Dense(2)]
    twin = dr.Network(layers, dtype=dtype, seed=0)
    kernel = twin.layers[0].kernel
    kernel[:] = 0
    kernel[: len(others), : len(others)] = np.eye(len(others))
    places, at, to = [], len(others), len(others)
    for table in net.layers[0].tables:
        places.append((slice(at, at + len(table)), slice(to, to + DIMENSION)))
        kernel[places[-1]] = table
        at, to = at + len(table), to + DIMENSION
    for ours, theirs in zip(dense_layers(net), dense_layers(twin)[1:], strict=True):
        theirs.W, theirs.b = ours.W, ours.b
    rtol = tolerance(dtype, terms=200)
    assert close(net.predict(X), twin.predict(wide), rtol)
    mine, other = net.gradient(X, Y)[1], twin.gradient(wide, Y)[1]
    dW, _ = twin.unflatten(other)[0]
    for table, place in zip(net.unflatten(mine)[0], places, strict=True):
        assert close(table, dW.T[place], rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("penalties", [{}, {"l2": 0.05}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("n", [9, 300])
def test_twenty_steps_agree_with_the_reference(n, penalties, optimizer, dtype):
    net = network(dtype)
    theta = net.theta.astype(float)
    ours, theirs = OPTIMIZERS[optimizer](**penalties)
    trainer = dr.Trainer(net, optimizer=ours)
    l2, decay = penalties.get("l2", 0.0), penalties.get("weight_decay", 0.0)
    for k in range(20):
        X, Y = (a.astype(dtype) for a in rows(n, seed=k))
        value = trainer.step(X, Y)
        X, Y = X.astype(float), Y.astype(float)
        L, grad, _ = reference.embedding_gradient(theta, *TABLES, SIZES, NAMES, X, Y, "mse", l2=l2)
        for W, _b in reference.unflatten(theta[N_TABLE:], SIZES):
            W *= 1 - theirs.learning_rate * decay
        theta[:N_TABLE] *= 1 - theirs.learning_rate * decay
        theirs.update(theta, grad)
        rtol = tolerance(dtype, terms=(k + 1) * (n + sum(SIZES)))
        assert close(value, L, rtol), f"loss of step {k}"
        assert close(net.theta, theta, rtol), f"theta after step {k}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_summation(dtype):
    """A level's rows of a block of 256 in one chain from zero; blocks in order: to the bit."""
    net, (X, Y) = network(dtype), rows(700)
    trace = net.trace(X, Y)
    at = N_INPUTS - len(COLUMNS)
    for column, n_levels, found in zip(COLUMNS, LEVELS, trace.layers[0].dtables, strict=True):
        total = np.zeros((n_levels, DIMENSION), dtype)
        for first in range(0, 700, 256):
            codes = X[first : first + 256, column].astype(int)
            block = np.zeros_like(total)
            np.add.at(block, codes, trace.layers[0].delta[first : first + 256, at : at + DIMENSION])
            total += block
        assert np.array_equal(found, total)
        at += DIMENSION


def test_it_learns_what_codes_mean():
    g = rng(3)
    X = np.column_stack([g.uniform(-1, 1, 2000), g.integers(30, size=2000)])
    meaning = g.normal(size=30)
    y = X[:, 0] * meaning[X[:, 1].astype(int)]
    layers = [dr.Input(2), dr.Embedding([1], [30], dimension=4), dr.Dense(32, "tanh"), dr.Dense(1)]
    net = dr.Network(layers, seed=0)
    history = net.fit(X, y, epochs=60, optimizer=dr.Adam(0.01), seed=0)
    assert history["loss"][-1] < 0.01 * np.var(y)


# ---- the same bits ------------------------------------------------------------------------------


def trained(n_threads, dtype, optimizer, pieces=()):
    """A training that is worth threads, whose shares cut both tables."""
    levels = (900, 2000)
    layers = [dr.Input(N_INPUTS), dr.Embedding(COLUMNS, levels, dimension=21)]
    layers += [dr.Dense(150, "relu"), dr.Dropout(0.1), dr.Dense(150, "tanh"), dr.Dense(2)]
    net = dr.Network([*layers, dr.Rescale()], dtype=dtype, seed=1)
    X, Y = rows(413, levels=levels)
    trainer = dr.Trainer(net, optimizer=optimizer, seed=2)
    settings = {"epochs": 3, "batch_size": 300, "validation_data": (X[:270], Y[:270])}
    for steps, threads in pieces:
        trainer.run(X, Y, max_steps=steps, n_threads=threads, **settings)
    history = trainer.run(X, Y, n_threads=n_threads, **settings)
    values = [history[key].tobytes() for key in ("loss", "val_loss")]
    return net.theta.tobytes(), values, net.predict(X, n_threads=n_threads).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [dr.SGD(0.01, momentum=0.9, l2=1e-3), dr.Adam(0.01)])
def test_the_same_bits_on_any_number_of_threads_and_in_pieces(optimizer, dtype):
    one = trained(1, dtype, optimizer)
    for n_threads in (2, 5):
        assert trained(n_threads, dtype, optimizer) == one
    assert trained(1, dtype, optimizer, pieces=[(1, 2), (2, 5), (1, 1)]) == one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 256])
def test_the_fused_update_has_the_bits_of_gradient_and_apply(n, dtype):
    net, (X, Y) = network(dtype), rows(n)
    one, other = (dr.Trainer(net.copy(), optimizer=dr.SGD(0.1, 0.9)) for _ in range(2))
    for _ in range(3):
        one.step(X, Y)
        other.apply(other.network.gradient(X, Y)[1])
    assert np.array_equal(one.network.theta, other.network.theta)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(dtype):
    net, (X, _) = network(dtype), rows(600)
    whole = net.predict(X)
    for step in (1, 7, 64, 65):
        parts = [net.predict(X[i : i + step].astype(dtype)) for i in range(0, 600, step)]
        assert np.concatenate(parts).tobytes() == whole.astype(dtype).tobytes()
    assert net.predict(X, n_threads=3).tobytes() == whole.tobytes()


def forms(X):
    """The same rows in other memory."""
    return {
        "Fortran": np.asfortranarray(X),
        "steps": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": X[::-1].copy()[::-1],
        "big-endian": X.astype(">f8"),
        "list": X.tolist(),
        "CSR": sp.csr_array(X),
        "CSC": sp.csc_matrix(X),
        "objects": X.astype(object),
    }


@pytest.mark.parametrize("form", list(forms(np.zeros((1, 1)))))
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_from_any_memory(form, dtype):
    X, Y = rows(300)
    results = []
    for given in (X, forms(X)[form]):
        net = network(dtype)
        history = net.fit(given, Y, epochs=2, seed=0)
        results.append(
            (net.theta.tobytes(), history["loss"].tobytes(), net.predict(given).tobytes())
        )
        results[-1] += (net.gradient(given, Y)[1].tobytes(),)
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "i8", "u8", "f2", "?"])
def test_codes_of_every_dtype(dtype):
    X = rng(0).integers(2, size=(80, N_INPUTS))
    Y = rng(1).normal(size=(80, 2))
    nets = [network("float32") for _ in range(2)]
    for net, given in zip(nets, (X.astype(float), X.astype(dtype)), strict=True):
        net.fit(given, Y, epochs=2, seed=0)
    assert np.array_equal(nets[0].theta, nets[1].theta)
    assert np.array_equal(nets[0].predict(X.astype(dtype)), nets[1].predict(X))


def test_minus_zero_and_subnormal_numbers_are_code_zero():
    net, (X, _) = network(), rows(3)
    X[:, COLUMNS[0]] = [0.0, -0.0, 5e-324]
    X[:] = np.where(np.isin(np.arange(N_INPUTS), COLUMNS[0]), X, X[0])
    assert len({net.predict(X[i : i + 1]).tobytes() for i in range(3)}) == 1


def test_a_large_table():
    """100 000 levels, more than any dense layer of the network: seen rows alone have gradient."""
    n_levels = 100_000
    layers = [dr.Input(2), dr.Embedding([0], [n_levels]), dr.Dense(4, "tanh"), dr.Dense(1)]
    g, thetas = rng(0), []
    codes = g.choice(n_levels, 500, replace=False)
    codes[:2] = 0, n_levels - 1
    X = np.column_stack([codes, g.normal(size=500)])
    y = g.normal(size=500)
    for n_threads in (1, 3):
        net = dr.Network(layers, seed=0)
        first = net.theta.copy()
        assert net.layers[0].tables[0].shape == (n_levels, 8)
        _, gradient = net.gradient(X, y)
        seen = np.flatnonzero(net.unflatten(gradient)[0][0].any(axis=1))
        assert np.array_equal(seen, np.sort(codes))
        net.fit(X, y, epochs=1, optimizer=dr.SGD(0.1), n_threads=n_threads, batch_size=100, seed=0)
        moved = np.flatnonzero((net.layers[0].tables[0] != net.unflatten(first)[0][0]).any(axis=1))
        assert np.array_equal(moved, np.sort(codes))
        dr.Trainer(net).step(X, y)  # 500 rows: two blocks
        thetas.append(net.theta.tobytes())
    assert thetas[0] == thetas[1]


def test_small_calls_of_a_large_table_go_straight_into_the_core(monkeypatch):
    """A table is looked up, not multiplied: its size is no work."""
    net = dr.Network([dr.Input(2), dr.Embedding([0], [100_000]), dr.Dense(1)], seed=0)
    X = np.array([[99_999, 0.5], [0, 1.0]], np.float32)
    expected = net.predict(X, n_threads=1)

    def fail(name, value):
        raise AssertionError(f"{name} was checked in Python")

    monkeypatch.setattr("deltarule._validation.numbers", fail)
    assert net.predict(X).tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="got 100000 at row 1"):
        net.predict(np.array([[0, 0.5], [100_000, 1.0]], np.float32))


@pytest.mark.parametrize("dimension", [1, 2, 4, 17, 2048, 5000])
def test_any_dimension(dimension):
    """Tiles of one level, and of many; a vector longer than a tile."""
    layers = [dr.Input(2), dr.Embedding([1], [9], dimension=dimension), dr.Dense(1)]
    net = dr.Network(layers, dtype="float64", seed=0)
    g = rng(0)
    X, Y = np.column_stack([g.normal(size=400), g.integers(9, size=400)]), g.normal(size=(400, 1))
    theta, sizes = net.theta.copy(), (1 + dimension, 1)
    args = ((1,), (9,), dimension, sizes, ("identity",))
    trainer = dr.Trainer(net, optimizer=dr.SGD(0.01))
    for batch in (slice(0, 20), slice(0, 400)):
        _, grad, _ = reference.embedding_gradient(theta, *args, X[batch], Y[batch], "mse")
        trainer.step(X[batch], Y[batch])
        theta -= 0.01 * grad
        assert close(net.theta, theta, tolerance("float64"))


# ---- numbers and views --------------------------------------------------------------------------


def test_tables_are_views_of_theta():
    net = network("float32")
    layer, tables = net.layers[0], net.layers[0].tables
    assert [table.shape for table in tables] == [(n, DIMENSION) for n in LEVELS]
    assert all(np.shares_memory(table, net.theta) for table in tables)
    flat = np.concatenate([table.ravel() for table in tables])
    assert np.array_equal(flat, net.theta[:N_TABLE])
    assert (layer.W, layer.b, layer.kernel, layer.mean, layer.fitted) == (None,) * 4 + (True,)
    assert (layer.n_inputs, layer.n_outputs, layer.n_parameters) == (N_INPUTS, WIDTH, N_TABLE)
    assert net.layers[1].tables is None
    tables[1][:] = 5
    assert (net.theta[LEVELS[0] * DIMENSION : N_TABLE] == 5).all()
    parts = net.unflatten(np.arange(net.n_parameters))
    assert [part.shape for part in parts[0]] == [table.shape for table in tables]
    assert parts[0][1][2, 1] == (LEVELS[0] + 2) * DIMENSION + 1
    assert parts[1][0].shape == (7, WIDTH)


def test_the_trace_shows_the_tables():
    net, (X, Y) = network(), rows(20)
    trace = net.trace(X, Y)
    layer = trace.layers[0]
    assert (layer.dW, layer.db, trace.layers[1].dtables) == (None, None, None)
    for table, part in zip(layer.dtables, net.unflatten(trace.gradient)[0], strict=True):
        assert np.array_equal(table, part)
        assert not table.flags.writeable
    assert "dtables [(6, 3), (40, 3)]" in repr(trace)
    assert np.array_equal(layer.z, layer.a)


def test_initial_tables():
    layers = [dr.Input(3), dr.Embedding([0, 2], [5000, 3000], dimension=16)]
    net, again, other = (dr.Network(layers, dtype="float64", seed=s) for s in (0, 0, 1))
    table = net.theta
    assert np.array_equal(table, again.theta)
    assert not np.array_equal(table, other.theta)
    assert abs(table.mean()) < 5 * 0.25 / np.sqrt(table.size)
    assert abs(table.std() / 0.25 - 1) < 5 / np.sqrt(2 * table.size)


def test_descriptions():
    net = network("float32")
    assert "Embedding((3, 1), (6, 40), dimension=3)" in repr(net)
    line = next(line for line in net.summary().splitlines() if "Embedding" in line)
    assert line.split() == ["0", "Embedding", "(n,", "9)", "138"]
    assert repr(net.layers[0]).endswith("5 -> 9, 138 parameters>")
    layer = dr.Embedding([0], [2])
    assert repr(layer) == "Embedding((0,), (2,))"
    assert layer == dr.Embedding(np.array([0]), range(2, 3), dimension=8)
    assert hash(layer) == hash(dr.Embedding((0,), (2,)))
    with pytest.raises(AttributeError):
        layer.dimension = 3


def test_copies(tmp_path):
    net, (X, Y) = network("float32", rescale=True), rows(50)
    net.fit(X, Y, epochs=2)
    path = tmp_path / "m.safetensors"
    net.save(path)
    copies = [net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), dr.load(path)]
    for twin in copies:
        assert twin.theta.tobytes() == net.theta.tobytes()
        assert not np.shares_memory(twin.theta, net.theta)
        assert twin.predict(X).tobytes() == net.predict(X).tobytes()
        assert repr(twin) == repr(net)
        twin.layers[0].tables[0][:] = 0
    assert net.layers[0].tables[0].any()


def test_the_model_file(tmp_path):
    net, path = network("float32"), tmp_path / "m.safetensors"
    net.save(path)
    metadata, tensors = _file.read(path)
    assert metadata["layers"][0] == {
        "kind": "embedding", "columns": [3, 1], "n_levels": [6, 40], "dimension": 3,
    }  # fmt: skip
    assert tensors["layers.0.embedding"].shape == (46, 3)
    assert np.array_equal(tensors["layers.0.embedding"].ravel(), net.theta[:N_TABLE])


def test_a_resumed_training_has_the_same_bits(tmp_path):
    X, Y = rows(60)
    settings = {"epochs": 5, "batch_size": 13}

    def trainer():
        return dr.Trainer(network("float32", dropout=0.2, rescale=True), optimizer="adam", seed=4)

    whole = trainer()
    whole.run(X, Y, **settings)
    stopped = trainer()
    stopped.run(X, Y, max_steps=8, **settings)
    stopped.save(tmp_path / "half")
    resumed = dr.Trainer.resume(tmp_path / "half")
    resumed.run(X, Y, **settings)
    assert resumed.network.theta.tobytes() == whole.network.theta.tobytes()
    assert resumed.history["loss"].tobytes() == whole.history["loss"].tobytes()


def test_a_network_of_an_embedding_alone():
    net = dr.Network([dr.Input(1), dr.Embedding([0], [4], dimension=2)], dtype="float64", seed=0)
    X, Y = np.array([[0], [3], [3]]), np.ones((3, 2))
    assert np.array_equal(net.predict(X), net.layers[0].tables[0][[0, 3, 3]])
    history = net.fit(X, Y, epochs=200, optimizer=dr.SGD(0.5))
    assert history["loss"][-1] < 1e-6
    net = dr.Network([dr.Input(2), dr.Embedding([0], [4]), dr.Dropout(0.2), dr.Dense(1)], seed=0)
    net.fit([[0, 1.0], [3, 2.0]], [1.0, 2.0], epochs=2)
    activated = [dr.Input(1), dr.Embedding([0], [4], dimension=2), dr.Activation("tanh")]
    net = dr.Network(activated, dtype="float64", seed=0)
    differences = central_differences(lambda: net.gradient(X, Y, loss="mse")[0], net.theta)
    assert close(net.gradient(X, Y, loss="mse")[1], differences, DIFFERENCE)


@pytest.mark.parametrize("scale", [None, ([1.0, 2.0], [3.0, 0.5])])
def test_with_rescaled_outputs(scale):
    net, (X, Y) = network(rescale=True), rows(40)
    if scale:
        net.layers[-1].set_statistics(*scale)
    net.fit(X, 5 + 10 * Y, epochs=2, seed=0)
    _, gradient = net.gradient(X, Y)
    differences = central_differences(lambda: net.gradient(X, Y)[0], net.theta)
    assert close(gradient, differences, DIFFERENCE)
