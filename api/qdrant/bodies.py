"""What Qdrant's clients send, as far as it is understood here.

Entries that only tune Qdrant's storage (`Hint`) are taken and ignored. Those that would change answers and are not
supported are taken as well, so that the handlers can say by name what is missing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from vsearch.types import MAX_BATCH_POINTS, MAX_DIM, MAX_LIMIT, MAX_TERM

from ..endpoint import Body, Params
from ..settings import MAX_OPERATIONS

Integer = Annotated[int, Field(ge=0, le=2**64 - 1)]
PointId = Annotated[Integer | str, Field(description="An integer below 2**64, or any string of at most 1,024 bytes.")]
Ids = Annotated[list[PointId], Field(max_length=MAX_BATCH_POINTS)]
Filter = Annotated[
    dict[str, Any],
    Field(description="Clauses must, should, must_not and min_should, of conditions on payloads and ids."),
]
Payload = dict[str, Any]
Quantization = Annotated[
    Any, Field(description='With "binary" in it, an index of one-bit codes is made; all else is taken and ignored.')
]
Hint = Annotated[Any, Field(description="Taken and ignored: there is nothing to tune here.")]
Missing = Annotated[Any, Field(description="Not supported: must be left out or null.")]
Vector = Annotated[list[float], Field(max_length=MAX_DIM)]


class SparseVector(Body):
    """Indices are distinct, and there are as many values. Those of points are above 0."""

    indices: list[Annotated[int, Field(ge=0, le=MAX_TERM)]]
    values: list[float]

    @model_validator(mode="after")
    def _is_whole(self) -> SparseVector:
        if len(self.indices) != len(self.values):
            raise ValueError(f"there are {len(self.indices)} indices and {len(self.values)} values")
        if len(set(self.indices)) != len(self.indices):
            raise ValueError("an index comes twice")
        return self


class Document(Body):
    """A text, for a text field (made by POST /v1/collections): nothing else makes vectors of texts here."""

    text: str
    model: Hint = None
    options: Hint = None


class Inference(Body):
    """What Qdrant's cloud makes a vector of. Not supported."""

    image: Any = None
    object: Any = None
    model: str
    options: Any = None


AnyVector = Vector | SparseVector | Document | Inference | list[Vector]  # the last two are not supported, and say so
PointVector = Vector | Document | dict[str, AnyVector] | list[Vector]


class WriteParams(Params):
    wait: bool = True
    ordering: Literal["weak", "medium", "strong"] = "weak"
    timeout: int | None = Field(None, ge=1)


class UploadParams(WriteParams):
    priority: str | None = None
    checksum: str | None = None


class ReadParams(Params):
    consistency: str | None = None
    timeout: int | None = Field(None, ge=1)


# Collections


class HnswConfig(Body):
    m: int | None = Field(None, ge=0)
    ef_construct: int | None = Field(None, ge=4)
    full_scan_threshold: Hint = None
    max_indexing_threads: Hint = None
    on_disk: Hint = None
    memory: Hint = None
    payload_m: Hint = None
    inline_storage: Hint = None


class VectorParams(Body):
    size: int = Field(ge=1, le=MAX_DIM)
    distance: Literal["Cosine", "Dot", "Euclid", "Manhattan"]
    hnsw_config: HnswConfig | None = None
    quantization_config: Quantization = None
    on_disk: Hint = None
    memory: Hint = None
    datatype: Literal["float32", "float16", "uint8"] | None = None
    multivector_config: Missing = None


class SparseIndexParams(Body):
    full_scan_threshold: Hint = None
    on_disk: Hint = None
    memory: Hint = None
    datatype: Literal["float32", "float16", "uint8"] | None = None


class SparseVectorParams(Body):
    index: SparseIndexParams | None = None
    modifier: Literal["none", "idf"] | None = None


class CreateCollection(Body):
    vectors: VectorParams | dict[str, VectorParams] | None = None
    hnsw_config: HnswConfig | None = None
    sparse_vectors: dict[str, SparseVectorParams] | None = None
    shard_number: Hint = None
    sharding_method: Missing = None
    replication_factor: Hint = None
    write_consistency_factor: Hint = None
    on_disk_payload: Hint = None
    payload: Hint = None
    id_tracker: Hint = None
    wal_config: Hint = None
    optimizers_config: Hint = None
    quantization_config: Quantization = None
    strict_mode_config: Missing = None
    metadata: Missing = None


class UpdateCollection(Body):
    optimizers_config: Hint = None
    params: Hint = None
    quantization_config: Hint = None
    vectors: Missing = None
    hnsw_config: Missing = None
    sparse_vectors: Missing = None
    strict_mode_config: Missing = None
    metadata: Missing = None


class CreateIndex(Body):
    field_name: str
    field_schema: str | dict[str, Any] | None = None


class CreateAlias(Body):
    collection_name: str
    alias_name: str


class DeleteAlias(Body):
    alias_name: str


class RenameAlias(Body):
    old_alias_name: str
    new_alias_name: str


class AliasAction(Body):
    """One of the three."""

    create_alias: CreateAlias | None = None
    delete_alias: DeleteAlias | None = None
    rename_alias: RenameAlias | None = None


class ChangeAliases(Body):
    actions: list[AliasAction] = Field(max_length=MAX_OPERATIONS)


class RecoverSnapshot(Body):
    location: str = Field(description="The name of a snapshot on this server, or the file:// URL that it has here.")
    priority: Hint = None
    checksum: str | None = None
    api_key: Hint = None


# Points


class Point(Body):
    id: PointId
    vector: PointVector
    payload: Payload | None = None


class Batch(Body):
    ids: Ids
    vectors: list[Vector] | dict[str, list[AnyVector]] | list[list[Vector]]
    payloads: list[Payload | None] | None = None


class Upsert(Body):
    """`points` or `batch`."""

    points: Annotated[list[Point], Field(max_length=MAX_BATCH_POINTS)] | None = None
    batch: Batch | None = None
    shard_key: Missing = None
    update_filter: Missing = None
    update_mode: Literal["upsert"] | None = None


class Select(Body):
    """`points` or `filter`."""

    points: Ids | None = None
    filter: Filter | None = None
    shard_key: Missing = None


class SetPayload(Select):
    payload: Payload
    key: str | None = None


class DeletePayload(Select):
    keys: list[str] = Field(max_length=MAX_OPERATIONS)


class DeleteVectors(Select):
    vector: list[str] = Field(max_length=MAX_OPERATIONS)


class PointVectors(Body):
    id: PointId
    vector: PointVector


class UpdateVectors(Body):
    points: list[PointVectors] = Field(max_length=MAX_BATCH_POINTS)
    shard_key: Missing = None
    update_filter: Missing = None


class Operation(Body):
    """One of them."""

    upsert: Upsert | None = None
    delete: Select | None = None
    set_payload: SetPayload | None = None
    overwrite_payload: SetPayload | None = None
    delete_payload: DeletePayload | None = None
    clear_payload: Select | None = None
    update_vectors: UpdateVectors | None = None
    delete_vectors: DeleteVectors | None = None


class Operations(Body):
    operations: list[Operation] = Field(max_length=MAX_OPERATIONS)


# Reads


class Include(Body):
    include: list[str]


class Exclude(Body):
    exclude: list[str]


WithPayload = bool | list[str] | Include | Exclude
WithVector = bool | list[str]


class Retrieve(Body):
    ids: Ids
    with_payload: WithPayload | None = True
    with_vector: WithVector | None = False
    shard_key: Missing = None


class Scroll(Body):
    offset: PointId | None = None
    limit: int | None = Field(10, ge=1, le=MAX_LIMIT)
    filter: Filter | None = None
    with_payload: WithPayload | None = True
    with_vector: WithVector | None = False
    order_by: Missing = None
    shard_key: Missing = None


class Count(Body):
    filter: Filter | None = None
    exact: bool | None = True
    shard_key: Missing = None


class Facet(Body):
    key: str
    limit: int | None = Field(10, ge=1, le=MAX_LIMIT)
    filter: Filter | None = None
    exact: bool | None = False
    shard_key: Missing = None


class QuantizationParams(Body):
    ignore: bool | None = None
    rescore: bool | None = None
    oversampling: float | None = Field(None, ge=1.0, le=100.0)


class SearchParams(Body):
    hnsw_ef: int | None = Field(None, ge=0)
    exact: bool | None = False
    quantization: QuantizationParams | None = None
    indexed_only: bool | None = False
    acorn: Hint = None
    idf: Missing = None


class LookupFrom(Body):
    collection: str
    vector: str | None = None
    shard_key: Missing = None


QueryInput = Vector | PointId | SparseVector | Document | list[Vector] | dict[str, Any]


class Nearest(Body):
    nearest: QueryInput
    mmr: Missing = None


class RecommendInput(Body):
    positive: list[QueryInput] | None = None
    negative: list[QueryInput] | None = None
    strategy: Literal["average_vector", "best_score", "sum_scores"] | None = None


class Recommend(Body):
    recommend: RecommendInput


class Common(Body):
    """What all kinds of search share."""

    filter: Filter | None = None
    params: SearchParams | None = None
    score_threshold: float | None = None
    limit: int | None = Field(10, ge=1, le=MAX_LIMIT)
    offset: int | None = Field(0, ge=0, le=MAX_LIMIT)
    with_payload: WithPayload | None = False
    with_vector: WithVector | None = False
    shard_key: Missing = None


class Query(Common):
    query: Nearest | Recommend | QueryInput | None = None
    using: str | None = None
    lookup_from: LookupFrom | None = None
    prefetch: Missing = None


class QueryBatch(Body):
    searches: list[Query] = Field(max_length=MAX_OPERATIONS)


class NamedVector(Body):
    name: str
    vector: Vector | SparseVector


class Search(Common):
    """The search of earlier releases, which some clients still send."""

    vector: Vector | NamedVector


class SearchBatch(Body):
    searches: list[Search] = Field(max_length=MAX_OPERATIONS)


class Anything(Body):
    """A body that is not looked at, since what it asks for is not supported."""

    model_config = ConfigDict(extra="allow")
