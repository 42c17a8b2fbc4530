"""monitor: which number of an epoch stops a training, is kept as the best, and is refused."""

import numpy as np
import pytest

import deltarule as dr
from best_helpers import data, network
from helpers import problem, rng


def bias(y_true, y_pred):
    """A metric of the user's own: low is good, by chance of its name only."""
    return float(np.mean(y_pred - y_true))


def digits(n=90, seed=0):
    X = rng(seed, n).normal(size=(n, 4))
    noise = rng(seed, n, 1).normal(0, 1.0, n)
    return X, (X[:, 0] * X[:, 1] + noise > 0).astype(int)


def classifier(seed=0):
    layers = [dr.Input(4), dr.Dense(16, "relu"), dr.Dropout(0.1), dr.Dense(2, "softmax")]
    return dr.Network(layers, dtype="float64", seed=seed)


def arguments(**more):
    X, y = digits()
    return {"X": X, "y": y, "validation_data": digits(60, 1), "optimizer": dr.Adam(0.03),
            "batch_size": 16, "metrics": ["accuracy", "log_loss"], "seed": 1, **more}  # fmt: skip


def expected_stop(values, *, higher, tol, patience):
    """The epoch after which training stops, by the definition of `tol` and `patience`."""
    best, since = None, 0
    for epoch, value in enumerate(-values if higher else values, 1):
        since = 0 if best is None or value < best - tol else since + 1
        best = value if best is None else min(best, value)
        if since >= patience:
            return epoch
    return len(values)


KEYS = [
    ("val_accuracy", True),
    ("accuracy", True),
    ("val_log_loss", False),
    ("loss", False),
    ("val_loss", False),
]


@pytest.mark.parametrize("tol", [0.0, 0.01])
@pytest.mark.parametrize(("key", "higher"), KEYS)
def test_stop_and_best_follow_the_monitored_value(key, higher, tol):
    whole = classifier().fit(**arguments(epochs=60))
    net = classifier()
    history = net.fit(**arguments(epochs=60), monitor=key, tol=tol, patience=4, restore_best=True)
    n = expected_stop(whole[key], higher=higher, tol=tol, patience=4)
    assert history.n_epochs == n
    assert history.stopped_by == ("converged" if n < 60 else "epochs")
    values = whole[key][:n]
    assert np.array_equal(history[key], values)
    best = int(np.argmax(values) if higher else np.argmin(values)) + 1
    assert history.best_epoch == best
    same = classifier()
    same.fit(**arguments(epochs=best))
    assert np.array_equal(net.theta, same.theta)


def test_the_default_is_what_it_was():
    histories = []
    for monitor in (None, "val_loss", ("val_loss", "min")):
        net = classifier()
        history = net.fit(**arguments(epochs=40), monitor=monitor, tol=0.0, patience=3,
                          restore_best=True)  # fmt: skip
        assert history.monitor is None
        histories.append((net.theta.tobytes(), history.n_epochs, history.best_epoch))
    assert histories[0] == histories[1] == histories[2]


def test_a_metric_of_the_users_own():
    net = network()
    settings = {**data(), "epochs": 12, "metrics": [bias], "seed": 1, "restore_best": True}
    for mode, best in (("max", np.argmax), ("min", np.argmin)):
        history = net.copy().fit(**settings, monitor=("val_bias", mode))
        assert history.best_epoch == int(best(history["val_bias"])) + 1
        assert history.monitor == ("val_bias", mode)
    with pytest.raises(ValueError, match=r'write \("val_bias", "max"\)|\(\'val_bias\', "max"\)'):
        net.fit(**settings, monitor="val_bias")


def test_a_metric_that_is_not_a_number_is_no_improvement():
    values = iter([0.1, np.nan, np.nan, 0.5, np.nan, np.nan, np.nan, 0.9])

    def score(y_true, y_pred):
        return float(next(values))

    X, Y = problem()
    net = dr.Network([3, 2], seed=0)
    history = net.fit(X, Y, metrics=[score], monitor=("score", "max"), tol=0.0, patience=3)
    assert history.n_epochs == 7
    assert history.best_epoch == 4


def test_only_nan_keeps_no_epoch():
    def score(y_true, y_pred):
        return float("nan")

    X, Y = problem()
    net = dr.Network([3, 2], seed=0)
    history = net.fit(X, Y, metrics=[score], monitor=("score", "max"), epochs=3, restore_best=True)
    assert history.best_epoch is None
    assert net.n_steps == 6
    same = dr.Network([3, 2], seed=0)
    same.fit(X, Y, epochs=3)
    assert np.array_equal(net.theta, same.theta)


def test_the_first_of_equal_values_is_the_best():
    X, y = digits()
    history = classifier().fit(X, y, optimizer=dr.SGD(0.0), metrics=["accuracy"], epochs=5,
                               monitor="accuracy", tol=0.0, patience=2)  # fmt: skip
    assert history.best_epoch == 1
    assert history.n_epochs == 3


def test_paused_and_resumed_through_files_at_each_step(tmp_path):
    X, y = digits(50)
    settings = {
        "X": X, "y": y, "validation_data": digits(30, 1), "batch_size": 16, "epochs": 9,
        "metrics": ["accuracy"], "monitor": "val_accuracy", "tol": 0.0, "patience": 4,
        "keep_best": True,
    }  # fmt: skip
    whole = dr.Trainer(classifier(), optimizer=dr.Adam(0.03), seed=3)
    expected = whole.run(**settings)
    paused = dr.Trainer(classifier(), optimizer=dr.Adam(0.03), seed=3)
    n_steps = 0
    while paused.run(**settings, max_steps=1).stopped_by == "max_steps":
        n_steps += 1
        paused.save(tmp_path / "t.safetensors")
        resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
        assert resumed.history.monitor == ("val_accuracy", "max")
        resumed.run(**settings)
        assert resumed.history.stopped_by == expected.stopped_by
        assert resumed.best_epoch == whole.best_epoch == expected.best_epoch
        assert np.array_equal(resumed.network.theta, whole.network.theta), n_steps
        paused = dr.Trainer.resume(tmp_path / "t.safetensors")
    assert n_steps > 10
    for each in (whole, paused, resumed):
        each.restore_best()
    assert np.array_equal(whole.network.theta, resumed.network.theta)
    assert np.array_equal(whole.network.theta, paused.network.theta)


def test_another_monitor_begins_anew():
    X, y = digits()
    trainer = dr.Trainer(classifier(), optimizer=dr.Adam(0.03), seed=3)
    settings = {"X": X, "y": y, "validation_fraction": 0.3, "metrics": ["accuracy"], "tol": 0.0,
                "patience": 50, "keep_best": True}  # fmt: skip
    trainer.run(**settings, epochs=10)
    loss_best = trainer.best_epoch
    history = trainer.run(**settings, epochs=14, monitor="val_accuracy")
    assert loss_best <= 10 < trainer.best_epoch <= 14
    assert history.best_epoch == int(np.argmax(history["val_accuracy"])) + 1
    assert trainer.best_epoch == 11 + int(np.argmax(history["val_accuracy"][10:]))
    # A run that is refused changes neither.
    best = trainer.best_epoch
    X = X.copy()
    X[0, 0] = np.nan
    with pytest.raises(ValueError, match="X must be finite"):
        trainer.run(**settings | {"X": X}, epochs=20)
    assert trainer.best_epoch == best
    assert trainer.history.monitor == ("val_accuracy", "max")
    trainer.restore_best()
    # Back to the loss: no loss is below minus an accuracy, so a memory of it would be the best.
    trainer.run(**settings | {"X": digits()[0]}, epochs=18)
    assert trainer.best_epoch == 15 + int(np.argmin(history["val_loss"][14:18]))
    assert history.best_epoch == int(np.argmin(history["val_loss"])) + 1


def test_a_metric_that_raises_leaves_the_epoch_in_the_history():
    calls = []

    def fails(y_true, y_pred):
        calls.append(1)
        if len(calls) == 3:
            raise ZeroDivisionError("mine")
        return 1.0

    X, Y = problem()
    trainer = dr.Trainer(dr.Network([3, 2], seed=0), seed=0)
    settings = {"metrics": [fails], "monitor": ("fails", "min"), "tol": 0.0, "patience": 3}
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer.run(X, Y, **settings)
    assert trainer.history.n_epochs == 3
    assert trainer.run(X, Y, **settings).n_epochs == 4  # 1 was the best: the third without is here


def test_the_order_of_the_ends():
    """epochs before converged before a callback, as without a monitor."""
    X, y = digits()
    settings = {"X": X, "y": y, "optimizer": dr.SGD(0.0), "metrics": ["accuracy"], "tol": 0.0}
    for more, stop in (
        ({"epochs": 3, "patience": 2}, "epochs"),
        ({"epochs": 9, "patience": 2}, "converged"),
        ({"epochs": 9, "patience": 5}, "callback"),
    ):
        heard = []

        def listen(state, heard=heard):
            heard.append(state.epoch)
            return state.epoch == 3

        history = classifier().fit(**settings, **more, monitor="accuracy", callbacks=[listen])
        assert history.stopped_by == stop
        assert heard == [1, 2, 3]


@pytest.mark.parametrize(
    ("monitor", "error", "match"),
    [
        ("val_acuracy", ValueError, "'loss', 'accuracy', 'log_loss', 'val_loss', 'val_accuracy'"),
        ("seconds", ValueError, "monitor must be one of 'loss'"),
        ("epoch", ValueError, "monitor must be one of 'loss'"),
        (3, TypeError, "monitor must be one of"),
        (["val_loss"], ValueError, "a pair"),
        (("val_loss", "max"), ValueError, "'val_loss' is better the lower it is, got 'max'"),
        (("accuracy", "min"), ValueError, "'accuracy' is better the higher it is, got 'min'"),
        (("accuracy", "most"), ValueError, r"monitor\[1\] must be one of 'min', 'max'"),
        (("accuracy", 1), TypeError, r"monitor\[1\]"),
        ((1, "min"), TypeError, "monitor must be one of"),
    ],
)
def test_bad_monitors_are_refused_before_any_work(monitor, error, match):
    net = classifier()
    with pytest.raises(error, match=match):
        net.fit(**arguments(), monitor=monitor)
    assert net.n_steps == 0


def test_without_validation_rows_there_are_no_val_keys():
    with pytest.raises(ValueError, match=r"one of 'loss', 'accuracy', got 'val_accuracy'"):
        classifier().fit(*digits(), metrics=["accuracy"], monitor="val_accuracy")


def test_a_history_with_a_monitor_can_be_pickled_and_plotted():
    import pickle

    history = classifier().fit(**arguments(epochs=4), monitor="val_accuracy")
    again = pickle.loads(pickle.dumps(history))
    assert again.monitor == history.monitor
    assert again.best_epoch == history.best_epoch


@pytest.mark.parametrize(
    ("damaged", "match"),
    [
        ("val_accuracy", "damaged monitor"),
        (["val_accuracy"], "damaged monitor"),
        (["val_accuracy", "high"], "damaged monitor"),
        (["nothing", "max"], "monitors 'nothing'"),
        ([3, "max"], "monitors 3"),
    ],
)
def test_a_damaged_monitor_in_a_checkpoint_is_refused(tmp_path, damaged, match):
    from deltarule import _file

    path = tmp_path / "t.safetensors"
    trainer = dr.Trainer(classifier())
    trainer.run(*digits(), validation_fraction=0.3, metrics=["accuracy"], epochs=2,
                monitor="val_accuracy")  # fmt: skip
    trainer.save(path)
    metadata, tensors = _file.read(path)
    assert metadata["trainer"]["monitor"] == ["val_accuracy", "max"]
    metadata = {key: value for key, value in metadata.items() if key not in ("format", "version")}
    metadata["trainer"]["monitor"] = damaged
    _file.write(path, metadata, {name: np.array(each) for name, each in tensors.items()})
    with pytest.raises(dr.ModelFileError, match=match):
        dr.Trainer.resume(path)
