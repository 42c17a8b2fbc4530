"""PyTorch, eager, with fused optimisers. Variant "bf16": autocast around forward and loss.

Tensors go in and come out: no conversion from or to NumPy is inside the clock.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from benchmarks import networks

LOSSES = {
    "mse": functional.mse_loss,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "cross_entropy": functional.cross_entropy,
}


NORMS = {
    "layer_norm": partial(torch.nn.LayerNorm, eps=networks.NORM_EPSILON),
    "batch_norm": partial(
        torch.nn.BatchNorm1d, eps=networks.NORM_EPSILON, momentum=networks.NORM_MOMENTUM
    ),
}


def version() -> str:
    return torch.__version__


def module(task, output: bool = False) -> torch.nn.Sequential:
    """The network with the task's weights; `output` adds sigmoid or softmax for prediction."""
    parts = []
    for W, b, *norm in networks.weights(task):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T.copy()))
            linear.bias.copy_(torch.from_numpy(b))
        parts.append(linear)
        if norm:
            parts.append(NORMS[task.extra](W.shape[1]))
        parts.append(torch.nn.Tanh() if task.activation == "tanh" else torch.nn.ReLU())
        if task.extra == "dropout":
            parts.append(torch.nn.Dropout(networks.DROPOUT_RATE))
    while not isinstance(parts[-1], torch.nn.Linear):
        parts.pop()
    if output and task.output == "sigmoid":
        parts.append(torch.nn.Sigmoid())
    if output and task.output == "softmax":
        parts.append(torch.nn.Softmax(dim=1))
    return torch.nn.Sequential(*parts)


class Step:
    """zero_grad, forward, loss, backward, step."""

    def __init__(self, task, variant, n_threads):
        torch.set_num_threads(n_threads)
        self.task, self.loss = task, LOSSES[task.loss]
        self.X, self.y = (torch.from_numpy(part) for part in networks.data(task))
        self.module = module(task)
        self.start = [p.detach().clone() for p in self.module.parameters()]
        self.autocast = variant == "bf16"

    def reset(self):
        task, parameters = self.task, list(self.module.parameters())
        with torch.no_grad():
            for p, start in zip(parameters, self.start, strict=True):
                p.copy_(start)
        if task.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(parameters, lr=task.learning_rate, fused=True)
            return
        settings = {
            "lr": task.learning_rate,
            "betas": (networks.BETA1, networks.BETA2),
            "eps": networks.EPSILON,
            "fused": True,
        }
        if task.optimizer == "adam":
            self.optimizer = torch.optim.Adam(parameters, **settings)
            return
        groups = [  # deltarule decays weights only
            {"params": [p for p in parameters if p.ndim == 2]},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        settings["weight_decay"] = networks.WEIGHT_DECAY
        self.optimizer = torch.optim.AdamW(groups, **settings)

    def context(self):
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.autocast else nullcontext()

    def step(self, X, y):
        self.optimizer.zero_grad(set_to_none=True)
        if self.autocast:
            with self.context():
                loss = self.loss(self.module(X), y)
        else:
            loss = self.loss(self.module(X), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, count):
        for _ in range(count):
            self.step(self.X, self.y)

    def theta(self):
        return networks.flatten([[p.detach().numpy().T for p in self.module.parameters()]])


class Train(Step):
    def __init__(self, task, variant, n_threads):
        super().__init__(task, variant, n_threads)
        pairs = zip(self.X.split(task.batch), self.y.split(task.batch), strict=True)
        self.batches = list(pairs)

    def run(self, count):
        for _ in range(count):
            batches = self.batches
            if self.task.shuffle:
                order = torch.randperm(len(self.X)).split(self.task.batch)
                batches = ((self.X[rows], self.y[rows]) for rows in order)
            for X, y in batches:
                self.step(X, y)


class Predict:
    def __init__(self, task, variant, n_threads):
        torch.set_num_threads(n_threads)
        self.X = torch.from_numpy(networks.data(task)[0])
        self.module = module(task, output=True).eval()

    def reset(self):
        pass

    def run(self, count):
        with torch.no_grad():
            for _ in range(count):
                self.last = self.module(self.X)

    def result(self):
        return self.last.numpy()


class Kernel:
    def __init__(self, task, variant, n_threads):
        torch.set_num_threads(n_threads)
        self.part, ((W, b),) = task.part, networks.weights(task)
        self.X, self.y = (torch.from_numpy(part) for part in networks.data(task))
        self.W, self.b = torch.from_numpy(W), torch.from_numpy(b)
        self.Z, self.dX = torch.empty_like(self.y), torch.empty_like(self.X)
        self.dW, self.db = torch.empty_like(self.W), torch.empty_like(self.b)

    def reset(self):
        pass

    def run(self, count):
        with torch.no_grad():
            for _ in range(count):
                self.once()

    def once(self):
        torch.addmm(self.b, self.X, self.W, out=self.Z)
        if self.part == "forward":
            return
        delta = self.y
        if self.part == "gradient":
            delta = self.Z.sub_(self.y).mul_(2 / self.y.numel())
        torch.mm(self.X.t(), delta, out=self.dW)
        torch.sum(delta, 0, out=self.db)
        if self.part == "backward":
            torch.mm(delta, self.W.t(), out=self.dX)

    def result(self):
        if self.part == "forward":
            return self.Z.numpy().ravel()
        parts = [self.dW, self.db] + ([self.dX] if self.part == "backward" else [])
        return np.concatenate([part.numpy().ravel() for part in parts])
