"""What the tests of LayerNorm and of Residual share: checks of any network, whatever its layers."""

import copy
import pickle

import numpy as np

import deltarule as dr
import reference_layers
from deltarule import _file
from helpers import central_differences, rng, targets
from tolerances import DIFFERENCE, close, tolerance

DTYPES = ["float32", "float64"]
SOLVERS = {"sgd": dr.SGD(0.005, momentum=0.9), "adam": dr.Adam(0.01)}


def network(layers, dtype="float64", seed=0):
    """With theta drawn, so that no gamma is 1 and no bias 0."""
    net = dr.Network(layers, dtype=dtype, seed=seed)
    net.theta = net.theta + rng(seed, 7).uniform(-0.3, 0.3, net.n_parameters)
    return net


def rows(net, n, loss="mse", seed=0):
    X = rng(seed, n, 1).normal(size=(n, net.n_inputs)).astype(net.dtype)
    if net.layers[0].settings.kind == "embedding":
        for column, n_levels in zip(
            net.layers[0].settings.columns, net.layers[0].settings.n_levels, strict=True
        ):
            X[:, column] = rng(seed, n, 2).integers(n_levels, size=n)
    return X, targets(loss, n, net.n_outputs, seed).astype(net.dtype)


def assert_is_reference(net, n, loss="mse"):
    """Predictions, loss, gradient, and every a and delta of the trace."""
    X, Y = rows(net, n, loss)
    chain, theta = reference_layers.chain_of(net), net.theta.astype(float)
    L, grad = reference_layers.gradient(chain, theta, X.astype(float), Y.astype(float), loss)
    rtol = 4 * tolerance(net.dtype, terms=n + net.n_outputs + max(v.n_inputs for v in net.layers))
    value, gradient = net.gradient(X, Y, loss=loss)
    assert close(value, L, rtol)
    assert close(gradient, grad, rtol)
    trace = net.trace(X, Y, loss=loss)
    assert trace.gradient.tobytes() == gradient.tobytes()
    for found, (out, delta) in zip(trace.layers, chain.flat(), strict=True):
        assert close(found.delta, delta.T, rtol)
        is_logits = loss == "cross_entropy" and found is trace.layers[-1]
        assert close(found.z if is_logits else found.a, out.T, rtol)
    assert trace.layers[-1].a.tobytes() == net.predict(X).tobytes()


def assert_gradients_are_differences(net, n=12, loss="mse"):
    """Of the parameters, in inference and training, and of the inputs."""
    X, Y = rows(net, n, loss)
    for training in (False, True):
        arguments = {"loss": loss, "training": training}
        _, gradient = net.gradient(X, Y, **arguments)
        differences = central_differences(lambda a=arguments: net.gradient(X, Y, **a)[0], net.theta)
        assert close(gradient, differences, DIFFERENCE)
    if net.layers[0].settings.kind != "embedding":
        out = rng(5).normal(size=(n, net.n_outputs))
        _, d_X = net.backward(X, out)
        differences = central_differences(lambda: float((net.predict(X) * out).sum()), X)
        assert close(d_X, differences, DIFFERENCE)


def assert_rows_are_apart(net, n=600):
    """The bits of a row alone, in any batch, at any place, with any number of threads."""
    X, _ = rows(net, n)
    whole = net.predict(X)
    for step in (1, 7, 31, 65):
        parts = [net.predict(X[i : i + step]) for i in range(0, n, step)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert net.predict(X[::-1].copy(), n_threads=3)[::-1].tobytes() == whole.tobytes()
    X[3, 0] = np.nan
    spoilt = net.predict(X)
    assert np.isnan(spoilt[3]).all()
    spoilt[3] = whole[3]
    assert spoilt.tobytes() == whole.tobytes()


def assert_steps_are_reference(net, solver, reference_solver, n, **penalties):
    """Twenty steps, with l2 and weight_decay on the weights of Dense layers alone."""
    chain, theta = reference_layers.chain_of(net), net.theta.astype(float)
    is_weight = np.zeros(theta.size, bool)
    for layer, part in zip(net.layers, net.unflatten(is_weight), strict=True):
        if layer.W is not None:
            part[0][:] = True
    l2, decay = penalties.get("l2", 0.0), penalties.get("weight_decay", 0.0)
    trainer = dr.Trainer(net, optimizer=solver)
    for k in range(20):
        X, Y = rows(net, n, seed=k)
        value = trainer.step(X, Y)
        L, grad = reference_layers.gradient(chain, theta, X.astype(float), Y.astype(float))
        weights = theta[is_weight]
        L += l2 / 2 * (weights**2).sum()
        grad[is_weight] += l2 * weights
        theta[is_weight] -= reference_solver.learning_rate * decay * weights
        reference_solver.update(theta, grad, L)
        rtol = 1e-11 if net.dtype == np.float64 else 5e-4
        assert close(value, L, rtol), f"loss of step {k}"
        assert close(net.theta, theta, rtol), f"theta after step {k}"


def trained(layers, dtype, solver, n_threads, pieces=(), folder=None):
    """theta and history of three epochs; `pieces` are (steps, threads), each ends in a file."""
    net = dr.Network(layers, dtype=dtype, seed=1)
    X, Y = rows(net, 413)
    settings = {"epochs": 3, "batch_size": 300, "validation_data": (X[:270], Y[:270])}
    trainer = dr.Trainer(net, optimizer=solver, seed=2)
    for steps, threads in pieces:
        trainer.run(X, Y, max_steps=steps, n_threads=threads, **settings)
        trainer.save(folder / "part")
        trainer = dr.Trainer.resume(folder / "part")
    history = trainer.run(X, Y, n_threads=n_threads, **settings)
    values = [history[key].tobytes() for key in ("loss", "val_loss")]
    return trainer.network.theta.tobytes(), values, trainer.network.predict(X).tobytes()


def assert_the_same_bits_on_threads_and_in_pieces(layers, dtype, solver, folder):
    one = trained(layers, dtype, solver, 1)
    for n_threads in (2, 5):
        assert trained(layers, dtype, solver, n_threads) == one
    assert trained(layers, dtype, solver, 1, [(1, 2), (2, 5), (1, 1)], folder) == one


def assert_resumes_at_each_step(layers, dtype, solver, folder):
    """Through a file, at each of 40 steps."""
    X, Y = rows(dr.Network(layers, dtype=dtype, seed=3), 40)
    settings = {"epochs": 10, "batch_size": 9}  # 50 steps

    def outcome(trainer):
        history = trainer.run(X, Y, **settings)
        return trainer.network.theta.tobytes(), history["loss"].tobytes()

    def trainer():
        return dr.Trainer(dr.Network(layers, dtype=dtype, seed=3), optimizer=solver, seed=4)

    whole, stopped = outcome(trainer()), trainer()
    for step in range(1, 41):
        stopped.run(X, Y, max_steps=1, **settings)
        stopped.save(folder / "part")
        resumed = dr.Trainer.resume(folder / "part")
        assert resumed.network.n_steps == step
        assert outcome(resumed) == whole


def rewrite(path, layers):
    """Put other entries for the layers into a model file."""
    metadata, tensors = _file.read(path)
    kept = {key: metadata[key] for key in metadata.keys() - {"format", "version"}}
    _file.write(path, kept | {"layers": layers(metadata["layers"])}, tensors)


def assert_copies_are_equal(net, folder):
    X, Y = rows(net, 50)
    net.fit(X, Y, epochs=2)
    net.save(folder / "m")
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)),
                 dr.load(folder / "m")):  # fmt: skip
        assert twin.theta.tobytes() == net.theta.tobytes()
        assert not np.shares_memory(twin.theta, net.theta)
        assert twin.predict(X).tobytes() == net.predict(X).tobytes()
        assert repr(twin) == repr(net)
        assert twin.summary() == net.summary()
