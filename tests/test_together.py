"""What is tested by itself elsewhere, all in one training: layers, optimiser, schedule, average."""

import numpy as np
import pytest

import deltarule as dr

N = 700  # three blocks of rows


def data():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, 3))
    return X, np.sin(3 * X.sum(axis=1, keepdims=True))


def squared(y_true, y_pred):
    error = y_pred - y_true
    return (error**2).mean(axis=1), 2 * error / error.shape[1]


def network(dtype="float32", *, l2=0.001, frozen=False):
    layers = [
        dr.Input(3),
        dr.Standardize(),
        dr.Dense(40, l1=0.0001, l2=l2),
        dr.BatchNorm(),
        dr.Activation("gelu"),
        dr.Dropout(0.1),
        dr.Residual([dr.LayerNorm(), dr.Dense(40, "silu", learning_rate_factor=0.5)]),
        dr.Dense(20, "tanh", learning_rate_factor=0.0 if frozen else 1.0),
        dr.Dense(1),
        dr.Rescale(),
    ]
    return dr.Network(layers, dtype=dtype, seed=3)


RATES = {
    "warm-up": dr.schedules.WarmUp(dr.schedules.Cosine(0.01), steps=5),
    "plateau": dr.schedules.ReduceOnPlateau(0.01, patience=1),
    "callable": lambda epoch: 0.01 * 0.9**epoch,
}


def fitted(loss, rate, n_threads, batch_size=64, dtype="float32", **settings):
    X, y = data()
    net = network(dtype)
    history = net.fit(
        X,
        y,
        loss=loss,
        optimizer=dr.AdamW(RATES[rate], clip_norm=1.0),
        epochs=4,
        batch_size=batch_size,
        validation_fraction=0.2,
        metrics=["r2"],
        ema=0.9,
        n_threads=n_threads,
        **settings,
    )
    return net, history


def bits(net, history):
    columns = {key: values.tobytes() for key, values in history.items() if key != "seconds"}
    state = [view.running_var.tobytes() for view in net.layers if view.running_var is not None]
    return columns, net.theta.tobytes(), state


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("loss", ["mse", squared], ids=["mse", "own"])
@pytest.mark.parametrize("batch_size", [64, None])
def test_threads_change_no_bit(loss, rate, batch_size):
    once = bits(*fitted(loss, rate, 1, batch_size))
    for n_threads in (2, 5):
        assert bits(*fitted(loss, rate, n_threads, batch_size)) == once


@pytest.mark.parametrize("rate", RATES)
def test_a_loss_of_ones_own_is_the_built_in_one_to_rounding(rate):
    built_in, history = fitted("mse", rate, 1, dtype="float64")
    own, same = fitted(squared, rate, 1, dtype="float64")
    assert np.allclose(own.theta, built_in.theta, rtol=1e-9, atol=1e-12)
    assert np.allclose(same["val_loss"], history["val_loss"], rtol=1e-9)
    assert history["loss"][-1] < history["loss"][0]


def test_a_loss_of_ones_own_gets_blocks_of_256_rows_at_most():
    sizes = []

    def seen(y_true, y_pred):
        sizes.append(len(y_true))
        return squared(y_true, y_pred)

    X, y = data()
    network().fit(X, y, loss=seen, epochs=1, batch_size=None)
    assert sizes == [256, 256, N - 512]


@pytest.mark.parametrize("rate", RATES)
def test_a_fit_that_is_killed_goes_on_from_its_checkpoint(tmp_path, rate):
    whole = bits(*fitted(squared, rate, 1, monitor="val_r2", restore_best=True))
    checkpoint = dr.callbacks.Checkpoint(tmp_path / "run-{epoch}.safetensors")

    class Killed(Exception):
        pass

    def kill(state):
        if state.epoch == 2:
            raise Killed

    settings = {"monitor": "val_r2", "restore_best": True, "resume_from": checkpoint}
    with pytest.raises(Killed):
        fitted(squared, rate, 1, callbacks=[checkpoint, kill], **settings)
    again = fitted(squared, rate, 1, callbacks=[checkpoint], **settings)
    assert bits(*again) == whole


def test_frozen_layers_keep_their_bits_among_all_others():
    X, y = data()
    net = network(frozen=True)
    before = net.copy()
    net.fit(X, y, optimizer=dr.AdamW(0.01, weight_decay=0.1), epochs=2)
    names = [type(view.settings).__name__ for view in net.layers]
    still = names.index("Dense", names.index("Add"))  # the first Dense above the residual
    for now, then in zip(net.layers, before.layers, strict=True):
        if now.W is None:
            continue
        kept = np.array_equal(now.W, then.W) and np.array_equal(now.b, then.b)
        assert kept == (now is net.layers[still])


@pytest.mark.parametrize("norm", [dr.LayerNorm, dr.BatchNorm])
def test_norms_have_a_learning_rate_factor(norm, tmp_path):
    X, y = data()

    def steps(rate, factor):
        layers = [dr.Input(3), norm(learning_rate_factor=factor), dr.Dense(1)]
        net = dr.Network(layers, dtype="float64", seed=0)
        net.layers[1].frozen = True
        net.fit(X, y, optimizer=dr.SGD(rate), epochs=2)
        return net

    slow, fast = steps(0.1, 0.5), steps(0.05, 1.0)
    for name in ("gamma", "beta"):
        assert np.array_equal(getattr(slow.layers[0], name), getattr(fast.layers[0], name))
        assert not np.array_equal(getattr(slow.layers[0], name), np.full(3, float(name == "gamma")))
    slow.save(tmp_path / "net.safetensors")
    assert repr(dr.load(tmp_path / "net.safetensors")) == repr(slow)
    still = steps(0.1, 0.0)
    assert np.array_equal(still.layers[0].gamma, np.ones(3))
    if norm is dr.BatchNorm:
        assert not np.array_equal(still.layers[0].running_mean, np.zeros(3))


def test_files_and_copies_keep_everything(tmp_path):
    net, _ = fitted("mse", "warm-up", 1)
    net.save(tmp_path / "net.safetensors")
    X, _ = data()
    expected = net.predict(X)
    for other in (dr.load(tmp_path / "net.safetensors"), net.copy()):
        assert repr(other) == repr(net)
        assert np.array_equal(other.predict(X), expected)
    assert np.allclose(net.folded().predict(X), expected, rtol=1e-4, atol=1e-5)
