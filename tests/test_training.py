"""Training: seeds, stop rules, weights, validation, metrics and history."""

import re
import time

import numpy as np
import pytest

import deltarule as dr
from helpers import OPTIMIZERS, dense, problem, rng
from tolerances import close, tolerance


def fitted(seed=0, fits=(0,), **settings):
    """A network with dropout, constructed with `seed` and fitted once for each seed in `fits`."""
    X, Y = problem(40)
    net = dr.Network(
        [dr.Input(3), dr.Dense(8, "tanh"), dr.Dropout(0.2), dr.Dense(2)], dtype="float64", seed=seed
    )
    for fit_seed in fits:
        net.fit(X, Y, epochs=2, batch_size=8, seed=fit_seed, **settings)
    return net.theta.copy()


def test_a_second_fit_keeps_the_weights_and_makes_a_fresh_optimiser():
    X, Y = problem(24)
    settings = {"epochs": 2, "batch_size": 8, "shuffle": False}
    twice, renewed, one_trainer = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(3))
    for _ in range(2):
        twice.fit(X, Y, optimizer=dr.Adam(), **settings)
        dr.Trainer(renewed, optimizer=dr.Adam()).run(X, Y, **settings)
    trainer = dr.Trainer(one_trainer, optimizer=dr.Adam())
    trainer.run(X, Y, epochs=2, batch_size=8, shuffle=False)
    trainer.run(X, Y, epochs=4, batch_size=8, shuffle=False)
    assert np.array_equal(twice.theta, renewed.theta)
    assert not np.array_equal(twice.theta, one_trainer.theta)


def test_the_same_seed_gives_the_same_bits():
    assert np.array_equal(fitted(), fitted())
    assert np.array_equal(fitted(fits=(3,)), fitted(fits=(3,)))
    assert np.array_equal(fitted(fits=(None,)), fitted(fits=(None,)))


def test_another_seed_gives_other_bits():
    assert not np.array_equal(fitted(seed=1), fitted(seed=2))
    assert not np.array_equal(fitted(fits=(1,)), fitted(fits=(2,)))


def test_fit_without_a_seed_continues():
    """A second fit draws new numbers; with a seed, those of any fit with that seed."""
    X, Y = problem(40)

    def moves(seed):
        net = dr.Network([dr.Input(3), dr.Dense(8, "tanh"), dr.Dense(2)], dtype="float64", seed=0)
        start, result = net.theta.copy(), []
        for _ in range(2):
            net.theta[:] = start
            net.fit(X, Y, epochs=1, batch_size=8, seed=seed)
            result.append(net.theta.copy())
        return result

    first, second = moves(None)
    assert not np.array_equal(first, second)
    first, second = moves(4)
    assert np.array_equal(first, second)


def test_fit_without_a_seed_starts_from_the_networks_seed():
    assert not np.array_equal(fitted(seed=0, fits=(None,)), fitted(seed=1, fits=(None,)))
    net = dr.Network([2, 2])
    assert 0 <= net.seed < 2**64
    again = dr.Network([2, 2], seed=net.seed)
    assert np.array_equal(net.theta, again.theta)
    assert dr.Network([2, 2]).seed != net.seed


def test_the_largest_seed_is_a_seed():
    assert np.isfinite(fitted(seed=2**64 - 1, fits=(2**64 - 1,))).all()


def test_epochs():
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    history = net.fit(X, Y, epochs=0)
    assert history.stopped_by == "epochs"
    assert history["loss"].shape == (0,)
    assert np.array_equal(net.theta, kept)
    assert len(net.fit(X, Y, epochs=7)["loss"]) == 7


@pytest.mark.parametrize("validated", [False, True])
def test_converged_follows_the_rule(validated):
    """Stops at the first epoch that is the `patience`-th without improving by more than tol."""
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    tol, patience = 1e-3, 4
    history = net.fit(
        X,
        Y,
        optimizer=dr.SGD(learning_rate=0.05),
        batch_size=8,
        seed=0,
        epochs=5000,
        tol=tol,
        patience=patience,
        validation_data=problem(30, seed=1) if validated else None,
    )
    assert history.stopped_by == "converged"
    watched = history["val_loss" if validated else "loss"]
    assert patience < len(watched) < 5000
    best, waited = np.inf, []
    for value in watched:
        waited.append(0 if best - value > tol else waited[-1] + 1)
        best = min(best, value)
    assert waited[-1] == patience
    assert max(waited[:-1]) < patience


def test_without_tol_a_flat_loss_trains_all_epochs():
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    still = dr.SGD(learning_rate=0.0)
    assert net.fit(X, Y, optimizer=still, epochs=30, patience=1).stopped_by == "epochs"
    history = net.fit(X, Y, optimizer=still, epochs=30, patience=5, tol=0.0, shuffle=False)
    assert history.stopped_by == "converged"
    assert len(history["loss"]) == 6


def test_max_seconds():
    X, Y = problem(2000)
    net = dense((3, 6, 2), ("tanh", "identity"))
    start = time.perf_counter()
    history = net.fit(X, Y, epochs=10**9, max_seconds=0.2)
    assert history.stopped_by == "max_seconds"
    assert 0.2 <= time.perf_counter() - start < 5
    assert abs(history["seconds"].sum()) <= time.perf_counter() - start
    assert np.isfinite(net.theta).all()


def test_max_steps_pauses_a_run_anywhere():
    X, Y = problem(40)
    net = dense((3, 6, 2), ("tanh", "identity"))
    trainer = dr.Trainer(net)
    history = trainer.run(X, Y, epochs=10, batch_size=8, max_steps=7)
    assert history.stopped_by == "max_steps"
    assert net.n_steps == 7
    assert len(history["loss"]) == 1
    trainer.run(X, Y, epochs=10, batch_size=8, max_steps=0)
    assert net.n_steps == 7
    history = trainer.run(X, Y, epochs=10, batch_size=8)
    assert history.stopped_by == "epochs"
    assert net.n_steps == 50


def test_pauses_at_every_step_change_nothing():
    X, Y = problem(40)
    validation = problem(15, seed=3)
    settings = {"epochs": 4, "batch_size": 8, "validation_data": validation, "metrics": ["rmse"]}
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(6, "tanh"), dr.Dropout(0.3), dr.Dense(2)]
    whole, paused = (dr.Network(layers, seed=3) for _ in range(2))
    expected = dr.Trainer(whole, optimizer="adam").run(X, Y, **settings)
    trainer = dr.Trainer(paused, optimizer="adam")
    losses = []
    for _ in range(20):
        history = trainer.run(X, Y, max_steps=1, **settings)
        losses.append(history)
    assert np.array_equal(paused.theta, whole.theta)
    final = trainer.run(X, Y, **settings)
    assert final.stopped_by == "epochs"
    assert paused.n_steps == 20
    assert_same_history(final, expected)


def assert_same_history(actual, expected):
    assert set(actual) == set(expected)
    for key in set(actual) - {"seconds"}:
        assert np.array_equal(actual[key], expected[key]), key


def test_a_callback_stops():
    X, Y = problem()
    seen = []

    def stop_at_three(state):
        seen.append((state.epoch, state.logs["loss"], len(state.history["loss"])))
        assert state.network is net
        assert isinstance(state.trainer, dr.Trainer)
        return state.epoch >= 3

    net = dense((3, 6, 2), ("tanh", "identity"))
    history = net.fit(X, Y, epochs=100, callbacks=[stop_at_three])
    assert history.stopped_by == "callback"
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    assert [loss for _, loss, _ in seen] == list(history["loss"])
    assert [length for _, _, length in seen] == [1, 2, 3]


def test_only_true_stops():
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    assert net.fit(X, Y, epochs=3, callbacks=[lambda state: None]).stopped_by == "epochs"


def test_callbacks_do_not_change_the_bits():
    X, Y = problem()
    plain, watched = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    plain.fit(X, Y, epochs=5)
    watched.fit(X, Y, epochs=5, callbacks=[lambda state: state.network.predict(X) is None])
    assert np.array_equal(plain.theta, watched.theta)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_integer_weights_are_repeated_rows(scaled, dtype):
    X, Y = problem(30)
    w = rng(1).integers(0, 4, 30)
    layers = [dr.Input(3), dr.Dense(6, "tanh"), dr.Dense(2)]
    if scaled:
        layers = [layers[0], dr.Standardize(), *layers[1:], dr.Rescale()]
        X, Y = 3 * X + 10, 7 * Y - 5
    weighted, repeated = (dr.Network(layers, dtype=dtype, seed=0) for _ in range(2))
    settings = {"epochs": 20, "batch_size": None, "optimizer": dr.SGD(learning_rate=0.001)}
    one = weighted.fit(X, Y, sample_weight=w, **settings)
    other = repeated.fit(X.repeat(w, axis=0), Y.repeat(w, axis=0), **settings)
    rtol = 20 * tolerance(dtype, terms=w.sum())
    assert close(weighted.theta, repeated.theta, rtol)
    assert close(one["loss"], other["loss"], rtol)
    assert close(weighted.predict(X), repeated.predict(X), rtol)


def test_weights_scale_out():
    X, Y = problem(30)
    w = rng(1).uniform(0.5, 2, 30)
    one, other = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    one.fit(X, Y, sample_weight=w, epochs=3)
    other.fit(X, Y, sample_weight=8 * w, epochs=3)
    assert close(one.theta, other.theta, 1e-12)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_a_batch_of_zero_weight_is_skipped(optimizer):
    X, Y = problem(24)
    w = np.ones(24)
    w[8:16] = 0
    skipped, without = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    settings = {"epochs": 3, "batch_size": 8, "shuffle": False}
    keep = w > 0
    one = skipped.fit(X, Y, sample_weight=w, optimizer=OPTIMIZERS[optimizer]()[0], **settings)
    other = without.fit(X[keep], Y[keep], optimizer=OPTIMIZERS[optimizer]()[0], **settings)
    assert np.array_equal(skipped.theta, without.theta)
    assert np.array_equal(one["loss"], other["loss"])


def test_history_has_one_value_an_epoch_under_every_key():
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    history = net.fit(
        X, Y, epochs=4, validation_data=problem(20, seed=1), metrics=["rmse", "mae", "r2"]
    )
    assert set(history) == {
        "loss",
        "val_loss",
        "rmse",
        "val_rmse",
        "mae",
        "val_mae",
        "r2",
        "val_r2",
        "seconds",
    }
    for key, values in history.items():
        assert isinstance(values, np.ndarray)
        assert values.shape == (4,), key
        assert np.isfinite(values).all(), key
    assert (history["seconds"] >= 0).all()
    assert isinstance(history, dict)
    assert net.history is history or set(net.history) == set(history)


def test_history_without_validation_has_no_validation_keys():
    net = dense((3, 6, 2), ("tanh", "identity"))
    assert set(net.fit(*problem(), epochs=2)) == {"loss", "seconds"}


def test_validation_is_evaluate_at_the_epochs_end():
    X, Y = problem()
    V, T = problem(20, seed=1)
    w = rng(0).uniform(0.5, 2, 20)
    for data in [(V, T), (V, T, w)]:
        net = dense((3, 6, 2), ("tanh", "identity"), dropout=0.2)
        weight = data[2] if len(data) == 3 else None
        ends = []

        def record(state, weight=weight, ends=ends):
            ends.append(state.network.evaluate(V, T, sample_weight=weight, metrics=["rmse"]))

        history = net.fit(
            X, Y, epochs=3, validation_data=data, metrics=["rmse"], callbacks=[record]
        )
        assert close(history["val_loss"], [end["loss"] for end in ends], 1e-12)
        assert close(history["val_rmse"], [end["rmse"] for end in ends], 1e-12)


def test_validation_does_not_change_training():
    X, Y = problem()
    plain, validated = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    plain.fit(X, Y, epochs=3)
    validated.fit(X, Y, epochs=3, validation_data=problem(20, seed=1), metrics=["rmse"])
    assert np.array_equal(plain.theta, validated.theta)


def test_penalties_are_in_the_loss_but_not_in_the_validation_loss():
    X, Y = problem(40, n_inputs=100)
    net = dense((100, 101, 2), ("tanh", "identity"))  # W_1 is summed in three blocks
    still = dr.SGD(learning_rate=0.0, l2=0.5)
    history = net.fit(X, Y, optimizer=still, epochs=1, validation_data=(X, Y))
    bare = net.evaluate(X, Y)["loss"]
    squares = sum((layer.W**2).sum() for layer in net.layers)
    assert close(history["loss"][0], bare + 0.25 * squares, 1e-12)
    assert close(history["val_loss"][0], bare, 1e-12)


def test_metrics_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    X, Y = problem(50)
    w = rng(1).uniform(0.5, 2, 50)
    net = dense((3, 6, 2), ("tanh", "identity"))
    P = net.predict(X)
    for weight in (None, w):
        result = net.evaluate(X, Y, sample_weight=weight, metrics=["rmse", "mae", "r2"])
        mse = metrics.mean_squared_error(Y, P, sample_weight=weight)
        assert close(result["loss"], mse, 1e-12)
        assert close(result["rmse"], np.sqrt(mse), 1e-12)
        assert close(result["mae"], metrics.mean_absolute_error(Y, P, sample_weight=weight), 1e-12)
    assert close(net.evaluate(X, Y[:, :2], metrics=["r2"])["r2"], metrics.r2_score(Y, P), 1e-9)
    classifier = dense((3, 6, 4), ("tanh", "softmax"))
    classes = rng(2).integers(4, size=50)
    P = classifier.predict(X)
    for weight in (None, w):
        result = classifier.evaluate(
            X, classes, sample_weight=weight, metrics=["accuracy", "log_loss"]
        )
        accuracy = metrics.accuracy_score(classes, P.argmax(axis=1), sample_weight=weight)
        log_loss = metrics.log_loss(classes, P, sample_weight=weight, labels=range(4))
        assert close(result["accuracy"], accuracy, 1e-12)
        assert close(result["log_loss"], log_loss, 1e-9)
        assert close(result["loss"], log_loss, 1e-9)


def test_one_wide_targets_may_be_flat_and_predictions_never_are():
    X, Y = problem(40, n_outputs=1)
    flat, column = (dense((3, 6, 1), ("tanh", "identity")) for _ in range(2))
    flat.fit(X, Y[:, 0], epochs=3, validation_data=(X, Y[:, 0]), metrics=["rmse"])
    column.fit(X, Y, epochs=3, validation_data=(X, Y), metrics=["rmse"])
    assert np.array_equal(flat.theta, column.theta)
    assert flat.predict(X).shape == (40, 1)


def test_a_metric_of_the_users_own():
    def largest_error(y_true, y_pred):
        assert y_true.shape == y_pred.shape
        return abs(y_true - y_pred).max()

    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    history = net.fit(X, Y, epochs=2, metrics=[largest_error], validation_data=(X, Y))
    assert history["largest_error"][-1] == abs(net.predict(X) - Y).max()
    assert np.array_equal(history["largest_error"], history["val_largest_error"])
    with pytest.raises(TypeError, match="number"):
        net.fit(X, Y, epochs=1, metrics=[lambda y_true, y_pred: None])


# ---- threads and the bar ------------------------------------------------------------------------


def test_the_number_of_threads_does_not_change_the_bits():
    X, Y = problem(600, 40, 8)
    results = []
    for n_threads in (1, 2, 7):
        net = dense((40, 96, 64, 8), ("tanh", "relu", "identity"), dtype="float32", dropout=0.1)
        history = net.fit(X, Y, epochs=2, batch_size=300, seed=0, n_threads=n_threads)
        results.append((net.theta.tobytes(), history["loss"].tobytes()))
    assert results[0] == results[1] == results[2]


def test_the_bar_moves_inside_an_epoch_and_changes_nothing(capsys):
    X, Y = (np.broadcast_to(row, (3_000_000, row.size)) for row in (np.ones(3), np.zeros(2)))
    quiet, shown = (dense((3, 64, 2), ("tanh", "identity")) for _ in range(2))
    quiet.fit(X, Y, epochs=1)
    assert capsys.readouterr().err == ""  # not a terminal
    shown.fit(X, Y, epochs=1, progress=True)
    text = capsys.readouterr().err
    assert "loss" in text
    percents = {int(p) for p in re.findall(r"(\d+)%", text)}
    assert 100 in percents
    assert any(0 < p < 100 for p in percents)
    assert np.array_equal(quiet.theta, shown.theta)
    shown.fit(X[:8], Y[:8], epochs=1, progress=False)
    assert capsys.readouterr().err == ""
