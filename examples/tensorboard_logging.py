"""Watch a training in TensorBoard: a callback of ten lines.

    python examples/tensorboard_logging.py [FOLDER]
    tensorboard --logdir runs

Needs a SummaryWriter: tensorboardX (`pip install tensorboardX tensorboard`), or PyTorch's.
"""

import sys

import numpy as np

import deltarule as dr


class TensorBoard:
    """Write the numbers of each epoch, and histograms of the weights."""

    def __init__(self, folder: str) -> None:
        self.writer = summary_writer(folder)

    def __call__(self, state: dr.callbacks.CallbackState) -> None:
        """Write what one epoch has brought."""
        for key, value in state.logs.items():
            self.writer.add_scalar(key, value, state.epoch)
        for i, layer in enumerate(state.network.layers):
            if layer.W is not None:
                self.writer.add_histogram(f"layers.{i}.W", layer.W, state.epoch)
        self.writer.flush()


def summary_writer(folder: str):
    """Return the SummaryWriter of whichever package there is."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            sys.exit("no SummaryWriter found: pip install tensorboardX tensorboard")
    return SummaryWriter(folder)


def main() -> None:
    board = TensorBoard(sys.argv[1] if len(sys.argv) > 1 else "runs/waves")
    X = np.linspace(-3, 3, 400).reshape(-1, 1)
    net = dr.Network([1, 32, 32, 1], activation="tanh", seed=0)
    history = net.fit(
        X,
        np.sin(X),
        optimizer=dr.Adam(0.01),
        epochs=50,
        validation_fraction=0.2,
        metrics=["r2"],
        callbacks=[board],
    )
    print(f"{history.n_epochs} epochs, validation R² = {history['val_r2'][-1]:.4f}")


if __name__ == "__main__":
    main()
