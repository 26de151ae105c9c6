"""Calls of a database: one function for each method of Database."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from vsearch.errors import AlreadyExists, NotFound
from vsearch.hits import SnapshotInfo
from vsearch.names import check_fields, check_name
from vsearch.remote.call import Call, collection_path, nothing
from vsearch.remote.files import Saving, checked_file
from vsearch.remote.upkeep import Description, describe
from vsearch.types import Field

COLLECTIONS: Final = "/v1/collections"
SNAPSHOTS: Final = "/v1/snapshots"


def create_collection(name: str, fields: Mapping[str, Field]) -> Call[Description]:
    """Create an empty collection.

    Raises InvalidArgument for a bad name or field, AlreadyExists, ReadOnly.
    """
    check_name("collection", name)
    check_fields(fields)
    specs = {field_name: field.to_dict() for field_name, field in fields.items()}
    return Call("POST", COLLECTIONS, Description.of, {"name": name, "fields": specs})


def collection(name: str) -> Call[Description]:
    """The collection of that name or alias. Raises NotFound; Corruption when its files are damaged."""
    return describe(name)


def collections() -> Call[list[str]]:
    """Names of the collections, sorted."""
    return Call("GET", COLLECTIONS, itemgetter("collections"), repeatable=True)


def aliases() -> Call[dict[str, str]]:
    """The collection that each alias stands for, sorted by alias."""
    return Call("GET", "/v1/aliases", itemgetter("aliases"), repeatable=True)


def update_aliases(changes: Mapping[str, str | None]) -> Call[None]:
    """Let each of these aliases stand for a collection from now on, or for none (None): all at once, or nothing.

    Wherever a collection is asked for by name, an alias will do. Answers made from a collection that an alias no
    longer stands for leave the caches. Raises NotFound for a missing collection, AlreadyExists for an alias that is
    the name of one, InvalidArgument for a bad name, ReadOnly.
    """
    plain = dict(changes) if isinstance(changes, Mapping) else changes
    return Call("POST", "/v1/aliases", nothing, {"changes": plain})


def delete_collection(name: str) -> Call[None]:
    """Delete a collection, everything in it, its aliases and its snapshots.

    Raises NotFound, also for an alias, and ReadOnly.
    """
    return Call("DELETE", collection_path(name), nothing)


def create_snapshot(collection: str | None = None) -> Call[SnapshotInfo]:
    """Take a snapshot of a collection, or of everything, and keep it in the database's directory.

    It shows one instant; reads and writes go on. Deleting a collection deletes its snapshots, replacing it by
    `restore_collection` keeps them. Raises NotFound, ReadOnly, Corruption when a file to be in it is damaged, and
    DurabilityError when the disk refuses.
    """
    return Call("POST", SNAPSHOTS, _snapshot, {"collection": collection}, patient=True)


def snapshots(collection: str | None = None) -> Call[list[SnapshotInfo]]:
    """The snapshots of a collection, or those of everything, oldest first. Raises NotFound."""
    return Call("POST", f"{SNAPSHOTS}/list", _snapshots, {"collection": collection}, repeatable=True)


def delete_snapshot(name: str, collection: str | None = None) -> Call[None]:
    """Delete a snapshot. Raises NotFound, ReadOnly."""
    return Call("POST", f"{SNAPSHOTS}/delete", nothing, {"name": name, "collection": collection})


def download_snapshot(info: SnapshotInfo, path: str | Path, collection: str | None = None) -> Call[int]:
    """Write a snapshot, one of `snapshots`, into a file of this machine, verified; returns its bytes."""
    owner = "" if collection is None else collection_path(collection).removeprefix("/v1")
    where = f"{owner}/snapshots/{quote(info.name, safe='')}"
    return Call("GET", where, int, download=Saving(path, info.checksum), repeatable=True)


def check_backup(file: str | Path, overwrite: bool) -> None:
    """Raises what a backup to this file would, before a snapshot is taken for it."""
    Saving(file)
    if not overwrite and os.path.lexists(file):
        raise AlreadyExists(f"{file} exists", "Use another name, or have it overwritten")


def named(infos: Sequence[SnapshotInfo], name: str) -> SnapshotInfo:
    """The snapshot of that name. Raises NotFound."""
    for info in infos:
        if info.name == name:
            return info
    names = ", ".join(info.name for info in infos) or "none"
    raise NotFound(f"no snapshot named {name!r}", f"There are: {names}")


def restore_collection(
    name: str, file: str | Path, replace: bool = False, source: str | None = None
) -> Call[Description]:
    """Bring a collection from a snapshot into this database under a name, all of it verified.

    `replace`: in place of one that has the name, at one instant: `collection(name)` gives the old one or the new,
    and afterwards what was got from it before raises NotFound. `source`: which collection of a snapshot of several;
    default: the one called `name`. Raises AlreadyExists, Corruption, UnsupportedFormat, ReadOnly, DurabilityError,
    and NotFound, which lists what the snapshot holds.
    """
    check_name("collection", name)
    where = f"{collection_path(name)}/restore"
    params = [("replace", "true" if replace else "false"), *([] if source is None else [("source", source)])]
    return Call("POST", where, Description.of, params=tuple(params), upload=checked_file(file), patient=True)


def check() -> Call[list[str]]:
    """Verify every checksum and that engine, segments, ids and caches agree. Returns the problems found."""
    return Call("POST", "/v1/check", itemgetter("problems"), {}, repeatable=True, patient=True)


def stats() -> Call[dict[str, Any]]:
    """Sizes of the whole, and `stats()` of each collection."""
    return Call("POST", "/v1/stats", dict, {}, repeatable=True)


def _snapshot(answer: Any) -> SnapshotInfo:
    created_at = datetime.fromisoformat(answer["created_at"])
    return SnapshotInfo(answer["name"], answer["nbytes"], created_at, answer["checksum"])


def _snapshots(answer: Any) -> list[SnapshotInfo]:
    return [_snapshot(info) for info in answer["snapshots"]]
