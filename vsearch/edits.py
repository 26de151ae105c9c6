"""Edits: stored points are read, changed, and written as new versions, all of them or none.

1. A `Selection` says which points: ids, or a filter that is resolved at the moment of the write.
2. A payload edit is a function from a stored payload to the new one. `merging`, `replacing` and `removing` make it of
   arguments that they check, so that what it makes of a valid payload is valid, but for its size.
3. `new_versions` reads the selected points and makes the batch that replaces them. What an edit leaves alone is copied
   as it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import Corruption, InvalidArgument, LimitExceeded, NotFound
from vsearch.fields import kind_of
from vsearch.fields.base import Rows
from vsearch.filters import Node, parse_filter
from vsearch.filters.match import sites_of
from vsearch.filters.paths import EACH, Path, format_path, parse_path
from vsearch.points import PointBatch, Schema, checked_ids, checked_payload, decode_point, encode_point
from vsearch.query import Filter
from vsearch.reading import matching_pids, places
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.rocks import IDS, POINTS
from vsearch.types import MAX_BATCH_BYTES, MAX_BATCH_POINTS, IntArray, Payload, PointId
from vsearch.view import Source

READ_POINTS: Final = 1_000  # records read from the engine at once
NARROWER: Final = "Edit fewer points at once, by ids or by narrower filters"

PayloadEdit = Callable[[Payload | None], Payload | None]  # may change and return what it is given


@dataclass(frozen=True, slots=True)
class Selection:
    """Points by their encoded ids, each once; or (`node`) all that satisfy a filter at the moment of the write."""

    id_keys: Sequence[bytes] = ()
    node: Node | None = None

    @classmethod
    def of(cls, ids: Sequence[PointId] | NDArray[Any] | None, filter: Filter) -> Selection:
        """What a caller gave. Raises InvalidArgument unless it is exactly one of the two, and InvalidFilter."""
        if (ids is None) == (filter is None):
            raise InvalidArgument("either ids or filter is needed, one of them", "Say ids=[...] or filter=...")
        if ids is not None:
            return cls(list(dict.fromkeys(checked_ids(ids)[1])))
        node = parse_filter(filter)
        if node is None:
            raise InvalidArgument("the filter is empty", "For every point there is say filter=~vsearch.F.ids([])")
        return cls((), node)


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes the payload, vectors or expiry of the selected points.

    `vectors`: new vectors, row i of the i-th id; a row that lacks a field leaves it alone. `dropped`: fields that the
    points lose. `expires_ms`: None leaves the expiry alone.
    """

    selection: Selection
    payload: PayloadEdit | None = None
    vectors: PointBatch | None = None
    dropped: frozenset[str] = frozenset()
    expires_ms: int | None = None

    @property
    def points(self) -> int:
        return len(self.selection.id_keys) or 1_000


def merging(payload: object, path: str | None = None) -> PayloadEdit:
    """Merges keys into the payload, or into the object at a path. Raises InvalidArgument."""
    steps = () if path is None else parse_path(path)
    wrapped = payload
    for step in reversed(steps):
        wrapped = {step: wrapped} if isinstance(step, str) else [wrapped]
    copy: Any = _checked(payload, wrapped)  # as deep as it will stand
    for step in steps:
        copy = copy[step if isinstance(step, str) else 0]
    return lambda stored: _merged(stored, steps, copy)


def replacing(payload: object) -> PayloadEdit:
    """Puts this payload in the place of any other. Raises InvalidArgument."""
    copy = _checked(payload, payload)
    return lambda stored: copy


def removing(paths: Sequence[str]) -> PayloadEdit:
    """Removes what stands at the paths, each of which ends in a key. Raises InvalidArgument."""
    cuts: list[tuple[Callable[[Payload], list[Any]], str]] = []
    for path in _names("keys", paths):
        *above, key = parse_path(path)
        if not isinstance(key, str):
            raise InvalidArgument(f"path {path!r} ends in an element of a list", "Name a key: only keys are removed")
        cuts.append((sites_of(format_path(above)) if above else lambda payload: [payload], key))

    def remove(stored: Payload | None) -> Payload | None:
        for sites, key in cuts:
            for site in sites(stored or {}):
                if isinstance(site, dict):
                    site.pop(key, None)
        return stored

    return remove


def checked_fields(schema: Schema, fields: Sequence[str]) -> frozenset[str]:
    """Names of fields that there are. Raises InvalidArgument."""
    for field in _names("fields", fields):
        if not isinstance(field, str) or field not in schema:
            raise InvalidArgument(f"unknown field {field!r}", f"The fields are: {', '.join(schema)}")
    return frozenset(fields)


def new_versions(state: State, edit: Edit, now: int) -> PointBatch:
    """The selected points as they are to be written. The state's view must show every change made before.

    Raises NotFound for an id that does not exist, LimitExceeded for too many points and for a payload that becomes too
    large.
    """
    pids = _selected(state, edit.selection, now)
    sources = list(places(state.view, pids))
    room = MAX_BATCH_BYTES - sum(_bytes(state.schema, name, edit, sources, len(pids)) for name in state.schema)
    ids: list[PointId] = []
    records: list[bytes] = []
    ends_ms: list[int] = []
    for stored in _records(state, pids):
        point_id, payload, expires_ms = decode_point(stored)
        record = stored
        if edit.payload is not None or edit.expires_ms is not None:
            payload = payload if edit.payload is None else edit.payload(payload)
            expires_ms = expires_ms if edit.expires_ms is None else edit.expires_ms
            record = encode_point(point_id, payload, expires_ms)
        room -= len(record)
        if room < 0:
            raise LimitExceeded("an edit of more than 1 GiB", NARROWER)
        ids.append(point_id)
        records.append(record)
        ends_ms.append(expires_ms)
    columns = {name: _vectors(state.schema, name, edit, sources, len(pids)) for name in state.schema}
    return PointBatch(
        ids=ids,
        keys=[keys.encode_id(point_id) for point_id in ids],
        records=records,
        vectors={name: values for name, (values, _) in columns.items()},
        present={name: has for name, (_, has) in columns.items()},
        expires_ms=np.array(ends_ms, np.int64),
    )


def _selected(state: State, selection: Selection, now: int) -> IntArray:
    """Pids of the selected points, in the order of the ids."""
    if selection.node is None:
        _refuse_many(len(selection.id_keys))
        return _existing(state, selection.id_keys, now)
    pids = matching_pids(state, state.view, selection.node, now)
    _refuse_many(len(pids))
    return pids


def _refuse_many(points: int) -> None:
    if points > MAX_BATCH_POINTS:
        raise LimitExceeded(f"an edit of {points:,} points; at most {MAX_BATCH_POINTS:,} are edited at once", NARROWER)


def _existing(state: State, id_keys: Sequence[bytes], now: int) -> IntArray:
    """Newest pid of each encoded id. Raises NotFound for the first that has none, or has expired."""
    prefix = keys.prefix(state.number)
    found = state.engine.get_many(IDS, [prefix + key for key in id_keys])
    pids = np.array([-1 if value is None else keys.pid_from_value(value) for value in found], np.int64)
    exists = np.zeros(len(pids), np.bool_)
    for source, at, rows in places(state.view, pids):
        alive = source.alive(now)
        exists[at] = True if alive is None else alive[rows]
    if not exists.all():
        point_id = keys.decode_id(id_keys[int(np.argmin(exists))])
        raise NotFound(f"no point with id {point_id!r}", "Use upsert to create it")
    return pids


def _records(state: State, pids: IntArray) -> Iterator[bytes]:
    """Records of the `points` family."""
    for start in range(0, len(pids), READ_POINTS):
        pid_keys = [keys.pid_key(state.number, pid) for pid in pids[start : start + READ_POINTS].tolist()]
        for record in state.engine.get_many(POINTS, pid_keys):
            if record is None:
                raise Corruption("a point that is to be edited has lost its record", "Run `vsearch check`")
            yield record


def _vectors(
    schema: Schema, name: str, edit: Edit, sources: Sequence[tuple[Source, IntArray, IntArray]], n: int
) -> tuple[Rows, NDArray[np.bool_]]:
    """A field's rows after the edit, and which points have one, bool [n]. `sources`: where the stored are."""
    new = edit.vectors
    if new is not None and name in new.vectors and new.present[name].all():
        return new.vectors[name], new.present[name]
    parts: list[tuple[NDArray[Any], Rows]] = []
    has = np.zeros(n, np.bool_)
    if name not in edit.dropped:
        for source, at, rows in sources:
            present = source.segment.present(name, source.rows)
            parts.append((at, source.segment.vectors(name)[rows]))
            has[at] = True if present is None else present[rows]
    if new is not None and name in new.vectors:
        given = new.present[name]
        parts.append((given, new.vectors[name][np.flatnonzero(given)]))
        has |= given
    return kind_of(schema[name]).assembled(n, parts), has


def _bytes(schema: Schema, name: str, edit: Edit, sources: Sequence[tuple[Source, IntArray, IntArray]], n: int) -> int:
    """What the rows of a field will take at most, n in all."""
    kind = kind_of(schema[name])
    if kind.row_bytes:
        return n * kind.row_bytes
    total = edit.vectors.vectors[name].nbytes if edit.vectors is not None and name in edit.vectors.vectors else 0
    for source, _, rows in sources:
        sizes = kind.sizes(source.segment.vectors(name))
        total += 0 if sizes is None else int((sizes[1:][rows] - sizes[:-1][rows]).sum())
    return total


def _merged(stored: Any, steps: Path, new: Payload) -> Any:
    """What stands somewhere, with keys merged into the object that stands `steps` further on.

    Objects are made where there are none. Elements of lists are only found: where a list is missing nothing changes.
    """
    if not steps:
        return {**stored, **new} if isinstance(stored, dict) else new
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        stored = stored if isinstance(stored, dict) else {}
        inner = _merged(stored.get(step), rest, new)
        if inner is not None:
            stored[step] = inner
    elif isinstance(stored, list):
        for position in range(len(stored)):
            if step is EACH or step == position:
                stored[position] = _merged(stored[position], rest, new)
    return stored


def _checked(payload: object, wrapped: object) -> Payload:
    """A copy of a payload that is wrapped in others. Raises InvalidArgument."""
    if not isinstance(payload, dict):
        raise InvalidArgument(f"the payload is a {type(payload).__name__}", "Use a dict with string keys")
    copy = checked_payload(wrapped)
    assert copy is not None, "bug: a payload is wrapped in objects"
    return copy


def _names(what: str, names: Sequence[str]) -> list[str]:
    """A list of names, with at least one. Raises InvalidArgument."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise InvalidArgument(f"{what} is {names!r}", "Give a list of at least one name")
    return list(names)
