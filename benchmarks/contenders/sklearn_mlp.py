"""scikit-learn's MLPRegressor and MLPClassifier, through `fit` with a warm start and `predict`.

Its squared error is half the sum over the outputs, ours the mean: its learning rate is scaled.
"""

from __future__ import annotations

import warnings

import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from benchmarks import networks
from benchmarks.contenders import Cannot

warnings.simplefilter("ignore", ConvergenceWarning)


def version() -> str:
    return sklearn.__version__


def model(task, X, y):
    """A model with the task's initial weights, made ready by one step that hardly moves."""
    if task.extra or task.optimizer == "adamw":
        raise Cannot(f"has no {task.extra or task.optimizer}")
    regression = task.loss == "mse"
    rate = task.learning_rate * (2 / task.sizes[-1] if regression else 1)
    made = (MLPRegressor if regression else MLPClassifier)(
        hidden_layer_sizes=task.sizes[1:-1],
        activation=task.activation,
        solver=task.optimizer,
        alpha=0.0,
        batch_size=len(X),
        learning_rate_init=1e-9,
        max_iter=1,
        shuffle=task.shuffle,
        random_state=0,
        tol=0.0,
        warm_start=True,
        momentum=0.0,
        nesterovs_momentum=False,
        n_iter_no_change=10**9,
        beta_1=networks.BETA1,
        beta_2=networks.BETA2,
        epsilon=networks.EPSILON,
    )
    made.fit(X, y)
    made.set_params(batch_size=min(task.batch, len(X)), learning_rate_init=rate)
    if made.n_outputs_ != task.sizes[-1]:
        raise Cannot(f"takes the classes that occur, {made.n_outputs_} here")
    set_weights(made, networks.weights(task))
    return made


def set_weights(made, layers):
    made.coefs_ = [W.copy() for W, _ in layers]
    made.intercepts_ = [b.copy() for _, b in layers]


class Train:
    def __init__(self, task, variant, n_threads):
        if len(task.sizes) < 3:
            raise Cannot("has one hidden layer at least")
        self.X, self.y = networks.data(task)
        if self.y.ndim == 2 and self.y.shape[1] == 1:
            self.y = self.y.ravel()
        self.layers, self.model = networks.weights(task), model(task, self.X, self.y)

    def reset(self):
        set_weights(self.model, self.layers)

    def run(self, count):
        self.model.max_iter = count
        self.model.fit(self.X, self.y)

    def theta(self):
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return networks.flatten(pairs)


class Predict:
    def __init__(self, task, variant, n_threads):
        self.X, _y = networks.data(task)
        more = networks.Task("predict", "", task.sizes, 4096, task.optimizer)
        X_fit, y_fit = networks.data(more)
        made = model(task, X_fit, y_fit.ravel() if y_fit.shape[-1] == 1 else y_fit)
        self.predict = made.predict if task.loss == "mse" else made.predict_proba
        self.last_column = task.loss == "binary_cross_entropy"
        self.shape = (task.batch, task.sizes[-1])

    def reset(self):
        pass

    def run(self, count):
        for _ in range(count):
            self.last = self.predict(self.X)

    def result(self):
        last = self.last[:, 1] if self.last_column else self.last
        return last.reshape(self.shape)
