"""Callbacks of scikit-learn 1.9: a task for the fit, and one for each epoch or iteration."""

from __future__ import annotations

from typing import Any

from deltarule._validation import Array

__all__ = ["CallbackSupportMixin", "FitTasks", "tasks_of"]

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""


class FitTasks:
    """The tasks that the callbacks of an estimator hear of during one fit."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any, name: str) -> None:
        self._estimator = estimator
        self._name = name
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"X": X, "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=estimator.max_iter)
        self._fit.call_on_fit_task_begin(estimator=estimator, **self._data)
        self._running: Any = None

    def begin(self) -> None:
        """Tell that an epoch or iteration begins."""
        self._running = self._fit.subcontext(task_name=self._name)
        self._running.call_on_fit_task_begin(estimator=self._estimator, **self._told())

    def end(self) -> bool:
        """Tell that it has ended; True if a callback wants to stop."""
        running, self._running = self._running, None
        return bool(running.call_on_fit_task_end(estimator=self._estimator, **self._told()))

    def close(self) -> None:
        """Tell that the fit has ended."""
        if self._running is not None:  # begun, and never run
            self._running.call_on_fit_task_end(estimator=self._estimator)
            self._running = None
        self._fit.call_on_fit_task_end(estimator=self._estimator, **self._told())

    def _told(self) -> dict[str, Any]:
        return {**self._data, "reconstruction_attributes": self._parameters}

    def _parameters(self) -> dict[str, list[Array]]:
        """Return copies, so that what a callback keeps is not trained on."""
        return {
            "coefs_": [each.copy() for each in self._estimator.coefs_],
            "intercepts_": [each.copy() for each in self._estimator.intercepts_],
        }


def tasks_of(estimator: Any, X: Any, y: Any, sample_weight: Any, name: str) -> FitTasks | None:
    """Return the tasks of a fit if the estimator has callbacks."""
    has_callbacks = hasattr(estimator, "_skl_callbacks")
    return FitTasks(estimator, X, y, sample_weight, name) if has_callbacks else None
