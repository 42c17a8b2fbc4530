"""What the tests of BatchNorm share: networks with it in every place, and the maths of them."""

import numpy as np

import deltarule as dr
import reference
from helpers import rng

DTYPES = ["float32", "float64"]
N_INPUTS, N_OUTPUTS = 4, 2
BN = dr.BatchNorm

NETWORKS = {  # layers after the Input; every neighbour a BatchNorm can have
    "linear": [dr.Dense(9), BN(), dr.Activation("tanh"), dr.Dense(2)],
    "activated": [dr.Dense(9, "tanh"), BN(momentum=0.3, epsilon=1e-3), dr.Dense(2)],
    "first": [BN(), dr.Dense(9, "silu"), dr.Dense(2)],
    "last": [dr.Dense(9, "tanh"), dr.Dense(2), BN()],
    "wide": [dr.Dense(40), BN(), BN(), dr.Activation("gelu"), dr.Dense(17, "tanh"), BN(),
             dr.Dense(2)],
    "dropout": [dr.Dropout(0.2), dr.Dense(9), BN(), dr.Dropout(0.3), dr.Dense(2)],
    "scaled": [dr.Standardize(), BN(), dr.Dense(9, "tanh"), dr.Dense(2), BN(), dr.Rescale()],
    "coded": [dr.Embedding([1], [5], dimension=3), BN(), dr.Dense(7, "tanh"), dr.Dense(2)],
    "softmax": [dr.Dense(9), BN(), dr.Activation("softmax"), BN(), dr.Dense(2)],
}  # fmt: skip
PLAIN = ("linear", "activated", "first", "last", "wide", "softmax")  # what `passed` computes


def network(name="linear", dtype="float64", seed=0, layers=None):
    """A network whose gammas, betas, biases and running statistics are all drawn."""
    layers = NETWORKS[name] if layers is None else layers
    net = dr.Network([dr.Input(N_INPUTS), *layers], dtype=dtype, seed=seed)
    g = rng(seed, 77)
    for layer in net.layers:
        if layer.b is not None:
            layer.b = g.uniform(-0.3, 0.3, layer.b.shape)
        if layer.gamma is not None:
            layer.gamma, layer.beta = g.uniform(-1, 2, (2, layer.gamma.size))
            layer.running_mean = g.normal(size=layer.gamma.size)
            layer.running_var = g.uniform(0.2, 3, layer.gamma.size)
        if layer.mean is not None:
            layer.set_statistics(g.normal(size=layer.mean.size), g.uniform(0.5, 2, layer.mean.size))
    return net


def rows(n, seed=0):
    """X and Y; column 1 of X holds codes from 0 to 4."""
    g = rng(seed, n)
    X = g.normal(size=(n, N_INPUTS)) + np.array([0, 0, 3, -2])
    X[:, 1] = g.integers(5, size=n)
    return X, np.stack([np.sin(X[:, 0]) + X[:, 2], X[:, 1]], axis=1)


def norms(net):
    return [layer for layer in net.layers if layer.gamma is not None]


def statistics(net):
    return [a.copy() for layer in norms(net) for a in (layer.running_mean, layer.running_var)]


def column(v):
    return np.asarray(v, np.float64)[:, np.newaxis]


def passed(net, X, Y, training):
    """Loss (mse), gradient, dL/dX and outputs of each layer; the running statistics after a step.

    Of Dense, Activation and BatchNorm layers, in float64, as the equations have them.
    """
    A, saved = [np.asarray(X, np.float64).T], []
    after = []
    for layer in net.layers:
        if layer.gamma is not None:
            running = column(layer.running_mean), column(layer.running_var)
            found = reference.batch_norm(
                column(layer.gamma), column(layer.beta), A[-1], layer.settings.epsilon,
                None if training else running,
            )  # fmt: skip
            after += reference.moved(running, A[-1], layer.settings.momentum)
        elif layer.W is not None:
            Z = layer.W.astype(np.float64) @ A[-1] + column(layer.b)
            found = (reference.ACTIVATIONS[layer.settings.activation][0](Z), Z)
        else:
            found = (reference.ACTIVATIONS[layer.settings.name][0](A[-1]), A[-1])
        A.append(found[0])
        saved.append(found[1:])
    error = A[-1] - Y.T
    delta, parts = 2 * error / error.size, []
    for layer, inputs, kept in reversed(list(zip(net.layers, A[:-1], saved, strict=True))):
        if layer.gamma is not None:
            delta, *grads = reference.batch_norm_backward(
                column(layer.gamma), *kept, delta, training
            )
            parts = [*grads, *parts]
        elif layer.W is not None:
            delta = reference.through(layer.settings.activation, delta, kept[0])
            parts = [(delta @ inputs.T).T.ravel(), delta.sum(axis=1), *parts]
            delta = layer.W.astype(np.float64).T @ delta
        else:
            delta = reference.through(layer.settings.name, delta, kept[0])
    outputs = [a.T for a in A[1:]]
    return (error**2).mean(), np.concatenate(parts), delta.T, outputs, [s.ravel() for s in after]
