"""Whole tables in and out, in constant memory: import, export, and restoring a collection from a snapshot."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from vsearch.transfer import export, import_file, parse_vectors

from ..endpoint import Call, Download, Routes
from . import bodies
from .collections import LONG, Described, describe
from .points import COLLECTION

routes: Final = Routes("v1 transfer", envelope=False)
UPLOAD: Final = "application/octet-stream"
SUFFIXES: Final = {"parquet": ".parquet", "arrow": ".arrows"}


class Imported(BaseModel):
    points: int


@routes.add(
    "POST", f"{COLLECTION}/import", Imported, params=bodies.ImportParams, upload=True, upload_types=(UPLOAD,), **LONG
)
def v1_import(call: Call[None, bodies.ImportParams]) -> Any:
    """Import Parquet, Arrow, JSON lines or .npz. Each batch is durable by itself; what came before a bad row stays."""
    assert call.upload is not None, "bug: an upload without its file"
    given = call.params
    vectors = parse_vectors(given.vector)
    points = 0
    for batch in import_file(
        call.docs, call.upload, given.id, vectors, given.skip, given.batch_rows, name="the upload"
    ):
        points += batch.rows
    return {"points": points}


@routes.add("GET", f"{COLLECTION}/export", bytes, params=bodies.ExportParams, media_type=UPLOAD)
def v1_export(call: Call[None, bodies.ExportParams]) -> Any:
    """Export every point, with its vectors, as a Parquet file or an Arrow stream that import reads."""
    kind = call.params.format
    return Download(export(call.docs, kind), UPLOAD, f"export{SUFFIXES[kind]}")


@routes.add(
    "POST", f"{COLLECTION}/restore", Described, params=bodies.RestoreParams, upload=True, upload_types=(UPLOAD,), **LONG
)
def v1_restore(call: Call[None, bodies.RestoreParams]) -> Any:
    """Make a collection, or replace it, from the snapshot in the body."""
    assert call.upload is not None, "bug: an upload without its file"
    given = call.params
    return describe(call.db.restore_collection(call.names["collection"], call.upload, given.replace, given.source))
