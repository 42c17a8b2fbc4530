"""A loss of the user's own: a function, and what is checked of the pair that it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deltarule import _settings, _validation
from deltarule._validation import Array
from deltarule.losses import Loss, LossFunction


@dataclass(frozen=True, repr=False)
class Custom(Loss):
    r"""A loss of your own, from the outputs of the network.

    .. math:: \texttt{function(y\_true, y\_pred)} \to (\ell_i)_{i}, \;
        (\partial \ell_i / \partial a_{ij})_{ij}

    for n rows: `y_pred` (n, n_L) are the outputs :math:`a_{ij}`, after the output activation,
    `y_true` (n, width) the targets, both in the network's dtype. It returns the loss of each row,
    (n,), and its derivatives, (n, n_L), as arrays of any real dtype. They are those of each row
    alone: deltarule multiplies by :math:`w_i / \sum_i w_i`, which without weights is 1/n, and
    carries the gradient through the output activation. So a function that divides by n itself
    trains n times too slowly; `deltarule.losses.check` finds that and other mistakes.

    A bare function will do, ``net.fit(X, y, loss=function)``, unless there is something to set.

    Parameters
    ----------
    function : callable
        ``f(y_true, y_pred) -> (losses, gradient)``. It is called on the thread that called fit,
        with at most 256 rows at a time: whole batches up to that size, larger ones in blocks. So
        what it says of a row must not depend on the other rows. The arrays are copies, to be kept
        or written to as it likes. It may predict, evaluate and save with the network in training,
        but not train it (RuntimeError).
    target_width : int, optional
        Width of `y`, to have others refused: None takes any. A y of shape (n,) is one wide.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above. Where it is used, if the function returns something else
        than such a pair, or a gradient that is not finite where the loss is; a fit then ends with
        the parameters of the epoch's start. A loss that is not finite is a DivergenceError. What
        the function itself raises reaches the caller unchanged, with the last finished step kept.

    Notes
    -----
    Everything else stays compiled: a step costs the call and a few microseconds more than one with
    a loss of deltarule. Metrics by name get the outputs as they are. A checkpoint keeps the
    function's name only: ``Trainer.resume(path, loss=function)``.

    Examples
    --------
    Errors above the target count four times as much as errors below it:

    >>> import numpy as np
    >>> import deltarule as dr
    >>> def lopsided(y_true, y_pred):
    ...     r = y_pred - y_true
    ...     factor = np.where(r > 0, 4.0, 1.0)
    ...     return (factor * r**2).sum(axis=1), 2 * factor * r
    >>> dr.losses.check(lopsided)
    >>> X = np.linspace(-1.0, 1.0, 200).reshape(-1, 1)
    >>> y = X + np.random.default_rng(0).normal(0.0, 0.5, X.shape)
    >>> net = dr.Network([1, 1], seed=0)
    >>> history = net.fit(X, y, loss=lopsided, optimizer=dr.Adam(0.01))
    >>> bool((net.predict(X) < y).mean() > 0.6)
    True
    """

    function: LossFunction
    target_width: int | None = None
    name: ClassVar[str] = "custom"

    def __post_init__(self) -> None:
        function: object = self.function
        if not callable(function) or isinstance(function, type):
            raise TypeError(
                "function must be a function f(y_true, y_pred) -> (losses, gradient), "
                f"got {_settings.shown(function)}"
            )
        if self.target_width is not None:
            width = _settings.integer("target_width", self.target_width, low=1)
            _settings.set_field(self, "target_width", width)

    def _target_width(self, n_outputs: int) -> int | None:
        return self.target_width

    def _checked(self, result: object, y_pred: Array) -> tuple[NDArray[np.float64], Array]:
        """Return what the function returned for `y_pred` as two C-ordered arrays."""
        text = f"loss {name_of(self.function)} must return a pair (losses, gradient)"
        if not isinstance(result, (tuple, list)):
            raise TypeError(f"{text}, got {_settings.shown(result)}")
        if len(result) != 2:
            raise ValueError(f"{text}, got {len(result)} values")
        n_rows = len(y_pred)
        losses = self._array("losses", result[0], (n_rows,), "the loss of each row, not their mean")
        gradient = self._array("a gradient", result[1], y_pred.shape, "as y_pred")
        with np.errstate(over="ignore", under="ignore"):
            return (
                np.ascontiguousarray(losses, np.float64),
                np.ascontiguousarray(gradient, y_pred.dtype),
            )

    def _array(self, what: str, value: Any, shape: tuple[int, ...], hint: str) -> Array:
        name = name_of(self.function)
        array = _validation.numbers(f"what loss {name} returns as {what}", value)
        if array.shape != shape:
            found = array.shape if array.ndim else _settings.shown(value)
            raise ValueError(
                f"loss {name} must return {what} of shape {shape}, {hint}, got {found}"
            )
        return array

    def __repr__(self) -> str:
        width = "" if self.target_width is None else f", target_width={self.target_width}"
        return f"Custom({name_of(self.function)}{width})"


def name_of(function: Callable[..., Any]) -> str:
    """Return what messages and files call a function."""
    return str(getattr(function, "__name__", type(function).__name__))
