"""Runs a search over a view: filter, plan, search each segment, merge, and turn rows into hits.

Everything inside works on distances (smaller is closer); the score is made at the edge.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch import likelihood, planner
from vsearch.fields import kind_of
from vsearch.filters.qdrant import to_dict
from vsearch.frequencies import weighed, words_of
from vsearch.hits import Hits
from vsearch.index.base import Cost
from vsearch.index.bitset import from_mask
from vsearch.planner import Measured, Plan, Statistics, Step
from vsearch.points import decode_point, now_ms
from vsearch.query import Leg, Search
from vsearch.reading import matching_rows, vectors_at
from vsearch.segment import Segment
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.rocks import POINTS
from vsearch.types import Dense, Field, FloatArray, IntArray, Metric, SearchParams
from vsearch.view import Source, View

PLACE_BITS: Final = 40
SEARCH_ATTEMPTS: Final = 5  # a hit that was replaced while the search ran makes it run again on the newer view

Done = tuple[Step, Cost, float, float]  # a step, what it cost, seconds of filtering and of searching


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest of one leg over all sources, sorted: places int64 [nq, k], -1 where there are fewer than k, and
    distances float32 [nq, k]. A place is the source's number in the view, shifted by PLACE_BITS, and the ordinal."""

    places: IntArray
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
        found, done = nearest(state, view, leg, search.params)
        _hits(state, view, search, found, last_attempt=True)
        total_us = (time.perf_counter() - start) * 1e6
        steps = [planner.with_measured(step, _measured(cost, *times_s)) for step, cost, *times_s in done]
    else:
        steps = [step for _, step, _ in _prepared(state, view, leg, search.params)]
        total_us = None
    return Plan(
        collection=state.manifest.name,
        field=leg.field,
        metric=kind_of(state.schema[leg.field]).metric,
        limit=leg.limit,
        recall=search.params.recall,
        exact=search.params.exact,
        filter=None if leg.filter is None else json.dumps(to_dict(leg.filter), ensure_ascii=False),
        steps=tuple(steps),
        total_us=total_us,
    )


def nearest(state: State, view: View, leg: Leg, params: SearchParams) -> tuple[Found, list[Done]]:
    """Search every source and merge; also what each step did, and how long it took."""
    parts: list[tuple[int, IntArray, FloatArray]] = []
    done: list[Done] = []
    clock = time.perf_counter
    started = clock()
    field = state.schema[leg.field]
    scan = kind_of(field).scan
    queries = weighed(view, leg.field, field, leg.queries)
    for number, step, mask in _prepared(state, view, leg, params):
        ready = clock()
        cost = Cost()
        if step.strategy != "skip":
            source = view.sources[number]
            kind = step.index if step.strategy == "index" else scan
            reader = source.segment.reader(leg.field, kind, source.rows)
            live = source.bits if mask is source.live else None if mask is None else from_mask(mask)
            ordinals, distances, cost = reader.search(queries, min(leg.limit, step.matched), params, live)
            parts.append((number, ordinals, distances))
        now = clock()
        done.append((step, cost, ready - started, now - ready))
        started = now
    return _merged(parts, len(leg.queries), leg.limit), done


def _measured(cost: Cost, filter_s: float, search_s: float) -> Measured:
    times_us = filter_s * 1e6, search_s * 1e6
    return Measured(cost.distances, cost.hops, cost.rescored, *times_us, cost.lists, cost.blocks_skipped)


def _prepared(
    state: State, view: View, leg: Leg, params: SearchParams
) -> Iterator[tuple[int, Step, NDArray[np.bool_] | None]]:
    """For each source that has rows: its number, its step, and the rows that may be found (None: all)."""
    now = now_ms()
    field = state.schema[leg.field]
    scan = kind_of(field).scan
    for number, source in enumerate(view.sources):
        if source.rows == 0:
            continue
        segment = source.segment
        mask = source.alive(now) if leg.filter is None else matching_rows(state, view, source, leg.filter, now)
        present = segment.present(leg.field, source.rows)
        if present is not None:
            mask = present if mask is None else mask & present
        matched = source.rows if mask is None else source.live_count if mask is source.live else int(mask.sum())
        kind = segment.index_kind(leg.field) if matched else scan
        width = 0
        if kind != scan:
            width = segment.reader(leg.field, kind, source.rows).width(leg.limit, params)
            kind = segment.index_kind(leg.field)  # opening it may have shown that it is damaged
        if params.exact and kind == "inverted" and segment.posted(leg.field, len(leg.queries)):
            kind = "postings"
        stats = _statistics(field, source, leg, matched, kind, width)
        yield number, planner.choose(stats, leg.limit, params.exact), mask


def _statistics(field: Field, source: Source, leg: Leg, matched: int, kind: str, width: int) -> Statistics:
    name, rows = source.segment.name, source.rows
    if isinstance(field, Dense):
        component_bytes = np.dtype(field.dtype).itemsize
        return Statistics(name, rows, matched, kind, field.dim, component_bytes, width, 2 * field.m)
    words, queries = words_of(source.segment.vectors(leg.field)), leg.queries
    terms, asked = (len(r.numbers) / max(1, len(r)) for r in (words, queries))
    return Statistics(name, rows, matched, kind, 0, 0, width, terms=terms, query_terms=asked)


def _merged(parts: Sequence[tuple[int, IntArray, FloatArray]], nq: int, k: int) -> Found:
    """The k nearest over the parts; ties go to the earlier source, then to the smaller ordinal."""
    if not parts:
        return Found(np.full((nq, 0), -1, np.int64), np.full((nq, 0), np.inf, np.float32))
    all_places = [np.where(o < 0, o, o + (n << PLACE_BITS)) if n else o for n, o, _ in parts]
    if len(parts) == 1:
        return Found(all_places[0], parts[0][2])
    places = np.concatenate(all_places, axis=1)
    distances = np.concatenate([d for _, _, d in parts], axis=1)
    order = distances.argsort(axis=1, kind="stable")[:, :k]
    if nq == 1:  # plain indexing, which costs a tenth
        return Found(places[:, order[0]], distances[:, order[0]])
    return Found(np.take_along_axis(places, order, 1), np.take_along_axis(distances, order, 1))


def scores_of(metric: Metric, distances: FloatArray) -> FloatArray:
    """Higher is better: cosine in [-1, 1], the inner product, or minus the Euclidean distance."""
    if metric == "l2":
        return -np.sqrt(np.maximum(distances, 0))
    scores = np.negative(distances)
    return np.clip(scores, -1, 1) if metric == "cosine" else scores


def _scores(state: State, view: View, search: Search, distances: FloatArray) -> FloatArray:
    """The scores that the search asks for, of distances [nq, k]."""
    leg = search.legs[0]
    spec = state.schema[leg.field]
    if search.params.score == "probability" and isinstance(spec, Dense):
        return likelihood.probabilities(view, leg.field, spec, leg.queries, distances, now_ms())
    return scores_of(spec.metric, distances)


def _hits(state: State, view: View, search: Search, found: Found, last_attempt: bool) -> list[Hits] | None:
    """Hits of each query; None when a hit was replaced or deleted meanwhile and the search should be run again."""
    window = slice(search.offset, search.offset + search.limit)
    places = found.places[:, window]
    scores = _scores(state, view, search, found.distances[:, window])
    wanted = places >= 0
    if search.score_threshold is not None:
        wanted &= scores >= search.score_threshold
    rows = _Rows.at(view, places[wanted])
    ids = rows.collect(lambda segment, at: segment.ids_at(at))
    payloads: list[Any] | None = None
    vectors: list[Any] | None = None
    gone: set[int] = set()
    if search.with_payload:
        pids = rows.collect(lambda segment, at: segment.pids[at].tolist())
        records = view.stored.get_many(POINTS, [keys.pid_key(state.number, pid) for pid in pids])
        if None in records:  # only beside a writer in another process, whose view this is not
            if not last_attempt:
                return None
            gone = {i for i, record in enumerate(records) if record is None}
        payloads = [None if record is None else decode_point(record)[1] for record in records]
    if search.with_vectors:
        pairs = zip(rows.sources.tolist(), rows.ordinals.tolist(), strict=True)
        vectors = [vectors_at(state, view.sources[number], row) for number, row in pairs]
    flat_scores = scores[wanted]
    bounds = [0, *np.cumsum(np.count_nonzero(wanted, axis=1)).tolist()]
    hits = [
        Hits(
            ids[start:stop],
            flat_scores[start:stop],
            None if payloads is None else payloads[start:stop],
            None if vectors is None else vectors[start:stop],
        )
        for start, stop in pairwise(bounds)
    ]
    return [_without(h, gone, start) for h, start in zip(hits, bounds, strict=False)] if gone else hits


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of several sources, in the order of the hits."""

    view: View
    sources: IntArray
    ordinals: IntArray

    @classmethod
    def at(cls, view: View, places: IntArray) -> _Rows:
        return cls(view, places >> PLACE_BITS, places & ((1 << PLACE_BITS) - 1))

    def collect(self, fetch: Callable[[Segment, IntArray], list[Any]]) -> list[Any]:
        """What `fetch` gives for the rows of each segment, put back in order."""
        if len(self.sources) == 0:
            return []
        first = int(self.sources[0])
        if len(self.view.sources) == 1 or (self.sources == first).all():
            return fetch(self.view.sources[first].segment, self.ordinals)
        values: list[Any] = [None] * len(self.sources)
        for number in np.unique(self.sources).tolist():
            at = np.flatnonzero(self.sources == number)
            for i, value in zip(at.tolist(), fetch(self.view.sources[number].segment, self.ordinals[at]), strict=True):
                values[i] = value
        return values


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
