"""Calls so small that they go straight into the core: the bits and the errors of all others."""

import tracemalloc

import numpy as np
import pytest

import deltarule as dr
from helpers import VALID, dense, rng, targets

DTYPES = ["float32", "float64"]
SWAPPED = {"float32": ">f4", "float64": ">f8"}  # an array that only the other way takes


def network(dtype="float32", dropout=None):
    return dense((3, 8, 5, 2), ("tanh", "silu", "identity"), dtype=dtype, dropout=dropout)


def rows(n, width=3, dtype="float32", seed=0):
    return rng(seed, n).normal(size=(n, width)).astype(dtype)


@pytest.fixture
def straight(monkeypatch):
    """From now on a call that does not go straight into the core fails."""

    def fail(name, value):
        raise AssertionError(f"{name} was checked in Python")

    return lambda: monkeypatch.setattr("deltarule._validation.numbers", fail)


# ---- predict ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_predict_has_the_bits_of_the_long_way(straight, dtype):
    net = dense((3, 8, 5, 2), ("tanh", "softmax", "exp"), dtype=dtype)
    cases = []
    for n in (1, 2, 7, 33, 63, 64):
        X = rows(n, dtype=dtype)
        expected = net.predict(X, n_threads=1)
        for other in (X.tolist(), np.asfortranarray(X), X.astype(SWAPPED[dtype])):
            assert net.predict(other).tobytes() == expected.tobytes()
        cases.append((X, expected))
    straight()
    for X, expected in cases:
        result, out = net.predict(X), np.full_like(expected, np.nan)
        assert result.tobytes() == expected.tobytes()
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        assert net.predict(X, out=out) is out
        assert out.tobytes() == expected.tobytes()
        X.flags.writeable = False
        assert net.predict(X).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(3, 8, 2), (17, 90, 90, 1), (64, 800, 640, 4), (1, 1), (257, 5)])
def test_rows_have_the_bits_of_the_batch(sizes, dtype):
    """On both sides of the limits: 64 rows, and half a million multiplications."""
    net = dr.Network(list(sizes), activation="elu", dtype=dtype, seed=0)
    X = rows(150, sizes[0], dtype)
    whole = net.predict(X)
    for step in (1, 5, 64, 65):
        parts = [net.predict(X[i : i + step]) for i in range(0, 150, step)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_predict_follows_theta_and_statistics():
    """Nothing is remembered from call to call."""
    net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()], seed=0)
    X = rows(5)
    before = net.predict(X)
    net.fit(7 * rows(50, seed=1) + 3, rows(50, 2), epochs=1)
    after = net.predict(X)
    assert not np.array_equal(after, before)
    assert after.tobytes() == net.predict(X, n_threads=1).tobytes()
    net.theta[:] = 0
    assert net.predict(X).tobytes() == net.predict(X, n_threads=1).tobytes()


@pytest.mark.parametrize("n", [6, 64, 65, 300])
def test_out_may_be_the_input(n):
    net = dense((3, 8, 3), ("tanh", "identity"), dtype="float32")
    X = rows(n)
    expected = net.predict(X.copy())
    assert net.predict(X, out=X) is X
    assert X.tobytes() == expected.tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_in_its_row(straight, bad):
    net, X = network(), rows(9)
    expected = net.predict(X)
    X[4, 1] = bad
    long_way = net.predict(X, n_threads=1)
    straight()
    result = net.predict(X)
    assert result.tobytes() == long_way.tobytes()
    assert np.isnan(result[4]).all() == np.isnan(bad)
    assert np.delete(result, 4, axis=0).tobytes() == np.delete(expected, 4, axis=0).tobytes()


def unusual(a):
    """The same numbers in arrays that are no plain ones."""
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(a.dtype).reshape(a.shape)
    unaligned[:] = a
    return {
        "subclass": a.view(type("Sub", (np.ndarray,), {})),
        "masked": np.ma.masked_array(a),
        "big-endian": a.astype(a.dtype.newbyteorder(">")),
        "unaligned": unaligned,
        "steps": np.repeat(a, 2, axis=1)[:, ::2],
        "Fortran": np.asfortranarray(a),
        "long double": a.astype("longdouble"),
        "objects": a.astype(object),
    }


@pytest.mark.parametrize("kind", list(unusual(np.zeros((2, 2)))))
def test_unusual_arrays_take_the_long_way(kind):
    net, X, y = network(), rows(6), rows(6, 2)
    result = net.predict(unusual(X)[kind])
    assert type(result) is np.ndarray
    assert result.tobytes() == net.predict(X).tobytes()
    out = np.zeros((6, 2), np.float32).view(type("Sub", (np.ndarray,), {}))
    assert net.predict(X, out=out) is out
    assert out.tobytes() == result.tobytes()
    losses = [dr.Trainer(network()).step(*batch) for batch in (
        (X, y), (unusual(X)[kind], y), (X, unusual(y)[kind]))]  # fmt: skip
    assert losses[1:] == losses[:1] * 2


PREDICT_REFUSALS = {
    "no out": ({"out": [[0.0, 0.0]] * 4}, TypeError, "out must be a NumPy array"),
    "out dtype": ({"out": np.zeros((4, 2), "f8")}, ValueError, "out.*float32, got float64"),
    "out order": ({"out": np.zeros((4, 2), "f4", "F")}, ValueError, "out must be C-contiguous"),
    "out read-only": (
        {"out": np.frombuffer(bytes(32), "f4").reshape(4, 2)},
        ValueError,
        "out.*writable",
    ),
    "out swapped": ({"out": np.zeros((4, 2), ">f4")}, ValueError, "out must have dtype"),
    "threads": ({"n_threads": 0}, ValueError, "n_threads must be an integer >= 1"),
}


@pytest.mark.parametrize("case", list(PREDICT_REFUSALS))
def test_what_predict_refuses(case):
    arguments, error, match = PREDICT_REFUSALS[case]
    with pytest.raises(error, match=match):
        network().predict(**{"X": rows(4), **arguments})


def test_predict_into_an_array_allocates_nothing(straight):
    net, X, out = network(), rows(1), np.zeros((1, 2), np.float32)
    straight()

    def repeat(n):
        for _ in range(n):
            net.predict(X, out)

    repeat(10)
    tracemalloc.start()
    try:
        repeat(10)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        repeat(10_000)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 256  # what tracemalloc itself keeps
    assert peak - before < 1024


# ---- step ---------------------------------------------------------------------------------------


def steps(net, X, y, loss, optimizer):
    trainer = dr.Trainer(net, loss=loss, optimizer=optimizer, seed=3)
    losses = [trainer.step(X, y) for _ in range(4)]
    assert all(type(value) is float for value in losses)
    assert net.n_steps == 4
    return losses, net.theta.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [dr.SGD(0.01, 0.9, l2=0.01), dr.Adam(weight_decay=0.1)])
@pytest.mark.parametrize(("loss", "output"), VALID)
def test_step_has_the_bits_of_the_long_way(straight, loss, output, optimizer, dtype):
    def made():
        return dense((3, 8, 4), ("tanh", output), dtype=dtype, dropout=0.2)

    X = rows(9, dtype=dtype)
    kinds = [targets(loss, 9, 4).astype(dtype)]
    if loss == "cross_entropy":
        labels = rng(4).integers(4, size=9)
        kinds += [labels, labels[:, None], labels.astype(dtype)]
    expected = [steps(made(), X.tolist(), y.tolist(), loss, optimizer) for y in kinds]
    straight()
    assert [steps(made(), X, y, loss, optimizer) for y in kinds] == expected


@pytest.mark.parametrize("n", [1, 63, 64, 65])
def test_steps_between_other_work(n):
    """Runs, larger batches, predictions and other kinds of target share the trainer's buffers."""
    X, labels = rows(n), rng(n).integers(2, size=n)
    onehot, many = np.eye(2, dtype=np.float32)[labels], rows(200)
    twins = []
    for short in (True, False):
        net = dense((3, 8, 2), ("tanh", "softmax"), dtype="float32", dropout=0.3)
        trainer, found = dr.Trainer(net, seed=1), []
        for _ in range(3):
            found.append(trainer.step(X, labels if short else labels.tolist()))
            found.append(trainer.step(X, onehot if short else onehot.tolist()))
            trainer.step(many, rng(1).integers(2, size=200))
            trainer.run(many, rng(2).integers(2, size=200), epochs=trainer.history.n_epochs + 1)
            found.append(net.predict(X if short else X.tolist()).tobytes())
        twins.append((found, net.theta.tobytes()))
    assert twins[0] == twins[1]


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "i8", "longlong", ">i8", "u8", "f2", "?"])
def test_class_numbers_of_every_dtype(dtype):
    y = rng(4).integers(2, size=9)
    made = [dense((3, 8, 2), ("tanh", "softmax"), dtype="float32") for _ in range(2)]
    kinds = zip(made, (y, y.astype(dtype)), strict=True)
    one, other = (steps(net, rows(9), labels, None, "adam") for net, labels in kinds)
    assert one == other


def spoiled(a, value, at=4):
    a = a.copy()
    a[at] = value
    return a


LABELS = rng(4).integers(2, size=9)
STEP_REFUSALS = {
    "NaN in X": (spoiled(rows(9), np.nan), LABELS, r"X must be finite, got nan at row 4, column 0"),
    "NaN in y": (rows(9), spoiled(np.eye(2, dtype="f4")[LABELS], np.nan), "y must be finite"),
    "high label": (rows(9), spoiled(LABELS, 2), "y must be a class number from 0 to 1, got 2"),
    "low label": (rows(9), spoiled(LABELS, -1), "y must be a class number .* got -1 at row 4"),
}


@pytest.mark.parametrize("case", list(STEP_REFUSALS))
def test_what_step_refuses_changes_nothing(case):
    X, y, match = STEP_REFUSALS[case]
    net = dense((3, 8, 2), ("tanh", "softmax"), dtype="float32")
    trainer, other = dr.Trainer(net), dr.Trainer(net.copy())
    trainer.step(rows(9), LABELS)
    kept, messages = net.theta.copy(), []
    for batch in ((X, y), (X.tolist(), y)):
        with pytest.raises(ValueError, match=match) as info:
            trainer.step(*batch)
        messages.append(str(info.value))
        assert np.array_equal(net.theta, kept)
        assert net.n_steps == 1
    assert messages[0] == messages[1]
    for _ in range(2):
        other.step(rows(9), LABELS)
    trainer.step(rows(9), LABELS)
    assert np.array_equal(net.theta, other.network.theta)


def test_a_step_that_diverges_changes_nothing():
    errors = []
    for batch in ((rows(9), rows(9, 2)), (rows(9).tolist(), rows(9, 2))):
        net = network()
        net.theta[:] = 1e30
        trainer = dr.Trainer(net, optimizer="adam")
        with pytest.raises(dr.DivergenceError) as info:
            trainer.step(*batch)
        errors.append(str(info.value))
        assert (net.theta == np.float32(1e30)).all()
        assert net.n_steps == 0
    assert errors[0] == errors[1]


def test_a_network_that_is_in_use_or_not_ready_refuses_steps():
    net, other = network(), network()
    X, y, seen = rows(9), rows(9, 2), []

    def callback(state):
        seen.append(net.predict(X).tobytes() == net.predict(X, n_threads=1).tobytes())
        dr.Trainer(other).step(X, y)  # another network is free
        state.trainer.step(X, y)

    with pytest.raises(RuntimeError, match="being trained by another call"):
        net.fit(X, y, epochs=2, callbacks=[callback])
    assert seen == [True]
    assert dr.Trainer(net).step(X, y) > 0
    without = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2)], seed=0)
    with pytest.raises(ValueError, match="no statistics yet"):
        dr.Trainer(without).step(X, y)
    assert without.n_steps == 0
