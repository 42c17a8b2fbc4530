"""Trainers in format 1: a network's file with a section "trainer" and tensors ``trainer.*``.

The section is ``{"loss", "optimizer", "seed", "scalars", "history", "stopped_by"}``: the core's
counters and sums as numbers, its vectors as tensors ``trainer.<vector>``, and the history's columns
as tensors ``trainer.history.<key>``. A trainer that keeps its best epoch adds
``"best": {"epoch", "loss", "validated"}`` and the vectors best_theta and best_state. One that
monitors something else than the loss adds ``"monitor": [key, "min" or "max"]``; its best "loss" is
the value of that, with the sign changed if higher is better. One that keeps an average adds
``"average": {"ema", "in_network"}``, raw_theta (what is trained) and epoch_average; then the
network's own tensors are the average, whatever the trainer's network held. A schedule is
``{"name", ...}`` in place of the optimiser's learning_rate. Of the user's own functions there is
only what they are called: a loss ``{"name": "custom", "function"}``, a learning_rate ``{"name":
"callable"}``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from deltarule import _file, _learning_rate, _settings, losses, optimizers
from deltarule._custom_loss import name_of
from deltarule._errors import ModelFileError
from deltarule._history import STOPPED_BY, History
from deltarule._model_file import (
    Json,
    accepted,
    check_keys,
    check_tensors,
    describe,
    naming,
    rebuild,
    tensors_of,
)
from deltarule._monitor import Monitor
from deltarule._validation import Array

if TYPE_CHECKING:
    from deltarule._training import Trainer
    from deltarule.optimizers import Optimizer

_KEYS = frozenset({"loss", "optimizer", "seed", "scalars", "history", "stopped_by"})
_BEST = {"epoch": int, "loss": float, "validated": bool}
_OF_CUSTOM = frozenset({"name", "function"})
_AVERAGE = {"ema": float, "in_network": bool}
_Functions: TypeAlias = "tuple[losses.Loss | None, Callable[[int], float] | None]"
_NOT_IN_JSON = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def save(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write a trainer and its network as a checkpoint."""
    history = trainer.history
    section: Json = {
        "loss": _described(trainer.loss),
        "optimizer": _encode_optimizer(trainer.optimizer),
        "seed": trainer.seed,
        "scalars": {key: _encode(value) for key, value in trainer._core.scalars().items()},
        "history": list(history),
        "stopped_by": history.stopped_by,
    }
    if trainer._core.best is not None:
        section["best"] = {key: _encode(value) for key, value in trainer._core.best.items()}
    if history.monitor is not None:
        section["monitor"] = list(history.monitor)
    vectors = trainer._core.vectors()
    tensors = tensors_of(trainer.network)
    if trainer.ema is not None:
        in_network = trainer._core.average_in_network
        section["average"] = {"ema": trainer.ema, "in_network": in_network}
        if not in_network:
            tensors = tensors_of(trainer.network, vectors["raw_theta"])
            vectors["raw_theta"] = trainer.network.theta
    tensors |= {f"trainer.{name}": vector for name, vector in vectors.items()}
    tensors |= {f"trainer.history.{key}": values for key, values in history.items()}
    _file.write(path, {**describe(trainer.network), "trainer": section}, tensors)


def _described(loss: losses.Loss) -> Json:
    if isinstance(loss, losses.Custom):
        return {"name": loss.name, "function": name_of(loss.function)}
    return {"name": loss.name, **asdict(loss)}


def resume(
    make: type[Trainer],
    path: str | os.PathLike[str],
    *,
    loss: object = None,
    learning_rate: Callable[[int], float] | None = None,
) -> Trainer:
    """Return the trainer of a checkpoint; functions of the user's own are given again."""
    if not (loss is None or isinstance(loss, losses.Custom)):
        if isinstance(loss, (losses.Loss, type)) or not callable(loss):
            raise TypeError(f"loss must be a function or a Custom, got {_settings.shown(loss)}")
        loss = losses.Custom(loss)
    return _made(make, path, _file.read(path), lambda section: (loss, learning_rate))


def resume_like(trainer: Trainer, path: str | os.PathLike[str]) -> Trainer:
    """Return the trainer of a checkpoint; it has the functions of `trainer` where it needs any."""
    rate = trainer.optimizer.learning_rate
    loss = trainer.loss if isinstance(trainer.loss, losses.Custom) else None

    def needed(section: Json) -> _Functions:
        entry = section["loss"]
        if loss is not None and _is_custom(entry) and entry["function"] != name_of(loss.function):
            raise ValueError(
                f"resume_from: {os.fspath(path)!r} is of a training with loss "
                f"{_settings.shown(entry['function'])}, this one has {loss!r}"
            )
        return (
            loss if _is_custom(entry) else None,
            rate if callable(rate) and _has_callable(section["optimizer"]) else None,
        )

    return _made(type(trainer), path, _file.read(path), needed)


def _made(
    make: type[Trainer],
    path: str | os.PathLike[str],
    content: tuple[Json, dict[str, Array]],
    functions: Callable[[Json], _Functions],
) -> Trainer:
    """Return the trainer that a file's content describes; `functions` are those it cannot hold."""
    metadata, tensors = content
    with naming(path):
        section = metadata.get("trainer")
        if not isinstance(section, dict):
            raise ModelFileError("is a model without a trainer; deltarule.load reads it")
        check_keys("trainer", section, _KEYS, _KEYS | {"best", "average", "monitor"})
        own, of_history, of_trainer = _sorted_out(tensors)
        network = rebuild(metadata, own, allow_nonfinite=False)
        loss, learning_rate = functions(section)
        used = _loss_of(section["loss"], loss)
        optimizer = _decode_optimizer(section["optimizer"], learning_rate)
        ema, in_network = _decode_average(section)
        trainer: Trainer = accepted(make, network, used, optimizer, section["seed"], ema=ema)
        _restore_core(trainer, section, of_trainer)
        if not in_network:
            trainer._core.use_raw()
        trainer.history = _decode_history(section, of_history)
        network._history = trainer.history
        return trainer


def adopt(trainer: Trainer, other: Trainer) -> None:
    """Make a fresh trainer and its network, in their own memory, what another trainer is."""
    if other.ema is not None:
        other.use_average()
    network, theirs = trainer.network, other.network
    network._adopt(theirs)
    core, source = trainer._core, other._core
    core.set_scalars(source.scalars())
    if source.best is not None:
        core.set_best(**source.best)
    vectors = source.vectors()
    for name, view in core.vectors().items():
        view[:] = vectors[name]
    trainer.history = other.history


def _sorted_out(
    tensors: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Return the network's tensors, the history's by their keys, and the trainer's."""
    own, of_history, of_trainer = {}, {}, {}
    for name, tensor in tensors.items():
        if name.startswith("trainer.history."):
            of_history[name.removeprefix("trainer.history.")] = tensor
        elif name.startswith("trainer."):
            of_trainer[name] = tensor
        else:
            own[name] = tensor
    return own, of_history, of_trainer


def _is_custom(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("name") == "custom"


def _has_callable(entry: Any) -> bool:
    rate = entry.get("learning_rate") if isinstance(entry, dict) else None
    return isinstance(rate, dict) and rate.get("name") == "callable"


def _loss_of(entry: Any, given: losses.Loss | None) -> losses.Loss:
    """Return the loss that the JSON describes, which for one of the user's own is the given one."""
    if _is_custom(entry):
        check_keys("loss", entry, _OF_CUSTOM, _OF_CUSTOM)
        if given is None:
            raise ValueError(
                "loss must be given: the checkpoint is of a training with a loss of the user's "
                f"own, {_settings.shown(entry['function'])}, and a file holds no code"
            )
        return given
    used: losses.Loss = _decode_settings("loss", entry, losses.BY_NAME)
    if given is not None:
        raise ValueError(f"loss must be left out, got {given!r}: the checkpoint has {used!r}")
    return used


def _decode_settings(name: str, entry: Any, table: Mapping[str, Any]) -> Any:
    """Return the loss or the optimiser that a part of the JSON describes."""
    if not isinstance(entry, dict) or entry.get("name") not in [*table]:
        raise ModelFileError(f"has an unknown {name}: {_settings.shown(entry)}")
    kind = table[entry["name"]]
    # An older file lacks the settings that came later: they are at their defaults.
    known = frozenset({"name", *(each.name for each in fields(kind))})
    check_keys(name, entry, frozenset({"name"}), known)
    return accepted(kind, **{key: value for key, value in entry.items() if key != "name"})


def _encode_optimizer(optimizer: Optimizer) -> Json:
    settings = {each.name: getattr(optimizer, each.name) for each in fields(optimizer)}
    settings["learning_rate"] = _learning_rate.encode(optimizer.learning_rate)
    return {"name": optimizer.name, **settings}


def _decode_optimizer(entry: Any, given: Callable[[int], float] | None) -> Any:
    """Return the optimiser; its learning rate is `given` if it was a callable."""
    rate = entry.get("learning_rate") if isinstance(entry, dict) else None
    of_callable = _has_callable(entry)
    if given is not None and not _learning_rate.is_callable(given):
        raise TypeError(f"learning_rate must be a callable, got {_settings.shown(given)}")
    if of_callable and given is None:
        raise ValueError(
            "learning_rate must be given: the trainer had a callable, which no file can hold"
        )
    if given is not None and not of_callable:
        raise ValueError("learning_rate must be left out: the file holds it")
    if isinstance(rate, dict):
        entry = {**entry, "learning_rate": given if of_callable else _decode_schedule(rate)}
    return _decode_settings("optimizer", entry, optimizers.BY_NAME)


def _decode_schedule(entry: Json, *, inside: bool = False) -> Any:
    """Return the schedule that a part of the JSON describes."""
    from deltarule import schedules

    if not inside and isinstance(entry.get("learning_rate"), dict):  # of a WarmUp
        within = _decode_schedule(entry["learning_rate"], inside=True)
        entry = {**entry, "learning_rate": within}
    return _decode_settings("schedule", entry, schedules.BY_NAME)


def _decode_average(section: Json) -> tuple[float | None, bool]:
    """Return the decay, None without an average, and whether the network held the average."""
    if "average" not in section:
        return None, True
    average = section["average"]
    if not isinstance(average, dict):
        raise ModelFileError("has a damaged average of the trainer")
    check_keys("trainer.average", average, frozenset(_AVERAGE), frozenset(_AVERAGE))
    decoded = _decode_all("average", average, _AVERAGE)
    return decoded["ema"], decoded["in_network"]


def _restore_core(trainer: Trainer, section: Json, vectors: Mapping[str, Array]) -> None:
    core, scalars = trainer._core, section["scalars"]
    if not isinstance(scalars, dict):
        raise ModelFileError("has damaged scalars of the trainer")
    fresh = core.scalars()
    check_keys("trainer.scalars", scalars, frozenset(fresh), frozenset(fresh))
    kinds = {key: type(value) for key, value in fresh.items()}
    accepted(core.set_scalars, _decode_all("scalars", scalars, kinds))
    if "best" in section:
        best = section["best"]
        if not isinstance(best, dict):
            raise ModelFileError("has a damaged best epoch of the trainer")
        check_keys("trainer.best", best, frozenset(_BEST), frozenset(_BEST))
        accepted(core.set_best, **_decode_all("best", best, _BEST))
    views = {f"trainer.{name}": view for name, view in core.vectors().items()}
    shapes = {name: view.shape for name, view in views.items()}
    check_tensors(vectors, shapes, trainer.network.dtype, allow_nonfinite=False)
    for name, view in views.items():
        view[:] = vectors[name]


def _encode(value: float) -> int | float | str:
    """Return a number as JSON has it, which knows no NaN and no infinity."""
    if isinstance(value, int):  # bool included
        return value
    return value if math.isfinite(value) else str(value)


def _decode_all(name: str, entries: Json, kinds: Mapping[str, type]) -> Json:
    return {key: _decode(f"{name}.{key}", value, kinds[key]) for key, value in entries.items()}


def _decode(key: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, str) and value in _NOT_IN_JSON:
        return _NOT_IN_JSON[value]
    if type(value) is not kind:
        found = _settings.shown(value)
        raise ModelFileError(f"has a damaged number: trainer.{key} is {found}")
    return value


def _decode_history(section: Json, columns: Mapping[str, Array]) -> History:
    keys, stopped_by = section["history"], section["stopped_by"]
    if not isinstance(keys, list) or sorted(columns) != sorted(map(str, keys)):
        raise ModelFileError("has a history whose keys are not its tensors")
    if stopped_by is not None and stopped_by not in STOPPED_BY:
        raise ModelFileError(f"has an unknown stopped_by: {_settings.shown(stopped_by)}")
    shapes = {values.shape for values in columns.values()}
    if len(shapes) > 1 or any(
        values.ndim != 1 or values.dtype != np.float64 for values in columns.values()
    ):
        raise ModelFileError("has a history that is not of equally long float64 arrays")
    history = History({key: columns[key] for key in keys})
    history.stopped_by = stopped_by
    if "monitor" in section:
        monitor = section["monitor"]
        if not isinstance(monitor, list) or len(monitor) != 2 or monitor[1] not in ("min", "max"):
            raise ModelFileError(f"has a damaged monitor: {_settings.shown(monitor)}")
        if monitor[0] not in keys:
            raise ModelFileError(f"monitors {_settings.shown(monitor[0])}, not in its history")
        history.monitor = Monitor(*monitor)
    return history
