"""What is on disk of an entry, and how it is read back.

    cache_entries   msgpack [category, scope, digest, created_ms, expires_ms, life, cost, compute_s, answer_bytes,
                    tags, sources, vector]
    cache_answers   msgpack [prompt, response, metadata]
    cache_learned   the observations of an entry (verified.py); under the number 0 the counters of the cache, and under
                    0 and the name of a category what its entries have in common
    cache_sources   nothing; the key says which point the entry was made from

Keys begin with the cache's number (storage/keys.py). `scope` and `digest` are bytes of questions.py, `sources` pairs of
a point's key and its version, `vector` half-precision components of a unit vector, empty where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import Corruption, InvalidArgument, LimitExceeded
from vsearch.storage import keys, manifest
from vsearch.storage.rocks import CACHE_ANSWERS, CACHE_ENTRIES, CACHE_LEARNED, CACHE_SOURCES, Batch, Engine

NEVER: Final = 0  # expiry of an entry that does not expire
COUNTERS: Final = 0  # where an entry's number would stand; entries begin with 1
POLICY, OWN, SOURCE = range(3)  # the life of an entry is its policy's, was given with it, or is that of a source
MAX_RESPONSE_BYTES: Final = 4 << 20  # a response is read whole for every hit
MAX_METADATA_BYTES: Final = 64 << 10
MAX_TAGS: Final = 64
MAX_TAG_LENGTH: Final = 255

Source = tuple[bytes, int]  # the key of a point in the family `ids`, and the pid of the version used; 0: there was none


@dataclass(slots=True)
class Entry:
    """An entry without its answer. `life`: what `expires_ms` is from, POLICY, OWN or SOURCE. `vector`: float16 [dim],
    or [0]."""

    id: int
    category: str
    scope: bytes
    digest: bytes
    created_ms: int
    expires_ms: int
    life: int
    cost: float
    compute_s: float
    answer_bytes: int
    tags: tuple[str, ...]
    sources: tuple[Source, ...]
    vector: NDArray[np.float16]
    nbytes: int = 0  # of both records, once it is encoded


def encode_answer(prompt: str, response: Any, metadata: Mapping[str, Any] | None) -> bytes:
    """Raises InvalidArgument for what is not JSON or bytes, LimitExceeded for what is too long."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidArgument(f"metadata is a {type(metadata).__name__}", "Use a JSON object")
    extra = _packed("metadata", dict(metadata or {}), MAX_METADATA_BYTES)
    answer = _packed("response", response, MAX_RESPONSE_BYTES)
    packed: bytes = b"\x93" + msgpack.packb(prompt) + answer + extra  # an array of three
    return packed


def decode_answer(record: bytes) -> tuple[str, Any, dict[str, Any]]:
    """Prompt, response, metadata. Raises Corruption."""
    try:
        prompt, response, metadata = msgpack.unpackb(record, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise Corruption(f"a cached answer cannot be read: {error}", "Clear the cache") from error
    return prompt, response, metadata


def encode_entry(entry: Entry) -> bytes:
    """The record of an entry, whose `nbytes` it sets."""
    fields = [
        entry.category, entry.scope, entry.digest, entry.created_ms, entry.expires_ms, entry.life, entry.cost,
        entry.compute_s, entry.answer_bytes, entry.tags, entry.sources, entry.vector.tobytes(),
    ]  # fmt: skip
    packed: bytes = msgpack.packb(fields)
    entry.nbytes = len(packed) + entry.answer_bytes
    return packed


def decode_entry(entry_id: int, record: bytes) -> Entry:
    """Raises Corruption."""
    try:
        *first, tags, sources, vector = msgpack.unpackb(record)
        used = tuple((key, pid) for key, pid in sources)
        entry = Entry(entry_id, *(*first, tuple(tags), used, np.frombuffer(vector, np.float16)))
        entry.nbytes = len(record) + entry.answer_bytes
        return entry
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Corruption(f"entry {entry_id} of a cache cannot be read: {error}", "Delete the cache") from error


def encode_counters(counters: dict[str, Any]) -> bytes:
    """The counters of a cache, by category."""
    packed: bytes = msgpack.packb(counters)
    return packed


def decode_counters(record: bytes | None) -> dict[str, Any]:
    """Those; none if there are none, or if they cannot be read: no answer depends on them."""
    try:
        found = {} if record is None else msgpack.unpackb(record)
    except (ValueError, msgpack.UnpackException):
        return {}
    return found if isinstance(found, dict) else {}


def check_tags(tags: Any) -> tuple[str, ...]:
    """Raises InvalidArgument or LimitExceeded."""
    found = tuple(dict.fromkeys(tags)) if isinstance(tags, Iterable) and not isinstance(tags, str) else None
    if found is None or not all(_is_tag(tag) for tag in found):
        raise InvalidArgument(f"tags are {tags!r:.80}", f"Use a list of strings of 1 to {MAX_TAG_LENGTH} characters")
    if len(found) > MAX_TAGS:
        raise LimitExceeded(f"{len(found)} tags", f"At most {MAX_TAGS}")
    return found


class Records:
    """The records of one cache in the engine."""

    def __init__(self, engine: Engine, number: int, sync: bool) -> None:
        self.engine = engine
        self.number = number
        self._sync = sync

    def batch(self) -> Batch:
        return self.engine.batch()

    def commit(self, batch: Batch) -> None:
        """As durable as the cache is to be. Raises DurabilityError, ReadOnly."""
        self.engine.commit(batch, sync=self._sync)

    def put(self, batch: Batch, entry: Entry, answer: bytes) -> None:
        """Stage an entry."""
        key = keys.pid_key(self.number, entry.id)
        batch.put(CACHE_ENTRIES, key, encode_entry(entry))
        batch.put(CACHE_ANSWERS, key, answer)
        for point, _ in entry.sources:
            batch.put(CACHE_SOURCES, keys.source_key(point, self.number, entry.id), b"")
        manifest.put_last_pid(batch, self.number, entry.id)

    def answer(self, entry_id: int) -> tuple[str, Any, dict[str, Any]] | None:
        """Prompt, response, metadata; None when the entry is gone."""
        record = self.engine.get(CACHE_ANSWERS, keys.pid_key(self.number, entry_id))
        return None if record is None else decode_answer(record)

    def learned(self, entry_id: int) -> bytes | None:
        return self.engine.get(CACHE_LEARNED, keys.pid_key(self.number, entry_id))

    def learn(self, batch: Batch, entry_id: int, value: bytes) -> None:
        batch.put(CACHE_LEARNED, keys.pid_key(self.number, entry_id), value)

    def learned_category(self, category: str) -> bytes | None:
        return self.engine.get(CACHE_LEARNED, keys.pid_key(self.number, COUNTERS) + category.encode())

    def learn_category(self, batch: Batch, category: str, value: bytes) -> None:
        batch.put(CACHE_LEARNED, keys.pid_key(self.number, COUNTERS) + category.encode(), value)

    def next_id(self) -> int:
        """The number of the next entry; never one that was given before."""
        return manifest.last_pid(self.engine, self.number) + 1

    def entries(self) -> Iterator[Entry]:
        """Every entry, in the order of their numbers."""
        start, end = keys.prefix(self.number), keys.prefix_end(self.number)
        for key, record in self.engine.scan(CACHE_ENTRIES, start, end):
            yield decode_entry(keys.pid_of(key), record)


def remove(batch: Batch, cache: int, entry: int, points: tuple[bytes, ...]) -> None:
    """Stage the end of an entry that was made from these points."""
    key = keys.pid_key(cache, entry)
    for family in (CACHE_ENTRIES, CACHE_ANSWERS, CACHE_LEARNED):
        batch.delete(family, key)
    for point in points:
        batch.delete(CACHE_SOURCES, keys.source_key(point, cache, entry))


def _is_tag(tag: object) -> bool:
    good = isinstance(tag, str) and 0 < len(tag) <= MAX_TAG_LENGTH
    return good and not any("\ud800" <= character <= "\udfff" for character in str(tag))


def _packed(what: str, value: Any, most: int) -> bytes:
    try:
        packed: bytes = msgpack.packb(value)
        msgpack.unpackb(packed)  # keys that are no strings are refused here
    except (TypeError, ValueError, OverflowError, msgpack.UnpackException) as error:
        hint = "Use a JSON value (with string keys) or bytes"
        raise InvalidArgument(f"the {what} cannot be stored: {error}", hint) from error
    if len(packed) > most:
        raise LimitExceeded(f"the {what} has {len(packed):,} bytes", f"At most {most:,}")
    return packed
