"""How hard an inverted index must search for a wanted recall, measured when it is built.

1. Queries are made of rows: a share of the terms of one, drawn at random with their weights, and OTHER times that share
   of another's. The share, one of SHARES, differs from query to query: the more terms a query has, the more is found.
   On 117,659 real rows and 1,000 real queries, of which 0.90, 0.95 and 0.99 were asked, 0.94, 0.98 and 0.999 were found
   of whole queries (42 terms), 0.90, 0.96 and 0.99 of their ten heaviest terms, 0.89, 0.94 and 0.96 of their five.
   Rows themselves, or their heaviest terms, would be found far better. Of a row of more than LONGEST terms a smaller
   share is drawn.
2. Their nearest by each of SETTINGS, which rise in cost, are compared with the exact ones.
3. A search takes the setting between two of these at which the line between their recalls reaches what is wanted, with
   MARGIN of the allowed misses in reserve. Where none does, it is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray, SparseRows

from .base import Neighbours

SAMPLE: Final = 256  # queries: a recall of 0.95 is then known to 0.005
SHARES: Final = (0.5, 0.35, 0.2)  # of the terms of a row, drawn by query
OTHER: Final = 0.5  # of that share, of another row
LONGEST: Final = 512
NEAREST: Final = 10
MARGIN: Final = 0.1
SETTINGS: Final = (  # share of the query's weight in the lists that are opened, heap factor
    (0.30, 1.00), (0.40, 1.00), (0.42, 0.95), (0.45, 0.90), (0.47, 0.85), (0.50, 0.80), (0.50, 0.75), (0.52, 0.70),
    (0.55, 0.65), (0.58, 0.60), (0.62, 0.55), (0.67, 0.50), (0.75, 0.45), (0.85, 0.35), (0.95, 0.20),
)  # fmt: skip


class Effort(NamedTuple):
    """`mass`: the lists of the heaviest terms are opened until they make up this share of the query's weight.
    `heap_factor`: a block is skipped whose summary scores less than so many times the k-th best row. `knn`: neighbours
    of each row found that are compared at the end."""

    mass: float
    heap_factor: float
    knn: int


def calibrate(
    rows: SparseRows,
    search: Callable[[Effort, SparseRows], Neighbours],
    exact: Callable[[SparseRows], Neighbours],
    knn: int,
) -> FloatArray:
    """float32 [settings, 4]: share of mass, heap factor, neighbours and recall of each setting, recalls never falling.

    `search` and `exact` find the NEAREST of queries.
    """
    queries = sampled_queries(rows, SAMPLE)
    wanted = exact(queries).distances
    there = np.isfinite(wanted)
    nothing = np.finfo(np.float32).min
    farthest = np.where(there, wanted, nothing).max(axis=1, keepdims=True)
    table, best = [], 0.0
    for mass, heap_factor in SETTINGS:
        found = search(Effort(mass, heap_factor, knn), queries).distances
        good = (found <= farthest + 1e-5 * np.abs(farthest)) & np.isfinite(found)
        best = max(best, float(good.sum()) / max(int(there.sum()), 1))
        table.append((mass, heap_factor, knn, best))
    return np.array(table, np.float32)


def chosen_effort(calibration: FloatArray, recall: float) -> Effort | None:
    """The setting for a wanted recall; None where no setting reaches it."""
    wanted = 1.0 - (1.0 - recall) * (1.0 - MARGIN)
    recalls = calibration[:, 3]
    at = int(np.searchsorted(recalls, wanted))
    if at == len(recalls):
        return None
    mass, heap_factor, knn = calibration[at, :3].tolist()
    if at > 0:
        share = (wanted - float(recalls[at - 1])) / (float(recalls[at]) - float(recalls[at - 1]))
        before = calibration[at - 1]
        mass = float(before[0]) + share * (mass - float(before[0]))
        heap_factor = float(before[1]) + share * (heap_factor - float(before[1]))
    return Effort(mass, heap_factor, int(knn))


def sampled_queries(rows: SparseRows, count: int) -> SparseRows:
    """`count` queries, made of the rows as step 1 says; the same ones each time."""
    random = np.random.default_rng(len(rows))
    shares = random.choice(SHARES, count)
    terms, weights, query = [], [], []
    for part in (1.0, OTHER):
        some = rows[random.integers(0, max(len(rows), 1), count if len(rows) else 0)]
        lengths = np.diff(some.offsets)
        share = part * shares[: len(some)] * LONGEST / np.maximum(lengths, LONGEST)
        kept = random.random(len(some.numbers)) < np.repeat(share, lengths)
        terms.append(some.term_values()[kept])
        weights.append(some.weights[kept].astype(np.float32))
        query.append(np.repeat(np.arange(len(some)), lengths)[kept])
    return _joined(np.concatenate(query), np.concatenate(terms), np.concatenate(weights), count)


def _joined(query: NDArray[np.int64], terms: NDArray[np.uint32], weights: FloatArray, count: int) -> SparseRows:
    """Queries of (query, term, weight) in any order; of a term that occurs twice in one, the larger weight."""
    order = np.lexsort((weights, terms, query))
    query, terms, weights = query[order], terms[order], weights[order]
    last = np.ones(len(query), np.bool_)
    last[:-1] = (query[1:] != query[:-1]) | (terms[1:] != terms[:-1])
    offsets = np.zeros(count + 1, np.int64)
    offsets[1:] = np.cumsum(np.bincount(query[last], minlength=count))
    return SparseRows(offsets, terms[last], weights[last])
