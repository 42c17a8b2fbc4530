"""Trainings that are killed, wherever that is: run again they end as if they never had been."""

import os
from pathlib import Path

import numpy as np
import pytest

import deltarule as dr
from callback_helpers import PATTERN, Stop, fit, names, network, numbers, stop_after
from deltarule.callbacks import Checkpoint, CSVLogger
from helpers import run_python

# ---- after a checkpoint, before the end of its epoch ---------------------------------------------


def shift(state):
    state.network.theta[:] += 0.001 * state.epoch


def pair(folder, stop=lambda state: None):
    """A checkpoint, and what a kill may keep from the epoch that it saved."""
    checkpoint = Checkpoint(folder / PATTERN, keep=2)
    log = CSVLogger(folder / "log.csv")
    return {"callbacks": [checkpoint, stop, shift, log], "resume_from": checkpoint}


@pytest.mark.parametrize("epoch", [4, 9])
def test_callbacks_after_the_checkpoint_are_called_for_its_epoch(tmp_path, epoch):
    whole = network()
    fit(whole, callbacks=[shift])
    with pytest.raises(Stop):
        fit(network(), **pair(tmp_path, stop_after(epoch)))
    again = network()
    fit(again, **pair(tmp_path))
    assert np.array_equal(again.theta, whole.theta)
    assert numbers(again.history) == numbers(whole.history)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(i) for i in range(1, 10)]


def test_old_files_go_although_nothing_is_left_to_train(tmp_path, monkeypatch):
    def killed(path):
        raise Stop

    def stop(state):
        if state.epoch == 8:
            monkeypatch.setattr(Path, "unlink", killed)

    with pytest.raises(Stop):
        fit(network(), **pair(tmp_path, stop))
    assert len(names(tmp_path)) == 1 + 3
    monkeypatch.undo()
    fit(network(), **pair(tmp_path))
    assert names(tmp_path) == ["log.csv", "run-00008.safetensors", "run-00009.safetensors"]


def test_one_of_them_that_raises_leaves_the_network_of_that_epoch(tmp_path):
    for _ in range(2):
        net = network()
        with pytest.raises(Stop):
            fit(net, **pair(tmp_path, stop_after(4)))
        assert net.history.n_epochs == 4
        assert np.array_equal(net.theta, dr.load(tmp_path / "run-00004.safetensors").theta)


def test_a_training_that_a_callback_stopped_stays_stopped(tmp_path):
    def at_five(state):
        return state.epoch == 5

    thetas = []
    for _ in range(2):
        net = network()
        history = fit(net, **pair(tmp_path, at_five))
        assert (history.stopped_by, history.n_epochs) == ("callback", 5)
        thetas.append(net.theta.copy())
    assert np.array_equal(*thetas)


def test_callbacks_before_the_checkpoint_or_without_one_are_not_called_again(tmp_path):
    seen = []

    def look(state):
        seen.append((state.epoch, state.logs["loss"]))

    checkpoint = Checkpoint(tmp_path / PATTERN)
    fit(network(), epochs=4, callbacks=[checkpoint])
    fit(network(), epochs=5, callbacks=[look, checkpoint], resume_from=checkpoint)
    assert [epoch for epoch, _ in seen] == [5]
    fit(network(), epochs=6, callbacks=[look], resume_from=checkpoint)
    assert [epoch for epoch, _ in seen] == [5, 6]
    other = Checkpoint(tmp_path / "other")
    fit(network(), epochs=6, callbacks=[other, look], resume_from=checkpoint)
    assert [epoch for epoch, _ in seen] == [5, 6, 6]
    by_path = os.path.relpath(tmp_path / "run-00005.safetensors")
    history = fit(network(), epochs=6, callbacks=[checkpoint, look], resume_from=by_path)
    assert seen[3:] == [(epoch, history["loss"][epoch - 1]) for epoch in (5, 6)]


# ---- at any time --------------------------------------------------------------------------------

STORM = """
import json, os, random, signal, sys, time
import numpy as np
import deltarule as dr
from deltarule.callbacks import Checkpoint, CSVLogger

folder, n_kills = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
Y = np.tanh(X[:, :2]) + rng.normal(0, 0.3, (60, 2))
EPOCHS = 180

def train(folder, *, checkpoint=True, tick=lambda state: None):
    net = dr.Network(
        [dr.Input(4), dr.Standardize(), dr.Dense(8, "relu"), dr.Dropout(0.2), dr.Dense(2)], seed=5
    )
    saver = Checkpoint(os.path.join(folder, "run-{epoch}.safetensors"), keep=2)
    log = CSVLogger(os.path.join(folder, "log.csv"))
    return net, net.fit(
        X, Y, epochs=EPOCHS, batch_size=16, validation_fraction=0.25, metrics=["r2"],
        monitor="val_r2", restore_best=True, seed=7, progress=False,
        callbacks=[tick, saver, log] if checkpoint else (),
        resume_from=saver if checkpoint else None,
    )

expected, history = train(folder, checkpoint=False)
draw = random.Random(1)
kills, storms, reached = 0, 0, set()
while kills < n_kills:
    storms += 1
    run = os.path.join(folder, str(storms))
    os.mkdir(run)
    while True:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                train(run, tick=lambda state: os.write(writer, b".") and None)
            finally:
                os._exit(0)
        os.close(writer)
        for _ in range(draw.randrange(5)):  # epochs, however slow the machine; then in a save or so
            os.read(reader, 1)
        time.sleep(draw.uniform(0.0, 0.015))
        os.kill(child, signal.SIGKILL)
        was_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        os.close(reader)
        files = [name for name in os.listdir(run) if name.startswith("run-")]
        reached.update(files)
        kills += was_killed
        if not was_killed or kills >= n_kills:
            break
    net, again = train(run)
    assert np.array_equal(net.theta, expected.theta), run
    assert net.n_steps == expected.n_steps and again.best_epoch == history.best_epoch
    for key in history:
        assert key == "seconds" or np.array_equal(again[key], history[key]), key
    assert len([name for name in os.listdir(run) if name.startswith("run-")]) == 2
    with open(os.path.join(run, "log.csv")) as file:
        assert [line.split(",")[0] for line in file][1:] == [str(e + 1) for e in range(EPOCHS)]
    theirs = dr.Trainer.resume(os.path.join(run, f"run-{EPOCHS:05d}.safetensors"))
    theirs.restore_best()
    assert np.array_equal(theirs.network.theta, expected.theta)
print(json.dumps({"kills": kills, "storms": storms, "reached": len(reached)}))
"""


def test_a_storm_of_kills_ends_in_the_uninterrupted_bits(tmp_path):
    told = run_python(STORM, tmp_path, 100, env={"OPENBLAS_NUM_THREADS": "1"}, timeout=600)
    assert told["kills"] >= 100
    assert told["reached"] > 30  # the kills hit different epochs
