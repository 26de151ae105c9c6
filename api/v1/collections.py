"""Collections, aliases, snapshots and upkeep, in our own interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument

if TYPE_CHECKING:
    from vsearch.hits import SnapshotInfo

from vsearch.types import Field, field_from_dict

from ..endpoint import Call, Routes
from . import bodies
from .points import COLLECTION, Done

routes: Final = Routes("v1 collections", envelope=False)
WRITE: Final[dict[str, Any]] = {"access": "write"}
LONG: Final[dict[str, Any]] = {"access": "write", "lane": "long"}


class Names(BaseModel):
    collections: list[str]


class Described(BaseModel):
    name: str
    fields: dict[str, dict[str, Any]]
    payload_indexes: list[str]
    version: int


class Aliases(BaseModel):
    aliases: dict[str, str]


class Problems(BaseModel):
    problems: list[str]


class Snapshot(BaseModel):
    name: str
    nbytes: int
    created_at: str
    checksum: str


class Snapshots(BaseModel):
    snapshots: list[Snapshot]


@routes.add("GET", "/v1/collections", Names)
def v1_collections(call: Call[None, None]) -> Any:
    """List the collections."""
    return {"collections": call.db.collections()}


@routes.add("POST", "/v1/collections", Described, body=bodies.Create, **WRITE)
def v1_create_collection(call: Call[bodies.Create, None]) -> Any:
    """Create a collection."""
    fields = {name: _field(name, spec) for name, spec in call.body.fields.items()}
    return describe(call.db.create_collection(call.body.name, fields))


@routes.add("GET", COLLECTION, Described)
def v1_collection(call: Call[None, None]) -> Any:
    """Describe a collection."""
    return describe(call.docs)


@routes.add("DELETE", COLLECTION, Done, **LONG)
def v1_delete_collection(call: Call[None, None]) -> Any:
    """Delete a collection and all in it."""
    call.db.delete_collection(call.names["collection"])
    return {}


@routes.add("POST", f"{COLLECTION}/create_payload_index", Done, body=bodies.NewPayloadIndex, **WRITE)
def v1_create_payload_index(call: Call[bodies.NewPayloadIndex, None]) -> Any:
    """Keep a payload path in sorted order, so that filters on it are quick."""
    call.docs.create_payload_index(call.body.path, call.body.kind)
    return {}


@routes.add("POST", f"{COLLECTION}/delete_payload_index", Done, body=bodies.PayloadIndex, **WRITE)
def v1_delete_payload_index(call: Call[bodies.PayloadIndex, None]) -> Any:
    """Drop the index of a payload path."""
    call.docs.delete_payload_index(call.body.path)
    return {}


@routes.add("POST", f"{COLLECTION}/flush", Done, body=bodies.Nothing, optional_body=True, **WRITE)
def v1_flush(call: Call[bodies.Nothing, None]) -> Any:
    """Make every acknowledged write durable; needed only with durability "os"."""
    call.docs.flush()
    return {}


@routes.add("POST", f"{COLLECTION}/optimize", Done, body=bodies.Optimize, optional_body=True, **LONG)
def v1_optimize(call: Call[bodies.Optimize, None]) -> Any:
    """Seal, compact and index everything: now, or soon."""
    call.docs.optimize(call.body.wait)
    return {}


@routes.add("POST", f"{COLLECTION}/stats", dict[str, Any], body=bodies.Nothing, optional_body=True)
def v1_collection_stats(call: Call[bodies.Nothing, None]) -> Any:
    """Count and measure a collection."""
    return call.docs.stats()


@routes.add("POST", "/v1/stats", dict[str, Any], body=bodies.Nothing, optional_body=True)
def v1_stats(call: Call[bodies.Nothing, None]) -> Any:
    """Count and measure the database."""
    return call.db.stats()


@routes.add("POST", "/v1/check", Problems, body=bodies.Nothing, optional_body=True, lane="long")
def v1_check(call: Call[bodies.Nothing, None]) -> Any:
    """Verify every checksum, and that ids, points and segments agree."""
    return {"problems": call.db.check()}


@routes.add("GET", "/v1/aliases", Aliases)
def v1_aliases(call: Call[None, None]) -> Any:
    """List the aliases."""
    return {"aliases": call.db.aliases()}


@routes.add("POST", "/v1/aliases", Done, body=bodies.Aliases, **WRITE)
def v1_update_aliases(call: Call[bodies.Aliases, None]) -> Any:
    """Create, move and remove aliases, all at once."""
    call.db.update_aliases(call.body.changes)
    return {}


@routes.add("POST", "/v1/snapshots", Snapshot, body=bodies.SnapshotOf, **LONG)
def v1_create_snapshot(call: Call[bodies.SnapshotOf, None]) -> Any:
    """Take a snapshot while the database serves."""
    return _snapshot(call.db.create_snapshot(call.body.collection))


@routes.add("POST", "/v1/snapshots/list", Snapshots, body=bodies.SnapshotOf)
def v1_snapshots(call: Call[bodies.SnapshotOf, None]) -> Any:
    """List snapshots, oldest first."""
    return {"snapshots": [_snapshot(info) for info in call.db.snapshots(call.body.collection)]}


@routes.add("POST", "/v1/snapshots/delete", Done, body=bodies.SnapshotNamed, **LONG)
def v1_delete_snapshot(call: Call[bodies.SnapshotNamed, None]) -> Any:
    """Delete a snapshot."""
    call.db.delete_snapshot(call.body.name, call.body.collection)
    return {}


def describe(docs: Collection) -> dict[str, Any]:
    fields = {name: field.to_dict() for name, field in docs.schema.items()}
    return {"name": docs.name, "fields": fields, "payload_indexes": docs.payload_indexes, "version": docs.version}


def _field(name: str, spec: dict[str, Any]) -> Field:
    try:
        return field_from_dict(spec)
    except TypeError as error:
        raise InvalidArgument(
            f"field {name!r}: {str(error).partition(' ')[2]}", "Give its kind, and dim, metric, index ..."
        ) from None


def _snapshot(info: SnapshotInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "nbytes": info.nbytes,
        "created_at": info.created_at.isoformat(),
        "checksum": info.checksum,
    }
