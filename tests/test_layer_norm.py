"""LayerNorm: against NumPy and differences, alone and with every neighbour; bits, views, files."""

import numpy as np
import pytest

import deltarule as dr
from deltarule import _file
from helpers import OPTIMIZERS, rng
from layer_helpers import (
    DTYPES,
    SOLVERS,
    assert_copies_are_equal,
    assert_gradients_are_differences,
    assert_is_reference,
    assert_resumes_at_each_step,
    assert_rows_are_apart,
    assert_steps_are_reference,
    assert_the_same_bits_on_threads_and_in_pieces,
    network,
    rewrite,
    rows,
)
from tolerances import close, tolerance

NORM = dr.LayerNorm()
MIXED = [dr.Input(5), dr.Dense(9, "tanh"), NORM, dr.Dropout(0.2), dr.Dense(6, "silu"),
         dr.LayerNorm(epsilon=0.01), dr.Dense(2)]  # fmt: skip
NEIGHBOURS = {
    "alone": [dr.Input(6), NORM],
    "twice": [dr.Input(6), NORM, dr.LayerNorm(epsilon=0.1)],
    "between activated layers": [dr.Input(5), dr.Dense(7, "tanh"), NORM, dr.Dense(3)],
    "before the activation": [dr.Input(5), dr.Dense(7), NORM, dr.Activation("gelu"), dr.Dense(3)],
    "after it": [dr.Input(5), dr.Activation("silu"), NORM, dr.Dense(2, "identity")],
    "first and last": [dr.Input(5), NORM, dr.Dense(4, "softplus"), NORM],
    "dropout": [dr.Input(5), dr.Dropout(0.3), NORM, dr.Dense(7, "tanh"), NORM, dr.Dropout(0.4),
                dr.Dense(2)],
    "scaled": [dr.Input(5), dr.Standardize(mean=0.3, scale=2.0), NORM, dr.Dense(4, "tanh"), NORM,
               dr.Dense(2), dr.Rescale(mean=1.0, scale=3.0)],
    "rescaled": [dr.Input(5), dr.Dense(3), NORM, dr.Rescale(mean=[1, 2, 3], scale=0.5)],
}  # fmt: skip
EMBEDDED = [dr.Input(4), dr.Embedding([2], [5], dimension=3), NORM, dr.Dense(4, "tanh"), NORM,
            dr.Dense(2)]  # fmt: skip
CLASSES = [dr.Input(5), dr.Dense(8, "mish"), NORM, dr.Dense(4, "softmax")]

# ---- the mathematics ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 31, 257, 600])
@pytest.mark.parametrize("width", [1, 3, 16, 17, 64, 300])
def test_it_agrees_with_the_reference(width, n, dtype):
    assert_is_reference(network([dr.Input(width), NORM], dtype), n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(NEIGHBOURS))
def test_with_every_neighbour_it_agrees_with_the_reference(name, dtype):
    assert_is_reference(network(NEIGHBOURS[name], dtype), 33)


@pytest.mark.parametrize("dtype", DTYPES)
def test_before_softmax_it_agrees_with_the_reference(dtype):
    assert_is_reference(network(CLASSES, dtype), 33, "cross_entropy")
    assert_is_reference(network([*CLASSES[:-1], dr.Dense(4), NORM], dtype), 33, "cross_entropy")


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize("name", list(NEIGHBOURS))
def test_gradients_agree_with_central_differences(name, loss):
    assert_gradients_are_differences(network(NEIGHBOURS[name]), loss=loss)


@pytest.mark.parametrize("width", [1, 3, 16, 17, 64, 300])
def test_gradients_of_any_width_agree_with_central_differences(width):
    assert_gradients_are_differences(network([dr.Input(width), NORM]), n=3)


def test_gradients_with_codes_and_classes_agree_with_central_differences():
    assert_gradients_are_differences(network(EMBEDDED))
    assert_gradients_are_differences(network(CLASSES), loss="cross_entropy")


def test_more_than_one_chain_of_units():
    """Sums run in chains of 256 in sixteen lanes: 4096 units, then more."""
    for width in (4096, 4097, 9000):
        assert_is_reference(network([dr.Input(width), NORM], "float32"), 3)


def test_the_output_is_normal():
    net = dr.Network([dr.Input(40), dr.LayerNorm(epsilon=1e-12)], dtype="float64", seed=0)
    X = rng(0).normal(5, 3, (30, 40))
    A = net.predict(X)
    assert close(A.mean(axis=1), np.zeros(30), 1e-12 / 1e-30)
    assert close((A**2).mean(axis=1), np.ones(30), 1e-10)
    assert close(net.predict(7 * X - 2), A, 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalties", [{}, {"l2": 0.05}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("n", [9, 300])
def test_twenty_steps_agree_with_the_reference(n, name, penalties, dtype):
    ours, theirs = OPTIMIZERS[name](**penalties)
    layers = [layer for layer in MIXED if not isinstance(layer, dr.Dropout)]
    assert_steps_are_reference(network(layers, dtype), ours, theirs, n, **penalties)


# ---- numbers at the border ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-5, 1e-300, 5e-324])
def test_rows_of_equal_numbers_are_finite(epsilon, dtype):
    net = dr.Network([dr.Input(7), dr.LayerNorm(epsilon=epsilon), dr.Dense(1)], dtype=dtype, seed=0)
    net.layers[0].beta[:] = 1.5
    X = np.array([[0.0], [1.0], [-3.0], [2.0**60]]) * np.ones((4, 7))
    trace = net.trace(X, np.zeros(4))
    assert (trace.layers[0].a == 1.5).all()
    assert np.isfinite(trace.gradient).all()
    assert np.isfinite(net.backward(X, np.ones((4, 1)))[1]).all()
    history = net.fit(X, np.ones(4), epochs=20)
    assert np.isfinite(history["loss"]).all()


def test_a_variance_that_overflows_leaves_beta():
    net = dr.Network([dr.Input(4), dr.LayerNorm()], seed=0)
    net.layers[0].beta[:] = [1, 2, 3, 4]
    X = np.array([[1e30, -1e30, 2e30, 0], [1.0, 2, 3, 4]], np.float32)
    assert np.array_equal(net.predict(X)[0], [1, 2, 3, 4])
    assert np.isfinite(net.gradient(X, np.zeros((2, 4)))[1]).all()


def test_what_is_not_finite_stays_in_its_row():
    net = network([dr.Input(20), NORM], "float32")
    X, _ = rows(net, 50)
    expected = net.predict(X)
    for value in (np.nan, np.inf, -np.inf):
        spoilt = X.copy()
        spoilt[17, 19] = value
        found = net.predict(spoilt)
        assert np.isnan(found[17]).all()
        assert np.array_equal(np.delete(found, 17, axis=0), np.delete(expected, 17, axis=0))


# ---- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 17, 64, 300])
def test_a_row_has_the_same_bits_everywhere(width, dtype):
    assert_rows_are_apart(network([dr.Input(width), dr.Dense(width), NORM], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_summation_over_rows(dtype):
    """Blocks of 256 rows, each in one chain from zero, then in order: to the bit."""
    net = network([dr.Input(19), NORM], dtype)
    X, Y = rows(net, 700)
    layer = net.trace(X, Y).layers[0]
    total = np.zeros(19, dtype)
    for first in range(0, 700, 256):
        block = np.zeros(19, dtype)
        for delta in layer.delta[first : first + 256]:
            block += delta
        total += block
    assert np.array_equal(layer.dbeta, total)


@pytest.mark.parametrize(("solver", "dtype"), [("sgd", "float64"), ("adam", "float32")])
def test_the_same_bits_on_any_number_of_threads_and_in_pieces(solver, dtype, tmp_path):
    layers = [dr.Input(30), NORM, dr.Dense(370, "relu"), NORM, dr.Dropout(0.1),
              dr.Dense(380, "tanh"), NORM, dr.Dense(3)]  # fmt: skip
    assert_the_same_bits_on_threads_and_in_pieces(layers, dtype, SOLVERS[solver], tmp_path)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 256])
def test_the_fused_update_has_the_bits_of_gradient_and_apply(n, dtype):
    net = network(MIXED, dtype)
    X, Y = rows(net, n)
    one, other = (dr.Trainer(net.copy(), optimizer=dr.SGD(0.1, 0.9)) for _ in range(2))
    for _ in range(3):
        one.step(X, Y)
        other.apply(other.network.gradient(X, Y, training=True)[1])
    assert one.network.theta.tobytes() == other.network.theta.tobytes()


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_it_resumes_at_each_of_40_steps(solver, tmp_path):
    assert_resumes_at_each_step(MIXED, "float32", SOLVERS[solver], tmp_path)


# ---- views, descriptions, files -----------------------------------------------------------------


def test_gamma_and_beta_are_views_of_theta():
    net = dr.Network(MIXED, seed=0)
    layer = net.layers[1]
    assert np.array_equal(layer.gamma, np.ones(9))
    assert np.array_equal(layer.beta, np.zeros(9))
    assert (layer.W, layer.b, layer.kernel, layer.mean, layer.tables) == (None,) * 5
    assert (layer.fitted, layer.n_parameters, layer.n_inputs, layer.n_outputs) == (True, 18, 9, 9)
    layer.gamma, layer.beta = np.full(9, 2.0), np.arange(9)
    start = 5 * 9 + 9
    assert np.array_equal(net.theta[start : start + 18], [*[2.0] * 9, *range(9)])
    gamma, beta = net.unflatten(np.arange(net.n_parameters))[1]
    assert np.array_equal(gamma, start + np.arange(9))
    assert np.array_equal(beta, start + np.arange(9, 18))
    assert (net.layers[0].gamma, net.layers[0].beta) == (None, None)
    with pytest.raises(ValueError, match=r"gamma must have shape \(9,\), got \(8,\)"):
        layer.gamma = np.ones(8)
    with pytest.raises(ValueError, match="beta: this layer has none, it is Dense"):
        net.layers[0].beta = np.ones(9)


def test_the_trace_shows_its_gradients():
    net = network(MIXED)
    X, Y = rows(net, 20)
    trace = net.trace(X, Y)
    layer = trace.layers[1]
    gamma, beta = net.unflatten(trace.gradient)[1]
    assert np.array_equal(layer.dgamma, gamma)
    assert np.array_equal(layer.dbeta, beta)
    assert close(layer.dbeta, layer.delta.sum(axis=0), tolerance("float64"))
    assert not layer.dgamma.flags.writeable
    assert (layer.dW, layer.db, layer.dtables) == (None, None, None)
    assert (trace.layers[0].dgamma, trace.layers[0].dbeta) == (None, None)
    assert "<LayerNorm(): z (20, 9), a (20, 9), delta (20, 9), dgamma (9,), dbeta (9,)>" in repr(
        trace
    )


def test_descriptions():
    assert repr(dr.LayerNorm()) == "LayerNorm()"
    assert repr(dr.LayerNorm(epsilon=1e-3)) == "LayerNorm(epsilon=0.001)"
    assert dr.LayerNorm(epsilon=np.float32(0.5)) == dr.LayerNorm(epsilon=0.5)
    assert hash(dr.LayerNorm()) == hash(dr.LayerNorm(epsilon=1e-5))
    net = dr.Network(MIXED, seed=0)
    line = next(line for line in net.summary().splitlines() if "LayerNorm" in line)
    assert line.split() == ["1", "LayerNorm", "(n,", "9)", "18"]
    assert repr(net.layers[1]) == "<layer 1: LayerNorm(), 9 -> 9, 18 parameters>"


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies(dtype, tmp_path):
    assert_copies_are_equal(network(MIXED, dtype), tmp_path)


def test_the_model_file(tmp_path):
    net, path = network(MIXED, "float32"), tmp_path / "m"
    net.save(path)
    metadata, tensors = _file.read(path)
    assert metadata["layers"][4] == {"kind": "layer_norm", "epsilon": 0.01}
    assert np.array_equal(tensors["layers.4.gamma"], net.layers[4].gamma)
    assert np.array_equal(tensors["layers.4.beta"], net.layers[4].beta)


@pytest.mark.parametrize("entry", [
    {"kind": "layer_norm"},
    {"kind": "layer_norm", "epsilon": 0.0},
    {"kind": "layer_norm", "epsilon": "1e-5"},
    {"kind": "layer_norm", "epsilon": 1e-5, "units": 9},
    {"kind": "dropout", "rate": 0.1},
])  # fmt: skip
def test_damaged_files_are_refused(entry, tmp_path):
    net, path = network(MIXED, "float32"), tmp_path / "m"
    net.save(path)
    rewrite(path, lambda layers: [layers[0], entry, *layers[2:]])
    with pytest.raises(dr.ModelFileError, match="m'"):
        dr.load(path)


@pytest.mark.parametrize(("epsilon", "error"), [
    (0.0, ValueError), (-1e-5, ValueError), (np.nan, ValueError), (np.inf, ValueError),
    ("1e-5", TypeError), (None, TypeError), (True, TypeError), ([1e-5], TypeError),
])  # fmt: skip
def test_bad_settings_are_refused(epsilon, error):
    with pytest.raises(error, match="epsilon must be a finite number > 0, got"):
        dr.LayerNorm(epsilon=epsilon)
    with pytest.raises(TypeError):
        dr.LayerNorm(1e-5)
