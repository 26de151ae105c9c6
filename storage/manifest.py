"""What a collection is and which segments are live: one value in the engine, replaced as a whole.

Keys of the family `manifest`:

    c, name           -> the collection's Manifest (msgpack: {"version": 1, ...})
    a, name           -> the name of the collection that this alias stands for (UTF-8)
    n                 -> u64: the next collection's number; numbers are never used twice, so that keys of a deleted
                         collection can never be taken for those of a new one
    p, number (u32)   -> u64: the highest pid ever given in the collection, written with every batch that gives one
    r, number (u32)   -> nothing: a collection is being restored under this number. The batch with its manifest removes
                         the mark; one that is found at open means that what there is under the number is a remainder

A manifest becomes true when the batch that holds it is committed. Every decoded manifest keeps these rules, or it is
Corruption: segments are in the order of their pids, their ranges do not overlap, and none reaches above `sealed_pid`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgpack

from vsearch.errors import Corruption, UnsupportedFormat

from . import failpoints, keys
from .rocks import MANIFEST, Batch, Engine

VERSION: Final = 1
_COLLECTION: Final = b"c"
_COLLECTION_END: Final = b"d"
_ALIAS: Final = b"a"
_ALIAS_END: Final = b"b"
_NEXT_NUMBER: Final = b"n"
_LAST_PID: Final = b"p"
_RESTORING: Final = b"r"
_RESTORING_END: Final = b"s"
_MAX_NUMBER: Final = 0xFFFFFFFF  # a number is the first four bytes of its keys


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a segment: its checksum (hex of 64 bits, what of is the file kind's matter) and its length in bytes."""

    checksum: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """A sealed segment: `rows` points whose pids lie from `first_pid` to `last_pid`, its files, its index kinds."""

    name: str
    first_pid: int
    last_pid: int
    rows: int
    files: dict[str, FileEntry] = field(default_factory=dict)
    indexes: dict[str, str] = field(default_factory=dict)  # field -> index kind


@dataclass(frozen=True, slots=True)
class Manifest:
    """A collection: its name and number, its fields' settings, its live segments, and what is sealed.

    Every point with a pid up to `sealed_pid` is in a segment or dead; those above are in the family `unsealed`.
    """

    name: str
    number: int
    fields: dict[str, dict[str, Any]]
    segments: tuple[SegmentEntry, ...] = ()
    sealed_pid: int = 0
    payload_indexes: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes that `decode` reads."""
        problem = _problem(self)
        assert problem is None, f"bug: {problem}"
        data: bytes = msgpack.packb({"version": VERSION, **asdict(self)})
        return data

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest of stored bytes. Raises UnsupportedFormat for a newer version, Corruption for anything else."""
        try:
            content = msgpack.unpackb(data)
        except (ValueError, msgpack.UnpackException) as error:
            raise Corruption(f"a manifest cannot be read: {error or type(error).__name__}") from error
        if not isinstance(content, dict) or type(content.get("version")) is not int:
            raise Corruption("a manifest has no version")
        if (version := content.pop("version")) != VERSION:
            message = f"a manifest has version {version}, this release reads {VERSION}"
            raise UnsupportedFormat(message, "Open the database with the release that wrote it, or a newer one")
        try:
            segments = tuple(_segment(segment) for segment in content.pop("segments"))
            manifest = cls(segments=segments, **content)
            problem = _problem(manifest)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise Corruption(f"a manifest is malformed: {error}") from error
        if problem is not None:
            raise Corruption(f"a manifest is malformed: {problem}")
        return manifest


def _segment(content: dict[str, Any]) -> SegmentEntry:
    entries = {name: FileEntry(**entry) for name, entry in content.pop("files").items()}
    return SegmentEntry(files=entries, **content)


def _problem(manifest: Manifest) -> str | None:
    """What is wrong with a manifest, or None."""
    if not isinstance(manifest.name, str) or not _whole(manifest.number, _MAX_NUMBER):
        return f"the collection is {manifest.name!r}, number {manifest.number!r}"
    if not _whole(manifest.sealed_pid):
        return f"sealed_pid is {manifest.sealed_pid!r}"
    if not isinstance(manifest.fields, dict) or not all(
        isinstance(name, str) and isinstance(spec, dict) for name, spec in manifest.fields.items()
    ):
        return "fields is not a mapping of settings"
    if not _strings(manifest.payload_indexes) or not isinstance(manifest.options, dict):
        return "payload_indexes or options is not a mapping"
    previous = -1
    for segment in manifest.segments:
        if (problem := _segment_problem(segment)) is not None:
            return f"segment {segment.name!r}: {problem}"
        if segment.first_pid <= previous:
            return f"segment {segment.name!r} starts at pid {segment.first_pid}, not above {previous}"
        previous = segment.last_pid
    if previous > manifest.sealed_pid:
        return f"a segment reaches pid {previous}, above sealed_pid {manifest.sealed_pid}"
    if len({segment.name for segment in manifest.segments}) < len(manifest.segments):
        return "two segments have the same name"
    return None


def _segment_problem(segment: SegmentEntry) -> str | None:
    if not isinstance(segment.name, str) or not _strings(segment.indexes):
        return "its name or indexes are not text"
    if not (_whole(segment.first_pid) and _whole(segment.last_pid) and segment.first_pid <= segment.last_pid):
        return f"its pids are {segment.first_pid!r} to {segment.last_pid!r}"
    if not _whole(segment.rows, segment.last_pid - segment.first_pid + 1):
        return f"it has {segment.rows!r} rows for pids {segment.first_pid} to {segment.last_pid}"
    for name, entry in segment.files.items():
        if not isinstance(name, str) or not isinstance(entry.checksum, str) or not _whole(entry.nbytes):
            return f"file {name!r} has checksum {entry.checksum!r} and {entry.nbytes!r} bytes"
    return None


def _whole(value: object, highest: int = 2**64 - 1) -> bool:
    return type(value) is int and 0 <= value <= highest


def _strings(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())


def _key(name: str) -> bytes:
    return _COLLECTION + name.encode()


def load(engine: Engine) -> dict[str, Manifest]:
    """The manifest of every collection, by name. Raises Corruption or UnsupportedFormat, naming the database."""
    manifests: dict[str, Manifest] = {}
    numbers: set[int] = set()
    for key, value in engine.scan(MANIFEST, _COLLECTION, _COLLECTION_END):
        try:
            manifest = Manifest.decode(value)
        except Corruption as error:
            message = f"database {engine.path}, collection {key[1:].decode(errors='replace')!r}: {error.message}"
            raise type(error)(message, error.hint or "Restore the directory from a backup") from error
        if _key(manifest.name) != key or manifest.number in numbers:
            message = f"database {engine.path} has the manifest of {manifest.name!r} under another name or twice"
            raise Corruption(message, "Restore the directory from a backup")
        manifests[manifest.name] = manifest
        numbers.add(manifest.number)
    return manifests


def put(batch: Batch, manifest: Manifest) -> None:
    """Stores a collection's manifest instead of the one before."""
    failpoints.reach(failpoints.MANIFEST_PUT_BEFORE)
    batch.put(MANIFEST, _key(manifest.name), manifest.encode())
    failpoints.reach(failpoints.MANIFEST_PUT_AFTER)


def remove(batch: Batch, manifest: Manifest) -> None:
    """Removes a collection's manifest and its highest pid; its points and segments are the caller's to remove."""
    batch.delete(MANIFEST, _key(manifest.name))
    remove_last_pid(batch, manifest.number)


def load_aliases(engine: Engine) -> dict[str, str]:
    """The collection that each alias stands for. Raises Corruption, naming the database."""
    try:
        rows = engine.scan(MANIFEST, _ALIAS, _ALIAS_END)
        return {key[len(_ALIAS) :].decode(): value.decode() for key, value in rows}
    except UnicodeDecodeError as error:
        message = f"database {engine.path} has an alias that is not UTF-8: {error}"
        raise Corruption(message, "Restore the directory from a backup") from error


def put_alias(batch: Batch, alias: str, collection: str) -> None:
    """Lets an alias stand for a collection, instead of any before."""
    batch.put(MANIFEST, _ALIAS + alias.encode(), collection.encode())


def remove_alias(batch: Batch, alias: str) -> None:
    """Removes an alias; an absent one is fine."""
    batch.delete(MANIFEST, _ALIAS + alias.encode())


def keep_only(batch: Batch, engine: Engine, manifest: Manifest) -> None:
    """Removes from this family all that is of other collections, and aliases."""
    kept = (_key(manifest.name), _LAST_PID + keys.prefix(manifest.number), _NEXT_NUMBER)
    for key, _ in engine.scan(MANIFEST, b"", b"\xff"):
        if key not in kept:
            batch.delete(MANIFEST, key)


def restoring(engine: Engine) -> list[int]:
    """The numbers of collections that are being restored."""
    start, end = _RESTORING, _RESTORING_END
    return [int.from_bytes(key[len(_RESTORING) :], "big") for key, _ in engine.scan(MANIFEST, start, end)]


def put_restoring(batch: Batch, number: int) -> None:
    """Marks a number as that of a collection being restored."""
    batch.put(MANIFEST, _RESTORING + keys.prefix(number), b"")


def remove_restoring(batch: Batch, number: int) -> None:
    """Removes that mark."""
    batch.delete(MANIFEST, _RESTORING + keys.prefix(number))


def next_number(engine: Engine) -> int:
    """The number that the next collection gets; 1 at first."""
    return _counter(engine, _NEXT_NUMBER, 1)


def put_next_number(batch: Batch, number: int) -> None:
    """Stores the number that the next collection gets."""
    batch.put(MANIFEST, _NEXT_NUMBER, keys.pid_value(number))


def last_pid(engine: Engine, number: int) -> int:
    """The highest pid ever given in a collection; 0 before the first."""
    return _counter(engine, _LAST_PID + keys.prefix(number), 0)


def put_last_pid(batch: Batch, number: int, pid: int) -> None:
    """Stores the highest pid ever given in a collection."""
    batch.put(MANIFEST, _LAST_PID + keys.prefix(number), keys.pid_value(pid))


def remove_last_pid(batch: Batch, number: int) -> None:
    """Removes it; for a number that is never used again."""
    batch.delete(MANIFEST, _LAST_PID + keys.prefix(number))


def _counter(engine: Engine, key: bytes, default: int) -> int:
    value = engine.get(MANIFEST, key)
    return default if value is None else keys.pid_from_value(value)
