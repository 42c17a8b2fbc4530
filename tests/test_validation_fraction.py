"""validation_fraction: which rows are held out, and that it is nothing but validation_data."""

import numpy as np
import pytest

import deltarule as dr
from deltarule import _split
from deltarule._dispatch import core
from helpers import problem, rng, run_python

LOSSES = {
    "mse": dr.losses.MSE(),
    "cross_entropy": dr.losses.CrossEntropy(),
    "focal": dr.losses.Focal(),
    "binary_cross_entropy": dr.losses.BinaryCrossEntropy(),
    "hinge": dr.losses.Hinge(),
}


def split(fraction, y, loss="mse", seed=0):
    y = np.asarray(y)
    return _split.hold_out(fraction, LOSSES[loss], y.reshape(len(y), -1), seed)


def classifier(seed=0, n_classes=3, dtype="float64"):
    layers = [dr.Input(4), dr.Standardize(), dr.Dense(8, "relu"), dr.Dropout(0.2)]
    return dr.Network([*layers, dr.Dense(n_classes, "softmax")], dtype=dtype, seed=seed)


def classes(n=120, shares=(0.7, 0.2, 0.1)):
    """Rows in groups, so that a split without strata would seldom be right."""
    X = rng(n).normal(size=(n, 4))
    y = np.repeat(np.arange(len(shares)), np.round(np.array(shares) * n).astype(int))
    return X, y[rng(1).permutation(len(y))]


# ---- which rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 7, 10, 101, 1000])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_every_row_is_in_one_part_and_the_number_is_rounded(n, fraction):
    expected = min(int(np.floor(n * fraction + 0.5)), n - 1)
    if not expected:
        with pytest.raises(ValueError, match=f"validation_fraction={fraction:g} of {n} rows"):
            split(fraction, np.zeros(n))
        return
    train, validation = split(fraction, np.zeros(n))
    assert len(validation) == expected
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(n))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.75])
def test_each_class_gives_its_share_and_keeps_a_row(fraction, loss):
    counts = np.array([1, 1, 2, 3, 5, 10, 50, 333])
    y = rng(3).permutation(np.repeat(np.arange(8), counts))
    for labels in (y, y.astype(float), np.eye(8)[y], 7 - y):
        _, validation = split(fraction, labels, loss)
        of_class = np.bincount(y[validation], minlength=8)
        assert (of_class >= np.floor(counts * fraction)).all()
        assert (of_class <= np.ceil(counts * fraction)).all()
        assert (of_class < counts).all()
        total = np.floor(counts.sum() * fraction + 0.5)
        full = (of_class < np.ceil(counts * fraction)) & (of_class + 1 == counts)
        assert total - full.sum() <= of_class.sum() <= total
        assert fraction > 0.5 or of_class.sum() == total


@pytest.mark.parametrize(
    ("loss", "low", "high"), [("binary_cross_entropy", 0.0, 1.0), ("hinge", -1.0, 1.0)]
)
def test_yes_and_no_are_classes(loss, low, high):
    y = np.where(np.arange(100) < 10, high, low)
    _, validation = split(0.3, y, loss)
    assert (y[validation] == high).sum() == 3
    several = np.stack([y, y], axis=1)  # several labels a row: no classes
    assert np.array_equal(split(0.3, several, loss)[1], split(0.3, y, "mse")[1])


def test_many_small_classes_give_rows_too():
    """Each has two rows and gives 0 or 1: which ones is drawn."""
    y = np.repeat(np.arange(100), 2)
    first, second = (split(0.2, y, "cross_entropy", seed)[1] for seed in (0, 1))
    assert len(first) == len(second) == 40
    assert len({*y[first]}) == 40
    assert {*y[first]} != {*y[second]}


def test_classes_of_one_row_only_leave_none():
    with pytest.raises(ValueError, match="of 5 rows of 5 classes leaves no row to validate on"):
        split(0.4, np.arange(5), "cross_entropy")


def test_the_split_is_a_function_of_the_seed_for_ever():
    """The numbers are from a model of the rule in Python, with NumPy's Philox for stream 3."""
    assert core.split_order(10, 0).tolist() == order_by_numpy(10, 0)
    assert core.split_order(100, 2**64 - 1).tolist() == order_by_numpy(100, 2**64 - 1)
    assert not np.array_equal(core.split_order(100, 1), core.row_order(100, 1, 0))
    _, validation = split(0.3, np.zeros(10), seed=0)
    assert sorted(order_by_numpy(10, 0)[:3]) == validation.tolist()
    assert not np.array_equal(split(0.3, np.zeros(100), seed=1), split(0.3, np.zeros(100), seed=2))


def mix(value, key):
    """As in cpp/src/random.cpp."""
    x = value ^ key
    x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
    x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
    return x ^ x >> 16


def order_by_numpy(n, seed):
    words = [w for i in (0, 1) for w in core.philox((0, i, 0, 0), (seed, 3))]
    keys = [word % 2**32 for word in words[:6]]
    bits = max(6, (n - 1).bit_length())
    high_bits = bits // 2
    low_bits = bits - high_bits

    def permute(value):
        low, high = value % 2**low_bits, value >> low_bits
        for i in (0, 2, 4):
            high ^= mix(low, keys[i]) % 2**high_bits
            low ^= mix(high, keys[i + 1]) % 2**low_bits
        return high << low_bits | low

    order = []
    for value in range(n):
        value = permute(value)
        while value >= n:
            value = permute(value)
        order.append(value)
    return order


# ---- a fit with it is a fit on the parts --------------------------------------------------------


def sparse(X):
    return pytest.importorskip("scipy.sparse").csr_matrix(X)


@pytest.mark.parametrize("form", ["array", "list", "fortran", "int8", "sparse"])
@pytest.mark.parametrize("weighted", [None, "sample", "balanced", "both"])
def test_the_bits_of_a_fit_on_the_parts(form, weighted):
    X, y = classes()
    X = np.round(4 * X) if form == "int8" else X
    given = {"list": X.tolist, "fortran": lambda: np.asfortranarray(X),
             "int8": lambda: X.astype(np.int8), "sparse": lambda: sparse(X)}  # fmt: skip
    w = rng(5).uniform(0.5, 2.0, len(y))
    settings = {"epochs": 6, "batch_size": 16, "metrics": ["accuracy", plain_error], "seed": 4}
    settings |= {"class_weight": "balanced"} if weighted in ("balanced", "both") else {}
    whole, parts = classifier(), classifier()
    has_weight = weighted in ("sample", "both")
    history = whole.fit(
        given.get(form, lambda: X)(), y.tolist() if form == "list" else y,
        sample_weight=w if has_weight else None, validation_fraction=0.3, **settings,
    )  # fmt: skip
    train, validation = split(0.3, y, "cross_entropy", 4)
    held = (X[validation], y[validation], *([w[validation]] if has_weight else []))
    expected = parts.fit(
        X[train], y[train], sample_weight=w[train] if has_weight else None,
        validation_data=held, **settings,
    )  # fmt: skip
    assert np.array_equal(whole.theta, parts.theta)
    assert np.array_equal(whole.layers[0].mean, parts.layers[0].mean)
    assert list(history) == list(expected)
    for key in expected:
        assert key == "seconds" or np.array_equal(history[key], expected[key]), key


def plain_error(y_true, y_pred):
    assert not y_true.flags.writeable
    return float(abs(y_pred.argmax(axis=1) - y_true[:, 0]).mean())


def test_validation_rows_are_never_trained_on():
    X, Y = problem(60)
    _, validation = split(0.25, Y[:, 0], seed=9)
    other_X, other_Y = X.copy(), Y.copy()
    other_X[validation] += 100
    other_Y[validation] -= 7
    results = []
    for data in ((X, Y), (other_X, other_Y)):
        net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()], seed=1)
        history = net.fit(*data, epochs=5, validation_fraction=0.25, seed=9)
        results.append((net.theta.tobytes(), history["loss"].tobytes()))
        results.append(history["val_loss"])
    assert results[0] == results[2]
    assert (results[1] != results[3]).all()


def test_two_fits_hold_out_the_same_rows():
    X, y = classes()
    net = classifier(seed=6)
    history = net.fit(X, y, validation_fraction=0.3, epochs=1)
    _, validation = split(0.3, y, "cross_entropy", 6)  # net.seed, whatever net.n_steps is
    last = net.fit(X, y, validation_fraction=0.3, epochs=1)["val_loss"][-1]
    assert history.n_epochs == 1
    assert net.evaluate(X[validation], y[validation])["loss"] == last


def test_the_runs_of_a_trainer_hold_out_the_same_rows(tmp_path):
    X, y = classes()
    settings = {"validation_fraction": 0.3, "epochs": 8, "keep_best": True}
    whole, paused = (dr.Trainer(classifier(), seed=2) for _ in range(2))
    expected = whole.run(X, y, **settings)
    while paused.run(X, y, max_steps=3, **settings).stopped_by == "max_steps":
        paused.save(tmp_path / "t.safetensors")
        paused = dr.Trainer.resume(tmp_path / "t.safetensors")
    assert np.array_equal(whole.network.theta, paused.network.theta)
    assert np.array_equal(expected["val_loss"], paused.history["val_loss"])
    assert whole.best_epoch == paused.best_epoch == expected.best_epoch


def test_the_number_of_threads_does_not_matter():
    X, Y = problem(900, 40, 8)
    results = []
    for n_threads in (1, 2, 5):
        net = dr.Network([40, 96, 64, 8], seed=0)
        history = net.fit(X, Y, epochs=2, batch_size=300, validation_fraction=0.4,
                          n_threads=n_threads, metrics=["r2"])  # fmt: skip
        results.append((net.theta.tobytes(), history["val_loss"].tobytes(), *history["val_r2"]))
    assert results[0] == results[1] == results[2]


def test_memory_grows_by_row_numbers_only():
    grown = run_python(
        """
        import json, resource
        import numpy as np
        import deltarule as dr
        n, width = 200_000, 100
        X, y = np.zeros((n, width)), np.zeros(n)  # 160 MB
        X[:] = 1.0
        net = dr.Network([width, 4, 1], seed=0)
        net.fit(X[:100], y[:100], epochs=1, validation_fraction=0.5)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        net.fit(X, y, epochs=1, batch_size=1000, validation_fraction=0.5)
        print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
        """
    )
    assert grown < 40_000  # KiB: some arrays of n numbers, not X


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 0.0, 1, 1.0, -0.2, 1.5, float("nan"), float("inf")])
def test_bad_fractions_are_refused(bad):
    net = classifier()
    before = net.theta.copy()
    for train in (net.fit, dr.Trainer(net).run):
        with pytest.raises(ValueError, match="validation_fraction must be a finite number > 0"):
            train(*classes(), validation_fraction=bad)
    assert np.array_equal(net.theta, before)
    assert not net.layers[0].fitted


@pytest.mark.parametrize("bad", ["0.2", True, [0.2], (0.1, 0.2)])
def test_what_is_no_fraction_is_refused(bad):
    with pytest.raises(TypeError, match="validation_fraction"):
        classifier().fit(*classes(), validation_fraction=bad)


def test_not_both():
    X, y = classes()
    with pytest.raises(ValueError, match="validation_data or validation_fraction, not both"):
        classifier().fit(X, y, validation_data=(X, y), validation_fraction=0.2)


def test_too_few_rows():
    X, y = classes()
    for n in (1, 2):
        with pytest.raises(ValueError, match=f"of {n} row"):
            classifier().fit(X[:n], y[:n], validation_fraction=0.2)


@pytest.mark.parametrize(("part", "name"), [(0, "train"), (1, "validate")])
def test_a_part_without_weight_is_refused(part, name):
    X, y = classes()
    w = np.ones(len(y))
    w[split(0.3, y, "cross_entropy")[part]] = 0
    with pytest.raises(ValueError, match=f"rows to {name} on whose sample_weight is all zero"):
        classifier().fit(X, y, sample_weight=w, validation_fraction=0.3)


@pytest.mark.parametrize("part", [0, 1])
def test_faults_are_named_by_the_users_row(part):
    X, y = classes()
    row = int(split(0.3, y, "cross_entropy")[part][5])
    X[row, 2] = np.nan
    net = classifier()
    with pytest.raises(ValueError, match=f"X must be finite, got nan at row {row}, column 2"):
        net.fit(X, y, validation_fraction=0.3)
    X[row, 2] = 0
    w = np.ones(len(y))
    yes = np.where(y == 0, 0.0, 1.0)
    yes[row] = -1.0 if y[row] == 0 else 2.0  # its class is as it was
    few = dr.Network([4, 1], output="sigmoid", seed=0)
    with pytest.raises(ValueError, match=rf"y must .* at row {row}\b"):
        few.fit(X, yes, sample_weight=w, validation_fraction=0.3)
    assert net.n_steps == few.n_steps == 0
