"""Full-text search ranked by BM25 (Robertson and Zaragoza 2009, Foundations and Trends in Information Retrieval 3(4)).

1. The score of a text is the sum, over the words that it shares with the query, of weight * impact. The weight, the
   word's inverse document frequency times how often the query has it, comes with the query (`types.TextQueries`); the
   impact is tf / (tf + k1 (1 - b + b length / mean length)), where tf is how often the text has the word. (The factor
   k1 + 1 of the original changes no order and is left out, as in Lucene.)
2. Impacts change whenever a text is added or deleted anywhere, since the mean length does. So lists hold for each text
   the number of its *class*, the pair (tf, length), of which there are few; the table of impacts, one a class, is
   computed when a query brings another mean length. Scores are right whatever happened to the collection.
3. Lists are added up and the best texts chosen as in `postings`, with impact[class] for a value.
4. `Bm25Store` is for texts that arrive over time, as `postings.PostingStore`: of texts not in lists yet the impacts are
   computed, and the rows scanned.

Sums are float32 in ascending order of terms, impacts are float64 rounded to float32: reader and store agree to the bit.

Buffers, for n texts with m distinct words each counted once a text, t of them distinct:

| name | dtype, shape | |
|---|---|---|
| `starts` | int64 [t + 1] | where each list begins |
| `ordinals` | uint32 [m] | its texts, ascending |
| `classes` | uint16 or uint32 [m] | beside them |
| `pairs` | uint32 [classes, 2] | tf and length of each class |
| `settings` | float64 [2] | k1, b |
| `terms` | uint32 or uint64 [t] | ascending; left out if the rows have a dictionary |
| `made` | int64 [5] | version, n, m, t, classes |

6 bytes a word, 8 with more than 65,536 classes. Buffers whose `made` or shapes are not those of the rows are refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import (
    MAX_K1,
    Bitset,
    Distance,
    FloatArray,
    IntArray,
    Progress,
    SearchParams,
    SparseRows,
    TextQueries,
)

from . import bitset
from .base import Buffers, Neighbours
from .jit import read_only
from .lists import PIECE, Lists, ListStore, from_buffers, join, make_lists, number, to_buffers
from .postings import NO_TAIL, Tail, search_parts
from .sparse_flat import check_sparse, columns

K1: Final = 1.2  # where the settings say nothing
B: Final = 0.75
MOST_CLASSES: Final = 1 << 16  # numbered by uint16


def build(
    vectors: SparseRows,
    distance: Distance,
    settings: Mapping[str, Any],
    threads: int = 1,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """The contract's `build`, for SparseRows whose weights are the counts of words; settings `k1` (1.2), `b` (0.75).

    Raises InvalidArgument for settings out of range, and counts that are not whole numbers from 1.
    """
    columns(vectors)
    parameters = np.array(_parameters(settings), np.float64)
    lists = make_classes(vectors, 0, progress)
    return {**to_buffers(lists, vectors, "classes"), "pairs": lists.pairs, "settings": parameters}


class Bm25:
    """Search over texts; see `base.Reader`, with SparseRows of counts for vectors, and TextQueries for queries.

    Without buffers it makes them itself, by `settings` as of `build`. Distances are minus the score. Raises
    InvalidArgument for buffers of other rows, or cut short.
    """

    kind: ClassVar[str] = "bm25"

    def __init__(
        self,
        vectors: SparseRows,
        buffers: Buffers,
        distance: Distance,
        threads: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        buffers = buffers or build(vectors, distance, settings or {}, threads)
        lists = from_buffers(buffers, vectors, "classes", (np.uint16, np.uint32))
        stored = buffers["settings"]
        if stored.shape != (2,) or stored.dtype != np.float64:
            raise InvalidArgument(f"the settings are {stored.dtype} {stored.shape}", "Build them anew")
        self._parts, self._n, self._threads = [lists], len(vectors), threads
        self._every = read_only(bitset.full(self._n))
        self._settings = _parameters(dict(zip(("k1", "b"), stored.tolist(), strict=True)))
        self._fresh, self._start = vectors[:0], 0
        self._known: tuple[float, list[tuple[Lists, FloatArray]], Tail] | None = None

    def search(self, queries: TextQueries, k: int, params: SearchParams, live: Bitset | None = None) -> Neighbours:
        """The k best of the live texts that share a word with each query, exactly; `params` changes nothing.

        Raises InvalidArgument for a k, a live set or a mean length that cannot be.
        """
        checked, live, found = check_sparse(queries.rows, k, live, self._every, self._n)
        _, parts, tail = self._impacts(float(queries.mean_length))
        return search_parts(parts, tail, checked, k, live, found, self._n, self._threads)

    def width(self, k: int, params: SearchParams) -> int:
        """0: there are no candidates to choose from."""
        return 0

    def memory_bytes(self) -> int:
        """Bytes of the buffers."""
        return sum(part.nbytes for part in self._parts)

    def _impacts(self, mean_length: float) -> tuple[float, list[tuple[Lists, FloatArray]], Tail]:
        """The lists with the impacts of their classes, and the rows to scan with theirs, for this mean length."""
        known = self._known
        if known is None or known[0] != mean_length:
            if not 0.0 <= mean_length < math.inf:
                raise InvalidArgument(f"the mean length is {mean_length!r}", "Use the mean number of words of a text")
            how = mean_length, *self._settings
            parts = [(part, impacts(part.pairs[:, 0], part.pairs[:, 1], *how)) for part in self._parts]
            rows = self._fresh
            weights = impacts(rows.weights, np.repeat(_lengths(rows), np.diff(rows.offsets)), *how)
            fresh = SparseRows(rows.offsets, rows.numbers, weights, rows.terms)
            tail = Tail(columns(fresh), self._start) if len(rows) else NO_TAIL
            known = self._known = mean_length, parts, tail
        return known


class Bm25Store:
    """Lists of texts that are appended one batch after another, up to `capacity` of them; `settings` as of `build`. One
    thread appends, any number make readers and search."""

    def __init__(self, capacity: int, settings: Mapping[str, Any] | None = None) -> None:
        self._capacity, self._settings = capacity, _parameters(settings or {})
        self._store = ListStore(make_classes, join_classes)

    def put(self, rows: SparseRows, start: int, stop: int) -> None:
        """Take the rows [start, stop) of all rows so far; all before them have been put."""
        assert start <= stop <= self._capacity, "bug: more rows than announced"
        self._store.put(rows, stop)

    def reader(self, rows: SparseRows, count: int, threads: int = 1) -> Bm25:
        """A reader over the first `count` rows, which are there and have been put; the same as Bm25 over these."""
        parts, covered = self._store.upto(count)
        return FreshBm25(parts, rows[covered:count], covered, self._settings, threads)


class FreshBm25(Bm25):
    """The reader of a Bm25Store: lists of several parts, and rows that are scanned, of which the first is `start`."""

    def __init__(
        self, parts: Sequence[Lists], fresh: SparseRows, start: int, settings: tuple[float, float], threads: int
    ) -> None:
        self._parts, self._fresh, self._start, self._n = list(parts), fresh, start, start + len(fresh)
        self._settings, self._threads, self._known = settings, threads, None
        self._every = read_only(bitset.full(self._n))


def impacts(tf: NDArray[Any], length: NDArray[Any], mean_length: float, k1: float, b: float) -> FloatArray:
    """float32: what a word is worth that a text of so many words has tf times; all texts are as long as the mean if
    that is 0."""
    tf = tf.astype(np.float64)
    relative = length / mean_length if mean_length > 0.0 else np.ones(length.shape)
    impact: FloatArray = (tf / (tf + k1 * (1.0 - b + b * relative))).astype(np.float32)
    return impact


def make_classes(rows: SparseRows, first: int, progress: Progress | None = None) -> Lists:
    """The lists of texts, of which the first has the ordinal `first`, with classes for values.

    Raises InvalidArgument for counts that are not whole numbers from 1, or too large.
    """
    keys = np.empty(0, np.uint64)
    for start in range(0, len(rows), PIECE):
        keys = number(np.concatenate([keys, number(_keys(rows[start : start + PIECE]))[0]]))[0]

    def classes(some: SparseRows) -> NDArray[Any]:
        found, numbers = number(_keys(some))
        return _narrow(np.searchsorted(keys, found)[numbers], len(keys))

    return make_lists(rows, classes, first, progress)._replace(pairs=_pairs(keys))


def join_classes(a: Lists, b: Lists) -> Lists:
    """The lists of the texts of a, followed by those of b."""
    keys, numbers = number(np.concatenate([_packed(lists.pairs[:, 0], lists.pairs[:, 1]) for lists in (a, b)]))
    own, other = numbers[: len(a.pairs)], numbers[len(a.pairs) :]
    a = a._replace(values=_narrow(own[a.values], len(keys)))
    b = b._replace(values=_narrow(other[b.values], len(keys)))
    return join(a, b)._replace(pairs=_pairs(keys))


def _keys(rows: SparseRows) -> NDArray[np.uint64]:
    """uint64 [m]: tf and the text's length, of each word of each text."""
    with np.errstate(invalid="ignore"):
        tf, lengths = rows.weights.astype(np.int64), _lengths(rows)
    if len(tf) and (tf.min() < 1 or lengths.max() >= 1 << 32 or (tf != rows.weights).any()):
        raise InvalidArgument("counts of words are below 1, fractions or too large", "Use how often each word occurs")
    return _packed(tf, np.repeat(lengths, np.diff(rows.offsets)))


def _lengths(rows: SparseRows) -> IntArray:
    """int64 [n]: how many words each text has."""
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows.weights, dtype=np.int64)])
    lengths: IntArray = np.diff(upto[rows.offsets])
    return lengths


def _packed(tf: NDArray[Any], length: NDArray[Any]) -> NDArray[np.uint64]:
    return tf.astype(np.uint64) << np.uint64(32) | length.astype(np.uint64)


def _pairs(keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """uint32 [classes, 2]: what `_packed` put together."""
    return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def _narrow(classes: NDArray[Any], count: int) -> NDArray[Any]:
    return read_only(classes.astype(np.uint16 if count <= MOST_CLASSES else np.uint32))


def _parameters(settings: Mapping[str, Any]) -> tuple[float, float]:
    """(k1, b). Raises InvalidArgument where they are out of range."""
    k1, b = float(settings.get("k1", K1)), float(settings.get("b", B))
    if not (0.0 <= k1 <= MAX_K1 and 0.0 <= b <= 1.0):
        raise InvalidArgument(f"k1 is {k1!r}, b is {b!r}", f"Use 0 to {MAX_K1:g}, and 0 to 1")
    return k1, b
