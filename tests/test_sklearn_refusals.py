"""What the estimators refuse, and in which words."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_helpers import (
    CLASSES,
    EITHER,
    UNCONVERGED,
    MLPClassifier,
    inputs,
    parameters,
    problem,
)

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 2, "batch_size": 32}
BAD = {
    "hidden_layer_sizes": [0, -1, (5, 0), "five"],
    "activation": ["softplus", None],
    "solver": ["newton", 3],
    "alpha": [-1.0, None],
    "batch_size": [0, -1, 2.5, "all"],
    "learning_rate": ["linear"],
    "learning_rate_init": [0.0, -1.0],
    "power_t": [-1.0],
    "max_iter": [0, -1, 2.5],
    "shuffle": ["yes", 3],
    "random_state": [-1, "seed"],
    "tol": [-1e-3],
    "momentum": [-0.1, 1.1],
    "nesterovs_momentum": ["yes"],
    "early_stopping": ["yes"],
    "validation_fraction": [-0.1, 1.0],
    "beta_1": [-0.1, 1.0],
    "beta_2": [-0.1, 1.0],
    "epsilon": [0.0, -1.0],
    "n_iter_no_change": [0, -1, 2.5],
    "max_fun": [0],
    "loss": ["hinge"],
    # ours
    "dropout": [1.0, -0.1, 2.0, np.nan, "half"],
    "n_threads": [0, -1, 1.5, "all"],
}


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (cls, name, value)
        for cls in CLASSES
        for name, values in BAD.items()
        for value in values
        if name in cls().get_params()
    ],
)
def test_bad_parameters_are_refused_at_fit(cls, name, value):
    made = cls(**{name: value})  # not yet
    late = name == "hidden_layer_sizes"  # scikit-learn looks at their values later
    with pytest.raises(ValueError if late else InvalidParameterError, match=name):
        made.fit(*problem(cls))
    assert not hasattr(made, "coefs_")


@EITHER
def test_bad_parameters_are_refused_at_partial_fit(cls):
    X, y = problem(cls)
    more = {"classes": [0, 1, 2]} if cls is MLPClassifier else {}
    for bad in ({"alpha": -1.0}, {"dropout": 1.0}, {"n_threads": 0}):
        with pytest.raises(InvalidParameterError, match=next(iter(bad))):
            cls(**bad).partial_fit(X, y, **more)


@UNCONVERGED
@EITHER
def test_bad_numbers_are_refused(cls):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    for value, word in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        bad = X.copy()
        bad[17, 3] = value
        for call in (cls(**SMALL).fit, made.partial_fit):
            with pytest.raises(ValueError, match=word):
                call(bad, y)
        with pytest.raises(ValueError, match=word):
            made.predict(bad)
    for bad_y in (np.where(np.arange(130) == 5, np.nan, y.astype(float)), y[:-1], y[:, None, None]):
        with pytest.raises(ValueError, match=r"NaN|inconsistent|shape|dim"):
            cls(**SMALL).fit(X, bad_y)
    with pytest.raises(ValueError, match="Reshape your data"):
        made.predict(X[0])


@EITHER
def test_nothing_is_predicted_before_fit(cls):
    for name in ("predict", *(("predict_proba", "predict_log_proba") if "Cl" in repr(cls) else ())):
        with pytest.raises(NotFittedError):
            getattr(cls(), name)(inputs())


@UNCONVERGED
@EITHER
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_refused_in_scikit_learns_words(cls, solver):
    X, y = problem(cls)
    huge = {"learning_rate_init": 1e200} if solver == "sgd" else {}
    made = cls(**SMALL | huge, solver=solver, activation="identity")
    X = X * (1.0 if solver == "sgd" else 1e200)
    words = "Solver produced non-finite parameter weights. The input data may contain large values"
    try:
        made.fit(X, y)
    except ValueError as error:
        assert words in str(error)  # noqa: PT017  (lbfgs may stop before it diverges)
    else:
        assert solver == "lbfgs"
        assert np.isfinite(parameters(made)).all()


@EITHER
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_last_iteration_warns_in_scikit_learns_words(cls, solver):
    with pytest.warns(ConvergenceWarning) as caught:
        cls(**SMALL, solver=solver).fit(*problem(cls))
    assert [str(each.message) for each in caught] == [
        "Stochastic Optimizer: Maximum iterations (5) reached and the optimization hasn't "
        "converged yet."
    ]


@EITHER
def test_no_warning_when_it_converges(cls):
    X, y = problem(cls)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = cls(**SMALL | {"max_iter": 200}, tol=1.0).fit(X, y)
        assert 11 < made.n_iter_ < 20
        made.partial_fit(X, y)


@UNCONVERGED
@EITHER
def test_a_batch_size_beyond_the_rows_is_clipped_with_a_warning(cls):
    X, y = problem(cls)
    with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger than"):
        made = cls(**SMALL | {"batch_size": 131}).fit(X, y)
    same = cls(**SMALL | {"batch_size": 130}).fit(X, y)
    assert np.array_equal(parameters(made), parameters(same))


def test_targets_that_are_not_classes_are_refused():
    X = inputs()
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier(**SMALL).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=r"(?i)multioutput|label|target"):
        MLPClassifier(**SMALL).fit(X, np.arange(260).reshape(130, 2) % 3)
