"""Whole collections in and out of files, in constant memory: import from tables, export to Parquet or Arrow.

Import: each batch of rows is one durable upsert. The columns of an ordinary table are ids, vectors and, all others
together, payload. An exported file says in its metadata which columns are what (storage/pointcolumns.py), so that the
points become what they were: ids, payloads, vectors, which fields they lack, when they end.

Export: a point that lives throughout is in the file exactly once; points come in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from vsearch.collection import Collection, Vectors
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.fields import kind_of
from vsearch.hits import Point
from vsearch.storage import exporting
from vsearch.storage.exporting import ExportFormat
from vsearch.storage.npz import MATRIX
from vsearch.storage.pointcolumns import (
    EXPIRES_AT,
    ID,
    PAYLOAD,
    IdKind,
    decode_ids,
    decode_payloads,
    id_kind,
    vector_column,
)
from vsearch.storage.tables import TableBatch, describe, detect, read_batches
from vsearch.types import FIELD_KINDS, Dense, Field, Payload, PointId, Progress, Sparse, field_from_dict

POINTS_AT_ONCE: Final = 64  # that an export reads with their payloads, each of which may have a mebibyte
UNSIZED_POINTS_AT_ONCE: Final = 16  # where one may have a long text, or a sparse vector of 65,535 terms
BYTES_AT_ONCE: Final = 16 << 20  # of vectors that it reads together
EXPIRY_MARGIN_S: Final = 0.00025  # whole milliseconds are stored, of which the seconds in a float may fall short


class Rows(NamedTuple):
    """Points as the arguments of an upsert."""

    ids: list[PointId]
    vectors: Vectors
    payloads: list[Payload | None] | None
    expires_at: list[float | None] | None


class Imported(NamedTuple):
    """A batch that is durable. `position`: the row of the table that follows; `last_id`: of its last row."""

    position: int
    rows: int
    last_id: PointId


@dataclass(frozen=True, slots=True)
class Exported:
    """What an exported file says of itself."""

    id_kind: IdKind
    fields: dict[str, Field]

    @classmethod
    def of(cls, description: Mapping[str, Any], name: str) -> Exported | None:
        """Of the description in a table's metadata; None when that is not an export.

        Raises InvalidArgument, naming the table, for one that this release cannot read.
        """
        if "export" not in description:
            return None
        if description["export"] != exporting.VERSION:
            hint = "Import it with a newer release"
            raise InvalidArgument(f"{name} is an export of version {description['export']!r}", hint)
        try:
            kind, specs = description["id"], description["fields"]
            if kind not in get_args(IdKind):
                raise ValueError(f"ids of the kind {kind!r}")
            if unknown := {spec["kind"] for spec in specs.values()} - FIELD_KINDS.keys():
                raise ValueError(f"fields of the kind {min(unknown)!r}")
            return cls(kind, {field: field_from_dict(spec) for field, spec in specs.items()})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            hint = "Import it with a newer release, or export again"
            raise InvalidArgument(f"{name} describes its columns wrongly: {error}", hint) from error

    def columns(self, vectors: Mapping[str, str] | None, skip: Sequence[str]) -> dict[str, str]:
        """Field -> its column: those given, or all, but for those to skip."""
        columns = vectors or {field: vector_column(field) for field in self.fields}
        return {field: column for field, column in columns.items() if column not in skip}


@dataclass(frozen=True, slots=True)
class Mapped:
    """Which columns of a table become what in a collection of these fields.

    `vectors`: field -> column; empty: by the fields' names. `skip`: columns that are left out. `name`: of the table,
    in errors. `exported`: what it says of itself, if it is an exported file.
    """

    schema: Mapping[str, Field]
    name: str
    id_column: str = ID
    vectors: Mapping[str, str] | None = None
    skip: Sequence[str] = ()
    exported: Exported | None = None

    def rows(self, batch: TableBatch) -> Rows:
        """The points of a batch. Raises InvalidArgument for columns that are missing, or hold something else."""
        names = batch.column_names
        if self.id_column not in names:
            hint = f"Name the column of ids: there are {', '.join(names)}"
            raise InvalidArgument(f"{self.name} has no column {self.id_column!r}", hint)
        return self._ordinary(batch) if self.exported is None else self._exported(batch, self.exported)

    def _ordinary(self, batch: TableBatch) -> Rows:
        names = batch.column_names
        columns = self.vectors or {field: field for field in self.schema if field in names}
        if not columns:
            hint = f"Give FIELD=COLUMN, the columns are {', '.join(names)}"
            raise InvalidArgument(f"no column of {self.name} is named as a field ({', '.join(self.schema)})", hint)
        parts = [column.split(",") for column in columns.values() if column not in names]
        used = {self.id_column, *columns.values(), *(name for pair in parts for name in pair), *self.skip}
        vectors = {field: self._column(batch, field, column) for field, column in columns.items()}
        payloads: list[Payload | None] = [*batch.records([name for name in names if name not in used])]
        return Rows(batch.python(self.id_column), vectors, payloads, None)

    def _exported(self, batch: TableBatch, exported: Exported) -> Rows:
        columns = exported.columns(self.vectors, self.skip)
        if unknown := columns.keys() - self.schema.keys():
            hint = f"Skip the column {columns[min(unknown)]!r}, or say which field it is"
            raise InvalidArgument(f"{self.name} has vectors of a field {min(unknown)!r}, the collection has not", hint)
        vectors = {field: self._column(batch, field, column) for field, column in columns.items()}
        payloads = None if PAYLOAD in self.skip else decode_payloads(batch.python(PAYLOAD))
        expires_at = None if EXPIRES_AT in self.skip else [_later(end) for end in batch.python(EXPIRES_AT)]
        return Rows(decode_ids(batch.python(self.id_column), exported.id_kind), vectors, payloads, expires_at)

    def _column(self, batch: TableBatch, field: str, column: str) -> Any:
        """A column as an upsert takes it for the field."""
        spec = self.schema[field]
        if isinstance(spec, Dense):
            return batch.vectors(column) if self.exported is None else batch.optional_vectors(column)
        return batch.sparse(column, field) if isinstance(spec, Sparse) else batch.python(column)


def parse_vectors(options: Sequence[str]) -> dict[str, str]:
    """`FIELD=COLUMN` options as field -> column; `NAME` alone is both, `=COLUMN` is for the field without a name."""
    pairs = [(name, column or name) for name, _, column in (option.partition("=") for option in options)]
    if len(dict(pairs)) < len(pairs) or not all(column for _, column in pairs):
        raise InvalidArgument(f"vector is given as {', '.join(options)}", "Name each field once, as FIELD=COLUMN")
    return dict(pairs)


def import_file(
    docs: Collection,
    path: Path,
    id_column: str = ID,
    vectors: Mapping[str, str] | None = None,
    skip: Sequence[str] = (),
    batch_rows: int = 2_000,
    start: int = 0,
    name: str | None = None,
) -> Iterator[Imported]:
    """Upsert the rows of a file from row `start` on; yields after each batch, which is durable then.

    `vectors`: field -> column; by default columns named as a field. For a sparse field these may be two, of indices and
    of values: "INDICES,VALUES". `skip`: columns left out; all others become the payload. An exported file needs none of
    these, nor does an `.npz` file with a CSR matrix (storage/npz.py): row numbers become ids, rows vectors of the only
    sparse field. `name`: what errors call the file instead of its path.

    Raises InvalidArgument and LimitExceeded, naming the rows that are refused, after those before them were written.
    """
    shown = name or str(path)
    if unknown := (vectors or {}).keys() - docs.schema.keys():
        raise InvalidArgument(f"no field named {min(unknown)!r}", f"There are: {', '.join(docs.schema)}")
    exported = Exported.of(describe(path, shown), shown)
    if not vectors and detect(path, shown) == "npz":
        sparse = [field for field, spec in docs.schema.items() if isinstance(spec, Sparse)]
        if len(sparse) != 1:
            hint = "Say which: FIELD=matrix"
            raise InvalidArgument(f"{shown} is a sparse matrix, the collection has {len(sparse)} sparse fields", hint)
        vectors = {sparse[0]: MATRIX}
    mapped = Mapped(docs.schema, shown, id_column, vectors, skip, exported)
    for batch in read_batches(path, batch_rows, start, shown):
        try:
            rows = mapped.rows(batch)
            docs.upsert(*rows)
        except (InvalidArgument, LimitExceeded) as error:
            refused = f"rows {batch.position - batch.rows:,} to {batch.position - 1:,} of {shown}"
            raise type(error)(f"{refused} are refused: {error.message}", error.hint) from error
        yield Imported(batch.position, batch.rows, rows.ids[-1])


def exported_fields(
    path: Path, vectors: Mapping[str, str] | None = None, skip: Sequence[str] = ()
) -> dict[str, Field] | None:
    """The fields that a new collection needs for an exported file; None for any other. Arguments as of `import_file`.

    Raises InvalidArgument for a column without vectors.
    """
    exported = Exported.of(describe(path), str(path))
    if exported is None:
        return None
    specs = {vector_column(field): spec for field, spec in exported.fields.items()}
    columns = exported.columns(vectors, skip)
    if unknown := set(columns.values()) - specs.keys():
        raise InvalidArgument(f"{path} has no vectors in {min(unknown)!r}", f"It has them in {', '.join(specs)}")
    return {field: specs[column] for field, column in columns.items()}


def export(
    docs: Collection,
    format: ExportFormat = "parquet",
    batch_rows: int = 2_000,
    progress: Progress | None = None,
) -> Generator[bytes, None, None]:
    """The whole collection as a Parquet file or an Arrow stream, in pieces of bytes as they become ready.

    `batch_rows`: at most so many points in a row group or record batch. `progress(done, total)` is called with numbers
    of points. Nothing is held open between two pieces; the generator may be closed at any time.

    Raises InvalidArgument for an unknown format, before anything is read.
    """
    if format not in get_args(ExportFormat):
        raise InvalidArgument(f"unknown format {format!r}", f"Use one of {', '.join(get_args(ExportFormat))}")
    if batch_rows < 1:
        raise InvalidArgument(f"batch_rows is {batch_rows}", "Use at least 1")
    ends = [*docs.scroll(limit=1, with_payload=False), *docs.scroll(limit=1, cursor="", with_payload=False)]
    kind = id_kind(point.id for point in ends)  # the first id of all, and the first string
    return exporting.write(_points(docs, kind, progress), format, kind, docs.schema, batch_rows)


def _points(docs: Collection, kind: IdKind, progress: Progress | None) -> Iterator[Point]:
    """Every point, with all it has, read in short pages.

    Ids of a kind that there was none of when the export began are left out: they are of points written since.
    """
    kinds = [kind_of(field) for field in docs.schema.values()]
    most = POINTS_AT_ONCE if all(kind.row_bytes for kind in kinds) else UNSIZED_POINTS_AT_ONCE
    limit = max(1, min(most, BYTES_AT_ONCE // max(1, sum(kind.row_bytes for kind in kinds))))
    total = docs.count() if progress is not None else 0
    cursor: PointId | None = "" if kind == "string" else None
    done = 0
    while True:
        page = docs.scroll(limit=limit, cursor=cursor, with_vectors=True)
        points = [point for point in page if kind != "integer" or not isinstance(point.id, str)]
        yield from points
        done += len(points)
        if progress is not None:
            progress(done, max(done, total))
        cursor = page.cursor
        if cursor is None or (kind == "integer" and isinstance(cursor, str)):
            return


def _later(expires_at: Any) -> Any:
    return expires_at + EXPIRY_MARGIN_S if isinstance(expires_at, float) else expires_at
