"""Sparse X: the bits of its dense form, everywhere X goes in, and never made dense whole."""

import numpy as np
import pytest
import scipy.sparse as sp

import deltarule as dr
from helpers import dense, rng, run_python

SETTINGS = {"epochs": 2, "batch_size": 7, "seed": 0}
N, WIDTH = 300, 37  # more rows than one block


def network(dtype="float32"):
    layers = [dr.Input(WIDTH), dr.Standardize(), dr.Dense(5, "tanh"), dr.Dropout(0.2), dr.Dense(2)]
    return dr.Network(layers, dtype=dtype, seed=0)


def everything(X, dtype="float32", n_threads=None):
    """The bits of all that X reaches."""
    n = X.shape[0]
    Y, w = rng(1, n).normal(size=(n, 2)), rng(2, n).uniform(0, 2, n)
    net = network(dtype)
    history = net.fit(
        X, Y, sample_weight=w, validation_data=(X, Y), metrics=["rmse"],
        n_threads=n_threads, **SETTINGS,
    )  # fmt: skip
    trainer = dr.Trainer(net, seed=3)
    loss, gradient = net.gradient(X, Y, training=True)
    trace = net.trace(X, Y)
    arrays = [
        net.theta,
        *(history[key] for key in history if key != "seconds"),
        net.predict(X, n_threads=n_threads),
        *(layer.z for layer in trace.layers),
        gradient,
        *net.backward(X, Y),
        *net.backward(X, Y, training=True),
    ]
    numbers = [loss, trace.loss, net.evaluate(X, Y, metrics=["r2"], sample_weight=w)]
    numbers += [trainer.step(X, Y), trainer.step(X, Y, w)]
    return [array.tobytes() for array in arrays], numbers, net.theta.tobytes()


def random(n=N, width=WIDTH, density=0.1, dtype=np.float64, seed=0):
    g = rng(seed, n, width)
    X = np.where(g.random((n, width)) < density, g.normal(size=(n, width)) * 100, 0)
    X[n // 2] = 0  # an empty row
    return sp.csr_array(X.astype(dtype))


def with_indices(X, dtype):
    X = X.copy()
    X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
    return X


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("stored", ["f4", "f8", "i1", "u1", "i4", "i8", "u8", "?"])
def test_every_dtype_has_the_bits_of_the_dense_form(stored, index, dtype):
    X = random(dtype="f8" if stored == "f8" else "i2").astype(stored)
    X = with_indices(X, index)
    assert X.indices.dtype == index
    assert everything(X, dtype) == everything(X.toarray(), dtype)


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_threads(n_threads):
    X = random(n=1500)
    assert everything(X, n_threads=n_threads) == everything(X.toarray(), n_threads=1)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array])
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
def test_every_format(container, kind):
    X = container(np.eye(N, WIDTH, -3) if kind == "dia" else random())  # DIA: few diagonals
    given = X.asformat(kind)
    assert given.format == kind
    assert everything(given) == everything(X.toarray())


def odd_matrices():
    X = random()
    explicit = X.copy()
    explicit.data[::3] = 0
    negative_zero = X.copy()
    negative_zero.data[::3] = -0.0
    vanishing = X.copy()  # in float32: to -0, whose sign stays
    vanishing.data[::3], vanishing.data[1::3] = -1e-60, -1e-40
    order = np.concatenate([
        rng(row).permutation(np.arange(start, end))
        for row, (start, end) in enumerate(zip(X.indptr, X.indptr[1:], strict=False))
    ])  # fmt: skip
    unsorted = sp.csr_array((X.data[order], X.indices[order], X.indptr), X.shape)
    twice = sp.csr_array(
        (np.repeat(X.data, 2) * 1.1, np.repeat(X.indices, 2), X.indptr * 2), X.shape
    )
    unsorted_twice = sp.hstack([unsorted, unsorted], format="csr")
    unsorted_twice = sp.csr_array(
        (unsorted_twice.data, unsorted_twice.indices % WIDTH, unsorted_twice.indptr), X.shape
    )
    slack = sp.csr_array(
        (np.append(X.data, [7.0, 8.0]), np.append(X.indices, [99, -1]), X.indptr), X.shape
    )
    return {
        "explicit zeros": explicit,
        "negative zeros": negative_zero,
        "vanishing": vanishing,
        "unsorted": unsorted,
        "duplicates": twice,
        "unsorted duplicates": unsorted_twice,
        "duplicates in float32": twice.astype(np.float32),
        "duplicates in int8": (twice * 10).astype(np.int8),
        "duplicates in bool": twice.astype(bool),
        "data behind the end": slack,
        "all zero": sp.csr_array((N, WIDTH)),
        "full": sp.csr_array(rng(7).normal(size=(N, WIDTH))),
        "one row": random(n=1) + sp.csr_array(np.eye(1, WIDTH)),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(odd_matrices()))
def test_odd_matrices_have_the_bits_of_the_dense_form(name, dtype):
    X = odd_matrices()[name]
    assert everything(X, dtype) == everything(X.toarray(), dtype)


def test_the_sum_of_many_entries_is_that_of_toarray():
    """Entry after entry, in the stored type: in float32 the order and the type show."""
    g = rng(5)
    data, indices = g.normal(size=5000).astype(np.float32) * 1e3, g.integers(WIDTH, size=5000)
    X = sp.csr_array((data, indices, [0, 5000]), (1, WIDTH))
    net = dr.Network([dr.Input(WIDTH), dr.Activation("identity")], dtype="float64", seed=0)
    assert net.predict(X).tobytes() == X.toarray().astype(float).tobytes()


def test_a_stored_negative_zero_is_the_zero_of_toarray():
    X = sp.csr_array(([-0.0, 2.0], [0, 1], [0, 2]), (1, 2))
    net = dr.Network([dr.Input(2), dr.Activation("identity")], seed=0)
    assert net.predict(X).tobytes() == np.array([[0, 2]], np.float32).tobytes()


@pytest.mark.parametrize("what", ["big-endian", "unaligned", "strided", "read-only", "float16"])
def test_every_layout_of_the_data(what):
    X = random().astype(np.float32)
    expected = everything(X.toarray())
    if what == "big-endian":
        X.data, X.indices = X.data.astype(">f4"), X.indices.astype(">i4")
    elif what == "unaligned":
        for name in ("data", "indices", "indptr"):
            array = getattr(X, name)
            buffer = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
            buffer[:] = array
            setattr(X, name, buffer)
    elif what == "strided":
        X.data, X.indices = np.repeat(X.data, 2)[::2], np.repeat(X.indices, 3)[::3]
    elif what == "read-only":
        for array in (X.data, X.indices, X.indptr):
            array.flags.writeable = False
    else:  # SciPy stores it, and can do nothing else with it
        X.data = np.round(X.data).astype(np.float16)
        of_floats = X.astype(np.float32)
        assert network().predict(X).tobytes() == network().predict(of_floats).tobytes()
        return
    assert everything(X) == expected


def test_long_double():
    X = random().astype(np.longdouble)
    assert everything(X) == everything(X.toarray())


def test_zero_rows_predict_nothing():
    result = network().predict(sp.csr_array((0, WIDTH)))
    assert result.shape == (0, 2)
    with pytest.raises(ValueError, match="X must have at least one row"):
        network().fit(sp.csr_array((0, WIDTH)), np.zeros((0, 2)))


def test_resume_in_the_middle_of_an_epoch(tmp_path):
    X, Y = random(), rng(1).normal(size=(N, 2))
    path = tmp_path / "half-way.safetensors"
    whole = dr.Trainer(network())
    whole.run(X.toarray(), Y, epochs=3)
    half = dr.Trainer(network())
    half.run(X, Y, epochs=3, max_steps=13)
    half.save(path)
    again = dr.Trainer.resume(path)
    again.run(X, Y, epochs=3)
    assert np.array_equal(again.network.theta, whole.network.theta)


def test_small_calls():
    """What is dense takes another way there: the bits are the same."""
    X, Y = random(n=3), np.ones((3, 2), np.float32)
    dense_X = X.toarray().astype(np.float32)
    one, other = (dense((WIDTH, 5, 2), ("tanh", "identity"), dtype="float32") for _ in range(2))
    for _ in range(3):
        assert dr.Trainer(one).step(X, Y) == dr.Trainer(other).step(dense_X, Y)
    assert one.predict(X[:1]).tobytes() == other.predict(dense_X[:1]).tobytes()


def test_class_indices_and_class_metrics():
    X, y = random(), rng(4).integers(3, size=N)
    found = []
    for given in (X, X.toarray()):
        net = dense((WIDTH, 6, 3), ("relu", "softmax"), dtype="float32")
        history = net.fit(given, y, metrics=["accuracy", "log_loss"], **SETTINGS)
        found.append(
            [net.theta.tobytes(), *(history[k].tolist() for k in history if k != "seconds")]
        )
    assert found[0] == found[1]


@pytest.mark.parametrize("name", list(odd_matrices()))
def test_the_users_matrix_never_changes(name):
    X = odd_matrices()[name]
    for given in (X, X.tocsc()):
        arrays = [given.data, given.indices, given.indptr]
        kept = [array.copy() for array in arrays]
        everything(given)
        after = [given.data, given.indices, given.indptr]
        assert all(a is b for a, b in zip(after, arrays, strict=True))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(arrays, kept, strict=True))


def test_out_may_be_the_memory_of_the_data():
    X = sp.csr_array(rng(3).normal(size=(4, 2)).astype(np.float32))
    net = dense((2, 3, 2), ("tanh", "identity"), dtype="float32")
    expected = net.predict(X.toarray())
    out = X.data.reshape(4, 2)
    assert net.predict(X, out=out) is out
    assert np.array_equal(out, expected)


# ---- not finite ---------------------------------------------------------------------------------

PLACES = [(row, column) for row in (0, 17, 299) for column in (0, 36)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_not_finite_is_refused_by_row_and_column(place, bad):
    X = sp.lil_array(random())
    X[place] = bad
    X[299, 36] = np.nan  # the first one is named
    X = X.tocsr()
    Y = np.zeros((N, 2))
    tasks = [
        lambda net: net.fit(X, Y, epochs=1),
        lambda net: net.evaluate(X, Y),
        lambda net: net.gradient(X, Y),
        lambda net: net.backward(X, Y),
        lambda net: net.fit(random(), Y, validation_data=(X, Y), epochs=1),
    ]
    for task in tasks:
        net = dense((WIDTH, 5, 2), ("tanh", "identity"), dtype="float32")
        with pytest.raises(ValueError, match=rf"row {place[0]}, column {place[1]}\b") as caught:
            task(net)
        assert ("validation_data[0]" if task is tasks[-1] else "X") in str(caught.value)


def test_nan_flows_to_its_own_row_only():
    X = random()
    X.data[40] = np.nan
    row = int(np.searchsorted(X.indptr, 40, side="right")) - 1
    net = dense((WIDTH, 5, 2), ("tanh", "identity"))
    bad = np.isnan(net.predict(X)).any(axis=1)
    assert np.flatnonzero(bad).tolist() == [row]
    assert net.predict(X).tobytes() == net.predict(X.toarray()).tobytes()


# ---- refused ------------------------------------------------------------------------------------

TASKS = {
    "fit": ("X", lambda net, X: net.fit(X, np.zeros((N, 2)), epochs=1)),
    "step": ("Xb", lambda net, X: dr.Trainer(net).step(X, np.zeros((N, 2)))),
    "evaluate": ("X", lambda net, X: net.evaluate(X, np.zeros((N, 2)))),
    "gradient": ("X", lambda net, X: net.gradient(X, np.zeros((N, 2)))),
    "backward": ("X", lambda net, X: net.backward(X, np.zeros((N, 2)))),
    "trace": ("X", lambda net, X: net.trace(X, np.zeros((N, 2)))),
    "predict": ("X", lambda net, X: net.predict(X)),
    "validation": (
        r"validation_data\[0\]",
        lambda net, X: net.fit(random(), np.zeros((N, 2)), validation_data=(X, np.zeros((N, 2)))),
    ),
}


def assert_refused(task, X, match):
    name, run = TASKS[task]
    net = dense((WIDTH, 5, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    with pytest.raises(ValueError, match=f"^{name} must {match}"):
        run(net, X)
    assert np.array_equal(net.theta, kept)


@pytest.mark.parametrize("task", list(TASKS))
def test_wrong_shapes(task):
    assert_refused(task, sp.csr_array((N, 4)), r"have shape \(n, 37\), got \(300, 4\)")
    flat = sp.coo_array(np.ones(WIDTH))
    if flat.ndim == 1:
        assert_refused(task, flat, r"have shape \(n, 37\), got \(37,\); use .*reshape")


@pytest.mark.parametrize("task", [task for task in TASKS if task != "predict"])
def test_wrong_number_of_rows(task):
    name, run = TASKS[task]
    with pytest.raises(ValueError, match=f"{name} and .*got 7 and 300"):
        run(dense((WIDTH, 5, 2), ("tanh", "identity")), random(7))


def malformed():
    """What a user may do to a matrix once SciPy has checked it."""

    def of(**changes):
        X = random()
        for name, change in changes.items():
            array = getattr(X, name).copy()
            setattr(X, name, change(array))
        return X

    def put(place, value):
        def change(array):
            array[place] = value
            return array

        return change

    last = WIDTH - 1
    return {
        "index too large": (of(indices=put(5, WIDTH)), "indices must be >= 0 and < 37, got 37"),
        "index very large": (of(indices=put(-1, 2**31 - 1)), "indices .*got 2147483647 in row"),
        "negative index": (of(indices=put(0, -1)), "indices .*got -1 in row 0"),
        "wide index": (
            of(indices=lambda a: put(9, 2**40)(a.astype(np.int64))), "indices .*got 1099511627776"
        ),
        "start": (of(indptr=put(0, 3)), "indptr must start at 0, got 3"),
        "negative start": (of(indptr=put(0, -3)), "indptr must start at 0, got -3"),
        "decreasing": (of(indptr=put(20, 0)), "indptr must never decrease, got 0 at index 20"),
        "end": (of(indptr=put(N, 10**6)), "indptr must end within the data, got 1000000"),
        "middle": (of(indptr=put(50, 10**6)), "indptr must never decrease, got .* at index 51"),
        "short indptr": (of(indptr=lambda a: a[:-1]), "indptr must have 301 numbers, got 300"),
        "empty indptr": (of(indptr=lambda a: a[:0]), "indptr must have 301 numbers, got 0"),
        "short data": (of(data=lambda a: a[:-1]), "indices must be as many as data"),
        "short indices": (of(indices=lambda a: a[:-1]), "indices must be as many as data"),
        "fractions": (of(indices=lambda a: a.astype(float) + last), ".*float64.*int64"),
        "two dimensions": (of(data=lambda a: a.reshape(1, -1)), "data must be one-dimensional"),
    }  # fmt: skip


@pytest.mark.parametrize("task", list(TASKS))
@pytest.mark.parametrize("name", list(malformed()))
def test_a_malformed_matrix_is_refused(task, name):
    X, match = malformed()[name]
    assert_refused(task, X, f"be a well-formed sparse matrix: {match}")


def test_malformed_blocks_and_coordinates_are_refused():
    net = dense((WIDTH, 3, 1), ("tanh", "identity"))
    blocks = random().tobsr((1, 1))
    blocks.indptr[3] = 10**9
    with pytest.raises(ValueError, match="X must be a well-formed sparse matrix: indptr"):
        net.predict(blocks)
    for axis, name in enumerate(("row", "col")):
        coordinates = random().tocoo()
        coordinates.coords[axis][:] = 10**8
        with pytest.raises(ValueError, match=f"X must be a well-formed sparse matrix: {name}"):
            net.predict(coordinates)


def test_a_malformed_csc_matrix_is_refused():
    X = random().tocsc()
    X.indices[3] = N
    assert_refused("predict", X, "be a well-formed sparse matrix: indices .*got 300")
    X = random().tocsc()
    X.indptr[3] = 10**6
    assert_refused("fit", X, "be a well-formed sparse matrix: indptr must never decrease")


@pytest.mark.parametrize("task", list(TASKS))
def test_a_dtype_that_is_no_real_number_is_refused(task):
    complex_matrix = random().astype(complex)
    assert_refused(task, complex_matrix, "hold real numbers .*got dtype complex128")
    objects = random()
    objects.data = objects.data.astype(object)
    assert_refused(task, objects, "hold real numbers .*got dtype object")


def test_sparse_targets_and_weights_are_refused():
    X, net = random(), network()
    y = sp.csr_array(np.ones((N, 2)))
    with pytest.raises(ValueError, match=r"y must be a dense array.*y\.toarray\(\)"):
        net.fit(X, y)
    with pytest.raises(ValueError, match="output_gradient must be a dense array"):
        net.backward(X, y)
    with pytest.raises(ValueError, match="sample_weight must be a dense array"):
        net.fit(X, np.ones((N, 2)), sample_weight=sp.csr_array(np.ones((N, 1))))


def test_indices_that_a_callback_breaks_write_nowhere():
    """The arrays were checked before; from then on a bad index is left out."""
    X = random()

    def break_it(state):
        for array in (X.indices, X.indptr):
            array[:] = rng(state.epoch).integers(-(2**31), 2**31, array.shape)

    net = dense((WIDTH, 5, 2), ("tanh", "identity"))
    net.fit(X, np.zeros((N, 2)), epochs=20, callbacks=[break_it])
    assert np.isfinite(net.theta).all()


# ---- memory -------------------------------------------------------------------------------------


def test_a_large_matrix_is_never_made_dense():
    """Dense it would be 4 GB in float32."""
    script = """
        import json, resource
        import numpy as np
        import scipy.sparse as sp
        import deltarule as dr

        n, width, nnz = 200_000, 5_000, 1_000_000
        g = np.random.default_rng(0)
        places = g.integers(n, size=nnz), g.integers(width, size=nnz)
        X = sp.csr_array((g.normal(size=nnz), places), (n, width))
        y = np.zeros(n)
        net = dr.Network([width, 4, 1], seed=0)
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        start = peak()
        predicted = net.predict(X)
        net.evaluate(X, y, metrics=["rmse"])
        net.fit(X, y, epochs=1, batch_size=4096, validation_data=(X[:5000], y[:5000]))
        dr.Trainer(net).step(X[:1000], y[:1000])
        few = net.predict(X[:100].toarray())
        print(json.dumps({"grown": peak() - start, "rows": len(predicted),
                          "finite": bool(np.isfinite(net.theta).all())}))
    """
    result = run_python(script)
    assert result["rows"] == 200_000
    assert result["finite"]
    assert result["grown"] < 300e6


def test_import_leaves_scipy_alone():
    script = """
        import json, sys
        import deltarule as dr
        dr.Network([2, 1], seed=0).fit([[1.0, 2.0]], [1.0], epochs=1)
        print(json.dumps(sorted(name for name in sys.modules if name.startswith("scipy"))))
    """
    assert run_python(script) == []
