"""Dense vectors: rows are one array [n, d] in the stored dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch import compaction
from vsearch.errors import InvalidArgument
from vsearch.fields.base import PIECE_BYTES, THREADS, ArrayWriter, Buffers, Piece
from vsearch.types import Dense, FloatArray
from vsearch.vectors import as_array, checked_query, stored_vectors

if TYPE_CHECKING:
    from vsearch.index.base import Reader

CODED_ROWS: Final = 2_048  # with this many rows and no index yet, a segment is coded in memory at its first search


@dataclass(frozen=True, slots=True)
class DenseKind:
    """The ways of one dense field (base.Kind)."""

    field: Dense
    scan: str = "flat"

    @property
    def metric(self) -> str:
        return self.field.metric

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.field.dtype)

    @property
    def row_bytes(self) -> int:
        return self.field.dim * self.dtype.itemsize

    def stored(self, name: str, values: Any, n: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        return stored_vectors(name, self.field, values, n)

    def single(self, value: Any) -> NDArray[Any]:
        return as_array("the vector", value)[None]

    def queries(self, name: str, values: Any, single: bool) -> FloatArray:
        given = as_array("the query" if single else "queries", values)
        if given.ndim != (1 if single else 2):
            what, hint = ("the query has", "Give one vector, or use search_batch") if single else (
                "queries have", "Give an array of shape [nq, d]"
            )  # fmt: skip
            raise InvalidArgument(f"{what} {given.ndim} dimensions", hint)
        return checked_query(name, self.field, given)

    def blank(self, n: int) -> NDArray[Any]:
        return np.zeros((n, self.field.dim), self.dtype)

    def sizes(self, rows: NDArray[Any]) -> None:
        return None

    def assembled(self, n: int, parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
        values = self.blank(n)
        for at, rows in parts:
            values[at] = rows
        return values

    def encoded(self, rows: NDArray[Any]) -> list[memoryview]:
        data, width = rows.data.cast("B"), self.row_bytes
        return [data[i : i + width] for i in range(0, len(data), width)]

    def decoded(self, blobs: Sequence[bytes | None]) -> NDArray[Any]:
        blank = bytes(self.row_bytes)
        data = b"".join([blank if blob is None else blob for blob in blobs])
        return np.frombuffer(data, self.dtype).reshape(len(blobs), self.field.dim)

    def growing(self, capacity: int, nbytes: int) -> GrowingDense:
        return GrowingDense(self, capacity)

    def write(self, file: ArrayWriter, pieces: Sequence[Piece], copied: Callable[[int], None]) -> None:
        step = max(1, PIECE_BYTES // self.row_bytes)
        file.begin("vectors", self.dtype, (sum(len(piece.ordinals) for piece in pieces), self.field.dim))
        for piece in pieces:
            for start in range(0, len(piece.ordinals), step):
                some = slice(start, min(len(piece.ordinals), start + step))
                chunk = piece.rows[some] if piece.whole else piece.rows[piece.ordinals[some]]
                file.append("vectors", np.ascontiguousarray(chunk))
                copied(chunk.nbytes)

    def opened(self, arrays: Buffers) -> NDArray[Any]:
        vectors = arrays["vectors"]
        if vectors.dtype != self.dtype or vectors.ndim != 2 or vectors.shape[1] != self.field.dim:
            raise ValueError(f"vectors are {vectors.dtype} of shape {vectors.shape}")
        return vectors

    def verified(self, rows: NDArray[Any]) -> None:
        """Any bytes are numbers."""

    def shown(self, rows: NDArray[Any], row: int) -> FloatArray:
        return np.array(rows[row], np.float32)

    def wanted_index(self, rows: int) -> str | None:
        wanted = compaction.wanted_index(self.field.index, rows, self.field.coded)
        return None if wanted == self.scan else wanted

    def interim_index(self, rows: int) -> str:
        return "binary" if self.field.coded and rows >= CODED_ROWS else self.scan

    @property
    def settings(self) -> dict[str, Any]:
        return {name: getattr(self.field, name) for name in ("m", "ef_construction", "extra_bits")}

    def reader(self, index: str, rows: NDArray[Any], buffers: Buffers) -> Reader:
        from vsearch.index.registry import reader

        return reader(index)(rows, buffers, self.field.distance, THREADS)


class GrowingDense:
    """Room for the full capacity at once: the operating system commits pages only as rows arrive. Vectors are coded in
    one bit a component as they come, so that searching fresh rows reads a thirtieth of the bytes."""

    def __init__(self, kind: DenseKind, capacity: int) -> None:
        from vsearch.index.binary import FEW_ROWS
        from vsearch.index.coding import CodeStore

        field = kind.field
        self._kind = kind
        self._vectors = np.empty((capacity, field.dim), field.dtype)
        self._codes = CodeStore(capacity, field.dim, field.distance, 0, FEW_ROWS) if field.coded else None
        self.index = kind.scan if self._codes is None else "binary"

    def put(self, rows: NDArray[Any], at: int) -> None:
        self._vectors[at : at + len(rows)] = rows
        if self._codes is not None:
            self._codes.put(self._vectors, at, at + len(rows))

    def first(self, count: int) -> NDArray[Any]:
        return self._vectors[:count]

    def reader(self, index: str, count: int) -> Reader:
        coded = index == "binary" and self._codes is not None
        buffers = self._codes.buffers(count) if coded and self._codes is not None else {}
        return self._kind.reader(index, self._vectors[:count], buffers)

    def memory_bytes(self, count: int) -> int:
        return count * self._kind.row_bytes
