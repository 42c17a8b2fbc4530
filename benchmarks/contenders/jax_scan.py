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


def logits(task, layers, X, running=(), key=None):
    """Z_L, and the running statistics of batch norms after this batch."""
    A, updated = X, []
    for i, (W, b, *norm) in enumerate(layers):
        A = A @ W + b
        if i == len(layers) - 1:
            break
        if norm:
            axis = 0 if task.extra == "batch_norm" else 1
            mean, variance = A.mean(axis, keepdims=True), A.var(axis, keepdims=True)
            A = (A - mean) * lax.rsqrt(variance + networks.NORM_EPSILON) * norm[0] + norm[1]
        if running:
            unbiased, keep = variance * (len(X) / (len(X) - 1)), 1 - networks.NORM_MOMENTUM
            old_mean, old_variance = running[i]
            updated.append(
                (
                    keep * old_mean + networks.NORM_MOMENTUM * mean[0],
                    keep * old_variance + networks.NORM_MOMENTUM * unbiased[0],
                )
            )
        A = jnp.tanh(A) if task.activation == "tanh" else jax.nn.relu(A)
        if task.extra == "dropout":
            kept = 1 - networks.DROPOUT_RATE
            mask = jax.random.bernoulli(jax.random.fold_in(key, i), kept, A.shape)
            A = jnp.where(mask, A / kept, 0)
    return A, updated


def loss(task, layers, running, key, X, y):
    Z, running = logits(task, layers, X, running, key)
    if task.loss == "mse":
        return jnp.mean((Z - y) ** 2), running
    if task.loss == "binary_cross_entropy":
        return jnp.mean(jnp.logaddexp(0, Z) - y * Z), running
    picked = jnp.take_along_axis(Z, y[:, None], axis=1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(Z, axis=1) - picked), running


def decayed(task, layers, rate):
    """AdamW's decay, of weights only as deltarule has it."""
    return [(W * (1 - rate * networks.WEIGHT_DECAY), *rest) for W, *rest in layers]


def step(task, carry, batch):
    """One step; carry is (layers, m, v, t, running statistics, key), of which SGD uses two."""
    layers, m, v, t, running, key = carry
    if task.extra == "dropout":
        key, used = jax.random.split(key)
    else:
        used = None
    (value, running), grads = jax.value_and_grad(partial(loss, task), has_aux=True)(
        layers, running, used, *batch
    )
    rate = task.learning_rate
    if task.optimizer == "sgd":
        layers = jax.tree.map(lambda p, g: p - rate * g, layers, grads)
        return (layers, m, v, t, running, key), value
    if task.optimizer == "adamw":
        layers = decayed(task, layers, rate)
    b1, b2, eps = networks.BETA1, networks.BETA2, networks.EPSILON
    t = t + 1
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, grads)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, grads)
    c1, c2 = rate / (1 - b1**t), 1 / jnp.sqrt(1 - b2**t)
    layers = jax.tree.map(lambda p, m, v: p - c1 * m / (jnp.sqrt(v) * c2 + eps), layers, m, v)
    return (layers, m, v, t, running, key), value


class Base:
    def __init__(self, task, variant, n_threads):
        self.task = task
        X, y = networks.data(task)
        self.X, self.y = jnp.asarray(X), jnp.asarray(y.astype(np.int32) if y.ndim == 1 else y)

    def reset(self):
        layers = [tuple(map(jnp.array, layer)) for layer in networks.weights(self.task)]
        if self.task.optimizer == "sgd":
            m, v = (), ()
        else:
            m, v = (jax.tree.map(jnp.zeros_like, layers) for _ in range(2))
        running = []
        if self.task.extra == "batch_norm":
            running = [(jnp.zeros(n), jnp.ones(n)) for n in self.task.sizes[1:-1]]
        key = jax.random.key(0, impl="unsafe_rbg")  # the fastest that JAX has
        self.carry = jax.block_until_ready((layers, m, v, jnp.float32(0), running, key))

    def theta(self):
        return networks.flatten([[np.asarray(part) for part in layer] for layer in self.carry[0]])


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
        self.predict = jax.jit(lambda layers, X: final[task.output](logits(task, layers, X)[0]))

    def reset(self):
        pass

    def run(self, count):
        for _ in range(count):
            self.last = self.predict(self.layers, self.X).block_until_ready()

    def result(self):
        return np.asarray(self.last)
