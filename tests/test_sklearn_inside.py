"""Inside a fitted estimator: hidden activations, and gradients with respect to the inputs."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from scipy import sparse
from sklearn.exceptions import NotFittedError

from sklearn_helpers import (
    EITHER,
    KINDS,
    SAME_MODEL,
    UNCONVERGED,
    estimator,
    inputs,
    outputs,
    parameters,
    problem,
    target,
)
from tolerances import DIFFERENCE, DIFFERENCE_STEP, close

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6, 4), "max_iter": 8, "random_state": 2}


def fitted(kind="multiclass", **settings):
    return estimator(kind, **SMALL | settings).fit(inputs(), target(kind))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_hidden_activations(kind, activation):
    apply = {
        "identity": lambda Z: Z,
        "logistic": lambda Z: 1 / (1 + np.exp(-Z)),
        "tanh": np.tanh,
        "relu": lambda Z: np.maximum(Z, 0),
    }[activation]
    made, X = fitted(kind, activation=activation), inputs()
    first = apply(X @ made.coefs_[0] + made.intercepts_[0])
    second = apply(first @ made.coefs_[1] + made.intercepts_[1])
    for layer, expected in ((0, first), (1, second), (-1, second), (-2, first)):
        assert close(made.hidden_activations(X, layer), expected, SAME_MODEL)
        assert close(made.hidden_activations(sparse.csr_array(X), layer), expected, SAME_MODEL)
    result = made.hidden_activations(X, 0)
    result[:] = 0  # the caller's own array
    assert close(made.hidden_activations(X, 0), first, SAME_MODEL)


@EITHER
def test_hidden_activations_refusals(cls):
    X, y = problem(cls)
    made = cls(**SMALL)
    with pytest.raises(NotFittedError):
        made.hidden_activations(X, 0)
    made.fit(X, y)
    for layer in (2, -3, 100):
        with pytest.raises(ValueError, match="layer"):
            made.hidden_activations(X, layer)
    with pytest.raises(ValueError, match="features"):
        made.hidden_activations(X[:, :4], 0)
    with pytest.raises(ValueError, match="NaN"):
        made.hidden_activations(np.full((1, 5), np.nan), 0)


@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic", "identity"])
@pytest.mark.parametrize("kind", KINDS)
def test_input_gradient(kind, activation):
    """Against central differences of what the estimator predicts, feature by feature."""
    made, X = fitted(kind, activation=activation), inputs(9, seed=1)

    def values(X):
        result = outputs(made, X)
        return result[:, 1] if kind == "binary" else result

    expected = np.stack(
        [
            (values(X + step) - values(X - step)) / (2 * DIFFERENCE_STEP)
            for step in DIFFERENCE_STEP * np.eye(5)
        ],
        axis=-1,
    )
    shape = (9, 5) if made.n_outputs_ == 1 else (9, made.n_outputs_, 5)
    assert expected.shape == shape
    assert abs(expected).max() > 1e-3
    assert made.input_gradient(X).shape == shape
    assert close(made.input_gradient(X), expected, DIFFERENCE)
    rowwise = np.concatenate([made.input_gradient(row[None]) for row in X])
    assert close(rowwise, made.input_gradient(X), SAME_MODEL)


def test_input_gradient_of_probabilities_sums_to_zero():
    gradient = fitted("multiclass").input_gradient(inputs())
    assert abs(gradient.sum(axis=1)).max() < SAME_MODEL


@EITHER
def test_input_gradient_refusals(cls):
    X, y = problem(cls)
    with pytest.raises(NotFittedError):
        cls(**SMALL).input_gradient(X)
    made = cls(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        made.input_gradient(X[:, :4])
    kept = parameters(made)
    made.input_gradient(X)
    assert np.array_equal(parameters(made), kept)
