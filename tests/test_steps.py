"""Training against reference.py, step for step."""

import numpy as np
import pytest

import deltarule as dr
import reference
from deltarule._dispatch import core
from helpers import OPTIMIZERS, OUTPUT_OF, dense, problem, rng, targets
from tolerances import close, tolerance


def assert_steps_agree(sizes, names, optimizer, dtype, n=8, loss="mse", weights=None, **penalties):
    net = dense(sizes, names, dtype=dtype)
    theta = net.theta.astype(float)
    ours, theirs = OPTIMIZERS[optimizer](**penalties)
    trainer = dr.Trainer(net, loss=loss, optimizer=ours)
    for k in range(10):
        X = rng(k, sizes[0]).uniform(-1, 1, (n, sizes[0])).astype(dtype)
        Y = targets(loss, n, sizes[-1], seed=k).astype(dtype)
        w = None if weights is None else rng(k).uniform(0.5, 2, n).astype(dtype)
        value = trainer.step(X, Y, sample_weight=w)
        expected = reference.step(
            theta,
            sizes,
            names,
            X.astype(float),
            Y.astype(float),
            loss,
            theirs,
            w=None if w is None else w.astype(float),
            **penalties,
        )
        rtol = tolerance(dtype, terms=(k + 1) * (n + sum(sizes)))
        assert close(value, expected, rtol), f"loss of step {k}"
        assert close(net.theta, theta, rtol), f"theta after step {k}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("width", range(1, 21))
def test_ten_steps_at_every_width(width, optimizer, dtype):
    assert_steps_agree((width, width, width), ("tanh", "identity"), optimizer, dtype)


PENALTIES = [{}, {"l2": 0.1}, {"weight_decay": 0.1}, {"l2": 0.05, "weight_decay": 0.2}]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("optimizer", "penalties"),
    [
        (name, penalties)
        for name in OPTIMIZERS
        for penalties in PENALTIES
        if name != "irprop+" or "weight_decay" not in penalties  # which it does not have
    ],
)
def test_ten_steps_of_a_deep_network(optimizer, dtype, penalties):
    names = ("tanh", "silu", "sigmoid", "identity")
    assert_steps_agree((4, 7, 3, 9, 2), names, optimizer, dtype, weights=True, **penalties)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 600])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_steps_at_every_batch_size(n, dtype):
    assert_steps_agree((3, 8, 8, 2), ("tanh", "tanh", "identity"), "momentum", dtype, n=n)


@pytest.mark.parametrize("loss", list(reference.LOSSES))
def test_ten_steps_of_every_loss(loss):
    names = ("tanh", "tanh", OUTPUT_OF.get(loss, "identity"))
    assert_steps_agree((3, 8, 8, 2), names, "nesterov", "float64", loss=loss, weights=True)


def reference_fit(net, sizes, names, X, Y, optimizer, batch_size, epochs, order=None, w=None):
    """Epochs of reference steps from the network's theta: (theta, losses of the epochs)."""
    theta, losses = net.theta.astype(float).copy(), []
    w = np.ones(len(X)) if w is None else w
    for epoch in range(epochs):
        rows = np.arange(len(X)) if order is None else order(epoch)
        total = 0.0
        for first in range(0, len(X), batch_size):
            batch = rows[first : first + batch_size]
            L = reference.step(
                theta, sizes, names, X[batch], Y[batch], "mse", optimizer, w=w[batch]
            )
            total += L * w[batch].sum()
        losses.append(total / w.sum())
    return theta, losses


@pytest.mark.parametrize("batch_size", [1, 7, 8, 40, 41, 39, None])
def test_fit_is_steps_over_batches(batch_size):
    """The last batch is smaller, down to one row; the history is the mean over rows."""
    sizes, names = (3, 6, 2), ("tanh", "identity")
    net, (X, Y) = dense(sizes, names), problem(40)
    ours, theirs = OPTIMIZERS["momentum"]()
    theta, losses = reference_fit(net, sizes, names, X, Y, theirs, batch_size or 40, 3)
    history = net.fit(X, Y, optimizer=ours, epochs=3, batch_size=batch_size, shuffle=False)
    assert close(net.theta, theta, 1e-12)
    assert close(history["loss"], losses, 1e-12)
    assert history.stopped_by == "epochs"


def test_fit_shuffles_by_the_keyed_bijection():
    sizes, names = (3, 6, 2), ("tanh", "identity")
    net, (X, Y) = dense(sizes, names), problem(40)
    ours, theirs = OPTIMIZERS["adam"]()
    order = lambda epoch: core.row_order(40, 5, 6 * epoch)  # noqa: E731  (the step it starts at)
    theta, losses = reference_fit(net, sizes, names, X, Y, theirs, 7, 3, order)
    history = net.fit(X, Y, optimizer=ours, epochs=3, batch_size=7, seed=5)
    assert close(net.theta, theta, 1e-12)
    assert close(history["loss"], losses, 1e-12)


def test_apply_is_the_update_of_step():
    (X, Y), sizes, names = problem(20), (3, 6, 2), ("tanh", "identity")
    one, other = dense(sizes, names), dense(sizes, names)
    for name in OPTIMIZERS:
        stepped = dr.Trainer(one, optimizer=OPTIMIZERS[name]()[0])
        applied = dr.Trainer(other, optimizer=OPTIMIZERS[name]()[0])
        for _ in range(5):
            stepped.step(X, Y)
            loss, gradient = other.gradient(X, Y)
            applied.apply(gradient, loss)
            assert np.array_equal(one.theta, other.theta)
    for wrong in (np.zeros(3), np.zeros((2, one.n_parameters))):
        with pytest.raises(ValueError, match="gradient"):
            applied.apply(wrong)


def test_fit_run_and_step_are_the_same_training():
    (X, Y), nets = problem(24), [dense((3, 6, 2), ("tanh", "identity")) for _ in range(3)]
    fitted = nets[0].fit(X, Y, epochs=2, batch_size=8, shuffle=False)
    trainer = dr.Trainer(nets[1], optimizer="adam")
    ran = trainer.run(X, Y, epochs=2, batch_size=8, shuffle=False)
    trainer = dr.Trainer(nets[2], optimizer="adam")
    losses = [trainer.step(X[k : k + 8], Y[k : k + 8]) for k in (0, 8, 16, 0, 8, 16)]
    for net in nets[1:]:
        assert np.array_equal(net.theta, nets[0].theta)
    assert np.array_equal(ran["loss"], fitted["loss"])
    assert close(fitted["loss"], np.reshape(losses, (2, 3)).mean(axis=1), 1e-12)
    assert nets[0].n_steps == nets[1].n_steps == nets[2].n_steps == 6


def test_weighted_fit_follows_the_reference():
    sizes, names = (3, 6, 2), ("tanh", "identity")
    net, (X, Y) = dense(sizes, names), problem(40)
    w = rng(4).uniform(0.1, 3, 40)
    ours, theirs = OPTIMIZERS["adam"]()
    theta, losses = reference_fit(net, sizes, names, X, Y, theirs, 7, 3, w=w)
    history = net.fit(X, Y, sample_weight=w, optimizer=ours, epochs=3, batch_size=7, shuffle=False)
    assert close(net.theta, theta, 1e-12)
    assert close(history["loss"], losses, 1e-12)


@pytest.mark.parametrize("batch_size", [None, 24, 100])
def test_one_batch_takes_the_rows_as_they_lie(batch_size):
    X, Y = problem(24)
    layers = [dr.Input(3), dr.Dense(8, "tanh"), dr.Dropout(0.2), dr.Dense(2)]
    shuffled, in_order, stepped, batches = (dr.Network(layers, seed=1) for _ in range(4))
    shuffled.fit(X, Y, epochs=4, batch_size=batch_size)
    in_order.fit(X, Y, epochs=4, batch_size=batch_size, shuffle=False)
    trainer = dr.Trainer(stepped)
    for _ in range(4):
        trainer.step(X, Y)
    batches.fit(X, Y, epochs=4, batch_size=23)
    assert np.array_equal(shuffled.theta, in_order.theta)
    assert np.array_equal(shuffled.theta, stepped.theta)
    assert not np.allclose(shuffled.theta, batches.theta)
