"""Inverted lists: made of rows, stored, joined, and kept up with rows that arrive over time.

1. `make_lists` counts how many rows each term has, which says where its list begins, and then puts every row into its
   lists: two passes over the rows, and no sorting. Rows without a dictionary get one first, by a radix sort.
2. What stands in a list beside the ordinal of a row is for the caller to say: weights in `postings`, classes in `bm25`.
3. `ListStore`: every CHUNK rows become lists of their own, and neighbours of about the same size are joined, up to
   MAX_POSTINGS, so that there are few (a log-structured merge: O'Neil et al. 1996, Acta Informatica 33(4)). What was
   made never changes, and the tuple of all parts is exchanged by one assignment, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import IntArray, Progress, SparseRows

from .base import Buffers
from .jit import kernel, read_only
from .simd import Int

VERSION: Final = 1
CHUNK: Final = 1_024  # rows that are made into lists at once, so up to which a search scans rows; a multiple of 64
MAX_POSTINGS: Final = 3 << 19  # of lists that were joined, which takes a few milliseconds
PIECE: Final = 1 << 14  # rows placed between two reports of progress
DIGIT: Final = 11  # bits of a key sorted at once: 2,048 places to write to are as many as the caches bear

NO_PAIRS: Final = np.empty((0, 2), np.uint32)


class Lists(NamedTuple):
    """The lists of consecutive rows: list i, of terms[i], is [starts[i], starts[i + 1]) of ordinals and values.

    terms uint32 or uint64 [t] ascending; starts int64 [t + 1]; ordinals uint32 [m]; values [m] float32, or numbers of
    classes, uint16 or uint32; pairs uint32 [classes, 2] say what the classes are, and are empty where there are none.
    """

    terms: NDArray[Any]
    starts: IntArray
    ordinals: NDArray[np.uint32]
    values: NDArray[Any]
    pairs: NDArray[np.uint32] = NO_PAIRS

    def frozen(self) -> Lists:
        """The same, read-only, as kernels take them."""
        return Lists(*(read_only(np.ascontiguousarray(array)) for array in self))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays but the terms, which belong to the rows."""
        return sum(array.nbytes for array in self[1:])


def make_lists(
    rows: SparseRows, values: Callable[[SparseRows], NDArray[Any]], first: int = 0, progress: Progress | None = None
) -> Lists:
    """The lists of rows, of which the first has the ordinal `first`; `values` gives those of some rows in order."""
    numbers, terms, n = np.ascontiguousarray(rows.numbers), rows.terms, len(rows)
    if terms is None:
        terms, numbers = number(read_only(numbers))
    numbers = read_only(numbers)
    counts = np.zeros(len(terms), np.int64)
    count_terms(numbers, counts)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    ends, ordinals = starts[:-1].copy(), np.empty(len(numbers), np.uint32)
    placed = np.empty(len(numbers), values(rows[:0]).dtype)
    for start in range(0, n, PIECE):
        offsets = rows.offsets[start : start + PIECE + 1]
        some = read_only(np.ascontiguousarray(values(rows[start : start + PIECE])))
        place_rows(read_only(offsets), numbers[offsets[0] : offsets[-1]], some, first + start, ends, ordinals, placed)
        if progress is not None:
            progress(start + len(offsets) - 1, n)
    return Lists(terms, starts, ordinals, placed).frozen()


def join(a: Lists, b: Lists) -> Lists:
    """The lists of the rows of a, followed by those of b; of the same classes."""
    terms = np.empty(len(a.terms) + len(b.terms), a.terms.dtype)
    starts = np.empty(len(terms) + 1, np.int64)
    ordinals = np.empty(len(a.ordinals) + len(b.ordinals), np.uint32)
    values = np.empty(len(ordinals), a.values.dtype)
    count = join_lists(*a[:4], *b[:4], terms, starts, ordinals, values)
    return Lists(terms[:count].copy(), starts[: count + 1].copy(), ordinals, values, a.pairs).frozen()


def to_buffers(lists: Lists, rows: SparseRows, values: str) -> dict[str, NDArray[Any]]:
    """The named arrays that are stored for these rows; the values by this name."""
    made = np.array([VERSION, len(rows), len(lists.ordinals), len(lists.terms), len(lists.pairs)], np.int64)
    buffers: dict[str, NDArray[Any]] = {"starts": lists.starts, "ordinals": lists.ordinals, values: lists.values}
    own = {} if rows.terms is not None else {"terms": lists.terms}
    return {**buffers, **own, "made": made}


def from_buffers(buffers: Buffers, rows: SparseRows, values: str, dtypes: tuple[type[Any], ...]) -> Lists:
    """The lists that were stored for these rows, with values of one of the dtypes.

    Raises InvalidArgument where they are of other rows, or cut short.
    """
    m, terms = len(rows.numbers), rows.terms if rows.terms is not None else buffers["terms"]
    lists = Lists(terms, buffers["starts"], buffers["ordinals"], buffers[values], buffers.get("pairs", NO_PAIRS))
    made, expected = buffers["made"].tolist(), [VERSION, len(rows), m, len(terms), len(lists.pairs)]
    if made != expected:
        what = "(version, rows, terms in all, distinct terms, classes)"
        raise InvalidArgument(f"the lists were made for {made}, not for {expected} {what}", "Build them anew")
    good = lists.starts.dtype == np.int64 and lists.ordinals.dtype == lists.pairs.dtype == np.uint32
    good = good and lists.values.dtype in dtypes and terms.dtype in (np.uint32, np.uint64)
    good = good and lists.pairs.shape[1:] == (2,)
    good = good and [array.shape for array in lists[:4]] == [(len(terms),), (len(terms) + 1,), (m,), (m,)]
    if not good or lists.starts[0] != 0 or lists.starts[-1] != m:
        found = ", ".join(f"{array.dtype} {array.shape}" for array in lists)
        raise InvalidArgument(f"the arrays of the lists are {found}, for {m} terms of rows", "Build them anew")
    return lists.frozen()


class ListStore:
    """Lists of rows that are appended one batch after another. One thread appends, any number read.

    `make` gives the lists of some rows of which the first has an ordinal, `join` those of neighbours together.
    """

    def __init__(self, make: Callable[[SparseRows, int], Lists], join: Callable[[Lists, Lists], Lists]) -> None:
        self._make, self._join = make, join
        self._parts: tuple[tuple[Lists, int], ...] = ()  # lists, and where their rows end

    def put(self, rows: SparseRows, stop: int) -> None:
        """Make lists of the whole chunks below `stop` that have none yet; rows are all rows so far.

        After each chunk at most one pair is joined, so that no row waits for a cascade.
        """
        parts = list(self._parts)
        for end in range((parts[-1][1] if parts else 0) + CHUNK, stop + 1, CHUNK):
            parts.append((self._make(rows[end - CHUNK : end], end - CHUNK), end))
            for i in range(len(parts) - 1, 0, -1):
                if self._alike(parts, i):
                    parts[i - 1 : i + 1] = [(self._join(parts[i - 1][0], parts[i][0]), parts[i][1])]
                    break
            self._parts = tuple(parts)

    def upto(self, count: int) -> tuple[list[Lists], int]:
        """(the lists that have rows below `count`, where their rows end); the last may have rows above it."""
        parts = self._parts
        starts = [0, *(end for _, end in parts)]
        used = sum(start < count for start in starts[:-1])
        return [part for part, _ in parts[:used]], min(starts[used], count)

    @staticmethod
    def _alike(parts: list[tuple[Lists, int]], i: int) -> bool:
        """Whether part i has as many rows as the one before it or more, and the two are not too large to be joined."""
        ends = [0, *(end for _, end in parts)]
        together = len(parts[i - 1][0].ordinals) + len(parts[i][0].ordinals)
        return ends[i + 1] - ends[i] >= ends[i] - ends[i - 1] and together <= MAX_POSTINGS


# The kernels.


@kernel
def number(keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """(the distinct keys ascending, the position of each key among them uint32 [m]) of keys [m], uint32 or uint64.

    A radix sort from the lowest digit, because its time does not depend on what the keys are.
    """
    m = len(keys)
    union, common = np.uint64(0), ~np.uint64(0)
    for i in range(m):
        union |= np.uint64(keys[i])
        common &= np.uint64(keys[i])
    varying = union ^ common if m > 0 else np.uint64(0)
    now, after = keys.copy(), np.empty_like(keys)
    place, place_after = np.arange(m).astype(np.uint32), np.empty(m, np.uint32)
    ends = np.empty(1 << DIGIT, np.int64)
    mask = np.uint64((1 << DIGIT) - 1)
    for digit in range((8 * keys.itemsize + DIGIT - 1) // DIGIT):
        shift = np.uint64(digit * DIGIT)
        if (varying >> shift) & mask == 0:
            continue
        ends[:] = 0
        for i in range(m):
            ends[np.int64((np.uint64(now[i]) >> shift) & mask)] += 1
        total = 0
        for j in range(len(ends)):
            total, ends[j] = total + ends[j], total
        for i in range(m):
            here = np.int64((np.uint64(now[i]) >> shift) & mask)
            after[ends[here]], place_after[ends[here]] = now[i], place[i]
            ends[here] += 1
        now, after, place, place_after = after, now, place_after, place
    distinct, numbers = np.empty_like(keys), np.empty(m, np.uint32)
    count = 0
    for i in range(m):
        if i == 0 or now[i] != now[i - 1]:
            distinct[count] = now[i]
            count += 1
        numbers[place[i]] = count - 1
    return distinct[:count].copy(), numbers


@kernel
def count_terms(numbers: NDArray[Any], counts: IntArray) -> None:
    """Add to counts [number of terms] how often each term occurs in numbers [m]."""
    for i in range(len(numbers)):
        counts[np.int64(numbers[i])] += 1


@kernel
def place_rows(
    offsets: IntArray,
    numbers: NDArray[Any],
    values: NDArray[Any],
    first: Int,
    ends: IntArray,
    ordinals: NDArray[np.uint32],
    placed: NDArray[Any],
) -> None:
    """Append rows to lists: ends [number of terms] says where each list ends now, and is moved.

    Row i of offsets [rows + 1] has the ordinal `first` + i and numbers[offsets[i] - offsets[0] :], with values beside.
    """
    for i in range(len(offsets) - 1):
        ordinal = np.uint32(first + i)
        for p in range(offsets[i] - offsets[0], offsets[i + 1] - offsets[0]):
            term = np.int64(numbers[p])
            to = ends[term]
            ordinals[to], placed[to] = ordinal, values[p]
            ends[term] = to + 1


@kernel
def join_lists(
    terms_a: NDArray[Any],
    starts_a: IntArray,
    ordinals_a: NDArray[np.uint32],
    values_a: NDArray[Any],
    terms_b: NDArray[Any],
    starts_b: IntArray,
    ordinals_b: NDArray[np.uint32],
    values_b: NDArray[Any],
    terms: NDArray[Any],
    starts: IntArray,
    ordinals: NDArray[np.uint32],
    values: NDArray[Any],
) -> int:
    """Lists of which each is that of a followed by that of b, whose ordinals are all higher; how many there are.

    terms and starts have room for as many as a and b have together.
    """
    i, j, count, to = 0, 0, 0, 0
    while i < len(terms_a) or j < len(terms_b):
        from_a = j == len(terms_b) or (i < len(terms_a) and terms_a[i] <= terms_b[j])
        from_b = i == len(terms_a) or (j < len(terms_b) and terms_b[j] <= terms_a[i])
        terms[count] = terms_a[i] if from_a else terms_b[j]
        starts[count] = to
        count += 1
        if from_a:
            for p in range(starts_a[i], starts_a[i + 1]):
                ordinals[to], values[to] = ordinals_a[p], values_a[p]
                to += 1
            i += 1
        if from_b:
            for p in range(starts_b[j], starts_b[j + 1]):
                ordinals[to], values[to] = ordinals_b[p], values_b[p]
                to += 1
            j += 1
    starts[count] = to
    return count
