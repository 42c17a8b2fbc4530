"""Breaks a copy of the sources, one mutation at a time, and asks whether the tests notice.

    nox -s mutants            all of them
    nox -s mutants -- bias    those whose name contains "bias"

Needs an environment without deltarule (nox makes one): each mutant is built into a folder of its
own that goes first on the path.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FAST_TESTS = ["test_forward.py", "test_gradients.py", "test_golden.py", "test_steps.py"]


class Mutant(NamedTuple):
    """A textual patch; `before` must occur in the file exactly once."""

    name: str
    what: str
    file: str
    before: str
    after: str


MUTANTS = [
    Mutant(
        "forward product",
        "the last input is left out of W x",
        "cpp/src/kernels.cpp",
        ".k = k,\n                .a = W,",
        ".k = k > 1 ? k - 1 : k,\n                .a = W,",
    ),
    Mutant(
        "delta recursion",
        "sigma'(z) is left out",
        "cpp/src/layers.cpp",
        "multiply_by_slope<T>(activation, outputs, n, slot.z, slot.a, slot.delta);",
        "multiply_by_slope<T>(Activation{}, outputs, n, slot.z, slot.a, slot.delta);",
    ),
    Mutant(
        "bias gradient",
        "the last row is left out of the sum of delta",
        "cpp/src/kernels.cpp",
        "bias_gradient(m, n, delta,",
        "bias_gradient(m, n > 1 ? n - 1 : n, delta,",
    ),
    Mutant(
        "momentum",
        "v <- mu v + (1 - mu) g",
        "cpp/src/update_rules.hpp",
        "v = simd::madd(mu, load(velocity, at), step);",
        "v = simd::madd(mu, load(velocity, at), simd::nmadd(mu, step, step));",
    ),
    Mutant(
        "factor of the MSE",
        "a - y instead of 2 (a - y)",
        "cpp/src/element_wise_loss.hpp",
        "gradient = simd::add(error, error);",
        "gradient = error;",
    ),
]


class Workshop:
    """A copy of the sources; its build folder is kept between mutants: few files compile."""

    def __init__(self, folder: Path) -> None:
        self.sources, self.build, self.folder = folder / "sources", folder / "build", folder
        unwanted = shutil.ignore_patterns(
            ".*", "build", "dist", "*.so", "__pycache__", "*.egg-info"
        )
        shutil.copytree(ROOT, self.sources, ignore=unwanted)

    def install(self, name: str) -> Path:
        """Builds the sources as they are now and installs them into a folder of their own."""
        target = self.folder / name.replace(" ", "_").replace("'", "")
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-build-isolation",
            "--no-deps",
            "--disable-pip-version-check",
            "--target",
            target,
            "-C",
            f"build-dir={self.build}",
            self.sources,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name}: the build failed\n{done.stdout}\n{done.stderr}")
        return target

    def failing_tests(self, target: Path) -> list[str]:
        """Runs the fast tests against one installation until one fails."""
        environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
        found = subprocess.run(
            [sys.executable, "-c", "import deltarule; print(deltarule.__file__)"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=self.sources / "tests",
        ).stdout.strip()
        if not Path(found).is_relative_to(target):
            raise SystemExit(
                f"this environment has a deltarule of its own ({found}): use nox -s mutants"
            )
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-rfE",
            "--tb=no",
            *(f"tests/{name}" for name in FAST_TESTS),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=self.sources
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"pytest did not run\n{done.stdout}\n{done.stderr}")
        return re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)


def main(pattern: str = "") -> int:
    """Returns the number of survivors."""
    chosen = [mutant for mutant in MUTANTS if pattern in mutant.name]
    for mutant in chosen:
        count = (ROOT / mutant.file).read_text().count(mutant.before)
        if count != 1:
            raise SystemExit(
                f"{mutant.name}: this must occur once in {mutant.file}, found {count} times:\n"
                f"{mutant.before}"
            )
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        shop = Workshop(Path(folder))
        if failed := shop.failing_tests(shop.install("unchanged")):
            raise SystemExit(f"the sources fail before any mutation: {failed[0]}")
        print("unchanged sources: the tests pass", flush=True)
        for mutant in chosen:
            file = shop.sources / mutant.file
            original = file.read_text()
            file.write_text(original.replace(mutant.before, mutant.after))
            failed = shop.failing_tests(shop.install(mutant.name))
            file.write_text(original)
            survivors += not failed
            verdict = f"killed by {failed[0]}" if failed else "SURVIVED"
            print(f"{mutant.name} ({mutant.what}): {verdict}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return survivors


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) > 0)
