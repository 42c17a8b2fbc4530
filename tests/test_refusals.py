"""Misuse that once slipped through: refused with a sentence, and nothing is lost."""

import numpy as np
import pytest

import deltarule as dr
from deltarule import metrics


def rows(n=50, width=3):
    return np.random.default_rng(0).normal(size=(n, width))


def test_validation_targets_have_the_form_of_the_training_targets():
    X, y = rows(), np.random.default_rng(1).integers(0, 40, 50)
    one_hot = np.eye(40)[y]
    net = dr.Network([3, 8, 40], output="softmax", seed=0)
    kept = net.theta.copy()
    for train, validation in ((y, one_hot), (one_hot, y)):
        with pytest.raises(ValueError, match=r"validation_data\[1\] must have targets of the same"):
            net.fit(X, train, validation_data=(X, validation))
    assert np.array_equal(net.theta, kept)


def test_a_rescaled_output_has_no_classes():
    net = dr.Network([dr.Input(3), dr.Dense(40), dr.Rescale()], seed=0)
    with pytest.raises(ValueError, match="one column for each of its 40 outputs, got 1"):
        net.fit(rows(), np.zeros(50, int), loss="cross_entropy")
    assert not net.layers[1].fitted


def test_refused_data_leave_the_trainer_as_it_was():
    """Also its optimiser: the next run goes on as if the refused one had not been."""
    X, y = rows(), rows()[:, 0]
    bad = X.copy()
    bad[4, 1] = np.nan
    results = []
    for refused in (False, True):
        trainer = dr.Trainer(dr.Network([3, 8, 1], seed=0))
        trainer.run(X, y, epochs=3, max_steps=3)
        if refused:
            with pytest.raises(ValueError, match="row 4, column 1"):
                trainer.run(bad, y, epochs=6)
        trainer.run(X, y, epochs=6)
        results.append(trainer.network.theta.copy())
    assert np.array_equal(*results)


@pytest.mark.parametrize("place", ["training", "validation"])
def test_weights_that_are_zero_in_float32(place):
    X, y = rows(), rows()[:, 0]
    net = dr.Network([3, 1], seed=0)
    kept, tiny = net.theta.copy(), np.full(50, 1e-60)
    settings = {
        "training": {"sample_weight": tiny},
        "validation": {"validation_data": (X, y, tiny)},
    }
    with pytest.raises(ValueError, match="must not be all zero once converted"):
        net.fit(X, y, **settings[place])
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


def test_the_first_bad_target_is_named():
    X, y = rows(), np.zeros((50, 3))
    y[7:, 1] = 2.0
    net = dr.Network([3, 3], output="softmax", seed=0)
    with pytest.raises(ValueError, match="got 2 at row 7, column 1"):
        net.fit(X, y)


def test_layers_are_assigned_in_place():
    net = dr.Network([3, 2], seed=0)
    layer = net.layers[0]
    layer.W = np.zeros((2, 3))
    layer.W += 1
    layer.b = [5.0, 6.0]
    assert net.theta.tolist() == [1.0] * 6 + [5.0, 6.0]
    with pytest.raises(ValueError, match=r"W must have shape \(2, 3\), got \(3, 2\)"):
        layer.W = np.zeros((3, 2))
    with pytest.raises(ValueError, match="this layer has none"):
        dr.Network([dr.Input(3), dr.Dropout(0.5), dr.Dense(1)], seed=0).layers[0].W = [[1.0]]


def test_a_metric_only_reads():
    def sorts(y_true, y_pred):
        y_true.sort(axis=0)
        return 0.0

    X, y = rows(), rows()[:, 0]
    kept = y.copy()
    with pytest.raises(ValueError, match="read-only"):
        dr.Network([3, 1], seed=0).fit(X, y, epochs=1, metrics=[sorts])
    assert np.array_equal(y, kept)


def test_metrics_at_their_edges():
    assert metrics.r2([0.1] * 3, [1.1] * 3) == 0.0
    assert metrics.r2([0.1] * 3, [0.1] * 3) == 1.0
    assert metrics.accuracy([1, 0], [np.nan, 0.2]) == 0.5
    assert metrics.accuracy([1, 0], [[np.nan, 1.0], [0.9, 0.1]]) == 0.5
    with pytest.raises(ValueError, match="probabilities in"):
        metrics.log_loss([1, 0], [3.0, -5.0])
