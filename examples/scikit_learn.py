"""A script written for scikit-learn's neural networks: only its import line was changed.

Every other line is what it was with ``from sklearn.neural_network import MLPClassifier,
MLPRegressor``, and the script still runs with that line: a grid search over a pipeline, early
stopping, a warm start, and a model saved with joblib and loaded again.
"""

import tempfile
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deltarule.sklearn import MLPClassifier, MLPRegressor


def grid_search(X_train, y_train) -> GridSearchCV:
    """Choose width and penalty by cross-validation; the winner is trained on all rows."""
    model = make_pipeline(
        StandardScaler(),
        MLPClassifier(learning_rate_init=0.005, max_iter=30, tol=1e-3, random_state=0),
    )
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(16,), (64,)],
        "mlpclassifier__alpha": [1e-4, 0.1],
    }
    return GridSearchCV(model, grid, cv=3).fit(X_train, y_train)


def early_stopping(X_train, y_train) -> TransformedTargetRegressor:
    """Stop when a tenth of the rows, held out, is not predicted better for ten epochs."""
    network = MLPRegressor(
        hidden_layer_sizes=(32,),
        learning_rate_init=0.01,
        max_iter=500,
        early_stopping=True,
        random_state=0,
    )
    model = make_pipeline(StandardScaler(), network)
    return TransformedTargetRegressor(model, transformer=StandardScaler()).fit(X_train, y_train)


def warm_start(X_train, y_train, X_test, y_test) -> list[float]:
    """Train five epochs at a time and look at the accuracy in between."""
    model = MLPClassifier((32,), max_iter=5, warm_start=True, random_state=0)
    return [model.fit(X_train / 16, y_train).score(X_test / 16, y_test) for _ in range(4)]


def main() -> dict[str, float]:
    # Thirty epochs of a grid search need not converge, nor five of a warm start.
    warnings.simplefilter("ignore", ConvergenceWarning)
    digits = train_test_split(*load_digits(return_X_y=True), random_state=0)
    X_train, X_test, y_train, y_test = digits

    search = grid_search(X_train, y_train)
    for settings, mean in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        shown = ", ".join(f"{name.split('__')[1]} = {value}" for name, value in settings.items())
        print(f"{shown:<45} accuracy of 3 folds = {mean:.4f}")
    accuracy = search.score(X_test, y_test)
    print(f"the best of these on held-out digits: accuracy = {accuracy:.4f}\n")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.joblib"
        joblib.dump(search.best_estimator_, path)
        loaded = joblib.load(path)
        print(f"saved in {path.stat().st_size / 1024:.0f} KiB and loaded again")
    same = np.array_equal(loaded.predict_proba(X_test), search.predict_proba(X_test))
    print(f"the loaded model gives the same probabilities: {same}\n")

    scores = warm_start(X_train, y_train, X_test, y_test)
    for epochs, score in zip((5, 10, 15, 20), scores, strict=True):
        print(f"warm start, {epochs:2d} epochs: accuracy = {score:.4f}")

    rows = train_test_split(*load_diabetes(return_X_y=True), random_state=0)
    X_train, X_test, y_train, y_test = rows
    model = early_stopping(X_train, y_train)
    network = model.regressor_[-1]
    print(f"\nearly stopping after {network.n_iter_} epochs of at most {network.max_iter},")
    print(f"best held-out R² within the fit = {network.best_validation_score_:.3f}")
    r2 = model.score(X_test, y_test)
    print(f"on patients never seen: R² = {r2:.3f}")
    return {"accuracy": accuracy, "last": scores[-1], "r2": r2, "same": float(same)}


if __name__ == "__main__":
    main()
