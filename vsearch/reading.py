"""Reads that are not searches: which rows match a filter, points by id, scrolling, counting, statistics.

Each read takes one view and sees only that: its rows, and the engine as it was at the same instant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.fields import kind_of
from vsearch.filters import Node
from vsearch.hits import Page, Point
from vsearch.points import NEVER, decode_point, now_ms
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.rocks import IDS, POINTS
from vsearch.types import IntArray, PointId
from vsearch.view import Source, View

SORT_LIMIT: Final = 20_000  # matches that a filtered scroll fetches and sorts rather than walking over all ids


def matching_rows(state: State, view: View, source: Source, node: Node | None, now: int) -> NDArray[np.bool_]:
    """bool [rows]: rows of a source of the view that are alive and satisfy the filter."""
    alive = source.alive(now)
    if node is None:
        return np.ones(source.rows, np.bool_) if alive is None else alive
    if source.rows == 0:
        return np.zeros(0, np.bool_)

    def id_mask(ids: Sequence[PointId]) -> NDArray[np.bool_]:
        mask = np.zeros(source.rows, np.bool_)
        rows = source.segment.rows_of(_pids_of(state, view, [keys.encode_id(i) for i in ids]), source.rows)
        mask[rows[rows >= 0]] = True
        return mask

    mask = source.segment.matching(node, source.rows, id_mask)
    return mask if alive is None else mask & alive


def matches(state: State, view: View, node: Node | None, now: int) -> Iterator[tuple[Source, NDArray[np.bool_]]]:
    """Each source of the view with its `matching_rows`."""
    for source in view.sources:
        yield source, matching_rows(state, view, source, node, now)


def matching_pids(state: State, view: View, node: Node | None, now: int) -> IntArray:
    """Pids of the points of the view that are alive and satisfy the filter, ascending."""
    found = [source.segment.pids[: source.rows][mask] for source, mask in matches(state, view, node, now)]
    return np.concatenate([np.empty(0, np.int64), *found])


def places(view: View, pids: IntArray) -> Iterator[tuple[Source, IntArray, IntArray]]:
    """Where versions of points are: each source that has some, which of the pids (by position), and their rows."""
    for source in view.sources:
        rows = source.segment.rows_of(pids, source.rows)
        at = np.flatnonzero(rows >= 0)
        if len(at):
            yield source, at, rows[at]


def count(state: State, node: Node | None) -> int:
    """Points alive that satisfy the filter."""
    return sum(int(np.count_nonzero(mask)) for _, mask in matches(state, state.view, node, now_ms()))


def get(state: State, id_keys: Sequence[bytes], with_payload: bool, with_vectors: bool) -> list[Point]:
    """The points that exist, in the order of the encoded ids."""
    now, view = now_ms(), state.view
    points = [_point(state, view, pid, with_payload, with_vectors) for pid in _pids_of(state, view, id_keys).tolist()]
    return [p for p in points if p is not None and (p.expires_at is None or p.expires_at * 1000 > now)]


def stats(state: State) -> dict[str, Any]:
    """What `Collection.stats` returns."""
    segments = [
        {
            "name": source.segment.name,
            "sealed": source.segment.sealed,
            "rows": source.rows,
            "live": source.live_count,
            "indexes": {field: source.segment.index_kind(field) for field in state.schema},
            "memory_bytes": source.segment.memory_bytes(),
        }
        for source in state.view.sources
        if source.rows
    ]
    return {
        "name": state.manifest.name,
        "points": count(state, None),
        "fields": {name: field.to_dict() for name, field in state.schema.items()},
        "payload_indexes": dict(state.manifest.payload_indexes),
        "segments": segments,
        "disk_bytes": state.store.disk_bytes(state.number),
        "memory_bytes": sum(segment["memory_bytes"] for segment in segments),
    }


def scroll(
    state: State, node: Node | None, limit: int, cursor: bytes | None, with_payload: bool, with_vectors: bool
) -> Page:
    """Up to `limit` points whose id is at or after the cursor (an encoded id), in the order of ids, integers first.

    Going on from id to id, a scroll meets a point at most once and misses none that lives throughout, whatever is
    written between two pages.
    """
    now, view = now_ms(), state.view
    if node is None:  # then a page costs what is on it, however many points there are
        walk = _walked_ids(state, view, None, cursor)
    else:
        pids = matching_pids(state, view, node, now)
        walk = (_sorted_ids if len(pids) <= SORT_LIMIT else _walked_ids)(state, view, pids, cursor)
    points: list[Point] = []
    for key, pid in walk:
        point = _point(state, view, pid, with_payload, with_vectors)
        if point is None or (point.expires_at is not None and point.expires_at * 1000 <= now):
            continue
        if len(points) == limit:
            return Page(points, keys.decode_id(key))
        points.append(point)
    return Page(points, None)


def _pids_of(state: State, view: View, id_keys: Sequence[bytes]) -> IntArray:
    """Pids of the encoded ids that exist, in the order given."""
    prefix = keys.prefix(state.number)
    found = view.stored.get_many(IDS, [prefix + key for key in id_keys])
    return np.array([keys.pid_from_value(value) for value in found if value is not None], np.int64)


def _sorted_ids(state: State, view: View, pids: IntArray, cursor: bytes | None) -> Iterator[tuple[bytes, int]]:
    """(encoded id, pid) of few points, by fetching and sorting them all."""
    pairs = []
    for source, at, rows in places(view, pids):
        ids = source.segment.ids_at(rows.tolist())
        pairs += [(keys.encode_id(point_id), int(pid)) for point_id, pid in zip(ids, pids[at], strict=True)]
    yield from sorted(pair for pair in pairs if cursor is None or pair[0] >= cursor)


def _walked_ids(state: State, view: View, pids: IntArray | None, cursor: bytes | None) -> Iterator[tuple[bytes, int]]:
    """(encoded id, pid) of many points, or (None) of all, by walking over the ids in the engine."""
    wanted = None if pids is None else set(pids.tolist())
    prefix = keys.prefix(state.number)
    start = prefix if cursor is None else prefix + cursor
    for key, value in view.stored.scan(IDS, start, keys.prefix_end(state.number)):
        pid = keys.pid_from_value(value)
        if wanted is None or pid in wanted:
            yield key[len(prefix) :], pid


def _point(state: State, view: View, pid: int, with_payload: bool, with_vectors: bool) -> Point | None:
    """The point of a pid; None when that version is gone."""
    record = view.stored.get(POINTS, keys.pid_key(state.number, pid))
    if record is None:
        return None
    point_id, payload, expires_ms = decode_point(record)
    vectors = None
    if with_vectors:
        place = view.locate(pid)
        if place is None:
            return None
        vectors = vectors_at(state, *place)
    return Point(
        point_id, payload if with_payload else None, vectors, None if expires_ms == NEVER else expires_ms / 1000
    )


def vectors_at(state: State, source: Source, row: int) -> dict[str, Any]:
    """The vectors of a row as hits.Point has them, by field; fields that the point lacks are left out."""
    vectors = {}
    for name, field in state.schema.items():
        present = source.segment.present(name, source.rows)
        if present is None or present[row]:
            vectors[name] = kind_of(field).shown(source.segment.vectors(name), row)
    return vectors
