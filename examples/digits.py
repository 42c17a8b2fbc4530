"""Classification of scikit-learn's handwritten digits: accuracy on a held-out quarter."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import deltarule as dr

SETTINGS = {"optimizer": dr.Adam(learning_rate=0.002), "epochs": 40, "batch_size": 32}


def train_and_score(seed: int) -> float:
    """Train on three quarters of the images; return the accuracy on the others."""
    X, y = load_digits(return_X_y=True)  # 8 x 8 pixels of 0 to 16; y is the digit itself
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.25, random_state=seed, stratify=y
    )
    net = dr.Network(
        [
            dr.Input(64),
            dr.Standardize(mean=0.0, scale=16.0),
            dr.Dense(64, "relu"),
            dr.Dropout(0.2),
            dr.Dense(10, "softmax"),
        ],
        seed=seed,
    )
    net.fit(X_train, y_train, **SETTINGS)
    return net.evaluate(X_test, y_test, metrics=["accuracy"])["accuracy"]


def main() -> float:
    print("64 pixels, one hidden layer of 64 relu units, dropout 0.2, softmax over 10 digits")
    for name, value in SETTINGS.items():
        print(f"  {name} = {value}")
    scores = []
    for seed in range(5):
        scores.append(train_and_score(seed))
        print(f"seed {seed}: held-out accuracy = {scores[-1]:.4f}")
    print(f"mean accuracy = {np.mean(scores):.4f}")
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
