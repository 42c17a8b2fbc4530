"""What passes through a network: predictions, losses, gradients, traces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deltarule import _architecture, _evaluation, _settings, _threads, _validation
from deltarule._network_state import NetworkState
from deltarule._specs import loss_spec
from deltarule._trace import Trace
from deltarule._validation import Array, Data, MatrixLike, Rows
from deltarule.metrics import resolve as resolve_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deltarule.losses import Loss, LossFunction, LossName
    from deltarule.metrics import Metric


class Passes(NetworkState):
    """A network without its training, which is in its subclass."""

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
        from deltarule import _atomic, _plot_flow

        if path is not None:
            path = _atomic.text_of(path)
        return _plot_flow.plot(self, self.trace(X, y, loss), path)

    def _loss_and_data(self, loss: object, X: Any, y: Any, weight: Any) -> tuple[Loss, Data]:
        used = _architecture.loss_for(self._layers, loss)
        widths, indices = self._data_widths(used), used.takes_class_indices
        return used, _validation.data(X, y, weight, widths, class_indices=indices)

    def _data_widths(self, loss: Loss) -> tuple[int, int | None]:
        """Return the width of X, and that of a y of real numbers under a loss, None if any."""
        n_inputs, n_outputs = self._widths
        return n_inputs, loss._target_width(n_outputs)
