"""What an estimator is after it was refused, copied, interrupted or changed between calls."""

import copy

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from scipy import sparse
from sklearn import neural_network
from sklearn.exceptions import NotFittedError
from sklearn.utils.class_weight import compute_sample_weight

from deltarule.sklearn import from_sklearn
from sklearn_helpers import EITHER, UNCONVERGED, MLPClassifier, MLPRegressor, problem

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
X = np.random.default_rng(0).normal(size=(60, 4))
CLASSES = np.arange(60) % 3
LABELS = (X[:, :3] > 0).astype(int)
NUMBERS = X[:, 0].copy()


class Hook:
    """A callback of scikit-learn that calls a function at the end of each epoch."""

    def __init__(self, function):
        self.function, self.seen = function, []

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...
    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name != "fit":
            self.seen.append(fitted_estimator)
            self.function(estimator)


REFUSED = {
    "weights": lambda m: m.fit(X[:, :2], CLASSES + 5, sample_weight=-np.ones(60)),
    "fewer weights": lambda m: m.fit(X[:, :2], CLASSES + 5, sample_weight=np.ones(3)),
    "validation labels": lambda m: m.fit(X, CLASSES + 5, X_val=X, y_val=CLASSES),
    "class weights": lambda m: m.set_params(class_weight={9: 1.0}).fit(X[:, :2], CLASSES + 5),
    "split": lambda m: m.set_params(early_stopping=True, validation_fraction=0.01).fit(
        X[:, :2], CLASSES + 5
    ),
    "partial_fit": lambda m: m.partial_fit(X, CLASSES + 5),
    "partial_fit of labels": lambda m: m.partial_fit(X, LABELS),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_fit_changes_nothing(refused):
    made = MLPClassifier(**SMALL).fit(X, CLASSES)
    before, expected = dict(vars(made)), made.predict_proba(X)
    theta = made.network_.theta.copy()
    with pytest.raises(ValueError, match=r"weight|classes|validation|kind"):
        REFUSED[refused](made)
    after = {name: value for name, value in vars(made).items() if name in before}
    given = made.get_params()
    assert vars(made).keys() == before.keys()
    for name in before.keys() - given.keys():
        assert after[name] is before[name], name
    assert np.array_equal(made.network_.theta, theta)
    assert np.array_equal(made.predict_proba(X), expected)


@pytest.mark.parametrize("y", [NUMBERS, np.full(60, "text")], ids=["negative", "text"])
def test_a_refused_first_fit_leaves_it_unfitted(y):
    made = MLPRegressor("poisson", **SMALL)
    with pytest.raises(ValueError, match="y "):
        made.fit(X, y)
    with pytest.raises(NotFittedError):
        made.predict(X)


def test_targets_of_other_types():
    expected = MLPRegressor(**SMALL).fit(X, NUMBERS).predict(X)
    for y in (NUMBERS.astype(np.longdouble), NUMBERS.astype(object), NUMBERS.astype(">f8")):
        assert np.array_equal(MLPRegressor(**SMALL).fit(X, y).predict(X), expected)


@pytest.mark.parametrize("rows", [60, 20000])
def test_foreign_byte_order_has_the_same_bits(rows):
    many = np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)
    settings = SMALL | {"max_iter": 1}
    native = MLPRegressor(**settings).fit(many, many[:, 0])
    foreign = MLPRegressor(**settings).fit(many.astype(">f4"), many[:, 0])
    assert foreign.network_.dtype == np.float32
    assert np.array_equal(native.network_.theta, foreign.network_.theta)
    assert np.array_equal(native.predict(many), foreign.predict(many.astype(">f4")))


@pytest.mark.parametrize("warm", [False, True])
def test_the_kind_of_targets_stays(warm):
    def again(made, y):
        return made.fit(X, y) if warm else made.partial_fit(X, y)

    with pytest.raises(ValueError, match="multiclass"):
        again(MLPClassifier(**SMALL, warm_start=warm).fit(X, CLASSES), LABELS)
    with pytest.raises(ValueError, match="multilabel"):
        again(MLPClassifier(**SMALL, warm_start=warm).fit(X, LABELS), CLASSES)


def test_sparse_labels_stay_sparse():
    made = MLPClassifier(**SMALL).fit(X, sparse.csr_matrix(LABELS))
    made.partial_fit(X, LABELS)
    assert sparse.issparse(made.predict(X))


@EITHER
def test_a_converted_estimator_trains_on(cls):
    theirs = getattr(neural_network, cls.__name__)
    data, y = problem(cls)
    for settings in ({}, {"early_stopping": True}):
        ours = from_sklearn(theirs(**SMALL, warm_start=True, **settings).fit(data, y))
        assert len(ours.fit(data, y, X_val=data, y_val=y).loss_curve_) == 6
        assert np.isnan(ours.validation_loss_curve_).tolist() == [True] * 3 + [False] * 3
    for first in (from_sklearn(theirs(**SMALL | {"solver": "lbfgs"}).fit(data, y)),
                  cls(**SMALL | {"solver": "lbfgs"}).fit(data, y)):  # fmt: skip
        assert len(first.set_params(solver="adam").partial_fit(data, y).loss_curve_) == 1


@EITHER
def test_a_solver_of_other_sizes_is_not_gone_on_with(cls):
    data, y = problem(cls)
    made = cls(**SMALL).fit(data, y)
    made.set_params(solver="lbfgs", hidden_layer_sizes=(7,)).fit(data, y)
    made.set_params(solver="adam").partial_fit(data, y)
    assert made._optimizer._trainer.scalars()["optimizer_steps"] == 1


def test_parameters_of_a_random_state_are_not_shared():
    drawn = np.random.RandomState(0)
    theirs = neural_network.MLPRegressor(**SMALL | {"random_state": drawn}).fit(X, NUMBERS)
    place = drawn.get_state()[2]
    from_sklearn(theirs).fit(X, NUMBERS)
    assert drawn.get_state()[2] == place


def test_rows_of_float64_are_computed_in_float64():
    theirs = neural_network.MLPRegressor(**SMALL).fit(X.astype(np.float32), NUMBERS)
    ours, rows = from_sklearn(theirs), X * 1e30
    assert ours.predict(X).dtype == np.float64
    assert np.allclose(ours.predict(X), theirs.predict(X), rtol=1e-12, atol=1e-14)
    assert np.allclose(ours.predict(rows * 1e10), theirs.predict(rows * 1e10), rtol=1e-12)


@pytest.mark.parametrize("weights", [{0: 2.0}, {2: 0.5, 1: 3.0}])
def test_class_weights_of_a_batch_without_some_class(weights):
    some = CLASSES > 0
    made = MLPClassifier(**SMALL, class_weight=weights)
    made.partial_fit(X[some], CLASSES[some], classes=[0, 1, 2])
    same = MLPClassifier(**SMALL)
    given = np.array([weights.get(label, 1.0) for label in CLASSES[some]])
    same.partial_fit(X[some], CLASSES[some], sample_weight=given, classes=[0, 1, 2])
    assert np.array_equal(made.network_.theta, same.network_.theta)
    constant = LABELS.copy()
    constant[:, 1] = 1
    for rule in ("balanced", [{1: 2.0}] * 3):
        made = MLPClassifier(**SMALL, class_weight=rule).fit(X, constant)
        weight = compute_sample_weight(rule, constant) if rule == "balanced" else (
            2.0 ** constant.sum(axis=1))  # fmt: skip
        same = MLPClassifier(**SMALL).fit(X, constant, sample_weight=weight)
        assert np.array_equal(made.network_.theta, same.network_.theta)


def test_copies_train_apart():
    first = MLPRegressor(**SMALL).fit(X, NUMBERS)
    twin, other = copy.deepcopy(first), copy.copy(first)
    for _ in range(5):
        other.partial_fit(X, NUMBERS)
    assert len(first.loss_curve_) == 3
    assert np.array_equal(
        first.partial_fit(X, NUMBERS).network_.theta, twin.partial_fit(X, NUMBERS).network_.theta
    )


def test_what_callbacks_are_given_is_their_own():
    hook = Hook(lambda estimator: None)
    MLPRegressor(**SMALL).set_callbacks(hook).fit(X, NUMBERS)
    assert [len(each.loss_curve_) for each in hook.seen] == [1, 2, 3]


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_cannot_fit(solver):
    plain = MLPRegressor(**SMALL | {"solver": solver}).fit(X, NUMBERS)
    for call in ("fit", "partial_fit")[: 1 if solver == "lbfgs" else 2]:

        def fit(estimator, call=call):
            with pytest.raises(RuntimeError, match="is being fitted"):
                getattr(estimator, call)(X[:20], NUMBERS[:20])
            estimator.set_params(activation="tanh").predict(X[:2])  # stays linked
            estimator.set_params(activation="relu")

        made = MLPRegressor(**SMALL | {"solver": solver}).set_callbacks(hook := Hook(fit))
        made.fit(X, NUMBERS)
        assert len(hook.seen) == 3
        assert np.array_equal(made.network_.theta, plain.network_.theta)


def test_the_best_of_a_warm_start_is_kept():
    """A second fit that only gets worse ends with the parameters it began with."""
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    settings = SMALL | {"max_iter": 200, "learning_rate_init": 0.03, "batch_size": 20}
    made = MLPClassifier(**settings, early_stopping=True, warm_start=True, n_iter_no_change=50)
    made.fit(X, y, X_val=X, y_val=y)
    best = made.score(X, y)
    made.set_params(solver="sgd", learning_rate_init=3.0, max_iter=3)
    made.fit(X, y, X_val=X, y_val=y)
    assert max(made.validation_scores_[-3:]) <= best > made.validation_scores_[-1]
    assert made.score(X, y) == best


def test_one_validation_row_is_too_few_for_early_stopping():
    with pytest.raises(ValueError, match="X_val must have at least 2 rows"):
        MLPRegressor(**SMALL, early_stopping=True).fit(X, NUMBERS, X_val=X[:1], y_val=NUMBERS[:1])


def test_a_pickle_of_parameters_that_do_not_fit_loads():
    made = MLPRegressor(**SMALL).fit(X, NUMBERS).set_params(activation="foo")
    again = copy.copy(made)
    again.set_params(activation="relu")
    assert np.array_equal(again.predict(X), made.set_params(activation="relu").predict(X))


def test_more_columns_by_hand_need_more_features():
    made = MLPRegressor(**SMALL).fit(X, NUMBERS)
    made.coefs_[0] = np.zeros((7, 5))
    with pytest.raises(ValueError, match="7 features"):
        made.predict(np.zeros((2, 7)))
