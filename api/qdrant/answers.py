"""Our hits, points and collections in the shapes of Qdrant's answers. The models are for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument
from vsearch.filters.paths import parse_path
from vsearch.hits import Hits
from vsearch.hits import Point as StoredPoint
from vsearch.types import Metric

from .bodies import Exclude, Include, WithPayload, WithVector
from .requests import UNNAMED
from .selection import only, without

DISTANCES: Final[dict[Metric, str]] = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
UPDATED: Final = {"operation_id": 0, "status": "completed"}  # every write is done, and on disk, when it is answered


class Updated(BaseModel):
    operation_id: int
    status: str


class SparseVector(BaseModel):
    indices: list[int]
    values: list[float]


class Document(BaseModel):
    text: str


Vectors = list[float] | dict[str, list[float] | SparseVector | Document]


class ScoredPoint(BaseModel):
    id: int | str
    version: int
    score: float
    payload: dict[str, Any] | None
    vector: Vectors | None


class Points(BaseModel):
    points: list[ScoredPoint]


class Record(BaseModel):
    id: int | str
    payload: dict[str, Any] | None
    vector: Vectors | None


class Records(BaseModel):
    points: list[Record]
    next_page_offset: int | str | None


class Counted(BaseModel):
    count: int


class FacetHit(BaseModel):
    value: bool | int | str
    count: int


class Facets(BaseModel):
    hits: list[FacetHit]


def scored(
    hits: Hits, docs: Collection, field: str, with_payload: WithPayload | None, named: WithVector | None
) -> list[Any]:
    """The hits of one query. Under l2 Qdrant's score is the distance itself, smaller is better."""
    values = hits.scores if docs.schema[field].metric != "l2" else np.abs(hits.scores)
    payloads = _payloads(hits.payloads, len(hits), with_payload)
    vectors = [None] * len(hits) if hits.vectors is None else [vector_of(v, docs, named) for v in hits.vectors]
    return [
        {"id": point_id, "version": 0, "score": score, "payload": payload, "vector": vector}
        for point_id, score, payload, vector in zip(hits.point_ids, values.tolist(), payloads, vectors, strict=True)
    ]


def records(
    points: Sequence[StoredPoint], docs: Collection, with_payload: WithPayload | None, named: WithVector | None
) -> list[Any]:
    """Stored points."""
    payloads = _payloads([point.payload for point in points], len(points), with_payload)
    return [
        {"id": point.id, "payload": payload, "vector": vector_of(point.vectors, docs, named)}
        for point, payload in zip(points, payloads, strict=True)
    ]


def vector_of(vectors: dict[str, Any] | None, docs: Collection, named: WithVector | None) -> Any:
    """A point's vectors: one list for the unnamed one, else by name; of a list of names only those.

    Texts are shown only where they are named: Qdrant's clients know no such vectors, and refuse the whole answer.
    """
    if vectors is None or (not named and not isinstance(named, list)):
        return None
    if isinstance(named, list):
        for name in named:
            if name not in docs.schema:
                raise InvalidArgument(f"unknown vector {name!r}", f"There are: {', '.join(docs.schema)}")
        shown = {name: _shown(vector) for name, vector in vectors.items() if name in named}
    else:
        shown = {name: _shown(vector) for name, vector in vectors.items() if not isinstance(vector, str)}
    return shown[UNNAMED] if list(shown) == [UNNAMED] else shown


def _shown(vector: Any) -> Any:
    if isinstance(vector, dict):
        return {"indices": list(vector), "values": list(vector.values())}
    return {"text": vector} if isinstance(vector, str) else vector


def _payloads(payloads: Sequence[Any] | None, n: int, wanted: WithPayload | None) -> Sequence[Any]:
    if payloads is None or wanted is None or wanted is False:
        return [None] * n
    if wanted is True:
        return [payload or {} for payload in payloads]
    if isinstance(wanted, Exclude):
        paths = [parse_path(text) for text in wanted.exclude]
        return [without(payload or {}, paths) for payload in payloads]
    paths = [parse_path(text) for text in (wanted.include if isinstance(wanted, Include) else wanted)]
    return [only(payload or {}, paths) for payload in payloads]
