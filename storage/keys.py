"""Keys of the engine: a collection's number, then an id or a pid, in bytes that sort like the values.

    collection   u32 big-endian                      the prefix of every key of a collection
    id           0x01, u64 big-endian                an integer id
                 0x02, UTF-8                         a string id; UTF-8 sorts by code point, as Python strings do
    pid          u64 big-endian
    entry        u64 big-endian                      an entry of a cache; caches have numbers as collections have
    source       an id's key, cache, entry           the point that an entry was made from

So the ids of a collection come in order, integers before strings, and its pids in the order of writing.
"""

from __future__ import annotations

import struct
from typing import Final

from vsearch.errors import Corruption, InvalidArgument
from vsearch.types import PointId

_COLLECTION: Final = struct.Struct(">I")
_PID: Final = struct.Struct(">Q")
_COLLECTION_PID: Final = struct.Struct(">IQ")
_INTEGER: Final = struct.Struct(">BQ")
_INTEGER_TAG: Final = 1
_STRING_TAG: Final = b"\x02"
_PREFIX_BYTES: Final = 4
_PID_BITS: Final = 40  # of a version: a trillion writes, and 16 million collections, stay within u64


def prefix(collection: int) -> bytes:
    """The first bytes of every key of a collection; collection 0 to 2**32 - 1."""
    return _COLLECTION.pack(collection)


def prefix_end(collection: int) -> bytes:
    """The smallest bytes above every key of a collection: the exclusive end of its range."""
    if collection == 0xFFFFFFFF:
        return b"\xff" * 16  # a pid key is at most twelve such bytes, and an id begins with 0x01 or 0x02
    return _COLLECTION.pack(collection + 1)


def version_of(collection: int, pid: int) -> int:
    """What stands for a collection after the write of a pid."""
    return (collection << _PID_BITS) | pid


def written_by(version: int, collection: int, pid: int) -> bool:
    """Whether the write of a pid in a collection was done at a version."""
    return version >> _PID_BITS == collection and 0 < pid <= version & ((1 << _PID_BITS) - 1)


def number_of(key: bytes) -> int:
    """The number of the collection, or the cache, that a key is of."""
    return int.from_bytes(key[:_PREFIX_BYTES], "big")


def encode_id(point_id: PointId) -> bytes:
    """An id without a collection. Raises InvalidArgument for an integer outside u64 and for a lone surrogate."""
    if isinstance(point_id, int):
        try:
            return _INTEGER.pack(_INTEGER_TAG, point_id)
        except struct.error:
            raise InvalidArgument(f"id {point_id} is out of range", "Use an integer from 0 to 2**64 - 1") from None
    try:
        return _STRING_TAG + point_id.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"id {point_id!r} is not valid text", "Remove the lone surrogates") from None


def decode_id(data: bytes) -> PointId:
    """The id that `encode_id` made these bytes of. Raises Corruption for any others."""
    if data[:1] == _STRING_TAG:
        try:
            return data[1:].decode()
        except UnicodeDecodeError:
            raise Corruption(f"stored id {data[:64]!r} is not UTF-8") from None
    if len(data) == _INTEGER.size and data[0] == _INTEGER_TAG:
        return int.from_bytes(data[1:], "big")
    raise Corruption(f"stored id {data[:64]!r} is of no known kind")


def id_key(collection: int, point_id: PointId) -> bytes:
    """The key of an id in the family `ids`."""
    return _COLLECTION.pack(collection) + encode_id(point_id)


def id_of(key: bytes) -> PointId:
    """The id of a key in the family `ids`."""
    return decode_id(key[_PREFIX_BYTES:])


def pid_key(collection: int, pid: int) -> bytes:
    """The key of a pid in the families `points`, `unsealed` and `tombstones`; pid 0 to 2**64 - 1."""
    return _COLLECTION_PID.pack(collection, pid)


def pid_of(key: bytes) -> int:
    """The pid of a key in those families. Raises Corruption for a key of another length."""
    if len(key) != _COLLECTION_PID.size:
        raise Corruption(f"stored key {key[:64]!r} is not a collection and a pid")
    return int.from_bytes(key[_PREFIX_BYTES:], "big")


def source_key(point: bytes, cache: int, entry: int) -> bytes:
    """The key that says that an entry was made from a point; `point`: the point's key in the family `ids`."""
    return point + _COLLECTION_PID.pack(cache, entry)


def source_of(key: bytes) -> tuple[bytes, int, int]:
    """The point's key, the cache and the entry of such a key. Raises Corruption for a key that is too short."""
    at = len(key) - _COLLECTION_PID.size
    if at <= _PREFIX_BYTES:
        raise Corruption(f"stored key {key[:64]!r} names no source of a cached answer")
    return key[:at], *_COLLECTION_PID.unpack(key[at:])


def pid_value(pid: int) -> bytes:
    """A pid as a value of the family `ids`."""
    return _PID.pack(pid)


def pid_from_value(value: bytes) -> int:
    """The pid of such a value. Raises Corruption for a value of another length."""
    if len(value) != _PID.size:
        raise Corruption(f"stored pid {value[:64]!r} is not 8 bytes")
    return int.from_bytes(value, "big")
