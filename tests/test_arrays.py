""" "Arrays" of FAULTS.md: every kind of array a user may bring."""

import numpy as np
import pytest

import deltarule as dr
from helpers import dense, rng
from tolerances import close

SETTINGS = {"epochs": 2, "batch_size": 7, "seed": 0}


def network(dtype="float32"):
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(5, "tanh"), dr.Dense(2), dr.Rescale()]
    return dr.Network(layers, dtype=dtype, seed=0)


def everything(X, Y, dtype="float32", w=None):
    """The bits of all that X and Y reach: fit, predict, evaluate, gradient."""
    net = network(dtype)
    history = net.fit(X, Y, sample_weight=w, validation_data=(X, Y), **SETTINGS)
    loss, gradient = net.gradient(X, Y)
    return (
        net.theta.tobytes(),
        history["loss"].tobytes(),
        history["val_loss"].tobytes(),
        net.predict(X).tobytes(),
        net.evaluate(X, Y)["loss"],
        loss,
        gradient.tobytes(),
    )


@pytest.fixture
def data():
    """Small integers: every dtype holds them exactly."""
    return rng(0).integers(0, 9, (30, 3)).astype(float), rng(1).integers(0, 5, (30, 2)).astype(
        float
    )


@pytest.fixture
def expected(data):
    return everything(*data)


DTYPES = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_byte_order_has_the_same_bits(data, expected, dtype, order):
    X, Y = (array.astype(order + dtype) for array in data)
    assert everything(X, Y) == expected
    assert everything(X, data[1]) == expected
    w = np.ones(30).astype(order + dtype)
    assert everything(X, Y, w=w) == everything(*data, w=np.ones(30))


def test_bool(data):
    X, Y = (array > 2 for array in data)
    assert everything(X, Y) == everything(X.astype(float), Y.astype(float))


@pytest.mark.parametrize("dtype", ["longdouble"])
def test_long_double_is_refused_or_right(data, expected, dtype):
    X = data[0].astype(dtype)
    try:
        assert everything(X, data[1]) == expected
    except (TypeError, ValueError) as error:
        assert "X" in str(error)  # noqa: PT017


def test_nested_lists(data, expected):
    X, Y = data
    assert everything(X.tolist(), Y.tolist()) == expected
    assert everything(tuple(map(tuple, X)), Y.astype(int).tolist()) == expected


def test_object_array_of_numbers(data, expected):
    X, Y = data
    assert everything(X.astype(object), Y.astype(int).astype(object)) == expected


def layouts(a):
    wide = np.zeros((2 * len(a), 3 * a.shape[1]), a.dtype)
    wide[::2, ::3] = a
    buffer = np.zeros(a.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(a.dtype).reshape(a.shape)
    unaligned[:] = a
    read_only = a.copy()
    read_only.flags.writeable = False
    fields = np.zeros(len(a), [("pad", "u1"), ("x", a.dtype, a.shape[1])])
    fields["x"] = a
    return {
        "fortran": np.asfortranarray(a),
        "steps": wide[::2, ::3],
        "negative rows": a[::-1].copy()[::-1],
        "negative columns": a[:, ::-1].copy()[:, ::-1],
        "negative both": np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        "unaligned": unaligned,
        "packed field": fields["x"],
        "read-only": read_only,
        "subclass": a.view(type("Sub", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", ">f8"])
@pytest.mark.parametrize("layout", list(layouts(np.zeros((2, 2)))))
def test_every_layout_has_the_same_bits(data, layout, dtype):
    X, Y = (array.astype(dtype) for array in data)
    assert everything(layouts(X)[layout], layouts(Y)[layout]) == everything(X, Y)


def test_stride_zero(data):
    X = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (30, 3))
    Y = np.broadcast_to(np.array([[1.0], [2.0]]).reshape(1, 2), (30, 2))
    assert everything(X, data[1]) == everything(X.copy(), data[1])
    assert everything(data[0], Y) == everything(data[0], Y.copy())
    w = np.broadcast_to(2.0, 30)
    assert everything(*data, w=w) == everything(*data, w=w.copy())
    columns = np.broadcast_to(data[0][:, :1], (30, 3))
    assert everything(columns, data[1]) == everything(columns.copy(), data[1])


def test_read_only_memory_map(tmp_path, data, expected):
    files = []
    for name, array in zip("XY", data, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
        files.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    assert everything(*files) == expected


def test_the_users_arrays_never_change(data):
    X, Y = data
    w = np.ones(30)
    kept = [array.copy() for array in (X, Y, w)]
    everything(X, Y, w=w)
    assert all(np.array_equal(a, b) for a, b in zip((X, Y, w), kept, strict=True))


def test_the_same_memory_as_x_and_y(data):
    both = np.hstack([data[0], data[0]])
    net, other = (dr.Network([3, 4, 3], seed=0) for _ in range(2))
    net.fit(both[:, :3], both[:, :3], **SETTINGS)
    other.fit(data[0].copy(), data[0].copy(), **SETTINGS)
    assert np.array_equal(net.theta, other.theta)


# ---- refused ------------------------------------------------------------------------------------

TASKS = {
    "fit": lambda net, X, y: net.fit(X, y, epochs=1),
    "run": lambda net, X, y: dr.Trainer(net).run(X, y, epochs=1),
    "step": lambda net, X, y: dr.Trainer(net).step(X, y),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
    "gradient": lambda net, X, y: net.gradient(X, y),
    "trace": lambda net, X, y: net.trace(X, y),
    "predict": lambda net, X, y: net.predict(X),
    "backward": lambda net, X, y: net.backward(X, np.zeros((30, 2))),
}
TAKES_Y = [task for task in TASKS if task not in ("predict", "backward")]


def assert_refused(task, X, y, error, match):
    net = dense((3, 4, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    with pytest.raises(error, match=match):
        TASKS[task](net, X, y)
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


BAD = {
    "strings": (np.full((30, 3), "a"), ValueError),
    "strings in objects": (np.full((30, 3), "a", object), ValueError),
    "bytes": (np.full((30, 3), b"a"), ValueError),
    "complex": (np.ones((30, 3), complex), ValueError),
    "structured": (np.zeros(30, [("a", float), ("b", float)]), TypeError),
    "datetime64": (np.zeros((30, 3), "datetime64[s]"), TypeError),
    "timedelta64": (np.zeros((30, 3), "timedelta64[s]"), TypeError),
    "masked": (np.ma.masked_array(np.ones((30, 3)), np.eye(30, 3)), ValueError),
    "0-d": (np.float64(1), ValueError),
    "3-d": (np.zeros((30, 3, 1)), ValueError),
    "ragged": ([[1.0, 2.0, 3.0], [1.0]], ValueError),
    "0 features": (np.zeros((30, 0)), ValueError),
    "None": (None, (TypeError, ValueError)),
    "objects": (np.array([[object()] * 3] * 30), (TypeError, ValueError)),
}


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("bad", list(BAD))
def test_bad_x_is_refused(task, bad):
    X, error = BAD[bad]
    assert_refused(task, X, np.zeros((30, 2)), error, r"\bXb?\b")


@pytest.mark.parametrize("task", TAKES_Y)
@pytest.mark.parametrize("bad", [name for name in BAD if name != "0 features"])
def test_bad_y_is_refused(task, bad):
    y, error = BAD[bad]
    assert_refused(task, np.zeros((30, 3)), y, error, r"\byb?\b")


def test_masked_array_without_masked_items(data, expected):
    assert everything(*(np.ma.masked_array(array) for array in data)) == expected


@pytest.mark.parametrize("task", list(TASKS))
def test_one_dimensional_x_has_a_hint(task):
    assert_refused(task, np.zeros(30), np.zeros((30, 2)), ValueError, r"(?s)Xb?.*reshape")


@pytest.mark.parametrize("task", list(TASKS))
def test_wrong_feature_count_names_both(task):
    assert_refused(
        task, np.zeros((30, 4)), np.zeros((30, 2)), ValueError, r"Xb?.*\(n, 3\).*\(30, 4\)"
    )


@pytest.mark.parametrize("task", TAKES_Y)
def test_different_lengths_name_both(task):
    assert_refused(task, np.zeros((30, 3)), np.zeros((29, 2)), ValueError, r"(?s)30.*29|29.*30")


@pytest.mark.parametrize("task", TAKES_Y)
def test_wrong_target_width(task):
    assert_refused(task, np.zeros((30, 3)), np.zeros((30, 3)), ValueError, r"yb?.*2.*\(30, 3\)")
    assert_refused(task, np.zeros((30, 3)), np.zeros(30), ValueError, r"yb?.*2.*\(30,\)")


def test_backward_checks_the_output_gradient():
    net = dense((3, 4, 2), ("tanh", "identity"))
    X = np.zeros((30, 3))
    for wrong in (np.zeros((30, 3)), np.zeros((29, 2)), np.zeros(30), "text"):
        with pytest.raises((ValueError, TypeError), match="output_gradient"):
            net.backward(X, wrong)


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("predict", "backward")])
def test_zero_rows_are_refused_in_training(task):
    assert_refused(task, np.zeros((0, 3)), np.zeros((0, 2)), ValueError, "Xb?.*0")


def test_zero_rows_predict_nothing():
    for dtype in ("float32", "float64"):
        result = dense((3, 4, 2), ("tanh", "identity"), dtype=dtype).predict(np.zeros((0, 3)))
        assert result.shape == (0, 2)
        assert result.dtype == dtype


def test_one_sample_and_one_feature():
    net = dr.Network(
        [dr.Input(1), dr.Standardize(), dr.Dense(3, "tanh"), dr.Dense(1), dr.Rescale()], seed=0
    )
    net.fit([[2.0]], [3.0], epochs=200, optimizer=dr.SGD(learning_rate=0.1))
    assert close(net.predict([[2.0]]), [[3.0]], 1e-3)


def test_an_array_interface_that_raises_raises_its_own_error():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise ZeroDivisionError("mine")

    net = dense((3, 4, 2), ("tanh", "identity"))
    for use in (
        lambda: net.predict(Broken()),
        lambda: net.fit(Broken(), np.zeros((30, 2))),
        lambda: net.fit(np.zeros((30, 3)), Broken()),
    ):
        with pytest.raises(ZeroDivisionError, match="mine"):
            use()


def test_an_array_interface_that_works(data, expected):
    class Table:
        def __init__(self, array):
            self.array = array

        def __array__(self, dtype=None, copy=None):
            return self.array

    assert everything(Table(data[0]), Table(data[1])) == expected


def test_a_wrong_shape_into_theta():
    net = dense((3, 4, 2), ("tanh", "identity"))
    with pytest.raises(ValueError, match="shape"):
        net.theta[:] = np.zeros(5)
    with pytest.raises(ValueError, match="shape"):
        net.layers[0].W[:] = np.zeros((3, 4))
    with pytest.raises((ValueError, AttributeError)):
        net.theta = np.zeros(5)


# ---- large --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_more_rows_than_32_bits(shuffle):
    """All rows are one row, so a batch of any of them is a batch of the first."""
    n, few = 2**31 + 8, 96
    x, y = np.array([0.3, -0.2, 0.7]), np.array([1.0, -1.0])
    settings = {"epochs": 1, "batch_size": 32, "shuffle": shuffle, "max_steps": 3}
    large, small = (dense((3, 5, 2), ("tanh", "identity")) for _ in range(2))
    dr.Trainer(large).run(np.broadcast_to(x, (n, 3)), np.broadcast_to(y, (n, 2)), **settings)
    dr.Trainer(small).run(np.broadcast_to(x, (few, 3)), np.broadcast_to(y, (few, 2)), **settings)
    assert np.array_equal(large.theta, small.theta)


def test_shuffled_rows_beyond_32_bits_are_read_in_their_place():
    """The rows from 2^31 on, one of 17, are ones; the others are zeros that were never touched."""
    n, late = 2**31 + 2**27, 2**31
    X = np.zeros((n, 1), np.uint8)
    X[late:] = 1
    net = dr.Network([dr.Input(1), dr.Dense(1, initializer="zeros")], dtype="float64", seed=0)
    half = dr.SGD(learning_rate=0.5)  # from W = b = 0 one step of the MSE leaves b = mean(y)
    y = X[:, 0]
    dr.Trainer(net, optimizer=half).run(X, y, batch_size=2**15, epochs=1, max_steps=1)
    share = 1 - late / n
    assert abs(net.layers[0].b[0] - share) < 5 * np.sqrt(share * (1 - share) / 2**15)


def test_predict_through_strides_beyond_32_bits():
    """Rows 2^30 bytes apart in 6 GiB of untouched zeros: byte offsets need 64 bits."""
    memory = np.zeros(6 * 2**30, np.uint8)
    X = np.lib.stride_tricks.as_strided(memory, (6, 3), (2**30, 1), writeable=False)
    memory[5 * 2**30 + 1] = 7
    memory[4 * 2**30] = 5
    net = dense((3, 5, 2), ("tanh", "identity"))
    assert np.array_equal(net.predict(X), net.predict(X.copy()))
    assert np.array_equal(net.predict(X[::-1]), net.predict(X.copy())[::-1])
