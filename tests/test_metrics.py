"""Metrics of classes against scikit-learn's, and where they have no value."""

import numpy as np
import pytest
from sklearn import metrics as theirs

import deltarule as dr
from deltarule import metrics
from helpers import rng
from tolerances import close


def cases():
    """Class indices, scores (n, k), weights."""
    for k in (1, 2, 3, 5):
        for weighted in (False, True):
            random = rng(k, weighted)
            true = random.integers(0, max(k, 2), 200)
            true[: max(k, 2)] = np.arange(max(k, 2))  # each class is there
            scores = random.integers(0, 20, (200, k)) / 20 + 0.01  # many are equal
            weights = random.integers(0, 4, 200) if weighted else None
            if weighted:
                weights[: max(k, 2)] = 1
            yield pytest.param(true, scores, weights, id=f"{k} columns, weighted={weighted}")


@pytest.mark.parametrize(("true", "scores", "weights"), list(cases()))
def test_metrics_of_classes_are_those_of_scikit_learn(true, scores, weights):
    k = scores.shape[1]
    chosen = (scores[:, 0] > 0.5).astype(int) if k == 1 else scores.argmax(axis=1)
    average = "binary" if k <= 2 else "macro"
    given = {"sample_weight": weights}
    expected = theirs.balanced_accuracy_score(true, chosen, **given)
    assert close(metrics.balanced_accuracy(true, scores, weights=weights), expected, 1e-12)
    expected = theirs.f1_score(true, chosen, average=average, **given)
    assert close(metrics.f1(true, scores, weights=weights), expected, 1e-12)
    classes = range(max(k, 2))
    areas = [
        theirs.roc_auc_score(true == each, scores[:, each if k > 1 else 0], **given)
        for each in (classes if k > 2 else [1])
    ]
    assert close(metrics.auc(true, scores, weights=weights), np.mean(areas), 1e-12)


def test_auc_has_no_value_without_both_classes_or_with_nan():
    assert np.isnan(metrics.auc([1, 1], [0.2, 0.7]))
    assert np.isnan(metrics.auc([0, 1, 0], [[0.2, 0.1, 0.7]] * 3))
    assert np.isnan(metrics.auc([0, 1], [np.nan, 0.7]))


def test_nothing_found_and_rows_that_choose_nothing():
    assert metrics.f1([0, 0], [0.1, 0.2]) == 0
    assert metrics.f1([1, 1, 0], [np.nan, 0.9, 0.1]) == 2 / 3
    assert metrics.balanced_accuracy([1, 1, 0], [np.nan, 0.9, 0.1]) == 0.75


@pytest.mark.parametrize("output", ["softmax", "identity"])
def test_they_serve_fit_by_name_and_from_logits(output):
    random = rng(7)
    X = random.normal(size=(300, 4))
    y = X[:, :3].argmax(axis=1)
    net = dr.Network([4, 16, 3], output=output, dtype="float64", seed=0)
    names = ["accuracy", "balanced_accuracy", "f1", "auc"]
    loss = "cross_entropy"
    history = net.fit(X, y, loss=loss, metrics=names, validation_data=(X[:50], y[:50]), epochs=30)
    assert set(names) | {f"val_{name}" for name in names} <= set(history)
    found = net.evaluate(X, y, loss=loss, metrics=names)
    Z = net.predict(X)
    P = Z if output == "softmax" else np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    assert close(found["auc"], theirs.roc_auc_score(y, P, multi_class="ovr"), 1e-9)
    assert close(found["f1"], theirs.f1_score(y, P.argmax(axis=1), average="macro"), 1e-12)
    assert found["auc"] > 0.95
