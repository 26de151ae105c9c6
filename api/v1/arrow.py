"""Bodies that are Arrow streams: points to upsert, queries to search, hits in answers.

What a JSON body says besides its rows stands in the schema's metadata, as a JSON object under `vsearch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from vsearch.collection import Collection
from vsearch.errors import InvalidArgument
from vsearch.storage.ipc import read_table
from vsearch.storage.tables import TableBatch
from vsearch.transfer import Exported, Mapped, Rows
from vsearch.types import Dense, Field, Sparse

from ..errors import malformed
from . import bodies

BODY: Final = "the body"
QUERIES: Final = "vector"


@dataclass(frozen=True, slots=True)
class ArrowTable:
    """A body: its rows in batches, and the object in its metadata."""

    batches: Sequence[TableBatch]
    description: dict[str, Any]

    @classmethod
    def read(cls, data: bytes) -> ArrowTable:
        """Raises InvalidArgument."""
        return cls(*read_table(data))

    def points(self, docs: Collection) -> Rows:
        """The arguments of an upsert: columns `id` and those named as fields; all others together are the payload."""
        mapped = Mapped(docs.schema, BODY, exported=Exported.of(self.description, BODY))
        parts = [mapped.rows(batch) for batch in self.batches]
        if not parts:
            return Rows([], {}, None, None)
        if len(parts) == 1:
            return parts[0]
        return Rows(
            ids=[point_id for part in parts for point_id in part.ids],
            vectors={field: _joined([part.vectors[field] for part in parts]) for field in parts[0].vectors},
            payloads=_all(part.payloads for part in parts),
            expires_at=_all(part.expires_at for part in parts),
        )

    def queries(self, field: Field) -> Any:
        """Queries for a field of this kind: the column `vector`, or the only one that they can be in."""
        found = [self._queries(batch, field) for batch in self.batches]
        if not isinstance(field, Dense):
            return [row for rows in found for row in rows]
        if len({rows.shape[1] for rows in found}) != 1:
            raise InvalidArgument(f"{BODY} has no queries of one dimension", "Send a column of lists of floats")
        return np.concatenate(found)

    def _queries(self, batch: TableBatch, field: Field) -> Any:
        names = batch.likely_vectors() if isinstance(field, Dense) else batch.column_names
        if QUERIES not in names and len(names) != 1:
            raise InvalidArgument(f"{BODY} has {len(names)} columns of queries", f"Name the one of queries {QUERIES!r}")
        column = QUERIES if QUERIES in names else names[0]
        if isinstance(field, Dense):
            return batch.vectors(column)
        return batch.sparse(column, column) if isinstance(field, Sparse) else batch.python(column)

    def search(self) -> bodies.Search:
        """The other arguments of a search. Raises Malformed."""
        try:
            return bodies.Search.model_validate({**self.description, "queries": []})
        except ValidationError as error:
            raise malformed(error, "metadata") from None


def _joined(columns: Sequence[Any]) -> Any:
    if all(isinstance(column, np.ndarray) for column in columns):
        return np.concatenate(columns)
    return [row for column in columns for row in column]


def _all(columns: Any) -> list[Any] | None:
    given = list(columns)
    return None if None in given else [value for column in given for value in column]
