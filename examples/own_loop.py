"""A training loop of your own with `trainer.step`: learn a function whose data never ends.

Here every batch is drawn anew, and the weights of the samples ask for accuracy around zero.
"""

import numpy as np

import deltarule as dr


def main() -> float:
    rng = np.random.default_rng(0)
    net = dr.Network([1, 32, 32, 1], activation="tanh", seed=0)
    trainer = dr.Trainer(net, optimizer=dr.Adam(learning_rate=0.003))

    for step in range(1, 4001):
        X = rng.uniform(-3, 3, size=(64, 1))
        y = np.sin(X)
        loss = trainer.step(X, y, sample_weight=np.exp(-(X[:, 0] ** 2) / 2))
        if step % 1000 == 0:
            print(f"step {step:4d}   loss {loss:.6f}")

    X = np.linspace(-1, 1, 201).reshape(-1, 1)
    worst = float(abs(net.predict(X) - np.sin(X)).max())
    print(f"largest error on [-1, 1]: {worst:.4f}")
    return worst


if __name__ == "__main__":
    main()
