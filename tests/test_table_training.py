"""From a table to a model: what training may see, what is kept, and what the numbers are of."""

import numpy as np
import polars as pl
import pytest

import deltarule as dr
from deltarule import metrics
from deltarule._table import frames, training
from helpers import rng

N = 200


def table(seed=0):
    """A number, a category of 30 levels, a number and a class to predict, some of them missing."""
    random = rng(seed)
    x, level = random.normal(size=N), random.integers(0, 30, N)
    amount = x + level / 10 + random.normal(0, 0.5, N)
    kind = np.where(np.arange(N) < 10, "rare", np.where(x > 0, "high", "low"))
    return pl.DataFrame(
        {
            "x": x,
            "level": [f"level {i:02d}" for i in level],
            "amount": [None if i % 9 == 4 else value for i, value in enumerate(amount.tolist())],
            "kind": [None if i % 9 == 4 else value for i, value in enumerate(kind.tolist())],
        }
    )


def planned(target, **settings):
    other = {"amount": "kind", "kind": "amount"}[target]
    settings = training.TableSettings(progress=False, hidden=(16,), **settings)
    return training.prepare(frames.wrap(table()), target, settings, ignore=[other])


@pytest.mark.parametrize("target", ["amount", "kind"])
def test_parts_are_apart_complete_and_as_large_as_asked(target):
    plan = planned(target, validation=0.25, test=0.1, seed=3)
    parts = (plan.split.train, plan.split.validation, plan.split.test)
    known = table()[target].is_not_null().sum()
    assert sorted(np.concatenate(parts).tolist()) == list(range(known))
    assert plan.n_without_target == N - known
    assert len(plan.split.validation) == pytest.approx(0.25 * known, abs=1)
    assert len(plan.split.test) == pytest.approx(0.1 * known, abs=1)
    assert not np.array_equal(plan.split.test, planned(target, test=0.1, seed=4).split.test)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_its_share_in_every_part(seed):
    plan = planned("kind", seed=seed)
    counts = np.bincount(plan.y)
    for part in (plan.split.validation, plan.split.test):
        assert np.abs(np.bincount(plan.y[part], minlength=3) - 0.2 * counts).max() <= 1


def test_rows_of_the_matrix_are_those_with_a_known_target():
    plan = planned("amount")
    frame = table().filter(pl.col("amount").is_not_null())
    assert np.array_equal(plan.X, plan.model.encode(frame))
    assert plan.y.tolist() == frame["amount"].to_list()


def test_the_encoder_sees_the_training_rows_only():
    plan = planned("amount")
    frame = table().filter(pl.col("amount").is_not_null())[plan.split.train]
    x, level = plan.encoder.columns
    assert x.center == np.median(frame["x"])
    counts = frame["level"].value_counts()
    assert set(level.levels) == set(counts.filter(pl.col("count") > 1)["level"])


def test_what_training_does_not_see_has_a_vector_of_zeros():
    (vectors,) = planned("amount").model.network.layers[0].tables
    assert not vectors[0].any()
    assert vectors[1:].all()


def test_the_best_epoch_on_the_validation_rows_is_kept():
    plan = planned("amount", optimizer=dr.Adam(0.03), epochs=60)
    result = training.train(plan)
    losses = result.history["val_loss"]
    assert result.history.best_epoch == losses.argmin() + 1 < len(losses)
    rows = plan.split.validation
    assert plan.model.network.evaluate(plan.X[rows], plan.y[rows])["loss"] == losses.min()


@pytest.mark.parametrize("share", [0.2, 0.0])
@pytest.mark.parametrize("target", ["amount", "kind"])
def test_metrics_are_of_the_test_rows_and_the_baseline_of_the_training_rows(target, share):
    plan = planned(target, test=share, epochs=5)
    result = training.train(plan)
    assert result.scored_on == ("test" if share else "validation")
    rows, trained = plan.split.test if share else plan.split.validation, plan.y[plan.split.train]
    y, outputs = plan.y[rows], plan.model.network.predict(plan.X[rows])
    if target == "amount":
        assert result.metrics["r2"] == metrics.r2(y, outputs)
        assert result.baseline["mae"] == pytest.approx(np.abs(y - trained.mean()).mean())
    else:
        assert result.metrics["accuracy"] == metrics.accuracy(y, outputs)
        assert result.baseline["accuracy"] == np.mean(y == np.bincount(trained).argmax())
    assert plan.model.record["metrics"] == dict(result.metrics)
    assert plan.model.record["ignored"] == [{"amount": "kind", "kind": "amount"}[target]]


def test_a_training_that_diverges_keeps_its_best_epoch(monkeypatch):
    fit = dr.Network.fit

    def explode(net, *arguments, **settings):
        fit(net, *arguments, **(settings | {"epochs": 2}))
        raise dr.DivergenceError(epoch=3, step=9, loss=np.inf)

    monkeypatch.setattr(dr.Network, "fit", explode)
    result = training.train(planned("amount"))
    assert result.stopped_by == "diverged"
    assert np.isfinite(result.metrics["r2"])
