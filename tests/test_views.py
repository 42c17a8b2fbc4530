"""Shared memory and copies: theta, W, b, unflatten, copy, deepcopy, pickle, save and load."""

import copy
import gc
import pickle

import numpy as np
import pytest

import deltarule as dr
from helpers import dense, problem, rng, run_python


def everything_layers():
    return [
        dr.Input(3),
        dr.Standardize(),
        dr.Dense(5, "tanh"),
        dr.Dropout(0.2),
        dr.Dense(4),
        dr.Activation("leaky_relu", alpha=0.3),
        dr.Dense(2),
        dr.Rescale(),
    ]


@pytest.fixture(params=["float32", "float64"])
def net(request):
    return dr.Network(everything_layers(), dtype=request.param, seed=0)


@pytest.fixture
def trained(net):
    net.fit(*problem(), epochs=2)
    return net


def test_theta_is_one_aligned_block(net):
    theta = net.theta
    assert theta.shape == (net.n_parameters,) == (5 * 4 + 4 * 6 + 2 * 5,)
    assert theta.flags.c_contiguous
    assert theta.flags.writeable
    assert theta.ctypes.data % 64 == 0
    assert np.shares_memory(theta, net.theta)


def test_the_layout_of_theta(net):
    """W_1, b_1, W_2, b_2, ...; each W block is the C-ordered (n_{l-1}, n_l) array."""
    parts = []
    for layer in net.layers:
        if layer.W is not None:
            assert layer.W.T.flags.c_contiguous
            parts += [layer.W.T.ravel(), layer.b]
            assert np.shares_memory(layer.W, net.theta)
            assert np.shares_memory(layer.b, net.theta)
    assert np.array_equal(np.concatenate(parts), net.theta)


def test_indices_of_layers(net):
    assert len(net.layers) == 7  # Input excluded
    assert [layer.W is None for layer in net.layers] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]
    assert net.layers[-1].mean.shape == (2,)


def test_writes_are_seen_everywhere():
    net = dense((2, 3, 1), ("tanh", "identity"), dtype="float32")
    X = rng(0).normal(size=(5, 2))
    for write in (
        lambda: net.layers[0].W.__setitem__((1, 0), 2.0),
        lambda: net.layers[0].b.__setitem__(2, -1.0),
        lambda: net.layers[1].W.__imul__(3),
        lambda: net.theta.__setitem__(-1, 5.0),
    ):
        before = net.predict(X)
        write()
        assert not np.array_equal(net.predict(X), before)
    assert net.layers[0].W[1, 0] == net.theta[1] == 2.0
    assert net.layers[1].b[0] == 5.0
    view, theta = net.layers[0].W, net.theta
    net.fit(X, X[:, :1], epochs=1)
    assert view[1, 0] == theta[1] == net.theta[1] != 2.0


def test_views_outlive_the_network():
    net = dense((20, 30, 1), ("tanh", "identity"))
    theta, W, kept = net.theta, net.layers[0].W, net.theta.copy()
    del net
    gc.collect()
    _ = [np.full(kept.shape, 7.0) for _ in range(50)]
    assert np.array_equal(theta, kept)
    assert np.array_equal(W.T.ravel(), kept[: W.size])


def test_unflatten(net):
    v = np.arange(net.n_parameters, dtype=float)
    parts = net.unflatten(v)
    assert len(parts) == len(net.layers)
    for part, layer in zip(parts, net.layers, strict=True):
        assert (part is None) == (layer.W is None)
        if part is not None:
            W, b = part
            assert W.shape == layer.W.shape
            assert b.shape == layer.b.shape
            assert np.shares_memory(W, v)
            assert np.shares_memory(b, v)
    parts[1][0][0, 1] = -1
    assert v[5] == -1
    for wrong in (v[:-1], v[None]):
        with pytest.raises(ValueError, match="shape"):
            net.unflatten(wrong)


def assert_twins(a, b):
    """Equal in every bit that shows, sharing nothing, and equal still after more training."""
    X, Y = problem()
    assert type(a) is type(b)
    assert a.theta.dtype == b.theta.dtype
    assert a.theta.tobytes() == b.theta.tobytes()
    assert (a.seed, a.n_steps) == (b.seed, b.n_steps)
    assert repr(a) == repr(b)
    assert a.summary() == b.summary()
    assert not np.shares_memory(a.theta, b.theta)
    assert a.predict(X).tobytes() == b.predict(X).tobytes()
    one, other = a.fit(X, Y, epochs=2), b.fit(X, Y, epochs=2)
    assert np.array_equal(one["loss"], other["loss"])
    assert a.theta.tobytes() == b.theta.tobytes()


def test_copy(trained):
    assert_twins(trained, trained.copy())


def test_copy_module(trained):
    assert_twins(trained, copy.copy(trained))
    assert_twins(trained, copy.deepcopy(trained))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(trained, protocol):
    assert_twins(trained, pickle.loads(pickle.dumps(trained, protocol)))


def test_save_and_load(trained, tmp_path):
    trained.save(tmp_path / "model.safetensors")
    assert_twins(trained, dr.load(tmp_path / "model.safetensors"))


def test_an_untrained_network_is_copied_as_untrained(net, tmp_path):
    net.save(tmp_path / "m.safetensors")
    for other in (
        net.copy(),
        copy.deepcopy(net),
        pickle.loads(pickle.dumps(net)),
        dr.load(tmp_path / "m.safetensors"),
    ):
        assert not other.layers[0].fitted
        assert_twins(net.copy(), other)


def test_copies_of_layer_views_are_arrays(net):
    W = copy.deepcopy(net.layers[1].W)
    assert not np.shares_memory(W, net.theta)


def test_pickle_to_a_new_process(trained, tmp_path):
    (tmp_path / "net.pickle").write_bytes(pickle.dumps(trained))
    result = run_python(
        """
        import json, pickle, sys
        net = pickle.load(open(sys.argv[1], "rb"))
        print(json.dumps(net.theta.tobytes().hex()))
        """,
        tmp_path / "net.pickle",
    )
    assert result == trained.theta.tobytes().hex()


def test_settings_pickle():
    for settings in (
        dr.SGD(learning_rate=0.1),
        dr.Adam(),
        dr.Dense(3, "relu"),
        dr.losses.Huber(delta=2.0),
    ):
        assert pickle.loads(pickle.dumps(settings)) == settings
        assert copy.deepcopy(settings) == settings


def test_history_pickles():
    history = dense((3, 4, 2), ("tanh", "identity")).fit(*problem(), epochs=2)
    again = pickle.loads(pickle.dumps(history))
    assert again.stopped_by == history.stopped_by
    assert np.array_equal(again["loss"], history["loss"])


def test_errors_pickle():
    error = pickle.loads(pickle.dumps(dr.DivergenceError(epoch=2, step=5, loss=np.inf)))
    assert (error.epoch, error.step, error.loss) == (2, 5, np.inf)


def test_repr_and_summary_say_something():
    net = dr.Network([13, 64, 1], activation="tanh", seed=3)
    assert "13" in repr(net)
    assert "64" in repr(net)
    assert "tanh" in repr(net)
    text = net.summary()
    assert isinstance(text, str)
    assert str(net.n_parameters) in text.replace(",", "")
    assert "tanh" in text
    assert "Trainer" in repr(dr.Trainer(net))


def test_networks_without_parameters_work():
    net = dr.Network([dr.Input(3), dr.Standardize()], dtype="float64", seed=0)
    X = rng(0).normal(size=(20, 3))
    assert net.theta.shape == (0,)
    assert net.n_parameters == 0
    net.fit(X, X, epochs=1)
    assert np.allclose(net.predict(X).std(axis=0), 1)
    loss, gradient = net.gradient(X, X)
    assert gradient.shape == (0,)
    assert loss > 0
    assert net.copy().predict(X).tobytes() == net.predict(X).tobytes()
