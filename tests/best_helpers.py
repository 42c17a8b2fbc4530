"""What the tests of the best epoch share: data with noise, a network, a trainer."""

import deltarule as dr
from helpers import problem, rng

# Enough steps of such a size that the losses rise and fall.
RESTLESS = {
    "sgd": lambda: dr.SGD(0.4),
    "momentum": lambda: dr.SGD(0.1, momentum=0.9),
    "adam": lambda: dr.Adam(0.1),
}


def data(*, validated=True):
    """Arguments of fit: noisy targets, so that the best epoch is seldom the last."""
    X, Y = problem(40)
    Y = Y + rng(7).normal(0, 0.5, Y.shape)
    arguments = {"X": X, "y": Y, "batch_size": 8}
    return arguments | ({"validation_data": problem(25, seed=3)} if validated else {})


def network(dtype="float64", seed=0):
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(8, "tanh"), dr.Dropout(0.1), dr.Dense(2)]
    return dr.Network(layers, dtype=dtype, seed=seed)


def trained(epochs=25, *, keep_best=True, dtype="float64", optimizer="momentum", **settings):
    trainer = dr.Trainer(network(dtype), optimizer=RESTLESS[optimizer](), seed=1)
    trainer.run(**data(), epochs=epochs, keep_best=keep_best, **settings)
    return trainer
