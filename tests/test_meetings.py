"""Where two features meet: each of these went wrong once."""

import itertools

import numpy as np
import pytest

import deltarule as dr

X = np.linspace(-1.0, 1.0, 40).reshape(-1, 2)
Y = np.sin(3 * X[:, :1])


def network(**settings):
    layers = [dr.Input(2), dr.Dense(8, "tanh"), dr.Dense(8, "tanh"), dr.Dense(1)]
    return dr.Network(layers, seed=0, **settings)


def squared(y_true, y_pred):
    return ((y_pred - y_true) ** 2).mean(axis=1), 2 * (y_pred - y_true)


@pytest.mark.parametrize("rows", [33, 65])
def test_a_schedule_ends_where_a_batch_norm_skips_the_last_row(rows):
    rows_of = np.linspace(-1, 1, rows).reshape(-1, 1)
    optimizer = dr.SGD(dr.schedules.Cosine(0.01))
    net = dr.Network([dr.Input(1), dr.Dense(4), dr.BatchNorm(), dr.Dense(1)], seed=0)
    history = net.fit(rows_of, rows_of, optimizer=optimizer, epochs=20)
    even = dr.Network([1, 1], seed=0).fit(
        rows_of[:-1], rows_of[:-1], optimizer=optimizer, epochs=20
    )
    assert net.n_steps == 20 * (rows // 32)
    assert np.array_equal(history["learning_rate"], even["learning_rate"])


def test_another_monitor_begins_the_plateau_anew():
    trainer = dr.Trainer(
        network(), optimizer=dr.SGD(dr.schedules.ReduceOnPlateau(0.001, 0.5, patience=2)), seed=0
    )
    rising = itertools.count(5)

    def profit(y_true, y_pred):  # no loss is as low as its negative
        return next(rising)

    trainer.run(X, Y, epochs=5, metrics=[profit], monitor=("profit", "max"))
    history = trainer.run(X, Y, epochs=15)
    assert (np.diff(history["loss"]) < 0).all()
    assert (history["learning_rate"] == 0.001).all()


def test_the_first_validation_rows_begin_stopping_anew():
    trainer = dr.Trainer(network(), optimizer=dr.SGD(0.01), seed=0)
    trainer.run(X, 0.01 * Y, epochs=5, tol=0.0, patience=3)
    trainer.run(X, 0.01 * Y, validation_data=(X, 5 + Y), epochs=10, tol=0.0, patience=3)
    losses = trainer.history["val_loss"][5:]
    assert trainer.history.stopped_by == "epochs"
    assert (np.diff(losses) < 0).all()


def test_a_callback_that_unfreezes_and_a_fit_that_goes_on(tmp_path):
    def unfreeze(state):
        state.network.layers[0].frozen = state.epoch < 3
        state.network.layers[1].l2 = 0.01 * state.epoch

    def run(epochs, *more):
        net = network()
        net.layers[0].frozen = True
        net.fit(X, Y, epochs=epochs, seed=1, callbacks=[unfreeze, *more], resume_from=checkpoint)
        return net

    checkpoint = None
    whole = run(8)
    checkpoint = dr.callbacks.Checkpoint(tmp_path / "a.safetensors")
    run(5, checkpoint)
    again = run(8, checkpoint)
    assert np.array_equal(again.theta, whole.theta)
    assert repr(again) == repr(whole)


@pytest.mark.parametrize("what", ["freeze", "l2", "use_average", "restore_best"])
@pytest.mark.parametrize("call", ["run", "step"])
def test_a_loss_may_not_change_the_training_it_is_part_of(what, call):
    net = network()

    def loss(y_true, y_pred):
        if what == "freeze":
            net.layers[0].frozen = True
        elif what == "l2":
            net.layers[0].l2 = 1.0
        else:
            getattr(trainer, what)()
        return squared(y_true, y_pred)

    trainer = dr.Trainer(net, loss, ema=0.9)
    before = net.theta.copy()
    calls = {
        "run": lambda: trainer.run(X, Y, epochs=2),
        "step": lambda: trainer.step(X, Y, np.ones(len(X))),
    }
    with pytest.raises(RuntimeError, match="in the middle of a step"):
        calls[call]()
    assert np.array_equal(net.theta, before)
    assert not net.layers[0].frozen


def test_refused_rows_leave_the_optimiser_at_the_start_of_its_epoch():
    def refused(**settings):
        trainer = dr.Trainer(network(), optimizer="adam", seed=0)
        trainer.run(X, Y, epochs=5, batch_size=8)
        bad = X.copy()
        bad[-1, 0] = np.nan
        with pytest.raises(ValueError, match="finite"):
            trainer.run(bad, Y, epochs=9, batch_size=8, shuffle=False, **settings)
        trainer.step(X, Y)
        return trainer.network.theta

    assert np.array_equal(refused(), refused(monitor="r2", metrics=["r2"]))


def test_a_layer_that_is_frozen_is_its_own_average():
    def freeze(state):
        if state.epoch == 3:
            state.network.layers[0].frozen = True

    trainer = dr.Trainer(network(), ema=0.99, seed=0)
    trainer.run(X, Y, epochs=3, callbacks=[freeze])
    seen = trainer.network.layers[0].W.copy()
    trainer.run(X, Y, epochs=9)
    for show in (trainer.use_raw, trainer.use_average):
        show()
        assert np.array_equal(trainer.network.layers[0].W, seen)


def test_a_fit_goes_on_from_a_loop_of_steps_with_an_average(tmp_path):
    trainer = dr.Trainer(network(), ema=0.9, seed=0)
    for _ in range(3):
        trainer.step(X, Y)  # leaves what is trained in the network
    trainer.save(tmp_path / "loop.safetensors")
    trainer.run(X, Y, epochs=4)
    net = network()
    net.fit(X, Y, epochs=4, seed=0, ema=0.9, resume_from=tmp_path / "loop.safetensors")
    assert np.array_equal(net.theta, trainer.network.theta)


def test_a_trace_calls_a_loss_with_blocks_too():
    sizes = []

    def loss(y_true, y_pred):
        sizes.append(len(y_true))
        return squared(y_true, y_pred)

    rows = np.linspace(-1, 1, 600).reshape(-1, 1)
    net = dr.Network([dr.Input(1), dr.Dense(4), dr.BatchNorm(), dr.Dense(1)], seed=0)
    net.trace(rows, rows, loss, training=True)
    assert sizes == [256, 256, 88]


def test_a_run_without_work_keeps_the_best_epoch():
    trainer = dr.Trainer(network(), seed=0)
    trainer.run(X, Y, epochs=3, keep_best=True)
    trainer.run(X, Y, epochs=3, metrics=["r2"], monitor="r2")
    assert trainer.best_epoch == 3


def test_resume_from_refuses_another_seed_and_another_function(tmp_path):
    checkpoint = dr.callbacks.Checkpoint(tmp_path / "a.safetensors")

    def fit(net, loss=squared):
        return net.fit(X, Y, loss=loss, epochs=2, callbacks=[checkpoint], resume_from=checkpoint)

    fit(network())
    with pytest.raises(
        ValueError, match="a network with seed 0, this one has a network with seed 1"
    ):
        fit(dr.Network([2, 8, 8, 1], activation="tanh", seed=1))
    layers = [dr.Input(2), dr.Dense(8, "tanh"), dr.Dense(7, "tanh"), dr.Dense(1)]
    narrow = dr.Network(layers, seed=0)
    with pytest.raises(
        ValueError, match=r"layers\[1\] Dense\(8, 'tanh'\), this one has .*Dense\(7"
    ):
        fit(narrow)

    def other(y_true, y_pred):
        return squared(y_true, y_pred)

    with pytest.raises(ValueError, match="with loss 'squared'"):
        fit(network(), other)
    drawn = dr.Network([2, 8, 8, 1], activation="tanh")
    fit(drawn)
    assert drawn.seed == 0


def test_a_resumed_network_is_put_back_after_any_error(tmp_path):
    checkpoint = dr.callbacks.Checkpoint(tmp_path / "a.safetensors")

    def rate(epoch):
        return 0.1 if epoch < 2 or not resuming else 1 / 0

    resuming = False
    settings = {"optimizer": dr.SGD(rate), "callbacks": [checkpoint], "resume_from": checkpoint}
    network().fit(X, Y, epochs=2, **settings)
    resuming, net = True, network()
    before = net.theta.copy()
    with pytest.raises(ZeroDivisionError):
        net.fit(X, Y, epochs=4, **settings)
    assert np.array_equal(net.theta, before)
    assert net.n_steps == 0


def test_class_weights_with_the_classes_of_hinge():
    signs = np.where(X[:, 0] > 0.5, 1.0, -1.0)
    weight = np.where(signs > 0, 1.5, 0.5)

    def fitted(**settings):
        net = network()
        net.fit(X, signs, loss="hinge", epochs=3, **settings)
        return net.theta

    assert np.array_equal(fitted(class_weight=[0.5, 1.5]), fitted(sample_weight=weight))
