"""Forward pass and trace against reference.py: every activation, depth, dtype and batch size."""

import numpy as np
import pytest

import deltarule as dr
import reference
from helpers import ACTIVATIONS, OUTPUT_OF, dense, problem, rng, targets
from tolerances import close, tolerance

BLOCK_EDGES = [1, 255, 256, 257, 600]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_predict_agrees_with_the_reference(hidden, output, dtype):
    sizes, names = (3, 5, 4), (hidden, output)
    net = dense(sizes, names, dtype=dtype)
    X = rng(1).normal(size=(11, 3)).astype(dtype)
    _, A = reference.forward(net.theta.astype(float), sizes, names, X.astype(float))
    prediction = net.predict(X)
    assert prediction.dtype == dtype
    assert prediction.shape == (11, 4)
    assert close(prediction, A[-1].T, tolerance(dtype, terms=sum(sizes)))


@pytest.mark.parametrize("n", BLOCK_EDGES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_rows(n, dtype):
    sizes, names = (3, 20, 17, 2), ("tanh", "relu", "identity")
    net = dense(sizes, names, dtype=dtype)
    X, Y = problem(n)
    X, Y = X.astype(dtype), Y.astype(dtype)
    theta = net.theta.astype(float)
    _, A = reference.forward(theta, sizes, names, X.astype(float))
    L, grad, _ = reference.gradient(theta, sizes, names, X.astype(float), Y.astype(float), "mse")
    rtol = tolerance(dtype, terms=20 + n)
    assert close(net.predict(X), A[-1].T, rtol)
    assert close(net.evaluate(X, Y)["loss"], L, rtol)
    loss, gradient = net.gradient(X, Y)
    assert close(loss, L, rtol)
    assert close(gradient, grad, rtol)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 257, 300, 513])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_width(width, dtype):
    sizes, names = (width, width, 1, width), ("tanh", "identity", "tanh")
    net = dense(sizes, names, dtype=dtype)
    X = rng(width).normal(size=(9, width)).astype(dtype)
    Y = rng(width, 1).normal(size=(9, width)).astype(dtype)
    theta = net.theta.astype(float)
    _, A = reference.forward(theta, sizes, names, X.astype(float))
    _, grad, _ = reference.gradient(theta, sizes, names, X.astype(float), Y.astype(float), "mse")
    rtol = tolerance(dtype, terms=width + 9)
    assert close(net.predict(X), A[-1].T, rtol)
    assert close(net.gradient(X, Y, loss="mse")[1], grad, rtol)


@pytest.mark.parametrize("loss", list(reference.LOSSES))
@pytest.mark.parametrize("n", [1, 6, 257])
def test_trace_agrees_with_the_reference(loss, n):
    sizes, names = (3, 5, 4, 2), ("tanh", "softmax", OUTPUT_OF.get(loss, "identity"))
    net = dense(sizes, names)
    X, Y = rng(2, n).normal(size=(n, 3)), targets(loss, n, 2)
    Z, A = reference.forward(net.theta, sizes, names, X)
    L, grad, deltas = reference.gradient(net.theta, sizes, names, X, Y, loss)
    t = net.trace(X, Y, loss=loss)
    rtol = tolerance("float64")
    assert close(t.loss, L, rtol)
    assert len(t.layers) == len(net.layers) == 3
    for i, (dW, db) in enumerate(reference.unflatten(grad, sizes)):
        layer = t.layers[i]
        assert close(layer.z, Z[i + 1].T, rtol)
        assert close(layer.a, A[i + 1].T, rtol)
        assert close(layer.delta, deltas[i].T, rtol)
        assert close(layer.dW, dW, rtol)
        assert close(layer.db, db[:, 0], rtol)
        assert layer.dW.shape == net.layers[i].W.shape == (sizes[i + 1], sizes[i])
        assert layer.db.shape == net.layers[i].b.shape == (sizes[i + 1],)


def test_trace_is_read_only_and_owns_its_memory():
    net = dense((2, 3, 1), ("tanh", "identity"))
    X, Y = problem(5, 2, 1)
    t = net.trace(X, Y)
    kept = {name: getattr(t.layers[0], name).copy() for name in ("z", "a", "delta", "dW", "db")}
    for layer in t.layers:
        for name in kept:
            view = getattr(layer, name)
            assert not view.flags.writeable
            assert not np.shares_memory(view, net.theta)
            with pytest.raises(ValueError, match="read-only"):
                view[...] = 0
    net.theta[:] = 7
    net.trace(2 * X, Y)
    layer = t.layers[0]
    del t, net
    for name, value in kept.items():
        assert np.array_equal(getattr(layer, name), value)


def test_trace_of_layers_without_parameters():
    net = dr.Network(
        [
            dr.Input(2),
            dr.Standardize(),
            dr.Dense(3),
            dr.Activation("tanh"),
            dr.Dropout(0.5),
            dr.Dense(1),
            dr.Rescale(),
        ],
        dtype="float64",
        seed=0,
    )
    X, Y = problem(20, 2, 1)
    net.fit(X, Y, epochs=1)
    t = net.trace(X, Y)
    assert len(t.layers) == len(net.layers) == 6
    for i, trained in enumerate([False, True, False, False, True, False]):
        assert (t.layers[i].dW is not None) == trained
        assert (t.layers[i].db is not None) == trained
    standardize, dense1, activation, dropout, dense2, rescale = t.layers
    assert close(standardize.a, (X - X.mean(axis=0)) / X.std(axis=0), 1e-12)
    assert np.array_equal(dense1.z, dense1.a)  # no activation of its own: z is a
    assert np.array_equal(activation.z, dense1.a)
    assert close(activation.a, np.tanh(dense1.z), 1e-12)
    assert np.array_equal(dropout.a, activation.a)  # inference: nothing is dropped
    assert close(rescale.a, dense2.a * Y.std() + Y.mean(), 1e-12)
    assert np.array_equal(rescale.a, net.predict(X))


def test_trace_in_training_mode_shows_the_masks():
    net = dense((3, 40, 2), ("tanh", "identity"), dropout=0.25)
    X, Y = problem(30)
    t = net.trace(X, Y, training=True)
    tanh, dropout, _ = t.layers
    dropped = dropout.a == 0
    assert 0.1 < dropped.mean() < 0.4
    assert close(dropout.a[~dropped], (tanh.a / 0.75)[~dropped], 1e-12)
    loss, gradient = net.gradient(X, Y, training=True)
    assert t.loss == loss
    assert np.array_equal(t.layers[0].dW, net.unflatten(gradient)[0][0])


def test_a_dense_layer_followed_by_an_activation_is_the_fused_layer():
    fused = dense((3, 5, 2), ("silu", "identity"))
    apart = dr.Network(
        [dr.Input(3), dr.Dense(5), dr.Activation("silu"), dr.Dense(2)], dtype="float64", seed=1
    )
    apart.theta[:] = fused.theta
    X, Y = problem(20)
    assert close(apart.predict(X), fused.predict(X), 1e-12)
    assert close(apart.gradient(X, Y)[1], fused.gradient(X, Y)[1], 1e-12)


def test_layers_settings_of_activations():
    z = np.array([[-2.0, 0.5]])
    for activation, expected in [
        (dr.Activation("leaky_relu", alpha=0.2), [-0.4, 0.5]),
        (dr.Activation("elu", alpha=2.0), [2 * np.expm1(-2.0), 0.5]),
    ]:
        net = dr.Network([dr.Input(2), activation], dtype="float64", seed=0)
        assert close(net.predict(z), [expected], 1e-12)


def test_predict_into_the_users_array():
    net = dense((3, 5, 2), ("tanh", "identity"), dtype="float32")
    X, _ = problem(10)
    out = np.full((10, 2), np.nan, np.float32)
    assert net.predict(X, out=out) is out
    assert np.array_equal(out, net.predict(X))
    for wrong in (
        np.zeros((10, 3), np.float32),
        np.zeros((10, 2)),
        np.zeros((2, 10), np.float32).T,
    ):
        with pytest.raises((ValueError, TypeError), match="out"):
            net.predict(X, out=wrong)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        net.predict(X, out=out)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "softmax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_at_the_edges_of_the_number_line(name, dtype):
    info = np.finfo(dtype)
    z = np.array(
        [
            0.0,
            -0.0,
            info.max,
            -info.max,
            info.tiny,
            -info.tiny,
            1e4,
            -1e4,
            1,
            -1,
            20,
            -20,
            0.5,
            -0.5,
            1e-4,
            -1e-4,
            88,
            -88,
            3,
            -3,
        ],
        dtype,
    )[:, None]
    net = dr.Network([dr.Input(1), dr.Activation(name)], dtype=dtype, seed=0)
    with np.errstate(all="ignore"):
        expected = reference.ACTIVATIONS[name][0](z.astype(float)).astype(dtype)
    actual = net.predict(z)
    assert not np.isnan(actual).any()
    overflow = np.isinf(expected)
    assert np.array_equal(actual[overflow], expected[overflow])
    z, actual, expected = (each[~overflow].astype(float) for each in (z, actual, expected))
    # A subnormal number counts as zero, also the sigmoid inside of silu (then times |z|).
    flushed = info.tiny * np.clip(abs(z), 1, 1000)
    assert (abs(actual - expected) <= 8 * info.eps * abs(expected) + flushed).all()


def test_relu_keeps_nan():
    for name in ACTIVATIONS:
        net = dr.Network([dr.Input(3), dr.Activation(name)], dtype="float32", seed=0)
        assert np.isnan(net.predict([[np.nan, 1.0, -1.0]])[0, 0]), name
