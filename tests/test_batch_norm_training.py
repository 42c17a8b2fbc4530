"""Training with BatchNorm: running statistics, whole batches, resume, divergence, bits."""

import numpy as np
import pytest

import deltarule as dr
from batch_norm_helpers import (
    BN,
    DTYPES,
    NETWORKS,
    network,
    norms,
    passed,
    rows,
    statistics,
)
from helpers import OPTIMIZERS, rng
from tolerances import FLOAT32_STEPS, close


def bits(net):
    return net.theta.tobytes(), [s.tobytes() for s in statistics(net)]


# ---- steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_twenty_steps_agree_with_the_reference(optimizer, dtype):
    """theta and running statistics; batches of 19 rows and of 300."""
    # No bias before a norm: its gradient is rounding, which Adam would divide by itself.
    for n, layers in ((19, NETWORKS["activated"]), (300, NETWORKS["first"])):
        net, (X, Y) = network(layers=layers, dtype=dtype), rows(4 * n)
        ours, theirs = OPTIMIZERS[optimizer]()
        trainer, theta = dr.Trainer(net, optimizer=ours), net.theta.astype(float)
        exact = network(layers=layers)  # the same numbers in float64
        exact.theta = theta
        for layer, other in zip(norms(exact), norms(net), strict=True):
            layer.running_mean, layer.running_var = other.running_mean, other.running_var
        for step in range(20):
            batch = np.arange(n) + n * (step % 4)
            x, y = (Z[batch].astype(dtype).astype(float) for Z in (X, Y))
            L, grad, _, _, after = passed(exact, x, y, training=True)
            loss = trainer.step(X[batch], Y[batch])
            theirs.update(theta, grad)
            exact.theta = theta
            for layer, (mean, var) in zip(
                norms(exact), zip(after[::2], after[1::2], strict=True), strict=True
            ):
                layer.running_mean, layer.running_var = mean, var
            rtol = FLOAT32_STEPS if dtype == "float32" else 1e-11
            assert close(loss, L, rtol)
            assert close(net.theta, theta, rtol)
            for found, expected in zip(statistics(net), statistics(exact), strict=True):
                assert close(found, expected, rtol)


def test_only_steps_move_the_running_statistics():
    net, (X, Y) = network("wide"), rows(40)
    before = bits(net)
    trainer = dr.Trainer(net)
    for training in (True, False):
        net.gradient(X, Y, training=training)
        net.trace(X, Y, training=training)
        net.backward(X, Y, training=training)
    net.predict(X), net.evaluate(X, Y)
    assert bits(net) == before
    trainer.apply(np.zeros(net.n_parameters))
    assert bits(net) == before
    trainer.step(X, Y)
    assert all(not np.array_equal(a, b) for a, b in zip(bits(net)[1], before[1], strict=True))


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_the_ends_of_momentum(momentum):
    net, (X, Y) = network(layers=[BN(momentum=momentum), dr.Dense(2)]), rows(31)
    expected = (X.mean(axis=0), X.var(axis=0, ddof=1)) if momentum else statistics(net)
    dr.Trainer(net).step(X, Y)
    for found, value in zip(statistics(net), expected, strict=True):
        assert close(found, value, 1e-12)


def test_penalties_leave_gamma_and_beta():
    (X, Y), found = rows(40), []
    for settings in ({}, {"l2": 0.1}, {"weight_decay": 0.1}):
        net = network("linear")
        dr.Trainer(net, optimizer=dr.SGD(0.1, **settings)).step(X, Y)
        found.append([net.layers[1].gamma.copy(), net.layers[1].beta.copy(), net.layers[0].W])
    assert np.array_equal(found[0][:2], found[1][:2])
    assert np.array_equal(found[0][:2], found[2][:2])
    assert not np.array_equal(found[0][2], found[1][2])
    assert not np.array_equal(found[0][2], found[2][2])


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5}, {"clip_value": 0.01, "l2": 0.1}])
@pytest.mark.parametrize("n", [31, 256, 257, 600])
def test_an_epoch_of_one_batch_is_a_step(n, settings):
    (X, Y), found = rows(n), []
    for name in ("wide", "dropout"):
        for of_all in (False, True):
            trainer = dr.Trainer(network(name, "float32"), optimizer=dr.Adam(0.01, **settings))
            if of_all:
                trainer.run(X, Y, batch_size=None, shuffle=False, epochs=3)
            else:
                for _ in range(3):
                    trainer.step(X, Y)
            found.append(bits(trainer.network))
    assert found[0] == found[1] != found[2] == found[3]


# ---- fits ---------------------------------------------------------------------------------------


def test_a_last_batch_of_one_row_is_skipped():
    X, Y = rows(33)
    net, same = network("linear"), network("linear")
    history = net.fit(X, Y, batch_size=32, shuffle=False, epochs=3)
    expected = same.fit(X[:32], Y[:32], batch_size=32, shuffle=False, epochs=3)
    assert net.n_steps == 3
    assert bits(net) == bits(same)
    assert np.array_equal(history["loss"], expected["loss"])
    X[32, 2] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan at row 32, column 2"):
        net.fit(X, Y, batch_size=32, shuffle=False, epochs=1)


def test_validation_and_metrics_use_running_statistics():
    (X, Y), validation = rows(100), rows(300, seed=9)
    net = network("wide")
    history = net.fit(X, Y, epochs=3, validation_data=validation, metrics=["rmse"])
    now = net.evaluate(*validation, metrics=["rmse"])
    assert history["val_loss"][-1] == now["loss"]
    assert history["val_rmse"][-1] == now["rmse"]


def test_the_best_epoch_has_its_statistics():
    (X, Y), (other, targets) = rows(60), rows(50, seed=9)
    validation = other, targets[::-1]  # gets worse as the training gets on
    net = network("wide", "float32")
    history = net.fit(
        X, Y, epochs=15, optimizer=dr.Adam(0.05), validation_data=validation, restore_best=True
    )
    assert history.best_epoch < 15
    assert net.evaluate(*validation)["loss"] == history["val_loss"].min()


def test_a_diverged_epoch_restores_its_start():
    (X, Y), before = rows(40), []
    net = network("linear", "float32")

    def explode(state):
        if state.epoch == 2:
            state.network.layers[-1].W[:] = 1e30
            before.append(bits(state.network))

    with pytest.raises(dr.DivergenceError) as info:
        net.fit(X, Y, batch_size=8, epochs=5, optimizer=dr.SGD(0.01), callbacks=[explode])
    assert info.value.epoch == 3
    assert bits(net) == before[0]
    steps, start = net.n_steps, bits(net)
    with pytest.raises(dr.DivergenceError):
        net.fit(X, Y, batch_size=8, epochs=5, optimizer=dr.SGD(1e20))
    assert (bits(net), net.n_steps) == (start, steps)
    for settings in ({}, {"clip_norm": 1.0}):
        trainer = dr.Trainer(net, optimizer=dr.SGD(0.01, **settings))
        with pytest.raises(dr.DivergenceError):
            trainer.step(X, 1e30 * Y)
        assert bits(net) == start


def test_statistics_that_overflow_are_divergence():
    net, (X, Y) = network("first", "float32"), rows(40)
    X[:, 0] *= 1e25  # the variance has no place in float32
    start = bits(net)
    with pytest.raises(dr.DivergenceError):
        net.fit(X, Y, epochs=1)
    assert bits(net) == start


def test_it_solves_a_badly_scaled_problem():
    g = rng(1)
    X = g.uniform(-1, 1, (400, 2))
    y = np.sin(3 * X[:, 0]) * X[:, 1]
    X = X * [1e3, 1e-3] + [5e3, 1]
    layers = [dr.Input(2), BN(), dr.Dense(32), BN(), dr.Activation("relu"), dr.Dense(32), BN(),
              dr.Activation("relu"), dr.Dense(1)]  # fmt: skip
    net = dr.Network(layers, seed=0)
    net.fit(X[:300], y[:300], epochs=60)
    assert net.evaluate(X[300:], y[300:], metrics=["r2"])["r2"] > 0.9
    plain = dr.Network([2, 32, 32, 1], seed=0)
    plain.fit(X[:300], y[:300], epochs=60)
    assert plain.evaluate(X[300:], y[300:], metrics=["r2"])["r2"] < 0.5


# ---- the same bits ------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    monkeypatch.delenv("DELTARULE_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield dr.set_num_threads
    dr.set_num_threads(None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, threads):
    """With layers shared out by rows and, the largest, by units; two blocks and a part of one."""
    layers = [dr.Input(60), BN(), dr.Dense(660), BN(), dr.Activation("tanh"), dr.Dropout(0.1),
              dr.Dense(650, "silu"), BN(), dr.Dense(5)]  # fmt: skip
    g, found = rng(5), []
    X, Y = g.normal(size=(600, 60)), g.normal(size=(600, 5))
    for n_threads in (1, 2, 5):
        threads(n_threads)
        net = dr.Network(layers, dtype=dtype, seed=0)
        history = net.fit(X, Y, epochs=1, batch_size=300, validation_data=(X, Y))
        result = [*bits(net), history["loss"].tobytes(), history["val_loss"].tobytes()]
        for training in (True, False):
            result += [net.gradient(X[:300], Y[:300], training=training)[1].tobytes()]
            result += [a.tobytes() for a in net.backward(X[:300], Y[:300], training=training)]
        found.append([*result, net.predict(X).tobytes()])
    assert found[0] == found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("optimizer", ["adam", dr.SGD(0.05, momentum=0.9, clip_norm=1.0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resume_at_each_of_forty_steps(tmp_path, optimizer, dtype):
    (X, Y), settings = rows(70), {"epochs": 15, "batch_size": 23}  # the last batch of one row
    layers = [BN(), dr.Dense(9), BN(), dr.Activation("tanh"), dr.Dropout(0.3), dr.Dense(2)]

    def trainer():
        return dr.Trainer(network(layers=layers, dtype=dtype), optimizer=optimizer, seed=4)

    whole, paused = trainer(), trainer()
    history = whole.run(X, Y, **settings)
    assert whole.network.n_steps == 45
    for step in range(40):
        paused.run(X, Y, max_steps=1, **settings)
        assert paused.network.n_steps == step + 1
        paused.save(tmp_path / "half")
        resumed = dr.Trainer.resume(tmp_path / "half")
        assert bits(resumed.network) == bits(paused.network)
        resumed.run(X, Y, **settings)
        assert bits(resumed.network) == bits(whole.network)
        assert resumed.history["loss"].tobytes() == history["loss"].tobytes()


def test_a_resumed_epoch_that_diverges_restores_its_start(tmp_path):
    X, Y = rows(40)
    trainer = dr.Trainer(network("linear"), optimizer=dr.SGD(0.01))
    start = bits(trainer.network)
    trainer.run(X, Y, batch_size=8, epochs=1, max_steps=2)
    trainer.network.layers[-1].W[:] = 1e300
    trainer.save(tmp_path / "half")
    resumed = dr.Trainer.resume(tmp_path / "half")
    with pytest.raises(dr.DivergenceError):
        resumed.run(X, Y, batch_size=8, epochs=1)
    assert bits(resumed.network) == start
