"""Array files: what goes in comes out, views do not copy, and no file whatever does harm."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from vsearch.errors import Corruption, DurabilityError, UnsupportedFormat
from vsearch.storage import arrayfile, failpoints
from vsearch.storage.arrayfile import ArrayFileWriter, read

DTYPES = [np.dtype(name) for name in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8")]
some_arrays = st.dictionaries(
    st.text(max_size=8),
    st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))),
    max_size=5,
)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def write(path: Path, arrays: dict[str, NDArray[Any]], meta: dict[str, Any] | None = None) -> ArrayFileWriter:
    path.unlink(missing_ok=True)
    with ArrayFileWriter(path, "test", meta or {}) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
    return writer


SAMPLE = {
    "codes": np.arange(5000, dtype=np.uint16).reshape(100, 50),
    "empty": np.empty((0, 7), np.float32),
    "ids": np.arange(10, dtype=np.int64),
    "last": np.array([1.5], np.float16),
}


@given(some_arrays, st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**64 - 1) | st.text() | st.none()))
def test_arrays_and_meta_come_back(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "roundtrip"
    writer = write(path, arrays, meta)
    file = read(path, "test", verify=True)
    assert file.meta == meta
    assert list(file.arrays) == list(arrays)
    for name, array in arrays.items():
        back = file.arrays[name]
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert back.tobytes() == array.tobytes()  # of floats too: NaN comes back bit by bit
    assert (file.checksum, file.nbytes) == (writer.checksum, writer.nbytes)
    assert writer.nbytes == path.stat().st_size


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 3))
def test_pieces_make_the_same_file_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], width: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = np.random.default_rng(0).normal(size=(sum(pieces), width)).astype(np.float32)
    write(folder / "whole", {"x": whole, "y": whole[:1]})
    (folder / "pieces").unlink(missing_ok=True)
    with ArrayFileWriter(folder / "pieces", "test", {}) as writer:
        writer.begin("x", np.float32, whole.shape)
        start = 0
        for rows in pieces:
            writer.append("x", whole[start : start + rows])
            start += rows
        writer.add("y", whole[:1])
    assert (folder / "pieces").read_bytes() == (folder / "whole").read_bytes()


def test_strided_and_big_endian_arrays_are_stored_in_order(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    write(tmp_path / "a", {"t": array.T, "s": array[::2, ::3]})
    arrays = read(tmp_path / "a", "test", verify=True).arrays
    np.testing.assert_array_equal(arrays["t"], array.T)
    np.testing.assert_array_equal(arrays["s"], array[::2, ::3])


def test_arrays_are_aligned_read_only_views_of_one_map(tmp_path: Path) -> None:
    write(tmp_path / "a", SAMPLE)
    arrays = read(tmp_path / "a", "test").arrays
    bases = set()
    for name, array in arrays.items():
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        if array.size:
            assert array.ctypes.data % (4096 if array.nbytes >= 4096 else 64) == 0, name
        base: Any = array
        while isinstance(base.base, np.ndarray):
            base = base.base
        bases.add(id(base.base.obj if isinstance(base.base, memoryview) else base.base))
    assert len(bases) == 1
    (tmp_path / "a").unlink()
    np.testing.assert_array_equal(arrays["codes"], SAMPLE["codes"])  # the map outlives the name


@pytest.mark.skipif(sys.platform != "linux", reason="reads resident memory from /proc")
def test_reading_does_not_load_the_data(tmp_path: Path) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    with ArrayFileWriter(tmp_path / "a", "test", {}) as writer:
        writer.begin("x", np.uint8, (64 << 20,))
        for _ in range(64):
            writer.append("x", np.ones(1 << 20, np.uint8))
    before = resident()
    file = read(tmp_path / "a", "test")
    assert resident() - before < 8 << 20
    assert file.arrays["x"][-1] == 1


def test_a_block_that_raises_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ArrayFileWriter(tmp_path / "a", "test", {}) as writer:
        writer.add("x", np.zeros(10 // len(os.listdir(tmp_path) * 0)))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("point", ["file.write", "file.write:3", "file.sync.before"])
def test_a_full_disk_is_told_and_leaves_no_file(tmp_path: Path, point: str) -> None:
    name, _, visit = point.partition(":")
    failpoints.arm(f"{name}=enospc" + (f":{visit}" if visit else ""))
    with pytest.raises(DurabilityError, match=f"{tmp_path / 'a'}.*No space"):
        write(tmp_path / "a", SAMPLE)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda writer: [writer.begin("x", np.int8, (2,)), writer.add("y", np.zeros(1))],
        lambda writer: [writer.begin("x", np.int8, (2,)), writer.append("x", np.zeros(3, np.int8))],
        lambda writer: [writer.begin("x", np.int8, (2,)), writer.append("x", np.zeros(2, np.int16))],
        lambda writer: [writer.begin("x", np.int8, (2,)), writer.append("y", np.zeros(2, np.int8))],
        lambda writer: [writer.add("x", np.zeros(1)), writer.add("x", np.zeros(1))],
        lambda writer: writer.begin("x", np.int8, (2,)),
        lambda writer: writer.add("x", np.array([None])),
        lambda writer: writer.add("x", np.zeros(1, "M8[s]")),
    ],
)
def test_a_misused_writer_stops_and_leaves_no_file(tmp_path: Path, misuse: Callable[[ArrayFileWriter], Any]) -> None:
    with pytest.raises(AssertionError, match="bug: "), ArrayFileWriter(tmp_path / "a", "test", {}) as writer:
        misuse(writer)
    assert not os.listdir(tmp_path)


# Damage. `outcome` is what reading gives: the content, or the error, which must be one of ours and name the file.


def outcome(path: Path, verify: bool) -> dict[str, bytes] | Corruption:
    try:
        file = read(path, "test", verify)
    except Corruption as error:
        return error if str(path) in error.message else {}  # which no test expects
    return {name: array.tobytes() for name, array in file.arrays.items()}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sample") / "a"
    write(path, SAMPLE, {"rows": 100})
    return path.read_bytes()


def test_every_truncation_is_corruption(tmp_path: Path, sample: bytes) -> None:
    path = tmp_path / "a"
    near = {edge + step for edge in (0, 8, 16, 56, 64, 4096, 14096, len(sample)) for step in range(-3, 4)}
    for length in sorted({*near, *range(0, len(sample), 997)}):
        if 0 <= length < len(sample):
            path.write_bytes(sample[:length])
            assert isinstance(outcome(path, verify=False), Corruption), length
    for extra in (b"\0", b"x" * 4096):
        path.write_bytes(sample + extra)
        assert isinstance(outcome(path, verify=False), Corruption)


@given(st.data())
def test_every_flipped_bit_is_found_by_verify(
    tmp_path_factory: pytest.TempPathFactory, sample: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped"
    length = struct.unpack_from("<Q", sample, 24)[0]
    position = data.draw(st.integers(0, 63) | st.integers(length, len(sample) - 1) | st.integers(0, len(sample) - 1))
    damaged = bytearray(sample)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    assert isinstance(outcome(path, verify=True), Corruption)
    if position < 64 or position >= length:  # header and description are checked always
        assert isinstance(outcome(path, verify=False), Corruption)


def test_verify_names_the_damaged_array(tmp_path: Path, sample: bytes) -> None:
    damaged = bytearray(sample)
    damaged[sample.index(SAMPLE["ids"].tobytes()) + 8] ^= 255
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(Corruption, match="array 'ids' does not match"):
        read(tmp_path / "a", "test", verify=True)


@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_corruption(tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(b"VSEARCH\0" + data if magic else data)
    assert isinstance(outcome(path, verify=True), Corruption)


def forged(description: Any, data: bytes = bytes(4096), version: int = 1, oldest: int = 1, **changes: int) -> bytes:
    """A file whose checksums are right, whatever it says."""
    text = description if isinstance(description, bytes) else msgpack.packb(description)
    fields = {"length": 64 + len(data) + len(text), "offset": 64 + len(data), "size": len(text), **changes}
    checks = xxhash.xxh3_64_intdigest(text), xxhash.xxh3_64_intdigest(data)
    header = struct.pack("<8sIIQQQQQ", b"VSEARCH\0", version, oldest, *fields.values(), *checks)
    return header + struct.pack("<Q", xxhash.xxh3_64_intdigest(header)) + data + text


def described(*arrays: Any, **changes: Any) -> dict[str, Any]:
    return {"kind": "test", "meta": {}, "arrays": list(arrays), **changes}


def test_a_forged_file_that_tells_the_truth_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(forged(described(["x", "<f4", [2, 3], 64, 0])))
    assert read(tmp_path / "a", "test", verify=True).arrays["x"].shape == (2, 3)


@pytest.mark.parametrize(
    "data",
    [
        forged(described(["x", "<f4", [2, 3], 64, 0]), length=10),
        forged(described(), offset=2**63),
        forged(described(), offset=0),
        forged(described(), size=2**64 - 1),
        forged(b"\xc1"),
        forged(b""),
        forged(b"\x91" * 100_000 + b"\x90"),  # nested too deeply
        forged(b"\xdd\xff\xff\xff\xff"),  # a list of four thousand million
        forged([]),
        forged({}),
        forged(described(kind=3)),
        forged(described(kind="other")),
        forged(described(meta=[])),
        forged(described(arrays={})),
        forged(described(more=1)),
        forged(described(None)),
        forged(described(["x", "<f4", [2, 3], 64])),
        forged(described([b"x", "<f4", [2, 3], 64, 0])),
        forged(described(["x", "|O", [1], 64, 0])),
        forged(described(["x", "<U9", [1], 64, 0])),
        forged(described(["x", "<f4,<f4", [1], 64, 0])),
        forged(described(["x", ">f4", [1], 64, 0])),
        forged(described(["x", "<f4", [-1], 64, 0])),
        forged(described(["x", "<f4", [True], 64, 0])),
        forged(described(["x", "<f4", [1.0], 64, 0])),
        forged(described(["x", "<f4", [1025], 64, 0])),
        forged(described(["x", "<f4", [2**40, 2**40, 2**40], 64, 0])),
        forged(described(["x", "<f4", [0, 2**62, 2**62], 64, 0])),
        forged(described(["x", "<f4", [2**62 + 1, 4], 64, 0])),
        forged(described(["x", "<f4", [1] * 33, 64, 0])),
        forged(described(["x", "<f4", [1], 65, 0])),
        forged(described(["x", "<f4", [1], 0, 0])),
        forged(described(["x", "<f4", [1], -64, 0])),
        forged(described(["x", "<f4", [1], 2**62, 0])),
        forged(described(["x", "<f4", [17], 64, 0], ["y", "<f4", [1], 128, 0])),  # they overlap
        forged(described(["x", "<f4", [1], 64, 0], ["x", "<f4", [1], 128, 0])),
    ],
)
def test_a_lie_with_right_checksums_is_corruption(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    found = outcome(tmp_path / "a", verify=False)
    assert isinstance(found, Corruption)
    assert not isinstance(found, UnsupportedFormat)


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)
entry = st.tuples(
    st.text(max_size=2) | json,
    st.sampled_from(["<f4", "|b1", "<i8", "|O", ""]) | json,
    st.lists(st.integers(-1, 2000) | st.integers(), max_size=3) | json,
    st.integers(0, 70).map(lambda lines: lines * 64) | json,
    st.integers(0, 2**64 - 1) | json,
).map(list)


@given(st.fixed_dictionaries({"kind": st.just("test"), "meta": json, "arrays": st.lists(entry | json) | json}) | json)
def test_any_description_gives_arrays_inside_the_file_or_corruption(
    tmp_path_factory: pytest.TempPathFactory, description: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "described"
    try:
        data = forged(description)
    except (OverflowError, ValueError):
        return  # msgpack holds no such integer
    path.write_bytes(data)
    found = outcome(path, verify=False)
    assert isinstance(found, Corruption) or sum(map(len, found.values())) <= 4096


def test_only_a_reader_that_is_too_old_refuses_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(forged(described(), version=2, oldest=1))
    assert read(tmp_path / "a", "test").arrays == {}
    (tmp_path / "a").write_bytes(forged(described(), version=3, oldest=2))
    with pytest.raises(UnsupportedFormat, match=rf"{tmp_path / 'a'} has format 3, readable from 2 on"):
        read(tmp_path / "a", "test")


def test_the_kind_is_compared_unless_any_will_do(tmp_path: Path) -> None:
    write(tmp_path / "a", SAMPLE)
    with pytest.raises(Corruption, match="of kind 'test', not 'other'"):
        read(tmp_path / "a", "other")
    assert read(tmp_path / "a", None).arrays.keys() == SAMPLE.keys()


def test_the_version_on_disk_is_the_one_that_is_written(tmp_path: Path) -> None:
    write(tmp_path / "a", {})
    assert struct.unpack_from("<8sII", (tmp_path / "a").read_bytes()) == (b"VSEARCH\0", arrayfile.VERSION, 1)
