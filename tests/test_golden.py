"""Recorded results: ten-step loss curves (make_golden.py), and files of every format that load."""

import json

import numpy as np
import pytest

import deltarule as dr
from helpers import level
from make_golden import BATCH, GOLDEN, NETWORKS, batch, curve, start
from tolerances import GOLDEN_FACTOR, close, tolerance

CURVES = json.loads((GOLDEN / "curves.json").read_text())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_reference_still_gives_the_recorded_curve(name):
    assert close(curve(*NETWORKS[name]), CURVES[name], 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_core_gives_the_recorded_curve(name, dtype):
    sizes, activations, loss, optimizer, settings, penalties = NETWORKS[name]
    layers = [dr.Dense(n, a) for n, a in zip(sizes[1:], activations, strict=True)]
    net = dr.Network([dr.Input(sizes[0]), *layers], dtype=dtype, seed=0)
    net.theta[:] = start(sizes)
    solver = {"sgd": dr.SGD, "adam": dr.Adam}[optimizer](**settings, **penalties)
    trainer = dr.Trainer(net, loss=loss, optimizer=solver)
    losses = [trainer.step(*batch(k, sizes, loss)) for k in range(len(CURVES[name]))]
    terms = len(losses) * (sum(sizes) + BATCH)
    assert close(losses, CURVES[name], GOLDEN_FACTOR[level()] * tolerance(dtype, terms))
    assert abs(losses[-1] - losses[0]) > 1e-3


@pytest.mark.parametrize("file", ["format1", "format1_checkpoint"])
def test_a_model_of_format_1_predicts_what_it_did(file):
    recorded = json.loads((GOLDEN / "format1.json").read_text())
    net = dr.load(GOLDEN / f"{file}.safetensors")
    X, _ = batch(0, (4, 1), "mse")
    assert [type(layer.settings).__name__ for layer in net.layers] == [
        "Standardize", "Dense", "Dropout", "Dense", "Activation", "Dense", "Rescale",
    ]  # fmt: skip
    assert net.predict(X).dtype == np.float32
    rtol = GOLDEN_FACTOR[level()] * tolerance("float32", 20)
    assert close(net.predict(X)[:, 0], recorded["predictions"], rtol)


def test_a_checkpoint_of_format_1_goes_on():
    recorded = json.loads((GOLDEN / "format1.json").read_text())
    trainer = dr.Trainer.resume(GOLDEN / "format1_checkpoint.safetensors")
    assert trainer.network.n_steps == 10
    X, y = batch(0, (4, 1), "mse")
    history = trainer.run(X, y, epochs=5, batch_size=8)
    rtol = GOLDEN_FACTOR[level()] * tolerance("float32", 20 * 50)
    assert close(history["loss"], recorded["loss"], rtol)
    assert close(trainer.network.predict(X)[:, 0], recorded["final_predictions"], rtol)


def test_a_checkpoint_with_a_kept_epoch_restores_it():
    recorded = json.loads((GOLDEN / "format1_best.json").read_text())
    trainer = dr.Trainer.resume(GOLDEN / "format1_best.safetensors")
    assert trainer.best_epoch == trainer.history.best_epoch == recorded["best_epoch"]
    X, _ = batch(0, (4, 1), "mse")
    rtol = GOLDEN_FACTOR[level()] * tolerance("float32", 20)
    assert not close(trainer.network.predict(X)[:, 0], recorded["predictions"], 1000 * rtol)
    trainer.restore_best()
    assert close(trainer.network.predict(X)[:, 0], recorded["predictions"], rtol)
