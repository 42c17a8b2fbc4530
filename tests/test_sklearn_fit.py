"""Signatures, dtypes, outputs, dropout, threads: everything around one fit."""

import inspect

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn import neural_network
from sklearn.utils import get_tags

from sklearn_helpers import (
    CLASSES,
    EITHER,
    UNCONVERGED,
    MLPClassifier,
    MLPRegressor,
    estimator,
    inputs,
    outputs,
    parameters,
    problem,
    same_bits,
    target,
)

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 2, "batch_size": 32}
BEYOND = {
    "MLPClassifier": {"dropout": 0.0, "class_weight": None, "n_threads": None},
    "MLPRegressor": {"dropout": 0.0, "n_threads": None},
}  # keyword-only, after scikit-learn's


def peer(cls):
    return getattr(neural_network, cls.__name__)


@EITHER
def test_the_parameters_are_scikit_learns_and_then_ours(cls):
    ours = list(inspect.signature(cls).parameters.values())
    theirs = list(inspect.signature(peer(cls)).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == [
        (p.name, p.kind, p.default) for p in theirs
    ]
    more = ours[len(theirs) :]
    assert {p.name: p.default for p in more} == BEYOND[cls.__name__]
    assert all(p.kind == p.KEYWORD_ONLY for p in more)
    assert cls().get_params() == peer(cls)().get_params() | BEYOND[cls.__name__]


@EITHER
def test_methods_and_their_arguments(cls):
    for name in ("fit", "partial_fit", "predict", "score", "get_params", "set_params"):
        ours = list(inspect.signature(getattr(cls, name)).parameters.values())
        theirs = list(inspect.signature(getattr(peer(cls), name)).parameters.values())
        assert [(p.name, p.kind) for p in ours[: len(theirs)]] == [
            (p.name, p.kind) for p in theirs
        ], name
        if name == "fit":
            more = [p.name for p in ours[len(theirs) :] if p.kind == p.KEYWORD_ONLY]
            assert more == ["X_val", "y_val", "sample_weight_val"]
    for name in ("decision_function", "transform"):
        assert not hasattr(cls(), name)
    assert get_tags(cls()) == get_tags(peer(cls)())


def test_positional_arguments():
    assert MLPRegressor("poisson", (3,), "tanh").get_params()["loss"] == "poisson"
    assert MLPClassifier((3,), "tanh").get_params()["activation"] == "tanh"
    assert MLPClassifier().loss == "log_loss"
    for cls in CLASSES:
        with pytest.raises(TypeError, match="positional"):
            cls("poisson", (3,), "tanh", "adam")


@EITHER
def test_repr(cls):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 5, "alpha": 0.1}
    assert repr(cls(**settings)) == repr(peer(cls)(**settings))
    assert "dropout=0.5" in repr(cls(dropout=0.5))
    assert "MLP" in cls()._repr_html_()


@EITHER
def test_the_arrays_of_the_user_stay_as_they_are(cls):
    X, y = problem(cls)
    X, kept_X, kept_y = np.asfortranarray(X), X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    made = cls(**SMALL, early_stopping=True).fit(X, y)
    outputs(made, X)
    assert np.array_equal(X, kept_X)
    assert np.array_equal(y, kept_y)
    assert same_bits(made, cls(**SMALL, early_stopping=True).fit(kept_X, kept_y))


@EITHER
def test_float32_is_kept(cls):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X.astype(np.float32), y)
    assert {part.dtype for part in (*made.coefs_, *made.intercepts_)} == {np.dtype(np.float32)}
    assert outputs(made, X.astype(np.float32)).dtype == np.float32
    for other in (X, X.astype(int), X.astype(np.float16), X.tolist(), X.astype(">f8")):
        assert cls(**SMALL).fit(other, y).coefs_[0].dtype == np.float64
    big = cls(**SMALL).fit(X.astype(">f8"), y)
    assert same_bits(big, cls(**SMALL).fit(X, y))


@EITHER
def test_one_row_and_one_feature(cls):
    X, y = problem(cls)
    one = cls(**SMALL | {"batch_size": "auto"}).fit(X[:, :1], y)
    assert one.coefs_[0].shape == (1, 6)
    made = MLPRegressor(**SMALL | {"batch_size": "auto"}).fit(X[:1], [1.0])
    assert made.predict(X[:1]).shape == (1,)
    for rows in (1, 2, 31, 130):  # a row's result does not depend on its neighbours
        part = outputs(one, X[:rows, :1])
        assert np.array_equal(part, outputs(one, X[:, :1])[:rows])


def test_outputs_of_a_classifier():
    X = inputs()
    for kind, shape in (("binary", (130, 2)), ("strings", (130, 3)), ("multilabel", (130, 3))):
        made = estimator(kind, **SMALL).fit(X, target(kind))
        assert made.predict_proba(X).shape == shape
        assert np.array_equal(made.predict_log_proba(X), np.log(made.predict_proba(X)))
        if kind != "multilabel":
            assert np.array_equal(made.classes_, np.unique(target(kind)))
            assert np.array_equal(
                made.predict(X), made.classes_[made.predict_proba(X).argmax(axis=1)]
            )
            assert abs(made.predict_proba(X).sum(axis=1) - 1).max() < 1e-14
        assert made.predict(X).shape == target(kind).shape


@EITHER
def test_dropout_changes_the_training_and_not_the_predictions(cls):
    X, y = problem(cls)
    made, same = (cls(**SMALL, dropout=0.5).fit(X, y) for _ in range(2))
    assert same_bits(made, same)
    assert not same_bits(made, cls(**SMALL).fit(X, y))
    assert same_bits(cls(**SMALL, dropout=0.0).fit(X, y), cls(**SMALL).fit(X, y))
    assert np.array_equal(outputs(made, X), outputs(made, X))
    plain = cls(**SMALL | {"max_iter": 1}, warm_start=True).fit(X, y)
    plain.coefs_, plain.intercepts_ = made.coefs_, made.intercepts_
    assert np.allclose(outputs(made, X), outputs(plain, X), rtol=1e-12)
    long = cls(**SMALL | {"max_iter": 60, "learning_rate_init": 0.01}, dropout=0.3).fit(X, y)
    assert long.score(X, y) > made.score(X, y)
    assert long.loss_curve_[-1] < long.loss_curve_[0]
    made.set_params(early_stopping=True).fit(X, y)


@EITHER
def test_dropout_is_refused_with_lbfgs(cls):
    with pytest.raises(ValueError, match="dropout"):
        cls(dropout=0.5, solver="lbfgs").fit(*problem(cls))


@EITHER
@pytest.mark.parametrize("settings", [{}, {"dropout": 0.2}, {"solver": "lbfgs"}], ids=str)
def test_one_thread_and_two_give_the_same_bits(cls, settings):
    X, y = problem(cls, 600)
    large = {"hidden_layer_sizes": (96, 64), "max_iter": 4, "random_state": 0} | settings
    fits = [cls(**large, n_threads=n).fit(X, y) for n in (1, 2, None)]
    for other in fits[1:]:
        assert np.array_equal(parameters(fits[0]), parameters(other))
        assert np.array_equal(outputs(fits[0], X), outputs(other, X))


@EITHER
def test_feature_names(cls):
    pandas = pytest.importorskip("pandas")
    X, y = problem(cls)
    frame = pandas.DataFrame(X, columns=list("abcde"))
    made = cls(**SMALL, early_stopping=True).fit(frame, y)
    assert list(made.feature_names_in_) == list("abcde")
    made.predict(frame)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        made.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        made.predict(frame.rename(columns={"a": "z"}))
    assert not hasattr(cls(**SMALL).fit(X, y), "feature_names_in_")
