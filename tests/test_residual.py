"""Residual: against NumPy and differences, nested, in every place; bits, descriptions, files."""

import numpy as np
import pytest

import deltarule as dr
from deltarule import _file
from helpers import OPTIMIZERS, rng
from layer_helpers import (
    DTYPES,
    SOLVERS,
    assert_copies_are_equal,
    assert_gradients_are_differences,
    assert_is_reference,
    assert_resumes_at_each_step,
    assert_rows_are_apart,
    assert_steps_are_reference,
    assert_the_same_bits_on_threads_and_in_pieces,
    network,
    rewrite,
    rows,
)
from test_problems import spirals

NORM = dr.LayerNorm()


def block(width, activation="tanh", *, inside=4, norm=True, dropout=None):
    layers = [NORM] if norm else []
    layers += [dr.Dense(inside, activation)]
    layers += [dr.Dropout(dropout)] if dropout else []
    return dr.Residual([*layers, dr.Dense(width)])


def nested(depth, width=3):
    layer = dr.Dense(width, "tanh")
    for _ in range(depth):
        layer = dr.Residual([layer, dr.Activation("silu")])
    return layer


NETWORKS = {
    "alone": [dr.Input(6), dr.Residual([dr.Dense(6, "tanh")])],
    "nothing trained inside": [dr.Input(3), dr.Dense(4), dr.Residual([dr.Activation("tanh")]),
                               dr.Dense(2)],
    "nothing trained before": [dr.Input(4), dr.Residual([dr.Activation("tanh")]), dr.Dense(2)],
    "nothing trained": [dr.Input(4), dr.Residual([dr.Activation("tanh")])],
    "trained late inside": [dr.Input(4), dr.Residual([dr.Activation("tanh"), dr.Dense(4)]),
                            dr.Dense(2)],
    "first, middle and last": [dr.Input(5), block(5), dr.Dense(6, "gelu"), block(6, norm=False),
                               block(6)],
    "nested": [dr.Input(5), dr.Dense(4), dr.Residual([block(4), dr.Dense(4, "tanh"), block(4)]),
               dr.Dense(2)],
    "nested at once": [dr.Input(3), nested(4), dr.Dense(2)],
    "activated after": [dr.Input(5), block(5), dr.Activation("softplus"), dr.Dense(2)],
    "norm after": [dr.Input(5), block(5, norm=False), NORM, block(5, norm=False), NORM],
    "dropout": [dr.Input(5), dr.Dense(6, "silu"), block(6, dropout=0.3), dr.Dropout(0.2),
                dr.Dense(2)],
    "scaled": [dr.Input(5), dr.Standardize(mean=0.3, scale=2.0), block(5),
               dr.Rescale(mean=1.0, scale=3.0)],
}  # fmt: skip
EMBEDDED = [dr.Input(4), dr.Embedding([2], [5], dimension=3), block(6), dr.Dense(2)]
CLASSES = [dr.Input(5), block(5, "mish"), dr.Dense(4, "softmax")]
MIXED = [dr.Input(5), dr.Dense(9, "tanh"), block(9, dropout=0.2), dr.Dropout(0.1),
         dr.Residual([dr.Dense(9, "relu"), block(9, "silu")]), NORM, dr.Dense(2)]  # fmt: skip

# ---- the mathematics ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(NETWORKS))
def test_it_agrees_with_the_reference(name, dtype):
    assert_is_reference(network(NETWORKS[name], dtype), 33)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 31, 257, 600])
@pytest.mark.parametrize("width", [1, 3, 16, 17, 64, 300])
def test_any_width_and_batch_agree_with_the_reference(width, n, dtype):
    layers = [dr.Input(2), dr.Dense(width), block(width, inside=width), dr.Dense(1)]
    assert_is_reference(network(layers, dtype), n)


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_agree_with_the_reference(dtype):
    """Logits out of a softmax layer, and out of the sum itself."""
    assert_is_reference(network(CLASSES, dtype), 33, "cross_entropy")
    assert_is_reference(network(CLASSES[:2], dtype), 33, "cross_entropy")


@pytest.mark.parametrize("loss", ["mse", "huber"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_agree_with_central_differences(name, loss):
    assert_gradients_are_differences(network(NETWORKS[name]), loss=loss)


def test_gradients_with_codes_and_classes_agree_with_central_differences():
    assert_gradients_are_differences(network(EMBEDDED))
    assert_gradients_are_differences(network(CLASSES), loss="cross_entropy")
    assert_gradients_are_differences(network(CLASSES[:2]), loss="cross_entropy")


@pytest.mark.parametrize("dtype", DTYPES)
def test_without_weights_it_is_the_identity(dtype):
    layers = [dr.Input(20), dr.Residual([dr.Dense(20, "tanh"), dr.Dense(20)])]
    net = dr.Network([*layers, dr.Residual([dr.Residual([dr.Dense(20)])])], dtype=dtype)
    net.theta[:] = 0
    X, _ = rows(net, 300)
    assert np.array_equal(net.predict(X), 2 * X)  # a residual in a residual: once for each
    assert np.array_equal(net.backward(X, X)[1], 2 * X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("penalties", [{}, {"l2": 0.05}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("n", [9, 300])
def test_twenty_steps_agree_with_the_reference(n, name, penalties, dtype):
    ours, theirs = OPTIMIZERS[name](**penalties)
    net = network(NETWORKS["nested"], dtype)
    assert_steps_are_reference(net, ours, theirs, n, **penalties)


def test_a_residual_network_solves_two_spirals():
    X, y, *_ = spirals()
    layers = [dr.Input(2), dr.Dense(32)]
    layers += [dr.Residual([NORM, dr.Dense(32, "relu"), dr.Dense(32)]) for _ in range(4)]
    net = dr.Network([*layers, NORM, dr.Dense(2, "softmax")], seed=0)
    net.fit(X, y, optimizer=dr.Adam(0.003), epochs=150, batch_size=20, seed=0)
    assert net.evaluate(X, y, metrics=["accuracy"])["accuracy"] >= 0.99


# ---- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 17, 64, 300])
def test_a_row_has_the_same_bits_everywhere(width, dtype):
    layers = [dr.Input(width), dr.Dense(width), block(width, inside=5)]
    assert_rows_are_apart(network(layers, dtype))


LARGE = {
    "before and after": [dr.Input(30), dr.Dense(351, "tanh"),
                         dr.Residual([NORM, dr.Dense(380, "relu"), dr.Dropout(0.1),
                                      dr.Dense(351)]), dr.Dense(3)],
    "at both ends": [dr.Input(371), dr.Residual([dr.Dense(371, "tanh")]),
                     dr.Residual([dr.Dense(371, "silu"), dr.Residual([dr.Dense(371)])])],
}  # fmt: skip


@pytest.mark.parametrize("name", list(LARGE))
@pytest.mark.parametrize(("solver", "dtype"), [("sgd", "float64"), ("adam", "float32")])
def test_the_same_bits_on_any_number_of_threads_and_in_pieces(solver, dtype, name, tmp_path):
    """Layers large enough to be shared out by their units."""
    assert_the_same_bits_on_threads_and_in_pieces(LARGE[name], dtype, SOLVERS[solver], tmp_path)


def test_gradients_have_the_same_bits_on_any_number_of_threads(monkeypatch):
    net = dr.Network(LARGE["at both ends"], seed=0)
    X, Y = rows(net, 300)
    trace = net.trace(X, Y)
    d_inputs = set()
    for n_threads in ("1", "2", "5"):
        monkeypatch.setenv("DELTARULE_NUM_THREADS", n_threads)
        gradient, d_input = net.backward(X, trace.layers[-1].delta)
        assert gradient.tobytes() == trace.gradient.tobytes()
        assert net.gradient(X, Y)[1].tobytes() == trace.gradient.tobytes()
        d_inputs.add(d_input.tobytes())
    assert len(d_inputs) == 1


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_it_resumes_at_each_of_40_steps(solver, tmp_path):
    assert_resumes_at_each_step(MIXED, "float32", SOLVERS[solver], tmp_path)


# ---- descriptions -------------------------------------------------------------------------------


def test_the_ends_of_a_residual():
    net = network([dr.Input(4), dr.Dense(3), dr.Residual([dr.Dense(3, "tanh")]), dr.Dense(1)])
    kinds = [layer.settings.kind for layer in net.layers]
    assert kinds == ["dense", "keep", "dense", "add", "dense"]
    for i in (1, 3):
        layer = net.layers[i]
        assert (layer.W, layer.b, layer.gamma, layer.mean, layer.n_parameters) == (None,) * 4 + (0,)
        assert (layer.n_inputs, layer.n_outputs, layer.fitted) == (3, 3, True)
    X, Y = rows(net, 20)
    before, keep, inside, add, after = net.trace(X, Y).layers
    assert np.array_equal(keep.a, before.a)
    assert np.array_equal(keep.z, before.a)
    assert np.array_equal(add.a, inside.a + before.a)
    assert np.array_equal(before.delta, keep.delta)
    assert np.allclose(keep.delta, inside.delta @ net.layers[2].W + add.delta)
    assert np.allclose(add.delta, after.delta @ net.layers[4].W)
    assert (keep.dW, add.dW) == (None, None)
    assert net.unflatten(net.theta)[1] is None


def test_the_summary_shows_the_nesting():
    text = dr.Network([dr.Input(4), dr.Residual([dr.Residual([dr.Dense(4)]), NORM])]).summary()
    kinds = [line[7 : line.index("(")].rstrip() for line in text.splitlines()[3:-2]]
    assert kinds == ["Keep", "  Keep", "    Dense", "  Add", "  LayerNorm", "Add"]
    assert [line.split("+ ")[1] for line in text.splitlines() if "+" in line] == [
        "layer 1", "layer 0",
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [*NETWORKS.values(), EMBEDDED, MIXED])
def test_descriptions_make_the_same_again(layers):
    names = {name: getattr(dr, name) for name in dr.__all__}
    for layer in layers:
        assert eval(repr(layer), names) == layer
    net = dr.Network(layers, seed=0)
    again = eval(repr(net), names)
    assert repr(again) == repr(net)
    assert again.theta.tobytes() == net.theta.tobytes()
    flat = [layer.settings for layer in net.layers]
    assert repr(dr.Network([layers[0], *flat], seed=0)) == repr(net)


def test_settings_are_values():
    inside = [dr.Dense(4, "relu"), dr.Dense(4)]
    layer = dr.Residual(inside)
    assert repr(layer) == "Residual([Dense(4, 'relu'), Dense(4)])"
    inside.pop()
    assert layer == dr.Residual((dr.Dense(4, "relu"), dr.Dense(4)))
    assert layer != dr.Residual([dr.Dense(4)])
    assert hash(layer) == hash(dr.Residual([dr.Dense(4, "relu"), dr.Dense(4)]))
    with pytest.raises(AttributeError):
        layer.layers = ()


def test_any_depth(tmp_path):
    """Beyond the depth of Python's own recursion, through a file too."""
    layer = dr.Residual([dr.Activation("tanh")])
    for _ in range(1500):
        layer = dr.Residual([layer])
    net = dr.Network([dr.Input(2), layer, dr.Dense(1)], seed=0)
    assert len(net.layers) == 2 * 1501 + 2
    assert repr(net).count("Residual([") == 1501
    assert net.summary().count("Keep") == 1501
    net.save(tmp_path / "m")
    again = dr.load(tmp_path / "m")
    assert again.predict([[0.0, 0.0]]).tobytes() == net.predict([[0.0, 0.0]]).tobytes()
    with pytest.raises(ValueError, match="at most 10000 layers, got more"):
        dr.Network([dr.Input(2), layer, layer, layer, layer])


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies(dtype, tmp_path):
    assert_copies_are_equal(network(MIXED, dtype), tmp_path)


def test_the_model_file(tmp_path):
    net, path = network(CLASSES, "float32"), tmp_path / "m"
    net.save(path)
    metadata, tensors = _file.read(path)
    entries = metadata["layers"]
    assert [each["kind"] for each in entries] == [
        "keep", "layer_norm", "dense", "dense", "add", "dense",
    ]  # fmt: skip
    assert entries[0] == {"kind": "keep"}
    assert sorted(tensors)[:2] == ["layers.1.beta", "layers.1.gamma"]


KEEP, ADD, TANH = (
    {"kind": "keep"}, {"kind": "add"}, {"kind": "activation", "activation": "tanh", "alpha": None}
)  # fmt: skip


@pytest.mark.parametrize(("entries", "message"), [
    ([KEEP, TANH], "has no end"),
    ([TANH, ADD], "has no start"),
    ([ADD, TANH, KEEP], "has no start"),
    ([KEEP, TANH, ADD, ADD], "has no start"),
    ([KEEP, KEEP, TANH, ADD], "has no end"),
    ([KEEP, ADD], "at least one layer"),
    ([{**KEEP, "layers": [TANH]}, TANH, ADD], "unknown key 'layers'"),
    ([{"kind": "residual", "layers": [TANH]}], "unknown kind of layer"),
    ([KEEP, {"kind": "standardize", "fitted": True}, ADD], "can only follow the Input"),
    ([KEEP, {"kind": "embedding", "columns": [0], "n_levels": [3], "dimension": 2}, ADD],
     "can only follow the Input"),
    ([KEEP, TANH, {"kind": "rescale", "fitted": True}, ADD], "can only be the last layer"),
    ([KEEP] * 10_001, "damaged list of layers"),
    ([KEEP] * 10_000, "has no end"),
    ([KEEP, {"kind": "dense", "units": 3, "activation": "tanh", "alpha": None, "gain": 1.0,
             "initializer": "glorot_uniform"}, ADD], "must keep the width, got 2 in and 3 out"),
])  # fmt: skip
def test_malformed_nesting_is_refused(entries, message, tmp_path):
    path = tmp_path / "m"
    dr.Network([dr.Input(2), dr.Activation("tanh")], seed=0).save(path)
    rewrite(path, lambda _: entries)
    with pytest.raises(dr.ModelFileError, match=message):
        dr.load(path)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "error", "message"), [
    ([], ValueError, "layers must hold at least one layer, got none"),
    ((), ValueError, "layers must hold at least one layer, got none"),
    (dr.Dense(4), TypeError, "layers must be a list of layers, got Dense"),
    (None, TypeError, "layers must be a list of layers, got None"),
    ("relu", TypeError, "layers must be a list of layers, got 'relu'"),
    (4, TypeError, "layers must be a list of layers, got 4"),
    (iter([dr.Dense(4)]), TypeError, "layers must be a list of layers, got"),
    ([4], TypeError, r"layers\[0\] must be a layer, got 4"),
    ([dr.Dense(4), dr.Dense], TypeError, r"layers\[1\] must be a layer, got <class"),
    ([dr.Input(4), dr.Dense(4)], ValueError, r"layers\[0\] must not be an Input"),
])  # fmt: skip
def test_bad_settings_are_refused(layers, error, message):
    with pytest.raises(error, match=message):
        dr.Residual(layers)
    with pytest.raises(TypeError):
        dr.Residual()
    with pytest.raises(TypeError):
        dr.Residual([dr.Dense(4)], [dr.Dense(4)])


@pytest.mark.parametrize(("layers", "message"), [
    ([dr.Residual([dr.Dense(3)])],
     r"layers\[1\]: the layers of a Residual must keep the width, got 4 in and 3 out"),
    ([dr.Dense(8), dr.Residual([dr.Dense(8), dr.Residual([dr.Dense(7)])])],
     r"layers\[2\].layers\[1\]: .* got 8 in and 7 out"),
    ([dr.Residual([dr.Standardize()])], r"layers\[1\].layers\[0\]: Standardize can only follow"),
    ([dr.Residual([dr.Embedding([0], [2])])], r"layers\[1\].layers\[0\]: Embedding can only"),
    ([dr.Residual([dr.Dense(4), dr.Rescale()])], r"layers\[1\].layers\[1\]: Rescale can only be"),
    ([dr.Residual([dr.Dense(4)]), dr.Standardize()], r"layers\[2\]: Standardize can only follow"),
    ([dr.Residual([dr.Dense(4)]), dr.Input(3)], r"layers\[2\] must not be an Input"),
])  # fmt: skip
def test_layers_that_are_no_network_are_refused(layers, message):
    with pytest.raises(ValueError, match=message):
        dr.Network([dr.Input(4), *layers])


def test_the_sum_has_no_activation():
    """Its loss is that of linear outputs."""
    X = rng(0).normal(size=(30, 3))
    net = dr.Network([dr.Input(3), dr.Residual([dr.Dense(3, "softmax")])], seed=0)
    assert "loss" in net.evaluate(X, X)
    with pytest.raises(ValueError, match="poisson"):
        net.gradient(X, abs(X), loss="poisson")
