"""Records the golden loss curves from reference.py (float64, independent of the compiled core).

    python tests/make_golden.py          writes tests/golden/curves.json
    python tests/make_golden.py format1  writes a model and a checkpoint of format 1: once
    python tests/make_golden.py best     writes a checkpoint with a kept epoch: once

The curves change only if the mathematics does. The files of format 1 are never recorded anew:
they stand for the files that users keep.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import reference

GOLDEN = Path(__file__).parent / "golden"

# name: sizes, activations, loss, optimiser and its settings, penalties
NETWORKS = {
    "regression": ((4, 16, 1), ("tanh", "identity"), "mse", "sgd", {"learning_rate": 0.1}, {}),
    "deep_relu": (
        (13, 24, 24, 24, 3), ("relu", "relu", "relu", "identity"), "huber",
        "sgd", {"learning_rate": 0.05, "momentum": 0.9}, {"l2": 0.01},
    ),
    "classes": (
        (8, 20, 20, 5), ("silu", "tanh", "softmax"), "cross_entropy",
        "adam", {"learning_rate": 0.01}, {"weight_decay": 0.1},
    ),
    "binary": (
        (5, 12, 1), ("elu", "sigmoid"), "binary_cross_entropy",
        "sgd", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}, {},
    ),
    "counts": ((6, 10, 2), ("softplus", "exp"), "poisson", "adam", {"learning_rate": 0.02}, {}),
    "wide": ((300, 270, 2), ("sigmoid", "identity"), "mae", "sgd", {"learning_rate": 0.01}, {}),
}  # fmt: skip
N_STEPS, BATCH = 10, 32


def start(sizes):
    """The initial theta, by a formula, exact in float32: small, without symmetry."""
    size = sum((a + 1) * b for a, b in pairwise(sizes))
    theta = np.sin(1.0 + 1.7 * np.arange(size))
    for W, b in reference.unflatten(theta, sizes):
        W *= np.sqrt(2.0 / W.shape[1])
        b *= 0.1
    return theta.astype(np.float32).astype(float)


def batch(step, sizes, loss):
    """The rows and targets of one step, by formulas, exact in float32."""
    i = np.arange(BATCH)[:, None] + BATCH * step
    X = np.sin(0.3 + 1.1 * i + 0.9 * np.arange(sizes[0])).astype(np.float32).astype(float)
    Y = np.cos(X[:, :1] * 2 + X[:, 1:2] + np.arange(sizes[-1]))
    if loss == "cross_entropy":
        Y = np.eye(sizes[-1])[Y.argmax(axis=1)]
    elif loss == "binary_cross_entropy":
        Y = 1.0 * (Y > 0)
    elif loss == "poisson":
        Y = np.round(2 + 2 * Y)
    return X, Y.astype(np.float32).astype(float)


def curve(sizes, activations, loss, optimizer, settings, penalties):
    """The losses of ten steps."""
    theta = start(sizes)
    solver = {"sgd": reference.SGD, "adam": reference.Adam}[optimizer](**settings)
    return [
        reference.step(theta, sizes, activations, *batch(k, sizes, loss), loss, solver, **penalties)
        for k in range(N_STEPS)
    ]


def small_model():
    """One layer of each kind, trained: (trainer, X, y)."""
    import deltarule as dr

    X, y = batch(0, (4, 1), "mse")
    net = dr.Network(
        [dr.Input(4), dr.Standardize(), dr.Dense(6, "tanh"), dr.Dropout(0.2), dr.Dense(5),
         dr.Activation("elu", alpha=0.5), dr.Dense(1), dr.Rescale()],
        seed=5,
    )  # fmt: skip
    trainer = dr.Trainer(net, loss="huber", optimizer=dr.Adam(learning_rate=0.01), seed=9)
    return trainer, X, y


def record_format1():
    """A model and a checkpoint inside an epoch, with what they predict and how they go on."""
    trainer, X, y = small_model()
    settings = {"epochs": 5, "batch_size": 8}
    trainer.run(X, y, max_steps=10, **settings)
    trainer.network.save(GOLDEN / "format1.safetensors")
    trainer.save(GOLDEN / "format1_checkpoint.safetensors")
    recorded = {"predictions": trainer.network.predict(X).ravel().tolist()}
    history = trainer.run(X, y, **settings)
    recorded["loss"] = history["loss"].tolist()
    recorded["final_predictions"] = trainer.network.predict(X).ravel().tolist()
    (GOLDEN / "format1.json").write_text(json.dumps(recorded, indent=1) + "\n")


def record_best():
    """A checkpoint that keeps its best epoch, which is not the last, and what that predicts."""
    trainer, X, y = small_model()
    trainer.run(X, y, epochs=14, batch_size=8, keep_best=True, validation_data=(X, 0.2 * y))
    trainer.save(GOLDEN / "format1_best.safetensors")
    trainer.restore_best()
    recorded = {"best_epoch": trainer.best_epoch}
    recorded["predictions"] = trainer.network.predict(X).ravel().tolist()
    (GOLDEN / "format1_best.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    if sys.argv[1:] == ["format1"]:
        record_format1()
    elif sys.argv[1:] == ["best"]:
        record_best()
    else:
        curves = {name: curve(*network) for name, network in NETWORKS.items()}
        (GOLDEN / "curves.json").write_text(json.dumps(curves, indent=1) + "\n")
