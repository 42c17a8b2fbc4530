"""Fashion-MNIST, beside PyTorch: the same network, initialisation, batches and steps, five seeds.

    python examples/fashion_mnist.py [--data FOLDER] [--seeds 5] [--epochs 10]

Debian and Ubuntu have the images: apt install dataset-fashion-mnist. Without PyTorch (this was
written with 2.13) only deltarule trains.
"""

import argparse
import gzip
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

import deltarule as dr

try:
    import torch
except ImportError:
    torch = None

WIDTHS = [784, 256, 128, 10]
LEARNING_RATE, BATCH_SIZE = 0.001, 128


def read_idx(path: Path) -> np.ndarray:
    """Return the bytes of a gzipped IDX file: a number of dimensions, a shape, the data."""
    content = gzip.decompress(path.read_bytes())
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">i4", n_dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 784) from 0 to 1 in float32, and class numbers (n,)."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")
    return images.reshape(len(images), -1) / np.float32(255), labels.astype(np.int64)


def train_deltarule(train, test, seed: int, epochs: int) -> tuple[float, float]:
    """Return the seconds of the training and the accuracy on the test images."""
    started = time.perf_counter()
    layers = [dr.Dense(units, "relu", initializer="he_normal") for units in WIDTHS[1:-1]]
    last = dr.Dense(WIDTHS[-1], "softmax", initializer="glorot_normal")
    net = dr.Network([dr.Input(WIDTHS[0]), *layers, last], seed=seed)
    net.fit(*train, optimizer=dr.Adam(LEARNING_RATE), epochs=epochs, batch_size=BATCH_SIZE)
    seconds = time.perf_counter() - started
    return seconds, net.evaluate(*test, metrics=["accuracy"])["accuracy"]


def train_torch(train, test, seed: int, epochs: int) -> tuple[float, float]:
    """Do the same in PyTorch: tensors made before the clock, batches indexed, fused Adam."""
    X, y, X_test, y_test = (torch.from_numpy(part) for part in (*train, *test))
    torch.manual_seed(seed)
    started = time.perf_counter()
    parts = []
    for n_in, n_out in pairwise(WIDTHS):
        linear = torch.nn.Linear(n_in, n_out)
        torch.nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        torch.nn.init.zeros_(linear.bias)
        parts += [linear, torch.nn.ReLU()]
    torch.nn.init.xavier_normal_(parts[-2].weight)  # glorot_normal
    module = torch.nn.Sequential(*parts[:-1])
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(BATCH_SIZE):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(module(X[rows]), y[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        return seconds, float((module(X_test).argmax(dim=1) == y_test).float().mean())


def compare(results: list[tuple[float, float, float, float]]) -> None:
    """Print the mean paired difference of the accuracies, its standard error, and the times."""
    ours_seconds, ours, their_seconds, theirs = np.array(results).T
    difference = ours - theirs
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    print(f"accuracy: deltarule {ours.mean():.4f}, PyTorch {theirs.mean():.4f}")
    print(f"mean paired difference {difference.mean():+.4f}, standard error {error:.4f}")
    print(
        f"seconds: deltarule {np.median(ours_seconds):.1f}, PyTorch {np.median(their_seconds):.1f} "
        f"(medians): {np.median(their_seconds / ours_seconds):.2f} times as fast"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.exit(2, f"no folder {arguments.data}: apt install dataset-fashion-mnist\n")
    train, test = (read(arguments.data, part) for part in ("train", "t10k"))
    print(f"{len(train[0])} images to train on, {len(test[0])} to test on; network {WIDTHS}, relu")
    print(f"Adam({LEARNING_RATE}), batches of {BATCH_SIZE}, {arguments.epochs} epochs, {threads()}")
    results = []
    for seed in range(arguments.seeds):
        results.append(train_deltarule(train, test, seed, arguments.epochs))
        print(f"seed {seed}: deltarule {results[-1][1]:.4f} in {results[-1][0]:.1f} s", end="")
        if torch is not None:
            results[-1] += train_torch(train, test, seed, arguments.epochs)
            print(f"; PyTorch {results[-1][3]:.4f} in {results[-1][2]:.1f} s", end="")
        print(flush=True)
    if torch is not None:
        compare(results)
    else:
        print(f"mean accuracy = {np.mean([accuracy for _, accuracy in results]):.4f}")


def threads() -> str:
    theirs = f", PyTorch {torch.get_num_threads()}" if torch is not None else ""
    return f"threads: deltarule {dr.build_info()['n_threads']}{theirs}"


if __name__ == "__main__":
    main()
