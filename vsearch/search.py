"""Runs a search over a view: filter, plan, search each segment, merge, and turn rows into hits.

Everything inside works on distances (smaller is closer); the score is made at the edge.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch import planner
from vsearch.filters.qdrant import to_dict
from vsearch.hits import Hits
from vsearch.planner import Plan, Statistics, Step
from vsearch.points import decode_point, now_ms
from vsearch.query import Leg, Search
from vsearch.reading import matching_rows, vectors_at
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.rocks import POINTS
from vsearch.types import FloatArray, IntArray, Metric, PointId, SearchParams
from vsearch.view import Source, View

SEARCH_ATTEMPTS: Final = 5  # a hit that was replaced while the search ran makes it run again on the newer view


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest of one leg over all sources: [nq, k], sorted; source is -1 where there are fewer than k."""

    sources: IntArray
    ordinals: IntArray
    distances: FloatArray


def run(state: State, search: Search) -> list[Hits]:
    """The hits of each query of the request."""
    for attempt in range(SEARCH_ATTEMPTS):
        view = state.view
        found, _ = nearest(state, view, search.legs[0], search.params)
        hits = _hits(state, view, search, found, last_attempt=attempt == SEARCH_ATTEMPTS - 1)
        if hits is not None:
            return hits
    raise AssertionError("bug: the last attempt always gives hits")


def explain(state: State, search: Search, analyze: bool) -> Plan:
    """The plan of the request; with `analyze` it is run, and each step holds what it did."""
    leg, view = search.legs[0], state.view
    start = time.perf_counter()
    if analyze:
        found, steps = nearest(state, view, leg, search.params)
        _hits(state, view, search, found, last_attempt=True)
        total_us = (time.perf_counter() - start) * 1e6
    else:
        steps = [step for _, step, _ in _prepared(state, view, leg, search.params)]
        total_us = None
    return Plan(
        collection=state.manifest.name,
        field=leg.field,
        metric=state.schema[leg.field].metric,
        limit=leg.limit,
        recall=search.params.recall,
        exact=search.params.exact,
        filter=None if leg.filter is None else json.dumps(to_dict(leg.filter), ensure_ascii=False),
        steps=tuple(steps),
        total_us=total_us,
    )


def nearest(state: State, view: View, leg: Leg, params: SearchParams) -> tuple[Found, list[Step]]:
    """Search every source and merge."""
    from vsearch.index import bitset

    parts: list[tuple[int, IntArray, FloatArray]] = []
    steps: list[Step] = []
    clock = time.perf_counter
    started = clock()
    for number, (source, step, mask) in enumerate(_prepared(state, view, leg, params)):
        ready = clock()
        if step.strategy != "skip":
            exact = step.strategy == "scan"
            kind = "flat" if exact else step.index
            reader = source.segment.reader(leg.field, kind, source.rows)
            live = None if mask is None else bitset.from_mask(mask)
            k = min(leg.limit, step.matched)
            result = reader.search(leg.queries, k, params, live)
            parts.append((number, result.ordinals, result.distances))
            cost, done = result.cost, clock()
            measured = planner.Measured(
                cost.distances, cost.hops, cost.rescored, (ready - started) * 1e6, (done - ready) * 1e6
            )
            step = planner.with_measured(step, measured)
        steps.append(step)
        started = clock()
    return _merged(parts, len(leg.queries), leg.limit), steps


def _prepared(
    state: State, view: View, leg: Leg, params: SearchParams
) -> list[tuple[Source, Step, NDArray[np.bool_] | None]]:
    """For each source its step, and the rows that may be found (None: all)."""
    now = now_ms()
    field = state.schema[leg.field]
    prepared = []
    for source in view.sources:
        mask = source.alive(now) if leg.filter is None else matching_rows(state, view, source, leg.filter, now)
        present = source.segment.present(leg.field, source.rows)
        if present is not None:
            mask = present if mask is None else mask & present
        matched = source.rows if mask is None else int(np.count_nonzero(mask))
        kind = source.segment.index_kind(leg.field) if matched else "flat"
        width = 0
        if kind != "flat":
            width = source.segment.reader(leg.field, kind, source.rows).width(leg.limit, params)
            kind = source.segment.index_kind(leg.field)  # opening it may have shown that it is damaged
        row_bytes = field.dim * np.dtype(field.dtype).itemsize
        stats = Statistics(source.segment.name, source.rows, matched, kind, row_bytes, width, 2 * field.m)
        prepared.append((source, planner.choose([stats], leg.limit, params.exact)[0], mask))
    return prepared


def _merged(parts: Sequence[tuple[int, IntArray, FloatArray]], nq: int, k: int) -> Found:
    """The k nearest over the parts; ties go to the earlier source, then to the smaller ordinal."""
    if not parts:
        nothing = np.full((nq, 0), -1, np.int64)
        return Found(nothing, nothing, np.full((nq, 0), np.inf, np.float32))
    if len(parts) == 1:
        number, ordinals, distances = parts[0]
        return Found(np.where(ordinals < 0, -1, number), ordinals, distances)
    sources = np.concatenate([np.where(o < 0, -1, number) for number, o, _ in parts], axis=1)
    ordinals = np.concatenate([o for _, o, _ in parts], axis=1)
    distances = np.concatenate([d for _, _, d in parts], axis=1)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Found(
        np.take_along_axis(sources, order, 1),
        np.take_along_axis(ordinals, order, 1),
        np.take_along_axis(distances, order, 1),
    )


def scores_of(metric: Metric, distances: FloatArray) -> FloatArray:
    """Higher is better: cosine in [-1, 1], the inner product, or minus the Euclidean distance."""
    if metric == "l2":
        return -np.sqrt(np.maximum(distances, 0))
    scores = np.negative(distances)
    return np.clip(scores, -1, 1) if metric == "cosine" else scores


def _hits(state: State, view: View, search: Search, found: Found, last_attempt: bool) -> list[Hits] | None:
    """Hits of each query; None when a hit was replaced or deleted meanwhile and the search should be run again."""
    window = slice(search.offset, search.offset + search.limit)
    sources, ordinals = found.sources[:, window], found.ordinals[:, window]
    scores = scores_of(state.schema[search.legs[0].field].metric, found.distances[:, window])
    wanted = sources >= 0
    if search.score_threshold is not None:
        wanted &= scores >= search.score_threshold
    queries, places = np.nonzero(wanted)
    flat_sources, flat_ordinals = sources[queries, places], ordinals[queries, places]
    ids = _ids(view, flat_sources, flat_ordinals)
    payloads: list[Any] | None = None
    gone: set[int] = set()
    if search.with_payload and ids:
        records = _records(state, view, flat_sources, flat_ordinals)
        gone = {i for i, record in enumerate(records) if record is None}
        if gone and not last_attempt:
            return None
        payloads = [None if record is None else decode_point(record)[1] for record in records]
    vectors: list[Any] | None = None
    if search.with_vectors:
        rows = zip(flat_sources.tolist(), flat_ordinals.tolist(), strict=True)
        vectors = [vectors_at(state, view.sources[s], row) for s, row in rows]
    flat_scores = scores[queries, places]
    bounds = np.searchsorted(queries, np.arange(len(sources) + 1)).tolist()
    hits = []
    for start, stop in pairwise(bounds):
        hits.append(
            Hits(
                ids[start:stop],
                flat_scores[start:stop],
                None if payloads is None else payloads[start:stop],
                None if vectors is None else vectors[start:stop],
            )
        )
    return [_without(h, gone, start) for h, start in zip(hits, bounds, strict=False)] if gone else hits


def _without(hits: Hits, gone: set[int], start: int) -> Hits:
    """The hits less those at the places in `gone`, which count from the first hit of the batch."""
    keep = [i for i in range(len(hits)) if start + i not in gone]
    return replace(
        hits,
        point_ids=[hits.point_ids[i] for i in keep],
        scores=hits.scores[keep],
        payloads=[hits.payloads[i] for i in keep] if hits.payloads is not None else None,
        vectors=[hits.vectors[i] for i in keep] if hits.vectors is not None else None,
    )


def _ids(view: View, sources: IntArray, ordinals: IntArray) -> list[PointId]:
    if len(sources) == 0:
        return []
    first = int(sources[0])
    if (sources == first).all():
        return view.sources[first].segment.ids_at(ordinals.tolist())
    ids: list[PointId] = [0] * len(sources)
    for number in np.unique(sources).tolist():
        at = np.flatnonzero(sources == number)
        for i, point_id in zip(at.tolist(), view.sources[number].segment.ids_at(ordinals[at].tolist()), strict=True):
            ids[i] = point_id
    return ids


def _records(state: State, view: View, sources: IntArray, ordinals: IntArray) -> list[bytes | None]:
    pids = [int(view.sources[s].segment.pids[row]) for s, row in zip(sources.tolist(), ordinals.tolist(), strict=True)]
    return view.stored.get_many(POINTS, [keys.pid_key(state.number, pid) for pid in pids])
