"""deltarule, through its public API only.

The environment's DELTARULE_NUM_THREADS is the thread count of the calls that are given none.
"""

from __future__ import annotations

import numpy as np

import deltarule as dr
from benchmarks import networks


def version() -> str:
    info = dr.build_info()
    return f"{info['version']} ({info['cpu_level']}, {info['compiler']})"


def layers(task) -> list:
    """The task's layers, an extra one in each hidden layer."""
    found = [dr.Input(task.sizes[0])]
    for units in task.sizes[1:-1]:
        if task.has_norm:
            norm = dr.LayerNorm if task.extra == "layer_norm" else dr.BatchNorm
            found += [dr.Dense(units), norm(), dr.Activation(task.activation)]
        else:
            found.append(dr.Dense(units, task.activation))
        if task.extra == "dropout":
            found.append(dr.Dropout(networks.DROPOUT_RATE))
    return [*found, dr.Dense(task.sizes[-1], task.output)]


def network(task) -> dr.Network:
    net = dr.Network(layers(task), dtype="float32", seed=0)
    net.theta[:] = networks.flatten(networks.weights(task))
    return net


def optimizer(task):
    rate = task.learning_rate
    if task.optimizer == "sgd":
        return dr.SGD(learning_rate=rate)
    settings = {"beta1": networks.BETA1, "beta2": networks.BETA2, "epsilon": networks.EPSILON}
    if task.optimizer == "adamw":
        return dr.AdamW(rate, weight_decay=networks.WEIGHT_DECAY, **settings)
    return dr.Adam(rate, **settings)


class Train:
    """`fit` whole, so its set-up is inside the clock; the moving bar is off."""

    def __init__(self, task, variant, n_threads):
        self.task, self.n_threads = task, n_threads
        self.X, self.y = networks.data(task)
        self.net, self.optimizer = network(task), optimizer(task)
        self.start = self.net.theta.copy()

    def reset(self):
        self.net.theta[:] = self.start

    def run(self, count):
        self.net.fit(
            self.X,
            self.y,
            loss=self.task.loss,
            optimizer=self.optimizer,
            epochs=count,
            batch_size=self.task.batch,
            shuffle=self.task.shuffle,
            n_threads=self.n_threads,
            progress=False,
        )

    def theta(self):
        return self.net.theta


class Step:
    """`trainer.step` from a Python loop."""

    def __init__(self, task, variant, n_threads):
        self.task = task
        self.X, self.y = networks.data(task)
        self.net = network(task)
        self.start = self.net.theta.copy()

    def reset(self):
        self.net.theta[:] = self.start
        self.trainer = dr.Trainer(self.net, loss=self.task.loss, optimizer=optimizer(self.task))

    def run(self, count):
        step, X, y = self.trainer.step, self.X, self.y
        for _ in range(count):
            step(X, y)

    def theta(self):
        return self.net.theta


class Predict:
    """NumPy array in, NumPy array out, one call after another."""

    def __init__(self, task, variant, n_threads):
        self.X, _ = networks.data(task)
        self.net, self.options = network(task), {}
        if variant == "out":
            self.options["out"] = np.empty((len(self.X), task.sizes[-1]), np.float32)

    def reset(self):
        pass

    def run(self, count):
        predict, X, options = self.net.predict, self.X, self.options
        if options:
            for _ in range(count):
                self.last = predict(X, **options)
        else:
            for _ in range(count):
                self.last = predict(X)

    def result(self):
        return self.last


class Kernel:
    """What Python can reach of the kernels: a one-layer linear network."""

    def __init__(self, task, variant, n_threads):
        self.X, self.y = networks.data(task)
        self.net, self.part = network(task), task.part
        self.out = np.empty((len(self.X), task.sizes[-1]), np.float32)

    def reset(self):
        pass

    def run(self, count):
        net, X, y = self.net, self.X, self.y
        for _ in range(count):
            if self.part == "forward":
                self.last = (net.predict(X, out=self.out),)
            elif self.part == "gradient":
                self.last = net.gradient(X, y, loss="mse")[1:]
            else:
                self.last = net.backward(X, y)

    def result(self):
        return np.concatenate([part.ravel() for part in self.last])
