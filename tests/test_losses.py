"""Losses with settings of their own: published values, gradients, ends of the range, refusals."""

import dataclasses
import math

import numpy as np
import pytest

import deltarule as dr
import reference
from deltarule import losses
from helpers import dense, problem, rng
from test_gradients import central_differences
from tolerances import DIFFERENCE, close

Z = np.array([[0.5, -1.25, 2.0], [-0.75, 0.1, 1.5]])
REAL = np.array([[0.3, -2, 4.0], [1, 2, -3]])
SHARES = np.array([[0.2, 0.3, 0.5], [1.0, 0, 0]])


def from_outputs(Z, y, loss, output="identity", dtype="float64"):
    """The loss of given z, and its gradient with respect to z."""
    net = dr.Network([Z.shape[1], Z.shape[1]], output=output, dtype=dtype, seed=0)
    net.layers[0].W[:] = np.eye(Z.shape[1])
    return net.evaluate(Z, y, loss=loss)["loss"], net.trace(Z, y, loss=loss).layers[0].delta


# From PyTorch 2.13.0 in float64: F.cross_entropy(label_smoothing=), F.huber_loss, ...
PYTORCH = [
    (losses.CrossEntropy(label_smoothing=0.1), "softmax", [2, 0], 1.4196020707822967,
     [[0.07174342438705548, -0.0013032965034484503, -0.07044012788360704],
      [-0.427687553612165, 0.07453069248216551, 0.35315686112999944]]),
    (losses.CrossEntropy(label_smoothing=0.3), "softmax", SHARES, 1.920852070782297,
     [[-0.03158990894627785, -0.1396366298367818, 0.17122653878305966],
      [-0.3610208869454983, 0.04119735914883217, 0.31982352779666606]]),
    (losses.BinaryCrossEntropy(label_smoothing=0.2), "sigmoid", [[1, 0, 1], [0, 0, 1]],
     0.4626025034566125,
     [[-0.046256778133024236, 0.02045002313755147, -0.0032004870036862845],
      [0.036803550137434506, 0.07082986457982333, -0.013737587301059395]]),
    (losses.Huber(0.7), "identity", REAL, 1.0708333333333333,
     [[0.03333333333333333, 0.11666666666666665, -0.11666666666666665],
      [-0.11666666666666665, -0.11666666666666665, 0.11666666666666665]]),
    (losses.Focal(2.0), "softmax", [2, 0], 1.0896380418442617,
     [[0.010573401057984518, 0.0018373815975290782, -0.012410782655513597],
      [-0.5610533215386541, 0.11098538637806826, 0.4500679351605858]]),
    (losses.Hinge(), "identity", [[1, -1, 1], [-1, -1, 1]], 0.30833333333333335,
     [[-1 / 6, 0, 0], [1 / 6, 1 / 6, 0]]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "output", "y", "value", "gradient"), PYTORCH, ids=[repr(row[0]) for row in PYTORCH]
)
def test_values_and_gradients_of_pytorch(loss, output, y, value, gradient):
    found, delta = from_outputs(Z, y, loss, output)
    assert math.isclose(found, value, rel_tol=1e-12)
    assert close(delta, gradient, 1e-12)


def test_gaussian_nll_of_pytorch():
    z = np.array([[0.5, -1.25, 0.2, -0.4], [-0.75, 0.1, 1.5, 0.3]])
    value, delta = from_outputs(z, [[0.3, -2], [1, 2.0]], "gaussian_nll")
    assert math.isclose(value, 0.7286988143327378, rel_tol=1e-12)
    expected = [
        [0.0409365376538991, 0.2797171308077382, 0.1209063462346101, 0.020106075947098193],
        [-0.09761944506493805, -0.351888654823816, 0.03958298556817919, -0.20929422208262516],
    ]
    assert close(delta, expected, 1e-12)


# PyTorch's values and derivatives at AT, float64.
AT = [-6.0, -2.5, -0.75, -0.1, 0.1, 0.75, 2.5, 6.0]
OF_PYTORCH = {
    "gelu": (
        [-5.919525869479969e-09, -0.015524163314440398, -0.16997051428265111, -0.0460172162722971,
         0.053982783727702904, 0.5800294857173489, 2.4844758366855597, 5.999999994080474],
        [-3.546870945402639e-08, -0.03761108590814519, 0.0007742782607648158, 0.4204769079752698,
         0.5795230920247302, 0.9992257217392352, 1.037611085908145, 1.0000000354687093],
    ),
    "selu": (
        [-1.7537414482794556, -1.6137857588732425, -0.9276320158350512, -0.16730527262431394,
         0.10507009873554805, 0.7880257405166103, 2.626752468388701, 6.304205924132883],
        [0.0043578925679211246, 0.1443135819741343, 0.8304673250123255, 1.5907940682230626,
         1.0507009873554805, 1.0507009873554805, 1.0507009873554805, 1.0507009873554805],
    ),
    "mish": (
        [-0.014854080479424995, -0.19681620390653337, -0.27649471450546514, -0.05678857521284473,
         0.06317941749148973, 0.6100183352182934, 2.471392304557881, 5.999926634065252],
        [-0.01235996793178131, -0.10974357275018566, 0.16074574049983864, 0.5357028178729798,
         0.6633368207519952, 0.985758355716688, 1.041129530131353, 1.00013414050621],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(OF_PYTORCH))
def test_activations_of_pytorch(name):
    net = dr.Network([dr.Input(1), dr.Dense(1, name)], dtype="float64", seed=0)
    net.theta = [1.0, 0.0]
    x = np.array(AT)[:, None]
    values, slopes = (np.array(each)[:, None] for each in OF_PYTORCH[name])
    assert close(net.predict(x), values, 1e-14)
    assert close(net.backward(x, np.ones((8, 1)))[1], slopes, 1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_is_exact_to_a_few_ulps_everywhere(dtype):
    x = np.linspace(-14 if dtype == "float32" else -38, 9, 20011).astype(dtype)
    net = dr.Network([dr.Input(1), dr.Activation("gelu")], dtype=dtype, seed=0)
    exact = reference.ACTIVATIONS["gelu"][0](x.astype(float))
    counts = abs(exact) > 100 * np.finfo(dtype).tiny
    found = net.predict(x[:, None])[:, 0].astype(float)
    assert (abs(found - exact) <= 7 * np.finfo(dtype).eps * abs(exact))[counts].all()


# ---- gradients of what PAIRS in helpers.py does not reach ---------------------------------------

SETTINGS = [
    (losses.Quantile(0.9), "identity", 3, "real"),
    (losses.Quantile([0.1, 0.5, 0.95]), "identity", 3, "one"),
    (losses.Quantile([0.1, 0.5, 0.7, 0.8, 0.95]), "softplus", 5, "one"),
    (losses.GaussianNLL(), "identity", 2, "one"),
    (losses.GaussianNLL(), "identity", 12, "half"),
    (losses.Hinge(squared=True), "identity", 3, "sign"),
    (losses.CrossEntropy(label_smoothing=0.2), "softmax", 20, "class"),
    (losses.CrossEntropy(label_smoothing=0.2), "identity", 3, "shares"),
    (losses.BinaryCrossEntropy(label_smoothing=0.2), "identity", 5, "shares"),
    (losses.Focal(0.5), "softmax", 3, "class"),
    (losses.Focal(2.0, alpha=[0.5, 1, 2]), "softmax", 3, "shares"),
    (losses.Focal(3.0), "softmax", 20, "class"),
    (losses.Focal(0, alpha=0.25), "sigmoid", 1, "shares"),
    (losses.Focal(1.5, alpha=0.75), "sigmoid", 5, "shares"),
]


def targets_of(kind, n, width):
    g = rng(n, width)
    return {
        "real": lambda: g.normal(size=(n, width)),
        "one": lambda: g.normal(size=n),
        "half": lambda: g.normal(size=(n, width // 2)),
        "sign": lambda: np.sign(g.normal(size=(n, width))),
        "class": lambda: g.integers(width, size=n),
        "shares": lambda: g.uniform(0, 1, (n, width)),
    }[kind]()


@pytest.mark.parametrize(
    ("loss", "output", "width", "kind"), SETTINGS, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in SETTINGS]
)
def test_gradients_agree_with_central_differences(loss, output, width, kind):
    net = dense((3, 4, width), ("gelu", output))
    X, y, w = rng(5).normal(size=(6, 3)), targets_of(kind, 6, width), rng(6).uniform(0.2, 2, 6)
    value, gradient = net.gradient(X, y, loss=loss, sample_weight=w)
    assert net.evaluate(X, y, loss=loss, sample_weight=w)["loss"] == pytest.approx(value)
    differences = central_differences(
        lambda: net.gradient(X, y, loss=loss, sample_weight=w)[0], net.theta
    )
    assert abs(gradient).max() > 1e-3
    assert close(gradient, differences, DIFFERENCE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "output", "width", "kind"), SETTINGS, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in SETTINGS]
)
def test_threads_blocks_and_ways_in_do_not_matter(loss, output, width, kind, dtype):
    """fit on any number of threads, and steps by hand, have the same bits."""
    X, y = rng(1).normal(size=(1000, 3)), targets_of(kind, 1000, width)

    def trained(n_threads):
        net = dense((3, 100, 100, width), ("mish", "gelu", output), dtype=dtype)
        net.fit(X, y, loss=loss, optimizer="sgd", epochs=2, batch_size=1000, shuffle=False,
                n_threads=n_threads)  # fmt: skip
        return net.theta.tobytes()

    net = dense((3, 100, 100, width), ("mish", "gelu", output), dtype=dtype)
    trainer = dr.Trainer(net, loss=loss, optimizer="sgd")
    for _ in range(2):
        trainer.step(X, y)
    assert {trained(1), trained(2), trained(5)} == {net.theta.tobytes()}


def test_several_quantiles_are_quantiles_of_one_target():
    q, y = [0.1, 0.5, 0.9], np.array([0.2, 1.0])
    value, _ = from_outputs(Z, y, losses.Quantile(q))
    r = y[:, None] - Z
    assert math.isclose(value, np.maximum(q * r, (np.array(q) - 1) * r).mean(), rel_tol=1e-14)
    assert losses.Quantile([0.3]) == losses.Quantile(0.3)


def test_no_smoothing_and_no_focus_are_the_cross_entropy():
    for loss in (losses.CrossEntropy(label_smoothing=0.0), losses.Focal(0.0)):
        assert from_outputs(Z, [2, 0], loss, "softmax")[0] == pytest.approx(
            from_outputs(Z, [2, 0], "cross_entropy", "softmax")[0], rel=1e-14
        )
    assert from_outputs(Z, SHARES, losses.Focal(0.0), "sigmoid")[0] == pytest.approx(
        from_outputs(Z, SHARES, "binary_cross_entropy", "sigmoid")[0], rel=1e-14
    )


def test_focal_of_classes_agrees_with_the_reference():
    value, _ = from_outputs(Z, SHARES, losses.Focal(2.0, alpha=[1, 2, 0.5]), "softmax")
    each = reference.focal_classes(Z.T, SHARES.T * [[1], [2], [0.5]])
    assert math.isclose(value, each.sum(axis=0).mean(), rel_tol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "output", "y"),
    [
        (losses.Focal(), "softmax", [0, 2, 1]),
        (losses.Focal(0.5), "softmax", np.eye(3)),
        (losses.Focal(), "sigmoid", np.eye(3)),
        (losses.Focal(0.0), "sigmoid", np.eye(3)),
        (losses.CrossEntropy(label_smoothing=0.1), "softmax", [0, 2, 1]),
        (losses.CrossEntropy(label_smoothing=0.1), "softmax", np.eye(3)),
        (losses.BinaryCrossEntropy(label_smoothing=0.1), "sigmoid", np.eye(3)),
        ("hinge", "identity", np.sign(np.eye(3) - 0.5)),
        ("log_cosh", "identity", np.eye(3)),
        ("quantile", "identity", np.eye(3)),
    ],
    ids=repr,
)
def test_huge_logits_have_finite_loss_and_gradient(loss, output, y, dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, -1e4]])
    value, delta = from_outputs(logits, y, loss, output, dtype)
    assert np.isfinite(value)
    assert value > 0
    assert np.isfinite(delta).all()
    assert abs(delta).max() > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_cosh_keeps_its_digits(dtype):
    for r in (1e-6, 1e-3, 0.5, 0.999, 1.001, 3.0, 30.0):
        r = float(np.dtype(dtype).type(r))
        exact = math.log(math.cosh(r)) if r > 0.1 else r**2 / 2 - r**4 / 12 + r**6 / 45
        value, delta = from_outputs(np.array([[r]]), [[0.0]], "log_cosh", dtype=dtype)
        assert math.isclose(value, exact, rel_tol=16 * np.finfo(dtype).eps)
        assert math.isclose(delta[0, 0], math.tanh(r), rel_tol=16 * np.finfo(dtype).eps)


def test_gaussian_nll_learns_mean_and_variance():
    X = rng(0).uniform(-1, 1, (2000, 1))
    spread = np.exp(0.8 * X[:, 0] - 1)
    y = 2 * X[:, 0] + spread * rng(1).normal(size=2000)
    net = dr.Network([1, 2], seed=0)
    history = net.fit(X, y, loss="gaussian_nll", optimizer=dr.Adam(0.01), epochs=60,
                      metrics=["rmse", "r2"])  # fmt: skip
    mean, log_variance = net.predict([[-1.0], [1.0]]).T
    assert close(mean, [-2, 2], 0.05)
    assert close(0.5 * log_variance, [-1.8, -0.2], 0.08)
    rmse = np.sqrt(np.mean((net.predict(X)[:, 0] - y) ** 2))
    assert history["rmse"][-1] == pytest.approx(rmse, rel=1e-5)
    assert net.evaluate(X, y, "gaussian_nll", metrics=["rmse"])["rmse"] == pytest.approx(rmse)


def test_a_vanishing_variance_is_a_divergence():
    net = dr.Network([1, 2], dtype="float32", seed=0)
    net.theta = [0.0, 0.0, 0.0, -200.0]
    with pytest.raises(dr.DivergenceError):
        net.fit([[1.0]], [1.0], loss="gaussian_nll", epochs=1)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "output", "width", "y", "message"),
    [
        ("gamma", "exp", 2, [[1.0, 0.0], [1, 1]], "greater than 0, got 0 at row 0, column 1"),
        ("gamma", "exp", 2, [[1.0, 1.0], [-1, 1]], "greater than 0, got -1 at row 1, column 0"),
        ("gamma", "exp", 1, [1.0, 1e-310], "greater than 0"),
        ("hinge", "identity", 2, [[1.0, 0.0], [1, 1]], "-1 or 1, got 0 at row 0, column 1"),
        ("hinge", "identity", 1, [0.5, 1], "-1 or 1, got 0.5 at row 0"),
        ("focal", "sigmoid", 1, [0.5, 1.5], r"in \[0, 1\], got 1.5 at row 1"),
        ("focal", "softmax", 3, [0, 3], "a class number from 0 to 2, got 3 at row 1"),
        ("focal", "softmax", 3, [[0, 1, 0], [0, -1, 0]], r"in \[0, 1\], got -1 at row 1"),
        ("gaussian_nll", "identity", 2, np.ones((2, 2)), r"shape \(n, 1\) or \(n,\), got \(2, 2\)"),
        ("gaussian_nll", "identity", 3, np.ones((2, 1)), "2 outputs for each target.* has 3"),
        (losses.Quantile([0.1, 0.9]), "identity", 2, np.ones((2, 2)), r"must have shape \(n, 1\)"),
        (losses.Quantile([0.1, 0.9]), "identity", 3, [1, 1], "2 quantiles.* has 3 outputs"),
        (losses.Focal(alpha=[1, 2]), "softmax", 3, [1, 1], "an alpha for each of its 3 classes"),
        (losses.Focal(alpha=0.5), "softmax", 3, [1, 1], "an alpha for each of its 3 classes"),
        (losses.Focal(alpha=[1, 2]), "sigmoid", 1, [1, 1], "needs one alpha, got 2"),
        ("focal", "softmax", 1, [0, 0], "at least 2 outputs"),
        ("focal", "sigmoid", 3, [0, 0], "y must have 3 columns"),
        ("focal", "identity", 3, np.eye(3)[:2], "'sigmoid' or 'softmax'.*'identity'"),
    ],
)  # fmt: skip
def test_targets_and_outputs_that_do_not_fit(loss, output, width, y, message):
    net = dense((2, width), (output,))
    kept, X = net.theta.copy(), rng(0).normal(size=(2, 2))
    for use in (
        lambda: net.fit(X, y, loss=loss, epochs=1),
        lambda: net.evaluate(X, y, loss=loss),
        lambda: net.gradient(X, y, loss=loss),
        lambda: net.trace(X, y, loss=loss),
        lambda: dr.Trainer(net, loss=loss).step(X, y),
        lambda: dr.Trainer(net, loss=loss).step(X, np.array(y, float)),  # the short way
    ):
        with pytest.raises(ValueError, match=f"(?s){message}".replace("y must", "yb? must")):
            use()
    assert np.array_equal(net.theta, kept)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [(losses.Quantile, "q", v) for v in (0, 1, -0.1, NAN, INF, "0.5", None, True, [], [0.5, 1], 2j)]
    + [(losses.Focal, "gamma", v) for v in (-1, NAN, INF, "2", None, True)]
    + [(losses.Focal, "alpha", v) for v in (0, 1, -0.1, NAN, "x", True, [], [1], [1, 0], [1, NAN])]
    + [(losses.Hinge, "squared", v) for v in (2, "yes", None)]
    + [
        (make, "label_smoothing", v)
        for make in (losses.CrossEntropy, losses.BinaryCrossEntropy)
        for v in (-0.1, 1, NAN, "x", None, True)
    ],
)
def test_bad_settings(make, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        make(**{name: value})


@pytest.mark.parametrize(
    "loss",
    [
        losses.Quantile(0.9), losses.Quantile((0.1, 0.9)), losses.Focal(1.0, alpha=(1.0, 2.0)),
        losses.Focal(alpha=0.25), losses.Hinge(squared=True), losses.Huber(2.0),
        losses.CrossEntropy(label_smoothing=0.1), losses.GaussianNLL(), losses.LogCosh(),
    ],
    ids=repr,
)  # fmt: skip
def test_losses_are_values(loss):
    assert eval(repr(loss), vars(losses)) == loss
    assert hash(loss) == hash(eval(repr(loss), vars(losses)))
    for field in dataclasses.fields(loss):
        with pytest.raises(AttributeError):
            setattr(loss, field.name, 0.5)


# ---- checkpoints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "output", "width", "kind"), SETTINGS, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in SETTINGS]
)
def test_a_checkpoint_keeps_the_settings(tmp_path, loss, output, width, kind):
    X, y = rng(1).normal(size=(40, 3)), targets_of(kind, 40, width)
    trainer = dr.Trainer(dense((3, 4, width), ("selu", output)), loss=loss)
    trainer.run(X, y, epochs=4, batch_size=8, max_steps=7)
    trainer.save(tmp_path / "half")
    again = dr.Trainer.resume(tmp_path / "half")
    assert again.loss == loss
    for each in (trainer, again):
        each.run(X, y, epochs=4, batch_size=8)
    assert np.array_equal(trainer.network.theta, again.network.theta)
    assert np.array_equal(trainer.history["loss"], again.history["loss"])


def test_initializers_of_the_new_activations():
    for name, deviation in [
        ("selu", 1 / 20),
        ("gelu", math.sqrt(2) / 20),
        ("mish", math.sqrt(2) / 20),
    ]:
        W = dr.Network([dr.Input(400), dr.Dense(300, name)], seed=0).layers[0].W
        assert W.std() == pytest.approx(deviation, rel=0.02)
    W = dr.Network([dr.Input(400), dr.Dense(300, initializer="lecun_uniform")], seed=0).layers[0].W
    assert abs(W).max() == pytest.approx(math.sqrt(3) / 20, rel=1e-3)


# ---- class weights ------------------------------------------------------------------------------


def fitted(X, y, **settings):
    net = dense((3, 4, 3), ("tanh", "softmax"))
    net.fit(X, y, epochs=3, **settings)
    return net.theta.tobytes()


def test_class_weights_are_weights_of_rows():
    X, y = rng(0).normal(size=(50, 3)), rng(1).choice(3, size=50, p=[0.6, 0.3, 0.1])
    w = rng(2).uniform(0.5, 2, 50)
    given = np.array([0.5, 2.0, 1.0])
    expected = fitted(X, y, sample_weight=w * given[y])
    for class_weight in ({0: 0.5, 1: 2}, [0.5, 2, 1], given, {np.int64(0): 0.5, 1: 2.0}):
        assert fitted(X, y, sample_weight=w, class_weight=class_weight) == expected
    assert fitted(X, np.eye(3)[y], class_weight=[0.5, 2, 1]) == fitted(
        X, np.eye(3)[y], sample_weight=given[y]
    )
    balanced = 50 / (3 * np.bincount(y))
    assert fitted(X, y, class_weight="balanced") == fitted(X, y, sample_weight=balanced[y])
    few = np.where(y == 2, 0, y)  # no row of class 2
    balanced = 50 / (2 * np.bincount(few))
    assert fitted(X, few, class_weight="balanced") == fitted(X, few, sample_weight=balanced[few])
    net = dense((3, 4, 1), ("tanh", "sigmoid"))  # two classes, one output
    net.fit(X, 1.0 * (y == 0), class_weight={1: 3.0}, epochs=1)


@pytest.mark.parametrize(
    ("class_weight", "message"),
    [
        ("balance", "class_weight must be one of 'balanced'"),
        (3, "class_weight must be"),
        ({3: 1.0}, "class indices from 0 to 2"),
        ({"0": 1.0}, "class indices"),
        ({True: 1.0}, "class indices"),
        ({0: -1.0}, r"class_weight\[0\] must be"),
        ({0: NAN}, r"class_weight\[0\] must be"),
        ([1, 2], "each of the 3 classes, got 2"),
        ([1, 2, "x"], r"class_weight\[2\]"),
        ([0, 0, 0], "0 for every row"),
    ],
)
def test_bad_class_weights(class_weight, message):
    X, y = rng(0).normal(size=(10, 3)), rng(1).integers(3, size=10)
    net = dense((3, 4, 3), ("tanh", "softmax"))
    kept = net.theta.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        net.fit(X, y, class_weight=class_weight, epochs=1)
    assert np.array_equal(net.theta, kept)


@pytest.mark.parametrize(
    "y", [np.full(10, 0.5), np.full(10, 3), np.ones((10, 3)), np.ones((10, 2))]
)
def test_class_weights_need_classes(y):
    net = dense((3, 4, 3), ("tanh", "softmax"))
    with pytest.raises(ValueError, match="class_weight needs y of class indices"):
        net.fit(problem(10)[0], y, class_weight="balanced", epochs=1)


@pytest.mark.parametrize("statistics", [{}, {"mean": 1.0, "scale": 2.0}])
def test_log_variances_are_not_rescaled(statistics):
    net = dr.Network([dr.Input(2), dr.Dense(2), dr.Rescale(**statistics)], seed=0)
    match = "'gaussian_nll' has logarithms of variances .* leave the layer out"
    with pytest.raises(ValueError, match=match):
        net.fit([[1.0, 2.0]], [1.0], loss="gaussian_nll")
    with pytest.raises(ValueError, match=match):
        net.evaluate([[1.0, 2.0]], [1.0], loss="gaussian_nll")
