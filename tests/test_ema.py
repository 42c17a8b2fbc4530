"""The average of the parameters: its rule, who sees it, and where training goes on."""

import signal
import threading

import numpy as np
import pytest

import deltarule as dr
import reference
from deltarule import _file
from helpers import OPTIMIZERS, dense, problem, rng
from tolerances import FLOAT32_STEPS, FLOAT64, close

NAN, INF = float("nan"), float("inf")
SIZES, NAMES = (5, 13, 9, 2), ("tanh", "silu", "identity")
EMA = 0.8
X, Y = problem(60)
VALIDATION = problem(30, seed=1)
RUN = {"X": X, "y": Y, "batch_size": 16}  # 4 steps an epoch
LAYERS = ((0.01, 0.02, 0.5), (0.0, 0.05, 0.0), (0.02, 0.0, 1.0))


def network(dtype="float64"):
    layers = [dr.Input(3), dr.Dense(8, "tanh"), dr.Dropout(0.2), dr.Dense(6, "silu"), dr.Dense(2)]
    return dr.Network(layers, dtype=dtype, seed=5)


def make(ema=EMA, optimizer="adam", **settings):
    return dr.Trainer(network(**settings), optimizer=optimizer, seed=7, ema=ema)


def after(epochs, ema=EMA, **settings):
    """The average and what was trained, of a run of so many epochs."""
    trainer = make(ema)
    trainer.run(**RUN, epochs=epochs, **settings)
    average = trainer.network.theta.copy()
    if ema is not None:
        trainer.use_raw()
    return average, trainer.network.theta.copy()


# ---- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [None, LAYERS])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_twenty_steps_follow_the_rule(name, layers, dtype):
    net = dense(SIZES, NAMES, dtype=dtype)
    if layers and name == "irprop+":
        layers = [(l1, l2, min(1.0, 2 * factor)) for l1, l2, factor in layers]
    if layers:
        for layer, (l1, l2, factor) in zip(net.layers, layers, strict=True):
            layer.l1, layer.l2, layer.learning_rate_factor = l1, l2, factor
    theta = net.theta.astype(float)
    ours, theirs = OPTIMIZERS[name]()
    trainer = dr.Trainer(net, loss="mse", optimizer=ours, ema=EMA)
    expected, rtol = reference.Average(EMA, theta), FLOAT64 if dtype == "float64" else FLOAT32_STEPS
    for k in range(20):
        g = rng(0 if name == "irprop+" else k, 5)
        Xb, Yb = g.uniform(-1, 1, (24, 5)).astype(dtype), g.normal(size=(24, 2)).astype(dtype)
        trainer.step(Xb, Yb)
        batch = Xb.astype(float), Yb.astype(float)
        reference.step(theta, SIZES, NAMES, *batch, "mse", theirs, layers=layers)
        expected.update(theta)
        assert close(net.theta, theta, rtol)
        if k % 3 == 2:
            trainer.use_average()
            assert close(net.theta, expected.theta, rtol)


def test_a_parameter_that_rests_is_its_own_average():
    for dtype in ("float32", "float64"):
        net = dense(SIZES, NAMES, dtype=dtype)
        kept, trainer = net.theta.copy(), dr.Trainer(net, optimizer=dr.SGD(0.1), ema=0.999)
        gradient = np.zeros(net.n_parameters, dtype)
        gradient[0] = 1
        for _ in range(50):
            trainer.apply(gradient)
        trainer.use_average()
        assert np.array_equal(net.theta[1:], kept[1:])
        assert kept[0] - 5 < net.theta[0] < kept[0] - 0.5


@pytest.mark.parametrize("batch_size", [20, 60, 300])
@pytest.mark.parametrize("clips", [{}, {"clip_norm": 0.1}])
def test_a_run_averages_as_single_steps_do(batch_size, clips):
    many = problem(300)
    by_run, by_step = (
        dr.Trainer(dense((3, 8, 2), ("tanh", "identity")), optimizer=dr.Adam(**clips), ema=EMA)
        for _ in range(2)
    )
    by_run.run(*many, epochs=3, batch_size=batch_size, shuffle=False)
    for _ in range(3):
        for i in range(0, 300, batch_size):
            by_step.step(*(each[i : i + batch_size] for each in many))
    assert not np.array_equal(by_run.network.theta, by_step.network.theta)
    by_step.use_average()
    assert np.array_equal(by_run.network.theta, by_step.network.theta)


def test_a_fit_ends_with_the_average_and_zero_is_none():
    one, other = network(), network()
    one.fit(**RUN, epochs=3, ema=EMA, seed=7)
    assert np.array_equal(one.theta, after(3)[0])
    other.fit(**RUN, epochs=3, ema=0, seed=7)
    assert np.array_equal(other.theta, after(3, None)[0])


# ---- who sees it --------------------------------------------------------------------------------


def test_training_acts_on_the_plain_parameters():
    averaged, plain = make(), make(None)
    expected = plain.run(**RUN, epochs=5)
    history = averaged.run(**RUN, epochs=5, validation_data=VALIDATION, callbacks=[lambda s: None])
    assert np.array_equal(history["loss"], expected["loss"])
    assert not np.array_equal(averaged.network.theta, plain.network.theta)
    averaged.use_raw()
    assert np.array_equal(averaged.network.theta, plain.network.theta)


def test_validation_metrics_and_callbacks_see_the_average():
    trainer, seen = make(), []

    def look(state):
        losses = [state.network.evaluate(*rows)["loss"] for rows in (VALIDATION, (X, Y))]
        seen.append((*losses, state.network.theta.copy()))

    run = {"validation_data": VALIDATION, "metrics": ["mae", "rmse"]}
    history = trainer.run(**RUN, epochs=5, **run, callbacks=[look])
    assert history["val_loss"].tolist() == [each[0] for each in seen]
    assert close(history["rmse"] ** 2, [each[1] for each in seen], FLOAT64)
    assert np.array_equal(trainer.network.theta, seen[-1][2])
    for epoch in (1, 3):
        assert np.array_equal(after(epoch, **run)[0], seen[epoch - 1][2])
    quiet = make()  # validated inside the core, with nobody who listens
    assert np.array_equal(quiet.run(**RUN, epochs=5, **run)["val_loss"], history["val_loss"])


def test_a_callback_that_looks_at_what_is_trained_leaves_the_average():
    trainer, seen = make(), []

    def look(state):
        state.trainer.use_raw()
        seen.append(state.network.theta.copy())

    trainer.run(**RUN, epochs=3, callbacks=[look])
    average, raw = after(3)
    assert np.array_equal(seen[-1], raw)
    assert np.array_equal(trainer.network.theta, average)


def test_the_best_epoch_is_that_of_the_average():
    run = {"epochs": 12, "validation_data": VALIDATION, "optimizer": dr.Adam(0.4), "seed": 7}
    net, seen = network(), []
    run["callbacks"] = [lambda state: seen.append(state.network.theta.copy())]
    history = net.fit(**RUN, **run, ema=EMA, restore_best=True)
    assert history.best_epoch < 12
    assert np.array_equal(net.theta, seen[history.best_epoch - 1])
    assert net.evaluate(*VALIDATION)["loss"] == history["val_loss"].min()


def test_restore_best_leaves_what_is_trained():
    trainer, plain = make(), make()
    trainer.run(**RUN, epochs=4, keep_best=True)
    plain.run(**RUN, epochs=4)
    for each in (trainer, plain):
        each.step(X, Y)
    trainer.restore_best()
    best = trainer.network.theta.copy()
    for each in (trainer, plain):
        each.step(X, Y)
    assert np.array_equal(trainer.network.theta, plain.network.theta)
    trainer.restore_best()
    assert np.array_equal(trainer.network.theta, best)


def test_what_a_callback_writes_is_the_average():
    def write(state):
        if state.epoch == 3:
            state.network.theta = 0.5

    trainer = make()
    trainer.run(**RUN, epochs=3, callbacks=[lambda s: s.network.theta.fill(0.5)])
    assert (trainer.network.theta == 0.5).all()
    trainer.use_raw()
    assert np.array_equal(trainer.network.theta, after(3)[1])


def test_weights_set_before_the_first_step_are_where_the_average_starts():
    trainer = make(0.999)
    trainer.use_raw()
    trainer.network.theta[:] = 0.25
    trainer.apply(np.zeros(trainer.network.n_parameters))
    trainer.use_average()
    assert (trainer.network.theta == 0.25).all()


# ---- where training goes on ---------------------------------------------------------------------


def test_the_next_call_goes_on_from_what_was_trained():
    whole, pieces, steps = make(), make(), make()
    whole.run(**RUN, epochs=6)
    for epochs, max_steps in ((1, None), (6, 3), (6, 2), (6, None), (6, None)):
        pieces.run(**RUN, epochs=epochs, max_steps=max_steps)
    assert np.array_equal(pieces.network.theta, whole.network.theta)
    steps.run(**RUN, epochs=6)
    for trainer in (pieces, steps):
        trainer.use_average()
        trainer.step(X, Y)
        trainer.use_average()
        trainer.step(X, Y)
    assert np.array_equal(pieces.network.theta, steps.network.theta)
    raw = make(None)
    raw.run(**RUN, epochs=6)
    raw.step(X, Y)
    raw.step(X, Y)
    assert np.array_equal(pieces.network.theta, raw.network.theta)


@pytest.mark.parametrize("end", ["max_steps", "callback", "raise", "interrupt", "converged"])
def test_however_a_run_ends_the_network_holds_the_average(end):
    def stop(state):
        if state.epoch == 2 and end == "callback":
            return True
        if state.epoch == 2 and end == "raise":
            raise OSError("no space")
        if state.epoch == 2 and end == "interrupt":
            signal.raise_signal(signal.SIGINT)
        return False

    trainer, settings = make(), {"epochs": 3, "callbacks": [stop]}
    if end == "max_steps":
        settings["max_steps"] = 6
    if end == "converged":
        settings |= {"tol": 1e9, "patience": 1}
    try:
        trainer.run(**RUN, **settings)
    except (OSError, KeyboardInterrupt):
        assert end in ("raise", "interrupt")
    n = trainer.network.n_steps
    average = trainer.network.theta.copy()
    trainer.use_average()
    assert np.array_equal(trainer.network.theta, average)
    expected = make()
    expected.run(**RUN, epochs=3, max_steps=n)
    assert np.array_equal(average, expected.network.theta)
    for each in (trainer, expected):
        each.run(**RUN, epochs=3)
    assert np.array_equal(trainer.network.theta, expected.network.theta)


def test_ctrl_c_inside_an_epoch_leaves_the_average():
    many = problem(4000)
    trainer = dr.Trainer(network(), seed=7, ema=0.99)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        trainer.run(*many, epochs=10**6, batch_size=8)
    timer.join()
    n, average = trainer.network.n_steps, trainer.network.theta.copy()
    trainer.use_raw()
    assert n > 0
    assert not np.array_equal(trainer.network.theta, average)


def test_a_diverged_epoch_goes_back_with_both():
    """To the end of the third epoch, from the last batch of the fourth."""
    trainer, expected = make(optimizer="sgd"), make(optimizer="sgd")
    for each in (trainer, expected):
        each.run(**RUN, epochs=3)
    huge = Y.copy()
    huge[-1] = 1e200
    with pytest.raises(dr.DivergenceError) as caught:
        trainer.run(X, huge, epochs=6, batch_size=16, shuffle=False)
    assert (caught.value.epoch, caught.value.step) == (4, 16)
    assert np.array_equal(trainer.network.theta, expected.network.theta)
    for each in (trainer, expected):
        each.use_raw()
    assert np.array_equal(trainer.network.theta, expected.network.theta)
    for each in (trainer, expected):
        each.run(**RUN, epochs=6)
    assert np.array_equal(trainer.network.theta, expected.network.theta)


def test_a_diverged_first_epoch_leaves_the_initial_weights():
    trainer = make()
    kept = trainer.network.theta.copy()
    with pytest.raises(dr.DivergenceError):
        trainer.run(X, Y * 1e200, epochs=2, batch_size=16)
    assert np.array_equal(trainer.network.theta, kept)
    trainer.network.theta[:] = 0.1
    trainer.run(**RUN, epochs=2)
    expected = make()
    expected.network.theta[:] = 0.1
    expected.run(**RUN, epochs=2)
    assert np.array_equal(trainer.network.theta, expected.network.theta)


@pytest.mark.parametrize("ema", [None, 0, EMA])
def test_a_diverged_trainer_can_be_saved_and_resumed(tmp_path, ema):
    trainer, path = make(ema), tmp_path / "t.safetensors"
    trainer.run(**RUN, epochs=1)
    with pytest.raises(dr.DivergenceError):
        trainer.run(X, Y * 1e200, epochs=2, batch_size=16)
    trainer.save(path)
    resumed = dr.Trainer.resume(path)
    for each in (trainer, resumed):
        each.run(**RUN, epochs=3)
    assert np.array_equal(resumed.network.theta, trainer.network.theta)


def test_what_is_refused_leaves_the_network_as_it_was():
    trainer = make()
    trainer.run(**RUN, epochs=2)
    bad = X.copy()
    bad[17, 1] = NAN
    size = trainer.network.n_parameters
    clipped = dr.Trainer(network(), optimizer=dr.SGD(clip_norm=1.0), ema=EMA)
    clipped.run(**RUN, epochs=1)
    calls = [
        (trainer, ValueError, lambda: trainer.step(bad, Y)),
        (trainer, dr.DivergenceError, lambda: trainer.step(X, Y * 1e200)),
        (trainer, ValueError, lambda: trainer.run(bad, Y, epochs=4, batch_size=60)),
        (trainer, ValueError, lambda: trainer.run(X, Y[:-1], epochs=4)),
        (trainer, ValueError, lambda: trainer.apply(np.full(size, NAN))),
        (clipped, ValueError, lambda: clipped.apply(np.full(size, 1e200))),
    ]
    for use in ("use_average", "use_raw"):
        for each, error, call in calls:
            getattr(each, use)()
            kept = each.network.theta.copy()
            with pytest.raises(error):
                call()
            assert np.array_equal(each.network.theta, kept)
    trainer.run(**RUN, epochs=4)
    assert np.array_equal(trainer.network.theta, after(4)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    g = rng(2)
    rows, targets = g.normal(size=(413, 61)), g.normal(size=(413, 3))

    def bits(n_threads, **settings):
        layers = [dr.Input(61), dr.Dense(230, "relu"), dr.Dense(190, "tanh"), dr.Dense(3)]
        net = dr.Network(layers, dtype=dtype, seed=3)
        run = {"epochs": 2, "validation_data": (rows, targets), "n_threads": n_threads}
        net.fit(rows, targets, optimizer=dr.Adam(**settings), **run, batch_size=200, ema=0.99)
        return net.theta.tobytes(), net.history["val_loss"].tobytes()

    for settings in ({}, {"clip_norm": 0.5}):
        first = bits(1, **settings)
        assert bits(2, **settings) == first
        assert bits(5, **settings) == first


# ---- files --------------------------------------------------------------------------------------

TO_RESUME = {
    "momentum": lambda: dr.SGD(0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda: dr.Adam(0.02, l2=0.001),
    "amsgrad": lambda: dr.AdamW(0.02, amsgrad=True, clip_norm=0.5),
    "rmsprop": lambda: dr.RMSprop(0.005, momentum=0.5, centered=True),
    "adagrad": lambda: dr.Adagrad(0.1, initial_accumulator=0.1),
    "nadam": lambda: dr.NAdam(0.02),
    "lion": lambda: dr.Lion(0.003),
    "irprop+": lambda: dr.IRpropPlus(0.01),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(TO_RESUME))
def test_resume_at_each_of_forty_steps(tmp_path, name, dtype):
    """The same bits of theta, what is trained and the history, with penalties and factors."""
    run = {**RUN, "epochs": 11, "validation_data": VALIDATION, "keep_best": True}

    def fresh():
        trainer = make(optimizer=TO_RESUME[name](), dtype=dtype)
        layers = [each for each in trainer.network.layers if each.W is not None]
        for layer, (l1, l2, factor) in zip(layers, LAYERS, strict=True):
            layer.l1, layer.l2 = l1, l2
            layer.learning_rate_factor = float(factor > 0) if name == "irprop+" else factor
        return trainer

    def outcome(trainer):
        history = trainer.run(**run)
        columns = {k: v.tobytes() for k, v in history.items() if k != "seconds"}
        average = trainer.network.theta.tobytes()
        trainer.use_raw()
        return columns, average, trainer.network.theta.tobytes(), trainer.best_epoch

    expected, paused = outcome(fresh()), fresh()
    for step in range(1, 41):
        paused.run(**run, max_steps=1)
        assert paused.network.n_steps == step
        paused.save(tmp_path / "t.safetensors")
        resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
        assert np.array_equal(resumed.network.theta, paused.network.theta)
        assert outcome(resumed) == expected, f"resumed at step {step}"


@pytest.mark.parametrize("use", ["use_average", "use_raw"])
def test_a_checkpoint_is_a_model_of_the_average(tmp_path, use):
    """Also where the network holds what is trained; a resumed trainer's network holds that too."""
    trainer, path = make(), tmp_path / "t.safetensors"
    for _ in range(5):
        trainer.step(X, Y)
    getattr(trainer, use)()
    kept = trainer.network.theta.copy()
    trainer.save(path)
    assert np.array_equal(trainer.network.theta, kept)
    resumed = dr.Trainer.resume(path)
    assert resumed.ema == EMA
    assert "ema=0.8" in repr(resumed)
    assert np.array_equal(resumed.network.theta, kept)
    assert [resumed.step(X, Y) for _ in range(3)] == [trainer.step(X, Y) for _ in range(3)]
    assert np.array_equal(resumed.network.theta, trainer.network.theta)
    loaded = dr.load(path)
    trainer = make()
    for _ in range(5):
        trainer.step(X, Y)
    trainer.use_average()
    assert np.array_equal(loaded.theta, trainer.network.theta)


@pytest.mark.parametrize("ema", [0, EMA])
def test_a_trainer_that_made_no_step_resumes(tmp_path, ema):
    trainer, path = make(ema), tmp_path / "t.safetensors"
    trainer.save(path)
    resumed = dr.Trainer.resume(path)
    assert resumed.ema == ema
    for each in (trainer, resumed):
        each.run(**RUN, epochs=2)
    assert np.array_equal(resumed.network.theta, trainer.network.theta)


def test_without_an_average_a_checkpoint_is_what_it_was(tmp_path):
    trainer = make(None)
    trainer.run(**RUN, epochs=2)
    trainer.save(tmp_path / "t.safetensors")
    metadata, tensors = _file.read(tmp_path / "t.safetensors")
    assert "average" not in metadata["trainer"]
    assert not [name for name in tensors if "raw" in name or "average" in name]


@pytest.mark.parametrize(
    "average",
    [None, [], {}, {"ema": 0.9}, {"ema": 1.0, "in_network": True},
     {"ema": "0.9", "in_network": True}, {"ema": 0.9, "in_network": 1},
     {"ema": 0.0, "in_network": True}, {"ema": 0.9, "in_network": True, "more": 1}],
)  # fmt: skip
def test_damaged_averages_are_refused(tmp_path, average):
    trainer, path = make(), tmp_path / "t.safetensors"
    trainer.run(**RUN, epochs=1)
    trainer.save(path)
    metadata, tensors = _file.read(path)
    metadata = {k: v for k, v in metadata.items() if k not in ("format", "version")}
    metadata["trainer"]["average"] = average
    _file.write(path, metadata, tensors)
    with pytest.raises(dr.ModelFileError):
        dr.Trainer.resume(path)


# ---- settings -----------------------------------------------------------------------------------


def test_the_decay_is_checked():
    net = network()
    for value in (-0.1, 1, 1.0, 1.5, NAN, INF, "0.9", True, [0.9], 1j):
        match = "ema must be a finite number >= 0 and < 1"
        with pytest.raises((TypeError, ValueError), match=match):
            dr.Trainer(net, ema=value)
        with pytest.raises((TypeError, ValueError), match=match):
            net.fit(X, Y, ema=value)
    assert net.n_steps == 0
    assert net.history is None


def test_without_an_average_there_is_none_to_use():
    trainer = make(None)
    for use in (trainer.use_average, trainer.use_raw):
        with pytest.raises(RuntimeError, match="keeps no average"):
            use()
    trainer = make()
    trainer.network._begin_training()
    trainer.network._training_thread = -1
    for use in (trainer.use_average, trainer.use_raw):
        with pytest.raises(RuntimeError, match="trained by another"):
            use()
    trainer.network._end_training()
