"""Any number of threads gives the same bits; who decides how many; what happens when one fails."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import deltarule as dr
from helpers import counted, rng, run_python, threads_used

MORE = (2, 3, 5, 7)


@pytest.fixture(autouse=True)
def own_settings(monkeypatch):
    """Neither the environment nor another test says how many threads."""
    for name in ("DELTARULE_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield
    dr.set_num_threads(None)


# ---- training -----------------------------------------------------------------------------------

N_ROWS = 413  # batches of 300 and 113: more rows than a block, and a remainder with few threads
WIDTHS = [range(first, first + 5) for first in range(1, 71, 5)]  # every width from 1 to 70


def trainer_of(widths, case):
    """Six dense layers, two of them wide enough to be worth threads, and all else by turns."""
    first, *rest = widths
    names = ("tanh", "relu", "silu", "elu", "sigmoid")
    layers = [dr.Input(first), dr.Standardize(), dr.Dense(130, "relu"), dr.Dropout(0.1)]
    layers += [dr.Dense(130, "tanh")]
    layers += [dr.Dense(n, names[(n + case) % 5]) for n in rest[:-1]]
    layers += [dr.Dense(rest[-1])]
    if case % 3 != 2:
        layers += [dr.Rescale()]
    net = dr.Network(layers, dtype=("float32", "float64")[case % 2], seed=case)
    optimizer = (dr.SGD(0.01, momentum=0.9, l2=1e-3), dr.Adam(0.01, l2=1e-4))[case // 2 % 2]
    return dr.Trainer(net, optimizer=optimizer, loss=("mse", "huber")[case % 2])


def trained(widths, case, n_threads, pieces=()):
    """The bits of a training; `pieces` are the (steps, threads) of the runs before the last one."""
    g = rng(case)
    X, Y = g.normal(size=(N_ROWS, widths[0])), g.normal(size=(N_ROWS, widths[-1]))
    V, T = g.normal(size=(270, widths[0])), g.normal(size=(270, widths[-1]))
    settings = {
        "epochs": 4,
        "batch_size": 300,
        "shuffle": case % 4 != 3,
        "sample_weight": g.uniform(0, 2, N_ROWS) if case % 3 == 0 else None,
        "validation_data": (V, T),
    }
    trainer = trainer_of(widths, case)
    for max_steps, count in pieces:
        trainer.run(X, Y, max_steps=max_steps, n_threads=count, **settings)
    history = trainer.run(X, Y, n_threads=n_threads, **settings)
    assert history.stopped_by == "epochs"
    assert trainer.network.n_steps == 8
    assert np.isfinite(trainer.network.theta).all()
    return trainer.network.theta.tobytes(), {k: history[k].tobytes() for k in ("loss", "val_loss")}


@pytest.mark.parametrize("case", range(len(WIDTHS)))
def test_training_has_the_same_bits_on_any_number_of_threads(case):
    widths = WIDTHS[case]
    expected = trained(widths, case, 1)
    for n_threads in MORE:
        assert trained(widths, case, n_threads) == expected, f"{n_threads} threads"
    assert trained(widths, case, 2) == expected, "a second time"
    assert trained(widths, case, 2, [(1, 2)] * 7) == expected, "with pauses"
    assert trained(widths, case, 1, [(1, 7), (2, 1), (3, 3)]) == expected, "with other threads"


# Each W is over 512 KB: its units are shared out, not the columns, in blocks of up to 150 rows.
LARGE = 301, 517, 390, 600


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["plain", "between", "softmax"])
def test_large_layers_have_the_same_bits_on_any_number_of_threads(kind, dtype):
    """Next to each other, with others between them that are shared out by columns, as output."""
    between = {"between": [dr.Dropout(0.2), dr.Activation("elu")]}.get(kind, [])
    output = dr.Dense(LARGE[3], "softmax" if kind == "softmax" else "identity")
    layers = [dr.Input(LARGE[0]), dr.Dense(LARGE[1], "silu"), *between]
    layers += [dr.Dense(LARGE[2], "tanh"), *between, output]
    g = rng(1)
    X, Y = g.normal(size=(N_ROWS, LARGE[0])), g.normal(size=(N_ROWS, LARGE[3]))
    loss = "mse"
    if kind == "softmax":
        loss, Y = "cross_entropy", g.integers(0, LARGE[3], N_ROWS)

    def bits(n_threads):
        net = dr.Network(layers, dtype=dtype, seed=3)
        trainer = dr.Trainer(net, optimizer=dr.Adam(0.001), loss=loss)
        history = trainer.run(X, Y, epochs=2, batch_size=300, n_threads=n_threads)
        dr.set_num_threads(n_threads)
        value, gradient = net.gradient(X, Y, loss=loss)
        return net.theta.tobytes(), history["loss"].tobytes(), value, gradient.tobytes()

    first = bits(1)
    for n_threads in MORE:
        assert bits(n_threads) == first, n_threads


def network(dtype="float32", seed=0):
    return dr.Network([64, 300, 200, 3], activation="tanh", dtype=dtype, seed=seed)


def rows(n, width=64, seed=0):
    X = rng(seed, n).normal(size=(n, width))
    return X, np.sin(X[:, :3])


A_WHILE = {"epochs": 10**9, "max_seconds": 0.3, "batch_size": 300, "progress": False}


@counted
@pytest.mark.parametrize("n_threads", [1, 2, 3, 7])
def test_training_uses_the_threads(n_threads):
    """So that the tests above do not compare one thread with itself."""
    X, Y = rows(N_ROWS)
    net = network()
    assert threads_used(lambda: net.fit(X, Y, n_threads=n_threads, **A_WHILE)) == n_threads
    trainer = trainer_of(WIDTHS[0], 0)  # the smallest of those above
    X, Y = X[:, :1], Y[:, :1].repeat(5, axis=1)
    assert threads_used(lambda: trainer.run(X, Y, n_threads=n_threads, **A_WHILE)) == n_threads


@counted
def test_evaluate_and_predict_use_the_threads():
    X, Y = (np.broadcast_to(a, (100_000, a.size)) for a in (np.ones(64), np.ones(3)))
    net = network()
    assert threads_used(lambda: net.predict(X, n_threads=3)) == 3
    assert threads_used(lambda: net.evaluate(X, Y, n_threads=2)) == 2


@counted
def test_little_work_starts_no_thread():
    X, Y = rows(64, 8)
    net = dr.Network([8, 20, 3], seed=0)
    assert threads_used(lambda: net.fit(X, Y, n_threads=7, **A_WHILE)) == 1
    assert threads_used(lambda: [net.predict(X, n_threads=7) for _ in range(5000)]) == 1


def test_gradient_backward_and_evaluate_have_the_same_bits():
    X, Y = rows(1000)
    results = []
    for n_threads in (1, *MORE):
        dr.set_num_threads(n_threads)
        net = network()
        loss, gradient = net.gradient(X, Y, training=True)
        bits = [a.tobytes() for a in (gradient, *net.backward(X, Y))]
        results.append((loss, net.evaluate(X, Y)["loss"], *bits))
    assert all(result == results[0] for result in results)


# ---- predictions --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(70, 200, 200, 33, 1), (19, 260, 260, 3), (5, 12, 7, 4)])
def test_a_row_has_the_same_bits_everywhere(sizes, dtype):
    """One by one, in batches of 7, reversed, whole, and whole on any number of threads."""
    X = rng(sizes[0]).normal(size=(1000, sizes[0])).astype(dtype)
    net = dr.Network(list(sizes), activation="silu", output="sigmoid", dtype=dtype, seed=1)
    whole = net.predict(X, n_threads=1)
    one_by_one = [net.predict(X[i : i + 1]) for i in range(1000)]
    sevens = [net.predict(X[i : i + 7]) for i in range(0, 1000, 7)]
    assert np.array_equal(np.concatenate(one_by_one), whole)
    assert np.array_equal(np.concatenate(sevens), whole)
    for n_threads in (1, *MORE, 10**9):
        assert np.array_equal(net.predict(X, n_threads=n_threads), whole)
        assert np.array_equal(net.predict(X[::-1], n_threads=n_threads)[::-1], whole)


def test_threads_of_the_users_own():
    """Two predict with one network, two fit their own: each has the bits that it has alone."""
    X, Y = rows(N_ROWS)

    def fitted(seed):
        net = network(seed=seed)
        net.fit(X, Y, epochs=5, batch_size=300, n_threads=2)
        return net.theta.tobytes()

    shared = network()
    tasks = [lambda: shared.predict(X.repeat(5, axis=0), n_threads=3).tobytes()] * 2
    tasks += [lambda: fitted(1), lambda: fitted(2)]
    expected = [task() for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda task: task(), tasks)) == expected


# ---- who decides how many -----------------------------------------------------------------------


def default():
    return dr.build_info()["n_threads"]


@counted
def test_argument_before_setting_before_environment(monkeypatch):
    available = default()
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setenv("DELTARULE_NUM_THREADS", "5")
    assert default() == 5
    dr.set_num_threads(3)
    assert default() == 3
    net, (X, Y) = network(), rows(N_ROWS)
    assert threads_used(lambda: net.fit(X, Y, **A_WHILE)) == 3
    assert threads_used(lambda: net.fit(X, Y, n_threads=2, **A_WHILE)) == 2
    dr.set_num_threads(None)
    monkeypatch.setenv("DELTARULE_NUM_THREADS", "")
    assert default() == 6
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert default() == available


@pytest.mark.parametrize(("bad", "error"), [
    (0, ValueError), (-1, ValueError), (-(10**30), ValueError), (1.0, TypeError),
    ("2", TypeError), (True, TypeError), (np.array(2), TypeError), ([2], TypeError),
])  # fmt: skip
def test_bad_counts_are_refused(bad, error):
    (X, Y), net = rows(20), network()
    kept = net.theta.copy()
    dr.set_num_threads(2)
    for use in (
        lambda: net.fit(X, Y, n_threads=bad),
        lambda: dr.Trainer(net).run(X, Y, n_threads=bad),
        lambda: net.predict(X.astype("float32"), n_threads=bad),
        lambda: net.evaluate(X, Y, n_threads=bad),
        lambda: dr.set_num_threads(bad),
    ):
        with pytest.raises(error, match=r"n_threads must be an integer >= 1, got"):
            use()
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0
    assert default() == 2
    dr.set_num_threads(np.uint64(10**12))
    assert default() == 1024


# ---- failures -----------------------------------------------------------------------------------

BAD_PLACES = {  # array: row and value, in the order of rows
    "late X": {"X": (405, np.nan)},
    "late y": {"Y": (299, -np.inf)},
    "two rows of X": {"X": (12, np.nan), "X2": (250, np.inf)},
    "X after y": {"X": (250, np.nan), "Y": (3, np.nan)},
    "X before y": {"X": (3, np.nan), "Y": (250, np.nan)},
    "validation": {"V": (269, np.nan)},
}


@pytest.mark.parametrize("place", list(BAD_PLACES))
def test_a_workers_error_reaches_the_caller(place):
    """The same ValueError as on one thread, and a network as it was; then all goes on."""
    (X, Y), (V, T) = rows(N_ROWS), rows(270)
    good = X.copy(), Y.copy()
    for name, (row, value) in BAD_PLACES[place].items():
        {"X": X, "Y": Y, "V": V}[name[0]][row, 1] = value
    messages = []
    for n_threads in (1, *MORE):
        net = network()
        kept = net.theta.copy()
        settings = {"batch_size": 300, "shuffle": False, "epochs": 4, "n_threads": n_threads}
        with pytest.raises(ValueError, match="must be finite, got") as info:
            net.fit(X, Y, validation_data=(V, T), **settings)
        messages.append(str(info.value))
        assert np.array_equal(net.theta, kept)
        assert net.n_steps == 0
        net.fit(*good, **settings)
    assert set(messages) == {messages[0]}


REFUSED = """
    import ctypes, json, threading
    import numpy as np
    import deltarule as dr

    def result():
        X = np.random.default_rng(0).normal(size=(413, 64))
        net = dr.Network([64, 300, 200, 3], activation="tanh", seed=0)
        history = net.fit(X, X[:, :3], epochs=3, batch_size=300, n_threads=7)
        return net.theta.tobytes() + net.predict(X, n_threads=7).tobytes()

    expected = result()
    libc, attributes = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    assert libc.pthread_attr_init(attributes) == 0
    assert libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(1 << 47)) == 0
    assert libc.pthread_setattr_default_np(attributes) == 0
    try:
        threading.Thread(target=print).start()
        refused = False
    except RuntimeError:
        refused = True
    print(json.dumps([refused, result() == expected]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc on Linux")
def test_where_the_system_refuses_threads_there_are_fewer():
    """No stack of 2^47 bytes fits into the address space, so no thread can start."""
    refused, same = run_python(REFUSED)
    if not refused:
        pytest.skip("this system starts threads with impossible stacks")
    assert same
