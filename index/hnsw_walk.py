"""The loops of a search in the graph: down the upper levels, then best first on the lowest.

1. `descend` follows, on every level above the wanted one, the link that brings it closest, until none does.
2. `beam` expands the closest node not yet expanded, until the `ef` closest live ones found are all expanded. A node's
   codes are asked for when its link is read, its links when it enters the beam: waiting for memory is most of the work.
3. `search_rows` does both for queries, puts rows with equal vectors beside their representative, and compares the
   best again from the stored vectors.

A beam is a sorted array of integers that order by (distance, node): the upper half holds the bits of the distance,
made monotone; the lower half the node and two marks, DONE (expanded) and DEAD (walked through, not returned). Dead
nodes widen the beam: it ends at the ef-th live one, or where it is full.

A visited node is marked with the number of the search, 1 to 255, so that the marks are cleared every 255 searches.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import MAX_EF, Bitset, FloatArray, IntArray

from .codes import Factors, coded_distance, decoded, encode_query
from .flat_scan import distance as exact_distance
from .jit import kernel
from .simd import Int, dot_u8s8, has_bit, prefetch

MAX_NODES: Final = 1 << 30  # a node and two marks share 32 bits
DONE: Final = 1
DEAD: Final = 2
UNSURE: Final = -2  # stands in place of the first ordinal of a search that did not end well
ALL: Final = np.empty(0, np.uint64)  # instead of a live set: all are live
ALONE: Final = np.empty(0, np.int32)  # instead of twins: no two vectors are equal
DISTANCES, HOPS, RESCORED, UNCERTAIN, EPOCH = range(5)  # places in a tally


class Graph(NamedTuple):
    """What a walk reads. Unused links are -1, behind the used ones."""

    codes: NDArray[np.uint8]  # [n, stride], see `codes`
    scales: FloatArray  # [n, 2]
    links0: NDArray[np.int32]  # [n, 2 m]: links on level 0
    links: NDArray[np.int32]  # [sum of levels, m]: links on the levels above, node after node, lowest level first
    starts: NDArray[np.int32]  # [n]: where a node's rows of `links` start


class Scratch(NamedTuple):
    """Working memory of one search at a time."""

    visited: NDArray[np.uint8]  # [n]
    keys: IntArray  # [MAX_EF + 2]: the beam
    rows: IntArray  # [MAX_EF]: candidates for rescoring
    fresh: IntArray  # [2 m]: neighbours seen for the first time
    code: NDArray[np.int8]  # [stride]: of the query
    tally: IntArray  # [5]: the counters of `base.Cost`, the searches that were unsure, the number of the search


def make_scratch(graph: Graph) -> Scratch:
    n, width = graph.links0.shape
    return Scratch(
        visited=np.zeros(n, np.uint8),
        keys=np.empty(MAX_EF + 2, np.int64),
        rows=np.empty(MAX_EF, np.int64),
        fresh=np.empty(width, np.int64),
        code=np.empty(graph.codes.shape[1], np.int8),
        tally=np.zeros(5, np.int64),
    )


@kernel
def pack(distance: np.float32, node: Int) -> Int:
    """The integer that stands for a node in a beam."""
    bits = np.int64(np.float32(distance).view(np.int32))
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32) | (np.int64(node) << 2)


@kernel
def node_of(key: Int) -> Int:
    return (key & 0xFFFFFFFF) >> 2


@kernel
def distance_of(key: Int) -> np.float32:
    high = key >> 32
    return np.int32(high ^ ((high >> 31) & 0x7FFFFFFF)).view(np.float32)


@kernel
def key_of(codes: NDArray[np.uint8], scales: FloatArray, node: Int, code: NDArray[np.int8], factors: Factors) -> Int:
    return pack(coded_distance(codes, scales, node, code, factors), node)


@kernel
def _fetch_code(codes: NDArray[np.uint8], scales: FloatArray, node: Int) -> None:
    stride = codes.shape[1]
    prefetch(scales, 2 * node)
    for z in range(node * stride, (node + 1) * stride, 64):
        prefetch(codes, z)


@kernel
def first_link(starts: NDArray[np.int32], node: Int, level: Int, width: Int) -> Int:
    """The position of a node's first link on a level, in the flattened `links0` or `links`."""
    return np.int64(node) * width if level == 0 else (np.int64(starts[node]) + level - 1) * width


@kernel
def descend(
    graph: Graph, code: NDArray[np.int8], factors: Factors, key: Int, top: Int, level: Int, tally: IntArray
) -> Int:
    """From a node on level `top`, given by its key, to the key of a node on `level` that is near the query."""
    codes, scales, starts = graph.codes, graph.scales, graph.starts
    links, width = graph.links.reshape(-1), graph.links.shape[1]
    for here in range(top, level, -1):
        before: Int = -1
        while key != before:
            before = key
            first = first_link(starts, node_of(key), here, width)
            for j in range(first, first + width):
                if links[j] >= 0:
                    _fetch_code(codes, scales, np.int64(links[j]))
            for j in range(first, first + width):
                if links[j] < 0:
                    break
                key = min(key, key_of(codes, scales, np.int64(links[j]), code, factors))
                tally[DISTANCES] += 1
    return key


@kernel
def new_mark(visited: NDArray[np.uint8], tally: IntArray) -> np.uint8:
    """What marks the nodes visited from now on; no node bears it yet."""
    if tally[EPOCH] == 255:
        visited[:] = 0
        tally[EPOCH] = 0
    tally[EPOCH] += 1
    return np.uint8(tally[EPOCH])


@kernel
def beam(
    graph: Graph,
    code: NDArray[np.int8],
    factors: Factors,
    key: Int,
    level: Int,
    ef: Int,
    room: Int,
    budget: Int,
    live: Bitset,
    twins: NDArray[np.int32],
    scratch: Scratch,
) -> tuple[Int, bool]:
    """Search a level from a node given by its key; the beam is then scratch.keys[:found], sorted.

    It holds at most `room` nodes, and up to `ef` live ones. Returns found, and whether the search ended before it had
    expanded `budget` nodes.
    """
    codes, scales, starts = graph.codes, graph.scales, graph.starts
    keys, fresh, visited, tally = scratch.keys, scratch.fresh, scratch.visited, scratch.tally
    links = graph.links0.reshape(-1) if level == 0 else graph.links.reshape(-1)
    width = graph.links0.shape[1] if level == 0 else graph.links.shape[1]
    stride, blocks = codes.shape[1], codes.shape[1] >> 6
    filtered = live.shape[0] > 0
    epoch = new_mark(visited, tally)
    keys[0] = key
    visited[node_of(key)] = epoch
    alive: Int = 1
    if filtered and not any_live(live, twins, node_of(key)):
        keys[0] |= DEAD
        alive = 0
    found, at, hops, distances = 1, 0, 0, 0
    while at < found and hops < budget:
        first = first_link(starts, node_of(keys[at]), level, width)
        keys[at] |= DONE
        n = 0
        for j in range(first, first + width):
            node = np.int64(links[j])
            if node < 0:
                break
            if visited[node] != epoch:
                visited[node] = epoch
                _fetch_code(codes, scales, node)
                fresh[n] = node
                n += 1
        hops += 1
        distances += n
        nearest = found
        for j in range(n):
            node = fresh[j]
            dot = dot_u8s8(codes, node * stride, code, 0, blocks)
            key = pack(decoded(dot, scales[node, 0], scales[node, 1], factors), node)
            if (alive == ef or found == room) and key > keys[found - 1]:
                continue
            first = first_link(starts, node, level, width)
            for z in range(first, first + width, 16):
                prefetch(links, z)
            if found == room:
                found -= 1
                alive -= 1 - ((keys[found] & DEAD) >> 1)
            if filtered and not any_live(live, twins, node):
                key |= DEAD
            else:
                alive += 1
            z = found
            while z > 0 and keys[z - 1] > key:
                keys[z] = keys[z - 1]
                z -= 1
            keys[z] = key
            found += 1
            nearest = min(nearest, z)
            if alive > ef:  # the beam ended at the ef-th live node: it goes, and the dead before it
                found -= 1
                alive -= 1
                while keys[found - 1] & DEAD:
                    found -= 1
        at = min(nearest, at + 1)
        while at < found and keys[at] & DONE:
            at += 1
    tally[DISTANCES] += distances
    tally[HOPS] += hops
    return found, bool(at >= found)


@kernel
def any_live(live: Bitset, twins: NDArray[np.int32], node: Int) -> bool:
    """Whether a node, or a row with the same vector, is live."""
    while node >= 0:
        if has_bit(live, node):
            return True
        node = np.int64(twins[node]) if twins.shape[0] > 0 else np.int64(-1)
    return False


@kernel
def _collect(found: Int, width: Int, live: Bitset, twins: NDArray[np.int32], scratch: Scratch) -> Int:
    """Put the first `width` live rows of the beam into scratch.rows, as keys; how many there were."""
    count = 0
    for j in range(found):
        key = scratch.keys[j]
        node = node_of(key)
        while node >= 0 and not key & DEAD:
            if live.shape[0] == 0 or has_bit(live, node):
                if count == width:
                    return count
                scratch.rows[count] = pack(distance_of(key), node)
                count += 1
            node = np.int64(twins[node]) if twins.shape[0] > 0 else np.int64(-1)
    return count


@kernel
def search_rows(
    graph: Graph,
    twins: NDArray[np.int32],
    entry: IntArray,
    mean: FloatArray,
    vectors: NDArray[Any],
    squared: bool,
    queries: FloatArray,
    first: Int,
    last: Int,
    needed: Int,
    ef: Int,
    room: Int,
    width: Int,
    rescore: bool,
    budget: Int,
    live: Bitset,
    scratch: Scratch,
    ordinals: IntArray,
    distances: FloatArray,
) -> None:
    """Write the results of queries [first, last) into ordinals and distances [nq, k], and count in scratch.tally.

    A search is unsure, and its first ordinal UNSURE, if it found fewer than `needed` rows or expanded `budget` nodes.
    `width` rows are compared again, with vectors, flat, float32 or the bits of float16; without `rescore` the distances
    of the codes are returned.
    """
    k, keys = ordinals.shape[1], scratch.keys
    scratch.tally[:EPOCH] = 0
    for q in range(first, last):
        count, sure = search_row(
            graph, twins, entry[0], entry[1], mean, vectors, squared, queries, q, ef, room, width, rescore, budget,
            live, scratch,
        )  # fmt: skip
        if not sure or count < needed:
            ordinals[q, 0] = UNSURE
            scratch.tally[UNCERTAIN] += 1
            continue
        for j in range(k):
            ordinals[q, j] = node_of(keys[j]) if j < count else -1
            distances[q, j] = distance_of(keys[j]) if j < count else np.inf


@kernel
def search_row(
    graph: Graph,
    twins: NDArray[np.int32],
    entry: Int,
    top: Int,
    mean: FloatArray,
    vectors: NDArray[Any],
    squared: bool,
    queries: FloatArray,
    q: Int,
    ef: Int,
    room: Int,
    width: Int,
    rescore: bool,
    budget: Int,
    live: Bitset,
    scratch: Scratch,
) -> tuple[Int, bool]:
    """One search of `search_rows`, from the node `entry` on level `top`: the rows found are then scratch.keys[:count].

    Returns count, and whether it ended before it had expanded `budget` nodes.
    """
    d = queries.shape[1]
    keys, rows, code = scratch.keys, scratch.rows, scratch.code
    line = 64 // vectors.itemsize
    factors = encode_query(queries[q], mean, squared, code)
    key = key_of(graph.codes, graph.scales, entry, code, factors)
    key = descend(graph, code, factors, key, top, 0, scratch.tally)
    found, ended = beam(graph, code, factors, key, 0, ef, room, budget, live, twins, scratch)
    count = _collect(found, width, live, twins, scratch)
    for j in range(count if ended else 0):
        key = rows[j]
        if rescore:
            soon = node_of(np.int64(rows[min(j + 3, count - 1)])) * d
            for z in range(soon, soon + d, line):
                prefetch(vectors, z)
            node = node_of(key)
            key = pack(exact_distance(vectors, node * d, queries, q * d, d, squared), node)
        z = j
        while z > 0 and keys[z - 1] > key:
            keys[z] = keys[z - 1]
            z -= 1
        keys[z] = key
    scratch.tally[RESCORED] += count if rescore and ended else 0
    return count, ended
