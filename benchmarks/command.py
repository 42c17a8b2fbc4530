"""The arguments that the commands share, and what they do with them."""

from __future__ import annotations

import argparse

from benchmarks import peak, plot, report
from benchmarks.contenders import CONTENDERS, LEVELS, chosen
from benchmarks.networks import SIZES, Task
from benchmarks.race import SETTLE, Race, Row

Result = tuple[Task, list[Row]]


def parser(description: str, sizes: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = made.add_argument
    add("--sizes", type=names(SIZES), default=sizes, help=f"of {','.join(SIZES)}")
    add(
        "--threads",
        type=counts,
        default="1,2",
        help="thread counts; a contender counts at its best",
    )
    add("--rounds", type=int, default=7, help="turns of each contender")
    add("--seconds", type=float, default=0.4, help="aim for one turn of a fast contender")
    add(
        "--contenders",
        type=names([each.name for each in CONTENDERS]),
        default=[],
        help="only these, by name; all if none",
    )
    add("--levels", type=names(LEVELS), default=[], help="add deltarule at lower CPU levels")
    add(
        "--quick",
        action="store_true",
        help="one short round, peers on one thread: checks results, not times",
    )
    add("--json", metavar="FILE", help="write every number")
    add("--plot", metavar="FILE", help="draw a picture (needs matplotlib)")
    return made


def counts(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def names(allowed):
    """A type for argparse: comma-separated names of `allowed`."""

    def parse(text: str) -> list[str]:
        unknown = [word for word in text.split(",") if word not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown} not of {list(allowed)}")
        return text.split(",")

    return parse


def finish_arguments(arguments: argparse.Namespace) -> argparse.Namespace:
    """--quick is one round of a hundredth of a second."""
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.01
    return arguments


class Session:
    """One command: its peaks and header, the races it runs, and its end."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.peaks = {} if arguments.quick else peak.measure(arguments.threads)
        self.results: list[Result] = []
        self.groups: dict[str, list[Result]] = {}
        self.facts: dict = {}
        self.trouble: list[str] = []

    def race(self, mode: str, tasks: list[Task], *, tables: bool = True) -> list[Result]:
        """Race the contenders of a mode through tasks, printing as it goes."""
        arguments = self.arguments
        contenders = chosen(mode, arguments.levels, arguments.contenders)
        found: list[Result] = []
        peer_threads = [1] if arguments.quick else arguments.threads
        timing = {} if arguments.quick else {"settle": SETTLE, "measure_peaks": peak.measure}
        with Race(contenders, arguments.threads, peer_threads, **timing) as race:
            self.head(race)
            for task in tasks:
                rows = race.run(task, arguments.seconds, arguments.rounds)
                found.append((task, rows))
                if tables:
                    report.print_task(task, rows)
            self.trouble += report.disagreements(race, found)
        self.results += found
        return found

    def head(self, race: Race) -> None:
        """Print the header once; later races only add versions."""
        missing = [f"{each.name} (no {', '.join(each.missing)})" for each in race.missing]
        if self.facts:
            self.facts["versions"] |= race.versions
            return
        self.facts = report.header(race.versions, self.peaks, missing)
        print(report.tolerances())
        for name, why in race.broken.items():
            print(f"{name} did not start: {why}")

    def end(self) -> int:
        """Write what was asked for; the exit status is 1 if results disagree."""
        if self.arguments.json:
            report.write_json(self.arguments.json, self.facts, self.results)
            print(f"json: {self.arguments.json}")
        if self.arguments.plot:
            plot.draw(self.arguments.plot, self.results, self.groups)
        for line in self.trouble:
            print(f"FAILED: {line}")
        if not self.trouble:
            print("\nall results agree")
        return 1 if self.trouble else 0
