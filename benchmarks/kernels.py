"""Speed of the matrix products by shape, as far as Python can reach them, and share of FMA peak.

    python -m benchmarks.kernels [--shapes 13x64x32,...] [--threads 1,2] [--quick] [--json FILE]

Parts of a one-layer linear network: forward (`predict`), gradient (forward, mse, dW and db) and
backward (forward, dW, db and the gradient of X): one, two and three products. NumPy and PyTorch do
the same products into arrays made beforehand; deltarule's gradient and backward allocate theirs,
and check their arguments, inside the clock.
"""

from __future__ import annotations

import sys

from benchmarks import report
from benchmarks.command import Session, finish_arguments, parser
from benchmarks.networks import KERNEL_PARTS, Task

SHAPES = (  # n_in, n_out, rows: the layers of XS, S, M, L and XL at their batches
    (4, 16, 32), (16, 1, 32), (13, 64, 32), (64, 64, 32), (64, 1, 32),
    (100, 256, 64), (256, 256, 64), (256, 10, 64),
    (784, 512, 128), (512, 512, 128), (512, 10, 128),
    (1024, 2048, 256), (2048, 2048, 256), (2048, 1024, 256),
)  # fmt: skip
QUICK = ((4, 16, 32), (16, 1, 32), (13, 64, 33), (100, 256, 64), (256, 10, 65), (33, 17, 1))


def shapes(text: str) -> list[tuple[int, ...]]:
    return [tuple(int(n) for n in shape.split("x")) for shape in text.split(",")]


def kernel(part: str, shape: tuple[int, ...], quick: bool) -> Task:
    n_in, n_out, rows = shape
    products = 2.0 * n_in * n_out * rows * KERNEL_PARTS[part]
    count = 3 if quick else max(1, min(2000, round(0.05 / (5e-6 + products / 100e9))))
    return Task("kernel", part, (n_in, n_out), rows, part=part, count=count)


def main(argv: list[str] | None = None) -> int:
    arguments_of = parser(__doc__.splitlines()[0], "XS")
    arguments_of.add_argument("--shapes", type=shapes, help="n_in x n_out x rows, comma-separated")
    arguments_of.add_argument("--tables", action="store_true", help="a table a shape, with spread")
    arguments_of.set_defaults(seconds=0.1)
    arguments = finish_arguments(arguments_of.parse_args(argv))
    chosen = arguments.shapes or (QUICK if arguments.quick else SHAPES)
    session = Session(arguments)
    tasks = [kernel(part, shape, arguments.quick) for part in KERNEL_PARTS for shape in chosen]
    found = session.race("kernel", tasks, tables=arguments.tables)
    report.print_products(found)
    return session.end()


if __name__ == "__main__":
    sys.exit(main())
