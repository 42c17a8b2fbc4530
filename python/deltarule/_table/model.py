"""What is trained on a table and predicts for tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deltarule import _file, _model_file, _threads
from deltarule._table import frames
from deltarule._table.encoder import Encoder
from deltarule._table.target import Amount, Target

if TYPE_CHECKING:
    from deltarule._network import Network


class TableModel:
    """A network with its preprocessing: takes data frames, gives labels or numbers.

    ``deltarule fit`` makes it, ``deltarule.load`` returns it.

    Attributes
    ----------
    network : Network
        What was trained; it takes the encoded matrix of `encode`.
    record : dict
        What ``deltarule fit`` noted: rows, settings, epochs, metrics, baseline.

    Examples
    --------
    >>> import polars as pl
    >>> import deltarule as dr
    >>> model = dr.load("model.safetensors")  # doctest: +SKIP
    >>> model.predict(pl.read_csv("new.csv"))  # doctest: +SKIP
    array(['Adelie', 'Gentoo'], dtype='<U9')
    """

    def __init__(
        self, encoder: Encoder, target: Target, network: Network, record: Mapping[str, Any]
    ) -> None:
        self._encoder = encoder
        self._target = target
        self.network = network
        self.record = dict(record)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that it reads."""
        return tuple(column.name for column in self._encoder.columns)

    @property
    def target(self) -> str:
        """The name of what it predicts."""
        return self._target.name

    @property
    def classes(self) -> NDArray[Any] | None:
        """The labels in the order of `predict_proba`, None if it predicts a number."""
        return None if isinstance(self._target, Amount) else np.array(self._target.labels)

    def encode(self, table: Any, *, n_threads: int | None = None) -> NDArray[np.float32]:
        """Return the matrix (n, n_0) that the network takes.

        Parameters
        ----------
        table : data frame of pandas, polars, pyarrow …
            With at least the columns `columns`, in any order.
        n_threads : int, optional
            See `deltarule.set_num_threads`.

        Raises
        ------
        TypeError, ValueError
            If it is no data frame, a column is absent, or a value does not fit its column.
        """
        return self._encoder.encode(frames.wrap(table), n_threads=_threads.resolve(n_threads))

    def predict(self, table: Any, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return the most probable label, or the predicted number, of every row.

        Parameters
        ----------
        table, n_threads
            As in `encode`.

        Returns
        -------
        ndarray (n,)
            Labels in the type of the training table's target, or numbers in its units.

        Raises
        ------
        TypeError, ValueError
            As `encode`.
        """
        return self._target.decode(self._outputs(table, n_threads))

    def predict_proba(self, table: Any, *, n_threads: int | None = None) -> NDArray[Any]:
        """Return the probability of every class.

        Parameters
        ----------
        table, n_threads
            As in `encode`.

        Returns
        -------
        ndarray (n, n_classes)
            In the order of `classes`; every row sums to 1.

        Raises
        ------
        TypeError, ValueError
            As `encode`; also if the model predicts a number.
        """
        if isinstance(self._target, Amount):
            raise ValueError(f"{self.target!r} is a number: it has no classes and probabilities")
        return self._outputs(table, n_threads)

    def _outputs(self, table: Any, n_threads: int | None) -> NDArray[Any]:
        return self.network.predict(self.encode(table, n_threads=n_threads), n_threads=n_threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, preprocessing and record into one model file.

        Parameters
        ----------
        path : str or os.PathLike
            Where to; `deltarule.load` reads it. The file runs no code.

        Raises
        ------
        OSError
            If it cannot be written; an older file is whole.
        """
        from deltarule._table import section

        metadata = _model_file.describe(self.network) | {"table": section.describe(self)}
        _file.write(path, metadata, _model_file.tensors_of(self.network))

    def __repr__(self) -> str:
        return f"<TableModel {self.target!r} from {len(self.columns)} columns, {self.network!r}>"
