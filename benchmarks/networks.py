"""What is raced: networks, their data, initial weights and batches, the same for all contenders.

Also the float64 arithmetic that every contender's result is checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

SIZES = {  # name: (widths, batch)
    "XS": ((4, 16, 1), 32),
    "S": ((13, 64, 64, 1), 32),
    "M": ((100, 256, 256, 10), 64),
    "L": ((784, 512, 512, 10), 128),
    "XL": ((1024, 2048, 2048, 1024), 256),
}
LEARNING_RATE = {"sgd": 0.05, "adam": 0.0003, "adamw": 0.0003}
BETA1, BETA2, EPSILON, WEIGHT_DECAY = 0.9, 0.999, 1e-8, 0.01
DROPOUT_RATE, NORM_EPSILON, NORM_MOMENTUM = 0.2, 1e-5, 0.1
EPOCH_FLOPS, FEWEST_BATCHES, MOST_BATCHES = 1e9, 16, 512
ROWS_OF_LOSS = 2048  # the final loss is that of the first rows


@dataclass(frozen=True)
class Task:
    """One thing to time; it travels to the workers as JSON.

    `mode` is "train" (epochs), "step" (one batch again and again), "predict" or "kernel" (a part
    of a one-layer linear network). `count` is the epochs, steps or calls of one job. `extra` is a
    layer in every hidden one: "dropout" after the activation, "layer_norm" or "batch_norm" before.
    """

    mode: str
    label: str
    sizes: tuple[int, ...]
    batch: int
    optimizer: str = "sgd"
    shuffle: bool = False
    part: str = ""
    extra: str = ""
    count: int = 1

    @property
    def loss(self) -> str:
        """Sgd nets are tanh + mse; the others relu + cross-entropy, binary if one wide."""
        if self.optimizer == "sgd":
            return "mse"
        return "binary_cross_entropy" if self.sizes[-1] == 1 else "cross_entropy"

    @property
    def has_norm(self) -> bool:
        return self.extra.endswith("_norm")

    @property
    def activation(self) -> str:
        return "tanh" if self.optimizer == "sgd" else "relu"

    @property
    def output(self) -> str:
        return {"mse": "identity", "binary_cross_entropy": "sigmoid"}.get(self.loss, "softmax")

    @property
    def learning_rate(self) -> float:
        """In proportion to small batches, whose noisy steps diverge otherwise."""
        return LEARNING_RATE[self.optimizer] * min(1.0, self.batch / 32)

    @property
    def step_flops(self) -> float:
        """Multiply and add count 2; the recursion stops above the first layer."""
        products = [n_in * n_out for n_in, n_out in pairwise(self.sizes)]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    @property
    def unit_flops(self) -> float:
        """Of one training step, prediction or kernel."""
        products = sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))
        if self.mode in ("train", "step"):
            return self.step_flops
        return 2.0 * self.batch * products * KERNEL_PARTS.get(self.part, 1)

    @cached_property
    def n_batches(self) -> int:
        """Batches of an epoch: a power of two, about EPOCH_FLOPS of work."""
        if self.mode != "train":
            return 1
        about = 2 ** int(np.log2(max(1.0, EPOCH_FLOPS / self.step_flops)))
        return min(MOST_BATCHES, max(FEWEST_BATCHES, about))

    @property
    def units(self) -> int:
        """Steps or calls of one job."""
        return self.count * self.n_batches

    def describe(self) -> str:
        widths = "-".join(map(str, self.sizes))
        if len(self.sizes) > 8:
            widths = (
                f"{self.sizes[0]}-{self.sizes[1]}…-{self.sizes[-1]} (depth {len(self.sizes) - 1})"
            )
        if self.mode == "kernel":
            return f"{self.part} {self.sizes[0]}→{self.sizes[1]}, {self.batch} rows"
        if self.mode == "predict":
            rows = "row" if self.batch == 1 else "rows"
            return f"{self.label} {widths}, {self.batch} {rows}, {self.activation}"
        order = ", shuffled" if self.shuffle else ""
        parts = [self.activation, self.extra.replace("_", " "), self.loss, NAMES[self.optimizer]]
        how = " + ".join(part for part in parts if part)
        call = "step(), " if self.mode == "step" else ""
        label = "" if self.label.isdigit() else f"{self.label} "  # a sweep's number
        return f"{call}{label}{widths}, batch {self.batch}{order}, {how}"


NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
KERNEL_PARTS = {"forward": 1, "gradient": 2, "backward": 3}  # matrix products of each


def data(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """X (n, n_0) and y: real (n, n_L), or class numbers (n,) int64; float32, C-ordered.

    A random linear teacher of five inputs with noise: there is something to learn.
    """
    n, rng = task.batch * task.n_batches, np.random.default_rng(1)
    X = rng.standard_normal((n, task.sizes[0]), dtype=np.float32)
    n_out, n_used = task.sizes[-1], min(5, task.sizes[0])
    teacher = rng.standard_normal((n_used, n_out), dtype=np.float32)
    z = X[:, :n_used] @ teacher + rng.standard_normal((n, n_out), dtype=np.float32)
    if task.loss == "mse":
        return X, np.tanh(z)
    if task.loss == "binary_cross_entropy":
        return X, (z > 0).astype(np.float32)
    y = z.argmax(axis=1).astype(np.int64)
    if n >= n_out:
        y[:n_out] = np.arange(n_out)  # scikit-learn counts the classes that occur
    return X, y


def weights(task: Task) -> list[tuple[np.ndarray, ...]]:
    """[(W (n_in, n_out), b (n_out,)), ...], float32: He's scale for relu, Glorot's for tanh.

    Hidden layers with a norm also have its gamma and beta (n_out,).
    """
    rng = np.random.default_rng(2)
    result = []
    for n_in, n_out in pairwise(task.sizes):
        scale = np.sqrt(2 / n_in if task.activation == "relu" else 2 / (n_in + n_out))
        W = rng.standard_normal((n_in, n_out), dtype=np.float32) * np.float32(scale)
        result.append((W, np.zeros(n_out, np.float32)))
        if task.has_norm and len(result) < len(task.sizes) - 1:
            result[-1] += (np.ones(n_out, np.float32), np.zeros(n_out, np.float32))
    return result


def flatten(layers) -> np.ndarray:
    """W_1, b_1, gamma_1, beta_1, W_2 ... in one vector: deltarule's theta."""
    return np.concatenate([np.ravel(part) for layer in layers for part in layer])


def unflatten(theta: np.ndarray, task: Task) -> list[tuple[np.ndarray, ...]]:
    """Views of a flat vector, in the shapes of `weights`."""
    result, at = [], 0
    for layer in weights(task):
        ends = at + np.cumsum([part.size for part in layer])
        result.append(
            tuple(
                theta[end - part.size : end].reshape(part.shape)
                for end, part in zip(ends, layer, strict=True)
            )
        )
        at = ends[-1]
    return result


def outputs(task: Task, layers, X, logits: bool = False) -> np.ndarray:
    """Predictions (n, n_L) in float64; a batch norm takes the statistics of these rows."""
    A = X.astype(np.float64)
    for i, (W, b, *norm) in enumerate(layers):
        A = A @ W.astype(np.float64) + b
        if norm:
            axis = 0 if task.extra == "batch_norm" else 1
            deviation = np.sqrt(A.var(axis, keepdims=True) + NORM_EPSILON)
            A = (A - A.mean(axis, keepdims=True)) / deviation * norm[0] + norm[1]
        if i < len(layers) - 1:
            A = np.tanh(A) if task.activation == "tanh" else np.maximum(A, 0)
    if logits or task.output == "identity":
        return A
    if task.output == "sigmoid":
        return np.exp(-np.logaddexp(0, -A))
    return np.exp(A - np.logaddexp.reduce(A, axis=1, keepdims=True))


def loss(task: Task, layers) -> float:
    """The task's loss at these parameters on its first rows, in float64."""
    X, y = data(task)
    X, y = X[:ROWS_OF_LOSS], y[:ROWS_OF_LOSS]
    Z = outputs(task, layers, X, logits=True)
    if task.loss == "mse":
        return float(np.mean((Z - y) ** 2))
    if task.loss == "binary_cross_entropy":
        return float(np.mean(np.logaddexp(0, Z) - y * Z))
    return float(np.mean(np.logaddexp.reduce(Z, axis=1) - Z[np.arange(len(y)), y]))


def kernel_reference(task: Task) -> np.ndarray:
    """What `part` of a linear layer under mse must return, flat, in float64.

    forward: the outputs; gradient: dW and db; backward: dW, db and the gradient of X, with the
    targets taken as the gradient of the outputs.
    """
    (X, y), ((W, b),) = data(task), weights(task)
    X, y, W = X.astype(np.float64), y.astype(np.float64), W.astype(np.float64)
    if task.part == "forward":
        return (X @ W + b).ravel()
    delta = y if task.part == "backward" else 2 * (X @ W + b - y) / y.size
    parts = [X.T @ delta, delta.sum(axis=0)]
    if task.part == "backward":
        parts.append(delta @ W.T)
    return np.concatenate([part.ravel() for part in parts])
