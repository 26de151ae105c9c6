"""Kernels of the scan of sparse rows: looking for a query's terms in rows, and adding up what is found.

1. The terms of a query are marked in a table of SLOTS bytes by a hash. A term of a row whose slot is not marked, which
   nearly all are, costs three instructions and no branch; the positions of the others are written down.
2. Those are looked up among the query's terms, once all of some rows are known, and their weights asked for, so that
   these arrive from memory while others are looked up.
3. For each row, weight times weight is added up.

Invariants:
- Sums are float32, in ascending order of terms, products rounded before they are added.
- In a group of queries, the sum of a row that was not met is -0.0 (ABSENT), since -0.0 + x is x for every x.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray, IntArray

from . import llvm
from .jit import kernel
from .llvm import array_of, signature, types
from .simd import Int, prefetch, trailing_zeros
from .topk import offer

SLOTS: Final = 1 << 14  # bytes of marks: half of a first-level cache
STRIP: Final = 256  # terms of a row that are looked at in one go
ROWS: Final = 64  # strips that are gone through together
GROUP: Final = llvm.LANES  # queries
ABSENT: Final = np.float32(-0.0)
ABSENT_BITS: Final = np.iinfo(np.int32).min  # of ABSENT

_LOW: Final = np.uint64(0xFFFFFFFF)
_GOLDEN: Final = np.uint64(2_654_435_769)  # 2^32 over the golden ratio (Knuth 1998, section 6.4)
_SHIFT: Final = np.uint64(32 - 14)
_MASK: Final = np.uint64(SLOTS - 1)
_ONE: Final = np.uint64(1)
_HALF: Final = np.exp2(np.maximum(np.arange(32), 1) - 25.0).astype(np.float32)  # unit of a float16 by its exponent
_ZERO: Final = np.float32(0.0)
_INFINITY: Final = np.float32(np.inf)


class Columns(NamedTuple):
    """Sparse rows as kernels take them: read-only, float16 as the uint16 of its bits, and a dictionary or an empty
    array."""

    offsets: IntArray
    numbers: NDArray[Any]
    weights: NDArray[Any]
    half: bool
    terms: NDArray[Any]
    local: bool  # numbers are positions in terms


class Queries(NamedTuple):
    """Sparse queries as kernels take them: offsets [nq + 1] into terms and weights."""

    offsets: IntArray
    terms: NDArray[np.uint64]
    weights: FloatArray


class Probe(NamedTuple):
    """Scratch of a scan. marks: how many terms of the query a slot has, 0, 1 or more, all 0 between searches; places:
    the position of one of these. hits: positions in rows that may have a term of the query, found: which it is."""

    marks: NDArray[np.uint8]
    places: NDArray[np.int32]
    hits: IntArray
    found: IntArray


def empty_probe() -> Probe:
    """Scratch with no term marked."""
    hits, found = np.zeros(ROWS * STRIP, np.int64), np.zeros(ROWS * STRIP, np.int64)
    return Probe(np.zeros(SLOTS, np.uint8), np.zeros(SLOTS, np.int32), hits, found)


@kernel
def lower_bound(ascending: NDArray[Any], first: Int, last: Int, value: Int) -> int:
    """The first position in [first, last) of an ascending array that holds `value` or more; last if there is none."""
    size = last - first
    while size > 0:
        half = size >> 1
        if ascending[first + half] < value:
            first += half + 1
            size -= half + 1
        else:
            size = half
    return int(first)


@kernel
def localise(rows: Columns, queries: Queries) -> Queries:
    """The queries with terms as the rows have them, positions in the dictionary if there is one, without those that no
    row has."""
    dictionary, most = rows.terms, queries.offsets[-1] - queries.offsets[0]
    offsets = np.zeros(len(queries.offsets), np.int64)
    terms, weights = np.empty(most, np.uint64), np.empty(most, np.float32)
    count = 0
    for q in range(len(offsets) - 1):
        place = 0
        for j in range(queries.offsets[q], queries.offsets[q + 1]):
            terms[count], weights[count] = queries.terms[j], queries.weights[j]
            if rows.local:
                place = lower_bound(dictionary, place, len(dictionary), queries.terms[j])
                if place == len(dictionary):
                    break
                terms[count] = np.uint64(place)
                count += dictionary[place] == queries.terms[j]
            else:
                count += 1
        offsets[q + 1] = count
    return Queries(offsets, terms[:count], weights[:count])


@kernel
def mark(terms: NDArray[np.uint64], probe: Probe) -> None:
    """Mark the slots of a query's terms."""
    for j in range(len(terms)):
        slot = _slot(terms[j])
        if probe.marks[slot] == 0:
            probe.places[slot] = j
        probe.marks[slot] = min(probe.marks[slot] + 1, 2)


@kernel
def unmark(terms: NDArray[np.uint64], probe: Probe) -> None:
    """Undo `mark`."""
    for j in range(len(terms)):
        probe.marks[_slot(terms[j])] = 0


@kernel
def _slot(term: np.uint64) -> np.uint64:
    return ((term & _LOW) * _GOLDEN >> _SHIFT) & _MASK


@kernel
def find_matches(
    rows: Columns,
    members: IntArray,
    count: Int,
    m: Int,
    at: Int,
    terms: NDArray[np.uint64],
    probe: Probe,
    owners: IntArray,
    ends: IntArray,
) -> tuple[int, int, int]:
    """Look for marked terms in up to ROWS strips of the rows members[m:count], of which the first goes on at `at`.

    Writes to `hits` the positions of what was found, to `found` those of the terms, and for each strip to owners [ROWS]
    which member it is of, to ends [ROWS] where its hits end. Returns how many strips there are, and the next m and at.
    One function with all its loops, because numba counts references to arrays at every call.
    """
    offsets, numbers, stored = rows.offsets, rows.numbers, rows.weights
    marks, places, hits, found = probe.marks, probe.places, probe.hits, probe.found
    strips, fill, line = 0, np.uint64(0), 64 // numbers.itemsize
    while m < count and strips < ROWS:
        soon = members[min(m + 2, count - 1)]
        for p in range(offsets[soon], offsets[soon + 1], line):
            prefetch(numbers, p)
        last = offsets[members[m] + 1]
        stop = min(at + STRIP, last)
        for place in range(np.uint64(at), np.uint64(stop)):
            hits[fill] = place
            fill += np.uint64(marks[_slot(np.uint64(numbers[place]))] != 0)
        owners[strips], ends[strips], at = m, fill, stop
        strips += 1
        if at == last:
            m += 1
            at = np.int64(offsets[members[m]]) if m < count else last
    first, kept = 0, 0
    for strip in range(strips):
        for c in range(first, ends[strip]):
            p = hits[c]
            prefetch(stored, p)
            term = np.uint64(numbers[p])
            slot = _slot(term)
            j: Int = np.int64(places[slot])
            if terms[j] != term:
                if marks[slot] == 1:
                    continue
                j = lower_bound(terms, 0, len(terms), term)  # a chain could be as long as an adversary likes
                if j == len(terms) or terms[j] != term:
                    continue
            hits[kept], found[kept] = p, j
            kept += 1
        first, ends[strip] = ends[strip], kept
    return strips, int(m), int(at)


@kernel
def weight_at(weights: NDArray[Any], half: bool, p: Int) -> np.float32:
    """A stored weight, above 0 and finite."""
    if half:
        bits = np.int64(weights[p])
        exponent = bits >> 10
        return np.float32(np.float32((bits & 1023) + (1024 if exponent > 0 else 0)) * _HALF[exponent])
    return np.float32(weights[p])


@kernel
def offer_rows(
    rows: Columns,
    members: IntArray,
    count: Int,
    base: Int,
    terms: NDArray[np.uint64],
    weights: FloatArray,
    probe: Probe,
    distances: FloatArray,
    near: IntArray,
    heap: Int,
    k: Int,
) -> None:
    """Offer the first `count` of rows, those that share a term with the query that is marked, to a heap. Row i has the
    ordinal base + i.

    Up to ROWS strips are gone through together, so that weights arrive from memory while other rows are looked at.
    """
    stored, half, hits, found = rows.weights, rows.half, probe.hits, probe.found
    owners, ends = np.empty(ROWS, np.int64), np.empty(ROWS, np.int64)
    bound, score, shared = -distances[heap], ABSENT, False
    m, at = 0, rows.offsets[members[0]] if count > 0 else np.int64(0)
    while m < count:
        strips, m, at = find_matches(rows, members, count, m, at, terms, probe, owners, ends)
        c = 0
        for strip in range(strips):
            for here in range(c, ends[strip]):
                score += weights[found[here]] * weight_at(stored, half, hits[here])
                shared = True
            c = ends[strip]
            if owners[strip] == (owners[strip + 1] if strip + 1 < strips else m):
                continue  # the row goes on
            if shared and not score < bound:
                bound = offer_score(distances, near, heap, k, score, base + members[owners[strip]])
            score, shared = ABSENT, False


@kernel
def offer_score(distances: FloatArray, near: IntArray, heap: Int, k: Int, score: Any, ordinal: Int) -> np.float32:
    """Offer a row by its score; the score below which no row can be among the k best from now on.

    A score that overflowed to NaN is the worst.
    """
    offer(distances, near, heap, k, _INFINITY if np.isnan(score) else _ZERO - score, ordinal)
    return np.float32(-distances[heap])


@kernel
def shares(rows: Columns, i: Int, terms: NDArray[np.uint64], table: FloatArray, q: Int) -> bool:
    """Whether row i has a term of query q of a group; slow, and hardly ever asked."""
    bits = table.view(np.int32)
    for p in range(rows.offsets[i], rows.offsets[i + 1]):
        term = np.uint64(rows.numbers[p])
        j = lower_bound(terms, 0, len(terms), term)
        if j < len(terms) and terms[j] == term and bits[j * GROUP + q] != ABSENT_BITS:
            return True
    return False


@kernel
def members_of(live: Bitset, w: Int, members: IntArray) -> int:
    """How many bits of word w are set; their ordinals into members [64]."""
    word, count = live[w], 0
    while word != 0:
        members[count] = 64 * w + trailing_zeros(word)
        word &= word - _ONE
        count += 1
    return count


def add_weighted(
    table: FloatArray, rows: IntArray, start: Int, factors: FloatArray, count: Int, sums: FloatArray
) -> None:
    """sums[GROUP] += rows[start : start + count] of table [terms * GROUP] times their factors, each product rounded."""
    for row, factor in zip(rows[start : start + count], factors[:count], strict=True):
        sums += table[row * GROUP : (row + 1) * GROUP] * factor


def _add_typing(table: Any, rows: Any, start: Any, factors: Any, count: Any, sums: Any) -> Any:
    table, factors, sums = (array_of(array, types.float32) for array in (table, factors, sums))
    return signature(types.none, table, array_of(rows, types.int64), types.int64, factors, types.int64, sums)


def _add_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    result = llvm.element(context, builder, sig, args, 5, llvm.number(0))
    total = llvm.cgutils.alloca_once_value(builder, llvm.load(builder, result, llvm.floats))
    with llvm.cgutils.for_range(builder, args[4], intp=llvm.i64) as loop:
        row = builder.load(llvm.element(context, builder, sig, args, 1, builder.add(args[2], loop.index)))
        factor = builder.load(llvm.element(context, builder, sig, args, 3, loop.index))
        place = llvm.element(context, builder, sig, args, 0, builder.mul(row, llvm.number(GROUP)))
        product = builder.fmul(llvm.load(builder, place, llvm.floats), llvm.splat(builder, factor))
        builder.store(builder.fadd(builder.load(total), product), total)
    llvm.store(builder, builder.load(total), result)
    return context.get_dummy_value()


llvm.replace(add_weighted, _add_typing, _add_lowering)
