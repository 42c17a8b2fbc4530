"""Training in stages: `warm_start` and `partial_fit`."""

import re

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn_helpers import (
    EITHER,
    KINDS,
    SAME_CURVE,
    UNCONVERGED,
    UNEVEN,
    MLPClassifier,
    MLPRegressor,
    classifies,
    estimator,
    inputs,
    parameters,
    problem,
    relative_error,
    same_bits,
    target,
)
from tolerances import close

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 2, "batch_size": 32}


def classes_for(kind):
    """The argument that a first partial_fit of this kind needs."""
    if kind == "multilabel":
        return {"classes": [0, 1, 2]}
    y = target(kind)
    return {"classes": np.unique(y)} if kind in ("binary", "multiclass", "strings") else {}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("kind", [*KINDS, "strings"])
def test_partial_fit_takes_the_epochs_of_scikit_learn(kind, solver):
    X, y = inputs(), target(kind)
    settings = SMALL | UNEVEN | {"solver": solver, "learning_rate": "invscaling"}
    made = [estimator(kind, peer=peer, **settings) for peer in (False, True)]
    for each in made:
        for k in range(6):
            rows = slice(10 * k, 10 * k + 70)
            assert each.partial_fit(X[rows], y[rows], **classes_for(kind) if k < 2 else {}) is each
    ours, theirs = made
    assert relative_error(ours.loss_curve_, theirs.loss_curve_) < SAME_CURVE
    assert close(parameters(ours), parameters(theirs), SAME_CURVE)
    assert len(ours.loss_curve_) == 6
    assert (ours.t_, ours.n_iter_) == (theirs.t_, theirs.n_iter_) == (420, 1)
    assert np.mean(ours.predict(X) == theirs.predict(X)) == 1 or not classifies(kind)


@EITHER
def test_partial_fit_keeps_the_optimiser_and_fit_does_not(cls):
    """After a fit, partial_fit goes on with its moments, a warm start with new ones."""
    X, y = problem(cls)
    settings = SMALL | UNEVEN | {"max_iter": 5, "warm_start": True}
    on, renewed = (cls(**settings).fit(X, y) for _ in range(2))
    whole = cls(**settings | {"max_iter": 6}).fit(X, y)
    on.partial_fit(X, y)
    renewed.set_params(max_iter=1).fit(X, y)
    assert close(parameters(on), parameters(whole), SAME_CURVE)
    assert not close(parameters(renewed), parameters(whole), 1e-6)


@EITHER
def test_partial_fit_sees_new_settings(cls):
    X, y = problem(cls)
    first, other = (cls(**SMALL | UNEVEN).fit(X, y) for _ in range(2))
    other.set_params(alpha=100.0)
    for each in (first, other):
        each.partial_fit(X, y)
    assert abs(parameters(first) - parameters(other)).max() > 1e-4


def test_partial_fit_needs_its_classes_once():
    X, y = inputs(), target("multiclass")
    made = MLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        made.partial_fit(X, y)
    made.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert np.array_equal(made.classes_, [0, 1, 2])
    assert made.predict_proba(X).shape == (130, 3)
    made.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="not the same as on last call"):
        made.partial_fit(X, y, classes=[1, 2])
    before = parameters(made)
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        made.partial_fit(X[:3], [0, 1, 7])
    assert np.array_equal(parameters(made), before)


def test_partial_fit_is_absent_with_lbfgs():
    assert hasattr(MLPClassifier(), "partial_fit")
    assert hasattr(MLPClassifier(solver="sgd"), "partial_fit")
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPClassifier(solver="lbfgs").partial_fit(inputs(), target("binary"), classes=[0, 1])


@EITHER
def test_partial_fit_refuses_early_stopping(cls):
    X, y = problem(cls)
    made = cls(**SMALL, early_stopping=True)
    more = {"classes": [0, 1, 2]} if cls is MLPClassifier else {}
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        made.partial_fit(X, y, **more)
    made.fit(X, y)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        made.partial_fit(X, y)


@EITHER
def test_another_number_of_features_is_refused(cls):
    X, y = problem(cls)
    made = cls(**SMALL, warm_start=True).fit(X, y)
    for call in (made.partial_fit, made.fit):
        with pytest.raises(ValueError, match=r"has 4 features, but .* is expecting 5 features"):
            call(X[:, :4], y)
    for call in (made.predict, *([made.predict_proba] if cls is MLPClassifier else [])):
        with pytest.raises(ValueError, match=r"has 4 features, but .* is expecting 5 features"):
            call(X[:, :4])


@EITHER
def test_a_warm_start_goes_on(cls):
    X, y = problem(cls)
    made = cls(**SMALL, warm_start=True).fit(X, y)
    first, start = list(made.loss_curve_), parameters(made)
    made.set_params(max_iter=3).fit(X, y)
    assert made.loss_curve_[:4] == first
    assert len(made.loss_curve_) == 7
    assert made.n_iter_ == 3
    assert made.t_ == 7 * 130
    assert made.loss_curve_[-1] < first[-1]
    assert made.best_loss_ == min(made.loss_curve_)
    assert not np.array_equal(parameters(made), start)


@EITHER
def test_a_cold_start_begins_again(cls):
    X, y = problem(cls)
    made, once = cls(**SMALL).fit(X, y), cls(**SMALL).fit(X, y)
    made.fit(X, y)
    assert same_bits(made, once)
    assert len(made.loss_curve_) == 4
    made.set_params(hidden_layer_sizes=(3, 2)).fit(X[:, :2], y)
    assert [w.shape[0] for w in made.coefs_] == [2, 3, 2]
    assert made.n_features_in_ == 2


@EITHER
def test_a_warm_start_with_early_stopping(cls):
    X, y = problem(cls)
    made = cls(**SMALL, warm_start=True, early_stopping=True).fit(X, y)
    first = list(made.validation_scores_)
    made.fit(X, y)
    assert made.validation_scores_[:4] == first
    assert len(made.validation_scores_) == 8
    assert made.best_validation_score_ == max(made.validation_scores_)


def test_a_warm_start_checks_the_classes():
    X, y = inputs(), target("multiclass")
    made = MLPClassifier(**SMALL, warm_start=True).fit(X, y)
    for other in (y % 2, y + 1, np.arange(130) % 4):
        message = (
            "warm_start can only be used where `y` has the same classes as in the previous call "
            f"to fit. Previously got [0 1 2], `y` has {np.unique(other)}"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            made.fit(X, other)


@EITHER
def test_random_state(cls):
    X, y = problem(cls)
    fits = [cls(**SMALL | {"random_state": seed}).fit(X, y) for seed in (1, 1, 2)]
    assert same_bits(fits[0], fits[1])
    assert not same_bits(fits[0], fits[2])
    state = np.random.RandomState(1)
    first = cls(**SMALL | {"random_state": state}).fit(X, y)
    second = cls(**SMALL | {"random_state": state}).fit(X, y)
    assert same_bits(first, fits[0])
    assert not same_bits(second, fits[0])
    loose = [cls(**SMALL | {"random_state": None}).fit(X, y) for _ in range(2)]
    assert not same_bits(*loose)
    np.random.seed(5)  # noqa: NPY002  (what None stands for in scikit-learn)
    seeded = cls(**SMALL | {"random_state": None}).fit(X, y)
    np.random.seed(5)  # noqa: NPY002
    assert same_bits(seeded, cls(**SMALL | {"random_state": None}).fit(X, y))


@EITHER
def test_shuffling_changes_the_order_of_rows(cls):
    X, y = problem(cls)
    shuffled, plain = (cls(**SMALL | {"shuffle": shuffle}).fit(X, y) for shuffle in (True, False))
    assert not same_bits(shuffled, plain)
    full = SMALL | {"batch_size": 130}
    shuffled, plain = (cls(**full | {"shuffle": shuffle}).fit(X, y) for shuffle in (True, False))
    assert close(parameters(shuffled), parameters(plain), SAME_CURVE)  # one batch: no order


def test_partial_fit_of_the_regressor_keeps_the_optimiser_with_new_rows():
    X, y = inputs(), target("regression")
    made = MLPRegressor(**SMALL | UNEVEN)
    for _ in range(30):
        made.partial_fit(X, y)
    assert made.t_ == 30 * 130
    assert made.loss_curve_[-1] < 0.8 * made.loss_curve_[0]
