"""The same initial weights and order of rows as scikit-learn: the same losses and weights."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.exceptions import ConvergenceWarning

from sklearn_helpers import (
    KINDS,
    SAME_CURVE,
    UNCONVERGED,
    UNEVEN,
    estimator,
    inputs,
    parameters,
    relative_error,
    target,
)
from tolerances import close

pytestmark = UNCONVERGED

EPOCHS = 20
SGD = {"solver": "sgd", "learning_rate_init": 0.02}
SOLVERS = {
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
    "adam_settings": {"solver": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3},
}
for schedule, more in {
    "constant": {},
    "invscaling": {"learning_rate_init": 0.1, "power_t": 0.3},
    "adaptive": {"tol": 10.0, "n_iter_no_change": 4},  # nothing improves by ten: three falls
}.items():
    SOLVERS |= {
        schedule: SGD | {"learning_rate": schedule, "momentum": 0.0} | more,
        f"{schedule}_momentum": SGD
        | {"learning_rate": schedule, "nesterovs_momentum": False}
        | more,
        f"{schedule}_nesterov": SGD | {"learning_rate": schedule} | more,
    }
WEIGHTED = [False, True]
ALPHAS = [1e-4, 0.1]


def pair(kind, X=None, y=None, sample_weight=None, **settings):
    """Ours and scikit-learn's, fitted with the same settings on the same rows."""
    X = inputs() if X is None else X
    y = target(kind) if y is None else y
    base = {"hidden_layer_sizes": (7, 6), "max_iter": EPOCHS, "n_iter_no_change": EPOCHS}
    settings = base | UNEVEN | settings
    ours, theirs = estimator(kind, **settings), estimator(kind, peer=True, **settings)
    for each in (ours, theirs):
        each.fit(X, y, sample_weight=sample_weight)
    return ours, theirs


def weights(n=130):
    """Positive weights from 0.1 to 3."""
    return np.random.default_rng(5).uniform(0.1, 3.0, n)


def assert_same_training(ours, theirs):
    assert relative_error(ours.loss_curve_, theirs.loss_curve_) < SAME_CURVE
    assert relative_error(ours.loss_, theirs.loss_) < SAME_CURVE
    assert close(parameters(ours), parameters(theirs), SAME_CURVE)
    if theirs.best_loss_ is None:
        assert ours.best_loss_ is None
        assert relative_error(ours.validation_scores_, theirs.validation_scores_) < SAME_CURVE
        assert ours.best_validation_score_ == pytest.approx(
            theirs.best_validation_score_, rel=SAME_CURVE
        )
    else:
        assert relative_error(ours.best_loss_, theirs.best_loss_) < SAME_CURVE
        assert ours.validation_scores_ is None
        assert ours.best_validation_score_ is None
    names = ("t_", "n_iter_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_")
    for name in names:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert [w.shape for w in ours.coefs_] == [w.shape for w in theirs.coefs_]
    assert [b.shape for b in ours.intercepts_] == [b.shape for b in theirs.intercepts_]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("weighted", WEIGHTED)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_curve_is_scikit_learns(kind, solver, weighted, alpha):
    sample_weight = weights() if weighted else None
    ours, theirs = pair(kind, sample_weight=sample_weight, alpha=alpha, **SOLVERS[solver])
    assert len(theirs.loss_curve_) == EPOCHS
    assert theirs.loss_curve_[-1] < 0.98 * theirs.loss_curve_[0]  # something was trained
    assert_same_training(ours, theirs)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", ["adam", "constant_nesterov"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_every_activation(kind, solver, activation):
    assert_same_training(*pair(kind, activation=activation, **SOLVERS[solver]))


@pytest.mark.parametrize("sizes", [3, (1,), (4, 3, 5, 2), [6], np.array([6, 2])], ids=str)
def test_hidden_layer_sizes(sizes):
    assert_same_training(*pair("binary", hidden_layer_sizes=sizes, activation="tanh"))


@pytest.mark.parametrize("batch_size", ["auto", 1, 65, 129, 130])
def test_batch_sizes(batch_size):
    X, y = inputs(260), target("multiclass", 260)
    assert_same_training(*pair("multiclass", X, y, batch_size=batch_size, max_iter=5))


def test_adaptive_lowers_the_rate_and_stops():
    """Every third epoch divides the rate by five, from 0.02 to below 1e-6: seven times."""
    settings = SGD | {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 2}
    ours, theirs = pair("regression", max_iter=100, **settings)
    assert_same_training(ours, theirs)
    assert ours.n_iter_ < 40
    assert ours._optimizer.learning_rate == pytest.approx(0.02 / 5**7, rel=1e-12)
    constant, _ = pair("regression", max_iter=ours.n_iter_, **SGD)
    assert relative_error(constant.loss_curve_, ours.loss_curve_) > 1e-3


def test_invscaling_lowers_the_rate():
    ours, theirs = pair("regression", **SOLVERS["invscaling_nesterov"])
    assert ours._optimizer.learning_rate == pytest.approx(theirs._optimizer.learning_rate, 1e-15)
    assert ours._optimizer.learning_rate == pytest.approx(0.1 / (20 * 130 + 1) ** 0.3, rel=1e-12)


@pytest.mark.parametrize("solver", ["adam", "constant_nesterov"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "four_outputs"])
def test_early_stopping_scores_the_same_rows(kind, solver):
    ours, theirs = pair(kind, early_stopping=True, validation_fraction=0.3, **SOLVERS[solver])
    assert_same_training(ours, theirs)


def test_both_stop_at_the_same_epoch():
    settings = {"tol": 1e-2, "n_iter_no_change": 3, "max_iter": 1000, "learning_rate_init": 0.01}
    ours, theirs = pair("multiclass", **settings)
    assert 10 < theirs.n_iter_ < 1000
    assert_same_training(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_set_by_hand_before_a_warm_start(kind):
    X, y, g = inputs(), target(kind), np.random.default_rng(8)
    settings = {"hidden_layer_sizes": (6,), "n_iter_no_change": EPOCHS} | UNEVEN
    made = [
        estimator(kind, peer=peer, max_iter=1, warm_start=True, **settings)
        for peer in (False, True)
    ]
    for each in made:
        each.fit(X, y)
    coefs = [g.uniform(-0.4, 0.4, w.shape) for w in made[1].coefs_]
    intercepts = [g.uniform(-0.4, 0.4, b.shape) for b in made[1].intercepts_]
    for each in made:
        each.coefs_ = [w.copy() for w in coefs]
        each.intercepts_[0] = intercepts[0].copy()
        each.intercepts_[1][...] = intercepts[1]
        each.set_params(max_iter=EPOCHS).fit(X, y)
    assert len(made[0].loss_curve_) == 1 + EPOCHS
    assert_same_training(*made)


def test_float32_takes_the_same_steps():
    """Both round to float32 after each operation: a thousand units of 6e-8 in a hundred steps."""
    X = inputs().astype(np.float32)
    for kind in ("multiclass", "regression"):
        y = target(kind).astype(np.float32) if kind == "regression" else target(kind)
        ours, theirs = pair(kind, X, y, activation="tanh")
        assert relative_error(ours.loss_curve_, theirs.loss_curve_) < 6e-5
        assert {w.dtype for w in (*ours.coefs_, *ours.intercepts_)} == {np.dtype(np.float32)}


def test_fitted_attributes_are_those_of_scikit_learn():
    for kind in ("binary", "regression"):
        for settings in ({}, {"early_stopping": True}, {"solver": "lbfgs", "batch_size": "auto"}):
            ours, theirs = pair(kind, **settings)
            public = {name for name in vars(theirs) if name.endswith("_") and name[0] != "_"}
            missing = {name for name in public if not hasattr(ours, name)}
            assert not missing
            if kind == "binary":
                assert np.array_equal(ours.classes_, theirs.classes_)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                for each in (ours, theirs):
                    assert each.fit(inputs(), target(kind)) is each
