"""Small calls: one training step from Python, and what `fit` costs beyond its steps."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from benchmarks.networks import SIZES, Task
from benchmarks.report import short_time

ROWS, WIDTHS, BATCH = 200, [4, 16, 1], 32


def steps(quick: bool) -> list[Task]:
    """XS, both optimisers; as many steps from the start for everybody."""
    count = 100 if quick else 2000
    return [
        Task("step", "XS", *SIZES["XS"], optimizer=optimizer, count=count)
        for optimizer in ("sgd", "adam")
    ]


def fit_beyond_steps(quick: bool) -> dict[str, float]:
    """T(epochs) = beyond + epochs * epoch, from one and from many epochs on 200 x 4 rows.

    Fits of one epoch come in rows of eight, a row after each fit of many: the first one finds the
    caches without Python's code and is told apart from the others.
    """
    import deltarule as dr

    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, WIDTHS[0]), dtype=np.float32)
    y = np.tanh(X.sum(axis=1, keepdims=True))
    net = dr.Network(WIDTHS, activation="tanh", seed=0)
    optimizer, many = dr.SGD(0.01), 20 if quick else 2001

    def timed(epochs: int) -> float:
        started = time.perf_counter()
        net.fit(
            X,
            y,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=BATCH,
            shuffle=False,
            n_threads=1,
            progress=False,
        )
        return time.perf_counter() - started

    timed(2)
    wholes, firsts, others = [], [], []
    for _ in range(3 if quick else 25):
        wholes.append(timed(many))
        first, *rest = (timed(1) for _ in range(8))
        firsts.append(first)
        others += rest
    one = median(others)
    epoch = (median(wholes) - one) / (many - 1)
    found = {
        "beyond": one - epoch,
        "best": min(others) - epoch,
        "first": median(firsts) - epoch,
        "epoch": epoch,
    }
    shown = {name: short_time(max(value, 0)) for name, value in found.items()}
    print(f"\nfit of {ROWS} x {WIDTHS[0]} rows, {'-'.join(map(str, WIDTHS))}, batch {BATCH}:")
    print(f"  beyond its steps {shown['beyond']} (best {shown['best']}),")
    print(f"  the first one after 0.02 s of other work {shown['first']},")
    print(f"  an epoch {shown['epoch']}, a step {short_time(epoch / -(-ROWS // BATCH))}")
    return found
