"""Format 1, the model file: safetensors whose ``__metadata__["deltarule"]`` is canonical JSON.

Reading runs no code, opens no other file, and allocates no tensor before the whole header agrees
with the size of the file. ``sha256`` in that JSON is the SHA-256 of the whole file (length, header,
data) with its own 64 digits read as zeros, so it does not depend on how a release of safetensors
orders or pads the header.
"""

from __future__ import annotations

import io
import math
import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from deltarule import _atomic
from deltarule._errors import ModelFileError
from deltarule._version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1

_DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "BOOL": "|b1"}
_BLANK = "0" * 64
_MAX_HEADER = 1 << 24
_MAX_DEPTH = 32
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")

# First byte, byte past the last, name, dtype, shape
_Entry = tuple[int, int, str, str, tuple[int, ...]]


def write(
    path: str | os.PathLike[str], metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]
) -> None:
    """Write a model file, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        Where to; a file that is already there is replaced whole or left whole.
    metadata : dict
        What JSON can hold: finite floats, integers in (-10¹⁹, 10²⁰), strings, lists, dicts with
        string keys. "format", "version" and "sha256" are added here.
    tensors : dict of str to numpy.ndarray
        float32, float64, int64, uint64 or bool; any shape, order, stride and byte order. Names are
        of the characters ``A-Z a-z 0-9 _ . -``.

    Raises
    ------
    OSError
        If the file cannot be written; the old one is whole.
    TypeError, ValueError
        If an argument cannot be kept in the format.
    """
    import hashlib

    import safetensors.numpy

    path = _atomic.text_of(path)
    own = {"format": FORMAT, "version": __version__, "sha256": _BLANK}
    if taken := own.keys() & metadata.keys():
        raise ValueError(f"metadata must not have the keys of the format, got {sorted(taken)}")
    arrays = {name: _storable(name, tensor) for name, tensor in tensors.items()}
    text = _dumps(metadata | own, sort_keys=True)
    file = memoryview(safetensors.numpy.save(arrays, {"deltarule": text}))

    start = 8 + int.from_bytes(file[:8], "little")
    head, data = bytes(file[:start]), file[start:]
    digest = hashlib.sha256(head)
    digest.update(data)
    head = head.replace(_checksum_field(_BLANK), _checksum_field(digest.hexdigest()))
    try:
        _parse(head[8:], len(data))
    except ValueError as error:
        raise ValueError(f"metadata and tensors do not fit format {FORMAT}: {error}") from None
    _atomic.replace_file(path, (head, data))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model file and check every byte of it.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file; anything else is refused without waiting for it.

    Returns
    -------
    metadata : dict
        What was given to `write`, with "format" and "version" (of the deltarule that wrote it).
    tensors : dict of str to numpy.ndarray
        C-contiguous, writable, in native byte order; each owns its memory.

    Raises
    ------
    ModelFileError
        If the file is damaged, was not saved by deltarule, or has a newer format.
    OSError
        If the file cannot be read.
    """
    metadata, tensors = read_with_checksum(path)
    del metadata["sha256"]
    return metadata, tensors


def read_with_checksum(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model file as `read` does; the metadata have "sha256" too."""
    path = _atomic.text_of(path)
    with _atomic.naming(path), _atomic.open_regular(path) as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        except ModelFileError as error:
            raise ModelFileError(f"{path!r} {error}") from None
        except ValueError as error:
            raise ModelFileError(f"{path!r} has a damaged header: {error}") from None


def _read(file: io.FileIO, size: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    import hashlib

    start = _atomic.fill(file, bytearray(min(size, 128)))
    n_header = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or n_header > min(size - 8, _MAX_HEADER):
        raise ModelFileError(_atomic.what_it_is(start))
    file.seek(8)
    header = _atomic.fill(file, bytearray(n_header))
    metadata, entries = _parse(header, size - 8 - n_header)

    declared = metadata["sha256"]
    digest = hashlib.sha256(start[:8])
    digest.update(header.replace(_checksum_field(declared), _checksum_field(_BLANK)))
    tensors = {}
    for _, _, name, dtype, shape in entries:
        tensor = np.empty(shape, dtype)
        digest.update(_atomic.fill(file, tensor.reshape(-1).view(np.uint8)))
        tensors[name] = tensor.astype(tensor.dtype.newbyteorder("="), copy=False)
    if digest.hexdigest() != declared:
        raise ModelFileError("is damaged: its checksum does not match")
    for tensor in tensors.values():
        if tensor.dtype == np.bool_ and np.any(tensor.view(np.uint8) > 1):
            raise ModelFileError("is damaged: it has booleans other than 0 and 1")
    return metadata, tensors


def _parse(header: bytes | bytearray, n_data: int) -> tuple[dict[str, Any], list[_Entry]]:
    """Check the whole header; the tensors come in the order of their bytes."""
    if len(header) > _MAX_HEADER:
        raise ValueError(f"{len(header)} bytes, more than {_MAX_HEADER}")
    spelling = header.decode("ascii", "replace").rstrip(" ")
    whole = _json(spelling)
    notes = whole.get("__metadata__")
    text = notes.get("deltarule") if isinstance(notes, dict) else None
    if not isinstance(text, str):
        raise ModelFileError("was not saved by deltarule: its metadata has no such section")
    metadata = _json(text)
    number, version, digest = (metadata.get(key) for key in ("format", "version", "sha256"))
    if type(number) is not int or number < 1 or not isinstance(version, str):
        raise ValueError("no format number or no version")
    if number > FORMAT:
        raise ModelFileError(
            f"has format {number}, and deltarule {__version__} reads up to format {FORMAT}: "
            f"it was saved by deltarule {version[:40]!a}, so that version or a newer one is needed"
        )
    entries = sorted(_entry(name, whole[name]) for name in whole if name != "__metadata__")
    end = 0
    for begin, next_begin, name, _, _ in entries:
        if begin != end:
            raise ValueError(f"a gap or an overlap before tensor {name!r}")
        end = next_begin
    if end != n_data:
        raise ModelFileError(f"is cut off or too long: {n_data} bytes of data, expected {end}")
    # One spelling only: refuses duplicate keys, NaN, spaces, escapes and what else JSON allows.
    is_canonical = _dumps(whole) == spelling and _dumps(metadata, sort_keys=True) == text
    if not is_canonical or len(whole["__metadata__"]) != 1:
        raise ValueError("not spelled as deltarule spells it")
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise ValueError("no checksum")
    if header.count(_checksum_field(digest)) != 1:
        raise ValueError("more than one checksum")
    return metadata, entries


def _entry(name: str, description: Any) -> _Entry:
    match description:
        case {"dtype": str(kind), "shape": [*shape], "data_offsets": [begin, end]} if (
            len(description) == 3
            and kind in _DTYPES
            and len(shape) <= 32
            and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
            and _NAME.fullmatch(name)
        ):
            dtype = np.dtype(_DTYPES[kind])
            # NumPy leaves the zeros out when it looks for an overflow of the product.
            fits = dtype.itemsize * math.prod(n for n in shape if n) < 1 << 63
            if fits and dtype.itemsize * math.prod(shape) == end - begin:
                return begin, end, name, dtype.str, tuple(shape)
    raise ValueError(f"tensor {name[:80]!a} has a wrong name, dtype, shape or size")


def _json(text: str) -> dict[str, Any]:
    """Parse a JSON object, of limited depth so that nothing recurses without end."""
    import json

    # The brackets outside strings; then pairs vanish from the inside out.
    brackets = re.sub(r'"[^"]*"', "", text.replace(r"\\", "").replace(r"\"", ""))
    brackets = re.sub(r"[^][{}]+", "", brackets)
    for _ in range(_MAX_DEPTH):
        brackets = brackets.replace("[]", "").replace("{}", "")
    if brackets:
        raise ValueError(f"brackets unbalanced or more than {_MAX_DEPTH} deep")
    value = json.loads(text, parse_int=_integer)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("an integer of more than 20 characters")
    return int(text)


def _dumps(value: Any, *, sort_keys: bool = False) -> str:
    import json

    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)


def _checksum_field(digest: str) -> bytes:
    """Return the bytes of ``"sha256":"..."`` in a JSON string within JSON."""
    return rf"\"sha256\":\"{digest}\"".encode()


def _storable(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """Return the tensor as safetensors 0.8 needs it: it takes every array for C-contiguous."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"a tensor's name must be 1-200 of A-Z a-z 0-9 _ . -, got {name!r}")
    dtype = np.asarray(tensor).dtype.newbyteorder("<")
    if dtype.str not in (allowed := list(_DTYPES.values())):
        raise TypeError(f"tensor {name!r} must have a dtype of {allowed}, got {dtype.name}")
    return np.asarray(tensor, dtype, order="C")
