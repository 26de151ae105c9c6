"""Calls that read points: a function for each method of Collection, with its arguments after the collection's name."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from vsearch import wire
from vsearch.errors import InvalidArgument
from vsearch.filters.paths import parse_path
from vsearch.hits import FacetValue, Hits, Page, Point
from vsearch.query import Filter
from vsearch.remote.arguments import sent_filter, sent_id, sent_ids, sent_number, sent_params
from vsearch.remote.call import Call, read
from vsearch.types import PointId, SearchParams
from vsearch.vectors import as_array

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
    query: ArrayLike,
    using: str | None = None,
    limit: int = 10,
    offset: int = 0,
    filter: Filter = None,
    params: SearchParams | None = None,
    score_threshold: float | None = None,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> Call[Hits]:
    """The nearest points to one query vector, best first.

    `using`: the field, needed where there are several. `filter`: only points that satisfy it; there are never
    fewer hits than `limit` when that many do. `params`: how hard to try. `score_threshold`: drop lower scores.

    Raises InvalidArgument, DimensionMismatch, InvalidFilter, LimitExceeded.
    """
    vector = as_array("the query", query)
    if vector.ndim != 1:
        raise InvalidArgument(f"the query has {vector.ndim} dimensions", "Give one vector, or use search_batch")
    return read(
        collection,
        "search",
        lambda answer: wire.hits_in(answer["hits"][0]),
        queries=wire.vectors(vector[None]),
        score_threshold=score_threshold,
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
        **_plan(using, limit, offset, filter, params),
    )


def search_batch(
    collection: str,
    queries: ArrayLike,
    using: str | None = None,
    limit: int = 10,
    offset: int = 0,
    filter: Filter = None,
    params: SearchParams | None = None,
    score_threshold: float | None = None,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> Call[list[Hits]]:
    """As `search`, for queries [nq, d] at once: one Hits for each, in order."""
    queries = as_array("queries", queries)
    if queries.ndim != 2:
        raise InvalidArgument(f"queries have {queries.ndim} dimensions", "Give an array of shape [nq, d]")
    return read(
        collection,
        "search",
        lambda answer: [wire.hits_in(hits) for hits in answer["hits"]],
        queries=wire.vectors(queries),
        score_threshold=score_threshold,
        with_payload=bool(with_payload),
        with_vectors=bool(with_vectors),
        **_plan(using, limit, offset, filter, params),
    )


def explain(
    collection: str,
    query: ArrayLike,
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
        query=wire.vectors(query),
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
