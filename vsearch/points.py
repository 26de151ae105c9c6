"""Points on their way in and out: validation, normalisation, and the bytes kept in the engine.

1. `prepare` checks a whole batch before anything is written, so that one bad row changes nothing.
2. Vectors become rows as their kind of field keeps them (vsearch/fields/).
3. Ids, payloads and expiry become records: `points` holds msgpack [id, payload, expires_ms], `unsealed` holds
   msgpack {field number: vector bytes}.

Of ids that occur twice in a batch the last row wins.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.fields import kind_of
from vsearch.fields.base import Rows
from vsearch.storage.keys import encode_id
from vsearch.types import (
    MAX_BATCH_BYTES,
    MAX_BATCH_POINTS,
    MAX_ID_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_PAYLOAD_DEPTH,
    Field,
    IntArray,
    Payload,
    PointId,
)

MAX_DIGITS: Final = 20  # of an integer below 2**64
NEVER: Final = 0  # expiry of a point that does not expire
Expiry = datetime | float | None  # when a point ends: an aware datetime, or Unix time in seconds
Schema = Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Checked points, column by column: row i of each is point i.

    `keys`: encoded ids. `records`: bytes of the `points` family. `vectors`: field -> its rows (fields/base.py).
    `present`: field -> bool [n], which rows have the field. `expires_ms`: int64 [n], NEVER where none.
    """

    ids: list[PointId]
    keys: list[bytes]
    records: list[bytes]
    vectors: dict[str, Rows]
    present: dict[str, NDArray[np.bool_]]
    expires_ms: IntArray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: IntArray) -> PointBatch:
        """The points at `rows`, in that order."""
        pick = rows.tolist()
        return PointBatch(
            ids=[self.ids[i] for i in pick],
            keys=[self.keys[i] for i in pick],
            records=[self.records[i] for i in pick],
            vectors={name: values[rows] for name, values in self.vectors.items()},
            present={name: mask[rows] for name, mask in self.present.items()},
            expires_ms=self.expires_ms[rows],
        )

    def distinct(self) -> PointBatch:
        """Every id once: of those that occur twice the last row."""
        last = {key: row for row, key in enumerate(self.keys)}
        return self if len(last) == len(self) else self.take(np.array(sorted(last.values()), np.int64))

    def vector_records(self, schema: Schema) -> list[bytes]:
        """Bytes of the `unsealed` family, a row each."""
        pack = msgpack.Packer(autoreset=True).pack
        numbers = {name: number for number, name in enumerate(schema)}
        columns = [
            (numbers[name], kind_of(schema[name]).encoded(rows), self.present[name])
            for name, rows in self.vectors.items()
        ]
        if len(columns) == 1 and columns[0][2].all():
            number, blobs, _ = columns[0]
            return [pack({number: blob}) for blob in blobs]
        return [pack({number: blobs[i] for number, blobs, has in columns if has[i]}) for i in range(len(self))]


def prepare(
    schema: Schema,
    ids: Sequence[PointId] | NDArray[Any] | None,
    vectors: Mapping[str, Any] | None,
    payloads: Sequence[Payload | None] | None,
    expires_at: Expiry | Sequence[Expiry],
) -> PointBatch:
    """Check a batch against the schema and encode it.

    Raises InvalidArgument, DimensionMismatch or LimitExceeded, each naming the first row that is wrong.
    """
    given = dict(vectors or {})
    if ids is None:
        ids = [new_id() for _ in range(max([_length(v) for v in given.values()] + [len(payloads or ())]))]
    point_ids, keys = checked_ids(ids)
    n = len(point_ids)
    if n > MAX_BATCH_POINTS:
        raise LimitExceeded(f"a batch of {n:,} points", f"Send at most {MAX_BATCH_POINTS:,} points at once")
    if payloads is not None and len(payloads) != n:
        raise InvalidArgument(f"{len(payloads)} payloads for {n} ids", "Give one payload, or None, for each id")
    expires_ms = _expiries(expires_at, n)
    columns: dict[str, Rows] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for name, values in given.items():
        if name not in schema:
            raise InvalidArgument(f"unknown field {name!r}", f"The fields are: {', '.join(schema)}")
        columns[name], present[name] = kind_of(schema[name]).stored(name, values, n)
    room = MAX_BATCH_BYTES - sum(rows.nbytes for rows in columns.values())
    pack = msgpack.Packer(autoreset=True).pack
    records = []
    for i, (point_id, expiry) in enumerate(zip(point_ids, expires_ms.tolist(), strict=True)):
        payload = checked_payload(payloads[i], i) if payloads is not None else None
        records.append(_packed_record(pack, point_id, payload, expiry, f"in row {i}"))
        room -= len(records[-1])
        if room < 0:
            raise LimitExceeded("a batch of more than 1 GiB", "Send fewer points at once")
    return PointBatch(point_ids, keys, records, columns, present, expires_ms)


def checked_ids(ids: Sequence[PointId] | NDArray[Any]) -> tuple[list[PointId], list[bytes]]:
    """Ids as Python values and as keys. Raises InvalidArgument for an id of the wrong type, range or length."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable) or (isinstance(ids, np.ndarray) and ids.ndim == 0):
        raise InvalidArgument(f"ids is {ids!r}", "Give a list of ids")
    plain = ids.tolist() if isinstance(ids, np.ndarray) else [i.item() if isinstance(i, np.generic) else i for i in ids]
    keys = []
    for row, point_id in enumerate(plain):
        if isinstance(point_id, bool) or not isinstance(point_id, int | str):
            raise InvalidArgument(
                f"id {point_id!r} in row {row} is a {type(point_id).__name__}", "Use a string or an integer"
            )
        key = encode_id(point_id)
        if len(key) > MAX_ID_BYTES + 1:
            raise InvalidArgument(
                f"the id in row {row} has {len(key) - 1} bytes", f"Use at most {MAX_ID_BYTES} bytes of UTF-8"
            )
        keys.append(key)
    return plain, keys


def integer_id(text: str) -> int | None:
    """The integer id that a text spells, in an address or on a command line; None when it spells none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        return None
    number = int(text)
    return number if number < 1 << 64 else None


def checked_payload(payload: object, row: int = 0) -> Payload | None:
    """A copy of the payload made of JSON values. Datetimes become RFC 3339 strings, numpy scalars plain numbers."""
    if payload is None:
        return None
    if not isinstance(payload, dict):
        raise InvalidArgument(
            f"the payload in row {row} is a {type(payload).__name__}", "Use a dict with string keys, or None"
        )
    copy: Payload = _json(payload, row, 0)
    return copy


def decode_point(record: bytes) -> tuple[PointId, Payload | None, int]:
    """(id, payload, expires_ms) of a `points` record."""
    point_id, payload, expires_ms = msgpack.unpackb(record, strict_map_key=False)
    return point_id, payload, expires_ms


def encode_point(point_id: PointId, payload: Payload | None, expires_ms: int) -> bytes:
    """Bytes of a `points` record. Raises LimitExceeded for a payload that is too large."""
    return _packed_record(msgpack.packb, point_id, payload, expires_ms, f"of point {point_id!r}")


def expiry_ms(value: Expiry) -> int:
    """Milliseconds since 1970, or NEVER. Raises InvalidArgument for a naive datetime or a number out of range."""
    if value is None:
        return NEVER
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidArgument(
                f"expires_at is {value!r}, without a time zone", "Use an aware datetime, such as datetime.now(UTC)"
            )
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < float(value) < 1e12:
        raise InvalidArgument(f"expires_at is {value!r}", "Use Unix time in seconds, an aware datetime, or None")
    return max(1, round(float(value) * 1000))


def now_ms() -> int:
    """The wall clock, against which expiry is judged."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): sorted by time of creation."""
    value = (now_ms() << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _length(values: Any) -> int:
    """Rows of what a caller gave for a field: SciPy's matrices have no length."""
    return int(values.shape[0]) if hasattr(values, "indptr") else len(values)


def _packed_record(pack: Any, point_id: PointId, payload: Payload | None, expires_ms: int, where: str) -> bytes:
    try:
        record: bytes = pack([point_id, payload, expires_ms])
    except UnicodeEncodeError:
        raise InvalidArgument(f"the payload {where} holds invalid Unicode", "Remove lone surrogates") from None
    if len(record) > MAX_PAYLOAD_BYTES + MAX_ID_BYTES:
        raise LimitExceeded(
            f"the payload {where} has {len(record):,} bytes", f"The limit is {MAX_PAYLOAD_BYTES:,} bytes"
        )
    return record


def _json(value: Any, row: int, depth: int) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidArgument(f"the payload in row {row} holds {value}", "Integers have at most 64 bits, signed")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise InvalidArgument(f"the payload in row {row} holds {value}", "JSON has no NaN or infinity: use None")
        return value
    if depth >= MAX_PAYLOAD_DEPTH:
        raise InvalidArgument(
            f"the payload in row {row} is nested deeper than {MAX_PAYLOAD_DEPTH} levels", "Flatten it"
        )
    if isinstance(value, dict):
        copy = {}
        for key, item in value.items():
            if type(key) is not str:
                raise InvalidArgument(f"the payload in row {row} has the key {key!r}", "Keys are strings")
            copy[key] = item if type(item) is str or item is None else _json(item, row, depth + 1)
        return copy
    if isinstance(value, list | tuple):
        return [_json(item, row, depth + 1) for item in value]
    if isinstance(value, np.generic):
        return _json(value.item(), row, depth)
    if isinstance(value, np.ndarray):
        return _json(value.tolist(), row, depth)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, str | int | float):  # subclasses, such as enumerations
        base = str if isinstance(value, str) else int if isinstance(value, int) else float
        return _json(base(value), row, depth)
    raise InvalidArgument(
        f"the payload in row {row} holds a {kind.__name__}",
        "Payloads are JSON: null, true, numbers, strings, lists, objects",
    )


def _expiries(expires_at: Expiry | Sequence[Expiry], n: int) -> IntArray:
    if expires_at is None:
        return np.zeros(n, np.int64)
    if isinstance(expires_at, datetime | int | float | np.number):
        return np.full(n, expiry_ms(expires_at), np.int64)
    if len(expires_at) != n:
        raise InvalidArgument(
            f"{len(expires_at)} values of expires_at for {n} ids", "Give one time for all, or one for each id"
        )
    return np.array([expiry_ms(value) for value in expires_at], np.int64)
