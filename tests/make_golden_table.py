"""Records a model of a table in format 1, and what it says: once.

    python tests/make_golden_table.py    writes tests/golden/table_1.safetensors and table_1.json

Never recorded anew: it stands for the files that users keep.
"""

import json

import polars as pl

from deltarule._table import frames, training
from make_golden import GOLDEN
from table_helpers import mixed

N = 60


def table():
    """The rows that were trained on, with their target."""
    data = mixed(N)
    labels = [
        f"{'yes' if ok else 'no'}, {kind}"
        for ok, kind in zip(data["ok"], data["kind"], strict=True)
    ]
    return pl.DataFrame(data | {"answer": labels})


def record():
    """Train for a few epochs, save, and note the answers."""
    settings = training.TableSettings(hidden=(8, 6), epochs=5, seed=4, progress=False)
    model = training.train(training.prepare(frames.wrap(table()), "answer", settings)).model
    model.save(GOLDEN / "table_1.safetensors")
    recorded = {
        "encoded": model.encode(table()).tolist(),
        "predictions": model.predict(table()).tolist(),
        "probabilities": model.predict_proba(table()).tolist(),
    }
    (GOLDEN / "table_1.json").write_text(json.dumps(recorded) + "\n")


if __name__ == "__main__":
    record()
