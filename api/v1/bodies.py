"""The arguments of our own calls, as they come over the wire. What the database checks itself is not checked twice."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from vsearch.types import MAX_BATCH_POINTS, MAX_TERM, ScoreKind

from ..endpoint import Body, Params

PointId = Annotated[int, Field(ge=0, le=2**64 - 1)] | str
Ids = Annotated[list[PointId], Field(max_length=MAX_BATCH_POINTS)]
Filter = Annotated[dict[str, Any], Field(description="In Qdrant's JSON or in MongoDB's style.")]
Payload = dict[str, Any]
_SPARSE = {
    "type": "object",
    "properties": {
        "indices": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_TERM}},
        "values": {"type": "array", "items": {"type": "number"}},
    },
    "required": ["indices", "values"],
    "additionalProperties": False,
    "description": "A sparse vector: as many values as indices.",
}
_VECTOR = [{"type": "array", "items": {"type": "number"}}, _SPARSE, {"type": "string"}]  # dense, sparse, a text
_VECTORS = {"type": "array", "items": {"anyOf": [*_VECTOR, {"type": "null"}]}}
# wire.from_wire says which objects there may be, the field's kind what it takes
Vectors = Annotated[list[Any] | dict[str, Any] | str, WithJsonSchema(_VECTORS)]
Vector = Annotated[Any, WithJsonSchema({"anyOf": _VECTOR})]
Expiry = Annotated[float, Field(gt=0, description="Unix time in seconds.")]


class Create(Body):
    name: str
    fields: dict[str, dict[str, Any]] = Field(
        description="Name of each field, and its kind (dense, sparse or text), and what that has: dim, metric ..."
    )


class Upsert(Body):
    ids: Ids | None = None
    vectors: dict[str, Vectors] = Field({}, description="Field -> rows; null where a point lacks the field.")
    payloads: list[Payload | None] | None = None
    expires_at: Expiry | list[Expiry | None] | None = None
    insert: bool = False


class Update(Body):
    id: PointId
    payload: Payload | None = None
    vectors: dict[str, Vector] = Field({})
    expires_at: Expiry | None = None


class Select(Body):
    """Either ids or filter."""

    ids: Ids | None = None
    filter: Filter | None = None


class Get(Body):
    ids: Ids
    with_payload: bool = True
    with_vectors: bool = False


class Count(Body):
    filter: Filter | None = None


class Scroll(Body):
    filter: Filter | None = None
    limit: int = 100
    cursor: PointId | None = None
    with_payload: bool = True
    with_vectors: bool = False


class SearchParams(Body):
    exact: bool = False
    recall: float = 0.95
    ef: int | None = None
    oversampling: float | None = None
    rescore: bool = True
    score: ScoreKind = "similarity"


class _Search(Body):
    using: str | None = None
    limit: int = 10
    offset: int = 0
    filter: Filter | None = None
    params: SearchParams | None = None


class Search(_Search):
    queries: Vectors
    score_threshold: float | None = None
    with_payload: bool = True
    with_vectors: bool = False


class Explain(_Search):
    query: Vector
    analyze: bool = False


class SetPayload(Select):
    payload: Payload
    path: str | None = None


class OverwritePayload(Select):
    payload: Payload


class DeletePayload(Select):
    keys: list[str]


class UpdateVectors(Body):
    ids: Ids
    vectors: dict[str, Vectors]


class DeleteVectors(Select):
    fields: list[str]


class Facet(Body):
    path: str
    filter: Filter | None = None
    limit: int = 10


class PayloadIndex(Body):
    path: str


class NewPayloadIndex(PayloadIndex):
    kind: str = "sorted"


class Nothing(Body):
    """No arguments."""


class Optimize(Body):
    wait: bool = True


class Aliases(Body):
    changes: dict[str, str | None] = Field(description="Alias -> collection, or null to remove it.")


class SnapshotOf(Body):
    collection: str | None = Field(None, description="None: the whole database.")


class SnapshotNamed(SnapshotOf):
    name: str


class RestoreParams(Params):
    replace: bool = False
    source: str | None = Field(None, description="Which collection of a snapshot of several.")


class ImportParams(Params):
    id: str = "id"
    vector: tuple[str, ...] = Field((), description="FIELD=COLUMN; repeatable.")
    skip: tuple[str, ...] = Field((), description="A column to leave out of the payloads; repeatable.")
    batch_rows: int = Field(2_000, ge=1, le=MAX_BATCH_POINTS)


class ExportParams(Params):
    format: Literal["parquet", "arrow"] = "parquet"
