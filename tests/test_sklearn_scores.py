"""Shuffled training scores as well as scikit-learn's on the bundled data sets, over ten seeds."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_helpers import UNCONVERGED, estimator

pytestmark = UNCONVERGED

N_SEEDS = 10
DATA = {
    "digits": (load_digits, {"max_iter": 40, "batch_size": 64}, 0.95),
    "breast_cancer": (load_breast_cancer, {"max_iter": 60, "batch_size": 32}, 0.95),
    "iris": (load_iris, {"max_iter": 100, "batch_size": 16, "learning_rate_init": 0.01}, 0.9),
    "diabetes": (load_diabetes, {"max_iter": 30, "batch_size": 32, "alpha": 1.0}, 0.35),
}  # name: (loader, settings, what anybody's mean score exceeds)


def score(name, seed, *, peer):
    """Accuracy or R2 on the quarter held out by `seed`, which also starts the estimator."""
    loader, settings, _ = DATA[name]
    X, y = loader(return_X_y=True)
    regression = name == "diabetes"
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.25, random_state=seed, stratify=None if regression else y
    )
    kind = "regression" if regression else "multiclass"
    made = estimator(kind, peer=peer, hidden_layer_sizes=(32,), random_state=seed, **settings)
    if regression:
        made = TransformedTargetRegressor(made, transformer=StandardScaler())
    return make_pipeline(StandardScaler(), made).fit(X, y).score(X_test, y_test)


@pytest.mark.parametrize("name", DATA)
def test_the_mean_score_is_not_below_scikit_learns(name):
    """The mean paired difference is at least -2 standard errors of that difference."""
    ours, theirs = (
        np.array([score(name, seed, peer=peer) for seed in range(N_SEEDS)])
        for peer in (False, True)
    )
    difference = ours - theirs
    error = difference.std(ddof=1) / np.sqrt(N_SEEDS)
    print(f"{name}: {ours.mean():.4f}, scikit-learn {theirs.mean():.4f}, error {error:.4f}")
    assert theirs.mean() > DATA[name][2]
    assert ours.mean() > DATA[name][2]
    assert difference.mean() >= -2 * error
    if error == 0:
        assert np.array_equal(ours, theirs)
