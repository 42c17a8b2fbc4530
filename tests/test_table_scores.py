"""The defaults of ``deltarule fit`` on the tables of examples/data: means over seeds, test rows."""

from pathlib import Path

import numpy as np
import pytest

from deltarule._table import frames, training

DATA = Path(__file__).parent.parent / "examples" / "data"


@pytest.mark.parametrize(
    ("table", "target", "metric", "floor"),
    [
        ("diabetes", "progression", "r2", 0.35),
        ("breast_cancer", "diagnosis", "accuracy", 0.95),
        ("penguins", "species", "accuracy", 0.95),
        ("penguins", "body_mass_g", "r2", 0.7),
    ],
)
def test_mean_over_seeds_on_held_out_rows(table, target, metric, floor):
    frame = frames.read(DATA / f"{table}.csv", infer=True)
    scores, baselines = [], []
    for seed in range(5):
        settings = training.TableSettings(seed=seed, progress=False)
        result = training.train(training.prepare(frame, target, settings))
        assert result.scored_on == "test"
        scores.append(result.metrics[metric])
        baselines.append(result.baseline[metric])
    assert np.mean(scores) >= floor
    assert np.mean(scores) > np.mean(baselines) + 0.25
