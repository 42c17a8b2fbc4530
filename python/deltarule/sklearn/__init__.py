"""Multi-layer perceptrons for users of scikit-learn: change one import line.

``from deltarule.sklearn import MLPClassifier, MLPRegressor`` gives the classes of
``sklearn.neural_network`` with the same parameters, methods, attributes and meaning, trained by
deltarule's compiled loop. `from_sklearn` and ``estimator.to_sklearn()`` convert fitted models.
"""

try:
    import sklearn as _sklearn
except ImportError as error:
    raise ImportError(
        "deltarule.sklearn needs scikit-learn, which is not installed; "
        "install it with: pip install 'deltarule[sklearn]'"
    ) from error

from deltarule.sklearn._classifier import MLPClassifier
from deltarule.sklearn._convert import from_sklearn
from deltarule.sklearn._regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]

del _sklearn
