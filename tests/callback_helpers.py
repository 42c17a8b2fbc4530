"""A small training, and ways to end it, for the tests of callbacks and their files."""

import deltarule as dr
from helpers import problem

PATTERN = "run-{epoch}.safetensors"


def network(units=6, dtype="float32", seed=3):
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(units, "tanh"), dr.Dropout(0.2)]
    return dr.Network([*layers, dr.Dense(2)], dtype=dtype, seed=seed)


def fit(net, epochs=9, **more):
    X, Y = problem(50)
    settings = {"validation_fraction": 0.2, "batch_size": 16, "metrics": ["r2"], "epochs": epochs}
    return net.fit(X, Y, **settings | more)


def numbers(history):
    return {key: values.tolist() for key, values in history.items() if key != "seconds"}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


class Stop(Exception):
    pass


def stop_after(epoch):
    """A callback that ends the training as a kill would: by no rule."""

    def stop(state):
        if state.epoch == epoch:
            raise Stop

    return stop


def raise_(error):
    raise error
