"""Searches of our own interface: many queries at once, vectors as raw float32 or as an Arrow stream."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel

import vsearch
from vsearch import wire
from vsearch.filters import parse_filter
from vsearch.storage.ipc import write_hits

from ..endpoint import Call, Routes, Text
from ..together import Steps, Wanted
from . import bodies
from .arrow import ArrowTable
from .points import COLLECTION

routes: Final = Routes("v1 search", envelope=False)


class Hits(BaseModel):
    """The hits of one query, best first, column by column."""

    ids: list[int | str]
    scores: list[float]
    payloads: list[dict[str, Any] | None] | None
    vectors: list[dict[str, list[float]]] | None


class Answers(BaseModel):
    hits: list[Hits]


class Explained(BaseModel):
    plan: dict[str, Any]


@routes.add("POST", f"{COLLECTION}/search", Answers, body=bodies.Search, arrow=ArrowTable.read)
def v1_search(call: Call[bodies.Search | ArrowTable, None]) -> Steps[Any]:
    """Find the nearest points to each query."""
    given = call.body
    body, queries = (given.search(), given.queries()) if isinstance(given, ArrowTable) else (given, given.queries)
    search = Wanted(
        call.docs,
        wire.from_wire(queries),
        body.using,
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
    body = call.body
    query, params = wire.from_wire(body.query), _params(body.params)
    plan = call.docs.explain(query, body.using, body.limit, body.offset, body.filter, params, body.analyze)
    return {"plan": asdict(plan)}


def _params(given: bodies.SearchParams | None) -> vsearch.SearchParams | None:
    return None if given is None else vsearch.SearchParams(**given.model_dump())
