"""CSR and CSC input: the same bits as dense rows, and never all rows at once."""

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from scipy import sparse

from helpers import run_python
from sklearn_helpers import (
    EITHER,
    KINDS,
    UNCONVERGED,
    MLPClassifier,
    estimator,
    inputs,
    outputs,
    parameters,
    problem,
    same_bits,
    target,
)

pytestmark = UNCONVERGED

FORMATS = {
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
}
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 5, "batch_size": 32, "random_state": 2}


def holed(X, dtype=np.float64):
    """X with two thirds zeros, some rows all zero."""
    X = np.where(np.random.default_rng(6).random(X.shape) < 1 / 3, X, 0.0).astype(dtype)
    X[[0, 40, 129]] = 0.0
    return X


def assert_same(made, dense, X, X_sparse):
    assert same_bits(made, dense)
    assert np.array_equal(made.predict(X_sparse), dense.predict(X))
    assert np.array_equal(outputs(made, X_sparse), outputs(dense, X))
    assert np.array_equal(outputs(made, X), outputs(dense, X))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_as_dense(kind, name):
    X, y = holed(inputs()), target(kind)
    X_sparse = FORMATS[name](X)
    dense = estimator(kind, **SMALL).fit(X, y)
    made = estimator(kind, **SMALL).fit(X_sparse, y)
    assert_same(made, dense, X, X_sparse)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle": False},
        {"solver": "sgd"},
        {"solver": "lbfgs", "batch_size": "auto"},
        {"early_stopping": True, "validation_fraction": 0.3},
    ],
    ids=str,
)
@EITHER
def test_the_same_bits_with_other_settings(cls, settings, name):
    X, y = problem(cls)
    X = holed(X)
    dense = cls(**SMALL | settings).fit(X, y)
    made = cls(**SMALL | settings).fit(FORMATS[name](X), y)
    assert_same(made, dense, X, FORMATS[name](X))
    if "early_stopping" in settings:
        assert made.validation_scores_ == dense.validation_scores_


@EITHER
@pytest.mark.parametrize("name", FORMATS)
def test_float32(cls, name):
    X, y = problem(cls)
    X = holed(X, np.float32)
    dense, made = cls(**SMALL).fit(X, y), cls(**SMALL).fit(FORMATS[name](X), y)
    assert made.coefs_[0].dtype == np.float32
    assert_same(made, dense, X, FORMATS[name](X))


@EITHER
@pytest.mark.parametrize("name", FORMATS)
def test_partial_fit(cls, name):
    X, y = problem(cls)
    X = holed(X)
    more = {"classes": [0, 1, 2]} if cls is MLPClassifier else {}
    dense, made = cls(**SMALL), cls(**SMALL)
    for rows in (slice(0, 70), slice(70, 130), slice(0, 130)):
        dense.partial_fit(X[rows], y[rows], **more)
        made.partial_fit(FORMATS[name](X)[rows], y[rows], **more)
    assert_same(made, dense, X, FORMATS[name](X))


@EITHER
def test_sample_weights(cls):
    X, y = problem(cls)
    X, weight = holed(X), np.random.default_rng(1).uniform(0, 2, len(X))
    dense = cls(**SMALL).fit(X, y, sample_weight=weight)
    assert same_bits(cls(**SMALL).fit(sparse.csr_array(X), y, sample_weight=weight), dense)


@EITHER
def test_unsorted_repeated_and_stored_zeros(cls):
    """Entries in any order, two for one place, and zeros that are stored."""
    X, y = problem(cls)
    X = holed(X)
    triplets = sparse.coo_array(X)
    order = np.random.default_rng(2).permutation(triplets.nnz)
    order = order[np.argsort(triplets.row[order], kind="stable")]
    rows, columns, values = triplets.row[order], triplets.col[order], triplets.data[order]
    rows = np.concatenate([rows, rows, [0, 0]])
    columns = np.concatenate([columns, columns, [1, 3]])
    values = np.concatenate([values / 2, values / 2, [0.0, 0.0]])
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(len(X) + 1))
    messy = sparse.csr_array((values[order], columns[order], starts), shape=X.shape)
    assert not messy.has_canonical_format
    kept = [part.copy() for part in (messy.data, messy.indices, messy.indptr)]
    made, dense = cls(**SMALL).fit(messy, y), cls(**SMALL).fit(X, y)
    assert same_bits(made, dense)
    assert np.array_equal(outputs(made, messy), outputs(dense, X))
    for part, before in zip((messy.data, messy.indices, messy.indptr), kept, strict=True):
        assert np.array_equal(part, before)


@EITHER
@pytest.mark.parametrize("integers", [np.int32, np.int64])
def test_both_widths_of_indices(cls, integers):
    X, y = problem(cls)
    X = holed(X)
    wide = sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(integers), wide.indptr.astype(integers)
    assert same_bits(cls(**SMALL).fit(wide, y), cls(**SMALL).fit(X, y))


@EITHER
def test_other_formats_are_converted(cls):
    X, y = problem(cls)
    X = holed(X)
    dense = cls(**SMALL).fit(X, y)
    for convert in (sparse.coo_array, sparse.lil_array, sparse.dok_array, sparse.bsr_array):
        assert same_bits(cls(**SMALL).fit(convert(X), y), dense)


@EITHER
def test_nan_in_a_sparse_matrix_is_refused(cls):
    X, y = problem(cls)
    bad = sparse.csr_array(holed(X))
    bad.data[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        cls(**SMALL).fit(bad, y)
    with pytest.raises(ValueError, match="NaN"):
        cls(**SMALL).fit(X, y).predict(bad)


def test_sparse_multilabel_targets():
    X, y = inputs(), target("multilabel")
    dense = MLPClassifier(**SMALL).fit(X, y)
    made = MLPClassifier(**SMALL).fit(X, sparse.csr_matrix(y))
    assert np.array_equal(parameters(made), parameters(dense))
    predicted = made.predict(X)
    predicted = predicted.toarray() if sparse.issparse(predicted) else predicted
    assert np.array_equal(predicted, dense.predict(X))


def test_the_whole_is_never_made_dense():
    """2000 x 100 000 numbers are 1.6 GB; one batch of 50 rows is 40 MB."""
    grown = run_python(
        """
        import json, resource, warnings
        import numpy as np
        from scipy import sparse
        from deltarule.sklearn import MLPRegressor
        warnings.simplefilter("ignore")
        X = sparse.random_array((2000, 100_000), density=2e-4, rng=np.random.default_rng(0))
        X, y = X.tocsr(), np.arange(2000.0) % 3
        made = MLPRegressor(hidden_layer_sizes=(2,), batch_size=50, max_iter=1, random_state=0)
        made.fit(X[:50], y[:50]).predict(X[:50])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        made.fit(X, y)
        made.partial_fit(X.tocsc(), y)
        made.predict(X)
        print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
        """
    )
    assert grown < 500  # MB
