"""What the tests of Embedding share: a network with two tables, and rows for it."""

import deltarule as dr
from helpers import dense_layers, rng

N_INPUTS, COLUMNS, LEVELS, DIMENSION = 5, (3, 1), (6, 40), 3
WIDTH = N_INPUTS - len(COLUMNS) + len(COLUMNS) * DIMENSION
SIZES, NAMES = (WIDTH, 7, 2), ("tanh", "identity")
TABLES = (COLUMNS, LEVELS, DIMENSION)
N_TABLE = sum(LEVELS) * DIMENSION
DTYPES = ["float32", "float64"]


def network(dtype="float64", *, seed=0, units=SIZES[1], dropout=None, rescale=False):
    layers = [dr.Input(N_INPUTS), dr.Embedding(COLUMNS, LEVELS, dimension=DIMENSION)]
    layers += [dr.Dense(units, NAMES[0])]
    layers += [dr.Dropout(dropout)] if dropout else []
    layers += [dr.Dense(SIZES[2], NAMES[1])]
    layers += [dr.Rescale()] if rescale else []
    net = dr.Network(layers, dtype=dtype, seed=seed)
    for layer in dense_layers(net):
        layer.b[:] = rng(seed, layer.b.size).uniform(-0.3, 0.3, layer.b.shape)
    return net


def rows(n, seed=0, levels=LEVELS):
    """X and Y; the highest code of each column is never drawn."""
    g = rng(seed, n)
    X, Y = g.uniform(-1, 1, (n, N_INPUTS)), g.normal(size=(n, SIZES[2]))
    for column, n_levels in zip(COLUMNS, levels, strict=True):
        X[:, column] = g.integers(n_levels - 1, size=n)
    return X, Y
