"""The network: its parameters, predictions and gradients. Training is in ``_training``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from deltarule import _architecture, _evaluation, _settings, _threads, _validation
from deltarule._network_state import NetworkState
from deltarule._residual import texts
from deltarule._specs import loss_spec
from deltarule._summary import summary_table
from deltarule._trace import Trace
from deltarule._validation import Array, Data, MatrixLike, Rows
from deltarule.metrics import resolve as resolve_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deltarule._class_weight import ClassWeight
    from deltarule._history import History
    from deltarule._layers import Activation, ActivationName, Layer
    from deltarule.callbacks import Callback, Checkpoint
    from deltarule.losses import Loss, LossFunction, LossName
    from deltarule.metrics import Metric
    from deltarule.optimizers import Optimizer, OptimizerName


class Network(NetworkState):
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

    def predict(
        self, X: MatrixLike, out: Array | None = None, *, n_threads: int | None = None
    ) -> Array:
        """Return the outputs of the network, in inference mode.

        A row's output has the same bits alone and in any batch; NaN in a row reaches only its own
        output.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_0)
            Rows, of any real dtype and layout, or of SciPy's sparse formats; n may be 0.
        out : ndarray (n, n_L), optional
            C-contiguous, of the network's dtype: filled and returned.
        n_threads : int, optional
            See `deltarule.set_num_threads`.

        Returns
        -------
        ndarray (n, n_L)
            Always two-dimensional.

        Raises
        ------
        TypeError, ValueError
            If an array has another shape or dtype, or X has no code where an Embedding needs one.

        Examples
        --------
        >>> import deltarule as dr
        >>> dr.Network([2, 1], seed=0).predict([[0.0, 0.0], [0.0, 0.0]])
        array([[0.],
               [0.]], dtype=float32)
        """
        if n_threads is None:
            small = self._predict_small(X, out)
            if small is not None:
                return small
        return self._predict_rows(
            _validation.matrix("X", X, self._widths[0], empty=True), out, n_threads
        )

    def _predict_rows(self, rows: Rows, out: Array | None, n_threads: int | None) -> Array:
        """Predict rows that were checked."""
        shape = (rows.shape[0], self._widths[1])
        if out is None:
            result = np.empty(shape, self._dtype)
        else:
            result = _validation.output("out", out, shape, self._dtype)
            rows = _validation.apart_from(result, rows)
        self._core.predict(rows, result, _threads.resolve(n_threads))
        return result

    def evaluate(
        self,
        X: MatrixLike,
        y: ArrayLike,
        loss: LossName | Loss | LossFunction | None = None,
        metrics: Sequence[Metric] = (),
        *,
        sample_weight: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> dict[str, float]:
        """Return the loss and metrics on given rows, in inference mode, without penalties.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As in `fit`.
        loss : str, Loss or function, optional
            None takes the loss matched to the output activation.
        metrics : sequence of str or callable
            See `deltarule.metrics`.
        n_threads : int, optional
            See `deltarule.set_num_threads`.

        Returns
        -------
        dict
            ``{"loss": float}`` and a float for every metric.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused, or the data hold a number that is not finite.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([1, 1], seed=0)
        >>> net.theta = [2.0, 0.0]
        >>> net.evaluate([[1.0], [2.0]], [2.0, 5.0], metrics=["mae"])
        {'loss': 0.5, 'mae': 0.5}
        """
        functions = resolve_metrics(metrics)
        used, data = self._loss_and_data(loss, X, y, sample_weight)
        _evaluation.check(self, data, used, functions)
        count = _threads.resolve(n_threads)
        value = self._core.evaluate(*data, loss_spec(used), count)
        return {"loss": value, **_evaluation.compute(self, data, used, functions, count)}

    def gradient(
        self,
        X: MatrixLike,
        y: ArrayLike,
        loss: LossName | Loss | LossFunction | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
    ) -> tuple[float, Array]:
        """Return the loss of a batch and its gradient with respect to `theta`.

        Parameters
        ----------
        X, y, sample_weight : array_like
            The batch, as in `fit`.
        loss : str, Loss or function, optional
            None takes the loss matched to the output activation.
        training : bool, default False
            Draw dropout masks, from ``net.seed`` and ``net.n_steps``, and normalise by the batch's
            own statistics (`BatchNorm`; at least two rows).

        Returns
        -------
        loss : float
        gradient : ndarray (n_parameters,)
            With the layout of `theta`; see `unflatten`.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused, or the data hold a number that is not finite.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([1, 1], seed=0)
        >>> net.theta = [2.0, 0.0]
        >>> net.gradient([[3.0]], [5.0])
        (1.0, array([6., 2.], dtype=float32))
        """
        training = _settings.boolean("training", training)
        used, data = self._loss_and_data(loss, X, y, sample_weight)
        gradient = np.empty(self.n_parameters, self._dtype)
        count = _threads.resolve(None)
        value = self._core.gradient(*data, loss_spec(used), self._seed, training, count, gradient)
        return value, gradient

    def backward(
        self, X: MatrixLike, output_gradient: ArrayLike, *, training: bool = False
    ) -> tuple[Array, Array]:
        """Carry a gradient of your own back from the output: for losses outside of deltarule.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_0)
            The batch.
        output_gradient : array_like (n, n_L)
            ∂L/∂output of every row; nothing is divided by n.
        training : bool, default False
            As in `gradient`.

        Returns
        -------
        gradient : ndarray (n_parameters,)
            ∂L/∂theta, summed over the rows; see `unflatten` and ``trainer.apply``.
        input_gradient : ndarray (n, n_0)
            ∂L/∂X; 0 for the columns of an Embedding.

        Raises
        ------
        TypeError, ValueError
            If an argument is refused.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([2, 1], seed=0)
        >>> net.theta = [4.0, 5.0, 0.0]
        >>> gradient, input_gradient = net.backward([[1.0, 2.0]], [[10.0]])
        >>> gradient, input_gradient
        (array([10., 20., 10.], dtype=float32), array([[40., 50.]], dtype=float32))
        """
        training = _settings.boolean("training", training)
        names = ("X", "output_gradient", "")
        rows, d_out, _ = _validation.data(
            X, output_gradient, None, self._widths, class_indices=False, names=names
        )
        return self._core.backward(rows, d_out, self._seed, training, _threads.resolve(None))

    def trace(
        self,
        X: MatrixLike,
        y: ArrayLike,
        loss: LossName | Loss | LossFunction | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
    ) -> Trace:
        """Run one batch forward and backward and keep everything: z, a, delta and gradients.

        Parameters
        ----------
        X, y, loss, sample_weight, training
            As in `gradient`.

        Returns
        -------
        Trace
            With ``.loss`` and ``.layers[i].z .a .delta .dW .db .dtables .dgamma .dbeta``.

        Raises
        ------
        TypeError, ValueError
            As `gradient`.

        Examples
        --------
        >>> import deltarule as dr
        >>> net = dr.Network([1, 1], seed=0)
        >>> net.theta = [2.0, 0.0]
        >>> layer = net.trace([[3.0]], [5.0]).layers[0]
        >>> layer.z, layer.delta, layer.dW
        (array([[6.]], dtype=float32), array([[2.]], dtype=float32), array([[6.]], dtype=float32))
        """
        training = _settings.boolean("training", training)
        used, data = self._loss_and_data(loss, X, y, sample_weight)
        trace = self._core.trace(*data, loss_spec(used), self._seed, training)
        return Trace(trace, self._layers, self._core.layout())

    def plot_flow(
        self,
        X: MatrixLike,
        y: ArrayLike,
        loss: LossName | Loss | None = None,
        path: str | os.PathLike[str] | None = None,
    ) -> Axes:
        """Draw how large activations, deltas and gradients are, layer by layer.

        One pass over the rows, as `trace`: some hundred rows are enough. Zeros are left out of the
        logarithmic panels; the last one counts them, units that are 0 in every row, and where a
        sigmoid or tanh has less than 5 % of its largest slope. If the root mean square of delta
        changes more than 100-fold between the output and the first layer, the picture says that it
        vanishes or explodes. Layers that neither train nor activate are not shown. Needs
        matplotlib, the extra ``deltarule[plot]``.

        Parameters
        ----------
        X, y, loss
            As in `gradient`.
        path : str or os.PathLike, optional
            Save the picture there, as in ``History.plot``; None makes a pyplot figure.

        Returns
        -------
        matplotlib.axes.Axes
            The panel of the activations; ``.figure`` is the figure, ``.figure.axes`` all panels.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As `gradient`.

        Examples
        --------
        >>> import os, tempfile
        >>> import deltarule as dr
        >>> net = dr.Network([2, 8, 8, 1], activation="tanh", seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "flow.png")
        ...     ax = net.plot_flow([[0.0, 1.0], [1.0, 0.0]], [1.0, 0.0], path=path)
        ...     os.listdir(folder)
        ['flow.png']
        >>> [panel.get_title(loc="left") for panel in ax.figure.axes][:2]
        ['activations |a|', 'deltas |δ| = |∂L/∂z|']
        """
        from deltarule import _plot_flow

        return _plot_flow.plot(self, self.trace(X, y, loss), path)

    def _loss_and_data(self, loss: object, X: Any, y: Any, weight: Any) -> tuple[Loss, Data]:
        used = _architecture.loss_for(self._layers, loss)
        widths, indices = self._data_widths(used), used.takes_class_indices
        return used, _validation.data(X, y, weight, widths, class_indices=indices)

    def _data_widths(self, loss: Loss) -> tuple[int, int | None]:
        """Return the width of X, and that of a y of real numbers under a loss, None if any."""
        n_inputs, n_outputs = self._widths
        return n_inputs, loss._target_width(n_outputs)

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
            Whether each epoch has its own order of rows.
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
        with trainer._resumed(resume_from):
            data = trainer._run_data(
                (X, y, sample_weight),
                validation_data,
                metrics,
                callbacks,
                validation_fraction=validation_fraction,
                class_weight=class_weight,
                monitor=monitor,
            )
            return trainer._train(data, settings)

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
