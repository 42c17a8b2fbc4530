"""Inside scikit-learn's tools: searches, pipelines, stacking, calibration, joblib's workers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingRegressor, StackingClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_helpers import (
    EITHER,
    UNCONVERGED,
    MLPClassifier,
    MLPRegressor,
    outputs,
    problem,
)

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 30, "random_state": 2, "learning_rate_init": 0.01}
QUIET = {"PYTHONWARNINGS": "ignore::UserWarning"}  # too few iterations, in the workers
EXAMPLE = Path(__file__).parent.parent / "examples" / "scikit_learn.py"
IMPORT = "from deltarule.sklearn import MLPClassifier, MLPRegressor"


@EITHER
def test_grid_search_over_a_pipeline(cls):
    X, y = problem(cls, 200)
    name = cls.__name__.lower()
    pipeline = make_pipeline(StandardScaler(), cls(**SMALL))
    grid = {f"{name}__alpha": [1e-4, 1.0], f"{name}__hidden_layer_sizes": [(1,), (8,)]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert len(search.cv_results_["mean_test_score"]) == 4
    assert search.best_params_[f"{name}__hidden_layer_sizes"] == (8,)
    best = search.best_params_
    assert search.best_score_ == cross_val_score(pipeline.set_params(**best), X, y, cv=3).mean()
    assert np.array_equal(pipeline.fit(X, y).predict(X), search.predict(X))


@pytest.mark.parametrize("resource", ["n_samples", "max_iter"])
@EITHER
def test_halving_grid_search(cls, resource):
    X, y = problem(cls, 240)
    more = {"max_resources": 36, "min_resources": 12} if resource == "max_iter" else {}
    search = HalvingGridSearchCV(
        cls(**SMALL), {"alpha": [1e-4, 1e-2, 50.0]}, cv=3, resource=resource, random_state=0, **more
    ).fit(X, y)
    assert search.best_params_["alpha"] < 50
    assert search.n_iterations_ >= 2


@pytest.mark.parametrize("backend", ["loky", "threading"])
@EITHER
def test_cross_validation_in_parallel_gives_the_same_scores(cls, backend, monkeypatch):
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    X, y = problem(cls, 200)
    made = cls(**SMALL)
    one = cross_val_score(made, X, y, cv=4, n_jobs=1)
    with joblib.parallel_backend(backend, n_jobs=2):
        two = cross_val_score(made, X, y, cv=4, n_jobs=2)
    assert np.array_equal(one, two)
    assert len(set(one)) > 1


@EITHER
def test_many_threads_fit_their_own_estimators(cls):
    X, y = problem(cls)

    def fit(seed):
        return outputs(cls(**SMALL | {"random_state": seed}).fit(X, y), X)

    alone = [fit(seed) for seed in range(6)]
    together = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(fit)(seed) for seed in range(6)
    )
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def test_stacking_voting_and_one_against_the_rest():
    X, y = problem(MLPClassifier, 200)
    parts = [("mlp", MLPClassifier(**SMALL)), ("linear", LogisticRegression())]
    for made in (
        StackingClassifier(parts, final_estimator=LogisticRegression(), cv=3),
        VotingClassifier(parts, voting="soft"),
        OneVsRestClassifier(MLPClassifier(**SMALL)),
    ):
        made.fit(X, y)
        assert made.score(X, y) > 0.7
        assert made.predict_proba(X).shape == (200, 3)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    X, y = problem(MLPClassifier, 200)
    made = CalibratedClassifierCV(MLPClassifier(**SMALL), method=method, cv=3).fit(X, y)
    assert abs(made.predict_proba(X).sum(axis=1) - 1).max() < 1e-12
    assert made.score(X, y) > 0.7


def test_bagging_and_sample_weights():
    X, y = problem(MLPRegressor, 200)
    made = BaggingRegressor(MLPRegressor(**SMALL), 3, random_state=0).fit(X, y)
    weighted = made.fit(X, y, sample_weight=np.linspace(0.5, 2, 200))
    assert weighted.score(X, y) > 0.3


@EITHER
def test_inspection(cls):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    found = permutation_importance(made, X, y, n_repeats=2, random_state=0)
    assert found.importances_mean.max() > 0
    _, train, test = learning_curve(cls(**SMALL), X, y, train_sizes=[0.5, 1.0], cv=3)
    assert train.shape == test.shape == (2, 3)
    assert len(cross_val_predict(cls(**SMALL), X, y, cv=3)) == 130


@EITHER
def test_a_pipeline_is_dumped_and_loaded(cls, tmp_path):
    X, y = problem(cls)
    made = make_pipeline(StandardScaler(), cls(**SMALL)).fit(X, y)
    for compress in (0, 3):
        path = tmp_path / f"model{compress}.joblib"
        joblib.dump(made, path, compress=compress)
        assert np.array_equal(outputs(joblib.load(path), X), outputs(made, X))


def run_example(path):
    """Runs a script as a user would; returns the numbers after its equals signs."""
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "gives the same probabilities: True" in done.stdout
    assert re.search(r"early stopping after \d+ epochs of at most 500", done.stdout)
    return [float(number) for number in re.findall(r"= (\d\.\d+)$", done.stdout, re.MULTILINE)]


def test_the_example_runs_with_either_import_line(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count(IMPORT) == 1
    swapped = tmp_path / "swapped.py"
    changed = IMPORT.replace("deltarule.sklearn", "sklearn.neural_network")
    swapped.write_text(text.replace(IMPORT, changed), encoding="utf-8")
    assert "import deltarule" not in swapped.read_text(encoding="utf-8")
    ours, theirs = run_example(EXAMPLE), run_example(swapped)
    assert len(ours) == len(theirs) == 11
    for accuracy in (ours[4], theirs[4]):  # of the best of the grid
        assert accuracy > 0.95
    for scores in (ours[5:9], theirs[5:9]):  # of the warm start
        assert scores == sorted(scores)
    assert min(ours[-1], theirs[-1]) > 0.2
