"""Whether a loss and its gradient belong together: `deltarule.losses.check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deltarule import _settings, _validation
from deltarule._custom_loss import Custom, name_of
from deltarule.losses import (
    BY_NAME,
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Gamma,
    GaussianNLL,
    Hinge,
    Loss,
    LossFunction,
    LossName,
    Poisson,
    Quantile,
)

if TYPE_CHECKING:
    from deltarule._layers import ActivationName

Floats: TypeAlias = NDArray[np.float64]
_Function: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]

_EPS = float(np.finfo(np.float64).eps)
_N_ROWS = 7  # 1/7 is hardly a factor for another reason
_TOLERANCE = 1e-5  # differences err by about eps^(2/3) = 4e-11 times the third derivative
_ALONE = 1e-9  # sums may be rounded otherwise


def check(
    loss: LossName | Loss | LossFunction,
    y_true: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
    *,
    n_outputs: int = 3,
    seed: int = 0,
) -> None:
    r"""Compare the gradient of a loss with differences, in float64; return quietly or raise.

    For each row i and output j

    .. math:: \frac{\partial \ell_i}{\partial a_{ij}} \approx
        \frac{\ell_i(a_{ij} + h) - \ell_i(a_{ij} - h)}{2h}, \qquad h = \epsilon^{1/3} \, s

    with the machine epsilon and the size s of the numbers in column j. Also that the losses and
    the gradient have the shapes that training needs and are finite, and that a row has the same
    loss and gradient alone as among others.

    Parameters
    ----------
    loss : function, Custom, Loss or str
        What is checked: usually a function of your own, see `Custom`. A loss of deltarule is
        checked through the output activation that it is matched to: `y_pred` is then what enters
        that.
    y_true, y_pred : array_like (n, width) and (n, n_L), optional
        Where to check: numbers that the loss accepts, at which it is smooth, n >= 2. Without
        them it is checked at numbers drawn from the normal distribution, seven rows.
    n_outputs : int, default 3
        The n_L of drawn numbers.
    seed : int, default 0
        Of drawn numbers.

    Raises
    ------
    ValueError
        If the gradient is wrong, with row, output, both numbers and, where it shows, the reason:
        a missing or superfluous factor 1/n, a sign. If a number is not finite, a shape is not as
        it should be, or rows depend on each other.
    TypeError
        If the function does not return a pair of arrays.

    Examples
    --------
    The most common mistake:

    >>> import numpy as np
    >>> from deltarule import losses
    >>> def squared(y_true, y_pred):
    ...     r = y_pred - y_true
    ...     return (r**2).sum(axis=1), 2 * r / len(r)
    >>> try:
    ...     losses.check(squared)
    ... except ValueError as error:
    ...     print(str(error).partition("; ")[2])
    everywhere it is 1/7 of them, and there are 7 rows: leave out the 1/n, deltarule divides

    A loss that needs outputs in (0, 1), checked there:

    >>> def surprise(y_true, y_pred):
    ...     return -np.log(y_pred).sum(axis=1), -1 / y_pred
    >>> losses.check(surprise, y_pred=np.random.default_rng(0).uniform(0.1, 0.9, (5, 2)))
    """
    n_outputs = _settings.integer("n_outputs", n_outputs, low=1)
    random = np.random.default_rng(_settings.seed_or_none("seed", seed))
    checked = _resolved(loss)
    name = name_of(checked.function) if isinstance(checked, Custom) else checked.name
    n_rows = _N_ROWS
    for given in (y_pred, y_true):
        n_rows = n_rows if given is None else len(_validation.numbers("y", given))
    a = _outputs(checked, n_rows, n_outputs, random) if y_pred is None else _matrix(y_pred)
    y = _targets(checked, a, random) if y_true is None else _given_targets(checked, y_true, a)
    if len(a) < 2:
        raise ValueError(f"y_pred must have at least 2 rows, got shape {a.shape}")
    function = _of_custom(checked) if isinstance(checked, Custom) else _of_core(checked, a)
    losses, gradient = function(y, a)
    _refuse_not_finite(name, losses, gradient)
    _compare_alone(name, function, y, a, losses)
    _compare_differences(name, function, y, a, losses, gradient)


def _resolved(loss: object) -> Loss:
    if callable(loss) and not isinstance(loss, (Loss, type)):
        return Custom(loss)
    return _settings.named("loss", loss, BY_NAME, Loss)


def _matrix(value: ArrayLike) -> Floats:
    array = _validation.numbers("y_pred", value)
    array = array[:, np.newaxis] if array.ndim == 1 else array
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"y_pred must have shape (n, n_L) or (n,), got {array.shape}")
    return _finite("y_pred", array)


def _given_targets(loss: Loss, value: ArrayLike, a: Floats) -> Floats:
    width = loss._target_width(a.shape[1])
    array = _validation.targets("y_true", value, width, loss.takes_class_indices)
    if len(array) != len(a):
        raise ValueError(
            f"y_true and y_pred must have the same number of rows, got {len(array)} and {len(a)}"
        )
    return _finite("y_true", array)


def _finite(name: str, array: _validation.Array) -> Floats:
    if not np.isfinite(array).all():
        i, j = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{name} must be finite, got {array[i, j]} at row {i}, column {j}")
    return np.array(array, np.float64, order="C")


def _activation(loss: Loss, n_outputs: int) -> ActivationName:
    """Return the output activation through which a loss of deltarule is checked."""
    if isinstance(loss, Focal):
        one_sided = isinstance(loss.alpha, float) or n_outputs == 1
        return "sigmoid" if one_sided else "softmax"
    if isinstance(loss, (Poisson, Gamma)):
        return "exp"
    if isinstance(loss, BinaryCrossEntropy):
        return "sigmoid"
    return "softmax" if isinstance(loss, CrossEntropy) else "identity"


def _outputs(loss: Loss, n_rows: int, n_outputs: int, random: np.random.Generator) -> Floats:
    if isinstance(loss, Quantile) and isinstance(loss.q, tuple):
        n_outputs = len(loss.q)
    elif isinstance(loss, Focal) and isinstance(loss.alpha, tuple):
        n_outputs = len(loss.alpha)
    elif isinstance(loss, GaussianNLL):
        n_outputs *= 2
    return random.normal(size=(n_rows, n_outputs))


def _targets(loss: Loss, a: Floats, random: np.random.Generator) -> Floats:
    n_rows, n_outputs = a.shape
    width = loss._target_width(n_outputs)
    shape = (n_rows, n_outputs if width is None else width)
    if isinstance(loss, Hinge):
        return random.choice([-1.0, 1.0], shape)
    if isinstance(loss, Poisson):
        return random.poisson(2.0, shape).astype(np.float64)
    if isinstance(loss, Gamma):
        return random.gamma(2.0, size=shape)
    activation = _activation(loss, n_outputs)
    if activation == "softmax":
        return random.dirichlet(np.ones(n_outputs), n_rows)
    return random.uniform(size=shape) if activation == "sigmoid" else random.normal(size=shape)


def _of_custom(loss: Custom) -> _Function:
    def function(y: Floats, a: Floats) -> tuple[Floats, Floats]:
        return loss._checked(loss.function(y.copy(), a.copy()), a)

    return function


def _of_core(loss: Loss, a: Floats) -> _Function:
    """Return losses and gradient of the core, through an output activation, in z."""
    from deltarule import Activation, Input, Network

    n_outputs = a.shape[1]
    layers = [Input(n_outputs), Activation(_activation(loss, n_outputs))]
    net = Network(layers, dtype="float64", seed=0)

    def function(y: Floats, z: Floats) -> tuple[Floats, Floats]:
        rows = [slice(i, i + 1) for i in range(len(z))]
        losses = [net.evaluate(z[row], y[row], loss)["loss"] for row in rows]
        return np.array(losses), net.trace(z, y, loss).layers[0].delta * len(z)

    return function


def _refuse_not_finite(name: str, losses: Floats, gradient: Floats) -> None:
    hint = "give y_true and y_pred for which it is"
    for i in np.flatnonzero(~np.isfinite(losses)):
        raise ValueError(f"loss {name} must be finite, got {losses[i]} at row {i}; {hint}")
    for i, j in np.argwhere(~np.isfinite(gradient)):
        raise ValueError(
            f"the gradient of loss {name} must be finite, got {gradient[i, j]} at row {i}, "
            f"output {j}; {hint}"
        )


def _compare_alone(name: str, function: _Function, y: Floats, a: Floats, losses: Floats) -> None:
    """Refuse a loss of a row that depends on the other rows."""
    n_rows = len(a)
    rows = [slice(i, i + 1) for i in range(n_rows)]
    alone = np.array([function(y[row], a[row])[0][0] for row in rows])
    wrong = ~(abs(losses - alone) <= _ALONE * abs(alone).max())
    for i in np.flatnonzero(wrong):
        divided = np.allclose(losses * n_rows, alone, rtol=_ALONE, atol=0)
        reason = "leave out the 1/n, deltarule divides" if divided else "rows depend on each other"
        raise ValueError(
            f"loss {name} is wrong at row {i}: got {losses[i]:.10g} among {n_rows} rows, "
            f"{alone[i]:.10g} for the row alone: {reason}"
        )


def _compare_differences(
    name: str, function: _Function, y: Floats, a: Floats, losses: Floats, gradient: Floats
) -> None:
    """Refuse a gradient that is not that of the losses, of which each depends on its row alone."""
    size = abs(a).mean(axis=0)
    steps = _EPS ** (1 / 3) * np.maximum(abs(a), np.where(size > 0, size, 1.0))
    differences = np.empty_like(a)
    for j in range(a.shape[1]):
        above, below = a.copy(), a.copy()
        above[:, j] += steps[:, j]
        below[:, j] -= steps[:, j]
        rise = function(y, above)[0] - function(y, below)[0]
        differences[:, j] = rise / (above[:, j] - below[:, j])
        for i in np.flatnonzero(~np.isfinite(rise)):
            raise ValueError(
                f"loss {name} must be finite at and around y_pred, got another value next to "
                f"{a[i, j]:.10g} at row {i}, output {j}; give y_pred farther inside its range"
            )
    rounding = 10 * _EPS * (abs(losses)[:, np.newaxis] / steps + abs(differences).max())
    allowed = _TOLERANCE * abs(differences).max(axis=1, keepdims=True) + rounding
    for i, j in np.argwhere(~(abs(gradient - differences) <= allowed)):
        raise ValueError(
            f"the gradient of loss {name} is wrong at row {i}, output {j}: got "
            f"{gradient[i, j]:.10g}, differences say {differences[i, j]:.10g}"
            f"{_reason(gradient, differences)}"
        )


def _reason(gradient: Floats, differences: Floats) -> str:
    """Return the reason for a wrong gradient, if it is a factor that is the same everywhere."""
    n_rows, n_outputs = gradient.shape
    i, j = np.unravel_index(abs(differences).argmax(), differences.shape)
    factor = float(gradient[i, j] / differences[i, j]) if differences[i, j] else 0.0
    rest = abs(gradient - factor * differences).max()
    if factor == 0 or abs(factor - 1) < _TOLERANCE or rest > _TOLERANCE * abs(gradient).max():
        return ""
    both = "take the mean over the outputs in both, or the sum in both"
    known = (
        (1 / n_rows, f"1/{n_rows} of them, and there are {n_rows} rows: leave out the 1/n, "
         "deltarule divides"),
        (n_rows, f"{n_rows} times them, and there are {n_rows} rows: leave out the n"),
        (-1, "-1 times them: the sign is wrong"),
        (1 / n_outputs, f"1/{n_outputs} of them, and there are {n_outputs} outputs: {both}"),
        (n_outputs, f"{n_outputs} times them, and there are {n_outputs} outputs: {both}"),
        (1 / (n_rows * n_outputs), f"1/{n_rows * n_outputs} of them, and there are {n_rows} rows "
         f"and {n_outputs} outputs: leave out the 1/n, deltarule divides, and {both}"),
    )  # fmt: skip
    for value, text in known:
        if abs(factor / value - 1) < _TOLERANCE:
            return f"; everywhere it is {text}"
    return f"; everywhere it is {factor:.6g} times them"
