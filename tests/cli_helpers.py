"""What the tests of the command line share: the command in this process, and small tables."""

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

import numpy as np
import polars as pl

from deltarule._cli import main

FAST = ("--hidden", "8", "--epochs", "5")


class Done(NamedTuple):
    code: int
    out: str
    err: str


def _stream(content=b""):
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")


def _text(stream):
    stream.flush()
    return stream.buffer.getvalue().decode()


def run(*arguments, stdin=b""):
    """Run the command in this process."""
    out, err = _stream(), _stream()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", _stream(stdin)),
    ):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:  # --help, --version
            code = end.code
    return Done(code, _text(out), _text(err))


def fit(data, target, *more, output="model.safetensors"):
    """Train quickly; the model goes beside the data."""
    path = data.parent / output
    done = run("fit", data, "--target", target, *FAST, "--output", path, *more)
    assert done.code == 0, done.err
    return path, done


def predict(model, data, *more, stdin=b""):
    """Predict; returns the table of the predictions."""
    done = run("predict", model, data, *more, stdin=stdin)
    assert done.code == 0, done.err
    return pl.read_csv(done.out.encode(), infer_schema_length=None), done


def refused(*arguments, code=1, stdin=b""):
    """The one line that says what is wrong."""
    done = run(*arguments, stdin=stdin)
    assert done.code == code, done
    assert done.err.startswith("deltarule: error: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n")
    return done.err.removeprefix("deltarule: error: ").rstrip("\n")


def table(n=60, seed=0):
    """Columns of every kind, and targets of every kind that they tell something about."""
    rng = np.random.default_rng(seed)
    size, place = rng.normal(size=n), rng.integers(3, size=n)
    score = size + place
    return pl.DataFrame(
        {
            "size": np.round(size, 4),
            "count": rng.integers(100, size=n),
            "color": [("blue", "green", "red, dark")[i] for i in place],
            "fresh": rng.integers(2, size=n) == 1,
            "kind": np.where(score > 1, "big", "small"),
            "grade": np.digitize(score, (0.5, 1.5)),
            "sold": score > 1,
            "price": np.round(3 * score + rng.normal(0, 0.1, n), 2),
        }
    )


TARGETS = ("kind", "grade", "sold", "price")


def only(frame, target):
    """The table with one of its targets."""
    return frame.drop([name for name in TARGETS if name != target])


def write(path, frame):
    """Write a table as CSV or Parquet, by the suffix."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    return path
