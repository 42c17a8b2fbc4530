"""`deltarule.sklearn` against `sklearn.neural_network`: whole fits, and `predict` of one row.

    python -m benchmarks.estimators [--rounds N] [--only fit,predict] [--quick] [--json FILE]

One process, turn by turn, float64, the same settings, initial weights and number of iterations;
both use all cores. Final losses stand beside the times: the order of rows differs, so they differ
a little. A ratio is scikit-learn's median over ours; the floors are those of issue 6. "of peak" is
the part of the machine's FMA peak in float64 that each reaches: one over scikit-learn's part is a
ratio that nobody can exceed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import report
from benchmarks.command import names
from benchmarks.networks import Task
from benchmarks.peak import measure
from benchmarks.race import OTHER_ORDER, SETTLE, pinned_cores

OPTIMIZERS = ("adam", "sgd")
PARTS = ("fit", "predict")
N_CLASSES, N_CALLS = 10, 2000
PREDICT_FLOOR = 10.0
SAME_RESULT = 1e-9  # predictions of the same weights, relative to the largest
BATCH = 200  # scikit-learn's default
FORM = "{:<42}{:<7}{:>12}{:>22}{:>8}{:>12}{:>22}{:>8}{:>8}{:>7}  {}"
SIDES = ("deltarule", "min – max", "of peak", "sklearn", "min – max", "of peak")
TITLES = ("", "solver", *SIDES, "ratio", "floor")


@dataclass(frozen=True)
class Case:
    """One size to fit: rows x features, hidden layers, iterations of one fit."""

    rows: int
    n_features: int
    hidden: tuple[int, ...]
    n_iter: int
    floor: float
    classifies: bool = False

    def describe(self) -> str:
        hidden = ", ".join(map(str, self.hidden))
        kind = "classes" if self.classifies else "numbers"
        return f"{self.rows} x {self.n_features}, ({hidden}), {kind}"

    @property
    def flops(self) -> float:
        """Of a fit, as `networks.Task` counts those of a step."""
        sizes = (self.n_features, *self.hidden, self.n_outputs)
        batch = min(BATCH, self.rows)
        step = Task("train", "", sizes, batch).step_flops
        return step * self.n_iter * self.rows / batch

    @property
    def n_outputs(self) -> int:
        return N_CLASSES if self.classifies else 1

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """X standard normal; y of a random teacher of five inputs, with noise."""
        rng, n_used = np.random.default_rng(1), min(5, self.n_features)
        X = rng.standard_normal((self.rows, self.n_features))
        z = X[:, :n_used] @ rng.standard_normal((n_used, self.n_outputs))
        z += 0.3 * rng.standard_normal(z.shape)
        return X, z.argmax(axis=1) if self.classifies else np.tanh(z[:, 0])

    def made(self, module, solver: str):
        """The estimator; it never stops before its last iteration."""
        name = "MLPClassifier" if self.classifies else "MLPRegressor"
        return getattr(module, name)(
            hidden_layer_sizes=self.hidden,
            solver=solver,
            max_iter=self.n_iter,
            n_iter_no_change=np.inf,
            random_state=0,
        )


CASES = (
    Case(200, 4, (16,), 400, 25.0),
    Case(10_000, 13, (64, 64), 20, 8.0),
    Case(10_000, 100, (256, 256), 8, 4.0, classifies=True),
    Case(20_000, 784, (512, 512), 2, 2.5, classifies=True),
)
QUICK = tuple(
    Case(max(200, case.rows // 10), case.n_features, case.hidden, 2, 0.0, case.classifies)
    for case in CASES
)
ONE_ROW = CASES[1]


@dataclass
class Row:
    """What was measured of one case: seconds of each turn, and what came out."""

    what: str
    solver: str
    floor: float
    flops: float = 0.0  # of what is timed; 0 if they are not counted
    peaks: list[float] = field(default_factory=list)  # of each round, flop/s
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    checked: str = ""
    trouble: str = ""

    @property
    def ratio(self) -> float:
        return median(self.theirs) / median(self.ours)

    def print(self) -> None:
        """Print a line; a floor of zero is none."""
        sides = []
        for seconds in (self.ours, self.theirs):
            low, high = report.short_time(min(seconds)), report.short_time(max(seconds))
            turns = zip(seconds, self.peaks, strict=False)
            parts = [self.flops / each / peak for each, peak in turns]
            part = f"{median(parts):.1%}" if parts else ""
            sides += [report.short_time(median(seconds)), f"{low} – {high}", part]
        below = "  BELOW" if self.ratio < self.floor else ""
        ratio, floor = f"{self.ratio:.1f}", f"{self.floor:g}" if self.floor else ""
        print(FORM.format(self.what, self.solver, *sides, ratio, floor, self.checked + below))


def timed(call) -> tuple[float, object]:
    ready = time.perf_counter() + SETTLE  # until threads of the last turn have ceased to spin;
    while time.perf_counter() < ready:  # busy, so that the processor does not slow down meanwhile
        pass
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def modules():
    import sklearn.neural_network

    import deltarule.sklearn

    return deltarule.sklearn, sklearn.neural_network


def fit_row(case: Case, solver: str, rounds: int, cores: int) -> Row:
    """Both fit in turn, who begins alternating, after one short fit that is not counted."""
    row = Row(f"fit {case.describe()}", solver, case.floor, case.flops)
    X, y = case.data()
    for module in modules():
        case.made(module, solver).set_params(max_iter=1).fit(X, y)
    fitted = [None, None]
    for turn in range(rounds):
        if cores in (peaks := measure([cores] if cores else [])):
            row.peaks.append(peaks[cores] / 2)  # float64: half as many lanes
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            made = case.made(modules()[side], solver)
            seconds, fitted[side] = timed(lambda made=made: made.fit(X, y))
            (row.ours, row.theirs)[side].append(seconds)
    ours, theirs = fitted
    progress = abs(theirs.loss_curve_[0] - theirs.loss_)
    row.checked = f"{ours.loss_:.6f} {theirs.loss_:.6f} ({ours.n_iter_} iterations)"
    if not ours.n_iter_ == theirs.n_iter_ == case.n_iter:
        row.trouble = f"{ours.n_iter_} and {theirs.n_iter_} iterations instead of {case.n_iter}"
    elif not abs(ours.loss_ - theirs.loss_) <= OTHER_ORDER * max(progress, 0.1 * theirs.loss_):
        row.trouble = f"final losses {ours.loss_:.6f} and {theirs.loss_:.6f}"
    return row


def predict_row(rounds: int, n_calls: int, floor: float) -> Row:
    """A call of `predict` with one row; the weights are the same."""
    row = Row(f"predict one row, {ONE_ROW.hidden}", "", floor)
    X, y = ONE_ROW.data()
    ours_module, theirs_module = modules()
    theirs = ONE_ROW.made(theirs_module, "adam").set_params(max_iter=1).fit(X, y)
    ours, one = ours_module.from_sklearn(theirs), X[:1]

    def calls(fitted) -> None:
        for _ in range(n_calls):
            fitted.predict(one)

    for fitted in (ours, theirs):
        calls(fitted)
    for turn in range(rounds):
        for fitted in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            seconds, _ = timed(lambda fitted=fitted: calls(fitted))
            (row.ours if fitted is ours else row.theirs).append(seconds / n_calls)
    expected = theirs.predict(X[:500])
    error = float(abs(ours.predict(X[:500]) - expected).max() / abs(expected).max())
    row.checked = f"error {error:.1e}"
    row.trouble = "" if error <= SAME_RESULT else f"predictions differ by {error:.1e}"
    return row


def arguments_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--optimizer", type=names(OPTIMIZERS), default="adam,sgd")
    parser.add_argument("--only", type=names(PARTS), default=",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="one short round: checks results")
    parser.add_argument("--json", metavar="FILE", help="write every number")
    return parser.parse_args(argv)


def versions() -> dict[str, str]:
    import deltarule

    found = {name: version(name) for name in ("deltarule", "scikit-learn", "scipy")}
    found["deltarule"] += f" ({deltarule.build_info()['cpu_level']})"
    return found


def race(arguments: argparse.Namespace, cores: int) -> list[Row]:
    """Measure and print, row by row; the peak of so many cores, if any."""
    rounds = 1 if arguments.quick else arguments.rounds
    print("\n" + FORM.format(*TITLES, "final losses, ours and scikit-learn's"))
    rows: list[Row] = []

    def done(row: Row) -> None:
        row.print()
        rows.append(row)

    if "fit" in arguments.only:
        for solver in arguments.optimizer:
            for case in QUICK if arguments.quick else CASES:
                done(fit_row(case, solver, rounds, cores))
    if "predict" in arguments.only:
        n_calls, floor = (20, 0.0) if arguments.quick else (N_CALLS, PREDICT_FLOOR)
        done(predict_row(rounds, n_calls, floor))
    return rows


def main(argv: list[str] | None = None) -> int:
    arguments = arguments_of(argv)
    cores = 0 if arguments.quick else len(pinned_cores(os.cpu_count() or 1)) or 1
    facts = report.header(versions(), measure([cores]) if cores else {}, [])
    with warnings.catch_warnings():
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("ignore", ConvergenceWarning)  # as many iterations as were asked for
        rows = race(arguments, cores)
    if arguments.json:
        numbers = [asdict(row) | {"ratio": row.ratio} for row in rows]
        document = {"command": sys.argv, "header": facts, "rows": numbers}
        Path(arguments.json).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        print(f"json: {arguments.json}")
    for row in rows:
        if row.trouble:
            print(f"FAILED: {row.what} {row.solver}: {row.trouble}")
    if any(row.trouble for row in rows):
        return 1
    print("\nall results agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
