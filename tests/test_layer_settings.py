"""How each layer is trained: its penalties, its learning-rate factor, and frozen layers."""

import copy
import pickle
import threading

import numpy as np
import pytest

import deltarule as dr
import reference
from deltarule import _file
from helpers import OPTIMIZERS, central_differences, dense, problem, rng
from tolerances import DIFFERENCE, FLOAT32_STEPS, FLOAT64, close

NAN, INF = float("nan"), float("inf")
SIZES, NAMES = (5, 13, 9, 2), ("tanh", "silu", "identity")
CLIPS = {"none": {}, "norm": {"clip_norm": 0.1}, "both": {"clip_norm": 0.2, "clip_value": 0.02}}
WITHOUT_RATE = "irprop+"
# l1, l2 and factor of the three layers
TABLES = {
    "factors": [(0.0, 0.0, 0.5), (0.0, 0.0, 1.0), (0.0, 0.0, 3.0)],
    "penalties": [(0.01, 0.0, 1.0), (0.0, 0.05, 1.0), (0.02, 0.03, 1.0)],
    "lowest frozen": [(0.01, 0.02, 0.0), (0.0, 0.05, 1.0), (0.0, 0.0, 1.0)],
    "middle frozen": [(0.0, 0.02, 1.0), (0.01, 0.05, 0.0), (0.01, 0.0, 1.0)],
    "all but the last frozen": [(0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.01, 0.02, 1.0)],
    "all": [(0.01, 0.02, 0.1), (0.0, 0.05, 0.0), (0.02, 0.0, 2.0)],
}
CASES = [
    (name, table)
    for name in OPTIMIZERS
    for table, layers in TABLES.items()
    if name != WITHOUT_RATE or {factor for *_, factor in layers} <= {0.0, 1.0}
]


def set_layers(net, layers):
    for layer, (l1, l2, factor) in zip(net.layers, layers, strict=True):
        layer.l1, layer.l2, layer.learning_rate_factor = l1, l2, factor
    return net


def twenty_steps(name, dtype, layers, **settings):
    """Yields the loss and theta of the package and of the reference at each of 20 steps."""
    net = set_layers(dense(SIZES, NAMES, dtype=dtype), layers)
    theta = net.theta.astype(float)
    ours, theirs = OPTIMIZERS[name](**settings)
    trainer = dr.Trainer(net, loss="mse", optimizer=ours)
    for k in range(20):
        g = rng(0 if name == WITHOUT_RATE else k, 5)
        X, Y = g.uniform(-1, 1, (24, 5)).astype(dtype), g.normal(size=(24, 2)).astype(dtype)
        value = trainer.step(X, Y)
        batch = X.astype(float), Y.astype(float)
        expected = reference.step(
            theta, SIZES, NAMES, *batch, "mse", theirs, layers=layers, **settings
        )
        yield (value, net.theta), (expected, theta)


@pytest.mark.parametrize("clips", list(CLIPS))
@pytest.mark.parametrize(("name", "table"), CASES)
def test_twenty_steps_follow_the_published_rule(name, table, clips):
    settings = {"l2": 0.01, **CLIPS[clips]}
    if name != WITHOUT_RATE:
        settings["weight_decay"] = 0.1
    for ours, theirs in twenty_steps(name, "float64", TABLES[table], **settings):
        assert close(ours[0], theirs[0], FLOAT64)
        assert close(ours[1], theirs[1], FLOAT64)


@pytest.mark.parametrize(("name", "table"), [case for case in CASES if case[1] == "all"])
def test_twenty_steps_in_float32(name, table):
    for ours, theirs in twenty_steps(name, "float32", TABLES[table]):
        assert close(ours[0], theirs[0], FLOAT32_STEPS)
        assert close(ours[1], theirs[1], FLOAT32_STEPS)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != WITHOUT_RATE])
def test_a_factor_is_another_learning_rate(name):
    """Each layer as in a network that is trained with so many times the rate."""
    factors, settings = (0.25, 2.0, 0.7), {"weight_decay": 0.05, "l2": 0.02, "clip_value": 0.3}
    by_factor = set_layers(dense(SIZES, NAMES), [(0.0, 0.0, f) for f in factors])
    rate = OPTIMIZERS[name]()[0].learning_rate
    ours = OPTIMIZERS[name](**settings)[0]
    trainer = dr.Trainer(by_factor, optimizer=ours)
    others = []
    for factor in factors:
        given = {**vars(ours), "learning_rate": rate * factor}
        others.append(dr.Trainer(dense(SIZES, NAMES), optimizer=type(ours)(**given)))
    for k in range(20):
        gradient = rng(k, 1).normal(size=by_factor.n_parameters)
        for each in (trainer, *others):
            each.apply(gradient)
    for i, other in enumerate(others):
        assert close(by_factor.layers[i].W, other.network.layers[i].W, FLOAT64)
        assert close(by_factor.layers[i].b, other.network.layers[i].b, FLOAT64)


@pytest.mark.parametrize("batch_size", [40, 300])  # one block of rows, and two
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_frozen_layer_changes_by_no_bit(tmp_path, name, batch_size):
    """Nor does its state: it is what the checkpoint had when it was frozen."""
    X, Y = problem(300)
    settings = {"l2": 0.1} | ({} if name == WITHOUT_RATE else {"weight_decay": 0.1})
    net = dense((3, 20, 10, 2), NAMES)
    trainer = dr.Trainer(net, optimizer=OPTIMIZERS[name](**settings)[0], seed=3)
    run = {"X": X, "y": Y, "batch_size": batch_size}

    def blocks():
        trainer.save(tmp_path / "t.safetensors")
        _, tensors = _file.read(tmp_path / "t.safetensors")
        vectors = {k: v for k, v in tensors.items() if v.shape == net.theta.shape}
        vectors = {k: v for k, v in vectors.items() if not k.endswith("epoch_theta")}
        blocks = [(k, net.unflatten(v)[1]) for k, v in [("theta", net.theta), *vectors.items()]]
        return {k: (W.tobytes(), b.tobytes()) for k, (W, b) in blocks}

    trainer.run(**run, epochs=2)
    before, others = blocks(), net.layers[0].W.copy()
    net.layers[1].frozen = True
    trainer.run(**run, epochs=4)
    assert blocks() == before
    assert not np.array_equal(net.layers[0].W, others)
    net.layers[1].frozen = False
    trainer.run(**run, epochs=6)
    assert blocks()["theta"] != before["theta"]


def test_everything_frozen_leaves_theta_and_counts_steps():
    (X, Y), net = problem(40), dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    for layer in net.layers:
        layer.frozen = True
    for clips in ({}, {"clip_norm": 0.1}):
        net.fit(X, Y, epochs=2, batch_size=20, optimizer=dr.Adam(weight_decay=0.1, **clips))
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 8


def test_the_norm_to_clip_is_that_of_trained_layers():
    net = dense((3, 6, 2), ("tanh", "identity"))
    net.layers[0].frozen = True
    kept, gradient = net.layers[1].W.copy(), np.ones(net.n_parameters)
    size = net.layers[1].n_parameters
    dr.Trainer(net, optimizer=dr.SGD(1.0, clip_norm=0.25)).apply(gradient)
    assert close(kept - net.layers[1].W, np.full((2, 6), 0.25 / np.sqrt(size)), FLOAT64)


@pytest.mark.parametrize("rows", [40, 300])
@pytest.mark.parametrize("clips", ["none", "both"])
def test_step_equals_apply_of_the_gradient(rows, clips):
    """With the deltas that a step leaves out, under what is frozen."""
    X, Y = problem(rows)
    layers = [(0.0, 0.1, 0.0), (0.1, 0.1, 0.0), (0.0, 0.0, 1.0), (0.1, 0.0, 0.5)]
    sizes, names = (3, 6, 5, 4, 2), ("tanh", "silu", "relu", "identity")
    one, other = (set_layers(dense(sizes, names), layers) for _ in range(2))
    stepped, applied = (
        dr.Trainer(net, optimizer=dr.AdamW(0.01, **CLIPS[clips])) for net in (one, other)
    )
    for _ in range(5):
        stepped.step(X, Y)
        applied.apply(other.gradient(X, Y)[1])
        assert np.array_equal(one.theta, other.theta)


def test_the_penalised_loss_by_central_differences():
    """The loss that a step reports, and the direction it takes."""
    X, Y = problem(20)
    layers = [(0.03, 0.2, 1.0), (0.1, 0.0, 1.0), (0.0, 0.5, 1.0)]
    net = set_layers(dense((3, 6, 5, 2), NAMES), layers)
    resting = dr.Trainer(net, optimizer=dr.SGD(0.0))
    plain = net.evaluate(X, Y)["loss"]
    penalties = sum(
        l1 * abs(layer.W).sum() + l2 / 2 * (layer.W**2).sum()
        for layer, (l1, l2, _) in zip(net.layers, layers, strict=True)
    )
    assert close(resting.step(X, Y), plain + penalties, FLOAT64)
    expected = central_differences(lambda: resting.step(X, Y), net.theta)
    before = net.theta.copy()
    dr.Trainer(net, optimizer=dr.SGD(1.0)).step(X, Y)
    assert close(before - net.theta, expected, DIFFERENCE)


def test_a_weight_of_zero_has_no_l1_gradient():
    net = dr.Network([dr.Input(2), dr.Dense(1, l1=0.5)], dtype="float64", seed=0)
    net.layers[0].W[:] = [[0.0, -2.0]]
    dr.Trainer(net, optimizer=dr.SGD(1.0)).apply(np.zeros(3))
    assert net.theta.tolist() == [0.0, -1.5, 0.0]


def test_gradient_and_trace_are_those_of_the_plain_loss():
    (X, Y), net = problem(20, SIZES[0]), dense(SIZES, NAMES)
    loss, gradient = net.gradient(X, Y)
    set_layers(net, TABLES["all"])
    assert net.gradient(X, Y)[0] == loss
    assert np.array_equal(net.gradient(X, Y)[1], gradient)
    trace = net.trace(X, Y)
    assert trace.loss == loss
    assert np.array_equal(trace.gradient, gradient)
    assert net.evaluate(X, Y)["loss"] == loss


def test_tables_are_weights():
    layers = [dr.Input(3), dr.Embedding([1], [4], dimension=2), dr.Dense(3, "tanh"), dr.Dense(1)]
    X = np.column_stack([rng(0).normal(size=30), np.arange(30) % 4, rng(1).normal(size=30)])
    Y = rng(2).normal(size=(30, 1))

    def trained(of_layers, **settings):
        net = dr.Network(layers, dtype="float64", seed=0)
        for layer in net.layers:
            layer.l2 = of_layers
        trainer = dr.Trainer(net, optimizer=dr.SGD(0.1, **settings))
        return [trainer.step(X, Y) for _ in range(5)], net.theta.copy()

    expected, found = trained(0.0, l2=0.1), trained(0.1)
    assert close(found[0], expected[0], FLOAT64)
    assert np.array_equal(found[1], expected[1])
    frozen = dr.Embedding([1], [4], dimension=2, learning_rate_factor=0)
    net = dr.Network([layers[0], frozen, *layers[2:]], seed=0)
    kept = net.layers[0].tables[0].copy()
    net.fit(X, Y, epochs=3, optimizer=dr.AdamW(weight_decay=0.5))
    assert np.array_equal(net.layers[0].tables[0], kept)


# ---- settings -----------------------------------------------------------------------------------

LAYERS = [
    dr.Input(4),
    dr.Embedding([3], [5], dimension=2, l1=0.5),
    dr.Dense(6, "tanh", l2=0.25, learning_rate_factor=0.1),
    dr.Dropout(0.1),
    dr.Dense(2, learning_rate_factor=0),
]
SETTINGS = [(0.5, 0.0, 1.0), (0.0, 0.25, 0.1), (None, None, None), (0.0, 0.0, 0.0)]


def settings_of(net):
    return [(layer.l1, layer.l2, layer.learning_rate_factor) for layer in net.layers]


def test_settings_survive_copies_and_files(tmp_path):
    net = dr.Network(LAYERS, seed=0)
    assert settings_of(net) == SETTINGS
    net.layers[0].l1, net.layers[1].frozen, net.layers[3].frozen = 2, True, False
    changed = [(2.0, 0.0, 1.0), (0.0, 0.25, 0.0), (None, None, None), (0.0, 0.0, 1.0)]
    net.save(tmp_path / "n.safetensors")
    dr.Trainer(net).save(tmp_path / "t.safetensors")
    twins = [net, net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    twins += [dr.load(tmp_path / name) for name in ("n.safetensors", "t.safetensors")]
    twins.append(dr.Trainer.resume(tmp_path / "t.safetensors").network)
    X = rng(0).normal(size=(20, 4))
    X[:, 3] = np.arange(20) % 5
    for twin in twins:
        assert settings_of(twin) == changed
        assert repr(twin) == repr(net)
    for twin in twins:
        twin.fit(X, X[:, :2], epochs=2, seed=1)
        assert np.array_equal(twin.theta, net.theta)


def test_settings_are_shown_where_they_are_not_the_default():
    net = dr.Network(LAYERS, seed=0)
    assert repr(net.layers[1].settings) == "Dense(6, 'tanh', l2=0.25, learning_rate_factor=0.1)"
    assert eval(repr(net.layers[0].settings), vars(dr)) == LAYERS[1]
    lines = net.summary().splitlines()
    assert lines[3].endswith("l1=0.5")
    assert lines[4].endswith("tanh, l2=0.25, learning_rate_factor=0.1")
    assert lines[6].endswith("identity, frozen")
    net.layers[1].l2, net.layers[1].learning_rate_factor = 0, 1
    assert repr(net).count("l2") == 0
    assert net.summary().splitlines()[4].endswith("tanh")


def test_a_file_of_default_settings_is_what_it_was(tmp_path):
    net = dr.Network([4, 3, 1], seed=0)
    net.layers[0].l1, net.layers[1].frozen = 0.5, True
    net.layers[0].l1, net.layers[1].frozen = 0.0, False
    net.save(tmp_path / "n.safetensors")
    metadata, _ = _file.read(tmp_path / "n.safetensors")
    keys = {"kind", "units", "initializer", "gain", "activation", "alpha"}
    assert [set(layer) for layer in metadata["layers"]] == [keys, keys]


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [(0, "l1", -1.0), (0, "l2", "1"), (0, "learning_rate_factor", None), (0, "l1", True),
     (1, "l1", 0.5), (0, "frozen", True)],
)  # fmt: skip
def test_damaged_settings_in_a_file_are_refused(tmp_path, layer, key, value):
    path = tmp_path / "n.safetensors"
    dr.Network([dr.Input(4), dr.Dense(2, l1=0.1), dr.Dropout(0.5)], seed=0).save(path)
    metadata, tensors = _file.read(path)
    metadata = {k: v for k, v in metadata.items() if k not in ("format", "version")}
    metadata["layers"][layer][key] = value
    _file.write(path, metadata, tensors)
    with pytest.raises(dr.ModelFileError, match=key):
        dr.load(path)


@pytest.mark.parametrize("name", ["l1", "l2", "learning_rate_factor"])
def test_every_setting_is_checked(name):
    net = dr.Network([3, 1], seed=0)
    for value in (-0.1, NAN, INF, -INF, "0.1", None, True, [0.1], 1j):
        for make in (dr.Dense, lambda n, **k: dr.Embedding([0], [n], **k)):
            with pytest.raises((ValueError, TypeError), match=f"{name} must be a finite number"):
                make(2, **{name: value})
        with pytest.raises((ValueError, TypeError), match=f"{name} must be a finite number"):
            setattr(net.layers[0], name, value)
    with pytest.raises(TypeError, match="positional"):
        dr.Dense(2, "relu", 0.1)
    assert settings_of(net) == [(0.0, 0.0, 1.0)]


def test_frozen_is_a_factor_of_zero():
    net = dr.Network([dr.Input(3), dr.Dense(2, learning_rate_factor=0.5), dr.Dropout(0.1)], seed=0)
    layer = net.layers[0]
    layer.frozen = False
    assert layer.learning_rate_factor == 0.5
    layer.frozen = True
    assert (layer.frozen, layer.learning_rate_factor) == (True, 0)
    layer.frozen = False
    assert (layer.frozen, layer.learning_rate_factor) == (False, 1)
    for wrong in (1, None, "yes"):
        with pytest.raises(TypeError, match="frozen must be True or False"):
            layer.frozen = wrong
    assert net.layers[1].frozen is None
    for name, value in (("l1", 0.1), ("learning_rate_factor", 0.1), ("frozen", True)):
        with pytest.raises(ValueError, match=f"{name}: this layer.*Dropout"):
            setattr(net.layers[1], name, value)


def test_a_rule_without_a_rate_takes_no_factor():
    (X, Y), net = problem(20), dense((3, 4, 2), ("tanh", "identity"))
    net.layers[1].learning_rate_factor = 0.5
    match = r"net.layers\[1\].learning_rate_factor must be 0 or 1.*irprop"
    with pytest.raises(ValueError, match=match):
        dr.Trainer(net, optimizer="irprop+")
    net.layers[1].learning_rate_factor = 1
    trainer = dr.Trainer(net, optimizer="irprop+")
    net.layers[1].learning_rate_factor, kept = 0.5, net.theta.copy()
    for call in (
        lambda: trainer.step(X, Y),
        lambda: trainer.run(X, Y, epochs=2),
        lambda: trainer.apply(kept, 1.0),
        lambda: net.fit(X, Y, optimizer="irprop+"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


def test_another_thread_must_wait():
    net, refused = dr.Network([3, 1], seed=0), []

    def from_outside():
        try:
            net.layers[0].frozen = True
        except RuntimeError as error:
            refused.append(str(error))

    def callback(state):
        thread = threading.Thread(target=from_outside)
        thread.start()
        thread.join()

    net.fit(np.ones((4, 3)), np.ones(4), epochs=1, callbacks=[callback])
    assert len(refused) == 1
    assert "trained by another" in refused[0]
    assert net.layers[0].frozen is False


def test_a_layer_whose_network_is_gone_takes_no_settings():
    layers = dr.Network([3, 1], seed=0).layers
    with pytest.raises(RuntimeError, match="no longer exists"):
        layers[0].l1 = 0.5


def test_a_callback_may_unfreeze():
    """As two runs would."""
    X, Y = problem(60)
    one, other = (dense((3, 8, 6, 2), NAMES) for _ in range(2))
    for net in (one, other):
        net.layers[0].frozen = net.layers[1].frozen = True

    def gradually(state):
        if state.epoch == 2:
            state.network.layers[1].frozen = False
            state.network.layers[2].l2 = 0.1

    run = {"batch_size": 16}
    dr.Trainer(one, seed=1).run(X, Y, epochs=5, callbacks=[gradually], **run)
    trainer = dr.Trainer(other, seed=1)
    trainer.run(X, Y, epochs=2, **run)
    other.layers[1].frozen, other.layers[2].l2 = False, 0.1
    trainer.run(X, Y, epochs=5, **run)
    assert np.array_equal(one.theta, other.theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_on_any_number_of_threads(dtype):
    def bits(n_threads, **settings):
        layers = [
            dr.Input(61), dr.Dense(230, "relu", l1=0.01, l2=0.1, learning_rate_factor=0.3),
            dr.Dense(190, "tanh", learning_rate_factor=0), dr.Dense(3, l1=0.1),
        ]  # fmt: skip
        net = dr.Network(layers, dtype=dtype, seed=3)
        g = rng(2)
        X, Y = g.normal(size=(413, 61)), g.normal(size=(413, 3))
        optimizer = dr.Adam(l2=0.001, **settings)
        net.fit(X, Y, optimizer=optimizer, epochs=2, batch_size=300, n_threads=n_threads)
        return net.theta.tobytes(), net.history["loss"].tobytes()

    for settings in ({}, {"clip_norm": 0.5}):
        first = bits(1, **settings)
        assert bits(2, **settings) == first
        assert bits(5, **settings) == first
