"""dr.losses.check: quiet about right losses, and what it says of wrong ones."""

import numpy as np
import pytest

from deltarule import losses
from helpers import rng


def squares(factor=lambda y, a: 1.0, of_losses=lambda y, a: 1.0, mean=False):
    """The squared error with gradient and losses multiplied by factors."""

    def squared(y_true, y_pred):
        r = y_pred - y_true
        value = (r**2).mean(axis=1) if mean else (r**2).sum(axis=1)
        return of_losses(y_true, y_pred) * value, factor(y_true, y_pred) * 2 * r

    return squared


def surprise(y_true, y_pred):
    return -np.log(y_pred).sum(axis=1), -1 / y_pred


def ratio(y_true, y_pred):
    """Not smooth where a prediction is 0, and of any size."""
    return 1e-20 * abs(y_pred).sum(axis=1) + 1e-20, 1e-20 * np.sign(y_pred)


BUILT_IN = [
    *losses.BY_NAME,
    losses.Huber(0.1),
    losses.Quantile([0.1, 0.5, 0.6, 0.9]),
    losses.Hinge(squared=True),
    losses.CrossEntropy(label_smoothing=0.1),
    losses.BinaryCrossEntropy(label_smoothing=0.1),
    losses.Focal(1.5, alpha=0.25),
    losses.Focal(2.0, alpha=[0.5, 1, 2, 4]),
]


@pytest.mark.parametrize("loss", BUILT_IN, ids=repr)
def test_the_losses_of_deltarule_pass(loss):
    for seed in range(3):
        losses.check(loss, seed=seed)
    losses.check(loss, n_outputs=2)


GIVEN = {
    "class indices": ("cross_entropy", [0, 2, 1], np.eye(3)),
    "one-hot rows": ("cross_entropy", np.eye(3)[[0, 2, 1]], np.eye(3)),
    "far logits": ("binary_cross_entropy", np.ones((4, 1)), [[-300], [-1], [1], [300]]),
    "counts": ("poisson", [[0], [3], [1]], np.ones((3, 1))),
    "own": (squares(), np.zeros((5, 2)), np.ones((5, 2))),
    "outputs alone": (surprise, None, rng(0).uniform(0.1, 0.9, (5, 2))),
    "targets alone": (squares(), np.zeros(4), None),
    "one wide": (squares(), np.zeros(4), np.arange(4)),
    "small and flat": (ratio, None, [[1e-8, 2e-8], [3e-8, -1e-8]]),
    "large": (squares(), None, 1e9 * rng(1).normal(size=(4, 2))),
    "a wide target": (lambda y, a: squares()(y[:, :2], a), np.ones((4, 9)), np.zeros((4, 2))),
    "a Custom": (losses.Custom(squares(), target_width=1), None, None),
}


@pytest.mark.parametrize("case", list(GIVEN))
def test_given_numbers_pass(case):
    loss, y_true, y_pred = GIVEN[case]
    n_outputs = 1 if case == "targets alone" else 3
    losses.check(loss, y_true, y_pred, n_outputs=n_outputs)


def one_wrong(y_true, y_pred):
    value, gradient = squares()(y_true, y_pred)
    if len(gradient) > 4:
        gradient[4, 1] += 1e-3
    return value, gradient


def of_another_row(y_true, y_pred):
    return squares()(y_true, np.roll(y_pred, 1, axis=0))


NOISE = rng(0)
n, m = (lambda y, a: float(len(a))), (lambda y, a: float(a.shape[1]))
WRONG = {
    "divided by n": (squares(lambda y, a: 1 / n(y, a)), "is wrong at row 0, output 0: got .*, "
                     "differences say .*; everywhere it is 1/7 .* 7 rows: leave out the 1/n"),
    "multiplied by n": (squares(n), "everywhere it is 7 times them, and there are 7 rows"),
    "divided by outputs": (squares(lambda y, a: 1 / m(y, a)), r"is 1/3 of them.* 3 outputs: take"),
    "a sum of a mean": (squares(mean=True), "is 3 times them, and there are 3 outputs: take the"),
    "divided by both": (squares(lambda y, a: 1 / a.size), "1/21 .* 7 rows and 3 outputs: leave"),
    "sign": (squares(lambda y, a: -1), "the sign is wrong"),
    "half": (squares(lambda y, a: 0.5), "everywhere it is 0.5 times them$"),
    "zero": (squares(lambda y, a: 0), r"got -?0, differences say [-\d.]*$"),
    "no constant factor": (squares(lambda y, a: a), r"differences say [-\d.e]*$"),
    "one number": (one_wrong, r"wrong at row 4, output 1: got -?[\d.]+, differences say -?[\d.]+$"),
    "losses over n": (squares(lambda y, a: 1 / n(y, a), lambda y, a: 1 / n(y, a)),
                      "wrong at row 0: got .* among 7 rows, .* alone: leave out the 1/n"),
    "rows mixed": (of_another_row, "for the row alone: rows depend on each other"),
    "noise": (squares(of_losses=lambda y, a: NOISE.normal()), "rows depend on each other"),
    "NaN": (lambda y, a: (a[:, 0] * np.nan, a), "loss <lambda> must be finite, got nan at row 0"),
    "inf": (lambda y, a: (a[:, 0], a + np.inf), "gradient .* got inf at row 0, output 0"),
    "shape": (lambda y, a: (a, a), r"losses of shape \(7,\), .*, got \(7, 3\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_what_it_says_of_wrong_ones(case):
    loss, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        losses.check(loss)


def test_a_range_that_is_left():
    message = "next to 1e-12 at row 1, output 0; give y_pred farther"
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        losses.check(surprise, y_pred=[[0.5], [1e-12]])


REFUSED = {
    "None": ((None,), TypeError, "loss must be one of 'mse'"),
    "a name": (("msee",), ValueError, "loss must be one of 'mse'"),
    "a class": ((losses.MSE,), TypeError, "got the class; write MSE"),
    "no pair": ((lambda y, a: a,), TypeError, "must return a pair"),
    "one row": (("mse", [[1.0]], [[2.0]]), ValueError, "at least 2 rows"),
    "rows": (("mse", np.zeros((3, 2)), np.zeros((4, 2))), ValueError, "rows, got 3 and 4"),
    "widths": (("mse", np.zeros((3, 2)), np.zeros((3, 1))), ValueError, "y_true must have shape"),
    "NaN": (("mse", None, [[1.0], [np.nan]]), ValueError, "y_pred must be finite, got nan at row"),
    "cube": (("mse", None, np.zeros((2, 2, 2))), ValueError, "y_pred must have shape"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_arguments_are_refused(case):
    arguments, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        losses.check(*arguments)
    for bad in (0, 1.5, "x"):
        with pytest.raises((TypeError, ValueError), match="n_outputs"):
            losses.check("mse", n_outputs=bad)
    with pytest.raises(TypeError, match="seed"):
        losses.check("mse", seed=1.5)
