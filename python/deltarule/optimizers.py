r"""How a gradient changes the parameters.

Below :math:`\theta` are the parameters, :math:`g` the gradient of the loss at :math:`\theta`,
:math:`\eta` the learning rate. Two penalties, both on weights only and never on biases:

- ``l2`` (:math:`\lambda`) is *coupled*: it adds :math:`\tfrac12 \lambda \sum \lVert W \rVert^2` to
  the reported loss and :math:`\lambda W` to the gradient, before the optimiser sees it.
- ``weight_decay`` (:math:`\kappa`) is *decoupled* (Loshchilov & Hutter 2019): before the step,
  :math:`W \leftarrow W - \eta \kappa W`. The loss does not show it.

Two bounds on the gradient of the loss, biases included, before :math:`\lambda W` is added; first
one, then the other (Pascanu, Mikolov & Bengio 2013):

- ``clip_norm`` (:math:`c > 0`): :math:`g \leftarrow g \min(1, c / \lVert g \rVert_2)`, with the
  norm of the whole gradient.
- ``clip_value`` (:math:`c > 0`): each element into :math:`[-c, c]`.

Wherever the rate is a factor of the step, so everywhere but in `IRpropPlus`, ``learning_rate`` may
also be an object of `deltarule.schedules`, or a callable that is asked every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from deltarule import _learning_rate, _settings
from deltarule._learning_rate import LearningRate, Schedule

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "IRpropPlus",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
]

OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "lion", "irprop+"]

_PENALTIES = ("l2", "weight_decay")


@dataclass(frozen=True, repr=False, eq=False)
class Optimizer:
    """What the optimisers share; use one of its subclasses."""

    name: ClassVar[str] = ""
    learning_rate: LearningRate = 0.01
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)

    # Settings of the subclasses and their checks.
    _below_one: ClassVar[tuple[str, ...]] = ()
    _positive: ClassVar[tuple[str, ...]] = ()
    _not_negative: ClassVar[tuple[str, ...]] = ()
    _boolean: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        rate = _learning_rate.check("learning_rate", self.learning_rate)
        _settings.set_field(self, "learning_rate", rate)
        for setting in self._not_negative:
            self._check(setting)
        for setting in self._below_one:
            self._check(setting, below=1.0)
        for setting in self._positive:
            self._check(setting, positive=True)
        for setting in self._boolean:
            value = _settings.boolean(setting, getattr(self, setting))
            _settings.set_field(self, setting, value)
        for setting in ("clip_norm", "clip_value"):
            if getattr(self, setting) is not None:
                self._check(setting, positive=True)

    def _check(self, setting: str, *, below: float | None = None, positive: bool = False) -> None:
        value = _settings.real(setting, getattr(self, setting), below=below, positive=positive)
        _settings.set_field(self, setting, value)

    # Written once: generated anew for each subclass, these would add a quarter to the import.
    def __repr__(self) -> str:
        return _settings.short_repr(self)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


@dataclass(frozen=True, repr=False, eq=False)
class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    .. math::

        v &\leftarrow \mu v + g \\
        \theta &\leftarrow \theta - \eta v \qquad \text{or, with Nesterov's momentum,} \\
        \theta &\leftarrow \theta - \eta (g + \mu v)

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 0.01
        :math:`\eta \ge 0`; 0 changes nothing.
    momentum : float, default 0.0
        :math:`\mu` in [0, 1); 0 is plain gradient descent and keeps no :math:`v`.
    nesterov : bool, default False
        Look ahead along the momentum.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

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
    learning_rate: LearningRate = 0.01
    momentum: float = 0.0
    nesterov: bool = field(default=False, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    _not_negative = _PENALTIES
    _below_one = ("momentum",)
    _boolean = ("nesterov",)


@dataclass(frozen=True, repr=False, eq=False)
class Adam(Optimizer):
    r"""Adam: steps of adapted size from running means of the gradient and of its square.

    .. math::

        m &\leftarrow \beta_1 m + (1 - \beta_1) g, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2 \\
        \theta &\leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}
            {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with :math:`t = 1, 2, …` counting the steps of this trainer. With ``amsgrad`` the largest
    :math:`v` so far stands in place of :math:`v` under the root.

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 0.001
        :math:`\eta \ge 0`; 0 changes nothing.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means, in [0, 1).
    epsilon : float, default 1e-8
        :math:`\epsilon > 0` keeps the division finite.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`: with it this is `AdamW`.
    amsgrad : bool, default False
        Steps that never grow again where gradients were once large.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
    S. J. Reddi, S. Kale, S. Kumar, "On the convergence of Adam and beyond", ICLR 2018 (amsgrad).
    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> from deltarule import Adam
    >>> Adam(weight_decay=0.01)
    Adam(weight_decay=0.01)
    """

    name: ClassVar[str] = "adam"
    learning_rate: LearningRate = 0.001
    beta1: float = field(default=0.9, kw_only=True)
    beta2: float = field(default=0.999, kw_only=True)
    epsilon: float = field(default=1e-8, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)
    amsgrad: bool = field(default=False, kw_only=True)

    _not_negative = _PENALTIES
    _below_one = ("beta1", "beta2")
    _positive = ("epsilon",)
    _boolean = ("amsgrad",)


@dataclass(frozen=True, repr=False, eq=False)
class AdamW(Adam):
    r"""`Adam` with decoupled weight decay, on by default.

    .. math::

        W &\leftarrow (1 - \eta \kappa) W \\
        \theta &\leftarrow \theta - \eta \, \frac{m / (1 - \beta_1^t)}
            {\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, l2, amsgrad, clip_norm, clip_value
        As of `Adam`.
    weight_decay : float, default 0.01
        Decoupled decay :math:`\kappa \ge 0`, of weights and not of biases.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> from deltarule import AdamW
    >>> AdamW(0.002)
    AdamW(learning_rate=0.002)
    """

    name: ClassVar[str] = "adamw"
    weight_decay: float = field(default=0.01, kw_only=True)


@dataclass(frozen=True, repr=False, eq=False)
class RMSprop(Optimizer):
    r"""RMSprop: the gradient over the root of the running mean of its square.

    .. math::

        v &\leftarrow \alpha v + (1 - \alpha) g^2 \\
        \theta &\leftarrow \theta - \eta \, \frac{g}{\sqrt{v} + \epsilon}

    Centred, :math:`v - \bar g^2` stands under the root, with
    :math:`\bar g \leftarrow \alpha \bar g + (1 - \alpha) g`; with momentum
    :math:`b \leftarrow \mu b + g / (\sqrt{v} + \epsilon)` is stepped along.

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 0.01
        :math:`\eta \ge 0`; 0 changes nothing.
    alpha : float, default 0.99
        Memory of the means, in [0, 1).
    epsilon : float, default 1e-8
        :math:`\epsilon > 0` keeps the division finite.
    momentum : float, default 0.0
        :math:`\mu` in [0, 1).
    centered : bool, default False
        Divide by the deviation of the gradient instead of its root mean square.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012.
    A. Graves, "Generating sequences with recurrent neural networks", 2013 (centred).

    Examples
    --------
    >>> from deltarule import RMSprop
    >>> RMSprop(0.001, momentum=0.9)
    RMSprop(learning_rate=0.001, momentum=0.9)
    """

    name: ClassVar[str] = "rmsprop"
    learning_rate: LearningRate = 0.01
    alpha: float = field(default=0.99, kw_only=True)
    epsilon: float = field(default=1e-8, kw_only=True)
    momentum: float = field(default=0.0, kw_only=True)
    centered: bool = field(default=False, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    _not_negative = _PENALTIES
    _below_one = ("alpha", "momentum")
    _positive = ("epsilon",)
    _boolean = ("centered",)


@dataclass(frozen=True, repr=False, eq=False)
class Adagrad(Optimizer):
    r"""Adagrad: steps that shrink where gradients have been large.

    .. math::

        s &\leftarrow s + g^2 \\
        \theta &\leftarrow \theta - \eta \, \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 0.01
        :math:`\eta \ge 0`; 0 changes nothing.
    initial_accumulator : float, default 0.0
        :math:`s \ge 0` before the first step.
    epsilon : float, default 1e-10
        :math:`\epsilon > 0` keeps the division finite.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, 2011.

    Examples
    --------
    >>> from deltarule import Adagrad
    >>> Adagrad(0.1)
    Adagrad(learning_rate=0.1)
    """

    name: ClassVar[str] = "adagrad"
    learning_rate: LearningRate = 0.01
    initial_accumulator: float = field(default=0.0, kw_only=True)
    epsilon: float = field(default=1e-10, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    _not_negative = (*_PENALTIES, "initial_accumulator")
    _positive = ("epsilon",)


@dataclass(frozen=True, repr=False, eq=False)
class NAdam(Optimizer):
    r"""Adam with Nesterov's momentum, which grows towards :math:`\beta_1`.

    .. math::

        \mu_t &= \beta_1 \left(1 - \tfrac12 \, 0.96^{t \psi}\right) \\
        \theta &\leftarrow \theta - \eta \left(
            \frac{\mu_{t+1} \, m}{1 - \prod_{i=1}^{t+1} \mu_i}
            + \frac{(1 - \mu_t) \, g}{1 - \prod_{i=1}^{t} \mu_i}\right) \bigg/
            \left(\sqrt{v / (1 - \beta_2^t)} + \epsilon\right)

    with :math:`m` and :math:`v` of `Adam`.

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 0.002
        :math:`\eta \ge 0`; 0 changes nothing.
    beta1, beta2 : float, default 0.9 and 0.999
        Memory of the two means, in [0, 1).
    epsilon : float, default 1e-8
        :math:`\epsilon > 0` keeps the division finite.
    momentum_decay : float, default 0.004
        :math:`\psi \ge 0`: how fast the momentum grows.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop, 2016.

    Examples
    --------
    >>> from deltarule import NAdam
    >>> NAdam(0.01)
    NAdam(learning_rate=0.01)
    """

    name: ClassVar[str] = "nadam"
    learning_rate: LearningRate = 0.002
    beta1: float = field(default=0.9, kw_only=True)
    beta2: float = field(default=0.999, kw_only=True)
    epsilon: float = field(default=1e-8, kw_only=True)
    momentum_decay: float = field(default=0.004, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    _not_negative = (*_PENALTIES, "momentum_decay")
    _below_one = ("beta1", "beta2")
    _positive = ("epsilon",)


@dataclass(frozen=True, repr=False, eq=False)
class Lion(Optimizer):
    r"""Lion: steps of one size, along the sign of a running mean of the gradient.

    .. math::

        \theta &\leftarrow \theta - \eta \operatorname{sign}(\beta_1 m + (1 - \beta_1) g) \\
        m &\leftarrow \beta_2 m + (1 - \beta_2) g

    Its learning rate is 3 to 10 times smaller than Adam's, its weight decay as much larger.

    Parameters
    ----------
    learning_rate : float, Schedule or callable, default 1e-4
        :math:`\eta \ge 0`; 0 changes nothing.
    beta1, beta2 : float, default 0.9 and 0.99
        How much of the mean steers the step, and its memory; in [0, 1).
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    weight_decay : float, default 0.0
        Decoupled decay :math:`\kappa \ge 0`.
    clip_norm, clip_value : float, optional
        Bounds of the gradient, > 0.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    Examples
    --------
    >>> from deltarule import Lion
    >>> Lion(3e-4, weight_decay=0.1)
    Lion(learning_rate=0.0003, weight_decay=0.1)
    """

    name: ClassVar[str] = "lion"
    learning_rate: LearningRate = 1e-4
    beta1: float = field(default=0.9, kw_only=True)
    beta2: float = field(default=0.99, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    weight_decay: float = field(default=0.0, kw_only=True)

    _not_negative = _PENALTIES
    _below_one = ("beta1", "beta2")


@dataclass(frozen=True, repr=False, eq=False)
class IRpropPlus(Optimizer):
    r"""iRprop+: a step size of each parameter's own, from the signs of its gradient.

    A method for the whole data set (``batch_size=None``): it compares gradients and losses of
    successive steps. With :math:`s = \operatorname{sign}(g)`, :math:`s'` that of the step before,
    and a step size :math:`\Delta` for each parameter:

    .. math::

        s s' > 0: &\quad \Delta \leftarrow \min(\eta^+ \Delta, \Delta_\max), \quad
            \theta \leftarrow \theta - s \Delta \\
        s s' < 0: &\quad \theta \leftarrow \theta + s' \Delta \text{ if the loss grew}, \quad
            \Delta \leftarrow \max(\eta^- \Delta, \Delta_\min), \quad s \leftarrow 0 \\
        s s' = 0: &\quad \theta \leftarrow \theta - s \Delta

    So where the sign changed, the last step is taken back if the loss grew, and nothing is done
    otherwise. There is no weight decay, as there is no rate to decay with.

    Parameters
    ----------
    learning_rate : float, default 0.1
        The first :math:`\Delta` of each parameter, from `step_min` to `step_max`.
    eta_plus : float, default 1.2
        :math:`\eta^+ > 1`: growth of the step.
    eta_minus : float, default 0.5
        :math:`\eta^-` in (0, 1): its shrinking.
    step_min, step_max : float, default 1e-6 and 50
        :math:`0 < \Delta_\min \le \Delta_\max`.
    l2 : float, default 0.0
        Coupled penalty :math:`\lambda \ge 0`.
    clip_norm, clip_value : float, optional
        As of all optimisers; they leave signs, and so these steps, as they are but for `l2`.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range, or the steps are not in order.

    References
    ----------
    C. Igel, M. Hüsken, "Empirical evaluation of the improved Rprop learning algorithms",
    Neurocomputing 50, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
    >>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
    >>> history = net.fit(X, X**2, optimizer=dr.IRpropPlus(), batch_size=None, epochs=200)
    >>> bool(history["loss"][-1] < 1e-3)
    True
    """

    name: ClassVar[str] = "irprop+"
    learning_rate: float = 0.1
    eta_plus: float = field(default=1.2, kw_only=True)
    eta_minus: float = field(default=0.5, kw_only=True)
    step_min: float = field(default=1e-6, kw_only=True)
    step_max: float = field(default=50.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)

    _not_negative = ("l2",)
    _positive = ("learning_rate", "eta_minus", "step_min", "step_max")
    _below_one = ("eta_minus",)

    def __post_init__(self) -> None:
        if isinstance(self.learning_rate, Schedule) or callable(self.learning_rate):
            raise TypeError(
                "learning_rate must be a finite number > 0: the steps of an IRpropPlus go their "
                f"own ways from the first on, got {_settings.shown(self.learning_rate)}"
            )
        super().__post_init__()
        eta_plus = _settings.real("eta_plus", self.eta_plus, low=1.0, positive=True)
        _settings.set_field(self, "eta_plus", eta_plus)
        if not self.step_min <= self.learning_rate <= self.step_max:
            raise ValueError(
                "learning_rate must lie between step_min and step_max, got "
                f"{self.learning_rate:g}, {self.step_min:g} and {self.step_max:g}"
            )


_ALL: tuple[type[Optimizer], ...] = (SGD, Adam, AdamW, RMSprop, Adagrad, NAdam, Lion, IRpropPlus)
BY_NAME: Mapping[str, type[Optimizer]] = {each.name: each for each in _ALL}


def resolve(optimizer: object) -> Optimizer:
    """Return the optimiser that a name or an object means."""
    return _settings.named("optimizer", optimizer, BY_NAME, Optimizer)
