"""Import time over NumPy's, installed size and wheel size, ours and the peers'.

    python -m benchmarks.startup [--runs N] [--wheel FILE | --build] [--quick] [--json FILE]

A fresh interpreter imports NumPy first, outside the clock. Sizes are those of the files that the
distribution installed, in MB (10^6 bytes), alone and with all that it requires.
"""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks import report

PACKAGES = {  # what is imported: the distribution
    "deltarule": "deltarule",
    "sklearn.neural_network": "scikit-learn",
    "torch": "torch",
    "jax": "jax",
    "onnxruntime": "onnxruntime",
}
CHILD = "import time, numpy; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
NUMPY = "import time; t = time.perf_counter(); import numpy; print(time.perf_counter() - t)"
WHEEL_LIMIT, INSTALLED_LIMIT, IMPORT_LIMIT = 3.0, 10.0, 0.050  # MB, MB, s: DESIGN's promises
ROOT = Path(__file__).parent.parent


def import_seconds(code: str) -> float:
    """Of one import in a fresh interpreter on one core."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tempfile.gettempdir(),
        env=dict(os.environ) | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
    )
    return float(done.stdout.split()[-1])


def import_times(names: list[str], n_runs: int) -> dict[str, list[float]]:
    """Interleaved rounds, after one unmeasured round that fills the caches of files."""
    codes = {"numpy itself": NUMPY} | {name: CHILD.format(name) for name in names}
    for code in codes.values():
        import_seconds(code)
    found: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(n_runs):
        for name, code in codes.items():
            found[name].append(import_seconds(code))
    return found


def files_of(distribution: str) -> set[Path]:
    """What it installed; of an editable deltarule also the Python files of the checkout."""
    installed = metadata.distribution(distribution)
    paths = {Path(installed.locate_file(each)).resolve() for each in installed.files or []}
    if "editable" in (installed.read_text("direct_url.json") or ""):
        paths |= set((ROOT / "python" / "deltarule").rglob("*"))
    return {path for path in paths if path.is_file() and "__pycache__" not in path.parts}


def megabytes(distributions: list[str]) -> float:
    paths = set().union(*(files_of(each) for each in distributions))
    return sum(path.stat().st_size for path in paths) / 1e6


def closure(distribution: str) -> list[str] | None:
    """The distribution and all it requires here; None without `packaging`."""
    if find_spec("packaging") is None:
        return None
    from packaging.requirements import Requirement

    found, queue = [], [distribution]
    while queue:
        name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
        if name in found:
            continue
        try:
            required = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
        parsed = [Requirement(each) for each in required]
        queue += [r.name for r in parsed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def wheel_sizes(path: Path) -> dict[str, float]:
    with zipfile.ZipFile(path) as wheel:
        unpacked = sum(entry.file_size for entry in wheel.infolist())
    return {"wheel": path.stat().st_size / 1e6, "unpacked": unpacked / 1e6}


def find_wheel(arguments: argparse.Namespace) -> Path | None:
    """The one given, or built here, or the newest of dist/."""
    if arguments.wheel:
        return Path(arguments.wheel)
    if arguments.build:
        folder = tempfile.mkdtemp(prefix="deltarule-wheel-")
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, str(ROOT)]
        subprocess.run(command, check=True)
        return next(Path(folder).glob("*.whl"))
    return max(ROOT.glob("dist/*.whl"), key=lambda path: path.stat().st_mtime, default=None)


def print_imports(times: dict[str, list[float]]) -> dict[str, dict]:
    """A line a package; returns the numbers."""
    form = "{:<26}{:>12}{:>12}{:>14}{:>22}"
    print(
        "\n"
        + form.format(
            "import after numpy", "best", "median", "installed MB", "with requirements MB"
        )
    )
    found = {}
    for name, seconds in times.items():
        distribution = PACKAGES.get(name, "numpy")
        needed = closure(distribution)
        numbers = {
            "seconds": seconds,
            "installed": megabytes([distribution]),
            "with_requirements": megabytes(needed) if needed else None,
        }
        found[name] = numbers
        whole = numbers["with_requirements"]
        print(
            form.format(
                name,
                report.short_time(min(seconds)),
                report.short_time(median(seconds)),
                f"{numbers['installed']:.1f}",
                "–" if whole is None else f"{whole:.1f}",
            )
        )
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15, help="fresh interpreters a package")
    parser.add_argument("--wheel", metavar="FILE", help="a wheel to weigh")
    parser.add_argument("--build", action="store_true", help="build the wheel first")
    parser.add_argument("--quick", action="store_true", help="two runs, deltarule only")
    parser.add_argument("--json", metavar="FILE", help="write every number")
    arguments = parser.parse_args(argv)
    names = [name for name in PACKAGES if find_spec(name.split(".")[0]) is not None]
    missing = [PACKAGES[name] for name in PACKAGES if name not in names]
    if "deltarule" not in names:
        print("FAILED: deltarule is not installed")
        return 1
    if arguments.quick:
        names, arguments.runs = ["deltarule"], 2
    versions = {PACKAGES[name]: metadata.version(PACKAGES[name]) for name in names}
    facts = report.header(versions, None, missing)
    found = print_imports(import_times(names, arguments.runs))
    wheel = find_wheel(arguments)
    sizes = wheel_sizes(wheel) if wheel else {}
    shown = " MB, ".join(f"{name} {size:.2f}" for name, size in sizes.items())
    print(f"\nwheel: {wheel.name}: {shown} MB" if wheel else "\nwheel: none (--wheel or --build)")
    print(f"promised: wheel {WHEEL_LIMIT} MB, installed {INSTALLED_LIMIT} MB, import 50 ms")
    if arguments.json:
        document = {"header": facts, "packages": found, "wheel": sizes}
        Path(arguments.json).write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
