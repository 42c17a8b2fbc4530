"""Several outputs: labels, targets, quantiles, means and variances; metrics as scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as theirs

import deltarule as dr
from deltarule import losses, metrics
from helpers import VALID, dense, rng, targets
from tolerances import FLOAT64, close

BINARY = {  # of one label: ours, scikit-learn's of labels and scores
    "balanced_accuracy": lambda y, p, **w: theirs.balanced_accuracy_score(y, p > 0.5, **w),
    "f1": lambda y, p, **w: theirs.f1_score(y, p > 0.5, zero_division=0, **w),
    "auc": lambda y, p, **w: theirs.roc_auc_score(y, p, **w),
    "log_loss": lambda y, p, **w: theirs.log_loss(y, p, **w),
}


def labels(n=60, k=3, weighted=False):
    """Labels, probabilities of which many are equal, weights of which some are 0."""
    random = rng(n, k, weighted)
    y = random.integers(2, size=(n, k))
    y[:4] = [[0], [0], [1], [1]]
    w = random.integers(0, 3, n).astype(float) if weighted else None
    if weighted:
        w[:4] = 1
    return y, random.integers(1, 20, (n, k)) / 20, w


# ---- metrics of labels --------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_metrics_of_labels_are_means_of_those_of_scikit_learn(k, weighted):
    y, p, w = labels(k=k, weighted=weighted)
    given = {} if w is None else {"sample_weight": w}
    accuracy = metrics.accuracy(y, p, weights=w, multilabel=True)
    assert close(accuracy, theirs.accuracy_score(y, p > 0.5, **given), FLOAT64)
    for name, of_one in BINARY.items():
        expected = np.mean([of_one(y[:, j], p[:, j], **given) for j in range(k)])
        found = getattr(metrics, name)(y, p, weights=w, multilabel=True)
        assert close(found, expected, FLOAT64), name
    if k > 1:  # what scikit-learn itself says of several labels
        macro = theirs.f1_score(y, p > 0.5, average="macro", **given)
        assert close(metrics.f1(y, p, weights=w, multilabel=True), macro, FLOAT64)
        area = theirs.roc_auc_score(y, p, average="macro", **given)
        assert close(metrics.auc(y, p, weights=w, multilabel=True), area, FLOAT64)


def test_labels_that_no_row_has():
    y, p = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.2, 0.3]])
    assert metrics.f1(y, p, multilabel=True) == 0.5
    assert theirs.f1_score(y, p > 0.5, average="macro", zero_division=0) == 0.5
    assert metrics.accuracy(y, p, multilabel=True) == 1
    assert np.isnan(metrics.auc(y, p, multilabel=True))


def test_a_row_with_nan_is_not_right():
    p = [[0.1, np.nan], [0.2, 0.1]]
    assert metrics.accuracy([[0, 0], [0, 0]], p, multilabel=True) == 0.5


@pytest.mark.parametrize("name", ["accuracy", *BINARY])
def test_what_are_no_labels_is_refused(name):
    metric = getattr(metrics, name)
    with pytest.raises(ValueError, match="labels 0 or 1, got 2 at row 1, column 0"):
        metric([[0, 1], [2, 0]], [[0.1, 0.2]] * 2, multilabel=True)
    with pytest.raises(ValueError, match=r"both have shape .*, got \(2, 1\) and \(2, 2\)"):
        metric([0, 1], [[0.1, 0.2]] * 2, multilabel=True)
    with pytest.raises(ValueError, match=r"with several labels; multilabel=True"):
        metric([[1, 1], [1, 0]], [[0.1, 0.2]] * 2)
    with pytest.raises(ValueError, match=r"with none; multilabel=True"):
        metric([[0, 0], [1, 0]], [[0.1, 0.2]] * 2)
    metric([[0, 0], [1, 0], [0, 1]], [[0.1, 0.2]] * 3, weights=[0, 1, 1])  # a row that is no row


# ---- metrics of several targets -----------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_of_several_targets(weighted):
    y, a = rng(1).normal(size=(40, 3)), rng(2).normal(size=(40, 3))
    y[:, 2] = a[:, 2] = 1  # constant, and met
    w = rng(3).uniform(0, 2, 40) if weighted else None
    given = {"sample_weight": w}
    assert close(metrics.mae(y, a, weights=w), theirs.mean_absolute_error(y, a, **given), FLOAT64)
    assert close(metrics.r2(y, a, weights=w), theirs.r2_score(y, a, **given), FLOAT64)
    mean = theirs.mean_squared_error(y, a, **given)
    assert close(metrics.rmse(y, a, weights=w), np.sqrt(mean), FLOAT64)


# ---- the losses ---------------------------------------------------------------------------------

SEPARATE = [
    (loss, output)
    for loss, output in VALID
    if output != "softmax" and loss not in ("cross_entropy", "gaussian_nll")
]


@pytest.mark.parametrize(("loss", "output"), SEPARATE)
def test_a_loss_of_several_outputs_is_the_mean_of_those_of_each(loss, output):
    k, n = 5, 6
    Z, Y, w = rng(0).normal(size=(n, k)), targets(loss, n, k), rng(1).uniform(0.1, 2, n)

    def of(width):
        return dr.Network([dr.Input(width), dr.Activation(output)], dtype="float64", seed=0)

    together = of(k).trace(Z, Y, loss, sample_weight=w)
    alone = [of(1).trace(Z[:, [j]], Y[:, j], loss, sample_weight=w) for j in range(k)]
    assert close(together.loss, np.mean([each.loss for each in alone]), FLOAT64)
    deltas = np.hstack([each.layers[0].delta for each in alone]) / k
    assert close(together.layers[0].delta, deltas, FLOAT64)


def test_gaussian_nll_of_several_targets_is_the_mean_of_those_of_each():
    mean, log_variance, y = rng(0).normal(size=(3, 6, 4))
    net, one = (dr.Network([dr.Input(k), dr.Activation("identity")], seed=0) for k in (8, 2))
    Z = np.hstack([mean, log_variance])
    alone = [one.evaluate(Z[:, [j, j + 4]], y[:, j], "gaussian_nll")["loss"] for j in range(4)]
    found = net.evaluate(Z, y, "gaussian_nll", ["rmse", "mae", "r2"])
    assert close(found["loss"], np.mean(alone), 1e-6)
    for name in ("rmse", "mae", "r2"):
        assert close(found[name], getattr(metrics, name)(y, mean), 1e-6)


def test_one_quantile_of_several_targets_is_scikit_learns():
    a, y, w = rng(0).normal(size=(30, 3)), rng(1).normal(size=(30, 3)), rng(2).uniform(0, 2, 30)
    net = dr.Network([dr.Input(3), dr.Activation("identity")], dtype="float64", seed=0)
    expected = theirs.mean_pinball_loss(y, a, alpha=0.8, sample_weight=w)
    found = net.evaluate(a, y, losses.Quantile(0.8), sample_weight=w)["loss"]
    assert close(found, expected, FLOAT64)


def test_metrics_of_several_quantiles_are_those_of_the_median():
    a, y = rng(0).normal(size=(30, 3)), rng(1).normal(size=30)
    net = dr.Network([dr.Input(3), dr.Activation("identity")], dtype="float64", seed=0)
    found = net.evaluate(a, y, losses.Quantile([0.1, 0.5, 0.9]), ["mae"])
    assert close(found["mae"], theirs.mean_absolute_error(y, a[:, 1]), FLOAT64)
    with pytest.raises(ValueError, match="'mae' does not fit the targets"):
        net.evaluate(a, y, losses.Quantile([0.1, 0.4, 0.9]), ["mae"])


# ---- metrics of networks ------------------------------------------------------------------------

OF_LABELS = [  # loss, output activation, whether outputs are probabilities
    ("binary_cross_entropy", "sigmoid"),
    ("binary_cross_entropy", "identity"),
    ("focal", "sigmoid"),
    ("mse", "sigmoid"),
    ("hinge", "identity"),
]


@pytest.mark.parametrize(("loss", "output"), OF_LABELS)
@pytest.mark.parametrize("k", [1, 3])
def test_networks_of_labels(loss, output, k):
    """fit, validation and evaluate report scikit-learn's numbers of their predictions."""
    X = rng(k).normal(size=(80, 4))
    y = (X @ rng(5).normal(size=(4, k)) + rng(6).normal(size=(80, k)) > 0).astype(int)
    aims, w = 2 * y - 1 if loss == "hinge" else y, rng(7).uniform(0.1, 2, 80)
    net = dense((4, 6, k), ("tanh", output))
    names = ["accuracy", "balanced_accuracy", "f1", "auc"]
    names += ["log_loss"] * (loss != "hinge")
    data = (X[:40], aims[:40], w[:40])
    history = net.fit(X, aims, loss=loss, metrics=names, sample_weight=w, validation_data=data,
                      epochs=3)  # fmt: skip
    z = net.predict(X)
    p = z if output == "sigmoid" else 1 / (1 + np.exp(-z))
    for rows, prefix in ((slice(None), ""), (slice(40), "val_")):
        of_sklearn = {
            "accuracy": theirs.accuracy_score(y[rows], p[rows] > 0.5, sample_weight=w[rows])
        }
        for name, of_one in BINARY.items():
            of_sklearn[name] = np.mean(
                [of_one(y[rows, j], p[rows, j], sample_weight=w[rows]) for j in range(k)]
            )
        found = net.evaluate(X[rows], aims[rows], loss, names, sample_weight=w[rows])
        for name in names:
            assert close(history[prefix + name][-1], of_sklearn[name], 1e-9), name
            assert close(found[name], of_sklearn[name], 1e-9), name
    if loss == "hinge":
        with pytest.raises(ValueError, match="log_loss"):
            net.evaluate(X, aims, loss, ["log_loss"])


def test_one_hot_rows_of_softmax_are_classes():
    X, y = rng(0).normal(size=(50, 4)), rng(1).integers(3, size=50)
    net = dense((4, 6, 3), ("tanh", "softmax"))
    names = ["accuracy", "balanced_accuracy", "f1", "auc", "log_loss"]
    assert net.evaluate(X, y, metrics=names) == net.evaluate(X, np.eye(3)[y], metrics=names)


def test_metrics_of_a_loss_of_ones_own():
    """By the outputs: several of sigmoid are labels, else classes."""

    def own(y_true, y_pred):
        return np.zeros(len(y_pred)), np.zeros(y_pred.shape)

    X, y = rng(0).normal(size=(50, 4)), rng(1).integers(2, size=(50, 3))
    net = dense((4, 3), ("sigmoid",))
    expected = theirs.accuracy_score(y, net.predict(X) > 0.5)
    assert net.evaluate(X, y, own, ["accuracy"])["accuracy"] == expected
    net, classes = dense((4, 3), ("softmax",)), y.sum(axis=1) % 3
    expected = theirs.accuracy_score(classes, net.predict(X).argmax(axis=1))
    assert net.evaluate(X, classes, own, ["accuracy"])["accuracy"] == expected


def test_class_weight_is_of_classes_not_of_labels():
    X, y = rng(0).normal(size=(50, 4)), rng(1).integers(2, size=(50, 3))
    y[0] = [1, 1, 0]
    with pytest.raises(ValueError, match=r"one-hot rows, got \[1, 1, 0\]"):
        dense((4, 3), ("sigmoid",)).fit(X, y, class_weight="balanced", epochs=1)


@pytest.mark.parametrize(("loss", "output"), VALID)
def test_integer_weights_are_repeated_rows(loss, output):
    X, Y, w = rng(0).normal(size=(9, 3)), targets(loss, 9, 4), np.arange(9) % 3
    net = dense((3, 5, 4), ("tanh", output))
    found = net.gradient(X, Y, loss, sample_weight=w)
    expected = net.gradient(X.repeat(w, axis=0), Y.repeat(w, axis=0), loss)
    assert close(found[0], expected[0], FLOAT64)
    assert close(found[1], expected[1], FLOAT64)
