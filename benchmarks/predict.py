"""Time per call of predict: one row from Python, and 20 000 rows at once.

    python -m benchmarks.predict [--sizes XS,S] [--optimizer sgd,adam] [--rows 1,20000] [--quick]

Every contender gets and returns its own arrays: NumPy's for deltarule, NumPy, scikit-learn and ONNX
Runtime, tensors for PyTorch (no_grad), arrays on the device for JAX (jit).
"""

from __future__ import annotations

import sys

from benchmarks import report
from benchmarks.command import Session, counts, finish_arguments, names, parser
from benchmarks.networks import SIZES, Task
from benchmarks.train import OPTIMIZERS


def tasks_of(name: str, rows: int, optimizer: str, quick: bool) -> Task:
    task = Task("predict", name, SIZES[name][0], rows, optimizer)
    most = 50 if quick else 5000
    one = 1e-5 + task.unit_flops / 100e9 + rows * sum(task.sizes) * 1e-9
    count = max(1, min(most, round(0.1 / one)))
    return Task("predict", name, SIZES[name][0], rows, optimizer, count=count)


def main(argv: list[str] | None = None) -> int:
    arguments_of = parser(__doc__.splitlines()[0], "XS,S,M,L")
    arguments_of.add_argument("--optimizer", type=names(OPTIMIZERS), default="sgd")
    arguments_of.add_argument("--rows", type=counts, default="1,20000")
    arguments = finish_arguments(arguments_of.parse_args(argv))
    rows = [1, 300] if arguments.quick else arguments.rows
    session = Session(arguments)
    tasks = [
        tasks_of(name, n, optimizer, arguments.quick)
        for optimizer in arguments.optimizer
        for n in rows
        for name in arguments.sizes
    ]
    report.print_summary(session.race("predict", tasks))
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
