"""What the tests of `deltarule.sklearn` share: the classes and scikit-learn's, data, tolerances.

SAME_CURVE is issue 6's: two float64 programs that take the same hundred steps, rounding each in its
own way. Converted estimators compute one forward pass each, and agree as float64 results do.
"""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn import neural_network

from deltarule.sklearn import MLPClassifier, MLPRegressor, from_sklearn  # noqa: F401

CLASSES = (MLPClassifier, MLPRegressor)
EITHER = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
UNCONVERGED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SAME_CURVE = 1e-9
SAME_MODEL = 1e-12  # the promise of the conversions, and the rounding of a forward pass
SAME_MINIMUM = 1e-6  # L-BFGS amplifies rounding along its way; a handful of iterations stay close

N, N_FEATURES = 130, 5  # four batches of 32 and one of two rows
UNEVEN = {"batch_size": 32, "shuffle": False, "random_state": 3}


def inputs(n=N, n_features=N_FEATURES, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def target(kind, n=N, seed=0):
    """y for `inputs`: something to learn, with noise."""
    X, g = inputs(n, seed=seed), np.random.default_rng(seed + 100)
    z = np.stack([np.sin(X[:, k] + k) + 0.5 * X[:, 4 - k] for k in range(4)], axis=1)
    z += 0.2 * g.normal(size=z.shape)
    return {
        "binary": lambda: (z[:, 0] > 0.2).astype(int),
        "multiclass": lambda: z[:, :3].argmax(axis=1),
        "strings": lambda: np.array(["ash", "birch", "cedar"])[z[:, :3].argmax(axis=1)],
        "multilabel": lambda: (z[:, :3] > 0.2).astype(int),
        "regression": lambda: z[:, 0],
        "four_outputs": lambda: z * np.array([1.0, 0.1, 3.0, 1.0]),
        "poisson": lambda: g.poisson(np.exp(z[:, 0])).astype(float),
        "two_poisson": lambda: g.poisson(np.exp(z[:, :2])).astype(float),
    }[kind]()


CLASSIFICATION = ("binary", "multiclass", "multilabel")
REGRESSION = ("regression", "four_outputs", "poisson", "two_poisson")
KINDS = CLASSIFICATION + REGRESSION


def classifies(kind):
    return kind in (*CLASSIFICATION, "strings")


def estimator(kind, *, peer=False, **settings):
    """The unfitted estimator for a kind of target: ours, or scikit-learn's own."""
    module = neural_network if peer else None
    if classifies(kind):
        return (module.MLPClassifier if module else MLPClassifier)(**settings)
    loss = "poisson" if "poisson" in kind else "squared_error"
    return (module.MLPRegressor if module else MLPRegressor)(loss, **settings)


def kind_of(cls):
    """A kind of target that the class takes, for tests that hold of both classes."""
    return "multiclass" if cls is MLPClassifier else "regression"


def problem(cls, n=N, seed=0):
    """X and y for a class."""
    return inputs(n, seed=seed), target(kind_of(cls), n, seed)


def outputs(fitted, X):
    """Probabilities or predictions: every number that an estimator gives."""
    return fitted.predict_proba(X) if hasattr(fitted, "predict_proba") else fitted.predict(X)


def parameters(fitted):
    """All weights and biases in one vector."""
    return np.concatenate([np.ravel(part) for part in (*fitted.coefs_, *fitted.intercepts_)])


def same_bits(one, other):
    """Whether two fitted estimators have the same weights, and the same loss after each epoch."""
    curves = (getattr(each, "loss_curve_", [each.loss_]) for each in (one, other))
    return np.array_equal(parameters(one), parameters(other)) and np.array_equal(*curves)


def relative_error(actual, expected):
    """The largest error of any number, relative to that number."""
    actual, expected = np.asarray(actual, float), np.asarray(expected, float)
    assert actual.shape == expected.shape, f"{actual.shape} != {expected.shape}"
    return float(np.max(abs(actual - expected) / np.maximum(abs(expected), 1e-300), initial=0.0))
