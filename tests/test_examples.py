"""Each example runs as a user would run it, and prints the numbers it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def last_number(pattern, text):
    return float(re.findall(pattern + r"\D*(-?\d+\.\d+(?:e-?\d+)?)", text)[-1])


def test_every_example_has_a_test():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "diabetes.py", "digits.py", "own_loop.py", "scikit_learn.py", "watch_backpropagation.py",
    }  # fmt: skip


def test_diabetes():
    pytest.importorskip("sklearn")
    text = run("diabetes.py")
    assert len(re.findall(r"seed \d: held-out R² = ", text)) == 5
    assert last_number("mean R² =", text) >= 0.40


def test_digits():
    pytest.importorskip("sklearn")
    text = run("digits.py")
    assert len(re.findall(r"seed \d: held-out accuracy = ", text)) == 5
    assert last_number("mean accuracy =", text) >= 0.96


def test_own_loop():
    assert last_number("largest error", run("own_loop.py").replace("[-1, 1]", "")) < 0.05


def test_watch_backpropagation():
    text = run("watch_backpropagation.py")
    errors = [float(e) for e in re.findall(r"agrees with central differences to (\S+)", text)]
    assert len(errors) == 4
    assert max(errors) < 1e-6
    for word in ("z1 =", "a1 =", "δ2 =", "δ1 =", "∂L/∂W1", "∂L/∂b1", "W1 ←"):
        assert word in text
    before, after = map(float, re.search(r"L = (\S+) before the step, (\S+) after", text).groups())
    assert after < before
