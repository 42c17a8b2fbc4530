"""A fit that goes on from a checkpoint: find the newest whole one, compare it, take it over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deltarule import _checkpoint
from deltarule._checkpointing import Checkpoint, CheckpointPath
from deltarule._errors import ModelFileError
from deltarule._layers import TRAINING
from deltarule._model_file import encode_layer
from deltarule._training import Trainer
from deltarule._views import LayerView
from deltarule.callbacks import Callback


@contextmanager
def resumed(trainer: Trainer, resume_from: Any) -> Iterator[str | None]:
    """Make `trainer` and its network what the checkpoint says; yield its path, None without one.

    If what follows is refused before any step, the network is again what it was; but an error in
    a callback that was `missed` leaves it in that epoch.
    """
    found = _newest(trainer, resume_from)
    if found is None:
        yield None
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
        yield path
    except Exception:
        if network.n_steps == n_steps and network._history is not trainer.history:
            with suppress(RuntimeError), network._alone():
                network._adopt(before)
        raise


def missed(trainer: Trainer, callbacks: Sequence[Callback], path: str) -> Sequence[Callback]:
    """Return what the training that saved `path` may not have come to before it was killed.

    If one of the callbacks saved it at the end of an epoch: its older files, and those after it.
    """
    if trainer._core.progress["position"] > 0:
        return ()
    for i, callback in enumerate(callbacks):
        if isinstance(callback, Checkpoint) and callback._wrote(path, trainer._core.epoch):
            return (callback._delete_old, *callbacks[i + 1 :])
    return ()


def _newest(own: Trainer, resume_from: Any) -> tuple[str, Trainer] | None:
    """Return the newest checkpoint that is whole and where it is; None if there is none at all."""
    damaged: ModelFileError | None = None
    for path in _files(resume_from):
        try:
            trainer = _checkpoint.resume_like(own, path)
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
    is_path = isinstance(resume_from, os.PathLike) or (isinstance(resume_from, str) and resume_from)
    if is_path and Path(resume_from).is_dir():
        found = [(each.stat().st_mtime_ns, str(each)) for each in _safetensors(resume_from)]
        return [path for _, path in sorted(found, reverse=True)]
    return CheckpointPath("resume_from", resume_from).files()


def _safetensors(folder: str | os.PathLike[str]) -> list[Path]:
    return [each for each in Path(folder).glob("*.safetensors") if each.is_file()]


def _refuse_another(path: str, trainer: Trainer, saved: Trainer) -> None:
    """Refuse a checkpoint of another network, loss, optimiser, seed or average."""
    own, theirs = _settings_of(trainer), _settings_of(saved)
    if not trainer.network._seed_given:
        own.pop("a network with seed")
    for what, value in own.items():
        if value != theirs[what]:
            raise ValueError(
                f"resume_from: {path!r} is of a training with {what} {_long(theirs[what])}, this "
                f"one has {what} {_long(value)}; give the same, or another path"
            )


def _settings_of(trainer: Trainer) -> dict[str, Any]:
    """Return what must be the same: not how layers are trained, which a callback may change."""
    network = trainer.network
    layers = [_AsMade(view) for view in network.layers]
    return {
        "n_inputs": network.n_inputs,
        "number of layers": len(layers),
        "dtype": network.dtype.name,
        **{f"net.layers[{i}]": layer for i, layer in enumerate(layers)},
        "a network with seed": network.seed,
        "loss": trainer.loss,
        "optimizer": trainer.optimizer,
        "seed": trainer.seed,
        "ema": trainer.ema,
    }


class _AsMade:
    """A layer's settings, equal to those that mean the same."""

    def __init__(self, view: LayerView) -> None:
        self._settings = view.settings
        self._entry = {
            key: value
            for key, value in encode_layer(view).items()
            if key not in TRAINING and key != "fitted"
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AsMade) and self._entry == other._entry

    def __repr__(self) -> str:
        return repr(self._settings)


def _long(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:297]}..."
