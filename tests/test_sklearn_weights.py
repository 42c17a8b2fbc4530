"""Sample and class weights: repeated rows, rows left out, balanced classes, what is refused."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.utils.class_weight import compute_sample_weight

from sklearn_helpers import (
    CLASSIFICATION,
    EITHER,
    KINDS,
    SAME_CURVE,
    UNCONVERGED,
    UNEVEN,
    MLPClassifier,
    N,
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

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 15, "random_state": 2}
FULL_BATCH = SMALL | {"shuffle": False, "batch_size": 10**6}
SOLVERS = {
    "sgd": {"solver": "sgd", "learning_rate_init": 0.02},
    "adam": {"solver": "adam", "learning_rate_init": 0.02},
    "lbfgs": {"solver": "lbfgs", "max_iter": 5},
}


def drawn(n=N, seed=4, least=0):
    """Integer weights from `least` to 3."""
    return np.random.default_rng(seed).integers(least, 4, n).astype(float)


@pytest.mark.filterwarnings("ignore:Got `batch_size` less than 1 or larger:UserWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", KINDS)
def test_integer_weights_are_repeated_rows(kind, solver):
    """A weight of zero leaves the row out, one of three is three rows, penalty included."""
    X, y, weight = inputs(), target(kind), drawn()
    settings = FULL_BATCH | {"alpha": 0.1} | SOLVERS[solver]
    weighted = estimator(kind, **settings).fit(X, y, sample_weight=weight)
    times = weight.astype(int)
    repeated = estimator(kind, **settings).fit(np.repeat(X, times, 0), np.repeat(y, times, 0))
    assert close(parameters(weighted), parameters(repeated), SAME_CURVE)
    assert relative_error(weighted.loss_, repeated.loss_) < SAME_CURVE
    unweighted = estimator(kind, **settings).fit(X, y)
    assert not close(parameters(weighted), parameters(unweighted), 1e-4)


@EITHER
def test_ones_change_nothing(cls):
    X, y = problem(cls)
    ones = cls(**SMALL).fit(X, y, sample_weight=np.ones(N))
    none = cls(**SMALL).fit(X, y)
    assert close(parameters(ones), parameters(none), SAME_CURVE)


@EITHER
def test_the_scale_matters_only_to_the_penalty(cls):
    X, y = problem(cls)
    settings = SMALL | {"alpha": 0.0}
    one = cls(**settings).fit(X, y, sample_weight=drawn(least=1))
    hundred = cls(**settings).fit(X, y, sample_weight=128 * drawn(least=1))
    assert close(parameters(one), parameters(hundred), SAME_CURVE)


@EITHER
def test_a_batch_of_zero_weight_is_skipped(cls):
    """Whole batches without weight: as if their rows were not there."""
    X, y = problem(cls, 160)
    weight = drawn(160, least=1)
    weight[32:64] = weight[128:] = 0
    kept = weight > 0
    for solver in ("sgd", "adam"):
        settings = SMALL | {"shuffle": False, "batch_size": 32, "solver": solver}
        whole = cls(**settings).fit(X, y, sample_weight=weight)
        part = cls(**settings).fit(X[kept], y[kept], sample_weight=weight[kept])
        assert np.isfinite(whole.loss_curve_).all()
        assert close(parameters(whole), parameters(part), SAME_CURVE)


@EITHER
def test_early_stopping_weighs_the_validation_rows(cls):
    """A common factor changes no score, other weights do."""
    X, y = problem(cls)
    settings = SMALL | {"early_stopping": True, "validation_fraction": 0.4, "alpha": 0.0}
    fitted = [
        cls(**settings).fit(X, y, sample_weight=weight)
        for weight in (None, np.full(N, 2.0), drawn())
    ]
    assert len(fitted[2].validation_scores_) == fitted[2].n_iter_
    assert relative_error(fitted[0].validation_scores_, fitted[1].validation_scores_) < SAME_CURVE
    assert fitted[0].validation_scores_ != fitted[2].validation_scores_


@EITHER
def test_partial_fit_takes_weights(cls):
    X, y = problem(cls)
    more = {"classes": [0, 1, 2]} if cls is MLPClassifier else {}
    made = [cls(**SMALL) for _ in range(2)]
    made[0].partial_fit(X, y, sample_weight=drawn(), **more)
    made[1].partial_fit(X, y, **more)
    assert not close(parameters(made[0]), parameters(made[1]), 1e-9)


@EITHER
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_bad_weights_are_refused(cls, bad, solver):
    X, y = problem(cls)
    weight = np.ones(N)
    weight[7] = bad
    with pytest.raises(ValueError, match=r"(?i)weight"):
        cls(**SMALL, solver=solver).fit(X, y, sample_weight=weight)


@EITHER
def test_weights_of_another_shape_are_refused(cls):
    X, y = problem(cls)
    with pytest.raises(ValueError, match=r"(?i)sample_weight|inconsistent"):
        cls(**SMALL).fit(X, y, sample_weight=np.ones(N - 1))
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        cls(**SMALL).fit(X, y, sample_weight=np.ones((N, 2)))


@EITHER
def test_all_zero_weights_are_refused(cls):
    X, y = problem(cls)
    for settings in ({}, {"solver": "lbfgs"}, {"early_stopping": True}):
        with pytest.raises(ValueError, match=r"(?i)sample weights.*zero|weight"):
            cls(**SMALL | settings).fit(X, y, sample_weight=np.zeros(N))


# Class weights are ours: scikit-learn's MLPClassifier has none.


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "strings"])
def test_balanced_is_the_weights_it_stands_for(kind, solver):
    X, y = inputs(), target(kind)
    rare = np.flatnonzero(y == np.unique(y)[0])[5:]  # five rows of the first class stay
    X, y = np.delete(X, rare, 0), np.delete(y, rare)
    settings = SMALL | {"batch_size": 32} | SOLVERS[solver]
    balanced = MLPClassifier(**settings, class_weight="balanced").fit(X, y)
    weight = compute_sample_weight("balanced", y)
    assert same_bits(balanced, MLPClassifier(**settings).fit(X, y, sample_weight=weight))
    plain = MLPClassifier(**settings).fit(X, y)
    assert not close(parameters(balanced), parameters(plain), 1e-3)
    names = list(plain.classes_)
    assert (balanced.predict(X) == names[0]).sum() >= (plain.predict(X) == names[0]).sum()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "strings"])
def test_a_dict_is_the_weights_it_stands_for(kind):
    X, y = inputs(), target(kind)
    chosen = dict(zip(np.unique(y).tolist(), (5.0, 0.5, 1.0), strict=False))
    made = MLPClassifier(**SMALL, class_weight=chosen).fit(X, y)
    weight = compute_sample_weight(chosen, y)
    assert same_bits(made, MLPClassifier(**SMALL).fit(X, y, sample_weight=weight))
    assert not same_bits(made, MLPClassifier(**SMALL).fit(X, y))


@pytest.mark.parametrize("chosen", ["balanced", {0: 3.0, 1: 1.0, 2: 0.5}])
def test_class_and_sample_weights_multiply(chosen):
    X, y, weight = inputs(), target("multiclass"), drawn(least=1)
    made = MLPClassifier(**SMALL, class_weight=chosen).fit(X, y, sample_weight=weight)
    product = weight * compute_sample_weight(chosen, y)
    assert same_bits(made, MLPClassifier(**SMALL).fit(X, y, sample_weight=product))


def test_class_weights_do_not_change_what_is_passed():
    X, y, weight = inputs(), target("multiclass"), drawn(least=1)
    kept, chosen = weight.copy(), {0: 3.0, 1: 1.0, 2: 0.5}
    MLPClassifier(**SMALL, class_weight=chosen).fit(X, y, sample_weight=weight)
    assert np.array_equal(weight, kept)
    assert chosen == {0: 3.0, 1: 1.0, 2: 0.5}


@pytest.mark.parametrize("bad", ["even", 3.0, [1.0, 2.0]])
def test_bad_class_weights_are_refused(bad):
    with pytest.raises(ValueError, match="class_weight"):
        MLPClassifier(**SMALL, class_weight=bad).fit(inputs(), target("multiclass"))


@pytest.mark.parametrize("kind", CLASSIFICATION)
def test_no_class_weight_changes_nothing(kind):
    settings = SMALL | UNEVEN
    none = MLPClassifier(**settings, class_weight=None).fit(inputs(), target(kind))
    assert same_bits(none, MLPClassifier(**settings).fit(inputs(), target(kind)))
