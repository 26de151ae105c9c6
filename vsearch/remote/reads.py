"""Calls that read points: a function for each method of Collection, with its arguments after the collection's name."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from vsearch import wire
from vsearch.filters.paths import parse_path
from vsearch.hits import FacetValue, Hits, Page, Point
from vsearch.query import Filter
from vsearch.remote.arguments import (
    sent_filter,
    sent_id,
    sent_ids,
    sent_number,
    sent_params,
    sent_queries,
    sent_query,
    sent_query_alone,
)
from vsearch.remote.call import Call, read
from vsearch.types import PointId, SearchParams

if TYPE_CHECKING:
    from vsearch.planner import Plan


def get(
    collection: str, ids: Sequence[PointId] | PointId, with_payload: bool = True, with_vectors: bool = False
) -> Call[list[Point]]:
    """The points that exist, in the order of the ids."""
    wanted = sent_ids([ids] if isinstance(ids, str | int) else ids)
    return read(
        collection,
        "get",
        lambda answer: [wire.point_in(point) for point in answer["points"]],
        ids=wanted,
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
    )


def count(collection: str, filter: Filter = None) -> Call[int]:
    """How many points there are, or how many satisfy the filter. Exact."""
    return read(collection, "count", itemgetter("count"), filter=sent_filter(filter))


def facet(collection: str, path: str, filter: Filter = None, limit: int = 10) -> Call[list[FacetValue]]:
    """How many points have each value at a payload path, the most frequent first. Exact.

    Strings, integers and bools are counted, of a list each distinct element once. Equal counts are in the order
    of the values: bools, integers, strings. Raises InvalidArgument for a path that cannot be read, and for a limit
    below 1.
    """
    parse_path(path)
    return read(
        collection,
        "facet",
        lambda answer: [FacetValue(one["value"], one["count"]) for one in answer["values"]],
        path=path,
        filter=sent_filter(filter),
        limit=sent_number("limit", limit),
    )


def scroll(
    collection: str,
    filter: Filter = None,
    limit: int = 100,
    cursor: PointId | None = None,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> Call[Page]:
    """A page of points in the order of their ids, integers first. Give `page.cursor` to get the next one.

    A point that lives throughout is met exactly once, whatever is written meanwhile.
    """
    return read(
        collection,
        "scroll",
        wire.page_in,
        filter=sent_filter(filter),
        limit=sent_number("limit", limit),
        cursor=None if cursor is None else sent_id(cursor),
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
    )


def search(
    collection: str,
    query: Any,
    using: str | None = None,
    limit: int = 10,
    offset: int = 0,
    filter: Filter = None,
    params: SearchParams | None = None,
    score_threshold: float | None = None,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> Call[Hits]:
    """The best points for one query, best first.

    `query`: of a dense field a vector; of a sparse one {term: weight}, (indices, values) or a row of a SciPy CSR
    matrix; of a text field a string. Of sparse vectors and texts only points that share a term with the query are
    found; negative weights in a query make the search exact.

    `using`: the field, needed where there are several. `filter`: only points that satisfy it; there are never
    fewer hits than `limit` when that many do. `params`: how hard to try. `score_threshold`: drop lower scores.

    Raises InvalidArgument, DimensionMismatch, InvalidFilter, LimitExceeded.
    """
    return read(
        collection,
        "search",
        lambda answer: wire.hits_in(answer["hits"][0]),
        queries=sent_query(using, query),
        score_threshold=score_threshold,
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
        **_plan(using, limit, offset, filter, params),
    )


def search_batch(
    collection: str,
    queries: Any,
    using: str | None = None,
    limit: int = 10,
    offset: int = 0,
    filter: Filter = None,
    params: SearchParams | None = None,
    score_threshold: float | None = None,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> Call[list[Hits]]:
    """As `search`, for many queries at once: one Hits for each, in order.

    `queries`: [nq, d], a SciPy CSR matrix, or a list of what `search` takes.
    """
    return read(
        collection,
        "search",
        lambda answer: [wire.hits_in(hits) for hits in answer["hits"]],
        queries=sent_queries(using, queries),
        score_threshold=score_threshold,
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
        **_plan(using, limit, offset, filter, params),
    )


def explain(
    collection: str,
    query: Any,
    using: str | None = None,
    limit: int = 10,
    offset: int = 0,
    filter: Filter = None,
    params: SearchParams | None = None,
    analyze: bool = False,
) -> Call[Plan]:
    """What `search` would do, segment by segment; with `analyze` it is run and measured."""
    return read(
        collection,
        "explain",
        lambda answer: wire.plan_in(answer["plan"]),
        query=sent_query_alone(using, query),
        analyze=bool(analyze),
        **_plan(using, limit, offset, filter, params),
    )


def _plan(using: str | None, limit: int, offset: int, filter: Filter, params: SearchParams | None) -> dict[str, Any]:
    """What every search has."""
    return {
        "using": using,
        "limit": sent_number("limit", limit),
        "offset": sent_number("offset", offset),
        "filter": sent_filter(filter),
        "params": sent_params(params),
    }
