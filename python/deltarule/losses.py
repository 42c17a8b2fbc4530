r"""What training makes small: the mean over the rows of a loss between output and target.

.. math:: L = \sum_i w_i \ell_i \Big/ \sum_i w_i

where :math:`w_i` are the sample weights (1 unless given) and :math:`\ell_i`, the loss of row
:math:`i`, is the mean over its :math:`n_L` outputs (`MSE`, `MAE`, `Huber`,
`BinaryCrossEntropy`, `Poisson`) or the sum over its classes (`CrossEntropy`). Below :math:`a` is
the network's output, :math:`z` what enters the output activation, :math:`y` the target.

A name is enough where nothing is to be set: ``net.fit(X, y, loss="mae")``. ``loss=None`` takes
the loss matched to the output activation:

========== ======================= ===========================================
output     loss                    target
========== ======================= ===========================================
identity   ``mse``                 real numbers, (n, n_L) or (n,) if one wide
softmax    ``cross_entropy``       class indices (n,), or rows of probabilities
sigmoid    ``binary_cross_entropy`` numbers in [0, 1]
exp        ``poisson``             counts or rates >= 0
========== ======================= ===========================================

The two cross-entropies also take a linear (identity) output, whose numbers are then logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from deltarule import _settings

__all__ = ["MAE", "MSE", "BinaryCrossEntropy", "CrossEntropy", "Huber", "Loss", "Poisson"]

LossName = Literal["mse", "mae", "huber", "binary_cross_entropy", "cross_entropy", "poisson"]


@dataclass(frozen=True)
class Loss:
    """What the losses share; use one of its subclasses."""

    name: ClassVar[str] = ""
    takes_class_indices: ClassVar[bool] = False

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


class BinaryCrossEntropy(Loss):
    r"""Negative log-likelihood of independent yes/no outputs; targets in [0, 1].

    .. math:: \ell = \frac{1}{n_L} \sum_j \log(1 + e^{z_j}) - y_j z_j

    computed from :math:`z` by softplus, never as :math:`\log \sigma(z)`: logits of 10⁴ are fine.
    The output is sigmoid, or identity (then the outputs are the logits).
    """

    name: ClassVar[str] = "binary_cross_entropy"


class CrossEntropy(Loss):
    r"""Negative log-likelihood of one class out of :math:`n_L`.

    .. math:: \ell = \log \sum_k e^{z_k} - \sum_k y_k z_k

    computed from :math:`z` by log-sum-exp. The target is a class index 0 … n_L − 1 for every row,
    or a row of :math:`n_L` probabilities (one-hot). The output is softmax, or identity (logits).
    """

    name: ClassVar[str] = "cross_entropy"
    takes_class_indices: ClassVar[bool] = True


class Poisson(Loss):
    r"""Negative log-likelihood of counts, without the term that is constant in the output.

    .. math:: \ell = \frac{1}{n_L} \sum_j e^{z_j} - y_j z_j

    for targets :math:`y \ge 0` and an exp output (:math:`a = e^z` is the expected count).
    """

    name: ClassVar[str] = "poisson"


BY_NAME: Mapping[str, type[Loss]] = {
    each.name: each for each in (MSE, MAE, Huber, BinaryCrossEntropy, CrossEntropy, Poisson)
}
MATCHED: Mapping[str, type[Loss]] = {
    "identity": MSE,
    "softmax": CrossEntropy,
    "sigmoid": BinaryCrossEntropy,
    "exp": Poisson,
}


def resolve(loss: object, output_activation: str) -> Loss:
    """Return the loss that a name, an object or None means for an output activation."""
    if loss is not None:
        return _settings.named("loss", loss, BY_NAME, Loss)
    if output_activation not in MATCHED:
        pairs = ", ".join(f"{output} -> {each.name}" for output, each in MATCHED.items())
        raise ValueError(
            f"loss=None takes the loss matched to the output activation ({pairs}), but the output "
            f"activation is {output_activation!r}; pass the loss, for instance loss='mse'"
        )
    return MATCHED[output_activation]()
