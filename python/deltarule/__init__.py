"""Dense neural networks on CPUs: compiled training, an open box, NumPy arrays without copies.

>>> import numpy as np
>>> import deltarule as dr
>>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
>>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
>>> history = net.fit(X, X**2, epochs=20)
>>> bool(history["loss"][-1] < history["loss"][0])
True
>>> net.predict(X).shape
(64, 1)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deltarule import callbacks, initializers, losses, metrics, optimizers
from deltarule._dispatch import build_info
from deltarule._errors import DivergenceError, ModelFileError
from deltarule._history import History
from deltarule._layers import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    Input,
    Rescale,
    Standardize,
)
from deltarule._model_file import load
from deltarule._network import Network
from deltarule._norms import BatchNorm, LayerNorm
from deltarule._residual import Residual
from deltarule._threads import set_num_threads
from deltarule._version import __version__
from deltarule.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    IRpropPlus,
    Lion,
    NAdam,
    RMSprop,
)

if TYPE_CHECKING:
    from deltarule import schedules
    from deltarule._table.model import TableModel
    from deltarule._training import Trainer

__all__ = [
    "SGD",
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "Dense",
    "DivergenceError",
    "Dropout",
    "Embedding",
    "History",
    "IRpropPlus",
    "Input",
    "LayerNorm",
    "Lion",
    "ModelFileError",
    "NAdam",
    "Network",
    "RMSprop",
    "Rescale",
    "Residual",
    "Standardize",
    "TableModel",
    "Trainer",
    "__version__",
    "build_info",
    "callbacks",
    "initializers",
    "load",
    "losses",
    "metrics",
    "optimizers",
    "schedules",
    "set_num_threads",
]


_LATER = {"TableModel": "deltarule._table.model", "Trainer": "deltarule._training"}


def __getattr__(name: str) -> Any:
    """Import what predictions do not need when it is first used."""
    if name == "schedules":
        return import_module("deltarule.schedules")
    if name in _LATER:
        value = globals()[name] = getattr(import_module(_LATER[name]), name)
        return value
    raise AttributeError(f"module 'deltarule' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
