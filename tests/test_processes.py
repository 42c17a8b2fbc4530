"""Processes: what they say about threads, fork, spawn, exit, neighbours, modes, memory."""

import json
import multiprocessing
import os
import sys

import numpy as np
import pytest

import deltarule as dr
from helpers import rng, run_python

SILENT = {"DELTARULE_NUM_THREADS": "", "OMP_NUM_THREADS": ""}  # which is as if they were not set
ENVIRONMENT = """
    import json, os, sys, warnings
    import numpy as np
    import deltarule as dr

    X = np.ones((9, 2))
    found = []
    for name in ("OMP_NUM_THREADS", "DELTARULE_NUM_THREADS"):
        for text in json.loads(sys.argv[1]):
            os.environ[name] = text
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                for _ in range(3):
                    count = dr.build_info()["n_threads"]
                    dr.Network([2, 1], seed=0).fit(X, X[:, 0], epochs=1)
            found.append([name, text, count, [str(each.message) for each in caught]])
            os.environ[name] = ""
    print(json.dumps([dr.build_info()["n_threads"], found]))
"""


def test_what_the_environment_says():
    """What makes no sense gives the default and one warning; of a list the first counts."""
    sense = {"1": 1, "3": 3, "4,2": 4, " 2 ": 2, "1024": 1024}
    nonsense = ["0", "-3", "abc", "1000000000", "2.5", ",4", "nan", "9" * 5000]
    available, found = run_python(ENVIRONMENT, json.dumps([*sense, *nonsense]), env=SILENT)
    assert 1 <= available <= (os.cpu_count() or 1)
    for name, text, count, messages in found:
        if text in sense:
            assert (count, messages) == (sense[text], [])
        else:
            assert count == available
            assert len(messages) == 1, (text, messages)
            assert messages[0].startswith(name)
    assert len(found) == 2 * (len(sense) + len(nonsense))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_one_allowed_processor_is_one_thread():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    count = "import deltarule; print(deltarule.build_info()['n_threads'])"
    assert run_python(f"{one}; {count}", env=SILENT) == 1


# ---- fork, spawn, exit --------------------------------------------------------------------------

FORK = """
    import json, os, signal
    import numpy as np
    import deltarule as dr

    X = np.random.default_rng(0).normal(size=(413, 64))
    y = X[:, :3]

    def fitted(seed):
        net = dr.Network([64, 300, 200, 3], activation="tanh", seed=seed)
        net.fit(X, y, epochs=3, batch_size=300, n_threads=3)
        return net.theta.tobytes() + net.predict(X, n_threads=2).tobytes()

    def in_a_child(work):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # the watchdog: a child that waits for threads it has not is killed
            os.write(writer, b"same" if work() == expected else b"else")
            os._exit(0)
        os.close(writer)
        told = os.read(reader, 4).decode()
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told]

    expected = fitted(0)
    first = in_a_child(lambda: fitted(0))
    grandchild = in_a_child(lambda: expected if in_a_child(lambda: fitted(0)) == first else None)
    print(json.dumps([first, grandchild, fitted(0) == expected]))  # the parent goes on
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_after_threads_were_used_can_fit():
    first, grandchild, again = run_python(FORK, timeout=100)
    assert first == grandchild == [0, "same"]
    assert again


def test_a_network_goes_to_spawned_workers():
    X = rng(0).normal(size=(413, 64))
    layers = [dr.Input(64), dr.Standardize(), dr.Dense(300, "tanh"), dr.Dropout(0.2), dr.Dense(3)]
    net = dr.Network(layers, seed=0)
    net.fit(X, X[:, :3], epochs=2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        results = pool.map(net.predict, [X, X[:1], X[1:]])
    assert results[0].tobytes() == net.predict(X).tobytes()
    assert np.concatenate(results[1:]).tobytes() == results[0].tobytes()


EXIT = """
    import threading, time
    import numpy as np
    import deltarule as dr

    X = np.random.default_rng(0).normal(size=(413, 64))
    large, small = np.broadcast_to(X[:1], (2_000_000, 64)), X[:1].astype("float32")
    net = dr.Network([64, 300, 200, 3], activation="tanh", seed=0)
    forever = {"epochs": 10**9, "batch_size": 300, "n_threads": N_THREADS}
    started = threading.Event()

    def own(y_true, y_pred):
        return (y_pred**2).sum(axis=1), 2 * y_pred

    def work():
        started.set()
        while True:
            WORK

    class Slow:  # what other libraries tidy up takes its time, and lets other threads run
        def __del__(self):
            end = time.monotonic() + 0.25
            while time.monotonic() < end:
                time.sleep(0.005)

    slow = Slow()
    threading.Thread(target=work, daemon=True).start()
    time.sleep(started.wait() / 10)
"""
ENDLESS = {
    "fit": "net.fit(X, X[:, :3], **forever)",
    "callback": "net.fit(X, X[:, :3], callbacks=[lambda state: None], **forever)",
    "own loss": "net.fit(X, X[:, :3], loss=own, **forever)",
    "large predict": "net.predict(large, n_threads=N_THREADS)",
    "predict": "net.predict(X, n_threads=N_THREADS)",
    "small predict": "net.predict(small)",
}


@pytest.mark.parametrize("work", list(ENDLESS))
@pytest.mark.parametrize("n_threads", [1, 2])
def test_exit_while_a_daemon_thread_is_at_work(work, n_threads):
    script = EXIT.replace("WORK", ENDLESS[work]).replace("N_THREADS", str(n_threads))
    done = run_python(script, check=False, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


# ---- what others do meanwhile -------------------------------------------------------------------

CHANGED = """
    import json, threading
    import numpy as np
    import deltarule as dr

    X = np.random.default_rng(0).normal(size=(2000, 64)).astype("float32")
    y = np.zeros(2000, np.int64)
    ended = threading.Event()

    def change():
        k = 0
        while not ended.is_set():
            k += 1
            X[k % 2000] = (np.nan, 1.0, 1e38, -2.0)[k // 2000 % 4]
            y[k % 2000] = (0, 2, 10**12, -1, 1)[k // 3000 % 5]

    thread = threading.Thread(target=change)
    thread.start()
    for k in range(60):
        net = dr.Network([64, 200, 100, 3], output="softmax", seed=k)
        try:
            net.fit(X, y, epochs=3, batch_size=300, n_threads=1 + k % 3)
            net.predict(X, n_threads=2)
        except (ValueError, dr.DivergenceError):
            pass
        assert np.isfinite(net.theta).all()
    ended.set()
    thread.join()
    print(json.dumps("alive"))
"""


def test_data_that_change_during_a_fit_crash_nothing():
    assert run_python(CHANGED) == "alive"


def test_data_that_are_deleted_during_a_fit_stay_until_its_end():
    holder = [np.random.default_rng(0).normal(size=(500, 64))]
    one, other = (dr.Network([64, 20, 1], seed=0) for _ in range(2))
    one.fit(holder[0].copy(), holder[0][:, 0].copy(), epochs=5)
    other.fit(holder[0], holder[0][:, 0], epochs=5, callbacks=[lambda state: holder.clear()])
    assert np.array_equal(one.theta, other.theta)


NEIGHBOURS = """
    import json, sys
    import numpy as np

    rows = np.random.default_rng(0).normal(size=(413, 64))

    def use(name):
        if name == "deltarule":
            import deltarule as dr
            net = dr.Network([64, 300, 200, 3], activation="tanh", seed=0)
            net.fit(rows, rows[:, :3], epochs=3, batch_size=300, n_threads=3)
            return net.theta.tobytes().hex()[:4000] + net.predict(rows).tobytes().hex()[:4000]
        if name == "sklearn":  # threads of OpenMP
            from sklearn.cluster import KMeans
            return KMeans(3, n_init=1, random_state=0).fit(rows).inertia_
        import torch  # its own OpenMP, and MKL
        return float((torch.ones(600, 600) @ torch.ones(600, 600)).sum())

    print(json.dumps([use(name) for name in sys.argv[1:]]))
"""


@pytest.mark.parametrize("neighbour", ["sklearn", "torch"])
def test_beside_another_library_in_any_order(neighbour):
    pytest.importorskip(neighbour)
    (alone,) = run_python(NEIGHBOURS, "deltarule")
    ours, theirs, ours_again = run_python(NEIGHBOURS, "deltarule", neighbour, "deltarule")
    theirs_first, ours_second = run_python(NEIGHBOURS, neighbour, "deltarule")
    assert ours == ours_again == ours_second == alone
    assert abs(theirs - theirs_first) <= 1e-9 * abs(theirs)


# ---- modes and memory ---------------------------------------------------------------------------


def subnormals():
    return float(np.float32(1e-40) * np.float32(1)) > 0 and np.float64(5e-324) * np.float64(1) > 0


def test_subnormal_numbers_are_as_before_after_every_call():
    X, seen = rng(0).normal(size=(413, 64)).astype("float32"), []
    y, bad, net = X[:, :3], X * np.nan, dr.Network([64, 300, 200, 3], seed=0)

    def metric(y_true, y_pred):
        return float(subnormals())

    watch = {"callbacks": [lambda state: seen.append(subnormals())], "metrics": [metric]}
    huge = net.copy()
    huge.theta[:] = 1e30
    history = net.fit(X, y, epochs=3, batch_size=300, n_threads=3, **watch)
    assert seen == [True] * 3
    assert (history["metric"] == 1).all()
    for call in (
        lambda: net.predict(X, n_threads=2), lambda: net.predict(X[:1]),
        lambda: net.evaluate(X, y), lambda: net.gradient(X, y), lambda: net.backward(X, y),
        lambda: net.trace(X, y), lambda: dr.Trainer(net).step(X[:2], y[:2]),
        lambda: dr.Trainer(net).step(X, y), lambda: dr.Trainer(net).step(bad[:2], y[:2]),
        lambda: net.fit(bad, y, n_threads=2), lambda: huge.fit(X, y, n_threads=2),
        lambda: dr.Trainer(huge).step(X[:2], y[:2]), lambda: dr.Trainer(net).apply(net.theta),
    ):  # fmt: skip
        try:
            call()
        except (ValueError, dr.DivergenceError) as error:
            seen.append(type(error).__name__)
        assert subnormals()
    assert seen[3:] == ["ValueError", "ValueError", "DivergenceError", "DivergenceError"]


MANY = """
    import json
    import numpy as np
    import deltarule as dr

    def anonymous():
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if "RssAnon" in line)

    X = np.random.default_rng(0).normal(size=(413, 64)).astype("float32")
    wide = dr.Network([64, 300, 200, 3], seed=0)
    out = np.empty((1, 1), np.float32)

    def fits(n):
        for k in range(n):
            net = dr.Network([2, 3, 1], seed=k)
            net.fit(X[:8, :2], X[:8, 2], epochs=1)
            net.predict(X[:1, :2].copy(), out)
            dr.Trainer(net).step(X[:8, :2].copy(), X[:8, 2].copy())
            if k % 100 == 0:  # threads, and their stacks
                wide.fit(X, X[:, :3], epochs=2, batch_size=300, n_threads=5)
                wide.predict(X, n_threads=5)

    fits(1000)
    start = anonymous()
    fits(10_000)
    print(json.dumps(anonymous() - start))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_ten_thousand_fits_leave_flat_memory():
    assert run_python(MANY) < 1.5e6  # 150 bytes a fit would be a leak
