"""The callbacks of scikit-learn 1.9: set_callbacks, ScoringMonitor, ProgressBar, one's own."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning

from sklearn_helpers import (
    EITHER,
    UNCONVERGED,
    MLPClassifier,
    estimator,
    inputs,
    outputs,
    parameters,
    problem,
    same_bits,
    target,
)

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 7, "random_state": 2, "batch_size": 32}


class Recorder:
    """A callback of the user's own: keeps every call, and stops after `last` iterations."""

    def __init__(self, last=None, error=None):
        self.calls, self.last, self.error = [], last, error

    def setup(self, estimator, context):
        self.calls.append(("setup", context, {}))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context, {}))

    def on_fit_task_begin(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.calls.append(("begin", context, {"X": X, "y": y}))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        given = {"X": X, "y": y, "metadata": metadata, "fitted": fitted_estimator}
        self.calls.append(("end", context, given))
        if self.error is not None and context.parent is not None:
            raise self.error
        return self.last is not None and len(self.iterations()) >= self.last

    def of(self, hook, *, root):
        return [
            (context, given)
            for name, context, given in self.calls
            if name == hook and (context.parent is None) == root
        ]

    def iterations(self):
        return self.of("end", root=False)


@pytest.mark.parametrize("settings", [{}, {"solver": "sgd"}, {"early_stopping": True}], ids=str)
@EITHER
def test_a_task_for_every_epoch(cls, settings):
    X, y = problem(cls)
    recorder = Recorder()
    made = cls(**SMALL | settings)
    assert made.set_callbacks(recorder) is made
    made.fit(X, y)
    names = [name for name, _, _ in recorder.calls]
    assert names[0] == "setup"
    assert names[-1] == "teardown"
    assert names.count("setup") == names.count("teardown") == 1
    for hook in ("begin", "end"):
        assert len(recorder.of(hook, root=True)) == 1
        assert len(recorder.of(hook, root=False)) == made.n_iter_ == 7
    assert [context.task_id for context, _ in recorder.iterations()] == list(range(7))
    (root, _), *_ = recorder.of("end", root=True)
    assert root.estimator_name == cls.__name__
    assert root.max_subtasks == 7
    assert same_bits(made, cls(**SMALL | settings).fit(X, y))  # watching changes nothing


@EITHER
def test_the_fitted_estimator_is_the_state_of_its_epoch(cls):
    """Ready to predict, each one with its own weights, and with the rows as the user gave them."""
    X, y = problem(cls)
    recorder = Recorder()
    made = cls(**SMALL).set_callbacks(recorder).fit(X, y)
    for k, (_, given) in enumerate(recorder.iterations(), 1):
        assert given["fitted"] is not made
        short = cls(**SMALL | {"max_iter": k}).fit(X, y)
        assert np.array_equal(outputs(given["fitted"], X), outputs(short, X))
        assert given["X"].shape == X.shape
        assert given["fitted"].score(given["X"], given["y"]) == short.score(X, y)
    assert np.array_equal(outputs(recorder.iterations()[-1][1]["fitted"], X), outputs(made, X))


@EITHER
def test_sample_weights_are_passed_on(cls):
    X, y = problem(cls)
    weight, recorder = np.linspace(0.5, 2, 130), Recorder()
    cls(**SMALL).set_callbacks(recorder).fit(X, y, sample_weight=weight)
    for _, given in recorder.iterations():
        assert np.array_equal(given["metadata"]["sample_weight"], weight)


@pytest.mark.parametrize("last", [1, 3])
@EITHER
def test_true_stops_the_fit(cls, last):
    X, y = problem(cls)
    recorder = Recorder(last)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)  # it was asked to stop: no complaint
        made = cls(**SMALL).set_callbacks(recorder).fit(X, y)
    assert made.n_iter_ == last
    assert same_bits(made, cls(**SMALL | {"max_iter": last}).fit(X, y))
    assert [name for name, _, _ in recorder.calls][-1] == "teardown"


@EITHER
def test_an_error_in_a_callback_propagates(cls):
    X, y = problem(cls)
    recorder = Recorder(error=KeyError("mine"))
    made = cls(**SMALL).set_callbacks(recorder)
    with pytest.raises(KeyError, match="mine"):
        made.fit(X, y)
    assert [name for name, _, _ in recorder.calls][-1] == "teardown"
    assert same_bits(made.set_callbacks().fit(X, y), cls(**SMALL).fit(X, y))


@EITHER
def test_callbacks_with_lbfgs(cls):
    X, y = problem(cls)
    recorder = Recorder()
    made = cls(**SMALL, solver="lbfgs").set_callbacks(recorder).fit(X, y)
    assert made.n_iter_ <= len(recorder.iterations()) <= made.n_iter_ + 1
    assert len(recorder.of("begin", root=False)) == len(recorder.iterations())
    plain = cls(**SMALL, solver="lbfgs").fit(X, y)
    assert np.array_equal(parameters(made), parameters(plain))
    losses = [given["fitted"].score(X, y) for _, given in recorder.iterations() if given["fitted"]]
    assert len(losses) >= made.n_iter_
    assert losses[-1] > losses[0]


@EITHER
def test_scoring_monitor(cls):
    X, y = problem(cls)
    name = "accuracy" if cls is MLPClassifier else "r2"
    monitor = ScoringMonitor(scoring=name)
    made = cls(**SMALL).set_callbacks(monitor).fit(X, y)
    rows = [row for row in monitor.get_logs().data if len(row["task_id_path"]) > 1]
    expected = [cls(**SMALL | {"max_iter": k}).fit(X, y).score(X, y) for k in range(1, 8)]
    assert [row[name] for row in rows] == expected
    assert expected[-1] == made.score(X, y)


def test_scoring_monitor_with_string_labels_and_two_labels():
    X = inputs()
    for kind in ("strings", "binary", "multilabel"):
        monitor = ScoringMonitor(scoring="accuracy")
        made = estimator(kind, **SMALL).set_callbacks(monitor).fit(X, target(kind))
        scores = [row["accuracy"] for row in monitor.get_logs().data]
        assert made.score(X, target(kind)) in scores


@EITHER
def test_progress_bar(cls, capsys):
    pytest.importorskip("rich")
    X, y = problem(cls)
    cls(**SMALL).set_callbacks(ProgressBar()).fit(X, y)
    text = capsys.readouterr().out
    assert cls.__name__ in text
    assert "100%" in text


@EITHER
def test_what_is_no_callback_is_refused(cls):
    for wrong in (print, 3, Recorder):
        with pytest.raises(TypeError, match="FitCallback"):
            cls().set_callbacks(wrong)


@EITHER
def test_a_clone_calls_the_same_callbacks(cls):
    """As scikit-learn's clone passes them on."""
    X, y = problem(cls)
    recorder = Recorder()
    clone(cls(**SMALL).set_callbacks(recorder)).fit(X, y)
    assert len(recorder.iterations()) == 7
