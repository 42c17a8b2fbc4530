"""Early stopping, and validation rows of one's own: `fit(X, y, X_val=..., y_val=...)`."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

import sklearn
from scipy import sparse
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_helpers import (
    EITHER,
    KINDS,
    SAME_CURVE,
    UNCONVERGED,
    MLPClassifier,
    MLPRegressor,
    classifies,
    estimator,
    inputs,
    problem,
    relative_error,
    same_bits,
    target,
)

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 12, "random_state": 2, "batch_size": 32}
STOPPING = SMALL | {"early_stopping": True, "validation_fraction": 0.3}


def score(made, X, y, weight=None):
    return made.score(X, y, sample_weight=weight)


@EITHER
def test_attributes_with_and_without(cls):
    X, y = problem(cls)
    made = cls(**STOPPING).fit(X, y)
    assert made.best_loss_ is None
    assert isinstance(made.validation_scores_, list)
    assert len(made.validation_scores_) == len(made.loss_curve_) == made.n_iter_
    assert made.best_validation_score_ == max(made.validation_scores_)
    made = cls(**SMALL).fit(X, y)
    assert made.best_loss_ == min(made.loss_curve_)
    assert made.validation_scores_ is None
    assert made.best_validation_score_ is None


@EITHER
def test_the_best_weights_are_kept(cls):
    """The score of the held-out rows, split as scikit-learn splits them, is the best one."""
    X, y = problem(cls)
    settings = STOPPING | {"learning_rate_init": 0.3, "max_iter": 40}  # so large that it gets worse
    made = cls(**settings).fit(X, y)
    assert made.validation_scores_[-1] < made.best_validation_score_
    state = np.random.RandomState(2)
    for shape in ((5, 6), 6, (6, made.n_outputs_), made.n_outputs_):
        state.uniform(size=shape)  # the initial weights are drawn before the split
    _, X_val, _, y_val = train_test_split(X, y, random_state=state, test_size=0.3)
    assert made.score(X_val, y_val) == pytest.approx(made.best_validation_score_, rel=SAME_CURVE)


@EITHER
def test_it_stops_after_n_iter_no_change(cls):
    X, y = problem(cls)
    made = cls(**STOPPING | {"max_iter": 500, "tol": 0.2, "n_iter_no_change": 3}).fit(X, y)
    assert made.n_iter_ < 100
    scores, best, waited = made.validation_scores_, -np.inf, [0]
    for value in scores:
        waited.append(waited[-1] + 1 if value < best + 0.2 else 0)
        best = max(best, value)
    assert waited[-1] == 4  # more than n_iter_no_change
    assert max(waited[:-1]) == 3
    same = cls(**STOPPING | {"max_iter": made.n_iter_}).fit(X, y)
    assert same.validation_scores_ == scores


@EITHER
def test_too_few_rows_are_refused(cls):
    X, y = problem(cls)
    with pytest.raises(ValueError, match="validation set is too small"):
        MLPRegressor(early_stopping=True).fit(X[:5], np.arange(5.0))
    with pytest.raises(ValueError, match="test_size"):
        cls(early_stopping=True).fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="least populated class"):
        MLPClassifier(early_stopping=True).fit(X[:4], [0, 0, 0, 1])


# Validation rows of one's own are ours.


def held_out(cls):
    """Training rows, validation rows."""
    X, y = problem(cls)
    return (X[:90], y[:90]), {"X_val": X[90:], "y_val": y[90:]}


@pytest.mark.parametrize("kind", [*KINDS, "strings"])
def test_the_validation_loss_is_the_data_loss(kind):
    """Of the weights after each epoch; alpha is large, so that a penalty would show."""
    X, y = inputs(), target(kind)
    made = estimator(kind, **SMALL, alpha=50.0).fit(X[:90], y[:90], X_val=X[90:], y_val=y[90:])
    assert isinstance(made.validation_loss_curve_, list)
    assert len(made.validation_loss_curve_) == made.n_iter_ == 12
    if kind == "multilabel":
        P = made.predict_proba(X[90:])
        expected = -np.where(y[90:] == 1, np.log(P), np.log(1 - P)).sum(axis=1).mean()
    elif classifies(kind):
        expected = log_loss(y[90:], made.predict_proba(X[90:]), labels=made.classes_)
    elif "poisson" in kind:
        true, given = (np.reshape(a, (40, -1)) for a in (y[90:], made.predict(X[90:])))
        pairs = zip(true.T, given.T, strict=True)
        expected = sum(mean_poisson_deviance(*pair) for pair in pairs) / 2
    else:
        expected = mean_squared_error(y[90:], made.predict(X[90:])) / 2
    assert made.validation_loss_curve_[-1] == pytest.approx(expected, rel=SAME_CURVE)


@EITHER
def test_validation_rows_change_no_training(cls):
    training, validation = held_out(cls)
    watched = cls(**SMALL).fit(*training, **validation)
    alone = cls(**SMALL).fit(*training)
    assert same_bits(watched, alone)
    assert watched.validation_scores_ is None
    assert alone.validation_loss_curve_ is None
    assert cls(**SMALL).fit(*training, **validation).fit(*training).validation_loss_curve_ is None


@EITHER
def test_a_split_has_a_validation_loss_too(cls):
    made = cls(**STOPPING).fit(*problem(cls))
    assert len(made.validation_loss_curve_) == made.n_iter_


@EITHER
def test_early_stopping_uses_the_rows_it_is_given(cls):
    """All training rows are trained on, and the best weights by the given rows are kept."""
    training, validation = held_out(cls)
    settings = STOPPING | {"learning_rate_init": 0.3, "max_iter": 40}
    made = cls(**settings).fit(*training, **validation)
    assert made.t_ == 90 * made.n_iter_
    assert made.best_validation_score_ == max(made.validation_scores_)
    assert score(made, *validation.values()) == pytest.approx(made.best_validation_score_, 1e-9)
    plain = cls(**settings | {"early_stopping": False, "tol": 0.0}).fit(*training)
    n = min(made.n_iter_, plain.n_iter_)
    assert made.loss_curve_[:n] == plain.loss_curve_[:n]
    one = cls(**settings | {"max_iter": 1}).fit(*training, **validation)
    assert one.validation_scores_ == [pytest.approx(score(one, *validation.values()), 1e-9)]


@EITHER
def test_two_validation_rows_are_enough_and_one_class_too(cls):
    training, validation = held_out(cls)
    few = {name: rows[:2] for name, rows in validation.items()}
    made = cls(**STOPPING).fit(*training, **few)
    assert np.isfinite(made.validation_loss_curve_).all()


@EITHER
def test_validation_weights(cls):
    """Integer weights are repeated validation rows."""
    training, validation = held_out(cls)
    times = np.random.default_rng(0).integers(0, 4, 40)
    repeated = {name: np.repeat(rows, times, 0) for name, rows in validation.items()}
    made = cls(**STOPPING).fit(*training, **validation, sample_weight_val=times)
    other = cls(**STOPPING).fit(*training, **repeated)
    plain = cls(**STOPPING).fit(*training, **validation)
    for name in ("validation_loss_curve_", "validation_scores_"):
        assert relative_error(getattr(made, name), getattr(other, name)) < SAME_CURVE
    assert relative_error(made.validation_loss_curve_, plain.validation_loss_curve_) > 1e-3


@EITHER
def test_sparse_validation_rows(cls):
    training, validation = held_out(cls)
    dense = cls(**STOPPING).fit(*training, **validation)
    for convert in (sparse.csr_array, sparse.csc_matrix):
        converted = validation | {"X_val": convert(validation["X_val"])}
        made = cls(**STOPPING).fit(*training, **converted)
        assert made.validation_loss_curve_ == dense.validation_loss_curve_
        assert made.validation_scores_ == dense.validation_scores_


@EITHER
def test_bad_validation_rows_are_refused(cls):
    (X, y), validation = held_out(cls)
    X_val, y_val = validation.values()
    holed = X_val.copy()
    holed[3, 1] = np.nan
    for wrong in (
        {"X_val": X_val},
        {"y_val": y_val},
        {"X_val": X_val, "y_val": y_val[:-1]},
        {"X_val": X_val[:, :4], "y_val": y_val},
        {"X_val": holed, "y_val": y_val},
        {"X_val": X_val[:0], "y_val": y_val[:0]},
        {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.ones(39)},
        {"X_val": X_val, "y_val": y_val, "sample_weight_val": -np.ones(40)},
        {"X_val": X_val, "y_val": y_val, "sample_weight_val": np.zeros(40)},
        {"sample_weight_val": np.ones(40)},
    ):
        with pytest.raises(ValueError, match=r"(?i)val|sample|feature|NaN|weight"):
            cls(**STOPPING).fit(X, y, **wrong)


def test_validation_labels_that_were_never_seen_are_refused():
    (X, y), validation = held_out(MLPClassifier)
    with pytest.raises(ValueError, match=r"(?i)class|label"):
        MLPClassifier(**SMALL).fit(X, y, X_val=validation["X_val"], y_val=np.full(40, 9))


@EITHER
def test_inside_a_pipeline(cls):
    """`transform_input` scales the validation rows as it scales the others."""
    (X, y), validation = held_out(cls)
    X = 100 * X + 7
    validation = validation | {"X_val": 100 * validation["X_val"] + 7}
    with sklearn.config_context(enable_metadata_routing=True):
        made = cls(**STOPPING).set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("mlp", made)]
        pipeline = Pipeline(steps, transform_input=["X_val"]).fit(X, y, **validation)
    scaler = StandardScaler().fit(X)
    scaled = validation | {"X_val": scaler.transform(validation["X_val"])}
    by_hand = cls(**STOPPING).fit(scaler.transform(X), y, **scaled)
    assert same_bits(pipeline[-1], by_hand)
    assert pipeline[-1].validation_loss_curve_ == by_hand.validation_loss_curve_
    assert pipeline[-1].validation_scores_ == by_hand.validation_scores_


@EITHER
def test_no_change_at_all_is_no_stall_without_tolerance(cls):
    """A loss of exactly the best counts as improved where `tol` is 0, in scikit-learn as well."""
    X, y = problem(cls)
    still = SMALL | {"solver": "sgd", "learning_rate_init": 1e-300, "shuffle": False, "tol": 0}
    made = cls(**still, n_iter_no_change=2).fit(X, y)
    assert len(set(made.loss_curve_)) == 1
    assert made.n_iter_ == SMALL["max_iter"]
    assert made._no_improvement_count == 0
    made = cls(**still | {"tol": 1e-12}, n_iter_no_change=2).fit(X, y)
    assert made.n_iter_ == 4
