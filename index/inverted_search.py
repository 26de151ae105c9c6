"""The query kernel of the inverted index.

For each query:

1. Its weights go into a table over all terms; its heaviest terms, until they make up the
   share `mass` of its weight, choose the lists.
2. The summaries of each of these lists are scored against the whole query: for every term of the query the entries of
   the list are found by its directory, and each adds weight * code to the score of its block.
3. Blocks are visited from the best down: those that score at least NEAR of the best are put in order by a counting
   sort, the others follow as they come. A block that scores less than `heap_factor` times the k-th best row so far is
   skipped (Bruch et al. 2024, section 4.4; in order: Bruch, Nardini, Rulli and Venturini 2024, CIKM, "Pairing clustered
   inverted indexes with kNN graphs").
4. The rows of a block that were not met before and are live are compared with the table, by the forward index. While
   the rows of one block are compared, the memory of the next is on its way.
5. With a graph, the neighbours of the best rows are compared too, once.

What is found does not depend on what else is in a batch.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray, IntArray

from . import bitset
from .forward import WIDE_TERMS, prefetch_row, score_row
from .inverted_blocks import MAX_BLOCKS, bits_of, hash_of, mark_of, place_of
from .jit import kernel
from .simd import Int, has_bit, prefetch
from .topk import NO_ROW, offer, sort_heaps

NEAR: Final = 0.5  # of the best block's score: a tenth of all blocks, and most of those that are visited
ORDERS: Final = 128  # places of the counting sort
MOST_HEAD: Final = 0.75  # of the k-th best score: a head that scores less is rarely a row that scores more
TOLD: Final = 0.88
MAX_LISTS: Final = 128  # that one query opens


class Lists(NamedTuple):
    """The index in memory; index/inverted.py says what its buffers hold."""

    terms: NDArray[Any]
    groups: NDArray[Any]
    group_starts: NDArray[np.uint32]
    ordinals: NDArray[np.uint32]
    block_starts: IntArray
    row_starts: IntArray
    rows: NDArray[np.uint32]
    steps: FloatArray
    entry_starts: IntArray
    directory_starts: IntArray
    directory: NDArray[np.uint32]
    entries: NDArray[np.uint32]
    neighbours: NDArray[np.uint32]


class Scratch(NamedTuple):
    """Working memory of one search: `table` float32 [terms] and `met` (bits over rows) are zero between queries;
    `scores` float32, `near` and `order` int64 [blocks of a query]; `waiting` int64: rows whose memory is being fetched.

    `table` and `scores` have room for whatever 16 bits of a group and 12 bits of an entry may say in a damaged file."""

    table: FloatArray
    met: Bitset
    scores: FloatArray
    near: IntArray
    order: IntArray
    waiting: IntArray
    counts: IntArray  # compared, lists, blocks skipped


def make_scratch(lists: Lists, longest: int) -> Scratch:
    """`longest`: blocks of the list with the most; `waiting` has room for every row."""
    n = len(lists.ordinals)
    room = 8 * max(longest, 1) + MAX_BLOCKS + 1
    return Scratch(
        np.zeros(max(len(lists.terms), WIDE_TERMS), np.float32),
        bitset.empty(n),
        np.empty(room, np.float32),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
        np.empty(n + 1, np.int64),
        np.zeros(3, np.int64),
    )


@kernel
def number_of(terms: NDArray[Any], term: np.uint64) -> Int:
    """The position of a term in the ascending array of all, or -1."""
    low, high = np.int64(0), np.int64(len(terms))
    while low < high:
        middle = (low + high) >> 1
        if np.uint64(terms[middle]) < term:
            low = middle + 1
        else:
            high = middle
    return low if low < len(terms) and np.uint64(terms[low]) == term else np.int64(-1)


@kernel
def load_query(
    terms: NDArray[Any], numbers: NDArray[Any], weights: FloatArray, table: FloatArray, known: IntArray
) -> Int:
    """Put a query's weights into the table and the numbers of its known terms into `known`; returns how many."""
    count = np.int64(0)
    for i in range(len(numbers)):
        number = number_of(terms, np.uint64(numbers[i]))
        if number >= 0 and weights[i] != 0.0:
            table[number] = weights[i]
            known[count] = number
            count += 1
    return count


@kernel
def heaviest(known: IntArray, table: FloatArray, mass: np.float32) -> IntArray:
    """The numbers of the largest weights, largest first, until they make up the share `mass` of all; equal weights: the
    smaller number. At least one, at most MAX_LISTS."""
    best = np.empty(min(MAX_LISTS, len(known)), np.int64)
    count, total = np.int64(0), np.float32(0.0)
    for i in range(len(known)):
        number = known[i]
        weight = table[number]
        total += weight
        if count == len(best) and weight <= table[best[count - 1]]:
            continue
        at = count if count < len(best) else count - 1
        while at > 0 and table[best[at - 1]] < weight:
            best[at] = best[at - 1]
            at -= 1
        best[at] = number
        count = min(count + 1, np.int64(len(best)))
    taken = np.float32(0.0)
    for i in range(count):
        if i > 0 and taken >= mass * total:
            return best[:i]
        taken += table[best[i]]
    return best[:count]


@kernel
def score_lists(
    chosen: IntArray,
    known: IntArray,
    table: FloatArray,
    block_starts: IntArray,
    steps: FloatArray,
    entry_starts: IntArray,
    entries: NDArray[np.uint32],
    directory_starts: IntArray,
    directory: NDArray[np.uint32],
    scores: FloatArray,
    first_blocks: IntArray,
) -> None:
    """Score the blocks of the chosen lists one after another; `first_blocks` [chosen + 1] says where each begins in
    `scores`."""
    total = np.int64(0)
    for i in range(len(chosen)):
        number = chosen[i]
        first_blocks[i] = total
        start, count = block_starts[number], block_starts[number + 1] - block_starts[number]
        first, places = entry_starts[number], directory_starts[number]
        bits = bits_of(entry_starts[number + 1] - first)
        here = scores[total : total + count]
        for block in range(count):
            here[block] = 0.0
        for j in range(len(known) if count > 0 else 0):
            prefetch(directory, places + place_of(hash_of(known[j]), bits))
        for j in range(len(known) if count > 0 else 0):
            prefetch(entries, first + np.int64(directory[places + place_of(hash_of(known[j]), bits)]))
        for j in range(len(known) if count > 0 else 0):
            hashed, weight = hash_of(known[j]), table[known[j]]
            place = places + place_of(hashed, bits)
            entry, end = first + np.int64(directory[place]), first + np.int64(directory[place + 1])
            mark = mark_of(hashed, bits)
            while entry < end and np.int64(entries[entry] >> 20) < mark:
                entry += 1
            while entry < end and np.int64(entries[entry] >> 20) == mark:
                value = np.int64(entries[entry])
                here[(value >> 8) & 0xFFF] += weight * np.float32(value & 0xFF)
                entry += 1
        for block in range(count):
            here[block] *= steps[start + block]
        total += count
    first_blocks[len(chosen)] = total


@kernel(fastmath={"nnan", "ninf", "nsz"})
def best_first(scores: FloatArray, near: IntArray, order: IntArray) -> tuple[Int, np.float32]:
    """(count, least score) of the blocks that score at least NEAR of the best; the first of `order`, best first.

    `near`: scratch as long as `order`.
    """
    top = np.float32(0.0)
    for block in range(len(scores)):
        top = max(top, scores[block])
    least = np.float32(NEAR) * top
    count = np.int64(0)
    for block in range(len(scores)):
        near[count] = block
        count += np.int64(scores[block] >= least)
    scale = np.float32(ORDERS - 1) / max(top - least, np.float32(1e-30))
    ends = np.zeros(ORDERS + 1, np.int64)
    for i in range(count):
        ends[ORDERS - np.int64((scores[near[i]] - least) * scale)] += 1
    for place in range(ORDERS):
        ends[place + 1] += ends[place]
    for i in range(count):
        at = ORDERS - 1 - np.int64((scores[near[i]] - least) * scale)
        order[ends[at]] = near[i]
        ends[at] += 1
    return count, least


@kernel
def visit(
    lists: Lists,
    chosen: IntArray,
    first_blocks: IntArray,
    scores: FloatArray,
    near: IntArray,
    order: IntArray,
    heap_factor: np.float32,
    live: Bitset,
    scratch: Scratch,
    heap: FloatArray,
    found: IntArray,
    base: Int,
    width: Int,
) -> Int:
    """Visit blocks until no other could matter; returns how many rows were compared.

    One kernel without inner calls on its path: passing the arrays on would cost more than a block.
    """
    groups, group_starts, ordinals, table = lists.groups, lists.group_starts, lists.ordinals, scratch.table
    waiting, met, rows, row_starts = scratch.waiting, scratch.met, lists.rows, lists.row_starts
    block_starts = lists.block_starts
    head_factor = min(heap_factor, np.float32(MOST_HEAD))
    count, least = best_first(scores, near, order)
    everyone = len(live) == 0
    done, waits, visited = np.int64(0), np.int64(0), np.int64(0)
    i, end = np.int64(0), np.int64(count + len(scores))
    while done < waits or i < end:
        before = waits
        if i < end:
            block = order[i] if i < count else i - count
            score, ordered = scores[block], i < count
            i += 1
            if score < -heap_factor * heap[base]:
                if ordered:  # the others score no more
                    i = end
                continue
            if not ordered and score >= least:
                continue
            which = np.int64(0)
            while first_blocks[which + 1] <= block:
                which += 1
            place = block_starts[chosen[which]] + block - first_blocks[which]
            for j in range(row_starts[place], row_starts[place + 1]):
                row = np.int64(rows[j])
                bit = np.uint64(1) << np.uint64(row & 63)
                if met[row >> 6] & bit:
                    continue
                met[row >> 6] |= bit
                if everyone or has_bit(live, np.int64(ordinals[row])):
                    prefetch_row(groups, np.int64(group_starts[2 * row]), np.int64(group_starts[2 * row + 1]))
                    waiting[waits] = row
                    waits += 1
            visited += 1
        for j in range(done, before):
            row = waiting[j]
            tail = np.int64(group_starts[2 * row + 1])
            score = score_row(groups, np.int64(group_starts[2 * row]), tail, table)
            if score < -head_factor * heap[base]:
                continue
            score += score_row(groups, tail, np.int64(group_starts[2 * row + 2]), table)
            if -score <= heap[base] and score > 0.0:
                offer(heap, found, base, width, -score, np.int64(ordinals[row]))
        done = before
    scratch.counts[2] += len(scores) - visited
    return waits


@kernel
def refine(
    lists: Lists, knn: Int, live: Bitset, scratch: Scratch, waits: Int, heap: FloatArray, found: IntArray, base: Int,
    width: Int,
) -> Int:  # fmt: skip
    """Compare the first `knn` neighbours of every row found so far; returns how many rows were compared in all."""
    groups, group_starts, ordinals, table = lists.groups, lists.group_starts, lists.ordinals, scratch.table
    waiting, met = scratch.waiting, scratch.met
    sources = found[base : base + width].copy()
    before = waits
    for i in range(width):
        for j in range(min(knn, lists.neighbours.shape[1]) if sources[i] != NO_ROW else np.int64(0)):
            row = np.int64(lists.neighbours[sources[i], j])
            bit = np.uint64(1) << np.uint64(row & 63)
            if met[row >> 6] & bit:
                continue
            met[row >> 6] |= bit
            if len(live) == 0 or has_bit(live, np.int64(ordinals[row])):
                prefetch_row(groups, np.int64(group_starts[2 * row]), np.int64(group_starts[2 * row + 2]))
                waiting[waits] = row
                waits += 1
    for j in range(before, waits):
        row = waiting[j]
        score = score_row(groups, np.int64(group_starts[2 * row]), np.int64(group_starts[2 * row + 2]), table)
        if -score <= heap[base] and score > 0.0:
            offer(heap, found, base, width, -score, np.int64(ordinals[row]))
    return waits


@kernel
def search_range(
    lists: Lists,
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: FloatArray,
    first: Int,
    last: Int,
    mass: np.float32,
    heap_factor: np.float32,
    knn: Int,
    live: Bitset,
    scratch: Scratch,
    heaps: FloatArray,
    found: IntArray,
) -> None:
    """Search queries first:last into rows first:last of `heaps` and `found` [nq, width], which are empty heaps, and
    sort them. `live` has no words where all rows are."""
    width = heaps.shape[1]
    heap, ordinals = heaps.reshape(-1), found.reshape(-1)
    table, met = scratch.table, scratch.met
    for query in range(first, last):
        start, end = offsets[query], offsets[query + 1]
        known = np.empty(end - start, np.int64)
        count = load_query(lists.terms, numbers[start:end], weights[start:end], table, known)
        known = known[:count]
        chosen = heaviest(known, table, mass)
        first_blocks = np.empty(len(chosen) + 1, np.int64)
        blocks = np.int64(0)
        for i in range(len(chosen)):
            blocks += lists.block_starts[chosen[i] + 1] - lists.block_starts[chosen[i]]
        scores, near, order = scratch.scores, scratch.near, scratch.order
        room = blocks + MAX_BLOCKS + 1
        if room > len(scores):
            scores, near, order = np.empty(room, np.float32), np.empty(room, np.int64), np.empty(room, np.int64)
        told = heaviest(known, table, np.float32(TOLD))
        score_lists(
            chosen, told, table, lists.block_starts, lists.steps, lists.entry_starts, lists.entries,
            lists.directory_starts, lists.directory, scores, first_blocks,
        )  # fmt: skip
        waits = visit(
            lists, chosen, first_blocks, scores[:blocks], near, order, heap_factor, live, scratch, heap, ordinals,
            query * width, width,
        )  # fmt: skip
        if knn > 0:
            waits = refine(lists, knn, live, scratch, waits, heap, ordinals, query * width, width)
        scratch.counts[0] += waits
        scratch.counts[1] += len(chosen)
        for i in range(count):
            table[known[i]] = 0.0
        if len(live) == 0 and waits < len(met):  # all rows met have waited
            for i in range(waits):
                met[scratch.waiting[i] >> 6] = np.uint64(0)
        else:
            met[:] = np.uint64(0)
    sort_heaps(heaps[first:last], found[first:last])
