"""The loops that change a graph while others walk it: a node comes, and nodes that are gone are cut out.

1. `place` searches the graph for a new node, chooses its links, and has them linked back, as a batch of `hnsw_build`
   would. A node with the code of one that is there already is not linked: it becomes that one's twin.
2. `doom` takes out of `keep` what a pass will cut out: nodes and twins no longer live. A node with a live twin stays.
3. `mend` is the pass, a few nodes a call: who links to a doomed node gets that node's links as candidates in its place
   (Singh et al. 2021, FreshDiskANN, arXiv 2105.09613, algorithm 4), and keeps its other links. Where almost none are
   left, it searches the graph as a new node does.

Invariants:
- A node's code and own links are written before another links to it. Links are single stores of int32, so whoever walks
  meanwhile reads an old or a new one, both of which are nodes.
- A node that `mend` has passed, or that was placed since `doom`, links to no doomed node.

All distances are of codes, minus the inner product. `unit_scales` makes coded vectors of unit length again: rounding
leaves some longer than others, and among many vectors that are almost equal all would link to these few alone.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray, IntArray

from .codes import Factors, row_as_query
from .hnsw_build import UNUSED, link_back, select
from .hnsw_walk import ALONE, DEAD, Graph, Scratch, any_live, beam, descend, first_link, key_of, new_mark, node_of
from .jit import kernel
from .simd import Int, has_bit

FREE: Final = 0  # kinds of slots: nothing is there,
ROW: Final = 1  # a vector outside of the graph,
NODE: Final = 2  # a node,
TWIN: Final = 3  # a vector with the code of a node, and in its list
TWINS_TRIED: Final = 8  # nearest nodes whose code is compared with that of a new one


class Nodes(NamedTuple):
    """The arrays of a graph that changes. `codes` to `starts` are those of `hnsw_walk.Graph`, writable."""

    codes: NDArray[np.uint8]  # [capacity, stride]
    scales: FloatArray  # [capacity, 2]
    links0: NDArray[np.int32]  # [capacity, 2 m]
    links: NDArray[np.int32]  # [sum of levels, m]
    starts: NDArray[np.int32]  # [capacity]
    levels: NDArray[np.uint8]  # [capacity]: of a slot, whatever vector is in it
    twins: NDArray[np.int32]  # [capacity]: the next in the list of a node and its twins, or -1


@kernel
def place(
    graph: Graph, nodes: Nodes, entry: IntArray, node: Int, ef: Int, room: Int, keep: Bitset, scratch: Scratch
) -> bool:
    """Link a node whose code is written, to nodes in `keep` (all, if empty); False if it became a twin instead.

    `graph` and `nodes` are of the same arrays; `room` is the most that a beam may hold, `ef` in `keep` and others.
    """
    m = np.int64(nodes.links.shape[1])
    keys, code = scratch.keys, scratch.code
    other_code = np.empty_like(code)
    factors = row_as_query(graph.codes, graph.scales, node, False, code)
    top = min(np.int64(nodes.levels[node]), entry[1])
    chosen, counts = np.empty((top + 1, 2 * m), np.int64), np.zeros(top + 1, np.int64)
    key = key_of(graph.codes, graph.scales, entry[0], code, factors)
    key = descend(graph, code, factors, key, entry[1], top, scratch.tally)
    for level in range(top, -1, -1):
        found, _ = beam(graph, code, factors, key, level, ef, room, UNUSED, keep, ALONE, scratch)
        key = keys[0] & ~np.int64(3)
        found = _without_dead(keys, found)
        if level == 0:
            for j in range(min(found, TWINS_TRIED)):
                other = node_of(keys[j])
                if _same_code(graph.codes, node, other):
                    nodes.twins[node] = nodes.twins[other]
                    nodes.twins[other] = node
                    return False
        counts[level] = select(graph, False, keys, found, np.int64(0), m // 2, m, chosen[level], other_code)
    for level in range(top + 1):
        own = _own_links(nodes, node, level)
        for j in range(counts[level]):
            own[j] = chosen[level, j]
    proposer, working = np.full(1, node, np.int64), np.empty(2 * m, np.int64)
    for level in range(top + 1):
        for j in range(counts[level]):
            target = chosen[level, j]
            own = _own_links(nodes, target, level)
            link_back(graph, False, target, own, proposer, np.int64(0), np.int64(1), working, other_code, scratch)
    return True


@kernel
def _own_links(nodes: Nodes, node: Int, level: Int) -> NDArray[np.int32]:
    """The links of a node on a level, to be written: a view."""
    own: NDArray[np.int32]
    own = nodes.links0[node] if level == 0 else nodes.links[np.int64(nodes.starts[node]) + level - 1]
    return own


@kernel
def _without_dead(keys: IntArray, found: Int) -> Int:
    """Take those marked DEAD out of the beam keys[:found]; how many are left."""
    left = 0
    for j in range(found):
        if not keys[j] & DEAD:
            keys[left] = keys[j]
            left += 1
    return left


@kernel
def _same_code(codes: NDArray[np.uint8], a: Int, b: Int) -> bool:
    j, stride = 0, codes.shape[1]
    while j < stride and codes[a, j] == codes[b, j]:
        j += 1
    return bool(j == stride)


@kernel
def unit_scales(codes: NDArray[np.uint8], scales: FloatArray) -> None:
    """Set the scales of coded rows so that these are of unit length; all zeros stay so."""
    for i in range(codes.shape[0]):
        square = np.int64(0)
        for j in range(codes.shape[1]):
            value = np.int64(codes[i, j]) - 128
            square += value * value
        scales[i, 0] = 1.0 / max(math.sqrt(square), 1.0)


@kernel
def clear(nodes: Nodes, node: Int) -> None:
    """Leave a node without links and twins."""
    nodes.twins[node] = -1
    nodes.links0[node, :] = -1
    for level in range(1, np.int64(nodes.levels[node]) + 1):
        _own_links(nodes, node, level)[:] = -1


@kernel
def doom(kinds: NDArray[np.uint8], live: Bitset, twins: NDArray[np.int32], used: Int, keep: Bitset) -> int:
    """Take out of `keep` the nodes and twins among the first `used` slots that are to go; how many."""
    count = 0
    for slot in range(used):
        if kinds[slot] < NODE or has_bit(live, slot):
            continue
        if kinds[slot] == TWIN or not any_live(live, twins, slot):
            keep[slot >> 6] &= ~(np.uint64(1) << np.uint64(slot & 63))
            count += 1
    return count


@kernel
def mend(
    graph: Graph,
    nodes: Nodes,
    kinds: NDArray[np.uint8],
    entry: IntArray,
    keep: Bitset,
    first: Int,
    last: Int,
    work: Int,
    ef: Int,
    room: Int,
    scratch: Scratch,
) -> Int:
    """Rid the nodes in slots [first, last), but no more than `work` of them, of links out of `keep`; the next slot."""
    for slot in range(first, last):
        node = np.int64(slot)
        if kinds[node] != NODE or not has_bit(keep, node):
            continue
        if work == 0:
            return node
        work -= 1
        before = node
        while nodes.twins[before] >= 0:
            twin = np.int64(nodes.twins[before])
            if not has_bit(keep, twin):
                nodes.twins[before] = nodes.twins[twin]
            else:
                before = twin
        for level in range(np.int64(nodes.levels[node]) + 1):
            _mend_links(graph, nodes, entry, keep, node, level, ef, room, scratch)
    return last


@kernel
def _mend_links(
    graph: Graph,
    nodes: Nodes,
    entry: IntArray,
    keep: Bitset,
    node: Int,
    level: Int,
    ef: Int,
    room: Int,
    scratch: Scratch,
) -> None:
    """Replace the links to doomed nodes that a node has on a level."""
    own = _own_links(nodes, node, level)
    width, m = np.int64(own.shape[0]), np.int64(nodes.links.shape[1])
    chosen = np.empty(width, np.int64)
    kept, lost = 0, 0
    for j in range(width):
        other = np.int64(own[j])
        if other < 0:
            break
        if has_bit(keep, other):
            chosen[kept] = other
            kept += 1
        else:
            lost += 1
    if lost == 0:
        return
    keys, code = scratch.keys, scratch.code
    factors = row_as_query(graph.codes, graph.scales, node, False, code)
    count = _inherit(graph, keep, node, level, chosen, kept, ef, factors, scratch)
    if kept + count < m // 2:
        key = key_of(graph.codes, graph.scales, entry[0], code, factors)
        key = descend(graph, code, factors, key, entry[1], level, scratch.tally)
        found, _ = beam(graph, code, factors, key, level, ef, room, UNUSED, keep, ALONE, scratch)
        count = 0
        for j in range(_without_dead(keys, found)):
            other = np.int64(node_of(keys[j]))
            new = other != node
            for z in range(kept):
                new = new and chosen[z] != other
            if new:
                keys[count] = keys[j] & ~np.int64(3)
                count += 1
    chose = select(graph, False, keys, count, kept, m // 2, width, chosen, np.empty_like(code))
    for j in range(width):
        own[j] = chosen[j] if j < chose else -1


@kernel
def _inherit(
    graph: Graph,
    keep: Bitset,
    node: Int,
    level: Int,
    kept: IntArray,
    count_kept: Int,
    most: Int,
    factors: Factors,
    scratch: Scratch,
) -> int:
    """Collect in scratch.keys, sorted, the nearest links of a node's doomed links; how many. At most `most`.

    Neither the node itself nor those in kept[:count_kept]; its code is in scratch.code.
    """
    keys, code, visited = scratch.keys, scratch.code, scratch.visited
    links = graph.links0.reshape(-1) if level == 0 else graph.links.reshape(-1)
    width = graph.links0.shape[1] if level == 0 else graph.links.shape[1]
    mark = new_mark(visited, scratch.tally)
    visited[node] = mark
    for j in range(count_kept):
        visited[kept[j]] = mark
    count = 0
    first = first_link(graph.starts, node, level, width)
    for i in range(first, first + width):
        gone = np.int64(links[i])
        if gone < 0:
            break
        if has_bit(keep, gone):
            continue
        start = first_link(graph.starts, gone, level, width)
        for j in range(start, start + width):
            other = np.int64(links[j])
            if other < 0:
                break
            if visited[other] == mark or not has_bit(keep, other):
                continue
            visited[other] = mark
            key = key_of(graph.codes, graph.scales, other, code, factors)
            if count == most:
                if key > keys[count - 1]:
                    continue
                count -= 1
            z = count
            while z > 0 and keys[z - 1] > key:
                keys[z] = keys[z - 1]
                z -= 1
            keys[z] = key
            count += 1
    return count
