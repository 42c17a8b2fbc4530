"""The trainer: an optimiser's state beside a network, and everything that trains with it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike

from deltarule import _learning_rate, _settings, _threads, _validation, optimizers
from deltarule._architecture import loss_for
from deltarule._dispatch import core
from deltarule._errors import DivergenceError
from deltarule._history import History
from deltarule._network import Network
from deltarule._run import Run, RunSettings
from deltarule._run_data import RunData, run_data
from deltarule._specs import CoreTrainer, loss_spec, optimizer_spec
from deltarule._validation import MatrixLike

if TYPE_CHECKING:
    from deltarule.callbacks import Callback
    from deltarule.losses import Loss, LossFunction, LossName
    from deltarule.metrics import Metric
    from deltarule.optimizers import Optimizer, OptimizerName


class Trainer:
    """Trains one network: owns the optimiser's state, the counters and the history.

    ``net.fit`` makes one and throws it away; make your own to take single steps, to go on after a
    pause, or to save the whole training and resume it elsewhere with the same bits.

    Parameters
    ----------
    network : Network
        The network; its ``theta`` is trained in place.
    loss : str, Loss or function, optional
        See `deltarule.losses`; None takes the loss matched to the output activation.
    optimizer : str or Optimizer, default "adam"
        ``"sgd"``, ``"adam"``, ... or an object of `deltarule.optimizers`.
    seed : int, optional
        0 <= seed < 2**64, of the order of rows and the dropout masks. None continues from
        ``network.seed`` and ``network.n_steps``.
    ema : float, optional
        0 <= ema < 1: keep the exponential moving average of the parameters, see ``Network.fit``.
        `run` ends with the average in the network and goes on from what was trained; `step` and
        `apply` leave what they trained there, until `use_average` is called.

    Attributes
    ----------
    network, loss, optimizer, seed, ema
        As given, names resolved to objects.
    history : History
        The finished epochs of all runs of this trainer.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above, or the loss does not fit the output activation.

    Examples
    --------
    >>> import numpy as np
    >>> import deltarule as dr
    >>> X = np.linspace(-1.0, 1.0, 32).reshape(-1, 1)
    >>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
    >>> trainer = dr.Trainer(net, optimizer=dr.SGD(0.1, momentum=0.9))
    >>> losses = [trainer.step(X, X**2) for _ in range(50)]
    >>> losses[-1] < losses[0], net.n_steps
    (True, 50)
    """

    def __init__(
        self,
        network: Network,
        loss: LossName | Loss | LossFunction | None = None,
        optimizer: OptimizerName | Optimizer = "adam",
        seed: int | None = None,
        *,
        ema: float | None = None,
    ) -> None:
        if not isinstance(network, Network):
            raise TypeError(f"network must be a Network, got {_settings.shown(network)}")
        self.network = network
        self.loss: Loss = loss_for(network._layers, loss)
        self.optimizer: Optimizer = optimizers.resolve(optimizer)
        self.seed = _settings.seed_or_none("seed", seed)
        self.ema = None if ema is None else _settings.real("ema", ema, below=1.0)
        self.history = History()
        self._asks_for_rate = _learning_rate.is_callable(self.optimizer.learning_rate)
        self._core = self._make_core()

    def _make_core(self) -> CoreTrainer:
        network, loss = self.network._core, loss_spec(self.loss)
        settings = loss, optimizer_spec(self.optimizer), self.seed, self.ema or 0.0
        if isinstance(network, core.Network32):
            return core.Trainer32(network, *settings)
        return core.Trainer64(network, *settings)

    def step(self, Xb: MatrixLike, yb: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Make one training step on one batch.

        Parameters
        ----------
        Xb, yb, sample_weight : array_like
            The batch, as in ``Network.fit``: Xb may be a sparse matrix.

        Returns
        -------
        float
            The loss of the batch before the step, penalties included.

        Raises
        ------
        DivergenceError
            If that loss is not finite; then nothing was changed.
        TypeError, ValueError
            If the batch is refused, a Standardize or Rescale has no statistics yet, or the
            learning rate is a schedule that needs ``steps=`` here.
        RuntimeError
            If the network is being trained by another call.
        """
        network = self.network
        if self._asks_for_rate:
            self._require_rate()
        if sample_weight is None and network._lock.acquire(blocking=False):
            try:
                loss = self._core.step_small(Xb, yb)
            finally:
                network._lock.release()
            if loss is not None:
                return loss if math.isfinite(loss) else self._refuse_loss(loss)
        network._require_scaling()
        X, y, weight = _validation.data(
            Xb,
            yb,
            sample_weight,
            network._data_widths(self.loss),
            class_indices=self.loss.takes_class_indices,
            names=("Xb", "yb", "sample_weight"),
        )
        network._begin_training()
        try:
            with network._in_step():
                loss = self._core.step(X, y, weight, _threads.resolve(None))
        finally:
            network._end_training()
        return loss if math.isfinite(loss) else self._refuse_loss(loss)

    def _require_rate(self) -> None:
        """Ask the callable for its first rate, before a single step."""
        if self._core.sampled_epoch < 0:
            self._sample_rate()

    def _sample_rate(self) -> None:
        """Ask the callable for the rate of the coming epoch."""
        epoch = self._core.epoch
        self._core.set_sampled_rate(_learning_rate.sample(self.optimizer.learning_rate, epoch))

    def _refuse_loss(self, loss: float) -> NoReturn:
        epoch, step = self._core.epoch + 1, self._core.n_steps + 1
        raise DivergenceError(epoch=epoch, step=step, loss=loss, single_step=True)

    def apply(self, gradient: ArrayLike, loss: float | None = None) -> None:
        """Make one optimiser step with a gradient of your own.

        Parameters
        ----------
        gradient : array_like (n_parameters,)
            ∂L/∂θ with the layout of ``network.theta``, from ``network.gradient`` or
            ``network.backward``; finite.
        loss : float, optional
            The loss that it is the gradient of; `IRpropPlus` needs it, the others ignore it.

        Raises
        ------
        TypeError, ValueError
            If `gradient` has another shape or a number that is not finite, or is so large that its
            norm, which ``clip_norm`` needs, is not finite; if `loss` is missing or not finite; if
            the learning rate is a schedule that needs ``steps=`` here.
        RuntimeError
            If the network is being trained by another call.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([2, 1], seed=0)
        >>> trainer = dr.Trainer(net, optimizer=dr.SGD(0.5))
        >>> net.theta = [1.0, 2.0, 3.0]
        >>> trainer.apply([2.0, 2.0, 2.0])
        >>> net.theta
        array([0., 1., 2.], dtype=float32)
        """
        network = self.network
        checked = _validation.vector("gradient", gradient, network.n_parameters)
        native = np.ascontiguousarray(checked, dtype=network.dtype)
        finite = np.isfinite(native)
        if not finite.all():
            i = int(np.argmin(finite))
            raise ValueError(f"gradient must be finite, got {checked[i]} at index {i}")
        if loss is None and isinstance(self.optimizer, optimizers.IRpropPlus):
            raise ValueError("loss must be given for an IRpropPlus: that of the gradient")
        value = 0.0 if loss is None else _settings.real("loss", loss, low=-math.inf)
        if self._asks_for_rate:
            self._require_rate()
        network._begin_training()
        try:
            applied = self._core.apply(native, value)
        finally:
            network._end_training()
        if not applied:
            raise ValueError("gradient must have a finite norm, which clip_norm needs")

    def run(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        epochs: int = 100,
        batch_size: int | None = 32,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        validation_data: Sequence[MatrixLike] | None = None,
        validation_fraction: float | None = None,
        metrics: Sequence[Metric] = (),
        tol: float | None = None,
        patience: int = 10,
        monitor: str | tuple[str, str] | None = None,
        max_seconds: float | None = None,
        max_steps: int | None = None,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        keep_best: bool = False,
    ) -> History:
        """Train until a rule stops it; call again to go on.

        The arguments are those of ``Network.fit`` (but for `class_weight`, which is part of
        `sample_weight` here); three are of this method alone:

        Parameters
        ----------
        X, y : array_like
            The training rows, as in ``Network.fit``. A run that goes on inside an epoch needs the
            same number of rows, `batch_size` and `shuffle`, and for the same bits the same rows.
        epochs : int, default 100
            Total since the trainer was made, not of this call: a resumed run called with the same
            arguments ends where the uninterrupted one would.
        max_steps : int, optional
            Steps of this call, at most; the run may end inside an epoch.
        keep_best : bool, default False
            Keep a copy of the parameters at the end of the best epoch, for `restore_best`. Epochs
            that end in runs without it are not candidates. The run itself restores nothing, so a
            paused one goes on with the same bits. With `ema` the copy is of the average.
        batch_size, shuffle, sample_weight, validation_data, validation_fraction, metrics, tol, \
patience, monitor, max_seconds, n_threads, callbacks, progress
            As in ``Network.fit``; `max_seconds` is a limit of this call, and `validation_fraction`
            holds out the same rows in each run. A run that monitors something else than the run
            before has no best epoch yet.

        Returns
        -------
        History
            ``trainer.history``, all epochs of all runs.

        Raises
        ------
        DivergenceError, KeyboardInterrupt, RuntimeError, TypeError, ValueError
            As ``Network.fit``.

        Examples
        --------
        >>> import numpy as np
        >>> import deltarule as dr
        >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
        >>> trainer = dr.Trainer(dr.Network([1, 8, 1], activation="tanh", seed=0))
        >>> trainer.run(X, X**2, epochs=10, max_steps=5).stopped_by
        'max_steps'
        >>> trainer.run(X, X**2, epochs=10).stopped_by
        'epochs'
        >>> trainer.network.n_steps
        20
        """
        settings = RunSettings(
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            tol=tol,
            patience=patience,
            max_seconds=max_seconds,
            max_steps=max_steps,
            n_threads=n_threads,
            progress=progress,
            keep_best=keep_best,
        )
        data = run_data(
            self,
            (X, y, sample_weight),
            validation_data,
            metrics,
            callbacks,
            validation_fraction=validation_fraction,
            monitor=monitor,
        )
        return self._train(data, settings)

    def _resumed(self, resume_from: Any) -> AbstractContextManager[str | None]:
        """Return the context of a fit that goes on from a checkpoint, if it is asked to.

        Its value is the path of the checkpoint, None without one.
        """
        if resume_from is None:
            return nullcontext()
        from deltarule import _resuming

        return _resuming.resumed(self, resume_from)

    def _train(
        self, data: RunData, settings: RunSettings, resumed_from: str | None = None
    ) -> History:
        missed: Sequence[Callback] = ()
        if resumed_from is not None:
            from deltarule import _resuming

            missed = _resuming.missed(self, data.callbacks, resumed_from)
        self.network._begin_training()
        try:
            Run(self, data, settings).execute(missed)
        finally:
            self.network._end_training()
        return self.history

    @property
    def best_epoch(self) -> int | None:
        """The epoch that `restore_best` goes back to, counted from 1; None if none was kept.

        The best of those that ended in a run with ``keep_best=True``: ``history.best_epoch`` looks
        at all epochs.
        """
        best = self._core.best
        return None if best is None else int(best["epoch"])

    def restore_best(self) -> None:
        """Put the parameters of the end of the best epoch into the network.

        The best epoch is the one with the lowest validation loss, or without validation data the
        lowest ``history["loss"]``; the first of equal ones; `tol` plays no part. If only some
        runs had validation data, only their epochs compete. What is restored is ``net.theta`` as
        it was when that loss was measured, before the callbacks of that epoch, and the numbers
        that are not trained (statistics of Standardize and Rescale). All else stays:
        ``net.n_steps``, the trainer's place, its optimiser's state, and the copy itself. To train
        on from the best epoch, make a new trainer.

        It may be called between runs and in callbacks.

        Raises
        ------
        RuntimeError
            If no epoch was kept, or the network is being trained by another call.

        Examples
        --------
        >>> import numpy as np
        >>> import deltarule as dr
        >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
        >>> net = dr.Network([1, 8, 1], activation="tanh", seed=0)
        >>> trainer = dr.Trainer(net, optimizer=dr.SGD(0.5))
        >>> data = {"X": X[::2], "y": X[::2] ** 2, "validation_data": (X[1::2], X[1::2] ** 2)}
        >>> history = trainer.run(**data, epochs=30, keep_best=True)
        >>> trainer.restore_best()
        >>> net.evaluate(*data["validation_data"])["loss"] == min(history["val_loss"].tolist())
        True
        """
        with self.network._alone():
            restored = self._core.restore_best()
        if not restored:
            raise RuntimeError(
                "no epoch was kept: run(..., keep_best=True) keeps the best one, once an epoch has "
                "ended"
            )

    def use_average(self) -> None:
        """Put the averaged parameters into the network, if they are not there.

        For those who own their loop: `step` and `apply` leave in ``net.theta`` what they trained.
        The next step, and the next `run`, go on from that, not from the average. Writing into
        ``net.theta`` while it holds the average changes the average.

        Raises
        ------
        RuntimeError
            If the trainer was made without `ema`, or the network is being trained by another call.

        Examples
        --------
        >>> import numpy as np
        >>> import deltarule as dr
        >>> net = dr.Network([1, 1], seed=0)
        >>> net.theta = 1.0, 0.0
        >>> trainer = dr.Trainer(net, optimizer=dr.SGD(1.0), ema=0.999)
        >>> for _ in range(3):
        ...     trainer.apply([-1.0, 0.0])
        >>> net.theta
        array([4., 0.], dtype=float32)
        >>> trainer.use_average()
        >>> net.theta.round(2)
        array([3.6, 0. ], dtype=float32)
        >>> trainer.apply([-1.0, 0.0])
        >>> net.theta
        array([5., 0.], dtype=float32)
        """
        self._require_ema()
        with self.network._alone():
            self._core.use_average()

    def use_raw(self) -> None:
        """Put what is trained into the network, where the averaged parameters are.

        The opposite of `use_average`. There is no need to call it before `step`, `apply` or `run`.

        Raises
        ------
        RuntimeError
            As `use_average`.
        """
        self._require_ema()
        with self.network._alone():
            self._core.use_raw()

    def _require_ema(self) -> None:
        if self.ema is None:
            raise RuntimeError("this trainer keeps no average: one made with ema=0.999 does")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save a checkpoint: the network and everything that `resume` needs, in one file.

        A checkpoint is a model file too: ``dr.load(path)`` gives its network. It can be saved at
        any time but while another thread runs the trainer, so in callbacks too; the old file is
        replaced whole or left whole.

        Parameters
        ----------
        path : str or os.PathLike
            Where to.

        Raises
        ------
        OSError
            If the file cannot be written.
        RuntimeError
            If the network is being trained by another thread.
        """
        from deltarule import _checkpoint

        self.network._refuse_other_thread()
        _checkpoint.save(self, path)

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        *,
        loss: Loss | LossFunction | None = None,
        learning_rate: Callable[[int], float] | None = None,
    ) -> Trainer:
        """Load a checkpoint; the trainer's next run goes on with the same bits.

        The data are not in the file, nor are the arguments of `run`: give them again.

        Parameters
        ----------
        path : str or os.PathLike
            A file that `save` wrote.
        loss : Custom or function, optional
            The loss of your own that it was trained with: a file holds no code.
        learning_rate : callable, optional
            The callable that was the optimiser's ``learning_rate``, if that was one: no file holds
            Python code. Numbers and schedules are in the file.

        Returns
        -------
        Trainer
            With ``trainer.network`` and ``trainer.history`` as they were.

        Raises
        ------
        ModelFileError
            If the file is damaged, is no checkpoint, or needs a newer deltarule.
        OSError
            If the file cannot be read.
        TypeError, ValueError
            If `loss` or `learning_rate` is no function, is missing, or is not needed.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import deltarule as dr
        >>> X = np.linspace(-1.0, 1.0, 64).reshape(-1, 1)
        >>> trainer = dr.Trainer(dr.Network([1, 8, 1], seed=0))
        >>> history = trainer.run(X, X, epochs=10, max_steps=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "half-way.safetensors")
        ...     trainer.save(path)
        ...     again = dr.Trainer.resume(path)
        >>> _ = trainer.run(X, X, epochs=10), again.run(X, X, epochs=10)
        >>> np.array_equal(trainer.network.theta, again.network.theta)
        True
        """
        from deltarule import _checkpoint

        return _checkpoint.resume(cls, path, loss=loss, learning_rate=learning_rate)

    def __repr__(self) -> str:
        ema = "" if self.ema is None else f", ema={self.ema}"
        return (
            f"<Trainer {self.loss!r}, {self.optimizer!r}, seed={self.seed}{ema}: "
            f"epoch {self._core.epoch}, step {self._core.n_steps}>"
        )
