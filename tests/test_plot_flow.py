"""net.plot_flow: the sizes it measures, the words it says, and what it leaves behind."""

import sys

import numpy as np
import pytest

import deltarule as dr
from deltarule import _plot_flow
from helpers import rng, run_python

pytest.importorskip("matplotlib")


def data(n=80, width=6):
    X = rng(n).normal(size=(n, width))
    return X, np.sin(X[:, 0])


def network(activation="relu", depth=5, scale=None, dtype="float64"):
    net = dr.Network([6, *[32] * depth, 1], activation=activation, dtype=dtype, seed=0)
    for layer in net.layers if scale is not None else ():
        layer.W[:] = rng(1, *layer.W.shape).normal(0, scale, layer.W.shape)
    return net


def measured(net, X=None, y=None, **settings):
    X, y = data() if X is None else (X, y)
    return _plot_flow.measure(net, net.trace(X, y, **settings))


def said(net, X=None, y=None):
    return _plot_flow.verdict(measured(net, X, y))


# ---- what is measured ---------------------------------------------------------------------------


def test_the_sizes_are_those_of_the_trace():
    net = network("tanh")
    trace, flow = net.trace(*data()), measured(net)
    assert flow.numbers == [0, 1, 2, 3, 4, 5]
    assert flow.labels[0] == "0\nDense\ntanh"
    assert flow.labels[-1] == "5\nDense\nidentity"
    for i, layer in enumerate(trace.layers):
        parts = np.concatenate([layer.dW.T.ravel(), layer.db])
        for spread, values in (
            (flow.activations[i], layer.a),
            (flow.deltas[i], layer.delta),
            (flow.gradients[i], parts),
        ):
            sizes = abs(values).ravel()
            assert np.allclose(spread.quantiles, np.quantile(sizes, [0.05, 0.25, 0.5, 0.75, 0.95]))
            assert np.isclose(spread.rms, np.sqrt(np.mean(sizes**2)))
            assert spread.is_finite


def test_zeros_dead_units_and_saturation_are_counted():
    net = dr.Network([6, 8, 4, 4, 1], activation="relu", seed=0)
    net.layers[1].b[:] = [-100.0, 100.0, -100.0, -100.0]  # three dead units of four
    flow = measured(net)
    assert flow.shares[1].dead == 0.75
    assert flow.shares[1].zeros == 0.75
    a = net.trace(*data()).layers[0].a
    assert flow.shares[0].zeros == np.mean(a == 0) > flow.shares[0].dead
    assert np.isnan(flow.shares[0].saturated)

    for name in ("sigmoid", "tanh"):
        net = dr.Network([6, 8, 1], activation=name, seed=0)
        assert measured(net).shares[0].saturated < 0.2
        net.layers[0].b[:4] = 50.0
        net.layers[0].b[4:] = -50.0
        assert measured(net).shares[0].saturated == 1
        net.layers[0].W[:] = 0
        net.layers[0].b[:] = 0
        assert measured(net).shares[0].saturated == 0


def test_layers_that_neither_train_nor_activate_are_left_out():
    layers = [dr.Input(6), dr.Standardize(), dr.Dense(8), dr.Activation("tanh"), dr.Dropout(0.5)]
    net = dr.Network([*layers, dr.Dense(1), dr.Rescale()], seed=0)
    net.fit(*data(), epochs=1)
    flow = measured(net)
    assert flow.numbers == [1, 2, 4]
    assert flow.labels == ["1\nDense\nidentity", "2\ntanh", "4\nDense\nidentity"]
    assert [each is None for each in flow.gradients] == [False, True, False]
    codes = dr.Network([dr.Input(2), dr.Embedding(columns=[1], n_levels=[3]), dr.Dense(1)], seed=0)
    X = np.stack([np.ones(9), np.arange(9) % 3], axis=1)
    assert measured(codes, X, np.ones(9)).labels[0] == "0\nEmbedding"
    only = dr.Network([dr.Input(2), dr.Standardize(mean=0.0, scale=1.0)], seed=0)
    assert measured(only, X, X).labels == ["0\nStandardize"]


# ---- what is said -------------------------------------------------------------------------------


def test_a_healthy_network_is_not_warned_of():
    for activation in ("relu", "tanh"):
        for depth in (1, 3, 6):
            assert said(network(activation, depth)) is None


def test_vanishing_and_exploding():
    text = said(network("sigmoid", 10, 0.01))
    assert text.startswith("vanishing: delta falls")
    assert text.endswith("-fold from layer 10 to 0")
    assert said(network("relu", 8, 1.0)).startswith("exploding: delta grows")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (99.0, None),
        (1 / 99.0, None),
        (101.0, "exploding: delta grows 1e2-fold from layer 7 to 3"),
        (1 / 230.0, "vanishing: delta falls 2e2-fold from layer 7 to 3"),
        (1e-300, "vanishing: delta falls 1e300-fold from layer 7 to 3"),
        (0.0, "delta is 0 in layer 3"),
    ],
)
def test_the_words(ratio, words):
    spreads = [_plot_flow.Spread(np.ones(5), rms, True) for rms in (ratio, 1.0)]
    flow = _plot_flow.Flow(["", ""], [3, 7], spreads, spreads, [None, None], [])
    assert _plot_flow.verdict(flow) == words


def test_silence_and_infinities():
    net = network("relu", 3)
    net.layers[2].b[:] = -1e6
    assert said(net) == "delta is 0 in layers 0 to 2"
    assert "not finite" in said(network("relu", 6, 1e8, "float32"))


def test_nothing_but_zeros_is_drawn_as_that(tmp_path):
    net = network("relu", 2)
    net.theta[:] = 0
    ax = net.plot_flow(np.zeros((4, 6)), np.zeros(4), path=tmp_path / "zero.png")
    assert ax.figure.axes[1].get_title(loc="right") == "delta is 0 in layers 0 to 2"
    assert [text.get_text() for text in ax.texts] == ["all are 0"]
    assert (tmp_path / "zero.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_is_finite_that_is_said(tmp_path):
    net = network("tanh", 2)
    net.theta[:] = np.nan
    ax = net.plot_flow(*data(), path=tmp_path / "nan.png")
    panels = ax.figure.axes
    assert panels[1].get_title(loc="right") == "delta is not finite in layers 0 to 2"
    assert [[text.get_text() for text in panel.texts] for panel in panels[:3]] == [
        ["none is finite"]
    ] * 3
    each = [_plot_flow._spread(np.array(values)) for values in ([0.0], [np.nan, np.inf])]
    mixed = _plot_flow._spread(np.array([0.0, np.nan]))
    assert _plot_flow._why_empty([*each, None]) == "0 or not finite"
    assert _plot_flow._why_empty([mixed, None]) == "0 or not finite"


# ---- the picture --------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 45])
def test_the_panels(tmp_path, depth):
    net = network("tanh", depth)
    first = net.plot_flow(*data(), path=tmp_path / "flow.svg")
    panels = first.figure.axes
    assert first is panels[0]
    assert [ax.get_title(loc="left") for ax in panels] == [
        "activations |a|", "deltas |δ| = |∂L/∂z|", "gradients |∂L/∂θ|", "share of activations",
    ]  # fmt: skip
    assert [ax.get_yscale() for ax in panels] == ["log", "log", "log", "linear"]
    assert len(panels[3].get_xticks()) == (depth + 1 if depth < 30 else (depth + 2) // 2)
    (line,) = [each for each in panels[1].get_lines() if len(each.get_xdata()) == depth + 1]
    assert np.allclose(line.get_ydata(), [each.rms for each in measured(net).deltas])


def test_losses_and_class_indices(tmp_path):
    """By keyword and by place; nothing of the network changes."""
    X, y = data()
    net = dr.Network([6, 8, 3], output="softmax", seed=0)
    before = net.theta.copy()
    net.plot_flow(X, np.arange(80) % 3, path=tmp_path / "a.svg")
    assert np.array_equal(net.theta, before)
    assert net.n_steps == 0
    network(depth=1).plot_flow(X, y, "mae", tmp_path / "b.pdf")
    assert len([*tmp_path.iterdir()]) == 2


def test_wrong_data_are_refused_before_anything_is_drawn(tmp_path):
    X, y = data()
    with pytest.raises(ValueError, match=r"X must have shape \(n, 6\)"):
        network().plot_flow(X[:, :5], y, path=tmp_path / "a.png")
    with pytest.raises(ValueError, match="loss must be one of"):
        network().plot_flow(X, y, "msa", tmp_path / "a.png")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("path", [3, b"a.png", ["a.png"]])
def test_what_is_no_path_is_refused_before_any_work(path, monkeypatch):
    X, y = data()
    match = f"path must be a str or an os.PathLike of str, got {type(path).__name__}"
    with pytest.raises(TypeError, match=match):
        dr.History({"loss": [1.0]}).plot(path)
    monkeypatch.setattr(dr.Network, "trace", None)
    with pytest.raises(TypeError, match=match):
        network().plot_flow(X, y, path=path)


def test_saving_does_not_touch_pyplot(tmp_path):
    modules = run_python(
        """
        import json, sys
        import deltarule as dr
        dr.Network([1, 2, 1], seed=0).plot_flow([[1.0]], [1.0], path=sys.argv[1])
        print(json.dumps(sorted(sys.modules)))
        """,
        tmp_path / "p.png",
    )
    assert "matplotlib.pyplot" not in modules


def test_without_a_path_it_is_a_figure_of_pyplot():
    from matplotlib import pyplot

    old = pyplot.get_backend()
    pyplot.switch_backend("agg")
    try:
        ax = network().plot_flow(*data())
        assert pyplot.get_fignums() == [ax.figure.number]
    finally:
        pyplot.close("all")
        pyplot.switch_backend(old)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plot_flow needs .* pip install 'deltarule\[plot\]'"):
        network().plot_flow(*data())
