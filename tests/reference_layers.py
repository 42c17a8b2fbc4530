"""Layers one by one in NumPy, for networks that are more than the dense layers of reference.py.

Columns are samples, as there. A layer has forward(theta, A), which returns its A, and then
backward(theta, dA), which returns its gradient and dL/dA of the layer before; theta is its own
part. flat() yields (A, delta) of every entry of `net.layers` that it is, after both.
"""

import numpy as np

from deltarule._residual import Add, Keep
from reference import ACTIVATIONS, LOSSES, output_delta, through, unflatten


class Dense:
    def __init__(self, n_in, n_out, activation):
        self.sizes, self.activation = (n_in, n_out), activation
        self.n_parameters = n_in * n_out + n_out

    def forward(self, theta, A):
        [(W, b)] = unflatten(theta, self.sizes)
        self.A, self.Z = A, W @ A + b
        self.out = ACTIVATIONS[self.activation][0](self.Z)
        return self.out

    def backward(self, theta, dA):
        [(W, _b)] = unflatten(theta, self.sizes)
        self.delta = through(self.activation, dA, self.Z)
        dW, db = self.delta @ self.A.T, self.delta.sum(axis=1)
        return np.concatenate([dW.T.ravel(), db]), W.T @ self.delta

    def flat(self):
        yield self.out, self.delta


class LayerNorm(Dense):
    """J. Ba, J. Kiros, G. Hinton, "Layer normalization", 2016; the variance is biased."""

    def __init__(self, width, epsilon):
        self.n_parameters, self.epsilon = 2 * width, epsilon

    def forward(self, theta, A):
        gamma, beta = np.split(theta[:, None], 2)
        centred = A - A.mean(axis=0)
        self.inverse = 1 / np.sqrt((centred**2).mean(axis=0) + self.epsilon)
        self.x = centred * self.inverse
        self.out = gamma * self.x + beta
        return self.out

    def backward(self, theta, dA):
        self.delta = dA
        g = np.split(theta[:, None], 2)[0] * dA
        dA_in = self.inverse * (g - g.mean(axis=0) - self.x * (g * self.x).mean(axis=0))
        return np.concatenate([(dA * self.x).sum(axis=1), dA.sum(axis=1)]), dA_in


class Function(Dense):
    """Nothing trained: sigma of each element, where slope(dA, A) is dL/dA of the layer before."""

    n_parameters = 0

    def __init__(self, sigma, slope, delta_is_of_z=False):
        self.sigma, self.slope, self.delta_is_of_z = sigma, slope, delta_is_of_z

    def forward(self, _theta, A):
        self.A, self.out = A, self.sigma(A)
        return self.out

    def backward(self, theta, dA):
        d_in = self.slope(dA, self.A)
        self.delta = d_in if self.delta_is_of_z else dA
        return theta, d_in


class Chain:
    """Layers one after another."""

    def __init__(self, layers):
        self.layers = layers
        self.n_parameters = sum(layer.n_parameters for layer in layers)

    def parts(self, theta):
        return np.split(theta, np.cumsum([layer.n_parameters for layer in self.layers])[:-1])

    def forward(self, theta, A):
        for layer, part in zip(self.layers, self.parts(theta), strict=True):
            A = layer.forward(part, A)
        return A

    def backward(self, theta, dA):
        grads = []
        for layer, part in zip(self.layers[::-1], self.parts(theta)[::-1], strict=True):
            grad, dA = layer.backward(part, dA)
            grads.insert(0, grad)
        return np.concatenate(grads), dA

    def flat(self):
        for layer in self.layers:
            yield from layer.flat()


class Residual(Chain):
    """K. He et al., "Deep residual learning for image recognition", 2016: A + f(A)."""

    def forward(self, theta, A):
        self.A = A
        self.out = A + super().forward(theta, A)
        return self.out

    def backward(self, theta, dA):
        grad, inside = super().backward(theta, dA)
        self.delta_out, self.delta = dA, inside + dA
        return grad, self.delta

    def flat(self):
        yield self.A, self.delta
        yield from super().flat()
        yield self.out, self.delta_out


def layer_of(view, last):
    """One entry of `net.layers` that is no end of a residual, in inference; logits at the end."""
    settings = view.settings
    if settings.kind == "dense":
        name = "identity" if last and settings.activation == "softmax" else settings.activation
        return Dense(view.n_inputs, view.n_outputs, name)
    if settings.kind == "layer_norm":
        return LayerNorm(view.n_inputs, settings.epsilon)
    if settings.kind == "activation":
        sigma = ACTIVATIONS[settings.name][0]
        return Function(sigma, lambda dA, Z: through(settings.name, dA, Z), delta_is_of_z=True)
    if settings.kind == "dropout":
        return Function(lambda A: A, lambda dA, _A: dA)
    mean, scale = view.mean.astype(float)[:, None], view.scale.astype(float)[:, None]
    if settings.kind == "standardize":
        return Function(lambda A: (A - mean) / scale, lambda dA, _A: dA / scale)
    return Function(lambda A: mean + scale * A, lambda dA, _A: dA * scale)


def chain_of(net):
    """The layers of a network; with softmax at the end it computes logits."""
    chains = [[]]
    for i, view in enumerate(net.layers):
        if isinstance(view.settings, Keep):
            chains.append([])
        elif isinstance(view.settings, Add):
            inside = chains.pop()
            chains[-1].append(Residual(inside))
        else:
            chains[-1].append(layer_of(view, i == len(net.layers) - 1))
    return Chain(chains[0])


def gradient(chain, theta, X, Y, loss="mse"):
    """The loss and its flat gradient; the last layer has no activation."""
    Z = chain.forward(theta, X.T)
    delta = output_delta(loss, "identity", Z, Z, Y.T) / len(X)
    return LOSSES[loss](Z, Z, Y.T).mean(), chain.backward(theta, delta)[0]
