"""The two exceptions of deltarule's own; everything else raises Python's."""

from __future__ import annotations

import functools
from typing import Any


class DivergenceError(ArithmeticError):
    """The loss became NaN or infinite, so the step was not applied.

    Parameters
    ----------
    epoch, step : int
        Where it happened, as the trainer counts.
    loss : float
        The loss that was not finite.
    single_step : bool, default False
        Whether one step was asked for, and not epochs: what is kept are then the parameters
        before that step, else those of the epoch's start.
    best_epoch : int, optional
        The epoch whose parameters are in the network instead, after ``fit(restore_best=True)``.

    Attributes
    ----------
    epoch, step : int
        Where it happened.
    loss : float
        The loss that was not finite.

    Examples
    --------
    >>> error = DivergenceError(epoch=3, step=97, loss=float("inf"))
    >>> error.epoch, error.step, error.loss
    (3, 97, inf)
    """

    def __init__(
        self,
        *,
        epoch: int,
        step: int,
        loss: float,
        single_step: bool = False,
        best_epoch: int | None = None,
    ) -> None:
        kept = "from before the step" if single_step else "of the epoch's start"
        if best_epoch is not None:
            kept = f"of the end of epoch {best_epoch}, the best,"
        super().__init__(
            f"training diverged in epoch {epoch}, step {step}: the loss is {loss}. The parameters "
            f"{kept} were kept. Try a smaller learning rate, inputs and targets scaled to mean 0 "
            "and deviation 1 (Standardize), clipping of the gradient, or dtype='float64'."
        )
        self.epoch = epoch
        self.step = step
        self.loss = loss
        self._single_step = single_step
        self._best_epoch = best_epoch

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the keywords: the default would pass the message to ``__init__``."""
        make = functools.partial(
            type(self),
            epoch=self.epoch,
            step=self.step,
            loss=self.loss,
            single_step=self._single_step,
            best_epoch=self._best_epoch,
        )
        return make, (), self.__dict__


class ModelFileError(ValueError):
    """A file is damaged, was not saved by deltarule, or needs a newer deltarule."""
