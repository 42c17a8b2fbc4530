"""The child side of the race: one contender, commanded line by line over its pipes.

    python -m benchmarks.worker MODULE VARIANT N_THREADS CORES

Commands are JSON, a line each: {"do": "load", "task": ...}, then {"do": "go", "repeat": n,
"check": bool}, and {"do": "quit"}. A reply is one line of JSON, with "failed" or "cannot" where
there is no answer. Cores are pinned first, before the import: several libraries count them then.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback

WARM_SHARE = 10  # before each timed job, this part of one runs outside the clock


def main() -> None:
    name, variant, n_threads, cores = sys.argv[1:5]
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the replies
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    state = Worker(name, variant, int(n_threads))
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "quit":
            break
        try:
            reply = state.answer(command)
        except Exception as error:
            traceback.print_exc()
            reply = {"failed": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


class Worker:
    """Holds the loaded task; imports its contender at the first command."""

    def __init__(self, name: str, variant: str, n_threads: int) -> None:
        self.name, self.variant, self.n_threads = name, variant, n_threads
        self.module = self.task = self.runner = None

    def answer(self, command: dict) -> dict:
        if self.module is None:
            self.module = importlib.import_module(f"benchmarks.contenders.{self.name}")
        if command["do"] == "version":
            return {"version": self.module.version()}
        if command["do"] == "load":
            return self.load(command["task"])
        return self.go(command["repeat"], command["check"])

    def load(self, fields: dict) -> dict:
        """Build, compile and warm up; nothing here is timed."""
        from benchmarks.contenders import Cannot
        from benchmarks.networks import Task

        self.runner = None  # frees the last task's memory first
        self.task = Task(**(fields | {"sizes": tuple(fields["sizes"])}))
        made = getattr(self.module, self.task.mode.capitalize())
        try:
            self.runner = made(self.task, self.variant, self.n_threads)
        except Cannot as reason:
            return {"cannot": str(reason)}
        self.runner.reset()
        self.runner.run(1)
        started = time.perf_counter()
        self.runner.run(1)
        return {"seconds": (time.perf_counter() - started) * self.task.count}

    def go(self, repeat: int, check: bool) -> dict:
        """Time `repeat` jobs; each starts from the initial weights, reset outside the clock."""
        runner, count, seconds = self.runner, self.task.count, 0.0
        runner.reset()
        runner.run(max(1, count // WARM_SHARE))
        for _ in range(repeat):
            runner.reset()
            started = time.perf_counter()
            runner.run(count)
            seconds += time.perf_counter() - started
        return {"seconds": seconds / repeat, **(self.check() if check else {})}

    def check(self) -> dict:
        """The loss that the last job ended at, or the error of its result, in float64."""
        import numpy as np

        from benchmarks import networks

        if self.task.mode in ("train", "step"):
            layers = networks.unflatten(np.asarray(self.runner.theta()), self.task)
            return {"loss": networks.loss(self.task, layers)}
        if self.task.mode == "kernel":
            expected = networks.kernel_reference(self.task)
        else:
            X, _ = networks.data(self.task)
            expected = networks.outputs(self.task, networks.weights(self.task), X)
        result = np.asarray(self.runner.result())
        if result.shape != expected.shape:
            return {"failed": f"result has shape {result.shape}, expected {expected.shape}"}
        return {"error": float(abs(result - expected).max() / abs(expected).max())}


if __name__ == "__main__":
    main()
