"""See a training, and see what flows through a network: pictures as PNG files.

    python examples/plot_training.py [FOLDER]

Needs matplotlib (`pip install 'deltarule[plot]'`). The pictures of docs/training.md come from here.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import deltarule as dr


def noisy_waves(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n, 10), and targets that a large network will learn by heart, noise and all."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 10))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.normal(0, 0.5, n)


def sigmoids(n_inputs: int, n_hidden: int, scale: float) -> dr.Network:
    """Make a deep network of sigmoids, with weights from a normal distribution."""
    net = dr.Network([n_inputs, *[64] * n_hidden, 1], activation="sigmoid", seed=0)
    rng = np.random.default_rng(1)
    for layer in net.layers:
        layer.W[:] = rng.normal(0, scale, layer.W.shape)
    return net


def shrink(path: Path) -> None:
    """Reduce a picture to 64 colours, for a web page: a third of the bytes."""
    Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    X, y = noisy_waves(600, seed=0)

    net = dr.Network([10, 64, 64, 1], activation="relu", seed=0)
    history = net.fit(
        X, y, epochs=200, validation_fraction=0.25, metrics=["r2"], tol=0.0, patience=40,
        restore_best=True,
    )  # fmt: skip
    history.plot(folder / "history.png")
    print(f"best epoch {history.best_epoch} of {history.n_epochs}")

    deep = dr.Network([10, *[64] * 7, 1], activation="relu", seed=0)  # He's initialisation
    vanishing = sigmoids(10, 7, scale=0.01)  # too small: a sigmoid's slope is 1/4 at most
    for name, each in (("healthy", deep), ("vanishing", vanishing)):
        ax = each.plot_flow(X[:200], y[:200], path=folder / f"flow_{name}.png")
        print(f"{name}: {ax.figure.axes[1].get_title(loc='right') or 'nothing to warn of'}")
    for path in ("history.png", "flow_healthy.png", "flow_vanishing.png"):
        shrink(folder / path)


if __name__ == "__main__":
    main()
