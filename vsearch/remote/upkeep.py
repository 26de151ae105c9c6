"""Calls about a collection as a whole: its description, indexes and statistics, and whole files in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from vsearch.errors import InvalidArgument, NotSupported
from vsearch.filters.paths import parse_path
from vsearch.remote.call import Call, collection_path, nothing, read, write
from vsearch.remote.files import Saving, checked_file
from vsearch.types import Field, Progress, field_from_dict


@dataclass(frozen=True, slots=True)
class Description:
    """What there is to know of a collection without its points."""

    name: str
    fields: dict[str, Field]
    payload_indexes: list[str]

    @classmethod
    def of(cls, answer: Any) -> Description:
        fields = {name: field_from_dict(spec) for name, spec in answer["fields"].items()}
        return cls(answer["name"], fields, answer["payload_indexes"])


def describe(collection: str) -> Call[Description]:
    """The collection as it is now."""
    return Call("GET", collection_path(collection), Description.of, repeatable=True)


def version(collection: str) -> Call[int]:
    """How far the collection has come."""
    return Call("GET", collection_path(collection), itemgetter("version"), repeatable=True)


def create_payload_index(collection: str, path: str, kind: str = "sorted") -> Call[None]:
    """Keep a payload path in sorted order, so that equality and ranges on it cost a binary search, not a scan.

    Filters work without; this makes them faster where segments are large. Declaring one twice is no error. `kind`:
    what the values are, in the caller's words; it is told by `stats` and has no effect.
    """
    parse_path(path)
    return write(collection, "create_payload_index", nothing, path=path, kind=kind)


def delete_payload_index(collection: str, path: str) -> Call[None]:
    """Drop the index of a payload path. Raises NotFound when it has none."""
    return write(collection, "delete_payload_index", nothing, path=path)


def flush(collection: str) -> Call[None]:
    """Make every acknowledged write durable; needed only with durability "os"."""
    return write(collection, "flush", nothing)


def optimize(collection: str, wait: bool = True, progress: Progress | None = None) -> Call[None]:
    """Seal, compact and index everything: now, or (`wait=False`) soon, in the background.

    `progress` is for the embedded database only. Raises NotSupported.
    """
    if progress is not None:
        raise NotSupported("a server does not report progress", "Leave progress out")
    path = f"{collection_path(collection)}/optimize"
    return Call("POST", path, nothing, {"wait": bool(wait)}, patient=True)


def stats(collection: str) -> Call[dict[str, Any]]:
    """Counts and sizes: points, segments and their indexes, bytes on disk and in memory."""
    return read(collection, "stats", dict)


def import_file(
    collection: str,
    path: str | Path,
    id_column: str = "id",
    vectors: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    batch_rows: int = 2_000,
) -> Call[int]:
    """Write the rows of a Parquet, Arrow or JSON lines file of this machine as points, or those of a CSR matrix in an
    `.npz` file; returns how many that were.

    `vectors`: field -> column; by default columns named as a field; of a sparse field perhaps two columns,
    "INDICES,VALUES". `skip`: columns left out; all others become the payload. A file of `export_file` needs none of
    these. The file is sent as it is, in constant memory. Each batch is durable by itself: what came before a bad row
    stays.

    Raises NotFound for a missing file; InvalidArgument and LimitExceeded, naming the rows that are refused.
    """
    if isinstance(skip, str):
        raise InvalidArgument(f"skip is {skip!r}", "Give a list of columns")
    params = [("id", id_column), ("batch_rows", str(batch_rows))]
    params += [("vector", f"{field}={column}") for field, column in (vectors or {}).items()]
    params += [("skip", column) for column in skip]
    where = f"{collection_path(collection)}/import"
    points = itemgetter("points")
    return Call("POST", where, points, params=tuple(params), upload=checked_file(path), patient=True)


def export_file(collection: str, path: str | Path, format: Literal["parquet", "arrow"] = "parquet") -> Call[int]:
    """Write every point, with its vectors, into a file of this machine that `import_file` reads; returns its bytes.

    In constant memory. An existing file is replaced when the new one is whole and on disk.

    Raises NotFound for a missing folder, InvalidArgument; DurabilityError when the disk of this machine refuses.
    """
    where = f"{collection_path(collection)}/export"
    return Call("GET", where, int, params=(("format", format),), download=Saving(path), repeatable=True)
