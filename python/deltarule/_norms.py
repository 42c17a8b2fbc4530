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
    learning_rate_factor : float, default 1
        As that of `Dense`, of gamma and beta.

    Raises
    ------
    TypeError, ValueError
        If a setting is not such a number.

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
    learning_rate_factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_training()
        epsilon = _settings.real("epsilon", self.epsilon, positive=True)
        _settings.set_field(self, "epsilon", epsilon)


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    r"""Normalise each unit over the rows of the batch; in inference, by running statistics.

    .. math:: A = \gamma \odot \hat x + \beta, \qquad
              \hat x = (A_{l-1} - \mu) / \sqrt{v + \varepsilon}

    with :math:`\gamma` and :math:`\beta` of shape (n_l,), trained, which start at 1 and 0. No
    penalty and no weight decay acts on them.

    In training :math:`\mu` and :math:`v` are the mean and the variance (divided by n) of each unit
    over all n rows of the batch, each row counting once, whatever its sample weight; the gradient
    goes through them. In inference they are ``net.layers[i].running_mean`` and ``running_var``,
    which start at 0 and 1 and which every training step moves:

    .. math:: r \leftarrow (1 - \mathrm{momentum})\, r + \mathrm{momentum}\, s

    where s is that of the batch, the variance here divided by n - 1. They are not trained numbers:
    they are saved with the network, and ``gradient``, ``backward`` and ``trace`` use the batch's
    own with ``training=True`` and never move them; nor does ``trainer.apply``, which sees no rows.

    A batch of one row has no variance. ``fit`` and ``trainer.run`` skip a last batch of one row,
    as drawn in each epoch; batches that are all of one row, and a single row in ``trainer.step``,
    are refused. In training every layer's numbers of all rows of a batch are in memory: with
    ``batch_size=None`` those of all rows.

    `Network.folded` moves it into a neighbouring `Dense` for prediction.

    Parameters
    ----------
    momentum : float, default 0.1
        How far a step moves the running statistics, from 0 to 1 (what Keras calls momentum is
        1 minus this).
    epsilon : float, default 1e-5
        Added to the variance, at least 1e-30.
    learning_rate_factor : float, default 1
        As that of `Dense`, of gamma and beta: the running statistics move with 0 too.

    Raises
    ------
    TypeError, ValueError
        If a setting is not such a number.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", ICML 2015.

    Examples
    --------
    >>> import deltarule as dr
    >>> layers = [dr.Input(4), dr.Dense(16), dr.BatchNorm(), dr.Activation("relu"), dr.Dense(1)]
    >>> net = dr.Network(layers, seed=0)
    >>> net.layers[1].gamma.shape, net.layers[1].running_var.shape
    ((16,), (16,))
    >>> net.folded()
    Network([Input(4), Dense(16, 'relu'), Dense(1)], dtype='float32', seed=0)
    """

    kind: ClassVar[str] = "batch_norm"
    momentum: float = field(default=0.1, kw_only=True)
    epsilon: float = field(default=1e-5, kw_only=True)
    learning_rate_factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_training()
        momentum = _settings.real("momentum", self.momentum)
        if momentum > 1:
            raise ValueError(f"momentum must be from 0 to 1, got {_settings.shown(self.momentum)}")
        _settings.set_field(self, "momentum", momentum)
        epsilon = _settings.real("epsilon", self.epsilon, low=1e-30)  # of use in float32
        _settings.set_field(self, "epsilon", epsilon)
