"""Rows that are read where they lie, and outputs that lie together (record 0026)."""

import numpy as np
import pytest

import deltarule as dr
from helpers import OUTPUT_OF, dense, rng, run_python, targets

SIZES = [
    (5, 4, 1),
    (3, 8, 2),
    (7, 70, 1),
    (40, 17, 5),
    (6, 1),
    (2, 3, 1),
    (5, 9, 1, 1),
    (60, 400, 1),
]


def gathered(array):
    """The same numbers, which have to be converted on the way."""
    return array.astype(array.dtype.newbyteorder())


def everything(sizes, names, X, Y, loss="mse", w=None, n_threads=1, batch_size=None):
    """The bits of all that reads rows in their order."""
    net = dense(sizes, names, dtype=X.dtype.newbyteorder("="))
    settings = {"shuffle": False, "seed": 1, "n_threads": n_threads, "optimizer": dr.Adam(0.01)}
    history = net.fit(X, Y, sample_weight=w, loss=loss, epochs=3, batch_size=batch_size, **settings)
    step = dr.Trainer(net, loss=loss, optimizer="sgd").step(X, Y, sample_weight=w)
    value, gradient = net.gradient(X, Y, loss=loss)
    numbers = (net.theta, history["loss"], net.predict(X, n_threads=n_threads), gradient)
    found = net.evaluate(X, Y, loss=loss, sample_weight=w, n_threads=n_threads)["loss"]
    return tuple(array.tobytes() for array in numbers), step, value, found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [None, 7, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_they_have_the_bits_of_gathered_ones(sizes, dtype, batch_size, weighted):
    n = 531
    X = rng(0).uniform(-1, 1, (n, sizes[0])).astype(dtype)
    Y = rng(1).uniform(-1, 1, (n, sizes[-1])).astype(dtype)
    w = rng(2).uniform(0.5, 2, n) if weighted else None
    names = ("tanh",) * (len(sizes) - 2) + ("sigmoid",)
    run = [sizes, names]
    expected = everything(*run, gathered(X), gathered(Y), w=w, batch_size=batch_size)
    wide = np.full((n, sizes[0] + 3), np.nan, dtype)
    wide[:, : sizes[0]] = X
    for rows in (X, wide[:, : sizes[0]], X[::-1].copy()[::-1]):
        assert everything(*run, rows, Y, w=w, batch_size=batch_size) == expected
    assert everything(*run, X, Y, w=w, batch_size=batch_size, n_threads=3) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "loss", ["mse", "mae", "huber", "binary_cross_entropy", "poisson", "gamma", "focal", "hinge"]
)
def test_a_single_output_of_every_loss(loss, dtype):
    X = rng(0).uniform(-1, 1, (41, 5)).astype(dtype)
    Y = targets(loss, 41, 1).astype(dtype)
    run = [(5, 16, 1), ("tanh", OUTPUT_OF.get(loss, "identity"))]
    expected = everything(*run, gathered(X), gathered(Y), loss)
    assert everything(*run, X, Y, loss) == expected
    net = dense(*run, dtype=dtype)  # a trace keeps columns apart
    value, gradient = net.gradient(X, Y, loss=loss)
    trace = net.trace(X, Y, loss=loss)
    assert trace.loss == value
    assert np.array_equal(trace.gradient, gradient)


def test_nothing_beyond_the_rows_is_read():
    run_python("""
        import ctypes, mmap
        import numpy as np
        import deltarule as dr

        def at_the_end_of_a_page(shape, dtype):
            pages = mmap.mmap(-1, 4 * mmap.PAGESIZE)
            start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
            protect = ctypes.CDLL(None, use_errno=True).mprotect
            end = 3 * mmap.PAGESIZE
            assert protect(ctypes.c_void_p(start + end), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
            count = int(np.prod(shape))
            first = end - count * np.dtype(dtype).itemsize
            array = np.frombuffer(pages, dtype, count, first).reshape(shape)
            array[...] = np.random.default_rng(0).uniform(-1, 1, shape)
            return array

        for dtype in ("float32", "float64"):
            for k, units, outputs in [(3, 5, 1), (17, 40, 1), (4, 16, 3), (5, 1, 1), (9, 2, 2)]:
                for n in (1, 37):
                    X = at_the_end_of_a_page((n, k), dtype)
                    y = at_the_end_of_a_page((n, outputs), dtype)
                    for sizes in ([k, units, outputs], [k, outputs]):
                        net = dr.Network(sizes, dtype=dtype, seed=0)
                        for shuffle in (False, True):
                            net.fit(X, y, epochs=2, batch_size=8, shuffle=shuffle)
                        net.predict(X), net.evaluate(X, y), net.gradient(X, y)
                        dr.Trainer(net).step(X, y)
        print("true")
    """)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 16, 300])
def test_what_is_not_finite_is_found(n, dtype, bad):
    net = dense((37, 5, 1), ("tanh", "identity"), dtype=dtype)
    theta = net.theta.copy()
    for row, column in {(0, 0), (n - 1, 36), (n // 2, 16)}:
        X = rng(0).uniform(-1, 1, (n, 37)).astype(dtype)
        y = rng(1).uniform(-1, 1, n).astype(dtype)
        X[row, column] = bad
        for call in (
            lambda X, y: net.fit(X, y, epochs=1, shuffle=False),
            lambda X, y: dr.Trainer(net).step(X, y),
            lambda X, y: net.evaluate(X, y),
        ):
            with pytest.raises(ValueError, match=f"X must be finite, got .* at row {row}, col"):
                call(X, y)
            clean = np.zeros_like(X)
            y_bad = y.copy()
            y_bad[row] = bad
            with pytest.raises(ValueError, match=f"y must be finite, got .* at row {row}"):
                call(clean, y_bad)
    assert np.array_equal(net.theta, theta)


def test_they_are_left_alone():
    X, y = np.zeros((30, 3), np.float32), np.ones(30, np.float32)
    for array in (X, y):
        array.flags.writeable = False
    net = dr.Network([3, 5, 1], seed=0)

    def shout(y_true, y_pred):
        gradient = 2 * (y_pred - y_true)
        losses = ((y_pred - y_true) ** 2).sum(axis=1)
        y_true[...] = 7  # its own copy
        return losses, gradient

    net.fit(X, y, loss=shout, epochs=2, shuffle=False)
    net.fit(X, y, epochs=2, shuffle=False)
    net.predict(X)
    assert not X.any()
    assert (y == 1).all()
