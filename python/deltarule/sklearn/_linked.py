"""A fitted estimator: arrays that are views of a network, what it computes, copies and pickles."""

from __future__ import annotations

import contextlib
import copy
import operator
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from deltarule import Network
from deltarule._validation import Array
from deltarule.sklearn._link import HIDDEN, Link, Shape, build, dtype_of, sizes_of

_FEW = 65536  # numbers: so many are checked here, without what validate_data costs


class LinkedEstimator(BaseEstimator):
    """What both estimators are once they are fitted."""

    activation: str
    dropout: float
    n_threads: int | None
    coefs_: list[Array]
    intercepts_: list[Array]
    out_activation_: str
    n_outputs_: int
    n_features_in_: int
    _link: Link
    _optimizer: Any

    @property
    def network_(self) -> Network:
        """The `deltarule.Network`, which shares memory with ``coefs_`` and ``intercepts_``.

        Arrays that were put into those lists by hand are copied into the network first, and the
        lists then hold the network's own views again.
        """
        if "coefs_" not in self.__dict__:
            check_is_fitted(self)
        link = self.__dict__.get("_link")
        if self.__dict__.get("_fitting"):  # a callback asks: what is trained stays linked
            return self._link.network
        if (
            link is None
            or not link.shows(self.coefs_, self.intercepts_)
            or link.shape[1:4] != (self.activation, self.out_activation_, self.dropout)
        ):
            link = self._relink(link)
        network: Network = link.network
        return network

    def _relink(self, link: Link | None) -> Link:
        if self.activation not in HIDDEN:
            raise ValueError(f"activation must be one of {HIDDEN}, got {self.activation!r}")
        coefs, intercepts = list(self.coefs_), list(self.intercepts_)
        shape = Shape(
            sizes_of(coefs, intercepts),
            self.activation,
            self.out_activation_,
            self.dropout,
            dtype_of([*coefs, *intercepts]),
        )
        if link is None or link.shape != shape:
            link = Link(shape)
        # Copied first: the lists may hold the network's own views in another order.
        link.take([np.array(W) for W in coefs], [np.array(b) for b in intercepts])
        self._show(link)
        return link

    def _show(self, link: Link) -> None:
        """Make the lists hold the views of this network."""
        self._link = link
        for name, views in (("coefs_", link.coefs), ("intercepts_", link.intercepts)):
            shown = self.__dict__.get(name)
            if isinstance(shown, list):
                shown[:] = views  # so that whoever holds the list sees them
            else:
                setattr(self, name, list(views))

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs (n, n_outputs), in the dtype that scikit-learn gives."""
        network = self.network_
        plain = self._is_plain(X) and X.shape[1] == network.n_inputs == self.n_features_in_
        rows = X if plain else self._checked_rows(X)
        if network.dtype == np.float32 != rows.dtype:  # as NumPy would compute it
            network = self._link.in_float64()
        outputs: Array = network.predict(rows, n_threads=self.n_threads)
        return outputs

    def _checked_rows(self, X: Any) -> Any:
        rows = validate_data(self, _native(X), accept_sparse=["csr", "csc"], reset=False)
        return rows if rows.dtype.kind in "biuf" else rows.astype(np.float64)

    def _checked_data(self, X: Any, y: Any, *, reset: bool, **checks: Any) -> tuple[Any, Any]:
        """Return X and y as scikit-learn's validate_data gives them."""
        X = _native(X)
        if (
            self._is_plain(X)
            and type(y) is np.ndarray
            and y.shape == X.shape[:1]
            and y.dtype.char in "fdl"
            and np.isfinite(y).all()
            and (reset or self.n_features_in_ == X.shape[1])
        ):
            self.n_features_in_ = X.shape[1]
            return X, y
        checks |= {"accept_sparse": ["csr", "csc"], "multi_output": True}
        dtypes = (np.float64, np.float32)
        X, y = validate_data(self, X, y, dtype=dtypes, reset=reset, **checks)
        return X, y

    def _is_plain(self, X: Any) -> bool:
        """Whether X is a small array that needs nothing of what validate_data does."""
        return (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.char in "fd"
            and X.dtype.isnative
            and 0 < X.size <= _FEW
            and "feature_names_in_" not in self.__dict__
            and bool(np.isfinite(X).all())
        )

    def hidden_activations(self, X: Any, layer: int) -> Array:
        """Return what a hidden layer makes of rows: features for another model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows.
        layer : int
            0 is the first hidden layer, -1 the last.

        Returns
        -------
        ndarray of shape (n, units of that layer)

        Raises
        ------
        ValueError
            If there is no such hidden layer.
        """
        network = self.network_
        n_hidden = len(self.coefs_) - 1
        index = operator.index(layer)
        if not -n_hidden <= index < n_hidden:
            raise ValueError(
                f"layer must be from {-n_hidden} to {n_hidden - 1}, one of the {n_hidden} hidden "
                f"layers, got {layer}"
            )
        depth = index % n_hidden + 1
        sizes = self._link.shape.sizes[: depth + 1]
        part = build(Shape(sizes, self.activation, self.activation, 0.0, network.dtype))
        part.theta[:] = network.theta[: part.n_parameters]
        return part.predict(self._checked_rows(X), n_threads=self.n_threads)

    def input_gradient(self, X: Any) -> Array:
        r"""Return how the outputs change with the inputs, row by row.

        .. math:: J_{ijk} = \partial a_{ij} / \partial x_{ik}

        where :math:`a_i` is what `predict` returns for row :math:`i` of a regressor, and what
        `predict_proba` returns for a classifier (of the second class alone, if there are two).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n, n_features), or (n, n_outputs, n_features) with several outputs
        """
        network, rows = self.network_, self._checked_rows(X)
        gradients = []
        for j in range(network.n_outputs):
            of_output = np.zeros((rows.shape[0], network.n_outputs))
            of_output[:, j] = 1.0
            gradients.append(network.backward(rows, of_output)[1])
        return gradients[0] if len(gradients) == 1 else np.stack(gradients, axis=1)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        for name in ("_link", "_fitting"):  # the link is made again from the arrays
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name, value in vars(self).items():  # copy.copy hands over the original's own
            if isinstance(value, list) and name.endswith("_"):
                self.__dict__[name] = list(value)
        if "_optimizer" in vars(self):
            self._optimizer = copy.deepcopy(self._optimizer)
        if "coefs_" in vars(self):
            with contextlib.suppress(ValueError, TypeError):  # told at the next use
                self._relink(None)


def _native(X: Any) -> Any:
    """Return an array of the other byte order in this one's."""
    foreign = isinstance(X, np.ndarray) and not X.dtype.isnative and X.dtype.kind == "f"
    return X.astype(X.dtype.newbyteorder("=")) if foreign else X
