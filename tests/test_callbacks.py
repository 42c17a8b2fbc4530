"""Checkpoint and resume_from: files that a killed training goes on from. Callbacks in general."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import deltarule as dr
from callback_helpers import PATTERN, Stop, fit, names, network, numbers, raise_, stop_after
from deltarule import _file
from deltarule.callbacks import Checkpoint
from helpers import problem, run_python

# ---- which files --------------------------------------------------------------------------------


def test_the_newest_are_kept(tmp_path):
    fit(network(), callbacks=[Checkpoint(tmp_path / PATTERN, keep=2)])
    assert names(tmp_path) == ["run-00008.safetensors", "run-00009.safetensors"]
    assert dr.load(tmp_path / "run-00009.safetensors").n_steps == 9 * 3


def test_all_are_kept(tmp_path):
    fit(network(), callbacks=[Checkpoint(str(tmp_path / PATTERN), keep=None, every=4)])
    assert names(tmp_path) == ["run-00004.safetensors", "run-00008.safetensors"]


def test_one_file_is_replaced(tmp_path):
    seen = []
    checkpoint = Checkpoint(tmp_path / "last.safetensors")

    def look(state):
        seen.append(dr.Trainer.resume(tmp_path / "last.safetensors").history)

    fit(network(), callbacks=[checkpoint, look])
    assert [history.n_epochs for history in seen] == list(range(1, 10))
    assert names(tmp_path) == ["last.safetensors"]


def test_only_files_of_the_pattern_are_deleted(tmp_path):
    others = [
        "run-1.safetensors",
        "run-000001.safetensors",
        "run-0000x.safetensors",
        "xrun-00001.safetensors",
        "run-00001.safetensors.bak",
        "model.safetensors",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "run-00777.safetensors").mkdir()
    (tmp_path / "run-00500.safetensors").write_bytes(b"of an earlier training")
    fit(network(), callbacks=[Checkpoint(tmp_path / PATTERN, keep=2)])
    own = ["run-00008.safetensors", "run-00009.safetensors"]
    assert names(tmp_path) == sorted([*others, *own, "run-00777.safetensors"])
    assert (tmp_path / "run-1.safetensors").read_bytes() == b"mine"


def test_what_kills_left_is_deleted_when_it_is_old(tmp_path):
    old, new, other = (
        tmp_path / name
        for name in (f".deltarule-{'a' * 16}.tmp", f".deltarule-{'b' * 16}.tmp", ".deltarule-x.tmp")
    )
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 4000,) * 2)
    fit(network(), epochs=1, callbacks=[Checkpoint(tmp_path / "last")])
    assert names(tmp_path) == sorted([new.name, other.name, "last"])


def test_not_too_often(tmp_path, monkeypatch):
    now = 0.0

    def an_epoch_takes_three_seconds(state):
        nonlocal now
        now += 3.0

    monkeypatch.setattr("deltarule._checkpointing.time.monotonic", lambda: now)
    for seconds, saved in ((1000, [1]), (5, [1, 3, 5]), (3, [1, 2, 3, 4, 5])):
        path = f"every-{seconds}-"
        checkpoint = Checkpoint(tmp_path / (path + "{epoch}"), keep=None, every_seconds=seconds)
        fit(network(), epochs=5, callbacks=[an_epoch_takes_three_seconds, checkpoint])
        assert [int(name[-5:]) for name in names(tmp_path) if name.startswith(path)] == saved


def test_the_best_only(tmp_path):
    checkpoint = Checkpoint(tmp_path / PATTERN, keep=None, best_only=True)
    settings = {"optimizer": dr.Adam(0.3), "monitor": "val_r2", "callbacks": [checkpoint]}
    history = fit(network(), epochs=20, **settings)
    values = history["val_r2"]
    better = [i + 1 for i in range(20) if i == 0 or values[i] > values[:i].max()]
    assert 1 < len(better) < 20
    assert names(tmp_path) == [f"run-{epoch:05d}.safetensors" for epoch in better]
    again = dr.Trainer.resume(tmp_path / names(tmp_path)[-1])
    assert again.history.best_epoch == history.best_epoch == better[-1]


def test_epochs_beyond_five_digits(tmp_path):
    checkpoint = Checkpoint(tmp_path / PATTERN, keep=2)
    net = dr.Network([1, 1], seed=0)
    trainer = dr.Trainer(net)
    trainer.run([[1.0]], [1.0], epochs=99_997)
    trainer.run([[1.0]], [1.0], epochs=100_001, callbacks=[checkpoint])
    assert names(tmp_path) == ["run-100000.safetensors", "run-100001.safetensors"]
    history = net.fit([[1.0]], [1.0], epochs=100_003, resume_from=checkpoint)
    assert history.n_epochs == 100_003


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"path": 3}, TypeError, "path must be a str or os.PathLike"),
        ({"path": b"run"}, TypeError, "path must be a str"),
        ({"path": ""}, ValueError, "path must name a file"),
        ({"path": "runs/"}, ValueError, "path must name a file"),
        ({"path": "{epoch}-{epoch}"}, ValueError, "at most one"),
        ({"path": "{epoch}/run"}, ValueError, "in its last part"),
        ({"path": "a-{step}"}, ValueError, "no other brace there, got 'a-{step}'"),
        ({"path": "a-{epoch:03d}.s"}, ValueError, "no other brace"),
        ({"path": "a-{{epoch}}"}, ValueError, "no other brace"),
        ({"path": "a}"}, ValueError, "no other brace"),
        ({"path": "a\0b"}, ValueError, "path must name a file"),
        ({"path": os.curdir}, IsADirectoryError, "Is a directory: '.'"),
        ({"path": "no/such/run"}, FileNotFoundError, "no/such'"),
        ({"every": 0}, ValueError, "every must be an integer >= 1"),
        ({"every": 1.5}, TypeError, "every must be"),
        ({"every_seconds": -1}, ValueError, "every_seconds must be"),
        ({"every_seconds": "x"}, TypeError, "every_seconds must be"),
        ({"keep": 0}, ValueError, "keep must be"),
        ({"best_only": 1}, TypeError, "best_only must be True or False"),
    ],
)
def test_bad_settings_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        Checkpoint(**{"path": "run", **settings})


def test_braces_of_a_folder_are_its_name(tmp_path):
    folder = tmp_path / "{a}"
    folder.mkdir()
    fit(network(), epochs=1, callbacks=[Checkpoint(folder / PATTERN)])
    assert names(folder) == ["run-00001.safetensors"]


# ---- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 4, 9])
@pytest.mark.parametrize("how", ["checkpoint", "pattern", "file", "folder", "one file"])
def test_going_on_gives_the_uninterrupted_bits(tmp_path, epoch, how):
    whole, killed, again = network(), network(), network(seed=None)  # the seed is in the file
    settings = {"monitor": "val_r2", "restore_best": True, "optimizer": dr.Adam(0.1)}
    expected = fit(whole, **settings)
    path = tmp_path / ("last.safetensors" if how == "one file" else PATTERN)
    checkpoint = Checkpoint(path)
    with pytest.raises(Stop):
        fit(killed, callbacks=[checkpoint, stop_after(epoch)], **settings)
    resume_from = {
        "checkpoint": checkpoint,
        "pattern": str(tmp_path / PATTERN),
        "one file": path,
        "file": tmp_path / f"run-{epoch:05d}.safetensors",
        "folder": tmp_path,
    }
    history = fit(again, resume_from=resume_from[how], **settings)
    assert np.array_equal(again.theta, whole.theta)
    assert np.array_equal(again.layers[0].mean, whole.layers[0].mean)
    assert (again.n_steps, again.seed) == (whole.n_steps, whole.seed)
    assert numbers(history) == numbers(expected)
    assert (history.best_epoch, history.stopped_by) == (expected.best_epoch, "epochs")
    assert again.history is history
    # What trains the network later draws as it would have.
    assert numbers(fit(again)) == numbers(fit(whole))


def test_the_views_of_the_user_stay(tmp_path):
    path = tmp_path / "last"
    fit(network(), epochs=3, callbacks=[Checkpoint(path)])
    net = network()
    theta, W = net.theta, net.layers[1].W
    fit(net, epochs=3, resume_from=path)
    assert net.theta is theta
    assert np.array_equal(W, dr.load(path).layers[1].W)


def test_a_fit_that_ended_is_not_done_again(tmp_path):
    checkpoint = Checkpoint(tmp_path / PATTERN)
    first, second = network(), network()
    settings = {"tol": 10.0, "patience": 3, "callbacks": [checkpoint], "resume_from": checkpoint}
    assert fit(first, **settings).n_epochs == 4
    history = fit(second, **settings)
    assert (history.n_epochs, history.stopped_by) == (4, "converged")
    assert np.array_equal(first.theta, second.theta)
    assert second.n_steps == 12


def test_nothing_to_go_on_from_is_a_new_fit(tmp_path):
    plain = network()
    fit(plain)
    for resume_from in (tmp_path, tmp_path / "none", tmp_path / PATTERN, str(tmp_path) + "/x",
                        Checkpoint(tmp_path / PATTERN)):  # fmt: skip
        net = network()
        fit(net, resume_from=resume_from)
        assert np.array_equal(net.theta, plain.theta)
    with pytest.raises(FileNotFoundError, match="nowhere"):  # mistyped, more likely
        fit(network(), resume_from=tmp_path / "nowhere" / PATTERN)
    with pytest.raises(ValueError, match="resume_from must name a file"):
        fit(network(), resume_from="")
    for wrong in (3, b"x", ["a"]):
        with pytest.raises(TypeError, match=r"resume_from must be a str or os\.PathLike"):
            fit(network(), resume_from=wrong)


def test_a_damaged_file_gives_way_to_the_one_before(tmp_path):
    whole = network()
    fit(whole)
    fit(network(), epochs=4, callbacks=[Checkpoint(tmp_path / PATTERN)])
    newest = tmp_path / "run-00004.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    net = network()
    with pytest.warns(UserWarning, match=r"run-00004.*resuming from .*run-00003") as caught:
        fit(net, resume_from=tmp_path / PATTERN)
    assert caught[0].filename == __file__
    assert np.array_equal(net.theta, whole.theta)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    before = net.theta.copy()
    with pytest.raises(dr.ModelFileError, match=r"run-0000\d.safetensors' is empty"):
        fit(net, resume_from=tmp_path)
    assert np.array_equal(net.theta, before)


def test_a_model_is_no_checkpoint(tmp_path):
    network().save(tmp_path / "model.safetensors")
    with pytest.raises(dr.ModelFileError, match="is a model without a trainer"):
        fit(network(), resume_from=tmp_path / "model.safetensors")


MISFITS = {
    "number of layers": lambda path: fit(dr.Network([3, 2], seed=0), resume_from=path),
    r"(net\.)?layers\[1\]": lambda path: fit(network(units=7), resume_from=path),
    "dtype": lambda path: fit(network(dtype="float64"), resume_from=path),
    "loss": lambda path: fit(network(), loss="mae", resume_from=path),
    "optimizer": lambda path: fit(network(), optimizer=dr.Adam(0.1), resume_from=path),
    "seed": lambda path: fit(network(), seed=5, resume_from=path),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, what):
    path = tmp_path / "last"
    fit(network(), epochs=2, callbacks=[Checkpoint(path)])
    with pytest.raises(ValueError, match=f"resume_from: .*last' is of a training with {what} "):
        MISFITS[what](path)


def test_what_is_refused_after_it_leaves_the_network_as_it_was(tmp_path):
    path = tmp_path / "last"
    fit(network(), epochs=2, callbacks=[Checkpoint(path)])
    net = network()
    kept = net.theta.copy()
    X, Y = problem(50)
    for bad in (
        {"X": np.where(np.arange(50)[:, None] == 7, np.nan, X), "y": Y},
        {"X": X, "y": Y[:40]},
        {"X": X, "y": Y, "metrics": ["rmsee"]},
    ):
        with pytest.raises(ValueError, match=r"X must be|same number of rows|metrics"):
            net.fit(**bad, epochs=5, resume_from=path)
        assert np.array_equal(net.theta, kept)
        assert (net.n_steps, net.layers[0].fitted) == (0, False)


def test_a_network_in_training_is_left_alone(tmp_path):
    path = tmp_path / "last"
    fit(network(), epochs=2, callbacks=[Checkpoint(path)])
    net, other = network(), network()

    def fit_inside(state):
        fit(state.network, resume_from=path)

    with pytest.raises(RuntimeError, match="being trained"):
        fit(net, epochs=1, callbacks=[fit_inside])
    fit(other, epochs=1)
    assert np.array_equal(net.theta, other.theta)


# ---- full disks ---------------------------------------------------------------------------------


def test_a_full_disk_ends_the_training_and_keeps_what_was_saved(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / PATTERN, keep=1)
    write = os.write

    def fill(state):
        if state.epoch == 4:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            monkeypatch.setattr(os, "write", lambda file, data: raise_(full))

    net = network()
    with pytest.raises(OSError, match="No space left on device") as caught:
        fit(net, callbacks=[fill, checkpoint])
    monkeypatch.setattr(os, "write", write)
    assert caught.value.filename == str(tmp_path / "run-00004.safetensors")
    assert names(tmp_path) == ["run-00003.safetensors"]
    assert net.history.n_epochs == 4
    again, whole = network(), network()
    fit(again, callbacks=[checkpoint], resume_from=checkpoint)
    fit(whole)
    assert np.array_equal(again.theta, whole.theta)


def test_a_folder_that_goes_away(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    checkpoint = Checkpoint(folder / PATTERN)
    folder.rmdir()
    net = network()
    with pytest.raises(FileNotFoundError, match="run-00001"):
        fit(net, callbacks=[checkpoint])
    assert net.history.n_epochs == 1


# ---- callbacks of the user's own ----------------------------------------------------------------


def test_a_class_is_no_callback():
    with pytest.raises(TypeError, match=r"must be an object, got the class; write Checkpoint\("):
        fit(network(), callbacks=[Checkpoint])


@pytest.mark.parametrize("junk", [1, 0, "stop", [], np.array([True]), float("nan"), object()])
def test_a_callback_that_returns_junk(junk):
    net = network()
    with pytest.raises(TypeError, match="must return True"):
        fit(net, callbacks=[lambda state: junk])
    assert net.history.n_epochs == 1
    fit(net, epochs=1)


def test_the_callbacks_come_when_they_are_used():
    """Nothing of files is imported by `import deltarule`."""
    modules = run_python("import deltarule, json, sys; print(json.dumps(sorted(sys.modules)))")
    assert not {"deltarule._checkpointing", "deltarule._csv_logger", "csv"} & {*modules}
    assert dr.callbacks.Checkpoint is Checkpoint
    assert {"Checkpoint", "CSVLogger", "CallbackState", "__doc__"} <= {*dir(dr.callbacks)}
    with pytest.raises(AttributeError, match="no attribute 'EarlyStopping'"):
        dr.callbacks.EarlyStopping  # noqa: B018


def test_two_processes_with_one_folder_lose_nothing(tmp_path):
    """Both save and delete; what is left is whole."""
    source = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_callbacks as t
t.fit(t.network(), epochs=25, callbacks=[t.Checkpoint(sys.argv[1] + "/" + t.PATTERN, keep=2)])
"""
    both = [subprocess.Popen([sys.executable, "-c", source, tmp_path]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    for path in tmp_path.iterdir():
        assert _file.read(path)
