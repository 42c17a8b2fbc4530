"""The optimisers: their published rules, clipping, and settings that are refused."""

import dataclasses

import numpy as np
import pytest

import deltarule as dr
import reference
from helpers import OPTIMIZERS, dense, problem, rng
from tolerances import FLOAT32_STEPS, FLOAT64, close

NAN, INF = float("nan"), float("inf")
SIZES, NAMES = (5, 13, 9, 2), ("tanh", "silu", "identity")
CLIPS = {
    "none": {},
    "norm": {"clip_norm": 0.1},
    "value": {"clip_value": 0.01},
    "both": {"clip_norm": 0.2, "clip_value": 0.02},
}
ALL = list(dr.optimizers.BY_NAME.values())
FULL_BATCH = "irprop+"  # the others are handed another batch at each step


def twenty_steps(name, dtype, **settings):
    """Yields theta of the package and of the reference after each of 20 steps."""
    net = dense(SIZES, NAMES, dtype=dtype)
    theta = net.theta.astype(float)
    ours, theirs = OPTIMIZERS[name](**settings)
    trainer = dr.Trainer(net, loss="mse", optimizer=ours)
    for k in range(20):
        g = rng(0 if name == FULL_BATCH else k, 5)
        X, Y = g.uniform(-1, 1, (24, 5)).astype(dtype), g.normal(size=(24, 2)).astype(dtype)
        value = trainer.step(X, Y)
        X, Y = X.astype(float), Y.astype(float)
        expected = reference.step(theta, SIZES, NAMES, X, Y, "mse", theirs, **settings)
        assert close(value, expected, FLOAT64 if dtype == "float64" else FLOAT32_STEPS)
        yield net.theta, theta


@pytest.mark.parametrize("clips", list(CLIPS))
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_twenty_steps_follow_the_published_rule(name, l2, clips):
    for ours, theirs in twenty_steps(name, "float64", l2=l2, **CLIPS[clips]):
        assert close(ours, theirs, FLOAT64)


@pytest.mark.parametrize("clips", ["none", "both"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_twenty_steps_in_float32(name, clips):
    for ours, theirs in twenty_steps(name, "float32", **CLIPS[clips]):
        assert close(ours, theirs, FLOAT32_STEPS)


def trained(optimizer, dtype="float64", loss=None, **settings):
    (X, Y), net = problem(300), dense((3, 40, 2), ("tanh", "identity"), dtype=dtype)
    settings = {"epochs": 4, "batch_size": 70, "seed": 1, **settings}
    net.fit(X, Y, optimizer=optimizer, loss=loss, **settings)
    return net.theta.copy()


def test_adamw_is_adam_with_decay():
    for settings in ({}, {"amsgrad": True}):
        expected = trained(dr.Adam(0.01, weight_decay=0.01, **settings))
        assert np.array_equal(trained(dr.AdamW(0.01, **settings)), expected)
        assert not np.array_equal(trained(dr.Adam(0.01, **settings)), expected)
    assert dr.AdamW() != dr.Adam(weight_decay=0.01)


def test_irprop_takes_back_steps_in_these_tests():
    """So that the comparison above has seen that branch: a step that made the loss grow."""
    theirs = OPTIMIZERS["irprop+"]()[1]
    taken_back, update = [], theirs.update

    def watched(theta, g, L):
        taken_back.append(L > theirs.L and bool((theirs.g * g < 0).any()))
        update(theta, g, L)

    theirs.update = watched
    theta = dense(SIZES, NAMES).theta.copy()
    g = rng(0, 5)
    X, Y = g.uniform(-1, 1, (24, 5)), g.normal(size=(24, 2))
    for _ in range(20):
        reference.step(theta, SIZES, NAMES, X, Y, "mse", theirs)
    assert any(taken_back)


def test_apply_needs_the_loss_for_irprop_only():
    net = dense((3, 4, 2), ("tanh", "identity"))
    kept, gradient = net.theta.copy(), np.ones(net.n_parameters)
    trainer = dr.Trainer(net, optimizer="irprop+")
    with pytest.raises(ValueError, match="loss must be given"):
        trainer.apply(gradient)
    for loss in (NAN, INF, "1", True):
        with pytest.raises((ValueError, TypeError), match="loss"):
            trainer.apply(gradient, loss)
    assert np.array_equal(net.theta, kept)
    trainer.apply(gradient, -1.5)
    assert np.allclose(net.theta, kept - 0.1, rtol=0, atol=1e-12)


# ---- clipping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [40, 300])  # one block of rows, and two
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "nadam", "irprop+"])
def test_bounds_that_are_not_reached_change_no_bit(name, batch_size, dtype):
    settings = {"dtype": dtype, "batch_size": batch_size}
    expected = trained(OPTIMIZERS[name](l2=0.01)[0], **settings)
    for clips in ({"clip_norm": 1e30}, {"clip_value": 1e30}):
        found = trained(OPTIMIZERS[name](l2=0.01, **clips)[0], **settings)
        assert np.array_equal(found, expected), clips


def test_apply_clips_as_step_does():
    (X, Y), (one, other) = problem(20), (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))
    for clips in CLIPS.values():
        stepped = dr.Trainer(one, optimizer=dr.SGD(0.1, 0.9, **clips))
        applied = dr.Trainer(other, optimizer=dr.SGD(0.1, 0.9, **clips))
        for _ in range(5):
            stepped.step(X, Y)
            applied.apply(other.gradient(X, Y)[1])
            assert np.array_equal(one.theta, other.theta), clips


def test_a_clipped_step_has_the_norm_asked_for():
    net = dense((3, 6, 2), ("tanh", "identity"))
    kept, gradient = net.theta.copy(), rng(1).normal(size=net.n_parameters)
    dr.Trainer(net, optimizer=dr.SGD(1.0, clip_norm=0.25)).apply(gradient)
    assert close(np.linalg.norm(net.theta - kept), 0.25, FLOAT64)


def test_a_gradient_whose_norm_is_not_finite_is_divergence():
    """The loss is finite, the gradient of the lower layer is not."""
    X, Y = np.full((4, 2), 1e200), np.full((4, 1), 1e150)
    net = dr.Network([2, 3, 1], activation="identity", dtype="float64", seed=0)
    net.theta[:] = 0
    net.layers[1].W[:] = 1e10
    kept = net.theta.copy()
    with pytest.raises(dr.DivergenceError):
        net.fit(X, Y, optimizer=dr.SGD(0.1, clip_norm=1.0), epochs=2)
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


def test_a_norm_beyond_float64_is_refused():
    net = dr.Network([2, 1], dtype="float64", seed=0)
    kept = net.theta.copy()
    trainer = dr.Trainer(net, optimizer=dr.SGD(0.1, clip_norm=1.0))
    with pytest.raises(ValueError, match=r"gradient.*norm"):
        trainer.apply(np.full(3, 1e200))
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_the_same_bits_on_any_number_of_threads(name, dtype):
    def bits(n_threads):
        layers = [dr.Input(61), dr.Dense(230, "relu"), dr.Dense(190, "tanh"), dr.Dense(3)]
        net = dr.Network(layers, dtype=dtype, seed=3)
        g = rng(2)
        X, Y = g.normal(size=(413, 61)), g.normal(size=(413, 3))
        ours, _ = OPTIMIZERS[name](l2=0.001, clip_norm=0.5, clip_value=0.05)
        net.fit(X, Y, optimizer=ours, epochs=2, batch_size=300, n_threads=n_threads)
        return net.theta.tobytes()

    first = bits(1)
    assert bits(2) == first
    assert bits(5) == first


# ---- settings -----------------------------------------------------------------------------------

NUMBERS = [-0.1, NAN, INF, -INF, "0.1", None, True, [0.1], 1j]
IN_RANGE = {  # setting: wrong numbers of its own
    "alpha": [1.0, 1.5], "momentum": [1.0], "beta1": [1.0], "beta2": [1.0], "epsilon": [0],
    "eta_plus": [1.0, 0.5], "eta_minus": [0.0, 1.0], "step_min": [0.0], "step_max": [0.0],
    "clip_norm": [0.0], "clip_value": [0.0],
}  # fmt: skip
FLAGS = {"nesterov", "amsgrad", "centered"}


@pytest.mark.parametrize("optimizer", ALL)
def test_every_setting_is_checked(optimizer):
    for field in dataclasses.fields(optimizer):
        wrong = [2, "yes", None] if field.name in FLAGS else NUMBERS
        for value in wrong + IN_RANGE.get(field.name, []):
            if field.name.startswith("clip") and value is None:
                continue
            with pytest.raises((ValueError, TypeError), match=field.name):
                optimizer(**{field.name: value})


@pytest.mark.parametrize("optimizer", ALL)
def test_settings_are_frozen_have_reprs_and_names(optimizer):
    changed = optimizer(learning_rate=0.03, clip_norm=2, clip_value=0.5)
    assert eval(repr(changed), vars(dr)) == changed
    assert repr(optimizer()) == f"{optimizer.__name__}()"
    with pytest.raises(AttributeError):
        changed.learning_rate = 1.0
    assert dr.Trainer(dense((1, 1), ("identity",)), optimizer=optimizer.name).optimizer == (
        optimizer()
    )
    assert optimizer.__name__ in dr.optimizers.__all__
    assert getattr(dr, optimizer.__name__) is optimizer


@pytest.mark.parametrize("optimizer", [each for each in ALL if each is not dr.IRpropPlus])
def test_learning_rate_zero_changes_nothing(optimizer):
    net = dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    settings = {"weight_decay": 0.1, "l2": 0.1, "clip_norm": 0.1}
    net.fit(*problem(), optimizer=optimizer(learning_rate=0.0, **settings), epochs=3)
    assert np.array_equal(net.theta, kept)


def test_steps_of_irprop_must_be_in_order():
    for wrong in ({"step_min": 0.2}, {"step_max": 0.01}, {"step_min": 2, "step_max": 1}):
        with pytest.raises(ValueError, match="step_min and step_max"):
            dr.IRpropPlus(**wrong)
    with pytest.raises(TypeError, match="weight_decay"):
        dr.IRpropPlus(weight_decay=0.1)


def test_optimisers_of_other_kinds_are_refused():
    class Mine(dr.optimizers.Optimizer):
        pass

    class Slower(dr.Adam):
        pass

    net = dense((3, 2), ("identity",))
    with pytest.raises(TypeError, match=r"SGD.*IRpropPlus.*Mine"):
        dr.Trainer(net, optimizer=Mine())
    dr.Trainer(net, optimizer=Slower())
