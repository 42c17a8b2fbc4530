"""The network as users have it: built, trained, saved. Its passes are in ``_passes``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from numpy.typing import ArrayLike, DTypeLike

from deltarule import _architecture, _settings
from deltarule._passes import Passes
from deltarule._residual import texts
from deltarule._summary import summary_table
from deltarule._validation import MatrixLike

if TYPE_CHECKING:
    from deltarule._class_weight import ClassWeight
    from deltarule._history import History
    from deltarule._layers import Activation, ActivationName, Layer
    from deltarule.callbacks import Callback, Checkpoint
    from deltarule.losses import Loss, LossFunction, LossName
    from deltarule.metrics import Metric
    from deltarule.optimizers import Optimizer, OptimizerName


class Network(Passes):
    """A dense neural network.

    Parameters
    ----------
    layers : sequence of int, or of layers
        Short form: the sizes ``[n_0, n_1, ..., n_L]``, from the input to the output. Long form:
        ``[Input(n_0), ...]`` followed by Dense, Activation, Embedding, Standardize, Rescale,
        Dropout, LayerNorm, BatchNorm, Residual.
    activation : str or Activation, default "relu"
        Short form only: of the hidden layers.
    output : str or Activation, default "identity"
        Short form only: of the last layer. It decides the loss that ``loss=None`` takes.
    dtype : {"float32", "float64"}
        Of the parameters and of all arithmetic.
    seed : int, optional
        0 <= seed < 2**64; the same seed gives the same bits. None draws one from the system, and
        keeps it as ``net.seed``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as above.
    MemoryError
        If the parameters cannot fit into this machine.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([13, 64, 64, 1], activation="tanh", seed=0)
    >>> net.predict([[0.0] * 13])
    array([[0.]], dtype=float32)
    >>> dr.Network([dr.Input(4), dr.Dense(8, "relu"), dr.Dropout(0.1), dr.Dense(3)], seed=1)
    Network([Input(4), Dense(8, 'relu'), Dropout(0.1), Dense(3)], dtype='float32', seed=1)
    """

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Layer],
        *,
        activation: ActivationName | Activation | None = None,
        output: ActivationName | Activation | None = None,
        dtype: Literal["float32", "float64"] | DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        n_inputs, parsed = _architecture.parse(layers, activation, output)
        real_type = _architecture.dtype_of(dtype)
        _architecture.check_numbers(n_inputs, parsed, real_type)
        statistics = _architecture.given_statistics(n_inputs, parsed, real_type)
        seed = _settings.seed_or_none("seed", seed)
        self._seed_given = seed is not None
        seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self._build(n_inputs, _architecture.without_statistics(parsed), real_type, seed)
        for i, (mean, scale) in statistics.items():
            self.layers[i].set_statistics(mean, scale)

    def summary(self) -> str:
        """Return a table of the layers: widths, parameters, activations, and the totals.

        Examples
        --------
        >>> import deltarule as dr
        >>> print(dr.Network([13, 64, 1], activation="tanh", seed=0).summary())
        layer  kind   output   parameters  activation
        ---------------------------------------------
               Input  (n, 13)
            0  Dense  (n, 64)         896  tanh
            1  Dense  (n, 1)           65  identity
        ---------------------------------------------
        961 parameters, 3.8 KiB of float32
        """
        return summary_table(self)

    def __repr__(self) -> str:
        entries = [f"Input({self.n_inputs})", *texts(self._layers)]
        if len(entries) > 12:
            entries[8:-3] = ["..."]
        dtype, seed = self._dtype.name, self._seed
        return f"{type(self).__name__}([{', '.join(entries)}], dtype={dtype!r}, seed={seed})"

    def fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        *,
        loss: LossName | Loss | LossFunction | None = None,
        optimizer: OptimizerName | Optimizer = "adam",
        epochs: int = 100,
        batch_size: int | None = 32,
        shuffle: bool = True,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight | None = None,
        validation_data: Sequence[MatrixLike] | None = None,
        validation_fraction: float | None = None,
        metrics: Sequence[Metric] = (),
        tol: float | None = None,
        patience: int = 10,
        monitor: str | tuple[str, str] | None = None,
        max_seconds: float | None = None,
        seed: int | None = None,
        n_threads: int | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool | None = None,
        restore_best: bool = False,
        ema: float | None = None,
        resume_from: str | os.PathLike[str] | Checkpoint | None = None,
    ) -> History:
        r"""Train the network, in place, with a fresh optimiser.

        A second fit goes on from the weights of the first. A Standardize or Rescale without
        statistics first takes them from these data.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_0)
            Rows, n >= 1: bool, integers or floats of any layout, read in place; finite. A sparse
            matrix of SciPy (CSR in place, other formats by ``.tocsr()``) is never made dense, and
            gives the bits of its ``.toarray()``.
        y : array_like (n, n_L)
            Targets; (n,) if one wide, or class indices (n,) for a cross-entropy; finite. A loss
            of your own may take another width.
        loss : str, Loss or function, optional
            See `deltarule.losses`; None takes the loss matched to the output activation.
        optimizer : str or Optimizer, default "adam"
            See `deltarule.optimizers`.
        epochs : int, default 100
            Passes over the rows; 0 leaves the network as it is.
        batch_size : int, optional, default 32
            Rows of one step; None, or more than there are, takes all.
        shuffle : bool, default True
            Whether each epoch has its own order of rows; one batch of all takes them as they lie.
        sample_weight : array_like (n,), optional
            Weights :math:`w_i \ge 0`, not all zero: :math:`L = \sum w_i \ell_i / \sum w_i`.
        class_weight : dict, sequence or "balanced", optional
            Weights of the classes, for a y of class indices, of one-hot rows, or of zeros and
            ones: by index (a class that is not named has weight 1), one for each class, or
            :math:`n / (k \, n_c)` for class c with :math:`n_c` of the n rows, of the k classes that
            are in y. They multiply `sample_weight`, and act as if given there; validation rows
            are not weighted by them.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Rows for ``history["val_loss"]``, never trained on.
        validation_fraction : float, optional
            Hold out this share of the rows instead, 0 < share < 1: the nearest whole number of
            them, drawn from the seed, the same in every fit with that seed. If the loss is one of
            classes (cross_entropy, focal; binary_cross_entropy and hinge one wide), each class
            gives its share rounded down or up, and keeps a row to train on. X is not copied.
            `sample_weight` goes with its row; "balanced" counts the rows that train.
        metrics : sequence of str or callable
            See `deltarule.metrics`; computed at each epoch's end, in inference mode, from a
            prediction of all rows (which costs about a third of an epoch).
        tol : float, optional
            Stop ("converged") when the validation loss, or without validation data the loss, was
            not below its best by more than `tol` for `patience` epochs. None trains all epochs.
        patience : int, default 10
            See `tol`; at least 1.
        monitor : str or (str, "min" or "max"), optional
            What `tol`, `patience` and `restore_best` look at instead of the validation loss: a key
            of the history, such as ``"val_accuracy"``. Which values of a loss or of a metric by
            name are better is known; for a metric of your own say so: ``("val_profit", "max")``.
        max_seconds : float, optional
            Stop after this wall-clock time, inside an epoch if need be.
        seed : int, optional
            Of the order of rows and of dropout; None continues from ``net.seed`` and
            ``net.n_steps``.
        n_threads : int, optional
            At most so many; see `deltarule.set_num_threads`. Results do not depend on it.
        callbacks : sequence of callable
            See `deltarule.callbacks`; called in order at each epoch's end.
        progress : bool, optional
            Show a bar; None shows it on a terminal or in a notebook only.
        restore_best : bool, default False
            End with the parameters of the end of the best epoch, whatever ended the training: the
            one with the lowest validation loss, or without validation data the lowest loss; the
            first of equal ones; see ``history.best_epoch``. They have the bits of a training that
            ends there. ``net.n_steps`` still counts all steps. If no epoch was finished, nothing
            is restored.
        ema : float, optional
            0 <= ema < 1, near 1: end with the exponential moving average of the parameters over
            the steps, which is less noisy than the last ones and often predicts better [1]_:

            .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \qquad
                      d_t = \min(\mathrm{ema}, (1 + t) / (10 + t))

            with t = 1, 2, ... the steps of this fit, so that early averages forget the initial
            weights (the rule of TensorFlow's ``ExponentialMovingAverage(num_updates=)``). What is
            trained are the plain parameters, and ``history["loss"]`` is theirs; validation,
            metrics, callbacks, `restore_best` and whatever follows the fit see the averaged
            ones. A callback that writes into ``net.theta`` so changes the average.
        resume_from : str, os.PathLike or Checkpoint, optional
            Go on from what a `deltarule.callbacks.Checkpoint` saved, its newest file, if there is
            one yet; else start anew: so the same script may be run again after it was killed. With
            the same arguments and data the result has the bits of the uninterrupted fit. May be the
            Checkpoint, its path, or the path of a file, or of a folder of such files.

        Returns
        -------
        History
            One number an epoch, by name; kept as ``net.history``.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused, or the data hold a number that is not finite; then the
            network is as it was. Also if `resume_from` is a checkpoint of another network, loss or
            optimiser, or if a loss of your own returns something else than it should; then the
            parameters are those of the epoch's start.
        ModelFileError, OSError
            If no checkpoint that `resume_from` names is whole, or its folder is missing.
        DivergenceError
            If the loss becomes NaN or infinite; the parameters are those of the epoch's start, or
            with `restore_best` of the best epoch.
        KeyboardInterrupt
            On Ctrl-C; the parameters are those of the last step, or with `restore_best` of the best
            epoch; ``net.history`` has the epochs.
        RuntimeError
            If the network is being trained by another call.

        References
        ----------
        .. [1] B. Polyak, A. Juditsky, "Acceleration of stochastic approximation by averaging",
           SIAM J. Control Optim. 30 (1992).

        Examples
        --------
        >>> import numpy as np
        >>> import deltarule as dr
        >>> X = np.linspace(-1.0, 1.0, 128).reshape(-1, 1)
        >>> net = dr.Network([1, 16, 1], activation="tanh", seed=0)
        >>> history = net.fit(X, np.sin(3 * X), epochs=200, metrics=["r2"])
        >>> sorted(history), history.stopped_by
        (['loss', 'r2', 'seconds'], 'epochs')

        Noisy targets, and the epoch that predicts other rows best:

        >>> y = np.sin(3 * X) + np.random.default_rng(0).normal(0, 0.3, X.shape)
        >>> net = dr.Network([1, 16, 1], activation="tanh", seed=0)
        >>> rest = (X[1::2], y[1::2])
        >>> history = net.fit(X[::2], y[::2], validation_data=rest, restore_best=True)
        >>> losses = history["val_loss"].tolist()
        >>> net.evaluate(*rest)["loss"] == min(losses) < losses[-1]
        True
        """
        from deltarule._run import RunSettings
        from deltarule._run_data import run_data
        from deltarule._training import Trainer

        trainer = Trainer(self, loss, optimizer, seed, ema=ema)
        settings = RunSettings(
            epochs=epochs,
            batch_size=batch_size,
            shuffle=shuffle,
            tol=tol,
            patience=patience,
            max_seconds=max_seconds,
            max_steps=None,
            n_threads=n_threads,
            progress=progress,
            restore_best=restore_best,
        )
        with trainer._resumed(resume_from) as path:
            data = run_data(
                trainer,
                (X, y, sample_weight),
                validation_data,
                metrics,
                callbacks,
                validation_fraction=validation_fraction,
                class_weight=class_weight,
                monitor=monitor,
            )
            return trainer._train(data, settings, path)

    def folded(self) -> Network:
        """Return a network for prediction in which each BatchNorm is part of a Dense.

        With running statistics a BatchNorm is a scale and a shift of each unit. A `Dense` without
        activation right before it takes them into its weights and biases, and then the activation
        of an `Activation` right after; else a Dense right after takes them. Predictions agree with
        this network's to rounding. A BatchNorm with no such neighbour stays, as it is.

        Returns
        -------
        Network
            Independent of this one, of the same dtype, seed and ``n_steps``.

        Examples
        --------
        >>> import numpy as np
        >>> import deltarule as dr
        >>> net = dr.Network([dr.Input(2), dr.BatchNorm(), dr.Dense(3)], dtype="float64", seed=0)
        >>> X = np.array([[1.0, 2.0], [3.0, 5.0]])
        >>> history = net.fit(X, np.ones((2, 3)), epochs=20)
        >>> net.folded()
        Network([Input(2), Dense(3)], dtype='float64', seed=0)
        >>> np.allclose(net.folded().predict(X), net.predict(X), rtol=1e-12)
        True
        """
        from deltarule import _folding

        entries = _folding.fold(self.layers)
        layers = tuple(entry.settings for entry in entries)
        result = Network.__new__(Network)
        result._build(self.n_inputs, layers, self._dtype, self._seed)
        result._core.n_steps = self.n_steps
        result._core.fitted = [entry.fitted for entry in entries]
        for view, entry in zip(result.layers, entries, strict=True):
            for name, array in entry.arrays.items():
                view._arrays[name][:] = array
        return result

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the network as a model file, which holds numbers and names and no code.

        Parameters
        ----------
        path : str or os.PathLike
            Where to; an old file is replaced whole or left whole.

        Raises
        ------
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import deltarule as dr
        >>> net = dr.Network([2, 1], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.safetensors")
        ...     net.save(path)
        ...     again = dr.load(path)
        >>> bool((again.theta == net.theta).all())
        True
        """
        from deltarule import _model_file

        _model_file.save(self, path)
