"""Blocks of an inverted list and their summaries, list by list.

1. Some rows of the list, drawn at random, are centres; every row goes to the centre with which it has the largest inner
   product, of its CENTRE_TERMS heaviest terms only (Bruch et al. 2024, section 4.2). Centres that attract no more than
   LONELY rows are given up and their rows assigned anew. The rows of one centre are a block.
2. The summary of a block is the largest weight of each term over its rows; of these the largest are kept, until they
   make up the share ENERGY of the sum of all (ibid., section 4.3), or are MOST_ENTRIES, as whole numbers of 8 bits,
   rounded up, of a step that is the block's own.
3. The summaries of a list are stored by term, so that all of its blocks are scored in one pass over a query. A hash of
   the term says in which place of a directory its entries are, and 12 more bits of the hash, its mark, which of those:
   an entry is mark << 20 | block << 8 | code. One in 4,096 other terms of the same place is taken for the term; the
   score of a block is an estimate anyway.

The seed of a list is its term, so blocks do not depend on threads.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray, IntArray

from .jit import kernel
from .simd import Int

CENTRES: Final = 0.2  # a list's centres over its rows
CENTRE_TERMS: Final = 15
LONELY: Final = 2
ENERGY: Final = 0.25
MOST_ENTRIES: Final = 1_024  # of a summary: few have a tenth
MAX_BLOCKS: Final = 4_095  # of a list: 12 bits number them
MAX_BITS: Final = 20  # of a directory: the others of 32 are the mark's
BUCKET: Final = 8  # entries of a list's summaries a place in the directory
TINY: Final = np.finfo(np.float32).smallest_normal  # a smaller step would lose its digits, or be 0
HASH: Final = 2_654_435_769  # 2**32 over the golden ratio: Knuth, The Art of Computer Programming 3, section 6.4


@kernel
def bits_of(entries: Int) -> int:
    """The directory of a list with so many entries has 2 to this power places."""
    bits = 0
    while (BUCKET << bits) < entries and bits < MAX_BITS:
        bits += 1
    return bits


@kernel
def hash_of(term: Int) -> Int:
    """32 bits, of which the first say the place and the next the mark."""
    return (term * HASH) & 0xFFFFFFFF


@kernel
def place_of(hashed: Int, bits: Int) -> Int:
    """The place of a term in a directory of 2 to the power `bits` places."""
    return hashed >> (32 - bits)


@kernel
def mark_of(hashed: Int, bits: Int) -> Int:
    """The mark of a term in such a directory."""
    return (hashed >> (MAX_BITS - bits)) & 0xFFF


@kernel
def cluster(
    term: Int,
    rows: IntArray,
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: NDArray[Any],
    ranks: NDArray[np.uint16],
    sizes: IntArray,
    ends: IntArray,
    labels: IntArray,
) -> Int:
    """The block of each row of a list into `labels` [rows]; returns how many labels there are, some unused.

    `sizes`, `ends`: int64 [terms], zero, and left so: a small inverted index of the centres.
    """
    m = len(rows)
    centres = min(max(np.int64(1), np.int64(m * CENTRES)), np.int64(MAX_BLOCKS))
    if centres == 1:
        labels[:m] = 0
        return 1
    chosen = _draw(term, m, centres)
    total = np.int64(0)
    for c in range(centres):
        for entry in range(offsets[rows[chosen[c]]], offsets[rows[chosen[c]] + 1]):
            sizes[numbers[entry]] += 1
            total += 1
    centre_of, weight_of = np.empty(total, np.int32), np.empty(total, np.float32)
    used, at = np.empty(total, np.int64), np.int64(0)
    count = np.int64(0)
    for c in range(centres):
        for entry in range(offsets[rows[chosen[c]]], offsets[rows[chosen[c]] + 1]):
            number = np.int64(numbers[entry])
            if ends[number] == 0:
                used[count] = number
                count += 1
                ends[number] = at + 1  # one more than the place of the next, so that 0 means none
                at += sizes[number]
            centre_of[ends[number] - 1] = c
            weight_of[ends[number] - 1] = weights[entry]
            ends[number] += 1
    scores, given_up = np.empty(centres, np.float32), np.zeros(centres, np.bool_)
    members = np.zeros(centres, np.int64)
    for again in range(2):
        for i in range(m):
            if again and not given_up[labels[i]]:
                continue
            scores[:] = 0.0
            start, length = offsets[rows[i]], offsets[rows[i] + 1] - offsets[rows[i]]
            for rank in range(min(CENTRE_TERMS, length)):
                entry = start + np.int64(ranks[start + rank])
                number, weight = np.int64(numbers[entry]), np.float32(weights[entry])
                last = ends[number] - 1
                for j in range(last - sizes[number], last):
                    scores[centre_of[j]] += weight * weight_of[j]
            best, label = np.float32(-1.0), np.int64(0)
            for c in range(centres):
                if scores[c] > best and not given_up[c]:
                    best, label = scores[c], np.int64(c)
            labels[i] = label
            members[label] += 1
        if members.max() <= LONELY:
            break
        for c in range(centres):
            given_up[c] = members[c] <= LONELY
    for i in range(count):
        sizes[used[i]] = 0
        ends[used[i]] = 0
    return centres


@kernel
def _draw(seed: Int, m: Int, count: Int) -> IntArray:
    """int64 [count]: distinct numbers below m, by a linear congruential generator (Knuth, MMIX)."""
    state = np.uint64(seed) * np.uint64(2_654_435_769) + np.uint64(1)
    every = np.arange(m)
    for i in range(count):
        state = state * np.uint64(6_364_136_223_846_793_005) + np.uint64(1_442_695_040_888_963_407)
        j = i + np.int64((state >> np.uint64(33)) % np.uint64(m - i))
        every[i], every[j] = every[j], every[i]
    return every[:count].copy()


@kernel
def summarise(
    rows: IntArray,
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: NDArray[Any],
    largest: FloatArray,
    terms: IntArray,
    codes: NDArray[np.uint8],
) -> tuple[Int, np.float32]:
    """(entries, step) of the summary of a block: its entries are the first of `terms` and `codes`.

    `largest`: float32 [terms], zero, and left so. `terms` and `codes` have room for all terms.
    """
    count, top = np.int64(0), np.float32(0.0)
    for i in range(len(rows)):
        for entry in range(offsets[rows[i]], offsets[rows[i] + 1]):
            number, weight = np.int64(numbers[entry]), np.float32(weights[entry])
            if largest[number] == 0.0:
                terms[count] = number
                count += 1
            largest[number] = max(largest[number], weight)
            top = max(top, weight)
    if count == 0:
        return 0, np.float32(1.0)
    step = max(top / np.float32(255.0), TINY)
    levels, mass = np.zeros(256, np.int64), np.int64(0)
    for i in range(count):
        code = min(np.int64(255), np.int64(np.ceil(largest[terms[i]] / step)))
        levels[code] += 1
        mass += code
    lowest, wanted, taken, room = np.int64(256), ENERGY * mass, np.int64(0), np.int64(MOST_ENTRIES)
    while taken < wanted and room > 0:
        lowest -= 1
        taken += lowest * levels[lowest]
        room -= levels[lowest]
    room = levels[lowest] + min(room, np.int64(0))  # for entries of the lowest code
    kept = np.int64(0)
    for i in range(count):
        number = terms[i]
        code = min(np.int64(255), np.int64(np.ceil(largest[number] / step)))
        largest[number] = 0.0
        if code > lowest or (code == lowest and room > 0):
            room -= np.int64(code == lowest)
            terms[kept] = number
            codes[kept] = code
            kept += 1
    return kept, step


@kernel
def block_lists(
    first: Int,
    last: Int,
    starts: IntArray,
    ordinals: IntArray,
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: NDArray[Any],
    ranks: NDArray[np.uint16],
    term_count: Int,
) -> tuple[IntArray, IntArray, IntArray, FloatArray, IntArray, IntArray, NDArray[np.uint32]]:  # fmt: skip
    """The blocks of lists first:last, by `starts` and `ordinals`.

    Returns (rows in the order of blocks, ends of blocks in them, blocks of each list, steps; entries of each list,
    directories: first entry of each place, counted from the list's first; entries).
    """
    base = starts[first]
    size = starts[last] - base
    rows, ends, steps = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.float32)
    blocks_of, entries_of = np.zeros(last - first, np.int64), np.zeros(last - first, np.int64)
    sizes, index_ends = np.zeros(term_count, np.int64), np.zeros(term_count, np.int64)
    longest = np.int64(0)
    for term in range(first, last):
        longest = max(longest, starts[term + 1] - starts[term])
    labels = np.empty(longest, np.int64)
    largest = np.zeros(term_count, np.float32)
    terms, codes = np.empty(term_count, np.int64), np.empty(term_count, np.uint8)
    hashes, entries, directory = np.empty(1 << 12, np.int64), np.empty(1 << 16, np.uint32), np.empty(1 << 14, np.int64)
    filled, blocks, places = np.int64(0), np.int64(0), np.int64(0)
    for term in range(first, last):
        here, m = starts[term] - base, starts[term + 1] - starts[term]
        if m == 0:
            continue
        mine = ordinals[starts[term] : starts[term + 1]]
        centres = cluster(term, mine, offsets, numbers, weights, ranks, sizes, index_ends, labels)
        members = np.zeros(centres + 1, np.int64)
        for i in range(m):
            members[labels[i] + 1] += 1
        for c in range(centres):
            members[c + 1] += members[c]
        for i in range(m):
            rows[here + members[labels[i]]] = mine[i]
            members[labels[i]] += 1
        before, start = filled, np.int64(0)
        for c in range(centres):
            if members[c] == start:
                continue
            part = rows[here + start : here + members[c]]
            count, step = summarise(part, offsets, numbers, weights, largest, terms, codes)
            while filled + count > len(entries):
                entries = _grown(entries)
            while filled + count - before > len(hashes):
                hashes = _grown(hashes)
            for i in range(count):
                hashes[filled - before + i] = hash_of(terms[i])
                entries[filled + i] = (blocks_of[term - first] << 8) | np.int64(codes[i])
            filled += count
            steps[blocks] = step
            ends[blocks] = here + members[c]
            blocks += 1
            blocks_of[term - first] += 1
            start = members[c]
        entries_of[term - first] = filled - before
        width = (np.int64(1) << bits_of(filled - before)) + 1
        while places + width > len(directory):
            directory = _grown(directory)
        sort_entries(hashes[: filled - before], entries[before:filled], directory[places : places + width])
        places += width
    return (rows, ends[:blocks].copy(), blocks_of, steps[:blocks].copy(), entries_of, directory[:places].copy(),
            entries[:filled].copy())  # fmt: skip


@kernel
def _grown(array: NDArray[Any]) -> NDArray[Any]:
    """A copy with twice the room."""
    larger = np.empty(2 * len(array), array.dtype)
    for i in range(len(array)):
        larger[i] = array[i]
    return larger


@kernel
def sort_entries(hashes: IntArray, entries: NDArray[np.uint32], directory: IntArray) -> None:
    """Order the entries of a list, still without marks, by (place, mark, block), mark them, and say in `directory`
    where each place begins. They come in the order of blocks."""
    n, bits = len(entries), bits_of(len(entries))
    old = entries.copy()
    directory[:] = 0
    for i in range(n):
        directory[place_of(hashes[i], bits) + 1] += 1
    for i in range(len(directory) - 1):
        directory[i + 1] += directory[i]
    filled = directory.copy()
    for i in range(n):
        place = place_of(hashes[i], bits)
        entry = np.int64(old[i]) | (mark_of(hashes[i], bits) << 20)
        at = filled[place]
        while at > directory[place] and np.int64(entries[at - 1]) > entry:
            entries[at] = entries[at - 1]
            at -= 1
        entries[at] = entry
        filled[place] += 1


def directory_sizes(entries: IntArray) -> IntArray:
    """int64 [lists]: the length of each list's directory, by its number of entries; 0 where there are none."""
    bits = np.minimum(np.ceil(np.log2(np.maximum(entries / BUCKET, 1.0))).astype(np.int64), MAX_BITS)
    sizes: IntArray = np.where(entries > 0, (np.int64(1) << bits) + 1, 0)
    return sizes


@kernel
def home_blocks(
    row_starts: IntArray,
    block_starts: IntArray,
    rows: IntArray,
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: NDArray[Any],
) -> IntArray:
    """int64 [n]: of the blocks that hold a row, the one of the heaviest term; the number of blocks where none does."""
    n = len(offsets) - 1
    homes = np.full(n, len(row_starts) - 1, np.int64)
    heaviest = np.zeros(n, np.float32)
    for term in range(len(block_starts) - 1):
        for block in range(block_starts[term], block_starts[term + 1]):
            for i in range(row_starts[block], row_starts[block + 1]):
                row = rows[i]
                low, high = offsets[row], offsets[row + 1]
                while low + 1 < high:
                    middle = (low + high) >> 1
                    if np.int64(numbers[middle]) <= term:
                        low = middle
                    else:
                        high = middle
                if weights[low] > heaviest[row]:
                    heaviest[row], homes[row] = weights[low], block
    return homes


@kernel
def sort_runs(values: NDArray[np.uint32], starts: IntArray) -> None:
    """Sort each run of values in place. Runs are short."""
    for run in range(len(starts) - 1):
        for i in range(starts[run] + 1, starts[run + 1]):
            value, at = values[i], i
            while at > starts[run] and values[at - 1] > value:
                values[at] = values[at - 1]
                at -= 1
            values[at] = value
