"""Snapshots, as Qdrant's clients make, list, download, delete and restore them: of one collection, or of everything."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

from vsearch.errors import InvalidArgument, NotSupported

if TYPE_CHECKING:
    from vsearch.hits import SnapshotInfo


from ..endpoint import Call, Download, Routes
from ..multipart import extract_file
from . import bodies

routes: Final = Routes("snapshots")
OF_COLLECTION: Final = "/collections/{collection}/snapshots"
TAR: Final = "application/x-tar"
PIECE_BYTES: Final = 1 << 20


class Snapshot(BaseModel):
    name: str
    creation_time: str
    size: int
    checksum: str


@routes.add("POST", OF_COLLECTION, Snapshot, params=bodies.WriteParams, access="write", lane="long")
def create_snapshot(call: Call[None, Any]) -> Any:
    """Take a snapshot of a collection, while it serves."""
    return _described(call.db.create_snapshot(call.docs.name))


@routes.add("GET", OF_COLLECTION, list[Snapshot])
def list_snapshots(call: Call[None, None]) -> Any:
    """List the snapshots of a collection, oldest first."""
    return [_described(info) for info in call.db.snapshots(call.docs.name)]


@routes.add("GET", f"{OF_COLLECTION}/{{snapshot}}", bytes, media_type=TAR)
def get_snapshot(call: Call[None, None]) -> Any:
    """Download a snapshot of a collection."""
    return download(call.db.snapshot_path(call.names["snapshot"], call.docs.name))


@routes.add("DELETE", f"{OF_COLLECTION}/{{snapshot}}", bool, params=bodies.WriteParams, access="write", lane="long")
def delete_snapshot(call: Call[None, Any]) -> Any:
    """Delete a snapshot of a collection."""
    call.db.delete_snapshot(call.names["snapshot"], call.docs.name)
    return True


@routes.add(
    "PUT",
    f"{OF_COLLECTION}/recover",
    bool,
    body=bodies.RecoverSnapshot,
    params=bodies.WriteParams,
    access="write",
    lane="long",
)
def recover_from_snapshot(call: Call[bodies.RecoverSnapshot, Any]) -> Any:
    """Replace a collection, or make it, from a snapshot that lies on this server."""
    name, body = call.names["collection"], call.body
    snapshot = _local(body.location)
    owners = [None, *call.db.collections()]
    found = [o for o in owners if snapshot in {info.name for info in call.db.snapshots(o)}]
    if not found:
        raise InvalidArgument(f"there is no snapshot {snapshot!r} on this server", "Upload it instead")
    path = call.db.snapshot_path(snapshot, found[0])
    _verify(path, body.checksum)
    call.db.restore_collection(name, path, replace=True)
    return True


@routes.add(
    "POST",
    f"{OF_COLLECTION}/upload",
    bool,
    params=bodies.UploadParams,
    access="write",
    lane="long",
    upload=True,
    upload_types=("multipart/form-data", TAR, "application/octet-stream"),
)
def recover_from_uploaded_snapshot(call: Call[None, bodies.UploadParams]) -> Any:
    """Replace a collection, or make it, from a snapshot sent as a form's file or as the body itself."""
    path = call.upload
    assert path is not None, "bug: an upload without its file"
    with extract_file(path, call.content_type, call.db.path) as file:
        _verify(file, call.params.checksum)
        call.db.restore_collection(call.names["collection"], file, replace=True)
    return True


@routes.add("POST", "/snapshots", Snapshot, params=bodies.WriteParams, access="write", lane="long")
def create_full_snapshot(call: Call[None, Any]) -> Any:
    """Take a snapshot of the whole database, while it serves."""
    return _described(call.db.create_snapshot())


@routes.add("GET", "/snapshots", list[Snapshot])
def list_full_snapshots(call: Call[None, None]) -> Any:
    """List the snapshots of the whole database, oldest first."""
    return [_described(info) for info in call.db.snapshots()]


@routes.add("GET", "/snapshots/{snapshot}", bytes, media_type=TAR)
def get_full_snapshot(call: Call[None, None]) -> Any:
    """Download a snapshot of the whole database. `vsearch restore` makes a database of it."""
    return download(call.db.snapshot_path(call.names["snapshot"]))


@routes.add("DELETE", "/snapshots/{snapshot}", bool, params=bodies.WriteParams, access="write", lane="long")
def delete_full_snapshot(call: Call[None, Any]) -> Any:
    """Delete a snapshot of the whole database."""
    call.db.delete_snapshot(call.names["snapshot"])
    return True


def download(path: Path) -> Download:
    """A file in pieces. It stays readable to the end even when it is deleted meanwhile."""

    def pieces() -> Generator[bytes, None, None]:
        with file:
            while piece := file.read(PIECE_BYTES):
                yield piece

    file = path.open("rb")
    return Download(pieces(), TAR, path.name, path.stat().st_size)


def _described(info: SnapshotInfo) -> dict[str, Any]:
    created = info.created_at.strftime("%Y-%m-%dT%H:%M:%S")
    return {"name": info.name, "creation_time": created, "size": info.nbytes, "checksum": info.checksum}


def _local(location: str) -> str:
    """The snapshot's name in a location. This server fetches nothing from elsewhere: who could make it do so could make
    it ask machines that only it can reach."""
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        raise NotSupported("snapshots are not fetched from other servers", "Download it and upload it here")
    return unquote(parts.path).rpartition("/")[2]


def _verify(path: Path, checksum: str | None) -> None:
    if checksum is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != checksum.lower():
        message = f"the snapshot has the checksum {actual}, not {checksum[:64]!r}"
        raise InvalidArgument(message, "Download it again, or leave the checksum out")
