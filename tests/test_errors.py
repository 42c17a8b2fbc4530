"""The exceptions."""

from __future__ import annotations

import copy
import pickle

import pytest

from deltarule._errors import DivergenceError, ModelFileError


@pytest.mark.parametrize("single_step", [False, True])
def test_divergence_error(single_step: bool) -> None:
    error = DivergenceError(epoch=3, step=97, loss=float("inf"), single_step=single_step)
    assert isinstance(error, ArithmeticError)
    error.__dict__["more"] = "kept"
    for same in (error, pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(same) is DivergenceError
        assert (same.epoch, same.step, same.loss) == (3, 97, float("inf"))
        assert same.__dict__["more"] == "kept"
        kept = "before the step" if single_step else "epoch's start"
        for word in ("epoch 3", "step 97", "loss is inf", kept, "smaller learning rate"):
            assert word in str(same)
    assert issubclass(ModelFileError, ValueError)


def test_divergence_after_which_the_best_epoch_came_back() -> None:
    error = DivergenceError(epoch=3, step=97, loss=float("nan"), best_epoch=2)
    for same in (error, pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert "parameters of the end of epoch 2, the best, were kept" in str(same)
