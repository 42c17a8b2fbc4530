"""Copies of a fitted estimator: pickled, cloned, converted to scikit-learn's and back."""

import copy
import pickle

import joblib
import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from sklearn_helpers import (
    EITHER,
    KINDS,
    SAME_CURVE,
    SAME_MODEL,
    UNCONVERGED,
    UNEVEN,
    MLPClassifier,
    estimator,
    from_sklearn,
    inputs,
    outputs,
    parameters,
    problem,
    relative_error,
    target,
)
from tolerances import close

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 8, "random_state": 2, "batch_size": 32}
COPIES = {
    "pickle": lambda made, _: pickle.loads(pickle.dumps(made)),
    "pickle2": lambda made, _: pickle.loads(pickle.dumps(made, protocol=2)),
    "deepcopy": lambda made, _: copy.deepcopy(made),
    "joblib": lambda made, folder: joblib.load(joblib.dump(made, folder / "made")[0]),
    "mapped": lambda made, folder: joblib.load(
        joblib.dump(made, folder / "made")[0], mmap_mode="r"
    ),
}  # name: how a fitted estimator is copied


def shares_memory(made):
    return all(
        np.shares_memory(part, made.network_.theta) for part in (*made.coefs_, *made.intercepts_)
    )


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", [*KINDS, "strings"])
def test_a_copy_is_the_same_estimator(kind, how, tmp_path):
    X = inputs()
    made = estimator(kind, **SMALL).fit(X, target(kind))
    other = COPIES[how](made, tmp_path)
    assert type(other) is type(made)
    assert other.get_params() == made.get_params()
    assert np.array_equal(outputs(other, X), outputs(made, X))
    assert np.array_equal(other.predict(X), made.predict(X))
    assert other.loss_curve_ == made.loss_curve_
    assert (other.t_, other.n_iter_, other.best_loss_) == (made.t_, made.n_iter_, made.best_loss_)
    assert shares_memory(other)
    assert not np.shares_memory(other.network_.theta, made.network_.theta)
    other.coefs_[0][...] = 0.0
    assert not np.array_equal(outputs(other, X), outputs(made, X))


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("seed", [0, "RandomState"])
@EITHER
def test_training_goes_on_with_the_same_bits(cls, seed, solver, how, tmp_path):
    """Optimiser, random numbers and dropout are part of what is copied."""
    X, y = problem(cls)
    rows = [slice(k, k + 60) for k in (0, 30, 70, 10, 50)]
    more = {"classes": [0, 1, 2]} if cls is MLPClassifier else {}
    settings = SMALL | {"solver": solver, "dropout": 0.2}

    def started():
        state = np.random.RandomState(7) if seed == "RandomState" else seed
        made = cls(**settings | {"random_state": state})
        for part in rows[:3]:
            made.partial_fit(X[part], y[part], **more)
        return made

    whole, halves = started(), COPIES[how](started(), tmp_path)
    for part in rows[3:]:
        whole.partial_fit(X[part], y[part])
        halves.partial_fit(X[part], y[part])
    assert np.array_equal(parameters(halves), parameters(whole))
    assert halves.loss_curve_ == whole.loss_curve_


@EITHER
def test_a_clone_is_unfitted_and_has_every_setting(cls):
    X, y = problem(cls)
    settings = SMALL | {"dropout": 0.25, "n_threads": 1, "alpha": 0.3, "early_stopping": True}
    made = cls(**settings).fit(X, y)
    other = clone(made)
    assert other.get_params() == made.get_params()
    assert other.get_params()["dropout"] == 0.25
    assert not {name for name in vars(other) if name.endswith("_")}
    with pytest.raises(NotFittedError):
        other.predict(X)
    assert np.array_equal(parameters(other.fit(X, y)), parameters(made))


@EITHER
def test_an_unfitted_estimator_is_copied_too(cls):
    made = cls(**SMALL)
    assert pickle.loads(pickle.dumps(made)).get_params() == made.get_params()
    assert copy.deepcopy(made).get_params() == made.get_params()


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", [*KINDS, "strings"])
def test_to_sklearn(kind, solver):
    X = inputs()
    ours = estimator(kind, **SMALL, solver=solver, alpha=0.2).fit(X, target(kind))
    theirs = ours.to_sklearn()
    assert type(theirs) is getattr(neural_network, type(ours).__name__)
    assert theirs.get_params().items() <= ours.get_params().items()
    assert close(outputs(theirs, X), outputs(ours, X), SAME_MODEL)
    assert np.array_equal(theirs.predict(X), ours.predict(X)) or kind in KINDS[3:]
    assert theirs.n_iter_ == ours.n_iter_
    assert theirs.out_activation_ == ours.out_activation_
    assert pickle.dumps(theirs).find(b"deltarule") == -1  # a machine without us can load it
    theirs.coefs_[0][...] = 0.0
    assert not np.array_equal(outputs(theirs, X), outputs(ours, X))


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("kind", [*KINDS, "strings"])
def test_from_sklearn(kind, solver):
    X = inputs()
    theirs = estimator(kind, peer=True, **SMALL, solver=solver, alpha=0.2).fit(X, target(kind))
    before = outputs(theirs, X)
    ours = from_sklearn(theirs)
    assert type(ours).__module__.startswith(type(estimator(kind)).__module__)
    assert theirs.get_params().items() <= ours.get_params().items()
    assert close(outputs(ours, X), before, SAME_MODEL)
    assert ours.n_features_in_ == 5
    assert shares_memory(ours)
    if hasattr(theirs, "loss_curve_"):
        assert relative_error(ours.loss_curve_, theirs.loss_curve_) < SAME_CURVE
    if hasattr(theirs, "classes_"):
        assert np.array_equal(ours.classes_, theirs.classes_)
        assert np.array_equal(ours.predict(X), theirs.predict(X))
        assert ours.score(X, target(kind)) == theirs.score(X, target(kind))
    ours.network_.theta[:] = 0.0
    assert np.array_equal(outputs(theirs, X), before)
    assert close(outputs(from_sklearn(theirs).to_sklearn(), X), before, SAME_MODEL)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@EITHER
def test_a_converted_estimator_can_be_trained_on(cls, solver):
    """A warm start makes a new optimiser in both, so both go on alike."""
    X, y = problem(cls)
    peer = getattr(neural_network, cls.__name__)
    settings = SMALL | UNEVEN | {"solver": solver, "warm_start": True}
    theirs = peer(**settings).fit(X, y)
    ours = from_sklearn(theirs)
    for each in (ours, theirs):
        each.fit(X, y)
    assert len(ours.loss_curve_) == 16
    assert relative_error(ours.loss_curve_, theirs.loss_curve_) < SAME_CURVE
    back = ours.to_sklearn()
    for each in (ours, back):
        each.fit(X, y)
    assert relative_error(ours.loss_curve_, back.loss_curve_) < SAME_CURVE
    ours.partial_fit(X, y)
    back.partial_fit(X, y)


def test_float32_is_converted_as_float32():
    X = inputs().astype(np.float32)
    theirs = estimator("multiclass", peer=True, **SMALL).fit(X, target("multiclass"))
    ours = from_sklearn(theirs)
    assert ours.coefs_[0].dtype == np.float32
    assert close(outputs(ours, X), outputs(theirs, X), 1e-6)
    assert ours.to_sklearn().coefs_[0].dtype == np.float32


@EITHER
def test_what_cannot_be_converted_is_refused(cls):
    with pytest.raises(NotFittedError):
        from_sklearn(getattr(neural_network, cls.__name__)())
    with pytest.raises(NotFittedError):
        cls().to_sklearn()
    for wrong in (LogisticRegression(), 3, None, neural_network.BernoulliRBM()):
        with pytest.raises(TypeError, match="MLP"):
            from_sklearn(wrong)
