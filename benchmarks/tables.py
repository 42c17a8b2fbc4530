"""Tables: our reading and encoding beside polars' own reading, and where the time of a fit goes.

    python -m benchmarks.tables [--rows N] [--rounds N] [--quick] [--json FILE]

The table has 12 columns of decimals, 3 of whole numbers and 5 of text (5 to 300 levels), and a
target that depends on some of them. Each round reads the CSV file with polars, reads it with
deltarule (which looks at every value before it says what a column holds), fits the encoder and
encodes, and trains 5 epochs with the defaults of `deltarule fit`. The compiled trainer's share is
what its own clock counted: the sum of `history["seconds"]`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl

from benchmarks import report

EPOCHS = 5
READING_LIMIT, TRAINER_FLOOR = 3.0, 0.8  # encoding over polars' reading; share of a fit
PARTS = ("polars reads", "deltarule reads", "fit encoder", "encode", "plan", "train", "in trainer")


def table(n_rows: int) -> pl.DataFrame:
    """Return a made-up table of 20 columns and the target `y`."""
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=n_rows).round(4) for i in range(12)}
    columns |= {f"k{i}": rng.integers(0, 1000, n_rows) for i in range(3)}
    words = np.array([f"level {i:03d}" for i in range(300)])
    codes = [rng.integers(0, n, n_rows) for n in (5, 9, 40, 100, 300)]
    columns |= {f"t{i}": words[code] for i, code in enumerate(codes)}
    noise = rng.normal(size=n_rows)
    y = columns["x0"] * columns["x1"] + np.sin(codes[3]) + columns["k0"] / 500 + 0.3 * noise
    return pl.DataFrame(columns | {"y": y.round(4)})


def one_round(path: Path, n_threads: int | None) -> tuple[dict[str, float], float]:
    """Return the seconds of each part, and R² on the test rows."""
    from deltarule import _threads
    from deltarule._table import frames, training
    from deltarule._table.encoder import Encoder

    seconds: dict[str, float] = {}

    def timed(part, task):
        start = time.perf_counter()
        result = task()
        seconds[part] = time.perf_counter() - start
        return result

    timed("polars reads", lambda: pl.read_csv(path))
    frame = timed("deltarule reads", lambda: frames.read(path, infer=True))
    count = _threads.resolve(n_threads)
    rows = np.arange(len(frame))
    encoder = timed("fit encoder", lambda: Encoder.fit(frame, rows, ignore=("y",), n_threads=count))
    timed("encode", lambda: encoder.encode(frame, n_threads=count))
    settings = training.TableSettings(epochs=EPOCHS, n_threads=n_threads, progress=False)
    plan = timed("plan", lambda: training.prepare(frame, "y", settings))
    result = timed("train", lambda: training.train(plan))
    seconds["in trainer"] = float(result.history["seconds"].sum())
    return seconds, result.metrics["r2"]


def shares(seconds: dict[str, float]) -> dict[str, float]:
    """Return the two promised ratios, and the trainer's share with the file's reading counted."""
    fit = seconds["plan"] + seconds["train"]
    return {
        "encoding over polars' reading": (seconds["fit encoder"] + seconds["encode"])
        / seconds["polars reads"],
        "trainer's share of the fit": seconds["in trainer"] / fit,
        "the same with reading": seconds["in trainer"] / (fit + seconds["deltarule reads"]),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of deltarule; all cores by default")
    parser.add_argument("--quick", action="store_true", help="one small round: checks the result")
    parser.add_argument("--json", metavar="FILE", help="write every number")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rows, arguments.rounds = 5000, 1
    facts = report.header({name: version(name) for name in ("deltarule", "polars")}, None, [])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        table(arguments.rows).write_csv(path)
        print(f"{arguments.rows} rows, 20 columns, {path.stat().st_size / 1e6:.0f} MB\n")
        rounds = [one_round(path, arguments.threads) for _ in range(arguments.rounds)]
    for part in PARTS:
        times = sorted(seconds[part] for seconds, _ in rounds)
        low, high = report.short_time(times[0]), report.short_time(times[-1])
        print(f"{part:<18}{report.short_time(median(times)):>10}  ({low} to {high})")
    ratios = {
        name: sorted(shares(seconds)[name] for seconds, _ in rounds)
        for name in shares(rounds[0][0])
    }
    for name, values in ratios.items():
        print(f"{name:<32}{median(values):>6.2f}  ({values[0]:.2f} to {values[-1]:.2f})")
    print(f"promised: at most {READING_LIMIT:g}; at least {TRAINER_FLOOR:g}")
    r2 = [score for _, score in rounds]
    print(f"R² on test rows: {r2[0]:.3f}")
    if arguments.json:
        document = {"header": facts, "rounds": [seconds for seconds, _ in rounds], "r2": r2}
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")
    if not min(r2) > 0 or len(set(r2)) > 1:
        print("FAILED: the model is no better than the mean, or two rounds differ")
        return 1
    print("\nall results agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
