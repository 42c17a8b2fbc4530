"""A fit that goes on from a checkpoint: find the newest whole one, compare it, take it over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deltarule import _checkpoint, _settings
from deltarule._checkpointing import Checkpoint, CheckpointPath
from deltarule._errors import ModelFileError
from deltarule._model_file import describe
from deltarule._network import Network
from deltarule._training import Trainer


@contextmanager
def resumed(trainer: Trainer, resume_from: Any) -> Iterator[None]:
    """Make `trainer` and its network what the checkpoint says, if there is one.

    If what follows is refused before any step, the network is again what it was.
    """
    found = _newest(resume_from)
    if found is None:
        yield
        return
    path, saved = found
    _refuse_another(path, trainer, saved)
    network = trainer.network
    before = network.copy()
    network._begin_training()
    try:
        _checkpoint.adopt(trainer, saved)
    finally:
        network._end_training()
    n_steps = network.n_steps
    try:
        yield
    except (TypeError, ValueError):
        if network.n_steps == n_steps and network._lock.acquire(blocking=False):
            network._adopt(before)
            network._lock.release()
        raise


def _newest(resume_from: Any) -> tuple[str, Trainer] | None:
    """Return the newest checkpoint that is whole and where it is; None if there is none at all."""
    damaged: ModelFileError | None = None
    for path in _files(resume_from):
        try:
            trainer = Trainer.resume(path)
        except ModelFileError as error:
            damaged = damaged or error
            continue
        except FileNotFoundError:  # deleted just now
            continue
        if damaged is not None:
            warnings.warn(f"{damaged}; resuming from {path!r} instead", stacklevel=6)
        return path, trainer
    if damaged is not None:
        raise damaged
    return None


def _files(resume_from: Any) -> list[str]:
    """Return the checkpoints that `resume_from` may mean, the newest first."""
    if isinstance(resume_from, Checkpoint):
        return resume_from._path.files()
    if isinstance(resume_from, (str, os.PathLike)) and os.path.isdir(resume_from):
        found = [(each.stat().st_mtime_ns, str(each)) for each in _safetensors(resume_from)]
        return [path for _, path in sorted(found, reverse=True)]
    return CheckpointPath("resume_from", resume_from).files()


def _safetensors(folder: str | os.PathLike[str]) -> list[Path]:
    return [each for each in Path(folder).glob("*.safetensors") if each.is_file()]


def _refuse_another(path: str, trainer: Trainer, saved: Trainer) -> None:
    """Refuse a checkpoint of another network, loss, optimiser or seed."""
    here, there = _architecture(trainer.network), _architecture(saved.network)
    for i, (own, other) in enumerate(zip(here["layers"], there["layers"])):
        if own != other:
            raise _misfit(path, f"layer {i} {_shown(other)}", _shown(own))
    for key, what in (("layers", "layers"), ("n_inputs", "inputs"), ("dtype", "dtype")):
        own, other = here[key], there[key]
        if own != other:
            own, other = (len(each) if key == "layers" else each for each in (own, other))
            raise _misfit(path, f"{what} {other}", own)
    for what in ("loss", "optimizer", "seed"):
        own, other = getattr(trainer, what), getattr(saved, what)
        if own != other:
            raise _misfit(path, f"{what}={_settings.shown(other)}", _settings.shown(own))


def _misfit(path: str, theirs: str, own: object) -> ValueError:
    return ValueError(
        f"resume_from: {path!r} is of a training with {theirs}, this one has {own}; "
        "give the same, or another path"
    )


def _architecture(network: Network) -> dict[str, Any]:
    """Return the settings of a network that must be the same: not its seed or statistics."""
    settings = describe(network)
    layers = [{k: v for k, v in each.items() if k != "fitted"} for each in settings["layers"]]
    return {"layers": layers, "n_inputs": settings["n_inputs"], "dtype": settings["dtype"]}


def _shown(layer: dict[str, Any]) -> str:
    return ", ".join(
        f"{value!r}" if key == "kind" else f"{key}={value!r}" for key, value in layer.items()
    )
