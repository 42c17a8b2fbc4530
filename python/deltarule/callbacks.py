"""Functions that training calls at every epoch's end.

A callback is any callable ``callback(state)`` with a `CallbackState`. Returning True stops the
training after this epoch (``history.stopped_by == "callback"``); None or False goes on; anything
else is a TypeError. An error that it raises ends the training and reaches the caller; the
network keeps the weights of that epoch. It may predict, evaluate, save and read or write
``net.theta``; it may not train the same network (RuntimeError).

Two are ready to use: `Checkpoint` saves the training, `CSVLogger` writes the numbers of each epoch.

Without callbacks, metrics and progress bar the loop never leaves the compiled core, so one
callback costs a few microseconds an epoch and what it does itself.

Examples
--------
>>> import numpy as np
>>> import deltarule as dr
>>> def good_enough(state):
...     return state.epoch == 5 or state.logs["loss"] < 1e-12
>>> X = np.linspace(-1.0, 1.0, 32).reshape(-1, 1)
>>> net = dr.Network([1, 4, 1], seed=0)
>>> history = net.fit(X, np.sin(X), epochs=100, callbacks=[good_enough])
>>> history.stopped_by, len(history["loss"])
('callback', 5)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from deltarule import _settings

if TYPE_CHECKING:
    from deltarule._checkpointing import Checkpoint
    from deltarule._csv_logger import CSVLogger
    from deltarule._history import History
    from deltarule._network import Network
    from deltarule._training import Trainer

__all__ = ["CSVLogger", "Callback", "CallbackState", "Checkpoint"]


def __getattr__(name: str) -> Any:
    """Import a callback of the package when it is first used."""
    if name == "Checkpoint":
        from deltarule._checkpointing import Checkpoint

        return Checkpoint
    if name == "CSVLogger":
        from deltarule._csv_logger import CSVLogger

        return CSVLogger
    raise AttributeError(f"module 'deltarule.callbacks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@dataclass(frozen=True)
class CallbackState:
    """What a callback sees at the end of an epoch.

    Attributes
    ----------
    network : Network
        The network in training.
    trainer : Trainer
        Its trainer, for instance to ``state.trainer.save(path)``.
    epoch : int
        How many epochs are done, counted from the making of the trainer: 1 at the first call.
    logs : dict of str to float
        The numbers of this epoch, with the keys of the `History`: ``loss``, ``val_loss``, metrics,
        ``learning_rate``, ``seconds``.
    history : History
        All epochs so far, this one included.
    """

    network: Network
    trainer: Trainer
    epoch: int
    logs: dict[str, float]
    history: History


Callback: TypeAlias = Callable[[CallbackState], "bool | None"]


def resolve(callbacks: Any) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple; each must be callable."""
    if callable(callbacks) or not hasattr(callbacks, "__iter__"):
        raise TypeError(f"callbacks must be a list of callables, got {_settings.shown(callbacks)}")
    result = tuple(callbacks)
    for i, callback in enumerate(result):
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"callbacks[{i}] must be an object, got the class; write {name}(...)")
        if not callable(callback):
            raise TypeError(f"callbacks[{i}] must be callable, got {_settings.shown(callback)}")
    return result


def call(callbacks: Sequence[Callback], state: CallbackState) -> bool:
    """Call every callback; return whether one of them asks to stop."""
    stop = False
    for callback in callbacks:
        answer = callback(state)
        if answer is not None and not isinstance(answer, (bool, np.bool_)):
            raise TypeError(
                "a callback must return True (stop), False or None, "
                f"{callback!r} returned {_settings.shown(answer)}"
            )
        stop = stop or bool(answer)
    return stop
