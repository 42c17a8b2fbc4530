"""Watch backpropagation: every z, a, δ and gradient of one step of a 2-3-1 network.

Each gradient is checked as it goes against central differences: nudge one weight up and down, see
how the loss changes, and compare.
"""

import numpy as np

import deltarule as dr

H = np.finfo(np.float64).eps ** (1 / 3)  # balances truncation and rounding of the differences


def show(equation: str, value: np.ndarray) -> None:
    """Print an equation and the array on its right, indented under one another."""
    lines = np.array2string(np.asarray(value), precision=5, suppress_small=True).splitlines()
    print(f"  {equation}")
    for line in lines:
        print(f"      {line}")


def differences(net: dr.Network, X: np.ndarray, y: np.ndarray, parameter: np.ndarray) -> np.ndarray:
    """∂L/∂parameter by central differences; `parameter` is a view of the network's memory."""
    result = np.zeros(parameter.shape)
    for i in np.ndindex(parameter.shape):
        kept = parameter[i]
        parameter[i] = kept + H
        above = net.evaluate(X, y)["loss"]
        parameter[i] = kept - H
        below = net.evaluate(X, y)["loss"]
        parameter[i] = kept
        result[i] = (above - below) / (2 * H)
    return result


def check(name: str, gradient: np.ndarray, numerical: np.ndarray) -> float:
    """Compare a gradient with central differences and say how well they agree."""
    error = float(abs(gradient - numerical).max() / abs(numerical).max())
    print(f"      {name} agrees with central differences to {error:.0e}")
    return error


def main() -> float:
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = np.array([[0.0], [1.0], [1.0], [0.0]])
    net = dr.Network([2, 3, 1], activation="tanh", dtype="float64", seed=1)
    trainer = dr.Trainer(net, loss="mse", optimizer=dr.SGD(learning_rate=0.1))
    (W1, b1), (W2, b2) = ((layer.W, layer.b) for layer in net.layers)
    errors = []

    t = net.trace(X, y)
    hidden, output = t.layers
    print("The network: 2 inputs, 3 tanh units, 1 output. The batch: the four rows of XOR.")
    show("X (4, 2)", X)
    show("W1 (3, 2)", W1)
    show("W2 (1, 3)", W2)

    print("\nForward, one row per sample")
    show("z1 = X W1ᵀ + b1", hidden.z)
    show("a1 = tanh(z1)", hidden.a)
    show("z2 = a1 W2ᵀ + b2", output.z)
    show("a2 = z2", output.a)
    print(f"  L = mean((a2 − y)²) = {t.loss:.6f}")

    print("\nBackward")
    show("δ2 = ∂L/∂z2 = 2 (a2 − y) / 4", output.delta)
    show("∂L/∂W2 = δ2ᵀ a1", output.dW)
    errors.append(check("∂L/∂W2", output.dW, differences(net, X, y, W2)))
    show("∂L/∂b2 = sum of δ2 over the batch", output.db)
    errors.append(check("∂L/∂b2", output.db, differences(net, X, y, b2)))
    show("δ1 = (δ2 W2) ⊙ (1 − a1²)          the delta recursion", hidden.delta)
    show("∂L/∂W1 = δ1ᵀ X", hidden.dW)
    errors.append(check("∂L/∂W1", hidden.dW, differences(net, X, y, W1)))
    show("∂L/∂b1 = sum of δ1 over the batch", hidden.db)
    errors.append(check("∂L/∂b1", hidden.db, differences(net, X, y, b1)))

    print("\nUpdate")
    trainer.step(X, y)
    show("W1 ← W1 − 0.1 ∂L/∂W1", W1)
    show("W2 ← W2 − 0.1 ∂L/∂W2", W2)
    print(f"  L = {t.loss:.6f} before the step, {net.evaluate(X, y)['loss']:.6f} after it")
    return max(errors)


if __name__ == "__main__":
    main()
