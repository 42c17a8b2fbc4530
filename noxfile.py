"""Sessions: lint, stubtest, tests, cpp, mutants, torch, bench. `nox` runs the first four."""

from pathlib import Path

import nox

nox.options.sessions = ["lint", "stubtest", "tests", "cpp"]

BUILD = nox.project.load_toml("pyproject.toml")["build-system"]["requires"]
STUBTEST = ["--allowlist", "tests/stubtest.allow", "--ignore-unused-allowlist"]
TOOLS = ["cmake>=3.24", "ninja"]
CPP = sorted(str(path) for suffix in ("hpp", "cpp") for path in Path("cpp").rglob(f"*.{suffix}"))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, layout of the C++ sources, spelling."""
    session.install("ruff", "mypy", "clang-format", "codespell", "numpy", "safetensors", "tqdm")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("clang-format", "--dry-run", "--Werror", *CPP)
    session.run("codespell")


@nox.session
def stubtest(session: nox.Session) -> None:
    """Compare the stubs of the compiled modules with the modules."""
    session.install("mypy", ".")
    for module in ("_cpu", "_core_v2", "_core_v3", "_core_v4"):
        session.run("stubtest", f"deltarule.{module}", *STUBTEST)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the Python tests against an installed package; arguments go to pytest."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def cpp(session: nox.Session) -> None:
    """Run the C++ tests, which need no Python package."""
    session.install(*TOOLS, *BUILD)
    session.run("cmake", "--preset", "release")
    session.run("cmake", "--build", "--preset", "release")
    session.run("ctest", "--preset", "release")


@nox.session
def mutants(session: nox.Session) -> None:
    """Break a copy of the sources five ways: the tests must notice each one."""
    session.install(*TOOLS, *BUILD)
    project = nox.project.load_toml("pyproject.toml")["project"]
    session.install(*project["dependencies"], *project["optional-dependencies"]["test"])
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session
def torch(session: nox.Session) -> None:
    """Compare the optimisers' steps with PyTorch's."""
    session.install(".[test]", "torch")
    session.run("python", "-m", "pytest", "tests/torch_rules.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Race against other libraries: checks the results, judges no time."""
    session.install(".[bench]")
    for race in ("train", "predict", "kernels", "startup", "estimators", "tables"):
        session.run("python", "-m", f"benchmarks.{race}", *(session.posargs or ["--quick"]))
