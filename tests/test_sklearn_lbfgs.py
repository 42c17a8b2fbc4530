"""L-BFGS: SciPy's, with the gradient of the loss that is reported."""

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.exceptions import ConvergenceWarning

from sklearn_helpers import (
    KINDS,
    SAME_CURVE,
    SAME_MINIMUM,
    UNCONVERGED,
    estimator,
    inputs,
    parameters,
    relative_error,
    target,
)
from tolerances import DIFFERENCE_STEP, close

SETTINGS = {"solver": "lbfgs", "hidden_layer_sizes": (6,), "activation": "tanh", "random_state": 1}
SEVERAL_SQUARED = "four_outputs"  # where scikit-learn's gradient is not that of its loss (#8349)


def pair(kind, sample_weight=None, **settings):
    made = [estimator(kind, peer=peer, **SETTINGS | settings) for peer in (False, True)]
    return [each.fit(inputs(), target(kind), sample_weight=sample_weight) for each in made]


@UNCONVERGED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != SEVERAL_SQUARED])
def test_eight_iterations_are_scikit_learns(kind, weighted):
    sample_weight = np.random.default_rng(5).uniform(0.1, 3, len(inputs())) if weighted else None
    ours, theirs = pair(kind, sample_weight, max_iter=8, alpha=0.1)
    assert relative_error(ours.loss_, theirs.loss_) < SAME_MINIMUM
    assert close(parameters(ours), parameters(theirs), SAME_MINIMUM)
    assert ours.n_iter_ == theirs.n_iter_ == 8
    assert ours.t_ == theirs.t_ == 0


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "poisson"])
def test_both_find_a_minimum_of_a_convex_problem(kind):
    """One identity layer without a bottleneck: there is one minimum to find."""
    settings = {"activation": "identity", "alpha": 1e-2, "tol": 1e-6, "max_iter": 3000}
    ours, theirs = pair(kind, **settings)
    assert relative_error(ours.loss_, theirs.loss_) < 1e-4
    assert not hasattr(ours, "loss_curve_")
    assert not hasattr(ours, "best_loss_")


def squared_loss(fitted, X, y):
    """mean((a - y)^2) / 2 over rows and outputs, plus alpha / 2 times W^2 over rows."""
    penalty = sum(float((w**2).sum()) for w in fitted.coefs_)
    return ((fitted.predict(X) - y) ** 2).mean() / 2 + fitted.alpha * penalty / 2 / len(X)


def test_several_outputs_end_at_a_minimum_of_the_loss():
    """At the end the loss is flat: central differences, by hand, in every weight.

    scikit-learn's gradient is four times that of the data term here, so it ends elsewhere.
    """
    X, y = inputs(), target(SEVERAL_SQUARED)
    settings = SETTINGS | {"alpha": 1.0, "tol": 1e-7, "max_iter": 5000}
    ours = estimator(SEVERAL_SQUARED, **settings).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its line search gives up
        theirs = estimator(SEVERAL_SQUARED, peer=True, **settings).fit(X, y)
    assert relative_error(ours.loss_, squared_loss(ours, X, y)) < SAME_CURVE
    assert ours.loss_ < 0.999 * squared_loss(theirs, X, y)
    slopes = []
    for part in (*ours.coefs_, *ours.intercepts_):
        for i in np.ndindex(part.shape):
            kept = part[i]
            part[i] = kept + DIFFERENCE_STEP
            above = squared_loss(ours, X, y)
            part[i] = kept - DIFFERENCE_STEP
            slopes.append((above - squared_loss(ours, X, y)) / (2 * DIFFERENCE_STEP))
            part[i] = kept
    assert max(map(abs, slopes)) < 1e-3 * ours.loss_


def test_several_outputs_reach_the_least_squares_solution():
    X, y = inputs(), target(SEVERAL_SQUARED)
    ones = np.column_stack([X, np.ones(len(X))])
    best = ((ones @ np.linalg.lstsq(ones, y, rcond=None)[0] - y) ** 2).mean() / 2
    settings = SETTINGS | {"activation": "identity", "alpha": 0.0, "tol": 1e-7, "max_iter": 3000}
    ours = estimator(SEVERAL_SQUARED, **settings).fit(X, y)
    assert best * (1 - SAME_CURVE) < ours.loss_ < best * (1 + 1e-4)


@pytest.mark.parametrize("limit", [{"max_iter": 3}, {"max_fun": 6}])
def test_a_limit_warns_with_scikit_learns_words(limit):
    messages = []
    for peer in (False, True):
        made = estimator("multiclass", peer=peer, **SETTINGS | limit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            made.fit(inputs(), target("multiclass"))
        assert [each.category for each in caught] == [ConvergenceWarning]
        messages.append(re.sub(r"\d+\.\d+", "", str(caught[0].message)))
        assert made.n_iter_ <= max(limit.values())
    assert messages[0] == messages[1]


def test_tol_ends_the_search_earlier():
    settings = {"max_iter": 3000, "alpha": 0.1}
    loose, tight = (pair("regression", tol=tol, **settings)[0] for tol in (1e-2, 1e-5))
    assert loose.n_iter_ < tight.n_iter_
    assert loose.loss_ > tight.loss_


@UNCONVERGED
def test_a_warm_start_goes_on():
    X, y = inputs(), target("regression")
    made = estimator("regression", **SETTINGS, warm_start=True, max_iter=20).fit(X, y)
    first = made.loss_
    made.fit(X, y)
    assert made.loss_ < first
    assert made.n_iter_ <= 20


@UNCONVERGED
def test_float32_is_close_to_float64():
    X = inputs().astype(np.float32)
    made = estimator("regression", **SETTINGS, max_iter=8)
    made.fit(X, target("regression").astype(np.float32))
    double, _ = pair("regression", max_iter=8)
    assert close(made.predict(X), double.predict(inputs()), 1e-2)
