"""Texts: the text itself is the truth; how often it has which word is stored beside it, to be searched.

Rows are `TextRows`. In a segment's file, beside what sparse.py says of sparse rows (terms uint64, the hashes of words;
weights float16 where no word comes more than 2,048 times, else float32):

    text_bytes uint8 [b], text_offsets int64 [n + 1]: the texts in UTF-8, one after another

In the engine a row is its text, which is analysed again when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.fields import sparse
from vsearch.fields.base import PIECE_BYTES, THREADS, ArrayWriter, Buffers, Piece
from vsearch.fields.ragged import RaggedStore, check_offsets, chunks, gathered, offsets_of, order_of
from vsearch.types import MAX_TERMS, MAX_TEXT_BYTES, IntArray, SparseRows, Text

if TYPE_CHECKING:
    from vsearch.index.base import Reader

WORD_BYTES: Final = 12  # of a word of a text in memory: its hash and how often it comes
EXACT_COUNTS: Final = 2_048  # whole numbers up to this are float16 exactly


@dataclass(frozen=True, slots=True)
class TextRows:
    """Texts, row after row: `data` uint8 in UTF-8, row i at offsets[i]:offsets[i + 1]; `words`: how often each has
    which word, its terms the words' hashes."""

    offsets: IntArray
    data: NDArray[np.uint8]
    words: SparseRows

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: slice | IntArray) -> TextRows:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            first, last = int(self.offsets[start]), int(self.offsets[max(start, stop)])
            offsets = self.offsets[start : max(start, stop) + 1] - first
            return TextRows(offsets, self.data[first:last], self.words[rows])
        offsets, at = gathered(self.offsets, rows)
        return TextRows(offsets, self.data[at], self.words[rows])

    @property
    def nbytes(self) -> int:
        return self.offsets.nbytes + self.data.nbytes + self.words.nbytes

    def text(self, row: int) -> str:
        return self.data[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes().decode(errors="replace")


@dataclass(frozen=True, slots=True)
class TextKind:
    """The ways of one text field (base.Kind)."""

    field: Text
    scan: str = "bm25"
    metric: str = "bm25"
    row_bytes: int = 0

    def stored(self, name: str, values: Any, n: int) -> tuple[TextRows, NDArray[np.bool_]]:
        what = f"texts of field {name!r}"
        given = _listed(what, values)
        if len(given) != n:
            raise InvalidArgument(f"{len(given)} {what} for {n} ids", "Give one text, or None, for each id")
        present = np.array([text is not None for text in given], np.bool_)
        return self._analysed(what, ["" if text is None else text for text in given]), present

    def single(self, value: Any) -> Any:
        return [value]

    def queries(self, name: str, values: Any, single: bool) -> SparseRows:
        from vsearch.analysis import analyse

        what = f"query for field {name!r}"
        given = [values] if single else _listed(what, values)
        words = analyse(given, self.field.language, what)
        _utf8(what, given)
        return words

    def blank(self, n: int) -> TextRows:
        words = SparseRows(np.zeros(n + 1, np.int64), np.empty(0, np.uint64), np.empty(0, np.float32))
        return TextRows(np.zeros(n + 1, np.int64), np.empty(0, np.uint8), words)

    def sizes(self, rows: TextRows) -> IntArray:
        return rows.offsets + WORD_BYTES * rows.words.offsets

    def assembled(self, n: int, parts: Sequence[tuple[NDArray[Any], TextRows]]) -> TextRows:
        blank = self.blank(1)
        words = sparse.assembled(n, [(at, rows.words) for at, rows in parts], blank.words)
        rows = [part for _, part in parts] + [blank]
        lengths = offsets_of(np.concatenate([np.diff(part.offsets) for part in rows]))
        offsets, at = gathered(lengths, order_of(n, [at for at, _ in parts]))
        return TextRows(offsets, np.concatenate([part.data for part in rows])[at], words)

    def encoded(self, rows: TextRows) -> list[memoryview]:
        data, ends = rows.data.data, rows.offsets.tolist()
        return [data[start:end] for start, end in pairwise(ends)]

    def decoded(self, blobs: Sequence[bytes | None]) -> TextRows:
        return self._analysed("stored texts", [(blob or b"").decode() for blob in blobs])

    def growing(self, capacity: int, nbytes: int) -> GrowingText:
        return GrowingText(self, capacity, nbytes)

    def write(self, file: ArrayWriter, pieces: Sequence[Piece], copied: Callable[[int], None]) -> None:
        file.add("text_offsets", offsets_of(np.concatenate([np.diff(p.rows.offsets)[p.ordinals] for p in pieces])))
        size = sum(int(np.diff(piece.rows.offsets)[piece.ordinals].sum()) for piece in pieces)
        file.begin("text_bytes", np.uint8, (size,))
        for piece in pieces:
            for ordinals in chunks(piece.rows.offsets, piece.ordinals, PIECE_BYTES):
                _, at = gathered(piece.rows.offsets, ordinals)
                file.append("text_bytes", piece.rows.data[at])
                copied(len(at))
        words = [Piece(piece.rows.words, piece.ordinals) for piece in pieces]
        small = all(not len(p.rows.weights) or float(p.rows.weights.max()) <= EXACT_COUNTS for p in words)
        sparse.write_sparse(file, words, np.uint64, np.float16 if small else np.float32, copied)

    def opened(self, arrays: Buffers) -> TextRows:
        words = sparse.opened_sparse(arrays, np.uint64)
        rows = TextRows(arrays["text_offsets"], arrays["text_bytes"], words)
        if rows.data.dtype != np.uint8 or rows.data.ndim != 1 or len(rows.offsets) != len(words.offsets):
            raise ValueError("the texts are not those of the words")
        if words.weights.dtype not in (np.float16, np.float32):
            raise ValueError(f"weights are {words.weights.dtype}")
        check_offsets(rows.offsets, len(rows.data))
        return rows

    def verified(self, rows: TextRows) -> None:
        sparse.verify_numbers(rows.words)

    def shown(self, rows: TextRows, row: int) -> str:
        return rows.text(row)

    def wanted_index(self, rows: int) -> str | None:
        return "bm25"

    def interim_index(self, rows: int) -> str:
        return "bm25"

    @property
    def settings(self) -> dict[str, Any]:
        return {"k1": self.field.k1, "b": self.field.b}

    def reader(self, index: str, rows: TextRows, buffers: Buffers) -> Reader:
        from vsearch.index.bm25 import Bm25

        reader: Any = Bm25(rows.words, buffers, "dot", THREADS, settings=self.settings)  # its queries are TextQueries
        return reader  # type: ignore[no-any-return]

    def _analysed(self, what: str, texts: Sequence[str]) -> TextRows:
        from vsearch.analysis import analyse

        words = analyse(texts, self.field.language, what)
        encoded = _utf8(what, texts)
        data = np.frombuffer(b"".join(encoded), np.uint8)
        return TextRows(offsets_of([len(text) for text in encoded]), data, words)


class GrowingText:
    """Flat arrays that grow, and inverted lists of whole chunks of rows as they fill up."""

    index = "bm25"

    def __init__(self, kind: TextKind, capacity: int, nbytes: int) -> None:
        from vsearch.index.bm25 import Bm25Store

        self._lists = Bm25Store(capacity, kind.settings)
        self._texts = RaggedStore(capacity, nbytes + MAX_TEXT_BYTES, (np.uint8,))
        self._words = RaggedStore(capacity, nbytes // WORD_BYTES + MAX_TERMS, (np.uint64, np.float32))

    def put(self, rows: TextRows, at: int) -> None:
        self._texts.put(at, rows.offsets, (rows.data,))
        self._words.put(at, rows.words.offsets, (rows.words.numbers, rows.words.weights))
        self._lists.put(self.first(at + len(rows)).words, at, at + len(rows))

    def first(self, count: int) -> TextRows:
        offsets, (data,) = self._texts.first(count)
        words, (numbers, weights) = self._words.first(count)
        return TextRows(offsets, data, SparseRows(words, numbers, weights))

    def reader(self, index: str, count: int) -> Reader:
        reader: Any = self._lists.reader(self.first(count).words, count, THREADS)
        return reader  # type: ignore[no-any-return]

    def memory_bytes(self, count: int) -> int:
        return self.first(count).nbytes


def _utf8(what: str, texts: Sequence[str]) -> list[bytes]:
    """Raises InvalidArgument for what is no Unicode."""
    encoded = []
    for row, text in enumerate(texts):
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError:
            raise InvalidArgument(f"{what}: row {row} is no valid Unicode", "Remove lone surrogates") from None
    return encoded


def _listed(what: str, values: Any) -> list[Any]:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "OU":
        return list(values.tolist())
    if not isinstance(values, list | tuple):
        raise InvalidArgument(f"{what} are a {type(values).__name__}", "Give a list of strings")
    return list(values)
