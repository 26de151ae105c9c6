"""One file format for everything that is arrays: vectors, index buffers, row tables.

Bytes on disk, all numbers little-endian:

    0    magic b"VSEARCH\\0"
    8    u32 format version, u32 oldest version whose reader can read the file
    16   u64 length of the file
    24   u64 offset, u64 length of the description
    40   u64 xxh3 of the description
    48   u64 xxh3 of all bytes between header and description, padding included
    56   u64 xxh3 of the 56 bytes before
    64   the arrays, in C order, each at a multiple of 4096 (of 64 when it is shorter than 4096 bytes)
    ...  the description, msgpack: {"kind", "meta", "arrays": [[name, dtype, shape, offset, xxh3], ...]}

1. The writer leaves room for the header, streams the arrays, then writes the description and last the header.
2. The reader checks header, length and description, then maps the file once; arrays are views of that map.
3. The bytes of the arrays are checked only when asked (`verify`), since that reads all of them.

The header keeps its shape in all versions. Nothing in a file is believed before it is checked: a damaged, truncated or
forged file is a Corruption error that names it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgpack
import numpy as np
import xxhash
from numpy.typing import DTypeLike, NDArray

from vsearch.errors import Corruption, UnsupportedFormat

from .files import DAMAGED_HINT, WritableFile, digest, map_file

VERSION: Final = 1
_MAGIC: Final = b"VSEARCH\0"
_HEADER: Final = struct.Struct("<8sIIQQQQQ")
_HEADER_BYTES: Final = 64
_CHECKED_BYTES: Final = 56  # what the header's own checksum covers
_PAGE: Final = 4096  # large arrays start on a page, so that advice and locking apply to whole arrays
_LINE: Final = 64  # small arrays start on a cache line
_DTYPES: Final = frozenset(["|b1", "|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"])
_MAX_DIMENSIONS: Final = 8
_MAX_ELEMENTS: Final = 1 << 48  # numpy counts bytes in 63 bits, even those of an array that an extent of 0 makes empty


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array lies: its dtype as text, shape, offset and the xxh3 of its bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    xxh3: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class ArrayFileWriter:
    """Writes one file of named arrays; a context manager. Memory is that of the largest piece passed in.

    On a clean exit the file is complete and synced, and `checksum` (16 hex digits over the arrays' bytes) and `nbytes`
    (length of the file) are set; its name becomes durable with the folder. When the block raises, the file is removed.
    Raises FileExistsError for a path that exists, DurabilityError when the operating system refuses.
    """

    def __init__(self, path: Path, kind: str, meta: dict[str, Any]) -> None:
        self.path = path
        self.checksum = ""
        self.nbytes = 0
        self._kind = kind
        self._meta = meta
        self._file = WritableFile(path)
        self._hash = xxhash.xxh3_64()
        self._places: dict[str, _Place] = {}
        self._name = ""  # the array being streamed
        self._left = 0  # its bytes still to come
        self._array_hash = xxhash.xxh3_64()

    def add(self, name: str, array: NDArray[Any]) -> None:
        """Adds a whole array."""
        self.begin(name, array.dtype, array.shape)
        self.append(name, array)

    def begin(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        """Starts an array whose content comes in pieces; the one before must be complete."""
        self._finish_array()
        assert name not in self._places, f"bug: array {name!r} is added twice"
        stored = np.dtype(dtype).newbyteorder("<").str
        assert stored in _DTYPES, f"bug: dtype {stored} cannot be stored"
        assert len(shape) <= _MAX_DIMENSIONS, f"bug: {len(shape)} dimensions cannot be stored"
        place = _Place(stored, tuple(int(extent) for extent in shape), 0, 0)
        alignment = _LINE if place.nbytes < _PAGE else _PAGE
        self._write(bytes(-self._file.position % alignment))
        self._places[name] = _Place(stored, place.shape, self._file.position, 0)
        self._name, self._left = name, place.nbytes
        self._array_hash.reset()

    def append(self, name: str, chunk: NDArray[Any]) -> None:
        """Adds the next elements, in C order, to the array that was begun last."""
        assert name == self._name, f"bug: {name!r} is not the array that was begun last"
        piece = np.ascontiguousarray(chunk, dtype=self._places[name].dtype)
        assert chunk.dtype == piece.dtype, f"bug: {name!r} is {piece.dtype}, the piece {chunk.dtype}"
        assert piece.nbytes <= self._left, f"bug: {piece.nbytes} bytes for {name!r}, which lacks {self._left}"
        if piece.nbytes:
            data = piece.reshape(-1).view(np.uint8).data
            self._array_hash.update(data)
            self._write(data)
            self._left -= piece.nbytes

    def _write(self, data: Any) -> None:
        self._hash.update(data)
        self._file.write(data)

    def _finish_array(self) -> None:
        assert self._left == 0, f"bug: {self._name!r} lacks {self._left} bytes"
        if self._name:
            place = self._places[self._name]
            self._places[self._name] = _Place(place.dtype, place.shape, place.offset, self._array_hash.intdigest())
            self._name = ""

    def _finish(self) -> None:
        self._finish_array()
        arrays = [[name, place.dtype, place.shape, place.offset, place.xxh3] for name, place in self._places.items()]
        description = msgpack.packb({"kind": self._kind, "meta": self._meta, "arrays": arrays})
        offset = self._file.position
        self._file.write(description)
        checks = xxhash.xxh3_64_intdigest(description), self._hash.intdigest()
        length = self._file.position
        header = _HEADER.pack(_MAGIC, VERSION, VERSION, length, offset, len(description), *checks)
        self._file.write_at(0, header + struct.pack("<Q", xxhash.xxh3_64_intdigest(header)))
        self._file.close()
        self.checksum, self.nbytes = f"{checks[1]:016x}", length

    def __enter__(self) -> ArrayFileWriter:
        try:
            self._file.write(bytes(_HEADER_BYTES))
        except BaseException:
            self._file.abandon()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is not None:
            self._file.abandon()
            return
        try:
            self._finish()
        except BaseException:
            self._file.abandon()
            raise


@dataclass(frozen=True)
class ArrayFile:
    """A file that was read. `arrays` are read-only views of one memory map, which lives as long as any of them."""

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    checksum: str  # 16 hex digits over the arrays' bytes, as the header states it
    nbytes: int  # length of the file


def read(path: Path, kind: str | None, verify: bool = False) -> ArrayFile:
    """Opens a file that ArrayFileWriter wrote with the same `kind` (None: any). `verify` checks every byte.

    Raises Corruption when the file is missing, damaged or of another kind, UnsupportedFormat when only a newer release
    reads it; both name the file.
    """
    data = map_file(path)
    try:
        if len(data) < _HEADER_BYTES:
            raise _Damage(f"it has {len(data)} bytes, fewer than a header")
        offset, data_hash = _check_header(path, data)
        meta, places = _describe(data[offset:], offset, kind)
        arrays = {name: _view(data, place) for name, place in places.items()}
        if verify:
            _verify(data, offset, data_hash, places)
    except _Damage as damage:
        raise Corruption(f"{path} is damaged: {damage}", DAMAGED_HINT) from None
    return ArrayFile(path, meta, arrays, f"{data_hash:016x}", len(data))


class _Damage(Exception):
    """What is wrong with a file; becomes Corruption where the file is known."""


def _check_header(path: Path, data: Any) -> tuple[int, int]:
    """Checks header, length and the description's checksum; returns the description's offset and the data's xxh3."""
    header = data[:_CHECKED_BYTES]
    magic, version, oldest, length, offset, size, description_hash, data_hash = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise _Damage("it does not start like a file of arrays")
    if data[_CHECKED_BYTES:_HEADER_BYTES] != struct.pack("<Q", xxhash.xxh3_64_intdigest(header)):
        raise _Damage("the header does not match its checksum")
    if oldest > VERSION:
        message = f"{path} has format {version}, readable from {oldest} on; this release reads {VERSION}"
        raise UnsupportedFormat(message, "Open it with the release that wrote it, or a newer one")
    if length != len(data):
        raise _Damage(f"it has {len(data)} bytes, the header says {length}")
    if offset < _HEADER_BYTES or offset + size != length:
        raise _Damage(f"the description is said to lie at {offset} with {size} bytes")
    if xxhash.xxh3_64_intdigest(data[offset:]) != description_hash:
        raise _Damage("the description does not match its checksum")
    return offset, data_hash


def _describe(description: bytes, end: int, kind: str | None) -> tuple[dict[str, Any], dict[str, _Place]]:
    """Checks the description of arrays that must end before `end`; returns the meta and where each array lies."""
    try:
        content = msgpack.unpackb(description)
    except (ValueError, msgpack.UnpackException) as error:
        raise _Damage(f"the description cannot be read: {error or type(error).__name__}") from error
    if not isinstance(content, dict) or content.keys() != {"kind", "meta", "arrays"}:
        raise _Damage("the description has other parts than kind, meta and arrays")
    if kind is not None and content["kind"] != kind:
        raise _Damage(f"it is of kind {content['kind']!r}, not {kind!r}")
    if not isinstance(content["meta"], dict) or not isinstance(content["arrays"], list):
        raise _Damage("the description's meta or arrays is of the wrong type")
    places: dict[str, _Place] = {}
    position = _HEADER_BYTES
    for entry in content["arrays"]:
        name, place = _place(entry)
        if name in places or place.offset < position or place.offset % _LINE or place.offset + place.nbytes > end:
            raise _Damage(f"array {name!r} is said to lie at {place.offset} with {place.nbytes} bytes")
        position = place.offset + place.nbytes
        places[name] = place
    return content["meta"], places


def _place(entry: Any) -> tuple[str, _Place]:
    """One entry of the description; every value is checked before numpy sees it."""
    if not isinstance(entry, list) or [type(part) for part in entry] != [str, str, list, int, int]:
        raise _Damage("the description of an array has the wrong types")
    name, dtype, shape, offset, check = entry
    if dtype not in _DTYPES:
        raise _Damage(f"array {name!r} has dtype {dtype!r}")
    whole = len(shape) <= _MAX_DIMENSIONS and all(type(extent) is int and extent >= 0 for extent in shape)
    if not whole or math.prod(extent or 1 for extent in shape) > _MAX_ELEMENTS:
        raise _Damage(f"array {name!r} has shape {shape}")
    return name, _Place(dtype, tuple(shape), offset, check)


def _view(data: Any, place: _Place) -> NDArray[Any]:
    """The array as a read-only view of the map."""
    flat = np.frombuffer(data, place.dtype, math.prod(place.shape), place.offset)
    return flat.reshape(place.shape)


def _verify(data: Any, end: int, data_hash: int, places: dict[str, _Place]) -> None:
    """Compares every byte between header and description with the checksums, naming the damaged array."""
    whole = memoryview(data)
    if digest(whole[_HEADER_BYTES:end]) == data_hash:
        return
    for name, place in places.items():
        if digest(whole[place.offset : place.offset + place.nbytes]) != place.xxh3:
            raise _Damage(f"array {name!r} does not match its checksum")
    raise _Damage("the bytes between its arrays do not match the checksum")
