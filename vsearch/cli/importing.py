"""Import from files, which goes on where it was stopped.

1. `transfer.import_file` reads each file in batches; a batch is one durable upsert.
2. After each batch, `import.json` in the database's directory records how many rows of the file are in, and the id of
   the last of them. It goes when the whole import is done.

A stop between 1 and 2 repeats one batch, which changes nothing: an upsert of the same points. A record counts only for
the same file, unchanged, read in the same way, and while its last point is in the collection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import typer

import vsearch
from vsearch.cli import show
from vsearch.errors import InvalidArgument
from vsearch.storage.files import remove_file, write_atomic
from vsearch.storage.tables import TableBatch, count_rows, detect, read_batches
from vsearch.transfer import exported_fields, import_file
from vsearch.types import Field, Metric

CHECKPOINT_FILE: Final = "import.json"
MATRIX_FIELD: Final = "sparse"  # what the field of an imported sparse matrix is called, if nobody says


@dataclass(frozen=True, slots=True)
class Import:
    """What to read from each file. `vectors`: field -> column; empty: found by name. `skipped`: columns left out.
    `sparse`, `texts`: those of the fields that a new collection has as such; `language`: of the texts."""

    collection: str
    id_column: str
    vectors: dict[str, str]
    skipped: tuple[str, ...]
    batch_rows: int
    sparse: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    language: str | None = None

    def infer_fields(self, file: Path, metric: str) -> dict[str, Field]:
        """Fields for a new collection: those of an exported file, or what the first rows of any other look like."""
        if (exported := exported_fields(file, self.vectors, self.skipped)) is not None:
            return exported
        if metric not in get_args(Metric):
            raise InvalidArgument(f"unknown metric {metric!r}", f"Use one of {', '.join(get_args(Metric))}")
        first = next(read_batches(file, self.batch_rows), None)
        if first is None:
            raise InvalidArgument(f"{file} has no rows", "Name first a file that shows what the collection is like")
        if not self.vectors and detect(file) == "npz":
            return {MATRIX_FIELD: vsearch.Sparse()}
        vectors = self.vectors or {name: name for name in first.likely_vectors()}
        if not vectors:
            raise InvalidArgument(f"no column of {file} is clearly one of vectors", "Name it: --vector FIELD=COLUMN")
        return {field: self._field(first, field, column, metric) for field, column in vectors.items()}

    def _field(self, first: TableBatch, field: str, column: str, metric: str) -> Field:
        if field in self.texts:
            first.python(column)  # tells of a missing column before a collection is made
            return vsearch.Text(language=self.language)
        if field in self.sparse:
            first.sparse(column, field)
            return vsearch.Sparse()
        return vsearch.Dense(first.vectors(column).shape[1], metric=metric)  # type: ignore[arg-type]

    def run(self, db: vsearch.Database, directory: Path, files: Sequence[Path]) -> None:
        """Import the files in order, and say how it went."""
        docs = db.collection(self.collection)
        checkpoints = Checkpoints(directory / CHECKPOINT_FILE, self.collection)
        counts = [count_rows(file) for file in files]
        total = None if None in counts else sum(count or 0 for count in counts)
        before, points, started_s = 0, 0, time.monotonic()
        with show.progress(f"importing into {self.collection}", total) as update:
            for file in files:
                key = self._key(file)
                start = position = checkpoints.start(key, docs)
                if start:
                    show.err.print(f"{file}: going on after row {start:,}")
                try:
                    for batch in import_file(
                        docs, file, self.id_column, self.vectors, self.skipped, self.batch_rows, start
                    ):
                        position = batch.position
                        checkpoints.record(key, position, batch.last_id)
                        update(before + position, total)
                except KeyboardInterrupt:
                    show.err.print(f"stopped after row {position:,} of {file}; the same command goes on from there")
                    raise typer.Exit(130) from None
                before += position
                points += position - start
        checkpoints.finish()
        self._tell(points, started_s, docs.count())
        show.err.print(f"For the quickest searches build the indexes now: vsearch optimize {directory}", soft_wrap=True)

    def send(self, db: vsearch.RemoteDatabase, files: Sequence[Path]) -> None:
        """Import the files, in order, into a server's collection, and say how it went."""
        docs, points, started_s = db.collection(self.collection), 0, time.monotonic()
        for file in files:
            with show.waiting(f"sending {file}"):
                points += docs.import_file(file, self.id_column, self.vectors, self.skipped, self.batch_rows)
        self._tell(points, started_s, docs.count())

    def _tell(self, points: int, started_s: float, held: int) -> None:
        elapsed_s = time.monotonic() - started_s
        rate = f"{elapsed_s:,.1f} s, {points / elapsed_s:,.0f} points/s"
        show.line(f"imported {points:,} points into {self.collection} ({rate}); it holds {held:,}")

    def _key(self, file: Path) -> str:
        """What a checkpoint belongs to: this version of the file, read in this way."""
        stat = file.stat()
        way = [self.id_column, self.vectors, self.skipped]
        return json.dumps([str(file.resolve()), stat.st_size, stat.st_mtime_ns, *way], sort_keys=True)


class Checkpoints:
    """Where unfinished imports stand: collection -> key -> (rows that are in, id of the last of them)."""

    def __init__(self, path: Path, collection: str) -> None:
        self._path = path
        self._collection = collection
        try:
            self._reached: dict[str, dict[str, tuple[int, Any]]] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):  # damaged: beginning anew does no harm
            self._reached = {}

    def start(self, key: str, docs: vsearch.Collection) -> int:
        """The row to go on with; 0 when the collection was made anew since."""
        row, last_id = self._reached.get(self._collection, {}).get(key, (0, None))
        return row if row and docs.get([last_id], with_payload=False) else 0

    def record(self, key: str, row: int, last_id: Any) -> None:
        self._reached.setdefault(self._collection, {})[key] = (row, last_id)
        write_atomic(self._path, json.dumps(self._reached).encode())

    def finish(self) -> None:
        """Forget the imports into this collection."""
        self._reached.pop(self._collection, None)
        if self._reached:
            write_atomic(self._path, json.dumps(self._reached).encode())
        else:
            remove_file(self._path)
