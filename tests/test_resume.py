"""Stop and resume through a file, in a new process, at each of 40 steps: the same bits."""

import numpy as np
import pytest

import deltarule as dr
from helpers import run_python

# Shared by this process and the children: the data, the settings, the trainer from step 0.
SETTING = '''
    import json, sys
    from pathlib import Path
    import numpy as np
    import deltarule as dr

    def data(n, seed):
        X = np.random.default_rng(seed).uniform(-1, 1, (n, 3))
        return X, np.sin(3 * X.sum(axis=1, keepdims=True))

    X, Y = data(40, 0)
    run = dict(epochs=30, batch_size=9, validation_data=data(20, 1), tol=0.1, patience=9,
               metrics=["rmse"])

    def make(optimizer, dtype):
        layers = [dr.Input(3), dr.Standardize(), dr.Dense(8), dr.BatchNorm(),
                  dr.Activation("tanh"), dr.Dropout(0.2),
                  dr.Residual([dr.LayerNorm(), dr.Dense(8, "silu")]), dr.Dense(1), dr.Rescale()]
        net = dr.Network(layers, dtype=dtype, seed=11)
        optimizers = {
            "adam": dr.Adam(learning_rate=0.02, l2=0.001),
            "momentum": dr.SGD(learning_rate=0.05, momentum=0.9, nesterov=True,
                               weight_decay=0.01),
            "amsgrad": dr.AdamW(learning_rate=0.02, amsgrad=True, clip_norm=0.5),
            "rmsprop": dr.RMSprop(learning_rate=0.005, momentum=0.5, centered=True),
            "adagrad": dr.Adagrad(learning_rate=0.1, initial_accumulator=0.1, clip_value=0.1),
            "nadam": dr.NAdam(learning_rate=0.02, momentum_decay=0.1),
            "lion": dr.Lion(learning_rate=0.003, clip_norm=1.0, clip_value=0.1),
            "irprop+": dr.IRpropPlus(learning_rate=0.01, l2=0.001),
        }
        ema = 0.9 if optimizer in ("adam", "lion", "irprop+") else None
        return dr.Trainer(net, optimizer=optimizers[optimizer], seed=7, ema=ema)

    def outcome(trainer, history):
        result = {key: [value.hex() for value in values.tolist()]
                  for key, values in history.items() if key != "seconds"}
        result["theta"] = trainer.network.theta.tobytes().hex()
        result["state"] = [view.tobytes().hex() for layer in trainer.network.layers
                           for view in (layer.running_mean, layer.running_var) if view is not None]
        return result | {"stopped_by": history.stopped_by}
'''  # fmt: skip

WHOLE = (
    SETTING
    + """
    folder, optimizer, dtype = sys.argv[1:]
    trainer = make(optimizer, dtype)
    result = outcome(trainer, trainer.run(X, Y, **run))
    print(json.dumps(result | {"steps": trainer.network.n_steps}))
"""
)
STOP = (
    SETTING
    + """
    folder, optimizer, dtype = sys.argv[1:]
    trainer = make(optimizer, dtype)
    for step in range(1, 41):
        trainer.run(X, Y, max_steps=1, **run)
        assert trainer.network.n_steps == step
        trainer.save(Path(folder) / f"{step}.safetensors")
    print("{}")
"""
)
RESUME = (
    SETTING
    + """
    folder, optimizer, dtype = sys.argv[1:]
    results = []
    for step in range(1, 41):
        trainer = dr.Trainer.resume(Path(folder) / f"{step}.safetensors")
        assert trainer.network.n_steps == step
        results.append(outcome(trainer, trainer.run(X, Y, **run)))
    print(json.dumps(results))
"""
)


@pytest.mark.parametrize(
    "optimizer",
    ["adam", "momentum", "amsgrad", "rmsprop", "adagrad", "nadam", "lion", "irprop+"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_at_each_of_forty_steps(tmp_path, optimizer, dtype):
    arguments = (tmp_path, optimizer, dtype)
    whole = run_python(WHOLE, *arguments)
    assert whole["stopped_by"] == "converged"
    assert whole.pop("steps") >= 45
    run_python(STOP, *arguments)
    for step, resumed in enumerate(run_python(RESUME, *arguments), start=1):
        assert resumed == whole, f"resumed at step {step}"


def make(seed=0):
    net = dr.Network([dr.Input(3), dr.Dense(6, "tanh"), dr.Dropout(0.2), dr.Dense(1)], seed=seed)
    X = np.random.default_rng(0).uniform(-1, 1, (40, 3))
    return dr.Trainer(net), X, np.sin(3 * X.sum(axis=1))


def test_a_trainer_without_a_seed_resumes_too(tmp_path):
    (whole, X, y), (paused, _, _) = make(), make()
    expected = whole.run(X, y, epochs=6, batch_size=8)
    paused.run(X, y, epochs=6, batch_size=8, max_steps=13)
    paused.save(tmp_path / "t.safetensors")
    resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
    history = resumed.run(X, y, epochs=6, batch_size=8)
    assert np.array_equal(resumed.network.theta, whole.network.theta)
    assert np.array_equal(history["loss"], expected["loss"])


def test_resume_does_not_depend_on_the_trainer_that_saved(tmp_path):
    trainer, X, y = make()
    trainer.run(X, y, epochs=6, batch_size=8, max_steps=13)
    path = tmp_path / "t.safetensors"
    trainer.save(path)
    kept = trainer.network.theta.copy()
    trainer.run(X, y, epochs=6, batch_size=8)
    first, second = dr.Trainer.resume(path), dr.Trainer.resume(path)
    assert np.array_equal(first.network.theta, kept)
    first.run(X, y, epochs=6, batch_size=8)
    assert np.array_equal(second.network.theta, kept)
    assert np.array_equal(first.network.theta, trainer.network.theta)


def test_steps_of_the_users_own_resume(tmp_path):
    trainer, X, y = make()
    for k in range(5):
        trainer.step(X[k::5], y[k::5])
    trainer.save(tmp_path / "t.safetensors")
    resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
    assert [trainer.step(X, y) for _ in range(5)] == [resumed.step(X, y) for _ in range(5)]
    assert np.array_equal(trainer.network.theta, resumed.network.theta)


@pytest.mark.parametrize("changed", ["rows", "batch_size", "shuffle"])
def test_in_the_middle_of_an_epoch_other_data_is_refused(tmp_path, changed):
    trainer, X, y = make()
    trainer.run(X, y, epochs=6, batch_size=8, max_steps=3)
    trainer.save(tmp_path / "t.safetensors")
    resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
    kept = resumed.network.theta.copy()
    arguments = {"batch_size": 8, "shuffle": True}
    if changed == "rows":
        X, y = X[:-1], y[:-1]
    else:
        arguments[changed] = {"batch_size": 9, "shuffle": False}[changed]
    with pytest.raises(ValueError, match=r"rows|batch_size|shuffle"):
        resumed.run(X, y, epochs=6, **arguments)
    assert np.array_equal(resumed.network.theta, kept)


def test_a_checkpoint_is_also_a_model(tmp_path):
    trainer, X, y = make()
    trainer.run(X, y, epochs=6, batch_size=8, max_steps=13)
    trainer.save(tmp_path / "t.safetensors")
    assert np.array_equal(dr.load(tmp_path / "t.safetensors").theta, trainer.network.theta)
    trainer.network.save(tmp_path / "n.safetensors")
    with pytest.raises(dr.ModelFileError):
        dr.Trainer.resume(tmp_path / "n.safetensors")
