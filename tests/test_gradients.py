"""Gradients against central differences for every pair of loss and output activation.

The table of pairs is PAIRS in helpers.py.
"""

import numpy as np
import pytest

import deltarule as dr
import reference
from helpers import (
    ACTIVATIONS,
    INVALID,
    VALID,
    central_differences,
    dense,
    dense_layers,
    problem,
    rng,
    targets,
)
from tolerances import DIFFERENCE, close


def network_for(output, depth, dropout):
    """Depth 1 to 4; the hidden activations walk through all of them as the output does."""
    first = ACTIVATIONS.index(output)
    hidden = [ACTIVATIONS[(first + 3 * k + 1) % len(ACTIVATIONS)] for k in range(depth - 1)]
    sizes = (3, *(4, 5, 3)[: depth - 1], 2)
    if dropout and depth == 1:  # nothing hidden to drop: drop inputs
        layers = [dr.Input(3), dr.Dropout(0.3), dr.Dense(2, output)]
        return dr.Network(layers, dtype="float64", seed=depth)
    return dense(sizes, (*hidden, output), seed=depth, dropout=0.3 if dropout else None)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dropout", [False, True], ids=["whole", "dropout"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(("loss", "output"), VALID)
def test_each_valid_pair_agrees_with_central_differences(loss, output, depth, dropout, weighted):
    net = network_for(output, depth, dropout)
    X, Y = rng(5, depth).normal(size=(6, 3)), targets(loss, 6, 2, seed=depth)
    w = rng(6).uniform(0.2, 2, 6) if weighted else None
    arguments = {"loss": loss, "sample_weight": w, "training": dropout}
    value, gradient = net.gradient(X, Y, **arguments)
    assert np.isfinite(value)
    differences = central_differences(lambda: net.gradient(X, Y, **arguments)[0], net.theta)
    assert abs(gradient).max() > 1e-3  # not a comparison of nothing with nothing
    assert close(gradient, differences, DIFFERENCE)


@pytest.mark.parametrize(("loss", "output"), INVALID)
def test_each_invalid_pair_is_refused(loss, output):
    net = dense((3, 4, 2), ("tanh", output))
    X, Y = rng(0).normal(size=(6, 3)), targets(loss, 6, 2)
    kept = net.theta.copy()
    for use in (
        lambda: net.fit(X, Y, loss=loss, epochs=1),
        lambda: net.gradient(X, Y, loss=loss),
        lambda: net.trace(X, Y, loss=loss),
        lambda: net.evaluate(X, Y, loss=loss),
        lambda: dr.Trainer(net, loss=loss).step(X, Y),
    ):
        with pytest.raises(ValueError, match=f"(?s){loss}.*{output}|{output}.*{loss}"):
            use()
    assert np.array_equal(net.theta, kept)


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("identity", "mse"),
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("exp", "poisson"),
    ],
)
def test_the_loss_matched_to_the_output_is_the_default(output, loss):
    net = dense((3, 4, 2), ("tanh", output))
    X, Y = rng(0).normal(size=(6, 3)), targets(loss, 6, 2)
    assert net.gradient(X, Y)[0] == net.gradient(X, Y, loss=loss)[0]
    assert net.evaluate(X, Y)["loss"] == net.evaluate(X, Y, loss=loss)["loss"]


@pytest.mark.parametrize("output", ["tanh", "relu", "softplus"])
def test_an_output_without_a_matched_loss_asks_for_one(output):
    net = dense((3, 4, 2), ("tanh", output))
    with pytest.raises(ValueError, match="loss"):
        net.gradient(*problem(5))


@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_class_indices_are_one_hot_rows(output):
    net = dense((3, 4, 5), ("tanh", output))
    X, classes = rng(0).normal(size=(20, 3)), rng(1).integers(5, size=20)
    loss1, gradient1 = net.gradient(X, classes, loss="cross_entropy")
    loss2, gradient2 = net.gradient(X, np.eye(5)[classes], loss="cross_entropy")
    assert close(loss1, loss2, 1e-14)
    assert close(gradient1, gradient2, 1e-14)
    loss3, _ = net.gradient(X, classes[:, None].astype(np.float32), loss="cross_entropy")
    assert loss3 == loss1


@pytest.mark.parametrize(
    ("loss", "activation"), [("cross_entropy", "softmax"), ("binary_cross_entropy", "sigmoid")]
)
def test_matched_pairs_are_their_logit_forms(loss, activation):
    matched, logits = (dense((3, 4, 3), ("tanh", name)) for name in (activation, "identity"))
    logits.theta[:] = matched.theta
    X, Y = rng(0).normal(size=(20, 3)), targets(loss, 20, 3)
    assert matched.gradient(X, Y, loss=loss)[0] == logits.gradient(X, Y, loss=loss)[0]
    assert np.array_equal(matched.gradient(X, Y, loss=loss)[1], logits.gradient(X, Y, loss=loss)[1])


def test_softmax_cross_entropy_as_one_layer_or_two():
    """An Activation entry at the end is the output activation as much as a fused one."""
    fused = dense((3, 4, 3), ("tanh", "softmax"))
    apart = dr.Network(
        [dr.Input(3), dr.Dense(4, "tanh"), dr.Dense(3), dr.Activation("softmax")],
        dtype="float64",
        seed=0,
    )
    apart.theta[:] = fused.theta
    X, Y = rng(0).normal(size=(20, 3)), targets("cross_entropy", 20, 3)
    assert close(apart.gradient(X, Y)[0], fused.gradient(X, Y)[0], 1e-12)
    assert close(apart.gradient(X, Y)[1], fused.gradient(X, Y)[1], 1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_have_finite_loss_and_gradient(loss, dtype):
    net = dr.Network([3, 3], output="identity", dtype=dtype, seed=0)
    net.layers[0].W[:] = np.eye(3)
    X = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, -1e4]])
    Y = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1.0]])
    value, gradient = net.gradient(X, Y, loss=loss)
    L, grad, _ = reference.gradient(net.theta.astype(float), (3, 3), ("identity",), X, Y, loss)
    assert close(value, L, 1e-6)
    assert close(gradient, grad, 1e-6)


@pytest.mark.parametrize("n", [1, 7, 300])
@pytest.mark.parametrize("training", [False, True])
def test_backward_agrees_with_central_differences(n, training):
    net = dense((3, 5, 4, 2), ("silu", "softmax", "tanh"), dropout=0.3)
    X, G = rng(0, n).normal(size=(n, 3)), rng(1, n).normal(size=(n, 2))
    gradient, input_gradient = net.backward(X, G, training=training)
    assert gradient.shape == net.theta.shape
    assert input_gradient.shape == X.shape

    def value():
        if training:
            return float(
                (net.trace(X, np.zeros((n, 2)), training=True, loss="mse").layers[-1].a * G).sum()
            )
        return float((net.predict(X) * G).sum())

    assert close(gradient, central_differences(value, net.theta), 10 * DIFFERENCE)
    few = X[:4]  # the views that differences change must be the rows that value() reads
    assert close(input_gradient[:4], central_differences(value, few), 10 * DIFFERENCE)


@pytest.mark.parametrize(
    ("loss", "output"), [("mse", "tanh"), ("mae", "identity"), ("mse", "softmax")]
)
def test_backward_of_the_loss_gradient_is_gradient(loss, output):
    sizes, names = (3, 5, 2), ("elu", output)
    net = dense(sizes, names)
    X, Y = problem(20)
    r = net.predict(X) - Y
    G = (2 * r if loss == "mse" else np.sign(r)) / r.size
    assert close(net.backward(X, G)[0], net.gradient(X, Y, loss=loss)[1], 1e-12)


def test_backward_agrees_with_the_reference_and_sums_over_rows():
    sizes, names = (3, 5, 2), ("elu", "sigmoid")
    net = dense(sizes, names)
    X, G = rng(0).normal(size=(9, 3)), rng(1).normal(size=(9, 2))
    Z, A = reference.forward(net.theta, sizes, names, X)
    delta = reference.through("sigmoid", G.T, Z[-1])
    grad, _, dX = reference.backward(net.theta, sizes, names, Z, A, delta)
    gradient, input_gradient = net.backward(X, G)
    assert close(gradient, grad, 1e-12)
    assert close(input_gradient, dX.T, 1e-12)
    rows = [net.backward(X[i : i + 1], G[i : i + 1])[0] for i in range(9)]
    assert close(np.sum(rows, axis=0), gradient, 1e-12)


def test_gradients_pass_through_the_scaling_layers():
    net = dr.Network(
        [dr.Input(3), dr.Standardize(), dr.Dense(4, "tanh"), dr.Dense(2), dr.Rescale()],
        dtype="float64",
        seed=0,
    )
    X, Y = problem(30)
    X, Y = 5 + 10 * X, 3 - 20 * Y
    net.fit(X, Y, epochs=2, seed=0)
    for loss in ("mse", "mae", "huber"):
        _, gradient = net.gradient(X, Y, loss=loss)
        differences = central_differences(lambda: net.gradient(X, Y, loss=loss)[0], net.theta)  # noqa: B023
        assert close(gradient, differences, DIFFERENCE)
    G = rng(1).normal(size=(30, 2))
    gradient, input_gradient = net.backward(X, G)
    value = lambda: float((net.predict(X) * G).sum())  # noqa: E731
    assert close(gradient, central_differences(value, net.theta), DIFFERENCE)
    assert close(input_gradient, central_differences(value, X), DIFFERENCE)


def test_dropout_masks_of_gradient_change_only_with_the_step():
    net = dense((3, 30, 2), ("tanh", "identity"), dropout=0.5)
    X, Y = problem(20)
    first = net.gradient(X, Y, training=True)[1]
    assert np.array_equal(first, net.gradient(X, Y, training=True)[1])
    assert not np.array_equal(first, net.gradient(X, Y)[1])
    theta = net.theta.copy()
    dr.Trainer(net, optimizer=dr.SGD(learning_rate=0.0)).step(X, Y)
    assert np.array_equal(net.theta, theta)
    assert not np.array_equal(first, net.gradient(X, Y, training=True)[1])


def test_gradient_has_the_layout_of_theta():
    sizes, names = (3, 5, 2), ("tanh", "identity")
    net = dense(sizes, names)
    X, Y = problem(20)
    _, grad, _ = reference.gradient(net.theta, sizes, names, X, Y, "mse")
    _, gradient = net.gradient(X, Y)
    assert gradient.dtype == net.theta.dtype
    parts = zip(
        net.unflatten(gradient), dense_layers(net), reference.unflatten(grad, sizes), strict=True
    )
    for (W, b), layer, (dW, db) in parts:
        assert W.shape == layer.W.shape
        assert close(W, dW, 1e-12)
        assert close(b, db[:, 0], 1e-12)


def test_huber_takes_its_delta():
    net = dense((3, 4, 2), ("tanh", "identity"))
    X, Y = problem(20)
    r = net.predict(X) - 3 * Y
    value = net.evaluate(X, 3 * Y, loss=dr.losses.Huber(delta=0.3))["loss"]
    assert close(value, reference.huber(r, 0.3).mean(), 1e-12)
