"""Section 2 of DESIGN.md in NumPy, to read in one sitting: what the compiled core must compute.

Columns are samples, as in the equations: A_0 = X.T is (n_0, n), W_l (n_l, n_{l-1}), b_l (n_l, 1),
Z_l, A_l and delta_l (n_l, n). `sizes` is (n_0, ..., n_L), `activations` one name a layer. A mask
M_l (n_l, n) multiplies A_l: that is dropout, already scaled by 1/(1 - rate).
"""

from fractions import Fraction
from itertools import pairwise
from math import erfc, exp, pi, sqrt

import numpy as np


def sigmoid(z):
    return np.exp(-np.logaddexp(0, -z))


def softmax(z):
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def normal_of(x):
    """The distribution function of the normal distribution; erfc where 1 + erf cancels."""
    u = -x / sqrt(2)
    lost = Fraction(u) ** 2 - Fraction(x) ** 2 / 2 if 1 < u < 30 else 0  # by the rounding of u
    return erfc(u) / 2 * exp(lost)


normal = np.vectorize(normal_of, otypes=[float])


def density(z):
    return np.exp(-(z**2) / 2) / sqrt(2 * pi)


def tanh_softplus(z):
    return np.tanh(np.logaddexp(0, z))


SELU = 1.0507009873554805, 1.7580993408473769  # lambda, lambda alpha


ACTIVATIONS = {  # name: sigma(z), sigma'(z)
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, 1, np.exp(np.minimum(z, 0))),
    ),
    "selu": (
        lambda z: np.where(z > 0, SELU[0] * z, SELU[1] * np.expm1(np.minimum(z, 0))),
        lambda z: np.where(z > 0, SELU[0], SELU[1] * np.exp(np.minimum(z, 0))),
    ),
    "gelu": (lambda z: z * normal(z), lambda z: normal(z) + z * density(z)),
    "mish": (
        lambda z: z * tanh_softplus(z),
        lambda z: tanh_softplus(z) + z * sigmoid(z) * (1 - tanh_softplus(z) ** 2),
    ),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z)))),
    "softplus": (lambda z: np.logaddexp(0, z), sigmoid),
    "exp": (np.exp, np.exp),
    "softmax": (softmax, None),  # not element-wise: see through()
}


def through(name, dA, Z):
    """dL/dZ from dL/dA: dA * sigma'(Z); for softmax the product with its Jacobian."""
    if name == "softmax":
        s = softmax(Z)
        return s * (dA - (s * dA).sum(axis=0))
    return dA * ACTIVATIONS[name][1](Z)


def huber(r, delta=1.0):
    return np.where(abs(r) <= delta, r**2 / 2, delta * (abs(r) - delta / 2))


def logcosh(r):
    return np.logaddexp(r, -r) - np.log(2)


def pinball(r, q=0.5):
    return np.maximum(q * r, (q - 1) * r)


def gaussian_nll(Z, Y):
    """Output j is the mean of target j, output m + j the logarithm of its variance."""
    m = len(Y)
    return 0.5 * (Z[m:] + (Y - Z[:m]) ** 2 * np.exp(-Z[m:]))


def focal(Z, Y, gamma=2.0):
    """With sigmoid: -(1 - p)^gamma log p of the truth, from log p and log (1 - p)."""
    yes, no = -np.logaddexp(0, -Z), -np.logaddexp(0, Z)
    return -(Y * np.exp(gamma * no) * yes + (1 - Y) * np.exp(gamma * yes) * no)


def focal_classes(Z, Y, gamma=2.0):
    """With softmax: the same of the true class."""
    log_p = Z - np.logaddexp.reduce(Z, axis=0)
    return -Y * (-np.expm1(log_p)) ** gamma * log_p


# Loss of each sample (n,) from Z_L and A_L: mean over the outputs, or sum over the classes.
LOSSES = {
    "mse": lambda Z, A, Y: ((A - Y) ** 2).mean(axis=0),
    "mae": lambda Z, A, Y: abs(A - Y).mean(axis=0),
    "huber": lambda Z, A, Y: huber(A - Y).mean(axis=0),
    "cross_entropy": lambda Z, A, Y: (Y * (np.logaddexp.reduce(Z, axis=0) - Z)).sum(axis=0),
    "binary_cross_entropy": lambda Z, A, Y: (np.logaddexp(0, Z) - Y * Z).mean(axis=0),
    "poisson": lambda Z, A, Y: (np.exp(Z) - Y * Z).mean(axis=0),
    "log_cosh": lambda Z, A, Y: logcosh(A - Y).mean(axis=0),
    "quantile": lambda Z, A, Y: pinball(Y - A).mean(axis=0),
    "gaussian_nll": lambda Z, A, Y: gaussian_nll(Z, Y).mean(axis=0),
    "gamma": lambda Z, A, Y: (Z + Y * np.exp(-Z)).mean(axis=0),
    "focal": lambda Z, A, Y: focal(Z, Y).mean(axis=0),
    "hinge": lambda Z, A, Y: np.maximum(1 - Y * A, 0).mean(axis=0),
}


def output_delta(loss, activation, Z, A, Y):
    """Each sample's dL/dZ_L: matched pairs directly from logits, the rest by the chain rule."""
    n_L = len(Z)
    if loss == "cross_entropy":
        return softmax(Z) * Y.sum(axis=0) - Y
    if loss == "binary_cross_entropy":
        return (sigmoid(Z) - Y) / n_L
    if loss == "poisson":
        return (np.exp(Z) - Y) / n_L
    if loss == "gamma":
        return (1 - Y * np.exp(-Z)) / n_L
    if loss == "hinge":
        return -Y * (Y * A < 1) / n_L
    if loss == "gaussian_nll":
        m = len(Y)
        r, precision = Z[:m] - Y, np.exp(-Z[m:])
        return np.concatenate([r * precision, 0.5 * (1 - r**2 * precision)]) / m
    if loss == "focal":
        p, q, yes, no = sigmoid(Z), sigmoid(-Z), np.logaddexp(0, -Z), np.logaddexp(0, Z)
        return ((1 - Y) * p**2 * (2 * q * no + p) - Y * q**2 * (2 * p * yes + q)) / n_L
    r = A - Y
    dA = {
        "mse": lambda: 2 * r,
        "mae": lambda: np.sign(r),
        "huber": lambda: np.clip(r, -1, 1),
        "log_cosh": lambda: np.tanh(r),
        "quantile": lambda: 0.5 * np.sign(r),
    }[loss]() / n_L
    return through(activation, dA, Z)


def unflatten(theta, sizes):
    """Views [(W_1, b_1), ...] of a flat vector; a W block is the C-ordered (n_{l-1}, n_l)."""
    blocks, at = [], 0
    for n_in, n_out in pairwise(sizes):
        W = theta[at : at + n_in * n_out].reshape(n_in, n_out).T
        at += n_in * n_out
        blocks.append((W, theta[at : at + n_out].reshape(n_out, 1)))
        at += n_out
    return blocks


def forward(theta, sizes, activations, X, masks=None):
    """Z_l = W_l A_{l-1} + b_l 1', A_l = sigma_l(Z_l). Lists indexed by l; Z[0] is None."""
    Z, A = [None], [X.T]
    for layer, ((W, b), name) in enumerate(
        zip(unflatten(theta, sizes), activations, strict=True), start=1
    ):
        Z.append(W @ A[-1] + b)
        A.append(ACTIVATIONS[name][0](Z[-1]))
        if masks and masks.get(layer) is not None:
            A[-1] = A[-1] * masks[layer]
    return Z, A


def backward(theta, sizes, activations, Z, A, delta, masks=None):
    """From delta_L: the flat gradient, [delta_1 ... delta_L] and the gradient of the input."""
    grad, deltas = np.zeros_like(theta), [delta]
    weights, gradients = unflatten(theta, sizes), unflatten(grad, sizes)
    for below in range(len(activations) - 1, -1, -1):  # l - 1, for l = L ... 1
        dW, db = gradients[below]
        dW += deltas[0] @ A[below].T
        db += deltas[0].sum(axis=1, keepdims=True)
        dA = weights[below][0].T @ deltas[0]  # W_l' delta_l
        if below > 0:
            if masks and masks.get(below) is not None:
                dA = dA * masks[below]
            deltas.insert(0, through(activations[below - 1], dA, Z[below]))
    return grad, deltas, dA


def gradient(theta, sizes, activations, X, Y, loss, w=None, masks=None, l2=0.0):
    """The loss sum(w_i l_i) / sum(w_i) + l2/2 sum(W^2), its flat gradient and the deltas."""
    w = np.ones(len(X)) if w is None else w
    Z, A = forward(theta, sizes, activations, X, masks)
    L = (w * LOSSES[loss](Z[-1], A[-1], Y.T)).sum() / w.sum()
    delta = output_delta(loss, activations[-1], Z[-1], A[-1], Y.T) * (w / w.sum())
    grad, deltas, _ = backward(theta, sizes, activations, Z, A, delta, masks)
    weights, gradients = unflatten(theta, sizes), unflatten(grad, sizes)
    for (W, _b), (dW, _db) in zip(weights, gradients, strict=True):
        L += l2 / 2 * (W**2).sum()
        dW += l2 * W
    return L, grad, deltas


def batch_norm(gamma, beta, A, epsilon=1e-5, running=None):
    """gamma xhat + beta, xhat and r = 1 / sqrt(v + epsilon), for A (n_l, n), the rest (n_l, 1).

    Mean and variance are those of the batch in training, `running` in inference.
    """
    mean, v = running or (A.mean(axis=1, keepdims=True), A.var(axis=1, keepdims=True))
    r = 1 / np.sqrt(v + epsilon)
    xhat = (A - mean) * r
    return gamma * xhat + beta, xhat, r


def batch_norm_backward(gamma, xhat, r, delta, training):
    """dL/dA, dgamma and dbeta; in training mean and variance depend on A too."""
    dgamma, dbeta = (delta * xhat).sum(axis=1), delta.sum(axis=1)
    if training:
        delta = delta - delta.mean(axis=1, keepdims=True)
        delta = delta - xhat * (delta * xhat).mean(axis=1, keepdims=True)
    return gamma * r * delta, dgamma, dbeta


def moved(running, A, momentum=0.1):
    """The running mean and variance (n_l, 1) after a training step."""
    batch = A.mean(axis=1, keepdims=True), A.var(axis=1, keepdims=True, ddof=1)
    return tuple((1 - momentum) * r + momentum * s for r, s in zip(running, batch, strict=True))


def embed(tables, columns, X):
    """The rows (n, n_1) of an embedding: columns that hold no codes, then the vectors of codes."""
    vectors = [E[X[:, c].astype(int)] for E, c in zip(tables, columns, strict=True)]
    return np.hstack([np.delete(X, columns, axis=1), *vectors])


def unflatten_tables(theta, n_levels, dimension):
    """Views of the tables (n_levels[j], dimension) at the start of theta, and of the rest."""
    ends = dimension * np.cumsum(n_levels)
    blocks = np.split(theta, ends)
    return [E.reshape(-1, dimension) for E in blocks[:-1]], blocks[-1]


def embedding_gradient(theta, columns, n_levels, dimension, sizes, activations, X, Y, loss, l2=0.0):
    """Like gradient(), for tables before the dense layers, whose sizes[0] is the width of embed().

    dE_j[c] is the sum over the rows of code c of their part of dL/dA_0; other levels have 0.
    """
    grad = np.zeros_like(theta)
    tables, dense = unflatten_tables(theta, n_levels, dimension)
    dtables, dense_grad = unflatten_tables(grad, n_levels, dimension)
    A = embed(tables, columns, X)
    L, dense_grad[:], deltas = gradient(dense, sizes, activations, A, Y, loss, l2=l2)
    dA = (unflatten(dense, sizes)[0][0].T @ deltas[0]).T
    first = A.shape[1] - len(columns) * dimension
    for j, (E, dE, c) in enumerate(zip(tables, dtables, columns, strict=True)):
        part = dA[:, first + j * dimension : first + (j + 1) * dimension]
        np.add.at(dE, X[:, c].astype(int), part)
        L += l2 / 2 * (E**2).sum()
        dE += l2 * E
    return L, grad, dA


class SGD:
    """v <- mu v + g; theta <- theta - eta v, or with Nesterov theta - eta (g + mu v)."""

    def __init__(self, learning_rate, momentum=0.0, nesterov=False):
        self.learning_rate, self.momentum, self.nesterov = learning_rate, momentum, nesterov
        self.v = 0.0

    def update(self, theta, g, _L=None):
        self.v = self.momentum * self.v + g
        theta -= self.learning_rate * (g + self.momentum * self.v if self.nesterov else self.v)


class Adam:
    """Algorithm 1 of D. Kingma and J. Ba, "Adam: a method for stochastic optimization", 2015.

    With amsgrad the largest v so far (S. Reddi et al., 2018), corrected for its start like v.
    """

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, amsgrad=False):
        self.learning_rate, self.beta1, self.beta2 = learning_rate, beta1, beta2
        self.epsilon, self.amsgrad = epsilon, amsgrad
        self.m, self.v, self.v_max, self.t = 0.0, 0.0, 0.0, 0

    def update(self, theta, g, _L=None):
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        self.v_max = np.maximum(self.v_max, self.v)
        v = self.v_max if self.amsgrad else self.v
        m_hat, v_hat = self.m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
        theta -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


class RMSprop:
    """T. Tieleman, G. Hinton, 2012; centred as in A. Graves, 2013."""

    def __init__(self, learning_rate=0.01, alpha=0.99, epsilon=1e-8, momentum=0.0, centered=False):
        self.learning_rate, self.alpha, self.epsilon = learning_rate, alpha, epsilon
        self.momentum, self.centered = momentum, centered
        self.v, self.mean, self.b = 0.0, 0.0, 0.0

    def update(self, theta, g, _L=None):
        self.v = self.alpha * self.v + (1 - self.alpha) * g**2
        self.mean = self.alpha * self.mean + (1 - self.alpha) * g
        spread = np.maximum(self.v - self.mean**2, 0) if self.centered else self.v
        self.b = self.momentum * self.b + g / (np.sqrt(spread) + self.epsilon)
        theta -= self.learning_rate * self.b


class Adagrad:
    """J. Duchi, E. Hazan, Y. Singer, 2011."""

    def __init__(self, learning_rate=0.01, initial_accumulator=0.0, epsilon=1e-10):
        self.learning_rate, self.epsilon, self.s = learning_rate, epsilon, initial_accumulator

    def update(self, theta, g, _L=None):
        self.s = self.s + g**2
        theta -= self.learning_rate * g / (np.sqrt(self.s) + self.epsilon)


class NAdam:
    """T. Dozat, "Incorporating Nesterov momentum into Adam", 2016."""

    def __init__(
        self, learning_rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-8, momentum_decay=0.004
    ):
        self.learning_rate, self.beta1, self.beta2 = learning_rate, beta1, beta2
        self.epsilon, self.momentum_decay = epsilon, momentum_decay
        self.m, self.v, self.t = 0.0, 0.0, 0

    def mu(self, t):
        return self.beta1 * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))

    def update(self, theta, g, _L=None):
        self.t = t = self.t + 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        product = np.prod([self.mu(i) for i in range(1, t + 1)])
        m_hat = self.mu(t + 1) * self.m / (1 - product * self.mu(t + 1))
        m_hat = m_hat + (1 - self.mu(t)) * g / (1 - product)
        v_hat = self.v / (1 - self.beta2**t)
        theta -= self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


class Lion:
    """X. Chen et al., "Symbolic discovery of optimization algorithms", 2023."""

    def __init__(self, learning_rate=1e-4, beta1=0.9, beta2=0.99):
        self.learning_rate, self.beta1, self.beta2, self.m = learning_rate, beta1, beta2, 0.0

    def update(self, theta, g, _L=None):
        theta -= self.learning_rate * np.sign(self.beta1 * self.m + (1 - self.beta1) * g)
        self.m = self.beta2 * self.m + (1 - self.beta2) * g


class IRpropPlus:
    """C. Igel, M. Huesken, "Empirical evaluation of the improved Rprop learning algorithms", 2003.

    As printed there: it keeps the gradient and the step of before, and needs the loss L.
    """

    def __init__(
        self, learning_rate=0.1, eta_plus=1.2, eta_minus=0.5, step_min=1e-6, step_max=50.0
    ):
        self.learning_rate, self.eta_plus, self.eta_minus = learning_rate, eta_plus, eta_minus
        self.step_min, self.step_max = step_min, step_max
        self.g, self.moved, self.delta, self.L = 0.0, 0.0, learning_rate, np.inf

    def update(self, theta, g, L):
        same, turned = self.g * g > 0, self.g * g < 0
        longer = np.minimum(self.delta * self.eta_plus, self.step_max)
        shorter = np.maximum(self.delta * self.eta_minus, self.step_min)
        self.delta = np.where(same, longer, np.where(turned, shorter, self.delta))
        back = -self.moved if self.L < L else 0.0
        self.moved = np.where(turned, back, -np.sign(g) * self.delta)
        self.g, self.L = np.where(turned, 0, g), L
        theta += self.moved


def half_cosine(first, last, t):
    return last + (first - last) * (1 + np.cos(pi * t)) / 2


def cosine(s, T, initial, final=0.0, restarts=0, t_mult=1.0):
    """SGDR: cycles of whole steps, each t_mult times as long as the one before."""
    lengths = float(t_mult) ** np.arange(restarts + 1)
    ends = np.floor(T * np.cumsum(lengths) / lengths.sum() + 0.5)
    if s >= T:
        return final
    k = int(np.searchsorted(ends, s, side="right"))
    start = ends[k - 1] if k else 0.0
    return half_cosine(initial, final, (s - start) / (ends[k] - start))


def one_cycle(s, T, peak, p=0.3, d=25.0, f=1e4):
    t = min(s / T, 1.0)
    if t < p:
        return half_cosine(peak / d, peak, t / p)
    return half_cosine(peak, peak / d / f, (t - p) / (1 - p))


SCHEDULES = {  # name: the rate of step s of T
    "step_decay": lambda s, _T, initial, f, k: initial * f ** (s // k),
    "exponential": lambda s, _T, initial, f, k=1: initial * f ** (s / k),
    "inverse_scaling": lambda s, _T, initial, p=0.5: initial / (1 + s) ** p,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "cos_log4": lambda s, T, initial: (
        initial * (1 - np.cos(2 * pi * np.log2(1 + 15 * min(s / T, 1.0)))) / 2
    ),
    "constant": lambda _s, _T, initial: initial,
}


def warmed_up(s, T, W, start, rate):
    """A straight line to the first of rate(s, T - W) in W steps; then that."""
    left = max(T - W, 1)
    return start + (rate(0, left) - start) * s / W if s < W else rate(s - W, left)


def plateau(losses, initial, f=0.1, patience=10, tol=0.0, minimum=0.0):
    """The rate of each epoch, from the losses of all of them."""
    rate, best, stalled, rates = initial, np.inf, 0, []
    for loss in losses:
        rates.append(rate)
        stalled = 0 if loss < best - tol else stalled + 1
        best = min(best, loss)
        if stalled == patience:
            rate, stalled = max(rate * f, minimum), 0
    return rates


def clipped(g, clip_norm=None, clip_value=None):
    """The gradient with a norm of at most clip_norm, then with elements of at most clip_value."""
    if clip_norm is not None:
        g = g * min(1.0, clip_norm / np.sqrt((g**2).sum()))
    return g if clip_value is None else np.clip(g, -clip_value, clip_value)


def step(
    theta, sizes, activations, X, Y, loss, optimizer, w=None, layers=None, l2=0.0, weight_decay=0.0,
    **clips,
):  # fmt: skip
    """One step in place: gradient, clipping, penalties, decay of the weights, update.

    `layers` holds for each layer l1 and l2, which are added to the loss, and the factor of its
    learning rate; where that is 0 nothing has a gradient. Returns the loss before the step,
    penalties included.
    """
    layers = layers or [(0.0, 0.0, 1.0)] * len(activations)
    L, grad, _ = gradient(theta, sizes, activations, X, Y, loss, w)
    rate, factors = optimizer.learning_rate, np.ones_like(theta)
    for (F, f), (_l1, _l2, factor) in zip(unflatten(factors, sizes), layers, strict=True):
        F[:], f[:] = factor, factor
    trained = factors != 0
    grad = clipped(grad * trained, **clips)
    for (W, _b), (dW, _db), (l1, own_l2, factor) in zip(
        unflatten(theta, sizes), unflatten(grad, sizes), layers, strict=True
    ):
        L += l1 * abs(W).sum() + (l2 + own_l2) / 2 * (W**2).sum()
        dW += l1 * np.sign(W) + (l2 + own_l2) * W
        W -= rate * factor * weight_decay * W
    optimizer.learning_rate = rate * factors
    optimizer.update(theta, grad * trained, L)
    optimizer.learning_rate = rate
    return L


class Average:
    """The exponential moving average of theta, with a decay that grows with the steps.

    B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    def __init__(self, ema, theta):
        self.ema, self.theta, self.t = ema, theta.copy(), 0

    def update(self, theta):
        self.t += 1
        d = min(self.ema, (1 + self.t) / (10 + self.t))
        self.theta = d * self.theta + (1 - d) * theta
