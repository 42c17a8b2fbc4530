"""Settings of layers that normalise what passes through them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from deltarule import _settings
from deltarule._layers import Layer


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    r"""Centre and scale every row by its own mean and variance over the units.

    .. math::

        A = \gamma \odot \hat{x} + \beta, \qquad
        \hat{x} = \frac{A_{l-1} - \mu}{\sqrt{v + \mathrm{epsilon}}}

    with the mean :math:`\mu` and the biased variance :math:`v` of the n_l numbers of the row, and
    trained :math:`\gamma` and :math:`\beta` of shape (n_l,), which start at 1 and 0. They lie in
    ``net.theta`` in this order, and are no weights: penalties and weight decay leave them alone.
    Training and inference are the same.

    Parameters
    ----------
    epsilon : float, default 1e-5
        Keeps a row of equal numbers finite: positive. Less than the smallest normal number of the
        network's dtype counts as that.

    Raises
    ------
    TypeError, ValueError
        If `epsilon` is not such a number.

    References
    ----------
    J. Ba, J. Kiros, G. Hinton, "Layer normalization", arXiv:1607.06450 (2016).

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([dr.Input(4), dr.LayerNorm()], dtype="float64", seed=0)
    >>> net.predict([[1.0, 1.0, 3.0, 3.0]]).round(4)
    array([[-1., -1.,  1.,  1.]])
    >>> net.layers[0].gamma, net.layers[0].beta
    (array([1., 1., 1., 1.]), array([0., 0., 0., 0.]))
    """

    kind: ClassVar[str] = "layer_norm"
    epsilon: float = field(default=1e-5, kw_only=True)

    def __post_init__(self) -> None:
        epsilon = _settings.real("epsilon", self.epsilon, positive=True)
        _settings.set_field(self, "epsilon", epsilon)
