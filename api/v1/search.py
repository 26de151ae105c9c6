"""Searches of our own interface: many queries at once, in lists, as raw numbers, or as an Arrow stream."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel

import vsearch
from vsearch import wire
from vsearch.fields.sparse_input import sparse_queries
from vsearch.filters import parse_filter
from vsearch.query import field_name
from vsearch.storage.ipc import write_hits
from vsearch.types import Sparse

from ..endpoint import Call, Routes, Text
from ..together import Steps, Wanted
from . import bodies
from .arrow import ArrowTable
from .points import COLLECTION, Vectors, rows_of

routes: Final = Routes("v1 search", envelope=False)


class Hits(BaseModel):
    """The hits of one query, best first, column by column."""

    ids: list[int | str]
    scores: list[float]
    payloads: list[dict[str, Any] | None] | None
    vectors: list[Vectors] | None


class Answers(BaseModel):
    hits: list[Hits]


class Explained(BaseModel):
    plan: dict[str, Any]


@routes.add("POST", f"{COLLECTION}/search", Answers, body=bodies.Search, arrow=ArrowTable.read)
def v1_search(call: Call[bodies.Search | ArrowTable, None]) -> Steps[Any]:
    """Find the nearest points to each query."""
    given, docs = call.body, call.docs
    body = given.search() if isinstance(given, ArrowTable) else given
    field = field_name(docs.schema, body.using)
    spec = docs.schema[field]
    queries = given.queries(spec) if isinstance(given, ArrowTable) else rows_of(docs, field, given.queries)
    if isinstance(spec, Sparse):  # as rows they can be searched together with those of other requests
        queries = sparse_queries(f"query for field {field!r}", queries)
    search = Wanted(
        docs,
        queries,
        field,
        body.limit,
        body.offset,
        parse_filter(body.filter),
        _params(body.params),
        body.score_threshold,
        body.with_payload,
        body.with_vectors,
    )
    (found,) = yield [search]
    if wire.ARROW in call.accept:
        return Text(write_hits(found), wire.ARROW)
    return {"hits": [wire.hits_out(hits, call.binary) for hits in found]}


@routes.add("POST", f"{COLLECTION}/explain", Explained, body=bodies.Explain)
def v1_explain(call: Call[bodies.Explain, None]) -> Any:
    """Tell how a search would be run; with `analyze` it is run and measured."""
    body, params = call.body, _params(call.body.params)
    query = wire.from_wire(body.query)
    plan = call.docs.explain(query, body.using, body.limit, body.offset, body.filter, params, body.analyze)
    return {"plan": asdict(plan)}


def _params(given: bodies.SearchParams | None) -> vsearch.SearchParams | None:
    return None if given is None else vsearch.SearchParams(**given.model_dump())
