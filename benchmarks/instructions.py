"""How many instructions a training step takes, and what each setting of a training adds to it.

    python -m benchmarks.instructions [--size M] [--optimizer adam] [--level v3]

Counted by valgrind's callgrind, on one thread. valgrind knows no AVX-512, hence level v3 at most. A
case is trained for a few epochs and for more in processes of their own; the difference is its
steps, without start-up. It varies by some three per cent: a run looks at the clock, and comes back
to Python, by the time. Takes some five minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.networks import SIZES, Task

FEW, MANY = 1, 5  # epochs
CASES = (
    "as it is",
    "schedule",
    "clip by norm",
    "clip by value",
    "decay",
    "average",
    "l1",
    "rate of a layer",
)


def settings(case: str, rate: float) -> tuple[dict, dict]:
    """Return the optimiser's arguments and those of `fit`."""
    import deltarule as dr

    optimizer = {
        "schedule": {"learning_rate": dr.schedules.WarmUp(dr.schedules.Cosine(rate), steps=10)},
        "clip by norm": {"clip_norm": 1.0},
        "clip by value": {"clip_value": 0.01},
        "decay": {"weight_decay": 0.01},
    }
    return {"learning_rate": rate} | optimizer.get(case, {}), (
        {"ema": 0.999} if case == "average" else {}
    )


def train(task: Task, case: str, epochs: int) -> None:
    """Train in this process."""
    import deltarule as dr
    from benchmarks import networks
    from benchmarks.contenders.deltarule_core import network

    net = network(task)
    if case == "l1":
        for layer in net.layers:
            layer.l1 = 1e-5
    elif case == "rate of a layer":
        net.layers[0].learning_rate_factor = 0.5
    of_optimizer, of_fit = settings(case, task.learning_rate)
    make = {"sgd": dr.SGD, "adam": dr.Adam}[task.optimizer]
    X, y = networks.data(task)
    net.fit(
        X,
        y,
        loss=task.loss,
        optimizer=make(**of_optimizer),
        epochs=epochs,
        batch_size=task.batch,
        n_threads=1,
        progress=False,
        **of_fit,
    )


def count(arguments: argparse.Namespace, case: str, epochs: int) -> int:
    """Instructions of a process that trains a case."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += ["-m", "benchmarks.instructions", "--size", arguments.size]
    command += ["--optimizer", arguments.optimizer, "--case", case, "--epochs", str(epochs)]
    environment = os.environ | {"DELTARULE_CPU_LEVEL": arguments.level, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if done.returncode or not found:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return int(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="M")
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="adam")
    parser.add_argument("--level", choices=("v2", "v3"), default="v3")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--epochs", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    task = Task("train", arguments.size, *SIZES[arguments.size], optimizer=arguments.optimizer)
    if arguments.case:
        train(task, arguments.case, arguments.epochs)
        return 0
    if not shutil.which("valgrind"):
        raise SystemExit("benchmarks.instructions needs valgrind (apt install valgrind)")
    print(f"{task.describe()}, level {arguments.level}, one thread")
    jobs = [(case, epochs) for case in CASES for epochs in (FEW, MANY)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(jobs, pool.map(lambda job: count(arguments, *job), jobs), strict=True))
    steps = (MANY - FEW) * task.n_batches
    base = (counts[CASES[0], MANY] - counts[CASES[0], FEW]) / steps
    for case in CASES:
        each = (counts[case, MANY] - counts[case, FEW]) / steps
        print(f"{case:16} {each:12,.0f} instructions a step  {100 * (each / base - 1):+6.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
