"""JAX: a whole epoch under `jit(lax.scan)`; parameters and optimiser state are donated.

Its threads are as many as the cores the process may run on, so n_threads=1 is "pinned to one core".
Arrays are on JAX's device before the clock, and the clock stops when the result is ready.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import networks


def version() -> str:
    return jax.__version__


def logits(task, layers, X):
    A = X
    for i, (W, b) in enumerate(layers):
        A = A @ W + b
        if i < len(layers) - 1:
            A = jnp.tanh(A) if task.activation == "tanh" else jax.nn.relu(A)
    return A


def loss(task, layers, X, y):
    Z = logits(task, layers, X)
    if task.loss == "mse":
        return jnp.mean((Z - y) ** 2)
    if task.loss == "binary_cross_entropy":
        return jnp.mean(jnp.logaddexp(0, Z) - y * Z)
    picked = jnp.take_along_axis(Z, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(Z, axis=1) - picked)


def step(task, carry, batch):
    """One optimiser step; carry is (layers, m, v, t), of which SGD uses the first."""
    layers, m, v, t = carry
    value, grads = jax.value_and_grad(partial(loss, task))(layers, *batch)
    rate = task.learning_rate
    if task.optimizer == "sgd":
        layers = jax.tree.map(lambda p, g: p - rate * g, layers, grads)
        return (layers, m, v, t), value
    b1, b2, eps = networks.BETA1, networks.BETA2, networks.EPSILON
    t = t + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    c1, c2 = rate / (1 - b1**t), 1 / jnp.sqrt(1 - b2**t)
    layers = jax.tree.map(lambda p, m, v: p - c1 * m / (jnp.sqrt(v) * c2 + eps), layers, m, v)
    return (layers, m, v, t), value


class Base:
    def __init__(self, task, variant, n_threads):
        self.task = task
        X, y = networks.data(task)
        self.X, self.y = jnp.asarray(X), jnp.asarray(y.astype(np.int32) if y.ndim == 1 else y)

    def reset(self):
        layers = [(jnp.array(W), jnp.array(b)) for W, b in networks.weights(self.task)]
        if self.task.optimizer == "adam":
            m, v = (jax.tree.map(jnp.zeros_like, layers) for _ in range(2))
        else:
            m, v = (), ()
        self.carry = jax.block_until_ready((layers, m, v, jnp.float32(0)))

    def theta(self):
        return networks.flatten([[np.asarray(part) for part in pair] for pair in self.carry[0]])


class Train(Base):
    def __init__(self, task, variant, n_threads):
        super().__init__(task, variant, n_threads)
        self.key = jax.random.key(0)

        def epoch(carry, X, y, key):
            if task.shuffle:
                order = jax.random.permutation(key, len(X))
                X, y = X[order], y[order]
            batches = (
                X.reshape(task.n_batches, task.batch, -1),
                y.reshape(task.n_batches, task.batch, *y.shape[1:]),
            )
            carry, losses = lax.scan(partial(step, task), carry, batches)
            return carry, losses.mean()

        self.epoch = jax.jit(epoch, donate_argnums=0)

    def run(self, count):
        for _ in range(count):
            if self.task.shuffle:
                self.key, key = jax.random.split(self.key)
            else:
                key = self.key
            self.carry, last = self.epoch(self.carry, self.X, self.y, key)
        jax.block_until_ready((self.carry, last))


class Step(Base):
    def __init__(self, task, variant, n_threads):
        super().__init__(task, variant, n_threads)
        self.step = jax.jit(lambda carry, X, y: step(task, carry, (X, y)), donate_argnums=0)

    def run(self, count):
        for _ in range(count):
            self.carry, last = self.step(self.carry, self.X, self.y)
        jax.block_until_ready((self.carry, last))


class Predict:
    def __init__(self, task, variant, n_threads):
        layers = [(jnp.array(W), jnp.array(b)) for W, b in networks.weights(task)]
        final = {"identity": lambda Z: Z, "sigmoid": jax.nn.sigmoid, "softmax": jax.nn.softmax}
        self.X = jnp.asarray(networks.data(task)[0])
        self.layers = layers
        self.predict = jax.jit(lambda layers, X: final[task.output](logits(task, layers, X)))

    def reset(self):
        pass

    def run(self, count):
        for _ in range(count):
            self.last = self.predict(self.layers, self.X).block_until_ready()

    def result(self):
        return np.asarray(self.last)
