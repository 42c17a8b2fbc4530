"""What several test files share: the table of pairs, small networks, data that fits a loss."""

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import deltarule as dr
import reference
from tolerances import DIFFERENCE_STEP

ACTIVATIONS = [
    "identity", "sigmoid", "tanh", "relu", "leaky_relu",
    "elu", "selu", "silu", "gelu", "mish", "softplus", "exp", "softmax",
]  # fmt: skip

ELEMENTWISE = [name for name in ACTIVATIONS if name != "softmax"]

# Which output activation goes with which loss: x = exists. Matched pairs compute delta from logits.
PAIRS = """
                     identity sigmoid tanh relu leaky_relu elu selu silu gelu mish softplus exp softmax
mse                  x        x       x    x    x          x   x    x    x    x    x        x   x
mae                  x        x       x    x    x          x   x    x    x    x    x        x   x
huber                x        x       x    x    x          x   x    x    x    x    x        x   x
log_cosh             x        x       x    x    x          x   x    x    x    x    x        x   x
quantile             x        x       x    x    x          x   x    x    x    x    x        x   x
gaussian_nll         x        .       .    .    .          .   .    .    .    .    .        .   .
hinge                x        .       .    .    .          .   .    .    .    .    .        .   .
binary_cross_entropy x        x       .    .    .          .   .    .    .    .    .        .   .
cross_entropy        x        .       .    .    .          .   .    .    .    .    .        .   x
focal                .        x       .    .    .          .   .    .    .    .    .        .   x
poisson              .        .       .    .    .          .   .    .    .    .    .        x   .
gamma                .        .       .    .    .          .   .    .    .    .    .        x   .
"""  # noqa: E501
_ROWS = [line.split() for line in PAIRS.strip().splitlines()[1:]]
assert PAIRS.split()[: len(ACTIVATIONS)] == ACTIVATIONS
LOSSES = [row[0] for row in _ROWS]
_CELLS = [
    (row[0], name, mark) for row in _ROWS for name, mark in zip(ACTIVATIONS, row[1:], strict=True)
]
VALID = [(loss, name) for loss, name, mark in _CELLS if mark == "x"]
INVALID = [(loss, name) for loss, name, mark in _CELLS if mark == "."]

# An output activation of each loss that does not take identity, or whose own is another.
OUTPUT_OF = {
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "exp",
    "gamma": "exp",
    "focal": "sigmoid",
}

OPTIMIZERS = {  # name: (the package's, the reference's)
    "sgd": lambda **k: (dr.SGD(learning_rate=0.1, **k), reference.SGD(0.1)),
    "momentum": lambda **k: (dr.SGD(learning_rate=0.1, momentum=0.9, **k), reference.SGD(0.1, 0.9)),
    "nesterov": lambda **k: (
        dr.SGD(learning_rate=0.1, momentum=0.9, nesterov=True, **k),
        reference.SGD(0.1, 0.9, nesterov=True),
    ),
    "adam": lambda **k: (dr.Adam(learning_rate=0.01, **k), reference.Adam(0.01)),
    "adam_settings": lambda **k: (
        dr.Adam(learning_rate=0.02, beta1=0.8, beta2=0.95, epsilon=1e-3, **k),
        reference.Adam(0.02, 0.8, 0.95, 1e-3),
    ),
    "amsgrad": lambda **k: (
        dr.Adam(learning_rate=0.02, beta2=0.8, amsgrad=True, **k),
        reference.Adam(0.02, beta2=0.8, amsgrad=True),
    ),
    "rmsprop": lambda **k: (
        dr.RMSprop(learning_rate=0.003, epsilon=1e-4, **k),
        reference.RMSprop(0.003, epsilon=1e-4),
    ),
    "rmsprop_settings": lambda **k: (
        dr.RMSprop(0.01, alpha=0.9, epsilon=1e-3, momentum=0.5, centered=True, **k),
        reference.RMSprop(0.01, 0.9, 1e-3, 0.5, centered=True),
    ),
    "adagrad": lambda **k: (
        dr.Adagrad(learning_rate=0.1, initial_accumulator=0.1, **k),
        reference.Adagrad(0.1, 0.1),
    ),
    "nadam": lambda **k: (dr.NAdam(learning_rate=0.01, **k), reference.NAdam(0.01)),
    "nadam_settings": lambda **k: (
        dr.NAdam(0.02, beta1=0.8, beta2=0.95, epsilon=1e-3, momentum_decay=0.5, **k),
        reference.NAdam(0.02, 0.8, 0.95, 1e-3, 0.5),
    ),
    "lion": lambda **k: (dr.Lion(learning_rate=0.003, **k), reference.Lion(0.003)),
    "irprop+": lambda **k: (dr.IRpropPlus(learning_rate=0.3, **k), reference.IRpropPlus(0.3)),
}


def rng(*key):
    return np.random.default_rng(key)


def level():
    """The CPU level of the loaded core: "v2", "v3" or "v4"."""
    return re.search(r"v[234]", dr.build_info()["cpu_level"]).group()


def dense(sizes, activations, *, dtype="float64", seed=0, dropout=None, biases=True):
    """Dense layers, a Dropout after each hidden one if asked; biases drawn, not zero."""
    layers = [dr.Input(sizes[0])]
    for i, (units, name) in enumerate(zip(sizes[1:], activations, strict=True)):
        layers.append(dr.Dense(units, name))
        if dropout and i < len(activations) - 1:
            layers.append(dr.Dropout(dropout))
    net = dr.Network(layers, dtype=dtype, seed=seed)
    if biases:
        for layer in dense_layers(net):
            layer.b[:] = rng(seed, layer.b.size).uniform(-0.3, 0.3, layer.b.shape)
    return net


def dense_layers(net):
    return [layer for layer in net.layers if getattr(layer, "W", None) is not None]


def targets(loss, n, width, seed=0):
    """Real targets that the loss accepts for `width` outputs; one-hot rows for cross_entropy."""
    g = rng(seed, n, width)
    if loss == "gaussian_nll":
        return g.normal(size=(n, width // 2))
    if loss == "gamma":
        return g.gamma(2.0, size=(n, width))
    if loss == "hinge":
        return 2.0 * g.integers(2, size=(n, width)) - 1
    if loss == "cross_entropy":
        return np.eye(width)[g.integers(width, size=n)]
    if loss in ("binary_cross_entropy", "focal"):
        return g.integers(2, size=(n, width)).astype(float)
    if loss == "poisson":
        return g.poisson(2.0, (n, width)).astype(float)
    return g.normal(size=(n, width))


def problem(n=40, n_inputs=3, n_outputs=2, seed=0):
    """A smooth regression problem."""
    X = rng(seed, n).uniform(-1, 1, (n, n_inputs))
    Y = np.stack([np.sin((k + 1) * X.sum(axis=1)) for k in range(n_outputs)], axis=1)
    return X, Y


def central_differences(f, v):
    """df/dv of a function of nothing that reads v (any shape), by changing v in place."""
    result = np.zeros(v.shape)
    for i in np.ndindex(v.shape):
        kept = v[i]
        h = DIFFERENCE_STEP * max(1.0, abs(kept))
        v[i] = kept + h
        above, top = f(), v[i]
        v[i] = kept - h
        result[i] = (above - f()) / (top - v[i])
        v[i] = kept
    return result


TASKS = Path("/proc/self/task")
counted = pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in /proc/self/task")


def _threads():
    return {task.name for task in TASKS.iterdir()}


def threads_used(call):
    """The most threads that ever ran one call; it should last some tenths of a second."""
    before = _threads()  # by name: the kernel may list one for a while after it was joined
    caller, most = threading.Thread(target=call), 0
    caller.start()
    while caller.is_alive():
        most = max(most, len(_threads() - before))
    caller.join()
    return most


def run_python(source, *arguments, timeout=120, check=True, env=None):
    """Runs a script in a new Python process; returns what its last line prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, **(env or {})},
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
    return done
