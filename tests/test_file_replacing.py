"""Saving replaces a file whole or not at all, whatever fails and whoever is killed."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deltarule import _file
from model_files import METADATA, TENSORS

pytestmark = pytest.mark.usefixtures("watchdog")

# --- replacing a file ---------------------------------------------------------------------------


def record(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    names = {"write": os.write, "fsync": os.fsync, "replace": os.replace}
    for name, call in names.items():

        def wrapped(*args: Any, _name: str = name, _call: Any = call, **kwargs: Any) -> Any:
            is_directory = _name == "fsync" and os.path.isdir(f"/proc/self/fd/{args[0]}")  # noqa: PTH112
            if not (_name == "write" and calls[-1:] == ["write"]):
                calls.append("fsync(directory)" if is_directory else _name)
            return _call(*args, **kwargs)

        monkeypatch.setattr(os, name, wrapped)
    return calls


def test_order_of_the_calls(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(monkeypatch)
    _file.write(path, METADATA, TENSORS)
    monkeypatch.undo()
    assert calls == ["write", "fsync", "replace", "fsync(directory)"]


def test_short_writes_are_continued(
    path: Path, saved: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:7]))
        _file.write(path, METADATA, TENSORS)
    assert path.read_bytes() == saved


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), OSError("?")]
)
@pytest.mark.parametrize("call", ["write", "second write", "fsync", "close", "fchmod", "replace"])
@pytest.mark.parametrize("exists", [True, False])
def test_failure_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException, exists: bool
) -> None:
    if exists:
        _file.write(path, {"old": 1}, TENSORS)
    elif call == "fchmod":
        return
    old = path.read_bytes() if exists else None
    name = call.split()[-1]
    real = getattr(os, name)
    n_calls = 0

    def fail(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if name == "close":
            real(*args)
        if n_calls == (2 if call == "second write" else 1):
            raise error
        return real(args[0], args[1][:100]) if name == "write" else None

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(type(error)) as caught:
        _file.write(path, METADATA, TENSORS)
    monkeypatch.undo()
    if isinstance(caught.value, OSError) and caught.value.errno:
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(path)
    assert list(path.parent.iterdir()) == ([path] if exists else [])
    assert (path.read_bytes() if exists else None) == old


def test_failure_of_the_last_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, is_raised in ((errno.EIO, True), (errno.EINVAL, False)):
        _file.write(path, {"old": 1}, {})
        fsync = os.fsync
        errors = iter([None, OSError(number, os.strerror(number))])

        def fail(file: int, _fsync: Any = fsync, _errors: Any = errors) -> None:
            if error := next(_errors):
                raise error
            _fsync(file)

        monkeypatch.setattr(os, "fsync", fail)
        if is_raised:
            with pytest.raises(OSError, match="Input/output") as caught:
                _file.write(path, METADATA, TENSORS)
            assert caught.value.filename == str(path)
        else:
            _file.write(path, METADATA, TENSORS)
        monkeypatch.undo()
        assert list(path.parent.iterdir()) == [path]
        assert _file.read(path)[0]["dtype"] == "float32"


def test_full_disk(path: Path, saved: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="too large") as caught:
            _file.write(path, {}, {"a": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == saved


def test_mode_and_umask(path: Path) -> None:
    previous = os.umask(0o027)
    try:
        _file.write(path, {}, {})
        assert path.stat().st_mode & 0o7777 == 0o640
        for mode in (0o600, 0o666, 0o755):
            path.chmod(mode)
            _file.write(path, {}, {})
            assert path.stat().st_mode & 0o7777 == mode
    finally:
        os.umask(previous)


def test_a_private_file_is_never_public(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file.write(path, {}, {})
    path.chmod(0o600)
    modes = []
    write = os.write

    def look(file: int, data: memoryview) -> int:
        modes.append(os.fstat(file).st_mode & 0o777)
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", look)
        patch.setattr(os, "fchmod", lambda *_: None)
        _file.write(path, {}, {})
    assert set(modes) == {0o600}


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    target, link = tmp_path / "there" / "model", tmp_path / "here" / "link"
    link.symlink_to("../there/model")
    for number in (1, 2):  # a dangling link, then a link to a file
        _file.write(link, {"number": number}, {})
        assert link.is_symlink()
        assert not target.is_symlink()
        assert _file.read(target)[0]["number"] == number
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        _file.write(link, {}, {})
    assert link.is_symlink()


def test_targets_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo, orphan = tmp_path / "fifo", tmp_path / "no" / "model"
    for wrong in (tmp_path, fifo, orphan, Path("/dev/null"), "", "/"):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            _file.write(wrong, {}, {})
        assert caught.value.filename == str(wrong)
    assert list(tmp_path.iterdir()) == [tmp_path / "fifo"]
    _file.write(tmp_path / "model", {}, {})
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write anywhere
    with pytest.raises(PermissionError):
        _file.write(tmp_path / "model", {}, {})


def test_long_names(tmp_path: Path) -> None:
    _file.write(tmp_path / ("n" * 255), {}, {})
    with pytest.raises(OSError, match="too long"):
        _file.write(tmp_path / ("n" * 256), {}, {})


def test_a_mapped_file_stays(path: Path, saved: bytes) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        _file.write(path, {}, {})
        assert mapped[:] == saved


# --- processes ----------------------------------------------------------------------------------

SAVE = """
import sys, numpy as np
from deltarule import _file

def save(path, i):
    _file.write(path, {"i": i}, {"a": np.full(50_000 + i % 2, i, np.float64)})
"""
STORM = (
    SAVE
    + """
import os, random, signal, time
draw = random.Random(0)
save(sys.argv[1], 0)
seen = set()
for storm in range(40):
    child = os.fork()
    if not child:
        i = 1000 * storm
        while True:
            i += 1
            save(sys.argv[1], i)
    time.sleep(draw.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    metadata, tensors = _file.read(sys.argv[1])
    i = metadata["i"]
    assert tensors["a"].shape == (50_000 + i % 2,) and (tensors["a"] == i).all()
    seen.add(i)
print(len(seen))
"""
)
RACE = SAVE + "\nfor i in range(40):\n    save(sys.argv[1], 2 * i + int(sys.argv[2]))\n"
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def test_killed_while_saving(path: Path) -> None:
    command = [sys.executable, "-c", STORM, str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def test_two_processes_save_to_one_path(path: Path) -> None:
    _file.write(path, {"i": 0}, {"a": np.full(50_000, 0.0)})
    savers = [
        subprocess.Popen([sys.executable, "-c", RACE, str(path), which], env=ENVIRONMENT)
        for which in "01"
    ]
    seen = set()
    while any(saver.poll() is None for saver in savers):
        metadata, tensors = _file.read(path)
        i = metadata["i"]
        assert tensors["a"].shape == (50_000 + i % 2,)
        assert (tensors["a"] == i).all()
        seen.add(i)
    assert [saver.returncode for saver in savers] == [0, 0]
    assert len(seen) > 2
    assert list(path.parent.iterdir()) == [path]
