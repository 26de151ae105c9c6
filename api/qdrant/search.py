"""Searches, as Qdrant's clients ask for them: one route for every kind, and the routes of earlier releases.

A search is by a vector, dense or sparse, by the text of a document (of a text field), by a point (whose vector is used
and which is left out of the hits), by the average of dense examples (`recommend`), or by nothing, which lists points in
the order of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import vsearch
from vsearch.collection import Collection
from vsearch.errors import InvalidArgument, NotFound, NotSupported
from vsearch.fields.sparse_input import sparse_queries
from vsearch.filters import F
from vsearch.filters.tree import all_of
from vsearch.types import MAX_EF, Dense, PointId, Sparse, Text

from ..endpoint import Call, Routes
from ..together import Steps, Wanted
from . import bodies
from .answers import Points, ScoredPoint, records, scored
from .points import POINTS, READ, wants
from .requests import field_of, filter_of, given, refuse_missing

routes: Final = Routes("search")


@routes.add("POST", f"{POINTS}/query", Points, body=bodies.Query, **READ)
def query_points(call: Call[bodies.Query, Any]) -> Steps[Any]:
    """Find the nearest points."""
    (points,) = yield from answers(call, [call.body])
    return {"points": points}


@routes.add("POST", f"{POINTS}/query/batch", list[Points], body=bodies.QueryBatch, **READ)
def query_batch_points(call: Call[bodies.QueryBatch, Any]) -> Steps[Any]:
    """Answer several queries."""
    found = yield from answers(call, call.body.searches)
    return [{"points": points} for points in found]


@routes.add("POST", f"{POINTS}/query/groups", bodies.Anything, body=bodies.Anything, **READ)
def query_points_groups(call: Call[bodies.Anything, Any]) -> Any:
    """Not supported: the best points of each group."""
    raise NotSupported("groups are not supported yet", "Search without group_by")


@routes.add("POST", f"{POINTS}/search", list[ScoredPoint], body=bodies.Search, **READ)
def search_points(call: Call[bodies.Search, Any]) -> Steps[Any]:
    """Find the nearest points (as clients of earlier releases ask)."""
    (points,) = yield from answers(call, [_modern(call.body)])
    return points


@routes.add("POST", f"{POINTS}/search/batch", list[list[ScoredPoint]], body=bodies.SearchBatch, **READ)
def search_batch_points(call: Call[bodies.SearchBatch, Any]) -> Steps[Any]:
    """Answer several searches (as clients of earlier releases ask)."""
    return (yield from answers(call, [_modern(search) for search in call.body.searches]))


def _modern(body: bodies.Search) -> bodies.Query:
    named = body.vector if isinstance(body.vector, bodies.NamedVector) else None
    common = {name: getattr(body, name) for name in bodies.Common.model_fields}
    query, using = (body.vector, None) if named is None else (named.vector, named.name)
    return bodies.Query.model_construct(**common, query=query, using=using, lookup_from=None, prefetch=None)


def answers(call: Call[Any, Any], queries: Sequence[bodies.Query]) -> Steps[list[list[Any]]]:
    """The points that answer each query; the searches are made together."""
    docs = call.docs
    plans = [_plan(call, docs, query) for query in queries]
    found = iter((yield [plan for plan in plans if isinstance(plan, Wanted)]))
    points = []
    for plan, query in zip(plans, queries, strict=True):
        if isinstance(plan, Wanted):
            (hits,) = next(found)
            points.append(scored(hits, docs, field_of(docs, query.using), query.with_payload, query.with_vector))
        else:
            points.append(plan)
    return points


def _plan(call: Call[Any, Any], docs: Collection, body: bodies.Query) -> Wanted | list[Any]:
    """The search that a query asks for; of one that asks for nothing in particular the points themselves."""
    if body.prefetch:
        raise NotSupported("prefetch and fusion are not supported yet", "Send one query without prefetch")
    refuse_missing(body, "a query")
    node = filter_of(body.filter)
    limit, offset = 10 if body.limit is None else body.limit, body.offset or 0
    payload, vectors = wants(body.with_payload), wants(body.with_vector)
    if body.query is None:
        if body.using is not None:
            field_of(docs, body.using)  # refuses an unknown one
        page = docs.scroll(node, limit + offset, None, payload, vectors)
        listed = records(page.points[offset:], docs, body.with_payload, body.with_vector)
        return [{"version": 0, "score": 1.0, **record} for record in listed]
    field = field_of(docs, body.using)
    vector, used = _Examples(call, docs, field, body.lookup_from).resolve(body.query)
    if used:
        node = all_of([*([] if node is None else [node]), ~F.ids(list(used))])
    threshold = body.score_threshold
    if threshold is not None and docs.schema[field].metric == "l2":
        threshold = -threshold
    queries, params = _queries(docs, field, vector), _params(body.params)
    return Wanted(docs, queries, field, limit, offset, node, params, threshold, payload, vectors)


def _queries(docs: Collection, field: str, vector: Any) -> Any:
    """A batch of one, in a form that can be searched together with others."""
    spec = docs.schema[field]
    if isinstance(spec, Sparse):
        return sparse_queries(f"query for vector {field!r}", [vector])
    return [vector] if isinstance(spec, Text) else np.array([vector])


def _params(body: bodies.SearchParams | None) -> vsearch.SearchParams | None:
    if body is None:
        return None
    refuse_missing(body, "a search")
    if body.indexed_only:
        raise NotSupported("indexed_only is not supported", "Fresh points are always searched: leave it out")
    codes = body.quantization
    return vsearch.SearchParams(
        exact=bool(body.exact),
        ef=min(body.hnsw_ef, MAX_EF) if body.hnsw_ef else None,
        oversampling=None if codes is None else codes.oversampling,
        rescore=codes is None or codes.rescore is not False,
    )


class _Examples:
    """Turns what a query gives as its vector, or as examples, into one vector."""

    def __init__(
        self, call: Call[Any, Any], docs: Collection, field: str, lookup_from: bodies.LookupFrom | None
    ) -> None:
        self._docs = docs if lookup_from is None else call.db.collection(lookup_from.collection)
        self._field = field if lookup_from is None else field_of(self._docs, lookup_from.vector)
        self._spec = docs.schema[field]  # what it must be for
        self._own = self._docs.name == docs.name

    def resolve(self, query: Any) -> tuple[Any, list[PointId]]:
        """The vector, and the points of this collection that it was made of."""
        if isinstance(query, bodies.Nearest):
            refuse_missing(query, "a query")
            query = query.nearest
        if isinstance(query, bodies.Recommend):
            return self._average(query.recommend)
        if isinstance(query, dict):
            if query.keys() & bodies.SparseVector.model_fields.keys():
                given(self._spec, query)  # refuses it
            kind = next(iter(query), "nothing")
            raise NotSupported(f"queries by {kind[:50]!r} are not supported", "Send nearest or recommend")
        if isinstance(query, int | str):
            return self._of([query])[0], [query] if self._own else []
        return given(self._spec, query), []

    def _average(self, examples: bodies.RecommendInput) -> tuple[Any, list[PointId]]:
        """Qdrant's average_vector: the mean of what is liked, and as far again from the mean of what is not."""
        if examples.strategy not in (None, "average_vector"):
            raise NotSupported(f"the strategy {examples.strategy} is not supported", "Use average_vector")
        if not isinstance(self._spec, Dense):
            raise NotSupported("recommendations by sparse vectors or texts are not supported", "Search by one example")
        liked, disliked = examples.positive or [], examples.negative or []
        if not liked:
            raise InvalidArgument("a recommendation has no positive example", "Give at least one")
        means = [np.mean(self._vectors(part), axis=0) for part in (liked, disliked) if part]
        vector = means[0] if len(means) == 1 else 2 * means[0] - means[1]
        used = [one for one in (*liked, *disliked) if isinstance(one, int | str)] if self._own else []
        return vector, used

    def _vectors(self, examples: list[Any]) -> NDArray[Any]:
        ids = [one for one in examples if isinstance(one, int | str)]
        stored = dict(zip(ids, self._of(ids), strict=True))
        rows = [stored[one] if isinstance(one, int | str) else given(self._spec, one) for one in examples]
        assert isinstance(self._spec, Dense), "bug: the average of what is not dense"
        dim = self._spec.dim
        if any(
            not isinstance(row, list | np.ndarray) or len(row) != dim for row in rows
        ):  # those of another collection
            raise vsearch.DimensionMismatch("an example has another dimension", f"The field has dimension {dim}")
        return np.array(rows, np.float64)

    def _of(self, ids: list[PointId]) -> list[Any]:
        found = {point.id: point.vectors or {} for point in self._docs.get(ids, False, True)}
        for one in ids:
            if one not in found or self._field not in found[one]:
                raise NotFound(
                    f"there is no point {one!r} with the vector of the query", "Send a vector, or another id"
                )
        return [found[one][self._field] for one in ids]
