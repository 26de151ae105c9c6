"""Collections, payload indexes and aliases, as Qdrant's clients manage them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from vsearch.errors import InvalidArgument, NotFound, NotSupported
from vsearch.types import Dense, Field, Sparse

from ..endpoint import Call, Routes
from . import bodies
from .answers import DISTANCES, UPDATED, Updated
from .requests import UNNAMED, refuse_missing

routes: Final = Routes("collections")

METRICS: Final = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}
# What Qdrant reports of tunings that do not exist here; its clients want the entries.
OPTIMIZERS: Final = {"default_segment_number": 0, "flush_interval_sec": 0}
WAL: Final = {"wal_capacity_mb": 128, "wal_segments_ahead": 0}
SCHEMA_TYPES: Final = ("keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid")
DEFAULT_TYPE: Final = "keyword"
SCANS: Final = ("flat", "sparse_flat")


class Description(BaseModel):
    name: str


class Descriptions(BaseModel):
    collections: list[Description]


class Exists(BaseModel):
    exists: bool


class Info(BaseModel):
    status: str
    optimizer_status: str
    indexed_vectors_count: int
    points_count: int
    segments_count: int
    config: dict[str, Any]
    payload_schema: dict[str, dict[str, Any]]


class Alias(BaseModel):
    alias_name: str
    collection_name: str


class Aliases(BaseModel):
    aliases: list[Alias]


@routes.add("GET", "/collections", Descriptions)
def list_collections(call: Call[None, None]) -> Any:
    """List the collections."""
    return {"collections": [{"name": name} for name in call.db.collections()]}


@routes.add("GET", "/collections/{collection}", Info)
def get_collection(call: Call[None, None]) -> Any:
    """Describe a collection. Text fields, which Qdrant has not, are told of by GET /v1/collections/{collection}."""
    docs = call.docs
    stats = docs.stats()
    waiting = any(not segment["sealed"] and segment["rows"] for segment in stats["segments"])
    indexed = sum(
        segment["live"]
        for segment in stats["segments"]
        for kind in segment["indexes"].values()
        if segment["sealed"] and kind not in SCANS
    )
    dense = {name: field for name, field in docs.schema.items() if isinstance(field, Dense)}
    sparse = {name: _sparse_params(field) for name, field in docs.schema.items() if isinstance(field, Sparse)}
    vectors = {name: _vector_params(field) for name, field in dense.items()}
    first = next(iter(dense.values()), Dense(1))
    return {
        "status": "yellow" if waiting and indexed else "green",
        "optimizer_status": "ok",
        "points_count": stats["points"],
        "indexed_vectors_count": indexed,
        "segments_count": len(stats["segments"]),
        "config": {
            "params": {
                "vectors": vectors[UNNAMED] if list(vectors) == [UNNAMED] else vectors,
                **({"sparse_vectors": sparse} if sparse else {}),
                "shard_number": 1,
                "replication_factor": 1,
                "write_consistency_factor": 1,
                "on_disk_payload": True,
            },
            "hnsw_config": {"m": first.m, "ef_construct": first.ef_construction, "full_scan_threshold": 10_000},
            "optimizer_config": OPTIMIZERS,
            "wal_config": WAL,
            "quantization_config": {"binary": {"always_ram": True}} if first.index == "binary" else None,
        },
        "payload_schema": {
            path: {"data_type": kind if kind in SCHEMA_TYPES else DEFAULT_TYPE, "points": stats["points"]}
            for path, kind in stats["payload_indexes"].items()
        },
    }


@routes.add("GET", "/collections/{collection}/exists", Exists)
def collection_exists(call: Call[None, None]) -> Any:
    """Tell whether there is a collection of that name, or an alias."""
    try:
        return {"exists": bool(call.docs)}
    except NotFound:
        return {"exists": False}


@routes.add(
    "PUT", "/collections/{collection}", bool, body=bodies.CreateCollection, params=bodies.WriteParams, access="write"
)
def create_collection(call: Call[bodies.CreateCollection, Any]) -> Any:
    """Create a collection."""
    body = call.body
    refuse_missing(body, "a collection")
    if not body.vectors and not body.sparse_vectors:
        raise InvalidArgument("the collection has no vectors", 'Give "vectors": {"size": 384, "distance": "Cosine"}')
    given = {UNNAMED: body.vectors} if isinstance(body.vectors, bodies.VectorParams) else body.vectors or {}
    fields: dict[str, Field] = {name: _field(name, params, body) for name, params in given.items()}
    for name, sparse in (body.sparse_vectors or {}).items():
        if name in fields or name == UNNAMED:
            raise InvalidArgument(f"the sparse vector {name!r} needs a name of its own", "Give it another")
        fields[name] = _sparse_field(sparse)
    call.db.create_collection(call.names["collection"], fields)
    return True


@routes.add(
    "PATCH", "/collections/{collection}", bool, body=bodies.UpdateCollection, params=bodies.WriteParams, access="write"
)
def update_collection(call: Call[bodies.UpdateCollection, Any]) -> Any:
    """Take, and ignore, tunings that have no counterpart here."""
    refuse_missing(call.body, "changing a collection")
    return bool(call.docs)


@routes.add("DELETE", "/collections/{collection}", bool, params=bodies.WriteParams, access="write", lane="long")
def delete_collection(call: Call[None, Any]) -> Any:
    """Delete a collection and all in it; false when there was none."""
    if call.names["collection"] not in call.db.collections():
        return False
    call.db.delete_collection(call.names["collection"])
    return True


@routes.add(
    "PUT",
    "/collections/{collection}/index",
    Updated,
    body=bodies.CreateIndex,
    params=bodies.WriteParams,
    access="write",
)
def create_field_index(call: Call[bodies.CreateIndex, Any]) -> Any:
    """Keep a payload path in sorted order, so that filters on it are quick."""
    spec = call.body.field_schema
    kind = spec.get("type") if isinstance(spec, dict) else spec
    if kind is not None and kind not in SCHEMA_TYPES:
        raise InvalidArgument(f"the index type is {kind!r}", f"Use one of {', '.join(SCHEMA_TYPES)}")
    call.docs.create_payload_index(call.body.field_name, kind or DEFAULT_TYPE)
    return UPDATED


@routes.add("DELETE", "/collections/{collection}/index/{field}", Updated, params=bodies.WriteParams, access="write")
def delete_field_index(call: Call[None, Any]) -> Any:
    """Drop the index of a payload path."""
    call.docs.delete_payload_index(call.names["field"])
    return UPDATED


@routes.add("GET", "/aliases", Aliases)
def get_collections_aliases(call: Call[None, None]) -> Any:
    """List all aliases."""
    return {"aliases": _aliases(call.db.aliases().items())}


@routes.add("GET", "/collections/{collection}/aliases", Aliases)
def get_collection_aliases(call: Call[None, None]) -> Any:
    """List the aliases of one collection."""
    name = call.docs.name
    return {"aliases": _aliases(pair for pair in call.db.aliases().items() if pair[1] == name)}


@routes.add("POST", "/collections/aliases", bool, body=bodies.ChangeAliases, params=bodies.WriteParams, access="write")
def update_aliases(call: Call[bodies.ChangeAliases, Any]) -> Any:
    """Create, delete and rename aliases, all at once."""
    now: dict[str, str | None] = dict(call.db.aliases())
    changes: dict[str, str | None] = {}

    def change(alias: str, collection: str | None) -> None:
        now[alias] = changes[alias] = collection

    for action in call.body.actions:
        given = [name for name in type(action).model_fields if getattr(action, name) is not None]
        if len(given) != 1:
            raise InvalidArgument(f"an alias action has {len(given)} parts", "Give one of create, delete and rename")
        if action.create_alias is not None:
            change(action.create_alias.alias_name, action.create_alias.collection_name)
        elif action.delete_alias is not None:
            change(action.delete_alias.alias_name, None)
        elif action.rename_alias is not None:
            target = now.get(action.rename_alias.old_alias_name)
            if target is None:
                raise NotFound(f"there is no alias {action.rename_alias.old_alias_name!r}", "See GET /aliases")
            change(action.rename_alias.old_alias_name, None)
            change(action.rename_alias.new_alias_name, target)
    call.db.update_aliases(changes)
    return True


def _aliases(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"alias_name": alias, "collection_name": name} for alias, name in pairs]


def _field(name: str, params: bodies.VectorParams, common: bodies.CreateCollection) -> Dense:
    refuse_missing(params, f"a vector {name!r}")
    if params.distance not in METRICS:
        raise NotSupported(f"the distance {params.distance} is not supported", f"Use one of {', '.join(METRICS)}")
    if params.datatype == "uint8":
        raise NotSupported("vectors of uint8 are not supported", "Use float32 or float16")
    options: dict[str, Any] = {}
    for config in (common.hnsw_config, params.hnsw_config):
        if config is not None and config.m is not None:
            options |= {"index": "auto", "m": config.m} if config.m else {"index": "flat"}
        if config is not None and config.ef_construct is not None:
            options["ef_construction"] = config.ef_construct
    if options.get("index") == "flat":
        options.pop("m", None)
    quantization = params.quantization_config or common.quantization_config
    if isinstance(quantization, dict) and quantization.get("binary") is not None and Dense(params.size).coded:
        options["index"] = "binary"
    return Dense(params.size, metric=METRICS[params.distance], dtype=params.datatype or "float32", **options)  # type: ignore[arg-type]


def _sparse_field(params: bodies.SparseVectorParams) -> Sparse:
    datatype = None if params.index is None else params.index.datatype
    if datatype == "uint8":
        raise NotSupported("sparse vectors of uint8 are not supported", "Use float32 or float16")
    return Sparse(dtype=datatype or "float32", modifier="idf" if params.modifier == "idf" else None)


def _sparse_params(field: Sparse) -> dict[str, Any]:
    index = {} if field.dtype == "float32" else {"datatype": field.dtype}
    return {"index": index, **({"modifier": field.modifier} if field.modifier else {})}


def _vector_params(field: Dense) -> dict[str, Any]:
    params: dict[str, Any] = {"size": field.dim, "distance": DISTANCES[field.metric]}
    return params if field.dtype == "float32" else {**params, "datatype": field.dtype}
