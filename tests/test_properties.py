"""Properties that hold for any network and data (hypothesis)."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deltarule as dr
from helpers import ACTIVATIONS, ELEMENTWISE, dense, rng
from tolerances import close

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BOUNDED = [name for name in ACTIVATIONS if name != "exp"]  # exp of exp overflows
WIDTHS = st.lists(st.integers(1, 40), min_size=2, max_size=5)


def draw_network(widths, seed, hidden, output="identity", dtype="float64"):
    return dense(widths, [hidden] * (len(widths) - 2) + [output], seed=seed % 1000, dtype=dtype)


@QUICK
@given(
    widths=WIDTHS,
    n=st.integers(1, 300),
    seed=st.integers(0, 999),
    hidden=st.sampled_from(BOUNDED),
    loss=st.sampled_from(["mse", "mae", "huber"]),
)
def test_the_gradient_of_a_batch_is_the_weighted_mean_of_its_samples(widths, n, seed, hidden, loss):
    net = draw_network(widths, seed, hidden)
    g = rng(seed)
    X, Y = g.normal(size=(n, widths[0])), g.normal(size=(n, widths[-1]))
    w = g.integers(0, 4, n) + g.uniform(0, 1, n)
    value, gradient = net.gradient(X, Y, loss=loss, sample_weight=w)
    some = range(n) if n <= 20 else range(0, n, n // 10)
    if n > 20:  # the others in one batch: a batch is also the weighted mean of its parts
        rest = np.setdiff1d(np.arange(n), some)
        parts = [([i], w[i]) for i in some] + [(rest, w[rest].sum())]
    else:
        parts = [([i], w[i]) for i in some]
    results = [
        (net.gradient(X[rows], Y[rows], loss=loss, sample_weight=w[rows]), total)
        for rows, total in parts
        if total > 0
    ]
    mean_loss = sum(total * loss_i for (loss_i, _), total in results) / w.sum()
    mean_gradient = sum(total * gradient_i for (_, gradient_i), total in results) / w.sum()
    assert close(value, mean_loss, 1e-11)
    scale = max(abs(gradient_i).max() for (_, gradient_i), _ in results)
    assert abs(gradient - mean_gradient).max() <= 1e-11 * max(scale, 1e-300)


@QUICK
@given(
    n_in=st.integers(1, 20),
    hidden=st.integers(2, 40),
    n_out=st.integers(1, 20),
    seed=st.integers(0, 999),
    name=st.sampled_from(ACTIVATIONS),
)
def test_hidden_units_may_change_places(n_in, hidden, n_out, seed, name):
    net = draw_network([n_in, hidden, n_out], seed, name)
    X, Y = rng(seed).normal(size=(9, n_in)), rng(seed, 1).normal(size=(9, n_out))
    prediction, (_, gradient) = net.predict(X), net.gradient(X, Y)
    order = rng(seed, 2).permutation(hidden)
    other = net.copy()
    other.layers[0].W[:] = net.layers[0].W[order]
    other.layers[0].b[:] = net.layers[0].b[order]
    other.layers[1].W[:] = net.layers[1].W[:, order]
    assert close(other.predict(X), prediction, 1e-12)
    (dW1, db1), (dW2, db2) = net.unflatten(gradient)
    (dV1, dc1), (dV2, dc2) = other.unflatten(other.gradient(X, Y)[1])
    scale = abs(gradient).max()
    for a, b in ((dW1[order], dV1), (db1[order], dc1), (dW2[:, order], dV2), (db2, dc2)):
        assert abs(a - b).max() <= 1e-12 * scale


@QUICK
@given(
    n_in=st.integers(1, 20),
    n_out=st.integers(2, 30),
    seed=st.integers(0, 999),
    shift=st.floats(-50, 50),
)
def test_softmax_does_not_see_a_shift_of_all_logits(n_in, n_out, seed, shift):
    net = draw_network([n_in, n_out], seed, "tanh", "softmax")
    X, y = rng(seed).normal(size=(9, n_in)), rng(seed, 1).integers(n_out, size=9)
    prediction, (loss, gradient) = net.predict(X), net.gradient(X, y)
    net.layers[0].b[:] += shift
    assert close(net.predict(X), prediction, 1e-12)
    assert abs(net.gradient(X, y)[0] - loss) <= 1e-12 * max(1, abs(shift))
    assert close(net.gradient(X, y)[1], gradient, 1e-12)
    assert close(net.predict(X).sum(axis=1), np.ones(9), 1e-12)


@QUICK
@given(
    widths=WIDTHS,
    n=st.integers(1, 300),
    seed=st.integers(0, 999),
    data=st.data(),
    hidden=st.sampled_from(ACTIVATIONS),
)
def test_nan_stays_in_its_row(widths, n, seed, data, hidden):
    net = draw_network(widths, seed, hidden, dtype="float32")
    X = rng(seed).normal(size=(n, widths[0]))
    clean = net.predict(X)
    row = data.draw(st.integers(0, n - 1))
    X[row, data.draw(st.integers(0, widths[0] - 1))] = np.nan
    result = net.predict(X)
    assert np.isnan(result[row]).all()
    others = np.arange(n) != row
    assert result[others].tobytes() == clean[others].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@QUICK
@given(
    widths=st.lists(st.integers(1, 300), min_size=2, max_size=4),
    n=st.integers(1, 530),
    seed=st.integers(0, 999),
    name=st.sampled_from(ACTIVATIONS),
    output=st.sampled_from(ACTIVATIONS),
)
def test_a_row_has_the_same_bits_alone_in_any_batch_and_place(dtype, widths, n, seed, name, output):
    net = draw_network(widths, seed, name, output, dtype)
    X = rng(seed).normal(size=(n, widths[0]))
    whole = net.predict(X)
    order = rng(seed, 1).permutation(n)
    assert net.predict(X[order]).tobytes() == whole[order].tobytes()
    for i in {0, n // 2, n - 1}:
        assert net.predict(X[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
    cut = n // 3
    assert net.predict(X[cut:]).tobytes() == whole[cut:].tobytes()


@QUICK
@given(
    widths=WIDTHS,
    n=st.integers(1, 530),
    seed=st.integers(0, 999),
    name=st.sampled_from(ELEMENTWISE),
)
def test_a_rows_input_gradient_has_the_same_bits_in_any_batch(widths, n, seed, name):
    net = draw_network(widths, seed, name, dtype="float32")
    X, G = rng(seed).normal(size=(n, widths[0])), rng(seed, 1).normal(size=(n, widths[-1]))
    whole = net.backward(X, G)[1]
    for i in {0, n // 2, n - 1}:
        assert net.backward(X[i : i + 1], G[i : i + 1])[1].tobytes() == whole[i : i + 1].tobytes()


@QUICK
@given(seed=st.integers(0, 2**64 - 1), widths=WIDTHS)
def test_any_seed_makes_the_same_network_twice(seed, widths):
    one, other = dr.Network(widths, seed=seed), dr.Network(widths, seed=seed)
    assert one.theta.tobytes() == other.theta.tobytes()
    assert np.isfinite(one.theta).all()
