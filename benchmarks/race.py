"""The parent side of the race: worker processes, and rounds in which each has its turn."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from benchmarks.contenders import Contender
from benchmarks.networks import Task, loss, weights

ROOT = Path(__file__).parent.parent
TIMEOUT = 600.0  # seconds that one command may take
SETTLE = 0.25  # between turns: threads of OpenBLAS spin for 0.12 s after a product
SLOW_ROUNDS, SLOW = 3, 3.0  # a job longer than SLOW budgets runs in the first rounds only

# A final loss agrees if it differs by at most this part of the progress that NumPy made; a result
# of predict or a kernel, if by at most ERROR of its largest number.
SAME_ORDER = {"sgd": 2e-4, "adam": 2e-3, "adamw": 2e-3}  # Adam divides by tiny numbers
OTHER_ORDER, BF16 = 0.25, 0.05
ERROR = 1e-4


class Failed(Exception):
    """A worker died, hung or refused; the text says which."""


@dataclass
class Row:
    """What one contender did in one task: seconds per step or call, one number a round."""

    contender: str
    threads: int
    ours: bool
    counts: bool
    seconds: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)  # of so many threads in those rounds, flop/s
    loss: float | None = None
    error: float | None = None
    note: str = ""
    agrees: bool | None = None

    @property
    def median(self) -> float:
        return median(self.seconds)

    def as_json(self) -> dict:
        times = {}
        if self.seconds:
            low, _, high = (
                quantiles(self.seconds, n=4, method="inclusive")
                if self.seconds[1:]
                else [self.median] * 3
            )
            times = {"median": self.median, "quartiles": [low, high]}
        return asdict(self) | times


class Process:
    """One contender in a process of its own, on its own number of cores."""

    def __init__(self, contender: Contender, n_threads: int) -> None:
        self.contender, self.n_threads, self.version = contender, n_threads, ""
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
        cores = ",".join(map(str, pinned_cores(n_threads)))
        module = [contender.module, contender.variant, str(n_threads), cores]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *module],
            cwd=ROOT,
            env=contender.environment(n_threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            bufsize=0,
        )

    def ask(self, **command: object) -> dict:
        """Send one command and wait for its reply."""
        try:
            self.child.stdin.write((json.dumps(command) + "\n").encode())
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        if not select.select([self.child.stdout], [], [], TIMEOUT)[0]:
            self.child.kill()
            raise Failed(f"no answer in {TIMEOUT:.0f} s")
        line = self.child.stdout.readline()
        if not line:
            raise Failed(self.last_words())
        reply = json.loads(line)
        if "failed" in reply:
            raise Failed(reply["failed"])
        return reply

    def last_words(self) -> str:
        code = self.child.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}: {lines[-1] if lines else 'no message'}"

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.stdin.close()
            try:
                self.child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.child.stdout.close()
        self.errors.close()


class Race:
    """All contenders, started once; `run` times one task."""

    def __init__(
        self,
        contenders: list[Contender],
        threads: list[int],
        peer_threads: list[int],
        settle: float = 0.0,
        measure_peaks: Callable[[set[int]], dict[int, float]] = lambda threads: {},
    ) -> None:
        self.measure_peaks = measure_peaks
        self.settle = settle
        self.missing = [each for each in contenders if each.missing]
        self.broken: dict[str, str] = {}
        self.processes: list[Process] = []
        for each in contenders:
            if not each.missing:
                self.start(each, threads if each.ours else peer_threads)

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.close()

    @property
    def versions(self) -> dict[str, str]:
        return {process.contender.name: process.version for process in self.processes}

    def start(self, contender: Contender, threads: list[int]) -> None:
        for n_threads in threads:
            process = Process(contender, n_threads)
            try:
                process.version = process.ask(do="version")["version"]
            except Failed as error:
                self.broken[contender.name] = str(error)
                process.close()
            else:
                self.processes.append(process)

    def run(self, task: Task, budget: float, n_rounds: int) -> list[Row]:
        """Load the task everywhere, then go round; each round starts one contender later."""
        rows, runners = [], []
        for process in self.processes:
            each = process.contender
            row = Row(each.name, process.n_threads, each.ours, each.counts)
            rows.append(row)
            try:
                reply = process.ask(do="load", task=asdict(task))
            except Failed as error:
                row.note, row.agrees = f"failed: {error}", False
                continue
            if "cannot" in reply:
                row.note = reply["cannot"]
                continue
            repeat = int(min(1000, max(1, budget / max(reply["seconds"], 1e-7))))
            last = min(n_rounds, SLOW_ROUNDS) if reply["seconds"] > SLOW * budget else n_rounds
            runners.append((process, row, repeat, last))
        threads = {row.threads for _, row, _, _ in runners}
        for turn in range(n_rounds):
            peaks = self.measure_peaks(threads)
            first = turn % max(len(runners), 1)
            for process, row, repeat, last in runners[first:] + runners[:first]:
                if turn < last and not row.note:
                    self.turn(process, row, repeat, task, check=turn == last - 1)
                    if row.threads in peaks and not row.note:
                        row.peaks.append(peaks[row.threads])
        judge(task, rows)
        return rows

    def turn(self, process: Process, row: Row, repeat: int, task: Task, check: bool) -> None:
        time.sleep(self.settle)
        try:
            reply = process.ask(do="go", repeat=repeat, check=check)
        except Failed as error:
            row.note, row.agrees = f"failed: {error}", False
            return
        row.seconds.append(reply["seconds"] / task.units)
        row.loss, row.error = reply.get("loss"), reply.get("error")


def pinned_cores(n_threads: int) -> list[int]:
    """The last cores that we may use; none where the system cannot pin."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[-n_threads:]


def judge(task: Task, rows: list[Row]) -> None:
    """Fill in `agrees`: against NumPy's loss if there is a loss, else by the error."""
    timed = [row for row in rows if row.seconds and not row.note]
    first = sorted(timed, key=lambda row: row.contender != "NumPy")  # NumPy's, if it raced
    reference = next((row.loss for row in first if row.loss is not None), None)
    start = None
    for row in timed:
        if row.error is not None:
            row.agrees = row.error <= ERROR
        elif row.loss is not None and reference is not None:
            start = loss(task, weights(task)) if start is None else start
            tolerance = SAME_ORDER[task.optimizer] if row.counts or row.ours else BF16
            by_chance = task.shuffle or task.extra == "dropout"
            tolerance = OTHER_ORDER if by_chance else tolerance
            row.agrees = abs(row.loss - reference) <= tolerance * abs(start - reference)


def best(rows: list[Row]) -> Row | None:
    """The row with the smallest median."""
    timed = [row for row in rows if row.seconds and not row.note]
    return min(timed, key=lambda row: row.median, default=None)


def ours_and_peer(rows: list[Row]) -> tuple[Row | None, Row | None]:
    """The best row of deltarule and of the fastest peer, each at its better thread count."""
    ours = best([row for row in rows if row.ours and row.counts])
    return ours, best([row for row in rows if not row.ours and row.counts])
