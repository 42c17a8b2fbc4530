"""What interrupts training: threads, callbacks, divergence, Ctrl-C."""

import threading

import numpy as np
import pytest

import deltarule as dr
from helpers import dense, problem, run_python
from tolerances import close


def test_two_fits_at_once_are_refused():
    X, Y = problem(2000)
    net = dense((3, 6, 2), ("tanh", "identity"))
    started, errors = threading.Event(), []

    def first():
        try:
            net.fit(
                X,
                Y,
                epochs=10**9,
                max_seconds=20,
                callbacks=[lambda s: started.set() or stop.is_set()],
            )
        except BaseException as error:
            errors.append(error)

    stop = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert started.wait(20)
        trainer = dr.Trainer(net)
        for use in (
            lambda: net.fit(X, Y, epochs=1),
            lambda: trainer.run(X, Y, epochs=1),
            lambda: trainer.step(X, Y),
        ):
            with pytest.raises(RuntimeError, match="fit"):
                use()
        assert np.isfinite(net.predict(X)).all()  # predicting meanwhile is fine
    finally:
        stop.set()
        thread.join()
    assert not errors
    net.fit(X, Y, epochs=1)


def test_two_threads_predict_the_same():
    net = dense((3, 60, 2), ("tanh", "identity"))
    X, _ = problem(5000)
    results = [None] * 4
    threads = [
        threading.Thread(target=lambda i=i: results.__setitem__(i, net.predict(X)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, net.predict(X)) for result in results)


class CallbackError(Exception):
    pass


def test_an_error_in_a_callback_propagates():
    X, Y = problem()
    net, same = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))

    def fail(state):
        if state.epoch == 2:
            raise CallbackError("mine")

    with pytest.raises(CallbackError, match="mine"):
        net.fit(X, Y, epochs=5, callbacks=[fail])
    same.fit(X, Y, epochs=2)
    assert np.array_equal(net.theta, same.theta)
    assert len(net.history["loss"]) == 2
    net.fit(X, Y, epochs=1)


def test_a_callback_cannot_fit():
    X, Y = problem()
    net = dense((3, 6, 2), ("tanh", "identity"))
    with pytest.raises(RuntimeError, match="fit"):
        net.fit(X, Y, epochs=5, callbacks=[lambda state: state.network.fit(X, Y)])
    with pytest.raises(RuntimeError, match="fit"):
        net.fit(X, Y, epochs=5, callbacks=[lambda state: state.trainer.step(X, Y)])
    net.fit(X, Y, epochs=1)


@pytest.mark.parametrize("junk", [1, 0, "stop", np.array([True]), np.nan, lambda state: True, {}])
def test_a_callback_that_returns_junk_is_refused(junk):
    """After its epoch, whose weights stay; the callbacks before it were called, those after not."""
    X, Y = problem()
    net, same = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    called = []

    def answer(state):
        return junk if state.epoch == 2 else False

    listeners = [lambda state: called.append(1), answer, lambda state: called.append(2)]
    with pytest.raises(TypeError, match=r"must return True \(stop\), False or None, .*answer"):
        net.fit(X, Y, epochs=5, callbacks=listeners)
    same.fit(X, Y, epochs=2)
    assert np.array_equal(net.theta, same.theta)
    assert called == [1, 2, 1]
    assert len(net.history["loss"]) == 2
    net.fit(X, Y, epochs=1)


def test_divergence_restores_the_start_of_the_epoch():
    X, Y = problem(40)
    net = dense((3, 6, 6, 2), ("relu", "relu", "identity"), dtype="float32")
    kept = net.theta.copy()
    with pytest.raises(dr.DivergenceError, match="learning rate") as info:
        net.fit(X, Y, optimizer=dr.SGD(learning_rate=1e10), batch_size=8, epochs=5)
    assert isinstance(info.value, ArithmeticError)
    assert info.value.epoch == 1
    assert 1 < info.value.step <= 5
    assert not np.isfinite(info.value.loss)
    assert np.array_equal(net.theta, kept)
    assert np.isfinite(net.predict(X)).all()


def test_divergence_in_a_later_epoch_restores_the_start_of_that_epoch():
    X, Y = problem(40)
    net, same = (dense((3, 6, 2), ("relu", "identity"), dtype="float32") for _ in range(2))
    broken = False

    def explode(state):
        nonlocal broken
        if state.epoch == 2 and not broken:
            broken = True
            state.network.theta[:] = 1e30

    with pytest.raises(dr.DivergenceError) as info:
        net.fit(X, Y, batch_size=8, epochs=5, callbacks=[explode])
    assert info.value.epoch == 3
    assert len(net.history["loss"]) == 2
    assert (net.theta == np.float32(1e30)).all()  # the start of epoch 3 is what the callback left
    same.fit(X, Y, batch_size=8, epochs=2)
    assert np.array_equal(same.history["loss"], net.history["loss"])


def test_a_diverging_step_changes_nothing():
    X, Y = problem(40)
    net = dense((3, 6, 2), ("relu", "identity"), dtype="float32")
    net.theta[:] = 1e30
    kept = net.theta.copy()
    trainer = dr.Trainer(net)
    with pytest.raises(dr.DivergenceError):
        trainer.step(X, Y)
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


def test_values_near_the_float_maximum_are_divergence():
    net = dense((3, 6, 2), ("relu", "identity"), dtype="float32")
    X, Y = problem(10)
    kept = net.theta.copy()
    with pytest.raises(dr.DivergenceError):
        net.fit(3e38 * np.sign(X), Y, epochs=2)
    assert np.array_equal(net.theta, kept)


@pytest.mark.parametrize(
    "optimizer",
    [
        dr.SGD(learning_rate=0.0),
        dr.SGD(learning_rate=0.0, momentum=0.9),
        dr.Adam(learning_rate=0.0),
    ],
)
def test_learning_rate_zero_changes_nothing(optimizer):
    net = dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    history = net.fit(*problem(), optimizer=optimizer, epochs=3)
    assert np.array_equal(net.theta, kept)
    assert close(history["loss"], np.full(3, history["loss"][0]), 1e-12)


INTERRUPT = """
    import json, os, signal, sys, threading, time
    import numpy as np
    import deltarule as dr

    n, batch_size = int(sys.argv[1]), json.loads(sys.argv[2])
    X = np.random.default_rng(0).uniform(-1, 1, (n, 1)).astype(np.float32)
    y = np.sin(X[:, 0])
    X = np.broadcast_to(X, (n, 32))  # many rows in little memory
    net = dr.Network([32, 64, 1], activation="tanh", seed=0)
    sent = []

    def interrupt():
        time.sleep(0.7)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        net.fit(X, y, epochs=10**9, batch_size=batch_size, max_seconds=60)
        raised = False
    except KeyboardInterrupt:
        raised = True
    waited = time.perf_counter() - sent[0]
    n_epochs = net.history.n_epochs
    finite = bool(np.isfinite(net.theta).all() and np.isfinite(net.predict(X[:5])).all())
    steps = net.n_steps
    net.fit(X[:64], y[:64], epochs=1)  # usable
    print(json.dumps({"raised": raised, "waited": waited, "epochs": n_epochs, "finite": finite,
                      "steps": steps, "more": net.n_steps - steps}))
"""


@pytest.mark.parametrize(
    ("n", "batch_size", "in_first_epoch"),
    [(64, 8, False), (50_000_000, 32, True), (50_000_000, None, True)],
)
def test_ctrl_c(n, batch_size, in_first_epoch):
    """In short epochs, in a long one, and inside one step over all rows."""
    result = run_python(INTERRUPT, n, "null" if batch_size is None else batch_size)
    assert result["raised"]
    assert result["waited"] < 0.5
    assert result["finite"]
    assert result["more"] == 2
    assert (result["epochs"] == 0) == in_first_epoch
    assert (result["steps"] == 0) == (batch_size is None)
