"""scikit-learn's own judgement: its checks of estimators, and its tests of its own two classes."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("sklearn", minversion="1.9")

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_helpers import MLPClassifier, MLPRegressor

pytestmark = [
    # What scikit-learn's own two classes warn of in these checks: too few iterations, lone rows.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]

THEIR_TESTS = "sklearn.neural_network.tests.test_mlp"
PLUGIN = """
import sklearn.neural_network
from deltarule.sklearn import MLPClassifier, MLPRegressor
sklearn.neural_network.MLPClassifier = MLPClassifier
sklearn.neural_network.MLPRegressor = MLPRegressor
"""


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
def test_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_scikit_learns_tests_of_its_own_classes(tmp_path):
    """`sklearn/neural_network/tests/test_mlp.py` as it is installed, given our classes."""
    pytest.importorskip(THEIR_TESTS)
    (tmp_path / "our_classes.py").write_text(PLUGIN)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    command = ["-m", "pytest", "-q", "-p", "our_classes", "-p", "no:cacheprovider"]
    done = subprocess.run(
        # test_gradient calls a private method with arrays that only their implementation has.
        [sys.executable, *command, "-k", "not test_gradient", "--pyargs", THEIR_TESTS],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) >= 50
