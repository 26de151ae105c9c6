"""Sparse vectors: rows are `types.SparseRows`.

In memory their numbers are the terms themselves (uint32). In a segment's file they are positions in the segment's own
ascending dictionary, uint16 where that has at most 65,536 terms:

    offsets int64 [n + 1], numbers uint16 or uint32 [m], weights [m] in the stored dtype, terms uint32 ascending

In the engine a row is its pairs of (term uint32, weight), little-endian, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vsearch import compaction
from vsearch.errors import InvalidArgument
from vsearch.fields.base import PIECE_BYTES, THREADS, ArrayWriter, Buffers, Piece
from vsearch.fields.ragged import RaggedStore, check_offsets, chunks, offsets_of, order_of
from vsearch.fields.sparse_input import sparse_queries, stored_sparse
from vsearch.types import MAX_TERMS, IntArray, Sparse, SparseRows

if TYPE_CHECKING:
    from vsearch.index.base import Reader

PIECE_TERMS: Final = PIECE_BYTES // 8
POSTED_ROWS: Final = 256  # with this many rows and no index yet, a sealed segment gets inverted lists in memory
SMALL_NUMBERS: Final = 1 << 16  # as many as uint16 holds
TABLE_TERMS: Final = 1 << 22  # terms below this are numbered by a table, others by binary search


@dataclass(frozen=True, slots=True)
class SparseKind:
    """The ways of one sparse field (base.Kind)."""

    field: Sparse
    scan: str = "sparse_flat"
    metric: str = "dot"
    row_bytes: int = 0

    @property
    def pair(self) -> np.dtype[Any]:
        """A term and its weight as the engine has them."""
        return np.dtype([("term", "<u4"), ("weight", np.dtype(self.field.dtype).newbyteorder("<"))])

    def stored(self, name: str, values: Any, n: int) -> tuple[SparseRows, NDArray[np.bool_]]:
        return stored_sparse(f"vectors of field {name!r}", values, n, self.field.dtype)

    def single(self, value: Any) -> Any:
        return [value]

    def queries(self, name: str, values: Any, single: bool) -> SparseRows:
        what = f"query for field {name!r}"
        if single and values is None:
            raise InvalidArgument(f"the {what} is None", "Give {term: weight}, (indices, values) or a CSR row")
        return sparse_queries(what, [values] if single and not isinstance(values, SparseRows) else values)

    def blank(self, n: int) -> SparseRows:
        return SparseRows(np.zeros(n + 1, np.int64), np.empty(0, np.uint32), np.empty(0, self.field.dtype))

    def sizes(self, rows: SparseRows) -> IntArray:
        return rows.offsets * self.pair.itemsize

    def assembled(self, n: int, parts: Sequence[tuple[NDArray[Any], SparseRows]]) -> SparseRows:
        return assembled(n, parts, self.blank(1))

    def encoded(self, rows: SparseRows) -> list[memoryview]:
        pairs = np.empty(len(rows.numbers), self.pair)
        pairs["term"], pairs["weight"] = rows.term_values(), rows.weights
        data, ends = pairs.view(np.uint8).data, (rows.offsets * self.pair.itemsize).tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def decoded(self, blobs: Sequence[bytes | None]) -> SparseRows:
        given = [blob or b"" for blob in blobs]
        width = self.pair.itemsize
        if any(len(blob) % width for blob in given):
            raise ValueError("sparse vectors of broken pairs")
        pairs = np.frombuffer(b"".join(given), self.pair)
        offsets = offsets_of([len(blob) // width for blob in given])
        return SparseRows(offsets, pairs["term"].astype(np.uint32), pairs["weight"].astype(self.field.dtype))

    def growing(self, capacity: int, nbytes: int) -> GrowingSparse:
        return GrowingSparse(self, capacity, nbytes)

    def write(self, file: ArrayWriter, pieces: Sequence[Piece], copied: Callable[[int], None]) -> None:
        write_sparse(file, pieces, np.uint32, self.field.dtype, copied)

    def opened(self, arrays: Buffers) -> SparseRows:
        rows = opened_sparse(arrays, np.uint32)
        if rows.weights.dtype != self.field.dtype:
            raise ValueError(f"weights are {rows.weights.dtype}")
        return rows

    def verified(self, rows: SparseRows) -> None:
        verify_numbers(rows)

    def shown(self, rows: SparseRows, row: int) -> dict[int, float]:
        one = rows[row : row + 1]
        return dict(zip(one.term_values().tolist(), one.weights.tolist(), strict=True))

    def wanted_index(self, rows: int) -> str | None:
        return compaction.wanted_sparse_index(self.field.index, rows)

    def interim_index(self, rows: int) -> str:
        return "postings" if self.field.index != "flat" and rows >= POSTED_ROWS else self.scan

    @property
    def settings(self) -> dict[str, Any]:
        return {"knn": self.field.knn}

    def reader(self, index: str, rows: SparseRows, buffers: Buffers) -> Reader:
        from vsearch.index.registry import reader

        return reader(index)(rows, buffers, "dot", THREADS)  # type: ignore[arg-type]


class GrowingSparse:
    """Flat arrays that grow, and inverted lists of whole chunks of rows as they fill up."""

    def __init__(self, kind: SparseKind, capacity: int, nbytes: int) -> None:
        self._kind = kind
        self._rows = RaggedStore(capacity, nbytes // kind.pair.itemsize + MAX_TERMS, (np.uint32, kind.field.dtype))
        self._postings: Any = None
        self.index = kind.scan
        if kind.field.index != "flat":
            from vsearch.index.postings import PostingStore

            self._postings, self.index = PostingStore(capacity), "postings"

    def put(self, rows: SparseRows, at: int) -> None:
        self._rows.put(at, rows.offsets, (rows.numbers, rows.weights))
        if self._postings is not None:
            self._postings.put(self.first(at + len(rows)), at, at + len(rows))

    def first(self, count: int) -> SparseRows:
        offsets, (numbers, weights) = self._rows.first(count)
        return SparseRows(offsets, numbers, weights)

    def reader(self, index: str, count: int) -> Reader:
        if index == "postings":
            reader: Reader = self._postings.reader(self.first(count), count, THREADS)
            return reader
        return self._kind.reader(index, self.first(count), {})

    def memory_bytes(self, count: int) -> int:
        return self.first(count).nbytes


def plain(rows: SparseRows) -> SparseRows:
    """The rows with the terms themselves."""
    return rows if rows.terms is None else SparseRows(rows.offsets, rows.term_values(), rows.weights)


def assembled(n: int, parts: Sequence[tuple[NDArray[Any], SparseRows]], blank: SparseRows) -> SparseRows:
    """As base.Kind says. `blank`: one row without terms."""
    rows = [plain(part) for _, part in parts] + [blank]
    together = SparseRows(
        offsets_of(np.concatenate([np.diff(part.offsets) for part in rows])),
        np.concatenate([part.numbers for part in rows]),
        np.concatenate([part.weights.astype(blank.weights.dtype, copy=False) for part in rows]),
    )
    return together[order_of(n, [at for at, _ in parts])]


def write_sparse(
    file: ArrayWriter, pieces: Sequence[Piece], term_dtype: DTypeLike, dtype: DTypeLike, copied: Callable[[int], None]
) -> None:
    """Write the arrays of sparse rows: their terms become numbers of a dictionary that holds just these terms."""
    offsets = offsets_of(np.concatenate([np.diff(piece.rows.offsets)[piece.ordinals] for piece in pieces]))
    terms = _dictionary(pieces, term_dtype)
    number_dtype = np.dtype(np.uint16 if len(terms) <= SMALL_NUMBERS else np.uint32)
    file.add("offsets", offsets)
    file.begin("numbers", number_dtype, (int(offsets[-1]),))
    for piece in pieces:
        numbering = _numbering(terms, piece.rows)
        for chunk in _chunks(piece):
            numbers = numbering(chunk.numbers).astype(number_dtype)
            file.append("numbers", numbers)
            copied(numbers.nbytes)
    file.begin("weights", dtype, (int(offsets[-1]),))
    for piece in pieces:
        for chunk in _chunks(piece):
            file.append("weights", chunk.weights.astype(dtype, copy=False))
            copied(chunk.weights.nbytes)
    file.add("terms", terms)


def opened_sparse(arrays: Buffers, term_dtype: DTypeLike) -> SparseRows:
    """Rows of these arrays. Raises ValueError or KeyError when they do not fit together."""
    rows = SparseRows(arrays["offsets"], arrays["numbers"], arrays["weights"], arrays["terms"])
    if any(array.ndim != 1 for array in (rows.offsets, rows.numbers, rows.weights, arrays["terms"])):
        raise ValueError("an array has more than one dimension")
    check_offsets(rows.offsets, len(rows.numbers))
    if len(rows.weights) != len(rows.numbers):
        raise ValueError(f"{len(rows.numbers)} numbers and {len(rows.weights)} weights")
    if arrays["terms"].dtype != term_dtype or rows.numbers.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"terms are {arrays['terms'].dtype}, numbers {rows.numbers.dtype}")
    return rows


def verify_numbers(rows: SparseRows) -> None:
    """Raises ValueError unless every number is that of a term, and terms ascend."""
    if rows.terms is None:
        return
    if len(rows.numbers) and int(rows.numbers.max()) >= len(rows.terms):
        raise ValueError("a number is beyond the terms")
    if (rows.terms[1:] <= rows.terms[:-1]).any():
        raise ValueError("the terms do not ascend")


def _chunks(piece: Piece) -> Iterator[SparseRows]:
    for ordinals in chunks(piece.rows.offsets, piece.ordinals, PIECE_TERMS):
        first, last = int(ordinals[0]), int(ordinals[-1]) + 1
        yield piece.rows[first:last] if last - first == len(ordinals) else piece.rows[ordinals]


def _dictionary(pieces: Sequence[Piece], dtype: DTypeLike) -> NDArray[Any]:
    """The distinct terms of the pieces' rows, ascending."""
    found: list[NDArray[Any]] = [np.empty(0, dtype)]
    for piece in pieces:
        size = _table_size(piece.rows) if piece.rows.terms is None else len(piece.rows.terms)
        if size:
            used = np.zeros(size, np.bool_)
            for chunk in _chunks(piece):
                used[chunk.numbers] = True
            numbers = np.flatnonzero(used)
            found.append((numbers if piece.rows.terms is None else piece.rows.terms[numbers]).astype(dtype))
        else:
            found += [np.unique(chunk.numbers) for chunk in _chunks(piece)]
    return np.unique(np.concatenate(found))


def _numbering(terms: NDArray[Any], rows: SparseRows) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What turns the rows' numbers, or their terms, into positions in the dictionary."""
    if rows.terms is not None:
        table = np.searchsorted(terms, rows.terms)
        return lambda numbers: table[numbers]
    if size := _table_size(rows):
        table = np.searchsorted(terms, np.arange(size, dtype=terms.dtype))
        return lambda numbers: table[numbers]
    return lambda numbers: np.searchsorted(terms, numbers)


def _table_size(rows: SparseRows) -> int:
    """Of a table by terms, 0 where one would be too long."""
    highest = int(rows.numbers.max()) if len(rows.numbers) else 0
    return highest + 1 if highest < TABLE_TERMS else 0
