"""Random numbers: the generator word for word, the order of rows, masks, initial weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deltarule as dr
from deltarule._dispatch import core
from helpers import dense, problem

WORD = st.integers(0, 2**64 - 1)


@given(counter=st.tuples(WORD, WORD, WORD, WORD), key=st.tuples(WORD, WORD))
def test_philox_is_numpys(counter, key):
    """NumPy adds one to its counter before it draws."""
    value = sum(word << (64 * i) for i, word in enumerate(counter))
    before = (value - 1) % 2**256
    words = np.array([(before >> (64 * i)) % 2**64 for i in range(4)], np.uint64)
    generator = np.random.Philox(counter=words, key=np.array(key, np.uint64))
    assert list(core.philox(counter, key)) == generator.random_raw(4).tolist()


@pytest.mark.parametrize("n", [*range(1, 70), 127, 128, 129, 1000, 4097, 65_537, 100_003])
def test_the_order_of_rows_is_a_bijection(n):
    assert np.array_equal(np.sort(core.row_order(n, 3, 5)), np.arange(n))


def test_the_order_of_rows_depends_on_seed_and_epoch_only():
    order = core.row_order(1000, 3, 5)
    assert np.array_equal(order, core.row_order(1000, 3, 5))
    assert not np.array_equal(order, core.row_order(1000, 3, 6))
    assert not np.array_equal(order, core.row_order(1000, 4, 5))
    assert not np.array_equal(order, np.arange(1000))


def test_the_order_of_rows_looks_random():
    """Each row is equally likely at each place (chi-squared, 8 x 8 cells); no serial pattern."""
    n, epochs = 64, 2000
    counts = np.zeros((8, 8))
    neighbours = 0
    for epoch in range(epochs):
        order = core.row_order(n, 1, epoch)
        np.add.at(counts, (np.arange(n) // 8, order // 8), 1)
        neighbours += (np.diff(order) == 1).sum()
    expected = n * epochs / 64
    assert ((counts - expected) ** 2 / expected).sum() < 49 + 6 * np.sqrt(2 * 49)
    # a random permutation has (n - 1) / n pairs i, i + 1 on average, with variance about one
    assert abs(neighbours / epochs - (n - 1) / n) < 6 / np.sqrt(epochs)


def masks(rate, n=400, width=50, seed=0):
    net = dr.Network([dr.Input(width), dr.Dropout(rate), dr.Dense(1)], dtype="float64", seed=seed)
    return net.trace(np.ones((n, width)), np.zeros(n), training=True).layers[0].a


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_mean_and_variance_of_dropout(rate):
    mask = masks(rate)
    kept = 1 / (1 - rate)
    assert np.isin(mask, [0, kept]).all() or np.allclose(mask[mask > 0], kept, rtol=1e-15)
    sigma = np.sqrt(rate * (1 - rate) / mask.size)
    assert abs((mask == 0).mean() - rate) < 5 * sigma
    assert abs(mask.mean() - 1) < 5 * sigma * kept
    assert abs(mask.var() - rate / (1 - rate)) < 0.05 * rate / (1 - rate)
    # no pattern along rows or columns: the means of each scatter as they should
    for axis, n in ((0, 400), (1, 50)):
        spread = (mask == 0).mean(axis=axis).std() / np.sqrt(rate * (1 - rate) / n)
        assert 0.6 < spread < 1.4
    rows = (mask == 0).astype(float)
    assert len(np.unique(rows, axis=0)) > (1 if rate == 0.1 else 100)


def test_masks_differ_by_step_layer_and_seed_not_by_batch():
    one = masks(0.5)
    assert not np.array_equal(one, masks(0.5, seed=1))
    assert np.array_equal(one[:37], masks(0.5, n=37))  # a row's mask depends on its position only
    two = dr.Network(
        [dr.Input(50), dr.Dropout(0.5), dr.Dropout(0.5), dr.Dense(1)], dtype="float64", seed=0
    )
    t = two.trace(np.ones((400, 50)), np.zeros(400), training=True)
    assert not np.array_equal(t.layers[0].a > 0, t.layers[1].a > 0)
    agreement = ((t.layers[1].a > 0) == (t.layers[0].a > 0))[t.layers[0].a > 0].mean()
    assert 0.45 < agreement < 0.55


def test_dropout_is_the_identity_in_inference():
    with_it, without = (
        dense((3, 6, 2), ("tanh", "identity"), dropout=0.5),
        dense((3, 6, 2), ("tanh", "identity")),
    )
    without.theta[:] = with_it.theta
    X, Y = problem()
    assert np.array_equal(with_it.predict(X), without.predict(X))
    assert with_it.evaluate(X, Y) == without.evaluate(X, Y)
    assert np.array_equal(with_it.gradient(X, Y)[1], without.gradient(X, Y)[1])


N_IN, N_OUT = 200, 300
SCALE = {  # uniform range or standard deviation
    "glorot_uniform": np.sqrt(6 / (N_IN + N_OUT)),
    "glorot_normal": np.sqrt(2 / (N_IN + N_OUT)),
    "he_uniform": np.sqrt(6 / N_IN),
    "he_normal": np.sqrt(2 / N_IN),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(SCALE))
def test_moments_and_ranges_of_initial_weights(name, dtype):
    net = dr.Network([dr.Input(N_IN), dr.Dense(N_OUT, initializer=name)], dtype=dtype, seed=0)
    W = net.layers[0].W.astype(float) / SCALE[name]
    assert (net.layers[0].b == 0).all()
    variance, fourth = (1 / 3, 1 / 5) if "uniform" in name else (1, 3)
    n = W.size
    assert abs(W.mean()) < 5 * np.sqrt(variance / n)
    assert abs((W**2).mean() - variance) < 5 * np.sqrt((fourth - variance**2) / n)
    assert abs((W**3).mean()) < 0.1
    assert abs((W**4).mean() - fourth) < 0.1 * fourth
    if "uniform" in name:
        assert 0.999 < abs(W).max() <= 1 + 1e-6
    else:
        assert 3.5 < abs(W).max() < 7
    assert len(np.unique(W)) > 0.95 * n or dtype == "float32"
    assert abs(np.corrcoef(W[:, :-1].ravel(), W[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(W[:-1].ravel(), W[1:].ravel())[0, 1]) < 5 / np.sqrt(n)


def test_zeros_and_gain():
    net = dr.Network([dr.Input(20), dr.Dense(30, initializer="zeros"), dr.Dense(1)], seed=0)
    assert (net.layers[0].W == 0).all()
    one, double = (
        dr.Network(
            [dr.Input(20), dr.Dense(30, initializer=dr.initializers.HeNormal(gain=gain))], seed=0
        )
        for gain in (1.0, 2.0)
    )
    assert np.allclose(double.theta, 2 * one.theta, rtol=1e-6)


def test_default_initialiser_follows_the_activation():
    for activation, scale in [("relu", "he_uniform"), ("tanh", "glorot_uniform")]:
        net = dr.Network([dr.Input(N_IN), dr.Dense(N_OUT, activation)], seed=0)
        assert abs(abs(net.theta).max() / SCALE[scale] - 1) < 1e-3


def test_layers_of_one_network_start_differently():
    net = dr.Network([10, 10, 10], seed=0)
    assert not np.array_equal(net.layers[0].W, net.layers[1].W)


def test_dtypes_start_from_the_same_draws():
    one, other = (dr.Network([10, 20, 3], seed=4, dtype=dtype) for dtype in ("float32", "float64"))
    assert np.allclose(one.theta, other.theta, rtol=1e-6, atol=1e-7)
