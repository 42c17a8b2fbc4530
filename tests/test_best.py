"""The best epoch: what is kept, what brings it back, and that both are a matter of bits."""

import numpy as np
import pytest

import deltarule as dr
from best_helpers import RESTLESS, data, network, trained
from helpers import dense, problem, rng, run_python


def after(epochs, *, make=network, optimizer="momentum", seed=1, **settings):
    """The bits after so many epochs of the plain training."""
    net = make()
    net.fit(**data(), optimizer=RESTLESS[optimizer](), epochs=epochs, seed=seed, **settings)
    return net.theta.copy()


def lowest(values):
    return int(np.argmin(values)) + 1


# ---- what is restored ---------------------------------------------------------------------------


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("optimizer", list(RESTLESS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_restored_are_the_bits_of_a_run_that_stops_at_the_best_epoch(dtype, optimizer, validated):
    settings = {**data(validated=validated), "optimizer": RESTLESS[optimizer](), "seed": 1}
    whole, stopped, last = (network(dtype) for _ in range(3))
    history = whole.fit(**settings, epochs=25, restore_best=True)
    best = lowest(history["val_loss" if validated else "loss"])
    assert history.best_epoch == best
    assert 1 < best < 25
    stopped.fit(**settings, epochs=best)
    assert np.array_equal(whole.theta, stopped.theta)
    assert np.array_equal(whole.layers[0].mean, stopped.layers[0].mean)
    assert whole.n_steps == 25 * 5
    plain = last.fit(**settings, epochs=25)
    assert not np.array_equal(whole.theta, last.theta)
    assert all(np.array_equal(plain[key], history[key]) for key in plain if key != "seconds")


def test_the_restored_network_has_the_lowest_validation_loss():
    arguments = data()
    net = network()
    history = net.fit(**arguments, optimizer=RESTLESS["adam"](), epochs=25, restore_best=True)
    assert net.evaluate(*arguments["validation_data"])["loss"] == history["val_loss"].min()


@pytest.mark.parametrize("validated", [False, True])
def test_the_first_of_equal_epochs_is_the_best(validated):
    """Nothing is learnt, and other parameters give the same losses: tanh is odd."""

    def flip(state):
        hidden, out = state.network.layers
        for part in (hidden.W, hidden.b, out.W):
            part *= -1

    X, Y = problem(24)
    net = dense((3, 6, 2), ("tanh", "identity"))
    start = net.theta.copy()
    history = net.fit(
        X, Y, optimizer=dr.SGD(0.0), batch_size=None, shuffle=False, epochs=6, callbacks=[flip],
        validation_data=(X, Y) if validated else None, restore_best=True,
    )  # fmt: skip
    assert len({*history["val_loss" if validated else "loss"].tolist()}) == 1
    assert history.best_epoch == 1
    assert np.array_equal(net.theta, start)
    trainer = dr.Trainer(net, optimizer=dr.SGD(0.0))
    trainer.run(X, Y, batch_size=None, shuffle=False, epochs=5, callbacks=[flip], keep_best=True)
    assert trainer.best_epoch == 1
    assert not np.array_equal(net.theta, start)
    trainer.restore_best()
    assert np.array_equal(net.theta, start)


def test_a_callback_that_writes_does_not_reach_the_kept_copy():
    """Kept are the parameters whose loss was measured."""

    def spoil(state):
        if state.epoch == state.history.best_epoch == 3:
            state.network.theta[:] = 0

    arguments = data()
    net = network()
    history = net.fit(
        **arguments, optimizer=dr.SGD(0.01), epochs=3, seed=1, callbacks=[spoil], restore_best=True
    )
    assert history.best_epoch == 3
    assert net.theta.any()
    assert net.evaluate(*arguments["validation_data"])["loss"] == history["val_loss"][2]


def test_tol_has_no_part_in_what_is_best():
    """No later epoch beats the first by such a tol, but the last is the best."""
    net = dense((3, 6, 2), ("tanh", "identity"))
    X, Y = problem()
    history = net.fit(X, Y, optimizer=dr.SGD(0.01), tol=100.0, patience=4, restore_best=True)
    assert history.stopped_by == "converged"
    assert history.best_epoch == history.n_epochs == 5
    same = dense((3, 6, 2), ("tanh", "identity"))
    same.fit(X, Y, optimizer=dr.SGD(0.01), epochs=5)
    assert np.array_equal(net.theta, same.theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_does_not_matter(dtype):
    X, Y = problem(600, 40, 8)
    noisy = Y + rng(7).normal(0, 0.5, Y.shape)
    results = []
    for n_threads in (1, 2, 5):
        net = dense((40, 96, 64, 8), ("tanh", "relu", "identity"), dtype=dtype)
        history = net.fit(
            X, noisy, optimizer=dr.Adam(0.02), epochs=6, batch_size=300, seed=0,
            n_threads=n_threads, validation_data=problem(300, 40, 8, seed=5), restore_best=True,
        )  # fmt: skip
        results.append((history.best_epoch, net.theta.tobytes()))
    assert results[0] == results[1] == results[2]
    assert results[0][0] < 6


# ---- whatever ends the run ----------------------------------------------------------------------


def test_converged():
    net = network()
    history = net.fit(
        **data(), optimizer=RESTLESS["momentum"](), epochs=500, seed=1, tol=0.0, patience=6,
        restore_best=True,
    )  # fmt: skip
    assert history.stopped_by == "converged"
    assert history.best_epoch == history.n_epochs - 6
    assert np.array_equal(net.theta, after(history.best_epoch))


def test_a_callback_stops():
    net = network()
    history = net.fit(
        **data(), optimizer=RESTLESS["momentum"](), seed=1, restore_best=True,
        callbacks=[lambda state: state.epoch == 20], metrics=["rmse"], progress=True,
    )  # fmt: skip
    assert history.stopped_by == "callback"
    assert history.best_epoch < 20
    assert np.array_equal(net.theta, after(history.best_epoch))


def test_an_error_in_a_callback():
    class CallbackError(ValueError):
        pass

    def fail(state):
        if state.epoch == 20:
            raise CallbackError

    net = network()
    with pytest.raises(CallbackError):
        net.fit(
            **data(), optimizer=RESTLESS["momentum"](), seed=1, callbacks=[fail], restore_best=True
        )
    assert net.history.n_epochs == 20
    assert np.array_equal(net.theta, after(net.history.best_epoch))


def test_max_seconds():
    net = network()
    history = net.fit(
        **data(), optimizer=RESTLESS["momentum"](), epochs=10**9, seed=1, max_seconds=0.2,
        restore_best=True,
    )  # fmt: skip
    assert history.stopped_by == "max_seconds"
    assert np.array_equal(net.theta, after(history.best_epoch))


def explode_in(epoch):
    """A callback that lets the epoch after this one diverge."""

    def explode(state):
        if state.epoch == epoch:
            state.network.theta[:] = 1e200

    return explode


def test_divergence():
    net = network()
    with pytest.raises(
        dr.DivergenceError, match=r"epoch 21, .* end of epoch \d+, the best"
    ) as info:
        net.fit(
            **data(), optimizer=RESTLESS["momentum"](), seed=1, callbacks=[explode_in(20)],
            restore_best=True,
        )  # fmt: skip
    assert info.value.epoch == 21
    assert net.history.n_epochs == 20
    assert np.array_equal(net.theta, after(net.history.best_epoch))


def test_divergence_in_the_first_epoch_restores_its_start():
    net = dense((3, 6, 6, 2), ("relu", "relu", "identity"), dtype="float32")
    kept = net.theta.copy()
    with pytest.raises(dr.DivergenceError, match="epoch's start"):
        net.fit(*problem(), optimizer=dr.SGD(1e10), batch_size=8, restore_best=True)
    assert np.array_equal(net.theta, kept)


INTERRUPT = """
    import json, os, signal, threading, time
    import numpy as np
    import deltarule as dr

    X = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    y = np.sin(3 * X.sum(axis=1)) + np.random.default_rng(1).normal(0, 0.5, 40)
    def make():
        return dr.Network([3, 8, 1], activation="tanh", seed=0)
    settings = dict(optimizer=dr.SGD(0.1, momentum=0.9), seed=1, validation_data=(X[:7], X[:7, 0]))

    def interrupt():
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    net = make()
    try:
        net.fit(X, y, epochs=10**9, max_seconds=60, restore_best=True, **settings)
        raised = False
    except KeyboardInterrupt:
        raised = True
    best = make()
    best.fit(X, y, epochs=net.history.best_epoch, **settings)
    print(json.dumps({"raised": raised, "same": bool((net.theta == best.theta).all()),
                      "epochs": net.history.n_epochs, "best": net.history.best_epoch}))
"""


def test_ctrl_c():
    result = run_python(INTERRUPT)
    assert result["raised"]
    assert result["same"]
    assert result["best"] < result["epochs"]


def test_without_a_finished_epoch_nothing_is_restored():
    X, Y = problem(40)
    net = network()
    kept = net.theta.copy()
    assert net.fit(X, Y, epochs=0, restore_best=True).best_epoch is None
    assert np.array_equal(net.theta, kept)
    net = dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    many = np.broadcast_to(X[:1], (50_000_000, 3)), np.broadcast_to(Y[:1], (50_000_000, 2))
    history = net.fit(*many, max_seconds=0.05, restore_best=True)
    assert (history.n_epochs, history.stopped_by) == (0, "max_seconds")
    assert not np.array_equal(net.theta, kept)  # those of the last step


def test_refused_data_leave_all_as_it_was():
    X, Y = problem(40)
    X[39, 0] = np.nan
    net = network()
    kept = net.theta.copy()
    with pytest.raises(ValueError, match="row 39"):
        net.fit(X, Y, batch_size=8, shuffle=False, restore_best=True)
    assert np.array_equal(net.theta, kept)
    assert not net.layers[0].fitted


def test_a_second_fit_has_its_own_best():
    """Each fit looks at its own epochs, also if all of the first were better."""
    X, Y = problem(40)
    net = network()
    first = net.fit(X, Y, epochs=30, restore_best=True)
    good = net.theta.copy()
    second = net.fit(X, Y + 9, optimizer=dr.SGD(0.01), epochs=3, restore_best=True)
    assert second["loss"].min() > first["loss"].min()
    assert second.best_epoch == 3
    assert not np.array_equal(net.theta, good)


# ---- Trainer.run and restore_best ---------------------------------------------------------------


def test_run_restores_nothing_by_itself():
    kept, plain = trained(), trained(keep_best=False)
    assert np.array_equal(kept.network.theta, plain.network.theta)
    assert plain.best_epoch is None
    assert kept.best_epoch == kept.history.best_epoch < 25
    kept.restore_best()
    assert np.array_equal(kept.network.theta, after(kept.best_epoch))
    assert kept.network.n_steps == 125
    kept.network.theta[:] = 0
    kept.restore_best()  # the copy is still there
    assert np.array_equal(kept.network.theta, after(kept.best_epoch))


def test_restore_without_keep_is_refused():
    for trainer in (
        dr.Trainer(network()),
        trained(keep_best=False),
        trained(max_steps=3),
        trained(epochs=0),
    ):
        kept = trainer.network.theta.copy()
        with pytest.raises(RuntimeError, match=r"no epoch was kept.*keep_best=True"):
            trainer.restore_best()
        assert np.array_equal(trainer.network.theta, kept)


def test_pauses_change_neither_the_run_nor_what_is_kept():
    whole = trained()
    pieces = dr.Trainer(network(), optimizer=RESTLESS["momentum"](), seed=1)
    while pieces.history.stopped_by != "epochs":
        pieces.run(**data(), epochs=25, keep_best=True, max_steps=3)
    assert np.array_equal(whole.network.theta, pieces.network.theta)
    assert whole.best_epoch == pieces.best_epoch
    whole.restore_best()
    pieces.restore_best()
    assert np.array_equal(whole.network.theta, pieces.network.theta)


def test_only_epochs_that_end_while_keeping_are_candidates():
    """Five good epochs before, worse ones while keeping, better ones after: none of these."""
    X, Y = problem(40)
    trainer = dr.Trainer(dense((3, 8, 2), ("tanh", "identity")), optimizer=dr.SGD(0.05), seed=0)
    trainer.run(X, Y, epochs=5)
    trainer.network.theta[:] *= 3
    trainer.run(X, Y, epochs=8, keep_best=True)
    assert trainer.best_epoch == 8
    best = trainer.network.theta.copy()
    trainer.run(X, Y, epochs=60)
    assert trainer.best_epoch == 8
    assert trainer.history.best_epoch == 60
    trainer.restore_best()
    assert np.array_equal(trainer.network.theta, best)


def test_epochs_with_a_validation_loss_compete_among_themselves():
    X, Y = problem(40)
    other = problem(20, seed=1)
    far = (other[0], other[1] + 100)  # losses that no training loss is above
    trainer = dr.Trainer(dense((3, 8, 2), ("tanh", "identity")), seed=0)
    trainer.run(X, Y, epochs=4, keep_best=True)
    assert trainer.best_epoch == trainer.history.best_epoch == 4
    trainer.run(X, Y, epochs=5, keep_best=True, validation_data=far)
    assert trainer.best_epoch == trainer.history.best_epoch == 5
    trainer.run(X, Y, epochs=20, keep_best=True)
    assert trainer.best_epoch == trainer.history.best_epoch == 5
    trainer.run(X, Y, epochs=30, keep_best=True, validation_data=other)
    assert trainer.best_epoch == trainer.history.best_epoch > 20


def test_statistics_come_back_too():
    def shift(state):
        state.network.layers[0].set_statistics(state.epoch * np.ones(3), np.ones(3))

    trainer = trained(epochs=6, callbacks=[shift])
    best = trainer.best_epoch
    assert (trainer.network.layers[0].mean == 6).all()
    trainer.restore_best()
    assert best > 1
    assert (trainer.network.layers[0].mean == best - 1).all()


def test_restoring_in_a_callback_goes_on_from_there():
    seen = []

    def back(state):
        if state.epoch == 20:
            seen.append(state.trainer.best_epoch)
            state.trainer.restore_best()
            seen.append(state.network.theta.copy())

    trainer = trained(epochs=21, callbacks=[back])
    assert np.array_equal(seen[1], after(seen[0]))
    assert trainer.history.n_epochs == 21


def test_restoring_while_another_thread_trains_is_refused():
    trainer = trained()
    trainer.network._begin_training()
    trainer.network._training_thread = -1
    with pytest.raises(RuntimeError, match="trained by another"):
        trainer.restore_best()
    trainer.network._end_training()
    trainer.restore_best()


def test_single_steps_keep_nothing():
    X, Y = problem(40)
    trainer = dr.Trainer(dense((3, 8, 2), ("tanh", "identity")))
    trainer.step(X, Y)
    assert trainer.best_epoch is None


@pytest.mark.parametrize("value", ["yes", 2, None])
def test_flags_are_flags(value):
    X, Y = problem(40)
    net = network()
    with pytest.raises(TypeError, match="restore_best must be True or False"):
        net.fit(X, Y, restore_best=value)
    with pytest.raises(TypeError, match="keep_best must be True or False"):
        dr.Trainer(net).run(X, Y, keep_best=value)
    assert net.n_steps == 0


# ---- history.best_epoch -------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize(
    ("columns", "best"),
    [
        ({}, None),
        ({"loss": []}, None),
        ({"rmse": [1.0]}, None),
        ({"loss": [NAN]}, None),
        ({"loss": [1.0]}, 1),
        ({"loss": [3.0, 1.0, 2.0, 1.0]}, 2),
        ({"loss": [3.0, 1.0, 2.0], "val_loss": [5.0, 6.0, 4.0]}, 3),
        ({"loss": [3.0, 1.0, 2.0], "val_loss": [NAN, 7.0, 6.0]}, 3),
        ({"loss": [3.0, 1.0, 2.0], "val_loss": [NAN, NAN, NAN]}, 2),
        ({"loss": [float("inf"), float("inf")]}, 1),
        ({"loss": [NAN, float("inf")]}, 2),
    ],
)
def test_best_epoch_of_a_history(columns, best):
    history = dr.History(columns)
    assert history.best_epoch == best
    assert history.best_epoch is None or type(history.best_epoch) is int
