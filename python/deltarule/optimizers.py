r"""How a gradient changes the parameters.

Below :math:`\theta` are the parameters, :math:`g` the gradient of the loss at :math:`\theta`,
:math:`\eta` the learning rate. Two penalties, both on weights only and never on biases:

- ``l2`` (:math:`\lambda`) is *coupled*: it adds :math:`\tfrac12 \lambda \sum \lVert W \rVert^2` to
  the reported loss and :math:`\lambda W` to the gradient, before the optimiser sees it.
- ``weight_decay`` (:math:`\kappa`) is *decoupled* (Loshchilov & Hutter 2019): before the step,
  :math:`W \leftarrow W - \eta \kappa W`. The loss does not show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from deltarule import _settings

__all__ = ["SGD", "Adam", "Optimizer"]

OptimizerName = Literal["sgd", "adam"]


@dataclass(frozen=True)
class Optimizer:
    """What the optimisers share; use one of its subclasses."""

    name: ClassVar[str] = ""
    learning_rate: float = 0.01

    def _check(self, setting: str, *, below: float | None = None, positive: bool = False) -> None:
        value = _settings.real(setting, getattr(self, setting), below=below, positive=positive)
        _settings.set_field(self, setting, value)

    def __repr__(self) -> str:
        return _settings.short_repr(self)


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    .. math::

        v &\leftarrow \mu v + g \\
        \theta &\leftarrow \theta - \eta v \qquad \text{or, with Nesterov's momentum,} \\
        \theta &\leftarrow \theta - \eta (g + \mu v)

    Parameters
    ----------
    learning_rate : float, default 0.01
        :math:`\eta \ge 0`; 0 changes nothing.
    momentum : float, default 0.0
        :math:`\mu` in [0, 1); 0 is plain gradient descent and keeps no :math:`v`.
    nesterov : bool, default False
        Look ahead along the momentum.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and
    momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> from deltarule import SGD
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9)
    """

    name: ClassVar[str] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = field(default=False, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check("learning_rate")
        self._check("momentum", below=1.0)
        _settings.set_field(self, "nesterov", _settings.boolean("nesterov", self.nesterov))
        self._check("l2")
        self._check("weight_decay")


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    r"""Adam: steps of adapted size from running means of the gradient and of its square.

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}
            {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with :math:`t = 1, 2, …` counting the steps of this trainer.

    Parameters
    ----------
    learning_rate : float, default 0.001
        :math:`\eta \ge 0`; 0 changes nothing.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means, in [0, 1).
    epsilon : float, default 1e-8
        :math:`\epsilon > 0` keeps the division finite.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`: with it this is AdamW.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> from deltarule import Adam
    >>> Adam(weight_decay=0.01)
    Adam(weight_decay=0.01)
    """

    name: ClassVar[str] = "adam"
    learning_rate: float = 0.001
    beta1: float = field(default=0.9, kw_only=True)
    beta2: float = field(default=0.999, kw_only=True)
    epsilon: float = field(default=1e-8, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check("learning_rate")
        self._check("beta1", below=1.0)
        self._check("beta2", below=1.0)
        self._check("epsilon", positive=True)
        self._check("l2")
        self._check("weight_decay")


BY_NAME: Mapping[str, type[Optimizer]] = {each.name: each for each in (SGD, Adam)}


def resolve(optimizer: object) -> Optimizer:
    """Return the optimiser that a name or an object means."""
    return _settings.named("optimizer", optimizer, BY_NAME, Optimizer)
