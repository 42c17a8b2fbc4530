"""The model file, format 1: what goes in comes out, and nothing damaged or foreign does."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from deltarule import _file
from deltarule._errors import ModelFileError
from model_files import METADATA, TENSORS, assert_refused, put

pytestmark = pytest.mark.usefixtures("watchdog")

# Written by deltarule 0.1.0: every later release must read it.
GOLDEN = (
    b'\xe8\0\0\0\0\0\0\0{"__metadata__":{"deltarule":"{\\"format\\":1,\\"layers\\":[\\"dense\\"],'
    b'\\"sha256\\":\\"24ef42ba72a6808f96caaafad3cbc83ab9f175da3a6cfe2d30615d0316e44729'
    b'\\",\\"version\\":\\"0.1.0\\"}"},'
    b'"W":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}     \0\0\x80?\0\0\0\xc0'
)


# --- there and back ---------------------------------------------------------------------------


def test_what_is_written_is_read(path: Path, saved: bytes) -> None:
    metadata, tensors = _file.read(str(path))
    assert metadata.pop("format") == 1
    assert isinstance(metadata.pop("version"), str)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.tobytes() == TENSORS[name].tobytes()
        assert (tensor.dtype, tensor.shape) == (TENSORS[name].dtype, TENSORS[name].shape)
        assert tensor.dtype.isnative
        flags = tensor.flags
        assert flags.owndata
        assert flags.writeable
        assert flags.c_contiguous
    path.unlink()
    _file.write(path, METADATA, TENSORS)
    assert path.read_bytes() == saved


def test_nothing_is_read_back(path: Path) -> None:
    _file.write(path, {}, {})
    metadata, tensors = _file.read(path)
    assert metadata.keys() == {"format", "version"}
    assert tensors == {}


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<i8", ">i8", "<u8", ">u8", "?"])
def test_every_memory_layout_gives_the_same_file(path: Path, dtype: str, tmp_path: Path) -> None:
    plain = (np.arange(24).reshape(4, 6) % 5).astype(dtype)
    wide = np.zeros((8, 18), dtype)
    wide[::2, ::3] = plain
    mapped = np.memmap(tmp_path / "raw", dtype, "w+", shape=(4, 6))
    mapped[...] = plain
    frozen = plain.copy()
    frozen.flags.writeable = False
    _file.write(path, {}, {"a": plain})
    expected = path.read_bytes()
    negative = plain[::-1, ::-1].copy()[::-1, ::-1]
    swapped = plain.astype(plain.dtype.newbyteorder())
    for same in (np.asfortranarray(plain), wide[::2, ::3], negative, swapped, mapped, frozen):
        _file.write(path, {}, {"a": same})
        assert path.read_bytes() == expected
        np.testing.assert_array_equal(_file.read(path)[1]["a"], plain)


def test_stride_zero_and_transposed_views(path: Path) -> None:
    row = np.broadcast_to(np.array([1, 2, 3], np.float32), (4, 3))
    cube = np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1)
    _file.write(path, {}, {"row": row, "cube": cube})
    tensors = _file.read(path)[1]
    np.testing.assert_array_equal(tensors["row"], row)
    np.testing.assert_array_equal(tensors["cube"], cube)


def test_safetensors_reads_the_same_tensors(saved: bytes) -> None:
    for name, tensor in safetensors.numpy.load(saved).items():
        assert tensor.tobytes() == TENSORS[name].tobytes()


def test_checksum_is_of_the_file_with_its_digits_zero(saved: bytes) -> None:
    n_header = int.from_bytes(saved[:8], "little")
    text = json.loads(saved[8 : 8 + n_header])["__metadata__"]["deltarule"]
    digest = json.loads(text)["sha256"].encode()
    assert hashlib.sha256(saved.replace(digest, b"0" * 64)).hexdigest().encode() == digest


def test_golden_file_of_format_1(path: Path) -> None:
    path.write_bytes(GOLDEN)
    metadata, tensors = _file.read(path)
    assert metadata == {"format": 1, "layers": ["dense"], "version": "0.1.0"}
    np.testing.assert_array_equal(tensors["W"], np.array([[1, -2]], np.float32))


# --- arguments that are refused -----------------------------------------------------------------


@pytest.mark.parametrize("wrong", [b"model", 3, None, object()])
def test_a_path_is_a_string_or_pathlike(wrong: Any) -> None:
    with pytest.raises(TypeError, match=f"path must be .* got {type(wrong).__name__}"):
        _file.read(wrong)
    with pytest.raises(TypeError, match=f"path must be .* got {type(wrong).__name__}"):
        _file.write(wrong, {}, {})


@pytest.mark.parametrize(
    ("metadata", "tensors", "error", "match"),
    [
        ({"format": 2}, {}, ValueError, "format"),
        ({"x": float("nan")}, {}, ValueError, "not JSON compliant"),
        ({"x": 2**70}, {}, ValueError, "20 characters"),
        ({"x": "y" * (1 << 24)}, {}, ValueError, "bytes, more than"),
        ({"x": json.loads("[" * 40 + "]" * 40)}, {}, ValueError, "32 deep"),
        ({"x": {"sha256": "0" * 64}}, {}, ValueError, "more than one checksum"),
        ({"x": np.zeros(2)}, {}, TypeError, "not JSON serializable"),
        ({}, {"a b": np.zeros(2)}, ValueError, "'a b'"),
        ({}, {"": np.zeros(2)}, ValueError, "''"),
        ({}, {"a": np.zeros(2, np.float16)}, TypeError, "'a' .* float16"),
        ({}, {"a": np.zeros(2, object)}, TypeError, "'a' .* object"),
    ],
)
def test_what_the_format_cannot_keep(
    path: Path, metadata: Any, tensors: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        _file.write(path, metadata, tensors)
    assert not list(path.parent.iterdir())


# --- damage -----------------------------------------------------------------------------------


def test_truncated_at_every_byte(path: Path, saved: bytes) -> None:
    assert_refused(path, b"", "is empty")
    for size in range(1, len(saved)):
        assert_refused(path, saved[:size])
    assert_refused(path, saved + b"\0", "too long")


def test_every_flipped_bit_is_noticed(path: Path, saved: bytes) -> None:
    n_head = 8 + int.from_bytes(saved[:8], "little")
    data_bits = random.Random(0).sample(range(8 * n_head, 8 * len(saved)), 100)
    for bit in [*range(8 * n_head), *data_bits]:
        damaged = bytearray(saved)
        damaged[bit // 8] ^= 1 << bit % 8
        assert_refused(path, bytes(damaged))


BLANK = "0" * 64
INNER = '{"format":1,"sha256":"' + BLANK + '","version":"0.1.0"}'
ENTRY = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def header(*entries: str, inner: str = INNER) -> str:
    metadata = '"__metadata__":{"deltarule":' + json.dumps(inner) + "}"
    return "{" + ",".join([metadata, *entries]) + "}"


def entry(shape: str, end: int | str, begin: int = 0, dtype: str = "F32", name: str = "a") -> str:
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}'


def forge(head: str | bytes, data: bytes = bytes(8)) -> bytes:
    """Return a file whose checksum is right, so that only the check of the header can refuse it."""
    raw = head if isinstance(head, bytes) else head.encode("utf-8", "surrogatepass")
    blank = len(raw).to_bytes(8, "little") + raw + data
    digest = hashlib.sha256(blank).hexdigest().encode()
    return blank.replace(b'sha256\\":\\"' + BLANK.encode(), b'sha256\\":\\"' + digest)


HEADERS: dict[str, str | bytes] = {
    "depth in the header": '{"a":' + "[" * 10**5 + "]" * 10**5 + "}",
    "depth in the metadata": header(ENTRY, inner='{"a":' + "[" * 10**5 + "]" * 10**5 + "}"),
    "depth, unbalanced": "{" * 10**5,
    "bracket in a string": '{"[[["' + "[" * 10**5,
    "duplicate tensor": header(ENTRY, ENTRY),
    "duplicate metadata": header(ENTRY, '"__metadata__":{}'),
    "duplicate key in the metadata": header(ENTRY, inner='{"format":1,' + INNER[1:]),
    "NaN": header(ENTRY, inner=INNER[:-1] + ',"x":NaN}'),
    "infinity": header(ENTRY, inner=INNER[:-1] + ',"x":1e999}'),
    "NaN offset": header(entry("[2]", "NaN")),
    "huge integer": header(entry("[2]", "9" * 10**6)),
    "huge integer in the metadata": header(ENTRY, inner=INNER[:-1] + ',"x":' + "9" * 10**6 + "}"),
    "bad UTF-8": header(ENTRY).encode().replace(b'"a"', b'"\xff"'),
    "not ASCII": header(entry("[2]", 8, name="é")),
    "lone surrogate": header(entry("[2]", 8, name="\\ud800")),
    "lone surrogate in the metadata": header(ENTRY, inner=INNER[:-1] + ',"x":"\udcff"}'),
    "NUL": header(ENTRY).replace('"a"', '"\0"'),
    "trailing text": header(ENTRY) + " {}",
    "trailing newline": header(ENTRY) + "\n",
    "leading space in an object": "{ " + header(ENTRY)[1:],
    "spaces in the metadata": header(ENTRY, inner=INNER + " "),
    "unsorted metadata": header(ENTRY, inner='{"version":"0.1.0",' + INNER[1:-18] + "}"),
    "escaped letter": header(ENTRY).replace('"a"', '"\\u0061"'),
    "array": "[" + header(ENTRY) + "]",
    "metadata is an array": header(ENTRY, inner="[1]"),
    "metadata is code": header(ENTRY, inner="__import__('os').abort()"),
    "more metadata": header(ENTRY).replace('{"deltarule"', '{"x":"y","deltarule"'),
    "no checksum": header(ENTRY, inner='{"format":1,"version":"0.1.0"}'),
    "checksum of another kind": header(ENTRY, inner=INNER.replace(f'"{BLANK}"', "0")),
    "checksum in capitals": header(ENTRY, inner=INNER.replace(BLANK, "A" * 64)),
    "format 0": header(ENTRY, inner=INNER.replace(":1", ":0")),
    "format true": header(ENTRY, inner=INNER.replace(":1", ":true")),
    "format 1.0": header(ENTRY, inner=INNER.replace(":1", ":1.0")),
    "format in text": header(ENTRY, inner=INNER.replace(":1", ':"1"')),
    "version 1": header(ENTRY, inner=INNER.replace('"0.1.0"', "1")),
    "overlap": header(entry("[2]", 8), entry("[1]", 8, 4, name="b")),
    "same bytes": header(entry("[2]", 8), entry("[2]", 8, name="b")),
    "hole": header(entry("[1]", 8, 4)),
    "hole between": header(entry("[0]", 0), entry("[1]", 8, 4, name="b")),
    "reversed": header(entry("[2]", 0, 8)),
    "past the end": header(entry("[4]", 16)),
    "data left over": header(entry("[1]", 4)),
    "no tensor": header(),
    "far past the end": header(entry(f"[{2**60}]", 2**62)),
    "product overflows": header(entry(f"[{2**32},{2**32}]", 8)),
    "product overflows to 8": header(entry(f"[{2**63 + 1},2]", 8)),
    "empty, but overflows": header(ENTRY, entry(f"[0,{2**62}]", 8, 8, name="b")),
    "empty, beyond 64 bits": header(ENTRY, entry(f"[0,{10**20 - 1}]", 8, 8, name="b")),
    "less than its bytes": header(entry("[1]", 8)),
    "more than its bytes": header(entry("[3]", 8)),
    "negative": header(entry("[-2]", 8)),
    "two negatives": header(entry("[-2,-1]", 8)),
    "negative offset": header(entry("[2]", 0, -8)),
    "float": header(entry("[2.0]", 8)),
    "float offset": header(entry("[2]", "8.0")),
    "boolean": header(entry("[true,2]", 8)),
    "text": header(entry('["2"]', 8)),
    "shape is text": header(entry('"2"', 8)),
    "shape is null": header(entry("null", 8)),
    "33 dimensions": header(entry(str([1] * 32 + [2]).replace(" ", ""), 8)),
    "three offsets": header(entry("[2]", "8,8")),
    "dtype unknown": header(entry("[2]", 8, dtype="F33")),
    "dtype of safetensors only": header(entry("[4]", 8, dtype="BF16")),
    "dtype not text": header(ENTRY.replace('"F32"', '["F32"]')),
    "dtype missing": header(ENTRY.replace('"dtype":"F32",', "")),
    "another key": header(ENTRY.replace('"shape"', '"x":1,"shape"')),
    "tensor is null": header('"a":null'),
    "name with a slash": header(entry("[2]", 8, name="../a")),
    "name too long": header(entry("[2]", 8, name="a" * 201)),
    "boolean of 2": header(entry("[8]", 8, dtype="BOOL")),
}


def test_forging_works(path: Path) -> None:
    path.write_bytes(forge(header(ENTRY)))
    assert _file.read(path)[1]["a"].shape == (2,)


@pytest.mark.parametrize("case", HEADERS)
def test_forged_header(path: Path, case: str) -> None:
    content = forge(HEADERS[case], b"\2" * 8)
    put(path, content)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError) as caught:
            _file.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "checksum does not match" not in str(caught.value)
    assert peak < 500_000 + 10 * len(content)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("size", [0, 1, 7, 2**63, 2**64 - 1, 2**24 + 8, 10**4])
def test_header_length(path: Path, saved: bytes, size: int) -> None:
    assert_refused(path, size.to_bytes(8, "little") + saved[8:])


def test_depth_is_refused_without_recursion(path: Path) -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)  # the C stack would overflow before Python notices
    try:
        for case in ("depth in the header", "depth in the metadata"):
            assert_refused(path, forge(HEADERS[case]), "32 deep")
    finally:
        sys.setrecursionlimit(limit)


def test_random_damage_under_a_right_checksum(path: Path) -> None:
    draw = random.Random(1)
    whole = header(ENTRY, entry("[1,0]", 8, 8, name="b"))
    pieces = [*'"\\{}[],:0é\0', "-1", "1e9", "null", "true", ""]
    n_refused = 0
    for _ in range(3000):
        at = draw.randrange(1, len(whole))
        n_cut = draw.choice([0, 1, 1, 2, 9])
        head = whole[:at] + draw.choice(pieces) + whole[at + n_cut :]
        put(path, forge(head))
        try:
            _file.read(path)
        except ModelFileError:
            n_refused += 1
    assert n_refused > 2500


def test_a_file_that_shrinks(path: Path, saved: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat = os.fstat
    sizes = iter([len(saved), len(saved) - 1])  # after the look at its kind, at its size

    def shrink(file: int) -> os.stat_result:
        found = fstat(file)
        os.truncate(path, next(sizes))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", shrink)
        with pytest.raises(ModelFileError, match="became shorter"):
            _file.read(path)


def test_newer_format(path: Path) -> None:
    inner = INNER.replace(":1", ":3").replace("0.1.0", "7.5.0")
    assert_refused(path, forge(header(inner=inner)), r"format 3.*up to format 1.*'7\.5\.0'.*newer")


# --- what is no model file ----------------------------------------------------------------------


def test_safetensors_of_others(path: Path) -> None:
    content = safetensors.numpy.save({"a": np.zeros(3)})
    assert_refused(path, content, "not saved by deltarule")
    content = safetensors.numpy.save({"a": np.zeros(3)}, {"format": "pt", "é": "é"})
    assert_refused(path, content, "not saved by deltarule")


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (99,)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_run(path: Path, protocol: int) -> None:
    assert_refused(path, pickle.dumps(_Bomb(), protocol), "looks like a pickle")
    assert_refused(path, pickle.dumps(np.zeros(1000), protocol), "looks like a pickle")


def test_files_of_others(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, W=np.zeros(100))
    assert_refused(path, path.read_bytes(), r"looks like a NumPy \.npz")
    with path.open("wb") as file:
        np.save(file, np.zeros(100))
    assert_refused(path, path.read_bytes(), r"looks like a NumPy \.npy")
    for member, kind in {"archive/data.pkl": "a PyTorch file", "config.json": "a zip"}.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, bytes(100))
        assert_refused(path, path.read_bytes(), f"looks like {kind}")
    assert_refused(path, b"\x89HDF\r\n\x1a\n" + bytes(100), "looks like an HDF5 file")
    assert_refused(path, b"\x08\x08\x12\x07pytorch" + bytes(100), "looks like an ONNX model")
    assert_refused(path, b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "looks like a MATLAB file")
    assert_refused(path, b"import this\n" * 20, "not a deltarule model file")


def test_what_is_no_regular_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        _file.read(path)
    assert caught.value.filename == str(path)
    with pytest.raises(IsADirectoryError) as caught_directory:
        _file.read(tmp_path)
    assert caught_directory.value.filename == str(tmp_path)
    os.mkfifo(path)
    for special in (path, Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ModelFileError, match="not a regular file"):
            _file.read(special)
    with pytest.raises(ModelFileError, match="is empty"):
        _file.read("/proc/self/status")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable(path: Path, saved: bytes) -> None:
    path.chmod(0)
    with pytest.raises(PermissionError):
        _file.read(path)
