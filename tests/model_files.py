"""What the tests of the model file share: contents, fixtures, and a refusal."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from deltarule import _file
from deltarule._errors import ModelFileError

METADATA = {"dtype": "float32", "layers": [{"kind": "dense", "n": 2}], "seed": 2**64 - 1, "é": 0.1}
TENSORS = {
    "layers.0.W": np.arange(6, dtype=np.float32).reshape(3, 2),
    "layers.0.b": np.array([np.nan, -0.0]),
    "trainer.step": np.array(7, dtype=np.uint64),
    "trainer.order": np.array([-1, 2**62]),
    "trainer.mask": np.array([True, False, True]),
    "trainer.empty": np.zeros((2, 0, 3), np.float32),
}


@pytest.fixture
def watchdog() -> Iterator[None]:
    """Whatever blocks (a pipe, a device) fails after 60 s, and not with an OSError."""

    def bark(signum: int, frame: FrameType | None) -> None:
        raise AssertionError("blocked for 60 s")

    previous = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def saved(path: Path) -> bytes:
    _file.write(path, METADATA, TENSORS)
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    """Overwrite in place: ext4 flushes a file that is truncated to nothing and written again."""
    path.touch()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def assert_refused(path: Path, content: bytes, match: str | None = None) -> None:
    put(path, content)
    with pytest.raises(ModelFileError, match=match) as caught:
        _file.read(path)
    assert str(path) in str(caught.value)
