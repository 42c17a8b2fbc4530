r"""How the learning rate changes during a training: values of ``learning_rate=``.

Below :math:`\eta_0` is the first argument, a rate >= 0, and :math:`s` counts the optimiser's steps:
the first update of a trainer uses :math:`s = 0`, and every update, also of ``trainer.step`` and
``trainer.apply``, counts one. A fit that goes on after a `DivergenceError` has the rates of the
epoch's start again. In weight decay, :math:`\eta` is the rate of the step too.

Some schedules have an end, :math:`T` steps long: ``steps=``, or with ``steps=None`` the whole
planned run, which is `epochs` times the batches of an epoch (those without weight, which make no
step, included). `epochs` of ``trainer.run`` is a total
since the trainer was made, so a resumed run with the same arguments has the same rates; one with
more epochs has a longer schedule. A time limit, or another rule that stops the run early, does not
shorten it. :math:`t = \min(s / T, 1)`: after its end a schedule keeps its last value, which the
step after the last planned one would be the first to have. Single steps (``trainer.step``,
``trainer.apply``) have no planned end, so they need ``steps=``.

With a schedule, ``history["learning_rate"]`` holds the rate of each epoch's last step.

A callable does too: ``learning_rate=lambda epoch: 0.1 * 0.95**epoch`` is asked once, at the start
of every epoch, with the number of finished epochs. Single steps keep the rate of the last epoch
that asked; without one they ask with 0. A checkpoint keeps the rate of the running epoch, but not
the callable: ``Trainer.resume(path, learning_rate=...)`` takes it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from deltarule import _settings
from deltarule._learning_rate import Schedule

__all__ = [
    "CosLog4",
    "Cosine",
    "Exponential",
    "InverseScaling",
    "OneCycle",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "WarmUp",
]


@dataclass(frozen=True, repr=False, eq=False)
class StepDecay(Schedule):
    r"""The rate falls by a factor every so many steps.

    .. math:: \eta = \eta_0 \, f^{\lfloor s / k \rfloor}

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`.
    factor : float, default 0.1
        :math:`f > 0`; above 1 the rate grows.
    every : int
        :math:`k \ge 1`, in steps; a multiple of the batches of an epoch counts epochs.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.SGD(dr.schedules.StepDecay(0.1, 0.5, every=1000))
    SGD(learning_rate=StepDecay(0.1, factor=0.5, every=1000))
    """

    name: ClassVar[str] = "step_decay"
    initial: float
    factor: float = 0.1
    every: int = field(kw_only=True)

    _positive = ("factor",)
    _counts = ("every",)


@dataclass(frozen=True, repr=False, eq=False)
class Exponential(Schedule):
    r"""The rate falls by a factor at each step, or smoothly over `every` steps.

    .. math:: \eta = \eta_0 \, f^{s / k}

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`.
    factor : float
        :math:`f > 0`; above 1 the rate grows, as in a search for the largest good one.
    every : int, default 1
        :math:`k \ge 1`, in steps.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    L. N. Smith, "Cyclical learning rates for training neural networks", WACV 2017 (the search).

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Adam(dr.schedules.Exponential(0.01, 0.9, every=100))
    Adam(learning_rate=Exponential(0.01, factor=0.9, every=100))
    """

    name: ClassVar[str] = "exponential"
    initial: float
    factor: float
    every: int = field(default=1, kw_only=True)

    _positive = ("factor",)
    _counts = ("every",)


@dataclass(frozen=True, repr=False, eq=False)
class InverseScaling(Schedule):
    r"""The rate falls with a power of the steps.

    .. math:: \eta = \eta_0 / (1 + s)^p

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`.
    power : float, default 0.5
        :math:`p \ge 0`; from above 0.5 to 1 stochastic gradient descent converges (1951).

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    H. Robbins, S. Monro, "A stochastic approximation method", Annals of Mathematical Statistics
    22, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> net = dr.Network([1, 1], dtype="float64", seed=0)
    >>> trainer = dr.Trainer(net, optimizer=dr.SGD(dr.schedules.InverseScaling(0.5, power=1.0)))
    >>> net.theta = [0.0, 0.0]
    >>> for _ in range(3):
    ...     trainer.apply([1.0, 1.0])
    >>> round(float(net.theta[0]), 6)  # - 0.5 (1 + 1/2 + 1/3)
    -0.916667
    """

    name: ClassVar[str] = "inverse_scaling"
    initial: float
    power: float = 0.5

    _not_negative = ("initial", "power")


@dataclass(frozen=True, repr=False, eq=False)
class Cosine(Schedule):
    r"""The rate falls along half a cosine, once or with restarts (SGDR).

    .. math:: \eta = \eta_1 + \tfrac12 (\eta_0 - \eta_1) (1 + \cos \pi t)

    With :math:`n` restarts the :math:`T` steps are :math:`n + 1` cycles, each :math:`m` times as
    long as the one before, and :math:`t` is the part of the cycle that has passed. Cycle
    :math:`k` ends after :math:`T (1 + m + … + m^{k - 1}) / (1 + m + … + m^n)` steps, rounded to a
    whole one.

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`.
    final : float, default 0.0
        :math:`\eta_1 \ge 0`.
    steps : int, optional
        :math:`T \ge 1`, of all cycles together; None is the whole planned run.
    restarts : int, default 0
        :math:`n`, from 0 to 1000.
    t_mult : float, default 1.0
        :math:`m \ge 1`.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
    >>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
    >>> rate = dr.schedules.Cosine(0.02)
    >>> history = net.fit(X, X**2, optimizer=dr.Adam(rate), epochs=4, batch_size=None)
    >>> history["learning_rate"].round(5).tolist()
    [0.02, 0.01707, 0.01, 0.00293]
    """

    name: ClassVar[str] = "cosine"
    initial: float
    final: float = field(default=0.0, kw_only=True)
    steps: int | None = field(default=None, kw_only=True)
    restarts: int = field(default=0, kw_only=True)
    t_mult: float = field(default=1.0, kw_only=True)

    _not_negative = ("initial", "final")
    _at_least_one = ("t_mult",)
    _optional = ("steps",)

    def __post_init__(self) -> None:
        super().__post_init__()
        restarts = _settings.integer("restarts", self.restarts, low=0, high=1000)
        _settings.set_field(self, "restarts", restarts)


@dataclass(frozen=True, repr=False, eq=False)
class OneCycle(Schedule):
    r"""The rate rises to a peak, then falls far below where it began.

    Both along half a cosine: from :math:`\eta_0 / d` at :math:`t = 0` to :math:`\eta_0` at
    :math:`t = p`, and on to :math:`\eta_0 / (d f)` at :math:`t = 1`.

    .. math::

        \eta = \begin{cases}
            \tfrac12 \left[(1 + c) \, \eta_0 / d + (1 - c) \, \eta_0\right], \quad
                c = \cos(\pi t / p) & t < p \\
            \tfrac12 \left[(1 + c) \, \eta_0 + (1 - c) \, \eta_0 / (d f)\right], \quad
                c = \cos(\pi (t - p) / (1 - p)) & t \ge p
        \end{cases}

    Parameters
    ----------
    peak : float
        :math:`\eta_0 \ge 0`, the largest rate.
    steps : int, optional
        :math:`T \ge 1`; None is the whole planned run.
    pct_start : float, default 0.3
        :math:`p` in (0, 1): the rising part of the steps, a fraction as in PyTorch and Optax.
    div_factor, final_div_factor : float, default 25.0 and 1e4
        :math:`d \ge 1` and :math:`f \ge 1`.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    L. N. Smith, N. Topin, "Super-convergence: very fast training of neural networks using large
    learning rates", 2018; they rise and fall in straight lines, and cycle the momentum too.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.AdamW(dr.schedules.OneCycle(0.01))
    AdamW(learning_rate=OneCycle(0.01))
    """

    name: ClassVar[str] = "one_cycle"
    peak: float
    steps: int | None = field(default=None, kw_only=True)
    pct_start: float = field(default=0.3, kw_only=True)
    div_factor: float = field(default=25.0, kw_only=True)
    final_div_factor: float = field(default=1e4, kw_only=True)

    _not_negative = ("peak",)
    _below_one = ("pct_start",)
    _at_least_one = ("div_factor", "final_div_factor")
    _optional = ("steps",)


@dataclass(frozen=True, repr=False, eq=False)
class CosLog4(Schedule):
    r"""Four waves from zero, each twice as long as the one before: the schedule of RealMLP.

    .. math:: \eta = \tfrac12 \eta_0 \left(1 - \cos(2 \pi \log_2(1 + 15 t))\right)

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`, the top of the waves; the first step has rate 0.
    steps : int, optional
        :math:`T \ge 1`; None is the whole planned run.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    D. Holzmüller, L. Grinsztajn, I. Steinwart, "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", NeurIPS 2024.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Adam(dr.schedules.CosLog4(0.04))
    Adam(learning_rate=CosLog4(0.04))
    """

    name: ClassVar[str] = "cos_log4"
    initial: float
    steps: int | None = field(default=None, kw_only=True)

    _optional = ("steps",)


@dataclass(frozen=True, repr=False, eq=False)
class ReduceOnPlateau(Schedule):
    r"""The rate falls by a factor whenever the loss has not improved for some epochs.

    .. math:: \eta = \max(\eta_0 f^r, \eta_1)

    with :math:`r` reductions so far. After each epoch the validation loss, or without validation
    data ``history["loss"]``, or what ``monitor=`` names, is compared with the lowest before it:
    `patience` epochs in a row that are not lower by more than `tol` are one more reduction, and
    the count starts again. That is the rule by which ``Network.fit`` stops, with settings of its
    own. Single steps (``trainer.step``) belong to no epoch and reduce nothing.

    Parameters
    ----------
    initial : float
        :math:`\eta_0 \ge 0`.
    factor : float, default 0.1
        :math:`f` in (0, 1).
    patience : int, default 10
        Epochs >= 1.
    tol : float, default 0.0
        Improvement >= 0 that is needed, in units of the loss.
    minimum : float, default 0.0
        :math:`\eta_1`, from 0 to `initial`.

    Raises
    ------
    TypeError, ValueError
        If a setting is not a number of its range.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep residual learning for image recognition", CVPR 2016,
    divide the rate by 10 "when the error plateaus".

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.SGD(dr.schedules.ReduceOnPlateau(0.1, patience=5), momentum=0.9)
    SGD(learning_rate=ReduceOnPlateau(0.1, patience=5), momentum=0.9)
    """

    name: ClassVar[str] = "reduce_on_plateau"
    initial: float
    factor: float = 0.1
    patience: int = field(default=10, kw_only=True)
    tol: float = field(default=0.0, kw_only=True)
    minimum: float = field(default=0.0, kw_only=True)

    _not_negative = ("initial", "tol", "minimum")
    _below_one = ("factor",)
    _counts = ("patience",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.minimum > self.initial:
            raise ValueError(
                f"minimum must be at most initial, got {self.minimum:g} and {self.initial:g}"
            )


@dataclass(frozen=True, repr=False, eq=False)
class WarmUp(Schedule):
    r"""The rate rises in a straight line to another schedule's first one, which then begins.

    .. math:: \eta = \eta_a + (\eta(0) - \eta_a) \, s / W \qquad s < W

    From step :math:`W` on it is the other schedule's :math:`\eta(s - W)`; a schedule as long as
    the run has the :math:`T - W` steps that are left. Epochs count for `ReduceOnPlateau` during
    the warm-up too. A warm-up longer than the run is no error: the rate is then still rising.

    Parameters
    ----------
    learning_rate : float or Schedule
        A rate >= 0, or any schedule but another WarmUp. A callable has its warm-up inside.
    steps : int
        :math:`W \ge 1`.
    start : float, default 0.0
        :math:`\eta_a \ge 0`, the rate of the first step.

    Raises
    ------
    TypeError, ValueError
        If a setting is not as above.

    References
    ----------
    P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
    >>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
    >>> rate = dr.schedules.WarmUp(dr.schedules.Cosine(0.02), steps=2)
    >>> history = net.fit(X, X**2, optimizer=dr.Adam(rate), epochs=6, batch_size=None)
    >>> history["learning_rate"].round(5).tolist()
    [0.0, 0.01, 0.02, 0.01707, 0.01, 0.00293]
    """

    name: ClassVar[str] = "warm_up"
    learning_rate: float | Schedule
    steps: int = field(kw_only=True)
    start: float = field(default=0.0, kw_only=True)

    _not_negative = ("start",)
    _counts = ("steps",)

    def __post_init__(self) -> None:
        super().__post_init__()
        rate = self.learning_rate
        if isinstance(rate, WarmUp) or (callable(rate) and not isinstance(rate, Schedule)):
            raise TypeError(
                "learning_rate of a WarmUp must be a number or another schedule, not a WarmUp or a "
                f"callable, got {_settings.shown(rate)}"
            )
        if not isinstance(rate, Schedule):
            self._check("learning_rate")

    def _parts(self) -> tuple[str, float, Mapping[str, Any]]:
        rate = self.learning_rate
        name, number, settings = rate._parts() if isinstance(rate, Schedule) else (
            "constant", rate, {},
        )  # fmt: skip
        return name, number, {
            **settings, "warm_up_steps": self.steps, "warm_up_start": self.start,
        }  # fmt: skip


_ALL: tuple[type[Schedule], ...] = (
    StepDecay, Exponential, InverseScaling, Cosine, OneCycle, CosLog4, ReduceOnPlateau, WarmUp,
)  # fmt: skip
BY_NAME: Mapping[str, type[Schedule]] = {each.name: each for each in _ALL}
