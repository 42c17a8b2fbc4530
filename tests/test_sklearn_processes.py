"""Imports, Ctrl-C and threads, in processes of their own."""

import threading

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from helpers import counted, run_python, threads_used
from sklearn_helpers import EITHER, UNCONVERGED, MLPRegressor, outputs, problem


def test_importing_deltarule_does_not_import_scikit_learn():
    assert run_python(
        """
        import json, sys
        import deltarule
        before = "sklearn" in sys.modules
        import deltarule.sklearn
        print(json.dumps([before, "sklearn" in sys.modules]))
        """
    ) == [False, True]


def test_without_scikit_learn_the_error_says_what_to_install():
    done = run_python(
        """
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("sklearn", "scipy", "joblib"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        import deltarule
        try:
            import deltarule.sklearn
        except ImportError as error:
            print(type(error).__name__, error)
            assert deltarule.Network([2, 1]).predict([[0.0, 0.0]]).shape == (1, 1)
            sys.exit(0)
        sys.exit(1)
        """,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ImportError" in done.stdout
    assert "scikit-learn" in done.stdout
    assert "pip install" in done.stdout


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("settings", ["{}", "{'solver': 'lbfgs'}", "{'early_stopping': True}"])
def test_ctrl_c_warns_and_leaves_a_usable_model(name, settings):
    found = run_python(
        f"""
        import json, os, signal, threading, time, warnings
        import numpy as np
        from deltarule.sklearn import {name}

        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(20000, 50)), rng.integers(0, 3, 20000)
        long = dict(max_iter=10**6, tol=0.0, n_iter_no_change=10**6, max_fun=10**9)
        made = {name}(hidden_layer_sizes=(64, 64), random_state=0, **long)
        made.set_params(**{settings})
        sent = []

        def interrupt():
            while not getattr(made, "coefs_", None):  # the solver may still be imported
                time.sleep(0.01)
            time.sleep(0.5)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                made.fit(X, y)
                raised = False
            except KeyboardInterrupt:
                raised = True
        waited = time.perf_counter() - sent[0]
        finite = bool(np.isfinite(made.predict(X[:9])).all()) if hasattr(made, "coefs_") else None
        print(json.dumps({{
            "raised": raised, "waited": waited, "finite": finite,
            "warnings": [str(each.message) for each in caught],
        }}))
        """
    )
    assert found["finite"] is True
    if "lbfgs" in settings:  # scikit-learn lets this one through
        assert found["raised"] or any("interrupted" in each for each in found["warnings"])
    else:
        assert found["raised"] is False
        assert found["warnings"] == ["Training interrupted by user."]
    assert found["waited"] < 3  # promised: half a second, on a machine that does nothing else


@UNCONVERGED
@EITHER
def test_two_threads_predict_the_same(cls):
    X, y = problem(cls, 2000)
    made = cls(hidden_layer_sizes=(32,), max_iter=2, random_state=0).fit(X, y)
    results = [None] * 4

    def predict(i):
        results[i] = [outputs(made, X) for _ in range(5)]

    threads = [threading.Thread(target=predict, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = outputs(made, X)
    assert all(np.array_equal(each, expected) for result in results for each in result)


@counted
@UNCONVERGED
@pytest.mark.parametrize("n_threads", [1, 2])
def test_workers_obey_omp_num_threads(n_threads, monkeypatch):
    """joblib tells its workers so how many threads each may use."""
    monkeypatch.delenv("DELTARULE_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", str(n_threads))
    X = np.random.default_rng(0).normal(size=(4000, 100))
    model = MLPRegressor(hidden_layer_sizes=(256, 256), max_iter=5)
    assert threads_used(lambda: model.fit(X, X[:, 0])) == n_threads
