""" "Values and settings" of FAULTS.md: refused with the name, what is allowed and what came."""

import dataclasses
import decimal
import time

import numpy as np
import pytest

import deltarule as dr
from helpers import ACTIVATIONS, LOSSES, dense, problem, rng, run_python, targets
from tolerances import close

NAN, INF = float("nan"), float("inf")


def refused(error, match=None):
    return pytest.raises(error, match=match)


class Kept:
    """A network that must come out of a block as it went in."""

    def __init__(self, **settings):
        self.net = dense((3, 4, 2), ("tanh", "identity"), **settings)
        self.theta = self.net.theta.copy()

    def __enter__(self):
        return self.net

    def __exit__(self, *_):
        assert np.array_equal(self.net.theta, self.theta)
        assert self.net.n_steps == 0


# ---- values in the data -------------------------------------------------------------------------

TRAINING = {
    "fit": lambda net, X, y: net.fit(X, y, epochs=3, batch_size=8),
    "fit shuffled whole": lambda net, X, y: net.fit(X, y, epochs=3, batch_size=None),
    "step": lambda net, X, y: dr.Trainer(net).step(X, y),
    "gradient": lambda net, X, y: net.gradient(X, y),
    "evaluate": lambda net, X, y: net.evaluate(X, y),
}


@pytest.mark.parametrize("task", list(TRAINING))
@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("which", ["X", "y"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8"])
def test_data_that_is_not_finite(task, value, which, dtype):
    X, Y = (array.astype(dtype) for array in problem(30))
    {"X": X, "y": Y}[which][17, 1] = value
    {"X": X, "y": Y}[which][25, 0] = value  # the first in the order of rows is named
    with Kept() as net, refused(ValueError, rf"\b{which}b?\b.*row 17\b.*column 1\b"):
        TRAINING[task](net, X, Y)


def test_a_float64_beyond_float32_is_not_finite_in_float32():
    X, Y = problem(30)
    X[3, 2] = 1e300
    with Kept(dtype="float32") as net, refused(ValueError, r"X.*1e\+?300.*row 3\b"):
        net.fit(X, Y, epochs=1)


def test_nan_in_a_scaling_layers_data_is_refused_before_anything_is_fitted():
    X, Y = problem(30)
    net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()], seed=0)
    Y[29, 1] = NAN
    with refused(ValueError, "y.*row 29"):
        net.fit(X, Y, epochs=1)
    assert not net.layers[0].fitted
    assert not net.layers[2].fitted


def test_nan_at_predict_stays_in_its_row():
    for names in [(name, "identity") for name in ACTIVATIONS] + [
        ("tanh", name) for name in ACTIVATIONS
    ]:
        net = dense((3, 8, 2), names, dtype="float32")
        X = rng(0).normal(size=(40, 3))
        clean = net.predict(X)
        X[7, 1] = NAN
        result = net.predict(X)
        assert np.isnan(result[7]).all(), names
        others = np.arange(40) != 7
        assert np.array_equal(result[others], clean[others]), names


def test_infinity_at_predict_stays_in_its_row():
    net = dense((3, 8, 2), ("tanh", "identity"), dtype="float32")
    X = rng(0).normal(size=(40, 3))
    clean = net.predict(X)
    X[7, 1] = INF
    others = np.arange(40) != 7
    assert np.array_equal(net.predict(X)[others], clean[others])


def test_constant_columns_are_not_divided_by_zero():
    X, Y = problem(30)
    X[:, 1], Y[:, 0] = 7.0, 1e6 / 3
    net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()], seed=0)
    net.fit(X, Y, epochs=2)
    assert net.layers[0].scale[1] == 1
    assert net.layers[2].scale[0] == 1
    assert np.isfinite(net.predict(X)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_offsets_are_standardised_right(dtype):
    """The mean is a million deviations: a sum of squares would have cancelled."""
    X = 1e6 + rng(0).normal(size=(1000, 3))
    net = dr.Network([dr.Input(3), dr.Standardize(), dr.Dense(1)], dtype=dtype, seed=0)
    net.fit(X, np.zeros(1000), epochs=1)
    rtol = 1e-9 if dtype == "float64" else 0.1  # float32 rows are rounded to 1/16 of a deviation
    assert close(net.layers[0].scale, X.std(axis=0), rtol)


def test_scaling_is_fitted_once():
    X, Y = problem(50)
    layers = [dr.Input(3), dr.Standardize(), dr.Dense(2), dr.Rescale()]
    net = dr.Network(layers, dtype="float64", seed=0)
    net.fit(5 * X + 2, 3 * Y, epochs=1)
    assert close(net.layers[0].mean, (5 * X + 2).mean(axis=0), 1e-12)
    assert close(net.layers[0].scale, (5 * X).std(axis=0), 1e-12)
    assert close(net.layers[2].scale, (3 * Y).std(axis=0), 1e-12)
    kept = net.layers[0].mean.copy()
    net.fit(X - 9, Y, epochs=1)
    assert np.array_equal(net.layers[0].mean, kept)


def test_statistics_of_the_users_own():
    layers = [
        dr.Input(2),
        dr.Standardize(mean=[1, 2], scale=[2, 4]),
        dr.Dense(1),
        dr.Rescale(mean=3, scale=5.0),
    ]
    net = dr.Network(layers, dtype="float64", seed=0)
    X = rng(0).normal(size=(9, 2))
    W, b = net.layers[1].W, net.layers[1].b
    assert close(net.predict(X), ((X - [1, 2]) / [2, 4]) @ W.T * 5 + b * 5 + 3, 1e-12)
    net.fit(X, X[:, 0], epochs=1)
    assert net.layers[0].mean.tolist() == [1, 2]
    for bad in [
        {"mean": 0.0},
        {"scale": 1.0},
        {"mean": 0, "scale": 0},
        {"mean": 0, "scale": -1},
        {"mean": NAN, "scale": 1},
        {"mean": 0, "scale": INF},
    ]:
        with refused(ValueError, "mean|scale"):
            dr.Standardize(**bad)
    with refused(ValueError, "mean"):
        dr.Network([dr.Input(2), dr.Standardize(mean=[1, 2, 3], scale=1.0), dr.Dense(1)])


def test_scaling_layers_have_their_places():
    with refused(ValueError, "Standardize"):
        dr.Network([dr.Input(2), dr.Dense(2), dr.Standardize()])
    with refused(ValueError, "Rescale"):
        dr.Network([dr.Input(2), dr.Rescale(), dr.Dense(2)])


SUBNORMAL = """
    import json, time
    import numpy as np
    import deltarule as dr

    tiny = np.float32(1e-41)
    net = dr.Network([64, 64, 64], activation="relu", seed=0)
    X = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)

    def once():
        start = time.perf_counter()
        net.predict(X)
        return time.perf_counter() - start

    normal = min(once() for _ in range(9))
    net.theta[:] = tiny
    X[:] = tiny
    subnormal = min(once() for _ in range(9))
    zero = bool((net.predict(X) == 0).all())
    net.fit(X, np.zeros((2000, 64)), epochs=1)
    net.gradient(X, np.zeros((2000, 64)))
    kept = float(np.float64(5e-324) * 1.0) > 0 and float(np.float32(1e-41) * np.float32(1)) > 0
    print(json.dumps({"ratio": subnormal / normal, "zero": zero, "kept": bool(kept)}))
"""


def test_subnormal_numbers_count_as_zero_and_cost_nothing():
    result = run_python(SUBNORMAL)
    assert result["zero"]
    assert result["kept"]  # Python's own arithmetic still has subnormals
    assert result["ratio"] < 10  # without flushing: about 100


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_huge_logits_train(loss):
    net = dr.Network([2, 2], output="identity", dtype="float32", seed=0)
    X, Y = 1e4 * np.eye(2), np.eye(2)[::-1]
    net.layers[0].W[:] = np.eye(2)
    assert np.isfinite(net.fit(X, Y, loss=loss, epochs=3)["loss"]).all()


# ---- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**40), 0.5, NAN, INF])
@pytest.mark.parametrize("task", list(TRAINING))
def test_class_indices_out_of_range(bad, task):
    net = dense((3, 4, 5), ("tanh", "softmax"))
    kept = net.theta.copy()
    y = rng(0).integers(5, size=30).astype(float)
    y[11] = bad
    with refused(ValueError, r"\byb?\b.*row 11\b"):
        TRAINING[task](net, problem(30)[0], y)
    assert np.array_equal(net.theta, kept)


def test_targets_outside_the_range_of_their_loss():
    X, _ = problem(30)
    for loss, output, bad in [
        ("binary_cross_entropy", "sigmoid", 1.5),
        ("binary_cross_entropy", "identity", -0.1),
        ("poisson", "exp", -1.0),
    ]:
        net = dense((3, 4, 2), ("tanh", output))
        kept = net.theta.copy()
        Y = targets(loss, 30, 2)
        Y[11, 1] = bad
        with refused(ValueError, r"\byb?\b.*row 11\b"):
            net.fit(X, Y, loss=loss, epochs=1)
        assert np.array_equal(net.theta, kept)


def test_late_faults_restore_the_start_of_the_epoch():
    """The fault is in the last batch: the steps before it are taken back."""
    X, Y = problem(40)
    X[39, 0] = NAN
    with Kept() as net, refused(ValueError, "row 39"):
        net.fit(X, Y, batch_size=4, shuffle=False, epochs=2)


# ---- settings of fit ----------------------------------------------------------------------------

ERRORS = (ValueError, TypeError)


def bad(**arguments):
    return [
        pytest.param(name, value, id=f"{name}={value!r:.40}")
        for name, values in arguments.items()
        for value in values
    ]


FIT = bad(
    epochs=[-1, 2.5, "3", None, True, NAN],
    batch_size=[0, -1, 2.5, True, "8", NAN],
    shuffle=["yes", 2],
    tol=[-1.0, NAN, INF, "small"],
    patience=[0, -1, 2.5, "x"],
    max_seconds=[-1, NAN, "x"],
    seed=[-1, 2**64, 1.5, "x", NAN],
    loss=["msa", 3, lambda a, b: 0, []],
    optimizer=["adamm", 3, {}],
    metrics=[["rmsee"], [3], 5],
    callbacks=[[3], 5],
    sample_weight=[
        -np.ones(30),
        np.full(30, NAN),
        np.full(30, INF),
        np.ones(29),
        np.ones((30, 2)),
        np.zeros(30),
        "x",
    ],
    validation_data=[
        3,
        (1,),
        (np.zeros((0, 3)), np.zeros((0, 2))),
        (np.zeros((4, 2)), np.zeros((4, 2))),
        (np.zeros((4, 3)), np.zeros((3, 2))),
        (np.full((4, 3), NAN), np.zeros((4, 2))),
        (np.zeros((4, 3)), np.full((4, 2), NAN)),
        (np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4)),
    ],
    n_threads=[0, -1, 2.5, "x"],
    progress=["x"],
    restore_best=["yes", 2, None],
)


@pytest.mark.parametrize(("name", "value"), FIT)
def test_bad_settings_of_fit_are_refused(name, value):
    with Kept() as net, refused(ERRORS, name.removesuffix("_data")):
        net.fit(*problem(30), **{"epochs": 1, name: value})


@pytest.mark.parametrize(
    ("name", "value"), [p for p in FIT if p.values[0] in ("epochs", "batch_size", "seed", "tol")]
)
def test_the_message_shows_what_came(name, value):
    with Kept() as net, pytest.raises(ERRORS) as info:
        net.fit(*problem(30), **{"epochs": 1, name: value})
    assert str(value) in str(info.value) or repr(value) in str(info.value)


def test_a_batch_larger_than_the_data_is_the_data():
    X, Y = problem(30)
    one, other = (dense((3, 4, 2), ("tanh", "identity")) for _ in range(2))
    one.fit(X, Y, batch_size=10**12, epochs=2)
    other.fit(X, Y, batch_size=30, epochs=2)
    assert np.array_equal(one.theta, other.theta)


def test_numpy_integers_are_integers():
    X, Y = problem(30)
    net = dr.Network([np.int64(3), np.uint8(4), np.int32(2)], seed=np.uint64(2**64 - 1))
    net.fit(X, Y, epochs=np.int8(2), batch_size=np.int16(8), seed=np.int64(3))
    assert net.n_steps == 8


def test_unknown_names_list_the_allowed_ones():
    with Kept() as net:
        with refused(ValueError, ".*".join(LOSSES[:1]) + "(?s:.*)poisson"):
            net.fit(*problem(30), loss="msa")
        with refused(ValueError, r"sgd(?s:.*)adam|adam(?s:.*)sgd"):
            net.fit(*problem(30), optimizer="adamm")
        with refused(ValueError, "rmse(?s:.*)accuracy|accuracy(?s:.*)rmse"):
            net.fit(*problem(30), metrics=["rmsee"])
    with refused(ValueError, "relu(?s:.*)softplus"):
        dr.Dense(3, "rellu")
    with refused(ValueError, "glorot_uniform(?s:.*)zeros"):
        dr.Dense(3, "relu", initializer="glorot")
    with refused(ValueError, "float32(?s:.*)float64"):
        dr.Network([3, 2], dtype="float16")


# ---- settings of optimisers, losses, layers, networks -------------------------------------------


@pytest.mark.parametrize("optimizer", [dr.SGD, dr.Adam])
@pytest.mark.parametrize("name", ["learning_rate", "l2", "weight_decay"])
@pytest.mark.parametrize("value", [-0.1, NAN, INF, -INF, "0.1", None, True, [0.1], 1j])
def test_bad_learning_rates_and_penalties(optimizer, name, value):
    with refused(ERRORS, name):
        optimizer(**{name: value})


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(dr.SGD, "momentum", v) for v in (-0.1, 1.0, NAN, "x")]
    + [(dr.SGD, "nesterov", v) for v in (2, "yes", None)]
    + [(dr.Adam, beta, v) for beta in ("beta1", "beta2") for v in (-0.1, 1.0, NAN, "x")]
    + [(dr.Adam, "epsilon", v) for v in (-1e-8, 0, NAN, "x")]
    + [(dr.losses.Huber, "delta", v) for v in (0, -1, NAN, INF, "x")],
)
def test_bad_settings_of_optimisers_and_losses(make, name, value):
    with refused(ERRORS, name):
        make(**{name: value})


def test_settings_are_frozen_and_have_reprs():
    for settings in (
        dr.SGD(learning_rate=0.1, momentum=0.9),
        dr.Adam(),
        dr.Dense(3, "relu"),
        dr.Dropout(0.1),
        dr.Embedding([0, 2], [5, 7], dimension=4),
        dr.Input(3),
        dr.Standardize(),
        dr.Rescale(),
        dr.losses.Huber(delta=2.0),
        dr.Activation("elu", alpha=2.0),
    ):
        assert eval(repr(settings), {**vars(dr), **vars(dr.losses)}) == settings
        with pytest.raises(AttributeError):
            setattr(settings, dataclasses.fields(settings)[0].name, 4)


def test_learning_rates_of_any_real_type():
    assert dr.SGD(learning_rate=np.float32(0.5)) == dr.SGD(learning_rate=0.5)
    assert dr.SGD(learning_rate=1) == dr.SGD(learning_rate=1.0)
    with refused(ERRORS, "learning_rate"):
        dr.SGD(learning_rate=decimal.Decimal("NaN"))


@pytest.mark.parametrize("size", [0, -1, 2.5, 3.0, NAN, "3", None, True, [3], 10**30])
def test_bad_sizes(size):
    every = (*ERRORS, MemoryError)
    with refused(every):
        dr.Network([3, size, 1])
    with refused(every):
        dr.Network([dr.Input(3), dr.Dense(size)])
    with refused(every):
        dr.Network([dr.Input(size), dr.Dense(2)])


def test_sizes_are_refused_with_name_and_value():
    with refused(ValueError, r"layers\[1\].*0"):
        dr.Network([3, 0, 1])
    with refused(ValueError, r"units.*-1"):
        dr.Dense(-1)
    with refused(ValueError, r"units.*2\.5"):
        dr.Dense(2.5)
    with refused(TypeError, r"units.*True"):
        dr.Dense(True)


@pytest.mark.parametrize(
    "sizes", [[2**32, 2**32], [2**31, 2**31, 2**31], [2**62, 4], [10**6, 10**9], [2**40, 2]]
)
def test_sizes_beyond_memory_are_refused_at_once(sizes):
    start = time.perf_counter()
    with refused((ValueError, MemoryError), "layers"):
        dr.Network(sizes)
    assert time.perf_counter() - start < 5  # not after trying


def test_a_hundred_thousand_layers():
    with refused(ValueError, "layers"):
        dr.Network([2] * 100_000)
    with refused(ValueError, "layers"):
        dr.Network([dr.Input(2)] + [dr.Activation("tanh")] * 100_000)


def test_a_thousand_layers_work():
    net = dr.Network([2] * 1000, activation="identity", seed=0)
    net.fit(np.ones((4, 2)), np.ones((4, 2)), epochs=1, optimizer=dr.SGD(learning_rate=0.0))
    assert net.n_parameters == 999 * 6
    repr(net), net.summary(), net.copy()


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, NAN, INF, "x", None, True])
def test_bad_dropout(rate):
    with refused(ERRORS, "rate"):
        dr.Dropout(rate)


def test_dropout_zero_is_nothing():
    X, Y = problem(30)
    with_it, without = (
        dr.Network([dr.Input(3), dr.Dense(4, "tanh"), *extra, dr.Dense(2)], seed=0)
        for extra in ([dr.Dropout(0)], [])
    )
    without.theta[:] = with_it.theta
    with_it.fit(X, Y, epochs=2)
    without.fit(X, Y, epochs=2)
    assert np.array_equal(with_it.theta, without.theta)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "x", NAN, True])
def test_bad_seeds(seed):
    with refused(ERRORS, "seed"):
        dr.Network([3, 2], seed=seed)
    with Kept() as net, refused(ERRORS, "seed"):
        dr.Trainer(net, seed=seed)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [3],
        "net",
        3,
        None,
        [dr.Dense(3)],
        [dr.Input(3)],
        [dr.Input(3), 4],
        [dr.Input(3), dr.Input(3)],
        [dr.Input(3), "relu"],
        [dr.Input(3), dr.Dense],
    ],
)
def test_bad_lists_of_layers(layers):
    with refused(ERRORS, "layers|Input|layer"):
        dr.Network(layers)


def test_activation_and_output_are_for_sizes():
    with refused(ValueError, "activation"):
        dr.Network([dr.Input(3), dr.Dense(2)], activation="tanh")
    with refused(ERRORS, "output.*'soft'"):
        dr.Network([3, 2], output="soft")
    for dtype in ("float16", "int32", 3, "x"):
        with refused(ERRORS, "dtype"):
            dr.Network([3, 2], dtype=dtype)
    assert dr.Network([3, 2], dtype=np.float64).theta.dtype == np.float64


def test_settings_are_keywords():
    with pytest.raises(TypeError):
        dr.Network([3, 2], "tanh")
    with Kept() as net, pytest.raises(TypeError):
        net.fit(*problem(30), "mse")


def test_metrics_that_do_not_fit_the_targets():
    net = dense((3, 4, 1), ("tanh", "identity"))
    for metric in ("accuracy", "log_loss"):
        with refused(ValueError, "class"):
            net.fit(*problem(30, n_outputs=1), metrics=[metric], epochs=1)
    assert net.n_steps == 0


def test_trainer_needs_a_network():
    with refused(TypeError, "network"):
        dr.Trainer("net")


def test_step_and_run_check_as_fit_does():
    with Kept() as net:
        trainer = dr.Trainer(net)
        X, Y = problem(30)
        with refused(ValueError, "sample_weight"):
            trainer.step(X, Y, sample_weight=-np.ones(30))
        with refused(ERRORS, "max_steps"):
            trainer.run(X, Y, max_steps=-1)
        with refused(ERRORS, "max_steps"):
            trainer.run(X, Y, max_steps=1.5)
        with refused(ERRORS, "epochs"):
            trainer.run(X, Y, epochs=-1)
        with refused(ValueError, "all zero|sample_weight"):
            trainer.step(X, Y, sample_weight=np.zeros(30))
