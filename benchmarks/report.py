"""What is printed and kept: header, one table a task, a summary, JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.networks import Task
from benchmarks.race import BF16, ERROR, OTHER_ORDER, SAME_ORDER, Race, Row, best, ours_and_peer

COLUMNS = "{:<18}{:>8}{:>12}{:>20}{:>8}{:>9}  {}"


def short_time(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds < 1000 * scale else f"{seconds:.0f} s"
    return f"{seconds * 1e9:.3g} ns"


def cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def header(versions: dict[str, str], peaks: dict[int, float] | None, missing: list[str]) -> dict:
    """Machine, versions, peak and load, printed and returned for the JSON."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (0.0,) * 3
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_average": [round(each, 2) for each in load],
        "fma_peak": {str(n): value for n, value in (peaks or {}).items()},
        "versions": versions,
        "missing": missing,
    }
    print(f"{facts['cpu']}, {facts['cores']} cores, load {load[0]:.2f}; {facts['system']}")
    print("; ".join(f"{name} {version}" for name, version in versions.items()))
    print("missing: " + (", ".join(missing) or "nobody"))
    if peaks is not None:
        shown = [f"{value / 1e9:.0f} GFLOP/s on {n} thread(s)" for n, value in peaks.items()]
        print("float32 FMA peak: " + (", ".join(shown) or "not measured"))
    if load[0] > 0.5:
        print(f"NOTE: load average {load[0]:.2f}: other jobs run, the times are noisy")
    return facts


def tolerances() -> str:
    return (
        f"agree: a final loss within {SAME_ORDER['sgd']:.2%} (SGD) or {SAME_ORDER['adam']:.1%} "
        f"(Adam) of the progress that NumPy made\n"
        f"(bf16 {BF16:.0%}, shuffled or with dropout {OTHER_ORDER:.0%});\n"
        f"a result of predict or a kernel within {ERROR:g} of its largest number (float64)"
    )


def share(task: Task, row: Row) -> float | None:
    """Part of the FMA peak of the threads used, each time over the peak of its round."""
    if not row.peaks:
        return None
    turns = zip(row.seconds, row.peaks, strict=True)
    return median(task.unit_flops / seconds / peak for seconds, peak in turns)


def print_task(task: Task, rows: list[Row]) -> None:
    """One line a contender and thread count; times relative to ours, if it ran."""
    reference = best([row for row in rows if row.ours and row.counts]) or best(rows)
    print(f"\n{task.describe()}   ({task.units} a job, {task.unit_flops / 1e6:.3g} MFLOP each)")
    relative = "× ours" if reference and reference.ours else "× best"
    last = "error" if task.mode in ("predict", "kernel") else "final loss"
    print(COLUMNS.format("contender", "threads", "median", "min – max", relative, "of peak", last))
    for row in rows:
        if not row.seconds:
            print(f"{row.contender:<18}{row.threads:>8}  {row.note}")
            continue
        low, high = short_time(min(row.seconds)), short_time(max(row.seconds))
        part = share(task, row)
        checked = f"{row.error:.1e}" if row.loss is None else f"{row.loss:.6f}"
        print(
            COLUMNS.format(
                row.contender,
                row.threads,
                short_time(row.median),
                f"{low} – {high}",
                f"{row.median / reference.median:.2f}" if reference else "",
                "" if part is None else f"{part:.1%}",
                (row.note or checked) + ("  DISAGREES" if row.agrees is False else ""),
            )
        )


def print_summary(results: list[tuple[Task, list[Row]]]) -> None:
    """Ours against the fastest peer, each at its better thread count."""
    form = "{:<72}{:>11}{:>4}{:>11}{:>4}  {:<14}{:>7}{:>9}{:>11}"
    print("\nEach at its better thread count; ratio = fastest peer / deltarule")
    titles = ("", "deltarule", "t", "peer", "t", "", "ratio", "of peak", "2t vs 1t")
    print(form.format(*titles))
    for task, rows in results:
        ours, peer = ours_and_peer(rows)
        if ours is None:
            continue
        part = share(task, ours)
        ratio = "" if peer is None else f"{peer.median / ours.median:.2f}"
        against = ("", "", "no peer") if peer is None else (
            short_time(peer.median), peer.threads, peer.contender,
        )  # fmt: skip
        print(
            form.format(
                task.describe()[:71],
                short_time(ours.median),
                ours.threads,
                *against,
                ratio,
                "" if part is None else f"{part:.1%}",
                scaling(rows),
            )
        )
    print_levels(results)


def print_levels(results: list[tuple[Task, list[Row]]]) -> None:
    """deltarule pinned to lower CPU levels against NumPy, which uses all that the machine has."""
    for task, rows in results:
        numpy = best([row for row in rows if row.contender == "NumPy"])
        for name in dict.fromkeys(row.contender for row in rows if row.ours and not row.counts):
            pinned = best([row for row in rows if row.contender == name])
            if numpy and pinned:
                ratio = numpy.median / pinned.median
                print(f"{name}, {task.describe()}: {ratio:.2f} times as fast as NumPy")


def scaling(rows: list[Row]) -> str:
    """How much faster the plain deltarule is on two threads than on one."""
    times = {
        row.threads: row.median for row in rows if row.contender == "deltarule" and row.seconds
    }
    return f"{times[1] / times[2]:.2f}" if {1, 2} <= set(times) else ""


def print_products(results: list[tuple[Task, list[Row]]]) -> None:
    """A line a shape, GFLOP/s and share of the peak a contender: the kernels' table."""
    names = list(dict.fromkeys((r.contender, r.threads) for _, rows in results for r in rows))
    print("\nGFLOP/s (share of the FMA peak of the threads used)")
    titles = [f"{name} {threads}t" for name, threads in names]
    print(f"{'':<34}" + "".join(f"{title:>18}" for title in titles))
    for task, rows in results:
        cells = []
        for row in rows:
            part = share(task, row)
            shown = "" if part is None else f" ({part:.0%})"
            speed = f"{task.unit_flops / row.median / 1e9:.1f}" if row.seconds else "–"
            cells.append(f"{speed + shown:>18}")
        print(f"{task.describe():<34}" + "".join(cells))


def write_json(path: str, facts: dict, results: list[tuple[Task, list[Row]]]) -> None:
    tasks = [
        {"task": asdict(task) | {"describe": task.describe(), "flops": task.unit_flops},
         "rows": [row.as_json() for row in rows]}
        for task, rows in results
    ]  # fmt: skip
    document = {"command": sys.argv, "header": facts, "tasks": tasks}
    Path(path).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def disagreements(race: Race, results: list[tuple[Task, list[Row]]]) -> list[str]:
    """Everything that makes the run fail; empty if all is well."""
    found = [f"{name} did not start: {why}" for name, why in race.broken.items()]
    for task, rows in results:
        found += [
            f"{task.describe()}: {row.contender}, {row.threads} threads: {row.note or 'disagrees'}"
            for row in rows
            if row.agrees is False
        ]
        if not race.broken and not any(row.ours and (row.seconds or row.note) for row in rows):
            found.append(f"{task.describe()}: deltarule did not run")
    return found
