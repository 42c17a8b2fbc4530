"""`verbose=True` prints what scikit-learn prints."""

import re

import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn_helpers import (
    EITHER,
    UNCONVERGED,
    UNEVEN,
    MLPRegressor,
    estimator,
    inputs,
    kind_of,
    target,
)

pytestmark = UNCONVERGED

SMALL = {"hidden_layer_sizes": (6,), "max_iter": 6, "verbose": True}
RUNS = {
    "epochs": {},
    "sgd": {"solver": "sgd"},
    "early_stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "converged": {"max_iter": 100, "tol": 0.5, "n_iter_no_change": 2},
    "converged_early": {"max_iter": 100, "tol": 5.0, "n_iter_no_change": 2, "early_stopping": True},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 5.0,
        "n_iter_no_change": 1,
        "max_iter": 100,
    },
}


def printed(capfd, cls, *, peer, **settings):
    """Everything that one fit writes, to Python's stream or to the process's."""
    made = estimator(kind_of(cls), peer=peer, **SMALL | UNEVEN | settings)
    capfd.readouterr()
    made.fit(inputs(), target(kind_of(cls)))
    return capfd.readouterr()


@pytest.mark.parametrize("run", RUNS)
@EITHER
def test_the_same_text(capfd, cls, run):
    ours, theirs = (printed(capfd, cls, peer=peer, **RUNS[run]) for peer in (False, True))
    assert ours.out == theirs.out
    assert ours.err == theirs.err == ""
    assert re.match(r"Iteration 1, loss = \d+\.\d{8}\n", ours.out)


def test_the_runs_print_every_line_there_is(capfd):
    text = "".join(printed(capfd, MLPRegressor, peer=False, **run).out for run in RUNS.values())
    for line in (
        "Validation score: ",
        "Training loss did not improve more than tol=0.500000 for 2 consecutive epochs. Stopping.",
        "Validation score did not improve more than tol=5.000000 for 2 consecutive epochs.",
        "Setting learning rate to 0.000200",
        "Learning rate too small. Stopping.",
    ):
        assert line in text


@EITHER
def test_partial_fit_prints_its_epoch(capfd, cls):
    texts = []
    for peer in (False, True):
        made = estimator(kind_of(cls), peer=peer, **SMALL | UNEVEN)
        more = {"classes": [0, 1, 2]} if kind_of(cls) == "multiclass" else {}
        for _ in range(2):
            made.partial_fit(inputs(), target(kind_of(cls)), **more)
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].count("Iteration 1, loss = ") == 2


@EITHER
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_nothing_is_printed_unasked(capfd, cls, solver):
    text = printed(capfd, cls, peer=False, verbose=False, solver=solver)
    assert text.out == text.err == ""
