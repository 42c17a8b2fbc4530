"""The open box: `network_`, weights that are views of it, and weights set by hand."""

import copy

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

import deltarule as dr
from helpers import dense_layers
from sklearn_helpers import (
    EITHER,
    KINDS,
    SAME_MODEL,
    UNCONVERGED,
    estimator,
    inputs,
    outputs,
    problem,
    target,
)
from tolerances import close

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 8, "random_state": 2}


def fitted(kind="multiclass", **settings):
    return estimator(kind, **SMALL | settings).fit(inputs(), target(kind))


def shares_memory(made):
    """Whether every weight and bias of a fitted estimator lies in its network's memory."""
    parts = [*made.coefs_, *made.intercepts_]
    assert sum(part.size for part in parts) == made.network_.theta.size
    return all(np.shares_memory(part, made.network_.theta) for part in parts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@EITHER
def test_the_weights_are_views_of_the_network(cls, solver, dtype):
    X, y = problem(cls)
    made = cls(**SMALL, solver=solver).fit(X.astype(dtype), y)
    assert isinstance(made.network_, dr.Network)
    assert type(made.coefs_) is type(made.intercepts_) is list
    assert [part.shape for part in made.coefs_] == [(5, 6), (6, 4), (4, made.n_outputs_)]
    assert [part.shape for part in made.intercepts_] == [(6,), (4,), (made.n_outputs_,)]
    assert shares_memory(made)
    if solver != "lbfgs":
        assert made.network_.dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_gives_the_same_numbers(kind):
    made, X = fitted(kind), inputs()
    expected = outputs(made, X)
    expected = expected[:, 1] if kind == "binary" else expected
    assert close(np.squeeze(made.network_.predict(X)), expected, SAME_MODEL)
    for layer, W, b in zip(dense_layers(made.network_), made.coefs_, made.intercepts_, strict=True):
        assert np.array_equal(layer.W.T, W)
        assert np.array_equal(layer.b, b)


@EITHER
def test_writing_into_the_network_changes_the_estimator(cls):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    before = outputs(made, X)
    made.network_.theta[:] *= 0.5
    assert not np.array_equal(outputs(made, X), before)
    made.network_.theta[:] = 0.0
    assert not any(part.any() for part in (*made.coefs_, *made.intercepts_))


def by_hand(made, coefs, intercepts, X):
    """What the estimator gives for other weights, from a copy that is told nothing else."""
    A = X
    for W, b in zip(coefs[:-1], intercepts[:-1], strict=True):
        A = np.maximum(A @ W + b, 0)
    Z = A @ coefs[-1] + intercepts[-1]
    if not hasattr(made, "classes_"):
        return Z[:, 0]
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def drawn(made, seed=9):
    """Other weights and biases of the same shapes."""
    g = np.random.default_rng(seed)
    return [
        [g.uniform(-1, 1, part.shape) for part in parts]
        for parts in (made.coefs_, made.intercepts_)
    ]


def set_items(made, coefs, intercepts):
    for i, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        made.coefs_[i], made.intercepts_[i] = W, b


def set_in_place(made, coefs, intercepts):
    for i, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        made.coefs_[i][...], made.intercepts_[i][:] = W, b


def set_lists(made, coefs, intercepts):
    made.coefs_, made.intercepts_ = list(coefs), list(intercepts)


def set_fortran(made, coefs, intercepts):
    made.coefs_ = [np.asfortranarray(W) for W in coefs]
    made.intercepts_ = [np.repeat(b, 2)[::2] for b in intercepts]


@pytest.mark.parametrize("setter", [set_items, set_in_place, set_lists, set_fortran])
@EITHER
def test_weights_set_by_hand_take_effect(cls, setter):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    coefs, intercepts = drawn(made)
    setter(made, coefs, intercepts)
    assert close(outputs(made, X), by_hand(made, coefs, intercepts, X), SAME_MODEL)
    assert shares_memory(made)  # linked again
    assert all(np.array_equal(a, b) for a, b in zip(made.coefs_, coefs, strict=True))
    made.coefs_[1][...] = coefs[1] = coefs[1] / 2  # and what is written next takes effect too
    assert close(outputs(made, X), by_hand(made, coefs, intercepts, X), SAME_MODEL)


@EITHER
def test_weights_set_by_hand_are_trained_on(cls):
    X, y = problem(cls)
    made, same = (cls(**SMALL, warm_start=True).fit(X, y) for _ in range(2))
    coefs, intercepts = drawn(made)
    set_lists(made, coefs, intercepts)
    set_in_place(same, coefs, intercepts)
    kept = [W.copy() for W in coefs]
    for each in (made, same):
        each.partial_fit(X, y)
    assert np.array_equal(made.network_.theta, same.network_.theta)
    assert not np.array_equal(made.coefs_[0], kept[0])


@EITHER
def test_weights_of_a_wrong_shape_are_refused(cls):
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    made.coefs_[0] = np.zeros((4, 6))
    with pytest.raises(ValueError, match=r"coefs_|shape"):
        made.predict(X)


@EITHER
def test_a_shallow_copy_with_other_weights_leaves_the_original(cls):
    """As scikit-learn makes the `fitted_estimator` of its callbacks."""
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    before = outputs(made, X)
    other = copy.copy(made)
    other.coefs_, other.intercepts_ = drawn(made)
    changed = outputs(other, X)
    assert not np.array_equal(changed, before)
    assert np.array_equal(outputs(made, X), before)
    assert np.array_equal(outputs(other, X), changed)


@EITHER
def test_a_new_fit_leaves_the_old_views_alone_or_alive(cls):
    """Views that the user kept stay readable after the estimator is fitted anew, and gone."""
    X, y = problem(cls)
    made = cls(**SMALL).fit(X, y)
    kept = made.coefs_[0]
    made.set_params(hidden_layer_sizes=(30,)).fit(X, y)
    assert made.coefs_[0].shape == (5, 30)
    assert shares_memory(made)
    del made
    assert np.isfinite(kept).all()
    assert kept.shape == (5, 6)
