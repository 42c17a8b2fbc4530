"""Memory: data larger than memory is read in place; many fits leave nothing behind."""

import pytest

from helpers import run_python

ANONYMOUS = """
    import json, os, signal, sys, threading, time
    import numpy as np
    import deltarule as dr

    def anonymous():
        for line in open("/proc/self/status"):
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
        raise OSError("no RssAnon")
"""

MAPPED = (
    ANONYMOUS
    + """
    path, interrupt = sys.argv[1], sys.argv[2] == "interrupt"
    n, width = 2**21, 256  # 2 GiB
    with open(path, "wb") as file:
        file.truncate(n * width * 4)
    X = np.memmap(path, np.float32, "r", shape=(n, width))
    y = np.broadcast_to(np.float32(1), n)
    layers = [dr.Input(width), dr.Standardize(), dr.Dense(4, "relu"), dr.Dense(1)]
    dr.Network(layers, seed=0).fit(X[:1000], y[:1000], epochs=2)  # what any fit allocates once
    net = dr.Network(layers, seed=0)
    start, peak, done, sent = anonymous(), [0], threading.Event(), []

    def watch():
        begin = time.perf_counter()
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous())
            if interrupt and not sent and time.perf_counter() - begin > 1.0:
                sent.append(time.perf_counter())
                os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    raised = False
    try:
        net.fit(X, y, epochs=10**6 if interrupt else 1, batch_size=512, shuffle=SHUFFLE)
    except KeyboardInterrupt:
        raised = True
    ended = time.perf_counter()
    done.set()
    watcher.join()
    print(json.dumps({"grown": max(peak[0], anonymous()) - start, "raised": raised,
                      "steps": net.n_steps, "waited": ended - sent[0] if sent else None,
                      "finite": bool(np.isfinite(net.theta).all())}))
"""
)


@pytest.mark.parametrize("shuffle", [False, True])
def test_fit_on_a_2_gb_memory_map_grows_anonymous_memory_by_less_than_100_mb(tmp_path, shuffle):
    path = tmp_path / "X.bin"
    try:
        result = run_python(MAPPED.replace("SHUFFLE", str(shuffle)), path, "whole")
    finally:
        path.unlink(missing_ok=True)
    assert result["steps"] == 2**21 // 512
    assert result["grown"] < 100e6
    assert result["finite"]


def test_ctrl_c_in_a_2_gb_memory_map(tmp_path):
    path = tmp_path / "X.bin"
    try:
        result = run_python(MAPPED.replace("SHUFFLE", "True"), path, "interrupt")
    finally:
        path.unlink(missing_ok=True)
    assert result["raised"]
    assert result["waited"] < 0.5
    assert result["finite"]
    assert result["grown"] < 100e6


FITS = (
    ANONYMOUS
    + """
    X = np.random.default_rng(0).normal(size=(64, 8))
    y = X.sum(axis=1)

    def fits(n):
        for k in range(n):
            layers = [dr.Input(8), dr.Standardize(), dr.Dense(64, "tanh"), dr.Dropout(0.1)]
            net = dr.Network([*layers, dr.Dense(1)], seed=k)
            net.fit(X, y, epochs=1, validation_data=(X, y), metrics=["rmse"])
            net.predict(X)
            net.trace(X, y)
            net.copy()

    fits(200)
    start = anonymous()
    fits(2000)
    print(json.dumps({"grown": anonymous() - start}))
"""
)


def test_two_thousand_fits_leave_flat_memory():
    assert run_python(FITS)["grown"] < 2e6  # 2000 leaks of this network alone: 6 MB


FAILURES = (
    ANONYMOUS
    + """
    X = np.random.default_rng(0).normal(size=(64, 8))
    y = X.sum(axis=1)
    X_bad = X.copy()
    X_bad[63, 7] = np.nan

    def stop(state):
        raise RuntimeError

    def fails(n):
        for k in range(n):
            net = dr.Network([8, 64, 1], seed=k)
            for arguments in ((X_bad, y), (X, y[:-1])):
                try:
                    net.fit(*arguments, epochs=1)
                except ValueError:
                    pass
            try:
                net.fit(X, y, epochs=1, callbacks=[stop])
            except RuntimeError:
                pass

    fails(200)
    start = anonymous()
    fails(1000)
    print(json.dumps({"grown": anonymous() - start}))
"""
)


def test_failed_fits_leave_flat_memory():
    assert run_python(FAILURES)["grown"] < 2e6


def test_a_fit_does_not_keep_the_users_arrays():
    import weakref

    import numpy as np

    import deltarule as dr

    class Owner(np.ndarray):
        pass

    X = np.ones((20, 3)).view(Owner)
    reference = weakref.ref(X)
    net = dr.Network([3, 2], seed=0)
    trainer = dr.Trainer(net)
    trainer.run(X, np.ones((20, 2)), epochs=1)
    net.fit(X, np.ones((20, 2)), epochs=1)
    del X
    assert reference() is None
    assert trainer is not None
