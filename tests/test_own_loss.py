"""A loss of the user's own: the built-in ones written by hand, what it may do, and its mistakes."""

import gc
import signal
import weakref

import numpy as np
import pytest

import deltarule as dr
from deltarule import losses
from helpers import ACTIVATIONS, dense, problem, rng, run_python, targets
from tolerances import FLOAT64, close, tolerance


def mse(y_true, y_pred):
    r = y_pred - y_true
    return (r**2).mean(axis=1), 2 * r / r.shape[1]


def log_likelihood(y_true, y_pred):
    """The cross-entropy of one-hot rows, from probabilities."""
    return -(y_true * np.log(y_pred)).sum(axis=1), -y_true / y_pred


def of_labels(y_true, y_pred):
    """The binary cross-entropy, from probabilities."""
    p = np.where(y_true == 1, y_pred, 1 - y_pred)
    return -np.log(p).mean(axis=1), np.where(y_true == 1, -1, 1) / p / p.shape[1]


SAME = [  # what is written by hand, the built-in loss, its output activation
    (mse, "mse", "identity"),
    (log_likelihood, "cross_entropy", "softmax"),
    (of_labels, "binary_cross_entropy", "sigmoid"),
]
SAME_IDS = [row[1] for row in SAME]


# ---- the same as the built-in losses, everywhere ------------------------------------------------


@pytest.mark.parametrize(("own", "name", "output"), SAME, ids=SAME_IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_built_in_loss(own, name, output, dtype, weighted):
    """In evaluate, gradient and trace, on one block of rows and on several."""
    net = dense((3, 6, 3), ("tanh", output), dtype=dtype)
    for n in (1, 7, 600):
        X, y = rng(n).normal(size=(n, 3)), targets(name, n, 3)
        w = rng(n).uniform(0.1, 2, n) if weighted else None
        expected, gradient = net.gradient(X, y, loss=name, sample_weight=w)
        value, found = net.gradient(X, y, loss=own, sample_weight=w)
        trace = net.trace(X, y, loss=own, sample_weight=w)
        rtol = 10 * tolerance(dtype)
        assert close(found, gradient, rtol)
        assert close(trace.gradient, gradient, rtol)
        delta = net.trace(X, y, loss=name, sample_weight=w).layers[-1].delta
        assert close(trace.layers[-1].delta, delta, rtol)
        evaluated = net.evaluate(X, y, loss=own, sample_weight=w, metrics=["rmse"])
        for each in (value, trace.loss, evaluated["loss"]):
            assert close(each, expected, rtol)


@pytest.mark.parametrize("output", ACTIVATIONS)
def test_its_gradient_goes_through_every_output_activation(output):
    net = dense((3, 4, 3), ("tanh", output))
    X, Y = problem(9, n_outputs=3)
    for own, built_in in ((mse, "mse"), (losses.Custom(mse), "mse")):
        assert close(net.gradient(X, Y, own)[1], net.gradient(X, Y, built_in)[1], FLOAT64)


@pytest.mark.parametrize(("own", "name", "output"), SAME, ids=SAME_IDS)
@pytest.mark.parametrize("batch_size", [8, 300, None])
def test_training_with_it_is_training_with_the_built_in_loss(own, name, output, batch_size):
    X, y = rng(1).normal(size=(600, 3)), targets(name, 600, 3)
    settings = {
        "batch_size": batch_size, "epochs": 4, "metrics": ["rmse"], "restore_best": True,
        "sample_weight": rng(2).uniform(0, 2, 600), "optimizer": dr.Adam(0.01, clip_norm=1.0),
        "validation_data": (X[:300], y[:300], np.arange(300)), "tol": 1e-3, "patience": 2,
    }  # fmt: skip
    one, other = (dense((3, 6, 3), ("tanh", output), dropout=0.2) for _ in range(2))
    expected, found = one.fit(X, y, loss=name, **settings), other.fit(X, y, loss=own, **settings)
    for key in ("loss", "val_loss", "rmse", "val_rmse"):
        assert close(found[key], expected[key], 1e-9)
    assert found.stopped_by == expected.stopped_by
    assert close(other.theta, one.theta, 1e-9)


def test_class_weights_are_weights_of_rows():
    X, y = rng(1).normal(size=(50, 3)), np.eye(3)[rng(2).integers(3, size=50)]
    one, other = (dense((3, 6, 3), ("tanh", "softmax")) for _ in range(2))
    one.fit(X, y, class_weight="balanced", epochs=3)
    other.fit(X, y, loss=log_likelihood, class_weight="balanced", epochs=3)
    assert close(other.theta, one.theta, 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_by_hand_are_those_of_run(dtype):
    X, Y = problem(32)
    one, other = (dense((3, 6, 2), ("tanh", "identity"), dtype=dtype) for _ in range(2))
    trainer = dr.Trainer(one, loss=mse, optimizer="sgd")
    native = [np.ascontiguousarray(each, dtype) for each in (X, Y)]
    for _ in range(3):
        trainer.step(*native)  # the way of small calls
        trainer.step(X.tolist(), Y.tolist())
    dr.Trainer(other, mse, "sgd").run(X, Y, epochs=6, batch_size=None, shuffle=False)
    assert np.array_equal(one.theta, other.theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [200, 1000])
def test_threads_do_not_change_a_bit(dtype, batch_size):
    X, y = rng(1).normal(size=(1000, 3)), targets("cross_entropy", 1000, 3)

    def trained(n_threads):
        net = dense((3, 200, 100, 3), ("mish", "tanh", "softmax"), dtype=dtype)
        net.fit(X, y, loss=log_likelihood, optimizer="sgd", epochs=2, batch_size=batch_size,
                validation_data=(X, y), n_threads=n_threads)  # fmt: skip
        return net.theta.tobytes(), net.history["val_loss"].tobytes()

    assert trained(1) == trained(2) == trained(5)


# ---- what the function is given, and what it may return -----------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_is_given_copies_of_whole_blocks(dtype):
    X, Y = problem(700)
    kept = []

    def keep(y_true, y_pred):
        result = mse(y_true, y_pred)
        kept.append((y_true, y_pred))
        return result

    net = dense((3, 6, 2), ("tanh", "identity"), dtype=dtype)
    net.evaluate(X, Y, loss=keep)
    assert [len(a) for _, a in kept] == [256, 256, 188]
    for i, each in enumerate((Y.astype(dtype), net.predict(X))):
        assert np.array_equal(np.concatenate([pair[i] for pair in kept]), each)
    for array in (array for pair in kept for array in pair):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.owndata
    kept.clear()
    net.fit(X, Y, loss=keep, epochs=1, batch_size=100)
    assert [len(a) for _, a in kept] == [100] * 7


def test_what_it_writes_to_its_arrays_changes_nothing():
    def wild(y_true, y_pred):
        result = mse(y_true, y_pred)
        y_true[:], y_pred[:] = np.nan, 1e30
        return result

    X, Y = problem()
    one, other = (dense((3, 6, 2), ("tanh", "softplus")) for _ in range(2))
    one.fit(X, Y, loss=mse, epochs=3)
    other.fit(X, Y, loss=wild, epochs=3)
    assert np.array_equal(one.theta, other.theta)


RETURNS = {
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "long double": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f8"),
    "Fortran": np.asfortranarray,
    "lists": lambda x: x.tolist(),
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


@pytest.mark.parametrize("as_what", list(RETURNS))
def test_it_may_return_any_real_arrays(as_what):
    X, Y = problem()
    one, other = (dense((3, 6, 2), ("tanh", "identity"), dtype="float32") for _ in range(2))
    one.fit(X, Y, loss=mse, epochs=3)
    other.fit(X, Y, loss=lambda *a: [RETURNS[as_what](x) for x in mse(*a)], epochs=3)
    assert np.array_equal(one.theta, other.theta)


def test_integers_are_numbers():
    net = dense((3, 6, 2), ("tanh", "identity"))
    X, Y = problem(5)
    assert net.evaluate(X, Y, lambda y, a: (np.arange(5), np.zeros(a.shape, bool)))["loss"] == 2


class Pinball:
    """A callable object, with one target for all outputs."""

    def __call__(self, y_true, y_pred):
        r = y_true - y_pred
        q = np.linspace(0.25, 0.75, r.shape[1])
        return np.maximum(q * r, (q - 1) * r).mean(axis=1), np.where(r > 0, -q, 1 - q) / len(q)


def test_targets_have_any_width_or_the_one_that_is_stated():
    X, y = rng(0).normal(size=(50, 3)), rng(1).normal(size=50)
    one, other = (dense((3, 6, 3), ("tanh", "identity")) for _ in range(2))
    one.fit(X, y, loss=dr.losses.Quantile([0.25, 0.5, 0.75]), epochs=3)
    loss = losses.Custom(Pinball(), target_width=1)
    other.fit(X, y, loss=loss, epochs=3, validation_data=(X, y[:, None]))
    assert close(other.theta, one.theta, 1e-12)
    assert repr(loss) == "Custom(Pinball, target_width=1)"
    with pytest.raises(ValueError, match=r"y must have shape \(n, 1\) or \(n,\), got \(50, 3\)"):
        other.fit(X, X, loss=loss, epochs=1)
    seen = []

    def record(y_true, y_pred):
        seen.append(y_true.shape)
        return np.zeros(len(y_pred)), np.zeros_like(y_pred)

    for y in (np.zeros(50), np.zeros((50, 1)), np.zeros((50, 17))):
        other.fit(X, y, loss=record, epochs=1, batch_size=None)
        dr.Trainer(other, record).step(X, y)
    assert seen == [(50, 1)] * 4 + [(50, 17)] * 2
    for bad in (np.zeros((50, 0)), np.zeros((50, 2, 2)), np.zeros(())):
        with pytest.raises(ValueError, match=r"y must have shape \(n, at least 1\) or \(n,\), got"):
            other.fit(X, bad, loss=record, epochs=1)
    with pytest.raises(ValueError, match=r"validation_data\[1\] must have targets of the same"):
        other.fit(X, y, loss=record, epochs=1, validation_data=(X, np.zeros(50)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((3,), "function must be a function"), ((Pinball,), "function must be a function"),
     ((mse, 0), "target_width must be an integer >= 1, got 0"),
     ((mse, 1.5), "target_width must be an integer >= 1, got 1.5")],
)  # fmt: skip
def test_bad_settings_are_refused(arguments, expected):
    with pytest.raises((TypeError, ValueError), match=expected):
        losses.Custom(*arguments)


# ---- mistakes -----------------------------------------------------------------------------------

NAN = float("nan")
FAULTS = {  # what it returns for y_pred, the error, what that says
    "None": (lambda a: None, TypeError, r"pair \(losses, gradient\), got None"),
    "a number": (lambda a: 0.5, TypeError, "pair .* got 0.5"),
    "an array": (lambda a: np.zeros((2, 8)), TypeError, "pair .* got array"),
    "three": (lambda a: (a.sum(axis=1), a, a), ValueError, "pair .* got 3 values"),
    "one": (lambda a: (a.sum(axis=1),), ValueError, "pair .* got 1 values"),
    "a mean": (lambda a: (a.mean(), a), ValueError, r"losses of shape \(8,\), .*, got .*float"),
    "a column": (lambda a: (a[:, :1], a), ValueError, r"losses of shape \(8,\), .*, got \(8, 1\)"),
    "losses of each output": (lambda a: (a, a), ValueError, r"losses .* got \(8, 2\)"),
    "too few": (lambda a: (a[1:, 0], a), ValueError, r"losses .* got \(7,\)"),
    "a flat gradient": (lambda a: (a[:, 0], a.ravel()), ValueError, r"\(8, 2\), .* got \(16,\)"),
    "a column of it": (lambda a: (a[:, 0], a[:, :1]), ValueError, r"gradient .* got \(8, 1\)"),
    "no gradient": (lambda a: (a[:, 0], None), ValueError, r"gradient .* got None"),
    "complex losses": (lambda a: (1j * a[:, 0], a), ValueError, "losses .* got dtype complex"),
    "complex gradient": (lambda a: (a[:, 0], 1j * a), ValueError, "gradient .* dtype complex"),
    "text": (lambda a: (["x"] * 8, a), ValueError, "losses must hold real numbers"),
    "masked": (lambda a: (np.ma.masked_less(a[:, 0], 9), a), ValueError, "masked"),
    "NaN in the gradient": (lambda a: (a[:, 0], a * NAN), ValueError, "finite, got nan at row 0"),
    "too large for float32": (
        lambda a: (a[:, 0], np.full(a.shape, 1e300)), ValueError, "finite, got inf at row 0"
    ),
    "NaN": (lambda a: (a[:, 0] * NAN, a), dr.DivergenceError, "loss is nan"),
    "inf": (lambda a: (a[:, 0] + np.inf, a * NAN), dr.DivergenceError, "loss is inf"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("n_right", [0, 2, 7])
def test_what_is_no_loss_is_refused(fault, n_right):
    """In the first step nothing is changed; later the epoch's start comes back, 5 steps each."""
    wrong, error, message = FAULTS[fault]
    X, Y = problem(40)
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(6, "tanh"), dr.Dense(2)]
    net, same = (dr.Network(layers, seed=0) for _ in range(2))
    n_calls = 0

    def loss(y_true, y_pred):
        nonlocal n_calls
        n_calls += 1
        return mse(y_true, y_pred) if n_calls <= n_right else wrong(y_pred)

    with pytest.raises(error, match=message):
        net.fit(X, Y, loss=loss, batch_size=8, epochs=3)
    if n_right:
        same.fit(X, Y, loss=mse, batch_size=8, epochs=n_right // 5)
    assert np.array_equal(net.theta, same.theta)
    assert net.n_steps == same.n_steps == n_right // 5 * 5
    if n_right == 0 and error is not dr.DivergenceError:
        assert net.history is None
        with pytest.raises(ValueError, match="no statistics"):
            dr.Trainer(net).step(X, Y)
    net.fit(X, Y, loss=mse, epochs=1)


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_refused_step_changes_nothing(fault):
    wrong, error, message = FAULTS[fault]
    X, Y = problem(8)
    net = dense((3, 6, 2), ("tanh", "identity"), dtype="float32")
    kept = net.theta.copy()
    trainer = dr.Trainer(net, lambda y, a: wrong(a))
    for rows in ((X, Y), (X.astype("float32"), Y.astype("float32"))):
        with pytest.raises(error, match=message):
            trainer.step(*rows)
    if error is not dr.DivergenceError:
        with pytest.raises(error, match=message):
            net.gradient(X, Y, trainer.loss)
        with pytest.raises(error, match=message):
            net.trace(X, Y, trainer.loss)
    assert np.array_equal(net.theta, kept)
    assert net.n_steps == 0


def test_a_mistake_that_shows_in_validation_only():
    X, Y = problem(40)

    def loss(y_true, y_pred):
        return mse(y_true, y_pred) if len(y_pred) == 8 else None

    net = dense((3, 6, 2), ("tanh", "identity"))
    kept = net.theta.copy()
    with pytest.raises(TypeError, match="pair"):
        net.fit(X, Y, loss=loss, batch_size=8, epochs=3, validation_data=(X, Y))
    assert np.array_equal(net.theta, kept)


class OwnError(Exception):
    pass


@pytest.mark.parametrize("error", [OwnError("mine"), KeyboardInterrupt(), ValueError("mine")])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_what_it_raises_reaches_the_caller_and_finished_steps_stay(error, n_threads):
    """And a trainer goes on from there with the same bits."""
    X, Y = rng(0).normal(size=(800, 3)), rng(1).normal(size=(800, 2))
    fails = True

    def loss(y_true, y_pred):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 7 and fails:
            raise error
        return mse(y_true, y_pred)

    nets = [dense((3, 300, 100, 2), ("tanh", "tanh", "identity"), dropout=0.1) for _ in range(3)]
    run = {"batch_size": 200, "epochs": 3, "n_threads": n_threads}
    n_calls = 0
    trainer = dr.Trainer(nets[0], loss, seed=1)
    with pytest.raises(type(error)) as info:
        trainer.run(X, Y, **run)
    assert info.value is error
    assert len(trainer.history["loss"]) == 1
    dr.Trainer(nets[1], mse, seed=1).run(X, Y, max_steps=6, **run)
    assert np.array_equal(nets[0].theta, nets[1].theta)
    fails = False
    trainer.run(X, Y, **run)
    dr.Trainer(nets[2], mse, seed=1).run(X, Y, **run)
    assert np.array_equal(nets[0].theta, nets[2].theta)


def test_an_error_in_the_first_step_leaves_the_network_as_it_was():
    def fail(y_true, y_pred):
        raise OwnError

    X, Y = problem(40)
    net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()], seed=0)
    trainer = dr.Trainer(net, fail)
    with pytest.raises(OwnError):
        trainer.run(X, Y, epochs=1, batch_size=8)
    assert net.history is None
    with pytest.raises(ValueError, match="no statistics"):
        dr.Trainer(net, mse).step(X, Y)
    with pytest.raises(OwnError):  # not held to a batch_size of 8
        trainer.run(X, Y, epochs=1, batch_size=9)


def test_ctrl_c_in_it():
    X, Y = problem(40)
    net, same = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))

    def loss(y_true, y_pred):
        if net.n_steps == 3:
            signal.raise_signal(signal.SIGINT)
        return mse(y_true, y_pred)

    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, loss=loss, batch_size=8, epochs=10)
    dr.Trainer(same, mse).run(X, Y, batch_size=8, max_steps=3)
    assert np.array_equal(net.theta, same.theta)
    assert list(net.history) == ["loss", "seconds"]


def test_max_seconds_is_looked_at_after_each_call():
    import time

    def slow(y_true, y_pred):
        time.sleep(0.1)
        return mse(y_true, y_pred)

    net = dense((3, 2), ("identity",))
    net.fit(*problem(40), loss=slow, batch_size=1, epochs=10**6, max_seconds=0.05)
    assert net.n_steps == 1


# ---- what it may do meanwhile -------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 3])
def test_it_may_use_the_network_but_not_train_it(n_threads):
    X, Y = rng(0).normal(size=(400, 3)), rng(1).normal(size=(400, 2))
    one, other = (dense((3, 300, 100, 2), ("tanh", "tanh", "identity")) for _ in range(2))
    run = {"batch_size": 200, "epochs": 2, "n_threads": n_threads}

    def look(y_true, y_pred):
        one.predict(X, n_threads=2)
        one.predict(X[:2].astype("float32"))
        one.evaluate(X, Y, mse)
        one.trace(X[:3], Y[:3])
        return mse(y_true, y_pred)

    one.fit(X, Y, loss=look, **run)
    other.fit(X, Y, loss=mse, **run)
    assert np.array_equal(one.theta, other.theta)
    for use in (lambda: one.fit(X, Y), lambda: dr.Trainer(one).step(X[:1], Y[:1])):

        def train(y_true, y_pred, use=use):
            return use()

        with pytest.raises(RuntimeError, match="fit"):
            one.fit(X, Y, loss=train, **run)
    trainer = dr.Trainer(one, lambda y, a: dr.Trainer(one).step(X[:1], Y[:1]))
    with pytest.raises(RuntimeError, match="fit"):
        trainer.step(X[:1], Y[:1])
    one.fit(X, Y, epochs=1)


def test_a_recursive_loss_ends():
    net = dr.Network([1, 1], seed=0)
    with pytest.raises(RecursionError):
        net.evaluate([[1.0]], [1.0], recursive := lambda y, a: net.evaluate(y, y, recursive))


def test_it_may_train_another_network():
    X, Y = problem(40)
    net, other = (dense((3, 6, 2), ("tanh", "identity")) for _ in range(2))

    def loss(y_true, y_pred):
        other.fit(X, Y, loss=mse, epochs=1)
        return mse(y_true, y_pred)

    net.fit(X, Y, loss=loss, epochs=1, batch_size=None)
    assert other.n_steps == 2


def test_a_trainer_and_its_loss_can_be_collected():
    """Though each holds the other, and a part of it is no object of Python."""

    class Model:
        def __init__(self):
            self.trainer = dr.Trainer(dr.Network([3, 2], seed=0), self.loss)

        def loss(self, y_true, y_pred):
            return mse(y_true, y_pred)

    model = Model()
    model.trainer.step(*problem(5))
    seen = weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None


def test_numpy_sees_subnormal_numbers_in_it():
    def loss(y_true, y_pred):
        assert np.float64(5e-324) * np.float64(1) > 0
        return mse(y_true, y_pred)

    dense((3, 2), ("identity",)).fit(*problem(40), loss=loss, epochs=2)


# ---- checkpoints --------------------------------------------------------------------------------

SETTING = '''
    import json, sys
    from pathlib import Path
    import numpy as np
    import deltarule as dr

    def own(y_true, y_pred):
        r = y_pred - y_true
        return np.log(np.cosh(r)).sum(axis=1), np.tanh(r)

    X = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    Y = np.sin(3 * X.sum(axis=1, keepdims=True))
    run = dict(epochs=10, batch_size=9, validation_data=(X[:20], Y[:20]), keep_best=True)
    path = Path(sys.argv[1])
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(8, "tanh"), dr.Dropout(0.2), dr.Dense(1)]

    def outcome(trainer):
        columns = [trainer.history[key].tobytes().hex() for key in ("loss", "val_loss")]
        return [*columns, trainer.network.theta.tobytes().hex(), trainer.best_epoch]
'''  # fmt: skip
STOP = (
    SETTING
    + """
    whole, trainer = (dr.Trainer(dr.Network(layers, seed=1), own, seed=2) for _ in range(2))
    whole.run(X, Y, **run)
    for step in range(1, 41):
        trainer.run(X, Y, max_steps=1, **run)
        trainer.save(path / f"{step}.safetensors")
    print(json.dumps(outcome(whole)))
"""
)
RESUME = (
    SETTING
    + """
    results = []
    for step in range(1, 41):
        trainer = dr.Trainer.resume(path / f"{step}.safetensors", loss=own)
        assert trainer.network.n_steps == step
        trainer.run(X, Y, **run)
        results.append(outcome(trainer))
    print(json.dumps(results))
"""
)


def test_resume_at_each_of_forty_steps_in_another_process(tmp_path):
    whole = run_python(STOP, tmp_path)
    assert run_python(RESUME, tmp_path) == [whole] * 40


def test_resume_asks_for_the_loss(tmp_path):
    path, other = tmp_path / "own.safetensors", tmp_path / "mse.safetensors"
    net = dr.Network([3, 2], seed=0)
    dr.Trainer(net, mse).save(path)
    dr.Trainer(net).save(other)
    assert np.array_equal(dr.load(path).theta, net.theta)
    assert dr.Trainer.resume(path, loss=mse).loss == losses.Custom(mse)
    assert dr.Trainer.resume(path, loss=losses.Custom(mse, 2)).loss.target_width == 2
    with pytest.raises(ValueError, match=r"loss must be given: .* own, 'mse'"):
        dr.Trainer.resume(path)
    with pytest.raises(ValueError, match=r"loss must be left out, got Custom\(mse\): .* MSE\(\)"):
        dr.Trainer.resume(other, loss=mse)
    for bad in ("mse", dr.losses.MSE(), Pinball, 3):
        with pytest.raises(TypeError, match="loss must be a function or a Custom, got"):
            dr.Trainer.resume(path, loss=bad)
