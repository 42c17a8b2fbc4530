"""The best epoch in checkpoints: the same bits after a resume, and damaged files refused."""

import json
import shutil

import numpy as np
import pytest

import deltarule as dr
from best_helpers import RESTLESS, data, network, trained
from deltarule import _file
from deltarule._errors import ModelFileError


def result(trainer):
    """What a trainer ends with: its bits, then those of the best epoch."""
    last = trainer.network.theta.tobytes()
    trainer.restore_best()
    return trainer.best_epoch, last, trainer.network.theta.tobytes()


@pytest.mark.parametrize("optimizer", list(RESTLESS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_at_each_step(tmp_path, optimizer, dtype):
    settings = {**data(), "epochs": 14, "keep_best": True}
    expected = result(trained(epochs=14, dtype=dtype, optimizer=optimizer))
    assert expected[0] < 14
    paused = dr.Trainer(network(dtype), optimizer=RESTLESS[optimizer](), seed=1)
    for step in range(1, 71):
        paused.run(**settings, max_steps=1)
        paused.save(tmp_path / "t.safetensors")
        resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
        assert resumed.best_epoch == paused.best_epoch
        resumed.run(**settings)
        assert result(resumed) == expected, f"resumed at step {step}"


def test_a_checkpoint_after_the_end_restores(tmp_path):
    trainer = trained()
    trainer.save(tmp_path / "t.safetensors")
    resumed = dr.Trainer.resume(tmp_path / "t.safetensors")
    assert result(resumed) == result(trainer)


def test_a_checkpoint_without_a_kept_epoch_is_the_old_format(tmp_path):
    path = tmp_path / "t.safetensors"
    trained(keep_best=False).save(path)
    metadata, tensors = _file.read(path)
    assert "best" not in metadata["trainer"]
    assert not [name for name in tensors if "best" in name]
    assert dr.Trainer.resume(path).best_epoch is None


@pytest.fixture(scope="module")
def kept_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("best") / "kept.safetensors"
    trained(epochs=6).save(path)
    return path


def damaged(path, best=None, tensors=None):
    """Write the file again with another best epoch, or with other tensors; None removes one."""
    metadata, old = _file.read(path)
    old = {name: np.array(tensor) for name, tensor in old.items()} | (tensors or {})
    for name in [name for name, tensor in old.items() if tensor is None]:
        del old[name]
    metadata = {key: value for key, value in metadata.items() if key not in ("format", "version")}
    metadata["trainer"]["best"] = best if best is not None else metadata["trainer"]["best"]
    _file.write(path, json.loads(json.dumps(metadata)), old)
    return path


GOOD = {"epoch": 3, "loss": 0.5, "validated": True}


@pytest.mark.parametrize(
    ("best", "match"),
    [
        ([], "best epoch"),
        ("x", "best epoch"),
        ({}, "lacks the key"),
        ({"epoch": 3}, "lacks the key"),
        (GOOD | {"more": 1}, "unknown key"),
        (GOOD | {"epoch": 0}, "none of the trainer's"),
        (GOOD | {"epoch": -1}, "none of the trainer's"),
        (GOOD | {"epoch": 7}, "none of the trainer's"),
        (GOOD | {"epoch": 2**63}, "refuses"),
        (GOOD | {"epoch": 3.0}, r"trainer\.best\.epoch"),
        (GOOD | {"epoch": True}, r"trainer\.best\.epoch"),
        (GOOD | {"loss": "nan"}, "none of the trainer's"),
        (GOOD | {"loss": 1}, r"trainer\.best\.loss"),
        (GOOD | {"loss": None}, r"trainer\.best\.loss"),
        (GOOD | {"validated": 1}, r"trainer\.best\.validated"),
    ],
)
def test_a_damaged_best_epoch_is_refused(kept_file, tmp_path, best, match):
    path = shutil.copy(kept_file, tmp_path / "t.safetensors")
    with pytest.raises(ModelFileError, match=match):
        dr.Trainer.resume(damaged(path, best=best))
    assert dr.load(path).n_steps == 30  # the model in it is whole


@pytest.mark.parametrize("name", ["trainer.best_theta", "trainer.best_state"])
def test_damaged_vectors_of_the_best_epoch_are_refused(kept_file, tmp_path, name):
    path = shutil.copy(kept_file, tmp_path / "t.safetensors")
    good = np.array(_file.read(path)[1][name])
    for bad, match in (
        (None, "lacks the tensor"),
        (good[:-1], "shape"),
        (good.astype(np.float32), "float32"),
        (np.full_like(good, np.nan), "NaN"),
    ):
        damaged(path, tensors={name: bad})
        with pytest.raises(ModelFileError, match=match):
            dr.Trainer.resume(path)


def test_vectors_without_their_epoch_are_refused(tmp_path, kept_file):
    path = shutil.copy(kept_file, tmp_path / "t.safetensors")
    metadata, tensors = _file.read(path)
    del metadata["trainer"]["best"], metadata["format"], metadata["version"]
    _file.write(path, metadata, {name: np.array(each) for name, each in tensors.items()})
    with pytest.raises(ModelFileError, match="unknown tensor"):
        dr.Trainer.resume(path)


def test_an_infinite_best_loss_comes_back(kept_file, tmp_path):
    path = shutil.copy(kept_file, tmp_path / "t.safetensors")
    trainer = dr.Trainer.resume(damaged(path, best=GOOD | {"loss": "inf"}))
    trainer.run(**data(), epochs=7, keep_best=True)
    assert trainer.best_epoch == 7
