"""Files on disk: open one without waiting, recognise it, replace one whole or not at all.

The order write, fsync, rename, fsync(directory) is what survives a full disk and a power cut: the
name points to the new bytes only once they are on the disk. A process killed in between leaves the
old file, and beside it a temporary named ``.deltarule-*.tmp``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

from deltarule import _settings
from deltarule._errors import ModelFileError

_PIECE = 1 << 24
_FOREIGN = (
    (rb"\x80[\x02-\x05][^\x00]", "a pickle (joblib, or PyTorch before 1.6)"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (rb"PK\x03\x04.{26}[^\x00]*\.npy", "a NumPy .npz archive"),
    (rb"PK\x03\x04.{26}[^\x00]*data\.pkl", "a PyTorch file"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x93NUMPY", "a NumPy .npy file"),
    (rb"\x1f\x8b", "a gzip file"),
    (rb"MATLAB 5\.0", "a MATLAB file"),
    (rb"\x08[\x01-\x1f][\x12\x1a\x2a\x3a]", "an ONNX model"),
)


def text_of(path: str | os.PathLike[str]) -> str:
    """Return the path as a string, or refuse what is no path."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or an os.PathLike of str, got {type(path).__name__}")
    return text


def refuse_no_file(name: str, path: str) -> None:
    """Refuse a path that no file can be written to, before there is anything to write.

    Raises
    ------
    OSError
        If the folder does not exist, or what has the path is a directory, a pipe or a device.
    ValueError
        If nothing can have the path; `name` is what the argument is called.
    """
    folder, base = os.path.split(path)
    if not base or "\0" in path:
        raise ValueError(f"{name} must name a file, got {_settings.shown(path)}")
    with naming(folder or "."):
        Path(folder or ".").stat()
    with naming(path), contextlib.suppress(FileNotFoundError):
        _refuse_irregular(Path(path).stat().st_mode)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an OSError from inside name the path that the user wrote."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from None


def open_regular(path: str) -> FileIO:
    """Open an existing regular file for reading; a pipe or a device is refused at once."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _refuse_directory(mode := os.fstat(file).st_mode)
        if not stat.S_ISREG(mode):
            raise ModelFileError(f"{path!r} is not a regular file")
        return FileIO(file, "rb")
    except BaseException:
        os.close(file)
        raise


def fill(file: FileIO, buffer: Any) -> Any:
    """Read exactly as many bytes as `buffer` has, and return it."""
    rest = memoryview(buffer)
    while rest:
        n_read = file.readinto(rest)
        if not n_read:
            raise ModelFileError("became shorter while it was read")
        rest = rest[n_read:]
    return buffer


def what_it_is(start: bytearray) -> str:
    """Say what a file that starts so is instead of a model file."""
    for pattern, kind in _FOREIGN:
        if re.match(pattern, start, re.DOTALL):
            return f"is not a deltarule model file: it looks like {kind}"
    return "is not a deltarule model file, or is cut off" if start else "is empty"


def replace_file(path: str, pieces: Iterable[bytes | memoryview]) -> None:
    """Make `pieces`, joined, the content of the file at `path`.

    A symbolic link is followed; an existing file keeps its mode, a new one gets 0o666 less the
    umask.

    Raises
    ------
    OSError
        If anything fails. The old file is then whole and no temporary is left; only when the last
        step, the sync of the directory, fails is the new file already in place, whole too. A
        write-protected file is refused, as `open` refuses it, and so is what is no regular file.
    """
    with naming(path):
        target = Path(os.path.realpath(path))
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _replace_in(directory, target.name or ".", pieces)
        finally:
            os.close(directory)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Delete the temporaries that killed processes left in a folder more than an hour ago."""
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            is_ours = re.fullmatch(r"\.deltarule-[0-9a-f]{16}\.tmp", entry.name)
            if is_ours and time.time() - entry.stat(follow_symlinks=False).st_mtime > 3600:
                Path(entry.path).unlink()


def _replace_in(directory: int, name: str, pieces: Iterable[bytes | memoryview]) -> None:
    mode = _mode_to_keep(directory, name)
    temporary = f".deltarule-{os.urandom(8).hex()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    file = os.open(temporary, flags, 0o666 if mode is None else mode, dir_fd=directory)
    try:
        try:
            if mode is not None:
                os.fchmod(file, mode)
            for piece in pieces:
                _write(file, memoryview(piece))
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    _sync_directory(directory)


def _mode_to_keep(directory: int, name: str) -> int | None:
    try:
        mode = os.stat(name, dir_fd=directory).st_mode
    except FileNotFoundError:
        return None
    _refuse_irregular(mode)
    if not os.access(name, os.W_OK, dir_fd=directory):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return mode & 0o777


def _refuse_irregular(mode: int) -> None:
    _refuse_directory(mode)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file")


def _refuse_directory(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def _write(file: int, data: memoryview) -> None:
    while data:
        data = data[os.write(file, data[:_PIECE]) :]


def _sync_directory(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: a file system that has no such thing
            raise
