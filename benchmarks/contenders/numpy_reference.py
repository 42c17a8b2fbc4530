"""The project's mathematics in vectorised NumPy, float32, in place where NumPy can.

Rows are samples: Z_l = A_{l-1} W_l + b_l. All parameters live in one vector, so the optimiser is
one expression, as in the core.
"""

from __future__ import annotations

import numpy as np

from benchmarks import networks
from benchmarks.contenders import Cannot


def version() -> str:
    return np.__version__


class Net:
    """Forward, backward and update of one batch, in buffers of its own."""

    def __init__(self, task):
        if task.extra:
            raise Cannot(f"the reference has no {task.extra}")
        self.task, self.n_layers = task, len(task.sizes) - 1
        self.flat = networks.flatten(networks.weights(task))
        self.grad = np.zeros_like(self.flat)
        self.layers = networks.unflatten(self.flat, task)
        self.grads = networks.unflatten(self.grad, task)
        self.A = [np.empty((task.batch, n), np.float32) for n in task.sizes]
        self.deltas = [np.empty_like(A) for A in self.A]
        self.start = self.flat.copy()
        self.rows = np.arange(task.batch)
        self.m, self.v = np.zeros_like(self.flat), np.zeros_like(self.flat)
        self.buffer, self.t = np.empty_like(self.flat), 0

    def reset(self):
        self.flat[:], self.m[:], self.v[:], self.t = self.start, 0, 0, 0

    def forward(self, X):
        """Hidden activations in place; the last one is the linear output Z_L."""
        self.A[0] = X
        for i, (W, b) in enumerate(self.layers):
            Z = np.matmul(self.A[i], W, out=self.A[i + 1])
            Z += b
            if i < self.n_layers - 1:
                if self.task.activation == "tanh":
                    np.tanh(Z, out=Z)
                else:
                    np.maximum(Z, 0, out=Z)
        return self.A[-1]

    def probabilities(self, Z):
        if self.task.loss == "binary_cross_entropy":
            return 1 / (1 + np.exp(-Z))
        if self.task.loss == "cross_entropy":
            e = np.exp(Z - Z.max(axis=1, keepdims=True))
            return e / e.sum(axis=1, keepdims=True)
        return Z

    def output_delta(self, Z, y):
        """dL/dZ_L into the last delta; returns the loss."""
        delta = self.deltas[-1]
        if self.task.loss == "mse":
            np.subtract(Z, y, out=delta)
            loss = np.dot(delta.ravel(), delta.ravel()) / delta.size
            delta *= np.float32(2 / delta.size)
        elif self.task.loss == "binary_cross_entropy":
            loss = (np.logaddexp(0, Z) - y * Z).mean()
            np.subtract(self.probabilities(Z), y, out=delta)
            delta *= np.float32(1 / len(y))
        else:
            delta[:] = self.probabilities(Z)
            loss = -np.log(delta[self.rows, y] + np.float32(1e-30)).mean()
            delta[self.rows, y] -= 1
            delta *= np.float32(1 / len(y))
        return loss

    def backward(self):
        for i in range(self.n_layers - 1, -1, -1):
            dW, db = self.grads[i]
            np.matmul(self.A[i].T, self.deltas[i + 1], out=dW)
            self.deltas[i + 1].sum(axis=0, out=db)
            if i > 0:
                delta, A = self.deltas[i], self.A[i]
                np.matmul(self.deltas[i + 1], self.layers[i][0].T, out=delta)
                if self.task.activation == "tanh":
                    np.multiply(A, A, out=A)
                    np.subtract(1, A, out=A)
                    delta *= A
                else:
                    delta *= A > 0

    def update(self):
        g, buffer, rate = self.grad, self.buffer, self.task.learning_rate
        if self.task.optimizer == "sgd":
            g *= np.float32(rate)
            self.flat -= g
            return
        if self.task.optimizer == "adamw":
            for W, _ in self.layers:
                W *= np.float32(1 - rate * networks.WEIGHT_DECAY)
        beta1, beta2 = networks.BETA1, networks.BETA2
        self.t += 1
        self.m *= np.float32(beta1)
        self.m += np.multiply(g, np.float32(1 - beta1), out=buffer)
        self.v *= np.float32(beta2)
        np.multiply(g, g, out=g)
        self.v += np.multiply(g, np.float32(1 - beta2), out=g)
        np.sqrt(self.v, out=g)
        g *= np.float32(1 / np.sqrt(1 - beta2**self.t))
        g += np.float32(networks.EPSILON)
        np.divide(self.m, g, out=g)
        g *= np.float32(rate / (1 - beta1**self.t))
        self.flat -= g

    def step(self, X, y):
        loss = self.output_delta(self.forward(X), y)
        self.backward()
        self.update()
        return loss

    def theta(self):
        return self.flat


class Train(Net):
    def __init__(self, task, variant, n_threads):
        super().__init__(task)
        self.X, self.y = networks.data(task)
        self.rng = np.random.default_rng(3)

    def run(self, count):
        batch, total = self.task.batch, 0.0
        for _ in range(count):
            order = self.rng.permutation(len(self.X)) if self.task.shuffle else None
            for at in range(0, len(self.X), batch):
                rows = slice(at, at + batch) if order is None else order[at : at + batch]
                total += self.step(self.X[rows], self.y[rows])


class Step(Net):
    def __init__(self, task, variant, n_threads):
        super().__init__(task)
        self.X, self.y = networks.data(task)

    def run(self, count):
        for _ in range(count):
            self.step(self.X, self.y)


class Predict(Net):
    def __init__(self, task, variant, n_threads):
        super().__init__(task)
        self.X, _ = networks.data(task)

    def run(self, count):
        for _ in range(count):
            self.last = self.probabilities(self.forward(self.X))

    def result(self):
        return self.last


class Kernel:
    """The same products by `matmul`, results in arrays made beforehand."""

    def __init__(self, task, variant, n_threads):
        self.part = task.part
        (self.X, self.y), ((self.W, self.b),) = networks.data(task), networks.weights(task)
        self.Z, self.dX = np.empty_like(self.y), np.empty_like(self.X)
        self.dW, self.db = np.empty_like(self.W), np.empty_like(self.b)

    def reset(self):
        pass

    def run(self, count):
        for _ in range(count):
            np.matmul(self.X, self.W, out=self.Z)
            self.Z += self.b
            if self.part == "forward":
                continue
            delta = self.y
            if self.part == "gradient":
                self.Z -= self.y
                self.Z *= np.float32(2 / self.y.size)
                delta = self.Z
            np.matmul(self.X.T, delta, out=self.dW)
            delta.sum(axis=0, out=self.db)
            if self.part == "backward":
                np.matmul(delta, self.W.T, out=self.dX)

    def result(self):
        if self.part == "forward":
            return self.Z.ravel()
        parts = [self.dW, self.db] + ([self.dX] if self.part == "backward" else [])
        return np.concatenate([part.ravel() for part in parts])
