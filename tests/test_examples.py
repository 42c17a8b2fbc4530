"""Each example runs as a user would run it, and prints the numbers it promises."""

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def start(name, *arguments, path=""):
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(path)},
    )


def run(name, *arguments, path=""):
    done = start(name, *arguments, path=path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def last_number(pattern, text):
    return float(re.findall(pattern + r"\D*(-?\d+\.\d+(?:e-?\d+)?)", text)[-1])


def test_every_example_has_a_test():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "diabetes.py", "digits.py", "fashion_mnist.py", "own_loop.py", "plot_training.py",
        "scikit_learn.py", "tensorboard_logging.py", "watch_backpropagation.py",
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


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_fashion_mnist(tmp_path):
    """On bars of ten places instead of clothes: the data set is not part of the package."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 3000), ("t10k", 500)):
        y = rng.integers(0, 10, n).astype(np.uint8)
        X = rng.integers(0, 60, (n, 28, 28)).astype(np.uint8)
        for image, place in zip(X, y, strict=True):
            image[2 * place : 2 * place + 3] += 190
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", X)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", y)
    text = run("fashion_mnist.py", "--data", tmp_path, "--seeds", "2", "--epochs", "2")
    assert "3000 images to train on, 500 to test on" in text
    assert float(re.search(r"seed 1: deltarule (\d\.\d+) in", text)[1]) > 0.95


def test_fashion_mnist_without_data_says_where_to_get_them(tmp_path):
    done = start("fashion_mnist.py", "--data", tmp_path / "missing")
    assert done.returncode == 2
    assert "dataset-fashion-mnist" in done.stderr


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


def test_plot_training(tmp_path):
    pytest.importorskip("matplotlib")
    text = run("plot_training.py", tmp_path)
    assert re.search(r"best epoch \d+ of \d+", text)
    assert "healthy: nothing to warn of" in text
    assert "vanishing: vanishing: delta falls" in text
    pictures = ["flow_healthy.png", "flow_vanishing.png", "history.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == pictures
    for name in pictures:
        assert 5_000 < (tmp_path / name).stat().st_size < 60_000
        assert (EXAMPLES.parent / "docs" / "images" / name).exists()


STAND_IN = """
class SummaryWriter:
    def __init__(self, folder):
        self.folder = folder
    def add_scalar(self, key, value, epoch):
        print("scalar", key, float(value), int(epoch))
    def add_histogram(self, key, values, epoch):
        print("histogram", key, values.shape, int(epoch))
    def flush(self):
        pass
"""


def test_tensorboard_logging(tmp_path):
    """With a stand-in for the package, and without any."""
    (tmp_path / "tensorboardX.py").write_text(STAND_IN)
    lines = run("tensorboard_logging.py", tmp_path / "runs", path=tmp_path).splitlines()
    assert lines[-1].startswith("50 epochs, validation R² = 0.9")
    assert sum(line.startswith("scalar val_loss") for line in lines) == 50
    assert "histogram layers.1.W (32, 32) 50" in lines
    (tmp_path / "tensorboardX.py").write_text("raise ImportError")
    (tmp_path / "torch.py").write_text("raise ImportError")
    done = start("tensorboard_logging.py", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip() == "no SummaryWriter found: pip install tensorboardX tensorboard"
