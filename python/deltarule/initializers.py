r"""How the weights of a Dense layer start. Biases always start at zero.

Here :math:`n_{l-1}` is the number of inputs of the layer, :math:`n_l` the number of its units and
:math:`\gamma` the ``gain``. A name is enough where the gain is 1: ``Dense(64, "tanh",
initializer="glorot_normal")``.

``initializer=None`` takes `HeUniform` for relu, leaky_relu, elu, silu, gelu and mish, `LecunNormal`
for selu, and `GlorotUniform` for every other activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from deltarule import _settings

__all__ = [
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Zeros",
]

InitializerName = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal",
    "zeros",
]  # fmt: skip

_RELU_LIKE = frozenset({"relu", "leaky_relu", "elu", "silu", "gelu", "mish"})


@dataclass(frozen=True)
class Initializer:
    """What the initialisers share; use one of its subclasses."""

    name: ClassVar[str] = ""

    def __repr__(self) -> str:
        return _settings.short_repr(self)


@dataclass(frozen=True, repr=False)
class _Scaled(Initializer):
    """An initialiser whose weights are multiplied by a gain."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _settings.set_field(self, "gain", _settings.real("gain", self.gain, positive=True))


class GlorotUniform(_Scaled):
    r"""Uniform weights that keep the variance of activations and gradients in a linear network.

    .. math:: W \sim U(-r, r), \qquad r = \gamma \sqrt{6 / (n_{l-1} + n_l)}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    Raises
    ------
    TypeError, ValueError
        If `gain` is not a finite positive number.

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, equation 16.

    Examples
    --------
    >>> from deltarule import Dense, initializers
    >>> Dense(64, "tanh", initializer=initializers.GlorotUniform(gain=0.5))
    Dense(64, 'tanh', initializer=GlorotUniform(gain=0.5))
    """

    name: ClassVar[str] = "glorot_uniform"


class GlorotNormal(_Scaled):
    r"""Normal weights of the variance of `GlorotUniform`.

    .. math:: W \sim N(0, s^2), \qquad s = \gamma \sqrt{2 / (n_{l-1} + n_l)}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    References
    ----------
    X. Glorot, Y. Bengio, AISTATS 2010, equation 12.
    """

    name: ClassVar[str] = "glorot_normal"


class HeUniform(_Scaled):
    r"""Uniform weights that keep the variance of activations through rectified units.

    .. math:: W \sim U(-r, r), \qquad r = \gamma \sqrt{6 / n_{l-1}}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015, equation 10.
    """

    name: ClassVar[str] = "he_uniform"


class HeNormal(_Scaled):
    r"""Normal weights of the variance of `HeUniform`.

    .. math:: W \sim N(0, s^2), \qquad s = \gamma \sqrt{2 / n_{l-1}}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, ICCV 2015, equation 10.
    """

    name: ClassVar[str] = "he_normal"


class LecunUniform(_Scaled):
    r"""Uniform weights that keep the variance of a sum of independent inputs.

    .. math:: W \sim U(-r, r), \qquad r = \gamma \sqrt{3 / n_{l-1}}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    References
    ----------
    Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, "Efficient backprop", 1998, section 4.6.
    """

    name: ClassVar[str] = "lecun_uniform"


class LecunNormal(_Scaled):
    r"""Normal weights of the variance of `LecunUniform`: what selu needs to normalise itself.

    .. math:: W \sim N(0, s^2), \qquad s = \gamma \sqrt{1 / n_{l-1}}

    Parameters
    ----------
    gain : float, default 1.0
        The factor :math:`\gamma > 0`.

    References
    ----------
    Y. LeCun, L. Bottou, G. Orr, K.-R. Müller, "Efficient backprop", 1998, section 4.6.
    """

    name: ClassVar[str] = "lecun_normal"


class Zeros(Initializer):
    """All weights zero: for the last layer, so that the network starts as a constant.

    In a hidden layer zeros never learn apart from one another; they are for the output.
    """

    name: ClassVar[str] = "zeros"


BY_NAME: Mapping[str, type[Initializer]] = {
    each.name: each
    for each in (
        GlorotUniform,
        GlorotNormal,
        HeUniform,
        HeNormal,
        LecunUniform,
        LecunNormal,
        Zeros,
    )
}


def gain_of(initializer: Initializer) -> float:
    """Return the gain of any initialiser; one that has none has gain 1."""
    return initializer.gain if isinstance(initializer, _Scaled) else 1.0


def resolve(initializer: object, activation: str) -> Initializer:
    """Return the initialiser that a name, an object or None means beside `activation`."""
    if initializer is None:
        if activation == "selu":
            return LecunNormal()
        return HeUniform() if activation in _RELU_LIKE else GlorotUniform()
    return _settings.named("initializer", initializer, BY_NAME, Initializer)
