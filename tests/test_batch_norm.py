"""BatchNorm: against NumPy and differences in both modes; folding; numbers, files, refusals."""

import copy
import pickle

import numpy as np
import pytest

import deltarule as dr
from batch_norm_helpers import (
    BN,
    DTYPES,
    N_INPUTS,
    NETWORKS,
    PLAIN,
    network,
    norms,
    passed,
    rows,
    statistics,
)
from deltarule import _file
from helpers import central_differences, rng
from tolerances import DIFFERENCE, EPS32, close, tolerance

# ---- the mathematics ----------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PLAIN)
def test_all_agrees_with_the_reference(name, dtype, training):
    for n in (2, 31, 256, 257, 600):
        net, (X, Y) = network(name, dtype), rows(n)
        X, Y = X.astype(dtype).astype(float), Y.astype(dtype).astype(float)
        # With two rows xhat is nearly ±1, and what goes through it nearly cancels.
        rtol = tolerance(dtype, terms=n + 100) * (1e4 if n == 2 else 4)
        L, grad, dX, outputs, _ = passed(net, X, Y, training)
        loss, gradient = net.gradient(X, Y, training=training)
        assert close(loss, L, rtol)
        assert close(gradient, grad, rtol)
        trace = net.trace(X, Y, training=training)
        for layer, expected in zip(trace.layers, outputs, strict=True):
            assert close(layer.a, expected, rtol)
        assert np.array_equal(trace.gradient, gradient)
        error = 2 * (trace.layers[-1].a - Y) / Y.size
        given, inputs = net.backward(X, error, training=training)
        assert close(given, grad, rtol)
        assert close(inputs, dX, rtol)
        if not training:
            assert close(net.predict(X), outputs[-1], rtol)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_agree_with_central_differences(name, training):
    net, (X, Y) = network(name), rows(7)

    def loss():
        return net.gradient(X, Y, training=training)[0]

    gradient = net.gradient(X, Y, training=training)[1]
    assert close(gradient, central_differences(loss, net.theta), DIFFERENCE)
    if name != "coded":  # codes have no derivative
        trace = net.trace(X, Y, training=training)
        error = 2 * (trace.layers[-1].a - Y) / Y.size
        _, dX = net.backward(X, error, training=training)
        assert close(dX, central_differences(loss, X), DIFFERENCE)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_of_many_rows_is_that_of_the_loss(training):
    net, (X, Y) = network("wide"), rows(600)
    gradient = net.gradient(X, Y, training=training)[1]
    direction, h = rng(1).normal(size=gradient.size), 1e-5
    start, losses = net.theta.copy(), []
    for step in (h, -h):
        net.theta = start + step * direction
        losses.append(net.gradient(X, Y, training=training)[0])
    assert close((losses[0] - losses[1]) / (2 * h), gradient @ direction, DIFFERENCE)


def test_training_and_inference_differ_by_the_statistics_alone():
    net, (X, Y) = network("activated"), rows(50)
    layer = norms(net)[0]
    training, inference = (net.gradient(X, Y, training=mode) for mode in (True, False))
    assert training[0] != inference[0]
    A = net.trace(X, Y).layers[0].a
    layer.running_mean, layer.running_var = A.mean(axis=0), A.var(axis=0)
    assert close(net.gradient(X, Y)[0], training[0], 1e-12)
    assert not close(net.gradient(X, Y)[1], training[1], 1e-3)  # statistics are constants there


def test_sample_weights_weight_losses_not_statistics():
    net, (X, Y) = network("wide"), rows(40)
    w = rng(3).integers(0, 3, 40).astype(float)
    weighted = net.trace(X, Y, sample_weight=w, training=True)
    plain = net.trace(X, Y, training=True)
    assert np.array_equal(weighted.layers[-1].a, plain.layers[-1].a)
    assert weighted.loss != plain.loss
    expected = central_differences(
        lambda: net.gradient(X, Y, sample_weight=w, training=True)[0], net.theta
    )
    assert close(weighted.gradient, expected, DIFFERENCE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_unit_gives_beta(dtype):
    net = network("first", dtype)
    X, Y = rows(300)
    X[:, 2] = 0.1
    trace = net.trace(X, Y, training=True)
    assert close(trace.layers[0].a[:, 2], np.full(300, net.layers[0].beta[2]), 1e-6)
    assert np.isfinite(trace.gradient).all()
    net.fit(X, Y, epochs=2)
    assert np.isfinite(net.theta).all()
    assert np.isfinite(net.predict(X)).all()


def test_a_large_mean_does_not_cancel():
    """xhat as exact as the data: the mean of 1e6 is no multiple of what float32 holds there."""
    net, (X, Y) = network("first", "float32"), rows(600)
    net.layers[0].gamma[:], net.layers[0].beta[:] = 1, 0
    X = (rng(1).normal(size=X.shape) + 1e6).astype(np.float32)
    exact = X.astype(float)
    expected = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    found = net.trace(X, Y, training=True).layers[0].a
    assert close(found, expected, 8 * EPS32)
    assert abs(found.astype(float).mean(axis=0)).max() < 8 * EPS32


# ---- folding ------------------------------------------------------------------------------------

FOLDED = {  # name: the layers that are left
    "linear": [dr.Dense(9, "tanh"), dr.Dense(2)],
    "activated": [dr.Dense(9, "tanh"), dr.Dense(2)],
    "first": [dr.Dense(9, "silu"), dr.Dense(2)],
    "last": [dr.Dense(9, "tanh"), dr.Dense(2)],
    "wide": [dr.Dense(40, "gelu"), dr.Dense(17, "tanh"), dr.Dense(2)],
    "dropout": [dr.Dropout(0.2), dr.Dense(9), dr.Dropout(0.3), dr.Dense(2)],
    "scaled": [dr.Standardize(), dr.Dense(9, "tanh"), dr.Dense(2), dr.Rescale()],
    "coded": [dr.Embedding([1], [5], dimension=3), dr.Dense(7, "tanh"), dr.Dense(2)],
    "softmax": [dr.Dense(9, "softmax"), dr.Dense(2)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_folding(name, dtype):
    net, (X, Y) = network(name, dtype), rows(300)
    net.fit(X, Y, epochs=2)
    before = pickle.dumps(net)
    folded = net.folded()
    assert [layer.settings for layer in folded.layers] == FOLDED[name]
    assert close(folded.predict(X), net.predict(X), 100 * tolerance(dtype))
    assert (folded.dtype, folded.seed, folded.n_steps) == (net.dtype, net.seed, net.n_steps)
    folded.theta[:] = 0
    assert pickle.dumps(net) == before


def test_a_norm_without_a_dense_beside_it_stays():
    layers = [dr.Dense(4, "relu"), BN(), dr.Activation("tanh"), BN(), dr.Dropout(0.1)]
    net, (X, _) = network(layers=layers), rows(20)
    folded = net.folded()
    assert [layer.settings for layer in folded.layers] == layers
    assert np.array_equal(folded.predict(X), net.predict(X))
    net.layers[0].W[:] = 0
    assert not np.array_equal(folded.predict(X), net.predict(X))
    alone = network(layers=[BN()])
    assert alone.folded().predict(X).tobytes() == alone.predict(X).tobytes()
    unfitted = dr.Network([dr.Input(4), dr.Standardize(), BN(), dr.Dense(1)], seed=0).folded()
    assert not unfitted.layers[0].fitted


# ---- numbers, views, files ----------------------------------------------------------------------


def test_views():
    net = network("linear", "float32")
    layer, other = net.layers[1], net.layers[0]
    assert np.shares_memory(layer.gamma, net.theta)
    assert np.array_equal(np.concatenate([layer.gamma, layer.beta]), net.theta[45:63])
    assert (layer.W, layer.b, layer.kernel, layer.mean, layer.tables) == (None,) * 5
    assert (other.gamma, other.beta, other.running_mean, other.running_var) == (None,) * 4
    assert (layer.n_parameters, layer.fitted) == (18, True)
    fresh = dr.Network([dr.Input(4), *NETWORKS["linear"]], seed=0).layers[1]
    for array, value in (
        (fresh.gamma, 1), (fresh.beta, 0), (fresh.running_mean, 0), (fresh.running_var, 1),
    ):  # fmt: skip
        assert (array == value).all()
    layer.gamma *= 2
    layer.running_var = np.full(9, 4.0)
    assert (layer.running_var == 4).all()
    for name in ("gamma", "beta", "running_mean", "running_var"):
        with pytest.raises(ValueError, match=f"{name} must have shape \\(9,\\), got \\(3,\\)"):
            setattr(layer, name, [1, 2, 3])
        with pytest.raises(ValueError, match=f"{name}: this layer has none"):
            setattr(other, name, [1, 2, 3])
    gamma, beta = net.unflatten(np.arange(net.n_parameters))[1]
    assert (gamma[0], beta[0], beta.shape) == (45, 54, (9,))


def test_the_trace_shows_gamma_and_beta():
    net, (X, Y) = network("linear"), rows(20)
    trace = net.trace(X, Y, training=True)
    layer = trace.layers[1]
    assert (layer.dW, layer.db, trace.layers[0].dgamma, trace.layers[0].dbeta) == (None,) * 4
    assert np.array_equal(np.concatenate([layer.dgamma, layer.dbeta]), trace.gradient[45:63])
    assert not layer.dgamma.flags.writeable
    assert close(layer.dbeta, layer.delta.sum(axis=0), 1e-12)
    assert np.array_equal(layer.z, layer.a)
    assert "dgamma (9,), dbeta (9,)" in repr(trace)


def test_descriptions():
    net = network("activated", "float32")
    assert "BatchNorm(momentum=0.3, epsilon=0.001)" in repr(net)
    line = next(line for line in net.summary().splitlines() if "BatchNorm" in line)
    assert line.split() == ["1", "BatchNorm", "(n,", "9)", "18"]
    assert repr(BN()) == "BatchNorm()"
    assert BN() == BN(momentum=0.1, epsilon=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_copies(name, tmp_path):
    net, (X, Y) = network(name, "float32"), rows(50)
    net.fit(X, Y, epochs=2)
    path = tmp_path / "m.safetensors"
    net.save(path)
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), dr.load(path)):
        assert twin.theta.tobytes() == net.theta.tobytes()
        assert twin.predict(X).tobytes() == net.predict(X).tobytes()
        assert repr(twin) == repr(net)
        assert [s.tobytes() for s in statistics(twin)] == [s.tobytes() for s in statistics(net)]
        assert not any(
            np.shares_memory(a.running_mean, b.running_mean)
            for a, b in zip(norms(twin), norms(net), strict=True)
        )


def test_the_model_file(tmp_path):
    net, path = network("activated", "float32"), tmp_path / "m.safetensors"
    net.save(path)
    metadata, tensors = _file.read(path)
    entry = {"kind": "batch_norm", "momentum": 0.3, "epsilon": 0.001}
    assert metadata["layers"][1] == entry
    for name in ("gamma", "beta", "running_mean", "running_var"):
        assert np.array_equal(tensors[f"layers.1.{name}"], getattr(net.layers[1], name))
    for change, message in [
        ({"epsilon": 0.0}, "epsilon must be"),
        ({"momentum": "x"}, "momentum must be"),
        ({"units": 3}, "unknown key 'units'"),
    ]:
        metadata["layers"][1] = entry | change
        kept = {key: value for key, value in metadata.items() if key not in ("format", "version")}
        _file.write(path, kept, tensors)
        with pytest.raises(dr.ModelFileError, match=message):
            dr.load(path)


# ---- settings and rows that are refused ----------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"momentum": -0.1}, ValueError, "momentum must be a finite number >= 0, got -0.1"),
        ({"momentum": 1.5}, ValueError, "momentum must be from 0 to 1, got 1.5"),
        ({"momentum": np.nan}, ValueError, "momentum must be a finite number >= 0, got nan"),
        ({"momentum": None}, TypeError, "momentum must be a finite number >= 0, got None"),
        ({"momentum": True}, TypeError, "momentum must be"),
        ({"epsilon": 0}, ValueError, "epsilon must be a finite number >= 1e-30, got 0"),
        ({"epsilon": -1e-5}, ValueError, "epsilon must be"),
        ({"epsilon": np.inf}, ValueError, "epsilon must be"),
        ({"epsilon": "1"}, TypeError, "epsilon must be"),
    ],
)
def test_bad_settings(settings, error, message):
    with pytest.raises(error, match=message):
        BN(**settings)


def test_one_row_is_no_batch():
    net, (X, Y) = network("linear", "float32"), rows(3)
    before, trainer = pickle.dumps(net), dr.Trainer(net)
    x, y = X[:1], Y[:1]
    message = "must have at least 2 rows for training with a BatchNorm .*, got 1"
    for refused in (
        lambda: trainer.step(x, y),
        lambda: trainer.step(x.astype("float32"), y.astype("float32")),
        lambda: trainer.step(x, y, sample_weight=[1.0]),
        lambda: trainer.run(x, y, epochs=1),
        lambda: net.fit(x, y),
        lambda: net.gradient(x, y, training=True),
        lambda: net.trace(x, y, training=True),
        lambda: net.backward(x, y, training=True),
    ):
        with pytest.raises(ValueError, match=f"X {message}"):
            refused()
    with pytest.raises(ValueError, match="batch_size must be at least 2 for training with a Batch"):
        net.fit(X, Y, batch_size=1)
    assert pickle.dumps(net) == before
    for allowed in (net.gradient, net.trace, net.backward, net.evaluate):
        allowed(x, y)


@pytest.mark.parametrize("name", NETWORKS)
def test_small_calls_and_positions_change_no_bit(name):
    for dtype in DTYPES:
        net, (X, Y) = network(name, dtype), rows(300)
        X, Y = X.astype(dtype), Y.astype(dtype)
        together = net.predict(X)
        for i in (0, 1, 255, 256, 299):
            assert net.predict(X[i : i + 1]).tobytes() == together[i].tobytes()
            assert net.predict(X[i : i + 1].tolist()).tobytes() == together[i].tobytes()
        small, large = dr.Trainer(net.copy()), dr.Trainer(net.copy())
        for _ in range(3):
            assert small.step(X[:20], Y[:20]) == large.step(X[:20].tolist(), Y[:20].tolist())
        assert pickle.dumps(small.network) == pickle.dumps(large.network)
    assert net.predict(np.empty((0, N_INPUTS))).shape == (0, 2)
