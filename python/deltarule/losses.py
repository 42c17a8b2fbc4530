r"""What training makes small: the mean over the rows of a loss between output and target.

.. math:: L = \sum_i w_i \ell_i \Big/ \sum_i w_i

where :math:`w_i` are the sample weights (1 unless given) and :math:`\ell_i`, the loss of row
:math:`i`, is the mean over its :math:`n_L` outputs, or for classes (`CrossEntropy`, and `Focal`
with softmax) the sum over them. Below :math:`a` is the network's output, :math:`z` what enters the
output activation, :math:`y` the target.

A name is enough where nothing is to be set: ``net.fit(X, y, loss="mae")``. ``loss=None`` takes
the loss matched to the output activation, marked *:

======================== ======================= ================================================
loss                     output                  target y
======================== ======================= ================================================
``mse``                  any; identity *         real numbers, (n, n_L) or (n,) if one wide
``mae``, ``huber``,      any                     the same
``log_cosh``
``quantile``             any                     the same; several quantiles: one column
``gaussian_nll``         identity                real numbers, (n, n_L / 2)
``hinge``                identity                -1 or 1
``cross_entropy``        softmax *, identity     class indices (n,), or rows of probabilities
``binary_cross_entropy`` sigmoid *, identity     numbers in [0, 1]
``focal``                softmax, sigmoid        as that of the cross-entropy of this output
``poisson``              exp *                   counts or rates >= 0
``gamma``                exp                     numbers > 0
a function of your own   any                     any numbers, (n, any width) or (n,)
======================== ======================= ================================================

The two cross-entropies take the numbers of a linear (identity) output as logits. Another output
is a ValueError, as is a target outside of its range. A function ``f(y_true, y_pred) -> (losses,
gradient)`` serves wherever a loss does, see `Custom`; `check` compares its gradient with
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeGuard

from numpy.typing import ArrayLike, NDArray

from deltarule import _settings

if TYPE_CHECKING:
    from deltarule._custom_loss import Custom
    from deltarule._loss_check import check

__all__ = [
    "MAE",
    "MSE",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Custom",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "LogCosh",
    "Loss",
    "Poisson",
    "Quantile",
    "check",
]

LossFunction: TypeAlias = Callable[[NDArray[Any], NDArray[Any]], tuple[ArrayLike, ArrayLike]]
LossName = Literal[
    "mse", "mae", "huber", "log_cosh", "quantile", "gaussian_nll", "hinge", "binary_cross_entropy",
    "cross_entropy", "focal", "poisson", "gamma",
]  # fmt: skip


@dataclass(frozen=True)
class Loss:
    """What the losses share; use one of its subclasses."""

    name: ClassVar[str] = ""
    takes_class_indices: ClassVar[bool] = False

    def _target_width(self, n_outputs: int) -> int | None:
        """Return the width of a target of real numbers; None if it may have any."""
        return n_outputs

    def __repr__(self) -> str:
        return _settings.short_repr(self)


class MSE(Loss):
    r"""Mean squared error, over samples and outputs (no factor one half).

    .. math:: \ell = \frac{1}{n_L} \sum_j (a_j - y_j)^2

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([2, 1], seed=0)
    >>> net.theta = [1.0, 1.0, 0.0]
    >>> net.evaluate([[1.0, 2.0]], [5.0], loss=dr.losses.MSE())
    {'loss': 4.0}
    """

    name: ClassVar[str] = "mse"


class MAE(Loss):
    r"""Mean absolute error; its derivative at zero is taken as 0.

    .. math:: \ell = \frac{1}{n_L} \sum_j |a_j - y_j|
    """

    name: ClassVar[str] = "mae"


@dataclass(frozen=True, repr=False)
class Huber(Loss):
    r"""Squared near the target, linear far from it: outliers pull with bounded force.

    .. math::

        \ell = \frac{1}{n_L} \sum_j \begin{cases}
            \tfrac12 r_j^2 & |r_j| \le \delta \\
            \delta (|r_j| - \tfrac12 \delta) & \text{otherwise}
        \end{cases}, \qquad r = a - y

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola becomes a line, in units of `y`; positive.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a finite positive number.

    References
    ----------
    P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35 (1964).

    Examples
    --------
    >>> from deltarule.losses import Huber
    >>> Huber(delta=0.5)
    Huber(delta=0.5)
    """

    name: ClassVar[str] = "huber"
    delta: float = 1.0

    def __post_init__(self) -> None:
        _settings.set_field(self, "delta", _settings.real("delta", self.delta, positive=True))


class LogCosh(Loss):
    r"""Squared near the target, absolute far from it, and smooth in between.

    .. math:: \ell = \frac{1}{n_L} \sum_j \log \cosh (a_j - y_j)

    About :math:`r^2 / 2` for small :math:`r = a - y` and :math:`|r| - \log 2` for large, to all
    digits of either.
    """

    name: ClassVar[str] = "log_cosh"


@dataclass(frozen=True, repr=False)
class Quantile(Loss):
    r"""Pinball loss: the output becomes the q-quantile of the target, given the inputs.

    .. math:: \ell = \frac{1}{n_L} \sum_j \max(q_j r_j, (q_j - 1) r_j), \qquad r_j = y_j - a_j

    With one quantile every output has a target of its own. With k quantiles the network has k
    outputs and y one column, with which each output is compared; metrics by name (rmse, mae, r2)
    look at the median, if it is among them. Nothing keeps the quantiles in order: where data are
    few they may cross. For several targets with several quantiles each, train a network for each
    target.

    Parameters
    ----------
    q : float or sequence of floats, default 0.5
        Each in (0, 1); 0.5 is the median.

    Raises
    ------
    TypeError, ValueError
        If `q` is something else. Where it is used, also if k > 1 quantiles meet a network without
        k outputs.

    References
    ----------
    R. Koenker, G. Bassett, "Regression quantiles", Econometrica 46 (1978).

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 1))
    >>> y = X[:, 0] + np.random.default_rng(1).uniform(0.0, 1.0, 1000)
    >>> net = dr.Network([1, 3], seed=0)
    >>> loss = dr.losses.Quantile([0.1, 0.5, 0.9])
    >>> _ = net.fit(X, y, loss=loss, optimizer=dr.Adam(0.01), epochs=50)
    >>> net.predict([[0.0]]).round(1)
    array([[0.1, 0.5, 0.9]], dtype=float32)
    """

    name: ClassVar[str] = "quantile"
    q: float | Sequence[float] = 0.5

    def __post_init__(self) -> None:
        q: object = self.q
        if _is_sequence(q):
            levels = tuple(_level(f"q[{i}]", each) for i, each in enumerate(q))
            if not levels:
                raise ValueError("q must hold at least one quantile, got none")
            _settings.set_field(self, "q", levels[0] if len(levels) == 1 else levels)
        else:
            _settings.set_field(self, "q", _level("q", q))

    def _target_width(self, n_outputs: int) -> int:
        return 1 if isinstance(self.q, tuple) else n_outputs


class GaussianNLL(Loss):
    r"""Negative log-likelihood of a normal distribution whose mean and variance are both learnt.

    .. math::

        \ell = \frac{1}{m} \sum_j \tfrac12 \left( s_j + (y_j - \mu_j)^2 e^{-s_j} \right)

    without the constant :math:`\tfrac12 \log 2\pi`. For m targets the linear (identity) output has
    2 m columns: first the means :math:`\mu`, then the logarithms :math:`s` of the variances, in
    the same order. So any number is a valid output and no variance needs to be clamped; the
    standard deviation is ``np.exp(0.5 * out[:, m:])``. A far target under a tiny variance may
    overflow, which is a DivergenceError as with every loss.

    Metrics by name (rmse, mae, r2) are those of the means. A Rescale layer would scale the
    log-variances too, and is refused.

    References
    ----------
    D. Nix, A. Weigend, "Estimating the mean and variance of the target probability distribution",
    ICNN 1994.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([1, 2], seed=0)
    >>> net.theta = [1.0, 0.0, 0.0, 0.0]
    >>> net.evaluate([[3.0]], [5.0], loss="gaussian_nll", metrics=["mae"])
    {'loss': 2.0, 'mae': 2.0}
    """

    name: ClassVar[str] = "gaussian_nll"

    def _target_width(self, n_outputs: int) -> int:
        if n_outputs % 2:
            raise ValueError(
                "loss 'gaussian_nll' needs 2 outputs for each target, a mean and a log-variance, "
                f"the network has {n_outputs} output{'s' * (n_outputs > 1)}"
            )
        return n_outputs // 2


@dataclass(frozen=True, repr=False)
class Hinge(Loss):
    r"""Margin of yes/no outputs: nothing is paid for an output on the right side of ±1.

    .. math:: \ell = \frac{1}{n_L} \sum_j \max(0, 1 - y_j a_j)

    for targets :math:`y = -1` or :math:`1` and a linear (identity) output, whose sign is the
    decision; metrics by name go by it.

    Parameters
    ----------
    squared : bool, default False
        Square the margins before the mean: a smooth loss, and a larger one for large errors.

    Raises
    ------
    TypeError
        If `squared` is not a bool.

    References
    ----------
    C. Cortes, V. Vapnik, "Support-vector networks", Machine Learning 20 (1995).
    """

    name: ClassVar[str] = "hinge"
    squared: bool = False

    def __post_init__(self) -> None:
        _settings.set_field(self, "squared", _settings.boolean("squared", self.squared))


@dataclass(frozen=True, repr=False)
class _Smoothed(Loss):
    """A cross-entropy whose targets can be smoothed."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        checked = _settings.real("label_smoothing", self.label_smoothing, below=1.0)
        _settings.set_field(self, "label_smoothing", checked)


class BinaryCrossEntropy(_Smoothed):
    r"""Negative log-likelihood of independent yes/no outputs; targets in [0, 1].

    .. math:: \ell = \frac{1}{n_L} \sum_j \log(1 + e^{z_j}) - y_j z_j

    computed from :math:`z` by softplus, never as :math:`\log \sigma(z)`: logits of 10⁴ are fine.
    The output is sigmoid, or identity (then the outputs are the logits).

    Parameters
    ----------
    label_smoothing : float, default 0.0
        :math:`\epsilon` in [0, 1): the target becomes :math:`(1 - \epsilon) y + \epsilon / 2`.

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is not such a number.

    References
    ----------
    C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception architecture
    for computer vision", CVPR 2016, section 7.
    """

    name: ClassVar[str] = "binary_cross_entropy"


class CrossEntropy(_Smoothed):
    r"""Negative log-likelihood of one class out of :math:`n_L`.

    .. math:: \ell = \sum_c y_c \left( \log \sum_k e^{z_k} - z_c \right)

    computed from :math:`z` by log-sum-exp. The target is a class index 0 … n_L − 1 for every row,
    or a row of :math:`n_L` probabilities (one-hot). The output is softmax, or identity (logits).

    Parameters
    ----------
    label_smoothing : float, default 0.0
        :math:`\epsilon` in [0, 1): the target becomes
        :math:`(1 - \epsilon) y + \epsilon / n_L`.

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is not such a number.

    References
    ----------
    C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception architecture
    for computer vision", CVPR 2016, section 7.

    Examples
    --------
    >>> from deltarule.losses import CrossEntropy
    >>> CrossEntropy(label_smoothing=0.1)
    CrossEntropy(label_smoothing=0.1)
    """

    name: ClassVar[str] = "cross_entropy"
    takes_class_indices: ClassVar[bool] = True


@dataclass(frozen=True, repr=False)
class Focal(Loss):
    r"""Cross-entropy in which what is classified well counts little.

    .. math:: \ell = -\alpha \, (1 - p)^\gamma \log p

    where :math:`p` is the probability that the network gives to the truth. With a softmax output
    that is :math:`p_c` of the true class (targets as `CrossEntropy`; rows of probabilities
    :math:`y` give :math:`\sum_c y_c \ell_c`). With a sigmoid output it is :math:`p_j` or
    :math:`1 - p_j` for targets 1 and 0, mixed for numbers between, and :math:`\ell` is the mean
    over the outputs. Both are computed from :math:`z`; logits of 10⁴ are fine.

    Parameters
    ----------
    gamma : float, default 2.0
        The power, at least 0; with 0 it is the cross-entropy.
    alpha : float or sequence of floats, optional
        With sigmoid one number in (0, 1): the weight of target 1, that of target 0 being
        :math:`1 - \alpha`. With softmax a positive number for each class. None weighs nothing.

    Raises
    ------
    TypeError, ValueError
        If a setting is something else. Where it is used, also if `alpha` does not fit the output.

    References
    ----------
    T.-Y. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, "Focal loss for dense object detection",
    ICCV 2017.

    Examples
    --------
    >>> from deltarule.losses import Focal
    >>> Focal(alpha=0.25)
    Focal(alpha=0.25)
    """

    name: ClassVar[str] = "focal"
    takes_class_indices: ClassVar[bool] = True
    gamma: float = 2.0
    alpha: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        _settings.set_field(self, "gamma", _settings.real("gamma", self.gamma))
        alpha: object = self.alpha
        if alpha is None:
            return
        if not _is_sequence(alpha):
            _settings.set_field(self, "alpha", _level("alpha", alpha))
            return
        each = tuple(
            _settings.real(f"alpha[{i}]", value, positive=True) for i, value in enumerate(alpha)
        )
        if len(each) < 2:
            raise ValueError(f"alpha must hold a number for each class, got {len(each)}")
        _settings.set_field(self, "alpha", each)


class Poisson(Loss):
    r"""Negative log-likelihood of counts, without the term that is constant in the output.

    .. math:: \ell = \frac{1}{n_L} \sum_j e^{z_j} - y_j z_j

    for targets :math:`y \ge 0` and an exp output (:math:`a = e^z` is the expected count).
    """

    name: ClassVar[str] = "poisson"


class Gamma(Loss):
    r"""Negative log-likelihood of positive, skewed targets: durations, costs, rainfall.

    .. math:: \ell = \frac{1}{n_L} \sum_j z_j + y_j e^{-z_j}

    for targets :math:`y > 0` and an exp output (:math:`a = e^z` is the mean): the gamma
    distribution with the logarithm as link. What depends on the target alone is left out, and the
    shape parameter, a common factor; half the gamma deviance is :math:`\ell - \log y - 1`. A
    :math:`z` far below :math:`\log y` may overflow, which is a DivergenceError.

    References
    ----------
    P. McCullagh, J. Nelder, "Generalized linear models", 2nd edition, 1989, chapter 8.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([1, 1], output="exp", seed=0)
    >>> net.theta = [0.0, 0.0]
    >>> net.evaluate([[1.0]], [3.0], loss="gamma")
    {'loss': 3.0}
    """

    name: ClassVar[str] = "gamma"


BY_NAME: Mapping[str, type[Loss]] = {
    each.name: each
    for each in (
        MSE,
        MAE,
        Huber,
        LogCosh,
        Quantile,
        GaussianNLL,
        Hinge,
        BinaryCrossEntropy,
        CrossEntropy,
        Focal,
        Gamma,
        Poisson,
    )
}
MATCHED: Mapping[str, type[Loss]] = {
    "identity": MSE,
    "softmax": CrossEntropy,
    "sigmoid": BinaryCrossEntropy,
    "exp": Poisson,
}


def resolve(loss: object, output_activation: str) -> Loss:
    """Return the loss that a name, an object, a function or None means for an activation."""
    if callable(loss) and not isinstance(loss, (Loss, type)):
        from deltarule._custom_loss import Custom

        return Custom(loss)
    if loss is not None:
        return _settings.named("loss", loss, BY_NAME, Loss)
    if output_activation not in MATCHED:
        pairs = ", ".join(f"{output} -> {each.name}" for output, each in MATCHED.items())
        raise ValueError(
            f"loss=None takes the loss matched to the output activation ({pairs}), but the output "
            f"activation is {output_activation!r}; pass the loss, for instance loss='mse'"
        )
    return MATCHED[output_activation]()


def _level(name: str, value: object) -> float:
    """Return a number in (0, 1)."""
    return _settings.real(name, value, positive=True, below=1.0)


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping))


def __getattr__(name: str) -> Any:
    """Import what is about functions of the user's own when it is first used."""
    if name == "Custom":
        from deltarule._custom_loss import Custom

        return Custom
    if name == "check":
        from deltarule._loss_check import check

        return check
    raise AttributeError(f"module 'deltarule.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
