"""What is asked: a request as one small tree.

    Search(legs=(Leg(field, queries, filter, limit), ...), limit, offset, ...)

One leg is a plain search. Several legs, fusion and rescoring stages join here when the kinds that need them do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.fields import kind_of
from vsearch.fields.base import Queries
from vsearch.filters import Node, parse_filter
from vsearch.types import MAX_LIMIT, Dense, Field, SearchParams, SparseRows

MAX_QUERIES: Final = 10_000  # of one search_batch: its results are held in memory together

Filter = Node | Mapping[str, Any] | None  # F(...), Qdrant's JSON or a Mongo-style dict


@dataclass(frozen=True, slots=True, eq=False)
class Leg:
    """Nearest neighbours by one field: queries as its kind checked them (fields/base.py)."""

    field: str
    queries: Queries
    filter: Node | None
    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A whole request. `score_threshold`: hits with a lower score are dropped."""

    legs: tuple[Leg, ...]
    limit: int
    offset: int
    params: SearchParams
    score_threshold: float | None = None
    with_payload: bool = True
    with_vectors: bool = False


def parse_search(
    schema: Mapping[str, Field],
    queries: Any,
    single: bool,
    using: str | None,
    limit: int,
    offset: int,
    filter: Filter,
    params: SearchParams | None,
    score_threshold: float | None,
    with_payload: bool,
    with_vectors: bool,
) -> Search:
    """Check what a caller gave, `queries` a batch or one alone (`single`).

    Raises InvalidArgument, DimensionMismatch, InvalidFilter or LimitExceeded.
    """
    name = field_name(schema, using)
    for what, number, least in (("limit", limit, 1), ("offset", offset, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise InvalidArgument(f"{what} is {number!r}", f"Use an integer of at least {least}")
    if limit + offset > MAX_LIMIT:
        raise LimitExceeded(
            f"limit + offset is {limit + offset:,}", f"At most {MAX_LIMIT:,}; use scroll to read everything"
        )
    if params is not None and not isinstance(params, SearchParams):
        raise InvalidArgument(f"params is a {type(params).__name__}", "Use vsearch.SearchParams(...)")
    if score_threshold is not None and (
        isinstance(score_threshold, bool) or not isinstance(score_threshold, int | float)
    ):
        raise InvalidArgument(f"score_threshold is {score_threshold!r}", "Use a number")
    if params is not None and params.score == "probability" and not isinstance(schema[name], Dense):
        hint = "Leave score as it is, and compare scores of one query only"
        raise InvalidArgument(f"score='probability' is for dense fields, {name!r} is none", hint)
    checked = kind_of(schema[name]).queries(name, queries, single)
    if len(checked) > MAX_QUERIES:
        raise LimitExceeded("too many queries in one batch", f"Send at most {MAX_QUERIES:,} at once")
    params = params or SearchParams()
    if isinstance(checked, SparseRows) and (checked.weights < 0).any():
        params = replace(params, exact=True)  # approximate indexes bound by the largest weights what is worth a look
    leg = Leg(name, checked, parse_filter(filter), limit + offset)
    return Search((leg,), limit, offset, params, score_threshold, with_payload, with_vectors)


def field_name(schema: Mapping[str, Field], using: str | None) -> str:
    """The field to search: the one named, or the only one there is."""
    if using is None:
        if len(schema) == 1:
            return next(iter(schema))
        raise InvalidArgument("the collection has several fields", f"Say using=..., one of: {', '.join(schema)}")
    if using not in schema:
        raise InvalidArgument(f"unknown field {using!r}", f"The fields are: {', '.join(schema)}")
    return using
