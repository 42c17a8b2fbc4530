"""Every optimiser solves every small problem."""

import numpy as np
import pytest

import deltarule as dr

SOLVERS = {
    "sgd": dr.SGD(learning_rate=0.3),
    "momentum": dr.SGD(learning_rate=0.1, momentum=0.9),
    "nesterov": dr.SGD(learning_rate=0.1, momentum=0.9, nesterov=True),
    "adam": dr.Adam(learning_rate=0.02),
    "adamw": dr.AdamW(learning_rate=0.02, weight_decay=0.001),
    "amsgrad": dr.Adam(learning_rate=0.02, amsgrad=True),
    "rmsprop": dr.RMSprop(learning_rate=0.002),
    "rmsprop centered": dr.RMSprop(learning_rate=0.001, momentum=0.5, centered=True),
    "adagrad": dr.Adagrad(learning_rate=0.1),
    "nadam": dr.NAdam(learning_rate=0.01),
    "lion": dr.Lion(learning_rate=0.001),
    "irprop+": dr.IRpropPlus(learning_rate=0.01),
    "clipped norm": dr.SGD(learning_rate=0.1, momentum=0.9, clip_norm=1.0),
    "clipped value": dr.SGD(learning_rate=0.1, momentum=0.9, clip_value=0.1),
}


def parabola():
    X = np.linspace(-1, 1, 64)[:, None]
    return X, X**2, [1, 16, 1], "tanh", "identity", 1e-3


def sine():
    X = np.linspace(-3, 3, 128)[:, None]
    return X / 3, np.sin(X), [1, 24, 1], "tanh", "identity", 1e-2


def xor():
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
    return 2 * X - 1, (X.sum(axis=1) == 1).astype(float), [2, 8, 1], "tanh", "sigmoid", 0.05


def moons():
    t = np.linspace(0, np.pi, 100)
    X = np.concatenate(
        [
            np.stack([np.cos(t), np.sin(t)], axis=1),
            np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=1),
        ]
    )
    return X, np.repeat([0, 1], 100), [2, 24, 24, 2], "relu", "softmax", 0.05


def spirals():
    t = np.sqrt(np.linspace(0.05, 1, 100)) * 2 * np.pi
    arm = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 6
    X, y = np.concatenate([arm, -arm]), np.repeat([0, 1], 100)
    return X, y, [2, 32, 32, 2], "tanh", "softmax", 0.05


@pytest.mark.parametrize("name", list(SOLVERS))
@pytest.mark.parametrize("make", [parabola, sine, xor, moons, spirals])
def test_every_optimiser_solves_every_small_problem(name, make):
    X, y, sizes, activation, output, goal = make()
    net = dr.Network(sizes, activation=activation, output=output, seed=0)
    batch_size = None if name == "irprop+" else 16
    net.fit(
        X, y, optimizer=SOLVERS[name], epochs=3000, batch_size=batch_size, seed=0, max_seconds=20
    )
    assert net.evaluate(X, y)["loss"] < goal


def test_two_spirals():
    X, y, *_ = spirals()
    net = dr.Network([2, 32, 32, 2], activation="tanh", output="softmax", seed=0)
    net.fit(X, y, optimizer=dr.Adam(learning_rate=0.01), epochs=500, batch_size=20, seed=0)
    assert net.evaluate(X, y, metrics=["accuracy"])["accuracy"] >= 0.99
